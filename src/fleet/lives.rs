//! What happens to worker processes, and what the fleet has done about it. Knows nothing of sockets.

use std::time::Duration;

use super::{
    Event, ExitStatus, LoadSource, Mode, Output, ReadyOn, ReloadFailure, Stop, StopWith, Told, Trouble,
    WorkerId,
    lifecycle::{Action, Happening},
    machine::{Fleet, GRACE, Hearsay, Worker},
    restart::{End, Verdict},
    signal,
    slots::Seat,
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
        let (slot, generation) = (worker.slot, worker.generation);
        self.event(Event::Fork { worker: id, slot, pid, generation });
    }

    /// A worker process could not be created.
    pub fn handle_spawn_failed(&mut self, now: Time, id: WorkerId, errno: i32) {
        let Some(worker) = self.remove(id, Fate::Over) else { return };
        let vacancy = self.vacate(now, id, &worker, End::NotStarted);
        let retry = vacancy.restart(now);
        self.event(Event::Trouble { worker: id, trouble: Trouble::SpawnFailed { errno, retry } });
        self.succeed(now, &worker, vacancy, ReloadFailure::NotStarted(errno));
    }

    /// A worker has told, by other means than its channel, that it is ready.
    pub fn handle_ready(&mut self, now: Time, id: WorkerId) {
        self.happens(now, id, Happening::Notified);
        self.settle(now);
    }

    /// A worker takes connections on the address that is its own.
    pub fn handle_reachable(&mut self, now: Time, id: WorkerId) {
        self.happens(now, id, Happening::Reachable);
        self.settle(now);
    }

    /// No lane has a request for a worker any more, and none gets one.
    pub fn handle_retired(&mut self, now: Time, id: WorkerId) {
        self.happens(now, id, Happening::Retired);
        self.settle(now);
    }

    /// Those that requests are forwarded to, with their slots, and whether they only finish what there is.
    pub fn forwarded_to(&self) -> impl Iterator<Item = (WorkerId, u32, bool)> {
        let gets =
            self.workers.iter().filter(|(_, worker)| worker.life.is_ready() || worker.life.is_retiring());
        gets.map(|(&id, worker)| (id, worker.slot, worker.life.is_retiring()))
    }

    /// Whether it is known of a worker that takes connections that it is ready.
    pub fn awaits_reachable(&self, id: WorkerId) -> bool {
        self.is_ready_by_reach() && self.workers.get(&id).is_some_and(|worker| worker.life.is_starting())
    }

    /// Whether workers are ready when they take connections.
    pub fn is_ready_by_reach(&self) -> bool {
        let by_it = matches!(self.rules.ready_on, ReadyOn::Auto | ReadyOn::Listening);
        by_it && self.rules.mode == Mode::Multiport
    }

    /// A worker's channel has ended, and all that it sent has been handled.
    pub fn handle_channel_closed(&mut self, now: Time, worker: WorkerId) {
        let Some(state) = self.workers.get_mut(&worker).filter(|state| state.channel_open) else { return };
        if state.life.is_unheard(&self.rules) {
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
        let Some(worker) = self.remove(id, Fate::Over) else { return };
        if let Some(slot) =
            self.slots.get_mut(worker.slot as usize).filter(|slot| slot.seat == Seat::Taken(id))
        {
            slot.record.exited(now, status);
        }
        let end = ended(now, &worker, status);
        let vacancy = self.vacate(now, id, &worker, end);
        let (exited_after_disconnect, lived) = (worker.exited_after_disconnect, worker.life.age(now));
        let restart = vacancy.restart(now);
        self.event(Event::Exit { worker: id, status, exited_after_disconnect, lived, restart });
        self.succeed(now, &worker, vacancy, ReloadFailure::Exited(status));
    }

    /// Forgets a worker that is gone, and gives its connections to others.
    fn remove(&mut self, id: WorkerId, fate: Fate) -> Option<Worker> {
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
            self.act(now, id, action);
        }
    }

    pub(super) fn act(&mut self, now: Time, id: WorkerId, action: Action) {
        let trouble = match action {
            Action::Welcome => return self.welcome(now, id),
            Action::Retire => return self.outputs.push_back(Output::Retire(id)),
            Action::Disconnect => return self.tell_to_leave(id),
            Action::Terminate { overdue } => self.signal(id, self.rules.stop_signal, overdue),
            Action::Reject { after } => {
                self.event(Event::Trouble { worker: id, trouble: Trouble::NotReady { after } });
                self.signal(id, self.rules.stop_signal, None);
                return self.is_late(now, id);
            }
            Action::Kill { overdue } => self.signal(id, signal::KILL, overdue),
            // The loop over the timers does it: it takes the worker away.
            Action::GiveUp { .. } => None,
            Action::ComplainOfSilence { after } => Some(Trouble::Silent { after }),
            Action::ComplainOfIdleness { after } => Some(Trouble::NotListening { after }),
            Action::Remind { left } => {
                let connections = self.known_connections(id);
                return self.event(Event::Waiting { worker: id, connections, left });
            }
        };
        if let Some(trouble) = trouble {
            self.event(Event::Trouble { worker: id, trouble });
        }
    }

    /// A worker was not ready in time: a reload to its generation does not wait for its end.
    fn is_late(&mut self, now: Time, id: WorkerId) {
        let late = self.workers.get(&id).map(|worker| (worker.slot as usize, worker.generation));
        if let Some((place, generation)) = late {
            self.reload_loses(now, place, generation, ReloadFailure::NotReady);
        }
    }

    /// Tells a worker to leave, in the words of the rules.
    fn tell_to_leave(&mut self, id: WorkerId) {
        self.listeners.leave(id);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.exited_after_disconnect = true;
        let told = match &self.rules.stop_with {
            StopWith::Message(text) => Told::Leave { text: text.clone() },
            StopWith::Disconnect | StopWith::Signal => Told::Disconnect { seq: worker.take_seq() },
        };
        self.outputs.push_back(Output::Tell(id, told));
    }

    /// How many connections a worker has open, and on their way to it, if anybody tells.
    pub(super) fn known_connections(&self, id: WorkerId) -> Option<usize> {
        let told = self.tally.source(id) != LoadSource::None;
        told.then(|| self.tally.open(id) + self.handoff.in_flight(id))
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
        let Some(worker) = self.remove(id, Fate::GivenUp) else { return };
        let end = ended(now, &worker, ExitStatus::Signal(signal::KILL));
        let vacancy = self.vacate(now, id, &worker, end);
        self.succeed(now, &worker, vacancy, ReloadFailure::Exited(ExitStatus::Signal(signal::KILL)));
    }

    /// Takes a worker that is gone out of its slot.
    fn vacate(&mut self, now: Time, id: WorkerId, worker: &Worker, end: End) -> Vacancy {
        let chance = self.chance.number();
        let Some(slot) = self.slots.get_mut(worker.slot as usize) else { return Vacancy::None };
        if slot.successor == Some(id) {
            slot.successor = None;
            return Vacancy::Successor { id };
        }
        if slot.seat != Seat::Taken(id) {
            return Vacancy::None;
        }
        if let Some(successor) = slot.successor.take() {
            slot.seat = Seat::Taken(successor);
            // From now on it is no successor of anybody's.
            self.recycled(successor);
            return Vacancy::Inherited { end };
        }
        let verdict = slot.history.handle_end(now, end, &self.rules, chance);
        if matches!(verdict, Verdict::Again(_)) {
            slot.record.restarts_after(end);
        }
        slot.seat = match verdict {
            Verdict::Again(at) => Seat::Waiting(at),
            Verdict::Errored { .. } => Seat::Errored,
        };
        Vacancy::Seat { end, verdict }
    }

    /// Sees to the slot of a worker that is gone, after its end was told.
    fn succeed(&mut self, now: Time, worker: &Worker, vacancy: Vacancy, why: ReloadFailure) {
        let place = worker.slot as usize;
        let mut failed = true;
        match vacancy {
            Vacancy::None => failed = false,
            Vacancy::Successor { id } => {
                let predecessor = match self.slots[place].seat {
                    Seat::Taken(predecessor) => Some(predecessor),
                    Seat::Empty | Seat::Waiting(_) | Seat::Errored => None,
                };
                self.recycling_fails(now, id, predecessor);
            }
            Vacancy::Inherited { end } => failed = !matches!(end, End::Left { .. }),
            Vacancy::Seat { end, verdict } => {
                failed = !matches!(end, End::Left { .. });
                if let Verdict::Errored { crashes } = verdict {
                    let within = self.rules.crash_window;
                    self.event(Event::Errored { slot: worker.slot, crashes, within });
                    self.fail_if_errored(now);
                }
            }
        }
        if failed {
            self.reload_loses(now, place, worker.generation, why);
        }
        self.fill(now);
        self.settle(now);
    }

    /// With no slot left that could serve, nothing is served, and the fleet may have to end.
    fn fail_if_errored(&mut self, now: Time) {
        let wanted = self.wanted();
        if wanted == 0 || self.errored() < wanted || self.reload.is_some() {
            return;
        }
        let ends = self.rules.fail_when_errored;
        self.event(Event::Failed { ends });
        if ends {
            self.failed = true;
            self.stop(now, Stop::Graceful);
        }
    }

    fn signal(&mut self, id: WorkerId, signal: i32, overdue: Option<Duration>) -> Option<Trouble> {
        self.listeners.leave(id);
        self.outputs.push_back(Output::Signal(id, signal));
        overdue.map(|after| Trouble::Overdue { signal, after })
    }
}

