//! Where every connection is, kept apart from the fleet, and what happened in all lives.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc};

/// A connection in the master's hand. It cannot be copied; when it is dropped, the books say so.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: u32,
    pub(super) books: Rc<RefCell<Books>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.books.borrow_mut().in_hand.remove(&self.id);
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) in_hand: BTreeSet<u32>,
    /// Turned away, or reset in the kernel's queue.
    pub(super) refused: BTreeSet<u32>,
    /// Accepted by a worker, which has therefore served it.
    pub(super) served: BTreeSet<u32>,
    /// Some worker has had its descriptor.
    pub(super) received: BTreeSet<u32>,
    /// A worker that did not accept it has read from it.
    pub(super) touched: BTreeSet<u32>,
    /// Sent to a worker that lives and is not waited for any longer.
    pub(super) left_with: BTreeSet<u32>,
    pub(super) lost: BTreeSet<u32>,
    /// Let go by the master.
    pub(super) ended: BTreeSet<u32>,
}

/// What happened in all lives.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Totals {
    pub(super) served: usize,
    pub(super) lost: usize,
    /// Received by one worker and then by another.
    pub(super) moved: usize,
    pub(super) deaths: usize,
    pub(super) refusals: usize,
    pub(super) nacks: usize,
    pub(super) full: usize,
    pub(super) limits: usize,
    pub(super) garbage: usize,
    pub(super) overdue: usize,
    pub(super) stuck: usize,
    /// Workers that left by the protocol.
    pub(super) left: usize,
    /// Servers that were closed and listened again.
    pub(super) reopened: usize,
    /// Channels that were closed by workers that lived on.
    pub(super) hung_up: usize,
    /// Deaths whose last words were not heard.
    pub(super) unheard: usize,
    /// Deaths with words that never left.
    pub(super) unsent: usize,
    /// Lives in which connections were turned away.
    pub(super) refused: usize,
    /// Sockets that were closed.
    pub(super) closed: usize,
    /// Connections that came back when their socket was closed.
    pub(super) orphaned: usize,
    /// Workers that no signal ended.
    pub(super) given_up: usize,
    /// Reloads that were done.
    pub(super) reloaded: usize,
    /// Reloads that failed.
    pub(super) reloads_failed: usize,
    /// Reloads that another one took the place of.
    pub(super) superseded: usize,
    /// Reloads that were called off.
    pub(super) aborted: usize,
    /// Failed ones of which nothing is left.
    pub(super) rolled_back: usize,
    /// Workers that were used up.
    pub(super) recycled: usize,
    /// Workers that were added.
    pub(super) forked: usize,
    /// Workers that were sent away for good.
    pub(super) disconnected: usize,
    /// Workers that were to be replaced.
    pub(super) restarted: usize,
    /// Workers that left when their successor was ready.
    pub(super) replaced: usize,
    /// Slots that were given up.
    pub(super) errored: usize,
    /// Workers that were not ready in time.
    pub(super) late: usize,
    /// Workers that did not answer.
    pub(super) unresponsive: usize,
}

impl Totals {
    pub(crate) fn add(&mut self, other: Self) {
        self.served += other.served;
        self.lost += other.lost;
        self.moved += other.moved;
        self.deaths += other.deaths;
        self.refusals += other.refusals;
        self.nacks += other.nacks;
        self.full += other.full;
        self.limits += other.limits;
        self.garbage += other.garbage;
        self.overdue += other.overdue;
        self.stuck += other.stuck;
        self.left += other.left;
        self.reopened += other.reopened;
        self.hung_up += other.hung_up;
        self.unheard += other.unheard;
        self.unsent += other.unsent;
        self.refused += other.refused;
        self.closed += other.closed;
        self.orphaned += other.orphaned;
        self.given_up += other.given_up;
        self.reloaded += other.reloaded;
        self.reloads_failed += other.reloads_failed;
        self.superseded += other.superseded;
        self.aborted += other.aborted;
        self.rolled_back += other.rolled_back;
        self.recycled += other.recycled;
        self.forked += other.forked;
        self.disconnected += other.disconnected;
        self.restarted += other.restarted;
        self.replaced += other.replaced;
        self.errored += other.errored;
        self.late += other.late;
        self.unresponsive += other.unresponsive;
    }

    pub(crate) fn assert_all_happened(&self) {
        let all = [
            self.served,
            self.lost,
            self.moved,
            self.deaths,
            self.refusals,
            self.nacks,
            self.full,
            self.limits,
            self.garbage,
            self.overdue,
            self.stuck,
            self.left,
            self.reopened,
            self.hung_up,
            self.unheard,
            self.unsent,
            self.refused,
            self.closed,
            self.orphaned,
            self.given_up,
            self.reloaded,
            self.reloads_failed,
            self.superseded,
            self.aborted,
            self.rolled_back,
            self.recycled,
            self.forked,
            self.disconnected,
            self.restarted,
            self.replaced,
            self.errored,
            self.late,
            self.unresponsive,
        ];
        assert!(all.iter().all(|&count| count > 0), "too tame: {self:?}");
    }
}
