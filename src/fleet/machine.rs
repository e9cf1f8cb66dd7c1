//! The fleet as one machine: its state, what it can be told to do, and its clock. `lives` and `connections` are what
//! happens to it, `conversation` what its workers say.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    Counters, Event, ListenerId, ListenerInfo, Mode, Output, Overload, ReloadCounts, Rules, Stop, Trouble,
    Vacancy, WorkerId, WorkerInfo,
    handoff::Handoff,
    lifecycle::{Action, Happening, Lifecycle},
    listeners::Listeners,
    pulse::Pulse,
    recycle::{Recycling, Wear},
    reload::Reload,
    slots::{Seat, Slot},
    tally::Tally,
};
use crate::{balance::PolicyName, chance::Chance, endpoint::Endpoint, metrics::Latency, time::Time};

/// A worker process and what is known of it.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) slot: u32,
    /// Of the program that it runs.
    pub(super) generation: u32,
    pub(super) pid: u32,
    pub(super) life: Lifecycle,
    pub(super) next_seq: u64,
    pub(super) channel_open: bool,
    pub(super) hearsay: Hearsay,
    /// It was told to leave, or left by the protocol.
    pub(super) exited_after_disconnect: bool,
    /// It has begun to listen, and it is settled who tells the ends of its connections.
    pub(super) asked_to_listen: bool,
    /// What will be wrong with it if nothing has changed by then.
    pub(super) suspicion: Option<(Time, Trouble)>,
    pub(super) wear: Wear,
    pub(super) pulse: Pulse,
}

impl Worker {
    /// The number of the next message to it.
    pub(super) fn take_seq(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }
}

/// How much of what a worker said was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hearsay {
    /// Everything that left it.
    Complete,
    /// It was not listened to until its end.
    Partial,
}

/// What looks wrong with a worker may be right a moment later; after this long it is reported.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// All workers and what is on the way to them. `C` is a connection.
#[derive(Debug)]
pub struct Fleet<C> {
    pub(super) rules: Rules,
    pub(super) workers: BTreeMap<WorkerId, Worker>,
    pub(super) slots: Vec<Slot>,
    pub(super) listeners: Listeners,
    pub(super) handoff: Handoff<C>,
    pub(super) tally: Tally,
    /// When to look what the user gave in vain.
    pub(super) look_for_unused: Option<Time>,
    /// The policy goes by the number of open connections.
    pub(super) needs_load: bool,
    pub(super) counters: Counters,
    /// How long connections took from the kernel's queue to a worker's `accepted`.
    pub(super) handoff_times: Latency,
    pub(super) outputs: VecDeque<Output<C>>,
    pub(super) next_worker: u32,
    /// The generation that holds: whoever ends is followed by one of it.
    pub(super) generation: u32,
    pub(super) next_generation: u32,
    pub(super) reload: Option<Reload>,
    pub(super) reloads: ReloadCounts,
    pub(super) recycling: Recycling,
    /// No worker is started before.
    pub(super) next_start: Time,
    pub(super) chance: Chance,
    pub(super) phase: Phase,
    /// All its slots were errored, and that ended it.
    pub(super) failed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    Stopping,
    Stopped,
}

impl<C> Fleet<C> {
    /// A fleet that has not started anything.
    pub fn new(rules: Rules, policy: PolicyName) -> Self {
        let handoff = Handoff::new(&rules);
        let chance = Chance::new(rules.seed);
        let listeners = Listeners::new(policy, rules.mode == Mode::Shared, rules.map.clone());
        Self {
            rules,
            workers: BTreeMap::new(),
            slots: Vec::new(),
            listeners,
            handoff,
            tally: Tally::default(),
            look_for_unused: None,
            needs_load: policy.needs_load(),
            counters: Counters::default(),
            handoff_times: Latency::default(),
            outputs: VecDeque::new(),
            next_worker: 1,
            generation: 1,
            next_generation: 2,
            reload: None,
            reloads: ReloadCounts::default(),
            recycling: Recycling::default(),
            next_start: Time::default(),
            chance,
            phase: Phase::Running,
            failed: false,
        }
    }

    /// The same, whose ids, those of its sockets too, begin elsewhere than at the beginning: so many can be given out
    /// beside those of another fleet.
    #[must_use]
    pub fn with_ids_from(mut self, first: u32) -> Self {
        self.next_worker = first;
        self.listeners.number_from(first);
        self
    }

    /// Adds a listening socket that is open as long as the fleet lives.
    pub fn listen(&mut self, endpoint: Endpoint, ipv6_only: bool) -> ListenerId {
        self.listeners.open(endpoint, ipv6_only, true)
    }

    /// The master was started with a socket, which is open as `listener` or waits for a worker that names it.
    pub fn inherit(&mut self, descriptor: i32, listener: Option<ListenerId>) {
        self.listeners.inherit(descriptor, listener);
    }

    /// Starts the workers that the rules want.
    pub fn start(&mut self, now: Time) {
        for _ in 0..self.rules.workers {
            let place = self.empty_place();
            self.slots[place].seat = Seat::Waiting(now);
        }
        self.fill(now);
    }

