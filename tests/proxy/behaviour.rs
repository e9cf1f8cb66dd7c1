//! What a session does beyond the table: failures, time, blocked sides, and what rules ask for.

use std::time::Duration;

use pointsman::forward::{
    record::Reason,
    rules::{ErrorPage, ForwardRules, HashKey, LogFormat, Network},
    session::{Ending, Failure, Session, Side},
};

use crate::{
    cases::OK,
    strict::{self, Message},
    world::World,
};

const GET: &str = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
/// Its body is not all there.
const SLOW_POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello";

fn world(rules: ForwardRules, given: &str) -> World {
    let mut world = World::new(rules);
    world.client_says(given.as_bytes());
    world.turn();
    world
}

impl World {
    fn answer(&mut self, bytes: &[u8]) {
        let current = self.current.expect("an upstream");
        self.upstreams[current].pending.extend_from_slice(bytes);
        self.turn();
    }

    /// Time goes on until something is due; tells how long that was.
    fn wait(&mut self) -> Duration {
        let due = self.session.deadline().expect("a deadline");
        let waited = due.since(self.now);
        self.now = due;
        self.call(&[], |session, turn, flow| session.handle_timeout(turn, flow));
        self.turn();
        waited
    }

    fn answers(&self) -> Vec<Message> {
        let ended = matches!(self.client.ending, Some(Ending::Close | Ending::Linger));
        let (answers, fault) = strict::answers(&self.client.received, &["GET".into(), "GET".into()], ended);
        assert_eq!(fault, None, "{:?}", String::from_utf8_lossy(&self.client.received));
        answers
    }

    fn codes(&self) -> Vec<u16> {
        self.answers().iter().map(Message::code).collect()
    }

    fn reasons(&self) -> Vec<Reason> {
        self.records.iter().map(|record| record.reason).collect()
    }

    fn fail(&mut self, why: Reason) {
        self.choosing = false;
        self.call(&[], |session, turn, flow| session.fail(turn, why, flow));
    }
}

fn failure(reason: Reason, unwritten: bool) -> Failure {
    Failure { reason, unwritten, reused: false }
}

#[test]
fn what_may_be_tried_again() {
    let (closed, refused, late) = (Reason::UpstreamClosed, Reason::ConnectFailed, Reason::UpstreamTimeout);
    for (given, reason, unwritten, may) in [
        (GET, closed, false, true),
        (GET, late, false, false),
        (GET, Reason::BadAnswer, false, false),
        (POST, closed, false, false),
        (POST, closed, true, true),
        (POST, refused, true, true),
        (SLOW_POST, closed, true, true),
        ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello", closed, false, true),
        ("PATCH / HTTP/1.1\r\nHost: a\r\n\r\n", closed, false, false),
    ] {
        let world = world(ForwardRules::default(), given);
        let found = world.session.may_retry(&world.rules, failure(reason, unwritten));
        assert_eq!(found, may, "{given:?} {reason:?} {unwritten}");
    }
    let mut begun = world(ForwardRules::default(), GET);
    begun.answer(b"HTTP/1.1 1");
    assert!(!begun.session.may_retry(&begun.rules, failure(closed, false)), "an answer has begun");
}

#[test]
fn a_request_is_sent_again_whole_and_only_so_often() {
    let mut world = world(ForwardRules { tries: 2, ..ForwardRules::default() }, SLOW_POST);
    assert!(world.session.may_retry(&world.rules, failure(Reason::UpstreamClosed, true)));
    world.call(&[], |session, turn, flow| session.retry(turn, flow));
    world.turn();
    assert_eq!(world.upstreams.len(), 2);
    assert_eq!(world.upstreams[0].received, world.upstreams[1].received);
    assert!(!world.session.may_retry(&world.rules, failure(Reason::UpstreamClosed, true)), "no try is left");
    world.client_says(b" you");
    world.turn();
    world.answer(OK);
    assert!(world.upstreams[1].received.ends_with(b"hello you"));
    assert_eq!((world.codes(), world.records[0].tries, world.session.tries()), (vec![200], 2, 0));
}

