//! The places of workers: who is in each, who is to take it over, and when it is filled.
//!
//! A slot is wanted unless it is empty. What is wanted is set by commands (`scale`, `fork`, `stop`), who is there by
//! what happens to workers; this file brings the second to the first, as fast as the rules let workers start.

use super::{
    Cause, Event, Output, WorkerId,
    lifecycle::{Happening, Lifecycle},
    machine::{Fleet, Hearsay, Phase, Worker},
    pulse::Pulse,
    record::Record,
    restart::History,
};
use crate::time::Time;

/// A place for a worker.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) seat: Seat,
    /// Takes the seat when it is ready.
    pub(super) successor: Option<WorkerId>,
    pub(super) history: History,
    pub(super) record: Record,
    /// Whoever is here runs a program of its own.
    pub(super) own: bool,
}

/// Who is in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Seat {
    /// Nobody is wanted there.
    #[default]
    Empty,
    /// To be filled then.
    Waiting(Time),
    Taken(WorkerId),
    /// Somebody is wanted, and it was given up: workers crash there.
    Errored,
}

/// How a new worker comes to its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// It has the seat at once.
    Seat,
    /// It has it when it is ready.
    Succession,
}

/// More slots than any machine serves well from one master.
pub const MAX_SLOTS: usize = 1024;

impl<C> Fleet<C> {
    /// Wants another number of workers: of the surplus, those in the highest slots leave.
    pub fn scale(&mut self, now: Time, count: usize) {
        self.scale_to(now, count, Cause::ScaledDown);
    }

    /// Sends all workers away, and goes on listening: connections wait until there are workers again.
    pub fn drain(&mut self, now: Time) {
        self.scale_to(now, 0, Cause::Drained);
    }

    /// How many workers are wanted.
    pub fn wanted(&self) -> usize {
        self.slots.iter().filter(|slot| slot.seat != Seat::Empty).count()
    }

    /// Whether somebody is wanted in this slot.
    pub fn is_wanted(&self, slot: u32) -> bool {
        self.slots.get(slot as usize).is_some_and(|slot| slot.seat != Seat::Empty)
    }

    /// How many slots were given up.
    pub fn errored(&self) -> usize {
        self.slots.iter().filter(|slot| slot.seat == Seat::Errored).count()
    }

    pub(super) fn scale_to(&mut self, now: Time, count: usize, cause: Cause) {
        let (from, to) = (self.wanted(), count.min(MAX_SLOTS));
        if self.phase != Phase::Running || from == to {
            return;
        }
        if to == 0 {
            // With nobody left to be replaced, it would be over, and nobody has seen the new generation serve.
            self.abort_reload(now);
        }
        self.event(Event::Scaled { from, to });
        for _ in from..to {
            let place = self.empty_place();
            self.slots[place].seat = Seat::Waiting(now);
        }
        for _ in to..from {
            let Some(place) = self.slots.iter().rposition(|slot| slot.seat != Seat::Empty) else { break };
            self.empty(now, place, cause);
        }
        self.fill(now);
        self.settle(now);
    }

    /// The lowest place that is not wanted for another.
    pub(super) fn empty_place(&mut self) -> usize {
        let place = self.slots.iter().position(|slot| slot.seat == Seat::Empty).unwrap_or(self.slots.len());
        if place == self.slots.len() {
            self.slots.push(Slot::default());
        }
        place
    }

    /// Starts the workers that are due, the lowest slots first, as far as the rules let so many start at once.
    pub(super) fn fill(&mut self, now: Time) {
        if self.phase != Phase::Running {
            return;
        }
        for place in 0..self.slots.len() {
            if matches!(self.slots[place].seat, Seat::Waiting(at) if at <= now) && self.may_start(now) {
                self.spawn(now, place, self.generation, Entry::Seat);
            }
        }
        self.go_on_reloading(now);
        self.recycle(now);
    }

