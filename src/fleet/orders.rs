//! What users have done with one worker: it is replaced, sent away, or added.
//!
//! Orders enter; what is wanted of slots changes, and the other files bring workers to it.

use thiserror::Error;

use super::{
    Cause, Event, Output, UsedUp, WorkerId,
    lifecycle::Lifecycle,
    machine::{Fleet, Phase},
    restart::History,
    slots::{Entry, MAX_SLOTS, Seat},
};
use crate::time::Time;

/// Why an order cannot be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unable {
    /// There is no such worker, or it has ended.
    #[error("there is no such worker")]
    NoSuchWorker,
    /// Nobody is wanted in that slot.
    #[error("no worker is wanted in that slot")]
    NoSuchSlot,
    /// It leaves already, or is a successor whose place is not its own yet.
    #[error("it leaves already, or is about to take the place of another")]
    Leaving,
    /// All workers are being replaced.
    #[error("a reload is under way, which replaces all workers")]
    Reloading,
    /// There are as many slots as there may be.
    #[error("there are {MAX_SLOTS} workers, and more are not allowed")]
    Full,
    /// There is nothing that workers would run.
    #[error(
        "there is no program for workers: requests go to the servers of upstreams; name a program and reload"
    )]
    NoProgram,
    /// The cluster stops.
    #[error("the cluster stops")]
    Stopping,
}

/// What has become of the replacement of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replacement {
    /// This one has its place, and is ready.
    Done(WorkerId),
    /// It is on its way.
    Pending,
    /// Nobody is wanted in its place any more, or nobody lives there.
    Unwanted,
    /// It goes on.
    Dropped,
}

impl<C> Fleet<C> {
    /// Adds one worker, in the lowest place that is not wanted for another. `own`: it is not what the others of its
    /// generation are, and neither is whoever follows it.
    pub fn fork(&mut self, now: Time, own: bool) -> Result<(WorkerId, u32), Unable> {
        if self.phase != Phase::Running {
            return Err(Unable::Stopping);
        }
        if self.wanted() >= MAX_SLOTS {
            return Err(Unable::Full);
        }
        let (place, from) = (self.empty_place(), self.wanted());
        self.slots[place].own = own;
        self.event(Event::Scaled { from, to: from + 1 });
        let worker = self.spawn(now, place, self.generation, Entry::Seat);
        Ok((worker, u32::try_from(place).unwrap_or(u32::MAX)))
    }

    /// Replaces a worker: its successor is ready before it leaves, unless it is not ready itself.
    pub fn restart(&mut self, now: Time, id: WorkerId) -> Result<(), Unable> {
        let place = self.place_of(id)?;
        let Some(worker) = self.workers.get_mut(&id) else { return Err(Unable::NoSuchWorker) };
        if self.reload.is_some() {
            return Err(Unable::Reloading);
        }
        if worker.life.is_ready() {
            if self.slots[place].successor.is_none() {
                self.wears_out_first(id, UsedUp::Asked);
                self.recycle(now);
            }
        } else {
            self.slots[place].seat = Seat::Waiting(now);
            self.send_away(now, id, Cause::Restarted);
            self.fill(now);
        }
        self.settle(now);
        Ok(())
    }

    /// The same by its place; one that is empty is filled at once, also if it was given up.
    pub fn restart_slot(&mut self, now: Time, slot: u32) -> Result<(), Unable> {
        match self.slots.get(slot as usize).map_or(Seat::Empty, |slot| slot.seat) {
            Seat::Taken(id) => self.restart(now, id),
            Seat::Waiting(_) | Seat::Errored if self.phase == Phase::Running => {
                let slot = &mut self.slots[slot as usize];
                (slot.seat, slot.history) = (Seat::Waiting(now), History::default());
                self.fill(now);
                self.settle(now);
                Ok(())
            }
            Seat::Empty | Seat::Waiting(_) | Seat::Errored => Err(Unable::NoSuchSlot),
        }
    }

    /// Has a worker leave that nobody is to follow.
    pub fn disconnect(&mut self, now: Time, id: WorkerId) -> Result<(), Unable> {
        let place = self.place_of(id)?;
        self.want_one_fewer(now, place);
        Ok(())
    }

