//! Framing: one JSON text per line, ended by `\n`; or, in the advanced form, a length and as many bytes.
//!
//! Bytes enter as they were read, whole frames leave. Only `\n` ends a line (Node splits on nothing else), so it is
//! found by one scan that never looks at a byte twice, however slowly the bytes arrive.

use thiserror::Error;

use super::serialization::Serialization;

/// The longest frame a peer may send, in bytes. Node itself has no limit; without one a worker that never ends its
/// line would take the master's memory. Applications send user messages of some megabytes at times.
pub const MAX_FRAME: usize = 16 << 20;

/// The most values that a message of the application may hold, names of fields included: who gets it keeps 32 bytes for
/// each (`serde_json::Value`), however few it came in, and as many take as much as the longest frame.
pub const MAX_VALUES: usize = MAX_FRAME / 32;

/// Bytes of the length before a frame of the advanced form, the highest first.
pub const PREFIX: usize = 4;

/// A buffer that held a large frame is given back to the allocator when it is empty again.
const KEEP_CAPACITY: usize = 64 << 10;

/// Why a byte stream cannot be cut into frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A line went on past the limit, or a length says that it will.
    #[error("a frame is longer than {limit} bytes")]
    TooLong {
        /// The limit it went past, in bytes.
        limit: usize,
    },
    /// The stream ended within a frame.
    #[error("the channel ended within a frame, after {have} bytes of it")]
    Truncated {
        /// Bytes of the unfinished frame.
        have: usize,
    },
}

/// Collects bytes and gives back whole frames.
#[derive(Debug)]
pub struct Frames {
    serialization: Serialization,
    buffer: Vec<u8>,
    /// Where the first frame not yet given out starts.
    start: usize,
    /// Up to where no `\n` was found.
    scanned: usize,
    limit: usize,
}

impl Frames {
    /// An empty collector for frames of this form.
    pub fn new(serialization: Serialization) -> Self {
        Self::with_limit(serialization, MAX_FRAME)
    }

    /// One that refuses frames of more than `limit` bytes.
    pub fn with_limit(serialization: Serialization, limit: usize) -> Self {
        Self { serialization, buffer: Vec::new(), start: 0, scanned: 0, limit }
    }

    /// The form of the frames.
    pub fn serialization(&self) -> Serialization {
        self.serialization
    }

    /// Takes what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.compact();
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame without its `\n` or its length, or `None` when more bytes are needed.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        match self.serialization {
            Serialization::Json => self.next_line(),
            Serialization::Advanced => self.next_counted(),
        }
    }

    fn next_line(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let found = memchr::memchr(b'\n', &self.buffer[self.scanned..]).map(|at| self.scanned + at);
        let end = found.unwrap_or(self.buffer.len());
        if end - self.start > self.limit {
            return Err(FrameError::TooLong { limit: self.limit });
        }
        let Some(end) = found else {
            self.scanned = end;
            return Ok(None);
        };
        let start = std::mem::replace(&mut self.start, end + 1);
        self.scanned = self.start;
        Ok(Some(&self.buffer[start..end]))
    }

    fn next_counted(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let Some(length) = counted(&self.buffer[self.start..]) else { return Ok(None) };
        if length > self.limit {
            return Err(FrameError::TooLong { limit: self.limit });
        }
        let start = self.start + PREFIX;
        let end = start + length;
        if end > self.buffer.len() {
            return Ok(None);
        }
        self.start = end;
        self.scanned = end;
        Ok(Some(&self.buffer[start..end]))
    }

    /// Says whether the stream may end here.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.buffer.len() - self.start {
            0 => Ok(()),
            have => Err(FrameError::Truncated { have }),
        }
    }

    fn compact(&mut self) {
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > KEEP_CAPACITY {
            self.buffer = Vec::new();
        }
    }
}

/// What the length at the front of `bytes` says, if it is there.
fn counted(bytes: &[u8]) -> Option<usize> {
    let prefix = bytes.first_chunk::<PREFIX>()?;
    Some(u32::from_be_bytes(*prefix) as usize)
}

/// A write of so many bytes is taken by the kernel as a whole or not at all.
const ATOMIC: usize = 8 << 10;

/// Cuts queued frames into what is to be sent by one system call.
///
/// Node 16, 18 and up to 22.11 misread a length that comes in two reads. So in the advanced form a write holds small
/// frames as a whole, or it begins with a large one: the kernel takes the first bytes of a write together as well.
#[derive(Debug)]
pub struct Cutter {
    serialization: Serialization,
    /// What is left of the frame that was begun.
    rest: usize,
}

impl Cutter {
    /// For frames of this form, of which none is begun.
    pub fn new(serialization: Serialization) -> Self {
        Self { serialization, rest: 0 }
    }

    /// How many of the queued bytes to send now.
    pub fn next_write(&self, queue: &[u8]) -> usize {
        let write = match self.serialization {
            Serialization::Json => queue.len(),
            Serialization::Advanced if self.rest > 0 => self.rest,
            Serialization::Advanced => {
                let end = |start: usize| Some(start + PREFIX + counted(queue.get(start..)?)?);
                let mut write = end(0).unwrap_or(queue.len());
                while let Some(next) = end(write).filter(|&next| next <= ATOMIC.min(queue.len())) {
                    write = next;
                }
                write
            }
        };
        write.min(queue.len())
    }

    /// Of what was to be sent, `count` bytes of `write` were.
    pub fn sent(&mut self, write: usize, count: usize) {
        self.rest = if count == 0 { self.rest } else { write - count };
    }

    /// Whether the next byte is the first of a frame.
    pub fn is_between(&self) -> bool {
        self.rest == 0
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
