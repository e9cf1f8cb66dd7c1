//! Events -> lines of the log.
//!
//! Remembers which workers there are and what has been explained already, so that sixty-four workers which make the
//! same mistake are not sixty-four explanations.

use std::{
    collections::{BTreeMap, HashSet},
    mem::{self, Discriminant},
    net::SocketAddr,
    time::Duration,
};

use log::Level::{self, Debug, Error, Info, Warn};
use pointsman::{Address, Event, ExitStatus, Trouble, WorkerId};

use super::trouble::{self, Told, about, ended, tell};

/// A worker that ends sooner than this without having listened has most likely a mistake in it.
const AT_ONCE: Duration = Duration::from_secs(5);

const SIGTERM: i32 = 15;

/// A line for the log. What follows a line feed is advice.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) level: Level,
    pub(super) text: String,
}

#[derive(Debug)]
struct Known {
    pid: u32,
    online: bool,
    listens: bool,
}

/// What is said of a cluster.
#[derive(Debug)]
pub(super) struct Report {
    program: String,
    /// How many workers are wanted.
    wanted: usize,
    /// Where the cluster listens.
    told: Vec<SocketAddr>,
    workers: BTreeMap<WorkerId, Known>,
    /// All workers have listened at once.
    ready: bool,
    stopping: bool,
    explained: HashSet<Discriminant<Trouble>>,
    explained_exit: bool,
    /// Failures to accept so far.
    refused: u64,
}

impl Report {
    /// Of a cluster of `wanted` workers that run `program`, as it is to be called.
    pub(super) fn new(program: String, wanted: usize, told: Vec<SocketAddr>) -> Self {
        Self {
            program,
            wanted,
            told,
            workers: BTreeMap::new(),
            ready: false,
            stopping: false,
            explained: HashSet::new(),
            explained_exit: false,
            refused: 0,
        }
    }

    /// The line that an event is worth.
    pub(super) fn line(&mut self, event: &Event) -> Line {
        let (level, text) = match event {
            Event::Fork { worker, slot, pid } => {
                self.workers.insert(*worker, Known { pid: *pid, online: false, listens: false });
                (Debug, format!("{} is started in slot {slot}", self.name(*worker)))
            }
            Event::Online { worker } => {
                if let Some(known) = self.workers.get_mut(worker) {
                    known.online = true;
                }
                (Debug, format!("{} is online", self.name(*worker)))
            }
            Event::Listening { worker, address } => self.listening(*worker, address),
            Event::Message { worker, message } => (Debug, format!("{} sent {message}", self.name(*worker))),
            Event::Disconnect { worker } => (Debug, format!("{} has disconnected", self.name(*worker))),
            Event::Exit { worker, status, exited_after_disconnect, lived, restart } => {
                self.exit(*worker, *status, *exited_after_disconnect, *lived, *restart)
            }
            Event::Trouble { worker, trouble } => self.trouble(*worker, trouble),
            Event::AcceptFailed { address, errno, pause } => {
                self.refused += 1;
                let reason = trouble::accept_failed(*errno);
                // It may fail ten times a second for as long as the cause lasts.
                let level = if self.refused.is_power_of_two() { Warn } else { Debug };
                (level, format!("cannot accept on {address}: {reason}; goes on in {}", about(*pause)))
            }
            Event::Stopping { workers, timeout } => {
                self.stopping = true;
                let rest = match (workers, timeout) {
                    (0, _) => String::new(),
                    (_, Some(Duration::ZERO)) => ", and ends its workers at once".into(),
                    (_, None) => format!("; {} may finish what is in flight", count(*workers)),
                    (1, Some(timeout)) => {
                        format!("; 1 worker has {} to finish what is in flight", about(*timeout))
                    }
                    (_, Some(timeout)) => {
                        format!("; {workers} workers have {} to finish what is in flight", about(*timeout))
                    }
                };
                (Info, format!("stopping: accepts nothing more{rest}"))
            }
            Event::Stopped => (Info, "stopped".into()),
            other => (Debug, format!("{other:?}")),
        };
        Line { level, text }
    }

