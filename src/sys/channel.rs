//! Unix stream socketpairs that carry bytes and, now and then, one descriptor.
//!
//! Neither call allocates or blocks. The kernel never joins two descriptor-carrying writes into one read, and a read
//! ends after such a write: so a read brings at most one descriptor, at its end.

#![allow(
    unsafe_code,
    reason = "sendmsg and recvmsg with control data, without the allocation of a safe wrapper"
)]

use std::{
    io, mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

/// What one read brought.
#[derive(Debug)]
pub(crate) struct Received {
    /// Bytes read; 0 when the other end is closed.
    pub(crate) bytes: usize,
    /// The descriptor that came, close-on-exec.
    pub(crate) descriptor: Option<OwnedFd>,
    /// A descriptor was sent but is lost: this process has none free.
    pub(crate) descriptor_lost: bool,
}

/// A connected pair, both ends close-on-exec and blocking.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Sets or clears `O_NONBLOCK`, which is shared by everyone who holds this file.
pub(crate) fn set_nonblocking(file: impl AsFd, on: bool) -> io::Result<()> {
    let mut value = libc::c_int::from(on);
    // SAFETY: FIONBIO reads one int from a pointer that is valid for the call.
    let result = unsafe { libc::ioctl(file.as_fd().as_raw_fd(), libc::FIONBIO, &raw mut value) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How much of what was sent the other end has not read: its bytes, and what the kernel needs to keep them. 0 if that
/// cannot be known.
pub(crate) fn unread(channel: BorrowedFd<'_>) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ, which has the number of TIOCOUTQ, writes one int to a pointer that is valid for the call.
    let result = unsafe { libc::ioctl(channel.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { usize::try_from(bytes).unwrap_or(0) } else { 0 }
}

/// Bytes of one descriptor.
const ONE_DESCRIPTOR: u32 = 4;

/// Room for one control message with one descriptor, aligned as `cmsghdr` must be.
#[repr(C)]
union Control {
    _align: libc::cmsghdr,
    // SAFETY: CMSG_SPACE is arithmetic on its argument.
    bytes: [u8; unsafe { libc::CMSG_SPACE(ONE_DESCRIPTOR) } as usize],
}

impl Control {
    /// CMSG_LEN and not CMSG_SPACE: the padding would be room for a second descriptor that nobody takes.
    // SAFETY: CMSG_LEN is arithmetic on its argument.
    const LEN: usize = unsafe { libc::CMSG_LEN(ONE_DESCRIPTOR) } as usize;

    fn new() -> Self {
        // SAFETY: every bit pattern, zeros included, is a value of this union of plain data.
        unsafe { mem::zeroed() }
    }
}

/// A header for one slice and no control data yet.
fn header(slice: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: msghdr is plain data for which zeros mean "none".
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = slice;
    header.msg_iovlen = 1;
    header
}

/// Sends `bytes`, and `descriptor` with the first of them. Returns how many bytes went; the descriptor went if any
/// did. `bytes` must not be empty.
pub(crate) fn send(
    channel: BorrowedFd<'_>,
    bytes: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<usize> {
    let mut slice = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut header = header(&mut slice);
    let mut control = Control::new();
    if let Some(descriptor) = descriptor {
        header.msg_control = (&raw mut control).cast();
        header.msg_controllen = Control::LEN as _;
        // SAFETY: the header points at `control`, which holds one cmsghdr with one int of data and is aligned for it.
        unsafe {
            let first = libc::CMSG_FIRSTHDR(&raw const header);
            (*first).cmsg_level = libc::SOL_SOCKET;
            (*first).cmsg_type = libc::SCM_RIGHTS;
            (*first).cmsg_len = Control::LEN as _;
            ptr::write_unaligned(libc::CMSG_DATA(first).cast(), descriptor.as_raw_fd());
        }
    }
    // SAFETY: header, slice and control live through the call; the kernel only reads them.
    check(unsafe { libc::sendmsg(channel.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) })
}

/// Reads what is there, up to `buffer`'s length.
pub(crate) fn receive(channel: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let mut slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut header = header(&mut slice);
    let mut control = Control::new();
    header.msg_control = (&raw mut control).cast();
    header.msg_controllen = Control::LEN as _;
    // SAFETY: header, slice and control live through the call and the lengths are theirs.
    let bytes =
        check(unsafe { libc::recvmsg(channel.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) })?;
    let mut descriptor = None;
    // SAFETY: the kernel filled in `control` and set its length; CMSG_FIRSTHDR is null when it is too short for a
    // header, and one descriptor is there when the message's own length says so. It is ours alone from now on.
    unsafe {
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        if !first.is_null()
            && ((*first).cmsg_level, (*first).cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS)
            && (*first).cmsg_len as usize >= Control::LEN
        {
            let number: libc::c_int = ptr::read_unaligned(libc::CMSG_DATA(first).cast());
            descriptor = Some(OwnedFd::from_raw_fd(number));
        }
    }
    let descriptor_lost = descriptor.is_none() && header.msg_flags & libc::MSG_CTRUNC != 0;
    Ok(Received { bytes, descriptor, descriptor_lost })
}

fn check(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, io::Read};

    #[test]
    fn a_descriptor_comes_with_the_bytes_it_was_sent_with() {
        let (here, there) = pair().unwrap();
        let mut buffer = [0; 64];
        assert_eq!(send(here.as_fd(), b"plain", None).unwrap(), 5);
        let file = File::open("/proc/self/stat").unwrap();
        assert_eq!(send(here.as_fd(), b"handle", Some(file.as_fd())).unwrap(), 6);
        assert_eq!(send(here.as_fd(), b"after", None).unwrap(), 5);
        let first = receive(there.as_fd(), &mut buffer).unwrap();
        assert_eq!(&buffer[..first.bytes], b"plainhandle", "the read ends with the write that carried it");
        let mut text = String::new();
        File::from(first.descriptor.unwrap()).read_to_string(&mut text).unwrap();
        assert!(text.starts_with(&std::process::id().to_string()));
        let second = receive(there.as_fd(), &mut buffer).unwrap();
        assert_eq!((&buffer[..second.bytes], second.descriptor.is_none()), (&b"after"[..], true));
        drop(here);
        assert_eq!(receive(there.as_fd(), &mut buffer).unwrap().bytes, 0);
    }

    #[test]
    fn an_empty_or_full_channel_would_block() {
        let (here, there) = pair().unwrap();
        set_nonblocking(&here, true).unwrap();
        let empty = receive(here.as_fd(), &mut [0; 8]).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
        let error = loop {
            if let Err(error) = send(here.as_fd(), &[0; 4096], None) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(there);
        assert_eq!(send(here.as_fd(), b"x", None).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
