//! `RUST_LOG` -> what env_logger understands, and a warning for the rest.
//!
//! env_logger itself would say on standard error what it does not understand, and wait or panic if nobody reads that.

use std::ffi::OsStr;

use log::LevelFilter;

use crate::config::nearest;

/// Where the filter comes from.
pub(super) const VARIABLE: &str = "RUST_LOG";

/// The target of the warning, which is let through whatever else is not.
pub(super) const TARGET: &str = "pointsman::log_filter";

/// Without a filter.
const DEFAULT: &str = "info";

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A filter that env_logger takes without a word.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) text: String,
    pub(super) warning: Option<String>,
}

impl Filter {
    /// Reads the variable's value. What is wrong in it is left out.
    pub(super) fn read(value: Option<&OsStr>) -> Self {
        let default = || DEFAULT.to_owned();
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            return Self { text: default(), warning: None };
        };
        let warn = |wrong: &str| Some(format!("{VARIABLE}={}: {wrong}", value.display()));
        let Some(text) = value.to_str() else {
            return Self { text: default(), warning: warn("not UTF-8 text; ignored") };
        };
        let mut wrong = Vec::new();
        let (parts, pattern) = match text.split_once('/') {
            Some((parts, pattern)) if pattern.contains('/') => {
                wrong.push("more than one / in it".to_owned());
                (parts, None)
            }
            Some((parts, pattern)) => (parts, Some(pattern)),
            None => (text, None),
        };
        let mut good = Vec::new();
        for part in parts.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match mistake(part) {
                None => good.push(part),
                Some(mistake) => wrong.push(mistake),
            }
        }
        let mut text = if good.is_empty() { default() } else { good.join(",") };
        if let Some(pattern) = pattern {
            text = format!("{text}/{pattern}");
        }
        let warning = if wrong.is_empty() { None } else { warn(&format!("{}; ignored", wrong.join(", "))) };
        Self { text, warning }
    }
}

/// What is wrong with `LEVEL`, `TARGET`, `TARGET=` or `TARGET=LEVEL`.
fn mistake(part: &str) -> Option<String> {
    let level = match part.split('=').collect::<Vec<_>>()[..] {
        [word] => {
            // Any word may be the name of a crate, but one that is nearly a level is a slip.
            return meant(word).filter(|_| !is_level(word)).map(|level| not_a_level(word, Some(level)));
        }
        [_, level] => level.trim(),
        _ => return Some(format!("{part:?} has more than one =")),
    };
    let known = level.is_empty() || is_level(level);
    if known { None } else { Some(not_a_level(level, meant(level))) }
}

fn is_level(word: &str) -> bool {
    word.parse::<LevelFilter>().is_ok()
}

fn meant(word: &str) -> Option<&'static str> {
    let word = word.to_lowercase();
    // What we call that level ourselves.
    if word == "warning" { Some("warn") } else { nearest(&word, LEVELS) }
}

fn not_a_level(word: &str, meant: Option<&str>) -> String {
    match meant {
        Some(level) => format!("{word:?} is no level (did you mean {level}?)"),
        None => format!("{word:?} is no level (they are: {})", LEVELS.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_good_filter_stays_as_it_is() {
        for (value, expected) in [
            (None, "info"),
            (Some(""), "info"),
            (Some("debug"), "debug"),
            (Some("WARN"), "WARN"),
            (Some("off"), "off"),
            (Some("pointsman::master=trace, mio"), "pointsman::master=trace,mio"),
            (Some("myapp=,debug/sent"), "myapp=,debug/sent"),
        ] {
            let filter = Filter::read(value.map(OsStr::new));
            assert_eq!(filter, Filter { text: expected.into(), warning: None }, "{value:?}");
        }
    }

    #[test]
    fn a_bad_part_is_left_out_and_told() {
        for (value, text, parts) in [
            ("inof", "info", &["RUST_LOG=inof: ", "\"inof\" is no level (did you mean info?); ignored"][..]),
            ("warning", "info", &["did you mean warn?"]),
            ("mio=debugg,trace", "trace", &["\"debugg\" is no level (did you mean debug?)"]),
            ("mio=loud", "info", &["\"loud\" is no level (they are: off, error, warn, info, debug, trace)"]),
            ("a=b=c,warn", "warn", &["\"a=b=c\" has more than one ="]),
            ("debug/a/b", "debug", &["more than one /"]),
            ("x=y/z", "info/z", &["\"y\" is no level"]),
        ] {
            let filter = Filter::read(Some(OsStr::new(value)));
            assert_eq!(filter.text, text, "{value}");
            let warning = filter.warning.unwrap();
            for part in parts {
                assert!(warning.contains(part), "{value}: {warning}");
            }
        }
        let filter = Filter::read(Some(OsStr::from_bytes(b"debug\xff")));
        assert!(filter.text == "info" && filter.warning.unwrap().contains("not UTF-8"));
    }

    proptest::proptest! {
        // It prints a complaint otherwise, and builds something else.
        #[test]
        fn env_logger_understands_what_is_left(value in "[a-z=/, ]{0,30}") {
            let Filter { text, .. } = Filter::read(Some(OsStr::new(&value)));
            let (parts, pattern) = text.split_once('/').unwrap_or((&text, ""));
            proptest::prop_assert!(!pattern.contains('/'), "{}", text);
            for part in parts.split(',') {
                let level = part.split('=').collect::<Vec<_>>();
                let good = level.len() <= 2 && level.get(1).is_none_or(|level| level.trim().is_empty() || is_level(level.trim()));
                proptest::prop_assert!(good, "{}", text);
            }
        }
    }
}
