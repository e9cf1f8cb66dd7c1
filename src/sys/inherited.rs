//! What this process was started with and knows only by number: its channel, and listening sockets.

#![allow(unsafe_code, reason = "a number in the environment becomes an owned descriptor")]

use std::{
    fs, io,
    os::{
        fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    sync::atomic::{AtomicBool, Ordering},
};

use super::bind;
use crate::endpoint::Endpoint;

/// The one static of the crate: an inherited number can be owned once, and who asks second cannot know of the first.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Standard input, output and error belong to std.
const FIRST: RawFd = 3;

/// Takes the Unix stream socket that was inherited as `number`, close-on-exec and non-blocking. `EBADF` when nothing
/// is there, `ENOTSOCK` or `EPROTOTYPE` when it is something else, `EBUSY` the second time.
pub(crate) fn take_channel(number: RawFd) -> io::Result<UnixStream> {
    check(number)?;
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    adopt(number)
}

/// Has the descriptors from `first` to before `end` closed by an exec, up to one that is not open.
pub(crate) fn keep_from_others(first: RawFd, end: RawFd) {
    for number in first.max(FIRST)..end {
        // SAFETY: F_SETFD takes an integer; a number that is not open is refused.
        if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
            return;
        }
    }
}

/// A listening or datagram socket that this process was started with.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) number: RawFd,
    /// A descriptor of our own for it, so that nobody can close it.
    pub(crate) socket: OwnedFd,
}

/// The listening TCP and Unix sockets and the bound UDP sockets that this process holds, except standard input and the
/// like. They are not passed on to other programs from now on.
pub(crate) fn sockets() -> io::Result<Vec<Socket>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        found.extend(number.filter(|&number| number >= FIRST).and_then(duplicate));
    }
    found.sort_by_key(|socket| socket.number);
    Ok(found)
}

fn duplicate(number: RawFd) -> Option<Socket> {
    option(number, libc::SO_TYPE).ok()?;
    // SAFETY: it is open, being a socket, and it is borrowed for the duration of this function only.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let usable = match bind::endpoint(borrowed).ok()? {
        Endpoint::Udp(address) => address.port() != 0,
        Endpoint::Tcp(_) | Endpoint::Unix(_) => bind::is_listening(borrowed),
    };
    // SAFETY: F_SETFD takes an integer; the descriptor is open.
    if !usable || unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return None;
    }
    Some(Socket { number, socket: borrowed.try_clone_to_owned().ok()? })
}

fn check(number: RawFd) -> io::Result<()> {
    if number < FIRST {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    let kind = (option(number, libc::SO_DOMAIN)?, option(number, libc::SO_TYPE)?);
    if kind != (libc::AF_UNIX, libc::SOCK_STREAM) {
        return Err(io::Error::from_raw_os_error(libc::EPROTOTYPE));
    }
    Ok(())
}

fn adopt(number: RawFd) -> io::Result<UnixStream> {
    // SAFETY: it is open, being a socket, and was inherited: nothing in this process knew of it until now.
    let channel = UnixStream::from(unsafe { OwnedFd::from_raw_fd(number) });
    // SAFETY: F_SETFD takes an integer; the descriptor is open and ours.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    channel.set_nonblocking(true)?;
    Ok(channel)
}

fn option(number: RawFd, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or(0);
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `value`; any number may be asked about.
    let result =
        unsafe { libc::getsockopt(number, libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::File,
        net::UdpSocket,
        os::{
            fd::{AsRawFd, IntoRawFd},
            unix::net::UnixDatagram,
        },
    };

    #[test]
    fn sockets_of_no_use_are_not_passed_on() {
        let null = File::open("/dev/null").unwrap();
        // SAFETY: F_DUPFD takes an integer, and a descriptor of our own comes back.
        let first = unsafe { libc::fcntl(null.as_raw_fd(), libc::F_DUPFD, 700) };
        // SAFETY: the same; nobody else uses such high numbers.
        let second = unsafe { libc::fcntl(null.as_raw_fd(), libc::F_DUPFD, first + 1) };
        keep_from_others(first, second);
        // SAFETY: F_GETFD takes nothing more.
        let flags = [first, second].map(|number| unsafe { libc::fcntl(number, libc::F_GETFD) });
        assert_eq!(flags, [libc::FD_CLOEXEC, 0]);
    }

    #[test]
    fn only_a_unix_stream_socket_is_a_channel() {
        let refused = |number| check(number).unwrap_err().raw_os_error().unwrap();
        assert_eq!(refused(-1), libc::EBADF);
        assert_eq!(refused(0), libc::EBADF, "also if standard input is a socket");
        assert_eq!(refused(i32::MAX), libc::EBADF);
        assert_eq!(refused(File::open("/dev/null").unwrap().as_raw_fd()), libc::ENOTSOCK);
        assert_eq!(refused(UdpSocket::bind("127.0.0.1:0").unwrap().as_raw_fd()), libc::EPROTOTYPE);
        assert_eq!(refused(UnixDatagram::unbound().unwrap().as_raw_fd()), libc::EPROTOTYPE);
    }

    #[test]
    fn it_is_taken_close_on_exec_non_blocking_and_once() {
        let (_far, near) = UnixStream::pair().unwrap();
        let number = near.into_raw_fd();
        // SAFETY: the number is open and ours.
        assert_eq!(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }, 0);
        let channel = take_channel(number).unwrap();
        // SAFETY: the same.
        assert_eq!(unsafe { libc::fcntl(number, libc::F_GETFD) }, libc::FD_CLOEXEC);
        assert_eq!(io::Read::read(&mut &channel, &mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(take_channel(number).unwrap_err().raw_os_error(), Some(libc::EBUSY));
    }
}
