//! A session between a made-up client and made-up upstreams: the driver of a lane, without sockets.

use pointsman::{
    forward::{
        record::{Reason, Record},
        rules::ForwardRules,
        session::{Ending, Failure, Flow, Parting, Peer, Session, Side, Turn},
    },
    time::Time,
};

use crate::strict;

pub const DATE: &[u8] = b"Thu, 01 Jan 1970 00:00:00 GMT";

/// See the module.
pub struct World {
    pub rules: ForwardRules,
    pub session: Session,
    flow: Flow,
    pub now: Time,
    salt: u64,
    peer: Peer,
    pub client: Client,
    pub upstreams: Vec<Upstream>,
    /// The one that has the request.
    pub current: Option<usize>,
    /// Those that may be used again.
    idle: Vec<usize>,
    /// To whom requests went, one after the other.
    pub begun: Vec<usize>,
    pub choosing: bool,
    /// There is more of the client.
    stirred: bool,
    pub records: Vec<Record>,
    /// No upstream has room.
    pub queues: bool,
    /// How often the session became a tunnel.
    pub tunnels: usize,
    /// What cookies say of the upstream.
    pub sticky: Option<u64>,
    /// Whether what goes to a connection can be written.
    pub blocked: [bool; 2],
}

#[derive(Default)]
pub struct Client {
    /// Has arrived, and was not taken.
    pub pending: Vec<u8>,
    pub ended: bool,
    told: bool,
    pub received: Vec<u8>,
    pub shut: bool,
    pub ending: Option<Ending>,
}

/// One connection to one.
#[derive(Default)]
pub struct Upstream {
    pub received: Vec<u8>,
    /// Has arrived, and was not taken.
    pub pending: Vec<u8>,
    pub ended: bool,
    told: bool,
    pub closed: bool,
    pub shut: bool,
    /// Whole requests it has answered.
    pub served: usize,
}

impl World {
    pub fn new(rules: ForwardRules) -> Self {
        let now = Time(1_000_000_000);
        Self {
            session: Session::http(now, &rules),
            rules,
            flow: Flow::default(),
            now,
            salt: 7,
            peer: Peer { address: Some("127.0.0.1:1234".parse().unwrap()) },
            client: Client::default(),
            upstreams: Vec::new(),
            current: None,
            idle: Vec::new(),
            begun: Vec::new(),
            choosing: false,
            stirred: false,
            records: Vec::new(),
            queues: false,
            tunnels: 0,
            sticky: None,
            blocked: [false; 2],
        }
    }

