//! What lanes have done, in figures.
//!
//! A lane notes how each request has ended; the master adds up what its lanes tell. What only grows is kept of lanes that have
//! gone, too; what comes and goes is forgotten with them. Upstreams go by their names, which are the same in all lanes and
//! for who takes an upstream's place; a request finds its own by a number.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    orders::Upstream,
    record::{Reason, Record},
    upstreams::{State, Upstreams},
};
use crate::metrics::Latency;

/// What a lane, or several, have done so far and are doing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Of each upstream that there was.
    pub upstreams: Vec<UpstreamFigures>,
    /// Codes of answers to requests that no upstream was asked for, and how many there were; 0 for no answer.
    pub own: BTreeMap<u16, u64>,
    /// Why requests have ended.
    pub reasons: BTreeMap<Reason, u64>,
    /// From the first byte of a request to the end of its answer.
    pub durations: Latency,
    /// Requests that were tried again, each time.
    pub retries: u64,
    /// Bytes of bodies that came from clients.
    pub received: u64,
    /// Bytes of bodies that were passed on to them.
    pub sent: u64,
    /// Connections of clients that were accepted.
    pub accepted: u64,
    /// Connections to upstreams that were opened.
    pub opened: u64,
    /// Requests that were sent on one that was there already.
    pub reused: u64,
    /// Lines of the access log that could not be written.
    pub dropped_lines: u64,
    /// What comes and goes.
    pub now: Gauges,
    /// Which upstream an identity stands for; sorted. Only where requests are noted.
    #[serde(skip)]
    places: Vec<(u32, usize)>,
}

/// What comes and goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gauges {
    /// Connections of clients that are open.
    pub connections: u64,
    /// Requests that are not over.
    pub in_flight: u64,
    /// Of those, the ones that wait for an upstream with room.
    pub queued: u64,
    /// Connections to upstreams that are open and idle.
    pub idle: u64,
}

/// What became of requests to one upstream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UpstreamFigures {
    /// What it is called.
    pub name: String,
    /// Codes of answers, and how many there were; 0 for no answer.
    pub codes: BTreeMap<u16, u64>,
    /// From the moment that a request was sent until its answer began.
    pub answering: Latency,
    /// How often it was ejected.
    pub ejections: u64,
    /// Requests that it has now.
    pub in_flight: u64,
    /// Lanes in which it is ejected now.
    pub ejected: u64,
}

impl Figures {
    /// What upstreams there are from now on.
    pub fn know(&mut self, list: &[Upstream]) {
        let places: Vec<_> = list.iter().map(|upstream| (upstream.id, self.place(&upstream.name))).collect();
        // Requests of those that are gone may still end.
        for (id, place) in places {
            match self.places.binary_search_by_key(&id, |(known, _)| *known) {
                Ok(_) => {}
                Err(at) => self.places.insert(at, (id, place)),
            }
        }
    }

    /// Those are not there any more, and all of their requests are over.
    pub fn forget(&mut self, gone: &[u32]) {
        self.places.retain(|(id, _)| !gone.contains(id));
    }

    /// A request is over.
    pub fn note(&mut self, record: &Record) {
        *self.reasons.entry(record.reason).or_default() += 1;
        self.durations.observe(record.times.whole());
        self.retries += u64::from(record.tries.saturating_sub(1));
        self.received += record.received;
        self.sent += record.sent;
        let codes = match record.upstream.and_then(|id| self.find(id)) {
            Some(upstream) => {
                if let Some(span) = record.times.answering() {
                    upstream.answering.observe(span);
                }
                &mut upstream.codes
            }
            None => &mut self.own,
        };
        *codes.entry(record.status).or_default() += 1;
    }

    /// An upstream was ejected.
    pub fn note_ejection(&mut self, id: u32) {
        if let Some(upstream) = self.find(id) {
            upstream.ejections += 1;
        }
    }

