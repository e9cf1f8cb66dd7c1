//! What the tests are written in: a builder for a master, a small HTTP client, a look into /proc, strace, and one way to
//! wait.

mod client;
mod control;
mod log;
mod master;
mod node;
mod place;
mod pointsman;
mod primary;
mod process;
mod public;
mod strace;
mod upstream;
mod v8;
mod wait;

pub(crate) use client::{Client, Response};
pub(crate) use control::Control;
pub(crate) use log::Log;
pub(crate) use master::Master;
pub(crate) use node::{Form, Node};
pub(crate) use place::Place;
pub(crate) use pointsman::{Pointsman, first_port, free_port, python};
pub(crate) use primary::Primary;
pub(crate) use process::Process;
pub(crate) use public::Public;
pub(crate) use strace::Strace;
pub(crate) use upstream::{Request, Served, Upstream};
pub(crate) use wait::{eventually, eventually_some, now};

/// Whether the tests may become another user.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether this machine has IPv6, which some containers lack.
pub(crate) fn has_ipv6() -> bool {
    std::net::UdpSocket::bind("[::1]:0").is_ok()
}

/// Somebody without any rights: `nobody` on most systems.
pub(crate) const NOBODY: u32 = 65534;
