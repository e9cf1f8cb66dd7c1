//! Workers that have used themselves up: too much memory, too old, too many connections. Each is replaced by a fresh one
//! that is ready before it leaves, one at a time, so that there is no dip.

use std::time::Duration;

use super::{
    Event, UsedUp, WorkerId,
    machine::{Fleet, Phase},
    slots::{Entry, Seat},
};
use crate::time::Time;

/// How far a worker is used up.
#[derive(Debug, Clone)]
pub(super) struct Wear {
    /// Connections that it has accepted.
    pub(super) accepted: u64,
    /// When it is too old.
    pub(super) expires: Option<Time>,
    /// What it has of each limit, in thousandths: workers that were started together do not all end together.
    share: u16,
    /// It waits to be replaced.
    worn: bool,
}

/// A worker has at least this of its limits.
const LEAST_SHARE: u16 = 900;

impl Wear {
    /// What this worker has of a time limit.
    pub(super) fn share(&self, limit: Duration) -> Duration {
        limit / 1000 * u32::from(self.share)
    }

    fn share_of(&self, limit: u64) -> u64 {
        // Not exact for limits that nobody reaches.
        (limit.saturating_mul(u64::from(self.share)) / 1000).max(1)
    }
}

/// What waits to be replaced, and what is.
#[derive(Debug, Default)]
pub(super) struct Recycling {
    /// Oldest first.
    worn: Vec<(WorkerId, UsedUp)>,
    /// The successor that is on its way.
    successor: Option<WorkerId>,
    /// After a successor has failed, the next is not tried before.
    not_before: Time,
}

impl<C> Fleet<C> {
    pub(super) fn new_wear(&mut self) -> Wear {
        let range = u64::from(1000 - LEAST_SHARE + 1);
        let share = LEAST_SHARE + u16::try_from(self.chance.number() % range).unwrap_or(0);
        Wear { accepted: 0, expires: None, share, worn: false }
    }

    /// The processes of a worker's group use so much memory, in bytes.
    pub fn handle_memory(&mut self, now: Time, worker: WorkerId, bytes: u64) {
        if self.rules.max_memory.is_some_and(|most| bytes > most) {
            self.wears_out(worker, UsedUp::Memory { bytes });
            self.recycle(now);
        }
    }

    /// A worker has accepted a connection.
    pub(super) fn has_accepted(&mut self, now: Time, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.wear.accepted += 1;
        let count = worker.wear.accepted;
        if let Some(slot) = self.slots.get_mut(worker.slot as usize) {
            slot.record.handed += 1;
        }
        if self.rules.max_connections.is_some_and(|most| count >= worker.wear.share_of(most)) {
            self.wears_out(id, UsedUp::Connections { count });
            self.recycle(now);
        }
    }

    /// Looks who is too old.
    pub(super) fn expire(&mut self, now: Time) {
        let old = self.workers.iter().filter(|(_, worker)| worker.wear.expires.is_some_and(|at| at <= now));
        let old: Vec<_> = old
            .map(|(&id, worker)| (id, worker.life.ready_since().map_or(Duration::ZERO, |since| now - since)))
            .collect();
        for (id, age) in old {
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.wear.expires = None;
            }
            self.wears_out(id, UsedUp::Age { age });
        }
    }

    fn wears_out(&mut self, id: WorkerId, limit: UsedUp) {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.life.is_ready()) else { return };
        if !std::mem::replace(&mut worker.wear.worn, true) {
            self.recycling.worn.push((id, limit));
        }
    }

    /// The same of one that is to come before those with other limits, and at once.
    pub(super) fn wears_out_first(&mut self, id: WorkerId, limit: UsedUp) {
        self.recycling.worn.retain(|(worn, _)| *worn != id);
        let first = self.recycling.worn.iter().take_while(|(_, other)| *other == limit).count();
        self.recycling.worn.insert(first, (id, limit));
        self.recycling.not_before = Time::default();
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.wear.worn = true;
        }
    }

    /// Whether it waits to be replaced.
    pub(super) fn is_worn(&self, id: WorkerId) -> bool {
        self.recycling.worn.iter().any(|(worn, _)| *worn == id)
    }

    /// Starts a successor for the next that is used up, if none is on its way.
    pub(super) fn recycle(&mut self, now: Time) {
        let busy =
            self.phase != Phase::Running || self.reload.is_some() || self.recycling.successor.is_some();
        if busy || self.recycling.worn.is_empty() || now < self.recycling.not_before || !self.may_start(now) {
            return;
        }
        while !self.recycling.worn.is_empty() {
            let (id, limit) = self.recycling.worn.remove(0);
            let place = self.workers.get(&id).map(|worker| (worker.slot as usize, worker.generation));
            // It may be gone meanwhile, or be told to leave.
            let Some((place, _)) = place.filter(|&(place, _)| self.slots[place].seat == Seat::Taken(id))
            else {
                continue;
            };
            self.event(Event::Recycling { worker: id, limit });
            self.recycling.successor = Some(self.spawn(now, place, self.generation, Entry::Succession));
            return;
        }
    }

    /// When [`Fleet::recycle`] has something to do.
    pub(super) fn recycles_at(&self) -> Option<Time> {
        let idle =
            self.reload.is_none() && self.recycling.successor.is_none() && !self.recycling.worn.is_empty();
        idle.then_some(self.recycling.not_before)
    }

    /// When [`Fleet::expire`] has something to do.
    pub(super) fn expires_at(&self) -> Option<Time> {
        self.workers.values().filter_map(|worker| worker.wear.expires).min()
    }

    /// A worker is ready, or not wanted any more; if it was a successor of one that is used up, the next may follow.
    pub(super) fn recycled(&mut self, id: WorkerId) {
        self.recycling.successor.take_if(|successor| *successor == id);
    }

    /// A worker has ended without having been ready: if it was such a successor, its predecessor stays for now.
    pub(super) fn recycling_fails(&mut self, now: Time, id: WorkerId, predecessor: Option<WorkerId>) {
        if self.recycling.successor.take_if(|successor| *successor == id).is_none() {
            return;
        }
        self.recycling.not_before = now + self.rules.restart_delay_max;
        if let Some(worker) = predecessor.and_then(|id| self.workers.get_mut(&id)) {
            // Memory and connections will be looked at again; age is told once.
            worker.wear.worn = false;
            worker.wear.expires = self.rules.max_age.map(|_| now + self.rules.restart_delay_max);
        }
    }

    /// Nobody waits to be replaced any more; who is still there and used up then, will be found out anew.
    pub(super) fn stop_recycling(&mut self, now: Time) {
        self.recycling = Recycling::default();
        let again = self.rules.max_age.map(|_| now + self.rules.restart_delay_max);
        for worker in self.workers.values_mut().filter(|worker| worker.wear.worn) {
            worker.wear.worn = false;
            worker.wear.expires = again;
        }
    }
}
