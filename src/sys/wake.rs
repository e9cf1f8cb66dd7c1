//! Something that another thread can make readable: an eventfd.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use nix::{
    errno::Errno,
    sys::eventfd::{EfdFlags, EventFd},
};

/// Readable from [`Wake::ring`] until [`Wake::clear`].
#[derive(Debug)]
pub(crate) struct Wake(EventFd);

impl Wake {
    /// A quiet one, close-on-exec.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?))
    }

    /// Makes it readable. To an edge-triggered poll each call is news.
    pub(crate) fn ring(&self) {
        // It fails only when the counter is full, and then it is readable.
        let _ = self.0.write(1);
    }

    /// Makes it quiet.
    pub(crate) fn clear(&self) -> io::Result<()> {
        match self.0.read() {
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
