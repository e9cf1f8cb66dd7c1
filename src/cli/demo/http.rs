//! A request head -> what to answer and how its body ends.
//!
//! Bytes enter, a [`Request`] or a [`Status`] to refuse it with leaves. Heads are read by `pointsman::http`; what they ask
//! for is decided here. Nothing here knows of connections or of time.

use std::time::Duration;

use pointsman::http::{FieldSlots, Framing, Head, Status, answer::Manner, number};

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
    pub(super) manner: Manner,
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

/// Reads a whole head. An error means that nothing behind it on the connection can be trusted.
pub(super) fn parse(head: &[u8]) -> Result<Request, Status> {
    let mut slots = FieldSlots::new();
    let head = Head::parse(head, &mut slots)?;
    let body = head.framing;
    if matches!(body, Framing::Length(length) if length > MAX_BODY) {
        return Err(Status::ContentTooLarge);
    }
    let action = route(&head);
    Ok(Request { action, body, manner: Manner::of(&head), expects_continue: head.expects_continue })
}

fn route(head: &Head<'_, '_>) -> Action {
    const READ: &str = "GET, HEAD";
    let Some((path, query)) = head.path_and_query() else { return Action::Refuse(Status::BadRequest) };
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
    if !allow.split(", ").any(|allowed| allowed == head.method) {
        return Action::Refuse(Status::MethodNotAllowed { allow });
    }
    action.unwrap_or(Action::Refuse(Status::BadRequest))
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
