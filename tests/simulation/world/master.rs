//! The master's loop in this world: reads what workers say, tells the fleet, does what it wants.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use pointsman::{
    Event, ExitStatus, ReadyOn, Trouble, WorkerId,
    fleet::{Output, Told, Unsent},
    protocol::{
        listen::{AddressType, Query},
        message::{Act, ClusterMessage, Message, Own},
        serialization::Serialization,
    },
    time::Time,
};

use super::{
    CHANNEL, KEPT, World,
    books::Connection,
    operator::Program,
    workers::{Handed, Link, Mail, Server, Word, Worker},
};
use crate::random::Random;

/// Things that can be due at once.
const DUE: u32 = 20;

impl World {
    /// It reads one thing from a worker's channel, or sees its end.
    pub(super) fn master_reads(&mut self, random: &mut Random) {
        if random.once_in(8) {
            let tells = !random.once_in(8);
            for worker in std::mem::take(&mut self.asked_kernel) {
                self.fleet.handle_kernel_tells(worker, tells);
            }
        }
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
        let has_room = worker.link == Link::Open && !worker.dead && worker.mail.len() < CHANNEL;
        if worker.told_full && has_room {
            worker.told_full = false;
            self.fleet.handle_writable(self.now, id);
        } else if self.faults && worker.dead && !worker.words.is_empty() && random.once_in(8) {
            // A child of it that goes on writing keeps its last words from being heard.
            self.totals.unheard += 1;
            self.reap(id, false, random);
        } else if let Some(word) = worker.words.pop_front() {
            let seq = worker.seq;
            worker.seq += 1;
            if let Word::Query { port } = word {
                worker.asked.insert(seq, port);
            }
            self.tell_master(id, seq, word);
        } else if worker.link == Link::HungUp {
            worker.link = Link::Ended;
            self.fleet.handle_channel_closed(self.now, id);
        } else if worker.dead {
            self.reap(id, true, random);
        }
        self.perform(random);
    }

    fn reap(&mut self, id: WorkerId, all_heard: bool, random: &mut Random) {
        self.workers.remove(&id);
        let status = if random.once_in(2) { ExitStatus::Code(1) } else { ExitStatus::Signal(9) };
        if all_heard && random.once_in(2) {
            self.fleet.handle_channel_closed(self.now, id);
        }
        self.fleet.handle_exited(self.now, id, status, all_heard);
        self.perform(random);
        self.forget_worker(id);
    }

    fn open_anywhere(&self) -> impl Iterator<Item = u64> {
        let open = self.workers.values().filter(|worker| !worker.dead).flat_map(|worker| &worker.open);
        open.map(|handed| u64::from(handed.connection))
    }

