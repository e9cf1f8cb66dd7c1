//! Clients: their connections, and what happens to them.

use std::{os::fd::OwnedFd, time::Duration};

use mio::event::Event;

use super::{Lane, NEVER, READS, Source, line::Line, source, turn, watch};
use crate::{
    forward::{
        rules::ForwardProtocol,
        session::{Ending, Peer, Session, Side},
    },
    sys::{net, wire},
    time::Time,
    worker::{Connection, ConnectionGuard},
};

/// What is kept of a client that sends on while it waits for an answer: about what a browser pipelines.
const KEPT: usize = 16 << 10;

/// How long a client that has said all waits for its answer before it is asked whether it is still there: who only half-closes
/// its connection, and is answered at once, is not bothered.
const PROBE: Duration = Duration::from_secs(1);

/// How long a client whose connection ends may send on, so that it reads the answer before it is reset.
const LINGER: Duration = Duration::from_secs(5);

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) line: Line,
    pub(super) session: Session,
    pub(super) peer: Peer,
    pub(super) partner: Partner,
    pub(super) ending: Option<Ending>,
    /// How much of what is kept the session was offered.
    heard: usize,
    /// The session was told that nothing more comes.
    pub(super) told_end: bool,
    /// When it is looked at next: see [`super::timers`].
    pub(super) timer: Time,
    /// Until when it is lingered for.
    lingers_until: Time,
    /// When to ask one that has said all whether it is still there.
    probe_at: Option<Time>,
    /// Until when its request may wait for an upstream with room, once it has begun to.
    pub(super) waits_until: Option<Time>,
    /// Upstreams that have failed its request.
    pub(super) tried: Vec<u32>,
    /// A kept connection has failed its request: the next is a new one.
    pub(super) fresh: bool,
    /// Counts it as one of those that there may be.
    _guard: ConnectionGuard,
}

/// Who serves a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Partner {
    Nobody,
    /// It waits for an upstream with room.
    Queued,
    /// It waits for this connection.
    Connecting(usize),
    /// This connection.
    Connected(usize),
}

impl Partner {
    pub(super) fn connected(self) -> Option<usize> {
        match self {
            Self::Connected(key) => Some(key),
            Self::Nobody | Self::Queued | Self::Connecting(_) => None,
        }
    }
}

impl Lane {
    /// Takes a connection that was accepted.
    pub(super) fn welcome(&mut self, connection: Connection) {
        let (stream, guard) = connection.into_parts();
        let peer = match &stream {
            crate::worker::Stream::Tcp(stream) => {
                // Both fail only on a connection that is gone.
                let (Ok(address), Ok(())) = (stream.peer_addr(), net::send_at_once(stream)) else { return };
                Peer { address: Some(address) }
            }
            crate::worker::Stream::Unix(_) => Peer { address: None },
        };
        let session = match self.rules.protocol {
            ForwardProtocol::Tcp => Session::tcp(self.now, &self.rules),
            ForwardProtocol::Http => Session::http(self.now, &self.rules),
        };
        let serial = source::next(&mut self.serial);
        let client = Client {
            line: Line::new(OwnedFd::from(stream), serial),
            session,
            peer,
            partner: Partner::Nobody,
            ending: None,
            heard: 0,
            told_end: false,
            timer: NEVER,
            lingers_until: NEVER,
            probe_at: None,
            waits_until: None,
            tried: Vec::new(),
            fresh: false,
            _guard: guard,
        };
        let key = self.clients.insert(client);
        self.figures.accepted += 1;
        self.news.set(self.now);
        let line = &self.clients[key].line;
        if let Err(error) = watch(self.poll.registry(), line, Source::Client(line.place(key))) {
            log::warn!("cannot watch a connection: {error}");
            self.drop_client(key);
            return;
        }
        let mut flow = std::mem::take(&mut self.flow);
        let client = &mut self.clients[key];
        client.session.start(&mut turn!(self, client), &mut flow);
        self.conclude(key, flow, &[]);
        if self.leaving {
            self.drain_client(key);
        }
    }

    pub(super) fn handle_client_event(&mut self, place: source::Place, event: &Event) {
        if !self.is_client(place) {
            return;
        }
        let key = place.key;
        if event.is_writable() && self.clients[key].line.is_blocked() {
            self.flush_client(key);
        }
        let Some(client) = self.clients.get_mut(key).filter(|client| client.line.is_at(place)) else {
            return;
        };
        // Reset. One that has only ended in both directions may have left bytes behind, which are read first.
        if event.is_error() {
            self.handle_client_gone(key);
            return;
        }
        if event.is_readable() || event.is_read_closed() {
            client.line.handle_event(event);
            self.read_client(key);
        }
    }

