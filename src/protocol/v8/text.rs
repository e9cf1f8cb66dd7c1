//! A string as it stands in a frame, and as text.

use std::borrow::Cow;

use super::V8Error;

/// A string that has not been looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Text<'a> {
    /// Latin-1: each byte is a character.
    OneByte(&'a [u8]),
    /// UTF-16, the lower byte first; an even number of bytes.
    TwoByte(&'a [u8]),
    Utf8(&'a str),
}

impl<'a> Text<'a> {
    /// The text; borrowed if it is ASCII, as everything is that Node says to itself.
    pub(crate) fn to_str(self) -> Result<Cow<'a, str>, V8Error> {
        match self {
            Self::Utf8(text) => Ok(Cow::Borrowed(text)),
            Self::OneByte(bytes) => {
                Ok(match std::str::from_utf8(bytes).ok().filter(|text| text.is_ascii()) {
                    Some(text) => Cow::Borrowed(text),
                    None => Cow::Owned(bytes.iter().copied().map(char::from).collect()),
                })
            }
            Self::TwoByte(bytes) => {
                let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
                let text: Result<String, _> = char::decode_utf16(units).collect();
                text.map(Cow::Owned).map_err(|_| V8Error::HalfPair)
            }
        }
    }

    /// Whether it says this.
    pub(crate) fn is(self, ascii: &str) -> bool {
        match self {
            Self::OneByte(bytes) => bytes == ascii.as_bytes(),
            Self::Utf8(text) => text == ascii,
            // V8 writes ASCII so when a part of something longer was cut out.
            Self::TwoByte(_) => self.to_str().is_ok_and(|text| text == ascii),
        }
    }
}
