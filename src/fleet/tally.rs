//! How many connections each worker has open: what least-connections goes by.
//!
//! A connection counts from the worker's `accepted` until its end is told: by the worker itself, or by the kernel, which
//! names the socket by its cookie. A worker counts from zero, and is forgotten when it ends. Ends that are told twice, or
//! of connections that never counted (a refused one is closed in the worker as well), change nothing.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{BuildHasherDefault, Hasher},
};

use super::WorkerId;

/// Who tells the ends of a worker's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadSource {
    /// The worker's own program, by this crate's [`Worker`](crate::Worker) or by itself.
    Reports,
    /// The script that is loaded into Node.
    Script,
    /// The kernel, by its notifications of destroyed sockets.
    Kernel,
    /// Nobody: only connections on their way to the worker count.
    None,
}

/// Numbers that nobody outside chooses need no protection against collisions, only spreading.
#[derive(Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

type Spreading = BuildHasherDefault<Spread>;

#[derive(Debug)]
struct Count {
    source: LoadSource,
    /// The open connections, by the number of their `newconn`.
    open: HashSet<u64, Spreading>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: BTreeMap<WorkerId, Count>,
    cookies: HashMap<u64, (WorkerId, u64), Spreading>,
}

impl Tally {
    /// A worker whose ends nobody tells yet.
    pub(super) fn add(&mut self, worker: WorkerId) {
        self.counts.insert(worker, Count { source: LoadSource::None, open: HashSet::default() });
    }

    /// A worker is gone, and every connection with it.
    pub(super) fn remove(&mut self, worker: WorkerId) {
        self.counts.remove(&worker);
        self.cookies.retain(|_, &mut (owner, _)| owner != worker);
    }

    /// The ends of a worker's connections are told by `source` from now on.
    pub(super) fn told_by(&mut self, worker: WorkerId, source: LoadSource) {
        if let Some(count) = self.counts.get_mut(&worker) {
            count.source = source;
        }
    }

    /// Who tells them.
    pub(super) fn source(&self, worker: WorkerId) -> LoadSource {
        self.counts.get(&worker).map_or(LoadSource::None, |count| count.source)
    }

    /// A worker has a connection more.
    pub(super) fn opened(&mut self, worker: WorkerId, seq: u64) {
        if let Some(count) = self.counts.get_mut(&worker).filter(|count| count.source != LoadSource::None) {
            count.open.insert(seq);
        }
    }

    /// A connection of a worker has ended.
    pub(super) fn closed(&mut self, worker: WorkerId, seq: u64) -> bool {
        self.counts.get_mut(&worker).is_some_and(|count| count.open.remove(&seq))
    }

    /// The kernel knows a connection by this name.
    pub(super) fn named(&mut self, worker: WorkerId, seq: u64, cookie: u64) {
        if self.counts.get(&worker).is_some_and(|count| count.open.contains(&seq)) {
            self.cookies.insert(cookie, (worker, seq));
        }
    }

    /// The kernel has destroyed a socket.
    pub(super) fn destroyed(&mut self, cookie: u64) {
        if let Some((worker, seq)) = self.cookies.remove(&cookie) {
            self.closed(worker, seq);
        }
    }

    /// Some of the kernel's notifications were lost: of the sockets it told names of, these are left.
    pub(super) fn only_left(&mut self, alive: impl Fn(u64) -> bool) {
        let gone: Vec<_> = self.cookies.keys().copied().filter(|&cookie| !alive(cookie)).collect();
        for cookie in gone {
            self.destroyed(cookie);
        }
    }

    /// How many connections a worker has open, as far as anybody tells.
    pub(super) fn open(&self, worker: WorkerId) -> usize {
        self.counts.get(&worker).map_or(0, |count| count.open.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: WorkerId = WorkerId(1);
    const B: WorkerId = WorkerId(2);

    #[test]
    fn a_connection_counts_until_its_end_is_told_once() {
        let mut tally = Tally::default();
        tally.add(A);
        tally.opened(A, 1);
        assert_eq!(tally.open(A), 0, "nobody would tell its end");
        tally.told_by(A, LoadSource::Reports);
        tally.opened(A, 2);
        tally.opened(A, 3);
        assert!(!tally.closed(A, 7), "a refused one");
        assert!(tally.closed(A, 2) && !tally.closed(A, 2));
        assert_eq!((tally.open(A), tally.open(B)), (1, 0));
        tally.remove(A);
        assert_eq!(tally.open(A), 0);
    }

    #[test]
    fn the_kernel_tells_by_cookie() {
        let mut tally = Tally::default();
        for worker in [A, B] {
            tally.add(worker);
            tally.told_by(worker, LoadSource::Kernel);
            for seq in 0..3 {
                tally.opened(worker, seq);
                tally.named(worker, seq, u64::from(worker.0) * 10 + seq);
            }
        }
        tally.destroyed(11);
        tally.destroyed(11);
        tally.destroyed(99);
        assert_eq!((tally.open(A), tally.open(B)), (2, 3));
        tally.only_left(|cookie| cookie == 12 || cookie == 20);
        assert_eq!((tally.open(A), tally.open(B)), (1, 1));
        tally.remove(A);
        tally.destroyed(12);
        assert_eq!(tally.cookies.len(), 1);
        tally.named(A, 5, 50);
        assert_eq!(tally.cookies.len(), 1, "of a worker that is gone");
    }
}
