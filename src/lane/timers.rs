//! One deadline for each connection, of which most never come.
//!
//! A deadline that moves away, as nearly all do with every request, costs nothing here: the entry stays where it is, and
//! when its time comes the connection is asked again. Only one that comes nearer is put in once more.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::source::Source;
use crate::time::Time;

/// No time at all.
pub(super) const NEVER: Time = Time(u64::MAX);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Time, Source)>>,
}

impl Timers {
    /// `set` is when the connection is asked next: it is kept with the connection, [`NEVER`] at first and after a call of
    /// [`Timers::due`] that has named it.
    pub(super) fn set(&mut self, set: &mut Time, deadline: Option<Time>, source: Source) {
        let Some(at) = deadline.filter(|at| at < set) else { return };
        *set = at;
        self.heap.push(Reverse((at, source)));
    }

    /// The next one to ask at `now`, with the time it was set to: if the connection has another by now, it is to be ignored.
    pub(super) fn due(&mut self, now: Time) -> Option<(Time, Source)> {
        self.heap.peek().filter(|Reverse((at, _))| *at <= now)?;
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// How many are set, those of connections that are gone included.
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Forgets those of others than these.
    pub(super) fn retain(&mut self, mut stays: impl FnMut(Source) -> bool) {
        self.heap.retain(|Reverse((_, source))| stays(*source));
        self.heap.shrink_to(2 * self.heap.len());
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::source::Place;

    #[test]
    fn only_deadlines_that_come_nearer_are_put_in() {
        let mut timers = Timers::default();
        let client = Source::Client(Place { key: 1, serial: 1 });
        let mut set = NEVER;
        timers.set(&mut set, Some(Time(10)), client);
        timers.set(&mut set, Some(Time(20)), client);
        timers.set(&mut set, None, client);
        assert_eq!((set, timers.deadline()), (Time(10), Some(Time(10))));
        timers.set(&mut set, Some(Time(5)), client);
        assert_eq!(timers.due(Time(4)), None);
        assert_eq!(timers.due(Time(9)), Some((Time(5), client)));
        assert_eq!(timers.due(Time(9)), None);
        assert_eq!(timers.due(Time(10)), Some((Time(10), client)), "which the connection ignores");
        assert_eq!(timers.deadline(), None);

        let other = Source::Client(Place { key: 2, serial: 2 });
        for source in [client, other] {
            timers.set(&mut NEVER.clone(), Some(Time(7)), source);
        }
        timers.retain(|source| source == other);
        assert_eq!((timers.len(), timers.due(Time(7))), (1, Some((Time(7), other))));
    }
}
