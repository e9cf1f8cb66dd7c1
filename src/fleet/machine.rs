//! The fleet as one machine: lives, listeners and connections put together.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use super::{
    Admission, Counters, Event, ExitStatus, ListenerId, LoadSource, Output, Overload, Rules, Stop, Told, Trouble, Unsent, WorkerId, WorkerInfo,
    handoff::{Gate, Handoff, Hearsay, Held, Limits},
    lifecycle::{Action, Happening, Lifecycle},
    listeners::Listeners,
    signal,
    tally::Tally,
};
use crate::{balance::PolicyName, time::Time};

/// A worker process and what is known of it.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) slot: u32,
    pub(super) pid: u32,
    pub(super) life: Lifecycle,
    pub(super) next_seq: u64,
    pub(super) channel_open: bool,
    pub(super) hearsay: Hearsay,
    /// It was told to leave, or left by the protocol.
    pub(super) exited_after_disconnect: bool,
    pub(super) serving: bool,
    /// It has begun to listen, and it is settled who tells the ends of its connections.
    pub(super) asked_to_listen: bool,
    /// What will be wrong with it if nothing has changed by then.
    pub(super) suspicion: Option<(Time, Trouble)>,
}

impl Worker {
    /// The number of the next message to it.
    pub(super) fn take_seq(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }
}

/// What looks wrong with a worker may be right a moment later; after this long it is reported.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// A place for a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Taken(WorkerId),
    /// To be filled then.
    Waiting(Time),
    /// Not to be filled.
    Empty,
}

/// All workers and what is on the way to them. `C` is a connection.
#[derive(Debug)]
pub struct Fleet<C> {
    pub(super) rules: Rules,
    pub(super) workers: BTreeMap<WorkerId, Worker>,
    slots: Vec<Slot>,
    pub(super) listeners: Listeners,
    pub(super) handoff: Handoff<C>,
    pub(super) tally: Tally,
    /// The policy goes by the number of open connections.
    pub(super) needs_load: bool,
    pub(super) counters: Counters,
    pub(super) outputs: VecDeque<Output<C>>,
    next_worker: u32,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Stopping,
    Stopped,
}

// Commands, and what the loop asks.
impl<C> Fleet<C> {
    /// A fleet that has not started anything.
    pub fn new(rules: Rules, policy: PolicyName) -> Self {
        let (window, stall, timeout) = (rules.window, rules.stall, rules.handoff_timeout);
        let handoff = Handoff::new(Limits { window, stall, timeout });
        Self {
            rules,
            workers: BTreeMap::new(),
            slots: Vec::new(),
            listeners: Listeners::new(policy),
            handoff,
            tally: Tally::default(),
            needs_load: policy.needs_load(),
            counters: Counters::default(),
            outputs: VecDeque::new(),
            next_worker: 1,
            phase: Phase::Running,
        }
    }

    /// Adds a listening socket that is open as long as the fleet lives.
    pub fn listen(&mut self, address: SocketAddr) -> ListenerId {
        self.listeners.open(address, false, true)
    }

    /// Starts the workers that the rules want.
    pub fn start(&mut self, now: Time) {
        for _ in 0..self.rules.workers {
            self.fork(now);
        }
    }

    /// Adds one worker, in the lowest place that is not wanted for another. `None` while the fleet stops.
    pub fn fork(&mut self, now: Time) -> Option<WorkerId> {
        if self.phase != Phase::Running {
            return None;
        }
        let place = self.slots.iter().position(|&slot| slot == Slot::Empty).unwrap_or(self.slots.len());
        if place == self.slots.len() {
            self.slots.push(Slot::Empty);
        }
        Some(self.spawn(now, place))
    }

    /// Stops all of them. May be said again, more urgently.
    pub fn stop(&mut self, now: Time, how: Stop) {
        if self.phase == Phase::Stopped {
            return;
        }
        self.phase = Phase::Stopping;
        self.slots.iter_mut().filter(|slot| matches!(slot, Slot::Waiting(_))).for_each(|slot| *slot = Slot::Empty);
        self.outputs.extend(self.listeners.close_all().into_iter().map(Output::CloseListener));
        let (happening, timeout) = match how {
            Stop::Graceful => (Happening::StopGracefully, Some(self.rules.stop_timeout)),
            Stop::NoDeadline => (Happening::StopWithoutDeadline, None),
            Stop::Now => (Happening::StopNow, Some(Duration::ZERO)),
        };
        self.event(Event::Stopping { workers: self.workers.len(), timeout });
        let all: Vec<_> = self.workers.keys().copied().collect();
        for worker in all {
            self.happens(now, worker, happening);
        }
        self.settle(now);
    }

