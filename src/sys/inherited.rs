//! A channel that this process was started with, known only by its number.

#![allow(unsafe_code, reason = "a number in the environment becomes an owned descriptor")]

use std::{
    io,
    os::{
        fd::{FromRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    sync::atomic::{AtomicBool, Ordering},
};

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
