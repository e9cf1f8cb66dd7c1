//! The numbers a fleet goes by, each with its reason.

use std::time::Duration;

use super::Mapping;

/// How many workers, and how long everything may take.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Who accepts.
    pub mode: Mode,
    /// What programs listen to and where it is served instead; the first that applies counts.
    pub map: Vec<Mapping>,
    /// Workers to keep running.
    pub workers: usize,
    /// Pause between the death of a worker and the start of its successor: enough that a program which dies at once
    /// does not fill the machine with its starts.
    pub restart_delay: Duration,
    /// From the word to leave until SIGTERM. gunicorn and Kubernetes give as long.
    pub stop_timeout: Duration,
    /// From SIGTERM until SIGKILL of the process group.
    pub kill_timeout: Duration,
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
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            mode: Mode::Handoff,
            map: Vec::new(),
            workers: 1,
            restart_delay: Duration::from_secs(1),
            stop_timeout: Duration::from_secs(30),
            kill_timeout: Duration::from_secs(5),
            patience: Duration::from_secs(5),
            window: 8,
            stall: Duration::from_secs(1),
            handoff_timeout: Some(Duration::from_secs(30)),
            refusal_pause: Duration::from_millis(20),
            overload: Overload::Wait,
            accept_pause: Duration::from_millis(100),
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
}
