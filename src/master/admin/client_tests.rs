//! Clients on a pair of sockets, and a made-up time.

use std::os::fd::OwnedFd;

use super::*;
use crate::{http::Version, sys::channel};

const START: Time = Time(1_000_000_000);
const GET: &[u8] = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n";

struct Pair {
    client: Client,
    theirs: OwnedFd,
    now: Time,
    buffer: Vec<u8>,
}

impl Pair {
    fn new() -> Self {
        let (ours, theirs) = channel::pair().unwrap();
        [&ours, &theirs].into_iter().for_each(|end| channel::set_nonblocking(end, true).unwrap());
        Self {
            client: Client::new(START, 0, Stream::new(ours)),
            theirs,
            now: START,
            buffer: vec![0; 64 << 10],
        }
    }

    fn after(&mut self, seconds: u64) -> &mut Self {
        self.now = self.now + Duration::from_secs(seconds);
        self
    }

    /// Sends this, and says what becomes of the client.
    fn say(&mut self, bytes: &[u8]) -> Next {
        if !bytes.is_empty() {
            channel::send(self.theirs.as_fd(), bytes, None).unwrap();
        }
        self.client.handle_readable();
        self.advance()
    }

    fn advance(&mut self) -> Next {
        self.client.advance(self.now, &mut self.buffer)
    }

    fn answer(&mut self, body: String, keep_alive: bool) {
        let manner = Manner { version: Version::Http11, keep_alive, head_only: false };
        self.client.answer(self.now, &Answer::ok("text/plain", body), manner, b"now");
    }

    /// Until it is over, in seconds.
    fn left(&self) -> u64 {
        (self.client.deadline() - self.now).as_secs()
    }

    fn hear(&self) -> io::Result<usize> {
        channel::receive(self.theirs.as_fd(), &mut [0; 64 << 10]).map(|received| received.bytes)
    }
}

#[test]
fn everything_that_a_client_does_has_its_time() {
    let mut pair = Pair::new();
    assert_eq!(pair.left(), 10, "the first request is to come at once");
    assert!(matches!(pair.after(4).say(&GET[..5]), Next::Wait));
    assert_eq!(pair.left(), 6, "and to be whole");
    assert!(matches!(pair.say(&GET[5..]), Next::Answer(_)));
    pair.answer("ok".into(), true);
    assert_eq!(pair.left(), 30);
    assert!(matches!(pair.after(1).advance(), Next::Wait));
    assert_eq!(pair.left(), 30, "it may think");
    assert!(matches!(pair.after(20).say(&GET[..1]), Next::Wait));
    assert_eq!(pair.left(), 10);
    assert!(matches!(pair.after(9).say(&GET[1..2]), Next::Wait));
    assert_eq!(
        (pair.left(), pair.client.moved()),
        (1, pair.now),
        "which a byte now and then does not prolong"
    );
    assert!(pair.hear().unwrap() > 2);
}

#[test]
fn the_next_request_waits_until_the_answer_is_taken() {
    let mut pair = Pair::new();
    assert!(matches!(pair.say(&GET.repeat(2)), Next::Answer(_)));
    pair.answer("x".repeat(4 << 20), true);
    assert!(matches!(pair.advance(), Next::Wait), "the kernel holds less");
    assert!(matches!(pair.after(29).say(GET), Next::Wait), "nor is more of it read");
    assert_eq!(pair.left(), 1);
    while pair.hear().is_ok() {
        if let Next::Answer(_) = pair.advance() {
            return;
        }
    }
    panic!("it was not asked again");
}

#[test]
fn a_client_that_leaves_is_let_go() {
    for (keep_alive, unread, lingers) in [(false, &b""[..], false), (false, GET, true)] {
        let mut pair = Pair::new();
        assert!(matches!(pair.say(&[GET, unread].concat()), Next::Answer(_)));
        pair.answer("ok".into(), keep_alive);
        assert_eq!(matches!(pair.advance(), Next::Wait), lingers);
        if lingers {
            assert_eq!(pair.left(), 2);
            assert!(matches!(pair.after(1).say(&[b'x'; 1000]), Next::Wait));
            assert_eq!(pair.left(), 1, "however much it sends");
        }
        assert!(pair.hear().unwrap() > 2);
        assert!(!lingers || pair.hear().unwrap() == 0, "its end is told");
        drop(pair.theirs);
        pair.client.handle_readable();
        assert!(matches!(pair.client.advance(pair.now, &mut pair.buffer), Next::Over));
    }
    let mut pair = Pair::new();
    assert!(matches!(pair.say(&GET[..9]), Next::Wait));
    drop(pair.theirs);
    pair.client.handle_readable();
    assert!(matches!(pair.client.advance(pair.now, &mut pair.buffer), Next::Over), "half a request");
}

#[test]
fn nobody_has_more_than_a_share_of_a_turn() {
    let mut pair = Pair::new();
    channel::send(pair.theirs.as_fd(), &b"\r\n".repeat(60_000), None).unwrap();
    let mut turns = 1;
    while matches!(pair.advance(), Next::Again) {
        turns += 1;
    }
    assert!(turns > 1 && turns < 10, "{turns}");
    assert!(matches!(pair.say(GET), Next::Answer(_)));
    assert!(matches!(Pair::new().say(&[b'a'; MAX_HEAD]), Next::Refuse(Status::UriTooLong)));
}
