//! Who serves what: listening sockets, and the keys under which workers share them.
//!
//! A worker's `queryServer` names a key (address, port, kind, descriptor, index: Node's identity of a listening
//! socket). The first question for a key finds an open socket that covers it or asks for one to be bound; the
//! following ones join. A key may stand for several sockets: `listen(8000)` is served from every `-l` on port 8000.
//! Sockets of `-l` and keys outlive the workers that use them, so that a successor finds the same address.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use serde_json::value::RawValue;

use super::{ListenerId, WorkerId, errno};
use crate::{
    balance::{Balance, Key as BalanceKey, PolicyName, Target},
    protocol::listen::{AddressType, ListenReply, Query},
    time::Time,
};

/// Servers of one worker; more are a mistake in it, which must not take the master's descriptors.
const MAX_SERVERS: usize = 256;

/// Keys that nobody uses and that wait for a successor of who did; beyond that the oldest go. A worker that listens on
/// another port in each of its lives would leave one behind each time.
const MAX_WAITING: usize = 16;

/// All of them.
#[derive(Debug)]
pub(super) struct Listeners {
    open: BTreeMap<ListenerId, Listener>,
    keys: BTreeMap<Arc<str>, Key>,
    policy: PolicyName,
    next: u32,
    /// Kept for its memory, so that a pick does not allocate.
    targets: Vec<Target>,
}

/// A socket in the master that accepts.
#[derive(Debug)]
struct Listener {
    address: SocketAddr,
    ipv6_only: bool,
    /// Given by the user and open as long as the fleet lives.
    kept: bool,
    /// Sorted by worker.
    members: Vec<Member>,
    policy: Box<dyn Balance>,
    crowding: Crowding,
}

/// Whether connections of a socket find room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crowding {
    Room,
    /// They wait.
    Full { since: Time },
    /// They have waited for too long and are turned away.
    Refusing,
}

/// What to do with the next connection of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Accept it: there is a worker for it.
    Take,
    /// Accept it, and turn it away.
    Refuse,
    /// Leave it in the kernel's queue.
    Leave,
}

/// A worker that serves a socket, and the key it knows it by.
#[derive(Debug)]
struct Member {
    worker: WorkerId,
    key: Arc<str>,
}

#[derive(Debug, Default)]
struct Key {
    listeners: Vec<ListenerId>,
    workers: BTreeSet<WorkerId>,
    /// Of the first worker that sent any; every worker gets it.
    data: Option<Box<RawValue>>,
}

/// A socket to be bound for a worker.
#[derive(Debug, Clone)]
pub struct Wish {
    /// To be tried in turn: the first that can be bound is taken.
    pub addresses: Vec<SocketAddr>,
    /// Leave IPv4 to others.
    pub ipv6_only: bool,
    /// Length of the kernel's queue; `None` for the default.
    pub backlog: Option<u32>,
    key: Arc<str>,
    data: Option<Box<RawValue>>,
}

/// What becomes of a question.
#[derive(Debug)]
pub(super) enum Answer {
    /// Answered.
    Reply(ListenReply),
    /// To be answered by [`Listeners::bound`] or [`Listeners::not_bound`].
    Bind(Wish),
    /// Answered with an error: this kind of socket is not served.
    Unsupported(ListenReply),
}

impl Listeners {
    pub(super) fn new(policy: PolicyName) -> Self {
        Self { open: BTreeMap::new(), keys: BTreeMap::new(), policy, next: 0, targets: Vec::new() }
    }

    /// Adds a socket that is open.
    pub(super) fn open(&mut self, address: SocketAddr, ipv6_only: bool, kept: bool) -> ListenerId {
        let id = ListenerId(self.next);
        self.next += 1;
        let policy = self.policy.start();
        self.open.insert(id, Listener { address, ipv6_only, kept, members: Vec::new(), policy, crowding: Crowding::Room });
        id
    }

