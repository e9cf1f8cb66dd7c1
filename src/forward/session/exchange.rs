//! One request and its answer: what was read, what was passed on, and what is still to come.

use super::{
    body::{self, Form},
    flow::{Asking, Failure, Flow, Parting, Turn},
    own::{self, Own},
};
use crate::{
    forward::{
        pieces::Mark,
        record::{Reason, Record, Times},
    },
    http::{Chunked, Status, answer::Manner},
    time::Time,
};

/// Bytes of a request's body that are kept so that it can be sent again.
pub(super) const MAX_HELD_BODY: usize = 16 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Exchange {
    /// How it is answered; whether the connection stays becomes certain with the head of the answer.
    pub(super) manner: Manner,
    /// The client said itself that it sends nothing more.
    pub(super) last: bool,
    /// It asks for another protocol.
    pub(super) upgrade: bool,
    /// The client waits for `100 Continue`.
    pub(super) expects_continue: bool,
    pub(super) asking: Asking,
    pub(super) held: Held,
    pub(super) body: Body,
    pub(super) answer: Answer,
    /// What the cookie is to say by which the client stays with this upstream.
    pub(super) sticky: Option<u64>,
    /// When bytes last came.
    pub(super) moved: Moved,
    /// Since when the upstream has taken nothing of what is to be written.
    pub(super) blocked: Option<Time>,
    pub(super) record: Record,
}

/// What of the request was sent so far, its head rewritten.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    /// Where the body begins in it; `None` when not all that was sent is here any more.
    pub(super) head: Option<usize>,
}

/// What of the request's body is still to come.
#[derive(Debug)]
pub(super) enum Body {
    /// Nothing.
    Done,
    Length(u64),
    Chunked(Chunked),
}

/// How far the answer is.
#[derive(Debug)]
pub(super) enum Answer {
    /// There is no connection to an upstream yet.
    Choosing,
    /// Its head is to come; `interim` others have, and `scanned` bytes of it were looked at.
    Waiting { scanned: usize, interim: u32 },
    /// Its body is to come.
    Passing { rest: Rest, parting: Parting },
}

/// What of an answer's body is still to come, and in which form it is passed on.
#[derive(Debug)]
pub(super) enum Rest {
    Length(u64),
    Chunked(Chunked, Form),
    /// All until the connection ends; `chunked` if the client is told the end otherwise.
    Close {
        chunked: bool,
    },
}

#[derive(Debug, Default)]
pub(super) struct Moved {
    pub(super) client: Time,
    pub(super) upstream: Time,
}

/// What becomes of an exchange.
#[derive(Debug, Clone, Copy)]
pub(super) enum Next {
    /// It goes on.
    Stay,
    /// It was answered to the end; the connection goes on or not, as the answer has said.
    Over,
    /// It ended before, and the connection to the client with it.
    Cut,
    /// The connections are another protocol's from here on.
    Tunnel,
}

impl Default for Exchange {
    fn default() -> Self {
        Self {
            manner: Manner::LAST,
            last: false,
            upgrade: false,
            expects_continue: false,
            asking: Asking::default(),
            held: Held::default(),
            body: Body::Done,
            answer: Answer::Choosing,
            sticky: None,
            moved: Moved::default(),
            blocked: None,
            record: new_record(Time::default()),
        }
    }
}

/// Of a request of which nothing is known yet.
pub(super) fn new_record(began: Time) -> Record {
    Record {
        status: 0,
        reason: Reason::Done,
        upstream: None,
        tries: 0,
        received: 0,
        sent: 0,
        times: Times { began, ..Times::default() },
        asked: None,
    }
}

impl Exchange {
    /// Begins anew, with the memory of another.
    pub(super) fn renew(&mut self, began: Time, now: Time) {
        let mut bytes = std::mem::take(&mut self.held.bytes);
        bytes.clear();
        bytes.shrink_to(MAX_HELD_BODY);
        *self = Self::default();
        self.held.bytes = bytes;
        self.moved = Moved { client: now, upstream: now };
        self.record.times.began = began;
    }

