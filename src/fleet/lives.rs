//! What happens to worker processes, and what the fleet has done about it. Knows nothing of sockets.

use std::time::Duration;

use super::{
    Event, ExitStatus, Output, Told, Trouble, WorkerId,
    lifecycle::{Action, Happening, Lifecycle},
    machine::{Fleet, GRACE, Hearsay, Phase, Slot, Worker},
    signal,
};
use crate::{endpoint::Endpoint, time::Time};

/// What has become of a worker that is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Its process is over.
    Over,
    /// Its process may still be there.
    GivenUp,
}

impl<C> Fleet<C> {
    /// A worker process was started.
    pub fn handle_spawned(&mut self, id: WorkerId, pid: u32) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.pid = pid;
        let slot = worker.slot;
        self.event(Event::Fork { worker: id, slot, pid });
    }

    /// A worker process could not be created.
    pub fn handle_spawn_failed(&mut self, now: Time, worker: WorkerId, errno: i32) {
        let retry = self.rules.restart_delay;
        self.event(Event::Trouble { worker, trouble: Trouble::SpawnFailed { errno, retry } });
        self.remove(now, worker, Fate::Over);
        self.settle(now);
    }

    /// A worker has said, by other means than listening, that it is ready.
    pub fn handle_ready(&mut self, now: Time, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if !std::mem::replace(&mut worker.serving, true) {
            let after = worker.life.age(now);
            self.event(Event::Ready { worker: id, after });
        }
    }

    /// A worker's channel has ended, and all that it sent has been handled.
    pub fn handle_channel_closed(&mut self, now: Time, worker: WorkerId) {
        let Some(state) = self.workers.get_mut(&worker).filter(|state| state.channel_open) else { return };
        if state.life.is_unheard() {
            // Most that do this are dying, and their exit says it better.
            state.suspicion = Some((now + GRACE, Trouble::ClosedUnheard));
        }
        self.disconnected(now, worker, Happening::ChannelClosed);
        self.settle(now);
    }

    /// A worker process has ended. `all_heard`: its channel was read to its end, which nobody else holds.
    pub fn handle_exited(&mut self, now: Time, id: WorkerId, status: ExitStatus, all_heard: bool) {
        self.happens(now, id, Happening::Exited);
        if let Some(worker) = self.workers.get_mut(&id).filter(|_| !all_heard) {
            worker.hearsay = Hearsay::Partial;
        }
        let Some(worker) = self.workers.get(&id) else { return };
        if worker.channel_open {
            self.event(Event::Disconnect { worker: id });
        }
        let Some(worker) = self.remove(now, id, Fate::Over) else { return };
        let restart = match self.slots.get(worker.slot as usize) {
            Some(&Slot::Waiting(at)) => Some(at - now),
            _ => None,
        };
        let (exited_after_disconnect, lived) = (worker.exited_after_disconnect, worker.life.age(now));
        self.event(Event::Exit { worker: id, status, exited_after_disconnect, lived, restart });
        self.settle(now);
    }

    pub(super) fn spawn(&mut self, now: Time, place: usize) -> WorkerId {
        let id = WorkerId(self.next_worker);
        self.next_worker += 1;
        let slot = u32::try_from(place).unwrap_or(u32::MAX);
        let worker = Worker {
            slot,
            pid: 0,
            life: Lifecycle::new(now, &self.rules),
            next_seq: 0,
            channel_open: true,
            hearsay: Hearsay::Complete,
            exited_after_disconnect: false,
            serving: false,
            asked_to_listen: false,
            suspicion: None,
        };
        self.workers.insert(id, worker);
        self.handoff.add(id);
        self.tally.add(id);
        self.slots[place] = Slot::Taken(id);
        self.outputs.push_back(Output::Spawn { worker: id, slot });
        id
    }

    /// Forgets a worker that is gone, gives its place to a successor and its connections to others.
    fn remove(&mut self, now: Time, id: WorkerId, fate: Fate) -> Option<Worker> {
        let worker = self.workers.remove(&id)?;
        self.listeners.leave(id);
        self.outputs.extend(self.listeners.forget_oldest().into_iter().map(Output::CloseListener));
        self.tally.remove(id);
        let on_the_way = self.handoff.in_flight(id);
        // The kernel tells of a TCP connection whether it was touched, and of no other: there the worker's word must do.
        let is_unix = |listener| matches!(self.listeners.endpoint(listener), Some(Endpoint::Unix(_)));
        let heard = worker.hearsay == Hearsay::Complete;
        let doubtful = self.handoff.remove(id, |listener| heard && is_unix(listener));
        self.counters.replaced += u64::try_from(on_the_way - doubtful.len()).unwrap_or(0);
        match fate {
            Fate::Over if doubtful.is_empty() => {}
            Fate::Over => self.outputs.push_back(Output::Examine { worker: id, doubtful }),
            // It has them, or will read them from its channel: that none is touched now says nothing.
            Fate::GivenUp => self.lose(id, doubtful),
        }
        if let Some(slot) = self.slots.get_mut(worker.slot as usize).filter(|slot| **slot == Slot::Taken(id)) {
            *slot = match self.phase {
                Phase::Running => Slot::Waiting(now + self.rules.restart_delay),
                Phase::Stopping | Phase::Stopped => Slot::Empty,
            };
        }
        Some(worker)
    }

    pub(super) fn disconnected(&mut self, now: Time, id: WorkerId, how: Happening) {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.channel_open) else { return };
        worker.channel_open = false;
        self.listeners.leave(id);
        self.happens(now, id, how);
        self.event(Event::Disconnect { worker: id });
    }

    pub(super) fn happens(&mut self, now: Time, id: WorkerId, happening: Happening) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if let Some(action) = worker.life.handle(now, happening, &self.rules) {
            self.act(id, action);
        }
    }

    pub(super) fn act(&mut self, id: WorkerId, action: Action) {
        let trouble = match action {
            Action::Disconnect => {
                self.listeners.leave(id);
                let Some(worker) = self.workers.get_mut(&id) else { return };
                worker.exited_after_disconnect = true;
                let told = Told::Disconnect { seq: worker.take_seq() };
                self.outputs.push_back(Output::Tell(id, told));
                None
            }
            Action::Terminate { overdue } => self.signal(id, signal::TERM, overdue),
            Action::Kill { overdue } => self.signal(id, signal::KILL, overdue),
            // The loop over the timers does it: it takes the worker away.
            Action::GiveUp { .. } => None,
            Action::ComplainOfSilence { after } => Some(Trouble::Silent { after }),
            Action::ComplainOfIdleness { after } => Some(Trouble::NotListening { after }),
        };
        if let Some(trouble) = trouble {
            self.event(Event::Trouble { worker: id, trouble });
        }
    }

    /// A process that does not end though it was killed (it may not be signalled, or the kernel holds it) is given up:
    /// its place is free. Should it end after all, it is reaped and nothing else.
    pub(super) fn give_up(&mut self, now: Time, id: WorkerId, after: Duration) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.hearsay = Hearsay::Partial;
            let pid = worker.pid;
            self.event(Event::Trouble { worker: id, trouble: Trouble::Unkillable { pid, after } });
        }
        self.outputs.push_back(Output::CloseChannel(id));
        self.remove(now, id, Fate::GivenUp);
    }

    fn signal(&mut self, id: WorkerId, signal: i32, overdue: Option<Duration>) -> Option<Trouble> {
        self.listeners.leave(id);
        self.outputs.push_back(Output::Signal(id, signal));
        overdue.map(|after| Trouble::Overdue { signal, after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        balance::PolicyName,
        fleet::{Mode, Rules, Stop},
    };

    const WORKER: WorkerId = WorkerId(1);
    const NOW: Time = Time(0);

    fn fleet(mode: Mode) -> Fleet<u32> {
        let mut fleet = Fleet::new(Rules { mode, ..Rules::default() }, PolicyName::RoundRobin);
        fleet.start(NOW);
        fleet.handle_spawned(WORKER, 100);
        fleet
    }

    fn outputs(fleet: &mut Fleet<u32>) -> Vec<Output<u32>> {
        std::iter::from_fn(|| fleet.poll_output()).collect()
    }

    #[test]
    fn a_worker_that_does_not_speak_is_in_trouble_unless_it_accepts_by_itself() {
        for (mode, expected) in [(Mode::Handoff, 1), (Mode::Shared, 0)] {
            for closes in [false, true] {
                let mut fleet = fleet(mode);
                if closes {
                    fleet.handle_channel_closed(NOW, WORKER);
                }
                fleet.handle_timeout(NOW + Rules::default().patience);
                let is_trouble = |output: &&Output<u32>| matches!(output, Output::Event(Event::Trouble { .. }));
                let troubles = outputs(&mut fleet).iter().filter(is_trouble).count();
                assert_eq!(troubles, expected, "{mode:?} {closes}");
            }
        }
    }

    #[test]
    fn a_worker_that_closes_its_channel_unheard_stays_if_it_accepts_by_itself() {
        let is_told = |output: &Output<u32>| matches!(output, Output::Signal(WORKER, signal::TERM));
        for (mode, leaves) in [(Mode::Handoff, true), (Mode::Shared, false)] {
            let mut fleet = fleet(mode);
            fleet.handle_channel_closed(NOW, WORKER);
            let later = NOW + Rules::default().stop_timeout;
            fleet.handle_timeout(later);
            assert_eq!(outputs(&mut fleet).iter().any(is_told), leaves, "{mode:?}");
            fleet.stop(later, Stop::Graceful);
            assert_eq!(outputs(&mut fleet).iter().any(is_told), !leaves, "{mode:?}: at once, if it was not before");
        }
    }
}
