//! The ends of connections on their way from whoever served them to the [`Worker`](super::Worker).
//!
//! A guard is dropped wherever its connection ends, perhaps on another thread; only the `Worker` writes to the
//! channel. So an end is queued here, and the `Worker` takes all that are queued whenever it writes anyway. If it
//! waits meanwhile, or its program does so in a loop of its own, it is woken, once for all that come until then.

use std::{
    io, mem,
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::sys::wake::Wake;

/// Keeps a connection counted as open by the master, for as long as this exists.
///
/// Drop it when the connection has ended, on whatever thread that is. The master is told as soon as the
/// [`Worker`](crate::Worker) writes to it the next time; if it does not just then, it is woken to do so.
#[derive(Debug)]
#[must_use = "the connection counts as ended when this is dropped"]
pub struct ConnectionGuard {
    seq: u64,
    reports: Arc<Reports>,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.reports.add(self.seq);
    }
}

/// What the guards of one worker have to say.
#[derive(Debug)]
pub(super) struct Reports {
    queue: Mutex<Queue>,
    wake: Wake,
}

#[derive(Debug, Default)]
struct Queue {
    ended: Vec<u64>,
    listener: Listener,
}

/// What the worker does about the queue.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Listener {
    /// It will look before it waits.
    #[default]
    Awake,
    Waiting,
    Gone,
}

impl Reports {
    pub(super) fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { queue: Mutex::default(), wake: Wake::new()? }))
    }

    /// The guard of the connection that came as the `newconn` with this number.
    pub(super) fn guard(self: &Arc<Self>, seq: u64) -> ConnectionGuard {
        ConnectionGuard { seq, reports: Arc::clone(self) }
    }

    fn add(&self, seq: u64) {
        let mut queue = self.queue();
        match queue.listener {
            Listener::Awake => queue.ended.push(seq),
            Listener::Waiting => {
                queue.ended.push(seq);
                queue.listener = Listener::Awake;
                self.wake.ring();
            }
            Listener::Gone => {}
        }
    }

    /// Takes all that is queued.
    pub(super) fn take(&self) -> Vec<u64> {
        let mut queue = self.queue();
        if queue.listener == Listener::Waiting {
            queue.listener = Listener::Awake;
        }
        mem::take(&mut queue.ended)
    }

    /// The worker is about to wait, and is to be woken. False if there is something to take first.
    pub(super) fn rest(&self) -> bool {
        let mut queue = self.queue();
        let empty = queue.ended.is_empty();
        if empty && queue.listener == Listener::Awake {
            queue.listener = Listener::Waiting;
        }
        empty
    }

    /// Nobody takes anything any more.
    pub(super) fn close(&self) {
        let mut queue = self.queue();
        *queue = Queue { ended: Vec::new(), listener: Listener::Gone };
    }

    /// Ends a wait that it has ended, so that the next can begin.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.wake.clear()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it is held.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Reports {
    /// Readable when something was added while the worker waited.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn rings(reports: &Reports) -> bool {
        poll(&mut [PollFd::new(reports.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() == 1
    }

    #[test]
    fn who_waits_is_woken_once_and_who_does_not_is_left_alone() {
        let reports = Reports::new().unwrap();
        drop(reports.guard(1));
        assert!(!rings(&reports) && !reports.rest(), "it is to take this first");
        assert_eq!(reports.take(), [1]);
        assert!(reports.rest() && !rings(&reports));
        drop(reports.guard(2));
        assert!(rings(&reports));
        reports.clear().unwrap();
        drop(reports.guard(3));
        assert!(!rings(&reports), "it is awake by now");
        assert_eq!(reports.take(), [2, 3]);
    }

    #[test]
    fn after_the_worker_nothing_is_kept() {
        let reports = Reports::new().unwrap();
        let guard = reports.guard(1);
        drop(reports.guard(2));
        assert!(!reports.rest());
        reports.close();
        drop(guard);
        assert!(reports.take().is_empty() && reports.rest() && !rings(&reports));
    }

    #[test]
    fn a_guard_may_go_to_another_thread() {
        fn can_move<T: Send + Sync>(_: &T) {}
        let reports = Reports::new().unwrap();
        let guard = reports.guard(7);
        can_move(&guard);
        assert!(reports.rest());
        std::thread::spawn(move || drop(guard)).join().unwrap();
        assert!(rings(&reports));
        assert_eq!(reports.take(), [7]);
    }
}
