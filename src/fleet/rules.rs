//! The numbers a fleet goes by, each with its reason.

use std::{fmt, str::FromStr, time::Duration};

use thiserror::Error;

use super::{Mapping, signal};

/// How many workers, and how long everything may take.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Who accepts.
    pub mode: Mode,
    /// What programs listen to and where it is served instead; the first that applies counts.
    pub map: Vec<Mapping>,
    /// Workers to keep running.
    pub workers: usize,
    /// What makes a worker ready, before which it gets no connections and its predecessor is not sent away.
    pub ready_on: ReadyOn,
    /// How long one must live that is ready by being alive ([`ReadyOn::Alive`], and [`ReadyOn::Auto`] where workers accept
    /// by themselves and need not speak).
    pub ready_after: Duration,
    /// From its start until a worker must be ready; else it is ended, and counts as crashed. `None`: for ever.
    pub start_timeout: Option<Duration>,
    /// Workers that may be on their way from start to readiness at once. `None`: all.
    pub max_starting: Option<usize>,
    /// After a worker has become ready, the next is started no sooner than this, nor is a reload over.
    pub warm_up: Duration,
    /// The first crash of a slot's worker is followed by a start at once, the second by this pause, and each further one
    /// by twice the pause before.
    pub restart_delay: Duration,
    /// No pause is longer than this.
    pub restart_delay_max: Duration,
    /// A slot whose workers crash so often within [`Rules::crash_window`], and none of them ever ready in between, is
    /// errored: it is not filled again until somebody asks for it. `None`: never.
    pub max_crashes: Option<u32>,
    /// See [`Rules::max_crashes`].
    pub crash_window: Duration,
    /// When every slot is errored, the fleet fails: it stops.
    pub fail_when_errored: bool,
    /// What a worker is told that is to leave.
    pub stop_with: StopWith,
    /// What it is sent when it has not left in time; a Linux signal number.
    pub stop_signal: i32,
    /// From the word to leave until the signal. gunicorn and Kubernetes give as long.
    pub stop_timeout: Duration,
    /// The same of a worker that has connections open, if it is longer: long-lived ones may take their time.
    pub linger_timeout: Option<Duration>,
    /// From the signal until SIGKILL of the process group.
    pub kill_timeout: Duration,
    /// How many workers a reload replaces at once.
    pub reload_batch: Batch,
    /// A worker is replaced when its process group uses more memory than this, in bytes (RSS).
    pub max_memory: Option<u64>,
    /// A worker is replaced when it has been ready for so long.
    pub max_age: Option<Duration>,
    /// A worker is replaced when it has accepted so many connections.
    pub max_connections: Option<u64>,
    /// A worker that can answer a ping and has said nothing for this long, although it was asked, is stuck. `None`: it is
    /// not asked.
    pub ping_timeout: Option<Duration>,
    /// After its start, a worker that has not spoken, or is online and has not listened, is reported.
    pub patience: Duration,
    /// Connections on their way to a worker that it has not accepted yet. Node's own primary has one; deeper windows
    /// save the wait for an answer, but park connections behind a worker that is busy.
    pub window: usize,
    /// A worker that owes an answer for a connection for this long gets no more of them until it answers: it is busy, and
    /// others may not be.
    pub stall: Duration,
    /// A worker that owes answers and has given none for this long is stuck: it is killed and replaced, which is the only way to get back
    /// the connections on their way to it. `None`: never. gunicorn gives a silent worker as long.
    pub handoff_timeout: Option<Duration>,
    /// A worker that refused a connection, or was out of descriptors, gets none for this long: an immediate retry
    /// would spin.
    pub refusal_pause: Duration,
    /// What becomes of connections that no worker has room for.
    pub overload: Overload,
    /// Accepting rests this long when the system refuses to give out a connection.
    pub accept_pause: Duration,
    /// Where chance begins, by which pauses and ages differ a little from worker to worker.
    pub seed: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            mode: Mode::Handoff,
            map: Vec::new(),
            workers: 1,
            ready_on: ReadyOn::Auto,
            ready_after: Duration::from_secs(2),
            start_timeout: Some(Duration::from_secs(60)),
            max_starting: None,
            warm_up: Duration::ZERO,
            restart_delay: Duration::from_millis(100),
            restart_delay_max: Duration::from_secs(30),
            max_crashes: Some(10),
            crash_window: Duration::from_secs(300),
            fail_when_errored: false,
            stop_with: StopWith::Disconnect,
            stop_signal: signal::TERM,
            stop_timeout: Duration::from_secs(30),
            linger_timeout: None,
            reload_batch: Batch::Count(1),
            max_memory: None,
            max_age: None,
            max_connections: None,
            ping_timeout: None,
            kill_timeout: Duration::from_secs(5),
            patience: Duration::from_secs(5),
            window: 8,
            stall: Duration::from_secs(1),
            handoff_timeout: Some(Duration::from_secs(30)),
            refusal_pause: Duration::from_millis(20),
            overload: Overload::Wait,
            accept_pause: Duration::from_millis(100),
            seed: 0,
        }
    }
}