    /// A worker wants to listen.
    pub(super) fn ask(&mut self, worker: WorkerId, query: &Query) -> Answer {
        let text = key_text(query);
        let fail = |errno: i32| ListenReply { errno: Some(-errno), key: text.clone(), data: None, sockname: None };
        let (host, port) = match address_of(query) {
            Ok(address) => address,
            Err(errno::EOPNOTSUPP) => return Answer::Unsupported(fail(errno::EOPNOTSUPP)),
            Err(errno) => return Answer::Reply(fail(errno)),
        };
        if self.keys.values().filter(|key| key.workers.contains(&worker)).count() >= MAX_SERVERS {
            return Answer::Reply(fail(errno::EMFILE));
        }
        let key = match self.keys.get_key_value(text.as_str()) {
            Some((key, _)) => key.clone(),
            None => {
                let covering = if query.index == 0 { self.covering(host, port) } else { Vec::new() };
                if covering.is_empty() {
                    return Answer::Bind(wish(query, text.into(), host, port));
                }
                if covering.iter().any(|&id| self.serves(worker, id)) {
                    return Answer::Reply(fail(errno::EADDRINUSE));
                }
                let key: Arc<str> = text.clone().into();
                self.keys.insert(key.clone(), Key { listeners: covering, ..Key::default() });
                key
            }
        };
        match self.join(worker, &key, query.data.as_deref()) {
            Some(reply) => Answer::Reply(reply),
            None => Answer::Reply(fail(errno::EADDRINUSE)),
        }
    }

    /// A wish has come true.
    pub(super) fn bound(
        &mut self,
        worker: WorkerId,
        wish: &Wish,
        address: SocketAddr,
    ) -> (Option<ListenerId>, ListenReply) {
        if self.keys.contains_key(&wish.key) {
            return (None, Self::not_bound(wish, errno::EADDRINUSE));
        }
        let listener = self.open(address, wish.ipv6_only, false);
        self.keys.insert(wish.key.clone(), Key { listeners: vec![listener], ..Key::default() });
        let reply = self.join(worker, &wish.key, wish.data.as_deref());
        (Some(listener), reply.unwrap_or_else(|| Self::not_bound(wish, errno::EADDRINUSE)))
    }

    /// A wish has not; others may try again.
    pub(super) fn not_bound(wish: &Wish, errno: i32) -> ListenReply {
        ListenReply { errno: Some(-errno), key: wish.key.as_ref().to_owned(), data: None, sockname: None }
    }

    /// Adds the worker to the sockets of a key. `None` when it serves one of them already, by another key.
    fn join(&mut self, worker: WorkerId, key: &Arc<str>, data: Option<&RawValue>) -> Option<ListenReply> {
        if self.keys.get(key)?.listeners.iter().any(|&id| self.serves(worker, id)) {
            return None;
        }
        let entry = self.keys.get_mut(key)?;
        if entry.data.is_none() {
            entry.data = data.map(ToOwned::to_owned);
        }
        entry.workers.insert(worker);
        let mut sockname = None;
        for id in &entry.listeners {
            let Some(listener) = self.open.get_mut(id) else { continue };
            sockname = sockname.or(Some(listener.address.into()));
            if let Err(place) = listener.place(worker) {
                listener.members.insert(place, Member { worker, key: key.clone() });
            }
        }
        Some(ListenReply { errno: None, key: key.as_ref().to_owned(), data: entry.data.clone(), sockname })
    }

    /// The open sockets that serve a wish for `host` (`None`: every interface) and `port`.
    fn covering(&self, host: Option<IpAddr>, port: u16) -> Vec<ListenerId> {
        let covers = |listener: &Listener| {
            port != 0 && listener.address.port() == port && (covers(listener, host) || listener.kept && is_wildcard(host))
        };
        self.open.iter().filter(|(_, listener)| covers(listener)).map(|(&id, _)| id).collect()
    }

    /// A worker has closed its server for `key`. Returns the sockets that nobody has a use for any more.
    pub(super) fn close(&mut self, worker: WorkerId, key: &str) -> Vec<ListenerId> {
        let Some(entry) = self.keys.get_mut(key) else { return Vec::new() };
        entry.workers.remove(&worker);
        for id in &entry.listeners {
            if let Some(listener) = self.open.get_mut(id) {
                listener.members.retain(|member| member.worker != worker || *member.key != *key);
            }
        }
        if !entry.workers.is_empty() {
            return Vec::new();
        }
        let listeners = self.keys.remove(key).map(|entry| entry.listeners).unwrap_or_default();
        let unused = |id: &ListenerId| {
            let named = self.keys.values().any(|key| key.listeners.contains(id));
            !named && self.open.get(id).is_some_and(|listener| !listener.kept)
        };
        let unused: Vec<_> = listeners.into_iter().filter(unused).collect();
        self.open.retain(|id, _| !unused.contains(id));
        unused
    }

