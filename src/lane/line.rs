//! One connection's bytes: what has come and was not taken yet, and what waits for room.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use mio::event::Event;

use super::source::Place;
use crate::sys::{
    net,
    wire::{self, PIECES},
};

/// What an idle connection keeps of its memory: nothing, so that thousands of them cost little.
#[derive(Debug)]
pub(super) struct Line {
    socket: OwnedFd,
    serial: u32,
    /// The kernel may have more of it.
    pub(super) readable: bool,
    /// The kernel has told of its end, which may still stand behind some bytes.
    ending: bool,
    /// Nothing more comes.
    pub(super) ended: bool,
    /// It waits for its next turn of being read.
    pub(super) left_over: bool,
    /// What has come and was not taken.
    pub(super) input: Vec<u8>,
    /// What is to be written when there is room.
    output: Vec<u8>,
    /// How much of that was written.
    sent: usize,
    /// How much was written since the beginning.
    written: u64,
    /// Nothing is sent behind that.
    ends: bool,
}

impl Line {
    pub(super) fn new(socket: OwnedFd, serial: u32) -> Self {
        Self {
            socket,
            serial,
            readable: false,
            ending: false,
            ended: false,
            left_over: false,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            written: 0,
            ends: false,
        }
    }

    /// Where it is, given its key.
    pub(super) fn place(&self, key: usize) -> Place {
        Place { key, serial: self.serial }
    }

    /// Whether it is this one.
    pub(super) fn is_at(&self, place: Place) -> bool {
        self.serial == place.serial
    }

    /// The kernel tells that there is something to read, or the end.
    pub(super) fn handle_event(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.ending |= event.is_read_closed();
    }

    /// Reads once. `None`: nothing is there now; 0 bytes: nothing more comes.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match wire::read(&self.socket, buffer) {
            Ok(bytes) => {
                self.ended |= bytes == 0;
                // A short read has emptied it: what comes later is an event of its own. An end that was told already is not.
                self.readable = bytes == buffer.len() || self.ending && !self.ended;
                Ok(Some(bytes))
            }
            Err(error) => {
                self.readable = false;
                if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) }
            }
        }
    }

    /// Says that nothing more is sent, as soon as all of it was.
    pub(super) fn end_writing(&mut self) {
        self.ends = true;
        if !self.is_blocked() {
            // One that is closed already needs no word.
            let _ = net::shut_down(&self.socket);
        }
    }

    /// Writes as much as there is room for and keeps the rest.
    pub(super) fn send<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
        let mut pieces = pieces.filter(|piece| !piece.is_empty()).peekable();
        while self.output.is_empty() && pieces.peek().is_some() {
            let mut batch = [[].as_slice(); PIECES];
            let mut count = 0;
            for (place, piece) in batch.iter_mut().zip(pieces.by_ref()) {
                *place = piece;
                count += 1;
            }
            let batch = &batch[..count];
            let mut written = wire::write(&self.socket, batch.iter().copied())?;
            self.written += written as u64;
            for piece in batch {
                let gone = written.min(piece.len());
                written -= gone;
                self.output.extend_from_slice(&piece[gone..]);
            }
        }
        pieces.for_each(|piece| self.output.extend_from_slice(piece));
        Ok(())
    }

    /// Writes what waits, as far as there is room. Returns whether nothing waits any more.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        while self.is_blocked() {
            let written = wire::write(&self.socket, std::iter::once(&self.output[self.sent..]))?;
            if written == 0 {
                return Ok(false);
            }
            self.sent += written;
            self.written += written as u64;
        }
        self.output = Vec::new();
        self.sent = 0;
        if self.ends {
            let _ = net::shut_down(&self.socket);
        }
        Ok(true)
    }

    /// How many bytes were written since the beginning.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Whether something waits for room.
    pub(super) fn is_blocked(&self) -> bool {
        self.sent < self.output.len()
    }

    /// Keeps what was not taken of `bytes`, which came behind what is kept already.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// How many bytes it keeps.
    pub(super) fn kept(&self) -> usize {
        self.input.len()
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Read, os::unix::net::UnixStream};

    #[test]
    fn what_has_no_room_waits_in_order() {
        let (here, mut there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        let mut line = Line::new(here.into(), 1);
        let pieces: Vec<Vec<u8>> = (0..40u8).map(|byte| vec![byte; 20_000]).collect();
        line.send(pieces.iter().map(Vec::as_slice)).unwrap();
        assert!(line.is_blocked() && line.written() > 0 && line.written() < 800_000);
        line.send(std::iter::once(b"end".as_slice())).unwrap();
        let mut all = Vec::new();
        let mut buffer = vec![0; 100_000];
        while all.len() < 800_003 {
            line.flush().unwrap();
            let read = there.read(&mut buffer).unwrap();
            all.extend_from_slice(&buffer[..read]);
        }
        assert!(line.flush().unwrap() && !line.is_blocked());
        assert_eq!(line.written(), 800_003);
        let expected: Vec<u8> = pieces.concat().into_iter().chain(*b"end").collect();
        assert!(all == expected);
    }

    #[test]
    fn a_short_read_has_emptied_it() {
        let (here, there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        let mut line = Line::new(here.into(), 1);
        line.readable = true;
        std::io::Write::write_all(&mut &there, b"abcd").unwrap();
        assert_eq!(line.read(&mut [0; 2]).unwrap(), Some(2));
        assert!(line.readable, "there may be more");
        assert_eq!(line.read(&mut [0; 8]).unwrap(), Some(2));
        assert!(!line.readable);
        assert_eq!(line.read(&mut [0; 8]).unwrap(), None);
        drop(there);
        assert_eq!(line.read(&mut [0; 8]).unwrap(), Some(0));
        assert!(line.ended);
    }
}