    /// What to do with the next connection of `listener`, if there is one.
    pub fn admit(&mut self, now: Time, listener: ListenerId) -> Admission {
        let room = self.has_room(now, listener);
        let (admission, begins) = self.listeners.admit(now, listener, room);
        self.counters.waits += u64::from(begins);
        admission
    }

    /// Whether [`Fleet::admit`] would have the next connection of `listener` accepted.
    pub fn admits(&self, now: Time, listener: ListenerId) -> bool {
        self.listeners.refuses(listener) || self.has_room(now, listener)
    }

    /// What has happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether a connection from `listener` could be placed now.
    pub fn has_room(&self, now: Time, listener: ListenerId) -> bool {
        self.listeners.members(listener).any(|worker| self.handoff.has_room(now, worker))
    }

    /// The connection that is to be sent with `seq`.
    pub fn connection(&self, worker: WorkerId, seq: u64) -> Option<&C> {
        self.handoff.connection(worker, seq)
    }

    /// What to do next; ask until there is nothing.
    pub fn poll_output(&mut self) -> Option<Output<C>> {
        self.outputs.pop_front()
    }

    /// When [`Fleet::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        let lives = self.workers.values().filter_map(|worker| worker.life.deadline());
        let suspicions = self.workers.values().filter_map(|worker| worker.suspicion.as_ref()).map(|&(at, _)| at);
        let slots = self.slots.iter().filter_map(|slot| match slot {
            Slot::Waiting(at) => Some(*at),
            Slot::Taken(_) | Slot::Empty => None,
        });
        let refuses = match self.rules.overload {
            Overload::Wait => None,
            Overload::Reject { after } => self.listeners.refuses_at(after),
        };
        lives.chain(suspicions).chain(slots).chain(self.handoff.deadline()).chain(refuses).min()
    }

    /// The workers whose processes exist.
    pub fn workers(&self) -> impl Iterator<Item = WorkerInfo> {
        self.workers.iter().filter(|(_, worker)| worker.pid != 0).map(|(&id, worker)| WorkerInfo {
            id,
            slot: worker.slot,
            pid: worker.pid,
            serving: worker.serving && worker.life.is_staying(),
            connections: self.tally.open(id),
            in_flight: self.handoff.in_flight(id),
            load_source: self.tally.source(id),
        })
    }

    /// It has been told to stop.
    pub fn is_stopping(&self) -> bool {
        self.phase != Phase::Running
    }

    /// Everything has stopped.
    pub fn is_stopped(&self) -> bool {
        self.phase == Phase::Stopped
    }
}

