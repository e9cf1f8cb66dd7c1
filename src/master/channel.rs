//! The master's end of a worker's channel: frames in, frames and descriptors out, never waiting.
//!
//! What cannot be written at once is queued; a connection is not: the fleet is told that there is no room and gives it
//! to somebody else.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use thiserror::Error;

use super::workers::Until;
use crate::{
    fleet::Unsent,
    protocol::frame::{FrameError, Lines},
    sys::channel,
};

/// Descriptors kept for frames that are still to come; a worker that sends more than it has frames for loses them.
const MAX_DESCRIPTORS: usize = 64;

/// Bytes that may wait for a worker to read them. What the master says by itself is a fraction of that; a worker that
/// asks and asks and does not read the answers would take the master's memory.
const MAX_QUEUE: usize = 1 << 20;

/// A queue that held more than this is given back to the allocator when it is empty.
const KEEP_CAPACITY: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Channel {
    socket: OwnedFd,
    lines: Lines,
    descriptors: Descriptors,
    /// Bytes that were not taken yet, from `written` on.
    queue: Vec<u8>,
    written: usize,
    /// Something could not be sent for want of room, and nobody was told since that there is room.
    blocked: bool,
    /// The loop watches for room.
    pub(super) watched: bool,
    /// Too much waits for the worker: it is told nothing more.
    unread: bool,
}

/// More than [`MAX_QUEUE`] waits for a worker that does not read. Said once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("it does not read its channel, where {MAX_QUEUE} bytes wait for it")]
pub(super) struct Unread;

/// What came with frames, in their order; `None` for one that was lost on the way.
pub(super) type Descriptors = VecDeque<Option<OwnedFd>>;

/// What one read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// Bytes, and there may be more.
    More,
    /// Bytes, and no more for now.
    Drained,
    /// The other end is closed.
    Ended,
}

impl Channel {
    /// `socket` is non-blocking.
    pub(super) fn new(socket: OwnedFd) -> Self {
        let lines = Lines::default();
        let (queue, descriptors) = (Vec::new(), VecDeque::new());
        Self { socket, lines, descriptors, queue, written: 0, blocked: false, watched: false, unread: false }
    }

    /// Reads once, by way of `buffer`.
    pub(super) fn read(&mut self, buffer: &mut [u8], until: Until) -> Read {
        loop {
            match channel::receive(self.socket.as_fd(), buffer) {
                Ok(received) if received.bytes == 0 => return Read::Ended,
                Ok(received) => {
                    self.lines.push(&buffer[..received.bytes]);
                    // A read also ends, short, where a descriptor was sent.
                    let stopped = received.descriptor.is_some() || received.descriptor_lost;
                    if stopped && self.descriptors.len() < MAX_DESCRIPTORS {
                        self.descriptors.push_back(received.descriptor);
                    }
                    let more = received.bytes == buffer.len() || stopped || until == Until::Ended;
                    return if more { Read::More } else { Read::Drained };
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Read::Drained,
                // ECONNRESET: it closed with something of ours unread.
                Err(_) => return Read::Ended,
            }
        }
    }

    /// The next frame of what was read, and the descriptors that came: a frame that brings one takes the first.
    pub(super) fn next_frame(&mut self) -> Result<Option<(&[u8], &mut Descriptors)>, FrameError> {
        let frame = self.lines.next_frame()?;
        Ok(frame.map(|frame| (frame, &mut self.descriptors)))
    }

    /// Whether the stream may end here.
    pub(super) fn finish(&self) -> Result<(), FrameError> {
        self.lines.finish()
    }

    /// Sends a frame, or queues what of it cannot be sent.
    pub(super) fn tell(&mut self, frame: &[u8]) -> Result<(), Unread> {
        if self.unread {
            return Ok(());
        }
        if self.queue.len() - self.written + frame.len() > MAX_QUEUE {
            self.unread = true;
            return Err(Unread);
        }
        let sent = if self.blocked { 0 } else { self.send(frame, None).unwrap_or(0) };
        self.enqueue(&frame[sent..]);
        Ok(())
    }

    /// Sends a frame with a descriptor, whole or not at all.
    pub(super) fn hand(&mut self, frame: &[u8], descriptor: BorrowedFd<'_>) -> Result<(), Unsent> {
        if self.blocked {
            return Err(Unsent::ChannelFull);
        }
        match self.send(frame, Some(descriptor)) {
            Ok(sent) => {
                // The descriptor has gone with the first byte; the rest follows as plain bytes.
                self.enqueue(&frame[sent..]);
                Ok(())
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::ETOOMANYREFS | libc::ENOMEM | libc::ENOBUFS) => Err(Unsent::SystemLimit),
                _ => {
                    self.blocked = true;
                    Err(Unsent::ChannelFull)
                }
            },
        }
    }

