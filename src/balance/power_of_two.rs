//! The better of two free targets: the one whose turn it is, and another by chance, both so often as their weights say.
//!
//! Two are enough to keep loads nearly even (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001),
//! and chance keeps several who choose and see different loads from all running to the same target. With the turn as
//! the one choice, equals are picked in strict turns.

use super::{Balance, Key, Target, round_robin::RoundRobin};
use crate::chance::Chance;

/// Remembers the turns, and where chance has come to.
#[derive(Debug)]
pub(super) struct PowerOfTwo {
    turns: RoundRobin,
    chance: Chance,
}

impl PowerOfTwo {
    pub(super) fn new(seed: u64) -> Self {
        Self { turns: RoundRobin::default(), chance: Chance::new(seed) }
    }

    /// Any free one but this, by weight.
    fn another(&mut self, targets: &[Target], but: usize) -> Option<usize> {
        let others = || targets.iter().enumerate().filter(|&(index, target)| target.free && index != but);
        let total: u64 = others().map(|(_, target)| u64::from(target.weight)).sum();
        let mut drawn = self.chance.number().checked_rem(total)?;
        for (index, target) in others() {
            match drawn.checked_sub(u64::from(target.weight)) {
                Some(rest) => drawn = rest,
                None => return Some(index),
            }
        }
        None
    }
}

impl Balance for PowerOfTwo {
    fn pick(&mut self, targets: &[Target], key: Key) -> Option<usize> {
        let first = self.turns.pick(targets, key)?;
        let other = self.another(targets, first);
        Some(other.filter(|&other| targets[other].cmp_load(&targets[first]).is_lt()).unwrap_or(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Picks so often that loads come about, of which each in its turn ends.
    fn loads(weights: &[u32], picks: u32) -> Vec<u32> {
        let mut policy = PowerOfTwo::new(1);
        let mut targets: Vec<_> = (0..)
            .zip(weights)
            .map(|(id, &weight)| Target { id, name: 0, weight, load: 0, free: true })
            .collect();
        for _ in 0..picks {
            let index = policy.pick(&targets, Key(None)).unwrap();
            targets[index].load += 1;
        }
        targets.iter().map(|target| target.load).collect()
    }

    #[test]
    fn loads_are_nearly_even_by_weight() {
        for weights in [&[1, 1, 1, 1][..], &[10, 1, 1, 1], &[1, 2], &[3]] {
            let total: u32 = weights.iter().sum();
            for (load, weight) in loads(weights, 100 * total).into_iter().zip(weights) {
                assert!((90 * weight..=110 * weight).contains(&load), "{load} for {weight} of {weights:?}");
            }
        }
    }

    #[test]
    fn the_busiest_of_three_gets_nothing() {
        let mut policy = PowerOfTwo::new(1);
        let target = |(id, load)| Target { id, name: 0, weight: 1, load, free: load < 99 };
        let targets: Vec<_> = [(1, 9), (2, 1), (3, 1), (4, 99)].into_iter().map(target).collect();
        let mut counts = [0; 4];
        (0..100).for_each(|_| counts[policy.pick(&targets, Key(None)).unwrap()] += 1);
        assert_eq!((counts[0], counts[3]), (0, 0), "{counts:?}");
        assert!(counts[1] > 40 && counts[2] > 40, "by chance: {counts:?}");
    }

    #[test]
    fn the_same_seed_picks_the_same() {
        let picks = |seed| {
            let mut policy = PowerOfTwo::new(seed);
            let target = |id| Target { id, name: 0, weight: 1, load: 9 - id % 9, free: true };
            let targets: Vec<_> = (0..9).map(target).collect();
            (0..20).filter_map(|_| policy.pick(&targets, Key(None))).collect::<Vec<_>>()
        };
        assert_eq!(picks(1), picks(1));
        assert_ne!(picks(1), picks(2));
    }
}
