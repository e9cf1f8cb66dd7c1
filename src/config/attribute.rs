//! Words and numbers for what a worker process is to be, as people write them.
//!
//! Text comes in, a value or a [`BadValue`] goes out, as in [`super::value`].

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use pointsman::{BadCpus, Cpus, Limit, Resource, UNLIMITED, Unit};

use super::{
    problem::nearest,
    value::{BadValue, duration, no_such, show},
};

/// A path, relative to `base`.
pub(crate) fn path(text: &Path, base: &Path) -> Result<PathBuf, BadValue> {
    if text.as_os_str().is_empty() {
        return Err(BadValue::new("no path is named", "leave it out for the default"));
    }
    let joined = base.join(text);
    let shown = |error: io::Error| BadValue::new(error.to_string(), "write a path that begins with /");
    std::path::absolute(joined).map_err(shown)
}

/// A user or a group, by name or number.
pub(crate) fn account(text: &str) -> Result<String, BadValue> {
    match text.split_once(':') {
        Some((user, group)) => {
            let instead = format!("write user {user} and group {group}, each by itself");
            Err(BadValue::new("a user and a group in one", instead))
        }
        None if text.is_empty() => Err(BadValue::new("no name", "leave it out for the default")),
        None => Ok(text.to_owned()),
    }
}

/// Which permissions new files do not get, in octal digits.
pub(crate) fn umask(text: &str) -> Result<u32, BadValue> {
    let octal = (1..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mask = if octal { u32::from_str_radix(text, 8).ok() } else { None };
    mask.filter(|mask| *mask <= 0o777).ok_or_else(|| {
        BadValue::new("not a umask", "write octal digits from 000 to 777, such as 027 or 0027")
    })
}

/// Writes a umask as it is read.
pub(crate) fn show_umask(mask: u32) -> String {
    format!("{mask:03o}")
}

/// A nice value.
pub(crate) fn nice(text: &str) -> Result<i32, BadValue> {
    let bad = || BadValue::new("not a nice value", "give -20 (served first) to 19 (served last)");
    text.parse().ok().filter(|nice| (-20..=19).contains(nice)).ok_or_else(bad)
}

/// Which cores each worker may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Affinity {
    /// One for each slot in turn.
    Auto,
    /// One of these sets for each slot in turn; at least one.
    Sets(Vec<Cpus>),
}

impl Affinity {
    pub(crate) fn sets(&self) -> Vec<Cpus> {
        match self {
            Self::Auto => Cpus::one_each(),
            Self::Sets(sets) => sets.clone(),
        }
    }
}

impl FromStr for Affinity {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let sets: Vec<_> = text.split_whitespace().map(cpus).collect::<Result<_, _>>()?;
        if sets.is_empty() { Err(no_cpus()) } else { Ok(Self::Sets(sets)) }
    }
}

impl fmt::Display for Affinity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => out.pad("auto"),
            Self::Sets(sets) => out.pad(&sets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")),
        }
    }
}

/// One set of cores.
pub(crate) fn cpus(text: &str) -> Result<Cpus, BadValue> {
    text.parse().map_err(|bad: BadCpus| {
        let bad = bad.to_string();
        let (what, instead) = bad.split_once("; ").unwrap_or((&bad, ""));
        BadValue::new(what, format!("{instead}; auto gives each worker a core of its own"))
    })
}

pub(crate) fn no_cpus() -> BadValue {
    BadValue::new("no set of cores", "write auto, or a set for each worker in turn such as 0-1 2-3")
}

/// The name of a limit.
pub(crate) fn resource(text: &str) -> Result<Resource, BadValue> {
    text.parse().map_err(|_| {
        let names = || Resource::ALL.into_iter().map(Resource::name);
        // Those of ulimit's and Docker's readers who write them in capitals, too.
        let small = text.to_lowercase();
        let near = nearest(small.trim_start_matches("rlimit_"), names());
        let all = format!("limits are: {}", names().collect::<Vec<_>>().join(", "));
        match near {
            Some(near) => BadValue::new("no such limit", format!("did you mean {near}? The {all}")),
            None => no_such("limit", text, [], &all),
        }
    })
}

/// Reads `nofile=1024` or `nofile=1024:4096`, the soft limit and the hard one, as Docker's `--ulimit` does.
pub(crate) fn named_limit(text: &str) -> Result<(Resource, Limit), BadValue> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(BadValue::new("not a limit", "write NAME=VALUE or NAME=SOFT:HARD, such as nofile=65536"));
    };
    let resource = resource(name)?;
    let limit = match value.split_once(':') {
        Some((soft, hard)) => {
            Limit { soft: Some(bound(resource, soft)?), hard: Some(bound(resource, hard)?) }
        }
        None => Limit::both(bound(resource, value)?),
    };
    Ok((resource, ordered(limit)?))
}

