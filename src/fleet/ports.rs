//! Which address a worker listens on that has one of its own.
//!
//! Slots, which blocks of ports are this master's, and whether a port is free enter; numbers and ports leave, the best first. The
//! two numbers of a slot are used in turn, so that a successor never waits for what its predecessor still has; further ones
//! are for when somebody else has those. Masters of one machine keep out of each other's way by blocks: a port that is
//! free now may be another's in a moment. Whether a block can be had and a port is free is asked of whoever can know it.

use std::{collections::BTreeMap, iter};

/// Ports of so many slots make a block.
const SLOTS: u32 = 16;

/// Two for each.
const BLOCK: u16 = 32;

/// No slot has more numbers to choose from.
const MOST: u32 = 64;

/// Remembers which number a slot's last worker had, and which blocks there are.
#[derive(Debug, Default)]
pub struct Ports {
    last: BTreeMap<u32, u32>,
    /// The first ports of the blocks that slots have, of so many slots each and by where their range begins. Most need one; the
    /// others are for when all ports of a slot in those before were somebody else's.
    blocks: BTreeMap<(u16, u32), Vec<u16>>,
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

    /// The number and the port of the next worker of a slot, if there is one that is free. `claim` is asked for the block that
    /// begins at a port, which is kept once it was had.
    pub fn find(
        &mut self,
        slot: u32,
        range: Range,
        mut claim: impl FnMut(u16) -> bool,
        mut is_free: impl FnMut(u16) -> bool,
    ) -> Option<(u32, u16)> {
        for number in self.candidates(slot) {
            let block = self.block(slot / SLOTS, number / 2, range, &mut claim)?;
            let port = range.port(block, slot % SLOTS, number % 2).filter(|&port| is_free(port));
            if let Some(port) = port {
                return Some((number, port));
            }
        }
        None
    }

    /// Where the block begins that is this one of those of a group of slots. One more is looked for from the group's own place on,
    /// so that without others the ports of all slots follow each other.
    fn block(
        &mut self,
        group: u32,
        place: u32,
        range: Range,
        claim: &mut impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        let key = (range.first, group);
        let known = self.blocks.get(&key).and_then(|blocks| blocks.get(usize::try_from(place).ok()?));
        if let Some(&block) = known {
            return Some(block);
        }
        let groups = self.blocks.range((range.first, 0)..=(range.first, u32::MAX));
        let ours: Vec<_> = groups.flat_map(|(_, blocks)| blocks).copied().collect();
        let next = range.blocks(group).find(|block| !ours.contains(block) && claim(*block))?;
        self.blocks.entry(key).or_default().push(next);
        Some(next)
    }
}

