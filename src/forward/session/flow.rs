//! What a session is told with everything that happens, and what leaves it.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::exchange::Exchange;
use crate::{
    forward::{
        pieces::Pieces,
        record::{Reason, Record},
        rules::ForwardRules,
    },
    time::Time,
};

/// What a session is told with everything that happens.
#[derive(Debug)]
pub struct Turn<'a> {
    /// The time.
    pub now: Time,
    /// How requests are forwarded.
    pub rules: &'a ForwardRules,
    /// That of [`Date`](crate::http::Date).
    pub date: &'a [u8],
    /// Who the client is.
    pub peer: &'a Peer,
    /// Where names of requests come from: a state of splitmix64, seeded by the driver.
    pub salt: &'a mut u64,
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// `None` for a Unix socket.
    pub address: Option<SocketAddr>,
}

/// One of the two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Client,
    /// The upstream's.
    Upstream,
}

/// What leaves a session in one call. It is cleared before each call and used again.
#[derive(Debug, Default)]
pub struct Flow {
    /// For the client. Ranges are of the `input` of this call.
    pub to_client: Pieces,
    /// For the upstream, written after [`Session::held`](super::Session::held) if `send_held` is set.
    pub to_upstream: Pieces,
    /// The head, and what of the body is kept for a retry, are to be sent first.
    pub send_held: bool,
    /// An upstream is wanted: then `Session::begin`, or `Session::fail`. If the session ends before (`client`, `done`), it is
    /// not wanted any more.
    pub choose: bool,
    /// The connection to the upstream is not needed any more.
    pub upstream: Option<Parting>,
    /// Of a tunnel: the client has said all; nothing is written to the upstream behind what is to be written now.
    pub shut_upstream: bool,
    /// Of a tunnel: the same the other way.
    pub shut_client: bool,
    /// The client's connection ends, after `to_client` is written.
    pub client: Option<Ending>,
    /// A request is over.
    pub done: Option<Record>,
    /// Exchanges that are over, for their memory.
    #[allow(
        clippy::vec_box,
        reason = "a session has its exchange in a box, so that it is small without one"
    )]
    pub(super) spare: Vec<Box<Exchange>>,
}

impl Flow {
    /// Forgets what has left, and keeps the memory.
    pub fn clear(&mut self) {
        self.to_client.clear();
        self.to_upstream.clear();
        self.send_held = false;
        self.choose = false;
        self.upstream = None;
        self.shut_upstream = false;
        self.shut_client = false;
        self.client = None;
        self.done = None;
    }
}

/// What becomes of a connection to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parting {
    /// It may serve another request.
    Keep {
        /// For how long, if the upstream said so.
        idle: Option<Duration>,
    },
    /// It is closed at once.
    Close,
}

/// How the connection to a client ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// When all is written.
    Close,
    /// When all is written, and what the client still sends was read and thrown away for a while: else a reset could
    /// overtake the answer.
    Linger,
    /// At once, by a reset if need be: what was sent is not all of an answer.
    Cut,
}

/// How a request failed at an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// What happened.
    pub reason: Reason,
    /// Nothing of the request was written.
    pub unwritten: bool,
    /// The connection had served a request before.
    pub reused: bool,
}

/// The request that wants an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asking {
    /// A hash of what the rules name; `None` if there is nothing of that.
    pub key: Option<u64>,
    /// What the cookie says that names an upstream.
    pub sticky: Option<u64>,
    /// It does the same however often it is sent (RFC 9110 §9.2.2).
    pub idempotent: bool,
    /// Whose it is, as far as trusted proxies tell; `None` for somebody of this machine.
    pub client: Option<IpAddr>,
}
