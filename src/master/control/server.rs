//! The control socket's state: its clients, what they wait for, and what they were not told yet.
//!
//! What has happened enters, and becomes answers and lines that wait for clients to take them. Nothing here reads a request
//! or does what is asked for.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    os::fd::OwnedFd,
};

use super::client::Client;
use crate::{
    control::{Answer, Due, Known, Patience, RequestId, Waits, answer, told},
    fleet::{Event, Trouble, WorkerId},
    sys::{clock, unix::SocketFile},
    time::Time,
};

/// The socket and its clients.
#[derive(Debug)]
pub(in crate::master) struct Server {
    pub(super) listener: OwnedFd,
    pub(super) file: SocketFile,
    /// What this master is called.
    name: Option<String>,
    /// Whose members may steer it.
    pub(super) group: Option<u32>,
    /// The kernel's queue was not seen empty.
    pub(super) pending: bool,
    /// Clients that may have something to be done, in turn.
    pub(super) due: VecDeque<u32>,
    /// Clients have something that waits for them, or are gone.
    pub(super) stirred: bool,
    /// The system has refused to give a client out: tried again then.
    pub(super) rests: Option<Time>,
    /// The system has refused to give a client out, which was told.
    pub(super) failed: bool,
    pub(super) clients: BTreeMap<u32, Client>,
    pub(super) next: u32,
    pub(super) waits: Waits,
    /// Workers whose end was not told yet.
    known: BTreeMap<WorkerId, Known>,
    /// What has happened and was not told yet, and when.
    news: VecDeque<(u64, Event)>,
    /// Who has asked for a reload that the program has not begun, by the number of the question.
    pub(super) tickets: BTreeMap<u32, Ticket>,
    pub(super) next_ticket: u32,
}

/// Whose a question is.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) client: u32,
    pub(super) id: RequestId,
    pub(super) patience: Patience,
}

impl Server {
    /// One that nobody has connected to.
    pub(super) fn new(listener: OwnedFd, file: SocketFile, name: Option<String>, group: Option<u32>) -> Self {
        Self {
            listener,
            file,
            name,
            group,
            pending: false,
            due: VecDeque::new(),
            stirred: false,
            rests: None,
            failed: false,
            clients: BTreeMap::new(),
            next: 0,
            waits: Waits::default(),
            known: BTreeMap::new(),
            news: VecDeque::new(),
            tickets: BTreeMap::new(),
            next_ticket: 0,
        }
    }

    /// What the master is called.
    pub(in crate::master) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// A process is being started for a worker.
    pub(in crate::master) fn learn(&mut self, worker: WorkerId, known: Known) {
        self.known.insert(worker, known);
    }

    /// Something has happened.
    pub(in crate::master) fn handle_event(&mut self, event: &Event) {
        // Nobody waits for a message, and it may be large.
        if !matches!(event, Event::Message { .. }) || self.has_listeners() {
            self.news.push_back((clock::wall(), event.clone()));
        }
    }

    pub(super) fn has_listeners(&self) -> bool {
        self.clients.values().any(Client::listens)
    }

    /// Tells what has happened.
    pub(super) fn tell_news(&mut self) {
        while let Some((wall, news)) = self.news.pop_front() {
            let known = |worker| self.known.get(&worker).copied();
            self.waits.handle_event(&news, |worker| Some(known(worker)?.slot));
            if self.has_listeners() {
                let text = told(&news, wall, known).to_string();
                self.clients.values_mut().for_each(|client| client.hear(&text));
            }
            match news {
                Event::Exit { worker, .. } => drop(self.known.remove(&worker)),
                Event::Trouble {
                    worker,
                    trouble: Trouble::Unkillable { .. } | Trouble::SpawnFailed { .. },
                } => {
                    self.known.remove(&worker);
                }
                _ => {}
            }
        }
    }

    /// Gives those that have waited what they have waited for.
    pub(super) fn answer_due(&mut self) {
        while let Some(Due { client, id, answer }) = self.waits.poll_answer() {
            self.answer(client, &id, &answer);
        }
    }

    pub(super) fn answer(&mut self, client: u32, id: &RequestId, said: &Answer) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.stream.queue(&answer(id, said));
        }
    }

    /// Whether a client is owed something, so that it is there for a reason.
    pub(super) fn is_owed(&self, number: u32) -> bool {
        self.clients.get(&number).is_some_and(Client::listens)
            || self.waits.count(number) > 0
            || self.has_ticket(number)
    }

    /// Whether it has asked for a reload that is not begun.
    pub(super) fn has_ticket(&self, number: u32) -> bool {
        self.tickets.values().any(|ticket| ticket.client == number)
    }

    /// The client that has been of no use for longest; if there is none, the one that wants to be told what happens and has
    /// not listened for longest.
    pub(super) fn idlest(&self) -> Option<u32> {
        let oldest = |is_useless: &dyn Fn(u32, &Client) -> bool| {
            let useless = self.clients.iter().filter(|(number, client)| is_useless(**number, client));
            useless.min_by_key(|(_, client)| client.last).map(|(&number, _)| number)
        };
        oldest(&|number, _| !self.is_owed(number)).or_else(|| oldest(&|_, client| client.is_stalled()))
    }

    /// A client may have something to be done.
    pub(super) fn stir(&mut self, number: u32) {
        if let Some(client) = self.clients.get_mut(&number)
            && !std::mem::replace(&mut client.is_due, true)
        {
            self.due.push_back(number);
        }
        self.stirred = true;
    }

    /// The next client that may, if there is one.
    pub(super) fn next_due(&mut self) -> Option<u32> {
        let number = self.due.pop_front()?;
        if let Some(client) = self.clients.get_mut(&number) {
            client.is_due = false;
        }
        Some(number)
    }

    pub(super) fn forget(&mut self, number: u32) -> Option<Client> {
        self.waits.forget(number);
        self.tickets.retain(|_, ticket| ticket.client != number);
        self.clients.remove(&number)
    }

    /// Sends what the clients take, and lets go of those that are done or gone. Returns the latter.
    pub(super) fn flush(&mut self) -> Vec<Client> {
        let mut gone = Vec::new();
        for (&number, client) in &mut self.clients {
            if client.is_gone || client.flush().is_err() {
                gone.push(number);
            }
        }
        let done = |(number, client): (&u32, &Client)| client.is_done() && !self.is_owed(*number);
        gone.extend(self.clients.iter().filter(|&entry| done(entry)).map(|(&number, _)| number));
        gone.into_iter().filter_map(|number| self.forget(number)).collect()
    }

    /// Whether there is something to do at once.
    pub(in crate::master) fn is_pending(&self) -> bool {
        self.pending && self.rests.is_none() || self.stirred || !self.due.is_empty() || !self.news.is_empty()
    }

    /// Whether a turn has anything to do here.
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.is_pending() || self.deadline().is_some_and(|at| at <= now) || self.waits.looks_at_fleet()
    }

    /// When something is due.
    pub(in crate::master) fn deadline(&self) -> Option<Time> {
        [self.waits.poll_timeout(), self.rests].into_iter().flatten().min()
    }

    /// Says the last words to everybody.
    pub(in crate::master) fn end(&mut self) {
        self.tell_news();
        self.answer_due();
        drop(self.flush());
        mem::take(&mut self.clients).into_values().for_each(|client| client.stream.close());
    }
}
