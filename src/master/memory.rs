//! How much memory each worker uses, with all that it has started.
//!
//! Asked of the kernel now and then, in one go for all of them. What follows from it is the fleet's business.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::Duration,
};

use super::{Master, lanes::is_lane};
use crate::{fleet::WorkerId, sys::memory::of_groups, time::Time};

/// From one sample to the next. A sample reads a small file of every process of the machine, about 10 ms for a thousand of
/// them; what leaks takes longer than this to matter.
const SAMPLE_PERIOD: Duration = Duration::from_secs(5);

impl Master {
    /// When [`Master::sample_memory`] has something to do.
    pub(super) fn next_sample(&self) -> Option<Time> {
        let wanted = self.fleet.rules().max_memory.is_some() && !self.workers.is_empty();
        wanted.then_some(self.next_sample)
    }

    /// Tells the fleet what the process group of each worker uses (RSS), if it is time for that. A worker that is about to
    /// end may be missing.
    pub(super) fn sample_memory(&mut self) {
        if self.next_sample().is_none_or(|at| self.now < at) {
            return;
        }
        self.next_sample = self.now + SAMPLE_PERIOD;
        let workers = self.workers.iter().filter(|(id, _)| !is_lane(**id));
        let workers = workers.map(|(&id, worker)| (id, worker.child.pid()));
        match of_workers(workers) {
            Ok(used) => {
                used.into_iter().for_each(|(id, bytes)| self.fleet.handle_memory(self.now, id, bytes));
            }
            Err(error) => log::debug!("cannot see how much memory workers use: {error}"),
        }
        self.perform();
    }
}

/// By their process groups.
fn of_workers(workers: impl Iterator<Item = (WorkerId, u32)> + Clone) -> io::Result<BTreeMap<WorkerId, u64>> {
    let groups: BTreeSet<_> = workers.clone().map(|(_, group)| group).collect();
    let used = of_groups(&groups)?;
    Ok(workers.filter_map(|(id, group)| Some((id, *used.get(&group)?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory::tests::group;

    #[test]
    fn each_worker_has_what_its_group_uses() {
        let groups = [group(4), group(1)];
        let [large, small] = [0, 1].map(|place| groups[place].pid());
        let workers = [(WorkerId(3), large), (WorkerId(7), small), (WorkerId(8), u32::MAX)];
        let used = of_workers(workers.into_iter()).unwrap();
        groups.iter().for_each(|group| group.end(Duration::from_secs(30)));
        assert_eq!(used.keys().copied().collect::<Vec<_>>(), [WorkerId(3), WorkerId(7)]);
        assert!(used[&WorkerId(3)] > used[&WorkerId(7)] + (4 << 20), "{used:?}");
    }
}
