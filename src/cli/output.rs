//! What is said of the output of workers: why it cannot be written, and the last of it that a crashed one wrote.

use std::{fmt, io};

use log::Level::{self, Debug, Error, Info, Warn};
use pointsman::Event;

use super::clip::clip;

/// Bytes of a line that are shown; the log clips whole messages, at their end, which is what matters here.
const LINE_BYTES: usize = 200;

/// Bytes of all lines that are shown, of which the last come first.
const BYTES: usize = 1800;

/// The last lines of a worker, as advice is: the log puts each on a line of its own where people read.
pub(super) fn last_words(name: impl fmt::Display, lines: &[String]) -> String {
    let mut shown = Vec::new();
    let mut room = BYTES;
    for line in lines.iter().rev().map(|line| clip(line, LINE_BYTES)) {
        let Some(left) = room.checked_sub(line.len() + 1) else { break };
        room = left;
        shown.push(line);
    }
    shown.reverse();
    format!("{name} wrote last:\n{}", shown.join("\n"))
}

/// What is said of a place that output goes to.
pub(super) fn line(event: &Event) -> (Level, String) {
    let reason = |errno: i32| io::Error::from_raw_os_error(errno);
    match event {
        Event::OutputFailed { sink, errno } => {
            let reason = reason(*errno);
            (
                Error,
                format!(
                    "cannot write the output of workers to {sink}: {reason}; their lines are dropped until it can be"
                ),
            )
        }
        Event::OutputResumed { sink, dropped } => {
            let lines = if *dropped == 1 { "1 line was" } else { &format!("{dropped} lines were") };
            (Info, format!("the output of workers goes to {sink} again: {lines} dropped"))
        }
        Event::OutputKept { sink, errno } => {
            let reason = reason(*errno);
            (
                Warn,
                format!(
                    "cannot begin {sink} anew: {reason}; the output of workers goes on to the file that is open"
                ),
            )
        }
        other => (Debug, format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_words_the_last_are_shown() {
        let lines: Vec<_> = (0..20).map(|number| format!("{number} {}", "x".repeat(120))).collect();
        let text = last_words("worker 3", &lines);
        assert!(text.starts_with("worker 3 wrote last:\n6 x") && text.contains("\n19 x"), "{text}");
        assert!(text.len() < BYTES + 100);
        let text = last_words("worker 3", &["a".into(), "y".repeat(4000)]);
        assert!(text.starts_with("worker 3 wrote last:\na\nyyy") && text.len() < 400, "{text}");
        assert!(text.ends_with("(cut: it was 4000 bytes long)"));
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let sink = || "/var/log/app.log".to_owned();
        for (event, expected) in [
            (
                Event::OutputFailed { sink: sink(), errno: 28 },
                "app.log: No space left on device (os error 28); their",
            ),
            (Event::OutputResumed { sink: sink(), dropped: 1 }, "app.log again: 1 line was dropped"),
            (Event::OutputResumed { sink: sink(), dropped: 0 }, "app.log again: 0 lines were dropped"),
            (Event::OutputKept { sink: sink(), errno: 13 }, "app.log anew: Permission denied"),
        ] {
            let (_, text) = line(&event);
            assert!(text.contains(expected), "{text}");
        }
    }
}
