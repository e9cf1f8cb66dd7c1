//! The bytes of a request's body, unframed.
//!
//! Bytes enter as they come, payload leaves. Strict about RFC 9112 §7.1: CRLF alone ends a line, a size has digits
//! and does not wrap, and everything that is skipped has a limit.

use pointsman::http::{Framing, Status};

use super::http::MAX_BODY;

/// Longest extension of one chunk, and longest trailer section, in bytes. Both are skipped: nobody here reads them.
const MAX_SKIPPED: usize = 4 << 10;

/// Reads one body.
#[derive(Debug)]
pub(super) struct Body {
    state: State,
    /// Payload so far.
    length: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes of a `Content-Length` are missing.
    Length {
        left: u64,
    },
    /// Within a chunk size; `digits` of it are read.
    Size {
        value: u64,
        digits: u8,
    },
    Extension {
        value: u64,
        skipped: usize,
    },
    SizeLf {
        value: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// At the start of a line of the trailer section.
    TrailerLine {
        skipped: usize,
    },
    Trailer {
        skipped: usize,
    },
    TrailerLf {
        skipped: usize,
    },
    EndLf,
    End,
}

/// What a call of [`Body::read`] used up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) used: usize,
    pub(super) ended: bool,
}

impl Body {
    pub(super) fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::End,
            Framing::Length(left) => State::Length { left },
            Framing::Chunked => State::Size { value: 0, digits: 0 },
        };
        Self { state, length: 0 }
    }

    /// Takes what belongs to the body from the front of `bytes` and gives its payload to `sink`.
    pub(super) fn read(&mut self, bytes: &[u8], mut sink: impl FnMut(&[u8])) -> Result<Progress, Status> {
        let mut used = 0;
        while self.state != State::End && used < bytes.len() {
            let rest = &bytes[used..];
            used += match &mut self.state {
                State::Length { left } | State::Data { left } => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    sink(&rest[..count]);
                    *left -= count as u64;
                    self.state = match self.state {
                        State::Length { left: 0 } => State::End,
                        State::Data { left: 0 } => State::DataCr,
                        unfinished => unfinished,
                    };
                    count
                }
                framing => {
                    *framing = step(*framing, rest[0])?;
                    if let State::Data { left } = *framing {
                        self.length = self.length.saturating_add(left);
                        if self.length > MAX_BODY {
                            return Err(Status::ContentTooLarge);
                        }
                    }
                    1
                }
            };
        }
        Ok(Progress { used, ended: self.state == State::End })
    }
}

/// One byte of chunked framing. `chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF`.
fn step(state: State, byte: u8) -> Result<State, Status> {
    let next = match (state, byte) {
        (State::Size { value, digits }, _) if byte.is_ascii_hexdigit() && digits < 16 => {
            let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
            State::Size { value: value << 4 | digit, digits: digits + 1 }
        }
        (State::Size { value, digits: 1.. }, b'\r') => State::SizeLf { value },
        (State::Size { value, digits: 1.. }, b';') => State::Extension { value, skipped: 0 },
        (State::Extension { value, .. }, b'\r') => State::SizeLf { value },
        (State::Extension { value, skipped }, _) if is_text(byte) && skipped < MAX_SKIPPED => {
            State::Extension { value, skipped: skipped + 1 }
        }
        (State::SizeLf { value: 0 }, b'\n') => State::TrailerLine { skipped: 0 },
        (State::SizeLf { value }, b'\n') => State::Data { left: value },
        (State::DataCr, b'\r') => State::DataLf,
        (State::DataLf, b'\n') => State::Size { value: 0, digits: 0 },
        (State::TrailerLine { .. }, b'\r') => State::EndLf,
        (State::EndLf, b'\n') => State::End,
        (State::Trailer { skipped }, b'\r') => State::TrailerLf { skipped },
        (State::TrailerLf { skipped }, b'\n') => State::TrailerLine { skipped },
        (State::TrailerLine { skipped } | State::Trailer { skipped }, _)
            if is_text(byte) && skipped < MAX_SKIPPED =>
        {
            State::Trailer { skipped: skipped + 1 }
        }
        _ => return Err(Status::BadRequest),
    };
    Ok(next)
}

/// What may stand in a field's value: no control byte but the tab.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In every cut: the payload, and how many of the bytes are left over for the next request.
    fn check(framing: Framing, bytes: &[u8], expected: Result<(&[u8], usize), Status>) {
        let shown = String::from_utf8_lossy(bytes);
        for cut in 0..=bytes.len() {
            let mut body = Body::new(framing);
            let mut payload = Vec::new();
            let mut read = |bytes: &[u8]| body.read(bytes, |piece| payload.extend_from_slice(piece));
            let first = read(&bytes[..cut]);
            let result = first.and_then(|first| match first.ended {
                true => Ok(first.used),
                false => {
                    assert_eq!(first.used, cut, "{shown}: all is taken until the end");
                    let second = read(&bytes[cut..])?;
                    assert!(second.ended, "{shown}: unfinished");
                    Ok(cut + second.used)
                }
            });
            let result = result.map(|used| (payload.as_slice(), bytes.len() - used));
            assert_eq!(result, expected, "{shown} cut at {cut}");
        }
    }

    #[test]
    fn lengths() {
        check(Framing::Length(0), b"GET", Ok((b"", 3)));
        check(Framing::Length(3), b"abcGET", Ok((b"abc", 3)));
    }

    #[test]
    fn chunks() {
        let check = |text: &str, expected| check(Framing::Chunked, text.as_bytes(), expected);
        check("0\r\n\r\nGET", Ok((b"", 3)));
        check("3\r\nabc\r\n00A;x=\"y\"\r\n0123456789\r\n0\r\n\r\n", Ok((b"abc0123456789", 0)));
        check("1;\r\na\r\n0000000000000000;e\r\nTrailer: 1\r\nB:\r\n\r\nG", Ok((b"a", 1)));
    }

    #[test]
    fn chunks_that_another_could_read_differently() {
        for text in [
            "\r\n",
            ";\r\n",
            "-1\r\n",
            "+1\r\na\r\n0\r\n\r\n",
            "0x1\r\n",
            "1 \r\n",
            " 1\r\n",
            "1\na\r\n0\r\n\r\n",
            "1\r\na\n0\r\n\r\n",
            "1\r\nab\r\n",
            "1\r\na0\r\n\r\n",
            "1;\n\r\n",
            "1;\0\r\n",
            "1\r\r\na",
            "10000000000000000\r\n",
            "0\r\nA: b\n\r\n",
            "0\r\n\r\r\n",
            "0\r\n\n",
        ] {
            check(Framing::Chunked, text.as_bytes(), Err(Status::BadRequest));
        }
    }

    #[test]
    fn limits() {
        check(Framing::Chunked, b"1000001\r\n", Err(Status::ContentTooLarge));
        check(Framing::Chunked, b"1\r\na\r\nffffffffffffffff\r\n", Err(Status::ContentTooLarge));
        let long = |start: &str| {
            let bytes = [start.as_bytes(), &[b'a'; MAX_SKIPPED + 1]].concat();
            Body::new(Framing::Chunked).read(&bytes, |_| ()).unwrap_err()
        };
        assert_eq!(long("1;"), Status::BadRequest);
        assert_eq!(long("0\r\n"), Status::BadRequest);
        assert_eq!(long("0\r\na\r\n"), Status::BadRequest, "all lines count together");
    }
}
