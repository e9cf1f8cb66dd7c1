//! What must be there before the first worker is started.

use std::ffi::OsString;

use crate::endpoint::Endpoint;

/// What the first worker waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dependency {
    /// Somebody accepts a connection there.
    Address(Endpoint),
    /// This command, a program and its arguments, ends with 0.
    Command(Vec<OsString>),
}