    fn tell_master(&mut self, id: WorkerId, seq: u64, word: Word) {
        let act = match word {
            Word::Online => Act::Online,
            Word::Query { port } => Act::QueryServer(query(port)),
            Word::Listening { port } => Act::Listening(query(port)),
            Word::Close { key } => Act::Close { key: key.to_string().into() },
            Word::Accepted { seq, accepted } => Act::Accepted { ack: seq, accepted },
            Word::Leaves => Act::ExitedAfterDisconnect,
            Word::Ack => return self.fleet.handle_message(self.now, id, Message::HandleAck),
            Word::Nack => return self.fleet.handle_message(self.now, id, Message::HandleNack),
            Word::Hello => {
                return self.fleet.handle_message(
                    self.now,
                    id,
                    Message::Pointsman(Own::Hello { script: false }),
                );
            }
            Word::Gone { seq } => {
                let seqs = [seq].into_iter().collect();
                return self.fleet.handle_message(self.now, id, Message::Pointsman(Own::Gone { seqs }));
            }
            Word::Ready => {
                let ready = Message::decode(Serialization::Json, br#""ready""#);
                let ready = ready.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
                return self.fleet.handle_message(self.now, id, ready);
            }
            Word::Pong(number) => {
                return self.fleet.handle_message(self.now, id, Message::Pointsman(Own::Pong { number }));
            }
            Word::Garbage => return self.fleet.handle_garbage(self.now, id, "garbage".to_owned()),
        };
        self.fleet.handle_message(self.now, id, Message::Cluster(ClusterMessage { seq, act }));
    }

    pub(super) fn time_passes(&mut self, random: &mut Random) {
        let span = match random.below(8) {
            0 => Duration::from_secs(random.below(60)),
            1 | 2 => Duration::from_millis(random.below(2000)),
            _ => Duration::from_millis(random.below(20)),
        };
        self.wait_until(self.now + span, random);
    }

    /// Time passes in a world in which everybody does his work: long waits are for deadlines, not for people.
    pub(super) fn time_goes_on(&mut self, random: &mut Random) {
        let is_busy = |worker: &Worker| {
            !worker.mail.is_empty() || !worker.words.is_empty() || !worker.received.is_empty() || worker.dead
        };
        let next = self.now + Duration::from_millis(random.below(20));
        let at = self.fleet.poll_timeout().filter(|_| !self.workers.values().any(is_busy));
        self.wait_until(at.map_or(next, |at| at.max(next)), random);
    }

    fn wait_until(&mut self, at: Time, random: &mut Random) {
        self.now = at;
        // One thing after the other may be due, but what was seen to must not be due again.
        for round in 0.. {
            if self.fleet.poll_timeout().is_none_or(|at| at > self.now) {
                return;
            }
            assert!(round < DUE, "seed {}: it is never seen to what is due", self.seed);
            self.fleet.handle_timeout(self.now);
            self.perform(random);
        }
    }

    /// Does what the fleet says.
    pub(super) fn perform(&mut self, random: &mut Random) {
        while let Some(output) = self.fleet.poll_output() {
            if let Output::Event(event) = &output {
                self.note(event);
            }
            match output {
                Output::Spawn { worker, slot, generation, own } => {
                    let program = self.program_of(worker, slot, generation, own);
                    if self.faults && random.once_in(8) {
                        self.forget_worker(worker);
                        self.fleet.handle_spawn_failed(self.now, worker, 11);
                    } else {
                        self.spawn(worker, program, random);
                    }
                }
                Output::Forget { generation } => self.forget(generation),
                Output::ForgetOwn { slot } => self.forget_own(slot),
                Output::Tell(id, told) => self.tell(id, told),
                Output::Hand { worker, key, seq } => self.hand(random, worker, key, seq),
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
                Output::Retire(id) => panic!("seed {}: nobody forwards to worker {id}", self.seed),
                Output::Signal(id, _) => self.signal(id, random),
                Output::CloseChannel(id) => {
                    if let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.link == Link::Open)
                    {
                        worker.link = Link::Cut;
                    }
                }
                // It may take the kernel a while.
                Output::WatchKernel(worker) => self.asked_kernel.push(worker),
                Output::Share { .. } => panic!("seed {}: the master accepts", self.seed),
                Output::Bind { worker, ack, wish } => self.bind(worker, ack, &wish, random),
                Output::CloseListener(id) => self.close_socket(id),
                Output::Event(Event::Trouble { trouble: Trouble::Overdue { .. }, .. }) => {
                    self.totals.overdue += 1;
                }
                Output::Event(Event::Trouble { trouble: Trouble::Unresponsive { .. }, .. }) => {
                    self.totals.unresponsive += 1;
                }
                Output::Event(Event::Trouble { trouble: Trouble::Stuck { .. }, .. }) => {
                    self.totals.stuck += 1;
                }
                Output::Event(Event::Trouble { worker, trouble: Trouble::Unkillable { .. } }) => {
                    self.totals.given_up += 1;
                    self.forget_worker(worker);
                    if let Some(worker) = self.workers.get_mut(&worker) {
                        worker.given_up = true;
                        self.books.borrow_mut().left_with.extend(&worker.handed);
                    }
                }
                Output::Event(Event::Stopped) => self.stopped = true,
                Output::Event(_) => {}
            }
        }
    }

