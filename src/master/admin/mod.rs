//! HTTP for operators and their tools: whether the cluster lives and serves, its metrics, its status.
//!
//! `request` and `answer` are bytes and values, `client` is one client, `figures` where the numbers come from; this file is
//! who is connected. Nobody is waited for, and nobody has more than their turn: the connections that this master is for come
//! first. Deadlines exist as long as there are clients, so that a master that nobody asks is not woken.

mod answer;
mod client;
mod figures;
mod request;

use std::{
    collections::VecDeque,
    io, mem,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::Duration,
};

use mio::{Interest, Registry, unix::SourceFd};

use self::{
    answer::{Answer, Check},
    client::{Client, Next},
    request::{Request, Wants},
};
use super::{Listen, Master, Source, sockets::Bound, stream::Stream};
use crate::{
    endpoint::Endpoint,
    http::{Date, answer::Manner},
    sys::{clock, net, unix::SocketFile},
    time::Time,
};

/// Clients at once. Who looks after a master are a few; the one that has been idle for longest makes room for a new one.
const MAX_CLIENTS: usize = 64;
/// Clients taken in one turn.
const ACCEPTS: usize = 16;
/// Answers in one turn. Figures, which take as long as dozens of hand-overs where workers are many, count as all of them.
const ANSWERS: usize = 4;
/// A Unix socket is its owner's alone if nothing else is said.
const MODE: u32 = 0o600;

/// See the module.
#[derive(Debug)]
pub(super) struct Admin {
    listener: OwnedFd,
    endpoint: Endpoint,
    _file: Option<SocketFile>,
    /// The kernel's queue was not seen empty.
    pending: bool,
    /// The system gives out no connection; when to try again.
    rests: Option<Time>,
    /// That was told.
    failed: bool,
    clients: Vec<Client>,
    /// Those that may go on, by their numbers.
    due: VecDeque<u32>,
    next: u32,
    date: Date,
    /// When the master was started, since 1970: as of when this was opened, so that it stays the same.
    started: Duration,
}

impl Admin {
    /// Whether there is something to do without waiting.
    pub(super) fn is_pending(&self) -> bool {
        !self.due.is_empty() || self.pending && self.rests.is_none()
    }

    /// When there is something to do if nothing happens.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.clients.iter().map(Client::deadline).chain(self.rests).min()
    }

    pub(super) fn handle_pending(&mut self) {
        self.pending = true;
    }

    pub(super) fn handle_client(&mut self, number: u32, is_readable: bool) {
        let Some(client) = self.client(number) else { return };
        if is_readable {
            client.handle_readable();
        }
        self.has_turn(number);
    }

    /// A client is to go on in this turn, or in the next one.
    fn has_turn(&mut self, number: u32) {
        if !self.due.contains(&number) {
            self.due.push_back(number);
        }
    }

    /// Takes a client, and has the one go that has been idle for longest if there are too many.
    fn add(&mut self, now: Time, registry: &Registry, socket: OwnedFd) -> io::Result<()> {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let (descriptor, token) = (socket.as_raw_fd(), Source::AdminClient(number).token());
        registry.register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
        if self.clients.len() >= MAX_CLIENTS {
            let idle = self.clients.iter().min_by_key(|client| client.moved());
            idle.map(|client| client.number).into_iter().for_each(|idle| self.forget(idle));
        }
        self.clients.push(Client::new(now, number, Stream::new(socket)));
        self.has_turn(number);
        Ok(())
    }

    fn client(&mut self, number: u32) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| client.number == number)
    }

    fn forget(&mut self, number: u32) {
        self.clients.retain(|client| client.number != number);
    }

    /// Answers a client, or [refuses](Client::refuse) what it has sent.
    fn answer(&mut self, now: Time, number: u32, answer: &Answer, manner: Option<Manner>) {
        self.date.set(clock::wall() / 1000);
        let Some(client) = self.clients.iter_mut().find(|client| client.number == number) else { return };
        match manner {
            Some(manner) => client.answer(now, answer, manner, self.date.as_bytes()),
            None => client.refuse(now, answer, self.date.as_bytes()),
        }
    }
}

