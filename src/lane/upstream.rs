//! Connections to upstreams: begun, used for one request after another, kept while idle.

use std::io;

use mio::event::Event;

use super::{
    Lane, NEVER, READS, Source,
    line::Line,
    source::{self, Place},
    turn, watch,
};
use crate::{
    forward::{
        record::Reason,
        session::{Failure, Side},
        upstreams::Outcome,
    },
    sys::{connect, net},
    time::Time,
};

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) line: Line,
    pub(super) upstream: u32,
    pub(super) stage: Stage,
    /// Requests that it has begun to serve.
    requests: u64,
    /// Bytes of this request that were written.
    written: u64,
    /// It takes nothing any more.
    deaf: bool,
    /// It has answered this request, or begun to.
    answers: bool,
    /// When it is looked at next: see [`super::timers`].
    timer: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// For this client.
    Connecting {
        client: usize,
    },
    /// Likewise.
    Busy {
        client: usize,
    },
    Idle,
}

impl Connection {
    /// It serves this client from now on.
    pub(super) fn begin(&mut self, client: usize) {
        self.stage = Stage::Busy { client };
        self.requests += 1;
        self.written = 0;
        self.answers = false;
    }

    pub(super) fn send<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) {
        if self.deaf {
            return;
        }
        let before = self.line.written();
        self.deaf = self.line.send(pieces).is_err();
        self.written += self.line.written() - before;
    }

    pub(super) fn is_deaf(&self) -> bool {
        self.deaf
    }

    fn client(&self) -> Option<usize> {
        match self.stage {
            Stage::Connecting { client } | Stage::Busy { client } => Some(client),
            Stage::Idle => None,
        }
    }
}

impl Lane {
    /// Begins a connection for a client.
    pub(super) fn start_connection(&mut self, client: usize, id: u32) -> io::Result<usize> {
        let endpoint = self.upstreams.endpoint(id).ok_or(io::ErrorKind::NotFound)?;
        let socket = connect::start(endpoint)?;
        self.figures.opened += 1;
        let serial = source::next(&mut self.serial);
        let connection = Connection {
            line: Line::new(socket, serial),
            upstream: id,
            stage: Stage::Connecting { client },
            requests: 0,
            written: 0,
            deaf: false,
            answers: false,
            timer: NEVER,
        };
        let key = self.upstream_connections.insert(connection);
        let connection = &mut self.upstream_connections[key];
        let place = connection.line.place(key);
        if let Err(error) = watch(self.poll.registry(), &connection.line, Source::Upstream(place)) {
            self.upstream_connections.remove(key);
            return Err(error);
        }
        let deadline = Some(self.now + self.rules.connect_timeout);
        self.timers.set(&mut connection.timer, deadline, Source::Upstream(place));
        Ok(key)
    }

    pub(super) fn handle_connect_timeout(&mut self, key: usize, at: Time) {
        let connection = &mut self.upstream_connections[key];
        if connection.timer != at {
            return;
        }
        connection.timer = NEVER;
        if let Stage::Connecting { .. } = connection.stage {
            self.handle_failure(key, Reason::ConnectTimeout);
        }
    }

    pub(super) fn handle_upstream_event(&mut self, place: Place, event: &Event) {
        if !self.is_upstream(place) {
            return;
        }
        let key = place.key;
        let connection = &mut self.upstream_connections[key];
        let hears = event.is_readable() || event.is_read_closed() || event.is_error();
        connection.line.handle_event(event);
        match connection.stage {
            Stage::Connecting { client } => {
                self.handle_connecting(key, client);
                // One that speaks first may have said something already.
                if self.is_upstream(place) {
                    self.read_upstream(key);
                }
            }
            Stage::Busy { .. } => {
                if event.is_writable() && connection.line.is_blocked() {
                    self.flush_upstream(key);
                }
                if hears && self.is_upstream(place) {
                    self.read_upstream(key);
                }
            }
            // It has been closed, or says something that nobody has asked for.
            Stage::Idle if hears => {
                let upstream = connection.upstream;
                self.pool.closed_by_peer(self.now, upstream, key);
                self.close_upstream(key);
            }
            Stage::Idle => {}
        }
    }

