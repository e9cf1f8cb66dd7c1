//! The head of a request as it came -> as it goes to an upstream, or why it does not.

use super::{
    copier::{Copier, is_for_us, put_field, put_number},
    exchange::{Body, Exchange},
    flow::Turn,
    key,
    origin::{Origin, put_address},
    own::{Content, METHODS, NAME, Own},
};
use crate::{
    forward::record::Asked,
    http::{
        Chunked, Field, FieldSlots, Framing, Head, Name, Status, Version, answer::Manner, fields::tokens,
        head::absolute_form, host::is_host, number,
    },
};

/// How often a request may have come by here. Two of us in a row are legitimate, and even a few; a loop has no end.
const MAX_VIA: usize = 10;

/// Reads a whole head into `exchange`, so that it can be sent; or tells how it is answered instead.
pub(super) fn read(exchange: &mut Exchange, turn: &mut Turn<'_>, bytes: &[u8]) -> Result<(), Own> {
    begin(exchange, turn, bytes);
    let mut slots = FieldSlots::new();
    let head = Head::parse_within(bytes, &mut slots, turn.rules.max_fields).map_err(Own::refusal)?;
    exchange.manner = Manner::of(&head);
    exchange.last = !head.keep_alive;
    let origin = Origin::of(turn, head.fields);
    if let Some(asked) = &mut exchange.record.asked {
        note(asked, &head, &origin);
    }
    exchange.expects_continue = head.expects_continue;
    exchange.body = match head.framing {
        Framing::Length(0) => Body::Done,
        Framing::Length(length) => Body::Length(length),
        Framing::Chunked => Body::Chunked(Chunked::default()),
    };
    let target = Target::of(&head)?;
    if matches!(head.framing, Framing::Length(length) if turn.rules.max_body.is_some_and(|max| length > max))
    {
        return Err(Own::refusal(Status::ContentTooLarge));
    }
    exchange.upgrade = wants_upgrade(&head);
    exchange.asking = key::asking(&head, target.path, &origin, turn.rules);
    rewrite(exchange, turn, bytes, &head, &target, &origin)
}

/// What can be said before anything is understood: `HEAD` is answered without a body even then.
pub(super) fn begin(exchange: &mut Exchange, turn: &Turn<'_>, bytes: &[u8]) {
    exchange.manner.head_only = bytes.starts_with(b"HEAD ");
    if turn.rules.access_log.is_some() {
        exchange.record.asked = Some(Box::new(first_line(bytes)));
    }
}

/// Where a request goes.
struct Target<'a> {
    /// As it is sent on.
    path: &'a str,
    /// A slash that is missing before it.
    slash: bool,
    /// Who is meant, if the target says so; the `Host` then does not count (RFC 9112 §3.2.2).
    authority: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn of(head: &Head<'_, 'a>) -> Result<Self, Own> {
        const NONE: Status = Status::BadRequest;
        if head.method == "CONNECT" {
            // RFC 9110 §9.3.6: whoever is asked for a tunnel and has no authority for it must not forward that blindly.
            return Err(Own::refusal(Status::MethodNotAllowed { allow: METHODS }));
        }
        // A fragment is the client's own; servers differ in what they make of it.
        if head.target.contains('#') {
            return Err(Own::refusal(NONE));
        }
        if head.target.starts_with('/') || (head.target == "*" && head.method == "OPTIONS") {
            return Ok(Self { path: head.target, slash: false, authority: None });
        }
        let (authority, path) = absolute_form(head.target).ok_or_else(|| Own::refusal(NONE))?;
        let host_is_empty = head.host.is_some_and(<[u8]>::is_empty);
        if !is_host(authority.as_bytes()) || host_is_empty {
            return Err(Own::refusal(NONE));
        }
        // RFC 9112 §3.2.4: without any path it is the server as a whole.
        let path = if path.is_empty() && head.method == "OPTIONS" { "*" } else { path };
        Ok(Self { path, slash: path.is_empty() || path.starts_with('?'), authority: Some(authority) })
    }
}

/// Another protocol may be asked for by HTTP/1.1 without a body (RFC 9110 §7.8). Not HTTP/2: within such a tunnel requests
/// would go by that nobody has looked at.
fn wants_upgrade(head: &Head<'_, '_>) -> bool {
    let is_http2 = |token: &[u8]| token.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(b"h2c"));
    let mut protocols = head.fields.values(Name::Upgrade).flat_map(tokens).peekable();
    head.upgrade
        && head.version == Version::Http11
        && head.framing == Framing::Length(0)
        && protocols.peek().is_some()
        && !protocols.any(is_http2)
}

