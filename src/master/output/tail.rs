//! The last lines of a stream: bytes enter, text leaves. Pure.

/// Lines that are kept. The message of a Node program that crashes stands some fifteen lines before its end, above the
/// stack.
const LINES: usize = 20;

/// Bytes that are kept of them.
const BYTES: usize = 4 << 10;

/// The end of what was written so far.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// No more than [`BYTES`].
    bytes: Vec<u8>,
    /// There was something before them.
    cut: bool,
}

impl Tail {
    pub(super) fn take(&mut self, bytes: &[u8]) {
        let new = &bytes[bytes.len().saturating_sub(BYTES)..];
        let old = (self.bytes.len() + new.len()).saturating_sub(BYTES);
        self.cut |= old > 0 || new.len() < bytes.len();
        self.bytes.drain(..old);
        self.bytes.extend_from_slice(new);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.iter().all(u8::is_ascii_whitespace)
    }

    /// The last lines, the last of which may not have come to its end. A line of which the beginning is not known is left
    /// out, unless there is no other.
    pub(super) fn lines(&self) -> Vec<String> {
        let text = self.bytes.trim_ascii_end();
        let start = match text.iter().position(|&byte| byte == b'\n') {
            Some(first) if self.cut => first + 1,
            _ => 0,
        };
        let lines: Vec<_> = text[start..].split(|&byte| byte == b'\n').collect();
        let line = |line: &&[u8]| String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
        lines[lines.len().saturating_sub(LINES)..].iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(chunks: &[&str]) -> Tail {
        let mut tail = Tail::default();
        chunks.iter().for_each(|chunk| tail.take(chunk.as_bytes()));
        tail
    }

    #[test]
    fn the_last_lines_are_kept_and_no_half_ones() {
        let numbers: Vec<_> = (0..100_000).map(|number| number.to_string()).collect();
        let all = numbers.join("\n");
        for size in [1, 7, BYTES - 1, BYTES, BYTES + 1, all.len()] {
            let mut tail = Tail::default();
            all.as_bytes().chunks(size).for_each(|chunk| tail.take(chunk));
            assert_eq!(tail.lines(), numbers[numbers.len() - LINES..], "{size}");
            assert!(tail.bytes.len() <= BYTES);
        }
        assert_eq!(tail(&["a\r\n", "b"]).lines(), ["a", "b"]);
        assert_eq!(tail(&["\na\n\n\n"]).lines(), ["", "a"]);
        let long = "x".repeat(BYTES);
        assert_eq!(tail(&["a\n", &long, "\nb\n"]).lines(), ["b"], "the beginning of the long one is lost");
        assert_eq!(tail(&["a\n", &long, "b\n"]).lines(), [long[..BYTES - 2].to_owned() + "b"]);
        let mut cut = Tail::default();
        cut.take(b"\xc3\xa9\xc3");
        assert_eq!(cut.lines(), ["\u{e9}\u{fffd}"]);
    }

    #[test]
    fn blank_lines_are_nothing() {
        assert!(tail(&[]).is_empty() && tail(&["\n \r\n"]).is_empty());
        assert!(!tail(&["\n.\n"]).is_empty());
    }
}
