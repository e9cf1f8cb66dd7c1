//! Words and numbers as people write them, in a file, a variable or a flag alike.
//!
//! Text comes in, a value or a [`BadValue`] goes out. Nothing here knows where the text stood.

use std::{fmt, ops::RangeInclusive, str::FromStr, time::Duration};

use pointsman::{PolicyName, Scheduling, Serialization};
use thiserror::Error;

use super::problem::{nearest, synonym};

/// Why a text is not a value, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what}; {instead}")]
pub(crate) struct BadValue {
    pub(crate) what: String,
    pub(crate) instead: String,
}

impl BadValue {
    pub(crate) fn new(what: impl Into<String>, instead: impl Into<String>) -> Self {
        Self { what: what.into(), instead: instead.into() }
    }
}

/// The answer to a word that is none of `known`, which are such and such.
pub(super) fn no_such<'a>(
    kind: &str,
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
    such_and_such: &str,
) -> BadValue {
    let known: Vec<_> = known.into_iter().collect();
    let called = synonym(word).filter(|ours| known.contains(ours));
    let instead = match called.or_else(|| nearest(word, known.iter().copied())) {
        Some(near) => format!("did you mean {near}? The {such_and_such}"),
        None => format!("the {such_and_such}"),
    };
    BadValue::new(format!("no such {kind}"), instead)
}

/// How many workers to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workers {
    /// One for each core that this process may use.
    Auto,
    Count(usize),
}

/// More worker processes than any machine serves well from one master; a larger number is a slip of the finger.
pub(crate) const MAX_WORKERS: usize = 1024;

impl Workers {
    pub(crate) fn count(self) -> usize {
        match self {
            Self::Auto => pointsman::available_cores().min(MAX_WORKERS),
            Self::Count(count) => count,
        }
    }
}

impl FromStr for Workers {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let bad =
            |what: &str| BadValue::new(what, format!("give 0 to {MAX_WORKERS}, or auto for one per core"));
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad("not a number of workers"));
        }
        match text.parse() {
            Ok(count) if count <= MAX_WORKERS => Ok(Self::Count(count)),
            _ => Err(bad("too many workers")),
        }
    }
}

/// Reads how many workers whoever runs us wants of any program: none of them means none.
pub(crate) fn concurrency(text: &str) -> Result<Workers, BadValue> {
    match text.parse()? {
        Workers::Count(0) => {
            let instead = format!("give 1 to {MAX_WORKERS}, or auto for one per core");
            Err(BadValue::new("without a worker nothing is served", instead))
        }
        workers => Ok(workers),
    }
}

/// Reads a number in this range; what is not is not `what`.
pub(crate) fn number<T: FromStr + PartialOrd + fmt::Display + Clone>(
    what: &'static str,
    range: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, BadValue> + Clone {
    move |text| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && range.contains(number));
        let instead = || format!("give {} to {}", range.start(), range.end());
        number.ok_or_else(|| BadValue::new(format!("not {what}"), instead()))
    }
}

/// A value, if there is to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OrOff<T>(pub(crate) Option<T>);

/// Reads a value, or `off`.
pub(crate) fn or_off<T>(
    read: impl Fn(&str) -> Result<T, BadValue> + Clone,
) -> impl Fn(&str) -> Result<OrOff<T>, BadValue> + Clone {
    move |text| match text {
        "off" => Ok(OrOff(None)),
        _ => {
            let spoken = |bad: BadValue| BadValue::new(bad.what, format!("{}, or off", bad.instead));
            read(text).map(|value| OrOff(Some(value))).map_err(spoken)
        }
    }
}

/// Reads a duration that is no shorter than this.
pub(crate) fn at_least(shortest: Duration) -> impl Fn(&str) -> Result<Duration, BadValue> + Clone {
    move |text| match duration(text)? {
        time if time < shortest => {
            let shortest = show(shortest);
            Err(BadValue::new(format!("shorter than {shortest}"), format!("give {shortest} or more")))
        }
        time => Ok(time),
    }
}

/// What becomes of connections that no worker has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overload {
    Wait,
    Reject,
}