/// What the fields had to say to us.
#[derive(Default)]
struct Seen {
    vias: usize,
    forwarded_host: bool,
    forwarded_proto: bool,
    id: bool,
}

fn rewrite(
    exchange: &mut Exchange,
    turn: &mut Turn<'_>,
    bytes: &[u8],
    head: &Head<'_, '_>,
    target: &Target<'_>,
    origin: &Origin,
) -> Result<(), Own> {
    let mut out = std::mem::take(&mut exchange.held.bytes);
    out.clear();
    out.reserve(bytes.len() + 256);
    let mut copier = Copier::new(bytes, first_line_out(&mut out, head, target));
    let mut seen = Seen::default();
    let result = head.fields.iter().try_for_each(|field| {
        one_field(&mut out, &mut copier, &mut seen, exchange.upgrade, head, target, origin, &field)
    });
    copier.copy(&mut out, head.fields.end());
    if result.is_ok() {
        add(&mut out, exchange, turn, head, target, origin, &seen);
    }
    exchange.held.head = Some(out.len());
    exchange.held.bytes = out;
    let own = match result {
        Ok(()) if seen.vias >= MAX_VIA => Own::refusal(Status::LoopDetected),
        Ok(()) => return Ok(()),
        Err(Last) if head.method == "TRACE" => Own::content(Content::Echo(echo(bytes, head))),
        Err(Last) => Own::content(Content::Methods),
    };
    Err(own)
}

/// Longest name of a request that is taken from a client: longer than any that is in use.
const MAX_ID: usize = 128;

/// Whether what a client calls its request can be written into logs as it is.
fn is_id(value: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'<' | b'>');
    (1..=MAX_ID).contains(&value.len()) && value.iter().all(plain)
}

/// `Max-Forwards` is used up.
struct Last;

/// Writes the first line if it is not to be copied as it is; tells where copying begins.
fn first_line_out(out: &mut Vec<u8>, head: &Head<'_, '_>, target: &Target<'_>) -> usize {
    const REST: &[u8] = b" HTTP/1.1\r\n";
    let begin = head.fields.begin();
    let is_plain = head.method.len() + 1 + head.target.len() + REST.len() == begin;
    if is_plain && head.version == Version::Http11 && target.authority.is_none() {
        return 0;
    }
    out.extend_from_slice(head.method.as_bytes());
    out.push(b' ');
    if target.slash {
        out.push(b'/');
    }
    out.extend_from_slice(target.path.as_bytes());
    out.extend_from_slice(REST);
    begin
}

#[allow(clippy::too_many_arguments, reason = "the parts of one loop")]
fn one_field(
    out: &mut Vec<u8>,
    copier: &mut Copier<'_>,
    seen: &mut Seen,
    upgrade: bool,
    head: &Head<'_, '_>,
    target: &Target<'_>,
    origin: &Origin,
    field: &Field<'_>,
) -> Result<(), Last> {
    let mut instead: Option<u64> = None;
    let stays = match field.name {
        _ if is_for_us(field, head.names_fields, head.fields) => false,
        Name::Upgrade => upgrade,
        Name::Expect => head.version == Version::Http11,
        Name::Host if target.authority.is_some() => {
            copier.skip(out, field.line.clone());
            put_field(out, field.text, target.authority.unwrap_or_default().as_bytes());
            return Ok(());
        }
        Name::ContentLength => {
            instead = number(field.value).filter(|_| field.value.len() > 1 && field.value.starts_with(b"0"));
            instead.is_none()
        }
        Name::TransferEncoding if field.value != b"chunked" => {
            copier.skip(out, field.line.clone());
            put_field(out, field.text, b"chunked");
            return Ok(());
        }
        // RFC 9110 §7.6.2: of all others than these two it may be ignored.
        Name::MaxForwards if head.method == "OPTIONS" || head.method == "TRACE" => {
            instead = match number(field.value) {
                Some(0) => return Err(Last),
                number => number.map(|number| number - 1),
            };
            instead.is_none()
        }
        Name::Via => {
            seen.vias += tokens(field.value).filter(|entry| is_ours(entry)).count();
            true
        }
        Name::XForwardedFor => false,
        Name::XForwardedHost | Name::XForwardedProto | Name::XForwarded | Name::Forwarded => {
            seen.forwarded_host |= origin.trusted && field.name == Name::XForwardedHost;
            seen.forwarded_proto |= origin.trusted && field.name == Name::XForwardedProto;
            origin.trusted
        }
        Name::XRequestId => {
            let stays = is_id(field.value);
            seen.id |= stays;
            stays
        }
        _ => true,
    };
    if !stays {
        copier.skip(out, field.line.clone());
    }
    if let Some(instead) = instead {
        out.extend_from_slice(field.text.as_bytes());
        out.extend_from_slice(b": ");
        put_number(out, instead);
        out.extend_from_slice(b"\r\n");
    }
    Ok(())
}

