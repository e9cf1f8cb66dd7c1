//! What the worker wants to listen on, between the question to its master and the answer.

use std::mem;

use crate::protocol::listen::Query;

/// One question at a time.
#[derive(Debug, Default)]
pub(super) enum Question {
    #[default]
    None,
    /// Not yet answered: the number of the frame and what it asked.
    Asked { seq: u64, query: Query },
    /// The worker has got a socket, and the master waits to hear that it listens.
    Given { key: String, query: Query },
}

impl Question {
    /// What the master answers with `ack`; `None` if that is something else.
    pub(super) fn answered(&mut self, ack: u64) -> Option<Query> {
        match mem::take(self) {
            Self::Asked { seq, query } if seq == ack => Some(query),
            other => {
                *self = other;
                None
            }
        }
    }

    /// The socket that was given listens.
    pub(super) fn listens(&mut self) -> Option<(String, Query)> {
        match mem::take(self) {
            Self::Given { key, query } => Some((key, query)),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Ends it. Returns the key of a socket that was given, which the master is to be told.
    pub(super) fn end(&mut self) -> Option<String> {
        match mem::take(self) {
            Self::Given { key, .. } => Some(key),
            Self::None | Self::Asked { .. } => None,
        }
    }
}
