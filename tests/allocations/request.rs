//! Requests and answers on their way through a session, one after the other on a connection that stays.

use pointsman::{
    forward::{
        rules::ForwardRules,
        session::{Flow, Parting, Peer, Session, Turn},
    },
    time::Time,
};

const REQUEST: &[u8] = b"GET /path?query HTTP/1.1\r\nHost: example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
    Accept: text/html,application/xhtml+xml\r\nAccept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\n\
    Cookie: session=0123456789abcdef\r\n\r\n";
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
    Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 5\r\n\r\nhello";

/// One client, and one upstream.
#[derive(Debug)]
pub(crate) struct Forwarding {
    rules: ForwardRules,
    session: Session,
    flow: Flow,
    peer: Peer,
    now: Time,
    salt: u64,
    /// What a socket would have taken.
    written: Vec<u8>,
    done: u64,
}

impl Forwarding {
    pub(crate) fn new() -> Self {
        let rules = ForwardRules::default();
        let session = Session::http(Time(0), &rules);
        let peer = Peer { address: "192.0.2.1:1234".parse().ok() };
        let written = Vec::with_capacity(4096);
        Self { rules, session, flow: Flow::default(), peer, now: Time(0), salt: 1, written, done: 0 }
    }

    pub(crate) fn run(&mut self, requests: u64) {
        for _ in 0..requests {
            self.one();
        }
    }

    fn one(&mut self) {
        let Self { rules, session, flow, peer, now, salt, written, done } = self;
        now.0 += 1000;
        let mut turn = Turn { now: *now, rules, date: b"", peer, salt };
        written.clear();
        flow.clear();
        assert_eq!(session.handle_client(&mut turn, REQUEST, flow), REQUEST.len());
        assert!(flow.choose);
        flow.clear();
        session.begin(&mut turn, 1, None, flow);
        written.extend_from_slice(session.held());
        flow.clear();
        assert_eq!(session.handle_upstream(&mut turn, ANSWER, flow), ANSWER.len());
        flow.to_client.slices(ANSWER).for_each(|piece| written.extend_from_slice(piece));
        assert!(matches!(flow.upstream, Some(Parting::Keep { idle: Some(_) })) && flow.client.is_none());
        *done += u64::from(flow.done.take().is_some_and(|record| record.status == 200));
    }

    /// Requests that were answered.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }
}
