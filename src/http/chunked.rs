//! Bytes of a body in the chunked coding -> which of them are data (RFC 9112 §7.1).
//!
//! Nothing is kept here but where it stands: lines are looked at when they are whole, so who calls gives again what was
//! not used, with more behind it. Strict: a line ends with CRLF, a size has digits and does not wrap, and all that is not
//! data has a limit.

use super::Name;

/// Digits of a size: those of 64 bits.
const MAX_DIGITS: usize = 16;
/// Bytes of all extensions of a body together. Nobody sends any, but every chunk may have one.
const MAX_EXTENSIONS: usize = 16 << 10;
/// Longest line of a size, its CRLF included.
const MAX_SIZE_LINE: usize = 1 << 10;
/// Bytes of the trailer section.
const MAX_TRAILERS: usize = 8 << 10;
/// Fields in it.
const MAX_TRAILER_FIELDS: u32 = 64;

/// Reads one body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunked {
    state: State,
    /// Bytes of the line that begins with the input that were searched for its end.
    scanned: usize,
    extensions_left: usize,
    trailers_left: usize,
    fields_left: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Data { left: u64 },
    DataEnd,
    Trailers,
    Done,
}

/// What the next bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The line with a size; the last one says 0. `plain` if there is nothing but the size in it.
    Size {
        /// Bytes of data that follow.
        size: u64,
        /// It has no extension.
        plain: bool,
    },
    /// Data.
    Data,
    /// The end of a line behind data.
    DataEnd,
    /// A line of the trailer section.
    Trailer {
        /// It may be passed on in a trailer section.
        harmless: bool,
    },
    /// The empty line at the end. Nothing follows.
    End,
}

/// It is not the chunked coding, or too much beside the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl Default for Chunked {
    fn default() -> Self {
        Self {
            state: State::Size,
            scanned: 0,
            extensions_left: MAX_EXTENSIONS,
            trailers_left: MAX_TRAILERS,
            fields_left: MAX_TRAILER_FIELDS,
        }
    }
}

impl Chunked {
    /// What `input` begins with, and how many bytes that is; `None` if that cannot be told before more is there.
    pub fn next(&mut self, input: &[u8]) -> Result<Option<(Part, usize)>, Malformed> {
        match self.state {
            State::Size => self.size(input),
            State::Data { left } => Ok(self.data(input, left)),
            State::DataEnd => match input {
                [] | [b'\r'] => Ok(None),
                [b'\r', b'\n', ..] => {
                    self.state = State::Size;
                    Ok(Some((Part::DataEnd, 2)))
                }
                _ => Err(Malformed),
            },
            State::Trailers => self.trailer(input),
            State::Done => Ok(None),
        }
    }

    /// All of it was there.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    fn size(&mut self, input: &[u8]) -> Result<Option<(Part, usize)>, Malformed> {
        let Some(line) = self.line(input, MAX_SIZE_LINE)? else { return Ok(None) };
        let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
        if digits == 0 || digits > MAX_DIGITS {
            return Err(Malformed);
        }
        let (number, extension) = line.split_at(digits);
        let size = number.iter().fold(0, |sum, &digit| sum << 4 | u64::from(hex(digit)));
        if !is_extension(extension) {
            return Err(Malformed);
        }
        self.extensions_left = self.extensions_left.checked_sub(extension.len()).ok_or(Malformed)?;
        self.state = if size == 0 { State::Trailers } else { State::Data { left: size } };
        Ok(Some((Part::Size { size, plain: extension.is_empty() }, line.len() + 2)))
    }

    fn data(&mut self, input: &[u8], left: u64) -> Option<(Part, usize)> {
        let length = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let left = left - u64::try_from(length).unwrap_or(left);
        self.state = if left == 0 { State::DataEnd } else { State::Data { left } };
        (length > 0).then_some((Part::Data, length))
    }

    fn trailer(&mut self, input: &[u8]) -> Result<Option<(Part, usize)>, Malformed> {
        let Some(line) = self.line(input, self.trailers_left)? else { return Ok(None) };
        let length = line.len() + 2;
        if line.is_empty() {
            self.state = State::Done;
            return Ok(Some((Part::End, length)));
        }
        self.trailers_left = self.trailers_left.saturating_sub(length);
        self.fields_left = self.fields_left.checked_sub(1).ok_or(Malformed)?;
        let colon = memchr::memchr(b':', line).ok_or(Malformed)?;
        let (name, value) = line.split_at(colon);
        let sound =
            !name.is_empty() && name.iter().copied().all(is_token) && value.iter().copied().all(is_text);
        let name = str::from_utf8(name).ok().filter(|_| sound).ok_or(Malformed)?;
        Ok(Some((Part::Trailer { harmless: Name::of(name).may_trail(name) }, length)))
    }

    /// The first line of the input without its CRLF; `max` with it.
    fn line<'a>(&mut self, input: &'a [u8], max: usize) -> Result<Option<&'a [u8]>, Malformed> {
        let limited = &input[..input.len().min(max)];
        let unseen = limited.get(self.scanned..).unwrap_or_default();
        match memchr::memchr(b'\n', unseen) {
            Some(found) => {
                let end = std::mem::take(&mut self.scanned) + found;
                limited[..end].strip_suffix(b"\r").map(Some).ok_or(Malformed)
            }
            None if limited.len() == max => Err(Malformed),
            None => {
                self.scanned = limited.len();
                Ok(None)
            }
        }
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A') + 10,
    }
}

/// `*( ";" name [ "=" value ] )`. The grammar allows space around the marks, and asks that it be taken; it was never seen
/// but in attacks, since some take what is behind it for another size, so it is refused.
fn is_extension(mut text: &[u8]) -> bool {
    while let Some((&mark, rest)) = text.split_first() {
        let name = rest.iter().take_while(|byte| is_token(**byte)).count();
        if mark != b';' || name == 0 {
            return false;
        }
        text = &rest[name..];
        if let [b'=', value @ ..] = text {
            let length = match value {
                [b'"', ..] => quoted(value),
                _ => value.iter().take_while(|byte| is_token(**byte)).count(),
            };
            if length == 0 {
                return false;
            }
            text = &value[length..];
        }
    }
    true
}

/// The length of the quoted string at the front, or 0.
fn quoted(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => match text.get(at + 1) {
                Some(&next) if is_text(next) => at += 2,
                _ => return 0,
            },
            _ if is_text(byte) => at += 1,
            _ => return 0,
        }
    }
    0
}

/// `tchar` of RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What a value of a field may be made of, the space within and around it included.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
#[path = "chunked_tests.rs"]
mod tests;
