//! One client's conversation, as a pure machine: requests in, answers out, one after the other.
//!
//! Bytes and the time enter; bytes leave by [`Conversation::output`]. It reads ahead only as far as its buffers allow,
//! so a client that does not take its answers is not read either. It knows nothing of sockets.

use std::{mem, time::Instant};

use pointsman::http::{
    Framing, Status,
    answer::{CONTINUE, Manner},
    find_head,
};

use super::{
    answer::{self, PATTERN, Site},
    body::Body,
    http::{self, Action, Request},
};

/// With so many bytes of answers pending no further request is looked at.
const HIGH_WATER: usize = 64 << 10;
/// A larger buffer is given back to the allocator once it is empty.
const KEEP_CAPACITY: usize = 16 << 10;

/// A conversation with one client.
#[derive(Debug)]
pub(super) struct Conversation {
    state: State,
    /// What was read and could not be used yet.
    input: Vec<u8>,
    /// Bytes of the head at the front of `input` that were searched for its end.
    scanned: usize,
    output: Vec<u8>,
    /// How much of `output` is sent.
    sent: usize,
    /// The client has finished sending.
    ended: bool,
    /// At least one request was read.
    greeted: bool,
}

#[derive(Debug)]
enum State {
    /// Within a head, or before one.
    Head,
    /// Within a body.
    Body { body: Body, action: Action, manner: Manner, payload: Vec<u8> },
    /// The answer is due at `until`.
    Slow { until: Instant, manner: Manner },
    /// `left` bytes of the pattern, from `at` on, are to follow the output.
    Bytes { left: u64, at: usize, manner: Manner },
    /// Nothing more will be said. `unread`: the client has sent what nobody looks at.
    End { unread: bool },
}

/// What becomes of the connection once all output is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// It goes on.
    Open,
    /// It can be closed.
    Closed,
    /// It is to be closed for writing and read to its end first: closing it with unread bytes would reset it, and the
    /// client might lose the last answer (RFC 9112 §9.6).
    Unread,
}

impl Conversation {
    pub(super) fn new() -> Self {
        Self {
            state: State::Head,
            input: Vec::new(),
            scanned: 0,
            output: Vec::new(),
            sent: 0,
            ended: false,
            greeted: false,
        }
    }

    /// Takes what was read.
    pub(super) fn handle_input(&mut self, now: Instant, site: &Site, bytes: &[u8]) {
        if self.input.is_empty() {
            // The usual case: whole requests, used where they were read.
            let used = self.consume(now, site, bytes);
            self.input.extend_from_slice(&bytes[used..]);
        } else {
            self.input.extend_from_slice(bytes);
            self.resume(now, site);
        }
    }

    /// The client has finished sending. It still gets the answers to what it asked.
    pub(super) fn handle_end(&mut self) {
        self.ended = true;
    }

    /// The first `count` bytes of the output are sent.
    pub(super) fn handle_sent(&mut self, count: usize) {
        let from_output = count.min(self.output.len() - self.sent);
        self.sent += from_output;
        if self.sent == self.output.len() {
            self.output.clear();
            self.sent = 0;
            if self.output.capacity() > KEEP_CAPACITY {
                self.output = Vec::new();
            }
        }
        if let State::Bytes { left, at, manner } = &mut self.state {
            let of_pattern = count - from_output;
            *at = (*at + of_pattern) % PATTERN.len();
            *left = left.saturating_sub(of_pattern as u64);
            if *left == 0 {
                self.state = next(*manner);
            }
        }
    }

    /// Goes on where time, or room for output, was missing.
    pub(super) fn resume(&mut self, now: Instant, site: &Site) {
        if let State::Slow { until, manner } = self.state
            && until <= now
        {
            self.state = State::Head;
            self.finish(site, manner, |out, manner| answer::text(out, site, manner, b"that was slow\n"));
        }
        if !self.input.is_empty() {
            let mut input = mem::take(&mut self.input);
            let used = self.consume(now, site, &input);
            input.drain(..used);
            if !input.is_empty() {
                self.input = input;
            }
        }
    }

    /// What to send next: two pieces, the second empty unless the first is about to run out.
    pub(super) fn output(&self) -> (&[u8], &[u8]) {
        let rest = match self.state {
            State::Bytes { left, at, .. } => {
                let piece = &PATTERN[at..];
                &piece[..usize::try_from(left).unwrap_or(usize::MAX).min(piece.len())]
            }
            State::Head | State::Body { .. } | State::Slow { .. } | State::End { .. } => &[],
        };
        (&self.output[self.sent..], rest)
    }

    /// Whether there is something to send.
    pub(super) fn has_output(&self) -> bool {
        self.sent < self.output.len() || matches!(self.state, State::Bytes { .. })
    }

    /// Whether more input is of use now.
    pub(super) fn wants_input(&self) -> bool {
        match self.state {
            State::Head | State::Body { .. } => !self.ended && !self.is_full(),
            State::Slow { .. } | State::Bytes { .. } | State::End { .. } => false,
        }
    }

