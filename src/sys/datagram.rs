//! Unix datagrams: sent to a name without waiting, and received with the word of the kernel on who has sent them.

#![allow(unsafe_code, reason = "recvmsg with credentials, which come even where descriptors were cut off")]

use std::{
    ffi::OsStr,
    io, mem,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    ptr,
};

use nix::sys::socket::{AddressFamily, MsgFlags, SockType, UnixAddr, sendto, setsockopt, socket, sockopt};

use super::bind::FLAGS;

/// Sends to one name.
#[derive(Debug)]
pub(crate) struct Sender {
    socket: OwnedFd,
    to: UnixAddr,
}

impl Sender {
    /// To the socket of this path, or of this name without a file if it begins with `@`.
    pub(crate) fn to(name: &OsStr) -> io::Result<Self> {
        let to = match name.as_bytes() {
            [b'@', name @ ..] => UnixAddr::new_abstract(name)?,
            [b'/', ..] => UnixAddr::new(name)?,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a path nor @ and a name")),
        };
        Ok(Self { socket: datagrams()?, to })
    }

    /// Sends all of it or nothing, and does not wait: with a receiver that does not read it is `WouldBlock`.
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        sendto(self.socket.as_raw_fd(), bytes, &self.to, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }
}

/// Not bound, close-on-exec and non-blocking.
fn datagrams() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, SockType::Datagram, FLAGS, None)?)
}

/// One to be bound, that tells who sends.
pub(super) fn receiver() -> io::Result<OwnedFd> {
    let receiver = datagrams()?;
    setsockopt(&receiver, sockopt::PassCred, &true)?;
    Ok(receiver)
}

/// A datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    /// How long it is in the buffer.
    pub(crate) bytes: usize,
    /// It was longer.
    pub(crate) is_cut: bool,
    /// Who has sent it: gone by now, perhaps.
    pub(crate) pid: Option<u32>,
}

/// Room for one control message with the credentials of a sender, aligned as `cmsghdr` must be.
#[repr(C)]
union Control {
    _align: libc::cmsghdr,
    // SAFETY: CMSG_SPACE is arithmetic on its argument.
    bytes: [u8; unsafe { libc::CMSG_SPACE(CREDENTIALS) } as usize],
}

#[expect(clippy::cast_possible_truncation, reason = "12")]
const CREDENTIALS: u32 = size_of::<libc::ucred>() as u32;

/// Takes one that has come to a socket that was [bound](super::unix::bind_datagrams). Descriptors that were sent along are
/// closed by the kernel: it gives credentials first, and there is no room for more.
pub(crate) fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: every bit pattern, zeros included, is a value of this union of plain data.
    let mut control: Control = unsafe { mem::zeroed() };
    // SAFETY: msghdr is plain data for which zeros mean "none".
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut slice;
    header.msg_iovlen = 1;
    header.msg_control = (&raw mut control).cast();
    header.msg_controllen = size_of::<Control>() as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: header, slice and control live through the call and the lengths are theirs.
    let bytes = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut header, flags) };
    let bytes = usize::try_from(bytes).map_err(|_| io::Error::last_os_error())?;
    let is_cut = header.msg_flags & libc::MSG_TRUNC != 0;
    Ok(Received { bytes, is_cut, pid: sender(&header) })
}

/// The sender's process id, as this process's namespace has it; 0 stands for one of another.
fn sender(header: &libc::msghdr) -> Option<u32> {
    // SAFETY: the kernel filled in the control data and set its length; CMSG_FIRSTHDR is null when it is too short for a
    // header, and the credentials are there when the message's own length says so.
    unsafe {
        let first = libc::CMSG_FIRSTHDR(header);
        if first.is_null()
            || ((*first).cmsg_level, (*first).cmsg_type) != (libc::SOL_SOCKET, libc::SCM_CREDENTIALS)
            || ((*first).cmsg_len as usize) < libc::CMSG_LEN(CREDENTIALS) as usize
        {
            return None;
        }
        let credentials: libc::ucred = ptr::read_unaligned(libc::CMSG_DATA(first).cast());
        u32::try_from(credentials.pid).ok().filter(|&pid| pid != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{channel, unix},
        *,
    };
    use std::path::Path;

    fn bound(path: &Path) -> (OwnedFd, unix::SocketFile) {
        unix::bind_datagrams(path, &unix::Access::default()).unwrap()
    }

    #[test]
    fn a_datagram_comes_with_its_sender_and_without_descriptors() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let (receiver, file) = bound(&path);
        let empty = receive(&receiver, &mut [0; 8]).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
        let sender = Sender::to(path.as_os_str()).unwrap();
        sender.send(b"").unwrap();
        sender.send(b"READY=1").unwrap();
        let pid = Some(std::process::id());
        let mut buffer = [0; 4];
        let nothing = Received { bytes: 0, is_cut: false, pid };
        assert_eq!(receive(&receiver, &mut buffer).unwrap(), nothing, "which is not the end");
        assert_eq!(receive(&receiver, &mut buffer).unwrap(), Received { bytes: 4, is_cut: true, pid });
        nix::sys::socket::connect(sender.socket.as_raw_fd(), &sender.to).unwrap();
        let (held, other) = channel::pair().unwrap();
        channel::send(sender.socket.as_fd(), b"x", Some(held.as_fd())).unwrap();
        drop(held);
        let received = receive(&receiver, &mut buffer).unwrap();
        assert_eq!((received.bytes, received.pid), (1, pid));
        let end = channel::receive(other.as_fd(), &mut [0; 1]).unwrap();
        assert_eq!(end.bytes, 0, "nobody holds what was sent along");
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn who_does_not_read_is_not_waited_for_and_who_is_gone_is_no_panic() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let sender = Sender::to(path.as_os_str()).unwrap();
        assert_eq!(sender.send(b"x").unwrap_err().kind(), io::ErrorKind::NotFound);
        let (receiver, _file) = bound(&path);
        let error = loop {
            if let Err(error) = sender.send(&[b'x'; 1024]) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(receiver);
        assert_eq!(sender.send(b"x").unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        for bad in ["", "relative", "vsock:2:1234", &*format!("/{}", "x".repeat(200))] {
            assert!(Sender::to(OsStr::new(bad)).is_err(), "{bad:?}");
        }
    }
}
