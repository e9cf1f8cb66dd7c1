//! Traffic to lose: clients that know of every single request what became of it.
//!
//! In: where `token.js` is served, how many requests a second and how many at a time. Out: a [`Report`] that has each
//! request's fate. [`Load`] makes a connection for each request, [`Kept`] keeps its connections. Both run on threads of
//! their own and know nothing of who starts the workers: the end-to-end tests and the bench of supervision share them.

mod answer;
pub(crate) mod exchange;
mod kept;
mod pool;
mod report;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

pub(crate) use kept::{Kept, KeptReport};
pub(crate) use pool::Load;
pub(crate) use report::Report;

/// For a connection to be made, and for each part of an answer to come. What takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is sent, where to and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    /// Requests that fall due in each second, whether or not the earlier ones are answered. Those that are late for want
    /// of one of `in_flight` follow as soon as they can.
    pub(crate) per_second: u32,
    /// How many may be under way at a time.
    pub(crate) in_flight: usize,
    /// What a worker is asked to take for each.
    pub(crate) delay_ms: u64,
    pub(crate) patience: Duration,
}

impl Plan {
    /// 330 connections a second at ~80 ms: up to 30 of them at a time.
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self { address, per_second: 330, in_flight: 30, delay_ms: 80, patience: PATIENCE }
    }
}

/// The program that the load is meant for. It can be copied to elsewhere.
pub(crate) fn program() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/traffic/token.js").into()
}

/// The clock of the load: it paces what it sends, and tells when what happened.
#[allow(clippy::disallowed_methods, reason = "a load has a pace, which is no condition to wait for")]
fn now() -> Instant {
    Instant::now()
}
