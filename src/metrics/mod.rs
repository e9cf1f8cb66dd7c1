//! Figures of an appliance, and their text for Prometheus. Pure.
//!
//! Spans enter at `histogram`, which is the only place that is touched for a connection. Everything else is counted where it
//! happens, and comes as numbers when somebody asks: `families` says which there are, `exposition` writes them down,
//! `accept` reads in which of the two formats. Nothing here knows where numbers come from or who asks.

mod accept;
mod exposition;
mod families;
mod histogram;

pub use accept::negotiate;
pub use exposition::{Exposition, Family, Format, Kind, Seconds};
pub use families::{Process, Snapshot, write};
pub use histogram::{Histogram, Latency};
