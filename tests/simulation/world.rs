//! A kernel's queue, clients, and workers with moods; the fleet in the middle is the real one.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use pointsman::{
    Event, ExitStatus, PolicyName, Stop, Trouble, WorkerId,
    fleet::{Fleet, ListenerId, Output, Rules, Told, Unsent},
    protocol::{
        listen::{AddressType, Query},
        message::{Act, ClusterMessage, Message, Own},
    },
    time::Time,
};

use crate::random::Random;

const WORKERS: usize = 3;
const WINDOW: usize = 4;
/// Frames that a channel holds before it is full.
const CHANNEL: usize = 3;

/// A connection in the master's hand. It cannot be copied; when it is dropped, the books say so.
#[derive(Debug)]
struct Connection {
    id: u32,
    books: Rc<RefCell<Books>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.books.borrow_mut().in_hand.remove(&self.id);
    }
}

/// Where every connection is, kept apart from the fleet.
#[derive(Debug, Default)]
struct Books {
    in_hand: BTreeSet<u32>,
    /// Accepted by a worker, which has therefore served it.
    served: BTreeSet<u32>,
    /// Some worker has had its descriptor.
    received: BTreeSet<u32>,
    /// A worker that did not accept it has read from it.
    touched: BTreeSet<u32>,
    lost: BTreeSet<u32>,
    /// Let go by the master.
    ended: BTreeSet<u32>,
}

/// What happened in all lives.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Totals {
    served: usize,
    lost: usize,
    /// Received by one worker and then by another.
    moved: usize,
    deaths: usize,
    refusals: usize,
    nacks: usize,
    full: usize,
    limits: usize,
    garbage: usize,
    overdue: usize,
    stuck: usize,
}

impl Totals {
    pub(crate) fn add(&mut self, other: Self) {
        self.served += other.served;
        self.lost += other.lost;
        self.moved += other.moved;
        self.deaths += other.deaths;
        self.refusals += other.refusals;
        self.nacks += other.nacks;
        self.full += other.full;
        self.limits += other.limits;
        self.garbage += other.garbage;
        self.overdue += other.overdue;
        self.stuck += other.stuck;
    }

    pub(crate) fn assert_all_happened(&self) {
        let all = [
            self.served,
            self.lost,
            self.moved,
            self.deaths,
            self.refusals,
            self.nacks,
            self.full,
            self.limits,
        ];
        assert!(
            all.iter().all(|&count| count > 0) && self.garbage > 0 && self.overdue > 0 && self.stuck > 0,
            "too tame: {self:?}"
        );
    }
}

/// What is on its way to a worker.
#[derive(Debug)]
enum Mail {
    /// The answer to its question.
    Listen,
    Connection {
        seq: u64,
        id: u32,
    },
    Disconnect,
}

/// What is on its way to the master.
#[derive(Debug)]
enum Word {
    Online,
    Query,
    Listening,
    Ack,
    Nack,
    Accepted { seq: u64, accepted: bool },
    Hello,
    Gone { seq: u64 },
    Garbage,
}

#[derive(Debug, Default)]
struct Worker {
    mail: VecDeque<Mail>,
    words: VecDeque<Word>,
    /// Received and not answered.
    received: VecDeque<(u64, u32)>,
    /// Accepted and not ended.
    open: Vec<(u64, u32)>,
    reports: bool,
    frozen: bool,
    /// Dead, but what it said is not read yet.
    dead: bool,
    /// The master has closed its end.
    closed: bool,
    told_full: bool,
    seq: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct World {
    seed: u64,
    now: Time,
    fleet: Fleet<Connection>,
    listener: ListenerId,
    kernel: VecDeque<u32>,
    next_connection: u32,
    workers: BTreeMap<WorkerId, Worker>,
    books: Rc<RefCell<Books>>,
    totals: Totals,
    /// Faults may happen.
    faults: bool,
    stopped: bool,
    /// Ended in the worker while the master still held its copy.
    closing: BTreeSet<u32>,
    /// The kernel's notifications on their way.
    destroyed: VecDeque<u32>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let rules = Rules { workers: WORKERS, window: WINDOW, ..Rules::default() };
        let policy = if seed % 2 == 0 { PolicyName::RoundRobin } else { PolicyName::LeastConnections };
        let mut fleet = Fleet::new(rules, policy);
        fleet.kernel_tells();
        let listener = fleet.listen(SocketAddr::from(([127, 0, 0, 1], 8000)));
        let now = Time(1);
        fleet.start(now);
        let mut world = Self {
            seed,
            now,
            fleet,
            listener,
            kernel: VecDeque::new(),
            next_connection: 0,
            workers: BTreeMap::new(),
            books: Rc::default(),
            totals: Totals::default(),
            faults: true,
            stopped: false,
            closing: BTreeSet::new(),
            destroyed: VecDeque::new(),
        };
        world.perform(&mut Random::new(seed));
        world
    }

