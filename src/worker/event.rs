//! What a worker is told, and the connections it is given.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use serde_json::Value;

use super::reports::{ConnectionGuard, Reports};

/// An address that a worker listens on. A mark, not the socket: that is the master's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Listener {
    pub(super) id: u32,
    pub(super) local_address: SocketAddr,
}

impl Listener {
    /// The address that the master has bound, with the port it got if port 0 was asked for.
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }
}

/// A connection that the master has handed to this worker. Dropping it closes it.
///
/// The master counts it as open until its end is reported, which a policy that goes by load needs to be true: serve it
/// by [`Connection::into_parts`].
#[derive(Debug)]
pub struct Connection {
    // Closed first, then reported.
    stream: TcpStream,
    guard: ConnectionGuard,
    listener: Listener,
}

impl Connection {
    pub(super) fn new(descriptor: OwnedFd, guard: ConnectionGuard, listener: Listener) -> Self {
        Self { stream: TcpStream::from(descriptor), guard, listener }
    }

    pub(super) fn set_blocking(&self) -> io::Result<()> {
        self.stream.set_nonblocking(false)
    }

    /// The connection itself, non-blocking if it came from [`Worker::poll_event`](crate::Worker::poll_event), else
    /// blocking; and what keeps it counted, to be dropped after it.
    ///
    /// ```no_run
    /// # let mut worker = pointsman::Worker::from_env().unwrap();
    /// while let Some(connection) = worker.accept().unwrap() {
    ///     let (mut stream, guard) = connection.into_parts();
    ///     std::thread::spawn(move || {
    ///         std::io::copy(&mut stream.try_clone().unwrap(), &mut stream).ok();
    ///         drop(stream);
    ///         drop(guard);
    ///     });
    /// }
    /// ```
    pub fn into_parts(self) -> (TcpStream, ConnectionGuard) {
        (self.stream, self.guard)
    }

    /// The connection itself, not counted any more: its end is reported to the master now. See
    /// [`Connection::into_parts`].
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// The listener it came to.
    pub fn listener(&self) -> Listener {
        self.listener
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// What a worker is told.
#[derive(Debug)]
#[non_exhaustive]
pub enum WorkerEvent {
    /// A connection for one of the listeners. The master already knows that it was taken.
    Connection(Connection),
    /// A message of the application. What came in V8's format is as `JSON.stringify` would have said it; of a `BigInt`
    /// it is the digits in a string. What has no such form is dropped, with a warning in the log.
    Message(Value),
    /// The worker is to leave: its listeners are closed. Finish what is open, then drop the `Worker`.
    Disconnect,
    /// The master has closed the channel, or is gone. Nothing comes after this. Node's workers end here.
    Closed,
}

/// The same before a descriptor is known for a connection: what the session says.
#[derive(Debug, PartialEq)]
pub(super) enum Event<D> {
    Connection { listener: Listener, seq: u64, descriptor: D },
    Message(Value),
    Disconnect,
    Closed,
}

impl Event<OwnedFd> {
    /// As the program gets it.
    pub(super) fn public(self, reports: &Arc<Reports>) -> WorkerEvent {
        match self {
            Self::Connection { listener, seq, descriptor } => {
                WorkerEvent::Connection(Connection::new(descriptor, reports.guard(seq), listener))
            }
            Self::Message(message) => WorkerEvent::Message(message),
            Self::Disconnect => WorkerEvent::Disconnect,
            Self::Closed => WorkerEvent::Closed,
        }
    }
}
