//! One upstream as a lane sees it: what it has in flight, and how it does.

use std::time::Duration;

use super::{
    orders::Upstream,
    rules::ForwardRules,
    shared::Lanes,
    upstreams::{Ask, Outcome},
};
use crate::{chance::hash, endpoint::Endpoint, time::Time};

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: u32,
    pub(super) endpoint: Endpoint,
    pub(super) name: String,
    /// A hash of the name.
    pub(super) sticky: u64,
    /// What lanes count it under; `None`: this lane counts for itself.
    column: Option<u32>,
    pub(super) weight: u32,
    pub(super) backup: bool,
    pub(super) life: Life,
    pub(super) in_flight: u32,
    pub(super) health: Health,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Serves,
    /// It gets no more requests, and has some.
    Drains,
    /// It has none any more, and that was told.
    Drained,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// It has failed so often in a row.
    Well { failures: u32 },
    /// It has been ejected so often in a row.
    Ejected { until: Time, times: u32 },
    /// It is back, and has not answered yet. It had so many requests when it came back, and gets a further one when it has no
    /// more than those.
    OnTrial { times: u32, before: u32 },
}

impl Entry {
    pub(super) fn new(upstream: &Upstream, endpoint: Endpoint) -> Self {
        Self {
            id: upstream.id,
            endpoint,
            name: upstream.name.clone(),
            sticky: hash(upstream.name.as_bytes()),
            column: upstream.column,
            weight: upstream.weight.max(1),
            backup: upstream.backup,
            life: Life::Serves,
            in_flight: 0,
            health: Health::Well { failures: 0 },
        }
    }

    /// What the master says of it now; whether that changes who gets requests.
    pub(super) fn change(&mut self, upstream: &Upstream) -> bool {
        let life = match (upstream.draining, self.life) {
            (false, _) => Life::Serves,
            (true, Life::Serves) => Life::Drains,
            (true, drains) => drains,
        };
        let differs = (self.life, self.backup) != (life, upstream.backup);
        (self.life, self.backup, self.weight) = (life, upstream.backup, upstream.weight.max(1));
        differs
    }

    /// Whether it is to be told that it drains and has nothing; once.
    pub(super) fn tell_idle(&mut self) -> bool {
        let is_idle = self.life == Life::Drains && self.in_flight == 0;
        if is_idle {
            self.life = Life::Drained;
        }
        is_idle
    }

    /// Takes from how a request has ended what it says of the upstream.
    pub(super) fn learn(&mut self, now: Time, rules: &ForwardRules, outcome: Outcome) {
        if let Health::OnTrial { before, .. } = &mut self.health {
            *before = self.in_flight.min(*before);
        }
        let times = match (outcome, &mut self.health) {
            (Outcome::Neither, _) | (Outcome::Failed, Health::Ejected { .. }) => return,
            (Outcome::Served, health) => {
                *health = Health::Well { failures: 0 };
                return;
            }
            (Outcome::Failed, Health::Well { failures }) => {
                *failures = failures.saturating_add(1);
                if rules.eject_after.is_none_or(|most| *failures < most) {
                    return;
                }
                0
            }
            (Outcome::Failed, Health::OnTrial { times, .. }) => *times,
        };
        let until = now + ejection(rules, times);
        self.health = Health::Ejected { until, times: times.saturating_add(1) };
    }

    /// A request more, if that is not one too many for all lanes together. It is said first and looked at afterwards, so of
    /// lanes that do this at the same time none goes beyond what is allowed, and it may be that none succeeds.
    pub(super) fn begin(&mut self, rules: &ForwardRules, lanes: &Lanes) -> bool {
        self.set_in_flight(self.in_flight + 1, lanes);
        let fits = rules.max_in_flight.is_none_or(|most| self.load(lanes) <= most);
        if !fits {
            self.set_in_flight(self.in_flight - 1, lanes);
        }
        fits
    }

    /// So many requests of this lane.
    pub(super) fn set_in_flight(&mut self, count: u32, lanes: &Lanes) {
        self.in_flight = count;
        lanes.set(self.column, count);
    }

    /// What it has of all lanes.
    pub(super) fn load(&self, lanes: &Lanes) -> u32 {
        lanes.all(self.column, self.in_flight)
    }

    pub(super) fn has_room(&self, rules: &ForwardRules, lanes: &Lanes) -> bool {
        rules.max_in_flight.is_none_or(|most| self.load(lanes) < most)
    }

    /// If it has none, others have what this lane could have.
    pub(super) fn is_shared(&self, rules: &ForwardRules) -> bool {
        rules.max_in_flight.is_some_and(|most| self.in_flight < most)
    }

    /// It may get requests as if nothing had been.
    pub(super) fn is_well(&self) -> bool {
        match self.health {
            Health::Well { .. } => true,
            Health::Ejected { .. } => false,
            Health::OnTrial { before, .. } => self.in_flight <= before,
        }
    }

    /// The lower, the better; those that get nothing have none.
    pub(super) fn class(&self, tried: &[u32]) -> Option<(bool, bool, bool)> {
        (self.life == Life::Serves).then(|| (tried.contains(&self.id), !self.is_well(), self.backup))
    }

    /// A client that has been with it may stay.
    pub(super) fn is_open_to(&self, rules: &ForwardRules, lanes: &Lanes, ask: &Ask<'_>) -> bool {
        self.life == Life::Serves
            && self.is_well()
            && self.has_room(rules, lanes)
            && !ask.tried.contains(&self.id)
    }
}

/// How long an ejection lasts that follows so many in a row.
fn ejection(rules: &ForwardRules, times: u32) -> Duration {
    let doubled = 2u32.checked_pow(times).and_then(|factor| rules.eject_time.checked_mul(factor));
    doubled.map_or(rules.eject_time_max, |time| time.min(rules.eject_time_max))
}
