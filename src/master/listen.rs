//! Where a cluster listens, and how: what users say of it.

use std::{
    io,
    net::{AddrParseError, SocketAddr},
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    path::PathBuf,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use crate::{
    endpoint::Endpoint,
    sys::{
        bind::{self, BACKLOG},
        inherited,
    },
};

/// A socket that a [`Cluster`](crate::Cluster) listens on, and how.
///
/// ```
/// use std::time::Duration;
/// use pointsman::Listen;
///
/// let tcp: Listen = "[::]:8000".parse().unwrap();
/// let tcp = tcp.ipv6_only(true).backlog(1024).keepalive(Duration::from_secs(60));
/// let unix = Listen::unix("/run/app.sock").mode(0o660);
/// ```
#[derive(Debug, Clone)]
pub struct Listen {
    pub(crate) place: Place,
    pub(crate) options: bind::Options,
    pub(crate) name: Option<String>,
}

/// Where its socket comes from.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Bind(Endpoint),
    Inherited(Inherited),
}

impl Listen {
    /// Listens on a TCP address.
    pub fn tcp(address: SocketAddr) -> Self {
        Endpoint::Tcp(address).into()
    }

    /// Listens at the path of a Unix socket. A socket there that nobody listens on is replaced; the file is removed at
    /// the end.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Endpoint::Unix(path.into()).into()
    }

    /// Length of the kernel's queue of connections that wait to be accepted. Default 511; the kernel shortens it to
    /// `net.core.somaxconn`.
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> Self {
        self.options.backlog = connections;
        self
    }

    /// Whether an IPv6 wildcard leaves IPv4 to others. Default false.
    #[must_use]
    pub fn ipv6_only(mut self, on: bool) -> Self {
        self.options.ipv6_only = on;
        self
    }

    /// Has the kernel probe TCP connections that have been idle for so long, in whole seconds (`SO_KEEPALIVE`,
    /// `TCP_KEEPIDLE`). Default: it does not, unless the program asks.
    #[must_use]
    pub fn keepalive(mut self, idle: Duration) -> Self {
        self.options.keepalive = Some(idle);
        self
    }

    /// Has the kernel hold back TCP connections until their first bytes come, at most for so long, in whole seconds
    /// (`TCP_DEFER_ACCEPT`). Only for protocols in which the client speaks first.
    #[must_use]
    pub fn defer_accept(mut self, patience: Duration) -> Self {
        self.options.defer_accept = Some(patience);
        self
    }

    /// Permissions of a Unix socket, such as `0o660`. Who may write may connect. Default: by the umask.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.options.access.mode = Some(mode);
        self
    }

    /// The user that a Unix socket belongs to, by number.
    #[must_use]
    pub fn owner(mut self, uid: u32) -> Self {
        self.options.access.owner = Some(uid);
        self
    }

    /// The group that a Unix socket belongs to, by number.
    #[must_use]
    pub fn group(mut self, gid: u32) -> Self {
        self.options.access.group = Some(gid);
        self
    }

    /// What programs find it by in `LISTEN_FDNAMES`, in the shared mode. Default: its kind and its port or file, such as
    /// `tcp-8000`. What cannot stand there, such as a colon, becomes `_`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    pub(crate) fn inherited(&self) -> Option<&Inherited> {
        match &self.place {
            Place::Bind(_) => None,
            Place::Inherited(inherited) => Some(inherited),
        }
    }

    /// What it listens on.
    pub fn endpoint(&self) -> &Endpoint {
        match &self.place {
            Place::Bind(endpoint) => endpoint,
            Place::Inherited(inherited) => &inherited.endpoint,
        }
    }
}

impl From<Endpoint> for Listen {
    fn from(endpoint: Endpoint) -> Self {
        let options = bind::Options { backlog: BACKLOG, ..bind::Options::default() };
        Self { place: Place::Bind(endpoint), options, name: None }
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::tcp(address)
    }
}

impl From<Inherited> for Listen {
    fn from(inherited: Inherited) -> Self {
        Self { place: Place::Inherited(inherited), options: bind::Options::default(), name: None }
    }
}

impl FromStr for Listen {
    type Err = AddrParseError;

    /// Reads an [`Endpoint`].
    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        text.parse::<Endpoint>().map(Self::from)
    }
}

/// A listening socket, or a bound UDP socket, that this process was started with. Found by [`inherited`].
#[derive(Debug, Clone)]
pub struct Inherited {
    number: RawFd,
    endpoint: Endpoint,
    socket: Arc<OwnedFd>,
}

impl Inherited {
    /// The number that it had when this process was started.
    pub fn number(&self) -> RawFd {
        self.number
    }

    /// What it is bound to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }
}

/// The listening sockets and the UDP sockets that this process was started with, by systemd's socket activation or a
/// shell. Call it before opening any.
///
/// # Errors
///
/// When `/proc` cannot be read.
pub fn inherited() -> io::Result<Vec<Inherited>> {
    let sockets = inherited::sockets()?.into_iter().map(|inherited::Socket { number, socket }| {
        let endpoint = bind::endpoint(socket.as_fd())?;
        Ok(Inherited { number, endpoint, socket: Arc::new(socket) })
    });
    sockets.collect()
}

impl AsRawFd for Inherited {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
