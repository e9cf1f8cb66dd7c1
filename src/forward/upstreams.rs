//! Who gets requests: the upstreams of a lane, what each has in flight, and how each does.
//!
//! The master's list, requests that begin and how they end enter; a choice leaves. Of the upstreams that do not drain, the best
//! class gets a request, and what it cannot take waits: those that this request has not failed with come before those
//! that it has, those that do well before those that are ejected, and others before backups. So a backup and an ejected one
//! get requests only when nobody better is there, not when somebody better is full; and if all are ejected, all get
//! requests, because there is nothing to lose.
//!
//! Where several lanes forward to the same upstreams, what the others have counts as well ([`Shared`]): for a policy that goes
//! by load, and for the limit, beyond which all lanes together never go.
//!
//! An upstream is ejected when it fails several times in a row. When its time is over it is on trial: it gets one
//! request at a time until one is answered.

use super::{
    entry::{Entry, Health, Life},
    orders::Upstream,
    rules::ForwardRules,
    shared::{Alone, Lanes, Shared},
};
use crate::{
    balance::{Balance, Key, PolicyName, Target},
    endpoint::Endpoint,
    time::Time,
};

/// All of them, sorted by identity.
#[derive(Debug)]
pub struct Upstreams {
    list: Vec<Entry>,
    policy: Box<dyn Balance>,
    /// It goes by what upstreams have.
    by_load: bool,
    /// This lane among others.
    lanes: Lanes,
    /// Kept for its memory, so that a pick does not allocate.
    targets: Vec<Target>,
    /// When the first of those that are ejected comes back.
    next_back: Option<Time>,
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
        Self {
            list: Vec::new(),
            policy: policy.start(seed),
            by_load: policy.needs_load(),
            lanes: Lanes::new(Box::new(Alone), seed),
            targets: Vec::new(),
            next_back: None,
        }
    }

    /// The same, in a lane that has others beside it.
    pub fn shared(policy: PolicyName, seed: u64, shared: Box<dyn Shared>) -> Self {
        Self { lanes: Lanes::new(shared, seed), ..Self::new(policy, seed) }
    }

    /// What the list is from now on. Those whose endpoint cannot be read are left out.
    pub fn update(&mut self, now: Time, list: &[Upstream]) -> Update {
        self.bring_back(now);
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
        // Before somebody else may have their columns: what is said of these comes behind.
        old.iter_mut().for_each(|entry| entry.set_in_flight(0, &self.lanes));
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
            self.bring_back(now);
        }
        if !self.list.iter().any(|entry| entry.life == Life::Serves) {
            return Pick::Nobody;
        }
        if self.lanes.leaves(now) {
            return Pick::Full;
        }
        let stays =
            |entry: &Entry| Some(entry.sticky) == ask.sticky && entry.is_open_to(rules, &self.lanes, ask);
        let stayed = ask.sticky.and_then(|_| self.list.iter().position(stays));
        let stayed = stayed.filter(|&index| self.list[index].begin(rules, &self.lanes));
        match stayed.or_else(|| self.choose(rules, ask)) {
            Some(index) => Pick::To(self.list[index].id),
            None => Pick::Full,
        }
    }

    /// The place of the one that the policy picks from the best class, if any of that has room. It has one more then.
    fn choose(&mut self, rules: &ForwardRules, ask: &Ask<'_>) -> Option<usize> {
        let best = self.list.iter().filter_map(|entry| entry.class(ask.tried)).min()?;
        let Self { list, lanes, targets, by_load, .. } = self;
        targets.clear();
        targets.extend(list.iter().map(|entry| Target {
            id: entry.id,
            name: entry.sticky,
            weight: entry.weight,
            load: if *by_load { entry.load(lanes) } else { entry.in_flight },
            free: entry.class(ask.tried) == Some(best) && entry.has_room(rules, lanes),
        }));
        loop {
            let index = self.policy.pick(&self.targets, Key(ask.key))?;
            if self.list[index].begin(rules, &self.lanes) {
                return Some(index);
            }
            // Another lane came first.
            self.targets[index].free = false;
        }
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
        let Ok(place) = self.place(id) else { return Freed::default() };
        let entry = &mut self.list[place];
        let was_full = !entry.has_room(rules, &self.lanes);
        entry.set_in_flight(entry.in_flight.saturating_sub(1), &self.lanes);
        let was = entry.health;
        entry.learn(now, rules, outcome);
        let is_ejected = matches!(entry.health, Health::Ejected { .. });
        let freed = Freed {
            room: was_full && entry.life == Life::Serves && entry.has_room(rules, &self.lanes),
            idle: entry.tell_idle(),
            ejected: is_ejected && entry.health != was,
        };
        if freed.room {
            self.lanes.handle_room(now);
        }
        if is_ejected || matches!(was, Health::Ejected { .. }) {
            self.find_next_back();
        }
        freed
    }

    /// Whether requests wait here; said when that may have changed. For those that wait for what other lanes have, there is a
    /// look now and then.
    pub fn wait(&mut self, now: Time, rules: &ForwardRules, waiting: bool) {
        let for_others = waiting && self.best().any(|entry| entry.is_shared(rules));
        self.lanes.wait(now, for_others);
    }

    /// Brings those back whose time is over, and tells whether who waits may find room now: because of that, or because it is time
    /// to look whether another lane has left some.
    pub fn come_back(&mut self, now: Time) -> bool {
        let looks = self.lanes.look(now);
        self.bring_back(now) || looks
    }

    fn bring_back(&mut self, now: Time) -> bool {
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

    fn place(&self, id: u32) -> Result<usize, usize> {
        self.list.binary_search_by_key(&id, |entry| entry.id)
    }

    fn entry_mut(&mut self, id: u32) -> Option<&mut Entry> {
        let place = self.place(id).ok()?;
        self.list.get_mut(place)
    }

    fn entry(&self, id: u32) -> Option<&Entry> {
        self.list.get(self.place(id).ok()?)
    }

    /// Those that a request may get which has not been tried.
    fn best(&self) -> impl Iterator<Item = &Entry> {
        let best = self.list.iter().filter_map(|entry| entry.class(&[])).min();
        self.list.iter().filter(move |entry| best.is_some() && entry.class(&[]) == best)
    }

    /// Whether a request that has not been tried would find room: worth asking before one is taken from those that wait.
    pub fn has_room(&self, now: Time, rules: &ForwardRules) -> bool {
        !self.lanes.leaves(now) && self.best().any(|entry| entry.has_room(rules, &self.lanes))
    }

    /// When [`Upstreams::come_back`] is due.
    pub fn deadline(&self) -> Option<Time> {
        self.next_back.into_iter().chain(self.lanes.deadline()).min()
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

#[cfg(test)]
#[path = "upstreams_tests.rs"]
mod tests;