/// What meets a connection that was kept too long goes to a new one, and not from one of its kind to the next.
#[test]
fn a_kept_connection_that_is_gone_costs_no_try() {
    let rules = ForwardRules { tries: 1, ..ForwardRules::default() };
    for (given, may) in [(GET, true), (POST, false)] {
        let world = world(rules.clone(), given);
        let kept = Failure { reused: true, ..failure(Reason::UpstreamClosed, false) };
        assert_eq!(world.session.may_retry(&world.rules, kept), may, "{given:?}");
        assert!(!world.session.may_retry(&world.rules, failure(Reason::UpstreamClosed, false)));
    }
}

#[test]
fn connecting_that_fails_counts_as_a_try() {
    let mut world = World::new(ForwardRules { tries: 2, ..ForwardRules::default() });
    world.call(GET.as_bytes(), |session, turn, flow| session.handle_client(turn, GET.as_bytes(), flow));
    assert!(world.session.may_retry(&world.rules, failure(Reason::ConnectFailed, true)));
    world.choosing = false;
    world.call(&[], |session, turn, flow| session.retry(turn, flow));
    assert!(!world.session.may_retry(&world.rules, failure(Reason::ConnectFailed, true)));
    world.fail(Reason::ConnectFailed);
    assert_eq!((world.codes(), world.records[0].tries), (vec![502], 2));
    assert!(world.session.is_idle());
}

#[test]
fn a_long_body_is_not_kept() {
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n";
    let mut world = world(ForwardRules::default(), head);
    for (length, may) in [(16 << 10, true), (1, false)] {
        world.client_says(&vec![b'x'; length]);
        world.turn();
        assert_eq!(world.session.may_retry(&world.rules, failure(Reason::UpstreamClosed, false)), may);
    }
    assert!(world.session.held().is_empty());
}

#[test]
fn a_body_that_comes_with_its_head_reaches_the_upstream_once() {
    for length in [5, 16 << 10, (16 << 10) + 1, 60 << 10] {
        let body = "x".repeat(length);
        let given = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}");
        let mut world = world(ForwardRules::default(), &given);
        let (requests, fault) = strict::requests(&world.upstreams[0].received);
        assert_eq!((requests.len(), fault), (1, None), "{length}");
        assert!(requests[0].body == body.as_bytes(), "{length}");
        world.answer(OK);
        assert_eq!((world.codes(), world.records[0].received), (vec![200], length as u64));
    }
}

#[test]
fn failures_are_answered_as_what_they_are() {
    for (why, code) in [
        (Reason::NoUpstream, 503),
        (Reason::QueueFull, 503),
        (Reason::QueueTimeout, 503),
        (Reason::ConnectFailed, 502),
        (Reason::UpstreamClosed, 502),
        (Reason::ConnectTimeout, 504),
        (Reason::UpstreamTimeout, 504),
    ] {
        let mut failed = world(ForwardRules::default(), GET);
        failed.fail(why);
        assert_eq!((failed.codes(), failed.reasons()), (vec![code], vec![why]));
        assert_eq!(failed.answers()[0].values("retry-after").len(), usize::from(code == 503));
        assert!(failed.session.is_idle() && failed.client.ending.is_none(), "{why:?}");

        let mut unread = world(ForwardRules::default(), SLOW_POST);
        unread.fail(why);
        assert_eq!(unread.client.ending, Some(Ending::Linger), "a body is on its way");
        assert!(unread.answers()[0].closes());
    }
}

#[test]
fn an_answer_that_has_begun_is_cut() {
    for (why, reason) in [(Reason::UpstreamClosed, Reason::Truncated), (Reason::Stopped, Reason::Stopped)] {
        let mut world = world(ForwardRules::default(), GET);
        world.answer(b"HTTP/1.1 200 OK\r\n\r\npart");
        world.fail(why);
        assert_eq!(world.client.ending, Some(Ending::Cut));
        assert_eq!((world.reasons(), world.records[0].status, world.records[0].sent), (vec![reason], 200, 4));
        assert!(!world.client.received.ends_with(b"0\r\n\r\n"));
    }
}