    /// Bytes of the request's body; tells how many were taken.
    pub(super) fn handle_client(
        &mut self,
        turn: &mut Turn<'_>,
        input: &[u8],
        flow: &mut Flow,
    ) -> (usize, Next) {
        if matches!(self.answer, Answer::Choosing) || input.is_empty() {
            return (0, Next::Stay);
        }
        let out = &mut flow.to_upstream;
        let (taken, is_done) = match &mut self.body {
            Body::Done => return (0, Next::Stay),
            Body::Length(left) => {
                let taken = body::pass_length(left, 0..input.len(), out, &mut self.record.received);
                (taken, *left == 0)
            }
            Body::Chunked(decoder) => {
                match body::pass_chunked(decoder, input, 0, Form::AsItIs, out, &mut self.record.received) {
                    Ok(taken) => (taken, decoder.is_done()),
                    Err(_) => return (input.len(), self.refuse(turn, Status::BadRequest, flow)),
                }
            }
        };
        if turn.rules.max_body.is_some_and(|max| self.record.received > max) {
            return (input.len(), self.refuse(turn, Status::ContentTooLarge, flow));
        }
        if taken > 0 {
            self.moved.client = turn.now;
            self.hold(input, flow);
        }
        if is_done {
            self.body = Body::Done;
        }
        (taken, Next::Stay)
    }

    /// Keeps what was sent, as long as it is little and may have to be sent again.
    fn hold(&mut self, input: &[u8], flow: &mut Flow) {
        let Some(head) = self.held.head else { return };
        let length: usize = flow.to_upstream.slices(input).map(<[u8]>::len).sum();
        let is_little = self.held.bytes.len() - head + length <= MAX_HELD_BODY;
        if is_little && !matches!(self.answer, Answer::Passing { .. }) {
            flow.to_upstream.slices(input).for_each(|piece| self.held.bytes.extend_from_slice(piece));
            if flow.send_held {
                // It goes with what was held before.
                flow.to_upstream.clear();
            }
        } else {
            self.held.head = None;
            if !flow.send_held {
                self.held.bytes.clear();
            }
        }
    }

    /// The request turns out to be none while it is on its way.
    fn refuse(&mut self, turn: &mut Turn<'_>, status: Status, flow: &mut Flow) -> Next {
        flow.to_upstream.clear();
        self.own(turn, Own::refusal(status), flow)
    }

    /// Answers in the upstream's place, or cuts the answer short that has begun.
    pub(super) fn own(&mut self, turn: &mut Turn<'_>, own: Own, flow: &mut Flow) -> Next {
        self.give_back(flow, Parting::Close);
        self.record.reason = own.reason;
        if matches!(self.answer, Answer::Passing { .. }) {
            return Next::Cut;
        }
        own::write(self, turn, own, flow);
        Next::Over
    }

    /// The connection to the upstream, if there is one, is not needed any more.
    pub(super) fn give_back(&self, flow: &mut Flow, parting: Parting) {
        if !matches!(self.answer, Answer::Choosing) {
            flow.upstream = Some(parting);
        }
    }

    pub(super) fn handle_upstream(
        &mut self,
        turn: &mut Turn<'_>,
        input: &[u8],
        flow: &mut Flow,
    ) -> (usize, Next) {
        if input.is_empty() || matches!(self.answer, Answer::Choosing) {
            return (0, Next::Stay);
        }
        self.moved.upstream = turn.now;
        self.record.times.answered.get_or_insert(turn.now);
        let mut at = 0;
        let mut begin = None;
        while let Answer::Waiting { .. } = self.answer {
            begin = Some((flow.to_client.mark(), self.manner));
            match super::answer::read(self, turn, &input[at..], flow) {
                Ok(Some((length, super::answer::Head::Tunnel))) => return (at + length, Next::Tunnel),
                Ok(Some((length, super::answer::Head::Interim | super::answer::Head::Final))) => at += length,
                Ok(None) => return (at, Next::Stay),
                Err(_) => return (input.len(), self.own(turn, Own::of(Reason::BadAnswer), flow)),
            }
        }
        match self.pass_answer(input, at, flow) {
            Ok((taken, false)) => (taken, Next::Stay),
            // RFC 9112 §9.2: what follows an answer is none to the next request.
            Ok((taken, true)) => (input.len(), self.answered(taken == input.len(), flow)),
            Err(_) => (input.len(), self.spoilt(turn, begin, flow)),
        }
    }

    /// The answer's body is none. If all of the answer came just now, the client has seen nothing of it.
    fn spoilt(&mut self, turn: &mut Turn<'_>, begin: Option<(Mark, Manner)>, flow: &mut Flow) -> Next {
        let Some((mark, manner)) = begin else { return self.cut(Reason::BadAnswer, flow) };
        flow.to_client.rewind(mark);
        self.manner = manner;
        self.record.sent = 0;
        self.answer = Answer::Waiting { scanned: 0, interim: 0 };
        self.own(turn, Own::of(Reason::BadAnswer), flow)
    }