    /// Reads what the session wants, a few times.
    pub(super) fn read_client(&mut self, key: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..READS {
            let Some(client) = self.clients.get_mut(key) else { break };
            if !client.line.readable || client.line.ended {
                break;
            }
            let may = match client.ending {
                Some(_) => true,
                None => self.may_read_client(key),
            };
            let client = &mut self.clients[key];
            // An end is looked for in any case, and found where the client does not send on.
            if !may && client.line.kept() >= KEPT {
                break;
            }
            let room = if may { buffer.len() } else { KEPT - client.line.kept() };
            match client.line.read(&mut buffer[..room]) {
                Ok(None) => break,
                Ok(Some(0)) => {
                    self.handle_client_end(key);
                    break;
                }
                Ok(Some(_)) if client.ending.is_some() => {}
                Ok(Some(bytes)) => self.take_from_client(key, &buffer[..bytes]),
                Err(_) => {
                    self.handle_client_gone(key);
                    break;
                }
            }
        }
        self.buffer = buffer;
        self.read_on(key);
    }

    /// Has one that may be read from have another turn.
    fn read_on(&mut self, key: usize) {
        let Some(client) = self.clients.get(key) else { return };
        if client.line.readable
            && !client.line.ended
            && (client.ending.is_some() || self.may_read_client(key))
        {
            self.leave_client_over(key);
        }
    }

    fn leave_client_over(&mut self, key: usize) {
        let line = &mut self.clients[key].line;
        if !std::mem::replace(&mut line.left_over, true) {
            self.leftovers.push_back(Source::Client(line.place(key)));
        }
    }

    fn may_read_client(&self, key: usize) -> bool {
        self.clients.get(key).is_some_and(|client| client.session.wants_client()) && self.has_room_for(key)
    }

    /// Whether what a client says can be written to its upstream, as far as it has one.
    fn has_room_for(&self, key: usize) -> bool {
        let other = self.clients.get(key).and_then(|client| client.partner.connected());
        !other.and_then(|key| self.upstream_connections.get(key)).is_some_and(|other| other.line.is_blocked())
    }

    fn take_from_client(&mut self, key: usize, bytes: &[u8]) {
        let has_room = self.has_room_for(key);
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.line.kept() == 0 && has_room {
            let taken = self.offer(key, bytes);
            if let Some(client) = self.clients.get_mut(key).filter(|client| client.ending.is_none()) {
                client.line.keep(&bytes[taken..]);
                client.heard = client.line.kept();
            }
        } else {
            client.line.keep(bytes);
            self.offer_kept(key);
        }
    }

    /// Offers the session what it has not taken before.
    pub(super) fn offer_kept(&mut self, key: usize) {
        if !self.has_room_for(key) {
            return;
        }
        let Some(client) = self.clients.get_mut(key) else { return };
        let mut kept = std::mem::take(&mut client.line.input);
        let taken = self.offer(key, &kept);
        if let Some(client) = self.clients.get_mut(key).filter(|client| client.ending.is_none()) {
            kept.drain(..taken);
            client.heard = kept.len();
            if !kept.is_empty() {
                client.line.input = kept;
            }
        }
    }

    /// Goes on with a client that could not be read from, or whose bytes could not be taken.
    pub(super) fn resume_client(&mut self, key: usize) {
        let Some(client) = self.clients.get(key) else { return };
        if client.ending.is_some() {
            return;
        }
        if client.line.kept() > client.heard || client.session.wants_rest() {
            self.offer_kept(key);
        }
        self.tell_end(key);
        self.read_on(key);
    }

    /// Nothing more comes of a client.
    fn handle_client_end(&mut self, key: usize) {
        match self.clients[key].ending {
            // What it has sent is read, and it has what we have sent or will never.
            Some(_) if !self.clients[key].line.is_blocked() => self.drop_client(key),
            Some(_) => {}
            None => self.tell_end(key),
        }
    }

