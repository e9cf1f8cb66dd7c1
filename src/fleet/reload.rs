//! A reload: workers of one generation are replaced by those of another, and never by any that has not become ready.
//!
//! The new rules enter; successors are started in the slots of their predecessors, so many at once, and take over one by
//! one. If one of them fails, before it is ready or while the reload lasts, all are withdrawn, and where a predecessor has
//! left already, the generation before is started again in the same way. Which program belongs to a generation, whoever
//! starts it knows.

use std::collections::BTreeSet;

use super::{
    Cause, Event, Output, ReloadFailure, Rules, WorkerId,
    machine::{Fleet, Phase},
    slots::{Entry, Seat},
};
use crate::time::Time;

/// See the module.
#[derive(Debug)]
pub(super) struct Reload {
    /// The generation that all workers are to be of.
    target: u32,
    began: Time,
    /// Its workers on their way.
    starting: BTreeSet<WorkerId>,
    way: Way,
    /// Nobody was wanted when it began: all had been sent away.
    idle: bool,
}

#[derive(Debug)]
enum Way {
    /// To a new generation; these are the rules to return to.
    Forward { before: Box<Rules> },
    /// Back to the one before.
    Back,
}

impl<C> Fleet<C> {
    /// Replaces all workers by those of a new generation, which is returned, under new rules. `None` while the fleet stops.
    /// A reload that is under way is given up for this one.
    pub fn reload(&mut self, now: Time, rules: Rules) -> Option<u32> {
        if self.phase != Phase::Running {
            return None;
        }
        let superseded = self.reload.take();
        let supersedes = superseded.is_some();
        if let Some(reload) = &superseded {
            self.withdraw_all(now, reload);
        }
        let before = match superseded.map(|reload| (reload.target, reload.way)) {
            Some((target, Way::Forward { before })) => {
                self.outputs.push_back(Output::Forget { generation: target });
                self.reloads.aborted += 1;
                before
            }
            Some((_, Way::Back)) | None => Box::new(self.rules.clone()),
        };
        for place in 0..self.slots.len() {
            // Of the generation before, for one that is used up: all are going to be fresh.
            if let Some(successor) = self.slots[place].successor.take() {
                self.send_away(now, successor, Cause::Withdrawn);
            }
        }
        self.stop_recycling(now);
        self.adopt(rules);
        let target = self.next_generation;
        self.next_generation += 1;
        self.event(Event::Reloading { generation: target, workers: self.wanted(), supersedes });
        let (starting, way, idle) = (BTreeSet::new(), Way::Forward { before }, self.wanted() == 0);
        self.reload = Some(Reload { target, began: now, starting, way, idle });
        self.fill(now);
        self.settle(now);
        Some(target)
    }

    /// The generation that [`Fleet::reload`] will return, if it does.
    pub fn next_generation(&self) -> Option<u32> {
        (self.phase == Phase::Running).then_some(self.next_generation)
    }

    /// Calls a reload off. Says whether there was one.
    pub fn abort_reload(&mut self, now: Time) -> bool {
        let is = self.reload.as_ref().is_some_and(|reload| matches!(reload.way, Way::Forward { .. }));
        if is {
            self.reload_fails(now, None, ReloadFailure::Aborted);
            self.settle(now);
        }
        is
    }

    /// One was asked for, and the settings for it are wrong.
    pub fn handle_reload_refused(&mut self) {
        self.reloads.refused += 1;
        self.reloads.last_failed = true;
    }

    /// Whether one is under way.
    pub fn is_reloading(&self) -> bool {
        self.reload.is_some()
    }

    /// Starts what may be started of the generation that is wanted, and ends the reload when nothing is left.
    pub(super) fn go_on_reloading(&mut self, now: Time) {
        while let Some(reload) = &self.reload {
            let target = reload.target;
            let Some(place) = self.next_stale(target) else {
                // The last ones are to be warm as well: until then, one that dies ends the reload.
                if reload.starting.is_empty() && self.next_start <= now {
                    self.reload_ends(now);
                }
                return;
            };
            if !self.batch_has_room(reload) || !self.may_start(now) {
                return;
            }
            let entry = match self.slots[place].seat {
                Seat::Taken(_) => Entry::Succession,
                Seat::Empty | Seat::Waiting(_) | Seat::Errored => Entry::Seat,
            };
            let worker = self.spawn(now, place, target, entry);
            if let Some(reload) = &mut self.reload {
                reload.starting.insert(worker);
            }
        }
    }

    /// Whether a reload would start a worker now, or end, if it may.
    pub(super) fn reload_is_due(&self) -> bool {
        let is_due = |reload: &Reload| match self.next_stale(reload.target) {
            Some(_) => self.batch_has_room(reload),
            None => reload.starting.is_empty(),
        };
        self.reload.as_ref().is_some_and(is_due)
    }

