//! Which address a worker listens on that has one of its own.
//!
//! Slots, the addresses that are held, and whether one is free enter; numbers leave, the best first. The two numbers of a
//! slot are used in turn, so that a successor never waits for what its predecessor still has; further ones are for when
//! somebody else has those. Whether a port is free is asked of whoever can know it.

use std::collections::BTreeMap;

/// Ports of all slots ([`MAX_SLOTS`](super::MAX_SLOTS)), two each: after so many the next choice begins.
const BLOCK: u32 = 2048;

/// No slot has more addresses to choose from.
const MOST: u32 = 64;

/// Remembers which number a slot's last worker had.
#[derive(Debug, Default)]
pub struct Ports {
    last: BTreeMap<u32, u32>,
}

impl Ports {
    /// The numbers of addresses that the next worker of a slot may have, the best first: not that of the one before.
    pub fn candidates(&self, slot: u32) -> impl Iterator<Item = u32> + use<> {
        let first = self.last.get(&slot).map_or(0, |last| 1 - last % 2);
        (0..MOST).map(move |place| place / 2 * 2 + (place + first) % 2)
    }

    /// A worker of this slot has this one.
    pub fn take(&mut self, slot: u32, number: u32) {
        self.last.insert(slot, number);
    }
}

/// Where ports are that no connection begins from by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    first: u16,
    /// The last one.
    last: u16,
}

impl Range {
    /// From `first` on, up to those that the kernel gives out by itself, from `ephemeral` on. Whoever begins behind that,
    /// or within, knows why.
    pub fn new(first: u16, ephemeral: u16) -> Self {
        Self { first, last: if first < ephemeral { ephemeral - 1 } else { u16::MAX } }
    }

    /// The port of a slot that has this number, if there is one.
    pub fn port(self, slot: u32, number: u32) -> Option<u16> {
        let offset = (number / 2).checked_mul(BLOCK)?.checked_add(2 * slot)?.checked_add(number % 2)?;
        let port = u16::try_from(u32::from(self.first).checked_add(offset)?).ok()?;
        (port <= self.last).then_some(port)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::MAX_SLOTS, *};

    fn first(ports: &Ports, slot: u32, count: usize) -> Vec<u32> {
        ports.candidates(slot).take(count).collect()
    }

    #[test]
    fn the_two_of_a_slot_are_used_in_turn() {
        let mut ports = Ports::default();
        for expected in [[0, 1, 2, 3], [1, 0, 3, 2], [0, 1, 2, 3]] {
            assert_eq!(first(&ports, 7, 4), expected);
            ports.take(7, expected[0]);
        }
        assert_eq!(first(&ports, 8, 2), [0, 1], "each slot by itself");
        ports.take(7, 5);
        assert_eq!(first(&ports, 7, 3), [0, 1, 2], "what was somebody else's is looked at again");
    }

    #[test]
    fn ports_are_below_those_that_the_kernel_gives_out() {
        let range = Range::new(20_000, 32_768);
        for (slot, number, expected) in [
            (0, 0, Some(20_000)),
            (0, 1, Some(20_001)),
            (3, 1, Some(20_007)),
            (0, 2, Some(22_048)),
            (0, 13, Some(32_289)),
            (1023, 0, Some(22_046)),
            (1023, 12, None),
            (0, 14, None),
            (0, u32::MAX, None),
        ] {
            assert_eq!(range.port(slot, number), expected, "{slot} {number}");
        }
        let behind = Range::new(61_000, 32_768);
        assert_eq!(behind.port(1, 2), Some(63_050));
        assert_eq!(behind.port(1023, 4), None);
    }

    #[test]
    fn no_two_slots_have_the_same_port() {
        let range = Range::new(1, u16::MAX);
        let slots = u32::try_from(MAX_SLOTS).unwrap();
        assert_eq!(BLOCK, 2 * slots);
        let mut all: Vec<_> =
            (0..slots).flat_map(|slot| (0..8).map(move |number| range.port(slot, number).unwrap())).collect();
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