#[test]
fn an_answer_of_which_nothing_has_gone_is_replaced() {
    const HEAD: &[u8] = b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut at_once = world(ForwardRules::default(), GET);
    at_once.answer(&[HEAD, b"2\r\nok\r\n5\nhello"].concat());
    assert_eq!((at_once.codes(), at_once.reasons()), (vec![103, 502], vec![Reason::BadAnswer]));
    assert_eq!((at_once.records[0].status, at_once.client.ending), (502, None));
    assert_eq!(at_once.records[0].sent, at_once.answers()[1].body.len() as u64);
    assert!(at_once.upstreams[0].closed && at_once.session.is_idle());

    let mut later = world(ForwardRules::default(), GET);
    later.answer(HEAD);
    later.answer(b"5\nhello");
    assert_eq!((later.client.ending, later.reasons()), (Some(Ending::Cut), vec![Reason::BadAnswer]));
    assert_eq!(later.records[0].status, 200);
}

#[test]
fn error_pages() {
    let page = |code, body: &str| ErrorPage { code, kind: "text/html".into(), body: body.into() };
    let error_pages = vec![page(5, "five"), page(503, "exactly")];
    let rules = ForwardRules { error_pages, ..ForwardRules::default() };
    for (why, body) in [(Reason::NoUpstream, "exactly"), (Reason::ConnectFailed, "five")] {
        let mut world = world(rules.clone(), GET);
        world.fail(why);
        assert_eq!(world.answers()[0].body, body.as_bytes());
        assert_eq!(world.answers()[0].values("content-type"), ["text/html"]);
    }
}

#[test]
fn a_client_that_is_slow() {
    let rules = ForwardRules::default;
    let mut silent = world(rules(), "");
    assert_eq!(silent.wait(), rules().header_timeout);
    assert_eq!((silent.client.ending, silent.records.len()), (Some(Ending::Close), 0));

    let mut begun = world(rules(), "GET / HT");
    begun.now = begun.now + Duration::from_secs(7);
    begun.client_says(b"TP");
    begun.turn();
    assert_eq!(begun.wait(), rules().header_timeout - Duration::from_secs(7), "of the head, not of a byte");
    assert_eq!((begun.codes(), begun.reasons()), (vec![408], vec![Reason::ClientTimeout]));

    let mut idle = world(rules(), GET);
    idle.answer(OK);
    assert_eq!(idle.wait(), rules().idle_timeout);
    assert_eq!((idle.client.ending, idle.records.len()), (Some(Ending::Close), 1));

    let mut slow = world(rules(), SLOW_POST);
    slow.now = slow.now + Duration::from_secs(50);
    slow.client_says(b"x");
    slow.turn();
    assert_eq!(slow.wait(), rules().body_timeout, "since the last byte");
    assert_eq!((slow.codes(), slow.client.ending), (vec![408], Some(Ending::Linger)));
    assert!(slow.upstreams[0].closed);

    let mut early = world(rules(), SLOW_POST);
    early.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab");
    assert_eq!(early.wait(), rules().body_timeout);
    assert_eq!((early.client.ending, early.reasons()), (Some(Ending::Cut), vec![Reason::ClientTimeout]));
}

#[test]
fn an_upstream_that_is_slow() {
    let rules = ForwardRules::default;
    let mut silent = world(rules(), GET);
    assert_eq!(silent.wait(), rules().response_timeout);
    assert_eq!((silent.codes(), silent.reasons()), (vec![504], vec![Reason::UpstreamTimeout]));
    assert!(silent.upstreams[0].closed && silent.session.is_idle());

    let mut stalled = world(rules(), GET);
    stalled.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab");
    assert_eq!(stalled.wait(), rules().stream_timeout);
    assert_eq!((stalled.client.ending, stalled.reasons()), (Some(Ending::Cut), vec![Reason::Truncated]));

    let mut full = world(rules(), SLOW_POST);
    full.block(Side::Upstream, true);
    assert!(!full.session.wants_client());
    assert_eq!(full.wait(), rules().stream_timeout);
    assert_eq!(full.codes(), [504]);

    let expects = SLOW_POST.replace("hello", "").replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    let mut mute = world(ForwardRules { body_timeout: Duration::from_secs(1), ..rules() }, &expects);
    assert_eq!(mute.wait(), rules().response_timeout, "it is not the client who is late");
    assert_eq!(mute.codes(), [504]);
}

