//! What happens to workers on purpose -> sentences: replaced, recycled, scaled, given up, reloaded.

use std::time::Duration;

use log::Level::{self, Debug, Error, Info, Warn};
use pointsman::{Cause, Event, ExitStatus, ReloadFailure, UsedUp};

use super::{
    report::count,
    trouble::{about, ended, reason},
};

/// The line that such an event is worth; `name` is what its worker is called. `None`: it is of another kind.
pub(super) fn line(event: &Event, name: &str, reloading: bool) -> Option<(Level, String)> {
    Some(match event {
        Event::Draining { cause, connections, timeout, .. } => {
            let why = match cause {
                Cause::Replaced => "its successor is ready",
                Cause::ScaledDown => "fewer workers are wanted",
                Cause::Withdrawn => "its generation is withdrawn",
                Cause::Drained => "all are sent away",
                Cause::Restarted => "another is started in its place",
                Cause::Disconnected => "it is told to, and nobody is to follow",
                _ => "it is not wanted any more",
            };
            // A reload is told as a whole.
            let level = if reloading { Debug } else { Info };
            (level, format!("{name} leaves: {why}{}{}", open(*connections), time(*timeout)))
        }
        Event::Waiting { connections, left, .. } => {
            (Info, format!("{name} has not left yet{}{}", open(*connections), time(*left)))
        }
        Event::Errored { slot, crashes, within } => (
            Error,
            format!(
                "slot {slot} is errored: its workers ended {crashes} times within {} and none was ready; it stays empty \
                 until a reload (kill -HUP {})",
                about(*within),
                std::process::id()
            ),
        ),
        Event::Failed { ends: true } => (Error, "every slot is errored: nothing is served any more".into()),
        Event::Failed { ends: false } => {
            let rest = "connections wait until a reload (with fail_when_errored, pointsman would end here)";
            (Error, format!("every slot is errored: nothing is served, and {rest}"))
        }
        Event::Recycling { limit, .. } => {
            let why = match limit {
                UsedUp::Memory { bytes } => format!("it uses {} MiB (max_memory)", bytes >> 20),
                UsedUp::Age { age } => format!("it is {} old (max_age)", about(*age)),
                UsedUp::Connections { count } => {
                    format!("it has served {count} connections (max_connections)")
                }
                UsedUp::Asked => "it was asked for".into(),
                other => format!("{other:?}"),
            };
            (Info, format!("{name} is going to be replaced: {why}"))
        }
        Event::Scaled { from, to } => (Info, format!("{} wanted instead of {from}", are(*to))),
        Event::Reloading { generation, workers, supersedes } => {
            let instead =
                if *supersedes { ", instead of the reload before it, which is given up" } else { "" };
            (Info, format!("reloading: {} by generation {generation}{instead}", are_replaced(*workers)))
        }
        Event::Reloaded { generation, took } => {
            (Info, format!("reloaded: generation {generation} serves, after {}", about(*took)))
        }
        Event::ReloadFailed { generation, slot, why, rolled_back } => {
            (Warn, reload_failed(*generation, *slot, *why, *rolled_back))
        }
        Event::RolledBack { generation, took } => {
            (Info, format!("rolled back: generation {generation} serves again, after {}", about(*took)))
        }
        _ => return None,
    })
}

fn reload_failed(generation: u32, slot: Option<u32>, why: ReloadFailure, rolled_back: usize) -> String {
    let place = slot.map_or_else(|| "a worker".to_owned(), |slot| format!("the worker in slot {slot}"));
    let why = match why {
        ReloadFailure::Exited(status) => format!("{place} {}", ended(status)),
        ReloadFailure::NotReady => format!("{place} was not ready in time (start_timeout)"),
        ReloadFailure::NotStarted(errno) => format!("{place} could not be started: {}", reason(errno)),
        ReloadFailure::Aborted => "it was called off".into(),
        ReloadFailure::Lanes => {
            return format!(
                "reload failed: the workers are of generation {generation}, but a new lane failed; the lanes before it go on"
            );
        }
        other => format!("{other:?}"),
    };
    let rest = match rolled_back {
        0 => "the generation before it goes on".to_owned(),
        1 => "1 worker is replaced by the generation before again".to_owned(),
        more => format!("{more} workers are replaced by the generation before again"),
    };
    format!("reload failed: generation {generation} is withdrawn: {why}; {rest}")
}

