//! A head, copied in long runs around what is left out or written anew.

use std::ops::Range;

use crate::http::{Field, Fields, Name};

/// Copies `head`; what is not skipped is copied when something behind it is.
#[derive(Debug)]
pub(super) struct Copier<'a> {
    head: &'a [u8],
    from: usize,
}

impl<'a> Copier<'a> {
    /// Of what begins at `from`.
    pub(super) fn new(head: &'a [u8], from: usize) -> Self {
        Self { head, from }
    }

    /// Copies all before a line that is left out.
    pub(super) fn skip(&mut self, out: &mut Vec<u8>, line: Range<usize>) {
        self.copy(out, line.start);
        self.from = line.end;
    }

    /// Copies all before `end`.
    pub(super) fn copy(&mut self, out: &mut Vec<u8>, end: usize) {
        out.extend_from_slice(self.head.get(self.from..end).unwrap_or_default());
        self.from = end;
    }
}

/// Whether a field is for the next hop alone (RFC 9110 §7.6.1), or `Connection` says so. `Upgrade` is the caller's.
pub(super) fn is_for_us(field: &Field<'_>, names_fields: bool, fields: Fields<'_, '_>) -> bool {
    match field.name {
        Name::Connection | Name::KeepAlive | Name::ProxyConnection | Name::Te => true,
        name => names_fields && name.may_be_named(field.text) && fields.is_named(field.text),
    }
}

/// Adds a line.
pub(super) fn put_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes a number.
pub(super) fn put_number(out: &mut Vec<u8>, number: u64) {
    let (mut digits, mut at, mut left) = ([0; 20], 20, number);
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10).to_le_bytes()[0];
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_elsewhere() {
        for number in [0, 9, 10, 12_345, u64::MAX] {
            let mut out = Vec::new();
            put_number(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
