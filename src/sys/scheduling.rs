//! How the kernel shares processors out to a thread: see sched(7).
//!
//! By raw system calls: musl's own functions of these names only say ENOSYS.

#![allow(unsafe_code, reason = "system calls that neither nix nor every C library offers")]

use std::{
    cell::Cell,
    fmt, io,
    str::FromStr,
    thread::{self, ThreadId},
};

/// How a master is scheduled.
///
/// It affects the thread that has the [`Cluster`](crate::Cluster), and threads that this starts meanwhile. Workers run as
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

thread_local! {
    /// How many of [`Batch`] there are in this thread: the kernel does not say who has set a policy.
    static BATCHES: Cell<usize> = const { Cell::new(0) };
}

/// While it exists, its thread is a batch job. Dropped in another thread, it changes nothing.
#[derive(Debug)]
pub(crate) struct Batch {
    thread: ThreadId,
}

impl Batch {
    /// Makes this thread a batch job if it is scheduled as most are, or would be but for another of these. `None` if
    /// somebody chose another policy for it, which stays.
    ///
    /// Its nice value stays too, and goes on to what it starts: the flag that would have the kernel forget the policy
    /// there (`SCHED_RESET_ON_FORK`) would have it forget a negative nice value as well.
    pub(crate) fn begin() -> io::Result<Option<Self>> {
        if BATCHES.get() == 0 {
            if policy()? != libc::SCHED_OTHER {
                return Ok(None);
            }
            set(libc::SCHED_BATCH)?;
        }
        BATCHES.set(BATCHES.get() + 1);
        Ok(Some(Self { thread: thread::current().id() }))
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if thread::current().id() != self.thread {
            return;
        }
        // When the thread ends, so does its policy.
        let left = BATCHES.try_with(|batches| {
            batches.set(batches.get().saturating_sub(1));
            batches.get()
        });
        if left == Ok(0) {
            // What the thread may do to itself once, it may undo.
            let _ = become_ordinary();
        }
    }
}

/// Has this thread scheduled as most are.
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
        let first = Batch::begin().unwrap().unwrap();
        let second = Batch::begin().unwrap().unwrap();
        assert_eq!(policy().unwrap(), libc::SCHED_BATCH);
        drop(first);
        assert_eq!(policy().unwrap(), libc::SCHED_BATCH, "there is another");
        drop(second);
        assert_eq!(policy().unwrap(), libc::SCHED_OTHER);
        for chosen in [libc::SCHED_BATCH, libc::SCHED_IDLE] {
            set(chosen).unwrap();
            assert!(Batch::begin().unwrap().is_none());
            assert_eq!(policy().unwrap(), chosen, "it stays");
        }
        assert!(set(-1).is_err());
    }

    #[test]
    fn one_that_is_dropped_elsewhere_changes_nothing_there() {
        become_ordinary().unwrap();
        let batch = Batch::begin().unwrap();
        let there = thread::spawn(move || {
            become_ordinary().unwrap();
            let own = Batch::begin().unwrap();
            drop(batch);
            (own, policy().unwrap())
        });
        assert_eq!(there.join().unwrap().1, libc::SCHED_BATCH);
        assert_eq!(policy().unwrap(), libc::SCHED_BATCH);
    }
}
