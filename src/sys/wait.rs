//! Waiting for descriptors, or to be woken, by poll(2).

use std::{
    io, iter,
    os::fd::{AsFd, BorrowedFd},
};

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

/// Waits as long as it takes, until what is wanted of one of the `files` is so or `wake` is readable, and says whether
/// the latter is so. Signals do not end it.
pub(crate) fn wait<'a>(
    wake: &impl AsFd,
    files: impl IntoIterator<Item = (BorrowedFd<'a>, For)>,
) -> io::Result<bool> {
    let files = files.into_iter().map(|(file, what)| match what {
        For::Input => PollFd::new(file, PollFlags::POLLIN),
        For::Room => PollFd::new(file, PollFlags::POLLOUT),
    });
    let mut entries: Vec<_> = iter::once(PollFd::new(wake.as_fd(), PollFlags::POLLIN)).chain(files).collect();
    loop {
        match poll(&mut entries, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(entries[0].any().unwrap_or(true)),
        }
    }
}