/// Several of them, with blanks between.
pub(crate) fn named_limits(text: &str) -> Result<Vec<(Resource, Limit)>, BadValue> {
    text.split_whitespace().map(named_limit).collect()
}

/// A limit whose soft part is not above its hard one.
pub(crate) fn ordered(limit: Limit) -> Result<Limit, BadValue> {
    match limit {
        Limit { soft: Some(soft), hard: Some(hard) } if soft > hard => Err(BadValue::new(
            "the soft limit is above the hard one",
            "the soft limit is what holds, and the hard one how far a program may raise it",
        )),
        other => Ok(other),
    }
}

/// One value of a limit.
pub(crate) fn bound(resource: Resource, text: &str) -> Result<u64, BadValue> {
    let spoken = |bad: BadValue| BadValue::new(bad.what, format!("{}, or unlimited", bad.instead));
    match (text, resource.unit()) {
        ("unlimited", _) => Ok(UNLIMITED),
        ("0", _) => Ok(0),
        (_, Unit::Bytes) => size(text).map_err(spoken),
        (_, Unit::Seconds) => seconds(text).map_err(spoken),
        (_, Unit::Count) => count(text).map_err(spoken),
    }
}

fn count(text: &str) -> Result<u64, BadValue> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number.filter(|number| *number < UNLIMITED).ok_or_else(|| BadValue::new("not a number", "write digits"))
}

fn seconds(text: &str) -> Result<u64, BadValue> {
    let time = duration(text)?;
    match time.subsec_nanos() {
        0 => Ok(time.as_secs()),
        _ => Err(BadValue::new("the system counts in seconds", "write whole seconds, such as 30s")),
    }
}

/// Units of size, the largest first.
const UNITS: [(&str, u32); 5] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];

