//! What an operator does to a fleet, and what must hold while workers are replaced.

use std::collections::{BTreeMap, BTreeSet};

use pointsman::{Cause, Event, Trouble, Unable, WorkerId, WorkerState, fleet::Rules};

use super::World;
use crate::random::Random;

/// Nobody wants more of them.
const MOST_WORKERS: usize = 5;

/// What the workers of a generation are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    Good,
    /// It is online and never ready.
    Idle,
    /// It ends before it has said a word.
    Stillborn,
    /// It does nothing at all.
    Mute,
}

/// What is known of workers and generations, apart from the fleet.
#[derive(Debug, Default)]
pub(super) struct Staff {
    /// Programs that may be started.
    pub(super) programs: BTreeMap<u32, Program>,
    /// The generation that holds.
    pub(super) holds: u32,
    pub(super) wanted: usize,
    pub(super) slots: BTreeMap<WorkerId, u32>,
    pub(super) generations: BTreeMap<WorkerId, u32>,
    pub(super) ready: BTreeSet<WorkerId>,
    pub(super) leaving: BTreeSet<WorkerId>,
    /// Slots whose workers run a program of their own.
    pub(super) own: BTreeSet<u32>,
    /// A rollback has failed: what serves is of two generations.
    pub(super) mixed: bool,
}

impl World {
    /// The operator has an idea.
    pub(super) fn operate(&mut self, random: &mut Random) {
        match random.below(9) {
            0 | 1 => {
                let programs =
                    [Program::Good, Program::Good, Program::Idle, Program::Stillborn, Program::Mute];
                self.reload(programs[random.index(programs.len())], random);
            }
            2 => self.totals.aborted += usize::from(self.fleet.abort_reload(self.now)),
            3 => {
                let count = 1 + random.index(MOST_WORKERS);
                self.fleet.scale(self.now, count);
            }
            4 => self.fork(random),
            5 => self.disconnect(random),
            6 => self.restart(random),
            _ => {
                // It may be gone, or on its way out.
                let Some(worker) = self.any_worker(random) else { return };
                self.fleet.handle_memory(self.now, worker, 1 << 40);
            }
        }
        self.perform(random);
    }

    /// One more, of the same program or of its own.
    fn fork(&mut self, random: &mut Random) {
        if self.staff.wanted >= MOST_WORKERS {
            return;
        }
        let own = random.once_in(2);
        match self.fleet.fork(self.now, own) {
            Ok((_, slot)) => {
                self.totals.forked += 1;
                if own {
                    assert!(self.staff.own.insert(slot), "seed {}: {slot} has its own already", self.seed);
                }
            }
            Err(why) => assert_eq!(why, Unable::Stopping, "seed {}", self.seed),
        }
    }

    /// One is sent away for good, whatever it does just now.
    fn disconnect(&mut self, random: &mut Random) {
        let Some(worker) = self.any_worker(random).filter(|_| self.staff.wanted > 1) else { return };
        if self.fleet.disconnect(self.now, worker).is_ok() {
            self.totals.disconnected += 1;
        }
    }

    /// One is replaced, by its name or by its place.
    fn restart(&mut self, random: &mut Random) {
        let done = if random.once_in(2) {
            let Some(worker) = self.any_worker(random) else { return };
            self.fleet.restart(self.now, worker)
        } else {
            let slot = u32::try_from(random.index(MOST_WORKERS)).unwrap_or(0);
            self.fleet.restart_slot(self.now, slot)
        };
        self.totals.restarted += usize::from(done.is_ok());
    }

    /// Another version is to be run.
    pub(super) fn reload(&mut self, program: Program, random: &mut Random) {
        let Some(generation) = self.fleet.next_generation() else { return };
        self.staff.programs.insert(generation, program);
        let rules = Rules { workers: self.staff.wanted, ..self.rules.clone() };
        assert_eq!(self.fleet.reload(self.now, rules), Some(generation), "seed {}", self.seed);
        self.perform(random);
    }

    /// A worker is to be started: of a program that is known, and whose slot has room.
    pub(super) fn program_of(&mut self, id: WorkerId, slot: u32, generation: u32, own: bool) -> Program {
        // That of a fork comes before the fork is known here.
        assert!(own || !self.staff.own.contains(&slot), "seed {}: {slot} has its own", self.seed);
        let program = self.staff.programs.get(&generation).copied();
        let program = program.unwrap_or_else(|| panic!("seed {}: {generation} is forgotten", self.seed));
        self.staff.slots.insert(id, slot);
        self.staff.generations.insert(id, generation);
        program
    }

