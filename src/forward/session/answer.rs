//! The heads of an upstream's answers as they came -> as they go to the client.

use std::time::Duration;

use super::{
    body::{Form, put_hex},
    copier::{Copier, is_for_us, put_field, put_number},
    exchange::{Answer, Body, Exchange, Rest},
    flow::{Flow, Parting, Turn},
};
use crate::http::{
    AnswerHead, BadAnswer, BodyLength, Chunked, FieldSlots, Limits, MAX_FIELDS, MAX_HEAD, Name, Version,
    answer_head::Asked, find_head_within, number,
};

/// Most answers before the final one. Some tell of their progress that way.
const MAX_INTERIM: u32 = 64;

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// Another follows.
    Interim,
    /// The answer to the request; its body follows.
    Final,
    /// Nothing of HTTP follows.
    Tunnel,
}

/// Reads the head that `input` begins with and writes it for the client; tells its length, or `None` if it is not whole.
pub(super) fn read(
    exchange: &mut Exchange,
    turn: &Turn<'_>,
    input: &[u8],
    flow: &mut Flow,
) -> Result<Option<(usize, Head)>, BadAnswer> {
    let Answer::Waiting { scanned, interim } = &mut exchange.answer else { return Err(BadAnswer) };
    // Cookies that a client sends, some server has set: what is enough for requests may not be for answers.
    let max = turn.rules.max_head.max(MAX_HEAD);
    let limits = Limits { head: max, line: max, fields: MAX_FIELDS };
    // What is no answer is told as soon as it is seen: its end may never come.
    if !input.iter().zip(b"HTTP/1.").all(|(byte, own)| byte == own) {
        return Err(BadAnswer);
    }
    let found = find_head_within(input, scanned, &limits).map_err(|_| BadAnswer)?;
    let Some(length) = found else { return Ok(None) };
    let bytes = &input[..length];
    let mut slots = FieldSlots::new();
    let asked = Asked { head: exchange.manner.head_only, upgrade: exchange.upgrade };
    let head = AnswerHead::parse(bytes, &mut slots, asked)?;
    let kind = match head.code {
        101 => Head::Tunnel,
        100..=199 => {
            *interim += 1;
            if *interim > MAX_INTERIM {
                return Err(BadAnswer);
            }
            Head::Interim
        }
        _ => Head::Final,
    };
    if kind == Head::Interim {
        // RFC 9110 §15.2: HTTP/1.0 does not know them.
        if exchange.manner.version == Version::Http11 {
            flow.to_client.make(|out| write(out, bytes, &head, &Added::default()));
        }
        return Ok(Some((length, kind)));
    }
    exchange.record.status = head.code;
    let added = decide(exchange, turn, &head, kind);
    flow.to_client.make(|out| write(out, bytes, &head, &added));
    Ok(Some((length, kind)))
}

/// What is said beside what the upstream says.
#[derive(Debug, Default)]
struct Added<'a> {
    connection: Option<&'static [u8]>,
    chunked: bool,
    upgrade: bool,
    /// There may be a `Trailer`.
    plain: bool,
    date: Option<&'a [u8]>,
    sticky: Option<(&'a str, u64)>,
}

