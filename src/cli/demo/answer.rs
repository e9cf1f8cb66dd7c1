//! The bytes of an answer.

use std::io::Write;

use super::{date::Date, http::Version};

/// What all answers of this worker have in common.
#[derive(Debug)]
pub(super) struct Site {
    home: Vec<u8>,
    pub(super) date: Date,
    /// The worker leaves: every answer is the last of its connection.
    pub(super) draining: bool,
}

impl Site {
    /// A site whose `/` begins with the line `who`.
    pub(super) fn new(who: &str) -> Self {
        let home = format!(
            "{who}\n\nGET  /slow?ms=500    answers after 500 ms\nGET  /bytes?n=1000   answers 1000 bytes\n\
             POST /echo           answers what was sent\n"
        );
        Self { home: home.into(), date: Date::default(), draining: false }
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    BadRequest,
    NotFound,
    MethodNotAllowed { allow: &'static str },
    ContentTooLarge,
    UriTooLong,
    FieldsTooLarge,
    NotImplemented,
    VersionNotSupported,
}

impl Status {
    /// Code and reason.
    fn line(self) -> &'static str {
        match self {
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed { .. } => "405 Method Not Allowed",
            Self::ContentTooLarge => "413 Content Too Large",
            Self::UriTooLong => "414 URI Too Long",
            Self::FieldsTooLarge => "431 Request Header Fields Too Large",
            Self::NotImplemented => "501 Not Implemented",
            Self::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}

/// How to answer one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manner {
    pub(super) version: Version,
    /// Another request may follow.
    pub(super) keep_alive: bool,
    /// HEAD: everything but the body.
    pub(super) head_only: bool,
}

impl Manner {
    /// For what could not be read as a request.
    pub(super) const LAST: Self = Self { version: Version::Http11, keep_alive: false, head_only: false };
}

pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Answers `/`.
pub(super) fn home(out: &mut Vec<u8>, site: &Site, manner: Manner) {
    text(out, site, manner, &site.home);
}

/// Answers with a text.
pub(super) fn text(out: &mut Vec<u8>, site: &Site, manner: Manner, body: &[u8]) {
    head(out, site, manner, "text/plain; charset=utf-8", body.len() as u64);
    if !manner.head_only {
        out.extend_from_slice(body);
    }
}

/// Answers with what the client sent.
pub(super) fn echo(out: &mut Vec<u8>, site: &Site, manner: Manner, body: &[u8]) {
    head(out, site, manner, "application/octet-stream", body.len() as u64);
    out.extend_from_slice(body);
}

/// The head of an answer of `length` bytes.
pub(super) fn head(out: &mut Vec<u8>, site: &Site, manner: Manner, kind: &str, length: u64) {
    start(out, site, manner, "200 OK");
    fields(out, kind, length);
}

/// Refuses a request.
pub(super) fn refusal(out: &mut Vec<u8>, site: &Site, manner: Manner, status: Status) {
    let line = status.line();
    start(out, site, manner, line);
    if let Status::MethodNotAllowed { allow } = status {
        // Writing to memory cannot fail, here and below.
        let _ = write!(out, "Allow: {allow}\r\n");
    }
    fields(out, "text/plain; charset=utf-8", line.len() as u64 + 1);
    if !manner.head_only {
        let _ = writeln!(out, "{line}");
    }
}

fn start(out: &mut Vec<u8>, site: &Site, manner: Manner, status: &str) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_bytes());
    out.extend_from_slice(b"\r\nServer: pointsman-demo\r\nDate: ");
    out.extend_from_slice(site.date.as_bytes());
    out.extend_from_slice(match (manner.keep_alive, manner.version) {
        (true, Version::Http11) => b"\r\n".as_slice(),
        (true, Version::Http10) => b"\r\nConnection: keep-alive\r\n",
        (false, _) => b"\r\nConnection: close\r\n",
    });
}

fn fields(out: &mut Vec<u8>, kind: &str, length: u64) {
    let _ = write!(out, "Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
}

/// The body of `/bytes`, over and over: 1024 lines of 64 bytes.
pub(super) static PATTERN: [u8; 64 << 10] = pattern();

const fn pattern() -> [u8; 64 << 10] {
    const LINE: &[u8; 64] = b"0123456789 pointsman: each arriving train onto its own track ..\n";
    let mut bytes = [0; 64 << 10];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = LINE[at % LINE.len()];
        at += 1;
    }
    bytes
}
