//! What a worker's `queryServer` means: which socket it wants, what that is called, and whether an open one will do.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::value::RawValue;

use super::errno;
use crate::{
    endpoint::Endpoint,
    protocol::listen::{AddressType, Query, SockName},
};

/// A socket to be bound for a worker.
#[derive(Debug, Clone)]
pub struct Wish {
    /// What to bind.
    pub want: Want,
    pub(super) key: Arc<str>,
    pub(super) data: Option<Box<RawValue>>,
    pub(super) asked: Asked,
}

/// What is wanted of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// A TCP socket.
    Tcp {
        /// `None`: every interface.
        host: Option<IpAddr>,
        /// 0: the kernel chooses.
        port: u16,
        /// Leave IPv4 to others.
        ipv6_only: bool,
        /// Length of the kernel's queue; `None` for the default.
        backlog: Option<u32>,
    },
    /// A Unix stream socket.
    Unix {
        /// Where.
        path: PathBuf,
        /// Anybody may read from it.
        readable_all: bool,
        /// Anybody may write to it.
        writable_all: bool,
        /// Length of the kernel's queue; `None` for the default.
        backlog: Option<u32>,
    },
    /// A UDP socket.
    Udp {
        /// Where; port 0: the kernel chooses.
        address: SocketAddr,
        /// Leave IPv4 to others.
        ipv6_only: bool,
        /// Others may bind the same address (`SO_REUSEADDR`).
        reuse_address: bool,
    },
    /// A socket that the master was started with, by its number.
    Inherited {
        /// Its number.
        descriptor: i32,
    },
}

/// A bit of `flags`: `UV_TCP_IPV6ONLY` and `UV_UDP_IPV6ONLY`.
const IPV6_ONLY: u32 = 1;

/// A bit of `flags`: `UV_UDP_REUSEADDR`.
const UDP_REUSE_ADDRESS: u32 = 4;

impl Want {
    /// What a worker asks for, or the errno that answers it.
    pub(super) fn of(query: &Query) -> Result<Self, i32> {
        if let Some(descriptor) = query.fd.filter(|&fd| fd >= 0) {
            return i32::try_from(descriptor)
                .map(|descriptor| Self::Inherited { descriptor })
                .map_err(|_| errno::EBADF);
        }
        let flags = query.flags.unwrap_or(0);
        let port = || query.port.and_then(|port| u16::try_from(port).ok()).ok_or(errno::EINVAL);
        let host = || match query.address.as_deref() {
            None | Some("") => Ok(None),
            // A link-local address carries its interface, which nothing here can use.
            Some(text) => text.parse().map(Some).map_err(|_| errno::EINVAL),
        };
        match query.address_type {
            AddressType::Tcp4 | AddressType::Tcp6 => {
                let ipv6_only = flags & IPV6_ONLY != 0;
                Ok(Self::Tcp { host: host()?, port: port()?, ipv6_only, backlog: query.backlog })
            }
            AddressType::Unix => match query.address.as_deref() {
                Some(path) if !path.is_empty() => Ok(Self::Unix {
                    path: path.into(),
                    readable_all: query.readable_all,
                    writable_all: query.writable_all,
                    backlog: query.backlog,
                }),
                // A server that a Node of 18 or before got over its channel: Node's own primary fails here as well.
                _ => Err(errno::EINVAL),
            },
            AddressType::Udp4 | AddressType::Udp6 => {
                let any = match query.address_type {
                    AddressType::Udp4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                    _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                };
                Ok(Self::Udp {
                    address: SocketAddr::new(host()?.unwrap_or(any), port()?),
                    ipv6_only: flags & IPV6_ONLY != 0,
                    reuse_address: flags & UDP_REUSE_ADDRESS != 0,
                })
            }
            AddressType::None => Err(errno::EINVAL),
        }
    }

