//! Taking connections from the kernel's queue: never more than the workers have room for.

use std::{ops::Bound, os::fd::AsFd};

use super::Master;
use crate::{
    fleet::{Admission, Event, ListenerId},
    sys::net,
};

/// Connections accepted from one listener before the others have their turn.
const ACCEPTS: usize = 64;

impl Master {
    /// Takes connections that can be placed.
    pub(super) fn accept(&mut self) {
        if self.accept_again.is_some_and(|at| self.now < at) {
            return;
        }
        self.accept_again = None;
        let mut next = self.listeners.keys().next().copied();
        while let Some(id) = next {
            self.accept_from(id);
            next = self.listeners.range((Bound::Excluded(id), Bound::Unbounded)).next().map(|(&id, _)| id);
        }
    }

    fn accept_from(&mut self, id: ListenerId) {
        for _ in 0..ACCEPTS {
            let Some(listener) = self.listeners.get_mut(&id).filter(|listener| listener.pending) else {
                return;
            };
            let admission = self.fleet.admit(self.now, id);
            if admission == Admission::Leave {
                return;
            }
            match net::accept(listener.socket.as_fd()) {
                Ok(connection) => {
                    self.accept_failed = false;
                    if admission == Admission::Refuse {
                        self.fleet.handle_rejected(id);
                        net::reject(connection);
                        continue;
                    }
                    self.fleet.handle_connection(self.now, id, connection);
                    self.perform();
                }
                Err(error) if net::is_of_the_client(&error) => {}
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => {
                        listener.pending = false;
                        return;
                    }
                    errno => {
                        let (endpoint, pause) = (listener.endpoint.clone(), self.rules.accept_pause);
                        self.accept_again = Some(self.now + pause);
                        if !std::mem::replace(&mut self.accept_failed, true) {
                            let errno = errno.unwrap_or(0);
                            self.happened.push_back(Event::AcceptFailed { endpoint, errno, pause });
                        }
                        return;
                    }
                },
            }
        }
    }
}
