//! The master's end of a worker's channel: frames in, frames and descriptors out, never waiting.
//!
//! What cannot be written at once is queued; a connection is not: the fleet is told that there is no room and gives it
//! to somebody else.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use super::{flow::Flow, workers::Until};
use crate::{
    fleet::Unsent,
    protocol::{
        frame::{Cutter, FrameError, Frames},
        serialization::Serialization,
    },
    sys::channel,
};

/// Descriptors that may wait for frames which are still to come.
const MAX_DESCRIPTORS: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Channel {
    socket: OwnedFd,
    frames: Frames,
    descriptors: Descriptors,
    /// Bytes that were not taken yet, from `written` on.
    queue: Vec<u8>,
    written: usize,
    cutter: Cutter,
    /// Something could not be sent for want of room, and nobody was told since that there is room.
    blocked: bool,
    flow: Flow,
    /// Why nothing more can be sent, if that is so.
    broken: Option<&'static str>,
    /// The loop watches for room.
    pub(super) watched: bool,
}

/// What came with frames, in their order; `None` for one that was lost on the way.
pub(super) type Descriptors = VecDeque<Option<OwnedFd>>;

/// Bytes of users' messages that may wait for a worker which does not read; the user is told when it is full.
const QUEUE: usize = 4 << 20;

/// Bytes that may wait in all. What Pointsman itself says is little, and a worker that asks and asks and does not read
/// the answers would take the master's memory.
const MAX_QUEUE: usize = QUEUE + (1 << 20);

