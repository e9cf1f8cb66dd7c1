//! The worker's half of the wire: a program that is handed its connections.
//!
//! `env` tells who this worker is, `session` is the conversation with the master as a pure machine, and the
//! [`Worker`] here drives it over the channel, either blocking or under the caller's mio. This folder speaks Node's
//! protocol, so the same program runs under Pointsman and under Node's own cluster primary; it must not know of the
//! master's side of this crate.

mod env;
mod error;
mod event;
mod listeners;
mod reports;
mod session;
mod source;

use std::{
    io,
    net::{Shutdown, SocketAddr},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
};

pub(crate) use self::env::is_worker;
use self::{
    env::Identity,
    event::Event,
    reports::Reports,
    session::{Answer, Attached, Session},
    source::Watch,
};
pub use self::{
    error::{ListenError, WorkerError},
    event::{Connection, Listener, WorkerEvent},
    reports::ConnectionGuard,
};
use crate::{
    fleet::WorkerId,
    sys::{
        channel::{self, Received},
        guard, inherited, launch,
        wait::{For, wait},
    },
};

/// One read of the channel. Node's size: more is never sent at once with a descriptor.
const READ_BYTES: usize = 64 << 10;

/// This process as a worker of a cluster: it listens through its master and is handed the connections.
///
/// Blocking, a connection at a time, each closed when it is dropped:
///
/// ```no_run
/// use std::io::Write;
///
/// let mut worker = pointsman::Worker::from_env()?;
/// worker.listen("127.0.0.1:8000".parse()?)?;
/// while let Some(connection) = worker.accept()? {
///     let (mut stream, _guard) = connection.into_parts();
///     // A client that has gone is no reason to end.
///     let _ = writeln!(stream, "hello from worker {}", worker.id());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Under mio
///
/// The whole channel is one event source. Register it with `Interest::READABLE`, and at every event call
/// [`Worker::poll_event`] until it returns `None`: mio tells of a change once. Do so once after registering too; events
/// may have come while [`Worker::listen`] waited. Should the channel be full, the `Worker` itself asks the poll to tell
/// of room: asked for always, that would wake the program for every answer that the master has read.
///
/// # How many are open
///
/// The master is told of the end of each connection, so that it can give the next one to the worker with the fewest. The
/// [`ConnectionGuard`] of a connection tells: it is to live as long as the connection, and may go to the thread that
/// serves it. Ends are queued, and sent with whatever is sent next or by [`Worker::flush_reports`]. While the program
/// waits in [`Worker::accept`] or [`Worker::next_event`], or in the poll that the `Worker` is registered with, an end
/// wakes it. In a loop that polls nothing but the `Worker`'s descriptor, call [`Worker::flush_reports`] in time.
///
/// # When a connection is taken
///
/// A connection is taken, and the master told so, when it is read from the channel, and that is read only while the
/// program asks for an event and has taken all earlier ones. A program that is busy with one connection thus holds
/// no second one: those still in the channel when it dies go to other workers.
///
/// # Leaving
///
/// When the master wants the worker to go, its listeners are closed, [`Worker::accept`] returns `None` and
/// [`Worker::poll_event`] a [`WorkerEvent::Disconnect`]. Serve what is open, then drop the `Worker`.
///
/// # Processes that a worker starts
///
/// The channel is close-on-exec, but the variables that led to it are still in the environment (changing that is not
/// safe while other threads may read it). Remove [`Worker::VARIABLES`] from that of a child that might take itself for a
/// worker, as any Node program would.
#[derive(Debug)]
pub struct Worker {
    channel: UnixStream,
    identity: Identity,
    session: Session<OwnedFd>,
    reports: Arc<Reports>,
    buffer: Box<[u8]>,
    watch: Option<Watch>,
}

impl Worker {
    /// The variables by which a worker knows that it is one.
    pub const VARIABLES: [&str; 4] = [env::CHANNEL, env::SERIALIZATION, env::ID, env::SLOT];

    /// Takes the channel that this process was started with and tells the master that the worker is there.
    ///
    /// Succeeds once per process. Like [`role`](crate::role) it does not return in the helper processes of a
    /// [`Cluster`](crate::Cluster).
    pub fn from_env() -> Result<Self, WorkerError> {
        guard::run_if_asked();
        launch::run_if_asked();
        let identity = env::identity()?;
        let number = identity.channel;
        let channel = inherited::take_channel(number).map_err(|source| match source.kind() {
            io::ErrorKind::ResourceBusy => WorkerError::Taken,
            _ => WorkerError::NoChannel { number, source },
        })?;
        Self::new(channel, identity)
    }

