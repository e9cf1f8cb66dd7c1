//! Connections that this process begins, without waiting: to see whether somebody is there, or to speak with them.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, SockType, SockaddrLike, SockaddrStorage, UnixAddr, connect, getpeername, getsockname,
        getsockopt, setsockopt, socket, sockopt,
    },
};

use super::bind::FLAGS;
use crate::endpoint::Endpoint;

/// How far a connection has come.
#[derive(Debug)]
pub(crate) enum Begun {
    /// Somebody was there. Of UDP that is not known, and taken to be so.
    Connected,
    /// Ask for the [outcome] when this can be written to.
    Connecting(OwnedFd),
}

/// Begins one. It is closed when what this returns is dropped.
pub(crate) fn begin(endpoint: &Endpoint) -> io::Result<Begun> {
    match endpoint {
        Endpoint::Tcp(address) => {
            let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
            begin_to(family, &SockaddrStorage::from(*address))
        }
        Endpoint::Unix(path) => begin_to(AddressFamily::Unix, &UnixAddr::new(path)?),
        Endpoint::Udp(_) => Ok(Begun::Connected),
    }
}

/// Begins one that is to be used: ask for the [outcome] when it can be written to. By TCP, what is written is sent at once.
pub(crate) fn start(endpoint: &Endpoint) -> io::Result<OwnedFd> {
    let (family, address): (_, &dyn SockaddrLike) = match endpoint {
        Endpoint::Tcp(address) => {
            let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
            (family, &SockaddrStorage::from(*address))
        }
        Endpoint::Unix(path) => (AddressFamily::Unix, &UnixAddr::new(path)?),
        Endpoint::Udp(_) => return Err(io::ErrorKind::Unsupported.into()),
    };
    let socket = socket(family, SockType::Stream, FLAGS, None)?;
    if family != AddressFamily::Unix {
        setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
    }
    match connect(socket.as_raw_fd(), address) {
        Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// Whether it failed for no reason of the other end: its queue is full, which a Unix socket says so, or this process or machine
/// has no room for another connection just now.
pub(crate) fn is_for_later(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAGAIN | libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EADDRNOTAVAIL)
    )
}

fn begin_to(family: AddressFamily, address: &dyn SockaddrLike) -> io::Result<Begun> {
    let socket = socket(family, SockType::Stream, FLAGS, None)?;
    match connect(socket.as_raw_fd(), address) {
        // It has come back to itself, perhaps.
        Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => match outcome(&socket)? {
            true => Ok(Begun::Connected),
            false => Ok(Begun::Connecting(socket)),
        },
        // EAGAIN: a Unix socket whose queue is full, which nothing will tell the end of.
        Err(error) => Err(error.into()),
    }
}

/// Whether it is connected by now, or why it never will be.
pub(crate) fn outcome(socket: &impl AsFd) -> io::Result<bool> {
    let failed = getsockopt(&socket.as_fd(), sockopt::SocketError)?;
    if failed != 0 {
        return Err(io::Error::from_raw_os_error(failed));
    }
    let number = socket.as_fd().as_raw_fd();
    let other: SockaddrStorage = match getpeername(number) {
        Ok(other) => other,
        Err(Errno::ENOTCONN) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let own: SockaddrStorage = getsockname(number)?;
    // A port that nobody listens on may be given to the socket that asks for it, which then finds itself.
    let is_itself = own == other && own.family() != Some(AddressFamily::Unix);
    if is_itself { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(true) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{
        poll::{PollFd, PollFlags, PollTimeout, poll},
        sys::socket::bind,
    };
    use std::{
        net::{Ipv4Addr, TcpListener},
        os::unix::net::UnixListener,
    };

    /// Waits for the outcome.
    fn is_there(endpoint: &Endpoint) -> io::Result<bool> {
        match begin(endpoint)? {
            Begun::Connected => Ok(true),
            Begun::Connecting(socket) => {
                poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE)?;
                outcome(&socket)
            }
        }
    }

    #[test]
    fn somebody_is_there_or_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let both = [listener.local_addr().unwrap().into(), Endpoint::Unix(path.clone())];
        assert_eq!(is_there(&both[1]).unwrap_err().kind(), io::ErrorKind::NotFound);
        let unix = UnixListener::bind(&path).unwrap();
        both.iter().for_each(|endpoint| assert!(is_there(endpoint).unwrap(), "{endpoint}"));
        drop((listener, unix));
        for endpoint in &both {
            assert_eq!(
                is_there(endpoint).unwrap_err().kind(),
                io::ErrorKind::ConnectionRefused,
                "{endpoint}"
            );
        }
        assert!(is_there(&"udp:127.0.0.1:9".parse().unwrap()).unwrap());
        assert!(is_there(&Endpoint::Unix("x".repeat(200).into())).is_err());
    }

    #[test]
    fn a_socket_that_finds_itself_has_found_nobody() {
        let own = socket(AddressFamily::Inet, SockType::Stream, FLAGS, None).unwrap();
        setsockopt(&own, sockopt::ReuseAddr, &true).unwrap();
        bind(own.as_raw_fd(), &SockaddrStorage::from(std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))
            .unwrap();
        let address: SockaddrStorage = getsockname(own.as_raw_fd()).unwrap();
        let begun = connect(own.as_raw_fd(), &address);
        assert!(matches!(begun, Ok(()) | Err(Errno::EINPROGRESS)), "{begun:?}");
        poll(&mut [PollFd::new(own.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE).unwrap();
        assert!(getpeername::<SockaddrStorage>(own.as_raw_fd()).is_ok(), "it is connected");
        assert_eq!(outcome(&own).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
