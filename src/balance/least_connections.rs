//! The free target with the least load relative to its weight; those that are equal in turn.

use super::{Balance, Key, Target};

/// Remembers who had the last turn, by identity.
#[derive(Debug, Default)]
pub(super) struct LeastConnections {
    last: Option<u32>,
}

impl Balance for LeastConnections {
    fn pick(&mut self, targets: &[Target], _: Key) -> Option<usize> {
        let next = self.last.map_or(0, |last| targets.partition_point(|target| target.id <= last));
        let free = (next..targets.len()).chain(0..next).filter(|&index| targets[index].free);
        // The first of equals is the one whose turn it is.
        let index = free.min_by(|&one, &other| targets[one].cmp_load(&targets[other]))?;
        self.last = Some(targets[index].id);
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A policy picks among (id, load, weight); a load of 99 is one that is not free.
    fn pick(policy: &mut LeastConnections, targets: &[(u32, u32, u32)]) -> Option<u32> {
        let target = |&(id, load, weight)| Target { id, name: id.into(), weight, load, free: load != 99 };
        let targets: Vec<_> = targets.iter().map(target).collect();
        policy.pick(&targets, Key(None)).map(|index| targets[index].id)
    }

    #[test]
    fn the_least_loaded_gets_it_and_equals_take_turns() {
        let mut policy = LeastConnections::default();
        assert_eq!(pick(&mut policy, &[(1, 5, 1), (2, 3, 1), (3, 4, 1)]), Some(2));
        let equal = [(1, 2, 1), (2, 2, 1), (3, 2, 1)];
        let order: Vec<_> = (0..4).filter_map(|_| pick(&mut policy, &equal)).collect();
        assert_eq!(order, [3, 1, 2, 3]);
        assert_eq!(
            pick(&mut policy, &[(1, 2, 1), (2, 1, 1), (3, 1, 1)]),
            Some(2),
            "only the least take turns"
        );
        assert_eq!(pick(&mut policy, &[(1, 0, 1), (2, 99, 1)]), Some(1));
        assert_eq!(pick(&mut policy, &[(1, 99, 1), (2, 99, 1)]), None);
    }

    #[test]
    fn a_weight_of_two_carries_twice_as_much() {
        let mut policy = LeastConnections::default();
        let mut loads = [0, 0];
        for _ in 0..30 {
            let picked = pick(&mut policy, &[(0, loads[0], 1), (1, loads[1], 2)]).unwrap();
            loads[picked as usize] += 1;
        }
        assert_eq!(loads, [10, 20]);
    }
}
