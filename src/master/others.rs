//! Servers that are no workers of ours and get requests: what is wanted of them, and where they are now.
//!
//! What the settings say and what names stand for enter; a list leaves. One that is not wanted any more stays in it, and
//! gets no requests, until lanes have none for it.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{UpstreamAddress, UpstreamPlace};
use crate::{endpoint::Endpoint, forward::orders::Upstream};

/// Ids of servers begin here, far behind those of workers and lanes.
const FIRST_ID: u32 = 1 << 25;

/// So many that are not wanted any more are waited for; a tunnel may last for days.
const MAX_LEAVING: usize = 64;

/// A name that is looked up.
pub(super) type Name = (String, u16);

/// An address that is wanted: as the settings have it, where it is, its weight, and whether it is a backup.
type Place = (String, String, u32, bool);

/// See the module.
#[derive(Debug)]
pub(super) struct Others {
    wanted: Vec<UpstreamAddress>,
    found: BTreeMap<Name, Vec<SocketAddr>>,
    all: Vec<Other>,
    next: u32,
}

#[derive(Debug)]
struct Other {
    /// As the settings have it.
    place: String,
    upstream: Upstream,
}

impl Others {
    pub(super) fn new(wanted: Vec<UpstreamAddress>) -> Self {
        let mut others = Self { wanted: Vec::new(), found: BTreeMap::new(), all: Vec::new(), next: FIRST_ID };
        others.want(wanted);
        others
    }

    /// These are wanted from now on.
    pub(super) fn want(&mut self, wanted: Vec<UpstreamAddress>) {
        self.wanted = wanted;
        let names: Vec<_> = self.names().collect();
        self.found.retain(|name, _| names.contains(name));
        self.update();
    }

    /// What is to be looked up.
    pub(super) fn names(&self) -> impl Iterator<Item = Name> {
        self.wanted.iter().filter_map(|wanted| match &wanted.place {
            UpstreamPlace::Name { host, port } => Some((host.clone(), *port)),
            UpstreamPlace::Endpoint(_) => None,
        })
    }

    /// A name stands for these. Says whether that is new.
    pub(super) fn handle_found(&mut self, name: Name, addresses: Vec<SocketAddr>) -> bool {
        if !self.names().any(|known| known == name) || self.found.get(&name) == Some(&addresses) {
            return false;
        }
        self.found.insert(name, addresses);
        self.update();
        true
    }

    /// Brings the list to what is wanted.
    fn update(&mut self) {
        let mut left = self.places();
        for other in self.all.iter_mut().filter(|other| !other.upstream.draining) {
            let endpoint = &other.upstream.endpoint;
            let it = |(place, at, ..): &Place| *place == other.place && at == endpoint;
            match left.iter().position(it) {
                Some(at) => {
                    let (_, _, weight, backup) = left.remove(at);
                    (other.upstream.weight, other.upstream.backup) = (weight, backup);
                }
                None => other.upstream.draining = true,
            }
        }
        for (place, endpoint, weight, backup) in left {
            let (id, name) = (self.next, endpoint.clone());
            self.next += 1;
            let upstream = Upstream { id, endpoint, name, weight, backup, draining: false, column: None };
            self.all.push(Other { place, upstream });
        }
    }

    /// Each address that is wanted.
    fn places(&self) -> Vec<Place> {
        let places = self.wanted.iter().flat_map(|wanted| {
            let endpoints = match &wanted.place {
                UpstreamPlace::Endpoint(endpoint) => vec![endpoint.to_string()],
                UpstreamPlace::Name { host, port } => {
                    let found = self.found.get(&(host.clone(), *port)).into_iter().flatten();
                    found.map(|&address| Endpoint::Tcp(address).to_string()).collect()
                }
            };
            let (weight, backup) = (wanted.weight.max(1), wanted.backup);
            endpoints.into_iter().map(move |endpoint| (wanted.place.to_string(), endpoint, weight, backup))
        });
        places.collect()
    }

    /// Those that get requests, or have some, with what the settings call them.
    pub(super) fn list(&self) -> impl Iterator<Item = (&str, Upstream)> {
        self.all.iter().map(|other| (&*other.place, other.upstream.clone()))
    }

    /// Forgets those that are not wanted and that no lane has requests for. Says whether there were any.
    pub(super) fn forget(&mut self, owed: impl Fn(u32) -> bool) -> bool {
        let before = self.all.len();
        let leaving = self.all.iter().filter(|other| other.upstream.draining).count();
        let mut too_many = leaving.saturating_sub(MAX_LEAVING);
        self.all.retain(|Other { upstream, .. }| {
            let stays = !upstream.draining || owed(upstream.id);
            let forced = stays && upstream.draining && too_many > 0;
            too_many -= usize::from(forced);
            stays && !forced
        });
        self.all.len() != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(places: &[&str]) -> Vec<UpstreamAddress> {
        let one = |text: &&str| UpstreamAddress { place: text.parse().unwrap(), weight: 2, backup: false };
        places.iter().map(one).collect()
    }

    fn list(others: &Others) -> Vec<String> {
        let shown = |(_, upstream): (&str, Upstream)| {
            let draining = if upstream.draining { " leaves" } else { "" };
            format!("{} {}{draining}", upstream.id - FIRST_ID, upstream.endpoint)
        };
        others.list().map(shown).collect()
    }

    fn found(others: &mut Others, addresses: &[&str]) -> bool {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        others.handle_found(("app.example".into(), 80), addresses)
    }

    #[test]
    fn a_name_stands_for_what_was_found_last() {
        let mut others = Others::new(wanted(&["app.example:80", "unix:/a.sock"]));
        assert_eq!(list(&others), ["0 unix:/a.sock"]);
        assert!(found(&mut others, &["10.0.0.1:80", "10.0.0.2:80"]));
        assert!(!found(&mut others, &["10.0.0.1:80", "10.0.0.2:80"]));
        assert_eq!(list(&others), ["0 unix:/a.sock", "1 10.0.0.1:80", "2 10.0.0.2:80"]);
        assert!(found(&mut others, &["10.0.0.2:80", "10.0.0.3:80"]));
        assert_eq!(
            list(&others),
            ["0 unix:/a.sock", "1 10.0.0.1:80 leaves", "2 10.0.0.2:80", "3 10.0.0.3:80"]
        );
        assert!(!others.forget(|id| id == FIRST_ID + 1), "there are requests for it");
        assert!(others.forget(|_| false));
        assert_eq!(list(&others), ["0 unix:/a.sock", "2 10.0.0.2:80", "3 10.0.0.3:80"]);
        assert!(!others.handle_found(("other.example".into(), 80), Vec::new()), "nobody asked for it");
    }

    #[test]
    fn what_comes_back_is_another_one() {
        let mut others = Others::new(wanted(&["10.0.0.1:80"]));
        others.want(Vec::new());
        others.want(wanted(&["10.0.0.1:80"]));
        assert_eq!(list(&others), ["0 10.0.0.1:80 leaves", "1 10.0.0.1:80"]);
    }

    #[test]
    fn what_does_not_end_is_not_waited_for_without_limit() {
        let mut others = Others::new(Vec::new());
        for number in 0..MAX_LEAVING + 5 {
            others.want(wanted(&[&format!("10.0.0.1:{}", 1 + number)]));
        }
        others.want(Vec::new());
        assert!(others.forget(|_| true));
        assert_eq!(list(&others).len(), MAX_LEAVING);
        assert!(list(&others)[0].starts_with("5 "));
    }
}