/// What makes a worker ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadyOn {
    /// That it listens; where workers accept by themselves and need not speak, the first of what the others wait for.
    /// Where requests are forwarded to it, that it takes connections on the address that is its own.
    Auto,
    /// It listens, as Node's cluster says it; where requests are forwarded, as it is seen.
    Listening,
    /// It sends the message `ready`, as PM2's `wait_ready` has it.
    Message,
    /// It says `READY=1` on `NOTIFY_SOCKET`, as for systemd, or `worker:ack`, as for Einhorn.
    Notify,
    /// It has been alive for [`Rules::ready_after`].
    Alive,
}

impl ReadyOn {
    /// Each of them.
    pub const ALL: [Self; 5] = [Self::Auto, Self::Listening, Self::Message, Self::Notify, Self::Alive];
}

impl fmt::Display for ReadyOn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Auto => "auto",
            Self::Listening => "listening",
            Self::Message => "message",
            Self::Notify => "notify",
            Self::Alive => "alive",
        })
    }
}

/// No such way to be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a worker is ready on auto, listening, message, notify or alive")]
pub struct UnknownReadyOn;

impl FromStr for ReadyOn {
    type Err = UnknownReadyOn;

    fn from_str(word: &str) -> Result<Self, UnknownReadyOn> {
        Self::ALL.into_iter().find(|known| known.to_string() == word).ok_or(UnknownReadyOn)
    }
}

/// What a worker is told that is to leave, and may finish what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopWith {
    /// Node's cluster message to disconnect.
    Disconnect,
    /// A message of the application, a text, such as PM2's `shutdown`.
    Message(String),
    /// [`Rules::stop_signal`] at once.
    Signal,
}

/// How many workers of all are replaced at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batch {
    /// So many, at least one.
    Count(usize),
    /// So many of a hundred, rounded up, at least one.
    Percent(u8),
}

impl Batch {
    /// How many that is of `all`.
    pub fn of(self, all: usize) -> usize {
        match self {
            Self::Count(count) => count.max(1),
            Self::Percent(percent) => (all * usize::from(percent)).div_ceil(100).max(1),
        }
    }
}

/// What becomes of connections that no worker has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overload {
    /// They wait in the kernel's queue, as long as it takes.
    Wait,
    /// When there has been no room for this long, they are answered 503 and closed until there is.
    Reject {
        /// How long.
        after: Duration,
    },
}

/// Who accepts connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// The master, which hands each to a worker: Node's `SCHED_RR`.
    Handoff,
    /// Each worker, from a listening socket that it is given: Node's `SCHED_NONE`.
    Shared,
    /// Processes of our own, *lanes*, which forward requests to workers that listen on ports of their own.
    Multiport,
}
