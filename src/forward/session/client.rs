//! What a client says: heads, bodies, its end; and what becomes of what it said last.

use super::{
    Idle, Left, Session, Stage, State,
    exchange::{Answer, Body, Next, new_record},
    flow::{Ending, Flow, Turn},
    own::Own,
    request, tunnel,
};
use crate::{
    forward::record::Reason,
    http::{Limits, MAX_FIELDS, Status, Version, answer::CONTINUE, find_head_within},
    time::Time,
};

impl Session {
    /// Bytes of the client; tells how many were taken. No call goes beyond the end of one request.
    pub fn handle_client(&mut self, turn: &mut Turn<'_>, input: &[u8], flow: &mut Flow) -> usize {
        let waits = !self.looks_at_client();
        let (taken, next) = match &mut self.state {
            // Nobody is answered who does not take the answers there are: they would have to be kept.
            State::Idle(_) if self.blocked.is_some() => (0, Next::Stay),
            State::Idle(_) => self.read_head(turn, input, flow),
            State::Busy(exchange) => exchange.handle_client(turn, input, flow),
            State::Tunnel(tunnel) => (tunnel.handle_client(turn.now, input, flow), Next::Stay),
            State::Over => (input.len(), Next::Stay),
        };
        self.left = match taken == input.len() {
            true => Left::Nothing,
            false if waits || !self.looks_at_client() || !matches!(next, Next::Stay) => Left::Later,
            false => Left::Part,
        };
        self.follow(turn, next, flow);
        self.client_is_heard(turn, flow);
        self.schedule(turn.rules);
        taken
    }

    /// Bytes of the client mean something now.
    fn looks_at_client(&self) -> bool {
        match &self.state {
            State::Idle(_) => self.blocked.is_none(),
            State::Over => true,
            State::Busy(exchange) => {
                !matches!(exchange.answer, Answer::Choosing) && !matches!(exchange.body, Body::Done)
            }
            State::Tunnel(tunnel) => !matches!(tunnel.stage, tunnel::Stage::Choosing(_)),
        }
    }

    /// The client says nothing more.
    pub fn handle_client_end(&mut self, turn: &mut Turn<'_>, flow: &mut Flow) {
        if !self.ended {
            self.ended = true;
            self.client_is_heard(turn, flow);
        }
        self.schedule(turn.rules);
    }

    /// If the client says nothing more and nothing has to wait: what is not whole never will be.
    pub(super) fn client_is_heard(&mut self, turn: &mut Turn<'_>, flow: &mut Flow) {
        if !self.ended || self.left == Left::Later {
            return;
        }
        match &mut self.state {
            State::Idle(idle) => {
                if idle.stage == Stage::Reading {
                    let mut record = new_record(idle.since);
                    record.reason = Reason::ClientGone;
                    record.times.ended = turn.now;
                    flow.done = Some(record);
                }
                flow.client = Some(Ending::Close);
                self.state = State::Over;
            }
            State::Busy(exchange) => match (&exchange.answer, &exchange.body) {
                (_, Body::Done) | (Answer::Choosing, _) => {}
                (Answer::Waiting { .. } | Answer::Passing { .. }, Body::Length(_) | Body::Chunked(_)) => {
                    let next = exchange.cut(Reason::ClientGone, flow);
                    self.follow(turn, next, flow);
                }
            },
            State::Tunnel(tunnel) => {
                let end = tunnel.handle_client_end(flow);
                self.close_tunnel(turn, end, flow);
            }
            State::Over => {}
        }
    }

    /// A client that says nothing more may have left, or wait for its answer. For one whose request waits: it
    /// is told to go on, which it ignores (RFC 9110 §15.2); if it has left, it resets the connection, and its place becomes
    /// free. HTTP/1.0 knows no such word.
    pub fn probe(&mut self, flow: &mut Flow) {
        let State::Busy(exchange) = &self.state else { return };
        let waits = match exchange.answer {
            Answer::Choosing => true,
            Answer::Waiting { .. } => matches!(exchange.body, Body::Done),
            Answer::Passing { .. } => false,
        };
        if self.ended && waits && exchange.manner.version == Version::Http11 && self.blocked.is_none() {
            flow.to_client.make(|out| out.extend_from_slice(CONTINUE));
        }
    }

    /// The client has left.
    pub fn handle_client_gone(&mut self, turn: &mut Turn<'_>, flow: &mut Flow) {
        self.ended = true;
        self.left = Left::Nothing;
        match &mut self.state {
            State::Idle(_) => {
                self.client_is_heard(turn, flow);
                flow.client = Some(Ending::Cut);
            }
            State::Busy(exchange) => {
                let next = exchange.cut(Reason::ClientGone, flow);
                self.follow(turn, next, flow);
            }
            State::Tunnel(tunnel) => {
                let end = tunnel.fail(Reason::ClientGone, flow);
                self.close_tunnel(turn, Some(end), flow);
            }
            State::Over => {}
        }
        self.schedule(turn.rules);
    }

    fn read_head(&mut self, turn: &mut Turn<'_>, input: &[u8], flow: &mut Flow) -> (usize, Next) {
        let State::Idle(idle) = &mut self.state else { return (0, Next::Stay) };
        // RFC 9112 §2.2: empty lines before a request are ignored.
        let skipped = input.chunks_exact(2).take_while(|pair| *pair == b"\r\n").count() * 2;
        let rest = &input[skipped..];
        if rest.is_empty() || rest == b"\r" {
            return (skipped, Next::Stay);
        }
        if idle.stage != Stage::Reading {
            *idle = Idle { since: turn.now, scanned: 0, stage: Stage::Reading };
        }
        let (since, rules) = (idle.since, turn.rules);
        let fields = rules.max_fields.min(MAX_FIELDS);
        let limits = Limits { head: rules.max_head, line: rules.max_target, fields };
        let mut scanned = usize::try_from(idle.scanned).unwrap_or(0);
        let found = find_head_within(rest, &mut scanned, &limits);
        idle.scanned = u32::try_from(scanned).unwrap_or(0);
        match found {
            Ok(None) => (skipped, Next::Stay),
            Ok(Some(length)) => (skipped + length, self.open(turn, since, &rest[..length], flow)),
            Err(status) => (input.len(), self.refuse(turn, since, status, rest, flow)),
        }
    }

    /// A request is there.
    fn open(&mut self, turn: &mut Turn<'_>, began: Time, head: &[u8], flow: &mut Flow) -> Next {
        let mut exchange = flow.spare.pop().unwrap_or_default();
        exchange.renew(began, turn.now);
        exchange.record.times.read = Some(turn.now);
        let result = request::read(&mut exchange, turn, head);
        if self.drains {
            exchange.manner.keep_alive = false;
        }
        let next = match result {
            Ok(()) => {
                flow.choose = true;
                Next::Stay
            }
            Err(own) => exchange.own(turn, own, flow),
        };
        self.state = State::Busy(exchange);
        next
    }

    /// Answers what is no request, but begins so.
    pub(super) fn refuse(
        &mut self,
        turn: &mut Turn<'_>,
        began: Time,
        status: Status,
        start: &[u8],
        flow: &mut Flow,
    ) -> Next {
        let mut exchange = flow.spare.pop().unwrap_or_default();
        exchange.renew(began, turn.now);
        request::begin(&mut exchange, turn, start);
        let next = exchange.own(turn, Own::refusal(status), flow);
        self.state = State::Busy(exchange);
        next
    }
}
