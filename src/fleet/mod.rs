//! The fleet: every worker, what they listen on, and the connections on their way to them. Pure.
//!
//! What happened enters by `handle_*`, with the time where it matters; what is to be done leaves by `poll_output`;
//! `poll_timeout` says when to call `handle_timeout`. No clock, no descriptor, no process: a connection is any `C`, a
//! worker is a number. `machine` is the whole; `lives` is what happens to workers (`lifecycle`: one of them), `slots` where
//! they belong (`restart`: when one is filled again, `record`: what was counted there, `orders`: what users have done with one), `reload` and `recycle` their replacement, `pulse` whether they answer, `ledger` what lanes know of those that requests are forwarded to, `ports` which
//! address each has that listens on one of its own, `places` which numbers are lent to whom, `connections` what happens to connections, `conversation` what workers say. `handoff` has custody of connections,
//! `tally` counts those that workers have open, `listeners` knows who serves what, `crowding` what waits there, and
//! `wish` what a worker asks for.

mod address;
mod connections;
mod conversation;
mod crowding;
mod event;
mod handoff;
mod ledger;
mod lifecycle;
mod listeners;
mod lives;
mod machine;
mod orders;
mod output;
mod places;
mod ports;
mod pulse;
mod record;
mod recycle;
mod reload;
mod restart;
mod rules;
mod slots;
mod tally;
mod trouble;
mod wish;

use std::fmt;

pub use address::Address;
pub use crowding::Admission;
pub use event::{Cause, Event, ExitStatus, Loss, ReloadFailure, ReloadRequest, Request, UsedUp, WorkerId};
pub use handoff::{Held, Share};
pub use ledger::Ledger;
pub use machine::Fleet;
pub use orders::{Replacement, Unable};
pub use output::{
    Counters, ListenerInfo, Output, ReloadCounts, Told, Unsent, Vacancy, WorkerInfo, WorkerState,
};
pub use places::Places;
pub use ports::{Ports, Range, claims};
pub use record::Restarts;
pub use rules::{Batch, Mode, Overload, ReadyOn, Rules, StopWith, UnknownReadyOn};
pub use slots::MAX_SLOTS;
pub use tally::LoadSource;
pub use trouble::Trouble;
pub use wish::{Mapping, Place, Want, Wish};

/// Names a listening socket; never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u32);

impl fmt::Display for ListenerId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// How the whole fleet is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Requests in flight may finish within the deadline of the rules.
    Graceful,
    /// They may take as long as they want.
    NoDeadline,
    /// Every worker is killed.
    Now,
}

/// The signals that a fleet sends, by their numbers on Linux.
pub mod signal {
    /// Please end.
    pub const TERM: i32 = 15;
    /// End.
    pub const KILL: i32 = 9;
}

/// The errors that a fleet answers with, by their numbers on Linux.
mod errno {
    pub(super) const EBADF: i32 = 9;
    pub(super) const EINVAL: i32 = 22;
    pub(super) const EMFILE: i32 = 24;
    pub(super) const EADDRINUSE: i32 = 98;
}

#[cfg(test)]
mod stage;
#[cfg(test)]
#[path = "supervision_tests.rs"]
mod supervision_tests;
