//! Cores of the machine, and which of them a process may use.

use std::{fmt, str::FromStr, thread};

use nix::{
    errno::Errno,
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use thiserror::Error;

/// A set of cores by their numbers, not empty. Read from and written as numbers and ranges: `0-3,6`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpus(Vec<usize>);

/// A text that is no set of cores.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what}; write numbers and ranges of cores, such as 0, 0-3 or 0,2-3")]
pub struct BadCpus {
    what: String,
}

impl Cpus {
    /// A set for each of the cores that this process may use, in order: that many workers have one each.
    pub fn one_each() -> Vec<Self> {
        available()
            .map_or_else(|_| Vec::new(), |cpus| cpus.0.into_iter().map(|cpu| Self(vec![cpu])).collect())
    }

    /// Whether a process may be bound to it: at least one core is there, and in the process's cgroup.
    pub(crate) fn is_usable(&self) -> bool {
        // A thread has an affinity of its own, which goes with it.
        thread::scope(|scope| {
            let trial = thread::Builder::new().spawn_scoped(scope, || self.bind().is_ok());
            // Without a thread to spare it is left to the trampoline, which says so.
            trial.ok().and_then(|trial| trial.join().ok()).unwrap_or(true)
        })
    }

    /// Binds this thread, which is all of a trampoline.
    pub(super) fn bind(&self) -> nix::Result<()> {
        let mut set = CpuSet::new();
        for &cpu in &self.0 {
            set.set(cpu)?;
        }
        sched_setaffinity(Pid::from_raw(0), &set)
    }
}

/// What this process may use now.
fn available() -> nix::Result<Cpus> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    let cpus: Vec<_> = (0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect();
    if cpus.is_empty() { Err(Errno::ENODATA) } else { Ok(Cpus(cpus)) }
}

impl FromStr for Cpus {
    type Err = BadCpus;

    fn from_str(text: &str) -> Result<Self, BadCpus> {
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (cpu(first.trim())?, cpu(last.trim())?);
            if last < first {
                return Err(BadCpus { what: format!("{} is a range from its end", part.trim()) });
            }
            cpus.extend(first..=last);
        }
        cpus.sort_unstable();
        cpus.dedup();
        Ok(Self(cpus))
    }
}

fn cpu(text: &str) -> Result<usize, BadCpus> {
    let bad = |what: String| Err(BadCpus { what });
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return bad(format!("{text:?} is not the number of a core"));
    }
    if text.len() > 1 && text.starts_with('0') {
        return bad(format!("{text} looks like one of nginx's bit masks"));
    }
    match text.parse() {
        Ok(cpu) if cpu < CpuSet::count() => Ok(cpu),
        _ => bad(format!("{text} is more than the {} cores that can be told apart", CpuSet::count())),
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges = self.0.chunk_by(|before, after| before + 1 == *after);
        let text = ranges.map(|range| match range {
            [first, .., last] => format!("{first}-{last}"),
            one => one.iter().map(ToString::to_string).collect(),
        });
        out.pad(&text.collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_read_and_written() {
        for (text, expected) in [
            ("0", "0"),
            ("1,0", "0-1"),
            ("0-3", "0-3"),
            ("0, 2 - 3,3", "0,2-3"),
            ("9,1,5,4,6,1023", "1,4-6,9,1023"),
        ] {
            let cpus: Cpus = text.parse().unwrap();
            assert_eq!(cpus.to_string(), expected, "{text}");
            assert_eq!(expected.parse(), Ok(cpus));
        }
        for (text, expected) in [
            ("", "\"\" is not the number"),
            ("auto", "\"auto\" is not the number"),
            ("0-", "\"\" is not"),
            ("3-1", "3-1 is a range from its end"),
            ("0 1", "\"0 1\" is not"),
            ("-1", "\"\" is not"),
            ("0101", "nginx's bit masks"),
            ("1024", "more than the 1024 cores"),
            ("99999999999999999999", "more than the 1024 cores"),
        ] {
            let error = text.parse::<Cpus>().unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("such as 0, 0-3"), "{text}: {error}");
        }
    }

    #[test]
    fn what_may_be_used_is_usable_and_is_not_changed_by_asking() {
        let before = available().unwrap();
        let each = Cpus::one_each();
        assert_eq!(each.len(), before.0.len());
        assert!(each.iter().all(Cpus::is_usable));
        assert_eq!(available().unwrap(), before);
        assert!(!Cpus(vec![CpuSet::count() - 1]).is_usable(), "no machine of this test has so many");
    }
}
