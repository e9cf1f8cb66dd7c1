//! What happens to a fleet, as values: what users of the crate are told.

use std::{ffi::OsString, fmt, time::Duration};

use serde_json::Value;

use super::{Address, Batch, LoadSource, Place, Trouble};
use crate::endpoint::Endpoint;

/// A worker's id: 1 for the first, never given twice. Node programs see it as `cluster.worker.id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u32);

impl fmt::Display for WorkerId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// Something that happened, told in the order in which it did.
///
/// The first six are Node's; their order is Node's too: `Fork`, `Online`, `Listening`, then `Disconnect` and `Exit`
/// in either order.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A worker process was started.
    Fork {
        /// Which worker.
        worker: WorkerId,
        /// Its place, 0 to the number of workers less one, taken over by its successor.
        slot: u32,
        /// Its process id.
        pid: u32,
        /// Of its program.
        generation: u32,
    },
    /// A worker's half of the protocol is running.
    Online {
        /// Which worker.
        worker: WorkerId,
    },
    /// A worker listens and gets connections.
    Listening {
        /// Which worker.
        worker: WorkerId,
        /// On what.
        address: Address,
        /// It is none of those that the cluster was told to serve.
        elsewhere: bool,
    },
    /// A worker is ready, by what the settings have it wait for: it gets connections from now on.
    Ready {
        /// Which worker.
        worker: WorkerId,
        /// Since its start.
        after: Duration,
    },
    /// A worker is told to leave, while the cluster goes on.
    Draining {
        /// Which worker.
        worker: WorkerId,
        /// Why.
        cause: Cause,
        /// How many connections it has open, if anybody tells.
        connections: Option<usize>,
        /// How long it may take; `None` for as long as it wants.
        timeout: Option<Duration>,
    },
    /// A worker that was told to leave is still there.
    Waiting {
        /// Which worker.
        worker: WorkerId,
        /// How many connections it has open, if anybody tells.
        connections: Option<usize>,
        /// Until it is told more plainly; `None` for ever.
        left: Option<Duration>,
    },
    /// A slot is given up: its workers crash again and again. A reload tries it anew.
    Errored {
        /// The place.
        slot: u32,
        /// How often they crashed.
        crashes: u32,
        /// Within this time.
        within: Duration,
    },
    /// Every slot is errored: nothing is served.
    Failed {
        /// The settings say that the cluster ends then; else connections wait for a reload.
        ends: bool,
    },
    /// A worker is going to be replaced by a fresh one.
    Recycling {
        /// Which worker.
        worker: WorkerId,
        /// What it has used up.
        limit: UsedUp,
    },
    /// Another number of workers is wanted.
    Scaled {
        /// Before.
        from: usize,
        /// Now.
        to: usize,
    },
    /// Workers are being replaced by those of another generation.
    Reloading {
        /// The new generation; that of the first workers is 1.
        generation: u32,
        /// How many are to be replaced.
        workers: usize,
        /// A reload that was under way is given up for this one.
        supersedes: bool,
    },
    /// All workers are of the new generation.
    Reloaded {
        /// It.
        generation: u32,
        /// How long it took.
        took: Duration,
    },
    /// The new generation is withdrawn.
    ReloadFailed {
        /// It.
        generation: u32,
        /// The place whose worker failed first, if one did.
        slot: Option<u32>,
        /// What was wrong.
        why: ReloadFailure,
        /// Workers that had been replaced, and are replaced again by the generation before.
        rolled_back: usize,
    },
    /// A reload that was asked for is not begun: something is wrong with the settings, and nothing has changed.
    ReloadRefused {
        /// What.
        why: String,
    },
    /// All workers are again of the generation before a reload that has failed.
    RolledBack {
        /// It.
        generation: u32,
        /// How long it took.
        took: Duration,
    },
    /// A signal, or a client of the control socket, asks for something that the program has to do, since it knows how: see
    /// [`Cluster::run`](crate::Cluster::run).
    Asked(Request),
    /// A worker sent a message of the application.
    Message {
        /// Which worker.
        worker: WorkerId,
        /// The message. What came in V8's format is as `JSON.stringify` would have said it; of a `BigInt` it is the
        /// digits in a string.
        message: Value,
    },
    /// A worker's channel has closed.
    Disconnect {
        /// Which worker.
        worker: WorkerId,
    },
    /// A worker process has ended.
    Exit {
        /// Which worker.
        worker: WorkerId,
        /// How.
        status: ExitStatus,
        /// It was told to leave, or left by the protocol, and did not die.
        exited_after_disconnect: bool,
        /// How long it lived.
        lived: Duration,
        /// When its successor will be started; `None` if there will be none, or there is one already.
        restart: Option<Duration>,
    },
    /// What a worker wrote last that ended otherwise than in order: a few lines of its standard error, or of its standard
    /// output if there are none of that. Told soon after its `Exit`, and only of what does not go past this process
    /// ([`Sink::Inherit`](crate::Sink::Inherit)).
    LastWords {
        /// Which worker.
        worker: WorkerId,
        /// The last ones, as text.
        lines: Vec<String>,
        /// They were written to this process's own output or error already.
        shown: bool,
    },
    /// What workers write cannot be written where it should go. Their lines are dropped, and counted, until it can.
    OutputFailed {
        /// Where: a path, or which standard stream of this process.
        sink: String,
        /// A Linux errno.
        errno: i32,
    },
    /// What workers write is written again.
    OutputResumed {
        /// Where.
        sink: String,
        /// Lines that were dropped.
        dropped: u64,
    },
    /// A file of output could not be opened anew, or made an older one; what workers write goes on into the one that is
    /// open.
    OutputKept {
        /// The file.
        sink: String,
        /// A Linux errno.
        errno: i32,
    },
    /// It is known who tells the ends of a worker's connections: told when a worker says that it does so itself, and
    /// otherwise only if the policy goes by open connections.
    LoadSource {
        /// Which worker.
        worker: WorkerId,
        /// Who.
        source: LoadSource,
    },
    /// A worker does not do what a worker should.
    Trouble {
        /// Which worker.
        worker: WorkerId,
        /// What is wrong.
        trouble: Trouble,
    },
    /// The system refuses to give out connections; accepting goes on by itself after `pause`.
    AcceptFailed {
        /// What is listened on.
        endpoint: Endpoint,
        /// A Linux errno.
        errno: i32,
        /// Until the next try.
        pause: Duration,
    },
    /// Workers listen, and none on this, which the user gave: connections wait there in vain.
    Unserved {
        /// What is listened on.
        endpoint: Endpoint,
    },
    /// Workers listen, and none on this, which the user has mapped to another place.
    Unmapped {
        /// What no program listens to.
        from: Place,
    },
    /// Connections are turned away from now on: no worker has had room for them for `after`.
    Overloaded {
        /// What is listened on.
        endpoint: Endpoint,
        /// How long.
        after: Duration,
    },
    /// Connections are no longer turned away.
    Recovered {
        /// What is listened on.
        endpoint: Endpoint,
        /// How many were.
        rejected: u64,
    },
    /// Connections that workers gave back are closed: nobody is going to take them any more.
    LostConnections {
        /// How many.
        count: usize,
        /// Why nobody is.
        cause: Loss,
    },
    /// No worker is started before this is there that the settings have it depend on; told once of each, and only if it is
    /// not there at once.
    WaitsFor {
        /// An address, or a command.
        what: String,
    },
    /// What was waited for is there.
    Found {
        /// An address, or a command.
        what: String,
    },
    /// Something has happened to a lane, one of the processes that forward requests to workers. Lanes are kept as workers
    /// are, and do not count as such.
    OfLane {
        /// Its place, 0 to the number of lanes less one, if it is of one.
        lane: Option<u32>,
        /// What it would be of a worker.
        event: Box<Event>,
    },
    /// The cluster stops: it accepts nothing more and its workers leave.
    Stopping {
        /// How many workers are still there.
        workers: usize,
        /// How long they may take; `None` for as long as they want.
        timeout: Option<Duration>,
    },
    /// The cluster has stopped; no worker is left.
    Stopped,
}

