//! The head of a server's answer -> its fields, and how its body ends.
//!
//! The counterpart of `head` for what stands between: bytes of an upstream enter, an [`AnswerHead`] or [`BadAnswer`] leaves.

use super::{
    FieldSlots, Fields, Name, Version,
    fields::Known,
    framing::{BodyLength, Message, body_length},
    number,
};

/// An answer whose head was understood.
#[derive(Debug)]
pub struct AnswerHead<'slots, 'bytes> {
    /// Which HTTP/1 it is.
    pub version: Version,
    /// Its three digits.
    pub code: u16,
    /// What follows them.
    pub reason: &'bytes [u8],
    /// How the body ends.
    pub length: BodyLength,
    /// The server allows another request on this connection.
    pub keep_alive: bool,
    /// `Connection` names fields that are not to be passed on.
    pub names_fields: bool,
    /// All fields.
    pub fields: Fields<'slots, 'bytes>,
}

/// The request that is answered, as far as it decides how the answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// It was `HEAD`.
    pub head: bool,
    /// It asked for another protocol.
    pub upgrade: bool,
}

/// It is no answer, or could be read in two ways: nothing on the connection can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadAnswer;

impl<'slots, 'bytes> AnswerHead<'slots, 'bytes> {
    /// Reads a whole head, with folded lines and space before a colon refused (RFC 9112 §5.1, §5.2).
    pub fn parse(
        head: &'bytes [u8],
        slots: &'slots mut FieldSlots<'bytes>,
        asked: Asked,
    ) -> Result<Self, BadAnswer> {
        // `HTTP/1.1 200`; httparse would skip empty lines before it.
        const CODE: std::ops::Range<usize> = 9..12;
        if !head.starts_with(b"HTTP/1.") {
            return Err(BadAnswer);
        }
        let mut answer = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        match config.parse_response_with_uninit_headers(&mut answer, head, &mut slots.slots) {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {}
            Ok(_) | Err(_) => return Err(BadAnswer),
        }
        let version = if answer.version == Some(1) { Version::Http11 } else { Version::Http10 };
        let code = answer.code.filter(|code| *code >= 100).ok_or(BadAnswer)?;
        let fields = Fields::new(head, answer.headers, &mut slots.names);
        let line = head.get(CODE.end..fields.begin()).ok_or(BadAnswer)?;
        let reason = line.strip_prefix(b" ").unwrap_or(line).strip_suffix(b"\r\n").ok_or(BadAnswer)?;
        let known = Known::read(fields).map_err(|_| BadAnswer)?;
        let message = Message::Answer { version, code, to_head: asked.head, upgrade: asked.upgrade };
        let length = body_length(message, &known.declared).map_err(|_| BadAnswer)?;
        Ok(Self {
            version,
            code,
            reason,
            length,
            keep_alive: !known.close && (version == Version::Http11 || known.keep_alive),
            names_fields: known.named > 0,
            fields,
        })
    }

    /// For how many seconds the server keeps the connection, if its `Keep-Alive` says so.
    pub fn keeps_for(&self) -> Option<u64> {
        self.fields.values(Name::KeepAlive).flat_map(super::fields::tokens).find_map(|token| {
            let (name, value) = token.split_at_checked(b"timeout=".len())?;
            name.eq_ignore_ascii_case(b"timeout=").then(|| number(value))?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version, code, reason, length, and whether the connection stays.
    fn read(head: &str) -> Result<(Version, u16, String, BodyLength, bool), BadAnswer> {
        let mut slots = FieldSlots::new();
        let head = AnswerHead::parse(head.as_bytes(), &mut slots, Asked { head: false, upgrade: false })?;
        let reason = String::from_utf8_lossy(head.reason).into_owned();
        Ok((head.version, head.code, reason, head.length, head.keep_alive))
    }

    #[test]
    fn answers() {
        let (new, old) = (Version::Http11, Version::Http10);
        for (head, version, code, reason, length, stays) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", new, 200, "OK", BodyLength::Known(3), true),
            ("HTTP/1.1 200\r\n\r\n", new, 200, "", BodyLength::UntilClose, true),
            ("HTTP/1.1 200 \r\nConnection: close\r\n\r\n", new, 200, "", BodyLength::UntilClose, false),
            (
                "HTTP/1.0 404 Not  here\u{e4}\r\n\r\n",
                old,
                404,
                "Not  here\u{e4}",
                BodyLength::UntilClose,
                false,
            ),
            ("HTTP/1.0 204 No\r\nConnection: Keep-Alive\r\n\r\n", old, 204, "No", BodyLength::Nothing, true),
            (
                "HTTP/1.1 999 x\r\nTransfer-Encoding: chunked\r\n\r\n",
                new,
                999,
                "x",
                BodyLength::Chunked,
                true,
            ),
        ] {
            assert_eq!(read(head), Ok((version, code, reason.to_owned(), length, stays)), "{head:?}");
        }
    }

    #[test]
    fn what_is_none() {
        for head in [
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
            "HTTP/1.1 200 O\0K\r\n\r\n",
            "HTTP/1.1 099 x\r\n\r\n",
            "HTTP/1.1 20 x\r\n\r\n",
            "HTTP/1.1 2000 x\r\n\r\n",
            "HTTP/1.1  200 x\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 101 Switching\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert_eq!(read(head), Err(BadAnswer), "{head:?}");
        }
    }

    #[test]
    fn how_long_a_server_waits() {
        let keeps = |field: &str| {
            let head = format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n");
            let mut slots = FieldSlots::new();
            let asked = Asked { head: false, upgrade: false };
            AnswerHead::parse(head.as_bytes(), &mut slots, asked).unwrap().keeps_for()
        };
        assert_eq!(keeps("Keep-Alive: timeout=5"), Some(5));
        assert_eq!(keeps("keep-alive: max=3, Timeout=72"), Some(72));
        assert_eq!(keeps("Keep-Alive: timeout=x"), None);
        assert_eq!(keeps("X: timeout=5"), None);
    }
}
