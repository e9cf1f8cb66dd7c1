//! What leaves for one side: pieces of what has just come in, untouched and uncopied, between what was made here.

use std::ops::Range;

/// An ordered list of pieces. It is cleared and used again for each read.
#[derive(Debug, Default)]
pub struct Pieces {
    made: Vec<u8>,
    list: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// Of `made`.
    Made(Range<usize>),
    /// Of the bytes that came in.
    Passed(Range<usize>),
}

/// An end that pieces had.
#[derive(Debug)]
pub struct Mark {
    made: usize,
    count: usize,
    last: Option<Piece>,
}

impl Pieces {
    /// Appends what `make` writes.
    pub fn make<R>(&mut self, make: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let start = self.made.len();
        let result = make(&mut self.made);
        let end = self.made.len();
        match self.list.last_mut() {
            Some(Piece::Made(last)) if last.end == start => last.end = end,
            _ if end > start => self.list.push(Piece::Made(start..end)),
            _ => {}
        }
        result
    }

    /// Appends a part of the bytes that have just come in.
    pub fn pass(&mut self, part: Range<usize>) {
        match self.list.last_mut() {
            _ if part.is_empty() => {}
            Some(Piece::Passed(last)) if last.end == part.start => last.end = part.end,
            _ => self.list.push(Piece::Passed(part)),
        }
    }

    /// All of them in order; `input` are the bytes that have come in.
    pub fn slices<'a>(&'a self, input: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.list.iter().map(move |piece| match piece {
            Piece::Made(range) => self.made.get(range.clone()).unwrap_or_default(),
            Piece::Passed(range) => input.get(range.clone()).unwrap_or_default(),
        })
    }

    /// There is nothing.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Where they end now.
    pub fn mark(&self) -> Mark {
        Mark { made: self.made.len(), count: self.list.len(), last: self.list.last().cloned() }
    }

    /// Forgets what was appended since.
    pub fn rewind(&mut self, mark: Mark) {
        self.made.truncate(mark.made);
        self.list.truncate(mark.count);
        // It may have grown since.
        if let (Some(last), Some(before)) = (self.list.last_mut(), mark.last) {
            *last = before;
        }
    }

    /// Forgets all, and keeps the memory.
    pub fn clear(&mut self) {
        self.made.clear();
        self.list.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_keep_their_order_and_join_where_they_touch() {
        let mut pieces = Pieces::default();
        assert!(pieces.is_empty());
        pieces.make(|made| made.extend_from_slice(b"ab"));
        pieces.make(|made| made.extend_from_slice(b"c"));
        pieces.pass(1..2);
        pieces.pass(2..3);
        pieces.pass(3..3);
        pieces.pass(4..5);
        pieces.make(|_| ());
        pieces.make(|made| made.push(b'd'));
        let all: Vec<_> = pieces.slices(b"01234").collect();
        assert_eq!(all, [b"abc".as_slice(), b"12", b"4", b"d"]);
        pieces.clear();
        assert_eq!(pieces.slices(b"01234").count(), 0);
    }

    #[test]
    fn what_was_appended_since_a_mark_is_forgotten() {
        let mut pieces = Pieces::default();
        let all = |pieces: &Pieces| pieces.slices(b"0123").map(<[u8]>::to_vec).collect::<Vec<_>>();
        let start = pieces.mark();
        pieces.make(|made| made.extend_from_slice(b"ab"));
        let mark = pieces.mark();
        pieces.make(|made| made.push(b'c'));
        pieces.pass(0..1);
        pieces.rewind(mark);
        assert_eq!(all(&pieces), [b"ab"]);
        pieces.pass(1..2);
        let mark = pieces.mark();
        pieces.pass(2..3);
        pieces.rewind(mark);
        assert_eq!(all(&pieces), [b"ab".as_slice(), b"1"]);
        pieces.rewind(start);
        assert!(pieces.is_empty());
    }
}