#[test]
fn all_of_a_request_has_its_time() {
    let rules = ForwardRules { request_timeout: Some(Duration::from_secs(10)), ..ForwardRules::default() };
    for (given, codes) in [(GET, 504), (SLOW_POST, 408)] {
        let mut world = world(rules.clone(), given);
        assert_eq!((world.wait(), world.codes()), (Duration::from_secs(10), vec![codes]), "{given}");
    }
    let mut begun = world(rules, GET);
    begun.answer(b"HTTP/1.1 200 OK\r\n\r\nab");
    assert_eq!((begun.wait(), begun.client.ending), (Duration::from_secs(10), Some(Ending::Cut)));
}

#[test]
fn a_client_that_takes_nothing() {
    let rules = ForwardRules::default;
    let mut full = world(rules(), GET);
    full.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab");
    full.block(Side::Client, true);
    assert!(!full.session.wants_upstream());
    full.now = full.now + Duration::from_secs(30);
    full.block(Side::Client, true);
    assert_eq!(full.wait(), rules().send_timeout, "since it took something");
    assert_eq!((full.client.ending, full.reasons()), (Some(Ending::Cut), vec![Reason::ClientTimeout]));

    let mut behind = world(rules(), GET);
    behind.answer(OK);
    behind.block(Side::Client, true);
    assert!(!behind.session.wants_client(), "nothing before it has taken its answer");
    behind.now = behind.now + Duration::from_secs(59);
    behind.block(Side::Client, false);
    assert_eq!(behind.wait(), rules().idle_timeout, "since it has taken its answer");

    const OWN: &str = "OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n";
    let mut greedy = world(rules(), GET);
    greedy.answer(OK);
    greedy.block(Side::Client, true);
    greedy.client_says(OWN.repeat(2).as_bytes());
    greedy.client.ended = true;
    greedy.turn();
    assert_eq!(greedy.codes(), [200], "what it does not take is not made");
    greedy.block(Side::Client, false);
    greedy.turn();
    assert_eq!((greedy.codes(), greedy.client.ending), (vec![200; 3], Some(Ending::Close)));

    let mut never = world(rules(), GET);
    never.answer(OK);
    never.block(Side::Client, true);
    assert_eq!((never.wait(), never.client.ending), (rules().send_timeout, Some(Ending::Cut)));
}

#[test]
fn bodies_have_a_limit() {
    let rules = ForwardRules { max_body: Some(6), ..ForwardRules::default() };
    let mut declared = world(rules.clone(), SLOW_POST);
    assert_eq!((declared.codes(), declared.client.ending), (vec![413], Some(Ending::Linger)));
    assert!(declared.upstreams.is_empty());
    declared.turn();

    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let mut grown = world(rules.clone(), chunked);
    assert!(grown.codes().is_empty());
    grown.client_says(b"2\r\nab\r\n0\r\n\r\n");
    grown.turn();
    assert_eq!((grown.codes(), grown.reasons()), (vec![413], vec![Reason::TooLarge]));
    assert!(grown.upstreams[0].closed && grown.requests().is_empty());

    let mut fits = world(rules, &format!("{chunked}1\r\n!\r\n0\r\n\r\n"));
    fits.answer(OK);
    assert_eq!(fits.codes(), [200]);
}

#[test]
fn the_answer_goes_on_while_the_request_does() {
    let mut world = world(ForwardRules::default(), SLOW_POST);
    world.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
    world.client_says(b"12");
    world.turn();
    assert!(world.upstreams[0].received.ends_with(b"hello12"));
    world.answer(b"cd");
    assert_eq!((world.codes(), world.client.ending), (vec![200], Some(Ending::Linger)));
    assert!(world.upstreams[0].closed, "its request is not whole");
}

