//! Who gets requests: the upstreams of a lane, what each has in flight, and how each does.
//!
//! The master's list, requests that begin and how they end enter; a choice leaves. Of the upstreams that do not drain, the best
//! class gets a request, and what it cannot take waits: those that this request has not failed with come before those
//! that it has, those that do well before those that are ejected, and others before backups. So a backup and an ejected one
//! get requests only when nobody better is there, not when somebody better is full; and if all are ejected, all get
//! requests, because there is nothing to lose.
//!
//! An upstream is ejected when it fails several times in a row. When its time is over it is on trial: it gets one
//! request at a time until one is answered.

use std::time::Duration;

use super::{orders::Upstream, rules::ForwardRules};
use crate::{
    balance::{Balance, Key, PolicyName, Target},
    chance::hash,
    endpoint::Endpoint,
    time::Time,
};

/// All of them, sorted by identity.
#[derive(Debug)]
pub struct Upstreams {
    list: Vec<Entry>,
    policy: Box<dyn Balance>,
    /// Kept for its memory, so that a pick does not allocate.
    targets: Vec<Target>,
    /// When the first of those that are ejected comes back.
    next_back: Option<Time>,
}

#[derive(Debug)]
struct Entry {
    id: u32,
    endpoint: Endpoint,
    name: String,
    /// A hash of the name.
    sticky: u64,
    weight: u32,
    backup: bool,
    life: Life,
    in_flight: u32,
    health: Health,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Serves,
    /// It gets no more requests, and has some.
    Drains,
    /// It has none any more, and that was told.
    Drained,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    /// It has failed so often in a row.
    Well { failures: u32 },
    /// It has been ejected so often in a row.
    Ejected { until: Time, times: u32 },
    /// It is back, and has not answered yet. It had so many requests when it came back, and gets a further one when it has no
    /// more than those.
    OnTrial { times: u32, before: u32 },
}

/// What a choice goes by besides the upstreams.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask<'a> {
    /// What the policy `hash` goes by.
    pub key: Option<u64>,
    /// Whom the client has been with: what [`Upstreams::sticky`] said.
    pub sticky: Option<u64>,
    /// Those that this request has failed with. One that has closed an idle connection has not failed.
    pub tried: &'a [u32],
}

/// A choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// This one, and it has one more in flight: [`Upstreams::end`] takes it back.
    To(u32),
    /// All that could have as many as they may.
    Full,
    /// There is none.
    Nobody,
}

/// How a request has ended, for the upstream that it was sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Served,
    /// The upstream is to blame.
    Failed,
    /// Nothing is known of the upstream by it.
    Neither,
}

/// What the end of a request changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Freed {
    /// One that had as many as it may has room.
    pub room: bool,
    /// The upstream drains, and this was its last: the master is to know.
    pub idle: bool,
    /// It is ejected now, for this failure.
    pub ejected: bool,
}

/// What a new list changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Update {
    /// Those that are not there any more: their idle connections are of no use.
    pub gone: Vec<u32>,
    /// Those that drain and have no requests; told once of each.
    pub idle: Vec<u32>,
    /// Who waits may find room now.
    pub changed_room: bool,
}

/// How one is, for the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State<'a> {
    /// Which.
    pub id: u32,
    /// What it is called.
    pub name: &'a str,
    /// What it has.
    pub in_flight: u32,
    /// It is ejected, or on trial.
    pub ejected: bool,
}

impl Upstreams {
    /// Nobody yet.
    pub fn new(policy: PolicyName, seed: u64) -> Self {
        Self { list: Vec::new(), policy: policy.start(seed), targets: Vec::new(), next_back: None }
    }