    /// Sends what is queued, as far as it goes; called when there is room.
    pub(super) fn flush(&mut self) {
        while self.written < self.queue.len() {
            match self.send(&self.queue[self.written..], None) {
                Ok(sent) => self.written += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.queue.drain(..self.written);
                    self.written = 0;
                    return;
                }
                // Its end is closed; that is seen where it is read.
                Err(_) => self.written = self.queue.len(),
            }
        }
        self.queue.clear();
        self.queue.shrink_to(KEEP_CAPACITY);
        self.written = 0;
        self.blocked = false;
    }

    /// Whether something waits for room.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    fn enqueue(&mut self, rest: &[u8]) {
        self.queue.extend_from_slice(rest);
        self.blocked |= !rest.is_empty();
    }

    fn send(&self, frame: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
        loop {
            match channel::send(self.socket.as_fd(), frame, descriptor) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Channel, OwnedFd) {
        let (ours, theirs) = channel::pair().unwrap();
        channel::set_nonblocking(&ours, true).unwrap();
        (Channel::new(ours), theirs)
    }

    #[test]
    fn frames_queue_behind_a_full_channel_and_connections_do_not() {
        let (mut here, there) = pair();
        let frame = [b"x".repeat(999), b"\n".to_vec()].concat();
        let mut told = 0;
        while !here.is_blocked() {
            here.tell(&frame).unwrap();
            told += 1;
        }
        here.tell(&frame).unwrap();
        assert_eq!(here.hand(b"handle\n", there.as_fd()), Err(Unsent::ChannelFull));
        let mut other = Channel::new(there);
        let (mut buffer, mut heard) = (vec![0; 4096], 0);
        while heard < told + 1 {
            other.read(&mut buffer, Until::Drained);
            while let Some((line, _)) = other.next_frame().unwrap() {
                assert_eq!(line, &frame[..999]);
                heard += 1;
            }
            here.flush();
        }
        assert!(!here.is_blocked());
        here.hand(b"handle\n", here.as_fd().try_clone_to_owned().unwrap().as_fd()).unwrap();
        assert_eq!(other.read(&mut buffer, Until::Drained), Read::More, "a descriptor ends a read");
        let (frame, descriptors) = other.next_frame().unwrap().unwrap();
        assert_eq!((frame, descriptors.len()), (&b"handle"[..], 1));
    }

    #[test]
    fn an_end_with_unread_bytes_is_an_end() {
        let (mut here, there) = pair();
        here.tell(b"unread\n").unwrap();
        channel::send(there.as_fd(), b"part", None).unwrap();
        drop(there);
        let mut buffer = [0; 64];
        assert_eq!(here.read(&mut buffer, Until::Drained), Read::Drained);
        assert_eq!(here.read(&mut buffer, Until::Drained), Read::Ended);
        assert_eq!(here.finish(), Err(FrameError::Truncated { have: 4 }));
        here.tell(b"nobody hears\n").unwrap();
        here.flush();
        assert!(!here.is_blocked());
    }

    #[test]
    fn what_nobody_reads_is_bounded_and_said_once() {
        let (mut here, there) = pair();
        let frame = [b"x".repeat(999), b"\n".to_vec()].concat();
        let mut told = 0;
        while here.tell(&frame).is_ok() {
            told += 1;
            assert!(told < 3 * MAX_QUEUE / frame.len());
        }
        assert_eq!((here.queue.len() + frame.len() > MAX_QUEUE, here.queue.len() <= MAX_QUEUE), (true, true));
        assert_eq!(here.tell(&frame), Ok(()), "dropped, and not said again");
        let (mut other, mut buffer, mut heard) = (Channel::new(there), vec![0; 4096], 0);
        while heard < told {
            other.read(&mut buffer, Until::Drained);
            while other.next_frame().unwrap().is_some() {
                heard += 1;
            }
            here.flush();
            assert!(here.queue.len() <= MAX_QUEUE);
        }
        assert!(here.queue.capacity() <= KEEP_CAPACITY);
    }
}
