//! A client of the master on a stream socket: what it has sent, and what waits for it to read.
//!
//! Bytes enter and leave without waiting, and no more than so many are kept: what to do with more, and what the bytes mean,
//! others know. Under mio, which tells of each change once, a read that stopped early must be remembered, and an output that
//! has no room [watched](Master::watch_stream).

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use mio::{Interest, unix::SourceFd};
use nix::sys::socket::{Shutdown, shutdown};

use super::{Master, Source};
use crate::sys::channel;

/// See the module.
#[derive(Debug)]
pub(super) struct Stream {
    socket: OwnedFd,
    input: Vec<u8>,
    /// How much of the input is done with.
    taken: usize,
    output: Vec<u8>,
    /// How much of the output was taken.
    sent: usize,
    /// It is watched for room.
    watched: bool,
}

/// How a read ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// There is no more for now.
    All,
    /// There may be more.
    Enough,
    /// It sends nothing more; it may still read.
    End,
}

impl Stream {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, input: Vec::new(), taken: 0, output: Vec::new(), sent: 0, watched: false }
    }

    /// Reads what there is, until `most` bytes are kept. The buffer is what they pass through.
    pub(super) fn read(&mut self, buffer: &mut [u8], most: usize) -> Heard {
        self.input.drain(..std::mem::take(&mut self.taken));
        while self.input.len() < most {
            let room = buffer.len().min(most - self.input.len());
            match channel::receive(self.socket.as_fd(), &mut buffer[..room]) {
                Ok(received) if received.bytes > 0 => self.input.extend_from_slice(&buffer[..received.bytes]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Heard::All,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return Heard::End,
            }
        }
        Heard::Enough
    }

    /// What it has sent and nobody has [taken](Self::take).
    pub(super) fn input(&self) -> &[u8] {
        &self.input[self.taken..]
    }

    /// So much of it is done with.
    pub(super) fn take(&mut self, bytes: usize) {
        // Moved to the front once, when more is read.
        self.taken = self.input.len().min(self.taken.saturating_add(bytes));
        if self.taken == self.input.len() {
            self.input.clear();
            // Long requests are rare.
            self.input.shrink_to(KEPT);
            self.taken = 0;
        }
    }

    /// Adds to what it is sent.
    pub(super) fn queue(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// How much of what it is sent waits for it.
    pub(super) fn waiting(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Sends what it takes now. An error: it takes nothing any more.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.output.len() {
            match channel::send(self.socket.as_fd(), &self.output[self.sent..], None) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.sent == self.output.len() {
            self.output.clear();
            self.output.shrink_to(KEPT);
            self.sent = 0;
        } else if self.sent > self.output.len() / 2 {
            self.output.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }

    /// Lets the client go, who then sees the end of what it was sent: closing with something unread would be an error to
    /// it. For Unix sockets: by TCP it may go on sending.
    pub(super) fn close(self) {
        // From now on it can send nothing, and what it has sent is soon read.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
        let mut rest = [0; 4096];
        while channel::receive(self.socket.as_fd(), &mut rest).is_ok_and(|received| received.bytes > 0) {}
    }

    /// The socket, and what waits to be sent on it.
    pub(super) fn into_parts(mut self) -> (OwnedFd, Vec<u8>) {
        self.output.drain(..self.sent);
        (self.socket, self.output)
    }
}

/// Memory that an idle client keeps of each direction.
const KEPT: usize = 4 << 10;

impl AsFd for Stream {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Master {
    /// Watches for room as long as something waits for it.
    pub(super) fn watch_stream(poll: &mio::Poll, stream: &mut Stream, source: Source) -> io::Result<()> {
        let wants_room = stream.waiting() > 0;
        if wants_room == stream.watched {
            return Ok(());
        }
        stream.watched = wants_room;
        let room = wants_room.then_some(Interest::WRITABLE);
        let interest = room.map_or(Interest::READABLE, |room| Interest::READABLE | room);
        poll.registry().reregister(&mut SourceFd(&stream.socket.as_raw_fd()), source.token(), interest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Stream, OwnedFd) {
        let (ours, theirs) = channel::pair().unwrap();
        [&ours, &theirs].into_iter().for_each(|end| channel::set_nonblocking(end, true).unwrap());
        (Stream::new(ours), theirs)
    }

    #[test]
    fn no_more_is_read_than_is_wanted() {
        let (mut stream, theirs) = pair();
        channel::send(theirs.as_fd(), b"0123456789", None).unwrap();
        let mut buffer = [0; 4];
        assert_eq!(stream.read(&mut buffer, 6), Heard::Enough);
        assert_eq!(stream.input(), b"012345");
        stream.take(5);
        assert_eq!(stream.read(&mut buffer, 6), Heard::All);
        assert_eq!(stream.input(), b"56789");
        drop(theirs);
        assert_eq!(stream.read(&mut buffer, 6), Heard::End);
    }

    #[test]
    fn what_does_not_fit_waits_and_comes_in_order() {
        let (mut stream, theirs) = pair();
        let sent: Vec<u8> = (0..1_000_000_u32).map(|number| u8::try_from(number % 251).unwrap()).collect();
        stream.queue(&sent);
        stream.flush().unwrap();
        assert!(stream.waiting() > 0 && stream.waiting() < sent.len());
        let (mut got, mut buffer) = (Vec::new(), vec![0; 50_000]);
        while got.len() < sent.len() {
            let received = channel::receive(theirs.as_fd(), &mut buffer).unwrap().bytes;
            got.extend_from_slice(&buffer[..received]);
            stream.flush().unwrap();
        }
        assert!(got == sent && stream.waiting() == 0);
        drop(theirs);
        stream.queue(b"x");
        stream.flush().unwrap_err();
    }
}