/// What has become free with a worker that is gone.
#[derive(Debug, Clone, Copy)]
enum Vacancy {
    /// Nothing: its slot was another's already, or is not wanted.
    None,
    /// It was to take the slot over.
    Successor { id: WorkerId },
    /// Its seat, which its successor has already.
    Inherited { end: End },
    /// Its seat.
    Seat { end: End, verdict: Verdict },
}

impl Vacancy {
    /// When another is going to be started in its place.
    fn restart(self, now: Time) -> Option<Duration> {
        match self {
            Self::Seat { verdict: Verdict::Again(at), .. } => Some(at - now),
            Self::Seat { .. } | Self::None | Self::Successor { .. } | Self::Inherited { .. } => None,
        }
    }
}

/// How a life was that is over.
fn ended(now: Time, worker: &Worker, status: ExitStatus) -> End {
    let Some(since) = worker.life.ready_since() else { return End::Unready };
    let ready = now - since;
    match worker.exited_after_disconnect || status == ExitStatus::Code(0) {
        true => End::Left { ready },
        false => End::Died { ready },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        balance::PolicyName,
        fleet::{Rules, Stop},
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
                let is_trouble =
                    |output: &&Output<u32>| matches!(output, Output::Event(Event::Trouble { .. }));
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
            assert_eq!(
                outputs(&mut fleet).iter().any(is_told),
                !leaves,
                "{mode:?}: at once, if it was not before"
            );
        }
    }
}
