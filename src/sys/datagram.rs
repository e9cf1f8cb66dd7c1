//! Unix datagrams: sent to a name without waiting.

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
};

use nix::sys::socket::{AddressFamily, MsgFlags, SockType, UnixAddr, sendto, socket};

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn who_does_not_read_is_not_waited_for_and_who_is_gone_is_no_panic() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let sender = Sender::to(path.as_os_str()).unwrap();
        assert_eq!(sender.send(b"x").unwrap_err().kind(), io::ErrorKind::NotFound);
        let receiver = UnixDatagram::bind(&path).unwrap();
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
