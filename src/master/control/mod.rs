//! The control socket: clients that steer the cluster and see what it does.
//!
//! Lines of clients become requests, which `verbs` carries out; what has happened becomes answers to those that wait, and
//! events for those that want them. Nobody is waited for: what a client does not read waits in bounded memory, and events
//! beyond that are dropped and counted. What requests and answers mean is `crate::control`'s business.
//!
//! `server` is the state and `client` one of those who are connected. What happens while a request is carried out is told to those that wait after it, so that none is missed.

mod client;
mod server;
mod verbs;

use std::{
    io, mem,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use serde_json::json;

pub(super) use self::server::Server;
use self::{
    client::{Client, Standing},
    server::Ticket,
};
use super::{Master, Source, stream::Heard};
use crate::{
    control::{Answer, Code, MAX_LINE, Refusal, Request, RequestId, Until, Verb, answer, greeting},
    fleet::{Event, Request as Asked},
    sys::{
        bind::Options,
        net,
        peer::Peer,
        unix::{self, Access},
    },
};

/// Who may be connected at once: a few people, dashboards and scripts.
const MAX_CLIENTS: usize = 64;

/// Requests carried out in one turn, of all clients together: connections are to wait for none of them.
const REQUESTS: usize = 16;

/// What may wait for a client to read, in bytes; then its events are dropped, and its requests wait.
const MAX_WAITING: usize = 256 << 10;

/// Clients that are let in because of the group that they are in: the owner finds a place in any case.
const MAX_MEMBERS: usize = MAX_CLIENTS - 8;

/// What one client may wait for at once.
const MAX_WAITS: usize = 64;

/// Connections that wait to be accepted, which happens at the next turn.
const BACKLOG: u32 = 64;

/// How long a request keeps the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cost {
    Cheap,
    /// It asks the kernel something of each worker, or starts some: it is the last in a turn.
    Dear,
}

impl Cost {
    fn of(verb: &Verb) -> Self {
        match verb {
            Verb::Status {}
            | Verb::Reload { .. }
            | Verb::Restart { .. }
            | Verb::Scale { .. }
            | Verb::Stop { .. }
            | Verb::Fork { .. } => Self::Dear,
            Verb::Abort {}
            | Verb::Disconnect { .. }
            | Verb::Kill { .. }
            | Verb::Send { .. }
            | Verb::Drain { .. }
            | Verb::Undrain { .. }
            | Verb::Events {}
            | Verb::Logs { .. } => Self::Cheap,
        }
    }
}

impl Master {
    /// Has the cluster steered by a socket at this absolute path.
    pub(crate) fn open_control(
        &mut self,
        path: &Path,
        name: Option<String>,
        group: Option<u32>,
    ) -> io::Result<()> {
        let mode = Some(if group.is_some() { 0o660 } else { 0o600 });
        let options = Options {
            backlog: BACKLOG,
            access: Access { mode, group, ..Access::default() },
            ..Options::default()
        };
        let (listener, file) = unix::listen_unix(path, &options, None)?;
        self.watch(&listener, Source::Control)?;
        self.control = Some(Server::new(listener, file, name, group));
        Ok(())
    }

    pub(crate) fn control_path(&self) -> Option<&Path> {
        self.control.as_ref().map(|server| server.file.path())
    }

    /// The kernel's queue of clients is not empty.
    pub(super) fn control_waits(&mut self) {
        if let Some(server) = &mut self.control {
            server.pending = true;
        }
    }

    /// A client has said something, reads again, or is gone.
    pub(super) fn control_client(&mut self, number: u32, ready: &mio::event::Event) {
        let Some(client) = self.control.as_mut().and_then(|server| server.clients.get_mut(&number)) else {
            return;
        };
        client.is_gone |= ready.is_write_closed() || ready.is_error();
        client.unread |= ready.is_readable() || ready.is_read_closed();
        if let Some(server) = &mut self.control {
            server.stir(number);
        }
    }