impl FromStr for Overload {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text {
            "wait" => Ok(Self::Wait),
            "reject" => Ok(Self::Reject),
            _ => Err(BadValue::new(
                "no such choice",
                "give wait (in the kernel's queue) or reject (with a 503, after overload_timeout)",
            )),
        }
    }
}

impl fmt::Display for Overload {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Wait => "wait",
            Self::Reject => "reject",
        })
    }
}

/// How connections come to workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Handoff,
    Shared,
    Multiport,
}

impl FromStr for Mode {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text {
            "handoff" => Ok(Self::Handoff),
            "shared" => Ok(Self::Shared),
            "multiport" => Ok(Self::Multiport),
            _ => {
                let known = ["handoff", "shared", "multiport"];
                Err(no_such("mode", text, known, &format!("modes are: {}", known.join(", "))))
            }
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Handoff => "handoff",
            Self::Shared => "shared",
            Self::Multiport => "multiport",
        })
    }
}

/// Reads a policy's name.
pub(crate) fn policy(word: &str) -> Result<PolicyName, BadValue> {
    word.parse().map_err(|_| {
        let known: Vec<_> = PolicyName::ALL.iter().map(ToString::to_string).collect();
        let rule = format!("policies are: {}; rr is Node's word for round-robin", known.join(", "));
        no_such("policy", word, known.iter().map(String::as_str).chain(["rr", "p2c"]), &rule)
    })
}

/// Reads the name of a serialization.
pub(crate) fn serialization(word: &str) -> Result<Serialization, BadValue> {
    word.parse().map_err(|_| {
        let known: Vec<_> = Serialization::ALL.iter().map(ToString::to_string).collect();
        let rule = format!("serializations are: {}, as in Node", known.join(", "));
        no_such("serialization", word, known.iter().map(String::as_str), &rule)
    })
}

/// Reads how the master is scheduled.
pub(crate) fn scheduling(word: &str) -> Result<Scheduling, BadValue> {
    word.parse().map_err(|_| {
        let known: Vec<_> = Scheduling::ALL.iter().map(ToString::to_string).collect();
        let rule = format!("choices are: {}", known.join(", "));
        no_such("scheduling", word, known.iter().map(String::as_str), &rule)
    })
}

/// Reads what can only be so or not.
pub(crate) fn switch(text: &str) -> Result<bool, BadValue> {
    text.parse().map_err(|_| BadValue::new("neither true nor false", "write one of the two"))
}

/// Units of time, the largest first, in milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// The longest time that can be asked for: who waits a week for a worker has mistaken the unit.
const MAX_DURATION: Duration = Duration::from_secs(7 * 24 * 3600);

/// Reads a number and its unit, such as `500ms`, `30s`, `2m` or `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, BadValue> {
    let number_ends = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(number_ends);
    let examples = "write a whole number and its unit, such as 500ms, 30s, 2m or 1h";
    if number.is_empty() {
        return Err(BadValue::new("not a duration", examples));
    }
    if unit.is_empty() {
        return Err(bare_number(number));
    }
    let letters = unit.trim_start_matches(|letter: char| letter.is_ascii_alphabetic());
    if letters.len() < unit.len() && letters.starts_with(|letter: char| letter.is_ascii_digit()) {
        let instead = "write one number and one unit, such as 90s for 1m30s";
        return Err(BadValue::new("more than one number and one unit", instead));
    }
    let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(BadValue::new(format!("{unit:?} is no unit of time"), examples));
    };
    let millis = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*scale));
    match millis.map(Duration::from_millis) {
        Some(duration) if duration <= MAX_DURATION => Ok(duration),
        _ => Err(BadValue::new("longer than a week", format!("give at most {}", show(MAX_DURATION)))),
    }
}

/// Reads how long a worker may take to leave.
pub(crate) fn stop_timeout(text: &str) -> Result<Duration, BadValue> {
    duration(text).map_err(|bad| match text {
        "off" => BadValue::new(
            "a stop by SIGTERM has an end",
            "write a time such as 1h; a stop by SIGQUIT waits for ever",
        ),
        _ => bad,
    })
}