    /// Passes on what of the answer's body begins at `at`; tells where it goes on, and whether that was all.
    fn pass_answer(
        &mut self,
        input: &[u8],
        at: usize,
        flow: &mut Flow,
    ) -> Result<(usize, bool), crate::http::chunked::Malformed> {
        let (out, sent) = (&mut flow.to_client, &mut self.record.sent);
        let Answer::Passing { rest, .. } = &mut self.answer else { return Ok((at, false)) };
        Ok(match rest {
            Rest::Length(left) => {
                let taken = body::pass_length(left, at..input.len(), out, sent);
                (at + taken, *left == 0)
            }
            Rest::Chunked(decoder, form) => {
                let taken = body::pass_chunked(decoder, input, at, *form, out, sent)?;
                (at + taken, decoder.is_done())
            }
            Rest::Close { chunked } => {
                body::pass_all(at..input.len(), *chunked, out, sent);
                (input.len(), false)
            }
        })
    }

    /// The answer is whole; `alone` if nothing came behind it.
    fn answered(&mut self, alone: bool, flow: &mut Flow) -> Next {
        if let Answer::Passing { parting, .. } = self.answer {
            let all_sent = matches!(self.body, Body::Done) && self.blocked.is_none();
            flow.upstream = Some(if alone && all_sent { parting } else { Parting::Close });
        }
        Next::Over
    }

    /// The upstream says nothing more.
    pub(super) fn handle_upstream_end(&mut self, turn: &mut Turn<'_>, flow: &mut Flow) -> Next {
        match self.answer {
            Answer::Choosing => Next::Stay,
            Answer::Waiting { .. } => self.own(turn, Own::of(Reason::UpstreamClosed), flow),
            Answer::Passing { rest: Rest::Close { chunked }, .. } => {
                if chunked {
                    flow.to_client.make(|out| out.extend_from_slice(b"0\r\n\r\n"));
                }
                self.answered(false, flow)
            }
            Answer::Passing { .. } => self.cut(Reason::Truncated, flow),
        }
    }

    /// Ends it without an answer, or within one.
    pub(super) fn cut(&mut self, reason: Reason, flow: &mut Flow) -> Next {
        self.record.reason = reason;
        self.give_back(flow, Parting::Close);
        Next::Cut
    }

    pub(super) fn begin(&mut self, now: Time, upstream: u32, sticky: Option<u64>, flow: &mut Flow) {
        self.answer = Answer::Waiting { scanned: 0, interim: 0 };
        self.sticky = sticky.filter(|sticky| self.asking.sticky != Some(*sticky));
        self.record.tries += 1;
        self.record.upstream = Some(upstream);
        self.record.times.connected = Some(now);
        self.moved = Moved { client: now, upstream: now };
        self.blocked = None;
        flow.send_held = true;
    }

    /// Tries so far, with the one that has just failed.
    pub(super) fn tries(&self) -> u32 {
        self.record.tries + u32::from(matches!(self.answer, Answer::Choosing))
    }

    pub(super) fn may_retry(&self, failure: Failure) -> bool {
        let is_for_retry = match failure.reason {
            Reason::ConnectFailed | Reason::ConnectTimeout => true,
            Reason::UpstreamClosed => failure.unwritten || self.asking.idempotent,
            _ => false,
        };
        is_for_retry && self.held.head.is_some() && self.record.times.answered.is_none()
    }

    pub(super) fn retry(&mut self, flow: &mut Flow) {
        self.record.tries = self.tries();
        self.give_back(flow, Parting::Close);
        self.answer = Answer::Choosing;
        self.blocked = None;
        self.record.times.connected = None;
        flow.choose = true;
    }

    pub(super) fn fail(&mut self, turn: &mut Turn<'_>, why: Reason, flow: &mut Flow) -> Next {
        if matches!(why, Reason::ConnectFailed | Reason::ConnectTimeout) {
            self.record.tries = self.tries();
        }
        if matches!(self.answer, Answer::Passing { .. }) && why == Reason::UpstreamClosed {
            return self.cut(Reason::Truncated, flow);
        }
        self.own(turn, Own::of(why), flow)
    }
}
