//! What values are made of: numbers, strings and how many bytes there are, with a bound to what is read.

use super::{NEWEST, OLDEST, Text, V8Error, tag};
use crate::protocol::frame::MAX_FRAME;

/// Bytes of the header.
pub(super) const HEADER: usize = 2;

pub(super) type Result<T, E = V8Error> = std::result::Result<T, E>;

/// A frame and a place in it.
#[derive(Debug, Clone)]
pub(super) struct Bytes<'a> {
    frame: &'a [u8],
    at: usize,
    /// Bytes that were read, those that were read again too.
    walked: usize,
}

/// Its absolute value, the lowest byte first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct BigInt<'a> {
    pub(super) negative: bool,
    pub(super) bytes: &'a [u8],
}

impl<'a> Bytes<'a> {
    pub(super) fn new(frame: &'a [u8], at: usize) -> Self {
        Self { frame, at, walked: 0 }
    }

    pub(super) fn frame(&self) -> &'a [u8] {
        self.frame
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn left(&self) -> usize {
        self.frame.len() - self.at
    }

    /// Goes to another place, and says where it was.
    pub(super) fn move_to(&mut self, at: usize) -> usize {
        std::mem::replace(&mut self.at, at)
    }

    pub(super) fn header(&mut self) -> Result<()> {
        match self.frame.get(..HEADER) {
            Some([0xFF, OLDEST..=NEWEST]) => self.take(HEADER).map(|_| ()),
            Some([0xFF, version]) => Err(V8Error::Version(*version)),
            _ => Err(V8Error::NoHeader),
        }
    }

    /// The version of the frame, whose header was checked.
    pub(super) fn version(&self) -> u8 {
        self.frame.get(1).copied().unwrap_or(OLDEST)
    }

    /// The byte that comes next.
    pub(super) fn peek(&self) -> Option<&u8> {
        self.frame.get(self.at)
    }

    /// A number that may be negative: those near zero are short.
    pub(super) fn int(&mut self) -> Result<i32> {
        let zigzag = self.varint()?;
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    pub(super) fn expect_text(&mut self) -> Result<Text<'a>> {
        self.pass_padding()?;
        let at = self.at;
        match self.byte()? {
            kind @ (tag::ONE_BYTE | tag::TWO_BYTE | tag::UTF8) => self.text(kind),
            tag => Err(V8Error::Unsupported { tag, at }),
        }
    }

    pub(super) fn text(&mut self, kind: u8) -> Result<Text<'a>> {
        let at = self.at;
        let length = self.varint()? as usize;
        let bytes = self.take(length)?;
        match kind {
            tag::ONE_BYTE => Ok(Text::OneByte(bytes)),
            tag::TWO_BYTE if length.is_multiple_of(2) => Ok(Text::TwoByte(bytes)),
            tag::TWO_BYTE => Err(V8Error::Malformed { what: "half a character", at }),
            _ => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Text::Utf8(text)),
                Err(_) => Err(V8Error::Malformed { what: "a string that is not UTF-8", at }),
            },
        }
    }

    pub(super) fn bigint(&mut self) -> Result<BigInt<'a>> {
        let described = self.varint()?;
        let bytes = self.take(described as usize >> 1)?;
        Ok(BigInt { negative: described & 1 == 1, bytes })
    }

    pub(super) fn double(&mut self) -> Result<f64> {
        let bytes = self.take(8)?;
        Ok(bytes.try_into().map_or(f64::NAN, f64::from_le_bytes))
    }

    pub(super) fn varint(&mut self) -> Result<u32> {
        let at = self.at;
        let mut value = 0u32;
        for shift in (0..u32::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u32::from(byte & 0x7F);
            // The fifth byte has room for four bits.
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(V8Error::Malformed { what: "a number of more than 32 bits", at })
    }

    pub(super) fn pass_padding(&mut self) -> Result<()> {
        while self.frame.get(self.at) == Some(&tag::PADDING) {
            self.byte()?;
        }
        Ok(())
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let rest = &self.frame[self.at..];
        let taken = rest.get(..count).ok_or(V8Error::Truncated)?;
        self.walked += count;
        // A frame is never longer, so this is for what comes again.
        if self.walked > MAX_FRAME {
            return Err(V8Error::TooLarge);
        }
        self.at += count;
        Ok(taken)
    }
}
