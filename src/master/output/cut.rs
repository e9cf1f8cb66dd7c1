//! Bytes that come from one pipe -> lines, each once and whole. Pure.
//!
//! Unlike [`Lines`](super::lines::Lines), which is about showing what is there, this waits for the end of a line: a line
//! feed, the end of the pipe, or so many bytes. It knows nothing of workers, or of what becomes of the lines.

/// A line that is longer comes in parts: CONTROL.md says so.
pub(super) const LONGEST: usize = 16 << 10;

/// The line that a pipe has begun.
#[derive(Debug, Default)]
pub(super) struct Cut {
    /// No more than [`LONGEST`].
    begun: Vec<u8>,
}

impl Cut {
    /// Takes what was read, and gives out the lines that end in it, without their ends.
    pub(super) fn take(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let line = &rest[..end];
            rest = &rest[end + 1..];
            if self.begun.is_empty() && line.len() <= LONGEST {
                each(without_return(line));
            } else {
                self.begin(line, &mut each);
                each(without_return(&self.begun));
                self.begun.clear();
            }
        }
        self.begin(rest, &mut each);
    }

    /// Gives out the line that was begun, if there is one: nothing more comes.
    pub(super) fn flush(&mut self, mut each: impl FnMut(&[u8])) {
        if !self.begun.is_empty() {
            each(&self.begun);
            self.begun = Vec::new();
        }
    }

    /// The line that was begun is of no interest.
    pub(super) fn forget(&mut self) {
        self.begun.clear();
    }

    /// Goes on with a line, and gives out parts of it while it is too long.
    fn begin(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        while self.begun.len() + bytes.len() > LONGEST {
            let (now, later) = bytes.split_at(LONGEST - self.begun.len());
            self.begun.extend_from_slice(now);
            let part = whole_characters(&self.begun);
            each(&self.begun[..part]);
            self.begun.drain(..part);
            bytes = later;
        }
        self.begun.extend_from_slice(bytes);
    }
}

/// Of the two bytes by which some end their lines, the first belongs to the end as well.
fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// How many bytes of a part are not the beginning of a character that goes on in the next one.
fn whole_characters(part: &[u8]) -> usize {
    let is_within = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
    let within = part.iter().rev().take(3).take_while(|byte| is_within(byte)).count();
    let Some(first) = part.len().checked_sub(within + 1) else { return part.len() };
    let length = match part[first] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return part.len(),
    };
    if first > 0 && within + 1 < length { first } else { part.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of what comes in pieces of this size, also the one that has no end.
    fn lines(bytes: &[u8], size: usize) -> Vec<Vec<u8>> {
        let (mut cut, mut lines) = (Cut::default(), Vec::new());
        for piece in bytes.chunks(size) {
            cut.take(piece, |line| lines.push(line.to_vec()));
            assert!(cut.begun.len() <= LONGEST);
        }
        cut.flush(|line| lines.push(line.to_vec()));
        cut.flush(|_| panic!("it was given out"));
        lines
    }

    #[test]
    fn lines_come_out_whole_however_they_come_in() {
        let text = b"one\n\ntwo\r\nthr\ree\r\n\n\xff\nend";
        for size in 1..=text.len() {
            let expected: [&[u8]; 7] = [b"one", b"", b"two", b"thr\ree", b"", b"\xff", b"end"];
            assert_eq!(lines(text, size), expected, "{size}");
        }
        assert!(lines(b"", 1).is_empty());
    }

    #[test]
    fn a_long_line_comes_in_parts_that_end_between_characters() {
        for (text, expected) in [
            ("x".repeat(LONGEST), &[LONGEST][..]),
            ("x".repeat(LONGEST + 1), &[LONGEST, 1]),
            ("x".repeat(3 * LONGEST), &[LONGEST; 3]),
            (format!("{}\u{e9}", "x".repeat(LONGEST - 1)), &[LONGEST - 1, 2]),
            (format!("{}\u{20ac}\u{20ac}", "x".repeat(LONGEST - 2)), &[LONGEST - 2, 6]),
            (format!("{}\u{1f980}", "x".repeat(LONGEST - 3)), &[LONGEST - 3, 4]),
            (format!("{}\u{1f980}", "x".repeat(LONGEST - 4)), &[LONGEST]),
        ] {
            let bytes = format!("a\n{text}\nb\n");
            for size in [1, 1000, LONGEST, LONGEST + 1, bytes.len()] {
                let lines = lines(bytes.as_bytes(), size);
                let (first, rest) = lines.split_first().unwrap();
                let (last, parts) = rest.split_last().unwrap();
                assert_eq!((&first[..], &last[..]), (&b"a"[..], &b"b"[..]));
                assert_eq!(parts.concat(), text.as_bytes());
                assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), expected, "{size}");
            }
        }
        // What is no text is cut anywhere.
        for byte in [0x80, 0xc2, 0xf4, 0xff] {
            let bytes = vec![byte; 2 * LONGEST];
            assert_eq!(lines(&bytes, 999).concat(), bytes);
        }
    }
}