    /// A worker serves nothing any more; its addresses wait for its successor.
    pub(super) fn leave(&mut self, worker: WorkerId) {
        for key in self.keys.values_mut() {
            key.workers.remove(&worker);
        }
        for listener in self.open.values_mut() {
            listener.members.retain(|member| member.worker != worker);
        }
    }

    /// Forgets addresses that have waited the longest for a successor, if there are too many. Returns the sockets that
    /// nobody has a use for any more.
    pub(super) fn forget_oldest(&mut self) -> Vec<ListenerId> {
        let waiting = self.keys.iter().filter(|(_, key)| key.workers.is_empty() && !self.is_kept(key));
        let mut waiting: Vec<_> = waiting.map(|(name, key)| (key.listeners.first().copied(), name.clone())).collect();
        // Sockets are numbered in the order in which they were opened.
        waiting.sort_unstable();
        let too_many = waiting.len().saturating_sub(MAX_WAITING);
        let nobody = WorkerId(0);
        waiting.into_iter().take(too_many).flat_map(|(_, name)| self.close(nobody, &name)).collect()
    }

    fn is_kept(&self, key: &Key) -> bool {
        key.listeners.iter().any(|id| self.open.get(id).is_some_and(|listener| listener.kept))
    }

    /// Forgets every socket and returns them to be closed.
    pub(super) fn close_all(&mut self) -> Vec<ListenerId> {
        self.keys.clear();
        std::mem::take(&mut self.open).into_keys().collect()
    }

    /// Chooses who gets a connection. `load` tells how many a worker has on the way to it, or `None` when it can take
    /// no more.
    pub(super) fn pick(
        &mut self,
        listener: ListenerId,
        load: impl Fn(WorkerId) -> Option<u32>,
    ) -> Option<(WorkerId, Arc<str>)> {
        let listener = self.open.get_mut(&listener)?;
        self.targets.clear();
        self.targets.extend(listener.members.iter().map(|member| {
            let load = load(member.worker);
            Target { id: member.worker.0, weight: 1, load: load.unwrap_or(u32::MAX), free: load.is_some() }
        }));
        let index = listener.policy.pick(&self.targets, BalanceKey(None))?;
        listener.members.get(index).map(|member| (member.worker, member.key.clone()))
    }

    fn serves(&self, worker: WorkerId, listener: ListenerId) -> bool {
        self.open.get(&listener).is_some_and(|listener| listener.place(worker).is_ok())
    }

    /// A connection may be waiting at a socket whose workers have room or not. Returns what to do with it, and whether
    /// waiting begins.
    pub(super) fn admit(&mut self, now: Time, listener: ListenerId, room: bool) -> (Admission, bool) {
        let Some(listener) = self.open.get_mut(&listener) else { return (Admission::Leave, false) };
        match listener.crowding {
            _ if room => {
                listener.crowding = Crowding::Room;
                (Admission::Take, false)
            }
            Crowding::Room => {
                listener.crowding = Crowding::Full { since: now };
                (Admission::Leave, true)
            }
            Crowding::Full { .. } => (Admission::Leave, false),
            Crowding::Refusing => (Admission::Refuse, false),
        }
    }

    /// When [`Listeners::refuse`] is to be called.
    pub(super) fn refuses_at(&self, after: Duration) -> Option<Time> {
        let since = self.open.values().filter_map(|listener| match listener.crowding {
            Crowding::Full { since } => Some(since + after),
            Crowding::Room | Crowding::Refusing => None,
        });
        since.min()
    }