impl Master {
    /// Answers there how the cluster is, and says where that is.
    pub(crate) fn open_admin(&mut self, listen: &Listen) -> io::Result<Endpoint> {
        let mut options = listen.options.clone();
        options.access.mode.get_or_insert(MODE);
        let Bound { socket, endpoint, file } = Bound::of(listen, &options)?;
        if matches!(endpoint, Endpoint::Udp(_)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.watch(&socket, Source::Admin)?;
        self.admin = Some(Admin {
            listener: socket,
            endpoint: endpoint.clone(),
            _file: file,
            pending: false,
            rests: None,
            failed: false,
            clients: Vec::new(),
            due: VecDeque::new(),
            next: 0,
            date: Date::default(),
            started: Duration::from_millis(clock::wall()).saturating_sub(clock::now() - self.started),
        });
        Ok(endpoint)
    }

    pub(crate) fn admin_endpoint(&self) -> Option<&Endpoint> {
        self.admin.as_ref().map(|admin| &admin.endpoint)
    }

    /// Takes who has connected, answers who has asked, and lets go of who takes too long.
    pub(super) fn serve_admin(&mut self) {
        let Some(admin) = &mut self.admin else { return };
        admin.rests.take_if(|at| *at <= self.now);
        self.accept_admin_clients();
        let mut answers = ANSWERS;
        let due = self.admin.as_mut().map(|admin| mem::take(&mut admin.due)).unwrap_or_default();
        for number in due {
            self.advance_admin_client(number, &mut answers);
        }
        if let Some(admin) = &mut self.admin {
            admin.clients.retain(|client| client.deadline() > self.now);
        }
    }

    fn accept_admin_clients(&mut self) {
        let pause = self.fleet.rules().accept_pause;
        for _ in 0..ACCEPTS {
            let Some(admin) = self.admin.as_mut().filter(|admin| admin.pending && admin.rests.is_none())
            else {
                return;
            };
            let accepted = net::accept(admin.listener.as_fd()).and_then(|socket| {
                // Of a Unix socket there is no such thing.
                let _ = net::send_at_once(&socket);
                admin.add(self.now, self.poll.registry(), socket)
            });
            match accepted {
                Ok(()) => admin.failed = false,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => admin.pending = false,
                Err(error) if net::is_of_the_client(&error) => {}
                Err(error) => {
                    admin.rests = Some(self.now + pause);
                    if !mem::replace(&mut admin.failed, true) {
                        let place = &admin.endpoint;
                        log::warn!("cannot accept who asks on {place} (admin): {error}; goes on when it can");
                    }
                }
            }
        }
    }

    /// Has a client go on, as long as there are answers left for this turn.
    fn advance_admin_client(&mut self, number: u32, answers: &mut usize) {
        loop {
            let now = self.now;
            let Some(admin) = &mut self.admin else { return };
            let Some(client) = admin.client(number) else { return };
            match client.advance(now, &mut self.buffer) {
                Next::Answer(Request { wants, manner }) if *answers > 0 => {
                    *answers = if wants.is_dear() { 0 } else { *answers - 1 };
                    let answer = self.admin_answer(wants);
                    let Some(admin) = &mut self.admin else { return };
                    admin.answer(now, number, &answer, Some(manner));
                }
                Next::Refuse(status) => admin.answer(now, number, &Answer::refusal(status), None),
                Next::Answer(_) | Next::Again => return admin.has_turn(number),
                Next::Wait => {
                    let source = Source::AdminClient(number);
                    if Self::watch_stream(&self.poll, &mut client.stream, source).is_err() {
                        admin.forget(number);
                    }
                    return;
                }
                Next::Over => return admin.forget(number),
            }
        }
    }

    fn admin_answer(&mut self, wants: Wants) -> Answer {
        match wants {
            Wants::Alive { verbose } => {
                Answer::checks("livez", &[Check { name: "loop", failure: None }], verbose)
            }
            Wants::Ready { verbose } => Answer::checks("readyz", &self.ready_checks(), verbose),
            Wants::Metrics(format) => {
                let started = self.admin.as_ref().map_or(Duration::ZERO, |admin| admin.started);
                Answer::ok(format.content_type(), self.metrics(format, started))
            }
            Wants::Status => self.status_as_json(),
            Wants::Refusal(status) => Answer::refusal(status),
        }
    }
}
