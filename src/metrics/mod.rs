//! Figures, and their text for Prometheus. Pure.
//!
//! Spans enter at `histogram`, which is the only place that is touched for a connection; `exposition` writes figures down, in
//! the one of two formats that `accept` reads. Nothing here knows which figures there are, or who asks for them.

mod accept;
mod exposition;
mod histogram;

pub use accept::negotiate;
pub use exposition::{Exposition, Family, Format, Kind, Seconds};
pub use histogram::{Histogram, Latency};
