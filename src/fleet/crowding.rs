//! Whether the connections of a socket find room: they are taken, wait, or are turned away.
//!
//! Time enters, and whether a worker has room; what to do with the next connection leaves, and what has changed for
//! those that come. This file must not know who gets a connection, nor what it costs to turn one away.

use std::time::Duration;

use super::{
    ListenerId, WorkerId,
    listeners::{Listener, Listeners},
};
use crate::{endpoint::Endpoint, time::Time};

/// Whether connections of a socket find room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crowding {
    Room,
    /// They wait.
    Full {
        since: Time,
    },
    /// They have waited for too long and are turned away.
    Refusing {
        rejected: u64,
    },
}

/// What to do with the next connection of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Accept it: there is a worker for it.
    Take,
    /// Accept it, and turn it away.
    Refuse,
    /// Leave it in the kernel's queue.
    Leave,
}

/// What has changed for the connections of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    /// They begin to wait.
    Waits,
    /// They are no longer turned away, as so many were.
    Recovers {
        rejected: u64,
    },
}

impl Listeners {
    /// A connection may be waiting at a socket whose workers have room or not. Returns what to do with it, and what that
    /// changes. Before its first worker has come, it just waits.
    pub(super) fn admit(&mut self, now: Time, listener: ListenerId, room: bool) -> (Admission, Change) {
        let Some(listener) = self.open.get_mut(&listener) else { return (Admission::Leave, Change::Nothing) };
        match listener.crowding {
            // Its workers take from it.
            _ if listener.shared || !listener.served => (Admission::Leave, Change::Nothing),
            Crowding::Refusing { rejected } if room => {
                listener.crowding = Crowding::Room;
                (Admission::Take, Change::Recovers { rejected })
            }
            Crowding::Room | Crowding::Full { .. } if room => {
                listener.crowding = Crowding::Room;
                (Admission::Take, Change::Nothing)
            }
            Crowding::Room => {
                listener.crowding = Crowding::Full { since: now };
                (Admission::Leave, Change::Waits)
            }
            Crowding::Full { .. } => (Admission::Leave, Change::Nothing),
            Crowding::Refusing { .. } => (Admission::Refuse, Change::Nothing),
        }
    }

    /// When [`Listeners::refuse`] is to be called.
    pub(super) fn refuses_at(&self, after: Duration) -> Option<Time> {
        let since = self.open.values().filter_map(|listener| match listener.crowding {
            Crowding::Full { since } => Some(since + after),
            Crowding::Room | Crowding::Refusing { .. } => None,
        });
        since.min()
    }

    /// Turns connections away where they have waited for `after`, and returns where that begins.
    pub(super) fn refuse(&mut self, now: Time, after: Duration) -> Vec<Endpoint> {
        let is_due = |listener: &&mut Listener| matches!(listener.crowding, Crowding::Full { since } if since + after <= now);
        let due = self.open.values_mut().filter(is_due);
        let begins = due.map(|listener| {
            listener.crowding = Crowding::Refusing { rejected: 0 };
            listener.endpoint.clone()
        });
        begins.collect()
    }

    /// Ends the turning away where a worker has room again, whether or not a connection comes to use it: the next time
    /// that there is none, connections wait before they are turned away. Returns one such place at a time, and how many
    /// were turned away.
    pub(super) fn recover(&mut self, has_room: impl Fn(WorkerId) -> bool) -> Option<(Endpoint, u64)> {
        self.open.values_mut().find_map(|listener| match listener.crowding {
            Crowding::Refusing { rejected }
                if listener.members.iter().any(|member| has_room(member.worker)) =>
            {
                listener.crowding = Crowding::Room;
                Some((listener.endpoint.clone(), rejected))
            }
            Crowding::Room | Crowding::Full { .. } | Crowding::Refusing { .. } => None,
        })
    }

    /// A connection was turned away.
    pub(super) fn rejected(&mut self, listener: ListenerId) {
        if let Some(Listener { crowding: Crowding::Refusing { rejected }, .. }) = self.open.get_mut(&listener)
        {
            *rejected += 1;
        }
    }

    /// Whether connections of a socket are turned away.
    pub(super) fn refuses(&self, listener: ListenerId) -> bool {
        self.open
            .get(&listener)
            .is_some_and(|listener| matches!(listener.crowding, Crowding::Refusing { .. }))
    }
}
