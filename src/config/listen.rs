//! Addresses to listen on, as people write them.
//!
//! Text comes in, a [`Listen`] goes out; [`Listen::resolve`] then asks the system which sockets it means.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket},
    path::PathBuf,
    str::FromStr,
};

use pointsman::Endpoint;

use super::{
    listen_options::{self, Options},
    value::BadValue,
};

/// Where to listen, how, and how the place was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listen {
    place: Place,
    options: Options,
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
    /// `unix:/run/app.sock`, `/run/app.sock`, `./app.sock`.
    Unix(PathBuf),
}

/// A socket to listen on, and how it is written.
#[derive(Debug, Clone)]
pub(crate) struct Socket {
    pub(crate) listen: pointsman::Listen,
    options: Options,
}

impl Socket {
    pub(crate) fn endpoint(&self) -> &Endpoint {
        self.listen.endpoint()
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}", self.endpoint(), self.options)
    }
}

const EXAMPLES: &str =
    "write 127.0.0.1:8000, [::1]:8000, localhost:8000, unix:/run/app.sock, or :8000 for every interface";

impl FromStr for Listen {
    type Err = BadValue;

    /// Reads a place, and options behind it with blanks between.
    fn from_str(text: &str) -> Result<Self, BadValue> {
        let mut words = text.split_whitespace();
        let place = words.next().unwrap_or_default();
        let mut listen = Self::at(place)?;
        for word in words {
            match word.split_once('=') {
                Some((name, value)) => listen.set(name, Some(value))?,
                None => listen.set(word, None)?,
            }
        }
        Ok(listen)
    }
}

impl FromStr for Place {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bad = |what: &str| BadValue::new(what, EXAMPLES);
        if text.contains("://") {
            return Err(bad("an address, not a URL, is listened on"));
        }
        if let Some(bad) = no_unix(text) {
            return Err(bad);
        }
        if let Some(path) = text.strip_prefix("unix:").or_else(|| is_path(text).then_some(text)) {
            return unix(path);
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

/// A path without `unix:` before it is one that cannot be anything else.
fn is_path(text: &str) -> bool {
    ["/", "./", "../"].iter().any(|start| text.starts_with(start))
}

/// Why a text that looks like a socket of another kind, or like a path, is none of ours.
fn no_unix(text: &str) -> Option<BadValue> {
    let path = text.strip_prefix("unix:").unwrap_or(text);
    if path.starts_with('@') {
        return Some(BadValue::new(
            "abstract sockets, with @, are not supported",
            "write the path of a file, such as unix:/run/app.sock",
        ));
    }
    if text.strip_prefix("udp:").is_some() || text.ends_with("/udp") && !is_path(path) {
        return Some(BadValue::new("a UDP port is opened when the program binds it", "leave it out"));
    }
    if listen_options::is_option(text) {
        // As it comes out of a variable, where commas are between addresses.
        return Some(BadValue::new(
            "an option without an address",
            "options follow an address with blanks, not commas",
        ));
    }
    if path.len() == text.len() && text.contains('/') && !is_path(text) {
        return Some(BadValue::new(
            "neither an address nor a path, which begins with /, ./ or ../",
            format!("{EXAMPLES}; a relative path is unix:{text}"),
        ));
    }
    None
}

fn unix(path: &str) -> Result<Place, BadValue> {
    let instead = "write the path of a file, such as unix:/run/app.sock";
    if path.split(',').skip(1).any(listen_options::is_option) {
        let instead = format!("write \"unix:{}\", in quotes", path.replace(',', " "));
        return Err(BadValue::new("options follow with blanks, not commas", instead));
    }
    if path.is_empty() || path.ends_with('/') || path.contains('\0') {
        return Err(BadValue::new("not the path of a Unix socket", instead));
    }
    Ok(Place::Unix(path.into()))
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
        Self { place: Place::Address(address), options: Options::default(), spelt: address.to_string() }
    }
}

impl Listen {
    /// Reads a place alone.
    pub(super) fn at(text: &str) -> Result<Self, BadValue> {
        Ok(Self { place: text.parse()?, options: Options::default(), spelt: text.to_owned() })
    }

    pub(crate) fn everywhere(port: u16) -> Self {
        let (place, spelt) = (Place::Everywhere(port), format!(":{port}"));
        Self { place, options: Options::default(), spelt }
    }

    pub(super) fn is_unix(&self) -> bool {
        matches!(self.place, Place::Unix(_))
    }

    /// Sets an option.
    pub(super) fn set(&mut self, name: &str, text: Option<&str>) -> Result<(), BadValue> {
        self.options
            .set(name, text)
            .map_err(|bad| BadValue::new(format!("{name}: {}", bad.what), bad.instead))
    }

    /// The sockets that it means, at least one. May ask the name service, and wait for it.
    pub(crate) fn resolve(&self) -> Result<Vec<Socket>, BadValue> {
        let options = &self.options;
        let socket = |endpoint| Ok(Socket { listen: options.apply(endpoint)?, options: options.clone() });
        self.endpoints()?.into_iter().map(socket).collect()
    }

