//! The worker's half of the wire: a program that is handed its connections, or a socket to accept them from.
//!
//! `env` tells who this worker is, `session` is the conversation with the master as a pure machine (`talk` is its state), `shared` are the
//! sockets of which the worker itself accepts, and `driver` puts the two on system calls, either blocking or under the
//! caller's mio; the [`Worker`] here is what programs see. This folder speaks Node's protocol, so the same program runs
//! under Pointsman and under Node's own cluster primary; it must not know of the master's side of this crate.

mod driver;
mod env;
mod error;
mod event;
mod listeners;
mod options;
mod question;
mod reports;
mod session;
mod shared;
mod source;
mod stream;
mod talk;

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path,
    sync::Arc,
};

pub(crate) use self::env::is_worker;
use self::{
    driver::Accepts,
    env::Identity,
    event::Event,
    listeners::Ask,
    reports::Reports,
    session::{Answer, Session},
    shared::Shared,
    source::Watch,
};
pub use self::{
    error::{ListenError, WorkerError},
    event::{Connection, Listener, WorkerEvent},
    options::ListenOptions,
    reports::ConnectionGuard,
    stream::Stream,
};
use crate::{
    endpoint::Endpoint,
    fleet::WorkerId,
    sys::{guard, inherited, launch},
};

/// One read of the channel. Node's size: more is never sent at once with a descriptor.
const READ_BYTES: usize = 64 << 10;

/// With more than this on its way to a master that does not read, no message follows.
const QUEUE_BYTES: usize = 1 << 20;

