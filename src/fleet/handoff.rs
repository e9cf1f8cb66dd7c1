//! Custody of connections between the kernel's queue and a worker that said `accepted: true`.
//!
//! [`Handoff`] owns its connections by value: each is in exactly one [`Outbox`] or in the queue of those that came
//! back, and leaves only as a return value. In the master `C` is a descriptor, in simulation a number. The file does
//! not know who sends, which worker is the right one, or what listens where beyond a name.
//!
//! Handles are pipelined to a worker within a window. Their acknowledgements carry no number, so they are taken in the
//! order of sending; the `accepted` that follows names the sequence number of its `newconn`.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{ListenerId, Rules, WorkerId};
use crate::{protocol::listen::ListenReply, time::Time};

/// A connection in the master's hand, and where it came from.
#[derive(Debug)]
pub struct Held<C> {
    /// The connection.
    pub connection: C,
    /// The socket that it was accepted from.
    pub listener: ListenerId,
    /// When.
    pub accepted: Time,
}

/// A listening socket that goes to a worker with the answer to its question.
#[derive(Debug)]
pub struct Share {
    /// Number of the message.
    pub seq: u64,
    /// Number of the question.
    pub ack: u64,
    /// The socket.
    pub listener: ListenerId,
    /// The answer.
    pub reply: Box<ListenReply>,
}

#[derive(Debug)]
struct Flight<C> {
    held: Held<C>,
    seq: u64,
    since: Time,
    /// The worker has told its end, before it said that it accepts.
    ended: bool,
}

/// A message that is on its way with a descriptor: acknowledgements count them all.
#[derive(Debug)]
enum Parcel<C> {
    Connection(Flight<C>),
    Socket(Share),
}

impl<C> Parcel<C> {
    fn seq(&self) -> u64 {
        match self {
            Self::Connection(flight) => flight.seq,
            Self::Socket(share) => share.seq,
        }
    }

    fn flight(&self) -> Option<&Flight<C>> {
        match self {
            Self::Connection(flight) => Some(flight),
            Self::Socket(_) => None,
        }
    }

    fn into_flight(self) -> Option<Flight<C>> {
        match self {
            Self::Connection(flight) => Some(flight),
            Self::Socket(_) => None,
        }
    }
}

/// What is on the way to one worker.
#[derive(Debug)]
struct Outbox<C> {
    /// Sent, or about to be; the worker has not said that it has the descriptor. In the order of sending.
    unacked: VecDeque<Parcel<C>>,
    /// The worker has the descriptor and has not said whether it accepts.
    acked: VecDeque<Flight<C>>,
    /// How many connections both have.
    connections: usize,
    /// Sockets that are to be sent when they can be.
    shares: VecDeque<Share>,
    gate: Gate,
    /// When it last answered for anything that it was sent.
    answered: Time,
    /// It is ready for connections.
    ready: bool,
    /// Was reported as stuck, once; its process is being ended.
    given_up: bool,
}

impl<C> Outbox<C> {
    /// Since when the oldest connection waits for an answer.
    fn waiting_since(&self) -> Option<Time> {
        let unacked = self.unacked.iter().find_map(Parcel::flight);
        [unacked, self.acked.front()].into_iter().flatten().map(|flight| flight.since).min()
    }

    /// Since when the worker has answered nothing, though it owes an answer: one after the other is work, and not silence.
    fn silent_since(&self) -> Option<Time> {
        self.waiting_since().map(|since| since.max(self.answered))
    }
}

/// Whether a worker can be sent connections at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// Its channel is full; opens when it can be written again.
    Full,
    /// It refused one, or the system did; opens by the clock.
    Refused {
        until: Time,
    },
}

/// Whoever looks at a deadline so long after it was not there when it came: it was stopped, or the machine was.
const LATE: Duration = Duration::from_secs(1);

/// A worker answered what it was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unexpected;

/// All connections that are on their way.
#[derive(Debug)]
pub(super) struct Handoff<C> {
    outboxes: BTreeMap<WorkerId, Outbox<C>>,
    /// Came back, and wait for another worker; the longest waiting first.
    returned: VecDeque<Held<C>>,
    /// How many sockets wait in the outboxes.
    shares: usize,
    limits: Limits,
}

