//! What lanes know of where requests go, and whether any of them may have requests for somebody who is to leave.
//!
//! What each lane is told and says enters. A lane owes what it was told as one that gets requests, until it says that it has
//! none for it any more, or is gone. Knows nothing of channels: whoever sends what is to be told says when it was.

use std::collections::{BTreeMap, BTreeSet};

use super::WorkerId;
use crate::forward::orders::Upstream;

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger {
    lanes: BTreeMap<WorkerId, Lane>,
}

#[derive(Debug, Default)]
struct Lane {
    /// It hears what it is told.
    begun: bool,
    /// It was not told the list as it is.
    stale: bool,
    owes: BTreeSet<u32>,
}

impl Ledger {
    /// A lane is being started.
    pub fn add(&mut self, lane: WorkerId) {
        self.lanes.insert(lane, Lane::default());
    }

    /// It can be told.
    pub fn begin(&mut self, lane: WorkerId) {
        if let Some(lane) = self.lanes.get_mut(&lane) {
            (lane.begun, lane.stale) = (true, true);
        }
    }

    /// It is gone, and owes nothing.
    pub fn remove(&mut self, lane: WorkerId) {
        self.lanes.remove(&lane);
    }

    /// The list is another than before.
    pub fn handle_change(&mut self) {
        self.lanes.values_mut().for_each(|lane| lane.stale = true);
    }

    /// Those that are to be told.
    pub fn stale(&self) -> Vec<WorkerId> {
        self.lanes.iter().filter(|(_, lane)| lane.begun && lane.stale).map(|(&id, _)| id).collect()
    }

    /// Whether this one is to be told.
    pub fn is_stale(&self, lane: WorkerId) -> bool {
        self.lanes.get(&lane).is_some_and(|lane| lane.stale)
    }

    /// What of the list a lane is to be told: it has no use for what gets no requests and what it has none for.
    pub fn news(&self, lane: WorkerId, list: &[Upstream]) -> Vec<Upstream> {
        let owes = |id| self.lanes.get(&lane).is_some_and(|lane| lane.owes.contains(id));
        list.iter().filter(|upstream| !upstream.draining || owes(&upstream.id)).cloned().collect()
    }

    /// It was told these.
    pub fn told(&mut self, lane: WorkerId, news: &[Upstream]) {
        let Some(lane) = self.lanes.get_mut(&lane) else { return };
        lane.owes = news.iter().map(|upstream| upstream.id).collect();
        lane.stale = false;
    }

    /// A lane has no request for this one any more, which gets none.
    pub fn handle_idle(&mut self, lane: WorkerId, upstream: u32) {
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.owes.remove(&upstream);
        }
    }

    /// Whether some lane may have a request for it.
    pub fn is_owed(&self, upstream: u32) -> bool {
        self.lanes.values().any(|lane| lane.owes.contains(&upstream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANES: [WorkerId; 2] = [WorkerId(100), WorkerId(101)];

    fn list(upstreams: &[(u32, bool)]) -> Vec<Upstream> {
        let one = |&(id, draining): &(u32, bool)| {
            let (endpoint, name) = (format!("127.0.0.1:{id}"), format!("slot:{id}"));
            Upstream { id, endpoint, name, weight: 1, backup: false, draining }
        };
        upstreams.iter().map(one).collect()
    }

    fn tell(ledger: &mut Ledger, list: &[Upstream]) -> Vec<Vec<u32>> {
        ledger.handle_change();
        let stale = ledger.stale();
        let mut tell = |lane| {
            let news = ledger.news(lane, list);
            ledger.told(lane, &news);
            news.iter().map(|upstream| upstream.id).collect()
        };
        stale.into_iter().map(&mut tell).collect()
    }

    #[test]
    fn one_is_owed_until_every_lane_has_said_that_it_has_nothing_for_it() {
        let mut ledger = Ledger::default();
        LANES.iter().for_each(|&lane| ledger.add(lane));
        assert!(tell(&mut ledger, &list(&[(1, false)])).is_empty(), "they do not hear yet");
        assert!(!ledger.is_owed(1));
        LANES.iter().for_each(|&lane| ledger.begin(lane));
        assert_eq!(tell(&mut ledger, &list(&[(1, false), (2, false)])), [[1, 2], [1, 2]]);
        assert_eq!(tell(&mut ledger, &list(&[(1, true), (2, false)])), [[1, 2], [1, 2]]);
        ledger.handle_idle(LANES[0], 1);
        assert!(ledger.is_owed(1), "the other has not said so");
        assert_eq!(tell(&mut ledger, &list(&[(1, true), (2, false)])), [vec![2], vec![1, 2]]);
        ledger.handle_idle(LANES[1], 1);
        assert!(!ledger.is_owed(1) && ledger.is_owed(2));
    }

    #[test]
    fn one_that_is_gone_owes_nothing_and_a_new_one_never_did() {
        let mut ledger = Ledger::default();
        LANES.iter().for_each(|&lane| ledger.add(lane));
        ledger.begin(LANES[0]);
        tell(&mut ledger, &list(&[(1, false)]));
        ledger.begin(LANES[1]);
        assert_eq!(tell(&mut ledger, &list(&[(1, true)])), [vec![1], vec![]]);
        assert!(ledger.is_owed(1));
        ledger.remove(LANES[0]);
        assert!(!ledger.is_owed(1));
    }

    #[test]
    fn what_could_not_be_told_is_not_owed() {
        let mut ledger = Ledger::default();
        ledger.add(LANES[0]);
        ledger.begin(LANES[0]);
        let news = ledger.news(LANES[0], &list(&[(1, false)]));
        assert!(ledger.is_stale(LANES[0]) && !ledger.is_owed(1));
        ledger.told(LANES[0], &news);
        assert!(!ledger.is_stale(LANES[0]) && ledger.is_owed(1));
    }
}
