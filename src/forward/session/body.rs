//! Bodies on their way from one side to the other: what comes in is passed on where it lies.

use std::ops::Range;

use crate::{
    forward::pieces::Pieces,
    http::{
        Chunked,
        chunked::{Malformed, Part},
    },
};

/// How a chunked body is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// With its chunks.
    AsItIs,
    /// The data alone.
    Plain,
}

/// Passes on what of `part` belongs to a body of which so much is `left`; tells how many bytes.
pub(super) fn pass_length(left: &mut u64, part: Range<usize>, out: &mut Pieces, count: &mut u64) -> usize {
    let length = usize::try_from(*left).map_or(part.len(), |left| left.min(part.len()));
    out.pass(part.start..part.start + length);
    let passed = wide(length);
    *left = left.saturating_sub(passed);
    *count = count.saturating_add(passed);
    length
}

/// Passes on what of `input`, from `start` on, belongs to a chunked body and can be understood; tells how many bytes.
/// Data are counted. Extensions are left out: nobody is obliged to understand them, and a line that has none cannot be
/// misunderstood.
pub(super) fn pass_chunked(
    decoder: &mut Chunked,
    input: &[u8],
    start: usize,
    form: Form,
    out: &mut Pieces,
    count: &mut u64,
) -> Result<usize, Malformed> {
    let mut at = start;
    while let Some((part, length)) = decoder.next(&input[at..])? {
        let range = at..at + length;
        match (part, form) {
            (Part::Data, _) => {
                *count = count.saturating_add(wide(length));
                out.pass(range);
            }
            (_, Form::Plain) | (Part::Trailer { harmless: false }, Form::AsItIs) => {}
            (Part::Size { size, plain: false }, Form::AsItIs) => out.make(|out| put_size(out, size)),
            (Part::Size { .. } | Part::DataEnd | Part::Trailer { .. } | Part::End, Form::AsItIs) => {
                out.pass(range);
            }
        }
        at += length;
    }
    Ok(at - start)
}

/// Passes on all of a part, as a chunk if need be.
pub(super) fn pass_all(part: Range<usize>, chunked: bool, out: &mut Pieces, count: &mut u64) {
    if part.is_empty() {
        return;
    }
    let length = wide(part.len());
    *count = count.saturating_add(length);
    if chunked {
        out.make(|out| put_size(out, length));
        out.pass(part);
        out.make(|out| out.extend_from_slice(b"\r\n"));
    } else {
        out.pass(part);
    }
}

fn put_size(out: &mut Vec<u8>, size: u64) {
    put_hex(out, size, size.checked_ilog2().unwrap_or(0) / 4 + 1);
    out.extend_from_slice(b"\r\n");
}

/// The last so many hexadecimal digits.
pub(super) fn put_hex(out: &mut Vec<u8>, number: u64, digits: u32) {
    for digit in (0..digits).rev() {
        let digit = (number >> (digit * 4)).to_le_bytes()[0] & 15;
        out.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
    }
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_hexadecimal() {
        for (size, text) in [(0, "0"), (1, "1"), (15, "f"), (16, "10"), (0x1a2b, "1a2b")] {
            let mut out = Vec::new();
            put_size(&mut out, size);
            assert_eq!(out, format!("{text}\r\n").as_bytes());
        }
    }
}
