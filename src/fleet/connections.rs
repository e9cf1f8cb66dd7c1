//! What happens to connections: taken from the kernel, on their way to a worker, come back, counted.

use super::{
    Admission, Event, Held, ListenerId, LoadSource, Loss, Output, Overload, Share, Trouble, Unsent, WorkerId,
    crowding::Change,
    handoff::{Gate, Handoff},
    machine::{Fleet, Phase},
};
use crate::time::Time;

impl<C> Fleet<C> {
    /// What to do with the next connection of `listener`, if there is one.
    pub fn admit(&mut self, now: Time, listener: ListenerId) -> Admission {
        let room = self.has_room(now, listener);
        let (admission, change) = self.listeners.admit(now, listener, room);
        match change {
            Change::Nothing => {}
            Change::Waits => self.counters.waits += 1,
            Change::Recovers { rejected } => {
                if let Some(endpoint) = self.listeners.endpoint(listener).cloned() {
                    self.event(Event::Recovered { endpoint, rejected });
                }
            }
        }
        admission
    }

    /// Whether [`Fleet::admit`] would have the next connection of `listener` accepted.
    pub fn admits(&self, now: Time, listener: ListenerId) -> bool {
        self.listeners.accepts(listener) && (self.listeners.refuses(listener) || self.has_room(now, listener))
    }

    /// Whether any worker takes connections of `listener`.
    pub fn is_served(&self, listener: ListenerId) -> bool {
        self.listeners.members(listener).any(|worker| self.handoff.is_open(worker))
    }

    /// Whether a connection from `listener` could be placed now.
    pub fn has_room(&self, now: Time, listener: ListenerId) -> bool {
        self.listeners.members(listener).any(|worker| self.handoff.has_room(now, worker))
    }

    /// Whether connections that came back wait for a worker with room.
    pub fn has_returned(&self) -> bool {
        self.handoff.has_returned()
    }

    /// The connection that is to be sent with `seq`.
    pub fn connection(&self, worker: WorkerId, seq: u64) -> Option<&C> {
        self.handoff.connection(worker, seq)
    }

    /// The listening socket that is to be sent with `seq`, and the answer that it goes with.
    pub fn share(&self, worker: WorkerId, seq: u64) -> Option<&Share> {
        self.handoff.shared(worker, seq)
    }

    /// The kernel gave out a connection.
    pub fn handle_connection(&mut self, now: Time, listener: ListenerId, connection: C) {
        self.counters.accepted += 1;
        if let Some(listener) = self.listeners.open.get_mut(&listener) {
            listener.accepted += 1;
        }
        self.place(now, Held { connection, listener, accepted: now });
    }

    /// A connection was turned away, as [`Fleet::admit`] had said.
    pub fn handle_rejected(&mut self, listener: ListenerId) {
        self.counters.rejected += 1;
        self.listeners.rejected(listener);
    }

    /// What goes with `seq` could not be sent.
    pub fn handle_unsent(&mut self, now: Time, worker: WorkerId, seq: u64, why: Unsent) {
        let gate = match why {
            Unsent::ChannelFull => Gate::Full,
            Unsent::SystemLimit => Gate::Refused { until: now + self.rules.refusal_pause },
            Unsent::Gone => return self.handoff.withdraw(worker, seq),
        };
        self.handoff.unsent(worker, seq, gate);
        self.settle(now);
    }

    /// What a worker that is gone had received: `untouched` goes to others, the rest is lost.
    pub fn handle_examined(
        &mut self,
        now: Time,
        worker: WorkerId,
        untouched: Vec<Held<C>>,
        lost: Vec<Held<C>>,
    ) {
        self.counters.replaced += u64::try_from(untouched.len()).unwrap_or(0);
        untouched.into_iter().rev().for_each(|held| self.handoff.hold(held));
        self.lose(worker, lost);
        self.settle(now);
    }

    /// Connections are lost with a worker.
    pub(super) fn lose(&mut self, worker: WorkerId, lost: Vec<Held<C>>) {
        if lost.is_empty() {
            return;
        }
        self.counters.lost += u64::try_from(lost.len()).unwrap_or(0);
        self.event(Event::Trouble { worker, trouble: Trouble::LostConnections { count: lost.len() } });
        self.outputs.extend(lost.into_iter().map(|held| Output::Release(held.connection)));
    }

    /// A worker's channel has room again.
    pub fn handle_writable(&mut self, now: Time, worker: WorkerId) {
        self.handoff.writable(worker);
        self.settle(now);
    }

