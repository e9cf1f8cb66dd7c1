//! What workers do by themselves: answer, end connections, close their servers, leave, freeze and die.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use pointsman::WorkerId;

use super::World;
use crate::random::Random;

/// What is on its way to a worker.
#[derive(Debug)]
pub(super) enum Mail {
    /// The answer to its question, if it may listen.
    Listen {
        port: u16,
        key: Option<Arc<str>>,
    },
    Connection(Handed),
    Disconnect,
    /// Whether it lives.
    Ping(u64),
    /// It may leave, as it said it would.
    MayLeave,
}

/// A connection on its way to a worker, or at it.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) seq: u64,
    pub(super) connection: u32,
    pub(super) key: Arc<str>,
}

/// What is on its way to the master.
#[derive(Debug)]
pub(super) enum Word {
    Online,
    Query {
        port: u16,
    },
    Listening {
        port: u16,
    },
    /// The server for this key is closed.
    Close {
        key: Arc<str>,
    },
    Ack,
    Nack,
    Accepted {
        seq: u64,
        accepted: bool,
    },
    Hello,
    /// The message that it is ready.
    Ready,
    /// That it lives.
    Pong(u64),
    Gone {
        seq: u64,
    },
    /// It leaves by the protocol.
    Leaves,
    Garbage,
}

/// A worker's server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) port: u16,
    pub(super) state: State,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It has asked, or is about to.
    Asking,
    Listening {
        key: Arc<str>,
    },
    /// Until it listens again.
    Closed,
    /// For ever: the worker leaves.
    Leaving,
}

impl Server {
    pub(super) fn new(port: u16) -> Self {
        Self { port, state: State::Asking }
    }
}

/// The channel between a worker and the master.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    #[default]
    Open,
    /// The master has closed its end.
    Cut,
    /// The worker has closed its end, and the master has not seen that yet.
    HungUp,
    /// The master has seen it.
    Ended,
}

#[derive(Debug, Default)]
pub(super) struct Worker {
    pub(super) mail: VecDeque<Mail>,
    pub(super) words: VecDeque<Word>,
    /// All that it was ever sent.
    pub(super) handed: Vec<u32>,
    /// Received and not answered.
    pub(super) received: VecDeque<Handed>,
    /// Accepted and not ended.
    pub(super) open: Vec<Handed>,
    pub(super) servers: Vec<Server>,
    /// Its questions on their way, by number.
    pub(super) asked: BTreeMap<u64, u16>,
    pub(super) link: Link,
    pub(super) reports: bool,
    /// It tells by a message, once, that it is ready.
    pub(super) says_ready: bool,
    /// It does not end by itself when its channel has.
    pub(super) stays: bool,
    pub(super) frozen: bool,
    /// The kernel holds it: it does nothing, and no signal ends it.
    pub(super) held: bool,
    /// No signal ends it: it runs as somebody else.
    pub(super) immune: bool,
    /// The fleet does not wait for its end any longer.
    pub(super) given_up: bool,
    /// Dead, but what it said is not read yet.
    pub(super) dead: bool,
    pub(super) told_full: bool,
    pub(super) seq: u64,
}

impl Worker {
    fn is_active(&self) -> bool {
        !self.frozen && !self.held && !self.dead
    }

    /// Whether it can still say something; if it is heard is another matter.
    fn can_speak(&self) -> bool {
        matches!(self.link, Link::Open | Link::Cut)
    }

    /// Its question about this port is answered; one that leaves has no use for that any more.
    fn may_listen(&mut self, port: u16, key: Option<Arc<str>>) {
        let asks = |server: &&mut Server| server.port == port && server.state == State::Asking;
        let Some(server) = self.servers.iter_mut().find(asks) else { return };
        server.state = match key {
            Some(key) => {
                self.words.push_back(Word::Listening { port });
                self.words.extend(std::mem::take(&mut self.says_ready).then_some(Word::Ready));
                State::Listening { key }
            }
            None => State::Closed,
        };
    }

    /// Takes nothing that it has not accepted, and closes its channel.
    fn hang_up(&mut self) {
        for Handed { seq, .. } in std::mem::take(&mut self.received) {
            self.words.push_back(Word::Accepted { seq, accepted: false });
        }
        self.mail.clear();
        self.link = Link::HungUp;
    }
}

