//! Why a command to a master has come to nothing: what is said, and the exit code that scripts see.
//!
//! Knows nothing of sockets, nor of what was asked for.

use std::{ffi::OsString, io, time::Duration};

use serde_json::{Value, json};
use thiserror::Error;

use super::{
    super::{
        failure::{BUG, CONFIGURATION, FAILED, NOT_PERMITTED, TRY_AGAIN, UNREACHABLE, USAGE},
        trouble::about,
    },
    blame::Culprit,
    text::{json_line, one_line, shown},
};
use crate::config;

/// Why it has.
#[derive(Debug, Error)]
pub(super) enum Fault {
    /// The words of the command line do not go together.
    #[error("{0}")]
    Usage(String),
    /// A variable is wrong.
    #[error("{0}")]
    Variable(String),
    /// Nobody answers in any of the places.
    #[error("{told}")]
    Unreachable {
        /// Where it was tried and what is wrong there, in lines.
        told: String,
        /// In one of them it may only be that this user must not.
        denied: bool,
    },
    /// There is a master, of another version.
    #[error(
        "the master (pid {pid}, pointsman {version}) speaks version {protocol} of the control protocol, and this pointsman, \
         {}, only {known}: use the command of the master's version",
        env!("CARGO_PKG_VERSION")
    )]
    OtherProtocol { pid: u32, version: String, protocol: u64, known: u64 },
    /// It says no.
    #[error("{}", shown(message))]
    Refused { code: String, message: String },
    /// It has begun, and not succeeded.
    #[error("{}{}", shown(message), goes_on(culprit))]
    Failed { message: String, culprit: Culprit },
    /// It is gone, and has not said how it ended.
    #[error("the master (pid {pid}) has gone before it {what}")]
    Gone { pid: u32, what: &'static str },
    /// It says nothing.
    #[error("{} is there and has said nothing for {}; it may be stopped (SIGSTOP) or busy", master(*pid), about(*.after))]
    Mute { pid: u32, after: Duration },
    /// It has not even said that the time is over.
    #[error("not done after {}, and {} says nothing; it may be stopped (SIGSTOP) or busy", about(*.after), master(*pid))]
    Overdue { pid: u32, after: Duration },
    /// It says what nobody understands.
    #[error("the master (pid {pid}) says what is not in its protocol: {what}")]
    Garbled { pid: u32, what: String },
    /// Standard input, which a message is read from.
    #[error("standard input cannot be read: {0}")]
    Input(io::Error),
    #[error("standard output cannot be written: {0}")]
    Output(io::Error),
    /// Whoever reads has seen enough, such as `head`.
    #[error("")]
    ReaderGone,
}

impl Fault {
    /// What a failure to write to standard output is.
    pub(super) fn of_output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Output(error),
        }
    }

    /// What is said of it to people; the words name the master in a command.
    pub(super) fn lines(&self, master: &[OsString]) -> String {
        let mut text = match self {
            Self::ReaderGone => return String::new(),
            fault => format!("error: {fault}\n"),
        };
        let Self::Failed { culprit, .. } = self else { return text };
        let Some(slot) = culprit.slot else { return text };
        if culprit.lines.is_empty() {
            let mut words = ["pointsman", "logs"].map(OsString::from).to_vec();
            words.push(format!("slot:{slot}").into());
            words.extend_from_slice(master);
            return text + &format!("see: {}\n", one_line(&config::words(&words)));
        }
        let worker = culprit.worker.map_or_else(String::new, |worker| format!("worker {worker}, "));
        text += &format!("  the last words of {worker}slot {slot}:\n");
        culprit.lines.iter().for_each(|line| text += &format!("    {}\n", one_line(line)));
        text
    }

    /// The same for programs, if it is an error of the protocol.
    pub(super) fn json_line(&self) -> String {
        let mut error = match self {
            Self::Refused { code, message } => json!({ "code": code, "message": message }),
            Self::Failed { message, .. } => json!({ "code": FAILED_CODE, "message": message }),
            other => return other.lines(&[]),
        };
        if let Self::Failed { culprit: Culprit { slot: Some(slot), lines, .. }, .. } = self {
            error["slot"] = (*slot).into();
            error["last_words"] = lines.clone().into();
        }
        let line: Value = json!({ "error": error });
        format!("{}\n", json_line(&line))
    }

    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Variable(_) => CONFIGURATION,
            Self::Unreachable { denied: true, .. } => NOT_PERMITTED,
            Self::Unreachable { denied: false, .. }
            | Self::OtherProtocol { .. }
            | Self::Gone { .. }
            | Self::Mute { .. }
            | Self::Garbled { .. } => UNREACHABLE,
            Self::Overdue { .. } => TRY_AGAIN,
            Self::Refused { code, .. } => of_code(code),
            Self::Failed { .. } => of_code(FAILED_CODE),
            Self::Input(_) | Self::Output(_) => FAILED,
            Self::ReaderGone => 0,
        }
    }
}

