//! Each free target in turn.
//!
//! The turn is remembered by identity and not by place, so that a target that comes or goes gives nobody a second turn
//! and takes nobody's away.

use super::{Balance, Key, Target};

/// Remembers who had the last turn.
#[derive(Debug, Default)]
pub(super) struct RoundRobin {
    last: Option<u32>,
}

impl Balance for RoundRobin {
    fn pick(&mut self, targets: &[Target], _: Key) -> Option<usize> {
        let next = self.last.map_or(0, |last| targets.partition_point(|target| target.id <= last));
        let index = (next..targets.len()).chain(0..next).find(|&index| targets[index].free)?;
        self.last = Some(targets[index].id);
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A policy picks among the ids that are free (`true`) or busy.
    fn pick(policy: &mut RoundRobin, targets: &[(u32, bool)]) -> Option<u32> {
        let target = |&(id, free)| Target { id, weight: 1, load: 0, free };
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
}
