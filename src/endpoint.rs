//! What a listening socket is bound to. Text and values; who binds it is not known here.

use std::{
    fmt,
    net::{AddrParseError, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

/// What a socket of the master's is bound to.
///
/// Written as `127.0.0.1:8000`, `[::1]:8000`, `unix:/run/app.sock` (or with the path alone) and `udp:127.0.0.1:53`.
///
/// ```
/// use pointsman::Endpoint;
///
/// let endpoint: Endpoint = "unix:/run/app.sock".parse().unwrap();
/// assert_eq!(endpoint, Endpoint::Unix("/run/app.sock".into()));
/// assert_eq!(endpoint.to_string(), "unix:/run/app.sock");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Endpoint {
    /// Connections by TCP.
    Tcp(SocketAddr),
    /// Connections by a Unix stream socket at this path.
    Unix(PathBuf),
    /// Datagrams by UDP; the workers share the socket.
    Udp(SocketAddr),
}

impl Endpoint {
    /// Its address, if it has one.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) | Self::Udp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Its port, if it has one.
    pub fn port(&self) -> Option<u16> {
        self.socket_addr().map(|address| address.port())
    }

    /// Its TCP address, if it has one.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) | Self::Udp(_) => None,
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl FromStr for Endpoint {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        if let Some(address) = text.strip_prefix("udp:") {
            return address.parse().map(Self::Udp);
        }
        if text.contains('/') {
            return Ok(Self::Unix(text.into()));
        }
        text.parse().map(Self::Tcp)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
            Self::Udp(address) => write!(out, "udp:{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_they_are_written() {
        for text in ["127.0.0.1:8000", "[::1]:0", "unix:/run/a b.sock", "unix:relative", "udp:[::]:53"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!("./a.sock".parse(), Ok(Endpoint::Unix("./a.sock".into())));
        assert_eq!("unix:/a".parse::<Endpoint>().unwrap().port(), None);
        assert_eq!("udp:127.0.0.1:53".parse::<Endpoint>().unwrap().port(), Some(53));
        for bad in ["", "8000", ":8000", "localhost:80", "udp:53", "127.0.0.1"] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }
}