/// What a worker may owe.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Connections on their way to it.
    window: usize,
    /// One that owes an answer for this long is sent no more.
    stall: Duration,
    /// One that owes an answer, and has given none for this long, is given up.
    timeout: Option<Duration>,
}

impl Limits {
    fn of(rules: &Rules) -> Self {
        Self { window: rules.window, stall: rules.stall, timeout: rules.handoff_timeout }
    }
}

impl<C> Handoff<C> {
    pub(super) fn new(rules: &Rules) -> Self {
        Self { outboxes: BTreeMap::new(), returned: VecDeque::new(), shares: 0, limits: Limits::of(rules) }
    }

    /// Goes by other rules from now on.
    pub(super) fn set_limits(&mut self, rules: &Rules) {
        self.limits = Limits::of(rules);
    }

    /// A worker that can be sent sockets from now on, and connections once it is opened.
    pub(super) fn add(&mut self, worker: WorkerId) {
        let (unacked, acked) =
            (VecDeque::with_capacity(self.limits.window), VecDeque::with_capacity(self.limits.window));
        let (shares, gate, answered) = (VecDeque::new(), Gate::Open, Time::default());
        let outbox =
            Outbox { unacked, acked, connections: 0, shares, gate, answered, ready: false, given_up: false };
        self.outboxes.insert(worker, outbox);
    }

    /// The worker is ready for connections.
    pub(super) fn open(&mut self, worker: WorkerId) {
        if let Some(outbox) = self.outboxes.get_mut(&worker) {
            outbox.ready = true;
        }
    }

    /// Whether the worker is ready for connections, whether or not it has room.
    pub(super) fn is_open(&self, worker: WorkerId) -> bool {
        self.outboxes.get(&worker).is_some_and(|outbox| outbox.ready)
    }

    /// A worker that is gone. Returns what it may have touched: all but those un-ACKed ones whose listener `takes_word`,
    /// which wait for another worker. That it was not heard to acknowledge one proves nothing: its words wait within it
    /// while its channel is full, and end with it.
    pub(super) fn remove(
        &mut self,
        worker: WorkerId,
        takes_word: impl Fn(ListenerId) -> bool,
    ) -> Vec<Held<C>> {
        let Some(outbox) = self.outboxes.remove(&worker) else { return Vec::new() };
        self.shares -= outbox.shares.len();
        let mut doubtful = Vec::new();
        for held in outbox.unacked.into_iter().filter_map(Parcel::into_flight).map(|flight| flight.held) {
            match takes_word(held.listener) {
                true => self.returned.push_back(held),
                false => doubtful.push(held),
            }
        }
        doubtful.extend(outbox.acked.into_iter().map(|flight| flight.held));
        doubtful
    }

    /// Puts a connection on its way. The caller sends it next, or says [`Handoff::unsent`].
    pub(super) fn assign(
        &mut self,
        now: Time,
        worker: WorkerId,
        seq: u64,
        held: Held<C>,
    ) -> Result<(), Held<C>> {
        match self.outboxes.get_mut(&worker) {
            Some(outbox) => {
                let flight = Flight { held, seq, since: now, ended: false };
                outbox.unacked.push_back(Parcel::Connection(flight));
                outbox.connections += 1;
                Ok(())
            }
            None => Err(held),
        }
    }

    /// The connection to be sent with `seq`.
    pub(super) fn connection(&self, worker: WorkerId, seq: u64) -> Option<&C> {
        let parcel = self.outboxes.get(&worker)?.unacked.iter().rev().find(|parcel| parcel.seq() == seq)?;
        parcel.flight().map(|flight| &flight.held.connection)
    }

    /// Has a socket sent to the worker, as soon as [`Handoff::next_share`] says that it can be.
    pub(super) fn share(&mut self, worker: WorkerId, share: Share) {
        if let Some(outbox) = self.outboxes.get_mut(&worker) {
            outbox.shares.push_back(share);
            self.shares += 1;
        }
    }

    /// The next socket to be sent, and to whom. The caller sends it, or says [`Handoff::unsent`].
    pub(super) fn next_share(&mut self) -> Option<(WorkerId, u64)> {
        if self.shares == 0 {
            return None;
        }
        let ready = |outbox: &Outbox<C>| outbox.gate == Gate::Open && !outbox.shares.is_empty();
        let (&worker, outbox) = self.outboxes.iter_mut().find(|(_, outbox)| ready(outbox))?;
        let share = outbox.shares.pop_front()?;
        let seq = share.seq;
        outbox.unacked.push_back(Parcel::Socket(share));
        self.shares -= 1;
        Some((worker, seq))
    }

