//! Who serves what: listening sockets, and the keys under which workers share them.
//!
//! A worker's `queryServer` names a key (address, port, kind, descriptor, index: Node's identity of a listening
//! socket). The first question for a key finds an open socket that covers it or asks for one to be bound; the
//! following ones join. A key may stand for several sockets: `listen(8000)` is served from every `-l` on port 8000.
//! Sockets of `-l` and keys outlive the workers that use them, so that a successor finds the same address.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::value::RawValue;

use super::{
    ListenerId, WorkerId,
    crowding::Crowding,
    errno,
    wish::{Asked, Mapping, Place, Want, Wish, key_text},
};
use crate::{
    balance::{Balance, Key as BalanceKey, PolicyName, Target},
    endpoint::Endpoint,
    protocol::listen::{ListenReply, Query, SockName},
};

/// Servers of one worker; more are a mistake in it, which must not take the master's descriptors.
const MAX_SERVERS: usize = 256;

/// Keys that nobody uses and that wait for a successor of who did; beyond that the oldest go. A worker that listens on
/// another port in each of its lives would leave one behind each time.
const MAX_WAITING: usize = 16;

/// All of them.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) open: BTreeMap<ListenerId, Listener>,
    keys: BTreeMap<Arc<str>, Key>,
    /// What the master was started with, by its number, and what it is if it is open.
    inherited: BTreeMap<i32, Option<ListenerId>>,
    policy: PolicyName,
    /// Workers accept by themselves.
    shared: bool,
    /// With whether it is of use: it has applied, or it was told that it has not.
    map: Vec<(Mapping, bool)>,
    next: u32,
    /// Kept for its memory, so that a pick does not allocate.
    targets: Vec<Target>,
}

/// A socket of the master's.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) endpoint: Endpoint,
    /// Each worker has the socket itself, and the master takes nothing from it.
    pub(super) shared: bool,
    ipv6_only: bool,
    /// Given by the user and open as long as the fleet lives.
    kept: bool,
    /// A worker has served it at some time.
    pub(super) served: bool,
    /// That none has was told.
    reported: bool,
    /// Sorted by worker.
    pub(super) members: Vec<Member>,
    policy: Box<dyn Balance>,
    pub(super) crowding: Crowding,
    /// Connections that were taken from it for workers.
    pub(super) accepted: u64,
}

/// A worker that serves a socket, and the key it knows it by.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) worker: WorkerId,
    key: Arc<str>,
}

#[derive(Debug, Default)]
struct Key {
    listeners: Vec<ListenerId>,
    workers: BTreeSet<WorkerId>,
    /// Of the first worker that sent any; every worker gets it.
    data: Option<Box<RawValue>>,
}

/// How a worker's question is answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) reply: ListenReply,
    /// Goes with the reply.
    pub(super) socket: Option<ListenerId>,
}

/// What becomes of a question.
#[derive(Debug)]
pub(super) enum Answer {
    /// Answered.
    Reply(Reply),
    /// To be answered by [`Listeners::bound`] or [`Listeners::not_bound`].
    Bind(Wish),
}

impl Listeners {
    pub(super) fn new(policy: PolicyName, shared: bool, map: Vec<Mapping>) -> Self {
        let (open, keys, inherited) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let map = map.into_iter().map(|mapping| (mapping, false)).collect();
        Self { open, keys, inherited, policy, shared, map, next: 0, targets: Vec::new() }
    }

    /// The next socket gets this number.
    pub(super) fn number_from(&mut self, first: u32) {
        self.next = first;
    }

    /// The master was started with this socket.
    pub(super) fn inherit(&mut self, descriptor: i32, listener: Option<ListenerId>) {
        self.inherited.insert(descriptor, listener);
    }

    /// Adds a socket that is open.
    pub(super) fn open(&mut self, endpoint: Endpoint, ipv6_only: bool, kept: bool) -> ListenerId {
        let id = ListenerId(self.next);
        self.next += 1;
        let shared = self.shared || matches!(endpoint, Endpoint::Udp(_));
        let (members, policy) = (Vec::new(), self.policy.start(id.0.into()));
        let (served, reported, crowding) = (false, false, Crowding::Room);
        let listener = Listener {
            endpoint,
            shared,
            ipv6_only,
            kept,
            served,
            reported,
            members,
            policy,
            crowding,
            accepted: 0,
        };
        self.open.insert(id, listener);
        id
    }

