//! The one place that knows what time it is.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::time::Time;

/// Now, on `CLOCK_MONOTONIC`. Read once per turn of a loop.
pub(crate) fn now() -> Time {
    // The clock cannot be missing on Linux; if it were, time would stand still rather than the program end.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Time(0), |spec| Time(0) + Duration::from(spec))
}
