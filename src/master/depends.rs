//! What must be there before the first worker is started: tried again and again, one after the other, while the public
//! addresses are listened on already and connections wait in the kernel's queues.
//!
//! Nothing here holds up the loop: a connection is begun and its outcome awaited, a command is a process that is watched.
//! Commands are started as workers are, as the same user and in the same place, and end with the master as those do.

use std::{collections::VecDeque, ffi::OsString, fmt, io, mem, time::Duration};

use nix::sys::signal::Signal;

use super::{LAST_PATIENCE, Master, Source, channel::Channel, dial::Dial, workers::Until};
use crate::{
    endpoint::Endpoint,
    fleet::{Event, ExitStatus},
    protocol::{
        message::{Message, Own},
        serialization::Serialization,
    },
    sys::{clock, launch, process::Child},
    time::Time,
};

/// What the first worker waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dependency {
    /// Somebody accepts a connection there, by TCP or a Unix socket. Tried twice a second. (Of UDP nobody can know: that
    /// counts as there.)
    Address(Endpoint),
    /// This command, a program and its arguments, ends with 0. It runs as workers do, and again one second after it has
    /// ended with something else; after 30 seconds it is killed. One without words is nothing to wait for.
    Command(Vec<OsString>),
}

impl fmt::Display for Dependency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(endpoint) => endpoint.fmt(out),
            Self::Command(words) => {
                let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
                write!(out, "`{}`", words.join(" "))
            }
        }
    }
}

/// From one failed connection to the next: nobody minds half a second more of a start, nor two connections a second.
const ADDRESS_PAUSE: Duration = Duration::from_millis(500);
/// A host that does not answer may be up by the next try, which TCP by itself would make only after minutes.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(2);
/// From the end of a command to its next start, which is dearer.
const COMMAND_PAUSE: Duration = Duration::from_secs(1);
/// Such a command asks a question; it has hung up.
const COMMAND_PATIENCE: Duration = Duration::from_secs(30);

impl Dependency {
    fn pause(&self) -> Duration {
        match self {
            Self::Address(_) => ADDRESS_PAUSE,
            Self::Command(_) => COMMAND_PAUSE,
        }
    }
}

/// What is still to be found.
#[derive(Debug)]
pub(super) struct Depends {
    /// The first is being tried.
    left: VecDeque<Dependency>,
    /// That it is not there has been told.
    told: bool,
    attempt: Attempt,
}

/// How far the try of the first has come.
#[derive(Debug)]
enum Attempt {
    /// It begins then.
    Resting { until: Time },
    /// A connection, which is given up then.
    Connecting { dial: Dial, until: Time },
    /// A command, which is killed then. On the channel it says why it cannot be executed.
    Running { child: Child, channel: Channel, until: Time },
    /// It has been killed, and is about to end.
    Killed { child: Child },
}

impl Depends {
    fn new(left: Vec<Dependency>) -> Self {
        Self { left: left.into(), told: false, attempt: Attempt::Resting { until: Time::default() } }
    }

    /// What is waited for, if that was told.
    pub(super) fn waits_for(&self) -> Option<String> {
        self.left.front().filter(|_| self.told).map(ToString::to_string)
    }

    /// When [`Master::seek`] is to be called.
    pub(super) fn deadline(&self) -> Option<Time> {
        match self.attempt {
            Attempt::Resting { until }
            | Attempt::Connecting { until, .. }
            | Attempt::Running { until, .. } => Some(until),
            Attempt::Killed { .. } => None,
        }
    }

    /// The process of a command that runs.
    pub(super) fn pid(&self) -> Option<u32> {
        match &self.attempt {
            Attempt::Running { child, .. } | Attempt::Killed { child } => Some(child.pid()),
            Attempt::Resting { .. } | Attempt::Connecting { .. } => None,
        }
    }

    /// Ends what takes too long. Says whether the try has failed by that.
    fn handle_timeout(&mut self, now: Time) -> bool {
        let attempt = mem::replace(&mut self.attempt, Attempt::Resting { until: now });
        self.attempt = match attempt {
            Attempt::Connecting { until, .. } if until <= now => return true,
            Attempt::Running { child, until, .. } if until <= now => {
                // Who may not be killed is waited for.
                let _ = child.signal_group(Signal::SIGKILL);
                Attempt::Killed { child }
            }
            other => other,
        };
        false
    }
}

