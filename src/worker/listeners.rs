//! What a worker listens on, and how it asks for it.

use std::{
    mem,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use super::{event::Listener, options::ListenOptions};
use crate::{
    endpoint::Endpoint,
    protocol::listen::{AddressType, Query, SockName},
};

/// What Node sends as the port of a Unix socket.
const NO_PORT: i64 = -1;

/// A bit of `flags`: `UV_TCP_IPV6ONLY`.
const IPV6_ONLY: u32 = 1;

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
    pub(super) fn add(&mut self, key: String, query: Query, endpoint: Endpoint) -> Listener {
        let listener = Listener { id: self.next_id, endpoint: endpoint.into() };
        self.next_id += 1;
        self.open.push(Open { listener: listener.clone(), key, query });
        listener
    }

    /// Closes one and returns its key.
    pub(super) fn remove(&mut self, listener: &Listener) -> Option<String> {
        let at = self.open.iter().position(|open| open.listener == *listener)?;
        Some(self.open.remove(at).key)
    }

    /// Closes all.
    pub(super) fn take_keys(&mut self) -> impl Iterator<Item = String> + use<> {
        mem::take(&mut self.open).into_iter().map(|open| open.key)
    }

    pub(super) fn by_key(&self, key: &str) -> Option<&Listener> {
        self.open.iter().find(|open| open.key == key).map(|open| &open.listener)
    }

    pub(super) fn contains(&self, listener: &Listener) -> bool {
        self.open.iter().any(|open| open.listener == *listener)
    }

    /// Counts the listeners on one address, from 0; begins anew when the last of them is closed, as in Node.
    fn next_index(&self, query: &Query) -> u32 {
        let address = |query: &Query| (query.address.clone(), query.port, query.address_type);
        let same = self.open.iter().filter(|open| address(&open.query) == address(query));
        same.map(|open| open.query.index + 1).max().unwrap_or(0)
    }
}

/// What a worker asks to listen on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ask<'a> {
    Tcp(SocketAddr),
    /// An absolute path.
    Unix(&'a str),
}

impl<'a> Ask<'a> {
    /// `None` of what cannot be asked for: no connections come from it, or it cannot be written as text.
    pub(super) fn of(endpoint: &'a Endpoint) -> Option<Self> {
        match endpoint {
            Endpoint::Tcp(address) => Some(Self::Tcp(*address)),
            Endpoint::Unix(path) => path.to_str().map(Self::Unix),
            Endpoint::Udp(_) => None,
        }
    }
}

/// How to ask for it. As in Node, no address at all means every interface by both families.
pub(super) fn query(ask: Ask<'_>, options: &ListenOptions, listeners: &Listeners) -> Query {
    let query = match ask {
        Ask::Tcp(address) => {
            let everywhere = address.is_ipv6() && address.ip().is_unspecified() && !options.ipv6_only;
            Query {
                address: (!everywhere).then(|| address.ip().to_string()),
                port: Some(address.port().into()),
                address_type: match address.is_ipv4() || everywhere {
                    true => AddressType::Tcp4,
                    false => AddressType::Tcp6,
                },
                flags: (options.ipv6_only && address.is_ipv6()).then_some(IPV6_ONLY),
                ..Query::default()
            }
        }
        Ask::Unix(path) => Query {
            address: Some(path.to_owned()),
            port: Some(NO_PORT),
            address_type: AddressType::Unix,
            readable_all: options.readable_all,
            writable_all: options.writable_all,
            ..Query::default()
        },
    };
    Query { index: listeners.next_index(&query), backlog: options.backlog, ..query }
}

/// What a listener for `query` is bound to, by the address in the reply if there is one. `None` if that is none.
pub(super) fn bound_endpoint(query: &Query, name: Option<&SockName>) -> Option<Endpoint> {
    match (name, query.address_type, &query.address) {
        (Some(name), ..) => bound_address(name).map(Endpoint::Tcp),
        // The master says nothing of paths.
        (None, AddressType::Unix, Some(path)) => Some(Endpoint::Unix(Path::new(path).to_owned())),
        (None, ..) => None,
    }
}

