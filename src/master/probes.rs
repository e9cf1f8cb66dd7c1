//! Whether workers take connections on their own addresses: tried from their start on, until one does.
//!
//! Nothing here holds up the loop. A connection that comes about is closed at once.

use std::{collections::BTreeMap, io, time::Duration};

use super::{Master, dial::Dial, source::Source};
use crate::{fleet::WorkerId, time::Time};

/// From a worker's start to the first try, and between the first ones: quick programs are there by then.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Between later ones, which come ever more seldom.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// Who takes so long has a full queue, or is stopped; it may be better by the next try.
const PATIENCE: Duration = Duration::from_secs(1);

/// Workers that are not known to take connections.
#[derive(Debug, Default)]
pub(super) struct Probes(BTreeMap<WorkerId, Probe>);

#[derive(Debug)]
struct Probe {
    pause: Duration,
    attempt: Attempt,
}

/// How far a try has come.
#[derive(Debug)]
enum Attempt {
    /// It begins then.
    Resting { until: Time },
    /// It is given up then.
    Dialling { dial: Dial, until: Time },
}

impl Probe {
    fn at(&self) -> Time {
        match self.attempt {
            Attempt::Resting { until } | Attempt::Dialling { until, .. } => until,
        }
    }

    /// The try has failed: the next comes later.
    fn rest(&mut self, now: Time) -> Attempt {
        let until = now + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        std::mem::replace(&mut self.attempt, Attempt::Resting { until })
    }
}

impl Probes {
    /// A worker was started.
    pub(super) fn add(&mut self, now: Time, id: WorkerId) {
        let attempt = Attempt::Resting { until: now + FIRST_PAUSE };
        self.0.insert(id, Probe { pause: FIRST_PAUSE, attempt });
    }

    /// When [`Master::probe`] has something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.0.values().map(Probe::at).min()
    }
}

impl Master {
    /// Tries those whose time has come.
    pub(super) fn probe(&mut self) {
        let due = self.probes.0.iter().filter(|(_, probe)| probe.at() <= self.now);
        for id in due.map(|(&id, _)| id).collect::<Vec<_>>() {
            if !self.fleet.awaits_reachable(id) {
                self.stop_probing(id);
                continue;
            }
            let Some(probe) = self.probes.0.get_mut(&id) else { continue };
            if let Attempt::Dialling { dial, .. } = probe.rest(self.now) {
                self.unwatch(&dial);
                continue;
            }
            let address = self.workers.get(&id).and_then(|worker| worker.address.as_ref());
            let Some(endpoint) = address.map(|address| address.endpoint().clone()) else { continue };
            let begun = Dial::begin(&self.poll, &endpoint, Source::Probe(id));
            self.handle_probe(id, begun);
        }
    }

    fn handle_probe(&mut self, id: WorkerId, begun: io::Result<Option<Dial>>) {
        match begun {
            Ok(None) => {
                self.stop_probing(id);
                self.fleet.handle_reachable(self.now, id);
                self.perform();
            }
            Ok(Some(dial)) => {
                if let Some(probe) = self.probes.0.get_mut(&id) {
                    probe.attempt = Attempt::Dialling { dial, until: self.now + PATIENCE };
                }
            }
            Err(error) => log::debug!("worker {id} takes no connections yet: {error}"),
        }
    }

    /// The kernel tells of a try, or of one that is over.
    pub(super) fn probed(&mut self, id: WorkerId) {
        let Some(probe) = self.probes.0.get_mut(&id) else { return };
        let Attempt::Dialling { dial, .. } = &probe.attempt else { return };
        match dial.outcome() {
            Ok(false) => {}
            Ok(true) => self.handle_probe(id, Ok(None)),
            Err(error) => {
                if let Attempt::Dialling { dial, .. } = probe.rest(self.now) {
                    self.unwatch(&dial);
                }
                self.handle_probe(id, Err(error));
            }
        }
    }

    /// It is known, or nobody wants to know any more.
    pub(super) fn stop_probing(&mut self, id: WorkerId) {
        if let Some(Probe { attempt: Attempt::Dialling { dial, .. }, .. }) = self.probes.0.remove(&id) {
            self.unwatch(&dial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_come_ever_more_seldom() {
        let (mut probes, id) = (Probes::default(), WorkerId(1));
        probes.add(Time(0), id);
        let mut pauses = Vec::new();
        let mut now = Time(0);
        for _ in 0..7 {
            let at = probes.deadline().unwrap();
            pauses.push((at - now).as_millis());
            now = at;
            probes.0.get_mut(&id).unwrap().rest(now);
        }
        assert_eq!(pauses, [50, 50, 100, 200, 400, 500, 500]);
    }
}
