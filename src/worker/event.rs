//! What a worker is told, and the connections it is given.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use serde_json::Value;

use super::{
    reports::{ConnectionGuard, Reports},
    stream::Stream,
};
use crate::endpoint::Endpoint;

/// Something that a worker listens on. A mark, not the socket, and cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Listener {
    pub(super) id: u32,
    pub(super) endpoint: Arc<Endpoint>,
}

impl Listener {
    /// What the master has bound, with the port it got if port 0 was asked for.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// A connection of this worker's. Dropping it closes it.
///
/// The master counts it as open until its end is reported, which a policy that goes by load needs to be true: serve it
/// by [`Connection::into_parts`].
#[derive(Debug)]
pub struct Connection {
    // Closed first, then reported.
    stream: Stream,
    guard: ConnectionGuard,
    listener: Listener,
}

impl Connection {
    pub(super) fn new(descriptor: OwnedFd, guard: ConnectionGuard, listener: Listener) -> Self {
        Self { stream: Stream::of(descriptor), guard, listener }
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
    ///     let (stream, guard) = connection.into_parts();
    ///     std::thread::spawn(move || {
    ///         std::io::copy(&mut &stream, &mut &stream).ok();
    ///         drop(stream);
    ///         drop(guard);
    ///     });
    /// }
    /// ```
    pub fn into_parts(self) -> (Stream, ConnectionGuard) {
        (self.stream, self.guard)
    }

    /// The connection itself, not counted any more: its end is reported to the master now. See
    /// [`Connection::into_parts`].
    pub fn into_stream(self) -> Stream {
        self.stream
    }

    /// The listener it came to.
    pub fn listener(&self) -> &Listener {
        &self.listener
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
    /// A connection for one of the listeners. If it came from the master, that already knows that it was taken.
    Connection(Connection),
    /// A message of the application. What came in V8's format is as `JSON.stringify` would have said it; of a `BigInt`
    /// it is the digits in a string. What has no such form is dropped, with a warning in the log.
    Message(Value),
    /// The worker is to leave: its listeners are closed. Finish what is open, which
    /// [`Worker::drain`](crate::Worker::drain) waits for, then drop the `Worker`.
    Disconnect,
    /// The master has closed the channel, or is gone. Nothing comes after this. Node's workers end here.
    Closed,
}

/// The same before a descriptor is known for a connection: what the session says.
#[derive(Debug, PartialEq)]
pub(super) enum Event<D> {
    /// `seq` is that of the master's `newconn`, `None` if the worker has accepted it by itself.
    Connection {
        listener: Listener,
        seq: Option<u64>,
        descriptor: D,
    },
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