    fn listening(&mut self, worker: WorkerId, address: &Address) -> (Level, String) {
        let name = self.name(worker);
        // Elsewhere does not count: there is a line for that.
        let as_told = self.told.is_empty() || self.told.iter().any(|told| told.port() == address.port);
        if let Some(known) = self.workers.get_mut(&worker) {
            known.listens |= as_told;
        }
        let listening = self.workers.values().filter(|known| known.listens).count();
        if !self.ready && listening == self.wanted {
            self.ready = true;
            let workers = if listening == 1 {
                "the worker listens".into()
            } else {
                format!("all {listening} workers listen")
            };
            return (Info, format!("ready: {workers}"));
        }
        // Of a successor it is worth knowing that it has come up.
        let level = if self.is_first(worker) { Debug } else { Info };
        (level, format!("{name} listens"))
    }

    fn exit(
        &mut self,
        worker: WorkerId,
        status: ExitStatus,
        exited_after_disconnect: bool,
        lived: Duration,
        restart: Option<Duration>,
    ) -> (Level, String) {
        let name = self.name(worker);
        let (online, listened) =
            self.workers.remove(&worker).map_or((true, true), |known| (known.online, known.listens));
        let mut text = format!("{name} {} after {}", ended(status), about(lived));
        if self.stopping {
            // A program that is no worker by the protocol leaves by our SIGTERM.
            let ordinary = matches!(status, ExitStatus::Code(0) | ExitStatus::Signal(SIGTERM));
            return (if ordinary { Debug } else { Info }, text);
        }
        if exited_after_disconnect {
            text += ", having left by itself";
        } else if !listened {
            text += ", before it listened";
        }
        if let Some(restart) = restart {
            text += &format!("; its successor starts in {}", about(restart));
        }
        let launched = !self.explained.contains(&mem::discriminant(&launch_failed()));
        let unable = !listened && !exited_after_disconnect && lived < AT_ONCE;
        if unable && launched && !mem::replace(&mut self.explained_exit, true) {
            text += &match status {
                _ if !online => format!("\n{}", trouble::never_spoke(&self.program, &self.told)),
                ExitStatus::Code(0) => {
                    format!("\na worker is to listen and to stay: does {} do that?", self.program)
                }
                _ => format!("\nits own output may say why; try it alone: {}", self.program),
            };
        }
        // One that has served and ends in order may have been told to by somebody else.
        let in_order = exited_after_disconnect || listened && status == ExitStatus::Code(0);
        (if in_order { Info } else { Warn }, text)
    }

    fn trouble(&mut self, worker: WorkerId, trouble: &Trouble) -> (Level, String) {
        let Told { what, advice } = tell(trouble, &self.program);
        let text = format!("{} {what}", self.name(worker));
        let level = if matches!(trouble, Trouble::LaunchFailed { .. }) { Error } else { Warn };
        let Some(advice) = advice else {
            return (level, text);
        };
        if self.explained.insert(mem::discriminant(trouble)) {
            let others = if self.wanted > 1 && self.is_first(worker) && !self.ready {
                " (if the other first workers do the same, it is not said again)"
            } else {
                ""
            };
            (level, format!("{text}\n{advice}{others}"))
        } else {
            (if self.is_first(worker) { Debug } else { level }, text)
        }
    }

    /// Whether it is one of those that the cluster began with.
    fn is_first(&self, worker: WorkerId) -> bool {
        usize::try_from(worker.0).is_ok_and(|id| id <= self.wanted)
    }

    fn name(&self, worker: WorkerId) -> String {
        match self.workers.get(&worker) {
            Some(known) => format!("worker {worker} (pid {})", known.pid),
            None => format!("worker {worker}"),
        }
    }
}

/// Any value of that variant: after it, the exit of the trampoline needs no explanation.
fn launch_failed() -> Trouble {
    Trouble::LaunchFailed { step: String::new(), errno: 0 }
}

