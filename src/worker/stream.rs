//! A connection's socket, whichever kind it is of.

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    net::{Shutdown, TcpStream},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use mio::{Interest, Registry, Token, event::Source, unix::SourceFd};

use crate::sys::bind;

/// The socket of a [`Connection`](crate::Connection): a stream of std's, to be read and written as it is or to be taken
/// out for what only one kind can do.
///
/// It is also an event source for mio. Deregister it before it is closed where a late event would do harm: until the
/// master has closed its copy, which is soon, a poll may still tell of it.
///
/// ```no_run
/// # fn example(stream: pointsman::Stream) -> std::io::Result<()> {
/// use pointsman::Stream;
///
/// match stream {
///     Stream::Tcp(stream) => stream.set_nodelay(true)?,
///     Stream::Unix(stream) => println!("{:?}", stream.peer_addr()?),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub enum Stream {
    /// It came by TCP.
    Tcp(TcpStream),
    /// It came through a Unix socket.
    Unix(UnixStream),
}

/// The same of either.
macro_rules! either {
    ($stream:expr, $inner:ident => $value:expr) => {
        match $stream {
            Stream::Tcp($inner) => $value,
            Stream::Unix($inner) => $value,
        }
    };
}

impl Stream {
    /// The descriptor itself says what it is: a master may serve what was asked for as TCP through a Unix socket.
    pub(super) fn of(descriptor: OwnedFd) -> Self {
        match bind::is_unix(&descriptor) {
            true => Self::Unix(descriptor.into()),
            false => Self::Tcp(descriptor.into()),
        }
    }

    /// Another handle of the same socket.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => stream.try_clone().map(Self::Tcp),
            Self::Unix(stream) => stream.try_clone().map(Self::Unix),
        }
    }

    /// Ends one direction or both.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        either!(self, stream => stream.shutdown(how))
    }

    /// Whether reads and writes fail with `WouldBlock` instead of waiting.
    pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        either!(self, stream => stream.set_nonblocking(on))
    }

    /// How long a read waits; `None`: as long as it takes.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        either!(self, stream => stream.set_read_timeout(timeout))
    }

    /// How long a write waits; `None`: as long as it takes.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        either!(self, stream => stream.set_write_timeout(timeout))
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(buffers)
    }
}

impl Read for &Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        either!(*self, stream => (&*stream).read(buffer))
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        either!(*self, stream => (&*stream).read_vectored(buffers))
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        either!(*self, stream => (&*stream).write(bytes))
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(*self, stream => (&*stream).write_vectored(pieces))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        either!(self, stream => stream.as_fd())
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl From<Stream> for OwnedFd {
    fn from(stream: Stream) -> Self {
        either!(stream, stream => stream.into())
    }
}

impl Source for Stream {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.as_raw_fd()).register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.as_raw_fd()).reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.as_raw_fd()).deregister(registry)
    }
}