    /// How upstreams are now.
    pub fn look(&mut self, upstreams: &Upstreams) {
        self.upstreams.iter_mut().for_each(UpstreamFigures::rest);
        for State { id, in_flight, ejected, .. } in upstreams.states() {
            if let Some(upstream) = self.find(id) {
                // Of a name there may be two: one that drains, and who takes its place.
                upstream.in_flight += u64::from(in_flight);
                upstream.ejected |= u64::from(ejected);
            }
        }
    }

    /// Adds those of another lane.
    pub fn merge(&mut self, other: &Self) {
        for upstream in &other.upstreams {
            let place = self.place(&upstream.name);
            if let Some(own) = self.upstreams.get_mut(place) {
                own.merge(upstream);
            }
        }
        add(&mut self.own, &other.own);
        add(&mut self.reasons, &other.reasons);
        self.durations.merge(&other.durations);
        for (own, more) in [
            (&mut self.retries, other.retries),
            (&mut self.received, other.received),
            (&mut self.sent, other.sent),
            (&mut self.accepted, other.accepted),
            (&mut self.opened, other.opened),
            (&mut self.reused, other.reused),
            (&mut self.dropped_lines, other.dropped_lines),
            (&mut self.now.connections, other.now.connections),
            (&mut self.now.in_flight, other.now.in_flight),
            (&mut self.now.queued, other.now.queued),
            (&mut self.now.idle, other.now.idle),
        ] {
            *own = own.saturating_add(more);
        }
    }

    /// The lane is gone, and what it was doing with it.
    pub fn rest(&mut self) {
        self.now = Gauges::default();
        self.upstreams.iter_mut().for_each(UpstreamFigures::rest);
    }

    fn find(&mut self, id: u32) -> Option<&mut UpstreamFigures> {
        let place = self.places.binary_search_by_key(&id, |(known, _)| *known).ok()?;
        let &(_, place) = self.places.get(place)?;
        self.upstreams.get_mut(place)
    }

    /// Where the upstream of this name is, which is added if need be.
    fn place(&mut self, name: &str) -> usize {
        let known = self.upstreams.iter().position(|upstream| upstream.name == name);
        known.unwrap_or_else(|| {
            self.upstreams.push(UpstreamFigures { name: name.to_owned(), ..UpstreamFigures::default() });
            self.upstreams.len() - 1
        })
    }
}

impl UpstreamFigures {
    fn merge(&mut self, other: &Self) {
        add(&mut self.codes, &other.codes);
        self.answering.merge(&other.answering);
        self.ejections += other.ejections;
        self.in_flight += other.in_flight;
        self.ejected += other.ejected;
    }

    fn rest(&mut self) {
        (self.in_flight, self.ejected) = (0, 0);
    }
}