    /// What the list is from now on. Those whose endpoint cannot be read are left out.
    pub fn update(&mut self, now: Time, list: &[Upstream]) -> Update {
        self.come_back(now);
        let mut old = std::mem::take(&mut self.list);
        let mut update = Update::default();
        for upstream in list {
            let Ok(endpoint) = upstream.endpoint.parse() else { continue };
            let known =
                old.iter().position(|entry| entry.id == upstream.id).map(|place| old.swap_remove(place));
            let mut entry = known.unwrap_or_else(|| {
                update.changed_room = true;
                Entry::new(upstream, endpoint)
            });
            update.changed_room |= entry.change(upstream);
            if entry.tell_idle() {
                update.idle.push(entry.id);
            }
            self.list.push(entry);
        }
        self.list.sort_unstable_by_key(|entry| entry.id);
        self.list.dedup_by_key(|entry| entry.id);
        update.gone.extend(old.iter().map(|entry| entry.id));
        update.gone.sort_unstable();
        // With the last of a class gone, it is the next one's turn.
        update.changed_room |= !old.is_empty();
        self.find_next_back();
        update
    }

    /// Chooses who gets a request.
    pub fn pick(&mut self, now: Time, rules: &ForwardRules, ask: &Ask<'_>) -> Pick {
        if self.next_back.is_some_and(|at| at <= now) {
            self.come_back(now);
        }
        let stays = |entry: &Entry| Some(entry.sticky) == ask.sticky && entry.is_open_to(rules, ask);
        let stayed = ask.sticky.and_then(|_| self.list.iter().position(stays));
        let Some(index) = stayed.or_else(|| self.choose(rules, ask)) else {
            return if self.list.iter().any(|entry| entry.life == Life::Serves) {
                Pick::Full
            } else {
                Pick::Nobody
            };
        };
        let entry = &mut self.list[index];
        entry.in_flight += 1;
        Pick::To(entry.id)
    }

    /// The place of the one that the policy picks from the best class, if any of that has room.
    fn choose(&mut self, rules: &ForwardRules, ask: &Ask<'_>) -> Option<usize> {
        let best = self.list.iter().filter_map(|entry| entry.class(ask.tried)).min()?;
        self.targets.clear();
        self.targets.extend(self.list.iter().map(|entry| Target {
            id: entry.id,
            name: entry.sticky,
            weight: entry.weight,
            load: entry.in_flight,
            free: entry.has_room(rules) && entry.class(ask.tried) == Some(best),
        }));
        self.policy.pick(&self.targets, Key(ask.key))
    }

    /// The head of an answer has come: the upstream is well, however long the rest takes.
    pub fn answered(&mut self, id: u32) {
        let Some(entry) = self.entry_mut(id) else { return };
        let was = std::mem::replace(&mut entry.health, Health::Well { failures: 0 });
        if matches!(was, Health::Ejected { .. }) {
            self.find_next_back();
        }
    }

    /// A request is over that [`Upstreams::pick`] had chosen this one for. Of one that is gone, it changes nothing.
    pub fn end(&mut self, now: Time, rules: &ForwardRules, id: u32, outcome: Outcome) -> Freed {
        let Some(entry) = self.entry_mut(id) else { return Freed::default() };
        let was_full = !entry.has_room(rules);
        entry.in_flight = entry.in_flight.saturating_sub(1);
        let was = entry.health;
        entry.learn(now, rules, outcome);
        let is_ejected = matches!(entry.health, Health::Ejected { .. });
        let freed = Freed {
            room: was_full && entry.life == Life::Serves && entry.has_room(rules),
            idle: entry.tell_idle(),
            ejected: is_ejected && entry.health != was,
        };
        if is_ejected || matches!(was, Health::Ejected { .. }) {
            self.find_next_back();
        }
        freed
    }

    /// Brings those back whose time is over, and tells whether there were any: who waits may find room now.
    pub fn come_back(&mut self, now: Time) -> bool {
        let mut any = false;
        for entry in &mut self.list {
            if let Health::Ejected { until, times } = entry.health
                && until <= now
            {
                entry.health = Health::OnTrial { times, before: entry.in_flight };
                any = true;
            }
        }
        self.find_next_back();
        any
    }

    fn find_next_back(&mut self) {
        let until = |entry: &Entry| match entry.health {
            Health::Ejected { until, .. } => Some(until),
            Health::Well { .. } | Health::OnTrial { .. } => None,
        };
        self.next_back = self.list.iter().filter_map(until).min();
    }

    fn entry_mut(&mut self, id: u32) -> Option<&mut Entry> {
        let place = self.list.binary_search_by_key(&id, |entry| entry.id).ok()?;
        self.list.get_mut(place)
    }