/// Whether somebody who was told to leave has ended as he should.
pub(super) fn is_ordinary(status: ExitStatus) -> bool {
    const SIGTERM: i32 = 15;
    matches!(status, ExitStatus::Code(0) | ExitStatus::Signal(SIGTERM))
}

fn are(workers: usize) -> String {
    format!("{} {}", count(workers), if workers == 1 { "is" } else { "are" })
}

fn are_replaced(workers: usize) -> String {
    format!("{} replaced", are(workers))
}

/// What a worker still has to do.
fn open(connections: Option<usize>) -> String {
    match connections {
        None | Some(0) => String::new(),
        Some(1) => "; 1 connection is open".into(),
        Some(more) => format!("; {more} connections are open"),
    }
}

fn time(left: Option<Duration>) -> String {
    left.map_or_else(
        || "; it may take as long as it wants".into(),
        |left| format!("; it has {}", about(left)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman::WorkerId;

    const WORKER: WorkerId = WorkerId(3);

    fn said(event: &Event) -> String {
        let (level, text) = line(event, "worker 3 (pid 9)", false).unwrap();
        format!("{level}: {text}")
    }

    #[test]
    fn each_says_why_and_what_follows() {
        let (seconds, cause) = (Duration::from_secs, Cause::Replaced);
        let draining = |connections, timeout| Event::Draining { worker: WORKER, cause, connections, timeout };
        let failed =
            |why, rolled_back| Event::ReloadFailed { generation: 2, slot: Some(1), why, rolled_back };
        for (event, expected) in [
            (
                draining(Some(2), Some(seconds(30))),
                "INFO: worker 3 (pid 9) leaves: its successor is ready; 2 connections are open; it has 30 s",
            ),
            (
                draining(None, None),
                "INFO: worker 3 (pid 9) leaves: its successor is ready; it may take as long as it wants",
            ),
            (
                Event::Waiting { worker: WORKER, connections: Some(1), left: Some(seconds(25)) },
                "INFO: worker 3 (pid 9) has not left yet; 1 connection is open; it has 25 s",
            ),
            (
                Event::Recycling { worker: WORKER, limit: UsedUp::Memory { bytes: 300 << 20 } },
                "INFO: worker 3 (pid 9) is going to be replaced: it uses 300 MiB (max_memory)",
            ),
            (Event::Scaled { from: 2, to: 1 }, "INFO: 1 worker is wanted instead of 2"),
            (
                Event::Reloading { generation: 2, workers: 4, supersedes: false },
                "INFO: reloading: 4 workers are replaced by generation 2",
            ),
            (
                Event::Reloaded { generation: 2, took: seconds(3) },
                "INFO: reloaded: generation 2 serves, after 3 s",
            ),
            (
                failed(ReloadFailure::NotReady, 0),
                "WARN: reload failed: generation 2 is withdrawn: the worker in slot 1 was not ready in time (start_timeout); the generation before it goes on",
            ),
            (
                failed(ReloadFailure::Exited(ExitStatus::Code(1)), 2),
                "WARN: reload failed: generation 2 is withdrawn: the worker in slot 1 exited with code 1; 2 workers are replaced by the generation before again",
            ),
        ] {
            assert_eq!(said(&event), expected);
        }
        assert!(line(&Event::Stopped, "", false).is_none());
        assert_eq!(line(&draining(None, None), "x", true).unwrap().0, Debug);
    }
}
