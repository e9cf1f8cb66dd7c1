//! Bytes on a connected stream socket, TCP or Unix, without waiting.

use std::{
    io::{self, IoSlice},
    os::fd::{AsFd, AsRawFd},
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv, send, sendmsg, setsockopt, sockopt},
};

/// How many pieces one write takes.
pub(crate) const PIECES: usize = 16;

/// Pieces of so many bytes in all are put together first: that takes less than having the kernel look at each.
const SMALL: usize = 2048;

/// Reads once. 0 is the end.
///
/// `recv` and `send` get to the socket by a shorter way than `read` and `write`, which files have as well.
pub(crate) fn read(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let number = socket.as_fd().as_raw_fd();
    loop {
        match recv(number, buffer, MsgFlags::empty()) {
            Err(Errno::EINTR) => {}
            read => return Ok(read?),
        }
    }
}

/// Writes once, as much of all the pieces as there is room for; 0 if there is none.
pub(crate) fn write<'a>(socket: impl AsFd, pieces: impl Iterator<Item = &'a [u8]>) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); PIECES];
    let (mut count, mut length) = (0, 0);
    for (slice, piece) in slices.iter_mut().zip(pieces) {
        *slice = IoSlice::new(piece);
        count += 1;
        length += piece.len();
    }
    let (slices, number) = (&slices[..count], socket.as_fd().as_raw_fd());
    let mut small = [0; SMALL];
    let whole = match slices {
        [only] => Some(&**only),
        _ if length <= SMALL => {
            let mut rest = small.as_mut_slice();
            for slice in slices {
                let (place, behind) = rest.split_at_mut(slice.len());
                place.copy_from_slice(slice);
                rest = behind;
            }
            Some(&small[..length])
        }
        _ => None,
    };
    loop {
        let written = match whole {
            Some(whole) => send(number, whole, MsgFlags::MSG_NOSIGNAL),
            None => sendmsg::<()>(number, slices, &[], MsgFlags::MSG_NOSIGNAL, None),
        };
        match written {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(0),
            written => return Ok(written?),
        }
    }
}

/// Whether nothing has come on it: no byte, no end, no error.
pub(crate) fn is_quiet(socket: impl AsFd) -> bool {
    let peeked = recv(socket.as_fd().as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
    peeked == Err(Errno::EAGAIN)
}

/// Has the end of this connection be a reset: what was sent was not all.
pub(crate) fn reset_at_end(socket: impl AsFd) {
    // Where it cannot be set, the end is an ordinary one.
    let _ = setsockopt(&socket, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{ErrorKind, Read},
        net::{TcpListener, TcpStream},
    };

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (here, _) = listener.accept().unwrap();
        here.set_nonblocking(true).unwrap();
        (here, there)
    }

    #[test]
    fn pieces_are_written_in_order_and_nothing_waits() {
        let (here, mut there) = pair();
        assert!(is_quiet(&here));
        assert_eq!(read(&here, &mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(write(&here, [b"ab".as_slice(), b"", b"cde"].into_iter()).unwrap(), 5);
        assert_eq!(write(&here, std::iter::once(b"f".as_slice())).unwrap(), 1);
        let mut text = [0; 6];
        there.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"abcdef");
        let large = [[b'x'; SMALL], [b'y'; SMALL]];
        assert_eq!(write(&here, large.iter().map(<[u8; SMALL]>::as_slice)).unwrap(), 2 * SMALL);
        let mut both = [0; 2 * SMALL];
        there.read_exact(&mut both).unwrap();
        assert_eq!(both, *large.as_flattened());
        let block = [0; 1 << 16];
        while write(&here, std::iter::once(block.as_slice())).unwrap() > 0 {}
        reset_at_end(&here);
        drop(here);
        let mut rest = Vec::new();
        assert_eq!(there.read_to_end(&mut rest).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

    #[test]
    fn an_end_is_not_quiet() {
        let (here, there) = pair();
        drop(there);
        assert_eq!(
            recv(here.as_raw_fd(), &mut [0], MsgFlags::MSG_WAITALL | MsgFlags::MSG_PEEK).unwrap_or(0),
            0
        );
        let mut end = [nix::poll::PollFd::new(here.as_fd(), nix::poll::PollFlags::POLLIN)];
        nix::poll::poll(&mut end, nix::poll::PollTimeout::NONE).unwrap();
        assert!(!is_quiet(&here));
        assert_eq!(read(&here, &mut [0; 8]).unwrap(), 0);
    }
}
