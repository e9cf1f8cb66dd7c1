//! A kernel's queue, clients, and workers with moods; the fleet in the middle is the real one.
//!
//! `workers` is what workers do, `master` the loop around the fleet, `kernel` the sockets that it accepts from, `books`
//! where every connection is; here is the world as a whole: its steps, its healing and its end.

mod books;
mod kernel;
mod master;
mod operator;
mod workers;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use pointsman::{
    Batch, Endpoint, LoadSource, Overload, PolicyName, ReadyOn, Stop, StopWith, WorkerId, WorkerInfo,
    fleet::{Fleet, ListenerId, Rules},
    time::Time,
};

pub(crate) use self::books::Totals;
use self::{
    books::{Books, Connection},
    kernel::Socket,
    operator::{Program, Staff},
    workers::{Link, State, Worker},
};
use crate::random::Random;

const WORKERS: usize = 3;
/// Of them, the rules in a world choose some.
const BATCHES: [Batch; 3] = [Batch::Count(1), Batch::Count(2), Batch::Percent(50)];
const WINDOW: usize = 4;
/// Frames that a channel holds before it is full.
const CHANNEL: usize = 3;
/// Ports that are open as long as the fleet lives. Each worker serves them, and one of its own choice.
const KEPT: [u16; 2] = [8000, 8001];

