//! Sockets that are bound and listen, with what users may want of them: TCP and UDP here, Unix in [`super::unix`].

#![allow(unsafe_code, reason = "a socket option that nix does not know")]

use std::{
    ffi::OsStr,
    fs, io,
    net::SocketAddr,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, bind, getsockname,
    getsockopt, listen, setsockopt, socket, sockopt,
};

use super::unix::Access;
use crate::endpoint::Endpoint;

/// What a listening socket is to be like, beyond its address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Length of the kernel's queue, which shortens it to `net.core.somaxconn`.
    pub(crate) backlog: u32,
    /// An IPv6 wildcard leaves IPv4 to others.
    pub(crate) ipv6_only: bool,
    /// Accepted connections are probed after being idle for so long, in whole seconds.
    pub(crate) keepalive: Option<Duration>,
    /// A connection is given out when its first bytes have come, or after so long, in whole seconds.
    pub(crate) defer_accept: Option<Duration>,
    /// Access to a Unix socket.
    pub(crate) access: Access,
}

/// Length of the kernel's queue of a listening socket: Node's and nginx's 511.
pub(crate) const BACKLOG: u32 = 511;

pub(super) const FLAGS: SockFlag = SockFlag::SOCK_CLOEXEC.union(SockFlag::SOCK_NONBLOCK);

/// Binds and listens, as Node and nginx do: `SO_REUSEADDR`, close-on-exec, non-blocking.
pub(crate) fn listen_tcp(address: SocketAddr, options: &Options) -> io::Result<OwnedFd> {
    let listener = inet(address, SockType::Stream, options.ipv6_only)?;
    setsockopt(&listener, sockopt::ReuseAddr, &true)?;
    // Accepted connections have what their listener had.
    if let Some(idle) = options.keepalive {
        setsockopt(&listener, sockopt::KeepAlive, &true)?;
        setsockopt(&listener, sockopt::TcpKeepIdle, &whole_seconds(idle))?;
    }
    if let Some(patience) = options.defer_accept {
        defer_accept(listener.as_fd(), patience)?;
    }
    bind(listener.as_raw_fd(), &SockaddrStorage::from(address))?;
    start_listening(&listener, options.backlog)?;
    Ok(listener)
}

/// Binds a UDP socket, close-on-exec and non-blocking.
pub(crate) fn bind_udp(address: SocketAddr, ipv6_only: bool, reuse_address: bool) -> io::Result<OwnedFd> {
    let bound = inet(address, SockType::Datagram, ipv6_only)?;
    if reuse_address {
        setsockopt(&bound, sockopt::ReuseAddr, &true)?;
    }
    bind(bound.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(bound)
}

fn inet(address: SocketAddr, kind: SockType, ipv6_only: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let created = socket(family, kind, FLAGS, None)?;
    if address.is_ipv6() {
        setsockopt(&created, sockopt::Ipv6V6Only, &ipv6_only)?;
    }
    Ok(created)
}

/// Has the kernel queue connections.
pub(crate) fn start_listening(listener: &OwnedFd, backlog: u32) -> io::Result<()> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    Ok(listen(listener, Backlog::new(backlog).unwrap_or(Backlog::MAXCONN))?)
}

fn whole_seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs().max(1)).unwrap_or(u32::MAX)
}

fn defer_accept(listener: BorrowedFd<'_>, patience: Duration) -> io::Result<()> {
    let seconds = libc::c_int::try_from(whole_seconds(patience)).unwrap_or(libc::c_int::MAX);
    let length = libc::socklen_t::try_from(size_of_val(&seconds)).unwrap_or(0);
    // SAFETY: the pointer and the length describe `seconds`.
    let set = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            length,
        )
    };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether a server could listen there now, as far as it would not mind connections that were there before.
pub(crate) fn is_free(address: SocketAddr) -> bool {
    let attempt = || -> io::Result<()> {
        let tried = inet(address, SockType::Stream, false)?;
        setsockopt(&tried, sockopt::ReuseAddr, &true)?;
        Ok(bind(tried.as_raw_fd(), &SockaddrStorage::from(address))?)
    };
    attempt().is_ok()
}

/// The first of the ports that the kernel gives out by itself. Where it does not tell, its own default.
pub(crate) fn first_ephemeral_port() -> u16 {
    const DEFAULT: u16 = 32_768;
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(DEFAULT)
}

/// What a socket is bound to.
pub(crate) fn endpoint(socket: impl AsFd) -> io::Result<Endpoint> {
    let kind = getsockopt(&socket.as_fd(), sockopt::SockType)?;
    let address: SockaddrStorage = getsockname(socket.as_fd().as_raw_fd())?;
    let v4 = address.as_sockaddr_in().map(|&address| SocketAddr::V4(address.into()));
    let inet = v4.or_else(|| address.as_sockaddr_in6().map(|&address| SocketAddr::V6(address.into())));
    match (kind, inet, address.family()) {
        (SockType::Stream, Some(address), _) => Ok(Endpoint::Tcp(address)),
        (SockType::Datagram, Some(address), _) => Ok(Endpoint::Udp(address)),
        (SockType::Stream, None, Some(AddressFamily::Unix)) => {
            let name = address.as_unix_addr().and_then(UnixAddr::path);
            Ok(Endpoint::Unix(name.map(Path::to_owned).unwrap_or_else(|| abstract_name(&address))))
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// A name without a file, written with an `@` as `ss` does.
fn abstract_name(address: &SockaddrStorage) -> PathBuf {
    let name = address.as_unix_addr().and_then(UnixAddr::as_abstract).unwrap_or_default();
    OsStr::from_bytes(&[b"@", name].concat()).into()
}

/// Whether it is a Unix socket. In doubt, no.
pub(crate) fn is_unix(socket: impl AsFd) -> bool {
    let mut domain: libc::c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of_val(&domain)).unwrap_or(0);
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `domain`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_DOMAIN,
            (&raw mut domain).cast(),
            &raw mut length,
        )
    };
    result == 0 && domain == libc::AF_UNIX
}

/// Whether connections can be accepted from a socket.
pub(crate) fn is_listening(socket: impl AsFd) -> bool {
    getsockopt(&socket.as_fd(), sockopt::AcceptConn).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn options() -> Options {
        Options { backlog: 16, ..Options::default() }
    }

    #[test]
    fn a_port_is_free_or_not() {
        let listener = listen_tcp("127.0.0.1:0".parse().unwrap(), &options()).unwrap();
        let Endpoint::Tcp(address) = endpoint(&listener).unwrap() else { panic!() };
        assert!(!is_free(address));
        drop(listener);
        assert!(is_free(address));
        assert!((1024..65_535).contains(&first_ephemeral_port()));
    }

    #[test]
    fn options_reach_the_kernel() {
        let options = Options {
            keepalive: Some(Duration::from_secs(77)),
            defer_accept: Some(Duration::from_secs(3)),
            ipv6_only: true,
            ..options()
        };
        let listener = listen_tcp("127.0.0.1:0".parse().unwrap(), &options).unwrap();
        assert!(getsockopt(&listener, sockopt::KeepAlive).unwrap() && is_listening(&listener));
        assert_eq!(getsockopt(&listener, sockopt::TcpKeepIdle).unwrap(), 77);
        let udp = bind_udp("127.0.0.1:0".parse().unwrap(), false, true).unwrap();
        assert!(getsockopt(&udp, sockopt::ReuseAddr).unwrap() && !is_listening(&udp));
        assert!(matches!(endpoint(&udp).unwrap(), Endpoint::Udp(address) if address.port() != 0));
        assert!(endpoint(File::open("/dev/null").unwrap()).is_err());
    }
}