fn add<K: Ord + Copy>(own: &mut BTreeMap<K, u64>, other: &BTreeMap<K, u64>) {
    for (&key, more) in other {
        *own.entry(key).or_default() += more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        balance::PolicyName,
        forward::{
            record::Times,
            rules::ForwardRules,
            upstreams::{Ask, Pick},
        },
        time::Time,
    };

    fn upstream(id: u32, name: &str) -> Upstream {
        let endpoint = "127.0.0.1:1".into();
        Upstream { id, endpoint, name: name.into(), weight: 1, backup: false, draining: false, column: None }
    }

    fn record(upstream: Option<u32>, status: u16, reason: Reason, tries: u32) -> Record {
        let times = Times {
            connected: Some(Time(1_000_000)),
            answered: Some(Time(3_000_000)),
            ended: Time(40_000_000),
            ..Times::default()
        };
        Record { status, reason, upstream, tries, received: 10, sent: 100, times, asked: None }
    }

    fn figures() -> Figures {
        let mut figures = Figures::default();
        figures.know(&[upstream(5, "slot 1"), upstream(2, "slot 0")]);
        figures.note(&record(Some(2), 200, Reason::Done, 1));
        figures.note(&record(Some(2), 502, Reason::UpstreamClosed, 3));
        figures.note(&record(Some(5), 200, Reason::Done, 1));
        figures.note(&record(None, 400, Reason::BadRequest, 0));
        figures.note_ejection(2);
        figures
    }

    fn codes(figures: &Figures, name: &str) -> Vec<(u16, u64)> {
        let upstream = figures.upstreams.iter().find(|upstream| upstream.name == name).unwrap();
        upstream.codes.iter().map(|(&code, &count)| (code, count)).collect()
    }

    #[test]
    fn requests_count_for_their_upstream_and_their_reason() {
        let figures = figures();
        assert_eq!(codes(&figures, "slot 0"), [(200, 1), (502, 1)]);
        assert_eq!(codes(&figures, "slot 1"), [(200, 1)]);
        assert_eq!(figures.own, BTreeMap::from([(400, 1)]));
        assert_eq!(figures.reasons[&Reason::Done], 2);
        assert_eq!((figures.retries, figures.received, figures.sent), (2, 40, 400));
        assert_eq!((figures.durations.count(), figures.upstreams[1].answering.count()), (4, 2));
        assert_eq!(figures.upstreams[1].ejections, 1);
    }

    #[test]
    fn a_successor_counts_under_the_same_name_and_the_last_of_its_predecessor_too() {
        let mut figures = figures();
        figures.know(&[upstream(7, "slot 0"), upstream(5, "slot 1")]);
        figures.note(&record(Some(7), 200, Reason::Done, 1));
        figures.note(&record(Some(2), 200, Reason::Done, 1));
        assert_eq!(codes(&figures, "slot 0"), [(200, 3), (502, 1)]);
        figures.forget(&[2]);
        figures.note(&record(Some(2), 204, Reason::Done, 1));
        assert_eq!(figures.own[&204], 1, "whose it was is not known any more");
        assert_eq!(figures.upstreams.len(), 2);
    }

    #[test]
    fn what_lanes_tell_is_added_up_by_name_and_a_lane_that_is_gone_does_nothing() {
        let (mut all, mut other) = (Figures::default(), figures());
        other.now = Gauges { connections: 3, in_flight: 2, queued: 1, idle: 4 };
        let told: Figures = serde_json::from_str(&serde_json::to_string(&other).unwrap()).unwrap();
        all.merge(&told);
        assert_eq!(all, Figures { places: Vec::new(), ..other.clone() });
        let mut third = Figures::default();
        third.know(&[upstream(2, "slot 1"), upstream(9, "10.0.0.5:3000")]);
        third.note(&record(Some(2), 200, Reason::Done, 1));
        third.rest();
        other.rest();
        all.merge(&third);
        all.merge(&other);
        assert_eq!(codes(&all, "slot 1"), [(200, 3)]);
        assert_eq!(codes(&all, "10.0.0.5:3000"), []);
        assert_eq!(all.durations.count(), 9);
        assert_eq!(all.now, Gauges { connections: 3, in_flight: 2, queued: 1, idle: 4 }, "of the first only");
    }

    #[test]
    fn how_upstreams_are_now_is_looked_up() {
        let list = [upstream(2, "slot 0"), upstream(5, "slot 1"), upstream(7, "slot 0")];
        let (mut figures, rules) = (figures(), ForwardRules::default());
        let mut upstreams = Upstreams::new(PolicyName::RoundRobin, 0);
        upstreams.update(Time(0), &list);
        figures.know(&list);
        for _ in 0..6 {
            assert!(matches!(upstreams.pick(Time(0), &rules, &Ask::default()), Pick::To(_)));
        }
        figures.look(&upstreams);
        figures.look(&upstreams);
        let in_flight: Vec<_> = figures.upstreams.iter().map(|upstream| upstream.in_flight).collect();
        assert_eq!(in_flight, [2, 4], "slot 1 and slot 0, which is two");
    }
}
