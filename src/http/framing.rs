//! Where a message ends: the one place that decides it, for requests and for answers (RFC 9112 §6).

use super::Version;

/// What is to be framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// A request.
    Request {
        /// Of its first line.
        version: Version,
    },
    /// An answer. Those to `CONNECT` are not foreseen: it is refused.
    Answer {
        /// Of its first line.
        version: Version,
        /// Its three digits.
        code: u16,
        /// The request was `HEAD`.
        to_head: bool,
        /// The request asked for another protocol.
        upgrade: bool,
    },
}

/// What the fields of a message say of its length.
#[derive(Debug, Clone, Copy, Default)]
pub struct Declared<'a> {
    /// The value of `Transfer-Encoding`.
    pub transfer_encoding: Option<&'a [u8]>,
    /// The value of `Content-Length`.
    pub content_length: Option<&'a [u8]>,
    /// One of them is there more than once.
    pub repeated: bool,
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none, whatever the fields say.
    Nothing,
    /// After so many bytes.
    Known(u64),
    /// After the chunk that is empty.
    Chunked,
    /// With the connection.
    UntilClose,
    /// Never: the connection is another protocol's from here on.
    Tunnel,
}

/// Why the end of a message is in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It can be read in two ways, or in none.
    Ambiguous,
    /// By a coding that is not known here.
    UnknownCoding,
}

/// RFC 9112 §6.3, step by step; stricter where it leaves a choice, since what two servers read differently is how requests
/// are smuggled.
pub fn body_length(message: Message, declared: &Declared<'_>) -> Result<BodyLength, Refusal> {
    let version = match message {
        Message::Request { version } | Message::Answer { version, .. } => version,
    };
    let stated = match (declared.transfer_encoding, declared.content_length) {
        // 5, and §6.3 of a coding: a second one, even if it says the same, may be read differently by another.
        _ if declared.repeated => return Err(Refusal::Ambiguous),
        // 3. Both.
        (Some(_), Some(_)) => return Err(Refusal::Ambiguous),
        // §6.1: a coding from somebody who cannot know it.
        (Some(_), None) if version == Version::Http10 => return Err(Refusal::Ambiguous),
        // 4. A coding.
        (Some(coding), None) => {
            chunked_alone(coding)?;
            Some(BodyLength::Chunked)
        }
        // 5 and 6. A length, if it is one.
        (None, Some(length)) => Some(BodyLength::Known(number(length).ok_or(Refusal::Ambiguous)?)),
        (None, None) => None,
    };
    match message {
        // 7. A request that says nothing has no body.
        Message::Request { .. } => Ok(stated.unwrap_or(BodyLength::Known(0))),
        // 2, in the sense of §7.8 of RFC 9110: only who was asked may change the protocol.
        Message::Answer { code: 101, upgrade: true, .. } => Ok(BodyLength::Tunnel),
        Message::Answer { code: 101, upgrade: false, .. } => Err(Refusal::Ambiguous),
        // 1. No body, whatever the fields say.
        Message::Answer { to_head: true, .. } | Message::Answer { code: 100..=199 | 204 | 304, .. } => {
            Ok(BodyLength::Nothing)
        }
        // 8. An answer that says nothing ends with its connection.
        Message::Answer { .. } => Ok(stated.unwrap_or(BodyLength::UntilClose)),
    }
}

/// `chunked` must come last, and no other coding is known here.
fn chunked_alone(coding: &[u8]) -> Result<(), Refusal> {
    match coding.trim_ascii().rsplit(|&byte| byte == b',').next() {
        Some(last) if !last.trim_ascii().eq_ignore_ascii_case(b"chunked") => Err(Refusal::Ambiguous),
        _ if coding.contains(&b',') => Err(Refusal::UnknownCoding),
        _ => Ok(()),
    }
}

/// Digits and nothing else; Rust would also take a sign.
pub fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |sum, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared<'a>(coding: Option<&'a str>, length: Option<&'a str>) -> Declared<'a> {
        let bytes = |text: Option<&'a str>| text.map(str::as_bytes);
        Declared { transfer_encoding: bytes(coding), content_length: bytes(length), repeated: false }
    }

    fn answer(code: u16, to_head: bool, upgrade: bool) -> Message {
        Message::Answer { version: Version::Http11, code, to_head, upgrade }
    }

    #[test]
    fn answers_end_as_they_must() {
        let known = declared(None, Some("5"));
        let chunked = declared(Some("chunked"), None);
        let none = declared(None, None);
        for (message, fields, expected) in [
            (answer(200, false, false), known, Ok(BodyLength::Known(5))),
            (answer(200, false, false), chunked, Ok(BodyLength::Chunked)),
            (answer(200, false, false), none, Ok(BodyLength::UntilClose)),
            (answer(200, true, false), known, Ok(BodyLength::Nothing)),
            (answer(200, true, false), none, Ok(BodyLength::Nothing)),
            (answer(204, false, false), known, Ok(BodyLength::Nothing)),
            (answer(304, false, false), chunked, Ok(BodyLength::Nothing)),
            (answer(103, false, true), known, Ok(BodyLength::Nothing)),
            (answer(101, false, true), none, Ok(BodyLength::Tunnel)),
            (answer(101, false, false), none, Err(Refusal::Ambiguous)),
            (answer(101, true, false), none, Err(Refusal::Ambiguous)),
        ] {
            assert_eq!(body_length(message, &fields), expected, "{message:?} {fields:?}");
        }
        let old = Message::Answer { version: Version::Http10, code: 200, to_head: false, upgrade: false };
        assert_eq!(body_length(old, &chunked), Err(Refusal::Ambiguous));
        assert_eq!(body_length(old, &none), Ok(BodyLength::UntilClose));
    }

    #[test]
    fn doubt_is_refused_even_where_no_body_follows() {
        for message in [
            answer(200, false, false),
            answer(200, true, false),
            answer(204, false, false),
            Message::Request { version: Version::Http11 },
        ] {
            for fields in [
                declared(Some("chunked"), Some("5")),
                declared(Some("chunked, gzip"), None),
                declared(Some("identity"), None),
                declared(Some(""), None),
                declared(None, Some("5, 5")),
                declared(None, Some("")),
                declared(None, Some("+5")),
                declared(None, Some("18446744073709551616")),
                Declared { repeated: true, ..declared(None, Some("5")) },
            ] {
                assert_eq!(body_length(message, &fields), Err(Refusal::Ambiguous), "{message:?} {fields:?}");
            }
            assert_eq!(
                body_length(message, &declared(Some("gzip, chunked"), None)),
                Err(Refusal::UnknownCoding)
            );
        }
    }

    #[test]
    fn numbers_are_digits() {
        assert_eq!(number(b"007"), Some(7));
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for none in ["", "-1", "1 ", "0x5", "18446744073709551616", "99999999999999999999999"] {
            assert_eq!(number(none.as_bytes()), None, "{none}");
        }
    }
}