    fn new(channel: UnixStream, identity: Identity) -> Result<Self, WorkerError> {
        let buffer = vec![0; READ_BYTES].into_boxed_slice();
        let reports = Reports::new().map_err(WorkerError::system("make an eventfd"))?;
        let session = Session::new(identity.serialization);
        let mut worker = Self { channel, identity, session, reports, buffer, watch: None };
        worker.flush()?;
        Ok(worker)
    }

    /// Listens on `address` through the master, and waits for its word. `[::]` means every interface by both
    /// families; with port 0 all workers that ask share one port.
    ///
    /// The master may serve this from a wider address that it has open.
    pub fn listen(&mut self, address: SocketAddr) -> Result<Listener, ListenError> {
        self.session.listen(address);
        match self.block_until(Session::poll_answer)? {
            Answer::Listening(listener) => Ok(listener),
            Answer::Refused(errno) => {
                Err(ListenError::Refused { address, source: io::Error::from_raw_os_error(errno) })
            }
            Answer::Shared => Err(ListenError::Shared { address }),
            Answer::Leaving => Err(ListenError::Leaving { address }),
        }
    }

    /// Stops listening. Connections that were already taken still come out of [`Worker::accept`] and
    /// [`Worker::poll_event`]; the master hands all others to other workers.
    pub fn close_listener(&mut self, listener: Listener) -> Result<(), WorkerError> {
        self.session.close_listener(listener);
        self.flush()
    }

    /// Waits for the next connection, in blocking mode. `None` when the worker is to leave or the master is gone.
    ///
    /// Messages of the application are dropped; use [`Worker::next_event`] to get both.
    pub fn accept(&mut self) -> Result<Option<Connection>, WorkerError> {
        let taken = self.block_until(|session| {
            loop {
                match session.poll_event() {
                    Some(Event::Connection { listener, seq, descriptor }) => {
                        return Some(Some((listener, seq, descriptor)));
                    }
                    Some(Event::Message(_) | Event::Disconnect | Event::Closed) => {}
                    None if session.is_serving() => return None,
                    None => return Some(None),
                }
            }
        })?;
        let connection = taken.map(|(listener, seq, descriptor)| {
            Connection::new(descriptor, self.reports.guard(seq), listener)
        });
        if let Some(connection) = &connection {
            connection.set_blocking().map_err(WorkerError::system("make a connection blocking"))?;
        }
        Ok(connection)
    }

    /// Waits for the next event; connections are in blocking mode. `None` when the channel is closed and everything
    /// that came before that was given out.
    pub fn next_event(&mut self) -> Result<Option<WorkerEvent>, WorkerError> {
        let event = self.block_until(|session| match session.poll_event() {
            None if session.is_closed() => Some(None),
            event => event.map(Some),
        })?;
        let event = event.map(|event| event.public(&self.reports));
        if let Some(WorkerEvent::Connection(connection)) = &event {
            connection.set_blocking().map_err(WorkerError::system("make a connection blocking"))?;
        }
        Ok(event)
    }

    /// The next event, or `None` when there is none now. Connections are in non-blocking mode, as mio needs them.
    pub fn poll_event(&mut self) -> Result<Option<WorkerEvent>, WorkerError> {
        loop {
            if let Some(event) = self.session.poll_event() {
                return Ok(Some(event.public(&self.reports)));
            }
            if self.session.is_closed() {
                return Ok(None);
            }
            self.flush()?;
            // Read on only when the master has read our answers: neither side can then grow without bound.
            if (!self.session.output().is_empty() || !self.read()?) && self.reports.rest() {
                return Ok(None);
            }
        }
    }

    /// Tells the master of the connections that have ended, as far as the channel has room: without delay, where the
    /// program would not ask for an event for a while.
    pub fn flush_reports(&mut self) -> Result<(), WorkerError> {
        self.flush()
    }

