//! Why a command to a master has come to nothing: what is said, and the exit code that scripts see.
//!
//! Knows nothing of sockets, nor of what was asked for.

use std::{io, time::Duration};

use thiserror::Error;

use super::{
    super::{
        failure::{BUG, CONFIGURATION, FAILED, NOT_PERMITTED, TRY_AGAIN, UNREACHABLE, USAGE},
        trouble::about,
    },
    text::shown,
};

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
    /// It is gone, and has not said how it ended.
    #[error("the master (pid {pid}) has gone before it {what}")]
    Gone { pid: u32, what: &'static str },
    /// It says nothing.
    #[error("the master (pid {pid}) has not answered for {}; is it halted (SIGSTOP)?", about(*.after))]
    Mute { pid: u32, after: Duration },
    /// It has not even said that the time is over.
    #[error("the master (pid {pid}) is not done after {}, and says nothing", about(*.after))]
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
            Self::Input(_) | Self::Output(_) => FAILED,
            Self::ReaderGone => 0,
        }
    }
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
    fn what_the_master_says_cannot_steer_the_terminal() {
        let fault = Fault::Refused { code: "failed".into(), message: "a\u{1b}[2Jb\nc".into() };
        assert_eq!(fault.to_string(), "a\\u{1b}[2Jb\nc");
    }
}