    fn spawn(&mut self, id: WorkerId, program: Program, random: &mut Random) {
        let reports = random.once_in(2);
        let stays = random.once_in(2);
        let mut worker = Worker { reports, stays, ..Worker::default() };
        worker.says_ready = self.rules.ready_on == ReadyOn::Message;
        if matches!(program, Program::Good | Program::Idle) {
            worker.words.push_back(Word::Online);
            worker.words.extend(reports.then_some(Word::Hello));
        }
        if program == Program::Good {
            // Of its own choice; more than the fleet keeps for their successors.
            let own =
                if random.once_in(2) { 9000 } else { 9001 + u16::try_from(random.below(60)).unwrap_or(0) };
            worker.servers = KEPT.into_iter().chain([own]).map(Server::new).collect();
            worker.words.extend(KEPT.into_iter().chain([own]).map(|port| Word::Query { port }));
        }
        self.workers.insert(id, worker);
        self.fleet.handle_spawned(id, id.0 + 1000);
        if program == Program::Stillborn {
            self.die(id, random);
        }
    }

    /// It dies of any signal, unless the kernel holds it or it may not be signalled.
    fn signal(&mut self, id: WorkerId, random: &mut Random) {
        if self.workers.get(&id).is_some_and(|worker| !worker.held && !worker.immune) {
            self.die(id, random);
        }
    }

    fn tell(&mut self, id: WorkerId, told: Told) {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.link == Link::Open) else {
            return;
        };
        worker.mail.extend(match told {
            Told::Reply { ack, reply, .. } => {
                let port = worker.asked.remove(&ack);
                let port = port.unwrap_or_else(|| panic!("seed {}: nothing was asked as {ack}", self.seed));
                Some(Mail::Listen { port, key: reply.errno.is_none().then(|| reply.key.into()) })
            }
            Told::Disconnect { .. } | Told::Leave { .. } => Some(Mail::Disconnect),
            Told::Ack { .. } => Some(Mail::MayLeave),
            Told::HandleAck
            | Told::HandleNack
            | Told::SocketsClosed { .. }
            | Told::SocketCount { .. }
            | Told::Interval { .. } => None,
            Told::Ping { number } => Some(Mail::Ping(number)),
        });
    }

    fn hand(&mut self, random: &mut Random, id: WorkerId, key: Arc<str>, seq: u64) {
        let connection = self.fleet.connection(id, seq).map(|connection| connection.id);
        let connection =
            connection.unwrap_or_else(|| panic!("seed {}: nothing to send for {seq}", self.seed));
        assert!(self.staff.ready.contains(&id), "seed {}: worker {id} is not ready for {seq}", self.seed);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let knows = matches!(worker.link, Link::Cut | Link::Ended);
        assert!(!knows, "seed {}: worker {id} is sent {seq}, and its channel is closed", self.seed);
        if worker.mail.len() >= CHANNEL || worker.dead || worker.link != Link::Open {
            worker.told_full = true;
            self.totals.full += 1;
            self.fleet.handle_unsent(self.now, id, seq, Unsent::ChannelFull);
        } else if self.faults && random.once_in(30) {
            self.totals.limits += 1;
            self.fleet.handle_unsent(self.now, id, seq, Unsent::SystemLimit);
        } else {
            worker.handed.push(connection);
            worker.mail.push_back(Mail::Connection(Handed { seq, connection, key }));
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
            let orphan = !self.sockets.contains_key(&self.came_from[connection.id as usize]);
            self.totals.orphaned += usize::from(orphan && !self.stopping);
            let doubtful = books.touched.contains(&connection.id) || books.left_with.contains(&connection.id);
            let allowed = doubtful || self.stopping || orphan;
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
}

/// What a worker asks for, and tells when it listens.
fn query(port: u16) -> Box<Query> {
    Box::new(Query { port: Some(port.into()), address_type: AddressType::Tcp4, ..Query::default() })
}
