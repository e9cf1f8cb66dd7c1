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

/// Turns a client away (until the real thing is merged).
pub(crate) fn reject(connection: OwnedFd) {
    drop(connection);
}

/// The kernel's name of a socket, which it never gives to another.
pub(crate) fn cookie(socket: impl AsFd) -> io::Result<u64> {
    let _ = socket;
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether nobody has read from an accepted TCP connection or written to it, so that it can be given to another as if
/// it were new: every byte that the kernel ever received for it is still unread, and none was sent. In doubt, no.
#[allow(unsafe_code, reason = "TCP_INFO and FIONREAD into plain memory")]
pub(crate) fn is_untouched(connection: impl AsFd) -> bool {
    let number = connection.as_fd().as_raw_fd();
    let mut info = TcpInfo::default();
    let (mut len, full) = (TcpInfo::LEN, TcpInfo::LEN);
    // SAFETY: the pointer and the length describe `info`, which is plain data.
    let known = unsafe {
        libc::getsockopt(number, libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &raw mut len)
    };
    let mut unread: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int to a pointer that is valid for the call.
    let counted = unsafe { libc::ioctl(number, libc::FIONREAD, &raw mut unread) };
    let unread = u64::try_from(unread).unwrap_or(u64::MAX);
    known == 0 && len == full && counted == 0 && info.bytes_received == unread && info.bytes_sent == 0
}

/// `struct tcp_info` of `<linux/tcp.h>` up to `tcpi_bytes_sent` (Linux 4.19), which the C library's own lacks.
#[repr(C)]
#[derive(Default)]
struct TcpInfo {
    /// Eight bytes of state and options, 24 numbers, two rates, and `tcpi_bytes_acked`.
    before: [u64; 16],
    bytes_received: u64,
    /// Segments, bytes not sent, round trip, rates, and the times spent limited.
    between: [u64; 8],
    bytes_sent: u64,
}

impl TcpInfo {
    #[expect(clippy::cast_possible_truncation, reason = "208")]
    const LEN: libc::socklen_t = size_of::<Self>() as libc::socklen_t;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
    };

    #[test]
    fn a_connection_is_untouched_until_somebody_reads_or_writes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut here, _) = listener.accept().unwrap();
        assert!(is_untouched(&here));
        client.write_all(b"request").unwrap();
        here.peek(&mut [0]).unwrap();
        assert!(is_untouched(&here), "bytes that wait are still the next one's");
        here.read_exact(&mut [0]).unwrap();
        assert!(!is_untouched(&here));

        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut here, _) = listener.accept().unwrap();
        here.write_all(b"banner").unwrap();
        assert!(!is_untouched(&here));
        assert!(!is_untouched(std::fs::File::open("/dev/null").unwrap()), "in doubt, no");
    }
}