/// The answer to a number that does not say of what.
pub(crate) fn bare_number(number: &str) -> BadValue {
    BadValue::new(
        "a bare number does not say whether it means seconds or milliseconds",
        format!("write {number}s, or {number}ms"),
    )
}

/// Writes a duration so that [`duration`] reads it; what is smaller than a millisecond is left out.
pub(crate) fn show(duration: Duration) -> String {
    let millis = duration.as_millis();
    let exact = UNITS.iter().find(|&&(_, scale)| millis > 0 && millis.is_multiple_of(u128::from(scale)));
    let (unit, scale) = exact.copied().unwrap_or(("s", 1000));
    format!("{}{unit}", millis / u128::from(scale))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        let millis = |text: &str| duration(text).map(|duration| duration.as_millis());
        for (text, expected) in [
            ("500ms", 500),
            ("0s", 0),
            ("30s", 30_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("168h", 604_800_000),
        ] {
            assert_eq!(millis(text), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("", "not a duration"),
            ("s", "not a duration"),
            ("-1s", "not a duration"),
            ("30", "bare number"),
            ("30 s", "no unit"),
            ("30S", "no unit"),
            ("1.5s", "no unit"),
            ("30sec", "no unit"),
            ("1m30s", "write one number and one unit, such as 90s"),
            ("169h", "a week"),
            ("99999999999999999999h", "a week"),
            ("18446744073709551615h", "a week"),
        ] {
            let error = duration(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert_eq!(
            duration("30").unwrap_err().to_string(),
            "a bare number does not say whether it means seconds or milliseconds; write 30s, or 30ms"
        );
    }

    #[test]
    fn numbers_of_workers() {
        for (text, expected) in [
            ("auto", Workers::Auto),
            ("0", Workers::Count(0)),
            ("1", Workers::Count(1)),
            ("008", Workers::Count(8)),
            ("1024", Workers::Count(1024)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["", "1025", "-1", "+1", "four", "4 ", "1.0", "99999999999999999999999"] {
            let error = text.parse::<Workers>().unwrap_err().to_string();
            assert!(error.contains("0 to 1024, or auto"), "{text}: {error}");
        }
        assert!(concurrency("00").is_err() && concurrency("1") == Ok(Workers::Count(1)));
    }

    #[test]
    fn modes() {
        for mode in [Mode::Handoff, Mode::Shared, Mode::Multiport] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        let error = "none".parse::<Mode>().unwrap_err().to_string();
        assert_eq!(error, "no such mode; the modes are: handoff, shared, multiport");
        let error = "handof".parse::<Mode>().unwrap_err().to_string();
        assert_eq!(error, "no such mode; did you mean handoff? The modes are: handoff, shared, multiport");
    }

    #[test]
    fn numbers_have_their_range_and_times_their_least() {
        let three = number("a number of tries", 1..=3u32);
        assert_eq!((three("1"), three("003")), (Ok(1), Ok(3)));
        for text in ["", "0", "4", "+1", "-1", "1.0", "99999999999"] {
            let error = three(text).unwrap_err().to_string();
            assert_eq!(error, "not a number of tries; give 1 to 3", "{text}");
        }
        let time = or_off(at_least(Duration::from_millis(100)));
        assert_eq!(time("off"), Ok(OrOff(None)));
        assert_eq!(time("100ms"), Ok(OrOff(Some(Duration::from_millis(100)))));
        assert_eq!(time("99ms").unwrap_err().to_string(), "shorter than 100ms; give 100ms or more, or off");
        assert!(time("1").unwrap_err().to_string().ends_with("write 1s, or 1ms, or off"));
    }

    proptest! {
        #[test]
        fn a_duration_is_read_as_it_is_written(millis in 0u64..7 * 24 * 3_600_000) {
            let wanted = Duration::from_millis(millis);
            prop_assert_eq!(duration(&show(wanted)), Ok(wanted));
        }

        #[test]
        fn no_text_panics(text in ".*", near in "[0-9]{0,25}(ms|s|m|h|d| )?") {
            for text in [text, near] {
                let _ = duration(&text);
                let _ = text.parse::<Workers>();
                let _ = text.parse::<Mode>();
            }
        }
    }
}
