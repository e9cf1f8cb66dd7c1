//! Where requests are forwarded to: workers on addresses of their own, and servers that are none of ours.
//!
//! Each worker is given an address before it is started, and what is known of all of them becomes the list that lanes are
//! told. Which of its addresses a slot uses next is decided by [`Ports`]; here is seen whether one is free.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
};

use super::{Forward, Master, UpstreamKind, Worker, claims::Claims, others::Others};
use crate::{
    endpoint::Endpoint,
    fleet::{Event, Fleet, Ports, Range, Trouble, WorkerId},
    forward::orders::Upstream,
    sys::{account::Credentials, bind, runtime_file::RuntimeDirectory},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Upstreams {
    ports: Ports,
    claims: Claims,
    /// What workers of a generation listen on.
    kinds: BTreeMap<u32, (UpstreamKind, u16)>,
    /// Of those that workers of these users make their sockets in, the last is the one for new ones.
    directories: Vec<(Option<Credentials>, RuntimeDirectory)>,
    /// Ports of which it was said that somebody else has them.
    strangers: BTreeSet<u16>,
    pub(super) others: Others,
    /// Names of those that are to get no requests, because somebody said so.
    drained: BTreeSet<String>,
    /// The list may not be what it was.
    pub(super) changed: bool,
}

/// A worker's own address. A Unix socket there is removed with it.
#[derive(Debug)]
pub(super) struct Address {
    endpoint: Endpoint,
    number: u32,
}

impl Address {
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What the worker gets as `PORT`.
    pub(super) fn as_port(&self) -> std::ffi::OsString {
        match &self.endpoint {
            Endpoint::Tcp(address) | Endpoint::Udp(address) => address.port().to_string().into(),
            Endpoint::Unix(path) => path.clone().into(),
        }
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        if let Endpoint::Unix(path) = &self.endpoint {
            // Most programs do that themselves.
            let _ = fs::remove_file(path);
        }
    }
}

/// No address is left for a worker.
#[derive(Debug)]
pub(super) enum NoAddress {
    Port(u16),
    System(io::Error),
}

/// What the worker of a slot is called.
pub(super) fn name_of_slot(slot: u32) -> String {
    format!("slot:{slot}")
}

impl Upstreams {
    pub(super) fn new(forward: Forward) -> Self {
        let kind = (forward.upstream, forward.upstream_port);
        Self {
            ports: Ports::default(),
            claims: Claims::default(),
            kinds: BTreeMap::from([(1, kind)]),
            directories: Vec::new(),
            strangers: BTreeSet::new(),
            others: Others::new(forward.upstreams),
            drained: BTreeSet::new(),
            changed: true,
        }
    }

    /// Workers of this generation go by these settings.
    pub(super) fn add(&mut self, generation: u32, forward: &Forward) {
        self.kinds.insert(generation, (forward.upstream, forward.upstream_port));
    }

    /// None of this generation will be started.
    pub(super) fn forget(&mut self, generation: u32) {
        self.kinds.remove(&generation);
    }

    /// These settings hold for all that is no worker.
    pub(super) fn adopt(&mut self, forward: &Forward) {
        self.others.want(forward.upstreams.clone());
        self.changed = true;
    }

    /// Where requests go: to all workers that are ready, and to the others.
    pub(super) fn list(&self, fleet: &Fleet<OwnedFd>, workers: &BTreeMap<WorkerId, Worker>) -> Vec<Upstream> {
        let own = fleet.forwarded_to().filter_map(|(id, slot, retiring)| {
            let endpoint = workers.get(&id)?.address.as_ref()?.endpoint.to_string();
            let name = name_of_slot(slot);
            let draining = retiring || self.drained.contains(&name);
            Some(Upstream { id: id.0, endpoint, name, weight: 1, backup: false, draining, column: None })
        });
        let others = self.others.list().map(|(place, mut upstream)| {
            upstream.draining |= self.drained.contains(&upstream.name) || self.drained.contains(place);
            upstream
        });
        own.chain(others).collect()
    }

    /// Whether anything is called this that requests may go to.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.others.list().any(|(place, upstream)| place == name || upstream.name == name)
    }

    /// Has what is called this get no requests, or get some again. Says whether that is a change.
    pub(super) fn drain(&mut self, name: &str, is: bool) -> bool {
        let changes = if is { self.drained.insert(name.to_owned()) } else { self.drained.remove(name) };
        self.changed |= changes;
        changes
    }

    /// An address for a worker that is to be started, which none of those has that are `held`.
    fn address(
        &mut self,
        slot: u32,
        generation: u32,
        user: Option<&Credentials>,
        held: &BTreeSet<Endpoint>,
    ) -> Result<(Address, Option<u16>), NoAddress> {
        let kind = self.kinds.get(&generation).or_else(|| self.kinds.values().next_back());
        let (kind, first) = kind.copied().unwrap_or((UpstreamKind::Port, Forward::default().upstream_port));
        let mut wanted = None;
        let found = match kind {
            UpstreamKind::Port => {
                let range = Range::new(first, bind::first_ephemeral_port());
                let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                // What this master has claimed somebody else may have, who knows of no claims.
                let is_free = |port| {
                    let is_ours = held.contains(&Endpoint::Tcp(at(port)));
                    if !is_ours {
                        wanted = wanted.or(Some(port));
                    }
                    !is_ours && bind::is_free(at(port))
                };
                let found = self.ports.find(slot, range, |block| self.claims.add(block), is_free);
                found.map(|(number, port)| Address { endpoint: at(port).into(), number })
            }
            UpstreamKind::Unix => {
                let numbers = self.ports.candidates(slot);
                let directory = self.directory(user).map_err(NoAddress::System)?;
                let names = numbers.map(|number| (number, format!("{slot}-{number}.sock")));
                let mut paths = names.map(|(number, name)| (number, Endpoint::Unix(directory.join(&name))));
                paths
                    .find(|(_, endpoint)| !held.contains(endpoint))
                    .map(|(number, endpoint)| Address { endpoint, number })
            }
        };
        match found {
            Some(address) => {
                self.ports.take(slot, address.number);
                if let Endpoint::Unix(path) = &address.endpoint {
                    // Left by a program that was killed before it could listen again.
                    let _ = fs::remove_file(path);
                }
                let missed = wanted.filter(|&port| address.endpoint.port() != Some(port));
                Ok((address, missed.filter(|&port| self.strangers.insert(port))))
            }
            None => Err(NoAddress::Port(wanted.unwrap_or(first))),
        }
    }

    /// Where workers of this user make their sockets.
    fn directory(&mut self, user: Option<&Credentials>) -> io::Result<&RuntimeDirectory> {
        let is_for = |(owner, directory): &(Option<Credentials>, RuntimeDirectory)| {
            owner.as_ref() == user && directory.is_intact()
        };
        if !self.directories.last().is_some_and(is_for) {
            let made = RuntimeDirectory::create(user)?;
            self.directories.push((user.cloned(), made));
        }
        let last = self.directories.last().map(|(_, directory)| directory);
        last.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Master {
    /// An address for a worker that is to be started; `None` where workers have none of their own. Why there is none is
    /// told.
    pub(super) fn find_address(
        &mut self,
        id: WorkerId,
        slot: u32,
        generation: u32,
        user: Option<&Credentials>,
    ) -> io::Result<Option<Address>> {
        let Some(lanes) = &mut self.lanes else { return Ok(None) };
        let held = self.workers.values().filter_map(|worker| worker.address.as_ref());
        let held = held.map(|address| address.endpoint.clone()).collect();
        match lanes.upstreams.address(slot, generation, user, &held) {
            Ok((address, missed)) => {
                if let Endpoint::Unix(path) = &address.endpoint {
                    self.guard.remove_at_end(&path.to_string_lossy());
                }
                if let (Some(missed), Some(port)) = (missed, address.endpoint.port()) {
                    log::warn!(
                        "port {missed}, which a worker of slot {slot} would have, is somebody else's: it gets {port} \
                         (upstream_port chooses others)"
                    );
                }
                Ok(Some(address))
            }
            Err(NoAddress::Port(port)) => {
                self.happens(Event::Trouble { worker: id, trouble: Trouble::NoPort { port } });
                Err(io::Error::from_raw_os_error(libc::EADDRINUSE))
            }
            Err(NoAddress::System(error)) => {
                log::error!("there is no place for the Unix sockets of workers: {error}");
                Err(error)
            }
        }
    }

    /// For another guard, which knows of nothing.
    pub(super) fn announce_addresses(&mut self) {
        for address in self.workers.values().filter_map(|worker| worker.address.as_ref()) {
            if let Endpoint::Unix(path) = &address.endpoint {
                self.guard.remove_at_end(&path.to_string_lossy());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn upstreams(kind: UpstreamKind, port: u16) -> Upstreams {
        Upstreams::new(Forward { upstream: kind, upstream_port: port, ..Forward::default() })
    }

    /// A port below those that the kernel gives out, so that nothing but a listener of this test is there.
    fn port() -> u16 {
        let start = u16::try_from(std::process::id() % 500).unwrap() * 8;
        let free =
            |port: &u16| (0..2).all(|more| bind::is_free(SocketAddr::from(([127, 0, 0, 1], port + more))));
        (24_000 + start..30_000).step_by(2).find(free).unwrap()
    }

    #[test]
    fn a_worker_gets_a_port_that_is_free_and_not_that_of_the_one_before() {
        let first = port();
        let mut upstreams = upstreams(UpstreamKind::Port, first);
        let mut get = |held: &[u16]| {
            let held = held.iter().map(|&port| Endpoint::Tcp(([127, 0, 0, 1], port).into())).collect();
            let (address, missed) = upstreams.address(0, 1, None, &held).unwrap();
            (address.endpoint().port().unwrap(), missed)
        };
        assert_eq!(get(&[]), (first, None));
        assert_eq!(get(&[first]), (first + 1, None));
        assert_eq!(get(&[first + 1]), (first, None));
        let stranger = TcpListener::bind(("127.0.0.1", first + 1)).unwrap();
        assert_eq!(get(&[]), (first, Some(first + 1)), "it is said once");
        assert_eq!(get(&[first]).1, None);
        drop(stranger);
        assert_eq!(get(&[first, first + 1]).1, None, "both are ours");
    }

    #[test]
    fn without_a_free_port_the_first_that_was_tried_is_named() {
        let all = u16::MAX - 1;
        let listeners = [all, all + 1].map(|port| TcpListener::bind(("127.0.0.1", port)));
        let mut upstreams = upstreams(UpstreamKind::Port, all);
        let found = upstreams.address(0, 1, None, &BTreeSet::new());
        assert!(matches!(found, Err(NoAddress::Port(port)) if port == all), "{found:?}");
        drop(listeners);
    }

    #[test]
    fn unix_sockets_have_names_that_nobody_else_has() {
        let mut upstreams = upstreams(UpstreamKind::Unix, 1);
        let (one, _) = upstreams.address(3, 1, None, &BTreeSet::new()).unwrap();
        let held = BTreeSet::from([one.endpoint().clone()]);
        let (two, _) = upstreams.address(3, 1, None, &held).unwrap();
        let names = [&one, &two].map(|address| address.endpoint().to_string());
        assert!(names[0].ends_with("/3-0.sock") && names[1].ends_with("/3-1.sock"), "{names:?}");
        let Endpoint::Unix(path) = one.endpoint().clone() else { panic!("{one:?}") };
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(one);
        assert!(!path.exists());
    }
}
