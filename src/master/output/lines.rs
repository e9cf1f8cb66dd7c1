//! Bytes of several writers -> one page on which no line of one is mixed with another's. Pure.
//!
//! [`Lines`] cuts what one pipe brings into pieces: whole lines, and beginnings of lines that are long or late in coming.
//! [`Page`] puts pieces one after the other, with a prefix before each line. What a program wrote is not changed but for
//! line feeds between two lines of which the first did not come to its end.

use memchr::memrchr;

/// A beginning that is longer is not held back until the end of its line.
const LONGEST: usize = 8 << 10;

/// The line that a pipe has begun and that is not written yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    held: Vec<u8>,
}

impl Lines {
    /// Takes what was read, and gives out the pieces that are ready.
    pub(super) fn take(&mut self, bytes: &[u8], mut piece: impl FnMut(&[u8])) {
        let (whole, rest) = bytes.split_at(memrchr(b'\n', bytes).map_or(0, |end| end + 1));
        if !whole.is_empty() {
            self.flush(&mut piece);
            each_line(whole, &mut piece);
        }
        if self.held.len() + rest.len() <= LONGEST {
            self.held.extend_from_slice(rest);
        } else {
            self.flush(&mut piece);
            piece(rest);
        }
    }

    /// Gives out what is held back.
    pub(super) fn flush(&mut self, mut piece: impl FnMut(&[u8])) {
        if !self.held.is_empty() {
            piece(&self.held);
            self.held.clear();
        }
    }

    /// Whether something is held back.
    pub(super) fn has_held(&self) -> bool {
        !self.held.is_empty()
    }
}

/// Lines that are shorter on average are found sooner by looking at every byte than by searching, which takes a while to
/// begin and is then many times as fast.
const SHORT: usize = 12;

/// Gives out lines that all have their ends.
fn each_line(whole: &[u8], mut piece: impl FnMut(&[u8])) {
    let count = memchr::memchr_iter(b'\n', whole).count();
    if whole.len() < count * SHORT {
        return whole.split_inclusive(|&byte| byte == b'\n').for_each(piece);
    }
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', whole) {
        piece(&whole[start..=end]);
        start = end + 1;
    }
}

/// Names a pipe; never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct PipeId(pub(super) u64);

/// Where pieces of all pipes are put together.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Whose line is the last one and has not come to its end.
    open: Option<PipeId>,
}

impl Page {
    /// Puts a piece behind `out`: going on with its pipe's line, or on a line of its own.
    pub(super) fn put(&mut self, from: PipeId, prefix: &[u8], piece: &[u8], out: &mut Vec<u8>) {
        if self.open != Some(from) {
            self.close(out);
            out.extend_from_slice(prefix);
        }
        out.extend_from_slice(piece);
        self.open = (!piece.ends_with(b"\n")).then_some(from);
    }

    /// Nothing more comes from this pipe: its line ends.
    pub(super) fn leave(&mut self, from: PipeId, out: &mut Vec<u8>) {
        if self.open == Some(from) {
            self.close(out);
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            out.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(lines: &mut Lines, bytes: &str) -> Vec<String> {
        let mut pieces = Vec::new();
        lines.take(bytes.as_bytes(), |piece| pieces.push(String::from_utf8(piece.to_vec()).unwrap()));
        pieces
    }

    #[test]
    fn lines_come_out_whole_however_they_come_in() {
        // Short ones, and ones that are found by searching.
        lines_come_out_whole("one\n\ntwo\r\nthree", &["one\n", "\n", "two\r\n"]);
        let long = "x".repeat(30);
        let line = format!("{long}\n");
        lines_come_out_whole(&format!("{long}\n{long}\n\n{long}\nthree"), &[&line, &line, "\n", &line]);
    }

    fn lines_come_out_whole(text: &str, lines_in_it: &[&str]) {
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let mut seen: Vec<String> = Vec::new();
            for start in (0..text.len()).step_by(size) {
                for piece in pieces(&mut lines, &text[start..text.len().min(start + size)]) {
                    match seen.last_mut().filter(|last| !last.ends_with('\n')) {
                        Some(last) => last.push_str(&piece),
                        None => seen.push(piece),
                    }
                }
                // A held beginning comes out only together with its end.
                assert!(seen.last().is_none_or(|last| last.ends_with('\n')), "{size}: {seen:?}");
            }
            assert_eq!(seen, lines_in_it, "{size}");
            assert!(lines.has_held());
            lines.flush(|piece| assert_eq!(piece, b"three"));
            assert!(!lines.has_held());
        }
    }

    #[test]
    fn a_long_line_is_not_held_back() {
        let mut lines = Lines::default();
        let half = "x".repeat(LONGEST / 2);
        assert!(pieces(&mut lines, &half).is_empty() && pieces(&mut lines, &half).is_empty());
        assert_eq!(pieces(&mut lines, "y"), [half.repeat(2), "y".into()]);
        assert!(!lines.has_held());
        assert_eq!(pieces(&mut lines, "\n"), ["\n"]);
    }

    #[test]
    fn lines_of_several_are_not_mixed() {
        let (a, b) = (PipeId(1), PipeId(2));
        for (puts, expected) in [
            (&[(a, "1\n"), (b, "2\n")][..], "[a] 1\n[b] 2\n"),
            (&[(a, "1"), (a, "2"), (a, "\n")], "[a] 12\n"),
            (&[(a, "1"), (b, "2\n"), (a, "3\n")], "[a] 1\n[b] 2\n[a] 3\n"),
            (&[(a, "1"), (b, "2"), (a, "\n"), (b, "4\n")], "[a] 1\n[b] 2\n[a] \n[b] 4\n"),
            (&[(a, "\x1b[31mr\n"), (a, "\n")], "[a] \x1b[31mr\n[a] \n"),
        ] {
            let (mut page, mut out) = (Page::default(), Vec::new());
            for &(from, piece) in puts {
                let prefix = if from == a { "[a] " } else { "[b] " };
                page.put(from, prefix.as_bytes(), piece.as_bytes(), &mut out);
            }
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn only_its_own_end_ends_a_line() {
        let (mut page, mut out) = (Page::default(), Vec::new());
        page.put(PipeId(1), b"", b"a", &mut out);
        page.leave(PipeId(2), &mut out);
        assert_eq!(out, b"a");
        page.leave(PipeId(1), &mut out);
        page.leave(PipeId(1), &mut out);
        assert_eq!(out, b"a\n");
    }
}
