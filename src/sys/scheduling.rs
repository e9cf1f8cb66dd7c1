//! How the kernel shares processors out to a thread: see sched(7).
//!
//! By raw system calls: musl's own functions of these names only say ENOSYS.

#![allow(unsafe_code, reason = "system calls that neither nix nor every C library offers")]

use std::{fmt, io, str::FromStr};

/// How a master is scheduled.
///
/// It affects the thread that uses the [`Cluster`](crate::Cluster), and threads that this starts later. Workers run as
/// this process was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Scheduling {
    /// As a batch job (`SCHED_BATCH`): it does not interrupt a worker that has a word for it, so that under load it
    /// finds several words at a time. A thread with another policy than `SCHED_OTHER` keeps it.
    #[default]
    Batch,
    /// As this process was started.
    Normal,
}

impl Scheduling {
    /// Both.
    pub const ALL: &[Self] = &[Self::Batch, Self::Normal];
}

impl fmt::Display for Scheduling {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Batch => "batch",
            Self::Normal => "normal",
        })
    }
}

/// A word that names no scheduling.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown scheduling {word:?}; it is batch or normal")]
pub struct UnknownScheduling {
    /// The word.
    pub word: String,
}

impl FromStr for Scheduling {
    type Err = UnknownScheduling;

    fn from_str(word: &str) -> Result<Self, UnknownScheduling> {
        let named = Self::ALL.iter().find(|known| known.to_string() == word);
        named.copied().ok_or_else(|| UnknownScheduling { word: word.to_owned() })
    }
}

/// Makes this thread a batch job if it is scheduled as most are, and tells whether it has changed. What somebody chose
/// for it stays.
///
/// Its nice value stays too, and goes on to what it starts: the flag that would have the kernel forget the policy there
/// (`SCHED_RESET_ON_FORK`) would have it forget a negative nice value as well.
pub(crate) fn become_batch() -> io::Result<bool> {
    let ordinary = policy()? == libc::SCHED_OTHER;
    if ordinary {
        set(libc::SCHED_BATCH)?;
    }
    Ok(ordinary)
}

/// Takes that back.
pub(super) fn become_ordinary() -> io::Result<()> {
    set(libc::SCHED_OTHER)
}

/// The policy of this thread, with its flags.
fn policy() -> io::Result<i32> {
    // SAFETY: the call takes a number and touches no memory of this process.
    let policy = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
    i32::try_from(policy).ok().filter(|&policy| policy >= 0).ok_or_else(io::Error::last_os_error)
}

/// Sets a policy that has no priorities.
fn set(policy: i32) -> io::Result<()> {
    // Of the kernel's `struct sched_param`, which is a single int; what C libraries add to theirs it never reads.
    let priority: libc::c_int = 0;
    // SAFETY: the kernel reads that int during the call.
    match unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const priority) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_read_as_they_are_written() {
        for &scheduling in Scheduling::ALL {
            assert_eq!(scheduling.to_string().parse(), Ok(scheduling));
        }
        for word in ["", "Batch", "other", "normal "] {
            let error = word.parse::<Scheduling>().unwrap_err().to_string();
            assert!(error.contains("batch or normal"), "{error}");
        }
    }

    /// Each test has a thread of its own, and the policy is a thread's.
    #[test]
    fn what_is_ordinary_becomes_a_batch_job_and_back() {
        become_ordinary().unwrap();
        assert_eq!((become_batch().unwrap(), policy().unwrap()), (true, libc::SCHED_BATCH));
        assert_eq!((become_batch().unwrap(), policy().unwrap()), (false, libc::SCHED_BATCH));
        become_ordinary().unwrap();
        assert_eq!(policy().unwrap(), libc::SCHED_OTHER);
        set(libc::SCHED_IDLE).unwrap();
        assert_eq!((become_batch().unwrap(), policy().unwrap()), (false, libc::SCHED_IDLE), "it was chosen");
        assert!(set(-1).is_err());
    }
}
