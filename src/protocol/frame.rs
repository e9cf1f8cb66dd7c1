//! JSON framing: one JSON text per line, ended by `\n`, no length.
//!
//! Bytes enter as they were read, whole lines leave. Only `\n` ends a frame (Node splits on nothing else), so a line
//! is found by one scan that never looks at a byte twice, however slowly the bytes arrive.

use thiserror::Error;

/// The longest frame a peer may send, in bytes. Node itself has no limit; without one a worker that never ends its
/// line would take the master's memory. Applications send user messages of some megabytes at times.
pub const MAX_FRAME: usize = 16 << 20;

/// A buffer that held a large frame is given back to the allocator when it is empty again.
const KEEP_CAPACITY: usize = 64 << 10;

/// Why a byte stream cannot be cut into frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A line went on past the limit.
    #[error("a frame is longer than {limit} bytes")]
    TooLong {
        /// The limit it went past, in bytes.
        limit: usize,
    },
    /// The stream ended within a line.
    #[error("the channel ended within a frame, after {have} bytes of it")]
    Truncated {
        /// Bytes of the unfinished frame.
        have: usize,
    },
}

/// Collects bytes and gives back whole lines.
#[derive(Debug)]
pub struct Lines {
    buffer: Vec<u8>,
    /// Where the first frame not yet given out starts.
    start: usize,
    /// Up to where no `\n` was found.
    scanned: usize,
    limit: usize,
}

impl Default for Lines {
    fn default() -> Self {
        Self::new(MAX_FRAME)
    }
}

impl Lines {
    /// An empty collector that refuses frames of more than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, scanned: 0, limit }
    }

    /// Takes what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.compact();
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame without its `\n`, or `None` when more bytes are needed.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drain(lines: &mut Lines) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut all = Vec::new();
        while let Some(frame) = lines.next_frame()? {
            all.push(frame.to_vec());
        }
        Ok(all)
    }

    /// Whole, byte by byte, and cut in two at every place: always the same frames.
    fn check(stream: &[u8], expected: &[&[u8]], rest: Result<(), FrameError>) {
        for cut in 0..=stream.len() {
            let mut lines = Lines::default();
            lines.push(&stream[..cut]);
            let mut frames = drain(&mut lines).unwrap();
            lines.push(&stream[cut..]);
            frames.extend(drain(&mut lines).unwrap());
            assert_eq!(frames, expected, "cut at {cut}");
            assert_eq!(lines.finish(), rest, "cut at {cut}");
        }
        let mut lines = Lines::default();
        let mut frames = Vec::new();
        for byte in stream {
            lines.push(std::slice::from_ref(byte));
            frames.extend(drain(&mut lines).unwrap());
        }
        assert_eq!(frames, expected, "byte by byte");
        assert_eq!(lines.finish(), rest, "byte by byte");
    }

    #[test]
    fn lines_come_out_however_they_arrive() {
        check(b"", &[], Ok(()));
        check(b"{}\n", &[b"{}"], Ok(()));
        check(b"{}\n[1]\n\n", &[b"{}", b"[1]", b""], Ok(()));
        check(b"\"\r\"\n1", &[b"\"\r\""], Err(FrameError::Truncated { have: 1 }));
        check(
            "{\"a\":\"\u{2028}é\"}\nrest".as_bytes(),
            &["{\"a\":\"\u{2028}é\"}".as_bytes()],
            Err(FrameError::Truncated { have: 4 }),
        );
    }

    #[test]
    fn the_limit_counts_the_line_alone() {
        let mut lines = Lines::new(4);
        lines.push(b"1234\n123");
        assert_eq!(lines.next_frame(), Ok(Some(&b"1234"[..])));
        assert_eq!(lines.next_frame(), Ok(None));
        lines.push(b"45");
        assert_eq!(lines.next_frame(), Err(FrameError::TooLong { limit: 4 }));

        let mut lines = Lines::new(4);
        lines.push(b"12345\n");
        assert_eq!(lines.next_frame(), Err(FrameError::TooLong { limit: 4 }), "also when its end has come");
    }

    #[test]
    fn memory_of_a_large_frame_is_given_back() {
        let mut lines = Lines::default();
        lines.push(&vec![b'1'; 1 << 20]);
        lines.push(b"\n");
        assert!(drain(&mut lines).unwrap()[0].len() == 1 << 20);
        lines.push(b"");
        assert_eq!(lines.buffer.capacity(), 0);
    }

    proptest! {
        #[test]
        fn any_stream_in_any_pieces(stream in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200),
                                    cuts in proptest::collection::vec(0usize..200, 0..8)) {
            let mut whole = Lines::default();
            whole.push(&stream);
            let expected = drain(&mut whole).unwrap();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.sort_unstable();
            cuts.push(stream.len());
            let mut lines = Lines::default();
            let (mut frames, mut from) = (Vec::new(), 0);
            for cut in cuts {
                lines.push(&stream[from..cut]);
                frames.extend(drain(&mut lines).unwrap());
                from = cut;
            }
            prop_assert_eq!(frames, expected);
            prop_assert_eq!(lines.finish(), whole.finish());
        }
    }
}