    fn batch_has_room(&self, reload: &Reload) -> bool {
        self.rules.reload_batch.of(self.wanted()) > reload.starting.len()
    }

    fn next_stale(&self, target: u32) -> Option<usize> {
        (0..self.slots.len()).find(|&place| self.is_stale(place, target))
    }

    /// Whether a slot waits for a worker of the generation that is wanted.
    fn is_stale(&self, place: usize, target: u32) -> bool {
        let slot = &self.slots[place];
        match slot.seat {
            Seat::Empty => false,
            Seat::Waiting(_) | Seat::Errored => true,
            Seat::Taken(id) => {
                let of_another = self.workers.get(&id).is_some_and(|worker| worker.generation != target);
                of_another && slot.successor.is_none()
            }
        }
    }

    /// A worker is ready.
    pub(super) fn reload_has_ready(&mut self, id: WorkerId) {
        if let Some(reload) = &mut self.reload {
            reload.starting.remove(&id);
        }
    }

    /// A worker is not wanted any more, whatever becomes of it.
    pub(super) fn reload_forgets(&mut self, id: WorkerId) {
        self.reload_has_ready(id);
    }

    /// A worker of this generation has ended: a reload to it has failed.
    pub(super) fn reload_loses(&mut self, now: Time, place: usize, generation: u32, why: ReloadFailure) {
        if self.reload.as_ref().is_some_and(|reload| reload.target == generation) {
            self.reload_fails(now, Some(place), why);
        }
    }

    fn reload_ends(&mut self, now: Time) {
        let Some(Reload { target: generation, began, way, idle, .. }) = self.reload.take() else { return };
        let took = now - began;
        match way {
            Way::Back => self.event(Event::RolledBack { generation, took }),
            Way::Forward { before } => {
                let gone = std::mem::replace(&mut self.generation, generation);
                self.outputs.push_back(Output::Forget { generation: gone });
                self.reloads.succeeded += 1;
                self.reloads.last_failed = false;
                self.event(Event::Reloaded { generation, took });
                let count = self.rules.workers;
                // Whoever has scaled meanwhile is not overruled by settings that say what they said before.
                if count != before.workers || idle {
                    self.scale_to(now, count, Cause::ScaledDown);
                }
            }
        }
    }

    fn reload_fails(&mut self, now: Time, place: Option<usize>, why: ReloadFailure) {
        let Some(reload) = self.reload.take() else { return };
        self.withdraw_all(now, &reload);
        let generation = reload.target;
        let slot = place.map(|place| u32::try_from(place).unwrap_or(u32::MAX));
        match reload.way {
            // What serves goes on serving.
            Way::Back => self.event(Event::ReloadFailed { generation, slot, why, rolled_back: 0 }),
            Way::Forward { before } => {
                self.adopt(*before);
                match why {
                    ReloadFailure::Aborted => self.reloads.aborted += 1,
                    _ => self.reloads.failed += 1,
                }
                self.reloads.last_failed = true;
                self.outputs.push_back(Output::Forget { generation });
                // Of this one, or of one that it took the place of.
                let of_it = |seat| match seat {
                    Seat::Taken(id) => {
                        self.workers.get(&id).is_some_and(|worker| worker.generation != self.generation)
                    }
                    Seat::Empty | Seat::Waiting(_) | Seat::Errored => false,
                };
                let rolled_back = self.slots.iter().filter(|slot| of_it(slot.seat)).count();
                self.event(Event::ReloadFailed { generation, slot, why, rolled_back });
                if rolled_back > 0 {
                    let (target, starting) = (self.generation, BTreeSet::new());
                    self.reload = Some(Reload { target, began: now, starting, way: Way::Back, idle: false });
                }
            }
        }
        self.fill(now);
    }

    /// Sends away those that are on their way, and gives their seats to the generation that holds.
    fn withdraw_all(&mut self, now: Time, reload: &Reload) {
        for &id in &reload.starting {
            for slot in &mut self.slots {
                slot.successor.take_if(|successor| *successor == id);
                if slot.seat == Seat::Taken(id) {
                    slot.seat = Seat::Waiting(now);
                }
            }
            self.send_away(now, id, Cause::Withdrawn);
        }
    }

    /// Goes by these rules from now on, but for those that hold as long as the fleet lives.
    fn adopt(&mut self, rules: Rules) {
        self.handoff.set_limits(&rules);
        let (mode, map, seed) = (self.rules.mode, std::mem::take(&mut self.rules.map), self.rules.seed);
        self.rules = Rules { mode, map, seed, ..rules };
    }
}
