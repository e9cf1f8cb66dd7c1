//! What was written last in each slot: lines enter, and leave as often as somebody wants to see them. Pure.
//!
//! A slot has a ring of bytes and a ring of notes on the lines in it, which grow with what is written up to their limits; then
//! the oldest line makes room for a new one, without an allocation. Lines have numbers in the order in which they came, over
//! all slots. Nothing here knows where they come from, who wants to see them, or what time it is.

use std::{collections::VecDeque, ops::Range};

use super::cut::LONGEST;
use crate::{
    control::{LogStream, Origin, Target},
    fleet::WorkerId,
};

/// Lines that are kept of a slot: what a person looks through.
const LINES: usize = 256;

/// Bytes that are kept of them: lines of usual length, and at least the last one of any.
const BYTES: usize = 32 << 10;

const _: () = assert!(LONGEST <= BYTES && LONGEST <= u16::MAX as usize, "a slot has room for any line");

/// Slots that lines are kept of: as many as a fleet has.
const SLOTS: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct History {
    /// By their numbers.
    slots: Vec<Slot>,
    /// Of the next line.
    next: u64,
}

#[derive(Debug, Default)]
struct Slot {
    bytes: VecDeque<u8>,
    notes: VecDeque<Note>,
}

/// What is known of a line.
#[derive(Debug, Clone, Copy)]
struct Note {
    number: u64,
    time: u64,
    worker: WorkerId,
    stream: LogStream,
    length: u16,
}

/// A line that is kept.
#[derive(Debug)]
pub(super) struct Kept<'a> {
    pub(super) number: u64,
    /// When it was read, in milliseconds since 1970.
    pub(super) time: u64,
    pub(super) origin: Origin,
    ring: &'a VecDeque<u8>,
    place: Range<usize>,
}

impl Kept<'_> {
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.ring.range(self.place.clone()).copied().collect()
    }
}

impl History {
    /// Keeps a line that was read at `time`, and is no longer than [`LONGEST`].
    pub(super) fn put(&mut self, time: u64, origin: Origin, line: &[u8]) {
        let number = self.next;
        self.next += 1;
        let Ok(place) = usize::try_from(origin.slot) else { return };
        if place >= self.slots.len() {
            if place >= SLOTS {
                return;
            }
            self.slots.resize_with(place + 1, Slot::default);
        }
        let Ok(length) = u16::try_from(line.len()) else { return };
        let note = Note { number, time, worker: origin.worker, stream: origin.stream, length };
        self.slots[place].put(note, line);
    }

    /// The number that the next line will have.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Those lines of `target`, or of all, that have these numbers and are still there, the oldest first.
    pub(super) fn lines(&self, target: Option<Target>, numbers: Range<u64>) -> Vec<Kept<'_>> {
        let is_wanted = |line: &Kept<'_>| numbers.contains(&line.number) && is_of(line.origin, target);
        let all = (0..).zip(&self.slots).flat_map(|(slot, kept)| kept.lines(slot));
        let mut lines: Vec<_> = all.filter(is_wanted).collect();
        lines.sort_unstable_by_key(|line| line.number);
        lines
    }
}

impl Slot {
    fn put(&mut self, note: Note, line: &[u8]) {
        let over = (self.bytes.len() + line.len()).saturating_sub(BYTES);
        let mut gone = 0;
        while (gone < over || self.notes.len() >= LINES)
            && let Some(oldest) = self.notes.pop_front()
        {
            gone += usize::from(oldest.length);
        }
        self.bytes.drain(..gone);
        self.bytes.extend(line);
        self.notes.push_back(note);
    }

    fn lines(&self, slot: u32) -> impl Iterator<Item = Kept<'_>> {
        let mut at = 0;
        self.notes.iter().map(move |&Note { number, time, worker, stream, length }| {
            let place = at..at + usize::from(length);
            at = place.end;
            Kept { number, time, origin: Origin { worker, slot, stream }, ring: &self.bytes, place }
        })
    }
}

/// Whether this is what is wanted; `None` wants everything.
pub(super) fn is_of(origin: Origin, target: Option<Target>) -> bool {
    match target {
        Some(Target::Worker(worker)) => worker == origin.worker,
        Some(Target::Slot(slot)) => slot == origin.slot,
        None => true,
    }
}

