//! A conversation over a socket: what is read and written when, and when it ends.

use std::{
    io::{self, IoSlice, Read, Write},
    net::Shutdown,
    time::{Duration, Instant},
};

use mio::{Interest, Registry, Token, event::Event};
use pointsman::{ConnectionGuard, Stream};

use super::{
    answer::Site,
    conversation::{Conversation, Rest},
};

/// A connection on which nothing moves is closed after this long: nginx's `keepalive_timeout` is 75 s, Node's 5 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a worker that leaves waits for a request that has not come yet, or not whole.
const ASKING_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a client may go on sending after its last answer.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// Reads and writes in one turn, before others get theirs.
const STEPS: usize = 16;

/// What is to be done with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It has had its turn, but could go on.
    Again,
    /// It waits for an event or for its deadline.
    Wait,
    /// It is over: drop it.
    Drop,
}

/// One client.
#[derive(Debug)]
pub(super) struct Connection {
    // Closed first, then reported.
    stream: Stream,
    _guard: Option<ConnectionGuard>,
    conversation: Conversation,
    /// As far as is known; mio tells of a change once.
    readable: bool,
    writable: bool,
    /// The end of the client's bytes has come, perhaps behind bytes that are still to be read.
    end_seen: bool,
    /// All is said; what the client still sends is read for this long.
    linger: Option<Instant>,
    /// When a byte last moved.
    moved: Instant,
    /// While the worker leaves: when a request comes too late.
    ask_until: Option<Instant>,
}

impl Connection {
    /// A connection just handed over. It is probably readable: the client had the time of the hand-over to ask.
    pub(super) fn new(now: Instant, handed: pointsman::Connection) -> Self {
        let (stream, guard) = handed.into_parts();
        Self::of(now, stream, Some(guard))
    }

    /// One that the worker has accepted by itself.
    pub(super) fn accepted(now: Instant, stream: Stream) -> Self {
        Self::of(now, stream, None)
    }

    fn of(now: Instant, stream: Stream, guard: Option<ConnectionGuard>) -> Self {
        Self {
            stream,
            _guard: guard,
            conversation: Conversation::new(),
            readable: true,
            writable: true,
            end_seen: false,
            linger: None,
            moved: now,
            ask_until: None,
        }
    }

    /// Puts it under the poll, when its first turn has not ended it.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        // A second answer should not wait for the client to acknowledge the first.
        if let Stream::Tcp(stream) = &self.stream {
            stream.set_nodelay(true)?;
        }
        registry.register(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Notes what the poll tells.
    pub(super) fn handle_event(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_error();
        self.writable |= event.is_writable() || event.is_error();
        self.end_seen |= event.is_read_closed();
    }

    /// The worker leaves. Then call [`Connection::drive`]: a request may have come unseen.
    pub(super) fn handle_drain(&mut self, now: Instant) {
        self.readable = true;
        self.ask_until = Some(now + ASKING_TIMEOUT);
    }

    /// Reads, answers and writes until there is nothing to do or others must have their turn.
    pub(super) fn drive(&mut self, now: Instant, site: &Site, scratch: &mut [u8]) -> Next {
        for _ in 0..STEPS {
            match self.step(now, site, scratch) {
                Ok(Some(next)) => return next,
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The client is gone.
                Err(_) => return Next::Drop,
            }
        }
        Next::Again
    }

    /// When it is to be driven next at the latest.
    pub(super) fn deadline(&self) -> Instant {
        let idle = self.conversation.timeout().unwrap_or(self.moved + IDLE_TIMEOUT);
        let limits = [self.linger, self.ask_until.filter(|_| self.conversation.is_waiting())];
        limits.into_iter().flatten().fold(idle, Instant::min)
    }

    fn step(&mut self, now: Instant, site: &Site, scratch: &mut [u8]) -> io::Result<Option<Next>> {
        if self.linger.is_some() {
            return self.read_unread(now, scratch);
        }
        self.conversation.resume(now, site);
        if self.conversation.has_output() && self.writable {
            self.write(now)?;
            return Ok(None);
        }
        if !self.conversation.has_output() {
            match self.conversation.rest() {
                Rest::Open => {}
                Rest::Closed => return Ok(Some(Next::Drop)),
                Rest::Unread => {
                    self.stream.shutdown(Shutdown::Write)?;
                    self.linger = Some(now + LINGER_TIMEOUT);
                    self.readable = true;
                    return Ok(None);
                }
            }
        }
        if self.readable && self.conversation.wants_input() {
            self.read(now, site, scratch)?;
            return Ok(None);
        }
        let leaves = site.draining && self.conversation.is_idle();
        Ok(Some(if leaves || self.deadline() <= now { Next::Drop } else { Next::Wait }))
    }

    fn read(&mut self, now: Instant, site: &Site, scratch: &mut [u8]) -> io::Result<()> {
        match self.stream.read(scratch) {
            Ok(0) => self.conversation.handle_end(),
            Ok(count) => {
                // A short read has drained the socket, unless the end is behind it: of that the poll has told already.
                self.readable = count == scratch.len() || self.end_seen;
                self.moved = now;
                self.conversation.handle_input(now, site, &scratch[..count]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn write(&mut self, now: Instant) -> io::Result<()> {
        let (first, second) = self.conversation.output();
        let (length, written) = match second.is_empty() {
            true => (first.len(), self.stream.write(first)),
            false => {
                let pieces = [IoSlice::new(first), IoSlice::new(second)];
                (first.len() + second.len(), self.stream.write_vectored(&pieces))
            }
        };
        match written {
            Ok(count) => {
                self.writable = count == length;
                self.moved = now;
                self.conversation.handle_sent(count);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Reads what nobody looks at, until the client has taken its answer and closes, or for long enough.
    fn read_unread(&mut self, now: Instant, scratch: &mut [u8]) -> io::Result<Option<Next>> {
        if self.linger.is_none_or(|until| until <= now) {
            return Ok(Some(Next::Drop));
        }
        if !self.readable {
            return Ok(Some(Next::Wait));
        }
        match self.stream.read(scratch) {
            Ok(0) => Ok(Some(Next::Drop)),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(Some(Next::Wait))
            }
            Err(error) => Err(error),
        }
    }
}