#[test]
fn a_tunnel_ends_in_halves() {
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let open = || {
        let mut world = world(ForwardRules::default(), upgrade);
        world.answer(b"HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
        assert!(world.session.is_tunnel());
        world
    };
    let mut client_first = open();
    client_first.client_says(b"last words");
    client_first.client.ended = true;
    client_first.turn();
    assert!(client_first.upstreams[0].shut && client_first.upstreams[0].received.ends_with(b"last words"));
    client_first.answer(b"answered");
    assert!(client_first.client.received.ends_with(b"answered") && client_first.client.ending.is_none());
    client_first.upstreams[0].ended = true;
    client_first.turn();
    assert_eq!(
        (client_first.client.ending, client_first.reasons()),
        (Some(Ending::Close), vec![Reason::Done])
    );
    assert_eq!((client_first.records[0].received, client_first.records[0].sent), (10, 8));

    let mut upstream_first = open();
    upstream_first.upstreams[0].ended = true;
    upstream_first.turn();
    assert!(upstream_first.client.shut && upstream_first.client.ending.is_none());
    upstream_first.client_says(b"more");
    upstream_first.turn();
    assert!(upstream_first.upstreams[0].received.ends_with(b"more"));
    upstream_first.client.ended = true;
    upstream_first.turn();
    assert_eq!(upstream_first.client.ending, Some(Ending::Close));

    let mut silent = open();
    assert_eq!(silent.wait(), silent.rules.tunnel_timeout);
    assert!(silent.client.ending.is_some() && silent.upstreams[0].closed);
}

#[test]
fn anything_but_http_goes_through_as_it_is() {
    let mut world = World::new(ForwardRules::default());
    world.session = Session::tcp(world.now, &world.rules);
    world.call(&[], |session, turn, flow| session.start(turn, flow));
    assert!(world.choosing && world.session.request().unwrap().key.is_some());
    world.client_says(b"\0hello");
    world.client.ended = true;
    world.turn();
    assert!(world.upstreams[0].received == b"\0hello" && world.upstreams[0].shut);
    world.answer(b"\xffback");
    world.upstreams[0].ended = true;
    world.turn();
    assert_eq!(
        (world.client.ending, world.client.received.as_slice()),
        (Some(Ending::Close), b"\xffback".as_slice())
    );
    assert_eq!(
        (world.reasons(), world.records[0].received, world.records[0].sent),
        (vec![Reason::Done], 6, 5)
    );

    let mut alone = World::new(ForwardRules::default());
    alone.session = Session::tcp(alone.now, &alone.rules);
    alone.call(&[], |session, turn, flow| session.start(turn, flow));
    assert!(alone.session.may_retry(&alone.rules, failure(Reason::ConnectFailed, true)));
    alone.fail(Reason::NoUpstream);
    assert_eq!((alone.client.ending, alone.reasons()), (Some(Ending::Cut), vec![Reason::NoUpstream]));
}

#[test]
fn a_lane_that_leaves() {
    let drain = |world: &mut World| {
        world.call(&[], |session, turn, flow| session.drain(turn, flow));
        world.turn();
    };
    let mut idle = world(ForwardRules::default(), GET);
    idle.answer(OK);
    drain(&mut idle);
    assert!(idle.client.ending.is_none(), "a request may be on its way");
    assert_eq!((idle.wait(), idle.client.ending), (Duration::from_secs(1), Some(Ending::Close)));

    let mut asked = world(ForwardRules::default(), GET);
    asked.answer(OK);
    drain(&mut asked);
    asked.client_says(GET.as_bytes());
    asked.turn();
    asked.answer(OK);
    assert!(asked.answers()[1].closes());
    assert_eq!(asked.client.ending, Some(Ending::Linger));

    let mut busy = world(ForwardRules::default(), GET);
    drain(&mut busy);
    busy.answer(OK);
    assert!(busy.answers()[0].closes() && busy.client.ending == Some(Ending::Linger));
}

#[test]
fn a_client_that_leaves() {
    let gone = |world: &mut World| {
        world.call(&[], |session, turn, flow| session.handle_client_gone(turn, flow));
        (world.client.ending, world.reasons())
    };
    let mut waiting = world(ForwardRules::default(), GET);
    assert_eq!(gone(&mut waiting), (Some(Ending::Cut), vec![Reason::ClientGone]));
    assert!(waiting.upstreams[0].closed);
    let mut idle = world(ForwardRules::default(), "");
    assert_eq!(gone(&mut idle), (Some(Ending::Cut), vec![]));

    // A sign of life is asked for only of who has said all, and knows what it means.
    for (version, probes) in [("1.1", 1), ("1.0", 0)] {
        let mut queued = World::new(ForwardRules::default());
        let head = GET.replace("1.1", version);
        queued
            .call(head.as_bytes(), |session, turn, flow| session.handle_client(turn, head.as_bytes(), flow));
        queued.call(&[], |session, _, flow| session.probe(flow));
        queued.call(&[], |session, turn, flow| session.handle_client_end(turn, flow));
        assert!(queued.codes().is_empty(), "one that has only said all is left in peace");
        queued.call(&[], |session, _, flow| session.probe(flow));
        assert_eq!(queued.codes(), vec![100; probes]);
        assert!(queued.choosing, "it still wants its answer");
        assert_eq!(gone(&mut queued), (Some(Ending::Cut), vec![Reason::ClientGone]));
    }
}

#[test]
fn trusted_proxies_are_believed() {
    let trusted_proxies = vec![Network { address: "127.0.0.0".parse().unwrap(), prefix: 8 }];
    let rules = ForwardRules {
        trusted_proxies,
        forwarded: true,
        access_log: Some(LogFormat::Combined),
        ..ForwardRules::default()
    };
    let fields = "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\nX-Forwarded-Proto: https\r\n\
        X-Forwarded-Host: b\r\nForwarded: for=1.1.1.1\r\nX-Request-ID: given\r\nUser-Agent: u\r\nReferer: r\r\n";
    let mut world = world(rules, &format!("GET /a HTTP/1.1\r\nHost: a:80\r\n{fields}\r\n"));
    world.answer(OK);
    let request = &world.requests()[0];
    assert_eq!(request.values("x-forwarded-for"), ["1.1.1.1, 2.2.2.2, 127.0.0.1"]);
    assert_eq!(request.values("x-forwarded-proto"), ["https"]);
    assert_eq!(request.values("x-forwarded-host"), ["b"]);
    assert_eq!(request.values("forwarded"), ["for=1.1.1.1", "for=127.0.0.1;host=\"a:80\";proto=http"]);
    assert_eq!(request.values("x-request-id"), ["given"]);
    let asked = world.records[0].asked.as_ref().unwrap();
    assert_eq!((asked.line.as_slice(), asked.client.as_str()), (b"GET /a HTTP/1.1".as_slice(), "2.2.2.2"));
    assert_eq!((asked.host.as_slice(), asked.id.as_slice()), (b"a:80".as_slice(), b"given".as_slice()));
    assert_eq!((asked.agent.as_slice(), asked.referer.as_slice()), (b"u".as_slice(), b"r".as_slice()));
}

#[test]
fn a_client_stays_with_its_upstream() {
    let rules =
        ForwardRules { sticky: Some("lane".into()), hash_key: HashKey::Path, ..ForwardRules::default() };
    for (cookie, expected) in
        [("", true), ("Cookie: lane=00000000000000ab\r\n", false), ("Cookie: lane=1\r\n", true)]
    {
        let mut world = World::new(rules.clone());
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{cookie}\r\n");
        world.call(head.as_bytes(), |session, turn, flow| session.handle_client(turn, head.as_bytes(), flow));
        let asked = *world.session.request().unwrap();
        assert_eq!(asked.sticky, (!expected).then_some(0xab));
        world.sticky = Some(0xab);
        world.turn();
        world.answer(OK);
        let set = world.answers()[0].values("set-cookie");
        let text = "lane=00000000000000ab; Path=/; HttpOnly; SameSite=Lax";
        assert_eq!(set, if expected { vec![text] } else { vec![] }, "{cookie}");
    }
}

#[test]
fn moments_and_counts_are_recorded() {
    let mut world = world(ForwardRules::default(), &POST[..10]);
    let step = Duration::from_secs(1);
    let began = world.now;
    world.now = began + step;
    world.client_says(&POST.as_bytes()[10..]);
    world.turn();
    world.now = began + 2 * step;
    world.answer(&OK[..10]);
    world.now = began + 3 * step;
    world.answer(&OK[10..]);
    let record = &world.records[0];
    let (times, read) = (record.times, Some(began + step));
    assert_eq!((times.began, times.read, times.connected), (began, read, read));
    assert_eq!((times.answered, times.ended), (Some(began + 2 * step), began + 3 * step));
    assert_eq!((record.status, record.received, record.sent, record.tries), (200, 5, 2, 1));
    assert_eq!((record.upstream, record.reason), (Some(0), Reason::Done));
}