    /// The same by its place; one that is empty is not filled.
    pub fn disconnect_slot(&mut self, now: Time, slot: u32) -> Result<(), Unable> {
        let place = slot as usize;
        match self.slots.get(place).map_or(Seat::Empty, |slot| slot.seat) {
            Seat::Taken(id) => self.disconnect(now, id),
            Seat::Waiting(_) | Seat::Errored if self.phase == Phase::Running => {
                self.want_one_fewer(now, place);
                Ok(())
            }
            Seat::Empty | Seat::Waiting(_) | Seat::Errored => Err(Unable::NoSuchSlot),
        }
    }

    fn want_one_fewer(&mut self, now: Time, place: usize) {
        let from = self.wanted();
        if from == 1 {
            // With nobody left to be replaced, it would be over, and nobody has seen the new generation serve.
            self.abort_reload(now);
        }
        self.event(Event::Scaled { from, to: from - 1 });
        self.empty(now, place, Cause::Disconnected);
        self.fill(now);
        self.settle(now);
    }

    /// The id that the next worker gets.
    pub fn next_id(&self) -> WorkerId {
        WorkerId(self.next_worker)
    }

    /// What has become of the replacement of a slot's worker by one that was started from this id on.
    pub fn replacement(&self, slot: u32, since: WorkerId) -> Replacement {
        let Some(slot) = self.slots.get(slot as usize) else { return Replacement::Unwanted };
        match slot.seat {
            Seat::Empty | Seat::Errored => Replacement::Unwanted,
            Seat::Waiting(_) => Replacement::Pending,
            Seat::Taken(id) if id >= since => {
                let ready = self.workers.get(&id).is_some_and(|worker| worker.life.is_ready());
                if ready { Replacement::Done(id) } else { Replacement::Pending }
            }
            Seat::Taken(id) if slot.successor.is_some() || self.reload.is_some() || self.is_worn(id) => {
                Replacement::Pending
            }
            Seat::Taken(_) => Replacement::Dropped,
        }
    }

    /// Who is in this place.
    pub fn in_slot(&self, slot: u32) -> Option<WorkerId> {
        match self.slots.get(slot as usize)?.seat {
            Seat::Taken(id) => Some(id),
            Seat::Empty | Seat::Waiting(_) | Seat::Errored => None,
        }
    }

    /// Whether this id was ever given to a worker.
    pub fn has_known(&self, id: WorkerId) -> bool {
        id.0 != 0 && id.0 < self.next_worker
    }

    /// Whether all is as it is wanted: as many workers as that, each ready, and no others.
    pub fn is_settled(&self) -> bool {
        let is_ready = |id| self.workers.get(&id).is_some_and(|worker| worker.life.is_ready());
        let settled = self.slots.iter().all(|slot| match slot.seat {
            Seat::Empty => true,
            Seat::Taken(id) => is_ready(id),
            Seat::Waiting(_) | Seat::Errored => false,
        });
        settled && self.reload.is_none() && self.workers.len() == self.wanted()
    }

    /// Nobody is wanted in this place any more.
    pub(super) fn empty(&mut self, now: Time, place: usize, cause: Cause) {
        self.withdraw_successor(now, place, cause);
        let slot = std::mem::take(&mut self.slots[place]);
        if slot.own {
            let slot = u32::try_from(place).unwrap_or(u32::MAX);
            self.outputs.push_back(Output::ForgetOwn { slot });
        }
        if let Seat::Taken(worker) = slot.seat {
            self.send_away(now, worker, cause);
        }
    }