/// "1 worker", "4 workers".
pub(super) fn count(workers: usize) -> String {
    format!("{workers} worker{}", if workers == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(report: &mut Report, events: &[Event]) -> Vec<String> {
        let lines = events.iter().map(|event| report.line(event)).filter(|line| line.level <= Info);
        lines.map(|line| format!("{}: {}", line.level, line.text)).collect()
    }

    fn fork(id: u32) -> Event {
        Event::Fork { worker: WorkerId(id), slot: 0, pid: 100 + id }
    }

    fn listening(id: u32) -> Event {
        Event::Listening { worker: WorkerId(id), address: Address { host: None, port: 8000 } }
    }

    fn exit(id: u32, status: ExitStatus, expected: bool, restart: bool) -> Event {
        Event::Exit {
            worker: WorkerId(id),
            status,
            exited_after_disconnect: expected,
            lived: Duration::from_millis(40),
            restart: restart.then_some(Duration::from_secs(1)),
        }
    }

    fn silent(id: u32) -> Event {
        Event::Trouble { worker: WorkerId(id), trouble: Trouble::Silent { after: Duration::from_secs(5) } }
    }

    #[test]
    fn a_good_life_is_a_few_lines() {
        let mut report = Report::new("node x".into(), 2, Vec::new());
        let online = |id| Event::Online { worker: WorkerId(id) };
        let events = [fork(1), fork(2), online(2), listening(2), listening(2), online(1), listening(1)];
        assert_eq!(lines(&mut report, &events), ["INFO: ready: all 2 workers listen"]);
        let crash = [exit(1, ExitStatus::Signal(11), false, true), fork(3), listening(3)];
        assert_eq!(
            lines(&mut report, &crash),
            [
                "WARN: worker 1 (pid 101) was killed by SIGSEGV after 40 ms; its successor starts in 1 s",
                "INFO: worker 3 (pid 103) listens",
            ]
        );
        let end = [
            Event::Stopping { workers: 2, timeout: Some(Duration::from_secs(30)) },
            exit(2, ExitStatus::Code(0), true, false),
            exit(3, ExitStatus::Signal(9), true, false),
            exit(4, ExitStatus::Signal(15), false, false),
            Event::Stopped,
        ];
        assert_eq!(
            lines(&mut report, &end),
            [
                "INFO: stopping: accepts nothing more; 2 workers have 30 s to finish what is in flight",
                "INFO: worker 3 (pid 103) was killed by SIGKILL after 40 ms",
                "INFO: stopped",
            ]
        );
    }

    #[test]
    fn a_crash_loop_is_explained_once() {
        let mut report = Report::new("node x".into(), 1, Vec::new());
        let code = ExitStatus::Code(1);
        let events = [fork(1), exit(1, code, false, true), fork(2), exit(2, code, false, true)];
        let lines = lines(&mut report, &events);
        let first = "WARN: worker 1 (pid 101) exited with code 1 after 40 ms, before it listened; its successor \
                     starts in 1 s\nits own output may say why; try it alone: node x";
        assert_eq!(lines[0], first);
        assert!(lines[1].ends_with("starts in 1 s"), "{lines:?}");
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn the_same_trouble_of_all_first_workers_is_said_once() {
        let mut report = Report::new("python3 x.py".into(), 3, Vec::new());
        let lines = lines(
            &mut report,
            &[fork(1), fork(2), fork(3), silent(1), silent(2), silent(3), fork(4), silent(4)],
        );
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("-m multiport") && lines[0].contains("not said again"), "{lines:?}");
        assert!(
            lines[1].starts_with("WARN: worker 4 (pid 104) has said nothing") && !lines[1].contains('\n')
        );
    }

    #[test]
    fn what_comes_ten_times_a_second_is_not_told_each_time() {
        let mut report = Report::new("node x".into(), 1, Vec::new());
        let address = "127.0.0.1:1".parse().unwrap();
        let failed = || Event::AcceptFailed { address, errno: 24, pause: Duration::from_millis(100) };
        let lines = lines(&mut report, &(0..1000).map(|_| failed()).collect::<Vec<_>>());
        assert_eq!(lines.len(), 10);
        assert!(lines[0].contains("ulimit -n"), "{lines:?}");
    }

    #[test]
    fn stopping_says_who_may_still_work() {
        let seconds = Some(Duration::from_secs(30));
        for (workers, timeout, expected) in [
            (0, seconds, "stopping: accepts nothing more"),
            (1, seconds, "stopping: accepts nothing more; 1 worker has 30 s to finish what is in flight"),
            (2, None, "stopping: accepts nothing more; 2 workers may finish what is in flight"),
        ] {
            let line =
                Report::new("node x".into(), 1, Vec::new()).line(&Event::Stopping { workers, timeout });
            assert_eq!(line.text, expected);
        }
    }

    #[test]
    fn events_of_workers_that_are_gone_are_named_all_the_same() {
        let mut report = Report::new("node x".into(), 1, Vec::new());
        for event in [
            listening(9),
            exit(9, ExitStatus::Code(0), false, true),
            silent(9),
            Event::Disconnect { worker: WorkerId(9) },
        ] {
            let line = report.line(&event);
            assert!(line.text.contains("worker 9"), "{line:?}");
        }
    }
}