/// This process as a worker of a cluster: it listens through its master, on TCP addresses and Unix sockets, and gets
/// connections. Whether the master hands over each of them or has its workers accept from a socket that they share, the
/// program does not see.
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
/// The whole `Worker` is one event source, its shared sockets included. Register it with `Interest::READABLE`, and at every event call
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
/// no second one: those still in the channel when it dies go to other workers. From a shared socket too, a connection
/// is accepted only when the program asks for it.
///
/// With [`Worker::set_max_connections`] the worker takes no more than it can serve at a time.
///
/// # Leaving
///
/// When the master wants the worker to go, its listeners are closed, [`Worker::accept`] returns `None` and
/// [`Worker::poll_event`] a [`WorkerEvent::Disconnect`]. Serve what is open, then drop the `Worker`. Where other threads
/// serve, [`Worker::drain`] waits for them; a loop looks at [`Worker::open_connections`].
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
    shared: Shared,
    reports: Arc<Reports>,
    max_connections: usize,
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
        if env::has_sockets() {
            // They are before the channel, and what they are for is asked for through it.
            inherited::keep_from_others(0, number);
        }
        Self::new(channel, identity)
    }

    fn new(channel: UnixStream, identity: Identity) -> Result<Self, WorkerError> {
        let buffer = vec![0; READ_BYTES].into_boxed_slice();
        let reports = Reports::new().map_err(WorkerError::system("make an eventfd"))?;
        let session = Session::new(identity.serialization);
        let mut worker = Self {
            channel,
            identity,
            session,
            shared: Shared::default(),
            reports,
            max_connections: usize::MAX,
            buffer,
            watch: None,
        };
        worker.flush()?;
        Ok(worker)
    }

    /// Listens on a TCP address or at a path through the master, and waits for its word. `[::]` means every interface
    /// by both families; with port 0 all workers that ask share one port. A relative path begins in this process's
    /// directory.
    ///
    /// The master may serve this from a wider address that it has open.
    pub fn listen(&mut self, endpoint: Endpoint) -> Result<Listener, ListenError> {
        self.listen_with(endpoint, &ListenOptions::new())
    }

    /// The same, with a say in how the socket is made.
    pub fn listen_with(
        &mut self,
        endpoint: Endpoint,
        options: &ListenOptions,
    ) -> Result<Listener, ListenError> {
        let endpoint = absolute(endpoint)?;
        let Some(ask) = Ask::of(&endpoint) else {
            return Err(cannot_be_asked_for(endpoint));
        };
        self.session.listen(ask, options);
        match self.block_until(Accepts::No, Session::poll_answer)? {
            Answer::Listening(listener) => Ok(listener),
            Answer::Refused(errno) => {
                Err(ListenError::Refused { endpoint, source: io::Error::from_raw_os_error(errno) })
            }
            Answer::Given(socket) => self.listen_on(endpoint, socket, options),
            Answer::Leaving => Err(ListenError::Leaving { endpoint }),
        }
    }

    /// Listens on the socket that was given for `endpoint`.
    fn listen_on(
        &mut self,
        endpoint: Endpoint,
        socket: OwnedFd,
        options: &ListenOptions,
    ) -> Result<Listener, ListenError> {
        let bound = match shared::prepare(&socket, options.backlog, &endpoint) {
            Ok(bound) => bound,
            Err(source) => {
                self.session.handle_not_listening();
                self.flush()?;
                return Err(ListenError::Refused { endpoint, source });
            }
        };
        let Some(listener) = self.session.handle_listening(bound) else {
            return Err(ListenError::Leaving { endpoint });
        };
        let added = self.shared.add(listener.clone(), socket, self.watch.as_ref());
        if let Err(error) = added {
            self.session.close_listener(&listener);
            self.flush()?;
            return Err(WorkerError::system("watch a listening socket")(error).into());
        }
        self.flush()?;
        Ok(listener)
    }

    /// Stops listening. Connections that were already taken still come out of [`Worker::accept`] and
    /// [`Worker::poll_event`]; all others are for other workers.
    pub fn close_listener(&mut self, listener: &Listener) -> Result<(), WorkerError> {
        self.session.close_listener(listener);
        self.close_sockets();
        self.flush()
    }

    /// From now on takes no connection while so many are open, as Node's `server.maxConnections`, but for all listeners
    /// together. Open are those whose [`ConnectionGuard`] exists. What comes nevertheless goes back to the master, which
    /// gives it to another worker, and this one nothing for a moment; on a shared socket the worker just accepts no more
    /// until one has ended. `usize::MAX`, the default, is no limit.
    pub fn set_max_connections(&mut self, connections: usize) {
        self.max_connections = connections;
    }

    /// How many connections are open: those that the program has taken and whose [`ConnectionGuard`] still exists.
    pub fn open_connections(&self) -> usize {
        self.reports.open()
    }

    /// Closes all listeners and waits until no connection is open. What ends meanwhile is reported to the master, and
    /// what it says is kept for [`Worker::next_event`].
    ///
    /// For a program whose connections are served on other threads, when [`Worker::accept`] has returned `None`:
    ///
    /// ```no_run
    /// # fn serve(_: pointsman::Connection) {}
    /// # let mut worker = pointsman::Worker::from_env().unwrap();
    /// while let Some(connection) = worker.accept().unwrap() {
    ///     std::thread::spawn(|| serve(connection));
    /// }
    /// worker.drain().unwrap();
    /// ```
    pub fn drain(&mut self) -> Result<(), WorkerError> {
        self.session.close_listeners();
        self.close_sockets();
        self.block_until_empty()
    }

    /// Waits for the next connection, in blocking mode. `None` when the worker is to leave or the master is gone.
    ///
    /// Messages of the application are dropped; use [`Worker::next_event`] to get both.
    pub fn accept(&mut self) -> Result<Option<Connection>, WorkerError> {
        let taken = self.block_until(Accepts::Yes, |session| {
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
        let event = self.block_until(Accepts::Yes, |session| match session.poll_event() {
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
            if !self.take(Accepts::Yes)? && self.rest(Accepts::Yes, None) {
                return Ok(None);
            }
        }
    }

    /// Sends the master a message of the application, or has it wait until there is room for it in the channel.
    pub(crate) fn send(&mut self, message: &serde_json::Value) -> Result<(), WorkerError> {
        if self.session.waiting() > QUEUE_BYTES {
            return Err(WorkerError::Full);
        }
        self.session.send(message);
        self.flush()
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
        self.close_sockets();
        self.block_until(Accepts::No, |session| session.is_closed().then_some(()))?;
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
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.reports.close();
        // The master keeps its shared sockets open, so a poll would go on telling of them.
        self.shared.retain(self.watch.as_ref(), |_| false);
    }
}

impl AsFd for Worker {
    /// The channel: readable when there may be an event.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// The master may run in another directory.
fn absolute(endpoint: Endpoint) -> Result<Endpoint, ListenError> {
    let Endpoint::Unix(path) = &endpoint else { return Ok(endpoint) };
    match path::absolute(path) {
        Ok(path) => Ok(Endpoint::Unix(path)),
        Err(source) => Err(ListenError::Refused { endpoint, source }),
    }
}

fn cannot_be_asked_for(endpoint: Endpoint) -> ListenError {
    match endpoint {
        Endpoint::Udp(_) => ListenError::Datagrams { endpoint },
        _ => {
            let why = "the master is told of paths in UTF-8, and this is not";
            ListenError::Refused { endpoint, source: io::Error::new(io::ErrorKind::InvalidInput, why) }
        }
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
