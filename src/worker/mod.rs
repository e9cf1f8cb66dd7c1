//! Stub until the worker half lands.
pub(crate) fn is_worker() -> bool {
    false
}
