//! Conversations in every cut, without a socket.

use std::time::Duration;

use super::*;

const CLOSE: &str = "Connection: close\r\n";

fn site() -> Site {
    let mut site = Site::new("worker 2 (slot 1, pid 4711) answered");
    site.date.set(0);
    site
}

#[expect(clippy::disallowed_methods, reason = "some moment, the same through a test")]
fn moment() -> Instant {
    Instant::now()
}

/// Takes all output, `at_most` bytes of it in one go.
fn take(conversation: &mut Conversation, at_most: usize) -> String {
    let mut text = Vec::new();
    while conversation.has_output() {
        let (first, second) = conversation.output();
        let all = [first, second].concat();
        assert!(!all.is_empty(), "output that is none");
        let count = all.len().min(at_most);
        text.extend_from_slice(&all[..count]);
        conversation.handle_sent(count);
    }
    String::from_utf8(text).unwrap()
}

/// As a connection does: input only when it is wanted, time only when it is waited for.
fn talk(pieces: &[&[u8]], at_most: usize) -> (String, Rest) {
    let (site, mut now) = (site(), moment());
    let mut conversation = Conversation::new();
    let mut text = String::new();
    let mut settle = |conversation: &mut Conversation, now: &mut Instant| {
        loop {
            conversation.resume(*now, &site);
            if conversation.has_output() {
                text.push_str(&take(conversation, at_most));
            } else if let Some(until) = conversation.timeout() {
                *now = until;
            } else {
                break;
            }
        }
    };
    for piece in pieces {
        settle(&mut conversation, &mut now);
        if conversation.wants_input() && !piece.is_empty() {
            conversation.handle_input(now, &site, piece);
        }
    }
    settle(&mut conversation, &mut now);
    (text, conversation.rest())
}