    /// One turn of the control socket: takes who has connected, does what is asked for, tells what has happened.
    pub(super) fn serve_control(&mut self) {
        if !self.control.as_ref().is_some_and(|server| server.is_due(self.now)) {
            return;
        }
        self.accept_clients();
        self.serve_clients();
        self.refuse_unanswered();
        let now = self.now;
        let Some(server) = &mut self.control else { return };
        server.tell_news();
        if server.waits.looks_at_fleet() {
            let fleet = &self.fleet;
            let replacement = |slot, since| fleet.replacement(slot, since);
            server.waits.handle_state(fleet.wanted(), fleet.is_settled(), replacement);
        }
        if server.waits.poll_timeout().is_some_and(|at| at <= now) {
            server.waits.handle_timeout(now);
        }
        server.answer_due();
        for client in server.flush() {
            self.unwatch(&client.stream);
            client.stream.close();
        }
        self.watch_clients();
    }

    /// Takes those who have connected, unless the system has refused to give one out a moment ago.
    fn accept_clients(&mut self) {
        for _ in 0..MAX_CLIENTS {
            let Some(server) = self.control.as_mut() else { return };
            server.rests.take_if(|at| *at <= self.now);
            if !server.pending || server.rests.is_some() {
                return;
            }
            match net::accept(server.listener.as_fd()) {
                Ok(stream) => self.add_client(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => server.pending = false,
                Err(error) if net::is_of_the_client(&error) => {}
                Err(error) => {
                    if !mem::replace(&mut server.failed, true) {
                        log::warn!("cannot hear clients of the control socket: {error}; goes on when it can");
                    }
                    server.rests = Some(self.now + self.fleet.rules().accept_pause);
                    return;
                }
            }
        }
    }

    fn add_client(&mut self, socket: OwnedFd) {
        let Some(server) = &mut self.control else { return };
        server.failed = false;
        let standing = match Peer::of(&socket) {
            Ok(peer) if peer.is_owner() => Ok(Standing::Owner),
            Ok(peer) if server.group.is_some_and(|group| peer.is_in(group)) => Ok(Standing::Member),
            Ok(peer) => {
                log::info!("user {} may not steer this cluster, and was turned away", peer.uid);
                let message = "only root, the master's own user and the members of control_group may connect";
                Err(Refusal::new(Code::NotPermitted, message))
            }
            Err(error) => {
                Err(Refusal::new(Code::NotPermitted, format!("who has connected is unknown: {error}")))
            }
        };
        let number = server.next;
        server.next = server.next.wrapping_add(1);
        let mut client =
            Client::new(socket, self.now, standing.as_ref().copied().unwrap_or(Standing::Member));
        client.stream.queue(&greeting(env!("CARGO_PKG_VERSION"), std::process::id(), server.name()));
        let most = if client.standing == Standing::Owner { MAX_CLIENTS } else { MAX_MEMBERS };
        let has_room = server.clients.len() < most;
        let evicted = if has_room || standing.is_err() { None } else { server.idlest() };
        let is_full = !has_room && evicted.is_none();
        let full =
            || Refusal::new(Code::Busy, format!("there are {MAX_CLIENTS} clients that wait for something"));
        if let Some(refusal) = standing.err().or_else(|| is_full.then(full)) {
            client.stream.queue(&answer(&RequestId::NONE, &Err(refusal)));
            // It is small: either the socket takes it now, or the client sees a closed connection.
            let _ = client.stream.flush();
            return client.stream.close();
        }
        if let Some(evicted) = evicted.and_then(|number| server.forget(number)) {
            self.unwatch(&evicted.stream);
            evicted.stream.close();
        }
        if let Err(error) = self.watch(&client.stream, Source::ControlClient(number)) {
            return log::warn!("cannot hear a client of the control socket: {error}");
        }
        if let Some(server) = &mut self.control {
            server.clients.insert(number, client);
            server.due.push_back(number);
        }
    }

    /// Does what clients ask for: so much in one turn, of each in turn.
    fn serve_clients(&mut self) {
        let mut left = REQUESTS;
        while left > 0 {
            let Some(number) = self.control.as_mut().and_then(Server::next_due) else { return };
            self.serve_client(number, &mut left);
            let Some(server) = &mut self.control else { return };
            let waits = server.has_ticket(number);
            if !waits && server.clients.get_mut(&number).is_some_and(Client::has_requests) {
                server.stir(number);
            }
        }
    }

    /// Reads what a client has sent, and does what it asks for, as much as is left in this turn.
    fn serve_client(&mut self, number: u32, left: &mut usize) {
        let now = self.now;
        let mut buffer = mem::take(&mut self.buffer);
        let Some(client) = self.control.as_mut().and_then(|server| server.clients.get_mut(&number)) else {
            self.buffer = buffer;
            return;
        };
        if client.wants_to_read() {
            client.last = now;
            match client.stream.read(&mut buffer, MAX_LINE + 1) {
                Heard::All => client.unread = false,
                Heard::Enough => {}
                Heard::End => (client.unread, client.ended) = (false, true),
            }
        }
        self.buffer = buffer;
        while *left > 0 {
            // What comes after a reload waits until that is begun, as it is in order.
            let server = self.control.as_mut().filter(|server| !server.has_ticket(number));
            let client = server.and_then(|server| server.clients.get_mut(&number));
            let Some(line) = client.and_then(Client::next_line) else { return };
            *left -= 1;
            match line {
                Ok(line) if self.handle_line(number, &line) == Cost::Dear => *left = 0,
                Ok(_) => {}
                Err(refusal) => self.answer_client(number, &RequestId::NONE, &Err(refusal)),
            }
        }
    }

    fn handle_line(&mut self, number: u32, line: &[u8]) -> Cost {
        if let Some(server) = &mut self.control {
            // What was before must not be taken for what comes of this.
            server.tell_news();
            server.answer_due();
        }
        match Request::parse(line) {
            Ok(request) => {
                let (id, cost) = (request.id.clone(), Cost::of(&request.verb));
                if let Some(answer) = self.obey(number, request) {
                    self.answer_client(number, &id, &answer);
                }
                cost
            }
            Err((id, refusal)) => {
                self.answer_client(number, &id, &Err(refusal));
                Cost::Cheap
            }
        }
    }

    fn answer_client(&mut self, number: u32, id: &RequestId, answer: &Answer) {
        if let Some(server) = &mut self.control {
            server.answer(number, id, answer);
        }
    }

    /// A reload that somebody has asked for is begun.
    pub(super) fn reload_begins(
        &mut self,
        ticket: Option<u32>,
        warnings: &[String],
        generation: u32,
        workers: usize,
    ) {
        let now = self.now;
        let Some((server, Ticket { client, id, patience })) = self.take_ticket(ticket) else { return };
        // What was before must not be taken for what comes of this.
        server.tell_news();
        if patience.wait {
            let until = Until::Reloaded { generation, workers };
            server.waits.add(now, client, id, until, patience.timeout);
            server.waits.warn(warnings);
        } else {
            let value = json!({ "generation": generation, "workers": workers, "warnings": warnings });
            server.answer(client, &id, &Ok(value));
        }
        server.stir(client);
    }

    /// A reload that somebody has asked for is not going to be.
    pub(super) fn reload_is_refused(&mut self, ticket: Option<u32>, refusal: Refusal) {
        if let Some((server, Ticket { client, id, .. })) = self.take_ticket(ticket) {
            server.answer(client, &id, &Err(refusal));
            server.stir(client);
        }
    }

    fn take_ticket(&mut self, ticket: Option<u32>) -> Option<(&mut Server, Ticket)> {
        let server = self.control.as_mut()?;
        let ticket = server.tickets.remove(&ticket?)?;
        Some((server, ticket))
    }

    /// Questions that the program has taken and not answered are never going to be.
    fn refuse_unanswered(&mut self) {
        let Some(server) = self.control.as_mut().filter(|server| !server.tickets.is_empty()) else { return };
        let asked = |event: &Event| match event {
            Event::Asked(Asked::Reload(request)) => request.ticket,
            _ => None,
        };
        let open: Vec<u32> = self.happened.iter().filter_map(asked).collect();
        let taken: Vec<_> = server.tickets.keys().copied().filter(|ticket| !open.contains(ticket)).collect();
        for number in taken {
            let Some(Ticket { client, id, .. }) = server.tickets.remove(&number) else { continue };
            let refusal =
                Refusal::new(Code::Refused, "the program that runs this cluster does not reload it");
            server.answer(client, &id, &Err(refusal));
            server.stir(client);
        }
    }

    /// Watches for room where something waits for it.
    fn watch_clients(&mut self) {
        let Some(server) = &mut self.control else { return };
        for (&number, client) in &mut server.clients {
            let source = Source::ControlClient(number);
            if let Err(error) = Self::watch_stream(&self.poll, &mut client.stream, source) {
                log::warn!("cannot hear a client of the control socket: {error}");
                client.is_gone = true;
            }
        }
        server.stirred = server.clients.values().any(|client| client.is_gone);
    }
}