    /// Whether every connection or datagram that a socket for this would get reaches `endpoint` instead. What the user
    /// told us to listen on (`told`) also serves a wish for every interface.
    pub(super) fn is_covered(&self, endpoint: &Endpoint, endpoint_ipv6_only: bool, told: bool) -> bool {
        let wildcard = |host: Option<IpAddr>| told && host.is_none_or(|host| host.is_unspecified());
        match (self, endpoint) {
            (&Self::Tcp { host, port, .. }, Endpoint::Tcp(open)) => {
                port != 0
                    && open.port() == port
                    && (covers(open.ip(), endpoint_ipv6_only, host) || wildcard(host))
            }
            (Self::Udp { address, .. }, Endpoint::Udp(open)) => {
                let host = Some(address.ip());
                address.port() != 0
                    && open.port() == address.port()
                    && (covers(open.ip(), endpoint_ipv6_only, host) || wildcard(host))
            }
            (Self::Unix { path, .. }, Endpoint::Unix(open)) => same_path(path, open),
            _ => false,
        }
    }

    /// Whether the socket carries datagrams, which only workers can receive.
    pub(super) fn is_udp(&self) -> bool {
        matches!(self, Self::Udp { .. })
    }
}

/// By components, so that `/run//a` is `/run/a`.
fn same_path(one: &Path, other: &Path) -> bool {
    one.components().eq(other.components())
}

/// Whether every connection to `host` (`None`: every interface) reaches a socket that is bound to `open`.
fn covers(open: IpAddr, ipv6_only: bool, host: Option<IpAddr>) -> bool {
    match (open, host) {
        (IpAddr::V6(open), Some(IpAddr::V4(_))) => open.is_unspecified() && !ipv6_only,
        (open, Some(host)) => open == host || open.is_unspecified() && open.is_ipv4() == host.is_ipv4(),
        (open, None) => open.is_unspecified(),
    }
}

/// The identity of a listening socket, written as Node writes it.
pub(super) fn key_text(query: &Query) -> String {
    fn or<T: ToString>(value: Option<&T>, absent: &str) -> String {
        value.map_or_else(|| absent.to_owned(), T::to_string)
    }
    let (address, port) = (or(query.address.as_ref(), "null"), or(query.port.as_ref(), "null"));
    format!("{address}:{port}:{}:{}:{}", query.address_type, or(query.fd.as_ref(), "undefined"), query.index)
}

/// What a worker asks for, as it will want to hear where its server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// By TCP.
    Tcp(SockName),
    /// By a path, which it knows.
    Path,
    /// By a descriptor: it does not know what that is.
    Descriptor,
}

impl Asked {
    pub(super) fn of(want: &Want) -> Self {
        match want {
            Want::Tcp { host, port, .. } => {
                let host = host.unwrap_or(Ipv6Addr::UNSPECIFIED.into());
                Self::Tcp(SocketAddr::new(host, *port).into())
            }
            Want::Unix { .. } => Self::Path,
            // A UDP socket is asked itself.
            Want::Inherited { .. } | Want::Udp { .. } => Self::Descriptor,
        }
    }
}

/// Serves what a program listens to as one thing on another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// What the program listens to.
    pub from: Place,
    /// Where it is served.
    pub to: Place,
}

/// A place to listen, as a [`Mapping`] names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A TCP port, whatever the interface.
    Port(u16),
    /// One endpoint.
    Endpoint(Endpoint),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => port.fmt(out),
            Self::Endpoint(endpoint) => endpoint.fmt(out),
        }
    }
}