    pub(super) fn endpoints(&self) -> Result<Vec<Endpoint>, BadValue> {
        match &self.place {
            Place::Address(address) => Ok(vec![(*address).into()]),
            Place::Everywhere(port) => {
                // An IPv6 wildcard takes IPv4 as well, but a kernel without IPv6 has only the other.
                let v6 = IpAddr::from(Ipv6Addr::UNSPECIFIED);
                let host = if is_ours(v6) { v6 } else { Ipv4Addr::UNSPECIFIED.into() };
                Ok(vec![SocketAddr::new(host, *port).into()])
            }
            Place::Name { host, port } => {
                let addresses = resolve_name(host, *port)?;
                Ok(addresses.into_iter().map(Endpoint::Tcp).collect())
            }
            Place::Unix(path) => match std::path::absolute(path) {
                Ok(path) => Ok(vec![Endpoint::Unix(path)]),
                Err(error) => Err(BadValue::new(format!("no such directory: {error}"), EXAMPLES)),
            },
        }
    }
}

fn resolve_name(host: &str, port: u16) -> Result<Vec<SocketAddr>, BadValue> {
    let found = (host, port).to_socket_addrs().map_err(|error| {
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

impl fmt::Display for Listen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}", self.spelt, self.options)
    }
}

/// Whether this machine can listen there. Containers often have `::1 localhost` in /etc/hosts and no IPv6.
fn is_ours(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// Whether listening on `wide` leaves nothing of `narrow` to listen on.
pub(crate) fn covers(wide: &Socket, narrow: &Socket) -> bool {
    match (wide.endpoint(), narrow.endpoint()) {
        (Endpoint::Unix(one), Endpoint::Unix(other)) => one.components().eq(other.components()),
        (Endpoint::Tcp(at), Endpoint::Tcp(of)) => {
            let same_family = at.is_ipv4() == of.is_ipv4();
            let host = match at.ip() {
                IpAddr::V6(host) if host.is_unspecified() => same_family || !wide.options.ipv6_only(),
                IpAddr::V4(host) if host.is_unspecified() => same_family,
                host => host == of.ip(),
            };
            host && at.port() == of.port() && at.port() != 0
        }
        _ => false,
    }
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
            ("unix:/run/a:b.sock", Place::Unix("/run/a:b.sock".into())),
            ("/run/app.sock mode=660", Place::Unix("/run/app.sock".into())),
            ("./app.sock", Place::Unix("./app.sock".into())),
            ("../app.sock", Place::Unix("../app.sock".into())),
            ("unix:run/app.sock", Place::Unix("run/app.sock".into())),
            ("unix:/srv/a,b=c/udp", Place::Unix("/srv/a,b=c/udp".into())),
            ("/srv/udp", Place::Unix("/srv/udp".into())),
            ("unix:app.sock", Place::Unix("app.sock".into())),
            (":8000 backlog=9 keepalive=1m", Place::Everywhere(8000)),
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
            ("a_:b@c:80", "in brackets"),
            ("a@b:80", "name of a host"),
            ("a b:80", "no port"),
            ("http://localhost:80", "not a URL"),
            (":8184/udp", "a UDP port is opened when the program binds it; leave it out"),
            ("127.0.0.1:53/udp", "a UDP port"),
            ("udp:127.0.0.1:53", "a UDP port"),
            ("localhost:8184/app", "neither an address nor a path, which begins with /"),
            ("run/app.sock", "a relative path is unix:run/app.sock"),
            ("unix:@app", "abstract sockets, with @, are not supported"),
            ("@app", "abstract sockets"),
            (
                "unix:/x.sock,mode=660,group=0",
                "options follow with blanks, not commas; write \"unix:/x.sock mode=660 group=0\"",
            ),
            ("/x.sock,mode=660", "with blanks, not commas"),
            ("mode=660", "an option without an address; options follow an address with blanks"),
            ("unix:", "path of a Unix socket"),
            ("/run/", "path of a Unix socket"),
            (":80 backlog=x", "backlog: not a length"),
            (":80 fast", "unknown option \"fast\""),
        ] {
            let error = text.parse::<Listen>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn names_are_resolved() {
        let found = "localhost:8000".parse::<Listen>().unwrap().endpoints().unwrap();
        let mut addresses = found.iter().filter_map(Endpoint::tcp);
        assert!(addresses.all(|address| address.ip().is_loopback() && address.port() == 8000), "{found:?}");
        let everywhere = Listen::everywhere(7).endpoints().unwrap();
        let ip = everywhere[0].tcp().unwrap().ip();
        assert!(everywhere.len() == 1 && ip.is_unspecified(), "{everywhere:?}");
        let relative = "./a.sock".parse::<Listen>().unwrap().endpoints().unwrap();
        assert!(matches!(&relative[..], [Endpoint::Unix(path)] if path.is_absolute()), "{relative:?}");
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
            ("[::]:80 ipv6only", "127.0.0.1:80", false),
            ("[::]:80 ipv6only", "[::1]:80", true),
            ("unix:/run/a", "/run//a", true),
            ("unix:/run/a", "/run/b", false),
        ] {
            let socket = |text: &str| text.parse::<Listen>().unwrap().resolve().unwrap().remove(0);
            assert_eq!(covers(&socket(wide), &socket(narrow)), expected, "{wide} {narrow}");
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