/// Why nobody is going to take a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// The socket that it came from is closed: no worker has a server for it any more.
    ServerClosed,
    /// The cluster stops.
    Stopping,
}

/// Why a worker is told to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// Its successor is ready.
    Replaced,
    /// Fewer workers are wanted.
    ScaledDown,
    /// It is of a generation that has failed.
    Withdrawn,
    /// All are sent away, and the master stays.
    Drained,
    /// It was asked for this one.
    Disconnected,
    /// It was asked for another in its place, before this one was ready.
    Restarted,
}

/// What a worker has used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UsedUp {
    /// Its process group uses so much memory, in bytes.
    Memory {
        /// RSS.
        bytes: u64,
    },
    /// It has been ready for so long.
    Age {
        /// Since it was ready.
        age: Duration,
    },
    /// It has accepted so many connections.
    Connections {
        /// In all.
        count: u64,
    },
    /// Nothing: it was asked for.
    Asked,
}

/// Why the first worker of a new generation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReloadFailure {
    /// It ended.
    Exited(ExitStatus),
    /// It was not ready in time.
    NotReady,
    /// The process could not be created: a Linux errno.
    NotStarted(i32),
    /// Another reload has taken its place, or it was called off.
    Aborted,
    /// The workers are replaced, and stay; but a new lane failed, so lanes go on as they were.
    Lanes,
}

/// How a reload is asked for.
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ReloadRequest {
    /// Replace so many workers at once.
    pub batch: Option<Batch>,
    /// The environment of workers, in the place of this process's own.
    pub env: Option<Vec<(OsString, OsString)>>,
    /// Who is to be answered.
    pub(crate) ticket: Option<u32>,
}

impl fmt::Debug for ReloadRequest {
    /// Of the environment, only how large it is: there are secrets in it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variables = self.env.as_ref().map(Vec::len);
        out.debug_struct("ReloadRequest").field("batch", &self.batch).field("variables", &variables).finish()
    }
}

/// What a signal, or a client of the control socket, asks of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request {
    /// SIGHUP, or `reload`: read the settings again, and replace the workers. Answered by
    /// [`Cluster::reload_as_asked`](crate::Cluster::reload_as_asked) or
    /// [`Cluster::refuse_reload`](crate::Cluster::refuse_reload).
    Reload(ReloadRequest),
    /// SIGUSR1: open log files again.
    Reopen,
}
