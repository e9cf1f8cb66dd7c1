//! The end: who asked for it, and the last connections before it.

use std::time::Duration;

use super::{Master, sockets::Listener};
use crate::{
    fleet::{ListenerId, Stop},
    sys::clock,
    time::Time,
};

/// A signal that comes again within this time is the same word said twice: `timeout`, npm and others send one to the
/// process and one to its group.
const ECHO: Duration = Duration::from_millis(100);

/// How long a stop may go on taking the connections that the kernel had queued before it.
const LAST_CONNECTIONS: Duration = Duration::from_secs(1);

/// How far the end has come.
#[derive(Debug, Default)]
pub(super) struct Stopping {
    /// When a signal first asked for it.
    asked: Option<Time>,
    /// Queued connections are still taken, and those that came back still placed, until then.
    last: Option<(Stop, Time)>,
}

impl Stopping {
    pub(super) fn deadline(&self) -> Option<Time> {
        self.last.map(|(_, until)| until)
    }
}

impl Master {
    /// Stops, after taking what the kernel has queued and the workers have room for. May be said again, more urgently.
    pub(crate) fn stop(&mut self, how: Stop) {
        self.now = clock::now();
        self.stop_seeking();
        if how == Stop::Now || self.is_stopping() {
            self.stopping.last = None;
            return self.stop_fleets(how);
        }
        self.listeners.values_mut().for_each(|listener| listener.pending = listener.accepts);
        self.stopping.last = Some((how, self.now + LAST_CONNECTIONS));
        self.accept();
        self.go_on_stopping();
    }

    /// Stops for good when the kernel's queues are empty and what came back is on its way again, or it has taken too
    /// long.
    pub(super) fn go_on_stopping(&mut self) {
        let Some((how, until)) = self.stopping.last else { return };
        // Those that nobody takes are not waited for.
        let queued = |(&id, listener): (&ListenerId, &Listener)| listener.pending && self.fleet.is_served(id);
        let waits = self.fleet.has_returned() || self.listeners.iter().any(queued);
        if self.now >= until || !waits {
            self.stopping.last = None;
            self.stop_fleets(how);
        }
    }

    /// A signal asks for the end; another one for it at once.
    pub(super) fn asked_to_stop(&mut self, how: Stop) {
        match self.stopping.asked {
            None => {
                self.stopping.asked = Some(self.now);
                self.stop(how);
            }
            Some(first) if self.now < first + ECHO => {}
            Some(_) => self.stop(Stop::Now),
        }
    }
}
