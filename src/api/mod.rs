//! The crate's face: what a program sees that runs a cluster, or is a worker of one.
//!
//! `pointsman run` uses nothing else. Nothing here decides anything: the loop in `master` does, and `worker` speaks
//! for the other side.

mod cluster;
mod control;
mod error;
mod settings;
mod supervision;
mod validate;

pub use cluster::{Cluster, block_signals};
pub use control::{BadControlName, Control, ControlName};
pub use error::Error;
pub use settings::{Settings, available_cores};

pub use crate::master::{BadUpstream, Forward, UpstreamAddress, UpstreamKind, UpstreamPlace};
pub use crate::sys::{
    account::{Account, AccountError},
    cpus::{BadCpus, Cpus},
    limits::{Limit, Resource, UNLIMITED, Unit, UnknownResource},
    scheduling::{Scheduling, UnknownScheduling},
};

use crate::{
    lane,
    sys::{guard, launch},
};

/// What this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A program that may run a [`Cluster`].
    Primary,
    /// A worker of one: [`Worker::from_env`](crate::Worker::from_env) will succeed.
    Worker,
}

/// Tells whether this process is a primary or a worker, as `cluster.isPrimary` and `cluster.isWorker` do in Node.
///
/// Call it first in `main`. A [`Cluster`] starts its workers through this program's own executable, run again under
/// another name: in that process `role` does not return. ([`Cluster::new`] and
/// [`Worker::from_env`](crate::Worker::from_env) look as well, but what `main` did before then is done once more.)
pub fn role() -> Role {
    guard::run_if_asked();
    launch::run_if_asked();
    lane::run_if_asked();
    if crate::worker::is_worker() { Role::Worker } else { Role::Primary }
}
