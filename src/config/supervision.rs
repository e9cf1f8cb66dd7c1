//! Words for how workers are kept, as people write them.
//!
//! Text comes in, a value or a [`BadValue`] goes out, as in [`super::value`]; and back again.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use pointsman::{Batch, ReadyOn, StopWith};

use super::{
    attribute::{show_size, size},
    key::Shown,
    problem::nearest,
    value::{BadValue, MAX_WORKERS, no_such, number},
};

/// What makes a worker ready.
pub(crate) fn ready_on(word: &str) -> Result<ReadyOn, BadValue> {
    word.parse().map_err(|_| {
        let known = ReadyOn::ALL.map(|known| known.to_string());
        let rule = format!("choices are: {}", known.join(", "));
        no_such("way to be ready", word, known.iter().map(String::as_str), &rule)
    })
}

/// What a worker is told that is to leave.
pub(crate) fn stop_with(text: &str) -> Result<StopWith, BadValue> {
    match text {
        "disconnect" => Ok(StopWith::Disconnect),
        "signal" => Ok(StopWith::Signal),
        _ => match text.strip_prefix("message:") {
            Some("") => Err(BadValue::new("a message without a text", "write it, as in message:shutdown")),
            Some(message) => Ok(StopWith::Message(message.to_owned())),
            None => {
                let all =
                    "choices are: disconnect, signal, and message: with its text, as in message:shutdown";
                Err(no_such("way to stop", text, ["disconnect", "signal"], all))
            }
        },
    }
}

impl Shown for StopWith {
    fn shown(&self) -> String {
        match self {
            Self::Message(text) => format!("message:{text}"),
            Self::Signal => "signal".to_owned(),
            // The crate has no other.
            _ => "disconnect".to_owned(),
        }
    }
}

/// A signal that ends a worker, or that a worker takes for a reason to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StopSignal(pub(crate) i32);

/// SIGTERM.
pub(crate) const TERM: StopSignal = StopSignal(15);

/// The signals of Linux by their numbers, of which the first is 1.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

impl StopSignal {
    fn name(self) -> Option<&'static str> {
        let place = usize::try_from(self.0).ok()?.checked_sub(1)?;
        SIGNALS.get(place).copied()
    }
}

impl FromStr for StopSignal {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let upper = text.to_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let numbered = || (1..).zip(SIGNALS).map(|(number, name)| (Self(number), name));
        let found = numbered().find(|(signal, known)| *known == name || signal.0.to_string() == text);
        match found {
            Some((_, "KILL")) => Err(BadValue::new(
                "SIGKILL leaves a worker no time, and comes by itself after kill_timeout",
                "name another signal, or shorten stop_timeout",
            )),
            Some((_, "STOP")) => {
                Err(BadValue::new("SIGSTOP halts a worker, which then never ends", "name another signal"))
            }
            Some((signal, _)) => Ok(signal),
            None => {
                let examples = "write a name such as TERM, INT or SIGQUIT, or a number from 1 to 31";
                let near = nearest(name, SIGNALS).filter(|near| !["KILL", "STOP"].contains(near));
                let instead = near.map_or_else(
                    || examples.to_owned(),
                    |near| format!("did you mean {near}? Write{}", &examples[5..]),
                );
                Err(BadValue::new("no such signal", instead))
            }
        }
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => out.pad(name),
            None => self.0.fmt(out),
        }
    }
}

/// How many workers a reload replaces at once.
pub(crate) fn reload_batch(text: &str) -> Result<Batch, BadValue> {
    let bad = |bad: BadValue| BadValue::new(bad.what, format!("{}, or a share such as 25%", bad.instead));
    match text.strip_suffix('%') {
        Some(share) => {
            let share = number::<u8>("a share of the workers", 1..=100)(share);
            let instead = "give 1% to 100%, or a number of workers";
            share.map(Batch::Percent).map_err(|bad| BadValue::new(bad.what, instead))
        }
        None => number("a number of workers", 1..=MAX_WORKERS)(text).map(Batch::Count).map_err(bad),
    }
}

impl Shown for Batch {
    fn shown(&self) -> String {
        match self {
            Self::Count(count) => count.to_string(),
            Self::Percent(percent) => format!("{percent}%"),
        }
    }
}

/// An amount of memory or of a file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// Less of it is a slip of the unit.
const MIN_SIZE: u64 = 1 << 20;

impl FromStr for Size {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match size(text)? {
            bytes if bytes < MIN_SIZE => Err(BadValue::new(
                format!("less than {}", Self(MIN_SIZE)),
                "write a size such as 500MiB or 2GiB",
            )),
            bytes => Ok(Self(bytes)),
        }
    }
}