    /// A worker wants to listen.
    pub(super) fn ask(&mut self, worker: WorkerId, query: &Query) -> Answer {
        let text = key_text(query);
        let fail = |errno: i32| Answer::Reply(failure(&text, errno));
        let want = match Want::of(query) {
            Ok(want) => want,
            Err(errno) => return fail(errno),
        };
        let asked = Asked::of(&want);
        let want = self.mapped(want);
        if self.keys.values().filter(|key| key.workers.contains(&worker)).count() >= MAX_SERVERS {
            return fail(errno::EMFILE);
        }
        let key = match self.keys.get_key_value(text.as_str()) {
            Some((key, _)) => key.clone(),
            None => {
                let found = match self.find(worker, &want, query.index) {
                    Ok(found) => found,
                    Err(errno) => return fail(errno),
                };
                let key: Arc<str> = text.as_str().into();
                if found.is_empty() {
                    return Answer::Bind(Wish { want, key, data: query.data.clone(), asked });
                }
                if found.iter().any(|&id| self.serves(worker, id)) {
                    return fail(errno::EADDRINUSE);
                }
                self.keys.insert(key.clone(), Key { listeners: found, ..Key::default() });
                key
            }
        };
        match self.join(worker, &key, query.data.as_deref(), &asked) {
            Some(reply) => Answer::Reply(reply),
            None => fail(errno::EADDRINUSE),
        }
    }

    /// What is wanted in the end, by the user's mappings.
    fn mapped(&mut self, want: Want) -> Want {
        for (mapping, used) in &mut self.map {
            let mapped = mapping.apply(want.clone());
            if mapped != want {
                *used = true;
                return mapped;
            }
        }
        want
    }

    /// Whether there is something for [`Listeners::take_unused`].
    pub(super) fn has_unused(&self) -> bool {
        let kept = || self.open.values().filter(|listener| listener.kept);
        let endpoint =
            kept().any(|listener| listener.served) && kept().any(|one| !one.served && !one.reported);
        endpoint || self.map.iter().any(|(_, used)| !used)
    }

    /// What the user gave and no worker has had a use for, each told once: addresses, if another of them has been of use,
    /// and mappings.
    pub(super) fn take_unused(&mut self) -> (Vec<Endpoint>, Vec<Place>) {
        let any = self.open.values().any(|listener| listener.kept && listener.served);
        let unused =
            |listener: &&mut Listener| any && listener.kept && !listener.served && !listener.reported;
        let endpoints = self.open.values_mut().filter(unused).map(|listener| {
            listener.reported = true;
            listener.endpoint.clone()
        });
        let maps = self.map.iter_mut().filter(|(_, used)| !used).map(|(mapping, used)| {
            *used = true;
            mapping.from.clone()
        });
        (endpoints.collect(), maps.collect())
    }

    /// The open sockets that serve a wish for a key that is new: none if one is to be bound.
    fn find(&self, worker: WorkerId, want: &Want, index: u32) -> Result<Vec<ListenerId>, i32> {
        if let Want::Inherited { descriptor } = want {
            let open = self.inherited.get(descriptor).ok_or(errno::EBADF)?;
            return Ok(open.iter().copied().collect());
        }
        let covers =
            |listener: &&Listener| want.is_covered(&listener.endpoint, listener.ipv6_only, listener.kept);
        let found = self.open.iter().filter(|(_, listener)| covers(listener)).map(|(&id, _)| id);
        // One more of the same in a worker is a socket of its own, if it can be. But Node counts those that failed, too.
        if index != 0 && found.clone().any(|id| self.serves(worker, id)) {
            return Ok(Vec::new());
        }
        // A server in a worker is one socket there, if it is a socket at all.
        Ok(found.take(if self.shared || want.is_udp() { 1 } else { usize::MAX }).collect())
    }

    /// A wish has come true.
    pub(super) fn bound(
        &mut self,
        worker: WorkerId,
        wish: &Wish,
        endpoint: Endpoint,
    ) -> (Option<ListenerId>, Reply) {
        if self.keys.contains_key(&wish.key) {
            return (None, Self::not_bound(wish, errno::EADDRINUSE));
        }
        let ipv6_only =
            matches!(wish.want, Want::Tcp { ipv6_only: true, .. } | Want::Udp { ipv6_only: true, .. });
        let listener = self.open(endpoint, ipv6_only, false);
        if let Want::Inherited { descriptor } = wish.want {
            self.inherited.insert(descriptor, Some(listener));
        }
        self.keys.insert(wish.key.clone(), Key { listeners: vec![listener], ..Key::default() });
        let reply = self.join(worker, &wish.key, wish.data.as_deref(), &wish.asked);
        (Some(listener), reply.unwrap_or_else(|| Self::not_bound(wish, errno::EADDRINUSE)))
    }

    /// A wish has not; others may try again.
    pub(super) fn not_bound(wish: &Wish, errno: i32) -> Reply {
        failure(&wish.key, errno)
    }