    /// One thing happens.
    pub(crate) fn step(&mut self, random: &mut Random) {
        match random.below(16) {
            0..=3 => self.connect(),
            4..=8 => self.worker_acts(random),
            9..=12 => self.master_reads(random),
            13 => self.time_passes(random),
            14 if self.faults => self.fault(random),
            _ => {}
        }
        self.accept(random);
    }

    fn connect(&mut self) {
        self.kernel.push_back(self.next_connection);
        self.next_connection += 1;
    }

    /// As the master does: never more than has room.
    fn accept(&mut self, random: &mut Random) {
        while !self.kernel.is_empty() && self.fleet.has_room(self.now, self.listener) {
            let Some(id) = self.kernel.pop_front() else { break };
            assert!(self.books.borrow_mut().in_hand.insert(id), "seed {}: {id} is in hand twice", self.seed);
            let connection = Connection { id, books: self.books.clone() };
            self.fleet.handle_connection(self.now, self.listener, connection);
            self.perform(random);
        }
    }

    fn any_worker(&self, random: &mut Random) -> Option<WorkerId> {
        let place = random.index(self.workers.len());
        self.workers.keys().nth(place).copied()
    }

    /// A worker reads one message, or answers one connection.
    fn worker_acts(&mut self, random: &mut Random) {
        let Some(id) = self.any_worker(random) else { return };
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| !worker.frozen && !worker.dead) else {
            return;
        };
        if !worker.received.is_empty() && (worker.mail.is_empty() || random.once_in(2)) {
            // Node answers in order; another program need not.
            let place = if random.once_in(4) { random.index(worker.received.len()) } else { 0 };
            let Some((seq, connection)) = worker.received.remove(place) else { return };
            let accepted = !(self.faults && random.once_in(6));
            worker.words.push_back(Word::Accepted { seq, accepted });
            if accepted {
                worker.open.push((seq, connection));
                let first = self.books.borrow_mut().served.insert(connection);
                assert!(first, "seed {}: connection {connection} is served twice", self.seed);
            } else {
                self.totals.refusals += 1;
                // The script in Node sees this close too.
                if worker.reports {
                    worker.words.push_back(Word::Gone { seq });
                }
            }
            return;
        }
        if !worker.open.is_empty() && random.once_in(3) {
            return self.end_connection(id, random);
        }
        match worker.mail.pop_front() {
            Some(Mail::Listen) => worker.words.push_back(Word::Listening),
            Some(Mail::Connection { .. }) if self.faults && random.once_in(12) => {
                worker.words.push_back(Word::Nack);
                self.totals.nacks += 1;
            }
            Some(Mail::Connection { seq, id }) => {
                worker.words.push_back(Word::Ack);
                worker.received.push_back((seq, id));
                self.totals.moved += usize::from(self.books.borrow().received.contains(&id));
                self.books.borrow_mut().received.insert(id);
            }
            Some(Mail::Disconnect) => self.die(id),
            None if worker.closed => self.die(id),
            None => {}
        }
    }

    /// A connection ends: the worker tells, or the kernel does, as soon as the master's copy is closed too.
    fn end_connection(&mut self, id: WorkerId, random: &mut Random) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let (seq, connection) = worker.open.swap_remove(random.index(worker.open.len()));
        if worker.reports {
            worker.words.push_back(Word::Gone { seq });
        } else if self.books.borrow().in_hand.contains(&connection) {
            self.closing.insert(connection);
        } else {
            self.destroyed.push_back(connection);
        }
    }

    /// The master's loop reads one thing from a worker's channel, or sees its end.
    fn master_reads(&mut self, random: &mut Random) {
        let Some(id) = self.any_worker(random) else { return };
        if random.once_in(4)
            && let Some(connection) = self.destroyed.pop_front()
        {
            // Now and then some are lost, and the kernel is asked for those that are left.
            if self.faults && random.once_in(10) {
                self.destroyed.clear();
                let left: BTreeSet<_> = self.open_anywhere().collect();
                self.fleet.handle_resync(|cookie| left.contains(&cookie));
            } else {
                self.fleet.handle_destroyed(u64::from(connection));
            }
            return self.perform(random);
        }
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.told_full && !worker.dead && worker.mail.len() < CHANNEL {
            worker.told_full = false;
            self.fleet.handle_writable(self.now, id);
        } else if let Some(word) = worker.words.pop_front() {
            let seq = worker.seq;
            worker.seq += 1;
            self.tell_master(id, seq, &word);
        } else if worker.dead {
            self.workers.remove(&id);
            let status = if random.once_in(2) { ExitStatus::Code(1) } else { ExitStatus::Signal(9) };
            if random.once_in(2) {
                self.fleet.handle_channel_closed(self.now, id);
            }
            self.fleet.handle_exited(self.now, id, status, true);
        }
        self.perform(random);
    }

    fn open_anywhere(&self) -> impl Iterator<Item = u64> {
        let open = self.workers.values().filter(|worker| !worker.dead).flat_map(|worker| &worker.open);
        open.map(|&(_, connection)| u64::from(connection))
    }

    fn tell_master(&mut self, id: WorkerId, seq: u64, word: &Word) {
        let query = || {
            let (address, address_type) = (None, AddressType::Tcp4);
            let (fd, flags, backlog) = (None, None, None);
            Box::new(Query {
                index: 0,
                data: None,
                address,
                port: Some(8000),
                address_type,
                fd,
                flags,
                backlog,
            })
        };
        let act = match word {
            Word::Online => Act::Online,
            Word::Query => Act::QueryServer(query()),
            Word::Listening => Act::Listening(query()),
            Word::Accepted { seq, accepted } => Act::Accepted { ack: *seq, accepted: *accepted },
            Word::Ack => return self.fleet.handle_message(self.now, id, Message::HandleAck),
            Word::Nack => return self.fleet.handle_message(self.now, id, Message::HandleNack),
            Word::Hello => {
                return self.fleet.handle_message(self.now, id, Message::Pointsman(Own::Hello));
            }
            Word::Gone { seq } => {
                let seqs = [*seq].into_iter().collect();
                return self.fleet.handle_message(self.now, id, Message::Pointsman(Own::Gone { seqs }));
            }
            Word::Garbage => return self.fleet.handle_garbage(self.now, id, "garbage".to_owned()),
        };
        self.fleet.handle_message(self.now, id, Message::Cluster(ClusterMessage { seq, act }));
    }

    fn time_passes(&mut self, random: &mut Random) {
        let span = match random.below(8) {
            0 => Duration::from_secs(random.below(60)),
            1 | 2 => Duration::from_millis(random.below(2000)),
            _ => Duration::from_millis(random.below(20)),
        };
        self.now = self.now + span;
        self.timer(random);
    }

    fn timer(&mut self, random: &mut Random) {
        if self.fleet.poll_timeout().is_some_and(|at| at <= self.now) {
            self.fleet.handle_timeout(self.now);
            self.perform(random);
        }
    }

    fn fault(&mut self, random: &mut Random) {
        let Some(id) = self.any_worker(random) else { return };
        let kind = random.below(4);
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| !worker.dead) else { return };
        match kind {
            0 => self.die(id),
            1 => worker.frozen = true,
            2 => worker.frozen = false,
            _ if random.once_in(4) => {
                self.totals.garbage += 1;
                worker.words.push_back(Word::Garbage);
            }
            _ => {}
        }
    }

    fn die(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| !worker.dead) else { return };
        worker.dead = true;
        worker.frozen = false;
        self.totals.deaths += 1;
        let received = worker.received.iter().map(|&(_, connection)| connection);
        self.destroyed.extend(worker.open.iter().map(|&(_, connection)| connection));
        self.books.borrow_mut().touched.extend(received.filter(|connection| connection % 2 == 0));
    }

    /// Does what the fleet says.
    fn perform(&mut self, random: &mut Random) {
        while let Some(output) = self.fleet.poll_output() {
            match output {
                Output::Spawn { worker, .. } if self.faults && random.once_in(8) => {
                    self.fleet.handle_spawn_failed(self.now, worker, 11);
                }
                Output::Spawn { worker, .. } => {
                    let reports = random.once_in(2);
                    let mut words = VecDeque::from([Word::Online]);
                    words.extend(reports.then_some(Word::Hello));
                    words.push_back(Word::Query);
                    self.workers.insert(worker, Worker { words, reports, ..Worker::default() });
                    self.fleet.handle_spawned(worker, worker.0 + 1000);
                }
                Output::Tell(id, told) => {
                    let Some(worker) = self.workers.get_mut(&id) else { continue };
                    match told {
                        Told::Reply { reply, .. } => {
                            assert_eq!(reply.errno, None, "seed {}", self.seed);
                            worker.mail.push_back(Mail::Listen);
                        }
                        Told::Disconnect { .. } => worker.mail.push_back(Mail::Disconnect),
                        Told::Ack { .. }
                        | Told::HandleAck
                        | Told::HandleNack
                        | Told::SocketsClosed { .. }
                        | Told::SocketCount { .. } => {}
                    }
                }
                Output::Hand { worker, seq, .. } => self.hand(random, worker, seq),
                Output::Release(connection) => self.release(&connection),
                Output::Name { worker, seq, connection } => {
                    self.fleet.handle_named(worker, seq, u64::from(connection.id));
                    self.release(&connection);
                }
                Output::Examine { worker, doubtful } => {
                    let (untouched, lost) =
                        doubtful.into_iter().partition(|held| self.is_untouched(held.connection.id));
                    self.fleet.handle_examined(self.now, worker, untouched, lost);
                }
                Output::Signal(id, _) => self.die(id),
                Output::CloseChannel(id) => {
                    if let Some(worker) = self.workers.get_mut(&id) {
                        worker.closed = true;
                    }
                }
                Output::Bind { .. } => panic!("seed {}: the address is open", self.seed),
                Output::CloseListener(_) => {}
                Output::Event(Event::Trouble { trouble: Trouble::Overdue { .. }, .. }) => {
                    self.totals.overdue += 1;
                }
                Output::Event(Event::Trouble { trouble: Trouble::Stuck { .. }, .. }) => {
                    self.totals.stuck += 1
                }
                Output::Event(Event::Stopped) => self.stopped = true,
                Output::Event(_) => {}
            }
        }
    }

    fn hand(&mut self, random: &mut Random, id: WorkerId, seq: u64) {
        let connection = self.fleet.connection(id, seq).map(|connection| connection.id);
        let connection =
            connection.unwrap_or_else(|| panic!("seed {}: nothing to send for {seq}", self.seed));
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.mail.len() >= CHANNEL || worker.dead || worker.closed {
            worker.told_full = true;
            self.totals.full += 1;
            self.fleet.handle_unsent(self.now, id, seq, Unsent::ChannelFull);
        } else if self.faults && random.once_in(30) {
            self.totals.limits += 1;
            self.fleet.handle_unsent(self.now, id, seq, Unsent::SystemLimit);
        } else {
            worker.mail.push_back(Mail::Connection { seq, id: connection });
        }
    }

    /// What the kernel would tell.
    fn is_untouched(&self, connection: u32) -> bool {
        let books = self.books.borrow();
        !books.touched.contains(&connection) && !books.served.contains(&connection)
    }

    /// The master closes its copy.
    fn release(&mut self, connection: &Connection) {
        let mut books = self.books.borrow_mut();
        assert!(books.ended.insert(connection.id), "seed {}: {} is let go twice", self.seed, connection.id);
        if !books.served.contains(&connection.id) {
            let allowed = books.touched.contains(&connection.id) || self.stopped_accepting();
            assert!(
                allowed,
                "seed {}: connection {} is closed and nobody served it",
                self.seed, connection.id
            );
            books.lost.insert(connection.id);
        }
        drop(books);
        if self.closing.remove(&connection.id) {
            self.destroyed.push_back(connection.id);
        }
    }

    fn stopped_accepting(&self) -> bool {
        !self.fleet.has_room(self.now, self.listener) && self.kernel.is_empty() && !self.faults
    }

    /// Every connection is in the kernel's queue, in the master's hand, or at a worker that accepted it.
    pub(crate) fn check(&self) {
        let books = self.books.borrow();
        // Each move from one place to the next checks that it had not been there before, so the sum tells.
        let places = self.kernel.len() + books.in_hand.len() + books.ended.len();
        assert_eq!(places, self.next_connection as usize, "seed {}: {:?}", self.seed, books);
        let alive = self.workers.values().filter(|worker| !worker.dead).count();
        assert!(alive <= WORKERS, "seed {}: {alive} workers", self.seed);
    }

    /// No faults any more: all must be well again within a bounded number of steps.
    pub(crate) fn heal(&mut self, random: &mut Random) {
        self.faults = false;
        for worker in self.workers.values_mut() {
            worker.frozen = false;
        }
        for _ in 0..20_000 {
            let placed = self.kernel.is_empty() && self.books.borrow().in_hand.is_empty();
            if placed && self.all_serve() && self.counts_are_true() {
                return;
            }
            match random.below(3) {
                0 => self.worker_acts(random),
                1 => self.master_reads(random),
                _ => self.time_passes(random),
            }
            self.accept(random);
            self.check();
        }
        panic!("seed {}: not at rest: {:?} in hand, {self:?}", self.seed, self.books.borrow().in_hand);
    }

    fn all_serve(&self) -> bool {
        self.fleet.workers().filter(|worker| worker.serving).count() == WORKERS
    }

    /// Nothing is on its way, so the fleet's count is the truth.
    fn counts_are_true(&self) -> bool {
        let said = |id| self.workers.get(&id).map_or(0, |worker: &Worker| worker.open.len());
        self.destroyed.is_empty()
            && self.workers.values().all(|worker| worker.words.is_empty())
            && self.fleet.workers().all(|worker| worker.connections == said(worker.id))
    }

    pub(crate) fn finish(mut self) -> Totals {
        let books = self.books.borrow();
        let total = self.next_connection as usize;
        assert_eq!(books.served.union(&books.lost).count(), total, "seed {}", self.seed);
        self.totals.served = books.served.len();
        self.totals.lost = books.lost.len();
        self.totals
    }

    /// The fleet stops, however its workers are.
    pub(crate) fn stop(mut self, random: &mut Random) {
        let how = [Stop::Graceful, Stop::NoDeadline, Stop::Now][random.index(3)];
        self.faults = false;
        self.kernel.clear();
        self.fleet.stop(self.now, how);
        self.perform(random);
        if how == Stop::NoDeadline {
            // One that is frozen would hold it up for ever, as was asked; a second word ends it.
            self.fleet.stop(self.now, Stop::Graceful);
            self.perform(random);
        }
        for _ in 0..20_000 {
            if self.stopped {
                // One that was killed is not waited for without end, though its end may not have been read yet.
                assert!(
                    self.fleet.is_stopped() && self.workers.values().all(|worker| worker.dead),
                    "seed {}",
                    self.seed
                );
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
