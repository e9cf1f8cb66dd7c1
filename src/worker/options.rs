//! How a worker wants to listen.

/// What a worker may want of a listening socket beside its address, for [`Worker::listen_with`](crate::Worker::listen_with).
/// These are Node's options of `listen`.
///
/// They say how the master is to make the socket. One that is open already, such as one of `-l`, stays as it is.
///
/// ```
/// let options = pointsman::ListenOptions::new().backlog(64).writable_all(true);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenOptions {
    pub(super) backlog: Option<u32>,
    pub(super) ipv6_only: bool,
    pub(super) readable_all: bool,
    pub(super) writable_all: bool,
}

impl ListenOptions {
    /// Nothing out of the ordinary.
    pub fn new() -> Self {
        Self::default()
    }

    /// Length of the kernel's queue of connections that wait to be accepted. Default 511; the kernel shortens it to
    /// `net.core.somaxconn`.
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = Some(connections);
        self
    }

    /// Whether an IPv6 wildcard leaves IPv4 to others. Default false.
    #[must_use]
    pub fn ipv6_only(mut self, on: bool) -> Self {
        self.ipv6_only = on;
        self
    }

    /// Whether every user may read from a Unix socket. Default: by the master's umask.
    #[must_use]
    pub fn readable_all(mut self, on: bool) -> Self {
        self.readable_all = on;
        self
    }

    /// Whether every user may write to a Unix socket, which connecting to it takes. Default: by the master's umask.
    #[must_use]
    pub fn writable_all(mut self, on: bool) -> Self {
        self.writable_all = on;
        self
    }
}
