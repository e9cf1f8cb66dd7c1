//! What a slot counts over the workers that were in it, for as long as somebody is wanted there.

use std::time::Duration;

use super::{ExitStatus, restart::End};
use crate::time::Time;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    pub(super) restarts: Restarts,
    /// How the last worker ended that ended by itself, and when.
    last_exit: Option<(ExitStatus, Time)>,
    /// Connections that its workers have accepted.
    pub(super) handed: u64,
}

/// How often a slot was filled again, by what had become of the worker before. Never decreases while the slot is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Restarts {
    /// It died, was never ready, or could not be started.
    pub crashed: u64,
    /// It ended in order, by itself.
    pub exited: u64,
    /// A successor has taken its place.
    pub replaced: u64,
}

impl Record {
    /// A worker has ended by itself, and is followed by another.
    pub(super) fn restarts_after(&mut self, end: End) {
        match end {
            End::NotStarted | End::Unready | End::Died { .. } => self.restarts.crashed += 1,
            End::Left { .. } => self.restarts.exited += 1,
        }
    }

    /// A worker has ended by itself.
    pub(super) fn exited(&mut self, now: Time, status: ExitStatus) {
        self.last_exit = Some((status, now));
    }

    /// How the last one ended that did so by itself, and how long ago.
    pub(super) fn last_exit(&self, now: Time) -> Option<(ExitStatus, Duration)> {
        self.last_exit.map(|(status, at)| (status, now - at))
    }
}