    /// Whether one worker more may be on its way.
    pub(super) fn may_start(&self, now: Time) -> bool {
        let starting = || self.workers.values().filter(|worker| worker.life.is_starting()).count();
        self.next_start <= now && self.rules.max_starting.is_none_or(|most| starting() < most)
    }

    /// When [`Fleet::fill`] has something to do, if it can have by then.
    pub(super) fn fills_at(&self) -> Option<Time> {
        let due = self.slots.iter().filter_map(|slot| match slot.seat {
            Seat::Waiting(at) => Some(at),
            Seat::Empty | Seat::Taken(_) | Seat::Errored => None,
        });
        let reload = self.reload_is_due().then(Time::default);
        let due = due.chain(reload).chain(self.recycles_at()).min()?;
        let at = due.max(self.next_start);
        // When one that is on its way is ready or gone, that is an event.
        self.may_start(at).then_some(at)
    }

    pub(super) fn spawn(&mut self, now: Time, place: usize, generation: u32, entry: Entry) -> WorkerId {
        let id = WorkerId(self.next_worker);
        self.next_worker += 1;
        let slot = u32::try_from(place).unwrap_or(u32::MAX);
        let worker = Worker {
            slot,
            generation,
            pid: 0,
            life: Lifecycle::new(now, &self.rules),
            next_seq: 0,
            channel_open: true,
            hearsay: Hearsay::Complete,
            exited_after_disconnect: false,
            asked_to_listen: false,
            suspicion: None,
            wear: self.new_wear(),
            pulse: Pulse::default(),
        };
        self.workers.insert(id, worker);
        self.handoff.add(id);
        self.tally.add(id);
        match entry {
            Entry::Seat => self.slots[place].seat = Seat::Taken(id),
            Entry::Succession => self.slots[place].successor = Some(id),
        }
        let own = self.slots[place].own;
        self.outputs.push_back(Output::Spawn { worker: id, slot, generation, own });
        id
    }

    /// A worker is ready: it gets connections, and its slot if it was to take that over.
    pub(super) fn welcome(&mut self, now: Time, id: WorkerId) {
        self.handoff.open(id);
        self.listeners.serve(id);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let (place, after) = (worker.slot as usize, worker.life.age(now));
        worker.wear.expires = self.rules.max_age.map(|age| now + worker.wear.share(age));
        self.event(Event::Ready { worker: id, after });
        self.next_start = now + self.rules.warm_up;
        let Some(slot) = self.slots.get_mut(place) else { return };
        slot.history.handle_ready();
        if slot.successor == Some(id) {
            slot.successor = None;
            slot.record.restarts.replaced += 1;
            if let Seat::Taken(predecessor) = std::mem::replace(&mut slot.seat, Seat::Taken(id)) {
                self.send_away(now, predecessor, Cause::Replaced);
            }
        }
        self.reload_has_ready(id);
        self.recycled(id);
        self.fill(now);
    }

    /// A worker is not wanted any more, while others are.
    pub(super) fn send_away(&mut self, now: Time, id: WorkerId, cause: Cause) {
        let Some(worker) = self.workers.get(&id).filter(|worker| worker.life.is_staying()) else { return };
        let mut life = worker.life.clone();
        life.handle(now, Happening::StopGracefully, &self.rules);
        let (timeout, connections) = (life.patience(now), self.known_connections(id));
        self.event(Event::Draining { worker: id, cause, connections, timeout });
        self.happens(now, id, Happening::StopGracefully);
    }

    /// Whoever was to take over a slot is not wanted any more.
    pub(super) fn withdraw_successor(&mut self, now: Time, place: usize, cause: Cause) {
        if let Some(successor) = self.slots[place].successor.take() {
            self.reload_forgets(successor);
            self.recycled(successor);
            self.send_away(now, successor, cause);
        }
        if let Seat::Taken(worker) = self.slots[place].seat {
            self.reload_forgets(worker);
        }
    }
}
