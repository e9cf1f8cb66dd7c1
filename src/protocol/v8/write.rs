//! Values -> bytes, as V8 would write them in version 13.

use serde_json::Value;

use super::{OLDEST, tag};

/// What a frame begins with.
pub(crate) fn write_header(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xFF, OLDEST]);
}

/// Appends values to a frame.
#[derive(Debug)]
pub(crate) struct Writer<'o> {
    pub(crate) out: &'o mut Vec<u8>,
    /// Where the frame's header is: characters of two bytes stand at even places from there.
    pub(crate) start: usize,
}

impl Writer<'_> {
    pub(crate) fn null(&mut self) {
        self.out.push(tag::NULL);
    }

    pub(crate) fn truth(&mut self, truth: bool) {
        self.out.push(if truth { tag::TRUE } else { tag::FALSE });
    }

    pub(crate) fn number(&mut self, number: f64) {
        #[expect(clippy::cast_possible_truncation, reason = "only used if nothing is lost")]
        let small = number as i32;
        if f64::from(small).to_bits() == number.to_bits() {
            self.out.push(tag::INT);
            self.varint(zigzag(small));
        } else {
            self.out.push(tag::DOUBLE);
            self.out.extend_from_slice(&number.to_le_bytes());
        }
    }

    pub(crate) fn text(&mut self, text: &str) {
        if text.is_ascii() {
            self.string(tag::ONE_BYTE, text.len(), text.bytes());
        } else if text.chars().all(|letter| u32::from(letter) <= 0xFF) {
            let bytes = text.chars().map(|letter| u8::try_from(letter).unwrap_or(b'?'));
            self.string(tag::ONE_BYTE, text.chars().count(), bytes);
        } else {
            let length = text.encode_utf16().count() * 2;
            let before = self.out.len() - self.start + 1 + varint_length(length);
            if before % 2 == 1 {
                self.out.push(tag::PADDING);
            }
            self.string(tag::TWO_BYTE, length, text.encode_utf16().flat_map(u16::to_le_bytes));
        }
    }

    pub(crate) fn object_begins(&mut self) {
        self.out.push(tag::OBJECT);
    }

    pub(crate) fn object_ends(&mut self, fields: u32) {
        self.out.push(tag::OBJECT_END);
        self.varint(fields);
    }

    pub(crate) fn array_begins(&mut self, length: usize) {
        self.out.push(tag::ARRAY);
        self.count(length);
    }

    pub(crate) fn array_ends(&mut self, length: usize) {
        self.out.extend_from_slice(&[tag::ARRAY_END, 0]);
        self.count(length);
    }

    pub(crate) fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.null(),
            Value::Bool(truth) => self.truth(*truth),
            // Every number is one of 64 bits to JavaScript.
            Value::Number(number) => self.number(number.as_f64().unwrap_or(f64::NAN)),
            Value::String(text) => self.text(text),
            Value::Array(elements) => {
                self.array_begins(elements.len());
                elements.iter().for_each(|element| self.value(element));
                self.array_ends(elements.len());
            }
            Value::Object(fields) => {
                self.object_begins();
                for (name, value) in fields {
                    self.text(name);
                    self.value(value);
                }
                self.out.push(tag::OBJECT_END);
                self.count(fields.len());
            }
        }
    }

    fn string(&mut self, tag: u8, length: usize, bytes: impl Iterator<Item = u8>) {
        self.out.push(tag);
        self.count(length);
        self.out.extend(bytes);
    }

    fn count(&mut self, count: usize) {
        // What is so large is refused by the channel.
        self.varint(u32::try_from(count).unwrap_or(u32::MAX));
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.out.push(value.to_le_bytes()[0]);
    }
}

fn zigzag(value: i32) -> u32 {
    (value << 1 ^ value >> 31).cast_unsigned()
}

fn varint_length(value: usize) -> usize {
    let bits = usize::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}