/// See the module.
#[derive(Debug)]
pub(crate) struct World {
    seed: u64,
    now: Time,
    fleet: Fleet<Connection>,
    rules: Rules,
    staff: Staff,
    sockets: BTreeMap<ListenerId, Socket>,
    /// Where each connection was made to.
    came_from: Vec<ListenerId>,
    workers: BTreeMap<WorkerId, Worker>,
    books: Rc<RefCell<Books>>,
    totals: Totals,
    /// Faults may happen.
    faults: bool,
    /// The fleet was told to stop.
    stopping: bool,
    /// It has said that it did.
    stopped: bool,
    /// Ended in the worker while the master still held its copy.
    closing: BTreeSet<u32>,
    /// The kernel's notifications on their way.
    destroyed: VecDeque<u32>,
    /// Workers for which the kernel was asked whether it notifies.
    asked_kernel: Vec<WorkerId>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let overload = match seed % 3 {
            0 => Overload::Reject { after: Duration::from_millis(50) },
            _ => Overload::Wait,
        };
        let choice = usize::try_from(seed % 9).unwrap_or(0);
        let rules = Rules {
            workers: WORKERS,
            window: WINDOW,
            overload,
            seed,
            ready_on: if seed.is_multiple_of(5) { ReadyOn::Message } else { ReadyOn::Auto },
            max_starting: [None, Some(1), Some(2)][choice % 3],
            warm_up: Duration::from_millis(seed % 4 * 50),
            max_crashes: if seed.is_multiple_of(4) { Some(3) } else { None },
            reload_batch: BATCHES[choice / 3],
            stop_with: if seed.is_multiple_of(7) {
                StopWith::Message("bye".to_owned())
            } else {
                StopWith::Disconnect
            },
            linger_timeout: (seed.is_multiple_of(2)).then(|| Duration::from_secs(50)),
            ping_timeout: (seed % 4 == 1).then(|| Duration::from_secs(20)),
            max_memory: Some(1 << 30),
            max_age: (seed % 3 == 1).then(|| Duration::from_secs(100)),
            max_connections: (seed % 3 == 2).then_some(8),
            ..Rules::default()
        };
        let policy = match seed % 4 {
            0 | 2 => PolicyName::RoundRobin,
            1 => PolicyName::LeastConnections,
            _ => PolicyName::PowerOfTwo,
        };
        let mut fleet = Fleet::new(rules.clone(), policy);
        let listen = |port| (fleet.listen(endpoint(port), false), Socket::new(port, true));
        let sockets = KEPT.map(listen).into();
        let now = Time(1);
        fleet.start(now);
        let mut world = Self {
            seed,
            now,
            fleet,
            rules,
            staff: Staff {
                programs: [(1, Program::Good)].into(),
                holds: 1,
                wanted: WORKERS,
                ..Staff::default()
            },
            sockets,
            came_from: Vec::new(),
            workers: BTreeMap::new(),
            books: Rc::default(),
            totals: Totals::default(),
            faults: true,
            stopping: false,
            stopped: false,
            closing: BTreeSet::new(),
            destroyed: VecDeque::new(),
            asked_kernel: Vec::new(),
        };
        world.perform(&mut Random::new(seed));
        world
    }

    /// One thing happens.
    pub(crate) fn step(&mut self, random: &mut Random) {
        match random.below(16) {
            0..=3 => self.connect(random),
            4..=8 => self.worker_acts(random),
            9..=12 => self.master_reads(random),
            13 => self.time_passes(random),
            14 if self.faults => self.fault(random),
            15 if self.faults && random.once_in(4) => self.operate(random),
            _ => {}
        }
        self.accept(random);
    }

    fn any_worker(&self, random: &mut Random) -> Option<WorkerId> {
        let place = random.index(self.workers.len());
        self.workers.keys().nth(place).copied()
    }

    /// Every connection is in the kernel's queue, was refused from there, is in the master's hand, or was let go by it:
    /// handed over, or lost, and counted so.
    pub(crate) fn check(&self) {
        let books = self.books.borrow();
        let queued: usize = self.sockets.values().map(|socket| socket.queue.len()).sum();
        // Each move from one place to the next checks that it had not been there before, so the sum tells.
        let places = queued + books.refused.len() + books.in_hand.len() + books.ended.len();
        assert_eq!(places, self.came_from.len(), "seed {}: {:?}", self.seed, books);
        let counters = self.fleet.counters();
        assert_eq!(self.fleet.handoff_times().count(), counters.handed, "seed {}: {counters:?}", self.seed);
        let told = counters.handed + counters.lost;
        assert_eq!(books.ended.len() as u64, told, "seed {}: {counters:?}", self.seed);
        drop(books);
        self.check_staff();
    }

    /// No faults any more: all must be well again within a bounded number of steps.
    pub(crate) fn heal(&mut self, random: &mut Random) {
        self.faults = false;
        for worker in self.workers.values_mut() {
            worker.frozen = false;
            worker.held = false;
        }
        for _ in 0..60_000 {
            if self.all_is_placed() && self.all_serve() && self.counts_are_true() {
                return;
            }
            // Whoever looks after it sees that something is wrong.
            if (self.fleet.errored() > 0 || self.staff.mixed) && !self.fleet.is_reloading() {
                self.reload(Program::Good, random);
            }
            match random.below(3) {
                0 => self.worker_acts(random),
                1 => self.master_reads(random),
                _ => self.time_goes_on(random),
            }
            self.accept(random);
            self.check();
        }
        panic!("seed {}: not at rest: {:?} in hand, {self:?}", self.seed, self.books.borrow().in_hand);
    }

    fn all_serve(&self) -> bool {
        let listens = |worker: &Worker| {
            worker.servers.iter().all(|server| matches!(server.state, State::Listening { .. }))
        };
        let serves = |worker: &Worker| worker.link == Link::Open && listens(worker);
        let mut serving = self.fleet.workers(self.now).filter(|worker| worker.serving);
        self.staff_is_complete() && serving.all(|worker| self.workers.get(&worker.id).is_some_and(serves))
    }

    /// Nothing is on its way, so the fleet's count is the truth.
    fn counts_are_true(&self) -> bool {
        let said = |id| self.workers.get(&id).map_or(0, |worker: &Worker| worker.open.len());
        let told = |worker: &WorkerInfo| worker.load_source != LoadSource::None;
        self.destroyed.is_empty()
            && self.workers.values().all(|worker| worker.words.is_empty())
            && self.fleet.workers(self.now).filter(told).all(|worker| worker.connections == said(worker.id))
    }

    pub(crate) fn finish(mut self) -> Totals {
        let books = self.books.borrow();
        let queued: usize = self.sockets.values().map(|socket| socket.queue.len()).sum();
        let waiting = queued + books.in_hand.difference(&books.served).count();
        let over = books.served.union(&books.lost).count() + books.refused.len();
        assert_eq!(waiting + over, self.came_from.len(), "seed {}", self.seed);
        self.totals.refused = usize::from(self.fleet.counters().rejected > 0);
        self.totals.served = books.served.len();
        self.totals.lost = books.lost.len();
        self.totals
    }

    /// The fleet stops, however its workers are.
    pub(crate) fn stop(mut self, random: &mut Random) {
        let how = [Stop::Graceful, Stop::NoDeadline, Stop::Now][random.index(3)];
        self.faults = false;
        self.stopping = true;
        self.fleet.stop(self.now, how);
        self.perform(random);
        if how == Stop::NoDeadline {
            // One that is frozen would hold it up for ever, as was asked; a second word ends it.
            self.fleet.stop(self.now, Stop::Graceful);
            self.perform(random);
        }
        for _ in 0..20_000 {
            self.check();
            if self.stopped {
                // One that was killed is not waited for without end, though its end may not have been read yet.
                let is_over = |worker: &Worker| worker.dead || worker.given_up;
                assert!(self.fleet.is_stopped() && self.workers.values().all(is_over), "seed {}", self.seed);
                assert!(self.books.borrow().in_hand.is_empty(), "seed {}: still in hand", self.seed);
                return;
            }
            match random.below(3) {
                0 => self.worker_acts(random),
                1 => self.master_reads(random),
                _ => self.time_passes(random),
            }
        }
        panic!("seed {}: {how:?} does not end: {self:?}", self.seed);
    }
}

fn endpoint(port: u16) -> Endpoint {
    SocketAddr::from(([127, 0, 0, 1], port)).into()
}