    /// Leaves the cluster by the worker's own will: closes all listeners, waits until the master has agreed not to
    /// replace it as it would a dead one, and closes the channel. Connections that were taken stay open.
    pub fn disconnect(&mut self) -> Result<(), WorkerError> {
        self.session.leave();
        self.block_until(|session| session.is_closed().then_some(()))?;
        self.shut_down();
        Ok(())
    }

    /// Closes the channel; the same as dropping the `Worker`. Without a handshake before, the master takes it for a
    /// failure.
    pub fn close(self) {}

    /// The worker's id, as `cluster.worker.id`: never given twice.
    pub fn id(&self) -> WorkerId {
        self.identity.id
    }

    /// The worker's place, 0 to the number of workers less one, taken over by its successor. `None` under a primary
    /// that knows of no such thing.
    pub fn slot(&self) -> Option<u32> {
        self.identity.slot
    }

    /// Whether the channel is open.
    pub fn is_connected(&self) -> bool {
        !self.session.is_closed()
    }

    /// Whether the worker leaves, or has left, because it was told to or said so, not because its master is gone.
    pub fn exited_after_disconnect(&self) -> bool {
        self.session.has_agreed_to_leave()
    }

    /// Drives the channel until `done` has an answer. It must have one once the session is closed.
    fn block_until<T>(
        &mut self,
        mut done: impl FnMut(&mut Session<OwnedFd>) -> Option<T>,
    ) -> Result<T, WorkerError> {
        loop {
            if let Some(answer) = done(&mut self.session) {
                return Ok(answer);
            }
            self.flush()?;
            let what = match self.session.output().is_empty() {
                false => For::Room,
                true if self.read()? => continue,
                true => For::Input,
            };
            if self.reports.rest() {
                let woken = wait(&self.channel, what, &*self.reports).and_then(|woken| match woken {
                    true => self.reports.clear(),
                    false => Ok(()),
                });
                woken.map_err(WorkerError::system("wait for the master"))?;
            }
        }
    }

    /// Reads once and answers at once. False when nothing is there.
    ///
    /// Callers read until then even if a read was short: behind a short read can stand the end of the channel, which
    /// an edge-triggered poll has then told of already.
    fn read(&mut self) -> Result<bool, WorkerError> {
        match channel::receive(self.channel.as_fd(), &mut self.buffer) {
            Ok(Received { bytes: 0, .. }) => self.session.handle_end(),
            Ok(Received { bytes, descriptor, descriptor_lost }) => {
                let attached = match descriptor {
                    Some(descriptor) => Attached::Descriptor(descriptor),
                    None if descriptor_lost => Attached::Lost,
                    None => Attached::Nothing,
                };
                let understood = self.session.handle_input(&self.buffer[..bytes], attached);
                let flushed = self.flush();
                if let Err(error) = understood {
                    self.session.close();
                    self.shut_down();
                    return Err(error);
                }
                flushed?;
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => return Ok(false),
                io::ErrorKind::Interrupted => {}
                // The master is gone and has not read all that was sent to it.
                io::ErrorKind::ConnectionReset => self.session.handle_end(),
                _ => return Err(WorkerError::system("read from the master")(error)),
            },
        }
        Ok(true)
    }

    /// Writes what the channel takes, and asks the caller's poll to tell when it takes the rest.
    fn flush(&mut self) -> Result<(), WorkerError> {
        self.session.report(self.reports.take());
        self.write()?;
        let pending = !self.session.output().is_empty();
        let asked = self.watch.as_mut().map_or(Ok(()), |watch| watch.for_room(&self.channel, pending));
        asked.map_err(WorkerError::system("watch the channel"))
    }

    fn write(&mut self) -> Result<(), WorkerError> {
        while !self.session.output().is_empty() {
            match channel::send(self.channel.as_fd(), self.session.output(), None) {
                Ok(count) => self.session.handle_sent(count),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(()),
                    io::ErrorKind::Interrupted => {}
                    // The master is gone; what it said before that is still to be read, and then the end.
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                        self.session.handle_sent(self.session.output().len());
                    }
                    _ => return Err(WorkerError::system("write to the master")(error)),
                },
            }
        }
        Ok(())
    }

    /// Ends the channel for the master too, while the descriptor stays in the caller's poll until this is dropped.
    fn shut_down(&self) {
        // It fails only if the master was first.
        let _ = self.channel.shutdown(Shutdown::Both);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.reports.close();
    }
}

impl AsFd for Worker {
    /// The channel: readable when there may be an event.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
