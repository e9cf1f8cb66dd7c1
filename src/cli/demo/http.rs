//! A request head -> what to answer and how its body ends.
//!
//! Bytes enter, a [`Request`] or a [`Status`] to refuse it with leaves. httparse reads the fields; where a head and
//! a body end is decided here, strictly (RFC 9112 §2.2, §3.2, §6). Nothing here knows of connections or of time.

use std::{str, time::Duration};

use super::answer::Status;

/// Longest head, in bytes: twice nginx's, enough for the cookies of a browser.
pub(super) const MAX_HEAD: usize = 16 << 10;
/// Most fields in a head.
const MAX_FIELDS: usize = 64;
/// Longest body, in bytes. `/echo` holds it in memory.
pub(super) const MAX_BODY: u64 = 16 << 20;
/// Longest wait of `/slow`.
const MAX_WAIT_MS: u64 = 60_000;
/// Longest body of `/bytes`.
const MAX_BYTES: u64 = 1 << 30;

/// A request whose head was understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) action: Action,
    pub(super) body: Framing,
    pub(super) version: Version,
    /// The client allows another request on this connection.
    pub(super) keep_alive: bool,
    /// HEAD: the answer is all but its body.
    pub(super) head_only: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
}

/// What to do for a request, once its body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Home,
    Slow(Duration),
    Bytes(u64),
    Echo,
    /// The head was sound, so the connection goes on.
    Refuse(Status),
}

/// How the body of a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    Chunked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Http10,
    Http11,
}

/// Where the head at the start of `bytes` ends, its last CRLF included; `None` when more bytes are needed.
/// `scanned` bytes were looked at before; it is set to 0 when the head is found. The caller has skipped empty lines.
pub(super) fn find_head(bytes: &[u8], scanned: &mut usize) -> Result<Option<usize>, Status> {
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

/// Reads a whole head. An error means that nothing behind it on the connection can be trusted.
pub(super) fn parse(head: &[u8]) -> Result<Request, Status> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(Status::BadRequest),
        Err(httparse::Error::TooManyHeaders) => return Err(Status::FieldsTooLarge),
        Err(httparse::Error::Version) => return Err(Status::VersionNotSupported),
        Err(_) => return Err(Status::BadRequest),
    }
    let version = if request.version == Some(1) { Version::Http11 } else { Version::Http10 };
    let fields = Fields::read(request.headers)?;
    // RFC 9112 §3.2: exactly one Host; only HTTP/1.0 may have none.
    if fields.hosts > 1 || (fields.hosts == 0 && version == Version::Http11) {
        return Err(Status::BadRequest);
    }
    let body = framing(&fields, version)?;
    let method = request.method.unwrap_or_default();
    let action = route(method, request.path.unwrap_or_default());
    let keep_alive = match version {
        Version::Http11 => !fields.close,
        Version::Http10 => fields.keep_alive && !fields.close,
    };
    let expects_continue = fields.expects_continue && version == Version::Http11;
    Ok(Request { action, body, version, keep_alive, head_only: method == "HEAD", expects_continue })
}

/// The fields that matter here.
#[derive(Default)]
struct Fields<'a> {
    content_length: Option<&'a [u8]>,
    transfer_encoding: Option<&'a [u8]>,
    hosts: usize,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
}

impl<'a> Fields<'a> {
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
fn framing(fields: &Fields<'_>, version: Version) -> Result<Framing, Status> {
    match (fields.transfer_encoding, fields.content_length) {
        // §6.1: both, or a coding from a client that cannot know it, is how requests are smuggled.
        (Some(_), Some(_)) => Err(Status::BadRequest),
        (Some(_), None) if version == Version::Http10 => Err(Status::BadRequest),
        (Some(coding), None) => match coding.trim_ascii().rsplit(|&byte| byte == b',').next() {
            Some(last) if !last.trim_ascii().eq_ignore_ascii_case(b"chunked") => Err(Status::BadRequest),
            _ if coding.contains(&b',') => Err(Status::NotImplemented),
            _ => Ok(Framing::Chunked),
        },
        (None, Some(length)) => match number(length).ok_or(Status::BadRequest)? {
            length if length > MAX_BODY => Err(Status::ContentTooLarge),
            length => Ok(Framing::Length(length)),
        },
        (None, None) => Ok(Framing::Length(0)),
    }
}

/// Digits and nothing else; Rust would also take a sign.
fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| str::from_utf8(text).ok()?.parse().ok()).flatten()
}

fn route(method: &str, target: &str) -> Action {
    const READ: &str = "GET, HEAD";
    let Some(target) = origin_form(target) else { return Action::Refuse(Status::BadRequest) };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (allow, action) = match path {
        "/" => (READ, Some(Action::Home)),
        "/slow" => (
            READ,
            parameter(query, "ms", 1_000, MAX_WAIT_MS).map(|ms| Action::Slow(Duration::from_millis(ms))),
        ),
        "/bytes" => (READ, parameter(query, "n", 1_024, MAX_BYTES).map(Action::Bytes)),
        "/echo" => ("POST", Some(Action::Echo)),
        _ => return Action::Refuse(Status::NotFound),
    };
    if !allow.split(", ").any(|allowed| allowed == method) {
        return Action::Refuse(Status::MethodNotAllowed { allow });
    }
    action.unwrap_or(Action::Refuse(Status::BadRequest))
}

/// The path and query of a target; a server must take the absolute form too (RFC 9112 §3.2.2).
fn origin_form(target: &str) -> Option<&str> {
    const SCHEME: &str = "http://";
    if target.starts_with('/') {
        return Some(target);
    }
    let rest = target.get(SCHEME.len()..).filter(|_| target[..SCHEME.len()].eq_ignore_ascii_case(SCHEME))?;
    let path = rest.find(['/', '?']).map_or("/", |at| &rest[at..]);
    Some(if path.starts_with('/') { path } else { "/" })
}

/// A number in a query, at most `max`; `default` when it is not there, `None` when it is not a number.
fn parameter(query: &str, name: &str, default: u64, max: u64) -> Option<u64> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    match pairs.find(|(key, _)| *key == name) {
        Some((_, value)) => number(value.as_bytes()).map(|number| number.min(max)),
        None => Some(default),
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
