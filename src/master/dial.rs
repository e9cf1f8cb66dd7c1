//! A connection that this process begins to see whether somebody is there, and that is closed when that is known.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use mio::{Interest, Poll, unix::SourceFd};

use super::Source;
use crate::{
    endpoint::Endpoint,
    sys::connect::{self, Begun},
};

/// It is under way. Whoever is done with it takes it from the poll.
#[derive(Debug)]
pub(super) struct Dial(OwnedFd);

impl Dial {
    /// Begins one, of whose outcome `source` will tell. `None`: somebody is there.
    pub(super) fn begin(poll: &Poll, endpoint: &Endpoint, source: Source) -> io::Result<Option<Self>> {
        match connect::begin(endpoint)? {
            Begun::Connected => Ok(None),
            Begun::Connecting(socket) => {
                let number = socket.as_raw_fd();
                poll.registry().register(&mut SourceFd(&number), source.token(), Interest::WRITABLE)?;
                Ok(Some(Self(socket)))
            }
        }
    }

    /// Whether somebody is there, if that is known by now.
    pub(super) fn outcome(&self) -> io::Result<bool> {
        connect::outcome(&self.0)
    }
}

impl AsFd for Dial {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
impl From<OwnedFd> for Dial {
    fn from(socket: OwnedFd) -> Self {
        Self(socket)
    }
}