    fn entry(&self, id: u32) -> Option<&Entry> {
        let place = self.list.binary_search_by_key(&id, |entry| entry.id).ok()?;
        self.list.get(place)
    }

    /// Whether a request that has not been tried would find room: worth asking before one is taken from those that wait.
    pub fn has_room(&self, rules: &ForwardRules) -> bool {
        let best = self.list.iter().filter_map(|entry| entry.class(&[])).min();
        let is_best = |entry: &Entry| best.is_some() && entry.class(&[]) == best;
        self.list.iter().any(|entry| is_best(entry) && entry.has_room(rules))
    }

    /// When [`Upstreams::come_back`] is due.
    pub fn deadline(&self) -> Option<Time> {
        self.next_back
    }

    /// Where one is.
    pub fn endpoint(&self, id: u32) -> Option<&Endpoint> {
        self.entry(id).map(|entry| &entry.endpoint)
    }

    /// Whether one may get requests as far as the master is concerned.
    pub fn serves(&self, id: u32) -> bool {
        self.entry(id).is_some_and(|entry| entry.life == Life::Serves)
    }

    /// What one is called.
    pub fn name(&self, id: u32) -> Option<&str> {
        self.entry(id).map(|entry| &*entry.name)
    }

    /// By what a client finds it again: the same in all lanes, after restarts, and for who takes its place.
    pub fn sticky(&self, id: u32) -> Option<u64> {
        self.entry(id).map(|entry| entry.sticky)
    }

    /// How many requests all have together.
    pub fn in_flight(&self) -> u32 {
        self.list.iter().map(|entry| entry.in_flight).sum()
    }

    /// How each is.
    pub fn states(&self) -> impl Iterator<Item = State<'_>> {
        self.list.iter().map(|entry| State {
            id: entry.id,
            name: &entry.name,
            in_flight: entry.in_flight,
            ejected: !matches!(entry.health, Health::Well { .. }),
        })
    }
}

impl Entry {
    fn new(upstream: &Upstream, endpoint: Endpoint) -> Self {
        Self {
            id: upstream.id,
            endpoint,
            name: upstream.name.clone(),
            sticky: hash(upstream.name.as_bytes()),
            weight: upstream.weight.max(1),
            backup: upstream.backup,
            life: Life::Serves,
            in_flight: 0,
            health: Health::Well { failures: 0 },
        }
    }

    /// What the master says of it now; whether that changes who gets requests.
    fn change(&mut self, upstream: &Upstream) -> bool {
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
    fn tell_idle(&mut self) -> bool {
        let is_idle = self.life == Life::Drains && self.in_flight == 0;
        if is_idle {
            self.life = Life::Drained;
        }
        is_idle
    }

    /// Takes from how a request has ended what it says of the upstream.
    fn learn(&mut self, now: Time, rules: &ForwardRules, outcome: Outcome) {
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

    fn has_room(&self, rules: &ForwardRules) -> bool {
        rules.max_in_flight.is_none_or(|most| self.in_flight < most)
    }

    /// It may get requests as if nothing had been.
    fn is_well(&self) -> bool {
        match self.health {
            Health::Well { .. } => true,
            Health::Ejected { .. } => false,
            Health::OnTrial { before, .. } => self.in_flight <= before,
        }
    }

    /// The lower, the better; those that get nothing have none.
    fn class(&self, tried: &[u32]) -> Option<(bool, bool, bool)> {
        (self.life == Life::Serves).then(|| (tried.contains(&self.id), !self.is_well(), self.backup))
    }

    /// A client that has been with it may stay.
    fn is_open_to(&self, rules: &ForwardRules, ask: &Ask<'_>) -> bool {
        self.life == Life::Serves && self.is_well() && self.has_room(rules) && !ask.tried.contains(&self.id)
    }
}

/// How long an ejection lasts that follows so many in a row.
fn ejection(rules: &ForwardRules, times: u32) -> Duration {
    let doubled = 2u32.checked_pow(times).and_then(|factor| rules.eject_time.checked_mul(factor));
    doubled.map_or(rules.eject_time_max, |time| time.min(rules.eject_time_max))
}

#[cfg(test)]
#[path = "upstreams_tests.rs"]
mod tests;
