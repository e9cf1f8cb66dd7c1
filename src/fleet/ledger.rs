//! What lanes know of where requests go, and whether any of them may have requests for somebody who is to leave.
//!
//! What each lane is told and says enters. A lane owes what it was told as one that gets requests, until it says that it has
//! none for it any more, or is gone. Lists have numbers, and a lane says which one it has read, so that what it says of an older
//! one is not believed: in between the upstream may have been called back. Knows nothing of channels: whoever sends what is to be told says when it was.

use std::collections::BTreeMap;

use super::WorkerId;
use crate::forward::orders::{Upstream, UpstreamList};

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger {
    lanes: BTreeMap<WorkerId, Lane>,
    /// Of the list as it is.
    number: u64,
}

#[derive(Debug, Default)]
struct Lane {
    /// It hears what it is told.
    begun: bool,
    /// It was not told the list as it is.
    stale: bool,
    owes: BTreeMap<u32, Owed>,
}

/// What a lane was told of one that it may have requests for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owed {
    /// It gets them.
    Serves,
    /// It gets none any more, by all lists from this one on.
    Drains { since: u64 },
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
        self.number += 1;
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
    pub fn news(&self, lane: WorkerId, list: &[Upstream]) -> UpstreamList {
        let owes = |id| self.lanes.get(&lane).is_some_and(|lane| lane.owes.contains_key(id));
        let upstreams = list.iter().filter(|upstream| !upstream.draining || owes(&upstream.id));
        UpstreamList { number: self.number, upstreams: upstreams.cloned().collect() }
    }

    /// It was told this.
    pub fn told(&mut self, lane: WorkerId, news: &UpstreamList) {
        let Some(lane) = self.lanes.get_mut(&lane) else { return };
        let owed = |upstream: &Upstream| match (upstream.draining, lane.owes.get(&upstream.id)) {
            (false, _) => Owed::Serves,
            (true, Some(&drains @ Owed::Drains { .. })) => drains,
            (true, Some(Owed::Serves) | None) => Owed::Drains { since: news.number },
        };
        lane.owes = news.upstreams.iter().map(|upstream| (upstream.id, owed(upstream))).collect();
        lane.stale = false;
    }

    /// A lane that has read the list of this number has no request for this upstream any more.
    pub fn handle_idle(&mut self, lane: WorkerId, upstream: u32, list: u64) {
        let Some(lane) = self.lanes.get_mut(&lane) else { return };
        if let Some(Owed::Drains { since }) = lane.owes.get(&upstream)
            && *since <= list
        {
            lane.owes.remove(&upstream);
        }
    }

    /// Whether some lane may have a request for it.
    pub fn is_owed(&self, upstream: u32) -> bool {
        self.lanes.values().any(|lane| lane.owes.contains_key(&upstream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANES: [WorkerId; 2] = [WorkerId(100), WorkerId(101)];

    fn list(upstreams: &[(u32, bool)]) -> Vec<Upstream> {
        let one = |&(id, draining): &(u32, bool)| {
            let (endpoint, name) = (format!("127.0.0.1:{id}"), format!("slot:{id}"));
            Upstream { id, endpoint, name, weight: 1, backup: false, draining, column: None }
        };
        upstreams.iter().map(one).collect()
    }

    fn tell(ledger: &mut Ledger, list: &[Upstream]) -> Vec<Vec<u32>> {
        ledger.handle_change();
        let stale = ledger.stale();
        let mut tell = |lane| {
            let news = ledger.news(lane, list);
            ledger.told(lane, &news);
            news.upstreams.iter().map(|upstream| upstream.id).collect()
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
        ledger.handle_idle(LANES[0], 1, 3);
        assert!(ledger.is_owed(1), "the other has not said so");
        assert_eq!(tell(&mut ledger, &list(&[(1, true), (2, false)])), [vec![2], vec![1, 2]]);
        ledger.handle_idle(LANES[1], 1, 3);
        assert!(!ledger.is_owed(1) && ledger.is_owed(2));
    }

    #[test]
    fn what_was_said_before_one_was_called_back_is_not_believed() {
        let mut ledger = Ledger::default();
        ledger.add(LANES[0]);
        ledger.begin(LANES[0]);
        tell(&mut ledger, &list(&[(1, false)]));
        ledger.handle_idle(LANES[0], 1, 9);
        assert!(ledger.is_owed(1), "it gets requests");
        tell(&mut ledger, &list(&[(1, true)]));
        tell(&mut ledger, &list(&[(1, true), (2, false)]));
        tell(&mut ledger, &list(&[(1, false)]));
        ledger.handle_idle(LANES[0], 1, 3);
        assert!(ledger.is_owed(1), "it gets requests again");
        tell(&mut ledger, &list(&[(1, true)]));
        ledger.handle_idle(LANES[0], 1, 3);
        assert!(ledger.is_owed(1), "and may have got some in between");
        tell(&mut ledger, &list(&[(1, true), (2, false)]));
        ledger.handle_idle(LANES[0], 1, 5);
        assert!(!ledger.is_owed(1), "it has drained since then");
    }

    #[test]
    fn a_call_back_that_was_never_told_changes_nothing() {
        let mut ledger = Ledger::default();
        ledger.add(LANES[0]);
        ledger.begin(LANES[0]);
        tell(&mut ledger, &list(&[(1, false)]));
        tell(&mut ledger, &list(&[(1, true)]));
        // Its channel is full meanwhile.
        ledger.handle_change();
        tell(&mut ledger, &list(&[(1, true)]));
        ledger.handle_idle(LANES[0], 1, 2);
        assert!(!ledger.is_owed(1));
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