/// The end of `bytes`, from the beginning of a line on: of what is before, nothing would be kept. `None` if that is nothing.
pub(super) fn recent(bytes: &[u8]) -> Option<&[u8]> {
    // So many lines as are kept have that many ends.
    let last = &bytes[bytes.len().saturating_sub(BYTES + LINES)..];
    let by_lines = memchr::memrchr_iter(b'\n', last).nth(LINES);
    let by_bytes = || if last.len() < bytes.len() { memchr::memchr(b'\n', last) } else { None };
    Some(&last[by_lines.or_else(by_bytes)? + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::output::cut::Cut;
    use LogStream::{Stderr, Stdout};

    const fn origin(worker: u32, slot: u32, stream: LogStream) -> Origin {
        Origin { worker: WorkerId(worker), slot, stream }
    }

    fn texts(history: &History, target: Option<Target>, numbers: Range<u64>) -> Vec<String> {
        let text = |line: &Kept<'_>| String::from_utf8(line.bytes()).unwrap();
        history.lines(target, numbers).iter().map(text).collect()
    }

    #[test]
    fn lines_of_all_slots_come_in_the_order_of_their_coming() {
        let mut history = History::default();
        let (a, b, successor) = (origin(1, 0, Stdout), origin(2, 7, Stderr), origin(3, 0, Stderr));
        for (time, origin, line) in [(9, a, "a"), (5, b, "b"), (7, successor, "c"), (7, b, ""), (8, a, "e")] {
            history.put(time, origin, line.as_bytes());
        }
        for (target, numbers, expected) in [
            (None, 0..5, &["a", "b", "c", "", "e"][..]),
            (None, 1..3, &["b", "c"]),
            (Some(Target::Slot(0)), 0..5, &["a", "c", "e"]),
            (Some(Target::Worker(WorkerId(1))), 0..5, &["a", "e"]),
            (Some(Target::Worker(WorkerId(3))), 0..5, &["c"]),
            (Some(Target::Slot(3)), 0..5, &[]),
            (Some(Target::Slot(9)), 0..5, &[]),
        ] {
            assert_eq!(texts(&history, target, numbers.clone()), expected, "{target:?} {numbers:?}");
        }
        let told = |line: &Kept<'_>| (line.number, line.time, line.origin);
        let lines: Vec<_> = history.lines(None, 1..3).iter().map(told).collect();
        assert_eq!((lines, history.next()), (vec![(1, 5, b), (2, 7, successor)], 5));
    }

    #[test]
    fn of_each_slot_so_many_lines_and_bytes_are_kept() {
        let mut history = History::default();
        history.put(0, origin(9, 1, Stdout), b"quiet");
        let numbers: Vec<_> = (0..10_000).map(|number| number.to_string()).collect();
        for number in &numbers {
            history.put(0, origin(1, 0, Stdout), number.as_bytes());
        }
        assert_eq!(texts(&history, Some(Target::Slot(0)), 0..u64::MAX), numbers[numbers.len() - LINES..]);
        for number in 0..100 {
            history.put(0, origin(1, 0, Stdout), "x".repeat(number * 167 % LONGEST).as_bytes());
            let lines = texts(&history, Some(Target::Slot(0)), 0..u64::MAX);
            let bytes: usize = lines.iter().map(String::len).sum();
            assert!(bytes <= BYTES && lines.len() <= LINES, "{bytes}");
            assert!(bytes > BYTES - LONGEST || lines.len() == LINES, "{bytes}");
        }
        history.put(0, origin(1, 0, Stdout), &[b'x'; LONGEST]);
        history.put(0, origin(1, 0, Stdout), &[b'y'; LONGEST]);
        assert_eq!(texts(&history, Some(Target::Slot(0)), 0..u64::MAX).len(), 2);
        assert!(
            history.slots[0].bytes.capacity() <= 2 * BYTES && history.slots[0].notes.capacity() <= 2 * LINES
        );
        assert_eq!(texts(&history, Some(Target::Slot(1)), 0..u64::MAX), ["quiet"]);
    }

    #[test]
    fn there_is_an_end_of_slots() {
        let mut history = History::default();
        for slot in [u32::try_from(SLOTS).unwrap(), u32::MAX] {
            history.put(0, origin(1, slot, Stdout), b"a");
        }
        assert!(history.slots.is_empty());
        history.put(0, origin(1, 1023, Stdout), b"a");
        assert_eq!((texts(&history, None, 0..3).len(), history.slots.len()), (1, SLOTS));
    }

    #[test]
    fn what_is_not_recent_would_not_be_kept() {
        let short = "ab\n".repeat(LINES * 3);
        let long = format!("{}\n", "x".repeat(1000)).repeat(64);
        for (text, is_cut) in [
            ("a\nb\nc".to_owned(), false),
            (short.clone(), true),
            (format!("{short}abc"), true),
            (long.clone(), true),
            (format!("{long}{short}{long}abc"), true),
            ("x".repeat(2 * BYTES), false),
            ("\n".repeat(LINES + 1), true),
            ("\n".repeat(LINES), false),
        ] {
            let kept = |bytes: &[u8]| {
                let (mut history, mut cut) = (History::default(), Cut::default());
                cut.take(bytes, |line| history.put(0, origin(1, 0, Stdout), line));
                texts(&history, None, 0..u64::MAX)
            };
            let recent = recent(text.as_bytes());
            assert_eq!(recent.is_some(), is_cut, "{}", text.len());
            let Some(recent) = recent else { continue };
            assert!(recent.len() < text.len() && kept(recent) == kept(text.as_bytes()), "{}", text.len());
        }
    }
}
