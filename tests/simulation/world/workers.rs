//! What workers do by themselves: answer, end connections, close their servers, leave, freeze and die.

use std::collections::VecDeque;

use pointsman::WorkerId;

use super::World;
use crate::random::Random;

/// What is on its way to a worker.
#[derive(Debug)]
pub(super) enum Mail {
    /// The answer to its question.
    Listen {
        key: String,
    },
    Connection {
        seq: u64,
        id: u32,
    },
    Disconnect,
    /// It may leave, as it said it would.
    MayLeave,
}

/// What is on its way to the master.
#[derive(Debug)]
pub(super) enum Word {
    Online,
    Query,
    Listening,
    /// The server for this key is closed.
    Close {
        key: String,
    },
    Ack,
    Nack,
    Accepted {
        seq: u64,
        accepted: bool,
    },
    Hello,
    Gone {
        seq: u64,
    },
    /// It leaves by the protocol.
    Leaves,
    Garbage,
}

/// A worker's server.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) enum Server {
    /// It has asked, or is about to.
    #[default]
    Asking,
    Listening {
        key: String,
    },
    /// Until it listens again.
    Closed,
    /// For ever: it leaves.
    Leaving,
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
    /// Received and not answered.
    pub(super) received: VecDeque<(u64, u32)>,
    /// Accepted and not ended.
    pub(super) open: Vec<(u64, u32)>,
    pub(super) server: Server,
    pub(super) link: Link,
    pub(super) reports: bool,
    /// It does not end by itself when its channel has.
    pub(super) stays: bool,
    pub(super) frozen: bool,
    /// The kernel holds it: it does nothing, and no signal ends it.
    pub(super) held: bool,
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

    /// Takes nothing that it has not accepted, and closes its channel.
    fn hang_up(&mut self) {
        for (seq, _) in std::mem::take(&mut self.received) {
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
        if worker.given_up {
            // It was killed, and is free to die of it.
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
            Some(Mail::Listen { key }) if worker.server == Server::Asking => {
                worker.server = Server::Listening { key };
                worker.words.push_back(Word::Listening);
            }
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
            Some(Mail::Disconnect) if random.once_in(2) => worker.hang_up(),
            Some(Mail::Disconnect) => self.die(id, random),
            Some(Mail::MayLeave) => {
                worker.hang_up();
                self.totals.left += 1;
            }
            None if worker.link == Link::Cut => self.die(id, random),
            // It leaves, and has no use for the answer any more.
            Some(Mail::Listen { .. }) | None => {}
        }
    }

    /// A worker accepts one of the connections that it has, or does not.
    fn answer(&mut self, id: WorkerId, random: &mut Random) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        // Node answers in order; another program need not.
        let place = if random.once_in(4) { random.index(worker.received.len()) } else { 0 };
        let Some((seq, connection)) = worker.received.remove(place) else { return };
        let is_open = matches!(worker.server, Server::Listening { .. });
        let accepted = is_open && !(self.faults && random.once_in(6));
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
    }

    /// A connection ends: the worker tells, or the kernel does, as soon as the master's copy is closed too.
    fn end_connection(&mut self, id: WorkerId, random: &mut Random) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let (seq, connection) = worker.open.swap_remove(random.index(worker.open.len()));
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
        match &worker.server {
            Server::Closed => {
                worker.server = Server::Asking;
                worker.words.push_back(Word::Query);
                self.totals.reopened += 1;
            }
            Server::Listening { key } if self.faults && random.once_in(3) => {
                worker.words.push_back(Word::Close { key: key.clone() });
                worker.server = Server::Closed;
            }
            Server::Asking | Server::Listening { .. } if self.faults && random.once_in(8) => {
                worker.words.push_back(Word::Leaves);
                worker.server = Server::Leaving;
            }
            Server::Asking | Server::Listening { .. } | Server::Leaving => {}
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
        let kind = random.below(6);
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
        let received = worker.received.iter().map(|&(_, connection)| connection);
        self.destroyed.extend(worker.open.iter().map(|&(_, connection)| connection));
        self.books.borrow_mut().touched.extend(received.filter(|connection| connection % 2 == 0));
    }
}
