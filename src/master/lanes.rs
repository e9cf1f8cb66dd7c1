//! The lanes: processes of ours that accept connections and forward requests to workers, held by a fleet of their own.
//!
//! Their ids begin far behind those of workers, so that an id tells whose it is. A lane asks to listen as any worker does
//! that accepts by itself; what it is to do it is told in messages ([`crate::forward::orders`]), and where requests go each
//! time that this changes. A worker may leave when every lane has said that it has no request for it any more. Invariant: a
//! lane that has ended owes nothing.

use std::{collections::BTreeMap, mem, os::fd::OwnedFd};

use serde::Deserialize;
use serde_json::Value;

use super::{Forward, Master, Sink, counts::Counts, programs::Work, upstreams::Upstreams};
use crate::{
    balance::PolicyName,
    control::Known,
    endpoint::Endpoint,
    fleet::{
        Event, Fleet, Ledger, Mode, Overload, ReadyOn, ReloadFailure, Rules, Stop, StopWith, Trouble,
        WorkerId,
    },
    forward::{
        figures::Figures,
        orders::{LaneOrder, LaneSettings, LaneWord, Upstream},
        rules::ForwardRules,
    },
    sys::account::Credentials,
    time::Time,
};

/// The ids of lanes begin here: nobody starts as many workers.
pub(super) const FIRST_ID: u32 = 1 << 24;

/// More lanes than there may be at once, and a few that have ended, of which something is still to be told.
const REMEMBERED: usize = 2048;