/// What is to be claimed for the block that begins at this port, by the first port of each: blocks of all masters are made of these,
/// wherever their ranges begin.
pub fn claims(block: u16) -> impl Iterator<Item = u16> {
    let last = block.saturating_add(BLOCK - 1);
    let begin = |port: u16| port / BLOCK * BLOCK;
    iter::once(begin(block)).chain(iter::once(begin(last)).filter(move |&second| second != begin(block)))
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

    /// Where all blocks begin, this one first and those before it last.
    fn blocks(self, from: u32) -> impl Iterator<Item = u16> {
        let count = u32::from(self.last - self.first) / u32::from(BLOCK) + 1;
        let places = (from..count).chain(0..from.min(count));
        let first = u32::from(self.first);
        places.filter_map(move |place| u16::try_from(first + place * u32::from(BLOCK)).ok())
    }

    /// The port of this slot of a block, one of its two, if it is within.
    fn port(self, block: u16, slot: u32, which: u32) -> Option<u16> {
        let port = block.checked_add(u16::try_from(2 * slot + which).ok()?)?;
        (port <= self.last).then_some(port)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::MAX_SLOTS, *};
    use std::collections::BTreeSet;

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

    /// Ports of a machine: those that are claimed, by whom, and those that somebody listens on.
    #[derive(Debug, Default)]
    struct Machine {
        claimed: BTreeMap<u16, u32>,
        busy: BTreeSet<u16>,
        master: u32,
    }

    const RANGE: (u16, u16) = (20_000, 32_768);

    fn find(ports: &mut Ports, machine: &mut Machine, range: (u16, u16), slot: u32) -> Option<u16> {
        let Machine { claimed, busy, master } = machine;
        let claim = |block| {
            let free = claims(block).all(|claim| claimed.get(&claim).is_none_or(|whose| whose == master));
            claimed.extend(claims(block).filter(|_| free).map(|claim| (claim, *master)));
            free
        };
        let found = ports.find(slot, Range::new(range.0, range.1), claim, |port| !busy.contains(&port));
        found.map(|(_, port)| port)
    }

    #[test]
    fn ports_of_all_slots_follow_each_other_where_nobody_else_is() {
        let (mut ports, mut machine) = (Ports::default(), Machine::default());
        ports.take(4, 0);
        for (slot, expected) in
            [(0, 20_000), (4, 20_009), (3, 20_006), (16, 20_032), (1023, 22_046), (0, 20_000)]
        {
            assert_eq!(find(&mut ports, &mut machine, RANGE, slot), Some(expected), "{slot}");
        }
        assert!(machine.claimed.into_keys().eq([20_000, 20_032, 22_016]));
    }

    #[test]
    fn masters_have_blocks_of_their_own() {
        let mut machine = Machine::default();
        let mut start = |range, slots: &[u32]| -> Vec<u16> {
            let mut ports = Ports::default();
            machine.master += 1;
            slots.iter().filter_map(|&slot| find(&mut ports, &mut machine, range, slot)).collect()
        };
        assert_eq!(start(RANGE, &[0, 1]), [20_000, 20_002]);
        assert_eq!(
            start(RANGE, &[0, 1, 20]),
            [20_032, 20_034, 20_072],
            "20 is the fifth of a block of its own"
        );
        assert_eq!(
            start((20_010, 32_768), &[0]),
            [20_106],
            "the first from there on that touches nobody else's"
        );
        assert_eq!(start(RANGE, &[0]), [20_160]);
        assert_eq!(start((65_500, 32_768), &[0, 15, 17]), [65_500, 65_530, 65_534]);
        assert_eq!(start((65_500, 32_768), &[0]), [0; 0], "there is no further one");
    }

    #[test]
    fn what_strangers_have_is_passed_over() {
        let (mut ports, mut machine) = (Ports::default(), Machine::default());
        machine.busy = BTreeSet::from([20_000, 20_002, 20_003]);
        assert_eq!(find(&mut ports, &mut machine, RANGE, 0), Some(20_001));
        assert_eq!(find(&mut ports, &mut machine, RANGE, 1), Some(20_034), "of a second block");
        machine.busy.clear();
        assert_eq!(find(&mut ports, &mut machine, RANGE, 1), Some(20_002), "which is only for that case");
        assert_eq!(find(&mut ports, &mut machine, RANGE, 17), Some(20_066), "another block than that");
    }

    #[test]
    fn ports_are_below_those_that_the_kernel_gives_out() {
        let (mut ports, mut machine) = (Ports::default(), Machine::default());
        machine.busy = (20_000..32_768).collect();
        assert_eq!(find(&mut ports, &mut machine, (32_700, 32_768), 0), None);
        assert_eq!(find(&mut ports, &mut machine, (32_700, 32_768), 40), None);
        assert_eq!(find(&mut Ports::default(), &mut Machine::default(), (32_764, 32_768), 1), Some(32_766));
        assert_eq!(find(&mut Ports::default(), &mut Machine::default(), (32_764, 32_768), 2), None);
        let behind = find(&mut ports, &mut machine, (61_000, 32_768), 1);
        assert_eq!(behind, Some(61_002), "who begins there knows why");
    }

    #[test]
    fn no_two_slots_have_the_same_port() {
        let (mut ports, mut machine) = (Ports::default(), Machine::default());
        let slots = u32::try_from(MAX_SLOTS).unwrap();
        let mut all = BTreeSet::new();
        for slot in (0..slots).chain(0..slots) {
            let port = find(&mut ports, &mut machine, (1, u16::MAX), slot).unwrap();
            assert!(all.insert(port) && machine.busy.insert(port), "{slot}: {port}");
        }
        assert_eq!(all.len(), 2 * MAX_SLOTS);
    }
}