    /// The socket to be sent with `seq`.
    pub(super) fn shared(&self, worker: WorkerId, seq: u64) -> Option<&Share> {
        self.outboxes.get(&worker)?.unacked.iter().rev().find_map(|parcel| match parcel {
            Parcel::Socket(share) if share.seq == seq => Some(share),
            Parcel::Socket(_) | Parcel::Connection(_) => None,
        })
    }

    /// `seq` could not be sent: it goes to somebody else, and the worker gets none until `gate` opens.
    pub(super) fn unsent(&mut self, worker: WorkerId, seq: u64, gate: Gate) {
        let Some(outbox) = self.outboxes.get_mut(&worker) else { return };
        outbox.gate = gate;
        let place = outbox.unacked.iter().rposition(|parcel| parcel.seq() == seq);
        match place.and_then(|place| outbox.unacked.remove(place)) {
            Some(Parcel::Connection(flight)) => {
                outbox.connections -= 1;
                self.returned.push_front(flight.held);
            }
            Some(Parcel::Socket(share)) => self.put_back(worker, share),
            None => {}
        }
    }

    /// The socket with `seq` is not going to be sent: no acknowledgement of it will come.
    pub(super) fn withdraw(&mut self, worker: WorkerId, seq: u64) {
        if let Some(outbox) = self.outboxes.get_mut(&worker) {
            outbox.unacked.retain(|parcel| parcel.seq() != seq || parcel.flight().is_some());
        }
    }

    /// The channel has room again.
    pub(super) fn writable(&mut self, worker: WorkerId) {
        if let Some(outbox) = self.outboxes.get_mut(&worker)
            && outbox.gate == Gate::Full
        {
            outbox.gate = Gate::Open;
        }
    }

    /// The worker has the descriptor of the oldest handle.
    pub(super) fn acknowledged(&mut self, now: Time, worker: WorkerId) -> Result<(), Unexpected> {
        let outbox = self.outboxes.get_mut(&worker).ok_or(Unexpected)?;
        outbox.answered = now;
        // With a socket that is all; a connection is to be accepted yet.
        let flight = outbox.unacked.pop_front().ok_or(Unexpected)?.into_flight();
        outbox.acked.extend(flight);
        Ok(())
    }

    /// The worker got no descriptor with the oldest handle (it has none free): the connection goes to somebody else.
    pub(super) fn not_acknowledged(
        &mut self,
        now: Time,
        worker: WorkerId,
        until: Time,
    ) -> Result<(), Unexpected> {
        let outbox = self.outboxes.get_mut(&worker).ok_or(Unexpected)?;
        outbox.answered = now;
        let parcel = outbox.unacked.pop_front().ok_or(Unexpected)?;
        outbox.gate = Gate::Refused { until };
        match parcel {
            Parcel::Connection(flight) => {
                outbox.connections -= 1;
                self.returned.push_back(flight.held);
            }
            // Nobody else has a use for it.
            Parcel::Socket(share) => self.put_back(worker, share),
        }
        Ok(())
    }

    fn put_back(&mut self, worker: WorkerId, share: Share) {
        if let Some(outbox) = self.outboxes.get_mut(&worker) {
            outbox.shares.push_front(share);
            self.shares += 1;
        }
    }

    /// The worker has taken the connection: ours to let go. Also says whether it has ended already.
    pub(super) fn accepted(
        &mut self,
        now: Time,
        worker: WorkerId,
        seq: u64,
    ) -> Result<(Held<C>, bool), Unexpected> {
        self.answered(now, worker, seq).map(|flight| (flight.held, flight.ended))
    }

    /// The worker does not take the connection: it goes to somebody else, and the worker gets none until `until`.
    pub(super) fn refused(
        &mut self,
        now: Time,
        worker: WorkerId,
        seq: u64,
        until: Time,
    ) -> Result<(), Unexpected> {
        let flight = self.answered(now, worker, seq)?;
        if let Some(outbox) = self.outboxes.get_mut(&worker) {
            outbox.gate = Gate::Refused { until };
        }
        self.returned.push_back(flight.held);
        Ok(())
    }

