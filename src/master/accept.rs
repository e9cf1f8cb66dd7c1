//! Taking connections from the kernel's queue: never more than the workers have room for.

use std::os::fd::AsFd;

use super::Master;
use crate::{
    fleet::{Admission, Event, ListenerId},
    sys::net,
};

/// Connections accepted from one listener in one turn.
const ACCEPTS: usize = 64;

/// Whose queue is next.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The listener that had the last connection: the next turn begins behind it.
    last: Option<ListenerId>,
    /// Those that may have one in this turn. Kept for its memory.
    queues: Vec<ListenerId>,
}

impl Turns {
    /// Begins a turn with these, given in their order.
    fn begin(&mut self, pending: impl Iterator<Item = ListenerId>) -> Vec<ListenerId> {
        let mut queues = std::mem::take(&mut self.queues);
        queues.clear();
        queues.extend(pending);
        let next = self.last.map_or(0, |last| queues.partition_point(|&id| id <= last));
        queues.rotate_left(next);
        queues
    }
}

impl Master {
    /// Takes connections that can be placed: one of each listener's in turn, so that none waits until another's queue
    /// is empty.
    pub(super) fn accept(&mut self) {
        if self.accept_again.is_some_and(|at| self.now < at) {
            return;
        }
        self.accept_again = None;
        let pending = self.listeners.iter().filter(|(_, listener)| listener.pending).map(|(&id, _)| id);
        let mut queues = self.turns.begin(pending);
        for _ in 0..ACCEPTS {
            if queues.is_empty() {
                break;
            }
            queues.retain(|&id| self.accept_from(id));
        }
        self.turns.queues = queues;
        self.accept_peers();
    }

    /// Takes one connection, and says whether there may be another for this turn.
    fn accept_from(&mut self, id: ListenerId) -> bool {
        let Some(listener) = self.listeners.get_mut(&id).filter(|_| self.accept_again.is_none()) else {
            return false;
        };
        let admission = self.fleet.admit(self.now, id);
        if admission == Admission::Leave {
            return false;
        }
        match net::accept(listener.socket.as_fd()) {
            Ok(connection) => {
                self.accept_failed = false;
                self.turns.last = Some(id);
                if admission == Admission::Refuse {
                    self.fleet.handle_rejected(id);
                    net::reject(connection);
                } else {
                    self.fleet.handle_connection(self.now, id, connection);
                    self.perform();
                }
                true
            }
            Err(error) if net::is_of_the_client(&error) => true,
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => {
                    listener.pending = false;
                    false
                }
                errno => {
                    self.rest_from_accepting(id, errno.unwrap_or(0));
                    false
                }
            },
        }
    }

    /// The system gives out no connection: that is told once, and tried again later.
    fn rest_from_accepting(&mut self, id: ListenerId, errno: i32) {
        let pause = self.fleet.rules().accept_pause;
        self.accept_again = Some(self.now + pause);
        let Some(listener) = self.listeners.get(&id) else { return };
        if !std::mem::replace(&mut self.accept_failed, true) {
            let endpoint = listener.endpoint.clone();
            self.happens(Event::AcceptFailed { endpoint, errno, pause });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_begins_behind_the_listener_that_had_the_last_connection() {
        let ids = |numbers: &[u32]| numbers.iter().copied().map(ListenerId).collect::<Vec<_>>();
        let order = |last: Option<u32>, pending: &[u32]| {
            let mut turns = Turns { last: last.map(ListenerId), ..Turns::default() };
            turns.begin(ids(pending).into_iter())
        };
        assert_eq!(order(None, &[1, 4, 7]), ids(&[1, 4, 7]));
        assert_eq!(order(Some(1), &[1, 4, 7]), ids(&[4, 7, 1]));
        assert_eq!(order(Some(5), &[1, 4, 7]), ids(&[7, 1, 4]), "it has nothing now");
        assert_eq!(order(Some(7), &[1, 4, 7]), ids(&[1, 4, 7]));
        assert_eq!(order(Some(7), &[]), []);
    }
}
