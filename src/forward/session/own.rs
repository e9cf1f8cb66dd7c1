//! Answers of our own, where no upstream answers.

use super::{
    exchange::{Body, Exchange},
    flow::{Flow, Turn},
};
use crate::{
    forward::{record::Reason, rules::ErrorPage},
    http::{
        Status,
        answer::{self, Manner},
    },
};

/// What we call ourselves.
pub(super) const NAME: &str = "pointsman";
/// What may be asked of what is behind us.
pub(super) const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE";

/// What is answered.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) status: Status,
    pub(super) reason: Reason,
    /// What is said; `None` for the status, or what the rules want said.
    pub(super) content: Option<Content>,
}

/// What an answer says that is no error.
#[derive(Debug)]
pub(super) enum Content {
    /// To `OPTIONS`.
    Methods,
    /// To `TRACE`: what was received.
    Echo(Vec<u8>),
}

impl Own {
    /// Because of the request: nothing behind it on the connection is read.
    pub(super) fn refusal(status: Status) -> Self {
        let reason = match status {
            Status::ContentTooLarge | Status::UriTooLong | Status::FieldsTooLarge => Reason::TooLarge,
            Status::RequestTimeout => Reason::ClientTimeout,
            Status::MethodNotAllowed { .. } | Status::LoopDetected => Reason::Own,
            _ => Reason::BadRequest,
        };
        Self { status, reason, content: None }
    }

    /// Because of what happened.
    pub(super) fn of(reason: Reason) -> Self {
        let status = match reason {
            Reason::BadRequest => Status::BadRequest,
            Reason::TooLarge => Status::ContentTooLarge,
            Reason::ClientTimeout | Reason::ClientGone => Status::RequestTimeout,
            Reason::ConnectTimeout | Reason::UpstreamTimeout => Status::GatewayTimeout,
            Reason::NoUpstream | Reason::QueueFull | Reason::QueueTimeout | Reason::Stopped => {
                Status::ServiceUnavailable
            }
            Reason::Done
            | Reason::Own
            | Reason::ConnectFailed
            | Reason::UpstreamClosed
            | Reason::BadAnswer
            | Reason::Truncated => Status::BadGateway,
        };
        Self { status, reason, content: None }
    }

    pub(super) fn content(content: Content) -> Self {
        Self { status: Status::Ok, reason: Reason::Own, content: Some(content) }
    }

    /// The client is to blame, so that it is uncertain what it sends next.
    fn closes(&self) -> bool {
        match self.reason {
            Reason::BadRequest | Reason::TooLarge | Reason::ClientTimeout => true,
            Reason::Own => self.content.is_none(),
            _ => false,
        }
    }
}

/// Writes it, and says in `exchange` what it means for the connection.
pub(super) fn write(exchange: &mut Exchange, turn: &Turn<'_>, own: Own, flow: &mut Flow) {
    exchange.manner.keep_alive &= matches!(exchange.body, Body::Done) && !own.closes();
    exchange.record.status = own.status.code();
    let manner = exchange.manner;
    let body = flow.to_client.make(|out| {
        answer::start(out, own.status, manner, NAME, turn.date);
        if own.status == Status::ServiceUnavailable {
            answer::field(out, "Retry-After", 1);
        }
        match own.content {
            Some(Content::Methods) => {
                answer::field(out, "Allow", METHODS);
                end(out, manner, "text/plain", b"")
            }
            Some(Content::Echo(request)) => end(out, manner, "message/http", &request),
            None => match page(&turn.rules.error_pages, own.status.code()) {
                Some(page) => end(out, manner, &page.kind, page.body.as_bytes()),
                None => end(out, manner, "text/plain", format!("{}\n", own.status.line()).as_bytes()),
            },
        }
    });
    exchange.record.sent += body;
}

/// Ends the head and adds the body, if it is wanted; tells how long that is.
fn end(out: &mut Vec<u8>, manner: Manner, kind: &str, body: &[u8]) -> u64 {
    let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
    answer::end(out, kind, length);
    if manner.head_only {
        return 0;
    }
    out.extend_from_slice(body);
    length
}

/// By the code, else by its class.
fn page(pages: &[ErrorPage], code: u16) -> Option<&ErrorPage> {
    let find = |code| pages.iter().find(|page| page.code == code);
    find(code).or_else(|| find(code / 100))
}
