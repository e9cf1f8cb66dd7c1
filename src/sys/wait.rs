//! Waiting for a descriptor, or to be woken, by poll(2).

use std::{io, os::fd::AsFd};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

/// What is waited for. Either also ends when the other end is gone.
#[derive(Debug, Clone, Copy)]
pub(crate) enum For {
    /// There is something to read.
    Input,
    /// There is room to write.
    Room,
}

/// Waits as long as it takes, until `what` is so for `file` or `wake` is readable, and says whether the latter is so.
/// Signals do not end it.
pub(crate) fn wait(file: impl AsFd, what: For, wake: impl AsFd) -> io::Result<bool> {
    let events = match what {
        For::Input => PollFlags::POLLIN,
        For::Room => PollFlags::POLLOUT,
    };
    let mut entries = [PollFd::new(file.as_fd(), events), PollFd::new(wake.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut entries, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(entries[1].any().unwrap_or(true)),
        }
    }
}
