//! What happens to lanes, the processes that forward requests -> sentences.

use log::Level::{self, Debug, Error, Info, Warn};
use pointsman::{Event, ExitStatus};

use super::{
    output, supervision,
    trouble::{about, ended, tell},
};

/// What is said of lanes, and what is remembered for it.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// Those that have ended by themselves, and whose successors are not ready.
    missing: Vec<u32>,
}

impl Lanes {
    /// The line that such an event is worth.
    pub(super) fn line(&mut self, lane: Option<u32>, event: &Event, stopping: bool) -> (Level, String) {
        let name = lane.map_or_else(|| "a lane".into(), |lane| format!("lane {lane}"));
        match event {
            Event::Fork { pid, .. } => (Debug, format!("{name} is started (pid {pid})")),
            Event::Ready { .. } => {
                let before = self.missing.len();
                self.missing.retain(|missing| Some(*missing) != lane);
                let level = if self.missing.len() < before { Info } else { Debug };
                (level, format!("{name} accepts connections"))
            }
            Event::Exit { status, exited_after_disconnect, lived, restart, .. } => {
                let mut text = format!("{name} {} after {}", ended(*status), about(*lived));
                let ordinary = supervision::is_ordinary(*status);
                if stopping || *exited_after_disconnect && ordinary {
                    return (if ordinary { Debug } else { Info }, text);
                }
                self.missing.extend(lane);
                if let Some(restart) = restart {
                    text += match restart.is_zero() {
                        true => "; another is started",
                        false => "; another is started soon",
                    };
                }
                text += ", and what it had in hand is lost";
                (if *status == ExitStatus::Code(0) { Info } else { Warn }, text)
            }
            Event::Trouble { trouble, .. } => {
                (Warn, format!("{name} {}", tell(trouble, "this very program").what))
            }
            Event::Errored { crashes, within, .. } => (
                Error,
                format!(
                    "{name} ended {crashes} times within {} and is given up until a reload",
                    about(*within)
                ),
            ),
            Event::Failed { .. } => (Error, "all lanes are given up: nothing is accepted any more".into()),
            Event::LastWords { lines, shown, .. } => {
                (if *shown { Debug } else { Warn }, output::last_words(&name, lines))
            }
            other => match supervision::line(other, &name, true) {
                Some((level, text)) => (level.max(Info), format!("lanes: {text}")),
                None => (Debug, format!("{name}: {other:?}")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman::WorkerId;
    use std::time::Duration;

    const WORKER: WorkerId = WorkerId(1 << 24);

    fn exit(status: ExitStatus, exited_after_disconnect: bool) -> Event {
        let (lived, restart) = (Duration::from_secs(5), Some(Duration::ZERO));
        Event::Exit { worker: WORKER, status, exited_after_disconnect, lived, restart }
    }

    #[test]
    fn a_lane_that_falls_is_told_of_and_so_is_the_next() {
        let mut lanes = Lanes::default();
        let ready = Event::Ready { worker: WORKER, after: Duration::ZERO };
        let mut said = |event: &Event| {
            let (level, text) = lanes.line(Some(2), event, false);
            format!("{level}: {text}")
        };
        assert_eq!(said(&ready), "DEBUG: lane 2 accepts connections");
        assert_eq!(
            said(&exit(ExitStatus::Signal(11), false)),
            "WARN: lane 2 was killed by SIGSEGV after 5 s; another is started, and what it had in hand is lost"
        );
        assert_eq!(said(&ready), "INFO: lane 2 accepts connections");
        assert_eq!(said(&ready), "DEBUG: lane 2 accepts connections", "once");
        assert_eq!(said(&exit(ExitStatus::Code(0), true)), "DEBUG: lane 2 exited with code 0 after 5 s");
        assert_eq!(lanes.line(None, &exit(ExitStatus::Signal(9), false), true).0, Info, "all of them end");
    }
}
