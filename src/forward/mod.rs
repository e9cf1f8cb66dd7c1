//! Forwarding requests to workers that have ports of their own, as values: what a lane decides. Pure.
//!
//! Bytes of a client and of an upstream enter, bytes for the other leave, and what is to be done with the two connections;
//! beside them choices are made: which upstream, which of its connections, who waits, who tries again. Nothing here knows
//! of sockets, of time but as an argument, or of processes.

pub mod budget;
mod entry;
pub mod figures;
pub mod log;
pub mod orders;
pub mod pieces;
pub mod pool;
pub mod queue;
pub mod record;
pub mod rules;
pub mod session;
pub mod shared;
pub mod upstreams;