    fn answered(&mut self, now: Time, worker: WorkerId, seq: u64) -> Result<Flight<C>, Unexpected> {
        let outbox = self.outboxes.get_mut(&worker).ok_or(Unexpected)?;
        outbox.answered = now;
        let place = outbox.acked.iter().position(|flight| flight.seq == seq).ok_or(Unexpected)?;
        outbox.connections -= 1;
        outbox.acked.remove(place).ok_or(Unexpected)
    }

    /// The worker tells the end of a connection that it has not accepted yet.
    pub(super) fn ended(&mut self, worker: WorkerId, seq: u64) {
        let Some(outbox) = self.outboxes.get_mut(&worker) else { return };
        let unacked = outbox.unacked.iter_mut().filter_map(|parcel| match parcel {
            Parcel::Connection(flight) => Some(flight),
            Parcel::Socket(_) => None,
        });
        let flights = unacked.chain(&mut outbox.acked);
        flights.filter(|flight| flight.seq == seq).for_each(|flight| flight.ended = true);
    }

    /// Takes back the next connection that needs another worker and for whose listener `wanted` holds.
    pub(super) fn take_returned(&mut self, wanted: impl Fn(&Self, ListenerId) -> bool) -> Option<Held<C>> {
        let place = self.returned.iter().position(|held| wanted(self, held.listener))?;
        self.returned.remove(place)
    }

    /// Holds on to a connection that has no worker yet.
    pub(super) fn hold(&mut self, held: Held<C>) {
        self.returned.push_front(held);
    }

    /// How many connections the worker has been sent and not accepted, if it can be sent one more.
    pub(super) fn room(&self, now: Time, worker: WorkerId) -> Option<usize> {
        let outbox = self.outboxes.get(&worker)?;
        let has_room = outbox.ready
            && outbox.gate == Gate::Open
            && outbox.connections < self.limits.window
            && outbox.waiting_since().is_none_or(|since| now < since + self.limits.stall);
        has_room.then_some(outbox.connections)
    }

    pub(super) fn has_room(&self, now: Time, worker: WorkerId) -> bool {
        self.room(now, worker).is_some()
    }

    /// How many connections the worker has been sent and not accepted.
    pub(super) fn in_flight(&self, worker: WorkerId) -> usize {
        self.outboxes.get(&worker).map_or(0, |outbox| outbox.connections)
    }

    /// Whether connections wait for another worker.
    pub(super) fn has_returned(&self) -> bool {
        !self.returned.is_empty()
    }

    /// When [`Handoff::handle_timeout`] is to be called.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.outboxes
            .values()
            .flat_map(|outbox| [self.gate_opens(outbox), self.gives_up(outbox)])
            .flatten()
            .min()
    }

    fn gate_opens(&self, outbox: &Outbox<C>) -> Option<Time> {
        match outbox.gate {
            Gate::Refused { until } => Some(until),
            Gate::Open | Gate::Full => None,
        }
    }

    fn gives_up(&self, outbox: &Outbox<C>) -> Option<Time> {
        if outbox.given_up {
            return None;
        }
        Some(outbox.silent_since()? + self.limits.timeout?)
    }

    /// Time has passed. Returns a worker that owes answers for too long, each once; ask until there is none.
    pub(super) fn handle_timeout(&mut self, now: Time) -> Option<(WorkerId, Duration)> {
        for outbox in self.outboxes.values_mut() {
            if matches!(outbox.gate, Gate::Refused { until } if until <= now) {
                outbox.gate = Gate::Open;
            }
        }
        if self.outboxes.values().any(|outbox| self.gives_up(outbox).is_some_and(|at| at + LATE < now)) {
            // This process stood still, so what the workers have answered meanwhile is not read yet.
            self.outboxes.values_mut().for_each(|outbox| outbox.answered = now);
            return None;
        }
        let due = |outbox: &Outbox<C>| self.gives_up(outbox).is_some_and(|at| at <= now);
        let stuck = self.outboxes.iter().find(|(_, outbox)| due(outbox)).map(|(&worker, _)| worker)?;
        let outbox = self.outboxes.get_mut(&stuck)?;
        outbox.given_up = true;
        Some((stuck, now - outbox.silent_since()?))
    }
}

#[cfg(test)]
#[path = "handoff_tests.rs"]
mod tests;
