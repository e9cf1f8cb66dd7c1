//! What became of one request, for the access log and for the figures.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// One request, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Code of the answer; 0 if there was none.
    pub status: u16,
    /// Why it ended as it did.
    pub reason: Reason,
    /// Who answered, or was asked last.
    pub upstream: Option<u32>,
    /// How often it was sent, or tried to be.
    pub tries: u32,
    /// Bytes of the request's body that came.
    pub received: u64,
    /// Bytes of the answer's body that were passed on.
    pub sent: u64,
    /// When.
    pub times: Times,
    /// What was asked for, if there is an access log to write it to.
    pub asked: Option<Box<Asked>>,
}

/// The moments of a request; those that did not come are `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// Its first byte came.
    pub began: Time,
    /// Its head was whole.
    pub read: Option<Time>,
    /// It was sent the last time, on a connection to an upstream.
    pub connected: Option<Time>,
    /// The first byte of the answer came.
    pub answered: Option<Time>,
    /// It was over.
    pub ended: Time,
}

/// What was asked for, as it came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asked {
    /// Method, target and version, as in the first line.
    pub line: Vec<u8>,
    /// Who, as far as trusted proxies tell.
    pub client: String,
    /// Its `Host`.
    pub host: Vec<u8>,
    /// Its `Referer`, or nothing.
    pub referer: Vec<u8>,
    /// Its `User-Agent`, or nothing.
    pub agent: Vec<u8>,
    /// Its `X-Request-ID`, given or made.
    pub id: Vec<u8>,
}

/// Why a request ended as it did: what the access log says and errors are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// All of the answer was passed on.
    Done,
    /// What the client sent is no request, or could be read in two ways.
    BadRequest,
    /// It is larger than the limits allow.
    TooLarge,
    /// It did not come in time.
    ClientTimeout,
    /// The client left before it had its answer.
    ClientGone,
    /// It is answered here: `Max-Forwards`, `CONNECT`, or a loop.
    Own,
    /// There is nobody who could answer.
    NoUpstream,
    /// Too many wait already.
    QueueFull,
    /// It has waited for too long.
    QueueTimeout,
    /// No connection to an upstream came about.
    ConnectFailed,
    /// It did not in time.
    ConnectTimeout,
    /// The upstream closed the connection, or reset it, before it had answered.
    UpstreamClosed,
    /// What it answered is no answer.
    BadAnswer,
    /// It did not answer in time.
    UpstreamTimeout,
    /// It did not answer all: the client's connection was cut.
    Truncated,
    /// The lane left.
    Stopped,
}

impl Times {
    /// From the first byte of the request to the end of its answer.
    pub fn whole(&self) -> Duration {
        self.ended - self.began
    }

    /// From the head of the request until a connection was there that it was sent on: waiting for an upstream with room, tries
    /// that failed, and connecting.
    pub fn connecting(&self) -> Option<Duration> {
        Some(self.connected? - self.read?)
    }

    /// From then until the answer began.
    pub fn answering(&self) -> Option<Duration> {
        Some(self.answered? - self.connected?)
    }
}

impl Reason {
    /// Each of them.
    #[cfg(test)]
    pub const ALL: [Self; 16] = [
        Self::Done,
        Self::BadRequest,
        Self::TooLarge,
        Self::ClientTimeout,
        Self::ClientGone,
        Self::Own,
        Self::NoUpstream,
        Self::QueueFull,
        Self::QueueTimeout,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::UpstreamClosed,
        Self::BadAnswer,
        Self::UpstreamTimeout,
        Self::Truncated,
        Self::Stopped,
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::BadRequest => "bad-request",
            Self::TooLarge => "too-large",
            Self::ClientTimeout => "client-timeout",
            Self::ClientGone => "client-gone",
            Self::Own => "own",
            Self::NoUpstream => "no-upstream",
            Self::QueueFull => "queue-full",
            Self::QueueTimeout => "queue-timeout",
            Self::ConnectFailed => "connect-failed",
            Self::ConnectTimeout => "connect-timeout",
            Self::UpstreamClosed => "upstream-closed",
            Self::BadAnswer => "bad-answer",
            Self::UpstreamTimeout => "upstream-timeout",
            Self::Truncated => "truncated",
            Self::Stopped => "stopped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_called_the_same_everywhere() {
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.word());
        }
        assert!(Reason::ALL.is_sorted_by(|one, other| one < other), "each once");
    }

    #[test]
    fn spans_are_between_moments_that_came() {
        let times = Times { began: Time(10), read: Some(Time(13)), ended: Time(30), ..Times::default() };
        assert_eq!((times.whole().as_nanos(), times.connecting(), times.answering()), (20, None, None));
        let times = Times { connected: Some(Time(17)), answered: Some(Time(22)), ..times };
        let nanos = |span: Option<Duration>| span.map(|span| span.as_nanos());
        assert_eq!((nanos(times.connecting()), nanos(times.answering())), (Some(4), Some(5)));
    }
}
