//! A worker's channel under the caller's mio, and with the same token what wakes it for reports, and what it accepts
//! from by itself.

use std::{
    io, iter,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

use mio::{Interest, Registry, Token, event::Source, unix::SourceFd};

use super::Worker;

/// The caller's poll, to be told what the channel waits for.
#[derive(Debug)]
pub(super) struct Watch {
    registry: Registry,
    token: Token,
    interests: Interest,
    /// It is also to tell of room for output.
    for_room: bool,
}

impl Watch {
    /// If output pends already, the next write finds that out.
    fn new(registry: &Registry, token: Token, interests: Interest) -> io::Result<Self> {
        Ok(Self { registry: registry.try_clone()?, token, interests, for_room: false })
    }

    /// Also watches this.
    pub(super) fn add(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        self.registry.register(&mut SourceFd(&file.as_raw_fd()), self.token, Interest::READABLE)
    }

    /// Watches this no longer.
    pub(super) fn remove(&self, file: BorrowedFd<'_>) {
        // It fails only if it was not watched.
        let _ = self.registry.deregister(&mut SourceFd(&file.as_raw_fd()));
    }

    /// Asks to be told of room, or no longer. Costs nothing when that is so already.
    pub(super) fn for_room(&mut self, channel: &UnixStream, wanted: bool) -> io::Result<()> {
        if self.for_room == wanted {
            return Ok(());
        }
        self.for_room = wanted;
        let interests = if wanted { self.interests | Interest::WRITABLE } else { self.interests };
        SourceFd(&channel.as_raw_fd()).reregister(&self.registry, self.token, interests)
    }
}

impl Source for Worker {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        let watch = Watch::new(registry, token, interests)?;
        SourceFd(&self.channel.as_raw_fd()).register(registry, token, interests)?;
        watch.add(self.reports.as_fd())?;
        for file in self.shared.descriptors() {
            watch.add(file)?;
        }
        self.watch = Some(watch);
        Ok(())
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        let watch = Watch::new(registry, token, interests)?;
        SourceFd(&self.channel.as_raw_fd()).reregister(registry, token, interests)?;
        for file in iter::once(self.reports.as_fd()).chain(self.shared.descriptors()) {
            SourceFd(&file.as_raw_fd()).reregister(registry, token, Interest::READABLE)?;
        }
        self.watch = Some(watch);
        Ok(())
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.watch = None;
        for file in iter::once(self.reports.as_fd()).chain(self.shared.descriptors()) {
            SourceFd(&file.as_raw_fd()).deregister(registry)?;
        }
        SourceFd(&self.channel.as_raw_fd()).deregister(registry)
    }
}
