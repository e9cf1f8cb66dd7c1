//! Each free target in turn, and where they have weights, so often that its share is in proportion.
//!
//! The turn is remembered by identity and not by place, so that a target that comes or goes gives nobody a second turn
//! and takes nobody's away. Unequal weights are interleaved as nginx does ("smooth weighted round-robin": of 5, 1 and 1 the turns
//! are a a b a c a a): each free target earns its weight, the richest has the turn and pays for all.

use super::{Balance, Key, Target};

/// Remembers who had the last turn, and who is owed one.
#[derive(Debug, Default)]
pub(super) struct RoundRobin {
    last: Option<u32>,
    /// Sorted by identity; without entries as long as all weigh the same.
    accounts: Vec<Account>,
}

/// What a target has earned and not been paid yet. All accounts together are about zero.
#[derive(Debug)]
struct Account {
    id: u32,
    earned: i64,
}

impl Balance for RoundRobin {
    fn pick(&mut self, targets: &[Target], _: Key) -> Option<usize> {
        let is_equal = targets.windows(2).all(|pair| pair[0].weight == pair[1].weight);
        let index = if is_equal { self.next(targets) } else { self.richest(targets) }?;
        self.last = Some(targets[index].id);
        Some(index)
    }
}

impl RoundRobin {
    fn next(&mut self, targets: &[Target]) -> Option<usize> {
        self.accounts.clear();
        let next = self.last.map_or(0, |last| targets.partition_point(|target| target.id <= last));
        (next..targets.len()).chain(0..next).find(|&index| targets[index].free)
    }

    fn richest(&mut self, targets: &[Target]) -> Option<usize> {
        self.open_accounts(targets);
        let (mut total, mut richest) = (0, None);
        for (index, (target, account)) in targets.iter().zip(&mut self.accounts).enumerate() {
            if target.free {
                account.earned += i64::from(target.weight);
                total += i64::from(target.weight);
                if richest.is_none_or(|(_, earned)| account.earned > earned) {
                    richest = Some((index, account.earned));
                }
            }
        }
        let (index, _) = richest?;
        self.accounts[index].earned -= total;
        Some(index)
    }

    /// One for each target, in their order. What those leave behind that are gone is shared, so that a newcomer, which has
    /// nothing, is as well off as the rest.
    fn open_accounts(&mut self, targets: &[Target]) {
        if self.accounts.iter().map(|account| account.id).eq(targets.iter().map(|target| target.id)) {
            return;
        }
        let mut old = std::mem::take(&mut self.accounts).into_iter().peekable();
        self.accounts.extend(targets.iter().map(|&Target { id, .. }| {
            while old.next_if(|account| account.id < id).is_some() {}
            old.next_if(|account| account.id == id).unwrap_or(Account { id, earned: 0 })
        }));
        let sum: i64 = self.accounts.iter().map(|account| account.earned).sum();
        let share = i64::try_from(targets.len()).map_or(0, |count| sum / count.max(1));
        self.accounts.iter_mut().for_each(|account| account.earned -= share);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A policy picks among the ids that are free (`true`) or busy.
    fn pick(policy: &mut RoundRobin, targets: &[(u32, bool)]) -> Option<u32> {
        let target = |&(id, free)| Target { id, name: 0, weight: 1, load: 0, free };
        let targets: Vec<_> = targets.iter().map(target).collect();
        policy.pick(&targets, Key(None)).map(|index| targets[index].id)
    }

    #[test]
    fn turns_go_round_whoever_comes_and_goes() {
        let mut policy = RoundRobin::default();
        let three = [(1, true), (2, true), (3, true)];
        let order: Vec<_> = (0..7).filter_map(|_| pick(&mut policy, &three)).collect();
        assert_eq!(order, [1, 2, 3, 1, 2, 3, 1]);
        assert_eq!(
            pick(&mut policy, &[(1, true), (2, false), (3, true)]),
            Some(3),
            "a busy one is passed over"
        );
        assert_eq!(
            pick(&mut policy, &[(2, true), (4, true)]),
            Some(4),
            "the one after the last, though 3 is gone"
        );
        assert_eq!(pick(&mut policy, &[(2, true), (5, true)]), Some(5));
        assert_eq!(pick(&mut policy, &[(2, false), (5, false)]), None);
        assert_eq!(
            pick(&mut policy, &[(2, true), (5, true)]),
            Some(2),
            "a turn that nobody took is not lost"
        );
        assert_eq!(pick(&mut policy, &[]), None);
    }

    /// The turns of targets with these ids and weights.
    fn turns(policy: &mut RoundRobin, targets: &[(u32, u32)], count: usize) -> Vec<u32> {
        let target = |&(id, weight)| Target { id, name: 0, weight, load: 0, free: true };
        let targets: Vec<_> = targets.iter().map(target).collect();
        (0..count).filter_map(|_| policy.pick(&targets, Key(None)).map(|index| targets[index].id)).collect()
    }

    #[test]
    fn the_turns_of_the_heavy_are_spread() {
        let mut policy = RoundRobin::default();
        let weighted = [(1, 5), (2, 1), (3, 1)];
        assert_eq!(turns(&mut policy, &weighted, 7), [1, 1, 2, 1, 3, 1, 1]);
        assert_eq!(turns(&mut policy, &weighted, 7), [1, 1, 2, 1, 3, 1, 1]);
        assert_eq!(turns(&mut policy, &[(1, 1), (2, 1), (3, 1)], 4), [2, 3, 1, 2], "after 1");
    }

    #[test]
    fn whoever_comes_and_goes_the_shares_stay() {
        let mut policy = RoundRobin::default();
        for round in 0..50 {
            // One after another leaves when it has just been paid for, and another comes.
            turns(&mut policy, &[(1, 3), (2 + round, 5)], 1);
        }
        let mut counts = [0; 2];
        for id in turns(&mut policy, &[(1, 3), (99, 5)], 16) {
            counts[usize::from(id == 99)] += 1;
        }
        assert!((5..=7).contains(&counts[0]), "{counts:?}");
    }
}