    /// When to [`Conversation::resume`] at the latest.
    pub(super) fn timeout(&self) -> Option<Instant> {
        match self.state {
            State::Slow { until, .. } => Some(until),
            State::Head | State::Body { .. } | State::Bytes { .. } | State::End { .. } => None,
        }
    }

    /// What is left to do once all output is sent.
    pub(super) fn rest(&self) -> Rest {
        match self.state {
            State::End { unread } if unread && !self.ended => Rest::Unread,
            State::End { .. } => Rest::Closed,
            // Half a request that will not be finished.
            State::Head | State::Body { .. } if self.ended => Rest::Closed,
            State::Head | State::Body { .. } | State::Slow { .. } | State::Bytes { .. } => Rest::Open,
        }
    }

    /// Whether the client was answered all it asked and has not begun to ask more.
    pub(super) fn is_idle(&self) -> bool {
        self.greeted && self.is_waiting() && self.input.is_empty()
    }

    /// Whether all was answered and the next request, or the first, is not there or not whole.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.state, State::Head) && !self.has_output()
    }

    fn is_full(&self) -> bool {
        self.output.len() - self.sent >= HIGH_WATER
    }

    /// Uses requests from the front of `bytes` and says how much of it is used up.
    fn consume(&mut self, now: Instant, site: &Site, bytes: &[u8]) -> usize {
        let mut used = 0;
        while used < bytes.len() && !self.is_full() {
            let rest = &bytes[used..];
            let taken = match &mut self.state {
                State::Head => self.consume_head(now, site, rest),
                State::Body { .. } => self.consume_body(now, site, rest),
                State::Slow { .. } | State::Bytes { .. } => return used,
                State::End { unread } => {
                    *unread = true;
                    Ok(Some(rest.len()))
                }
            };
            match taken {
                Ok(Some(taken)) => used += taken,
                Ok(None) => return used,
                // What follows cannot be trusted to be a request.
                Err(status) => {
                    answer::refusal(&mut self.output, site, Manner::LAST, status);
                    self.state = State::End { unread: true };
                }
            }
        }
        used
    }

    fn consume_head(&mut self, now: Instant, site: &Site, bytes: &[u8]) -> Result<Option<usize>, Status> {
        // RFC 9112 §2.2: an empty line before a request is ignored.
        if self.scanned == 0 && bytes.starts_with(b"\r\n") {
            return Ok(Some(2));
        }
        if bytes == b"\r" {
            return Ok(None);
        }
        let Some(length) = find_head(bytes, &mut self.scanned)? else { return Ok(None) };
        let request = http::parse(&bytes[..length])?;
        self.greeted = true;
        let Request { action, body, manner, expects_continue } = request;
        let manner = Manner { keep_alive: manner.keep_alive && !site.draining, ..manner };
        if body == Framing::Length(0) {
            self.perform(now, site, action, manner, &[]);
        } else {
            if expects_continue && bytes.len() == length {
                self.output.extend_from_slice(CONTINUE);
            }
            self.state = State::Body { body: Body::new(body), action, manner, payload: Vec::new() };
        }
        Ok(Some(length))
    }

    fn consume_body(&mut self, now: Instant, site: &Site, bytes: &[u8]) -> Result<Option<usize>, Status> {
        let State::Body { body, action, manner, payload } = &mut self.state else { return Ok(None) };
        let keep = *action == Action::Echo;
        let progress = body.read(bytes, |piece| {
            if keep {
                payload.extend_from_slice(piece);
            }
        })?;
        if progress.ended {
            let (action, manner, payload) = (*action, *manner, mem::take(payload));
            self.perform(now, site, action, manner, &payload);
        }
        Ok(Some(progress.used))
    }

    /// Answers a request that was read to its end.
    fn perform(&mut self, now: Instant, site: &Site, action: Action, manner: Manner, payload: &[u8]) {
        match action {
            Action::Home => {
                self.finish(site, manner, |out, manner| answer::home(out, site, manner));
            }
            Action::Echo => {
                self.finish(site, manner, |out, manner| answer::echo(out, site, manner, payload));
            }
            Action::Refuse(status) => {
                self.finish(site, manner, |out, manner| answer::refusal(out, site, manner, status));
            }
            Action::Slow(wait) => self.state = State::Slow { until: now + wait, manner },
            Action::Bytes(length) => {
                let manner = self.finish(site, manner, |out, manner| {
                    answer::head(out, site, manner, "application/octet-stream", length);
                });
                if length > 0 && !manner.head_only {
                    self.state = State::Bytes { left: length, at: 0, manner };
                }
            }
        }
    }

    /// Writes one answer; the worker may have been told to leave since the request was read.
    fn finish(&mut self, site: &Site, manner: Manner, write: impl FnOnce(&mut Vec<u8>, Manner)) -> Manner {
        let manner = Manner { keep_alive: manner.keep_alive && !site.draining, ..manner };
        write(&mut self.output, manner);
        self.state = next(manner);
        manner
    }
}

fn next(manner: Manner) -> State {
    if manner.keep_alive { State::Head } else { State::End { unread: false } }
}

#[cfg(test)]
#[path = "conversation_tests.rs"]
mod tests;
