//! Accepted connections.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use nix::sys::socket::{MsgFlags, Shutdown, SockFlag, recv, send, setsockopt, shutdown, sockopt};

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

/// Whether accepting failed for no reason of ours: a client that is gone before it was accepted, or its network. The
/// next one is waiting.
pub(crate) fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EINTR
                | libc::ECONNABORTED
                | libc::EPROTO
                | libc::EPERM
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENONET
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
        )
    )
}

/// Whether nobody has read from an accepted TCP connection, written to it or shut it, so that it can be given to another
/// as if it were new: every byte that the kernel ever received for it is still unread, and none was sent. In doubt, no.
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
    // A client that has said all that it will say has sent its FIN as well, which counts as a byte and cannot be read.
    // In every other state somebody has shut it, or it is over.
    let fin = match info.state {
        TcpInfo::ESTABLISHED => 0,
        TcpInfo::CLOSE_WAIT => 1,
        _ => return false,
    };
    let unread = u64::try_from(unread).unwrap_or(u64::MAX);
    known == 0 && len == full && counted == 0 && info.bytes_received == unread + fin && info.bytes_sent == 0
}

/// Says that nothing more will be sent.
pub(crate) fn shut_down(connection: impl AsFd) -> io::Result<()> {
    Ok(shutdown(connection.as_fd().as_raw_fd(), Shutdown::Write)?)
}

/// Has the kernel send what is written at once, and not when the other end has acknowledged what was sent before.
pub(crate) fn send_at_once(connection: impl AsFd) -> io::Result<()> {
    Ok(setsockopt(&connection, sockopt::TcpNoDelay, &true)?)
}

/// Has the kernel acknowledge what has come now, and not with what is sent next: the other end may wait for that with the rest
/// (RFC 896). Of a Unix socket it means nothing.
#[allow(unsafe_code, reason = "TCP_QUICKACK is not among the options of nix")]
pub(crate) fn acknowledge(connection: impl AsFd) {
    let on: libc::c_int = 1;
    let Ok(len) = libc::socklen_t::try_from(size_of_val(&on)) else { return };
    let number = connection.as_fd().as_raw_fd();
    // SAFETY: the pointer and the length describe `on`, which the kernel only reads.
    let _ = unsafe {
        libc::setsockopt(number, libc::IPPROTO_TCP, libc::TCP_QUICKACK, (&raw const on).cast(), len)
    };
}

/// The kernel's queue of a listening TCP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Queue {
    /// Connections that wait in it.
    pub(crate) waiting: u32,
    /// How many may.
    pub(crate) backlog: u32,
}

/// How long the queue of a listening socket is; `None` if it is no TCP socket, of which alone the kernel tells.
#[allow(unsafe_code, reason = "TCP_INFO into plain memory")]
pub(crate) fn queue(listener: impl AsFd) -> Option<Queue> {
    // SAFETY: plain data, of which zeros are a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let full = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).ok()?;
    let mut len = full;
    let number = listener.as_fd().as_raw_fd();
    // SAFETY: the pointer and the length describe `info`, which is plain data.
    let known = unsafe {
        libc::getsockopt(number, libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &raw mut len)
    };
    // Of a socket that listens, these two mean something else than their names (net/ipv4/tcp.c).
    let queue = Queue { waiting: info.tcpi_unacked, backlog: info.tcpi_sacked };
    (known == 0 && len == full && info.tcpi_state == TcpInfo::LISTEN).then_some(queue)
}

/// `struct tcp_info` of `<linux/tcp.h>` up to `tcpi_bytes_sent` (Linux 4.19), which the C library's own lacks.
#[repr(C)]
#[derive(Default)]
struct TcpInfo {
    state: u8,
    /// Seven bytes of options.
    options: [u8; 7],
    /// 24 numbers, two rates, and `tcpi_bytes_acked`.
    before: [u64; 15],
    bytes_received: u64,
    /// Segments, bytes not sent, round trip, rates, and the times spent limited.
    between: [u64; 8],
    bytes_sent: u64,
}

impl TcpInfo {
    #[expect(clippy::cast_possible_truncation, reason = "208")]
    const LEN: libc::socklen_t = size_of::<Self>() as libc::socklen_t;

    /// States of `<net/tcp_states.h>`.
    const ESTABLISHED: u8 = 1;
    const CLOSE_WAIT: u8 = 8;
    const LISTEN: u8 = 10;
}

/// What a client is answered that nobody has room for (RFC 9110 section 15.6.4).
const UNAVAILABLE: &str = "\
    HTTP/1.1 503 Service Unavailable\r\n\
    Connection: close\r\n\
    Content-Length: 20\r\n\
    Content-Type: text/plain\r\n\
    Retry-After: 1\r\n\
    \r\n\
    Service Unavailable\n";

/// Reads of a connection that is turned away. Somebody who sends faster than this is let go all the same.
const READS: usize = 16;

/// Turns a connection away: answers `503 Service Unavailable`, in HTTP, and closes it, without waiting for anything.
/// Whether the client sees the answer is its own affair: it may be gone, or go on sending and be reset by the kernel.
pub(crate) fn reject(connection: OwnedFd) {
    let number = connection.as_raw_fd();
    let _ = send(number, UNAVAILABLE.as_bytes(), MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT);
    let _ = shutdown(number, Shutdown::Write);
    // Closing with something unread would reset the connection, and the reset overtakes the answer.
    let mut unread = [0; 16 << 10];
    for _ in 0..READS {
        if !matches!(recv(number, &mut unread, MsgFlags::MSG_DONTWAIT), Ok(1..)) {
            break;
        }
    }
    drop(connection);
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

    #[test]
    fn a_client_that_has_said_all_leaves_a_connection_untouched_and_a_worker_that_has_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for request in [&b""[..], b"request"] {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut here, _) = listener.accept().unwrap();
            client.write_all(request).unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            // The FIN is there as soon as a peek finds the end behind the request.
            let all = MsgFlags::MSG_PEEK | MsgFlags::MSG_WAITALL;
            assert_eq!(recv(here.as_raw_fd(), &mut [0; 64], all).unwrap(), request.len());
            assert!(is_untouched(&here), "{request:?} and the end are the next one's");
            if !request.is_empty() {
                here.read_exact(&mut [0]).unwrap();
                assert!(!is_untouched(&here));
            }
        }
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (here, _) = listener.accept().unwrap();
        here.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(!is_untouched(&here), "nobody can answer on it any more");
    }

    #[test]
    fn who_is_turned_away_reads_the_whole_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // All fit into a first TCP window, so that nothing is still on its way.
        for length in [1, 1000, 40_000] {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (connection, _) = listener.accept().unwrap();
            let mut request = vec![b'x'; length];
            client.write_all(&request).unwrap();
            let all = MsgFlags::MSG_PEEK | MsgFlags::MSG_WAITALL;
            assert_eq!(recv(connection.as_raw_fd(), &mut request, all).unwrap(), length);
            reject(connection.into());
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{length} bytes: {error}"));
            assert_eq!(answer, UNAVAILABLE);
            assert!(client.take_error().unwrap().is_none(), "the end was no reset");
        }
        let (_, body) = UNAVAILABLE.split_once("\r\n\r\n").unwrap();
        assert!(UNAVAILABLE.contains(&format!("Content-Length: {}\r\n", body.len())));
    }

    #[test]
    fn a_client_that_is_gone_or_says_nothing_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (connection, _) = listener.accept().unwrap();
        drop(client);
        reject(connection.into());
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        reject(listener.accept().unwrap().0.into());
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, UNAVAILABLE);
    }
}
