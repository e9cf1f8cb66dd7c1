//! How workers are kept: settings for their start, their readiness, their crashes, their end and their replacement.

use std::time::Duration;

use super::Settings;
use crate::{
    fleet::{Batch, ReadyOn, StopWith},
    master::{Dependency, Rotation, Sink},
};

impl Settings {
    /// What makes a worker ready: from then on it gets connections, and its predecessor leaves. Default: that it
    /// listens; in the shared mode, where it need not speak, whatever it says first, or that it lives.
    #[must_use]
    pub fn ready_on(mut self, what: ReadyOn) -> Self {
        self.rules.ready_on = what;
        self
    }

    /// How long a worker must live that is ready by being alive. Default 2 s.
    #[must_use]
    pub fn ready_after(mut self, time: Duration) -> Self {
        self.rules.ready_after = time;
        self
    }

    /// How long a worker may take from its start until it is ready, before it is ended and counts as crashed. Default 60 s;
    /// `None` for ever.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.rules.start_timeout = timeout;
        self
    }

    /// How many workers may be starting at once, at least 1: with 1, each waits until the one before is ready. Default: all
    /// (`None`).
    #[must_use]
    pub fn max_starting(mut self, count: Option<usize>) -> Self {
        self.rules.max_starting = count.map(|count| count.max(1));
        self
    }

    /// How long after a worker has become ready the next is started at the soonest, and
    /// how long a reload lasts after the last has: one that dies until then ends it. Default 0.
    #[must_use]
    pub fn warm_up(mut self, pause: Duration) -> Self {
        self.rules.warm_up = pause;
        self
    }

    /// Starts no worker before this is there: for a database, a migration, a mount. Can be said more than once; they are
    /// waited for one after the other, and told of by [`Event::WaitsFor`](crate::Event::WaitsFor) if they are not there at
    /// once. Meanwhile the cluster listens, and connections wait. What goes away later is the program's business.
    #[must_use]
    pub fn depends(mut self, on: Dependency) -> Self {
        self.depends.push(on);
        self
    }

    /// How long to wait after the second crash in a row before the next start; it doubles with each further one. After the
    /// first, the next starts at once. Default 100 ms.
    #[must_use]
    pub fn restart_delay(mut self, delay: Duration) -> Self {
        self.rules.restart_delay = delay;
        self
    }

    /// How long that may become. Default 30 s.
    #[must_use]
    pub fn restart_delay_max(mut self, delay: Duration) -> Self {
        self.rules.restart_delay_max = delay;
        self
    }

    /// A slot is errored, and not filled again, after so many crashes within `window` of which none was of a worker that
    /// had become ready. Default 10 in 5 min; `None` for never.
    #[must_use]
    pub fn max_crashes(mut self, crashes: Option<u32>, window: Duration) -> Self {
        (self.rules.max_crashes, self.rules.crash_window) = (crashes, window);
        self
    }

    /// Whether the cluster fails when all its slots are errored: [`Cluster::run`](crate::Cluster::run) ends with
    /// [`Error::AllErrored`](crate::Error::AllErrored). Default: no, it waits for better settings.
    #[must_use]
    pub fn fail_when_errored(mut self, fails: bool) -> Self {
        self.rules.fail_when_errored = fails;
        self
    }

    /// What a worker is told that is to leave. Default: Node's message to disconnect.
    #[must_use]
    pub fn stop_with(mut self, what: StopWith) -> Self {
        self.rules.stop_with = what;
        self
    }

    /// What it is sent when it has not left in time, a signal number. Default SIGTERM.
    #[must_use]
    pub fn stop_signal(mut self, signal: i32) -> Self {
        self.rules.stop_signal = signal;
        self
    }

    /// How long a worker that is told to leave may serve what it has open, before it gets the signal. Default 30 s.
    #[must_use]
    pub fn stop_timeout(mut self, timeout: Duration) -> Self {
        self.rules.stop_timeout = timeout;
        self
    }

    /// The same of a worker that still has connections open, as far as anybody tells, if that is longer. Default: no
    /// longer.
    #[must_use]
    pub fn linger_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.rules.linger_timeout = timeout;
        self
    }

    /// How long after the signal a worker's process group gets SIGKILL. Default 5 s.
    #[must_use]
    pub fn kill_timeout(mut self, timeout: Duration) -> Self {
        self.rules.kill_timeout = timeout;
        self
    }

    /// How many workers a reload replaces at once. Default 1.
    #[must_use]
    pub fn reload_batch(mut self, batch: Batch) -> Self {
        self.rules.reload_batch = batch;
        self
    }

    /// Replaces a worker whose process group uses more memory than this, in bytes. Default: never.
    #[must_use]
    pub fn max_memory(mut self, bytes: Option<u64>) -> Self {
        self.rules.max_memory = bytes;
        self
    }

    /// Replaces a worker that has been ready for so long. Default: never.
    #[must_use]
    pub fn max_age(mut self, age: Option<Duration>) -> Self {
        self.rules.max_age = age;
        self
    }

    /// Replaces a worker that has accepted so many connections. Default: never.
    #[must_use]
    pub fn max_connections(mut self, connections: Option<u64>) -> Self {
        self.rules.max_connections = connections;
        self
    }

    /// How long a worker that can answer may be silent though it is asked, before it is taken for stuck, killed and
    /// replaced. Node workers with the [script](Settings::load_report) and those of this crate can. Default: nobody is
    /// asked (`None`).
    #[must_use]
    pub fn ping_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.rules.ping_timeout = timeout;
        self
    }

    /// Where the standard output of workers goes. Default: where this process's own goes.
    #[must_use]
    pub fn stdout(mut self, sink: Sink) -> Self {
        self.stdout = sink;
        self
    }

    /// Where their standard error goes.
    #[must_use]
    pub fn stderr(mut self, sink: Sink) -> Self {
        self.stderr = sink;
        self
    }

    /// How large files of output may become. Default 100 MiB, with 5 older ones kept.
    #[must_use]
    pub fn rotation(mut self, rotation: Rotation) -> Self {
        self.rotation = rotation;
        self
    }
}
