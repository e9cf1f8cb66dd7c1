//! Heads of answers -> bytes, in the order in which they are written: `start`, any `field`s, `end`, and then the body.

use std::fmt;

use super::{Head, Status, Version, put};

/// What lets a client send its body that has waited to be told so (RFC 9110 §10.1.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How to answer one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Manner {
    /// That of the request.
    pub version: Version,
    /// Another request may follow.
    pub keep_alive: bool,
    /// HEAD: everything but the body.
    pub head_only: bool,
}

impl Manner {
    /// For what could not be read as a request.
    pub const LAST: Self = Self { version: Version::Http11, keep_alive: false, head_only: false };

    /// As a request wants it.
    pub fn of(head: &Head<'_, '_>) -> Self {
        Self { version: head.version, keep_alive: head.keep_alive, head_only: head.method == "HEAD" }
    }
}

/// Begins a head. `server` is what answers, and `date` is that of [`Date`](super::Date).
pub fn start(out: &mut Vec<u8>, status: Status, manner: Manner, server: &str, date: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.line().as_bytes());
    out.extend_from_slice(b"\r\nServer: ");
    out.extend_from_slice(server.as_bytes());
    out.extend_from_slice(b"\r\nDate: ");
    out.extend_from_slice(date);
    out.extend_from_slice(match (manner.keep_alive, manner.version) {
        (true, Version::Http11) => b"\r\n".as_slice(),
        (true, Version::Http10) => b"\r\nConnection: keep-alive\r\n",
        (false, _) => b"\r\nConnection: close\r\n",
    });
    if let Status::MethodNotAllowed { allow } = status {
        field(out, "Allow", allow);
    }
}

/// Adds a field. Its value has no line feed.
pub fn field(out: &mut Vec<u8>, name: &str, value: impl fmt::Display) {
    put(out, format_args!("{name}: {value}\r\n"));
}

/// Ends a head whose body has so many bytes.
pub fn end(out: &mut Vec<u8>, kind: &str, length: u64) {
    put(out, format_args!("Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(status: Status, manner: Manner) -> String {
        let mut out = Vec::new();
        start(&mut out, status, manner, "test", b"now");
        field(&mut out, "X", 1);
        end(&mut out, "text/plain", 0);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_head_says_whether_the_connection_goes_on() {
        let rest = "X: 1\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n";
        for (version, keep_alive, connection) in [
            (Version::Http11, true, ""),
            (Version::Http10, true, "Connection: keep-alive\r\n"),
            (Version::Http11, false, "Connection: close\r\n"),
            (Version::Http10, false, "Connection: close\r\n"),
        ] {
            let manner = Manner { version, keep_alive, head_only: false };
            let expected = format!("HTTP/1.1 200 OK\r\nServer: test\r\nDate: now\r\n{connection}{rest}");
            assert_eq!(written(Status::Ok, manner), expected);
        }
    }

    #[test]
    fn a_refused_method_is_told_those_that_are_not() {
        let text = written(Status::MethodNotAllowed { allow: "GET, HEAD" }, Manner::LAST);
        assert!(text.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{text}");
        assert!(text.contains("\r\nAllow: GET, HEAD\r\n"), "{text}");
    }
}
