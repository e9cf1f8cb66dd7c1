//! Lanes and the workers that they forward to: what is told takes its time, and nobody who has a request is told to leave
//! unless his time is over.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use pointsman::{
    Event, ExitStatus, Mode, PolicyName, Stop, StopWith, WorkerId,
    fleet::{Fleet, Ledger, Output, Rules, Told},
    forward::orders::{Upstream, UpstreamList},
    time::Time,
};

use crate::random::Random;

const WORKERS: usize = 3;
const LANES: usize = 2;
/// Orders that a lane may have before it; more are told later.
const CHANNEL: usize = 2;

/// What happened in all lives.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    served: usize,
    retired: usize,
    /// Told to leave with requests, since their time was over.
    overdue: usize,
    /// Requests that a worker's end has cut off.
    cut: usize,
    lane_deaths: usize,
    deaths: usize,
    full: usize,
    reloaded: usize,
    /// Drained, and called back.
    called_back: usize,
}

#[derive(Debug, Default)]
struct Worker {
    reachable: bool,
    /// When its requests were to be finished.
    retires: Option<Time>,
    told: bool,
}

#[derive(Debug, Default)]
struct Lane {
    orders: VecDeque<UpstreamList>,
    /// Who has no request of its any more, by which list.
    words: VecDeque<(u32, u64)>,
    view: Vec<Upstream>,
    /// The number of that.
    list: u64,
    open: BTreeMap<u32, usize>,
}

impl Lane {
    /// Reads one order.
    fn read(&mut self) {
        if let Some(news) = self.orders.pop_front() {
            (self.view, self.list) = (news.upstreams, news.number);
            let Self { view, open, words, list, .. } = self;
            let idle = view.iter().filter(|one| one.draining && !open.contains_key(&one.id));
            words.extend(idle.map(|one| (one.id, *list)));
        }
    }

    /// A request comes.
    fn open(&mut self, random: &mut Random) {
        let able: Vec<_> = self.view.iter().filter(|upstream| !upstream.draining).collect();
        if !able.is_empty() {
            *self.open.entry(able[random.index(able.len())].id).or_default() += 1;
        }
    }

