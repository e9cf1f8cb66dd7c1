//! Small safe wrappers of what the kernel offers; the only folder with `unsafe`.
//!
//! One function per system call or per thing that must be done as one; errors are `io::Error` as the kernel gave them.
//! This folder knows nothing of workers, policies or the protocol.

pub(crate) mod channel;
pub(crate) mod clock;
pub(crate) mod guard;
pub(crate) mod inherited;
pub(crate) mod launch;
#[allow(dead_code, reason = "the loop does not raise its limit yet")]
pub(crate) mod limits;
pub(crate) mod net;
pub(crate) mod process;
pub(crate) mod signals;
#[allow(dead_code, reason = "the loop does not count by it yet")]
pub(crate) mod sock_diag;
pub(crate) mod wait;