impl Mapping {
    /// What is wanted in the end.
    pub(super) fn apply(&self, want: Want) -> Want {
        let applies = match (&want, &self.from) {
            (Want::Tcp { port, .. }, Place::Port(from)) => port == from,
            (Want::Tcp { host, port, .. }, Place::Endpoint(Endpoint::Tcp(from))) => {
                *host == Some(from.ip()) && *port == from.port()
            }
            (Want::Unix { path, .. }, Place::Endpoint(Endpoint::Unix(from))) => same_path(path, from),
            _ => false,
        };
        if !applies {
            return want;
        }
        let (host, only, backlog) = match want {
            Want::Tcp { host, ipv6_only, backlog, .. } => (host, ipv6_only, backlog),
            Want::Unix { backlog, .. } => (None, false, backlog),
            other @ (Want::Udp { .. } | Want::Inherited { .. }) => return other,
        };
        match &self.to {
            Place::Port(port) => Want::Tcp { host, port: *port, ipv6_only: only, backlog },
            Place::Endpoint(Endpoint::Tcp(to) | Endpoint::Udp(to)) => {
                Want::Tcp { host: Some(to.ip()), port: to.port(), ipv6_only: false, backlog }
            }
            Place::Endpoint(Endpoint::Unix(path)) => {
                let path = path.clone();
                Want::Unix { path, readable_all: false, writable_all: false, backlog }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(address: Option<&str>, port: i64, address_type: AddressType, flags: Option<u32>) -> Query {
        let address = address.map(str::to_owned);
        Query { address, port: Some(port), address_type, flags, ..Query::default() }
    }

    #[test]
    fn questions_are_understood_as_node_means_them() {
        let tcp = |host: Option<&str>, port, ipv6_only| {
            let host = host.map(|host| host.parse().unwrap());
            Ok(Want::Tcp { host, port, ipv6_only, backlog: None })
        };
        let udp = |address: &str, ipv6_only, reuse_address| {
            Ok(Want::Udp { address: address.parse().unwrap(), ipv6_only, reuse_address })
        };
        let table = [
            (query(None, 80, AddressType::Tcp4, None), tcp(None, 80, false)),
            (query(Some("::"), 80, AddressType::Tcp6, Some(1)), tcp(Some("::"), 80, true)),
            (query(Some("localhost"), 80, AddressType::Tcp4, None), Err(errno::EINVAL)),
            (query(None, 70_000, AddressType::Tcp4, None), Err(errno::EINVAL)),
            (query(None, -1, AddressType::Unix, None), Err(errno::EINVAL)),
            (query(None, 80, AddressType::None, None), Err(errno::EINVAL)),
            (query(Some("0.0.0.0"), 53, AddressType::Udp4, None), udp("0.0.0.0:53", false, false)),
            (query(None, 53, AddressType::Udp6, Some(5)), udp("[::]:53", true, true)),
        ];
        for (query, expected) in table {
            assert_eq!(Want::of(&query), expected, "{query:?}");
        }
        let given = Query { fd: Some(3), ..Query::default() };
        assert_eq!(Want::of(&given), Ok(Want::Inherited { descriptor: 3 }));
        let given = Query { fd: Some(1 << 40), ..Query::default() };
        assert_eq!(Want::of(&given), Err(errno::EBADF));
        let absent = Query { fd: Some(-1), ..query(Some("127.0.0.1"), 53, AddressType::Udp4, None) };
        assert_eq!(Want::of(&absent), udp("127.0.0.1:53", false, false));
    }

    #[test]
    fn a_mapping_changes_what_it_names_and_nothing_else() {
        let place = |text: &str| match text.parse() {
            Ok(port) => Place::Port(port),
            Err(_) => Place::Endpoint(text.parse().unwrap()),
        };
        let want = |text: &str| match place(text) {
            Place::Port(port) => Want::Tcp { host: None, port, ipv6_only: false, backlog: None },
            Place::Endpoint(Endpoint::Unix(path)) => {
                Want::Unix { path, readable_all: false, writable_all: false, backlog: None }
            }
            Place::Endpoint(Endpoint::Tcp(at)) => {
                Want::Tcp { host: Some(at.ip()), port: at.port(), ipv6_only: false, backlog: None }
            }
            Place::Endpoint(Endpoint::Udp(address)) => {
                Want::Udp { address, ipv6_only: false, reuse_address: false }
            }
        };
        let table = [
            ("3000", "8000", "3000", "8000"),
            ("3000", "8000", "3001", "3001"),
            ("3000", "8000", "127.0.0.1:3000", "127.0.0.1:8000"),
            ("3000", "127.0.0.1:80", "3000", "127.0.0.1:80"),
            ("3000", "/run/a", "3000", "/run/a"),
            ("127.0.0.1:3000", "80", "3000", "3000"),
            ("127.0.0.1:3000", "80", "127.0.0.1:3000", "127.0.0.1:80"),
            ("/tmp/a", "80", "/tmp//a", "80"),
            ("/tmp/a", "80", "/tmp/b", "/tmp/b"),
            ("53", "54", "udp:127.0.0.1:53", "udp:127.0.0.1:53"),
        ];
        for (from, to, wanted, got) in table {
            let mapping = Mapping { from: place(from), to: place(to) };
            assert_eq!(mapping.apply(want(wanted)), want(got), "{from}={to}, {wanted}");
        }
    }
}
