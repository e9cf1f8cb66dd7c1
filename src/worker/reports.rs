//! The connections that are open, and their ends on the way from whoever served them to the [`Worker`](super::Worker).
//!
//! A guard is dropped wherever its connection ends, perhaps on another thread; only the `Worker` writes to the
//! channel. So an end is queued here, and the `Worker` takes all that are queued whenever it writes anyway. If it
//! waits meanwhile, or its program does so in a loop of its own, it is woken, once for all that come until then. The
//! master is told of the connections that it has handed over, and not of those that the worker has accepted by itself:
//! of those, an end wakes the worker only where it waits for few enough to be open.

use std::{
    io, mem,
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::sys::wake::Wake;

/// Keeps a connection counted as open, by the `Worker` and by the master, for as long as this exists.
///
/// Drop it when the connection has ended, on whatever thread that is. The master is told as soon as the
/// [`Worker`](crate::Worker) writes to it the next time; if it does not just then, it is woken to do so.
#[derive(Debug)]
#[must_use = "the connection counts as ended when this is dropped"]
pub struct ConnectionGuard {
    /// What the master calls it, if it does.
    seq: Option<u64>,
    reports: Arc<Reports>,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.reports.end(self.seq);
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
    /// How many connections have a guard.
    open: usize,
    listener: Listener,
}

/// What the worker does about the queue.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Listener {
    /// It will look before it waits.
    #[default]
    Awake,
    /// It is to be woken for an end to report, and when no more connections are open than `few`, if it waits for that.
    Waiting {
        few: Option<usize>,
    },
    Gone,
}

impl Reports {
    pub(super) fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { queue: Mutex::default(), wake: Wake::new()? }))
    }

    /// The guard of the connection that came as the `newconn` with this number, or that the worker has accepted by
    /// itself.
    pub(super) fn guard(self: &Arc<Self>, seq: Option<u64>) -> ConnectionGuard {
        self.queue().open += 1;
        ConnectionGuard { seq, reports: Arc::clone(self) }
    }

    fn end(&self, seq: Option<u64>) {
        let mut queue = self.queue();
        // Every guard was counted.
        queue.open -= 1;
        match queue.listener {
            Listener::Awake => queue.ended.extend(seq),
            Listener::Waiting { few } => {
                queue.ended.extend(seq);
                if seq.is_some() || few.is_some_and(|few| queue.open <= few) {
                    queue.listener = Listener::Awake;
                    self.wake.ring();
                }
            }
            Listener::Gone => {}
        }
    }

    /// How many connections have a guard.
    pub(super) fn open(&self) -> usize {
        self.queue().open
    }

    /// Takes all that is queued.
    pub(super) fn take(&self) -> Vec<u64> {
        let mut queue = self.queue();
        if matches!(queue.listener, Listener::Waiting { .. }) {
            queue.listener = Listener::Awake;
        }
        mem::take(&mut queue.ended)
    }

    /// The worker is about to wait, and is to be woken, also when no more than `few` connections are open. False if
    /// there is something to do first.
    pub(super) fn rest(&self, few: Option<usize>) -> bool {
        let mut queue = self.queue();
        let idle = queue.ended.is_empty() && few.is_none_or(|few| queue.open > few);
        if idle && queue.listener != Listener::Gone {
            queue.listener = Listener::Waiting { few };
        }
        idle
    }

    /// Nobody takes anything any more.
    pub(super) fn close(&self) {
        let mut queue = self.queue();
        *queue = Queue { ended: Vec::new(), open: queue.open, listener: Listener::Gone };
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
        drop(reports.guard(Some(1)));
        assert!(!rings(&reports) && !reports.rest(None), "it is to take this first");
        assert_eq!(reports.take(), [1]);
        assert!(reports.rest(None) && !rings(&reports));
        drop(reports.guard(Some(2)));
        assert!(rings(&reports));
        reports.clear().unwrap();
        drop(reports.guard(Some(3)));
        assert!(!rings(&reports), "it is awake by now");
        assert_eq!(reports.take(), [2, 3]);
    }

    #[test]
    fn after_the_worker_nothing_is_kept() {
        let reports = Reports::new().unwrap();
        let guard = reports.guard(Some(1));
        drop(reports.guard(Some(2)));
        assert!(!reports.rest(None));
        reports.close();
        drop(guard);
        assert!(reports.take().is_empty() && reports.rest(None) && !rings(&reports));
    }

    #[test]
    fn a_guard_may_go_to_another_thread() {
        fn can_move<T: Send + Sync>(_: &T) {}
        let reports = Reports::new().unwrap();
        let guard = reports.guard(Some(7));
        can_move(&guard);
        assert!(reports.rest(None));
        std::thread::spawn(move || drop(guard)).join().unwrap();
        assert!(rings(&reports));
        assert_eq!(reports.take(), [7]);
    }

    #[test]
    fn who_waits_for_few_to_be_open_is_woken_then() {
        let reports = Reports::new().unwrap();
        let mut guards = [None; 3].map(|seq| Some(reports.guard(seq)));
        assert_eq!(reports.open(), 3);
        assert!(reports.rest(None));
        guards[0] = None;
        assert!(!rings(&reports), "there is nothing to report");
        assert!(!reports.rest(Some(2)), "there are so few already");
        assert!(reports.rest(Some(0)));
        guards[1] = None;
        assert!(!rings(&reports));
        guards[2] = None;
        assert!(rings(&reports) && reports.open() == 0);
        assert!(reports.take().is_empty(), "the master knows nothing of them");
    }
}
