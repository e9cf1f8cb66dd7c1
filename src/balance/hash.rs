//! The same key to the same target, and only the keys of a target that comes or goes change their place.
//!
//! Rendezvous hashing (Thaler and Ravishankar, 1998) with weights as Schindelhauer and Schomaker have them (2005): each target
//! draws a number by the key and its own name, and the highest wins, so that there is nothing to remember, and all who
//! choose among the same targets choose the same.

use super::{Balance, Key, Target, round_robin::RoundRobin};
use crate::chance::mix;

/// Remembers only the turns of what has no key.
#[derive(Debug, Default)]
pub(super) struct Hash {
    turns: RoundRobin,
}

impl Balance for Hash {
    fn pick(&mut self, targets: &[Target], key: Key) -> Option<usize> {
        let Some(key) = key.0 else {
            return self.turns.pick(targets, Key(None));
        };
        let free = targets.iter().enumerate().filter(|(_, target)| target.free);
        let scored = free.map(|(index, target)| (index, score(target, key)));
        scored.max_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(index, _)| index)
    }
}

/// What a target draws: its weight over a waiting time by chance, so that it wins in proportion to its weight.
fn score(target: &Target, key: u64) -> f64 {
    // The upper half is enough to be told apart by, and is a number between 0 and 1 without rounding.
    let drawn = u32::try_from(mix(target.name ^ mix(key)) >> 32).unwrap_or(u32::MAX);
    let share = (f64::from(drawn) + 0.5) / (f64::from(u32::MAX) + 1.0);
    -f64::from(target.weight) / share.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(weights: &[u32]) -> Vec<Target> {
        let target =
            |(id, &weight): (u32, _)| Target { id, name: mix(id.into()), weight, load: 0, free: true };
        (0..).zip(weights).map(target).collect()
    }

    /// Whom each of many keys goes to.
    fn places(targets: &[Target]) -> Vec<u32> {
        let mut policy = Hash::default();
        (0..6000).map(|key| targets[policy.pick(targets, Key(Some(key))).unwrap()].id).collect()
    }

    #[test]
    fn keys_are_spread_by_weight() {
        let places = places(&targets(&[1, 2, 3]));
        for (id, expected) in [(0, 1000), (1, 2000), (2, 3000)] {
            let count = places.iter().filter(|&&place| place == id).count();
            assert!(count.abs_diff(expected) < 150, "{count} of {expected}");
        }
    }

    #[test]
    fn only_the_keys_of_one_that_is_not_free_go_elsewhere() {
        let mut targets = targets(&[1, 1, 1, 1]);
        let before = places(&targets);
        assert_eq!(before, places(&targets), "nothing is remembered");
        targets[2].free = false;
        let after = places(&targets);
        let mut heirs = [0; 4];
        for (before, after) in before.iter().zip(&after) {
            if before == after {
                assert_ne!(*before, 2);
            } else {
                assert_eq!(*before, 2);
                heirs[*after as usize] += 1;
            }
        }
        assert_eq!(heirs[2], 0);
        assert!(heirs.iter().filter(|&&keys| keys > 350).count() == 3, "all share in them: {heirs:?}");
    }

    #[test]
    fn a_successor_gets_the_keys_of_the_one_before() {
        let mut targets = targets(&[1, 1, 1]);
        let before = places(&targets);
        targets[1].free = false;
        targets.push(Target { id: 9, free: true, ..targets[1] });
        let expected: Vec<_> = before.into_iter().map(|id| if id == 1 { 9 } else { id }).collect();
        assert_eq!(places(&targets), expected);
    }
}
