//! How requests are forwarded ([`Mode::Multiport`](crate::Mode::Multiport)): by how many lanes, and where to.

use std::{fmt, str::FromStr};

use thiserror::Error;

use super::Sink;
use crate::{endpoint::Endpoint, forward::rules::ForwardRules};

/// How requests are forwarded, where that is how workers get them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// What lanes go by.
    pub rules: ForwardRules,
    /// How many processes accept connections and forward requests; at least 1.
    pub lanes: usize,
    /// What each worker listens on.
    pub upstream: UpstreamKind,
    /// The first of the ports that workers listen on, each on its own two in turn: those of slot 0 are this one and the next. Where
    /// another cluster of this machine has them, they come later.
    pub upstream_port: u16,
    /// Who gets requests besides the workers, or instead of them where there are none.
    pub upstreams: Vec<UpstreamAddress>,
    /// Where the access log goes, if one is kept.
    pub access_log: Option<Sink>,
}

impl Default for Forward {
    fn default() -> Self {
        Self {
            rules: ForwardRules::default(),
            lanes: 1,
            upstream: UpstreamKind::Port,
            upstream_port: 20_000,
            upstreams: Vec::new(),
            access_log: None,
        }
    }
}

/// What workers listen on, for requests that are forwarded to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum UpstreamKind {
    /// A port of 127.0.0.1, which is theirs alone and told in `PORT`.
    #[default]
    Port,
    /// A Unix socket, whose path is told in `PORT`.
    Unix,
}

/// A server that is no worker of ours, and gets requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamAddress {
    /// Where it is.
    pub place: UpstreamPlace,
    /// Its share relative to the others', at least 1; a worker's is 1.
    pub weight: u32,
    /// It gets requests only if all that are no backups cannot.
    pub backup: bool,
}

/// Where a server is: an address, or a name that is to be looked up.
///
/// Written as `10.0.0.5:3000`, `[::1]:3000`, `unix:/run/app.sock` and `app.example:80`.
///
/// ```
/// use pointsman::UpstreamPlace;
///
/// let place: UpstreamPlace = "app.example:80".parse().unwrap();
/// assert_eq!(place, UpstreamPlace::Name { host: "app.example".into(), port: 80 });
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UpstreamPlace {
    /// A TCP address or a Unix socket.
    Endpoint(Endpoint),
    /// All addresses of this name.
    Name {
        /// The name.
        host: String,
        /// The port.
        port: u16,
    },
}

/// No place of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a server is written as 10.0.0.5:3000, [::1]:3000, app.example:80 or unix:/run/app.sock")]
pub struct BadUpstream;

impl FromStr for UpstreamPlace {
    type Err = BadUpstream;

    fn from_str(text: &str) -> Result<Self, BadUpstream> {
        match text.parse() {
            Ok(Endpoint::Tcp(address)) if address.port() == 0 => return Err(BadUpstream),
            Ok(Endpoint::Unix(path)) if path.as_os_str().is_empty() || text.contains("://") => {
                return Err(BadUpstream);
            }
            Ok(endpoint @ (Endpoint::Tcp(_) | Endpoint::Unix(_))) => return Ok(Self::Endpoint(endpoint)),
            Ok(Endpoint::Udp(_)) | Err(_) => {}
        }
        let (host, port) = text.rsplit_once(':').ok_or(BadUpstream)?;
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|&port| digits && port > 0).ok_or(BadUpstream)?;
        if is_host_name(host) { Ok(Self::Name { host: host.into(), port }) } else { Err(BadUpstream) }
    }
}

/// Whether it could be the name of a host (RFC 1123, and the underscore that people use), and is no number that looks like one.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let letters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        letters && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let last_is_number =
        name.rsplit('.').next().is_none_or(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    name.len() <= 253 && !last_is_number && name.split('.').all(is_label)
}

impl fmt::Display for UpstreamPlace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(endpoint) => endpoint.fmt(out),
            Self::Name { host, port } => write!(out, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        for text in [
            "10.0.0.5:3000",
            "[::1]:80",
            "unix:/run/a.sock",
            "app.example:80",
            "localhost:1",
            "a_b.c-d:65535",
        ] {
            assert_eq!(text.parse::<UpstreamPlace>().unwrap().to_string(), text);
        }
        let name = "app.example:80".parse();
        assert_eq!(name, Ok(UpstreamPlace::Name { host: "app.example".into(), port: 80 }));
    }

    #[test]
    fn what_could_not_be_meant_is_refused() {
        for text in [
            "",
            ":80",
            "app",
            "app:",
            "app:0",
            "app:+1",
            "app:65536",
            "a b:80",
            "-a:80",
            "a..b:80",
            "10.0.0.5",
            "10.0.0.5:0",
            "10.0.0:80",
            "10.0.0.256:80",
            "::1:80",
            "udp:127.0.0.1:53",
            "http://app:80",
            "unix:",
            "1:2:3",
        ] {
            assert_eq!(text.parse::<UpstreamPlace>(), Err(BadUpstream), "{text}");
        }
        assert!(format!("{}:80", "a".repeat(64)).parse::<UpstreamPlace>().is_err());
    }
}