    /// The place of a worker that has it and stays.
    fn place_of(&self, id: WorkerId) -> Result<usize, Unable> {
        let worker = self.workers.get(&id).ok_or(Unable::NoSuchWorker)?;
        if self.phase != Phase::Running {
            return Err(Unable::Stopping);
        }
        let place = worker.slot as usize;
        let seated = self.slots.get(place).is_some_and(|slot| slot.seat == Seat::Taken(id));
        let stays = seated && Lifecycle::is_staying(&worker.life);
        if stays { Ok(place) } else { Err(Unable::Leaving) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Batch, ExitStatus, Rules, Stop,
        stage::{Stage, rules},
    };
    use super::*;

    const CRASH: ExitStatus = ExitStatus::Code(1);

    fn restart(stage: &mut Stage, id: u32) -> Vec<String> {
        stage.does(|fleet, now| fleet.restart(now, WorkerId(id)).unwrap())
    }

    fn disconnect(stage: &mut Stage, id: u32) -> Vec<String> {
        stage.does(|fleet, now| fleet.disconnect(now, WorkerId(id)).unwrap())
    }

    #[test]
    fn a_restarted_worker_leaves_when_its_successor_is_ready() {
        let mut stage = Stage::ready(rules(2));
        assert_eq!(restart(&mut stage, 2), ["recycle 2", "spawn 3 in 1 of 1"]);
        assert!(restart(&mut stage, 2).is_empty(), "it is on its way");
        assert_eq!(stage.becomes_ready(3), ["disconnect 2"]);
        let leaves = stage.fleet.restart(stage.now, WorkerId(2));
        assert_eq!(leaves, Err(Unable::Leaving));
        assert_eq!(stage.fleet.restart(stage.now, WorkerId(9)), Err(Unable::NoSuchWorker));
    }

    #[test]
    fn of_those_that_wait_to_be_replaced_it_is_known_what_became_of_it() {
        let mut stage = Stage::ready(rules(4));
        let since = stage.fleet.next_id();
        (1..=4).for_each(|id| drop(restart(&mut stage, id)));
        assert_eq!(stage.fleet.replacement(0, since), Replacement::Pending, "its successor is on its way");
        assert_eq!(stage.fleet.replacement(1, since), Replacement::Pending, "it is the next");
        disconnect(&mut stage, 4);
        assert_eq!(stage.fleet.replacement(3, since), Replacement::Unwanted);
        stage.is_ready(5);
        assert_eq!(stage.fleet.replacement(0, since), Replacement::Done(WorkerId(5)));
        stage.exits(1, ExitStatus::Code(0));
        stage.exits(6, CRASH);
        assert_eq!(stage.fleet.replacement(1, since), Replacement::Dropped, "its successor has failed");
        assert_eq!(stage.fleet.replacement(2, since), Replacement::Pending);
        stage.reload();
        stage.does(|fleet, now| assert!(fleet.abort_reload(now)));
        assert_eq!(stage.fleet.replacement(2, since), Replacement::Dropped, "a reload came between");
        assert_eq!(stage.fleet.replacement(9, since), Replacement::Unwanted);
    }

    #[test]
    fn a_successor_that_fails_leaves_the_worker_and_another_try() {
        let mut stage = Stage::ready(rules(1));
        restart(&mut stage, 1);
        assert!(stage.exits(2, CRASH).is_empty());
        assert_eq!(stage.ready_workers(), 1);
        assert_eq!(restart(&mut stage, 1), ["recycle 1", "spawn 3 in 0 of 1"], "at once");
    }

    #[test]
    fn one_that_is_not_ready_is_ended_and_followed_at_once() {
        let mut stage = Stage::new(rules(1));
        assert_eq!(stage.take(), ["spawn 1 in 0 of 1"]);
        assert_eq!(restart(&mut stage, 1), ["signal 15 to 1", "spawn 2 in 0 of 1"]);
    }

    #[test]
    fn a_slot_that_was_given_up_is_filled_again() {
        let mut stage = Stage::new(Rules { max_crashes: Some(1), ..rules(1) });
        stage.take();
        assert_eq!(stage.exits(1, CRASH), ["errored 0 after 1", "failed, ends: false"]);
        let revived = stage.does(|fleet, now| fleet.restart_slot(now, 0).unwrap());
        assert_eq!(revived, ["spawn 2 in 0 of 1"]);
        assert_eq!(stage.fleet.restart_slot(stage.now, 1), Err(Unable::NoSuchSlot));
        stage.exits(2, CRASH);
        assert_eq!(stage.fleet.replacement(0, WorkerId(2)), Replacement::Unwanted, "given up");
        stage.does(|fleet, now| fleet.disconnect_slot(now, 0).unwrap());
        assert_eq!(
            (stage.fleet.wanted(), stage.fleet.errored()),
            (0, 0),
            "or nobody is wanted there any more"
        );
        assert_eq!(stage.fleet.disconnect_slot(stage.now, 0), Err(Unable::NoSuchSlot));
    }

    #[test]
    fn while_all_are_replaced_nobody_is_on_his_own() {
        let mut stage = Stage::ready(rules(2));
        stage.reload();
        assert_eq!(stage.fleet.restart(stage.now, WorkerId(2)), Err(Unable::Reloading));
        assert_eq!(disconnect(&mut stage, 2), ["disconnect 2"], "it is not wanted in any generation");
        assert_eq!(stage.becomes_ready(3), ["disconnect 1", "forget 1", "reloaded 2"]);
    }

    #[test]
    fn nobody_follows_one_that_is_disconnected_and_fork_takes_its_place() {
        let mut stage = Stage::ready(rules(3));
        assert_eq!(disconnect(&mut stage, 2), ["disconnect 2"]);
        assert!(stage.exits(2, ExitStatus::Code(0)).is_empty());
        assert_eq!((stage.fleet.wanted(), stage.fleet.is_settled()), (2, true));
        let forked = stage.fleet.fork(stage.now, false);
        assert_eq!(forked, Ok((WorkerId(4), 1)));
        assert!(!stage.fleet.is_settled());
    }

    #[test]
    fn what_is_a_slots_own_lasts_until_nobody_is_wanted_there() {
        let mut stage = Stage::ready(Rules { reload_batch: Batch::Count(2), ..rules(1) });
        stage.fleet.fork(stage.now, true).unwrap();
        let mut owns = |what: &mut dyn FnMut(&mut Stage)| {
            what(&mut stage);
            let outputs = std::iter::from_fn(|| stage.fleet.poll_output());
            let own = outputs.filter_map(|output| match output {
                Output::Spawn { worker, own, .. } => Some(format!("{worker}: {own}")),
                Output::ForgetOwn { slot } => Some(format!("forget {slot}")),
                _ => None,
            });
            own.collect::<Vec<_>>()
        };
        assert_eq!(owns(&mut |_| {}), ["2: true"]);
        let crashes = |stage: &mut Stage| stage.fleet.handle_exited(stage.now, WorkerId(2), CRASH, true);
        assert_eq!(owns(&mut { crashes }), ["3: true"]);
        let reload = |stage: &mut Stage| {
            stage.fleet.reload(stage.now, stage.fleet.rules().clone()).unwrap();
        };
        assert_eq!(owns(&mut { reload }), ["4: false", "5: true"]);
        assert!(owns(&mut |stage| (4..=5).for_each(|id| stage.is_ready(id))).is_empty());
        assert_eq!(owns(&mut |stage| stage.fleet.scale(stage.now, 1)), ["forget 1"]);
        assert_eq!(owns(&mut |stage| stage.fleet.scale(stage.now, 2)), ["6: false"]);
    }

    #[test]
    fn one_that_stops_takes_no_orders() {
        let mut stage = Stage::ready(rules(1));
        stage.does(|fleet, now| fleet.stop(now, Stop::Graceful));
        assert_eq!(stage.fleet.fork(stage.now, false), Err(Unable::Stopping));
        assert_eq!(stage.fleet.restart(stage.now, WorkerId(1)), Err(Unable::Stopping));
        assert_eq!(stage.fleet.disconnect(stage.now, WorkerId(1)), Err(Unable::Stopping));
        assert_eq!(stage.fleet.restart_slot(stage.now, 0), Err(Unable::NoSuchSlot));
    }

    #[test]
    fn a_slot_counts_what_became_of_its_workers() {
        let mut stage = Stage::ready(rules(1));
        stage.exits(1, CRASH);
        stage.is_ready(2);
        stage.later(2);
        stage.exits(2, ExitStatus::Code(0));
        stage.is_ready(3);
        restart(&mut stage, 3);
        stage.is_ready(4);
        let info = stage.fleet.workers(stage.now).find(|worker| worker.id == WorkerId(4)).unwrap();
        let restarts = (info.restarts.crashed, info.restarts.exited, info.restarts.replaced);
        assert_eq!(restarts, (1, 1, 1));
        assert_eq!(info.last_exit.map(|(status, _)| status), Some(ExitStatus::Code(0)));
    }
}