/// The address in a reply, or `None` if it is none.
fn bound_address(name: &SockName) -> Option<SocketAddr> {
    // A link-local address may carry its interface.
    let ip: IpAddr = name.address.split('%').next()?.parse().ok()?;
    Some(SocketAddr::new(ip, name.port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(address: &str, options: &ListenOptions, listeners: &Listeners) -> Query {
        query(Ask::of(&address.parse().unwrap()).unwrap(), options, listeners)
    }

    fn ask(address: &str, listeners: &Listeners) -> String {
        serde_json::to_string(&asked(address, &ListenOptions::new(), listeners)).unwrap()
    }

    #[test]
    fn addresses_are_asked_for_as_node_does() {
        let check = |address, expected: &str| assert_eq!(ask(address, &Listeners::default()), expected);
        check("[::]:80", r#"{"index":0,"data":null,"address":null,"port":80,"addressType":4}"#);
        check("0.0.0.0:80", r#"{"index":0,"data":null,"address":"0.0.0.0","port":80,"addressType":4}"#);
        check("[::1]:0", r#"{"index":0,"data":null,"address":"::1","port":0,"addressType":6}"#);
        check("unix:/a b", r#"{"index":0,"data":null,"address":"/a b","port":-1,"addressType":-1}"#);
        assert!(Ask::of(&"udp:127.0.0.1:53".parse().unwrap()).is_none());
    }

    #[test]
    fn options_are_asked_for_where_they_mean_something() {
        let check = |address, expected: &str| {
            let options =
                ListenOptions::new().backlog(7).ipv6_only(true).readable_all(true).writable_all(true);
            let query = asked(address, &options, &Listeners::default());
            assert_eq!(serde_json::to_string(&query).unwrap(), expected);
        };
        check(
            "[::]:80",
            r#"{"index":0,"data":null,"address":"::","port":80,"addressType":6,"flags":1,"backlog":7}"#,
        );
        check(
            "0.0.0.0:80",
            r#"{"index":0,"data":null,"address":"0.0.0.0","port":80,"addressType":4,"backlog":7}"#,
        );
        check(
            "unix:/a",
            r#"{"index":0,"data":null,"address":"/a","port":-1,"addressType":-1,"backlog":7,"readableAll":true,"writableAll":true}"#,
        );
    }

    #[test]
    fn the_index_counts_per_address_and_begins_anew() {
        let mut listeners = Listeners::default();
        let open = |listeners: &mut Listeners, address: &str, key: &str| {
            let query = asked(address, &ListenOptions::new(), listeners);
            let index = query.index;
            (index, listeners.add(key.to_owned(), query, "127.0.0.1:7777".parse().unwrap()))
        };
        let (first, a) = open(&mut listeners, "127.0.0.1:0", "a");
        let (second, b) = open(&mut listeners, "127.0.0.1:0", "b");
        let (other, c) = open(&mut listeners, "127.0.0.1:80", "c");
        assert_eq!((first, second, other), (0, 1, 0));
        assert_eq!((listeners.remove(&a), listeners.remove(&a)), (Some("a".to_owned()), None));
        assert_eq!((listeners.by_key("b"), listeners.contains(&b)), (Some(&b), true));
        assert!(ask("127.0.0.1:0", &listeners).contains("\"index\":2"));
        assert!(listeners.remove(&b).is_some());
        assert!(ask("127.0.0.1:0", &listeners).contains("\"index\":0"));
        assert_eq!(listeners.take_keys().collect::<Vec<_>>(), ["c"]);
        assert_eq!(listeners.by_key("c"), None);
        assert_ne!(a, c);
    }

    #[test]
    fn addresses_of_replies() {
        let tcp = asked("127.0.0.1:80", &ListenOptions::new(), &Listeners::default());
        let unix = asked("/a", &ListenOptions::new(), &Listeners::default());
        let check = |address: &str, expected: Option<&str>| {
            let name = SockName { address: address.to_owned(), family: "IPv6".to_owned(), port: 80 };
            let bound = bound_endpoint(&tcp, Some(&name));
            assert_eq!(bound, expected.map(|text| text.parse().unwrap()), "{address}");
            assert_eq!(bound_endpoint(&unix, Some(&name)), bound, "a Unix socket that is mapped onto a port");
        };
        assert_eq!(bound_endpoint(&tcp, None), None);
        assert_eq!(bound_endpoint(&unix, None), Some(Endpoint::Unix("/a".into())));
        check("127.0.0.1", Some("127.0.0.1:80"));
        check("::", Some("[::]:80"));
        check("fe80::1%eth0", Some("[fe80::1]:80"));
        check("", None);
        check("localhost", None);
    }
}