// What happens.
impl<C> Fleet<C> {
    /// A worker process was started.
    pub fn handle_spawned(&mut self, id: WorkerId, pid: u32) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.pid = pid;
        let slot = worker.slot;
        self.event(Event::Fork { worker: id, slot, pid });
    }

    /// A worker process could not be created.
    pub fn handle_spawn_failed(&mut self, now: Time, worker: WorkerId, errno: i32) {
        let retry = self.rules.restart_delay;
        self.event(Event::Trouble { worker, trouble: Trouble::SpawnFailed { errno, retry } });
        self.remove(now, worker);
        self.settle(now);
    }

    /// A worker's channel has ended, and all that it sent has been handled.
    pub fn handle_channel_closed(&mut self, now: Time, worker: WorkerId) {
        let Some(state) = self.workers.get_mut(&worker).filter(|state| state.channel_open) else { return };
        if state.life.is_unheard() {
            // Most that do this are dying, and their exit says it better.
            state.suspicion = Some((now + GRACE, Trouble::ClosedUnheard));
        }
        self.disconnected(now, worker, Happening::ChannelClosed);
        self.settle(now);
    }

    /// A worker process has ended. `all_heard`: its channel was read to its end, which nobody else holds.
    pub fn handle_exited(&mut self, now: Time, id: WorkerId, status: ExitStatus, all_heard: bool) {
        self.happens(now, id, Happening::Exited);
        if let Some(worker) = self.workers.get_mut(&id).filter(|_| !all_heard) {
            worker.hearsay = Hearsay::Partial;
        }
        let Some(worker) = self.workers.get(&id) else { return };
        if worker.channel_open {
            self.event(Event::Disconnect { worker: id });
        }
        let Some(worker) = self.remove(now, id) else { return };
        let restart = match self.slots.get(worker.slot as usize) {
            Some(&Slot::Waiting(at)) => Some(at - now),
            _ => None,
        };
        let (exited_after_disconnect, lived) = (worker.exited_after_disconnect, worker.life.age(now));
        self.event(Event::Exit { worker: id, status, exited_after_disconnect, lived, restart });
        self.settle(now);
    }

    /// The kernel gave out a connection.
    pub fn handle_connection(&mut self, now: Time, listener: ListenerId, connection: C) {
        self.counters.accepted += 1;
        self.place(now, Held { connection, listener });
    }

    /// A connection was turned away, as [`Fleet::admit`] had said.
    pub fn handle_rejected(&mut self) {
        self.counters.rejected += 1;
    }

    /// The connection of `seq` could not be sent.
    pub fn handle_unsent(&mut self, now: Time, worker: WorkerId, seq: u64, why: Unsent) {
        let gate = match why {
            Unsent::ChannelFull => Gate::Full,
            Unsent::SystemLimit => Gate::Refused { until: now + self.rules.refusal_pause },
        };
        self.handoff.unsent(worker, seq, gate);
        self.settle(now);
    }

    /// What a worker that is gone had received: `untouched` goes to others, the rest is lost.
    pub fn handle_examined(&mut self, now: Time, worker: WorkerId, untouched: Vec<Held<C>>, lost: Vec<Held<C>>) {
        self.counters.replaced += u64::try_from(untouched.len()).unwrap_or(0);
        self.counters.lost += u64::try_from(lost.len()).unwrap_or(0);
        untouched.into_iter().for_each(|held| self.handoff.hold(held));
        if !lost.is_empty() {
            self.event(Event::Trouble { worker, trouble: Trouble::LostConnections { count: lost.len() } });
            self.outputs.extend(lost.into_iter().map(|held| Output::Release(held.connection)));
        }
        self.settle(now);
    }

    /// Whether the kernel tells the ends of a worker's connections from now on; if not, nobody does.
    pub fn handle_kernel_tells(&mut self, worker: WorkerId, tells: bool) {
        if tells {
            self.told_by(worker, LoadSource::Kernel);
        } else {
            self.event(Event::LoadSource { worker, source: LoadSource::None });
        }
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

    /// A worker's channel has room again.
    pub fn handle_writable(&mut self, now: Time, worker: WorkerId) {
        self.handoff.writable(worker);
        self.settle(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        if let Overload::Reject { after } = self.rules.overload {
            self.listeners.refuse(now, after);
        }
        while let Some((worker, after)) = self.handoff.handle_timeout(now) {
            self.event(Event::Trouble { worker, trouble: Trouble::Stuck { after } });
            self.happens(now, worker, Happening::StopNow);
        }
        let all: Vec<_> = self.workers.keys().copied().collect();
        for id in all {
            let Some(worker) = self.workers.get_mut(&id) else { continue };
            match worker.life.handle_timeout(now, &self.rules) {
                Some(Action::GiveUp { after }) => self.give_up(now, id, after),
                Some(action) => self.act(id, action),
                None => {}
            }
            self.confirm_suspicion(now, id);
        }
        for place in 0..self.slots.len() {
            if matches!(self.slots[place], Slot::Waiting(at) if at <= now) {
                self.spawn(now, place);
            }
        }
        self.settle(now);
    }
}

impl<C> Fleet<C> {
    pub(super) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// From now on `source` tells the ends of a worker's connections.
    pub(super) fn told_by(&mut self, worker: WorkerId, source: LoadSource) {
        if self.tally.source(worker) != source {
            self.tally.told_by(worker, source);
            self.event(Event::LoadSource { worker, source });
        }
    }

    fn spawn(&mut self, now: Time, place: usize) -> WorkerId {
        let id = WorkerId(self.next_worker);
        self.next_worker += 1;
        let slot = u32::try_from(place).unwrap_or(u32::MAX);
        let worker = Worker {
            slot,
            pid: 0,
            life: Lifecycle::new(now, &self.rules),
            next_seq: 0,
            channel_open: true,
            hearsay: Hearsay::Complete,
            exited_after_disconnect: false,
            serving: false,
            asked_to_listen: false,
            suspicion: None,
        };
        self.workers.insert(id, worker);
        self.handoff.add(id);
        self.tally.add(id);
        self.slots[place] = Slot::Taken(id);
        self.outputs.push_back(Output::Spawn { worker: id, slot });
        id
    }

    /// Forgets a worker that is gone, gives its place to a successor and its connections to others.
    fn remove(&mut self, now: Time, id: WorkerId) -> Option<Worker> {
        let worker = self.workers.remove(&id)?;
        self.listeners.leave(id);
        self.outputs.extend(self.listeners.forget_oldest().into_iter().map(Output::CloseListener));
        self.tally.remove(id);
        let on_the_way = self.handoff.in_flight(id);
        let doubtful = self.handoff.remove(id, worker.hearsay);
        self.counters.replaced += u64::try_from(on_the_way - doubtful.len()).unwrap_or(0);
        if !doubtful.is_empty() {
            self.outputs.push_back(Output::Examine { worker: id, doubtful });
        }
        if let Some(slot) = self.slots.get_mut(worker.slot as usize).filter(|slot| **slot == Slot::Taken(id)) {
            *slot = match self.phase {
                Phase::Running => Slot::Waiting(now + self.rules.restart_delay),
                Phase::Stopping | Phase::Stopped => Slot::Empty,
            };
        }
        Some(worker)
    }

    pub(super) fn disconnected(&mut self, now: Time, id: WorkerId, how: Happening) {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.channel_open) else { return };
        worker.channel_open = false;
        self.listeners.leave(id);
        self.happens(now, id, how);
        self.event(Event::Disconnect { worker: id });
    }

    pub(super) fn happens(&mut self, now: Time, id: WorkerId, happening: Happening) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if let Some(action) = worker.life.handle(now, happening, &self.rules) {
            self.act(id, action);
        }
    }

    fn act(&mut self, id: WorkerId, action: Action) {
        let trouble = match action {
            Action::Disconnect => {
                self.listeners.leave(id);
                let Some(worker) = self.workers.get_mut(&id) else { return };
                worker.exited_after_disconnect = true;
                let told = Told::Disconnect { seq: worker.take_seq() };
                self.outputs.push_back(Output::Tell(id, told));
                None
            }
            Action::Terminate { overdue } => self.signal(id, signal::TERM, overdue),
            Action::Kill { overdue } => self.signal(id, signal::KILL, overdue),
            // The loop over the timers does it: it takes the worker away.
            Action::GiveUp { .. } => None,
            Action::ComplainOfSilence { after } => Some(Trouble::Silent { after }),
            Action::ComplainOfIdleness { after } => Some(Trouble::NotListening { after }),
        };
        if let Some(trouble) = trouble {
            self.event(Event::Trouble { worker: id, trouble });
        }
    }

    /// A process that does not end though it was killed (it may not be signalled, or the kernel holds it) is given up:
    /// its place is free. Should it end after all, it is reaped and nothing else.
    fn give_up(&mut self, now: Time, id: WorkerId, after: Duration) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.hearsay = Hearsay::Partial;
            let pid = worker.pid;
            self.event(Event::Trouble { worker: id, trouble: Trouble::Unkillable { pid, after } });
        }
        self.outputs.push_back(Output::CloseChannel(id));
        self.remove(now, id);
    }

    fn signal(&mut self, id: WorkerId, signal: i32, overdue: Option<Duration>) -> Option<Trouble> {
        self.listeners.leave(id);
        self.outputs.push_back(Output::Signal(id, signal));
        overdue.map(|after| Trouble::Overdue { signal, after })
    }

    /// Gives a connection to a worker, or holds on to it until one has room.
    fn place(&mut self, now: Time, held: Held<C>) -> bool {
        let (handoff, tally) = (&self.handoff, &self.tally);
        let load = |worker| {
            let load = u32::try_from(handoff.in_flight(worker) + tally.open(worker)).unwrap_or(u32::MAX);
            handoff.has_room(now, worker).then_some(load)
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
        while self.handoff.has_returned() {
            let (listeners, handoff) = (&self.listeners, &self.handoff);
            let has_room = |listener| listeners.members(listener).any(|worker| handoff.has_room(now, worker));
            let placeable: Vec<_> = listeners.all().filter(|&listener| has_room(listener)).collect();
            let stopping = self.phase != Phase::Running;
            match self.handoff.take_returned(|listener| stopping || placeable.contains(&listener)) {
                // Nobody will have room for it any more.
                Some(held) if stopping => self.outputs.push_back(Output::Release(held.connection)),
                Some(held) => {
                    if !self.place(now, held) {
                        break;
                    }
                }
                None => break,
            }
        }
        if self.phase == Phase::Stopping && self.workers.is_empty() {
            self.phase = Phase::Stopped;
            self.event(Event::Stopped);
        }
    }
}
