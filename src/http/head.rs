//! The head of a request -> its fields, and how its body ends.
//!
//! Bytes enter, a [`Head`] or a [`Status`] to refuse it with leaves. httparse reads the fields; where a head and a body end
//! is decided here and in `framing`, strictly (RFC 9112 §2.2, §3.2, §6). Nothing here knows of connections, of time, or of
//! what is asked for.

use super::{
    FieldSlots, Fields, Status,
    fields::Known,
    framing::{BodyLength, Message, Refusal, body_length},
    host::is_host,
};

/// Longest head, in bytes: twice nginx's, enough for the cookies of a browser.
pub const MAX_HEAD: usize = 16 << 10;
/// Most fields in a head of a request to ourselves.
const FEW_FIELDS: usize = 64;

/// How large a head may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Its bytes, the empty line included.
    pub head: usize,
    /// Those of its first line, the CRLF included.
    pub line: usize,
    /// Its fields; at most [`MAX_FIELDS`](super::MAX_FIELDS).
    pub fields: usize,
}

impl Limits {
    /// Of a request to ourselves.
    pub const OWN: Self = Self { head: MAX_HEAD, line: MAX_HEAD, fields: FEW_FIELDS };
}

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
    /// `Connection` names `Upgrade`.
    pub upgrade: bool,
    /// `Connection` names fields that are not to be passed on.
    pub names_fields: bool,
    /// Its `Host`, which HTTP/1.0 need not have.
    pub host: Option<&'bytes [u8]>,
    /// All fields.
    pub fields: Fields<'slots, 'bytes>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "their names")]
pub enum Version {
    Http10,
    #[default]
    Http11,
}

/// Where the head at the start of `bytes` ends, its last CRLF included; `None` when more bytes are needed.
/// `scanned` bytes were looked at before; it is set to 0 when the head is found. The caller has skipped empty lines.
pub fn find_head(bytes: &[u8], scanned: &mut usize) -> Result<Option<usize>, Status> {
    find_head_within(bytes, scanned, &Limits::OWN)
}

/// The same within other limits.
pub fn find_head_within(bytes: &[u8], scanned: &mut usize, limits: &Limits) -> Result<Option<usize>, Status> {
    let limited = &bytes[..bytes.len().min(limits.head)];
    while let Some(found) = memchr::memchr(b'\n', limited.get(*scanned..).unwrap_or_default()) {
        let end = *scanned + found + 1;
        let line = &limited[..end];
        // httparse takes a bare LF as the end of a line; who stands before us may not.
        if !line.ends_with(b"\r\n") {
            return Err(Status::BadRequest);
        }
        // The first line that ends is the first of all.
        if end > limits.line && memchr::memchr(b'\n', &line[..end - 1]).is_none() {
            return Err(Status::UriTooLong);
        }
        *scanned = end;
        if line.ends_with(b"\r\n\r\n") {
            *scanned = 0;
            return Ok(Some(end));
        }
    }
    *scanned = limited.len();
    let in_first_line = bytes.len() >= limits.line && !limited.contains(&b'\n');
    match bytes.len() >= limits.head {
        _ if in_first_line => Err(Status::UriTooLong),
        true => Err(Status::FieldsTooLarge),
        false => Ok(None),
    }
}

impl<'slots, 'bytes> Head<'slots, 'bytes> {
    /// Reads a whole head. An error means that nothing behind it on the connection can be trusted.
    pub fn parse(head: &'bytes [u8], slots: &'slots mut FieldSlots<'bytes>) -> Result<Self, Status> {
        Self::parse_within(head, slots, FEW_FIELDS)
    }

    /// The same with another limit of fields.
    pub fn parse_within(
        head: &'bytes [u8],
        slots: &'slots mut FieldSlots<'bytes>,
        max_fields: usize,
    ) -> Result<Self, Status> {
        let room = max_fields.min(slots.slots.len());
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(head, &mut slots.slots[..room]) {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {}
            Ok(_) => return Err(Status::BadRequest),
            Err(httparse::Error::TooManyHeaders) => return Err(Status::FieldsTooLarge),
            Err(httparse::Error::Version) => return Err(Status::VersionNotSupported),
            Err(_) => return Err(Status::BadRequest),
        }
        let version = if request.version == Some(1) { Version::Http11 } else { Version::Http10 };
        let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
        let fields = Fields::new(head, request.headers, &mut slots.names);
        let known = Known::read(fields)?;
        // RFC 9112 §3.2: exactly one Host, and a sound one; only HTTP/1.0 may have none. An empty one says that the
        // target has no authority.
        let sound = known.host.is_none_or(|host| host.is_empty() || is_host(host));
        if !sound || known.hosts > 1 || (known.hosts == 0 && version == Version::Http11) {
            return Err(Status::BadRequest);
        }
        let framing = match body_length(Message::Request { version }, &known.declared) {
            Ok(BodyLength::Chunked) => Framing::Chunked,
            Ok(BodyLength::Known(length)) => Framing::Length(length),
            Ok(BodyLength::Nothing | BodyLength::UntilClose | BodyLength::Tunnel) => Framing::Length(0),
            Err(Refusal::Ambiguous) => return Err(Status::BadRequest),
            Err(Refusal::UnknownCoding) => return Err(Status::NotImplemented),
        };
        Ok(Self {
            method,
            target,
            version,
            framing,
            keep_alive: !known.close && (version == Version::Http11 || known.keep_alive),
            expects_continue: known.expects_continue && version == Version::Http11,
            upgrade: known.upgrade,
            names_fields: known.named > 0,
            host: known.host,
            fields,
        })
    }

    /// The values of all fields of this name, in their order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'bytes [u8]> {
        self.fields.values_of(name)
    }

    /// The path and query of the target; a server must take the absolute form too (RFC 9112 §3.2.2). `None` for the
    /// others, which are for proxies (`CONNECT`) or for the server as a whole (`OPTIONS *`).
    pub fn path_and_query(&self) -> Option<(&'bytes str, &'bytes str)> {
        let target = origin_form(self.target)?;
        Some(target.split_once('?').unwrap_or((target, "")))
    }
}

/// The authority and the rest of a target in absolute form, by `http`.
pub fn absolute_form(target: &str) -> Option<(&str, &str)> {
    const SCHEME: &str = "http://";
    let rest = target.get(SCHEME.len()..).filter(|_| target[..SCHEME.len()].eq_ignore_ascii_case(SCHEME))?;
    Some(rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())))
}

fn origin_form(target: &str) -> Option<&str> {
    if target.starts_with('/') {
        return Some(target);
    }
    let (_, path) = absolute_form(target)?;
    Some(if path.starts_with('/') { path } else { "/" })
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