/// What the protocol calls that something was begun and has not succeeded.
const FAILED_CODE: &str = "failed";

/// The master, as far as it is known.
fn master(pid: u32) -> String {
    if pid == 0 { "the master".into() } else { format!("the master (pid {pid})") }
}

fn goes_on(culprit: &Culprit) -> String {
    culprit.goes_on.map_or_else(String::new, |old| format!("; worker {old}, the old one, goes on"))
}

/// The exit code of an error of the protocol.
fn of_code(code: &str) -> u8 {
    match code {
        "bad_request" => USAGE,
        "not_permitted" => NOT_PERMITTED,
        "refused" | "busy" | "timed_out" => TRY_AGAIN,
        "invalid" => CONFIGURATION,
        "internal" => BUG,
        // `failed`, `no_such_worker`, and what a later version may say.
        _ => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_can_tell_failures_apart() {
        for (code, expected) in [
            ("bad_request", 2),
            ("not_permitted", 77),
            ("no_such_worker", 1),
            ("refused", 75),
            ("busy", 75),
            ("timed_out", 75),
            ("failed", 1),
            ("invalid", 78),
            ("of a later version", 1),
        ] {
            assert_eq!(
                Fault::Refused { code: code.into(), message: "no".into() }.exit_code(),
                expected,
                "{code}"
            );
        }
        let unreachable = |denied| Fault::Unreachable { told: "nobody".into(), denied };
        for (fault, expected) in [
            (unreachable(false), 69),
            (unreachable(true), 77),
            (Fault::Gone { pid: 1, what: "answered" }, 69),
            (Fault::Mute { pid: 1, after: Duration::from_secs(10) }, 69),
            (Fault::Overdue { pid: 1, after: Duration::from_secs(10) }, 75),
            (Fault::Usage("x".into()), 2),
            (Fault::of_output(io::Error::from(io::ErrorKind::BrokenPipe)), 0),
            (Fault::of_output(io::Error::from_raw_os_error(28)), 1),
        ] {
            assert_eq!(fault.exit_code(), expected, "{fault}");
        }
    }

    #[test]
    fn a_failure_has_the_last_words_of_who_has_failed() {
        let fault = |lines: &[&str]| Fault::Failed {
            message: "its successor has ended".into(),
            culprit: Culprit {
                slot: Some(1),
                worker: Some(7),
                lines: lines.iter().map(|&line| line.to_owned()).collect(),
                goes_on: Some(2),
            },
        };
        let told = fault(&["Error: x", "\u{1b}[2J  at y"]);
        let expected = "error: its successor has ended; worker 2, the old one, goes on\n  the last words of worker 7, slot \
                        1:\n    Error: x\n    \\u{1b}[2J  at y\n";
        assert_eq!((told.lines(&[]).as_str(), told.exit_code()), (expected, 1));
        let master = ["--control", "/a b.sock"].map(OsString::from);
        let text = fault(&[]).lines(&master);
        assert!(text.ends_with("\nsee: pointsman logs slot:1 --control '/a b.sock'\n"), "{text}");
        let unknown = Fault::Failed { message: "no".into(), culprit: Culprit::default() };
        assert_eq!(unknown.lines(&master), "error: no\n");
        let json = |fault: &Fault| serde_json::from_str::<Value>(&fault.json_line()).unwrap();
        let expected =
            json!({ "code": "failed", "message": "its successor has ended", "slot": 1, "last_words": ["x"] });
        assert_eq!(json(&fault(&["x"])), json!({ "error": expected }));
        let refused = Fault::Refused { code: "busy".into(), message: "a\nb".into() };
        assert_eq!(json(&refused), json!({ "error": { "code": "busy", "message": "a\nb" } }));
        assert_eq!(refused.json_line().matches('\n').count(), 1);
        assert_eq!(Fault::Usage("x".into()).json_line(), "error: x\n");
    }

    #[test]
    fn what_the_master_says_cannot_steer_the_terminal() {
        let fault = Fault::Refused { code: "failed".into(), message: "a\u{1b}[2Jb\nc".into() };
        assert_eq!(fault.to_string(), "a\\u{1b}[2Jb\nc");
    }
}