/// Whether an id is a lane's.
pub(super) fn is_lane(id: WorkerId) -> bool {
    id.0 >= FIRST_ID
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lanes {
    pub(super) fleet: Fleet<OwnedFd>,
    /// What those of a generation are told and are.
    orders: BTreeMap<u32, Orders>,
    known: BTreeMap<WorkerId, Lane>,
    ledger: Ledger,
    pub(super) counts: Counts,
    /// What lanes have done that have ended.
    ended: Figures,
    /// Where each is, or was a moment ago.
    slots: BTreeMap<WorkerId, u32>,
    /// They have been started.
    begun: bool,
    pub(super) replacing: Replacing,
    pub(super) upstreams: Upstreams,
    /// As lanes know it, or are about to.
    list: Vec<Upstream>,
    /// How workers are to be stopped when no lane is left.
    stop_then: Option<Stop>,
    /// A reload was given up for another when only lanes were still to be replaced.
    superseded: bool,
    /// That all stop was told.
    told_stopping: bool,
}

/// What a generation of lanes goes by.
#[derive(Debug, Clone)]
pub(super) struct Orders {
    rules: ForwardRules,
    /// Whom they run as, if not as this process's own user.
    pub(super) credentials: Option<Credentials>,
    /// Where their standard output goes, if it is wanted.
    pub(super) log: Option<Sink>,
}

/// How far a reload has come, in which workers are replaced first and lanes after them.
#[derive(Debug, Default)]
pub(super) enum Replacing {
    #[default]
    Nobody,
    /// These settings are for lanes when all workers are replaced.
    Workers { began: Time, next: Box<Work> },
    /// All workers are of this generation.
    Lanes { began: Time, generation: u32 },
}

/// What is known of a lane.
#[derive(Debug, Default)]
struct Lane {
    generation: u32,
    figures: Option<Box<Figures>>,
}

impl Lanes {
    /// Lanes that are not started, for workers that go by these settings.
    pub(super) fn new(forward: Forward, rules: &Rules, credentials: Option<Credentials>) -> Self {
        let fleet = Fleet::new(rules_of(&forward, rules), PolicyName::RoundRobin).with_ids_from(FIRST_ID);
        let orders = Orders::of(&forward, credentials);
        Self {
            fleet,
            orders: BTreeMap::from([(1, orders)]),
            known: BTreeMap::new(),
            ledger: Ledger::default(),
            counts: Counts::new(),
            ended: Figures::default(),
            slots: BTreeMap::new(),
            begun: false,
            replacing: Replacing::Nobody,
            upstreams: Upstreams::new(forward),
            list: Vec::new(),
            stop_then: None,
            superseded: false,
            told_stopping: false,
        }
    }

    /// What a lane of this generation goes by; of one that is forgotten, what comes closest.
    pub(super) fn orders(&self, generation: u32) -> Option<&Orders> {
        self.orders.get(&generation).or_else(|| self.orders.values().next_back())
    }

    pub(super) fn forget(&mut self, generation: u32) {
        self.orders.remove(&generation);
    }

    /// One is being started.
    pub(super) fn add(&mut self, id: WorkerId, generation: u32) {
        self.known.insert(id, Lane { generation, figures: None });
        self.ledger.add(id);
    }

    /// One is gone, or given up.
    fn remove(&mut self, id: WorkerId) {
        self.counts.clear_lane(id);
        if let Some(mut figures) = self.known.remove(&id).and_then(|lane| lane.figures) {
            figures.rest();
            self.ended.merge(&figures);
        }
        self.ledger.remove(id);
        self.upstreams.changed = true;
    }

    /// There is room in its channel.
    pub(super) fn handle_room(&mut self, id: WorkerId) {
        self.upstreams.changed |= self.ledger.is_stale(id);
    }

    /// Whether there are as many as are wanted, and all serve; those that were given up do not keep the others from it.
    /// Before there is anybody to forward to, none is.
    pub(super) fn have_started(&self) -> bool {
        let ready = self.fleet.workers(Time::default()).filter(|lane| lane.serving).count();
        self.begun && ready > 0 && ready + self.fleet.errored() >= self.fleet.wanted()
    }

    /// Nobody has been started since there is nobody to forward to.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// What all lanes have done, those that have ended included.
    pub(super) fn figures(&self) -> Figures {
        let mut all = self.ended.clone();
        self.known.values().filter_map(|lane| lane.figures.as_deref()).for_each(|figures| all.merge(figures));
        all
    }

    /// What only a new start changes is in these settings as it is: what is spoken, and where the access log goes.
    fn keep_what_stays(&self, forward: &mut Forward) {
        let Some(Orders { rules, log, .. }) = self.orders.values().next_back() else { return };
        forward.rules.protocol = rules.protocol;
        forward.access_log.clone_from(log);
        let wanted = forward.rules.access_log.or(rules.access_log);
        forward.rules.access_log = wanted.filter(|_| log.is_some());
    }

    /// Where requests go now.
    pub(super) fn list(&self) -> &[Upstream] {
        &self.list
    }

    fn hear(&mut self, id: WorkerId, word: LaneWord) {
        match word {
            LaneWord::Idle { upstream, list } => {
                self.ledger.handle_idle(id, upstream, list);
                self.upstreams.changed = true;
            }
            LaneWord::Figures(figures) => {
                if let Some(lane) = self.known.get_mut(&id) {
                    lane.figures = Some(figures);
                }
            }
        }
    }
}

impl Orders {
    fn of(forward: &Forward, credentials: Option<Credentials>) -> Self {
        Self { rules: forward.rules.clone(), credentials, log: forward.access_log.clone() }
    }
}

/// How lanes are kept, by the rules for workers.
fn rules_of(forward: &Forward, workers: &Rules) -> Rules {
    Rules {
        mode: Mode::Shared,
        map: Vec::new(),
        workers: forward.lanes,
        ready_on: ReadyOn::Listening,
        max_starting: None,
        warm_up: Rules::default().warm_up,
        stop_with: StopWith::Disconnect,
        stop_signal: Rules::default().stop_signal,
        linger_timeout: None,
        max_memory: None,
        max_age: None,
        max_connections: None,
        ping_timeout: None,
        overload: Overload::Wait,
        // Other chances than those of workers.
        seed: !workers.seed,
        ..workers.clone()
    }
}

/// What people are told of lanes; of the rest they are told as of the whole.
fn is_told(event: &Event) -> bool {
    matches!(
        event,
        Event::Fork { .. }
            | Event::Ready { .. }
            | Event::Draining { .. }
            | Event::Waiting { .. }
            | Event::Exit { .. }
            | Event::LastWords { .. }
            | Event::Trouble { .. }
            | Event::Errored { .. }
            | Event::Failed { .. }
            | Event::ReloadFailed { .. }
            | Event::RolledBack { .. }
    )
}

impl Master {
    /// Has requests forwarded to workers, by lanes.
    pub(crate) fn forward(&mut self, forward: Forward) {
        let credentials = self.programs.latest().attributes.credentials.clone();
        self.lanes = Some(Box::new(Lanes::new(forward, self.fleet.rules(), credentials)));
        self.ask_names();
    }

    /// The fleet that an id is of.
    pub(super) fn fleet_of(&mut self, id: WorkerId) -> &mut Fleet<OwnedFd> {
        match &mut self.lanes {
            Some(lanes) if is_lane(id) => &mut lanes.fleet,
            _ => &mut self.fleet,
        }
    }

    /// Something has happened to lanes.
    pub(super) fn lane_happens(&mut self, event: Event) {
        let Some(lanes) = &mut self.lanes else { return };
        match &event {
            Event::Online { worker } => {
                let worker = *worker;
                return self.begin_lane(worker);
            }
            Event::Message { worker, message } => {
                let worker = *worker;
                return match LaneWord::deserialize(message) {
                    Ok(word) => lanes.hear(worker, word),
                    Err(error) => log::warn!("a lane says what is not understood: {error}"),
                };
            }
            Event::Exit { worker, .. } | Event::Trouble { worker, trouble: Trouble::SpawnFailed { .. } } => {
                lanes.remove(*worker);
                lanes.counts.remove_lane(*worker);
            }
            Event::Trouble { worker, trouble: Trouble::Unkillable { .. } } => lanes.remove(*worker),
            Event::Stopped => return self.lanes_have_stopped(),
            Event::Reloaded { .. } => return self.lanes_are_replaced(None),
            _ => {}
        }
        let failed = match &event {
            Event::ReloadFailed { why, .. } => Some(*why),
            _ => None,
        };
        if is_told(&event) {
            self.tell_of_lane(event);
        }
        if failed.is_some() {
            self.lanes_are_replaced(failed);
        }
    }

    /// Tells what happened to one.
    pub(super) fn tell_of_lane(&mut self, event: Event) {
        let lane = match (&event, crate::control::worker_of(&event)) {
            (Event::Errored { slot, .. } | Event::Fork { slot, .. }, _) => Some(*slot),
            (_, Some(id)) => self.lanes.as_ref().and_then(|lanes| lanes.slots.get(&id).copied()),
            _ => None,
        };
        self.happens(Event::OfLane { lane, event: Box::new(event) });
    }

    /// For those who are told what happens.
    pub(super) fn learn_lane(&mut self, id: WorkerId, known: Known) {
        if let Some(lanes) = &mut self.lanes {
            lanes.slots.insert(id, known.slot);
            if lanes.slots.len() > REMEMBERED {
                lanes.slots.pop_first();
            }
        }
        if let Some(control) = &mut self.control {
            control.learn(id, known);
        }
    }

    /// Tells a lane what to do.
    fn begin_lane(&mut self, id: WorkerId) {
        let listen: Vec<String> = self.endpoints().map(Endpoint::to_string).collect();
        let policy = self.policy.to_string();
        let Some(lanes) = &mut self.lanes else { return };
        let generation = lanes.known.get(&id).map(|lane| lane.generation);
        let Some(orders) = generation.and_then(|generation| lanes.orders(generation)) else { return };
        let row = lanes.counts.row(id);
        let settings = LaneSettings { rules: orders.rules.clone(), policy, listen, row };
        lanes.ledger.begin(id);
        lanes.upstreams.changed = true;
        self.order(id, &LaneOrder::Begin(Box::new(settings)));
    }

    /// Says whether it was queued for the lane, or never will be.
    fn order(&mut self, id: WorkerId, order: &LaneOrder) -> bool {
        let value: Value = match serde_json::to_value(order) {
            Ok(value) => value,
            Err(error) => {
                // It is made of nothing that JSON cannot say.
                log::error!("an order for a lane cannot be written: {error}");
                return true;
            }
        };
        !matches!(self.send(id, &value), Err(super::SendError::Full(_)))
    }

    /// Tells lanes where requests go, if that has changed, and workers that may leave that they may.
    pub(super) fn tell_lanes(&mut self) {
        while let Some(lanes) = &mut self.lanes {
            if !mem::take(&mut lanes.upstreams.changed) {
                return;
            }
            let mut list = lanes.upstreams.list(&self.fleet, &self.workers);
            let Lanes { counts, ledger, .. } = &mut **lanes;
            counts.give_columns(&mut list, |upstream| ledger.is_owed(upstream));
            if list != lanes.list {
                lanes.ledger.handle_change();
                lanes.list = list;
            }
            if !lanes.begun && !lanes.list.is_empty() && !lanes.fleet.is_stopping() {
                lanes.begun = true;
                lanes.fleet.start(self.now);
            }
            self.tell_stale_lanes();
            self.retire_idle();
            self.perform();
        }
    }

    fn tell_stale_lanes(&mut self) {
        for id in self.lanes.as_ref().map(|lanes| lanes.ledger.stale()).unwrap_or_default() {
            let Some(lanes) = &self.lanes else { return };
            let news = lanes.ledger.news(id, &lanes.list);
            // If there is no room, it is told when it has read what it was told before.
            let told = self.order(id, &LaneOrder::Upstreams(news.clone()));
            if let Some(lanes) = self.lanes.as_mut().filter(|_| told) {
                lanes.ledger.told(id, &news);
            }
        }
    }

    /// Those that leave, and no lane has requests for.
    fn retire_idle(&mut self) {
        let Some(lanes) = &mut self.lanes else { return };
        let Lanes { ledger, upstreams, .. } = &mut **lanes;
        let leaving = self.fleet.forwarded_to().filter(|&(.., retiring)| retiring).map(|(id, ..)| id);
        let idle: Vec<_> = leaving.filter(|id| !ledger.is_owed(id.0)).collect();
        upstreams.changed |= upstreams.others.forget(|upstream| ledger.is_owed(upstream));
        idle.into_iter().for_each(|id| self.fleet.handle_retired(self.now, id));
    }

    /// A reload is about to begin, which these settings are for.
    pub(super) fn prepare_lanes(&mut self, generation: u32, mut work: Work) {
        let Some(lanes) = &mut self.lanes else { return };
        lanes.keep_what_stays(&mut work.forward);
        lanes.upstreams.add(generation, &work.forward);
        let before =
            mem::replace(&mut lanes.replacing, Replacing::Workers { began: self.now, next: Box::new(work) });
        if matches!(before, Replacing::Lanes { .. }) {
            // What it was to come to is not wanted any more. Nobody is told of it but by the reload that is.
            lanes.superseded = lanes.fleet.abort_reload(self.now);
        }
    }

    /// All workers are replaced: lanes are next, since they go by new settings as well.
    pub(super) fn replace_lanes(&mut self, generation: u32) {
        let workers = self.fleet.rules().clone();
        let Some(lanes) = &mut self.lanes else { return };
        let Replacing::Workers { began, next } = mem::take(&mut lanes.replacing) else { return };
        let Work { program, forward, .. } = *next;
        lanes.upstreams.adopt(&forward);
        if let Some(own) = lanes.fleet.next_generation() {
            lanes.orders.insert(own, Orders::of(&forward, program.attributes.credentials));
            lanes.replacing = Replacing::Lanes { began, generation };
            lanes.begun = true;
            lanes.fleet.reload(self.now, rules_of(&forward, &workers));
        }
        self.ask_names();
    }

    /// The lanes are replaced as well, or are not.
    fn lanes_are_replaced(&mut self, failed: Option<ReloadFailure>) {
        let Some(lanes) = &mut self.lanes else { return };
        let (began, generation) = match lanes.replacing {
            Replacing::Lanes { began, generation } => (began, generation),
            // Another reload has begun meanwhile.
            Replacing::Nobody | Replacing::Workers { .. } => return,
        };
        lanes.replacing = Replacing::Nobody;
        let why = failed.map(|why| match why {
            ReloadFailure::Aborted => why,
            _ => ReloadFailure::Lanes,
        });
        self.happens(match why {
            Some(why) => Event::ReloadFailed { generation, slot: None, why, rolled_back: 0 },
            None => Event::Reloaded { generation, took: self.now - began },
        });
    }

    /// Stops everything: lanes first, so that what they have in hand is answered, unless all is to end at once.
    pub(super) fn stop_fleets(&mut self, how: Stop) {
        let timeout = match how {
            Stop::Graceful => Some(self.fleet.rules().stop_timeout),
            Stop::NoDeadline => None,
            Stop::Now => Some(std::time::Duration::ZERO),
        };
        match &mut self.lanes {
            Some(lanes) if how != Stop::Now && !lanes.fleet.is_stopped() => {
                lanes.stop_then = Some(how);
                lanes.fleet.stop(self.now, how);
                if !mem::replace(&mut lanes.told_stopping, true) {
                    let workers = self.fleet.workers(self.now).count();
                    self.happens(Event::Stopping { workers, timeout });
                }
            }
            lanes => {
                lanes.iter_mut().for_each(|lanes| lanes.fleet.stop(self.now, how));
                self.fleet.stop(self.now, how);
            }
        }
        self.perform();
    }

    fn lanes_have_stopped(&mut self) {
        if self.fleet.is_stopped() {
            return self.happens(Event::Stopped);
        }
        let then = self.lanes.as_mut().and_then(|lanes| lanes.stop_then.take());
        self.fleet.stop(self.now, then.unwrap_or(Stop::Graceful));
    }

    /// Something has happened to workers. Whatever lanes are still to be seen to for is told later.
    pub(super) fn worker_happens(&mut self, event: Event) {
        let Some(lanes) = &mut self.lanes else { return self.happens(event) };
        match &event {
            Event::Stopping { .. } if mem::replace(&mut lanes.told_stopping, true) => {}
            Event::Stopped if !lanes.fleet.is_stopped() => lanes.fleet.stop(self.now, Stop::Graceful),
            Event::Reloading { generation, workers, supersedes } => {
                let supersedes = mem::take(&mut lanes.superseded) || *supersedes;
                let (generation, workers) = (*generation, *workers);
                self.happens(Event::Reloading { generation, workers, supersedes });
            }
            Event::Reloaded { generation, .. } => {
                let generation = *generation;
                self.replace_lanes(generation);
            }
            Event::ReloadFailed { .. } => {
                lanes.replacing = Replacing::Nobody;
                self.happens(event);
            }
            Event::Trouble { worker, trouble: Trouble::NotReady { after } } => {
                let (worker, after) = (*worker, *after);
                let endpoint = self.workers.get(&worker).and_then(|known| known.address.as_ref());
                let probed = endpoint.map(|address| address.endpoint().clone());
                let trouble = match probed.filter(|_| self.fleet.is_ready_by_reach()) {
                    Some(endpoint) => Trouble::Unreachable { after, endpoint },
                    None => Trouble::NotReady { after },
                };
                self.happens(Event::Trouble { worker, trouble });
            }
            _ => self.happens(event),
        }
    }
}
