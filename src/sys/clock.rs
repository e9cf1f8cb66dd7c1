//! The one place that knows what time it is.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::time::Time;

/// Now, on `CLOCK_MONOTONIC`. Read once per turn of a loop.
pub(crate) fn now() -> Time {
    // The clock cannot be missing on Linux; if it were, time would stand still rather than the program end.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Time(0), |spec| Time(0) + Duration::from(spec))
}

/// The time of day in milliseconds since 1970, which may jump: for people, and for nothing that waits.
pub(crate) fn wall() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).map_or(Duration::ZERO, Duration::from);
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