    /// Adds the worker to the sockets of a key. `None` when it serves one of them already, by another key.
    fn join(
        &mut self,
        worker: WorkerId,
        key: &Arc<str>,
        data: Option<&RawValue>,
        asked: &Asked,
    ) -> Option<Reply> {
        if self.keys.get(key)?.listeners.iter().any(|&id| self.serves(worker, id)) {
            return None;
        }
        let entry = self.keys.get_mut(key)?;
        if entry.data.is_none() {
            entry.data = data.map(ToOwned::to_owned);
        }
        entry.workers.insert(worker);
        let (mut sockname, mut socket) = (None, None);
        for id in &entry.listeners {
            let Some(listener) = self.open.get_mut(id) else { continue };
            if listener.shared {
                socket = Some(*id);
            }
            sockname = sockname.or(sockname_of(&listener.endpoint, asked));
            if let Err(place) = listener.place(worker) {
                listener.members.insert(place, Member { worker, key: key.clone() });
            }
        }
        let (errno, sockname) = if socket.is_some() { (Some(0), None) } else { (None, sockname) };
        let reply = ListenReply { errno, key: key.as_ref().to_owned(), data: entry.data.clone(), sockname };
        Some(Reply { reply, socket })
    }

    /// A worker takes connections from now on, where it is a member.
    pub(super) fn serve(&mut self, worker: WorkerId) {
        self.open
            .values_mut()
            .filter(|listener| listener.place(worker).is_ok())
            .for_each(|listener| listener.served = true);
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
        for inherited in self.inherited.values_mut() {
            inherited.take_if(|id| unused.contains(id));
        }
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
        let mut waiting: Vec<_> =
            waiting.map(|(name, key)| (key.listeners.first().copied(), name.clone())).collect();
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
            let (id, load) = (member.worker.0, load(member.worker));
            // A connection has no key that a name could be chosen by.
            Target { id, name: id.into(), weight: 1, load: load.unwrap_or(u32::MAX), free: load.is_some() }
        }));
        let index = listener.policy.pick(&self.targets, BalanceKey(None))?;
        listener.members.get(index).map(|member| (member.worker, member.key.clone()))
    }

    fn serves(&self, worker: WorkerId, listener: ListenerId) -> bool {
        self.open.get(&listener).is_some_and(|listener| listener.place(worker).is_ok())
    }

    /// Whether the master takes connections from a socket.
    pub(super) fn accepts(&self, listener: ListenerId) -> bool {
        self.open.get(&listener).is_some_and(|listener| !listener.shared)
    }

    /// The workers that serve a socket.
    pub(super) fn members(&self, listener: ListenerId) -> impl Iterator<Item = WorkerId> {
        let members = self.open.get(&listener).map(|listener| &listener.members);
        members.into_iter().flatten().map(|member| member.worker)
    }

    /// Whether a worker serves an address that the user gave, or a socket, or the user gave none.
    pub(super) fn serves_what_was_told(&self, worker: WorkerId) -> bool {
        if self.inherited.values().flatten().any(|&id| self.serves(worker, id)) {
            return true;
        }
        let mut kept = self.open.values().filter(|listener| listener.kept).peekable();
        kept.peek().is_none() || kept.any(|listener| listener.place(worker).is_ok())
    }

    /// The addresses that the user gave.
    pub(super) fn told(&self) -> Vec<Endpoint> {
        self.open
            .values()
            .filter(|listener| listener.kept)
            .map(|listener| listener.endpoint.clone())
            .collect()
    }

    /// What a socket is bound to.
    pub(super) fn endpoint(&self, id: ListenerId) -> Option<&Endpoint> {
        self.open.get(&id).map(|listener| &listener.endpoint)
    }
}

impl Listener {
    /// Where the worker stands among the members, or would stand.
    fn place(&self, worker: WorkerId) -> Result<usize, usize> {
        self.members.binary_search_by_key(&worker, |member| member.worker)
    }
}

/// What a worker is told that its server is bound to. Node takes a port that it did not ask for as a sign that the
/// address was in use, so a server that is mapped is told what it asked for.
fn sockname_of(endpoint: &Endpoint, asked: &Asked) -> Option<SockName> {
    let bound = endpoint.tcp().map(SockName::from);
    match asked {
        Asked::Tcp(asked) => {
            bound.filter(|bound| asked.port == 0 || asked.port == bound.port).or_else(|| Some(asked.clone()))
        }
        Asked::Path => None,
        Asked::Descriptor => bound,
    }
}

fn failure(key: &str, errno: i32) -> Reply {
    let reply = ListenReply { errno: Some(-errno), key: key.to_owned(), data: None, sockname: None };
    Reply { reply, socket: None }
}

#[cfg(test)]
#[path = "listeners_tests.rs"]
mod tests;