    fn handle_connecting(&mut self, key: usize, client: usize) {
        match connect::outcome(&self.upstream_connections[key].line) {
            Ok(false) => {}
            Ok(true) => {
                let mut flow = std::mem::take(&mut self.flow);
                self.begin(client, key, &mut flow);
                self.conclude(client, flow, &[]);
                self.resume_client(client);
            }
            Err(error) => {
                log::debug!("no connection to an upstream: {error}");
                self.handle_failure(key, Reason::ConnectFailed);
            }
        }
    }

    fn flush_upstream(&mut self, key: usize) {
        let connection = &mut self.upstream_connections[key];
        let Some(client) = connection.client() else { return };
        let before = connection.line.written();
        let flushed = connection.line.flush();
        connection.written += connection.line.written() - before;
        match flushed {
            Ok(done) => {
                if let Some(client) = self.clients.get_mut(client) {
                    client.session.handle_blocked(self.now, &self.rules, Side::Upstream, !done);
                }
                if done {
                    self.resume_client(client);
                }
                self.set_client_timer(client);
            }
            Err(_) => {
                connection.deaf = true;
                connection.line.readable = true;
                self.leave_upstream_over(key);
            }
        }
    }

    /// Reads what the session wants, a few times.
    pub(super) fn read_upstream(&mut self, key: usize) {
        // One that takes nothing and says nothing.
        if self
            .upstream_connections
            .get(key)
            .is_some_and(|connection| connection.deaf && connection.line.ended)
        {
            self.handle_failure(key, Reason::UpstreamClosed);
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut reads = 0;
        while reads < READS {
            reads += 1;
            let Some((client, connection)) = self.readable_pair(key) else { break };
            let read = connection.line.read(&mut buffer);
            match read {
                Ok(None) if connection.deaf => {
                    self.handle_failure(key, Reason::UpstreamClosed);
                    break;
                }
                Ok(None) => break,
                Ok(Some(0)) => {
                    self.handle_upstream_end(key, client);
                    break;
                }
                Ok(Some(bytes)) => self.take_from_upstream(key, client, &buffer[..bytes]),
                Err(_) => {
                    self.handle_failure(key, Reason::UpstreamClosed);
                    break;
                }
            }
        }
        self.buffer = buffer;
        if self.readable_pair(key).is_some() {
            self.leave_upstream_over(key);
        }
    }

    /// Has one that may be read from have another turn.
    pub(super) fn leave_upstream_over(&mut self, key: usize) {
        let line = &mut self.upstream_connections[key].line;
        if !std::mem::replace(&mut line.left_over, true) {
            self.leftovers.push_back(Source::Upstream(line.place(key)));
        }
    }

    /// A connection that may be read from now, and its client.
    fn readable_pair(&mut self, key: usize) -> Option<(usize, &mut Connection)> {
        let connection = self.upstream_connections.get_mut(key)?;
        let Stage::Busy { client } = connection.stage else { return None };
        let other = self.clients.get(client)?;
        let may = connection.line.readable
            && !connection.line.ended
            && other.session.wants_upstream()
            && !other.line.is_blocked();
        may.then_some((client, connection))
    }

    fn take_from_upstream(&mut self, key: usize, client: usize, bytes: &[u8]) {
        let connection = &mut self.upstream_connections[key];
        let is_first = !connection.answers;
        let kept = std::mem::take(&mut connection.line.input);
        if kept.is_empty() {
            let taken = self.offer_answer(key, client, bytes);
            self.keep_of_upstream(key, client, &bytes[taken..]);
        } else {
            let mut all = kept;
            all.extend_from_slice(bytes);
            let taken = self.offer_answer(key, client, &all);
            self.keep_of_upstream(key, client, &all[taken..]);
        }
        self.hurry(key, client, is_first);
        // An answer may be over, or allow a tunnel: what its client has sent on can be used now.
        self.resume_client(client);
    }

    /// A program that writes the head of an answer by itself may have the body wait until that was acknowledged, which takes 40 ms
    /// where nobody has anything to send.
    fn hurry(&self, key: usize, client: usize, is_first: bool) {
        let Some(connection) = self.upstream_connections.get(key).filter(|_| is_first) else { return };
        if connection.stage == (Stage::Busy { client }) && !connection.line.readable {
            net::acknowledge(&connection.line);
        }
    }

    fn keep_of_upstream(&mut self, key: usize, client: usize, rest: &[u8]) {
        let Some(connection) = self.upstream_connections.get_mut(key) else { return };
        if !rest.is_empty() && connection.stage == (Stage::Busy { client }) {
            connection.line.keep(rest);
        }
    }

    /// Offers an upstream's bytes to the session, and returns how many it has taken.
    fn offer_answer(&mut self, key: usize, client_key: usize, input: &[u8]) -> usize {
        let mut at = 0;
        while at < input.len() {
            let busy = |connection: &Connection| connection.stage == Stage::Busy { client: client_key };
            if !self.upstream_connections.get(key).is_some_and(busy) {
                break;
            }
            let Some(client) = self.clients.get_mut(client_key) else { break };
            let mut flow = std::mem::take(&mut self.flow);
            let here = &input[at..];
            let taken = client.session.handle_upstream(&mut turn!(self, client), here, &mut flow);
            at += taken;
            self.conclude(client_key, flow, here);
            self.note_answer(key);
            if taken == 0 {
                break;
            }
        }
        at
    }

    /// An upstream that was on trial is well again as soon as it answers.
    fn note_answer(&mut self, key: usize) {
        let Some(connection) = self.upstream_connections.get_mut(key) else { return };
        if !std::mem::replace(&mut connection.answers, true) {
            self.upstreams.answered(connection.upstream);
        }
    }

    fn handle_upstream_end(&mut self, key: usize, client_key: usize) {
        let connection = &self.upstream_connections[key];
        let (unwritten, reused) = (connection.written == 0, connection.requests > 1);
        let failure = Failure { reason: Reason::UpstreamClosed, unwritten, reused };
        let Some(client) = self.clients.get_mut(client_key) else { return };
        // One that has said nothing has failed, or was kept too long; a tunnel has ended.
        let is_silent = !connection.answers && !client.session.is_tunnel();
        if is_silent || client.session.may_retry(&self.rules, failure) {
            self.handle_failure(key, Reason::UpstreamClosed);
            return;
        }
        let mut flow = std::mem::take(&mut self.flow);
        client.session.handle_upstream_end(&mut turn!(self, client), &mut flow);
        self.conclude(client_key, flow, &[]);
        self.resume_client(client_key);
    }

    /// A connection is of no use any more, and its request perhaps another's.
    fn handle_failure(&mut self, key: usize, reason: Reason) {
        let Some(connection) = self.remove_upstream(key) else { return };
        let Some(client) = connection.client() else { return };
        let reused = connection.requests > 1;
        let unwritten = connection.written == 0;
        drop(connection.line);
        let mut flow = std::mem::take(&mut self.flow);
        let next = self.fail_over(client, connection.upstream, reason, unwritten, reused, &mut flow);
        self.settle(client, next, flow);
    }

    /// Nobody wants to know any more what comes on a connection that is connecting or busy.
    pub(super) fn abandon(&mut self, key: usize) {
        let Some(connection) = self.remove_upstream(key) else { return };
        self.end_at(connection.upstream, Outcome::Neither);
    }

    /// Closes one that serves nobody.
    pub(super) fn close_upstream(&mut self, key: usize) {
        self.remove_upstream(key);
    }

    fn remove_upstream(&mut self, key: usize) -> Option<Connection> {
        self.upstream_connections.try_remove(key)
    }
}
