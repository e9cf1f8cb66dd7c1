//! What a worker listens on, and how it asks for it.

use std::{
    mem,
    net::{IpAddr, SocketAddr},
};

use super::event::Listener;
use crate::protocol::listen::{AddressType, Query, SockName};

/// The listeners that are open.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    open: Vec<Open>,
    next_id: u32,
}

#[derive(Debug)]
struct Open {
    listener: Listener,
    /// The master's name for it.
    key: String,
    /// As it was asked for: port 0 stays 0.
    query: Query,
}

impl Listeners {
    pub(super) fn add(&mut self, key: String, query: Query, local_address: SocketAddr) -> Listener {
        let listener = Listener { id: self.next_id, local_address };
        self.next_id += 1;
        self.open.push(Open { listener, key, query });
        listener
    }

    /// Closes one and returns its key.
    pub(super) fn remove(&mut self, listener: Listener) -> Option<String> {
        let at = self.open.iter().position(|open| open.listener == listener)?;
        Some(self.open.remove(at).key)
    }

    /// Closes all.
    pub(super) fn take_keys(&mut self) -> impl Iterator<Item = String> + use<> {
        mem::take(&mut self.open).into_iter().map(|open| open.key)
    }

    pub(super) fn by_key(&self, key: &str) -> Option<Listener> {
        self.open.iter().find(|open| open.key == key).map(|open| open.listener)
    }

    /// Counts the listeners on one address, from 0; begins anew when the last of them is closed, as in Node.
    fn next_index(&self, query: &Query) -> u32 {
        let address = |query: &Query| (query.address.clone(), query.port);
        let same = self.open.iter().filter(|open| address(&open.query) == address(query));
        same.map(|open| open.query.index + 1).max().unwrap_or(0)
    }
}

/// How to ask for `address`. As in Node, no address at all means every interface by both families.
pub(super) fn query(address: SocketAddr, listeners: &Listeners) -> Query {
    let everywhere = address.is_ipv6() && address.ip().is_unspecified();
    let address_type = if address.is_ipv4() || everywhere { AddressType::Tcp4 } else { AddressType::Tcp6 };
    let query = Query {
        address: (!everywhere).then(|| address.ip().to_string()),
        port: Some(address.port().into()),
        address_type,
        ..Query::default()
    };
    Query { index: listeners.next_index(&query), ..query }
}

/// The address in a reply, or `None` if it is none.
pub(super) fn bound_address(name: &SockName) -> Option<SocketAddr> {
    // A link-local address may carry its interface.
    let ip: IpAddr = name.address.split('%').next()?.parse().ok()?;
    Some(SocketAddr::new(ip, name.port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(address: &str, listeners: &Listeners) -> String {
        serde_json::to_string(&query(address.parse().unwrap(), listeners)).unwrap()
    }

    #[test]
    fn addresses_are_asked_for_as_node_does() {
        let check = |address, expected: &str| assert_eq!(ask(address, &Listeners::default()), expected);
        check("[::]:80", r#"{"index":0,"data":null,"address":null,"port":80,"addressType":4}"#);
        check("0.0.0.0:80", r#"{"index":0,"data":null,"address":"0.0.0.0","port":80,"addressType":4}"#);
        check("[::1]:0", r#"{"index":0,"data":null,"address":"::1","port":0,"addressType":6}"#);
    }

    #[test]
    fn the_index_counts_per_address_and_begins_anew() {
        let mut listeners = Listeners::default();
        let open = |listeners: &mut Listeners, address: &str, key: &str| {
            let query = query(address.parse().unwrap(), listeners);
            let index = query.index;
            (index, listeners.add(key.to_owned(), query, "127.0.0.1:7777".parse().unwrap()))
        };
        let (first, a) = open(&mut listeners, "127.0.0.1:0", "a");
        let (second, b) = open(&mut listeners, "127.0.0.1:0", "b");
        let (other, c) = open(&mut listeners, "127.0.0.1:80", "c");
        assert_eq!((first, second, other), (0, 1, 0));
        assert_eq!((listeners.remove(a), listeners.remove(a)), (Some("a".to_owned()), None));
        assert_eq!(listeners.by_key("b"), Some(b));
        assert!(ask("127.0.0.1:0", &listeners).contains("\"index\":2"));
        assert!(listeners.remove(b).is_some());
        assert!(ask("127.0.0.1:0", &listeners).contains("\"index\":0"));
        assert_eq!(listeners.take_keys().collect::<Vec<_>>(), ["c"]);
        assert_eq!(listeners.by_key("c"), None);
        assert_ne!(a, c);
    }

    #[test]
    fn addresses_of_replies() {
        let check = |address: &str, expected: Option<&str>| {
            let name = SockName { address: address.to_owned(), family: "IPv6".to_owned(), port: 80 };
            assert_eq!(bound_address(&name), expected.map(|text| text.parse().unwrap()), "{address}");
        };
        check("127.0.0.1", Some("127.0.0.1:80"));
        check("::", Some("[::]:80"));
        check("fe80::1%eth0", Some("[fe80::1]:80"));
        check("", None);
        check("localhost", None);
    }
}