/// Whole, cut in two at every byte, byte by byte, and with a client that takes little at a time.
fn check(requests: &str, expected: &[String], rest: Rest) {
    let bytes = requests.as_bytes();
    let expected = (expected.concat(), rest);
    for cut in 0..=bytes.len() {
        assert_eq!(talk(&[&bytes[..cut], &bytes[cut..]], usize::MAX), expected, "{requests} cut at {cut}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(talk(&single, 7), expected, "{requests} byte by byte");
}

fn answer(status: &str, fields: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nServer: pointsman-demo\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n{fields}\
         Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn text(fields: &str, body: &str) -> String {
    answer("200 OK", fields, "text/plain; charset=utf-8", body)
}

fn bytes(fields: &str, body: &str) -> String {
    answer("200 OK", fields, "application/octet-stream", body)
}

fn refusal(fields: &str, status: &str) -> String {
    answer(status, fields, "text/plain; charset=utf-8", &format!("{status}\n"))
}

fn home() -> String {
    "worker 2 (slot 1, pid 4711) answered\n\nGET  /slow?ms=500    answers after 500 ms\n\
     GET  /bytes?n=1000   answers 1000 bytes\nPOST /echo           answers what was sent\n"
        .to_owned()
}

/// An answer to HEAD.
fn head(answer: &str) -> String {
    answer.split_inclusive("\r\n\r\n").next().unwrap().to_owned()
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    check(
        "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /slow?ms=50 HTTP/1.1\r\nHost: a\r\n\r\n\
         \r\nPOST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
         GET /bytes?n=70 HTTP/1.1\r\nHost: a\r\n\r\nHEAD /bytes?n=70 HTTP/1.1\r\nHost: a\r\n\r\n\
         POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nT: x\r\n\r\n\
         GET /none HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nno\
         GET /bytes?n=0 HTTP/1.1\r\nHost: a\r\n\r\nHEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
        &[
            text("", &home()),
            text("", "that was slow\n"),
            bytes("", "hello"),
            bytes("", std::str::from_utf8(&PATTERN[..70]).unwrap()),
            head(&bytes("", &"x".repeat(70))),
            bytes("", "abc"),
            refusal("", "404 Not Found"),
            refusal("Allow: GET, HEAD\r\n", "405 Method Not Allowed"),
            bytes("", ""),
            head(&text("", &home())),
        ],
        Rest::Open,
    );
}

#[test]
fn the_last_request_of_a_connection() {
    check("GET / HTTP/1.0\r\n\r\n", &[text(CLOSE, &home())], Rest::Closed);
    check(
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /bytes?n=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        &[text("Connection: keep-alive\r\n", &home()), bytes(CLOSE, "0")],
        Rest::Closed,
    );
    let (said, rest) = talk(&[b"GET / HTTP/1.0\r\n\r\nGET / HTTP/1.0\r\n\r\n"], usize::MAX);
    assert_eq!((said, rest), (text(CLOSE, &home()), Rest::Unread), "the second is not answered");
}

#[test]
fn what_follows_a_bad_request_is_not_looked_at() {
    let check = |request: &str, status: &str| {
        let all = format!("{request}GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        for cut in 0..=all.len() {
            let (said, rest) = talk(&[&all.as_bytes()[..cut], &all.as_bytes()[cut..]], usize::MAX);
            assert_eq!((said, rest), (refusal(CLOSE, status), Rest::Unread), "{request} cut at {cut}");
        }
    };
    check("garbage\r\n\r\n", "400 Bad Request");
    check("GET / HTTP/1.1\nHost: a\n\n", "400 Bad Request");
    check(
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400 Bad Request",
    );
    check(
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n",
        "400 Bad Request",
    );
    check("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 16777217\r\n\r\n", "413 Content Too Large");
    check("GET / HTTP/3.0\r\nHost: a\r\n\r\n", "505 HTTP Version Not Supported");
}

#[test]
fn expectations() {
    let (site, now) = (site(), moment());
    let mut conversation = Conversation::new();
    let request = b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    conversation.handle_input(now, &site, request);
    assert_eq!(take(&mut conversation, 9), "HTTP/1.1 100 Continue\r\n\r\n");
    conversation.handle_input(now, &site, b"ok");
    assert_eq!(take(&mut conversation, 9), bytes("", "ok"));
    conversation.handle_input(now, &site, &[request.as_slice(), b"ok"].concat());
    assert_eq!(take(&mut conversation, 9), bytes("", "ok"), "it did not wait");
}

#[test]
fn a_client_that_takes_nothing_is_not_read() {
    let (site, now) = (site(), moment());
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut conversation = Conversation::new();
    let mut asked = 0;
    while conversation.wants_input() {
        conversation.handle_input(now, &site, &request.repeat(1000));
        asked += 1000;
        assert!(asked < 100_000);
    }
    assert!(
        conversation.output.len() < HIGH_WATER + 1024 && conversation.input.len() <= 1000 * request.len()
    );
    let mut said = String::new();
    while conversation.has_output() {
        said.push_str(&take(&mut conversation, usize::MAX));
        conversation.resume(now, &site);
    }
    assert_eq!(said, text("", &home()).repeat(asked));
    assert!(conversation.wants_input() && conversation.is_idle());
    assert_eq!(
        (conversation.input.capacity(), conversation.output.capacity()),
        (0, 0),
        "memory is given back"
    );
}

#[test]
fn many_bytes_need_no_memory() {
    let (site, now) = (site(), moment());
    let mut conversation = Conversation::new();
    conversation.handle_input(now, &site, b"GET /bytes?n=1073741824 HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = take_piece(&mut conversation, 200);
    let mut left = (1 << 30) - (200 - (head.find("\r\n\r\n").unwrap() + 4));
    while conversation.has_output() {
        assert!(conversation.output.capacity() <= KEEP_CAPACITY && !conversation.wants_input());
        let (first, second) = conversation.output();
        assert!(first.is_empty() && !second.is_empty());
        let count = second.len();
        left -= count;
        conversation.handle_sent(count);
    }
    assert_eq!((left, conversation.rest()), (0, Rest::Open));
}

/// Takes `count` bytes of output.
fn take_piece(conversation: &mut Conversation, count: usize) -> String {
    let (first, second) = conversation.output();
    let piece = [first, second].concat()[..count].to_vec();
    conversation.handle_sent(count);
    String::from_utf8(piece).unwrap()
}

#[test]
fn a_slow_answer_comes_at_its_time() {
    let (site, now) = (site(), moment());
    let mut conversation = Conversation::new();
    conversation.handle_input(now, &site, b"GET /slow?ms=30 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(conversation.timeout(), Some(now + Duration::from_millis(30)));
    conversation.resume(now + Duration::from_millis(29), &site);
    assert!(!conversation.has_output() && !conversation.wants_input() && !conversation.is_idle());
    conversation.handle_end();
    assert_eq!(conversation.rest(), Rest::Open, "it has asked, so it is answered");
    conversation.resume(now + Duration::from_millis(30), &site);
    assert_eq!(take(&mut conversation, usize::MAX), text("", "that was slow\n"));
    assert_eq!(conversation.rest(), Rest::Closed);
}

#[test]
fn a_leaving_worker_lets_its_clients_go() {
    let (mut site, now) = (site(), moment());
    let mut conversation = Conversation::new();
    assert!(!conversation.is_idle() && conversation.is_waiting(), "its first request may be on its way");
    conversation.handle_input(
        now,
        &site,
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /slow HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert_eq!(take(&mut conversation, usize::MAX), text("", &home()));
    site.draining = true;
    conversation.resume(now + Duration::from_secs(1), &site);
    assert_eq!(take(&mut conversation, usize::MAX), text(CLOSE, "that was slow\n"));
    assert_eq!(conversation.rest(), Rest::Closed);

    site.draining = false;
    let mut conversation = Conversation::new();
    conversation.handle_input(now, &site, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    take(&mut conversation, usize::MAX);
    assert!(conversation.is_idle());
    conversation.handle_input(now, &site, b"GET");
    assert!(!conversation.is_idle() && conversation.is_waiting());
}
