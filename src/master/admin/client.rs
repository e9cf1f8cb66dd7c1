//! One client: what it asks for, and how long it may take.
//!
//! Requests leave, answers enter, one after the other: the next request is not looked at before the client has taken the
//! answer to the last, so neither direction needs much room. What is asked for and answered, others know.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use super::{
    super::stream::{Heard, Stream},
    answer::Answer,
    request::{self, Request},
};
use crate::{
    http::{MAX_HEAD, Status, answer::Manner},
    sys::net,
    time::Time,
};

/// How long a request may take from its first byte to its last, and the first of a connection from the beginning.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may ask for nothing. Prometheus asks every 15 seconds by default, and begins anew where it has to.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take until it has taken an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may go on sending after its last answer (RFC 9112 §9.6: closing with unread bytes resets the connection,
/// and the answer might be lost).
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// Reads in one turn, before others get theirs.
const READS: usize = 4;

/// See the module.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) number: u32,
    pub(super) stream: Stream,
    /// Bytes of the input that were searched for the end of a head.
    scanned: usize,
    /// The length of the request that it is to be answered.
    asked: usize,
    stage: Stage,
    /// When what it does must be done.
    deadline: Time,
    /// When something last came from it, or went to it.
    moved: Time,
    /// All that the kernel had from it was read.
    drained: bool,
    /// It sends nothing more.
    ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has not begun to ask.
    Idle,
    /// It has begun, or is to begin at once.
    Asking,
    /// It has not taken the answer, after which it may ask again.
    Answered,
    /// It has not taken its last answer. `unread`: it may have sent what nobody looks at.
    Leaving { unread: bool },
    /// It has taken that, and what it still sends is thrown away.
    Lingering,
}

/// What becomes of a client.
#[derive(Debug)]
pub(super) enum Next {
    /// It is to be [answered](Client::answer).
    Answer(Request),
    /// It is to be [refused](Client::refuse).
    Refuse(Status),
    /// It is to have another turn without waiting.
    Again,
    /// It has to do something.
    Wait,
    /// It is over.
    Over,
}

impl Client {
    pub(super) fn new(now: Time, number: u32, stream: Stream) -> Self {
        Self {
            number,
            stream,
            scanned: 0,
            asked: 0,
            stage: Stage::Asking,
            deadline: now + REQUEST_TIMEOUT,
            moved: now,
            drained: false,
            ended: false,
        }
    }

    /// It has sent something, or its end.
    pub(super) fn handle_readable(&mut self) {
        self.drained = false;
    }

    /// Goes on as far as it can. The buffer is what bytes pass through.
    pub(super) fn advance(&mut self, now: Time, buffer: &mut [u8]) -> Next {
        if self.flush(now).is_err() {
            return Next::Over;
        }
        if self.stream.waiting() > 0 {
            return Next::Wait;
        }
        match self.stage {
            Stage::Idle | Stage::Asking => self.ask(now, buffer),
            Stage::Answered => {
                let has_asked = !self.stream.input().is_empty();
                self.enter(now, if has_asked { Stage::Asking } else { Stage::Idle });
                self.ask(now, buffer)
            }
            Stage::Leaving { unread: true } if !self.ended && net::shut_down(self.stream.as_fd()).is_ok() => {
                self.enter(now, Stage::Lingering);
                self.linger(buffer)
            }
            Stage::Leaving { .. } => Next::Over,
            Stage::Lingering => self.linger(buffer),
        }
    }

    /// Answers what it has asked.
    pub(super) fn answer(&mut self, now: Time, answer: &Answer, manner: Manner, date: &[u8]) {
        self.stream.take(self.asked);
        self.asked = 0;
        self.stream.queue(&answer.to_bytes(manner, date));
        let unread = !self.stream.input().is_empty() || !self.drained;
        self.enter(now, if manner.keep_alive { Stage::Answered } else { Stage::Leaving { unread } });
    }

    /// Refuses what it has sent, and all that it sends: what follows cannot be trusted to be a request.
    pub(super) fn refuse(&mut self, now: Time, refusal: &Answer, date: &[u8]) {
        self.answer(now, refusal, Manner::LAST, date);
        self.stage = Stage::Leaving { unread: true };
    }

    /// When it is over if nothing happens.
    pub(super) fn deadline(&self) -> Time {
        self.deadline
    }

    /// Since when nothing has come or gone.
    pub(super) fn moved(&self) -> Time {
        self.moved
    }

    fn ask(&mut self, now: Time, buffer: &mut [u8]) -> Next {
        for _ in 0..READS {
            self.stream.take(request::empty_lines(self.stream.input()));
            match request::first(self.stream.input(), &mut self.scanned) {
                Ok(Some((length, request))) => {
                    self.asked = length;
                    return Next::Answer(request);
                }
                Err(status) => return Next::Refuse(status),
                Ok(None) if self.ended => return Next::Over,
                Ok(None) if self.drained => return Next::Wait,
                Ok(None) => self.read(now, buffer),
            }
        }
        Next::Again
    }

    fn read(&mut self, now: Time, buffer: &mut [u8]) {
        let before = self.stream.input().len();
        match self.stream.read(buffer, MAX_HEAD) {
            Heard::All => self.drained = true,
            Heard::Enough => {}
            Heard::End => (self.drained, self.ended) = (true, true),
        }
        if self.stream.input().len() > before {
            self.moved = now;
            if self.stage == Stage::Idle {
                self.enter(now, Stage::Asking);
            }
        }
    }

    fn flush(&mut self, now: Time) -> io::Result<()> {
        let before = self.stream.waiting();
        self.stream.flush()?;
        if self.stream.waiting() < before {
            self.moved = now;
        }
        Ok(())
    }

    /// Reads what nobody looks at. Who goes on sending gets no deadline but the one there is.
    fn linger(&mut self, buffer: &mut [u8]) -> Next {
        for _ in 0..READS {
            self.stream.take(usize::MAX);
            match self.stream.read(buffer, MAX_HEAD) {
                Heard::All => return Next::Wait,
                Heard::Enough => {}
                Heard::End => return Next::Over,
            }
        }
        Next::Again
    }

    fn enter(&mut self, now: Time, stage: Stage) {
        self.stage = stage;
        self.deadline = now
            + match stage {
                Stage::Idle => IDLE_TIMEOUT,
                Stage::Asking => REQUEST_TIMEOUT,
                Stage::Answered | Stage::Leaving { .. } => ANSWER_TIMEOUT,
                Stage::Lingering => LINGER_TIMEOUT,
            };
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