    /// Whether the kernel tells the ends of a worker's connections from now on; if not, nobody does.
    pub fn handle_kernel_tells(&mut self, worker: WorkerId, tells: bool) {
        // It may have said meanwhile that it tells them itself, or it is gone.
        let is_open = matches!(self.tally.source(worker), LoadSource::Kernel | LoadSource::None);
        if !is_open || !self.workers.contains_key(&worker) {
            return;
        }
        let source = if tells { LoadSource::Kernel } else { LoadSource::None };
        if !tells {
            self.tally.remove(worker);
            self.tally.add(worker);
        }
        self.tally.told_by(worker, source);
        self.event(Event::LoadSource { worker, source });
    }

    /// The kernel's name of a connection that a worker has accepted.
    pub fn handle_named(&mut self, worker: WorkerId, seq: u64, cookie: u64) {
        self.tally.named(worker, seq, cookie);
    }

    /// The kernel has destroyed a socket, of ours or not.
    pub fn handle_destroyed(&mut self, cookie: u64) {
        self.tally.destroyed(cookie);
    }

    /// Notifications were lost; `alive` tells which sockets are left.
    pub fn handle_resync(&mut self, alive: impl Fn(u64) -> bool) {
        self.tally.only_left(alive);
    }

    /// From now on `source` tells the ends of a worker's connections.
    pub(super) fn told_by(&mut self, worker: WorkerId, source: LoadSource) {
        if self.tally.source(worker) != source {
            self.tally.told_by(worker, source);
            self.event(Event::LoadSource { worker, source });
        }
    }

    /// Gives a connection to a worker, or holds on to it until one has room.
    fn place(&mut self, now: Time, held: Held<C>) -> bool {
        let (handoff, tally) = (&self.handoff, &self.tally);
        let load = |worker| {
            let on_the_way = handoff.room(now, worker)?;
            let open = if self.needs_load { tally.open(worker) } else { 0 };
            Some(u32::try_from(on_the_way + open).unwrap_or(u32::MAX))
        };
        let picked = self.listeners.pick(held.listener, load);
        let Some((id, key, worker)) =
            picked.and_then(|(id, key)| Some((id, key, self.workers.get_mut(&id)?)))
        else {
            self.handoff.hold(held);
            return false;
        };
        let seq = worker.take_seq();
        match self.handoff.assign(now, id, seq, held) {
            Ok(()) => self.outputs.push_back(Output::Hand { worker: id, key, seq }),
            Err(held) => {
                self.handoff.hold(held);
                return false;
            }
        }
        true
    }

    /// After every event: connections that came back go on, and a fleet without workers has stopped.
    pub(super) fn settle(&mut self, now: Time) {
        while let Some((worker, seq)) = self.handoff.next_share() {
            self.outputs.push_back(Output::Share { worker, seq });
        }
        if self.handoff.has_returned() {
            self.let_go();
            self.place_returned(now);
        }
        if matches!(self.rules.overload, Overload::Reject { .. }) {
            self.recover(now);
        }
        if self.phase == Phase::Stopping && self.workers.is_empty() {
            self.phase = Phase::Stopped;
            self.event(Event::Stopped);
        }
    }

    /// Where connections are turned away and there is room again, that is over.
    fn recover(&mut self, now: Time) {
        let handoff = &self.handoff;
        while let Some((endpoint, rejected)) = self.listeners.recover(|worker| handoff.has_room(now, worker))
        {
            self.outputs.push_back(Output::Event(Event::Recovered { endpoint, rejected }));
        }
    }

    /// Closes connections that came back and that nobody is going to take.
    fn let_go(&mut self) {
        let cause = if self.phase == Phase::Running { Loss::ServerClosed } else { Loss::Stopping };
        let lost = |listener| cause == Loss::Stopping || self.listeners.endpoint(listener).is_none();
        let mut count = 0;
        while let Some(held) = self.handoff.take_returned(|_, listener| lost(listener)) {
            count += 1;
            self.outputs.push_back(Output::Release(held.connection));
        }
        if count > 0 {
            self.counters.lost += u64::try_from(count).unwrap_or(0);
            self.event(Event::LostConnections { count, cause });
        }
    }

    /// Sends connections that came back to those that have room.
    fn place_returned(&mut self, now: Time) {
        loop {
            let listeners = &self.listeners;
            let has_room = |handoff: &Handoff<C>, listener| {
                listeners.members(listener).any(|worker| handoff.has_room(now, worker))
            };
            let Some(held) = self.handoff.take_returned(has_room) else { return };
            if !self.place(now, held) {
                return;
            }
        }
    }
}