/// A queue that held more than this is given back to the allocator when it is empty.
const KEEP_CAPACITY: usize = 64 << 10;

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
    pub(super) fn new(socket: OwnedFd, serialization: Serialization) -> Self {
        let (queue, descriptors) = (Vec::new(), VecDeque::new());
        Self {
            socket,
            frames: Frames::new(serialization),
            descriptors,
            queue,
            written: 0,
            cutter: Cutter::new(serialization),
            blocked: false,
            flow: Flow::new(serialization),
            broken: None,
            watched: false,
        }
    }

    /// The form of its frames.
    pub(super) fn serialization(&self) -> Serialization {
        self.frames.serialization()
    }

    /// Reads once, by way of `buffer`.
    pub(super) fn read(&mut self, buffer: &mut [u8], until: Until) -> Read {
        loop {
            match channel::receive(self.socket.as_fd(), buffer) {
                Ok(received) if received.bytes == 0 => return Read::Ended,
                Ok(received) => {
                    self.frames.push(&buffer[..received.bytes]);
                    // A read also ends, short, where a descriptor was sent.
                    let stopped = received.descriptor.is_some() || received.descriptor_lost;
                    if stopped {
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
        let frame = self.frames.next_frame()?;
        Ok(frame.map(|frame| (frame, &mut self.descriptors)))
    }

    /// Whether more descriptors have come than there were frames for.
    pub(super) fn is_flooded(&self) -> bool {
        self.descriptors.len() > MAX_DESCRIPTORS
    }

    /// Whether the stream may end here.
    pub(super) fn finish(&self) -> Result<(), FrameError> {
        self.frames.finish()
    }

    /// Whether a user's frame of this many bytes may be queued.
    pub(super) fn has_space(&self, bytes: usize) -> bool {
        self.queue.len() - self.written + bytes <= QUEUE
    }

    /// The worker has acknowledged a handle, or not acknowledged it. Says whether connections can be sent again that
    /// could not be before.
    pub(super) fn acknowledged(&mut self) -> bool {
        self.flow.acknowledged() && !self.blocked
    }

    /// Sends a frame, or queues what of it cannot be sent.
    pub(super) fn tell(&mut self, frame: &[u8]) {
        if self.broken.is_some() {
            return;
        }
        if self.queue.len() - self.written + frame.len() > MAX_QUEUE {
            self.broken = Some("it does not read its channel, where too much waits for it");
            return;
        }
        self.flow.sent_plain(frame.len());
        let sent = if self.may_begin() { self.attempt(frame, None).unwrap_or(0) } else { 0 };
        self.enqueue(&frame[sent..]);
    }

    /// Sends a frame with a descriptor, whole or not at all.
    pub(super) fn hand(&mut self, frame: &[u8], descriptor: BorrowedFd<'_>) -> Result<(), Unsent> {
        if self.flow.barrier || self.broken.is_some() || !self.may_begin() {
            return Err(Unsent::ChannelFull);
        }
        match self.attempt(frame, Some(descriptor)) {
            Ok(sent) => {
                self.flow.sent_handle(frame.len());
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
        self.blocked = false;
        while self.written < self.queue.len() && self.broken.is_none() {
            if self.cutter.is_between() && !self.may_begin() {
                break;
            }
            let queue = std::mem::take(&mut self.queue);
            let write = self.cutter.next_write(&queue[self.written..]);
            let sent = self.attempt(&queue[self.written..][..write], None);
            self.queue = queue;
            match sent {
                Ok(sent) => self.written += sent,
                Err(_) => break,
            }
        }
        self.queue.drain(..self.written);
        self.written = 0;
        self.blocked = !self.queue.is_empty() || !self.may_begin();
        if self.queue.is_empty() {
            self.queue.shrink_to(KEEP_CAPACITY);
        }
    }

    /// Whether something waits for room.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked && self.broken.is_none()
    }

    /// Why nothing more can be sent, if that is so; said once.
    pub(super) fn take_broken(&mut self) -> Option<&'static str> {
        self.broken.as_mut().map(std::mem::take).filter(|why| !why.is_empty())
    }

    /// Whether a frame can be sent now; if not, whoever watches for room is to come back.
    fn may_begin(&mut self) -> bool {
        let socket = self.socket.as_fd();
        self.blocked |= !self.flow.may_begin(|| channel::unread(socket));
        !self.blocked
    }

    fn enqueue(&mut self, rest: &[u8]) {
        self.queue.extend_from_slice(rest);
        self.blocked |= !rest.is_empty();
    }

    /// Sends once. Full, and short of something, are for later; any other error is the end of sending.
    fn attempt(&mut self, frame: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
        loop {
            match channel::send(self.socket.as_fd(), frame, descriptor) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let later = [libc::EAGAIN, libc::ETOOMANYREFS, libc::ENOMEM, libc::ENOBUFS];
                    if !error.raw_os_error().is_some_and(|errno| later.contains(&errno)) {
                        self.broken = Some("its channel cannot be written to");
                    }
                    return Err(error);
                }
                Ok(sent) => {
                    self.cutter.sent(frame.len(), sent);
                    self.flow.taken(sent);
                    return Ok(sent);
                }
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
    use super::{
        super::flow::{BARRIER, UNREAD},
        *,
    };

    fn pair() -> (Channel, OwnedFd) {
        pair_of(Serialization::Json)
    }

    fn pair_of(serialization: Serialization) -> (Channel, OwnedFd) {
        let (ours, theirs) = channel::pair().unwrap();
        channel::set_nonblocking(&ours, true).unwrap();
        (Channel::new(ours, serialization), theirs)
    }

    #[test]
    fn frames_queue_behind_a_full_channel_and_connections_do_not() {
        let (mut here, there) = pair();
        let frame = [b"x".repeat(999), b"\n".to_vec()].concat();
        let mut told = 0;
        while !here.is_blocked() {
            here.tell(&frame);
            told += 1;
        }
        here.tell(&frame);
        assert_eq!(here.hand(b"handle\n", there.as_fd()), Err(Unsent::ChannelFull));
        let mut other = Channel::new(there, Serialization::Json);
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
    fn no_descriptor_follows_a_frame_that_ends_far_behind_the_last() {
        Serialization::ALL.iter().for_each(|&form| check_barrier(form));
    }

    /// What the bytes say does not matter: they are not looked at when they are sent at once.
    fn check_barrier(form: Serialization) {
        let (mut here, there) = pair_of(form);
        let handle = |here: &mut Channel| here.hand(b"handle\n", there.as_fd());
        handle(&mut here).unwrap();
        here.tell(&vec![b'x'; BARRIER - 7]);
        handle(&mut here).unwrap();
        here.tell(&vec![b'x'; BARRIER - 6]);
        handle(&mut here).unwrap();
        assert_eq!(handle(&mut here), Err(Unsent::ChannelFull), "one byte too many");
        here.tell(b"plain bytes may follow\n");
        assert!(!here.acknowledged() && !here.acknowledged());
        assert_eq!(handle(&mut here), Err(Unsent::ChannelFull), "the first two are not the barrier");
        assert!(here.acknowledged());
        handle(&mut here).unwrap();
        assert!(!here.acknowledged());
        let large = [vec![b'x'; BARRIER], b"\n".to_vec()].concat();
        here.hand(&large, there.as_fd()).unwrap();
        assert_eq!(handle(&mut here), Err(Unsent::ChannelFull), "a large frame is one by itself");
    }

    /// Frames of the advanced form, read 64 KiB at a time as Node does.
    #[test]
    fn no_length_is_split_between_two_reads() {
        let (mut here, there) = pair_of(Serialization::Advanced);
        let mut buffer = vec![0; 64 << 10];
        let (mut stream, mut ends) = (Vec::new(), Vec::new());
        for round in 0..40u32 {
            // A large one that the reader is behind with, and many behind it that are hardly more than lengths.
            for size in
                [100_000 + round].into_iter().chain((0..40_000).map(|number| 1 + (number + round) % 3))
            {
                here.tell(&[&size.to_be_bytes()[..], &vec![7; size as usize]].concat());
            }
            while here.is_blocked() || channel::unread(here.as_fd()) > 0 {
                let count = channel::receive(there.as_fd(), &mut buffer).unwrap().bytes;
                stream.extend_from_slice(&buffer[..count]);
                ends.push(stream.len());
                here.flush();
            }
        }
        let mut at = 0;
        while at < stream.len() {
            let end = ends.partition_point(|&end| end <= at);
            assert!(ends[end] >= at + 4, "a read ends at {} within the length at {at}", ends[end]);
            at += 4 + u32::from_be_bytes(*stream[at..].first_chunk().unwrap()) as usize;
        }
        assert_eq!(at, stream.len(), "all has come");
    }

    #[test]
    fn room_for_a_length_is_told_of_once_it_is_there() {
        let (mut here, there) = pair_of(Serialization::Advanced);
        let handle = |here: &mut Channel| here.hand(b"\0\0\0\x02ha", there.as_fd());
        handle(&mut here).unwrap();
        here.tell(&[&u32::try_from(UNREAD).unwrap().to_be_bytes()[..], &vec![7; UNREAD]].concat());
        assert!(!here.is_blocked());
        assert_eq!(handle(&mut here), Err(Unsent::ChannelFull), "too much is unread");
        here.flush();
        assert!(here.is_blocked(), "and still is: nobody is to come back at once");
        let mut buffer = vec![0; 64 << 10];
        while channel::unread(here.as_fd()) > 0 {
            channel::receive(there.as_fd(), &mut buffer).unwrap();
        }
        here.flush();
        assert!(!here.is_blocked());
        handle(&mut here).unwrap();
    }

    #[test]
    fn what_nobody_reads_is_bounded_and_said_once() {
        let (mut here, _there) = pair();
        let frame = [b"x".repeat(99_999), b"\n".to_vec()].concat();
        for _ in 0..2 * MAX_QUEUE / frame.len() {
            here.tell(&frame);
        }
        assert!(here.queue.len() <= MAX_QUEUE && !here.has_space(1));
        assert!(here.take_broken().is_some_and(|why| why.contains("does not read its channel")));
        assert_eq!(here.take_broken(), None);
    }

    #[test]
    fn an_end_with_unread_bytes_is_an_end() {
        let (mut here, there) = pair();
        here.tell(b"unread\n");
        channel::send(there.as_fd(), b"part", None).unwrap();
        drop(there);
        let mut buffer = [0; 64];
        assert_eq!(here.read(&mut buffer, Until::Drained), Read::Drained);
        assert_eq!(here.read(&mut buffer, Until::Drained), Read::Ended);
        assert_eq!(here.finish(), Err(FrameError::Truncated { have: 4 }));
        here.tell(b"nobody hears\n");
        here.flush();
        assert!(!here.is_blocked() && here.take_broken().is_some() && here.take_broken().is_none());
        assert_eq!(pair().0.take_broken(), None);
    }
}