    /// Tells the session so, when all that came before was offered to it.
    pub(super) fn tell_end(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let is_heard = client.line.kept() == client.heard;
        if !client.line.ended || client.told_end || client.ending.is_some() || !is_heard {
            return;
        }
        client.told_end = true;
        let mut flow = std::mem::take(&mut self.flow);
        client.session.handle_client_end(&mut turn!(self, client), &mut flow);
        match client.partner {
            Partner::Queued => client.session.probe(&mut flow),
            _ => client.probe_at = Some(self.now + PROBE),
        }
        self.conclude(key, flow, &[]);
    }

    pub(super) fn handle_client_gone(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let mut flow = std::mem::take(&mut self.flow);
        if client.ending.is_none() {
            client.session.handle_client_gone(&mut turn!(self, client), &mut flow);
            self.conclude(key, flow, &[]);
        } else {
            self.flow = flow;
        }
        self.drop_client(key);
    }

    pub(super) fn handle_client_timeout(&mut self, key: usize, at: Time) {
        let client = &mut self.clients[key];
        if client.timer != at {
            return;
        }
        client.timer = NEVER;
        if client.ending.is_some() {
            if client.lingers_until <= self.now {
                self.drop_client(key);
            } else {
                self.set_client_timer(key);
            }
            return;
        }
        if client.probe_at.take_if(|at| *at <= self.now).is_some() {
            let mut flow = std::mem::take(&mut self.flow);
            client.session.probe(&mut flow);
            self.conclude(key, flow, &[]);
        }
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.session.deadline().is_some_and(|at| at <= self.now) {
            let mut flow = std::mem::take(&mut self.flow);
            client.session.handle_timeout(&mut turn!(self, client), &mut flow);
            self.conclude(key, flow, &[]);
            self.resume_client(key);
        }
        self.set_client_timer(key);
    }

    pub(super) fn set_client_timer(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let deadline = match client.ending {
            Some(_) => Some(client.lingers_until),
            None => client.session.deadline().into_iter().chain(client.probe_at).min(),
        };
        let place = client.line.place(key);
        self.timers.set(&mut client.timer, deadline, Source::Client(place));
    }

    /// Writes what waited for room.
    fn flush_client(&mut self, key: usize) {
        let client = &mut self.clients[key];
        match client.line.flush() {
            Ok(true) => {
                client.session.handle_blocked(self.now, &self.rules, Side::Client, false);
                if client.ending.is_some() {
                    self.end_client(key);
                } else if let Some(upstream) = client.partner.connected() {
                    self.read_upstream(upstream);
                    self.resume_client(key);
                } else {
                    self.resume_client(key);
                }
            }
            // Some of it went, so it is not stuck.
            Ok(false) => {
                client.session.handle_blocked(self.now, &self.rules, Side::Client, true);
                client.lingers_until = self.now + self.rules.send_timeout;
            }
            Err(_) => self.handle_client_gone(key),
        }
        self.set_client_timer(key);
    }

    /// Begins the end of a client's connection.
    pub(super) fn begin_end(&mut self, key: usize, ending: Ending) {
        let client = &mut self.clients[key];
        client.ending = Some(ending);
        client.lingers_until = self.now + self.rules.send_timeout;
        if ending == Ending::Cut || !client.line.is_blocked() {
            self.end_client(key);
        }
        self.set_client_timer(key);
    }

    /// What was to be written is.
    fn end_client(&mut self, key: usize) {
        let client = &mut self.clients[key];
        match client.ending {
            Some(Ending::Cut) => {
                wire::reset_at_end(&client.line);
                self.drop_client(key);
            }
            // What it has sent on would make the end a reset.
            Some(ending @ (Ending::Linger | Ending::Close))
                if !client.line.ended && (ending == Ending::Linger || !wire::is_quiet(&client.line)) =>
            {
                client.line.end_writing();
                client.lingers_until = self.now + LINGER;
                client.line.input = Vec::new();
                client.line.readable = true;
                client.timer = NEVER;
                self.leave_client_over(key);
                self.set_client_timer(key);
            }
            _ => self.drop_client(key),
        }
    }

    pub(super) fn drain_client(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.ending.is_some() {
            return;
        }
        let mut flow = std::mem::take(&mut self.flow);
        client.session.drain(&mut turn!(self, client), &mut flow);
        self.conclude(key, flow, &[]);
    }

    pub(super) fn drop_client(&mut self, key: usize) {
        let Some(client) = self.clients.try_remove(key) else { return };
        self.news.set(self.now);
        match client.partner {
            Partner::Nobody => {}
            Partner::Queued => self.forget_waiting(key),
            Partner::Connecting(upstream) | Partner::Connected(upstream) => self.abandon(upstream),
        }
    }
}