/// Whether an entry of `Via` names us: `1.1 pointsman`.
fn is_ours(entry: &[u8]) -> bool {
    entry.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).nth(1) == Some(NAME.as_bytes())
}

/// Adds what we have to say, behind all that the client has said, and the empty line.
fn add(
    out: &mut Vec<u8>,
    exchange: &mut Exchange,
    turn: &mut Turn<'_>,
    head: &Head<'_, '_>,
    target: &Target<'_>,
    origin: &Origin,
    seen: &Seen,
) {
    let host = target.authority.map(str::as_bytes).or(head.host).unwrap_or_default();
    if head.host.is_none() {
        put_field(out, "Host", host);
    }
    if exchange.upgrade {
        out.extend_from_slice(b"Connection: upgrade\r\n");
    }
    add_forwarded_for(out, head, origin);
    if !seen.forwarded_proto {
        out.extend_from_slice(b"X-Forwarded-Proto: http\r\n");
    }
    if !seen.forwarded_host && !host.is_empty() {
        put_field(out, "X-Forwarded-Host", host);
    }
    if turn.rules.forwarded {
        add_forwarded(out, host, origin);
    }
    out.extend_from_slice(match head.version {
        Version::Http11 => b"Via: 1.1 ",
        Version::Http10 => b"Via: 1.0 ",
    });
    out.extend_from_slice(NAME.as_bytes());
    out.extend_from_slice(b"\r\n");
    if !seen.id {
        out.extend_from_slice(b"X-Request-ID: ");
        let start = out.len();
        key::put_id(out, turn.salt);
        if let Some(asked) = &mut exchange.record.asked {
            asked.id.extend_from_slice(&out[start..]);
        }
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// One line, since many look at one only: what a trusted proxy has said, and who it is.
fn add_forwarded_for(out: &mut Vec<u8>, head: &Head<'_, '_>, origin: &Origin) {
    let start = out.len();
    if origin.trusted {
        for value in head.fields.values(Name::XForwardedFor).filter(|value| !value.is_empty()) {
            out.extend_from_slice(if out.len() == start { b"X-Forwarded-For: " } else { b", " });
            out.extend_from_slice(value);
        }
    }
    if let Some(peer) = origin.peer {
        out.extend_from_slice(if out.len() == start { b"X-Forwarded-For: " } else { b", " });
        put_address(out, peer);
    }
    if out.len() > start {
        out.extend_from_slice(b"\r\n");
    }
}

/// RFC 7239. A host has no character that would end the quotes.
fn add_forwarded(out: &mut Vec<u8>, host: &[u8], origin: &Origin) {
    out.extend_from_slice(b"Forwarded: for=");
    match origin.peer {
        Some(peer) if peer.is_ipv6() => {
            out.extend_from_slice(b"\"[");
            put_address(out, peer);
            out.extend_from_slice(b"]\"");
        }
        Some(peer) => put_address(out, peer),
        None => out.extend_from_slice(b"unknown"),
    }
    if !host.is_empty() {
        out.extend_from_slice(b";host=\"");
        out.extend_from_slice(host);
        out.push(b'"');
    }
    out.extend_from_slice(b";proto=http\r\n");
}

/// What was received, without what is between the client and the server alone (RFC 9110 §9.3.8).
fn echo(bytes: &[u8], head: &Head<'_, '_>) -> Vec<u8> {
    let is_secret = |field: &Field<'_>| {
        field.name == Name::Cookie
            || ["authorization", "proxy-authorization"]
                .iter()
                .any(|name| field.text.eq_ignore_ascii_case(name))
    };
    let (mut out, mut copier) = (Vec::new(), Copier::new(bytes, 0));
    head.fields.iter().filter(is_secret).for_each(|field| copier.skip(&mut out, field.line));
    copier.copy(&mut out, bytes.len());
    out
}

fn first_line(bytes: &[u8]) -> Asked {
    let line = bytes.split(|byte| b"\r\n".contains(byte)).next().unwrap_or_default();
    Asked { line: line.to_vec(), ..Asked::default() }
}

fn note(asked: &mut Asked, head: &Head<'_, '_>, origin: &Origin) {
    let first = |name| head.fields.values(name).next().unwrap_or_default().to_vec();
    asked.client = origin.client.map(|address| address.to_string()).unwrap_or_default();
    asked.host = head.host.unwrap_or_default().to_vec();
    asked.referer = first(Name::Referer);
    asked.agent = first(Name::UserAgent);
    asked.id = first(Name::XRequestId);
}