    /// A request ends. Says whether there was one.
    fn end(&mut self, random: &mut Random) -> bool {
        let place = random.index(self.open.len());
        let Some((&id, count)) = self.open.iter_mut().nth(place) else { return false };
        *count -= 1;
        if *count == 0 {
            self.open.remove(&id);
            let idle = self.view.iter().filter(|one| one.draining && one.id == id);
            self.words.extend(idle.map(|one| (one.id, self.list)));
        }
        true
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Forwarded {
    seed: u64,
    now: Time,
    rules: Rules,
    fleet: Fleet<()>,
    ledger: Ledger,
    workers: BTreeMap<WorkerId, Worker>,
    lanes: BTreeMap<WorkerId, Lane>,
    next_lane: u32,
    list: Vec<Upstream>,
    /// Slots that are to get no requests, because somebody said so.
    drained: BTreeSet<u32>,
    pub(crate) totals: Totals,
    at_once: bool,
    stopped: bool,
}

impl Forwarded {
    pub(crate) fn new(seed: u64) -> Self {
        let rules = Rules {
            mode: Mode::Multiport,
            workers: WORKERS,
            seed,
            max_crashes: None,
            stop_with: if seed.is_multiple_of(3) {
                StopWith::Message("bye".into())
            } else {
                StopWith::Disconnect
            },
            linger_timeout: seed.is_multiple_of(2).then(|| Duration::from_secs(50)),
            max_age: (seed % 4 == 1).then(|| Duration::from_secs(60)),
            ..Rules::default()
        };
        let mut fleet = Fleet::new(rules.clone(), PolicyName::RoundRobin);
        fleet.start(Time(1));
        let mut world = Self {
            seed,
            now: Time(1),
            rules,
            fleet,
            ledger: Ledger::default(),
            workers: BTreeMap::new(),
            lanes: BTreeMap::new(),
            next_lane: 1000,
            list: Vec::new(),
            drained: BTreeSet::new(),
            totals: Totals::default(),
            at_once: false,
            stopped: false,
        };
        (0..LANES).for_each(|_| world.add_lane());
        world.perform();
        world
    }

    fn add_lane(&mut self) {
        let id = WorkerId(self.next_lane);
        self.next_lane += 1;
        self.lanes.insert(id, Lane::default());
        self.ledger.add(id);
        self.ledger.begin(id);
    }

    /// One thing happens.
    pub(crate) fn step(&mut self, random: &mut Random) {
        match random.below(20) {
            0..=5 => self.a_lane(random).into_iter().for_each(|lane| lane.open(random)),
            6..=9 => self.end_request(random),
            10..=12 => self.a_lane(random).into_iter().for_each(Lane::read),
            13 | 14 => self.hear(random),
            15 | 16 => self.become_reachable(random),
            17 => self.time_passes(random),
            18 if random.once_in(4) => self.operate(random),
            19 if random.once_in(8) => self.fault(random),
            _ => {}
        }
        self.tell_lanes();
    }

    /// No faults any more: everything comes to rest.
    pub(crate) fn heal(&mut self, random: &mut Random) {
        self.drained.clear();
        self.tell_lanes();
        for _ in 0..20_000 {
            let fresh =
                |lane: &Lane| lane.orders.is_empty() && lane.words.is_empty() && lane.view == self.list;
            let rests = self.fleet.is_settled() && self.list.iter().all(|one| !one.draining);
            if rests && self.list.len() == WORKERS && self.lanes.values().all(fresh) {
                return;
            }
            match random.below(5) {
                0 => self.end_request(random),
                1 => self.a_lane(random).into_iter().for_each(Lane::read),
                2 => self.hear(random),
                3 => self.become_reachable(random),
                _ => self.time_passes(random),
            }
            self.tell_lanes();
        }
        panic!("seed {}: not at rest: {self:?}", self.seed);
    }

    pub(crate) fn stop(&mut self, random: &mut Random) {
        // No lane is there any more when workers are told.
        for id in std::mem::take(&mut self.lanes).into_keys() {
            self.ledger.remove(id);
        }
        let how = if random.once_in(3) { Stop::Now } else { Stop::Graceful };
        self.at_once = how == Stop::Now;
        self.fleet.stop(self.now, how);
        self.perform();
        for _ in 0..2000 {
            if self.stopped {
                return;
            }
            self.tell_lanes();
            self.time_passes(random);
        }
        panic!("seed {}: {how:?} does not end: {self:?}", self.seed);
    }

    fn a_lane(&mut self, random: &mut Random) -> Option<&mut Lane> {
        let place = random.index(self.lanes.len());
        self.lanes.values_mut().nth(place)
    }

    fn a_worker(&self, random: &mut Random) -> Option<WorkerId> {
        self.workers.keys().nth(random.index(self.workers.len())).copied()
    }

    fn end_request(&mut self, random: &mut Random) {
        let served = self.a_lane(random).is_some_and(|lane| lane.end(random));
        self.totals.served += usize::from(served);
    }

    fn become_reachable(&mut self, random: &mut Random) {
        let Some(id) = self.a_worker(random) else { return };
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.reachable = true;
        }
        self.fleet.handle_reachable(self.now, id);
        self.perform();
    }

    /// The master reads one word of a lane.
    fn hear(&mut self, random: &mut Random) {
        let place = random.index(self.lanes.len());
        let Some((&id, lane)) = self.lanes.iter_mut().nth(place) else { return };
        if let Some((upstream, list)) = lane.words.pop_front() {
            self.ledger.handle_idle(id, upstream, list);
        }
    }

    fn operate(&mut self, random: &mut Random) {
        match random.below(6) {
            3.. => {
                let slot = u32::try_from(random.index(WORKERS)).unwrap_or_default();
                if self.drained.remove(&slot) {
                    self.totals.called_back += 1;
                } else {
                    self.drained.insert(slot);
                }
            }
            0 => drop(self.fleet.reload(self.now, self.rules.clone())),
            1 => {
                let Some(worker) = self.a_worker(random) else { return };
                // It may be on its way out.
                let _ = self.fleet.restart(self.now, worker);
            }
            _ => drop(self.fleet.abort_reload(self.now)),
        }
        self.perform();
    }

    fn fault(&mut self, random: &mut Random) {
        if random.once_in(2) {
            let Some(&id) = self.lanes.keys().nth(random.index(self.lanes.len())) else { return };
            self.lanes.remove(&id);
            self.ledger.remove(id);
            self.totals.lane_deaths += 1;
            self.add_lane();
        } else if let Some(id) = self.a_worker(random) {
            self.totals.deaths += 1;
            self.exits(id);
        }
    }

    /// A worker has ended, and what was sent to it is cut off.
    fn exits(&mut self, id: WorkerId) {
        self.workers.remove(&id);
        for lane in self.lanes.values_mut() {
            self.totals.cut += lane.open.remove(&id.0).unwrap_or(0);
        }
        self.fleet.handle_exited(self.now, id, ExitStatus::Signal(15), true);
        self.perform();
    }

    fn time_passes(&mut self, random: &mut Random) {
        self.now = self.now + Duration::from_millis(random.below(4000));
        for _ in 0..20 {
            if self.fleet.poll_timeout().is_none_or(|at| at > self.now) {
                break;
            }
            self.fleet.handle_timeout(self.now);
            self.perform();
        }
        // Who was told to leave does so.
        let told: Vec<_> = self.workers.iter().filter(|(_, worker)| worker.told).map(|(&id, _)| id).collect();
        told.into_iter().for_each(|id| self.exits(id));
    }

    /// As the master does it, at the end of each of its turns.
    fn tell_lanes(&mut self) {
        let one = |(id, slot, draining): (WorkerId, u32, bool)| Upstream {
            id: id.0,
            endpoint: format!("127.0.0.1:{slot}"),
            name: format!("slot:{slot}"),
            weight: 1,
            backup: false,
            draining: draining || self.drained.contains(&slot),
            column: None,
        };
        let list: Vec<_> = self.fleet.forwarded_to().map(one).collect();
        if list != self.list {
            self.list = list;
            self.ledger.handle_change();
        }
        for id in self.ledger.stale() {
            let Some(lane) = self.lanes.get_mut(&id) else { panic!("seed {}: no lane {id}", self.seed) };
            if lane.orders.len() >= CHANNEL {
                self.totals.full += 1;
                continue;
            }
            let news = self.ledger.news(id, &self.list);
            self.ledger.told(id, &news);
            lane.orders.push_back(news);
        }
        let leaving = self.fleet.forwarded_to().filter(|&(.., retiring)| retiring).map(|(id, ..)| id);
        for id in leaving.filter(|id| !self.ledger.is_owed(id.0)).collect::<Vec<_>>() {
            self.totals.retired += 1;
            self.fleet.handle_retired(self.now, id);
            self.perform();
        }
    }

    fn perform(&mut self) {
        while let Some(output) = self.fleet.poll_output() {
            match output {
                Output::Spawn { worker, .. } => {
                    self.workers.insert(worker, Worker::default());
                    self.fleet.handle_spawned(worker, worker.0);
                }
                Output::Retire(id) => {
                    if let Some(worker) = self.workers.get_mut(&id) {
                        assert!(worker.reachable, "seed {}: worker {id} was never of use", self.seed);
                        worker.retires = Some(self.now);
                    }
                }
                Output::Tell(id, Told::Disconnect { .. } | Told::Leave { .. }) | Output::Signal(id, _) => {
                    self.is_told_to_leave(id);
                }
                Output::Event(Event::Reloaded { .. }) => self.totals.reloaded += 1,
                Output::Event(Event::Stopped) => self.stopped = true,
                _ => {}
            }
        }
    }

    fn is_told_to_leave(&mut self, id: WorkerId) {
        let open: usize = self.lanes.values().filter_map(|lane| lane.open.get(&id.0)).sum();
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.told = true;
        if open == 0 || self.at_once {
            return;
        }
        let time = self.rules.linger_timeout.unwrap_or(self.rules.stop_timeout);
        let over = worker.retires.is_some_and(|since| self.now >= since + time);
        assert!(over, "seed {}: worker {id} is told to leave and has {open} requests", self.seed);
        self.totals.overdue += 1;
    }
}

impl Totals {
    pub(crate) fn add(&mut self, other: &Self) {
        self.served += other.served;
        self.retired += other.retired;
        self.overdue += other.overdue;
        self.cut += other.cut;
        self.lane_deaths += other.lane_deaths;
        self.deaths += other.deaths;
        self.full += other.full;
        self.reloaded += other.reloaded;
        self.called_back += other.called_back;
    }

    pub(crate) fn assert_all_happened(&self) {
        let Self { served, retired, overdue, cut, lane_deaths, deaths, full, reloaded, called_back } = *self;
        let all = [served, retired, overdue, cut, lane_deaths, deaths, full, reloaded, called_back];
        assert!(all.iter().all(|&count| count > 0), "too tame: {self:?}");
    }
}