    /// Keeps the books of what the fleet says that it has done.
    pub(super) fn note(&mut self, event: &Event) {
        let staff = &mut self.staff;
        match event {
            Event::Ready { worker, .. } => {
                assert!(staff.ready.insert(*worker), "seed {}: worker {worker} is ready twice", self.seed);
            }
            Event::Draining { worker, cause, .. } => {
                if *cause == Cause::Replaced {
                    let slot = staff.slots.get(worker);
                    let takes_over = |other: &&WorkerId| {
                        *other != worker && staff.slots.get(other) == slot && !staff.leaving.contains(other)
                    };
                    assert!(
                        staff.ready.iter().any(|other| takes_over(&other)),
                        "seed {}: worker {worker} leaves nobody behind",
                        self.seed
                    );
                    self.totals.replaced += 1;
                }
                staff.leaving.insert(*worker);
            }
            Event::Scaled { to, .. } => staff.wanted = *to,
            Event::Errored { .. } => self.totals.errored += 1,
            Event::Recycling { .. } => self.totals.recycled += 1,
            Event::Reloading { supersedes, .. } => self.totals.superseded += usize::from(*supersedes),
            Event::Reloaded { generation, .. } => {
                self.totals.reloaded += 1;
                staff.holds = *generation;
                staff.mixed = false;
                assert_eq!(
                    staff.programs[generation],
                    Program::Good,
                    "seed {}: {generation} cannot serve",
                    self.seed
                );
            }
            Event::RolledBack { generation, .. } => {
                self.totals.rolled_back += 1;
                assert_eq!(*generation, staff.holds, "seed {}", self.seed);
            }
            Event::ReloadFailed { generation, .. } => {
                self.totals.reloads_failed += 1;
                staff.mixed |= *generation == staff.holds;
            }
            Event::Trouble { trouble: Trouble::NotReady { .. }, .. } => self.totals.late += 1,
            _ => {}
        }
    }

    /// Nobody will be started of this generation.
    pub(super) fn forget(&mut self, generation: u32) {
        assert!(
            self.staff.programs.remove(&generation).is_some(),
            "seed {}: {generation} is unknown",
            self.seed
        );
    }

    /// Nobody of its own program will be started in this slot.
    pub(super) fn forget_own(&mut self, slot: u32) {
        assert!(self.staff.own.remove(&slot), "seed {}: {slot} has no own", self.seed);
    }

    pub(super) fn forget_worker(&mut self, id: WorkerId) {
        self.staff.ready.remove(&id);
        self.staff.leaving.remove(&id);
        self.staff.slots.remove(&id);
        self.staff.generations.remove(&id);
    }

    /// In each slot is at most one worker, and one that is to take it over; and no more slots than are wanted.
    pub(super) fn check_staff(&self) {
        let mut in_slot: BTreeMap<u32, usize> = BTreeMap::new();
        for worker in self.fleet.workers(self.now).filter(|worker| worker.state != WorkerState::Draining) {
            *in_slot.entry(worker.slot).or_default() += 1;
        }
        assert!(in_slot.values().all(|&count| count <= 2), "seed {}: {in_slot:?}", self.seed);
        let wanted = self.staff.wanted;
        if !self.stopping {
            assert!(in_slot.len() <= wanted, "seed {}: {in_slot:?}, but {wanted} are wanted", self.seed);
            assert_eq!(self.fleet.wanted(), wanted, "seed {}", self.seed);
        }
        let successors = in_slot.values().filter(|&&count| count == 2).count();
        // More may have been wanted when they were started.
        let most = self.rules.reload_batch.of(wanted.max(MOST_WORKERS));
        assert!(successors <= most, "seed {}: {successors} successors at once", self.seed);
    }

    /// As many serve as are wanted, all of the generation that holds.
    pub(super) fn staff_is_complete(&self) -> bool {
        let serving: Vec<_> = self.fleet.workers(self.now).filter(|worker| worker.serving).collect();
        let holds = |id: &WorkerId| self.staff.generations.get(id) == Some(&self.staff.holds);
        let same = self.staff.mixed || serving.iter().all(|worker| holds(&worker.id));
        serving.len() == self.staff.wanted && same && !self.fleet.is_reloading() && self.fleet.errored() == 0
    }
}
