//! Listening sockets.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, getsockname, listen, setsockopt,
    socket, sockopt,
};

/// Binds and listens, as Node and nginx do: `SO_REUSEADDR`, close-on-exec, non-blocking. An IPv6 wildcard takes IPv4
/// as well unless `ipv6_only`. The kernel shortens `backlog` to `net.core.somaxconn`.
pub(crate) fn listen_tcp(address: SocketAddr, ipv6_only: bool, backlog: u32) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let listener = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&listener, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&listener, sockopt::Ipv6V6Only, &ipv6_only)?;
    }
    bind(listener.as_raw_fd(), &SockaddrStorage::from(address))?;
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    listen(&listener, Backlog::new(backlog).unwrap_or(Backlog::MAXCONN))?;
    Ok(listener)
}

/// The address that a socket is bound to.
pub(crate) fn local_address(socket: impl AsFd) -> io::Result<SocketAddr> {
    let address: SockaddrStorage = getsockname(socket.as_fd().as_raw_fd())?;
    let v4 = address.as_sockaddr_in().map(|&address| SocketAddr::V4(address.into()));
    let v6 = || address.as_sockaddr_in6().map(|&address| SocketAddr::V6(address.into()));
    v4.or_else(v6).ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
}

/// Takes one connection from the kernel's queue, close-on-exec and non-blocking: Node expects the latter of every
/// socket that it is handed.
#[allow(unsafe_code, reason = "the new descriptor becomes owned here")]
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let connection = nix::sys::socket::accept4(listener.as_raw_fd(), flags)?;
    // SAFETY: accept4 has just returned it and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(connection) })
}