impl World {
    /// A worker reads one message, answers one connection, or changes its mind.
    pub(super) fn worker_acts(&mut self, random: &mut Random) {
        let Some(id) = self.any_worker(random) else { return };
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.is_active()) else { return };
        if worker.given_up && (!worker.immune || random.once_in(8)) {
            // It was killed, and is free to die of it; or it goes on with what it has, and ends by itself.
            return self.die(id, random);
        }
        if !worker.can_speak() {
            return self.outlives_its_channel(id, random);
        }
        if !worker.received.is_empty() && (worker.mail.is_empty() || random.once_in(2)) {
            return self.answer(id, random);
        }
        if !worker.open.is_empty() && random.once_in(3) {
            return self.end_connection(id, random);
        }
        if worker.link == Link::Open && random.once_in(6) {
            return self.change_server(id, random);
        }
        self.read_mail(id, random);
    }

    fn read_mail(&mut self, id: WorkerId, random: &mut Random) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        match worker.mail.pop_front() {
            Some(Mail::Listen { port, key }) => worker.may_listen(port, key),
            Some(Mail::Connection(_)) if self.faults && random.once_in(12) => {
                worker.words.push_back(Word::Nack);
                self.totals.nacks += 1;
            }
            Some(Mail::Connection(handed)) => {
                worker.words.push_back(Word::Ack);
                self.totals.moved += usize::from(!self.books.borrow_mut().received.insert(handed.connection));
                worker.received.push_back(handed);
            }
            Some(Mail::Ping(number)) => worker.words.push_back(Word::Pong(number)),
            Some(Mail::Disconnect) if random.once_in(2) => worker.hang_up(),
            Some(Mail::Disconnect) => self.die(id, random),
            Some(Mail::MayLeave) => {
                worker.hang_up();
                self.totals.left += 1;
            }
            None if worker.link == Link::Cut => self.die(id, random),
            None => {}
        }
    }

    /// A worker accepts one of the connections that it has, or does not.
    fn answer(&mut self, id: WorkerId, random: &mut Random) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        // Node answers in order; another program need not.
        let place = if random.once_in(4) { random.index(worker.received.len()) } else { 0 };
        let Some(handed) = worker.received.remove(place) else { return };
        let Handed { seq, connection, .. } = handed;
        let serves =
            |server: &Server| matches!(&server.state, State::Listening { key } if *key == handed.key);
        let accepted = worker.servers.iter().any(serves) && !(self.faults && random.once_in(6));
        worker.words.push_back(Word::Accepted { seq, accepted });
        if accepted {
            worker.open.push(handed);
            let first = self.books.borrow_mut().served.insert(connection);
            assert!(first, "seed {}: connection {connection} is served twice", self.seed);
        } else {
            self.totals.refusals += 1;
            // The script in Node sees this close too.
            if worker.reports {
                worker.words.push_back(Word::Gone { seq });
            }
        }
    }

    /// A connection ends: the worker tells, or the kernel does, as soon as the master's copy is closed too.
    fn end_connection(&mut self, id: WorkerId, random: &mut Random) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Handed { seq, connection, .. } = worker.open.swap_remove(random.index(worker.open.len()));
        if worker.reports && worker.can_speak() {
            worker.words.push_back(Word::Gone { seq });
        } else if self.books.borrow().in_hand.contains(&connection) {
            self.closing.insert(connection);
        } else {
            self.destroyed.push_back(connection);
        }
    }

    /// Its server is closed, or listens again; or it leaves for good.
    fn change_server(&mut self, id: WorkerId, random: &mut Random) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let leaves = self.faults && random.once_in(24);
        let place = random.index(worker.servers.len());
        let Some(server) = worker.servers.get_mut(place) else { return self.read_mail(id, random) };
        match &server.state {
            State::Leaving => {}
            _ if leaves => {
                worker.words.push_back(Word::Leaves);
                worker.servers.iter_mut().for_each(|server| server.state = State::Leaving);
            }
            State::Closed => {
                server.state = State::Asking;
                worker.words.push_back(Word::Query { port: server.port });
                self.totals.reopened += 1;
            }
            State::Listening { key } if self.faults && random.once_in(3) => {
                worker.words.push_back(Word::Close { key: key.clone() });
                server.state = State::Closed;
            }
            State::Asking | State::Listening { .. } => {}
        }
    }

    /// It has hung up: what it has open ends, and then it does.
    fn outlives_its_channel(&mut self, id: WorkerId, random: &mut Random) {
        let Some(worker) = self.workers.get(&id) else { return };
        if !worker.open.is_empty() {
            self.end_connection(id, random);
        } else if !worker.stays {
            self.die(id, random);
        }
    }

    pub(super) fn fault(&mut self, random: &mut Random) {
        let Some(id) = self.any_worker(random) else { return };
        let kind = random.below(7);
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| !worker.dead) else { return };
        match kind {
            0 if !worker.held => self.die(id, random),
            1 => worker.frozen = true,
            2 => worker.frozen = false,
            3 if worker.link == Link::Open && random.once_in(4) => {
                // Without a word for those that it has received: they wait for its end.
                worker.mail.clear();
                worker.link = Link::HungUp;
                self.totals.hung_up += 1;
            }
            4 if worker.can_speak() && random.once_in(4) => {
                self.totals.garbage += 1;
                worker.words.push_back(Word::Garbage);
            }
            6 => worker.immune = worker.immune || random.once_in(4),
            5 => worker.held = !worker.held && random.once_in(4),
            _ => {}
        }
    }

    /// It ends, and what it had open with it. What it said last may not have left it: its channel ends cleanly all
    /// the same, between two words.
    pub(super) fn die(&mut self, id: WorkerId, random: &mut Random) {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| !worker.dead) else { return };
        if self.faults && !worker.words.is_empty() && random.once_in(2) {
            worker.words.truncate(random.index(worker.words.len()));
            self.totals.unsent += 1;
        }
        worker.dead = true;
        worker.frozen = false;
        worker.held = false;
        self.totals.deaths += 1;
        let received = worker.received.iter().map(|handed| handed.connection);
        self.destroyed.extend(worker.open.iter().map(|handed| handed.connection));
        self.books.borrow_mut().touched.extend(received.filter(|connection| connection % 2 == 0));
    }
}