/// How the answer is passed on, and what that means for both connections.
fn decide<'a>(exchange: &mut Exchange, turn: &Turn<'a>, head: &AnswerHead<'_, '_>, kind: Head) -> Added<'a> {
    let is_new = exchange.manner.version == Version::Http11;
    let mut added = Added { upgrade: kind == Head::Tunnel || head.code == 426, ..Added::default() };
    let rest = match head.length {
        BodyLength::Nothing | BodyLength::Tunnel => Rest::Length(0),
        BodyLength::Known(length) => Rest::Length(length),
        BodyLength::Chunked => {
            Rest::Chunked(Chunked::default(), if is_new { Form::AsItIs } else { Form::Plain })
        }
        BodyLength::UntilClose => Rest::Close { chunked: is_new },
    };
    let has_end = is_new || matches!(rest, Rest::Length(_));
    added.chunked = is_new && !matches!(rest, Rest::Length(_));
    added.plain = !has_end;
    let stays = head.keep_alive && !matches!(rest, Rest::Close { .. });
    let parting = match stays {
        true => Parting::Keep { idle: head.keeps_for().map(Duration::from_secs) },
        false => Parting::Close,
    };
    // RFC 9112 §9.3: who has not read a request to its end cannot find the next.
    exchange.manner.keep_alive &= has_end && matches!(exchange.body, Body::Done);
    added.connection = match (kind, exchange.manner.keep_alive) {
        (Head::Tunnel, _) => None,
        (_, false) => Some(b"close"),
        (_, true) => (!is_new).then_some(b"keep-alive"),
    };
    if kind == Head::Final {
        let has_date = head.fields.values(Name::Date).next().is_some();
        added.date = (!has_date).then_some(turn.date);
        added.sticky = turn.rules.sticky.as_deref().zip(exchange.sticky);
    }
    exchange.answer = Answer::Passing { rest, parting };
    added
}

fn write(out: &mut Vec<u8>, bytes: &[u8], head: &AnswerHead<'_, '_>, added: &Added<'_>) {
    out.reserve(bytes.len() + 128);
    let mut copier = Copier::new(bytes, first_line(out, bytes, head));
    for field in head.fields.iter() {
        // RFC 9110 §8.6: none with these, so that nobody waits for a body.
        let bodiless = matches!(head.code, 100..=199 | 204);
        let stays = match field.name {
            Name::Upgrade => added.upgrade,
            _ if is_for_us(&field, head.names_fields, head.fields) => false,
            Name::TransferEncoding => false,
            Name::ContentLength => {
                let is_plain = field.value.len() == 1 || !field.value.starts_with(b"0");
                if !is_plain && !bodiless {
                    copier.skip(out, field.line.clone());
                    out.extend_from_slice(b"Content-Length: ");
                    put_number(out, number(field.value).unwrap_or(0));
                    out.extend_from_slice(b"\r\n");
                    continue;
                }
                is_plain && !bodiless
            }
            Name::Trailer => !added.plain,
            _ => true,
        };
        if !stays {
            copier.skip(out, field.line);
        }
    }
    copier.copy(out, head.fields.end());
    finish(out, added);
}

/// The first line is copied as it is if it is of our version; tells where copying begins.
fn first_line(out: &mut Vec<u8>, bytes: &[u8], head: &AnswerHead<'_, '_>) -> usize {
    const CODE: std::ops::Range<usize> = 9..12;
    if head.version == Version::Http11 && bytes.get(CODE.end) == Some(&b' ') {
        return 0;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(bytes.get(CODE).unwrap_or_default());
    out.push(b' ');
    out.extend_from_slice(head.reason);
    out.extend_from_slice(b"\r\n");
    head.fields.begin()
}

fn finish(out: &mut Vec<u8>, added: &Added<'_>) {
    if added.chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    match (added.connection, added.upgrade) {
        (Some(connection), true) => {
            out.extend_from_slice(b"Connection: upgrade, ");
            out.extend_from_slice(connection);
            out.extend_from_slice(b"\r\n");
        }
        (None, true) => out.extend_from_slice(b"Connection: upgrade\r\n"),
        (Some(connection), false) => put_field(out, "Connection", connection),
        (None, false) => {}
    }
    if let Some(date) = added.date {
        put_field(out, "Date", date);
    }
    if let Some((name, token)) = added.sticky {
        out.extend_from_slice(b"Set-Cookie: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        put_hex(out, token, 16);
        out.extend_from_slice(b"; Path=/; HttpOnly; SameSite=Lax\r\n");
    }
    out.extend_from_slice(b"\r\n");
}
