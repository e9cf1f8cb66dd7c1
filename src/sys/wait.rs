//! Waiting for descriptors, or to be woken, by poll(2).

use std::{
    io, iter,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

/// What is waited for. Each also ends when the other end is gone.
#[derive(Debug, Clone, Copy)]
pub(crate) enum For {
    /// There is something to read.
    Input,
    /// There is room to write.
    Room,
    /// Only that the other end is gone.
    End,
}

impl For {
    fn of(self, file: BorrowedFd<'_>) -> PollFd<'_> {
        let flags = match self {
            Self::Input => PollFlags::POLLIN,
            Self::Room => PollFlags::POLLOUT,
            Self::End => PollFlags::empty(),
        };
        PollFd::new(file, flags)
    }
}

/// Waits as long as it takes, until what is wanted of one of the `files` is so or `wake` is readable, and says whether
/// the latter is so. Signals do not end it.
pub(crate) fn wait<'a>(
    wake: &impl AsFd,
    files: impl IntoIterator<Item = (BorrowedFd<'a>, For)>,
) -> io::Result<bool> {
    let files = files.into_iter().map(|(file, what)| what.of(file));
    let mut entries: Vec<_> = iter::once(For::Input.of(wake.as_fd())).chain(files).collect();
    loop {
        match poll(&mut entries, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(entries[0].any().unwrap_or(true)),
        }
    }
}

/// Waits until what is wanted of one of the `files` is so, but no longer than `timeout` (`None`: as long as it takes), and
/// says of each whether it is. A signal ends it early.
pub(crate) fn look<'a>(
    files: impl IntoIterator<Item = (BorrowedFd<'a>, For)>,
    timeout: Option<Duration>,
) -> io::Result<Vec<bool>> {
    let mut entries: Vec<_> = files.into_iter().map(|(file, what)| what.of(file)).collect();
    // The kernel counts milliseconds; less than one would be none.
    let whole = |timeout: Duration| timeout + Duration::from_nanos(999_999);
    let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
        PollTimeout::try_from(whole(timeout)).unwrap_or(PollTimeout::MAX)
    });
    match poll(&mut entries, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    // Flags that nix does not know are news as well.
    Ok(entries.iter().map(|entry| entry.any().unwrap_or(true)).collect())
}
