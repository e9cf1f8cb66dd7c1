//! The head of a request -> its fields, and how its body ends.
//!
//! Bytes enter, a [`Head`] or a [`Status`] to refuse it with leaves. httparse reads the fields; where a head and a body end
//! is decided here, strictly (RFC 9112 §2.2, §3.2, §6). Nothing here knows of connections, of time, or of what is asked for.

use std::str;

use super::Status;

/// Longest head, in bytes: twice nginx's, enough for the cookies of a browser.
pub const MAX_HEAD: usize = 16 << 10;
/// Most fields in a head.
const MAX_FIELDS: usize = 64;

/// A request whose head was understood.
#[derive(Debug)]
pub struct Head<'slots, 'bytes> {
    /// Such as `GET`; methods have a case.
    pub method: &'bytes str,
    /// As it was sent, in any form.
    pub target: &'bytes str,
    /// Which HTTP/1 it is.
    pub version: Version,
    /// How the body ends.
    pub framing: Framing,
    /// The client allows another request on this connection.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    fields: &'slots [httparse::Header<'bytes>],
}

/// Room for the fields of one head.
#[derive(Debug)]
pub struct FieldSlots<'bytes>([httparse::Header<'bytes>; MAX_FIELDS]);

impl FieldSlots<'_> {
    /// All of it free.
    pub const fn new() -> Self {
        Self([httparse::EMPTY_HEADER; MAX_FIELDS])
    }
}

impl Default for FieldSlots<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// How the body of a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After the chunk that is empty.
    Chunked,
}

/// The versions that are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "their names")]
pub enum Version {
    Http10,
    Http11,
}

/// Where the head at the start of `bytes` ends, its last CRLF included; `None` when more bytes are needed.
/// `scanned` bytes were looked at before; it is set to 0 when the head is found. The caller has skipped empty lines.
pub fn find_head(bytes: &[u8], scanned: &mut usize) -> Result<Option<usize>, Status> {
    let limited = &bytes[..bytes.len().min(MAX_HEAD)];
    while let Some(found) = limited[*scanned..].iter().position(|&byte| byte == b'\n') {
        let end = *scanned + found + 1;
        let line = &limited[..end];
        // httparse takes a bare LF as the end of a line; who stands before us may not.
        if !line.ends_with(b"\r\n") {
            return Err(Status::BadRequest);
        }
        *scanned = end;
        if line.ends_with(b"\r\n\r\n") {
            *scanned = 0;
            return Ok(Some(end));
        }
    }
    if bytes.len() >= MAX_HEAD {
        return Err(if limited.contains(&b'\n') { Status::FieldsTooLarge } else { Status::UriTooLong });
    }
    *scanned = limited.len();
    Ok(None)
}

impl<'slots, 'bytes> Head<'slots, 'bytes> {
    /// Reads a whole head. An error means that nothing behind it on the connection can be trusted.
    pub fn parse(head: &'bytes [u8], slots: &'slots mut FieldSlots<'bytes>) -> Result<Self, Status> {
        let mut request = httparse::Request::new(&mut slots.0);
        match request.parse(head) {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {}
            Ok(_) => return Err(Status::BadRequest),
            Err(httparse::Error::TooManyHeaders) => return Err(Status::FieldsTooLarge),
            Err(httparse::Error::Version) => return Err(Status::VersionNotSupported),
            Err(_) => return Err(Status::BadRequest),
        }
        let version = if request.version == Some(1) { Version::Http11 } else { Version::Http10 };
        let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
        let fields: &'slots [_] = request.headers;
        let known = Known::read(fields)?;
        // RFC 9112 §3.2: exactly one Host; only HTTP/1.0 may have none.
        if known.hosts > 1 || (known.hosts == 0 && version == Version::Http11) {
            return Err(Status::BadRequest);
        }
        let framing = framing(&known, version)?;
        let keep_alive = match version {
            Version::Http11 => !known.close,
            Version::Http10 => known.keep_alive && !known.close,
        };
        let expects_continue = known.expects_continue && version == Version::Http11;
        Ok(Self { method, target, version, framing, keep_alive, expects_continue, fields })
    }

    /// The values of all fields of this name, in their order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'bytes [u8]> {
        let named = self.fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value)
    }

    /// The path and query of the target; a server must take the absolute form too (RFC 9112 §3.2.2). `None` for the
    /// others, which are for proxies (`CONNECT`) or for the server as a whole (`OPTIONS *`).
    pub fn path_and_query(&self) -> Option<(&'bytes str, &'bytes str)> {
        let target = origin_form(self.target)?;
        Some(target.split_once('?').unwrap_or((target, "")))
    }
}

/// The fields that matter here.
#[derive(Default)]
struct Known<'a> {
    content_length: Option<&'a [u8]>,
    transfer_encoding: Option<&'a [u8]>,
    hosts: usize,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
}

impl<'a> Known<'a> {
    fn read(fields: &[httparse::Header<'a>]) -> Result<Self, Status> {
        let mut read = Self::default();
        for field in fields {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            // RFC 9112 §6.3: a second one, even if it says the same, may be read differently by another.
            if is("content-length") && read.content_length.replace(field.value).is_some()
                || is("transfer-encoding") && read.transfer_encoding.replace(field.value).is_some()
            {
                return Err(Status::BadRequest);
            }
            if is("host") {
                read.hosts += 1;
            } else if is("expect") {
                read.expects_continue |= field.value.eq_ignore_ascii_case(b"100-continue");
            } else if is("connection") {
                for token in field.value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                    read.close |= token.eq_ignore_ascii_case(b"close");
                    read.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                }
            }
        }
        Ok(read)
    }
}

/// RFC 9112 §6.3.
fn framing(fields: &Known<'_>, version: Version) -> Result<Framing, Status> {
    match (fields.transfer_encoding, fields.content_length) {
        // §6.1: both, or a coding from a client that cannot know it, is how requests are smuggled.
        (Some(_), Some(_)) => Err(Status::BadRequest),
        (Some(_), None) if version == Version::Http10 => Err(Status::BadRequest),
        (Some(coding), None) => match coding.trim_ascii().rsplit(|&byte| byte == b',').next() {
            Some(last) if !last.trim_ascii().eq_ignore_ascii_case(b"chunked") => Err(Status::BadRequest),
            _ if coding.contains(&b',') => Err(Status::NotImplemented),
            _ => Ok(Framing::Chunked),
        },
        (None, Some(length)) => number(length).map(Framing::Length).ok_or(Status::BadRequest),
        (None, None) => Ok(Framing::Length(0)),
    }
}

/// Digits and nothing else; Rust would also take a sign.
pub fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| str::from_utf8(text).ok()?.parse().ok()).flatten()
}

fn origin_form(target: &str) -> Option<&str> {
    const SCHEME: &str = "http://";
    if target.starts_with('/') {
        return Some(target);
    }
    let rest = target.get(SCHEME.len()..).filter(|_| target[..SCHEME.len()].eq_ignore_ascii_case(SCHEME))?;
    let path = rest.find(['/', '?']).map_or("/", |at| &rest[at..]);
    Some(if path.starts_with('/') { path } else { "/" })
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