impl Master {
    /// Starts the workers as soon as all of this is there.
    pub(crate) fn start(&mut self, depends: Vec<Dependency>) {
        self.now = clock::now();
        self.depends = Some(Depends::new(depends));
        self.seek();
    }

    /// Goes on with what is to be found, as far as its time has come.
    pub(super) fn seek(&mut self) {
        while let Some(depends) = &mut self.depends {
            let connecting = depends.handle_timeout(self.now);
            if connecting {
                self.not_found(&io::ErrorKind::TimedOut.into());
                continue;
            }
            let Attempt::Resting { until } = depends.attempt else { return };
            let Some(first) = depends.left.front().cloned() else {
                self.depends = None;
                self.fleet.start(self.now);
                return self.perform();
            };
            if self.now < until {
                return;
            }
            match self.attempt(&first) {
                Ok(None) => self.found(),
                Ok(Some(attempt)) => drop(self.set_attempt(attempt)),
                Err(error) => self.not_found(&error),
            }
        }
    }

    /// Tries it. `None`: it is there.
    fn attempt(&self, dependency: &Dependency) -> io::Result<Option<Attempt>> {
        match dependency {
            Dependency::Address(endpoint) => {
                let dial = Dial::begin(&self.poll, endpoint, Source::Depends)?;
                Ok(dial.map(|dial| Attempt::Connecting { dial, until: self.now + ADDRESS_PATIENCE }))
            }
            Dependency::Command(words) => match &words[..] {
                [] => Ok(None),
                [program, args @ ..] => self.run(program, args).map(Some),
            },
        }
    }

    fn run(&self, program: &OsString, args: &[OsString]) -> io::Result<Attempt> {
        let worker = self.programs.latest();
        let what = launch::Program {
            program,
            args,
            env: worker.base_env.iter().flatten().chain(&worker.env).cloned().collect(),
            inherits_env: worker.base_env.is_none(),
            without: &[],
            descriptors: self.descriptors,
            ordinary: self.batch.is_some(),
            attributes: worker.attributes.clone(),
            sockets: Vec::new(),
            stdout: None,
            stderr: None,
        };
        let guard = self.guard.pipe().ok_or(io::ErrorKind::BrokenPipe)?;
        let (child, channel) = launch::start(&self.launcher, what, guard)?;
        if let Err(error) = self.watch(&child, Source::Depends) {
            child.end(LAST_PATIENCE);
            return Err(error);
        }
        let channel = Channel::new(channel, Serialization::Json);
        Ok(Attempt::Running { child, channel, until: self.now + COMMAND_PATIENCE })
    }

    /// The kernel tells something of the try that is under way, or of one that is over.
    pub(super) fn look(&mut self) {
        let outcome = match self.depends.as_ref().map(|depends| &depends.attempt) {
            Some(Attempt::Connecting { dial, .. }) => {
                dial.outcome().map(|connected| connected.then_some(ExitStatus::Code(0)))
            }
            Some(Attempt::Running { child, .. } | Attempt::Killed { child }) => reap(child),
            Some(Attempt::Resting { .. }) | None => Ok(None),
        };
        match outcome {
            Ok(None) => return,
            Ok(Some(ExitStatus::Code(0))) => self.found(),
            Ok(Some(ExitStatus::Code(code))) => {
                self.not_found(&io::Error::other(format!("it exited with code {code}")));
            }
            Ok(Some(ExitStatus::Signal(signal))) => {
                self.not_found(&io::Error::other(format!("it was killed by signal {signal}")));
            }
            Err(error) => self.not_found(&error),
        }
        self.seek();
    }

    /// The first is there.
    fn found(&mut self) {
        self.set_attempt(Attempt::Resting { until: self.now });
        let Some(depends) = &mut self.depends else { return };
        let found = depends.left.pop_front();
        if let (Some(what), true) = (found, mem::take(&mut depends.told)) {
            self.happens(Event::Found { what: what.to_string() });
        }
    }

