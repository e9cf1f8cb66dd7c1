//! The proxy's session, judged from both sides by a reader that shares nothing with it.
//!
//! `cases` is what an intermediary must do, as data; `strict` is the oracle, `judge` the verdict; `world` the driver without sockets. `random`
//! makes up requests, answers, and what may happen between.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![allow(unreachable_pub, missing_docs, reason = "a test of several files")]

mod behaviour;
mod cases;
mod judge;
mod random;
mod strict;
mod table;
mod world;
