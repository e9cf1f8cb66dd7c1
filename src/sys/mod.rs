//! Small safe wrappers of what the kernel offers; the only folder with `unsafe`.
//!
//! One function per system call or per thing that must be done as one; errors are `io::Error` as the kernel gave them.
//! This folder knows nothing of workers, policies or the protocol.

pub(crate) mod account;
pub(crate) mod attributes;
pub(crate) mod bind;
mod borrowed;
pub(crate) mod capabilities;
pub(crate) mod channel;
pub(crate) mod claim;
pub(crate) mod clock;
pub(crate) mod connect;
pub(crate) mod control_place;
pub(crate) mod cpus;
pub(crate) mod datagram;
pub(crate) mod guard;
pub(crate) mod inherited;
pub(crate) mod launch;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod names;
pub(crate) mod net;
pub(crate) mod output;
pub(crate) mod peer;
pub(crate) mod process;
pub(crate) mod runtime_file;
pub(crate) mod scheduling;
pub(crate) mod shared_counts;
pub(crate) mod signals;
pub(crate) mod sock_diag;
pub(crate) mod this_process;
pub(crate) mod timer;
pub(crate) mod unix;
pub(crate) mod usage;
pub(crate) mod wait;
pub(crate) mod wake;
pub(crate) mod wire;
