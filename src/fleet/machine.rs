//! The fleet as one machine: lives, listeners and connections put together.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use serde_json::Value;

use super::{
    Address, Event, ExitStatus, ListenerId, Rules, Stop, Trouble, WorkerId,
    handoff::{Gate, Handoff, Hearsay, Held, Unexpected},
    lifecycle::{Action, Happening, Lifecycle},
    listeners::{Answer, Listeners, Wish},
    signal,
};
use crate::{
    balance::PolicyName,
    protocol::{
        listen::{ListenReply, Query},
        message::{Act, ClusterMessage, Message, Own},
    },
    time::Time,
};

/// What the loop is to do.
#[derive(Debug)]
pub enum Output<C> {
    /// Start a worker process; answered by `handle_spawned` or `handle_spawn_failed`.
    Spawn {
        /// Its id.
        worker: WorkerId,
        /// Its place.
        slot: u32,
    },
    /// Send a worker a message.
    Tell(WorkerId, Told),
    /// Send a worker the connection that [`Fleet::connection`] gives for `seq`; if its channel is full, say
    /// `handle_unsent`.
    Hand {
        /// To whom.
        worker: WorkerId,
        /// The worker's name for the listening socket.
        key: Arc<str>,
        /// Number of the message.
        seq: u64,
    },
    /// Bind a socket for a worker; answered by `handle_bound` or `handle_not_bound`.
    Bind {
        /// For whom.
        worker: WorkerId,
        /// Number of its question.
        ack: u64,
        /// What to bind.
        wish: Wish,
    },
    /// Close a listening socket.
    CloseListener(ListenerId),
    /// Close a worker's channel.
    CloseChannel(WorkerId),
    /// Send a worker's process group a signal.
    Signal(WorkerId, i32),
    /// Close the master's copy of a connection.
    Release(C),
    /// Look whether a worker that is gone has read from these connections or written to them; answered by
    /// `handle_examined`.
    Examine {
        /// The worker.
        worker: WorkerId,
        /// What it had received and not accepted.
        doubtful: Vec<Held<C>>,
    },
    /// Tell the user.
    Event(Event),
}

/// What a worker is told, besides connections.
#[derive(Debug)]
pub enum Told {
    /// The answer to its question.
    Reply {
        /// Number of this message.
        seq: u64,
        /// Number of the question.
        ack: u64,
        /// The answer.
        reply: Box<ListenReply>,
    },
    /// Leave.
    Disconnect {
        /// Number of this message.
        seq: u64,
    },
    /// It may leave, as it said it would.
    Ack {
        /// Number of this message.
        seq: u64,
        /// Number of what it said.
        ack: u64,
    },
    /// Its descriptor was not taken.
    HandleNack,
}

/// Why a connection could not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsent {
    /// The worker's channel is full, or broken; `handle_writable` tells when it is not.
    ChannelFull,
    /// The system has too many descriptors on their way (ETOOMANYREFS) or no memory: later.
    SystemLimit,
}

/// A worker as users see it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// Its id.
    pub id: WorkerId,
    /// Its place.
    pub slot: u32,
    /// Its process id.
    pub pid: u32,
    /// It listens and has not begun to leave.
    pub serving: bool,
}

#[derive(Debug)]
struct Worker {
    slot: u32,
    pid: u32,
    life: Lifecycle,
    next_seq: u64,
    channel_open: bool,
    hearsay: Hearsay,
    /// It was told to leave, or left by the protocol.
    exited_after_disconnect: bool,
    serving: bool,
    /// It listens where nobody told it to; to be said if that is all it does by then.
    elsewhere: Option<(Time, Address)>,
}

impl Worker {
    fn take_seq(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }
}

/// A place for a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Taken(WorkerId),
    /// To be filled then.
    Waiting(Time),
    /// Not to be filled.
    Empty,
}

/// A worker that listens elsewhere may yet listen where it was told: this long after, it is reported.
const ELSEWHERE_GRACE: Duration = Duration::from_secs(1);

