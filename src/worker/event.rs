//! What a worker is told, and the connections it is given.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use serde_json::Value;

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
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    listener: Listener,
}

impl Connection {
    pub(super) fn new(descriptor: OwnedFd, listener: Listener) -> Self {
        Self { stream: TcpStream::from(descriptor), listener }
    }

    pub(super) fn set_blocking(&self) -> io::Result<()> {
        self.stream.set_nonblocking(false)
    }

    /// The connection itself: non-blocking if it came from [`Worker::poll_event`](crate::Worker::poll_event),
    /// else blocking.
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
    /// A message of the application.
    Message(Value),
    /// The worker is to leave: its listeners are closed. Finish what is open, then drop the `Worker`.
    Disconnect,
    /// The master has closed the channel, or is gone. Nothing comes after this. Node's workers end here.
    Closed,
}

/// The same before a descriptor is known for a connection: what the session says.
#[derive(Debug, PartialEq)]
pub(super) enum Event<D> {
    Connection { listener: Listener, descriptor: D },
    Message(Value),
    Disconnect,
    Closed,
}

impl From<Event<OwnedFd>> for WorkerEvent {
    fn from(event: Event<OwnedFd>) -> Self {
        match event {
            Event::Connection { listener, descriptor } => {
                Self::Connection(Connection::new(descriptor, listener))
            }
            Event::Message(message) => Self::Message(message),
            Event::Disconnect => Self::Disconnect,
            Event::Closed => Self::Closed,
        }
    }
}
