//! Addresses to listen on, as people write them.
//!
//! Text comes in, a [`Listen`] goes out; [`Listen::resolve`] then asks the system which socket addresses it means.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket},
    str::FromStr,
};

use super::value::BadValue;

/// Where to listen, and how that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listen {
    place: Place,
    spelt: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// `127.0.0.1:8000`, `[::1]:8000`.
    Address(SocketAddr),
    /// `:8000`, `8000`, `*:8000`: every interface, as `listen(8000)` in Node and `listen 8000` in nginx.
    Everywhere(u16),
    /// `localhost:8000`: every address of the name that this machine has.
    Name { host: String, port: u16 },
}

const EXAMPLES: &str = "write 127.0.0.1:8000, [::1]:8000, localhost:8000, or :8000 for every interface";

impl FromStr for Listen {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        Ok(Self { place: text.parse()?, spelt: text.to_owned() })
    }
}

impl FromStr for Place {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bad = |what: &str| BadValue::new(what, EXAMPLES);
        if text.contains("://") {
            return Err(bad("an address, not a URL, is listened on"));
        }
        if text.contains('/') || text.starts_with("unix:") || text.starts_with('@') {
            return Err(BadValue::new("Unix sockets are not in this version yet", EXAMPLES));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        if text.parse::<IpAddr>().is_ok() {
            return Err(bad("the address has no port"));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return match text.bytes().all(|byte| byte.is_ascii_digit()) {
                true => port_number(text).map(Self::Everywhere),
                false => Err(bad("the address has no port")),
            };
        };
        let port = port_number(port)?;
        match host {
            "" | "*" => Ok(Self::Everywhere(port)),
            _ if host.contains([':', '[', ']']) => Err(bad("not an IPv6 address in brackets")),
            _ if is_host_name(host) => Ok(Self::Name { host: host.to_owned(), port }),
            _ => Err(bad("not the name of a host")),
        }
    }
}

/// Reads a port. 0 lets the system choose one.
pub(crate) fn port_number(text: &str) -> Result<u16, BadValue> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = if digits { text.parse().ok() } else { None };
    port.ok_or_else(|| BadValue::new(format!("{text:?} is not a port"), "a port is a number from 0 to 65535"))
}

/// Letters, digits, dots, hyphens and underscores, and not an IPv4 address gone wrong.
fn is_host_name(host: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    host.len() <= 253 && host.bytes().all(known) && host.bytes().any(|byte| byte.is_ascii_alphabetic())
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self { place: Place::Address(address), spelt: address.to_string() }
    }
}

impl Listen {
    pub(crate) fn everywhere(port: u16) -> Self {
        Self { place: Place::Everywhere(port), spelt: format!(":{port}") }
    }

    /// The socket addresses that it means, at least one. May ask the name service, and wait for it.
    pub(crate) fn resolve(&self) -> Result<Vec<SocketAddr>, BadValue> {
        match &self.place {
            Place::Address(address) => Ok(vec![*address]),
            Place::Everywhere(port) => {
                // An IPv6 wildcard takes IPv4 as well, but a kernel without IPv6 has only the other.
                let v6 = IpAddr::from(Ipv6Addr::UNSPECIFIED);
                let host = if is_ours(v6) { v6 } else { Ipv4Addr::UNSPECIFIED.into() };
                Ok(vec![SocketAddr::new(host, *port)])
            }
            Place::Name { host, port } => {
                let found = (host.as_str(), *port).to_socket_addrs().map_err(|error| {
                    BadValue::new(format!("{host} has no address: {error}"), "write the address itself")
                })?;
                let mut addresses: Vec<SocketAddr> = Vec::new();
                for address in found {
                    if is_ours(address.ip()) && !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
                if addresses.is_empty() {
                    return Err(BadValue::new(format!("{host} is not this machine"), EXAMPLES));
                }
                Ok(addresses)
            }
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.spelt)
    }
}

/// Whether this machine can listen there. Containers often have `::1 localhost` in /etc/hosts and no IPv6.
fn is_ours(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// Whether listening on `wide` leaves nothing of `narrow` to listen on.
pub(crate) fn covers(wide: SocketAddr, narrow: SocketAddr) -> bool {
    let same_family = wide.is_ipv4() == narrow.is_ipv4();
    let host = match wide.ip() {
        IpAddr::V6(host) if host.is_unspecified() => true,
        IpAddr::V4(host) if host.is_unspecified() => same_family,
        host => host == narrow.ip(),
    };
    host && wide.port() == narrow.port() && wide.port() != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let name = |host: &str, port| Place::Name { host: host.into(), port };
        let address = |text: &str| Place::Address(text.parse().unwrap());
        for (text, expected) in [
            ("127.0.0.1:8000", address("127.0.0.1:8000")),
            ("127.0.0.1:0", address("127.0.0.1:0")),
            ("0.0.0.0:80", address("0.0.0.0:80")),
            ("[::1]:8000", address("[::1]:8000")),
            ("[::]:8000", address("[::]:8000")),
            (":8000", Place::Everywhere(8000)),
            ("8000", Place::Everywhere(8000)),
            ("*:8000", Place::Everywhere(8000)),
            ("localhost:8000", name("localhost", 8000)),
            ("web-1.example.org:80", name("web-1.example.org", 80)),
        ] {
            let listen = text.parse::<Listen>().unwrap();
            assert_eq!(listen.place, expected, "{text}");
            assert_eq!(listen.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_told_why() {
        for (text, expected) in [
            ("", "not a port"),
            (":", "not a port"),
            (":http", "not a port"),
            (":65536", "not a port"),
            ("65536", "not a port"),
            (":+80", "not a port"),
            ("127.0.0.1:-1", "not a port"),
            ("127.0.0.1", "no port"),
            ("::1", "no port"),
            ("localhost", "no port"),
            ("fe80::g:80", "in brackets"),
            ("[::1:80", "in brackets"),
            ("[localhost]:80", "in brackets"),
            ("256.0.0.1:80", "name of a host"),
            ("a b:80", "name of a host"),
            ("http://localhost:80", "not a URL"),
            ("/run/app.sock", "not in this version yet"),
            ("./app.sock", "not in this version yet"),
            ("unix:app.sock", "not in this version yet"),
        ] {
            let error = text.parse::<Listen>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn names_are_resolved() {
        let found = "localhost:8000".parse::<Listen>().unwrap().resolve().unwrap();
        assert!(
            found.iter().all(|address| address.ip().is_loopback() && address.port() == 8000),
            "{found:?}"
        );
        let everywhere = Listen::everywhere(7).resolve().unwrap();
        assert!(everywhere.len() == 1 && everywhere[0].ip().is_unspecified(), "{everywhere:?}");
        let error = "no..such:80".parse::<Listen>().unwrap().resolve().unwrap_err().to_string();
        assert!(error.contains("no..such has no address"), "{error}");
    }

    #[test]
    fn wildcards_cover() {
        for (wide, narrow, expected) in [
            ("[::]:80", "127.0.0.1:80", true),
            ("[::]:80", "[::1]:80", true),
            ("[::]:80", "0.0.0.0:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "0.0.0.0:80", false),
            ("[::]:80", "127.0.0.1:81", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            assert_eq!(covers(wide.parse().unwrap(), narrow.parse().unwrap()), expected, "{wide} {narrow}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*", near in "[\\[\\]:.*0-9a-f]{0,24}") {
            for text in [text, near] {
                if let Ok(listen) = text.parse::<Listen>() {
                    prop_assert_eq!(listen.to_string().parse(), Ok(listen));
                }
            }
        }
    }
}