    /// It is not there yet.
    fn not_found(&mut self, why: &io::Error) {
        let Some(depends) = &mut self.depends else { return };
        let Some(first) = depends.left.front() else { return };
        let (what, until) = (first.to_string(), self.now + first.pause());
        let is_new = !mem::replace(&mut depends.told, true);
        log::debug!("{what} is not there: {why}");
        let attempt = self.set_attempt(Attempt::Resting { until });
        if let Some(why) = attempt.and_then(not_executed).filter(|_| is_new) {
            log::warn!("cannot run {what}, which workers depend on: {why}");
        }
        if is_new {
            self.happens(Event::WaitsFor { what });
        }
    }

    /// Goes over to this attempt, and returns the one that is over.
    fn set_attempt(&mut self, attempt: Attempt) -> Option<Attempt> {
        let over = mem::replace(&mut self.depends.as_mut()?.attempt, attempt);
        match &over {
            Attempt::Connecting { dial, .. } => self.unwatch(dial),
            Attempt::Running { child, .. } | Attempt::Killed { child } => {
                self.unwatch(child);
                self.guard.forget(child.pid());
            }
            Attempt::Resting { .. } => {}
        }
        Some(over)
    }

    /// Seeks no longer, and leaves no process.
    pub(super) fn stop_seeking(&mut self) {
        let over = self.set_attempt(Attempt::Resting { until: self.now });
        if let Some(Attempt::Running { child, .. } | Attempt::Killed { child }) = over {
            child.end(LAST_PATIENCE);
        }
        self.depends = None;
    }
}

/// How a command has ended, if it has, with all that it has started.
fn reap(child: &Child) -> io::Result<Option<ExitStatus>> {
    if !child.has_exited()? {
        return Ok(None);
    }
    // What may not be killed is not ours to end.
    let _ = child.signal_group(Signal::SIGKILL);
    child.reap()
}

/// Why a command could not be executed, if that is so.
fn not_executed(attempt: Attempt) -> Option<String> {
    let Attempt::Running { mut channel, .. } = attempt else { return None };
    channel.read(&mut [0; 1024], Until::Ended);
    let (frame, _) = channel.next_frame().ok()??;
    match Message::decode(Serialization::Json, frame).ok()? {
        Message::Pointsman(Own::LaunchFailed { step, errno }) => {
            Some(format!("{step}: {}", io::Error::from_raw_os_error(errno)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::channel;
    use std::{os::unix::process::CommandExt, process::Command};

    #[test]
    fn dependencies_are_named_as_they_were_given() {
        let command = Dependency::Command(["pg_isready", "-h", "db"].map(OsString::from).into());
        assert_eq!(command.to_string(), "`pg_isready -h db`");
        let address = Dependency::Address("unix:/run/db.sock".parse().unwrap());
        assert_eq!(address.to_string(), "unix:/run/db.sock");
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "who watches it reaps it")]
    fn a_command_that_takes_too_long_is_killed_and_waited_for() {
        let child = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let child = Child::watch(child.id()).unwrap();
        let channel = Channel::new(channel::pair().unwrap().0, Serialization::Json);
        let until = Time::default() + COMMAND_PATIENCE;
        let mut depends = Depends::new(vec![Dependency::Command(Vec::new())]);
        depends.attempt = Attempt::Running { child, channel, until };
        assert!(!depends.handle_timeout(Time(until.0 - 1)));
        assert_eq!(depends.deadline(), Some(until));
        assert!(!depends.handle_timeout(until) && depends.deadline().is_none());
        let Attempt::Killed { child } = &depends.attempt else { panic!("{depends:?}") };
        assert!(child.wait_exit(Duration::from_secs(30)).unwrap());
        assert_eq!(reap(child).unwrap(), Some(ExitStatus::Signal(9)));
    }

    #[test]
    fn a_connection_that_takes_too_long_has_failed() {
        let mut depends = Depends::new(vec![Dependency::Address("127.0.0.1:9".parse().unwrap())]);
        let until = Time::default() + ADDRESS_PATIENCE;
        depends.attempt = Attempt::Connecting { dial: channel::pair().unwrap().0.into(), until };
        assert!(!depends.handle_timeout(Time(until.0 - 1)));
        assert!(depends.handle_timeout(until));
    }
}
