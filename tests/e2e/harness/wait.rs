//! The only place of these tests that knows the time, but for the pace of `traffic`: bounded waiting for a condition.

use std::{
    thread,
    time::{Duration, Instant},
};

/// What is waited for takes milliseconds; on a busy machine perhaps seconds. Past this it will not come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(4);

/// Now, for measuring how long something took.
#[expect(clippy::disallowed_methods, reason = "the one clock of these tests")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits until `condition` holds, and fails the test if it does not come to that.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    eventually_some(what, || condition().then_some(()));
}

/// Waits until `look` finds something, and fails the test if it does not come to that.
#[track_caller]
pub(crate) fn eventually_some<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_for(PATIENCE, look).unwrap_or_else(|| panic!("this did not happen within {PATIENCE:?}: {what}"))
}

/// Looks again and again until something is found or `limit` is over.
pub(super) fn wait_for<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = now() + limit;
    loop {
        // One look after the end: this thread may have slept through all of it.
        let last = now() >= end;
        if let Some(found) = look() {
            return Some(found);
        }
        if last {
            return None;
        }
        // Nobody unparks this thread: it only lets others work between two looks.
        thread::park_timeout(PAUSE);
    }
}