    /// Stops all of them. May be said again, more urgently.
    pub fn stop(&mut self, now: Time, how: Stop) {
        if self.phase == Phase::Stopped {
            return;
        }
        self.phase = Phase::Stopping;
        self.slots.clear();
        self.reload = None;
        self.stop_recycling(now);
        self.outputs.extend(self.listeners.close_all().into_iter().map(Output::CloseListener));
        let (happening, timeout) = match how {
            Stop::Graceful => (Happening::StopGracefully, Some(self.rules.stop_timeout)),
            Stop::NoDeadline => (Happening::StopWithoutDeadline, None),
            Stop::Now => (Happening::StopNow, Some(Duration::ZERO)),
        };
        self.event(Event::Stopping { workers: self.workers.len(), timeout });
        let all: Vec<_> = self.workers.keys().copied().collect();
        for worker in all {
            self.happens(now, worker, happening);
        }
        self.settle(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        if let Overload::Reject { after } = self.rules.overload {
            for endpoint in self.listeners.refuse(now, after) {
                self.event(Event::Overloaded { endpoint, after });
            }
        }
        if self.look_for_unused.take_if(|at| *at <= now).is_some() {
            let (endpoints, maps) = self.listeners.take_unused();
            endpoints.into_iter().for_each(|endpoint| self.event(Event::Unserved { endpoint }));
            maps.into_iter().for_each(|from| self.event(Event::Unmapped { from }));
        }
        while let Some((worker, after)) = self.handoff.handle_timeout(now) {
            self.event(Event::Trouble { worker, trouble: Trouble::Stuck { after } });
            self.happens(now, worker, Happening::StopNow);
        }
        let all: Vec<_> = self.workers.keys().copied().collect();
        for id in all {
            let open = self.tally.open(id) > 0;
            let Some(worker) = self.workers.get_mut(&id) else { continue };
            match worker.life.handle_timeout(now, &self.rules, open) {
                Some(Action::GiveUp { after }) => self.give_up(now, id, after),
                Some(action) => self.act(now, id, action),
                None => {}
            }
            self.confirm_suspicion(now, id);
        }
        self.feel_pulses(now);
        self.expire(now);
        self.fill(now);
        self.settle(now);
    }

    /// What to do next; ask until there is nothing.
    pub fn poll_output(&mut self) -> Option<Output<C>> {
        self.outputs.pop_front()
    }

    /// When [`Fleet::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        let lives = self.workers.values().filter_map(|worker| worker.life.deadline());
        let suspicions =
            self.workers.values().filter_map(|worker| worker.suspicion.as_ref()).map(|&(at, _)| at);
        let refuses = match self.rules.overload {
            Overload::Wait => None,
            Overload::Reject { after } => self.listeners.refuses_at(after),
        };
        let own = [
            self.handoff.deadline(),
            refuses,
            self.look_for_unused,
            self.fills_at(),
            self.expires_at(),
            self.pulse_deadline(),
        ];
        lives.chain(suspicions).chain(own.into_iter().flatten()).min()
    }

    /// What it goes by now.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What has happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How long connections took from the kernel's queue to a worker's `accepted`, those that came back included.
    pub fn handoff_times(&self) -> &Latency {
        &self.handoff_times
    }

    /// The workers whose processes exist.
    pub fn workers(&self, now: Time) -> impl Iterator<Item = WorkerInfo> {
        self.workers.iter().filter(|(_, worker)| worker.pid != 0).map(move |(&id, worker)| {
            let record = self.slots.get(worker.slot as usize).map(|slot| &slot.record);
            WorkerInfo {
                id,
                slot: worker.slot,
                pid: worker.pid,
                generation: worker.generation,
                state: worker.life.shown(),
                state_for: now - worker.life.since(),
                uptime: worker.life.age(now),
                serving: worker.life.is_ready(),
                restarts: record.map(|record| record.restarts).unwrap_or_default(),
                last_exit: record.and_then(|record| record.last_exit(now)),
                connections: self.tally.open(id),
                in_flight: self.handoff.in_flight(id),
                handed: worker.wear.accepted,
                handed_in_slot: record.map_or(0, |record| record.handed),
                load_source: self.tally.source(id),
            }
        })
    }

    /// The slots that somebody is wanted in and nobody is.
    pub fn vacancies(&self, now: Time) -> impl Iterator<Item = Vacancy> {
        self.slots.iter().zip(0..).filter_map(move |(slot, number)| {
            let start_in = match slot.seat {
                Seat::Empty | Seat::Taken(_) => return None,
                Seat::Waiting(at) => Some(at - now),
                Seat::Errored => None,
            };
            let (restarts, last_exit) = (slot.record.restarts, slot.record.last_exit(now));
            Some(Vacancy { slot: number, start_in, restarts, last_exit, handed: slot.record.handed })
        })
    }

    /// What is listened on.
    pub fn listeners(&self) -> impl Iterator<Item = (ListenerId, ListenerInfo)> {
        self.listeners.open.iter().map(|(&id, listener)| {
            (id, ListenerInfo { accepted: listener.accepted, workers: listener.members.len() })
        })
    }

    /// What became of reloads.
    pub fn reloads(&self) -> ReloadCounts {
        self.reloads
    }

    /// The generation that holds, or is to.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// It has been told to stop.
    pub fn is_stopping(&self) -> bool {
        self.phase != Phase::Running
    }

    /// It was not told to stop: all its slots are errored.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Everything has stopped.
    pub fn is_stopped(&self) -> bool {
        self.phase == Phase::Stopped
    }

    pub(super) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}
