//! The kernel's part: listening sockets with their queues, and what the master takes from them.

use std::collections::VecDeque;

use pointsman::{
    WorkerId,
    fleet::{Admission, ListenerId, Want, Wish},
};

use super::{World, books::Connection};
use crate::random::Random;

/// A listening socket.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) port: u16,
    /// Open as long as the fleet lives.
    pub(super) kept: bool,
    pub(super) queue: VecDeque<u32>,
    /// The queue was not seen empty.
    pending: bool,
}

impl Socket {
    pub(super) fn new(port: u16, kept: bool) -> Self {
        Self { port, kept, queue: VecDeque::new(), pending: false }
    }
}

impl World {
    /// A client comes.
    pub(super) fn connect(&mut self, random: &mut Random) {
        let place = random.index(self.sockets.len());
        let Some((&id, socket)) = self.sockets.iter_mut().nth(place) else { return };
        let connection = u32::try_from(self.came_from.len()).unwrap_or(u32::MAX);
        self.came_from.push(id);
        socket.queue.push_back(connection);
        socket.pending = true;
    }

    /// As the master does: never more than has room, and some are turned away.
    pub(super) fn accept(&mut self, random: &mut Random) {
        for id in self.sockets.keys().copied().collect::<Vec<_>>() {
            while self.accept_one(id, random) {}
        }
    }

    fn accept_one(&mut self, id: ListenerId, random: &mut Random) -> bool {
        let Some(socket) = self.sockets.get_mut(&id).filter(|socket| socket.pending) else { return false };
        let admission = self.fleet.admit(self.now, id);
        if admission == Admission::Leave {
            return false;
        }
        let Some(connection) = socket.queue.pop_front() else {
            socket.pending = false;
            return false;
        };
        if admission == Admission::Refuse {
            self.books.borrow_mut().refused.insert(connection);
            self.fleet.handle_rejected(id);
        } else {
            let first = self.books.borrow_mut().in_hand.insert(connection);
            assert!(first, "seed {}: {connection} is in hand twice", self.seed);
            let connection = Connection { id: connection, books: self.books.clone() };
            self.fleet.handle_connection(self.now, id, connection);
        }
        self.perform(random);
        true
    }

    /// A worker wants an address that is not open.
    pub(super) fn bind(&mut self, worker: WorkerId, ack: u64, wish: &Wish, random: &mut Random) {
        let Want::Tcp { port, .. } = wish.want else { panic!("seed {}: {wish:?}", self.seed) };
        if self.faults && random.once_in(12) {
            self.fleet.handle_not_bound(worker, ack, wish, 98);
        } else if let Some(id) = self.fleet.handle_bound(self.now, worker, ack, wish, super::endpoint(port)) {
            self.sockets.insert(id, Socket::new(port, false));
        }
    }

    /// What waits in its queue is reset.
    pub(super) fn close_socket(&mut self, id: ListenerId) {
        let Some(socket) = self.sockets.remove(&id) else { panic!("seed {}: {id} is not open", self.seed) };
        assert!(!socket.kept || self.stopping, "seed {}: {id} is open as long as the fleet lives", self.seed);
        self.totals.closed += 1;
        self.books.borrow_mut().refused.extend(socket.queue);
    }

    /// Whether somebody is going to take what comes to this port.
    fn is_wanted(&self, port: u16) -> bool {
        let mut living = self.workers.values().filter(|worker| !worker.dead && !worker.given_up);
        living.any(|worker| worker.servers.iter().any(|server| server.port == port))
    }

    /// Whatever still waits is for a worker that is not there.
    pub(super) fn all_is_placed(&self) -> bool {
        let waits = |id: &ListenerId| self.sockets.get(id).is_some_and(|socket| !self.is_wanted(socket.port));
        let books = self.books.borrow();
        let mut in_hand = books.in_hand.iter().map(|&connection| &self.came_from[connection as usize]);
        in_hand.all(waits) && self.sockets.iter().all(|(id, socket)| socket.queue.is_empty() || waits(id))
    }
}