/// Reads a size in this range, in bytes.
pub(crate) fn size_in(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<Size, BadValue> + Clone {
    move |text| {
        let bytes = size(text)?;
        let (least, most) = (show_size(*range.start()), show_size(*range.end()));
        let what = match bytes {
            bytes if bytes < *range.start() => format!("less than {least}"),
            bytes if bytes > *range.end() => format!("more than {most}"),
            bytes => return Ok(Size(bytes)),
        };
        Err(BadValue::new(what, format!("give {least} to {most}")))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&show_size(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn signals_are_names_or_numbers() {
        for (text, expected) in
            [("TERM", 15), ("SIGTERM", 15), ("sigint", 2), ("quit", 3), ("1", 1), ("31", 31), ("USR2", 12)]
        {
            assert_eq!(text.parse(), Ok(StopSignal(expected)), "{text}");
        }
        for signal in (1..=31).filter(|number| ![9, 19].contains(number)).map(StopSignal) {
            assert_eq!(signal.to_string().parse(), Ok(signal));
        }
        assert_eq!(TERM.to_string(), "TERM");
        for (text, expected) in [
            ("KILL", "SIGKILL leaves a worker no time, and comes by itself after kill_timeout; name another"),
            ("9", "SIGKILL leaves"),
            ("SIGSTOP", "SIGSTOP halts a worker"),
            ("19", "SIGSTOP halts a worker"),
            ("TREM", "no such signal; did you mean TERM? Write a name such as TERM"),
            ("0", "no such signal; write a name"),
            ("015", "no such signal"),
            ("32", "a number from 1 to 31"),
            ("SIGSIGTERM", "no such signal"),
            ("", "no such signal"),
        ] {
            let error = text.parse::<StopSignal>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn ways_to_be_ready_and_to_stop() {
        assert!(ReadyOn::ALL.into_iter().all(|way| ready_on(&way.to_string()) == Ok(way)));
        let error = ready_on("listenning").unwrap_err().to_string();
        assert!(
            error.contains("no such way to be ready; did you mean listening? The choices are: auto, "),
            "{error}"
        );
        for text in ["disconnect", "signal", "message:shutdown", "message: a b"] {
            assert_eq!(stop_with(text).unwrap().shown(), text);
        }
        assert_eq!(stop_with("message:x"), Ok(StopWith::Message("x".into())));
        for (text, expected) in [
            ("message:", "a message without a text"),
            ("message", "the choices are: disconnect, signal, and message: with its text"),
            ("signl", "did you mean signal?"),
        ] {
            let error = stop_with(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn batches_are_numbers_or_shares() {
        for (text, expected) in [
            ("1", Batch::Count(1)),
            ("1024", Batch::Count(1024)),
            ("25%", Batch::Percent(25)),
            ("100%", Batch::Percent(100)),
        ] {
            assert_eq!(reload_batch(text), Ok(expected), "{text}");
            assert_eq!(expected.shown(), text);
        }
        for (text, expected) in [
            ("0", "not a number of workers; give 1 to 1024, or a share such as 25%"),
            ("1025", "not a number of workers"),
            ("half", "not a number of workers"),
            ("0%", "not a share of the workers; give 1% to 100%, or a number of workers"),
            ("101%", "not a share"),
            ("%", "not a share"),
            ("2.5%", "not a share"),
        ] {
            let error = reload_batch(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_have_a_unit() {
        for (text, shown) in [("500MiB", "500MiB"), ("2048MiB", "2GiB"), ("1048577B", "1048577B")] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), shown);
        }
        for (text, expected) in [
            ("500", "a bare number does not say whether it means bytes or more; write 500MiB, or 500B"),
            ("500M", "no unit of size"),
            ("1023KiB", "less than 1MiB; write a size such as 500MiB"),
            ("0B", "less than 1MiB"),
        ] {
            let error = text.parse::<Size>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_have_their_range() {
        let size = size_in(1024..=1 << 20);
        assert_eq!((size("1KiB"), size("1MiB")), (Ok(Size(1024)), Ok(Size(1 << 20))));
        for (text, expected) in [
            ("1023B", "less than 1KiB; give 1KiB to 1MiB"),
            ("2MiB", "more than 1MiB; give 1KiB to 1MiB"),
            ("16", "bare number"),
        ] {
            let error = size(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*", near in "(message:|SIG|-)?[0-9A-Z]{0,22}(%|MiB|B)?") {
            for text in [text, near] {
                let _ = (text.parse::<StopSignal>(), text.parse::<Size>());
                let _ = (ready_on(&text), stop_with(&text), reload_batch(&text));
            }
        }
    }
}