    /// Calls the session with `input` and does what it says.
    pub fn call<R>(
        &mut self,
        input: &[u8],
        call: impl FnOnce(&mut Session, &mut Turn<'_>, &mut Flow) -> R,
    ) -> R {
        self.flow.clear();
        let mut turn =
            Turn { now: self.now, rules: &self.rules, date: DATE, peer: &self.peer, salt: &mut self.salt };
        let result = call(&mut self.session, &mut turn, &mut self.flow);
        self.perform(input);
        self.tunnels += usize::from(self.session.is_tunnel());
        result
    }

    fn perform(&mut self, input: &[u8]) {
        let flow = &mut self.flow;
        assert!(
            self.client.ending.is_none() || flow.to_client.is_empty(),
            "bytes behind the end of the client"
        );
        if self.client.shut {
            assert!(flow.to_client.is_empty(), "bytes behind the end that the client was told");
        }
        flow.to_client.slices(input).for_each(|piece| self.client.received.extend_from_slice(piece));
        self.client.shut |= flow.shut_client;
        if flow.send_held || !flow.to_upstream.is_empty() || flow.shut_upstream {
            let current = self.current.expect("bytes for an upstream that is not there");
            let upstream = &mut self.upstreams[current];
            assert!(!upstream.closed && !upstream.shut, "bytes behind the end of the upstream");
            if flow.send_held {
                upstream.received.extend_from_slice(self.session.held());
            }
            flow.to_upstream.slices(input).for_each(|piece| upstream.received.extend_from_slice(piece));
            upstream.shut |= flow.shut_upstream;
        }
        if let Some(parting) = flow.upstream {
            let current = self.current.take().expect("no upstream to part with");
            let upstream = &mut self.upstreams[current];
            let is_fresh = upstream.pending.is_empty() && !upstream.ended && !self.blocked[1];
            upstream.closed = !is_fresh || parting == Parting::Close;
            if !upstream.closed {
                self.idle.push(current);
            }
            self.blocked[1] = false;
        }
        if let Some(ending) = flow.client {
            assert!(self.client.ending.replace(ending).is_none(), "the client ends twice");
        }
        if let Some(record) = flow.done.take() {
            assert!(record.times.began <= record.times.ended, "{record:?}");
            self.records.push(record);
            self.choosing = false;
        }
        if flow.choose {
            assert!(!self.choosing && self.current.is_none(), "an upstream is wanted twice");
            assert!(self.session.request().is_some());
            self.choosing = true;
        }
    }

    /// The client sends bytes.
    pub fn client_says(&mut self, bytes: &[u8]) {
        self.client.pending.extend_from_slice(bytes);
        self.stirred = true;
    }

    /// Lets the driver do what it can.
    pub fn turn(&mut self) {
        loop {
            let before = self.trace();
            self.connect();
            self.feed_client();
            self.feed_upstream();
            if self.trace() == before && !self.stirred {
                return;
            }
        }
    }

    /// What shows that something has happened.
    fn trace(&self) -> [usize; 6] {
        [
            self.client.pending.len(),
            self.client.received.len(),
            self.upstreams.iter().map(|upstream| upstream.received.len() + upstream.pending.len()).sum(),
            self.records.len(),
            self.begun.len(),
            usize::from(self.client.told) + self.upstreams.iter().filter(|upstream| upstream.told).count(),
        ]
    }

    /// Bytes come from an upstream that has nothing to say: its connection is of no use any more.
    pub fn stray(&mut self, number: usize) {
        self.idle.retain(|idle| *idle != number);
        self.upstreams[number].closed = true;
    }

    fn connect(&mut self) {
        if !self.choosing || self.queues {
            return;
        }
        self.choosing = false;
        let number = self.idle.pop().unwrap_or_else(|| {
            self.upstreams.push(Upstream::default());
            self.upstreams.len() - 1
        });
        self.current = Some(number);
        self.begun.push(number);
        let sticky = self.sticky;
        // A body that is there goes with its head.
        let input = std::mem::take(&mut self.client.pending);
        let taken = self.call(&input, |session, turn, flow| {
            session.begin(turn, 0, sticky, flow);
            if input.is_empty() { 0 } else { session.handle_client(turn, &input, flow) }
        });
        self.client.pending = input[taken..].to_vec();
    }

    fn feed_client(&mut self) {
        let stirred = std::mem::take(&mut self.stirred);
        if self.client.ending.is_some() {
            return;
        }
        if (stirred || self.session.wants_rest()) && !self.client.pending.is_empty() {
            let input = std::mem::take(&mut self.client.pending);
            let taken = self.call(&input, |session, turn, flow| session.handle_client(turn, &input, flow));
            self.client.pending = input[taken..].to_vec();
        }
        if self.client.ended && !self.client.told && self.client.ending.is_none() {
            self.client.told = true;
            self.call(&[], |session, turn, flow| session.handle_client_end(turn, flow));
        }
    }

    fn feed_upstream(&mut self) {
        let Some(current) = self.current else { return };
        if !self.session.wants_upstream() {
            return;
        }
        let upstream = &mut self.upstreams[current];
        if !upstream.pending.is_empty() {
            let input = std::mem::take(&mut upstream.pending);
            let taken = self.call(&input, |session, turn, flow| session.handle_upstream(turn, &input, flow));
            let rest = &input[taken..];
            self.upstreams[current].pending.splice(0..0, rest.iter().copied());
        }
        let upstream = &mut self.upstreams[current];
        if upstream.ended && !upstream.told && self.current == Some(current) {
            upstream.told = true;
            let failure =
                Failure { reason: Reason::UpstreamClosed, unwritten: false, reused: upstream.served > 0 };
            let tunnel = self.session.is_tunnel();
            if !tunnel && self.session.may_retry(&self.rules, failure) {
                self.call(&[], |session, turn, flow| session.retry(turn, flow));
            } else {
                self.call(&[], |session, turn, flow| session.handle_upstream_end(turn, flow));
            }
        }
    }

    /// The driver finds that a side takes nothing, or does again.
    pub fn block(&mut self, side: Side, blocked: bool) {
        self.blocked[usize::from(side == Side::Upstream)] = blocked;
        self.session.handle_blocked(self.now, &self.rules, side, blocked);
    }

    /// The requests that reached upstreams whole, in their order; what else reached one must be the beginning of one.
    pub fn requests(&self) -> Vec<strict::Message> {
        let mut parsed: Vec<_> = self
            .upstreams
            .iter()
            .map(|upstream| {
                let (messages, fault) = strict::requests(&upstream.received);
                let text = String::from_utf8_lossy(&upstream.received);
                assert!(
                    matches!(fault, None | Some(strict::Fault::Short)),
                    "{fault:?} in what an upstream got: {text:?}"
                );
                messages.into_iter()
            })
            .collect();
        self.begun.iter().filter_map(|number| parsed[*number].next()).collect()
    }
}
