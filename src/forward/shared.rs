//! What lanes let each other know, and what they owe each other where upstreams take few requests at once.
//!
//! Each lane says how many requests it has for an upstream, and hears how many the others have: a limit and a policy go by both
//! together. Who waits is not told of room that another lane has; it looks again, every few milliseconds. Room that a lane's own
//! request leaves would always be taken by that lane again before anybody else looks, so now and then it is left to the
//! others, as long as one of them may take to look. Where the numbers are kept, whoever makes a [`Shared`] knows.

use std::{fmt, time::Duration};

use crate::{chance::Chance, time::Time};

/// Numbers that all lanes see, in columns: each lane sets its own, and hears what the others' come to.
///
/// What one lane sets is seen by all others at once: of two that set theirs and then ask for the others', one at least sees
/// both.
pub trait Shared: fmt::Debug + Send {
    /// This lane's number in a column is this.
    fn set(&self, column: u32, own: u32);

    /// What those of all others come to.
    fn others(&self, column: u32) -> u32;
}

/// In this column a lane says 1 while requests wait for room that others have.
pub const WAITING: u32 = 0;

/// The first column of an upstream.
pub const FIRST_COLUMN: u32 = 1;

/// There is no other lane.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl Shared for Alone {
    fn set(&self, _: u32, _: u32) {}

    fn others(&self, _: u32) -> u32 {
        0
    }
}

/// Who waits looks again after so long at least, and so much more by chance, so that lanes do not look in step.
const PAUSE: Duration = Duration::from_millis(2);
const MORE_PAUSE_NS: u64 = 3_000_000;

/// Room is left to others for so long: each of them looks within that time.
const LEAVE: Duration = Duration::from_millis(6);

/// And not again before that: what is left may stand empty for a while.
const LEAVE_AGAIN: Duration = Duration::from_millis(20);

/// A lane among others.
#[derive(Debug)]
pub(super) struct Lanes {
    shared: Box<dyn Shared>,
    chance: Chance,
    /// Whether it has said that it waits.
    waits: bool,
    /// When it looks whether there is room.
    look_at: Option<Time>,
    /// Room is left to others until then.
    leaves_until: Time,
    /// Not before that it is left to others again.
    leaves_again: Time,
}

impl Lanes {
    pub(super) fn new(shared: Box<dyn Shared>, seed: u64) -> Self {
        Self {
            shared,
            chance: Chance::new(seed),
            waits: false,
            look_at: None,
            leaves_until: Time(0),
            leaves_again: Time(0),
        }
    }

    /// How many this lane has in a column; `None` is of what it shares with nobody.
    pub(super) fn set(&self, column: Option<u32>, own: u32) {
        if let Some(column) = column {
            self.shared.set(column, own);
        }
    }

    /// How many all have there.
    pub(super) fn all(&self, column: Option<u32>, own: u32) -> u32 {
        own.saturating_add(column.map_or(0, |column| self.shared.others(column)))
    }

    /// A request of this lane has left room where there was none.
    pub(super) fn handle_room(&mut self, now: Time) {
        if self.leaves_again <= now && self.shared.others(WAITING) > 0 {
            self.leaves_until = now + LEAVE;
            self.leaves_again = now + LEAVE_AGAIN;
        }
    }

    /// Whether room that there may be is others'.
    pub(super) fn leaves(&self, now: Time) -> bool {
        now < self.leaves_until
    }

    /// Requests of this lane wait for room that others have, or do not.
    pub(super) fn wait(&mut self, now: Time, waits: bool) {
        if self.waits != waits {
            self.waits = waits;
            self.shared.set(WAITING, u32::from(waits));
        }
        if !waits {
            self.look_at = None;
        } else if self.look_at.is_none() {
            let more = Duration::from_nanos(self.chance.number() % MORE_PAUSE_NS);
            self.look_at = Some(self.leaves_until.max(now + PAUSE + more));
        }
    }

    /// Whether it is time to look.
    pub(super) fn look(&mut self, now: Time) -> bool {
        self.look_at.take_if(|at| *at <= now).is_some()
    }

    /// When [`Lanes::look`] is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.look_at
    }
}

#[cfg(test)]
#[path = "shared_tests.rs"]
mod tests;
