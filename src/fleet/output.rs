//! What a fleet wants done, and shows: everything that leaves it.

use std::{sync::Arc, time::Duration};

use super::{Event, ExitStatus, Held, ListenerId, LoadSource, Restarts, Wish, WorkerId};
use crate::protocol::listen::ListenReply;

/// What the loop is to do.
#[derive(Debug)]
pub enum Output<C> {
    /// Start a worker process; answered by `handle_spawned` or `handle_spawn_failed`.
    Spawn {
        /// Its id.
        worker: WorkerId,
        /// Its place.
        slot: u32,
        /// Which program it is to run.
        generation: u32,
        /// Unless its slot has one of its own.
        own: bool,
    },
    /// Nobody of a program of its own is going to be started in this slot any more.
    ForgetOwn {
        /// It.
        slot: u32,
    },
    /// No worker of this generation is going to be started any more.
    Forget {
        /// It.
        generation: u32,
    },
    /// Send a worker a message.
    Tell(WorkerId, Told),
    /// Send a worker the connection that [`Fleet::connection`](super::Fleet::connection) gives for `seq`; if its channel is full, say
    /// `handle_unsent`.
    Hand {
        /// To whom.
        worker: WorkerId,
        /// The worker's name for the listening socket.
        key: Arc<str>,
        /// Number of the message.
        seq: u64,
    },
    /// Send a worker the listening socket that [`Fleet::share`](super::Fleet::share) gives for `seq`, with its answer; if
    /// that cannot be sent now, say `handle_unsent`.
    Share {
        /// To whom.
        worker: WorkerId,
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
    /// Have the kernel tell the ends of a worker's connections, since it does not tell them itself; answered by
    /// `handle_kernel_tells`.
    WatchKernel(WorkerId),
    /// Close a listening socket.
    CloseListener(ListenerId),
    /// Close a worker's channel.
    CloseChannel(WorkerId),
    /// Have a worker get no requests any more; when no lane has one for it, say `handle_retired`.
    Retire(WorkerId),
    /// Send a worker a signal; SIGKILL goes to its whole process group.
    Signal(WorkerId, i32),
    /// Close the master's copy of a connection.
    Release(C),
    /// Tell the kernel's name of a connection by `handle_named`, then close the master's copy.
    Name {
        /// Who has accepted it.
        worker: WorkerId,
        /// Its number.
        seq: u64,
        /// The connection.
        connection: C,
    },
    /// Look whether a worker that is gone has read from these connections or written to them; answered by
    /// `handle_examined`.
    Examine {
        /// The worker.
        worker: WorkerId,
        /// What was on the way to it.
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
    /// A text, as a message of the application: in the place of `Disconnect`.
    Leave {
        /// The text.
        text: String,
    },
    /// It may leave, as it said it would.
    Ack {
        /// Number of this message.
        seq: u64,
        /// Number of what it said.
        ack: u64,
    },
    /// Its descriptor has come.
    HandleAck,
    /// No descriptor came with what should bring one.
    HandleNack,
    /// None of the sockets that it sent are open here.
    SocketsClosed {
        /// Where it had them from.
        key: String,
    },
    /// How many of the sockets that it sent are open here: none.
    SocketCount {
        /// Where it had them from.
        key: String,
    },
    /// It may report the ends of its connections together.
    Interval {
        /// How often, in milliseconds.
        interval_ms: u64,
    },
    /// It is to answer at once.
    Ping {
        /// Number of the question.
        number: u64,
    },
}

/// Why a connection could not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsent {
    /// The worker's channel is full, or broken; `handle_writable` tells when it is not.
    ChannelFull,
    /// The system has too many descriptors on their way (ETOOMANYREFS) or no memory: later.
    SystemLimit,
    /// The listening socket that was to be sent, or the channel for it, is closed: never.
    Gone,
}

/// How far a worker has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerState {
    /// It is not ready yet.
    Starting,
    /// It is of use.
    Ready,
    /// It leaves, by itself or because it was told to.
    Draining,
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
    /// The generation of its program: that of the first workers is 1.
    pub generation: u32,
    /// How far it has come.
    pub state: WorkerState,
    /// For how long it has been so.
    pub state_for: Duration,
    /// Since it was started.
    pub uptime: Duration,
    /// It is ready and has not begun to leave.
    pub serving: bool,
    /// How often its slot was filled again.
    pub restarts: Restarts,
    /// How the last worker of its slot ended that ended by itself, and how long ago.
    pub last_exit: Option<(ExitStatus, Duration)>,
    /// Connections that it has accepted and that have not ended, as far as `load_source` tells.
    pub connections: usize,
    /// Connections on their way to it.
    pub in_flight: usize,
    /// Connections that it has accepted from the master.
    pub handed: u64,
    /// The same of all workers of its slot.
    pub handed_in_slot: u64,
    /// Who tells the ends of its connections.
    pub load_source: LoadSource,
}

/// A slot that somebody is wanted in and nobody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Vacancy {
    /// The place.
    pub slot: u32,
    /// When it is filled; `None` if it is errored.
    pub start_in: Option<Duration>,
    /// How often it was filled again.
    pub restarts: Restarts,
    /// How the last worker ended that ended by itself, and how long ago.
    pub last_exit: Option<(ExitStatus, Duration)>,
    /// Connections that its workers have accepted.
    pub handed: u64,
}

/// A socket that is listened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerInfo {
    /// Connections that were taken from it for workers.
    pub accepted: u64,
    /// Workers that serve it.
    pub workers: usize,
}

/// What became of reloads, counted. Never decreases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ReloadCounts {
    /// All workers are of the new generation.
    pub succeeded: u64,
    /// A new worker failed.
    pub failed: u64,
    /// It was called off, or another took its place.
    pub aborted: u64,
    /// It was not begun: the program found something wrong with the settings.
    pub refused: u64,
    /// The last one did not succeed.
    pub last_failed: bool,
}

/// What has happened so far, counted. Never decreases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Connections taken from the kernel's queue for a worker.
    pub accepted: u64,
    /// Connections that a worker has accepted.
    pub handed: u64,
    /// Times that a worker did not take a connection, by a NACK or by `accepted: false`.
    pub refused: u64,
    /// Connections that went to another worker because the one they were on the way to ended.
    pub replaced: u64,
    /// Connections that were lost: a worker ended that had touched them and was not heard to accept them, or was given up
    /// with them on the way to it, or they came back and nobody was left to take them.
    pub lost: u64,
    /// Times that connections began to wait in the kernel's queue because no worker had room.
    pub waits: u64,
    /// Connections turned away with a 503.
    pub rejected: u64,
}