/// Reads a number and its unit, such as `200MiB`.
pub(crate) fn size(text: &str) -> Result<u64, BadValue> {
    let ends = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(ends);
    let examples = "write a whole number and its unit, such as 64KiB, 200MiB or 2GiB";
    if number.is_empty() {
        return Err(BadValue::new("not a size", examples));
    }
    if unit.is_empty() {
        return Err(bare_size(number));
    }
    let Some((_, shift)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(BadValue::new(format!("{unit:?} is no unit of size"), examples));
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    let bad = || BadValue::new("larger than any limit", examples);
    bytes.filter(|bytes| *bytes < UNLIMITED).ok_or_else(bad)
}

/// The answer to a number that does not say of what.
fn bare_size(number: &str) -> BadValue {
    BadValue::new(
        "a bare number does not say whether it means bytes or more",
        format!("write {number}MiB, or {number}B"),
    )
}

/// Writes a size so that [`size`] reads it.
pub(crate) fn show_size(bytes: u64) -> String {
    let exact = UNITS.into_iter().find(|(_, shift)| bytes > 0 && bytes.is_multiple_of(1 << shift));
    let (unit, shift) = exact.unwrap_or(("B", 0));
    format!("{}{unit}", bytes >> shift)
}

/// Writes a limit for people.
pub(crate) fn show_limit(resource: Resource, limit: Limit) -> String {
    let one = |bound: u64| match (bound, resource.unit()) {
        (UNLIMITED, _) => "unlimited".to_owned(),
        (0, _) | (_, Unit::Count) => bound.to_string(),
        (_, Unit::Seconds) => show(Duration::from_secs(bound)),
        (_, Unit::Bytes) => show_size(bound),
    };
    match limit {
        Limit { soft: Some(soft), hard: Some(hard) } if soft == hard => one(soft),
        Limit { soft: Some(soft), hard: Some(hard) } => format!("{}:{}", one(soft), one(hard)),
        Limit { soft, hard } => {
            let [soft, hard] = [("soft", soft), ("hard", hard)].map(|(name, bound)| {
                bound.map_or_else(String::new, |bound| format!("{name} {}", one(bound)))
            });
            soft + &hard
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn masks_are_octal() {
        for (text, expected) in [("0", 0), ("027", 0o27), ("0027", 0o27), ("22", 0o22), ("777", 0o777)] {
            assert_eq!(umask(text), Ok(expected), "{text}");
        }
        for text in ["", "8", "1777", "00022", "-1", "+7", "0o27", "u=rwx"] {
            let error = umask(text).unwrap_err().to_string();
            assert!(error.contains("such as 027"), "{text}: {error}");
        }
        assert_eq!(show_umask(0o7), "007");
    }

    #[test]
    fn nice_values_are_in_their_range() {
        for (text, expected) in [("-20", -20), ("0", 0), ("+5", 5), ("19", 19)] {
            assert_eq!(nice(text), Ok(expected), "{text}");
        }
        for text in ["", "-21", "20", "1.5", "low", "99999999999"] {
            assert!(nice(text).unwrap_err().to_string().contains("-20 (served first) to 19"), "{text}");
        }
    }

    #[test]
    fn cores_are_auto_or_sets() {
        for (text, expected) in [("auto", "auto"), ("0-1 2,3", "0-1 2-3"), (" 5 ", "5")] {
            assert_eq!(text.parse::<Affinity>().unwrap().to_string(), expected);
        }
        for (text, expected) in [
            ("", "no set of cores; write auto"),
            ("0 x", "\"x\" is not the number of a core; write numbers"),
            ("auto 1", "\"auto\" is not the number"),
            ("0001 0010", "nginx's bit masks"),
        ] {
            let error = text.parse::<Affinity>().unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("auto"), "{text}: {error}");
        }
        assert_eq!(Affinity::Auto.sets(), Cpus::one_each());
    }

    #[test]
    fn limits_are_read_and_shown() {
        for (text, expected) in [
            ("nofile=1024", "1024"),
            ("nofile=1024:65536", "1024:65536"),
            ("nofile=5:unlimited", "5:unlimited"),
            ("core=0", "0"),
            ("core=0:unlimited", "0:unlimited"),
            ("memlock=64KiB", "64KiB"),
            ("as=1024MiB", "1GiB"),
            ("stack=1000B", "1000B"),
            ("cpu=600s", "10m"),
        ] {
            let (resource, limit) = named_limit(text).unwrap();
            assert_eq!(show_limit(resource, limit), expected, "{text}");
        }
        let soft = Limit { soft: Some(5), hard: None };
        assert_eq!(show_limit(Resource::Nofile, soft), "soft 5");
        assert_eq!(show_limit(Resource::Core, Limit { soft: None, hard: Some(UNLIMITED) }), "hard unlimited");
        for (text, expected) in [
            ("nofile", "write NAME=VALUE or NAME=SOFT:HARD"),
            ("nofiles=1", "no such limit; did you mean nofile? The limits are: as, core"),
            ("RLIMIT_NOFILE=1", "did you mean nofile?"),
            ("colour=1", "no such limit; the limits are: as, core"),
            ("nofile=", "not a number; write digits, or unlimited"),
            ("nofile=1k", "not a number"),
            ("nofile=-1", "not a number"),
            ("nofile=18446744073709551615", "not a number"),
            ("nofile=2:1", "the soft limit is above the hard one"),
            ("nofile=unlimited:1", "the soft limit is above the hard one"),
            ("core=5", "a bare number does not say whether it means bytes or more; write 5MiB, or 5B"),
            ("core=5MB", "\"MB\" is no unit of size; write a whole number and its unit, such as 64KiB"),
            ("core=MiB", "not a size"),
            ("core=99999999TiB", "larger than any limit"),
            ("cpu=5", "bare number"),
            ("cpu=1500ms", "whole seconds"),
        ] {
            let error = named_limit(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert_eq!(named_limits(" core=0  nofile=5 ").unwrap().len(), 2);
    }

    #[test]
    fn a_user_is_one_word() {
        assert_eq!(account("www-data").as_deref(), Ok("www-data"));
        let error = account("app:www").unwrap_err().to_string();
        assert_eq!(error, "a user and a group in one; write user app and group www, each by itself");
        assert!(account("").is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*", near in "(nofile|core|cpu)=[0-9]{0,22}(MiB|B|s|:)?[0-9]{0,3}") {
            for text in [text, near] {
                let _ = (umask(&text), nice(&text), account(&text), text.parse::<Affinity>(), cpus(&text));
                if let Ok(limits) = named_limits(&text) {
                    limits.into_iter().for_each(|(resource, limit)| drop(show_limit(resource, limit)));
                }
            }
        }

        #[test]
        fn a_limit_is_read_as_it_is_shown(soft in 0..=u64::MAX >> 1, more in 0..=u64::MAX >> 1) {
            let limit = Limit { soft: Some(soft), hard: Some(soft + more) };
            for resource in [Resource::Core, Resource::Nofile] {
                let shown = show_limit(resource, limit);
                prop_assert_eq!(named_limit(&format!("{resource}={shown}")), Ok((resource, limit)));
            }
        }
    }
}