    /// Turns connections away where they have waited for `after`.
    pub(super) fn refuse(&mut self, now: Time, after: Duration) {
        for listener in self.open.values_mut() {
            if matches!(listener.crowding, Crowding::Full { since } if since + after <= now) {
                listener.crowding = Crowding::Refusing;
            }
        }
    }

    /// Whether connections of a socket are turned away.
    pub(super) fn refuses(&self, listener: ListenerId) -> bool {
        self.open.get(&listener).is_some_and(|listener| listener.crowding == Crowding::Refusing)
    }

    /// Every open socket.
    pub(super) fn all(&self) -> impl Iterator<Item = ListenerId> {
        self.open.keys().copied()
    }

    /// The workers that serve a socket.
    pub(super) fn members(&self, listener: ListenerId) -> impl Iterator<Item = WorkerId> {
        let members = self.open.get(&listener).map(|listener| &listener.members);
        members.into_iter().flatten().map(|member| member.worker)
    }

    /// Whether a worker serves an address that the user gave, or the user gave none.
    pub(super) fn serves_what_was_told(&self, worker: WorkerId) -> bool {
        let mut kept = self.open.values().filter(|listener| listener.kept).peekable();
        kept.peek().is_none() || kept.any(|listener| listener.place(worker).is_ok())
    }

    /// The addresses that the user gave.
    pub(super) fn told(&self) -> Vec<SocketAddr> {
        self.open.values().filter(|listener| listener.kept).map(|listener| listener.address).collect()
    }
}

impl Listener {
    /// Where the worker stands among the members, or would stand.
    fn place(&self, worker: WorkerId) -> Result<usize, usize> {
        self.members.binary_search_by_key(&worker, |member| member.worker)
    }
}

fn is_wildcard(host: Option<IpAddr>) -> bool {
    host.is_none_or(|host| host.is_unspecified())
}

/// Whether every connection that a socket bound to `host` would get reaches `listener` instead.
fn covers(listener: &Listener, host: Option<IpAddr>) -> bool {
    match (listener.address.ip(), host) {
        (IpAddr::V6(open), Some(IpAddr::V4(_))) => open.is_unspecified() && !listener.ipv6_only,
        (open, Some(host)) => open == host || open.is_unspecified() && open.is_ipv4() == host.is_ipv4(),
        (open, None) => open.is_unspecified(),
    }
}

/// The identity of a listening socket, written as Node writes it.
fn key_text(query: &Query) -> String {
    fn or<T: ToString>(value: Option<&T>, absent: &str) -> String {
        value.map_or_else(|| absent.to_owned(), T::to_string)
    }
    let (address, port) = (or(query.address.as_ref(), "null"), or(query.port.as_ref(), "null"));
    format!("{address}:{port}:{}:{}:{}", query.address_type, or(query.fd.as_ref(), "undefined"), query.index)
}

/// Host and port of a TCP question, or the errno that answers it.
fn address_of(query: &Query) -> Result<(Option<IpAddr>, u16), i32> {
    match query.address_type {
        AddressType::Tcp4 | AddressType::Tcp6 => {}
        // A server that a Node of 18 or before got over its channel: Node's own primary fails here as well.
        AddressType::Unix if query.address.is_none() => return Err(errno::EINVAL),
        AddressType::Unix | AddressType::Udp4 | AddressType::Udp6 | AddressType::None => {
            return Err(errno::EOPNOTSUPP);
        }
    }
    let port = query.port.and_then(|port| u16::try_from(port).ok()).ok_or(errno::EINVAL)?;
    let host = match query.address.as_deref() {
        None | Some("") => None,
        Some(text) => Some(text.parse().map_err(|_| errno::EINVAL)?),
    };
    Ok((host, port))
}

fn wish(query: &Query, key: Arc<str>, host: Option<IpAddr>, port: u16) -> Wish {
    let every = [IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
    let hosts = host.map_or_else(|| every.to_vec(), |host| vec![host]);
    Wish {
        addresses: hosts.into_iter().map(|host| SocketAddr::new(host, port)).collect(),
        ipv6_only: query.flags.unwrap_or(0) & 1 == 1,
        backlog: query.backlog,
        key,
        data: query.data.clone(),
    }
}

#[cfg(test)]
#[path = "listeners_tests.rs"]
mod tests;