/// All workers and what is on the way to them. `C` is a connection.
#[derive(Debug)]
pub struct Fleet<C> {
    rules: Rules,
    workers: BTreeMap<WorkerId, Worker>,
    slots: Vec<Slot>,
    listeners: Listeners,
    handoff: Handoff<C>,
    outputs: VecDeque<Output<C>>,
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
        let handoff = Handoff::new(rules.window);
        Self {
            rules,
            workers: BTreeMap::new(),
            slots: Vec::new(),
            listeners: Listeners::new(policy),
            handoff,
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

    /// Whether a connection from `listener` could be placed now: accept no other.
    pub fn has_room(&self, now: Time, listener: ListenerId) -> bool {
        self.listeners.members(listener).any(|worker| self.handoff.has_room(worker, now))
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
    pub fn poll_timeout(&self, now: Time) -> Option<Time> {
        let lives = self.workers.values().filter_map(|worker| worker.life.deadline());
        let elsewhere = self.workers.values().filter_map(|worker| worker.elsewhere.as_ref()).map(|&(at, _)| at);
        let slots = self.slots.iter().filter_map(|slot| match slot {
            Slot::Waiting(at) => Some(*at),
            Slot::Taken(_) | Slot::Empty => None,
        });
        lives.chain(elsewhere).chain(slots).chain(self.handoff.deadline(now)).min()
    }

    /// The workers whose processes exist.
    pub fn workers(&self) -> impl Iterator<Item = WorkerInfo> {
        self.workers.iter().filter(|(_, worker)| worker.pid != 0).map(|(&id, worker)| WorkerInfo {
            id,
            slot: worker.slot,
            pid: worker.pid,
            serving: worker.serving && worker.life.is_staying(),
        })
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

    /// A worker sent something.
    pub fn handle_message(&mut self, now: Time, worker: WorkerId, message: Message<'_>) {
        // What it still had to say when its channel was closed for the rest.
        if self.workers.get(&worker).is_none_or(|state| !state.channel_open) {
            return;
        }
        let result = match message {
            Message::Cluster(ClusterMessage { seq, act }) => self.handle_act(now, worker, seq, act),
            Message::HandleAck => self.handoff.acknowledged(worker).map_err(|Unexpected| "NODE_HANDLE_ACK"),
            Message::HandleNack => {
                let until = now + self.rules.refusal_pause;
                self.handoff.not_acknowledged(worker, until).map_err(|Unexpected| "NODE_HANDLE_NACK")
            }
            Message::Handle(_) => {
                self.outputs.push_back(Output::Tell(worker, Told::HandleNack));
                Ok(())
            }
            Message::Pointsman(Own::LaunchFailed { step, errno }) => {
                let trouble = Trouble::LaunchFailed { step: step.into_owned(), errno };
                self.event(Event::Trouble { worker, trouble });
                Ok(())
            }
            Message::Pointsman(Own::Unknown) | Message::Internal => Ok(()),
            Message::User(text) => {
                let message = serde_json::from_str(text.get()).unwrap_or(Value::Null);
                self.event(Event::Message { worker, message });
                Ok(())
            }
        };
        if let Err(what) = result {
            self.handle_garbage(now, worker, format!("{what} for nothing that was sent to it"));
        }
        self.settle(now);
    }

    /// A worker sent what cannot be understood.
    pub fn handle_garbage(&mut self, now: Time, worker: WorkerId, why: String) {
        self.event(Event::Trouble { worker, trouble: Trouble::BrokeProtocol { why } });
        self.outputs.push_back(Output::CloseChannel(worker));
        if let Some(state) = self.workers.get_mut(&worker) {
            state.hearsay = Hearsay::Partial;
        }
        self.disconnected(now, worker, Happening::ChannelBroken);
    }

    /// A worker's channel has ended, and all that it sent has been handled.
    pub fn handle_channel_closed(&mut self, now: Time, worker: WorkerId) {
        let Some(state) = self.workers.get(&worker).filter(|state| state.channel_open) else { return };
        if state.life.is_unheard() && state.life.is_staying() {
            self.event(Event::Trouble { worker, trouble: Trouble::ClosedUnheard });
        }
        self.disconnected(now, worker, Happening::ChannelClosed);
        self.settle(now);
    }

    /// A worker process has ended, and its channel has been drained.
    pub fn handle_exited(&mut self, now: Time, id: WorkerId, status: ExitStatus) {
        self.happens(now, id, Happening::Exited);
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
        self.place(now, Held { connection, listener });
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
        untouched.into_iter().for_each(|held| self.handoff.hold(held));
        if !lost.is_empty() {
            self.event(Event::Trouble { worker, trouble: Trouble::LostConnections { count: lost.len() } });
            self.outputs.extend(lost.into_iter().map(|held| Output::Release(held.connection)));
        }
        self.settle(now);
    }

    /// A worker's channel has room again.
    pub fn handle_writable(&mut self, now: Time, worker: WorkerId) {
        self.handoff.writable(worker);
        self.settle(now);
    }

    /// A wish has come true. Returns the name of the new socket.
    pub fn handle_bound(&mut self, worker: WorkerId, ack: u64, wish: &Wish, address: SocketAddr) -> ListenerId {
        let (listener, reply) = self.listeners.bound(worker, wish, address);
        if let Some(reply) = reply {
            self.reply(worker, ack, reply);
        }
        listener
    }

    /// A wish could not be fulfilled.
    pub fn handle_not_bound(&mut self, worker: WorkerId, ack: u64, wish: &Wish, errno: i32) {
        let address = wish.addresses.first().map(ToString::to_string).unwrap_or_default();
        self.event(Event::Trouble { worker, trouble: Trouble::ListenFailed { address, errno } });
        self.reply(worker, ack, Listeners::not_bound(wish, errno));
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        let all: Vec<_> = self.workers.keys().copied().collect();
        for id in all {
            let Some(worker) = self.workers.get_mut(&id) else { continue };
            if let Some(action) = worker.life.handle_timeout(now, &self.rules) {
                self.act(id, action);
            }
            self.report_elsewhere(now, id);
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
    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
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
            elsewhere: None,
        };
        self.workers.insert(id, worker);
        self.handoff.add(id);
        self.slots[place] = Slot::Taken(id);
        self.outputs.push_back(Output::Spawn { worker: id, slot });
        id
    }

    /// Forgets a worker that is gone, gives its place to a successor and its connections to others.
    fn remove(&mut self, now: Time, id: WorkerId) -> Option<Worker> {
        let worker = self.workers.remove(&id)?;
        self.listeners.leave(id);
        let doubtful = self.handoff.remove(id, worker.hearsay);
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

    fn handle_act(&mut self, now: Time, id: WorkerId, seq: u64, act: Act<'_>) -> Result<(), &'static str> {
        let Some(worker) = self.workers.get_mut(&id) else { return Ok(()) };
        match act {
            Act::Online => {
                self.happens(now, id, Happening::Online);
                self.event(Event::Online { worker: id });
            }
            Act::QueryServer(query) if worker.life.is_staying() => self.handle_query(id, seq, &query),
            // Node's primary does not answer one that is leaving either.
            Act::QueryServer(_) => {}
            Act::Listening(query) => self.handle_listening(now, id, &query),
            Act::Accepted { ack, accepted: true } => {
                let connection = self.handoff.accepted(id, ack).map_err(|Unexpected| "accepted")?;
                self.outputs.push_back(Output::Release(connection));
            }
            Act::Accepted { ack, accepted: false } => {
                let until = now + self.rules.refusal_pause;
                self.handoff.refused(id, ack, until).map_err(|Unexpected| "accepted: false")?;
            }
            Act::Close { key } => {
                // One that leaves closes what its successor will want.
                if worker.life.is_staying() {
                    self.outputs.extend(self.listeners.close(id, &key).into_iter().map(Output::CloseListener));
                }
            }
            Act::ExitedAfterDisconnect => {
                worker.exited_after_disconnect = true;
                let answer = Told::Ack { seq: worker.take_seq(), ack: seq };
                self.outputs.push_back(Output::Tell(id, answer));
                self.listeners.leave(id);
                self.happens(now, id, Happening::Leaves);
            }
            // What only a master says, and what a later version may say.
            Act::Disconnect | Act::NewConn { .. } | Act::Reply { .. } | Act::Ack { .. } | Act::Unknown => {}
        }
        Ok(())
    }

    fn handle_query(&mut self, worker: WorkerId, ack: u64, query: &Query) {
        match self.listeners.ask(worker, query) {
            Answer::Reply(reply) => self.reply(worker, ack, reply),
            Answer::Bind(wish) => self.outputs.push_back(Output::Bind { worker, ack, wish }),
            Answer::Unsupported(reply) => {
                let address = format!("{} ({})", query.address.as_deref().unwrap_or("*"), query.address_type);
                let errno = reply.errno.map_or(0, i32::abs);
                self.event(Event::Trouble { worker, trouble: Trouble::ListenFailed { address, errno } });
                self.reply(worker, ack, reply);
            }
        }
    }

    fn reply(&mut self, id: WorkerId, ack: u64, reply: ListenReply) {
        if let Some(worker) = self.workers.get_mut(&id) {
            let told = Told::Reply { seq: worker.take_seq(), ack, reply: Box::new(reply) };
            self.outputs.push_back(Output::Tell(id, told));
        }
    }

    fn handle_listening(&mut self, now: Time, id: WorkerId, query: &Query) {
        self.happens(now, id, Happening::Listening);
        let port = query.port.and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
        let address = Address { host: query.address.clone(), port };
        let told = self.listeners.serves_what_was_told(id);
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.serving = true;
            worker.elsewhere = (!told).then(|| (now + ELSEWHERE_GRACE, address.clone()));
        }
        self.event(Event::Listening { worker: id, address });
    }

    fn report_elsewhere(&mut self, now: Time, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if let Some((_, address)) = worker.elsewhere.take_if(|(at, _)| *at <= now)
            && worker.life.is_staying()
            && !self.listeners.serves_what_was_told(id)
        {
            let told = self.listeners.told();
            self.event(Event::Trouble { worker: id, trouble: Trouble::ListensElsewhere { address, told } });
        }
    }

    fn disconnected(&mut self, now: Time, id: WorkerId, how: Happening) {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.channel_open) else { return };
        worker.channel_open = false;
        self.listeners.leave(id);
        self.happens(now, id, how);
        self.event(Event::Disconnect { worker: id });
    }

    fn happens(&mut self, now: Time, id: WorkerId, happening: Happening) {
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
            Action::ComplainOfSilence { after } => Some(Trouble::Silent { after }),
            Action::ComplainOfIdleness { after } => Some(Trouble::NotListening { after }),
        };
        if let Some(trouble) = trouble {
            self.event(Event::Trouble { worker: id, trouble });
        }
    }

    fn signal(&mut self, id: WorkerId, signal: i32, overdue: Option<Duration>) -> Option<Trouble> {
        self.listeners.leave(id);
        self.outputs.push_back(Output::Signal(id, signal));
        overdue.map(|after| Trouble::Overdue { signal, after })
    }

    /// Gives a connection to a worker, or holds on to it until one has room.
    fn place(&mut self, now: Time, held: Held<C>) -> bool {
        let handoff = &self.handoff;
        let load = |worker| {
            let in_flight = u32::try_from(handoff.in_flight(worker)).unwrap_or(u32::MAX);
            handoff.has_room(worker, now).then_some(in_flight)
        };
        let picked = self.listeners.pick(held.listener, load);
        let Some((id, key, worker)) =
            picked.and_then(|(id, key)| Some((id, key, self.workers.get_mut(&id)?)))
        else {
            self.handoff.hold(held);
            return false;
        };
        let seq = worker.take_seq();
        match self.handoff.assign(id, seq, held) {
            Ok(()) => self.outputs.push_back(Output::Hand { worker: id, key, seq }),
            Err(held) => {
                self.handoff.hold(held);
                return false;
            }
        }
        true
    }

    /// After every event: connections that came back go on, and a fleet without workers has stopped.
    fn settle(&mut self, now: Time) {
        while self.handoff.has_returned() {
            let (listeners, handoff) = (&self.listeners, &self.handoff);
            let has_room = |listener| listeners.members(listener).any(|worker| handoff.has_room(worker, now));
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
