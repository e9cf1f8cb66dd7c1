//! What an intermediary must do, through a live lane: each case of `tests/proxy`, whole and in pieces, before a raw upstream
//! that writes down what reaches it, and before Node.
//!
//! Many conversations at once share a lane and its connections to upstreams. Each client has an address of its own, by
//! which an upstream knows whose request it has.

#[path = "../proxy/cases.rs"]
#[allow(unreachable_pub, dead_code, reason = "it is shared")]
mod cases;
mod client;
#[path = "../proxy/judge.rs"]
#[allow(unreachable_pub, reason = "it is shared")]
mod judge;
#[path = "../proxy/strict.rs"]
#[allow(unreachable_pub, reason = "it is shared")]
mod strict;
mod upstream;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::Value;

use self::{
    cases::{Case, Manner},
    client::Heard,
    judge::Seen,
    strict::{Framing, Message},
    upstream::Upstream,
};
use crate::harness::{Node, Pointsman};

/// Conversations at once.
const AT_ONCE: usize = 8;

/// One conversation.
#[derive(Debug)]
struct Play {
    case: &'static Case,
    /// Where what is sent is cut in two.
    cut: Option<usize>,
    /// Another request is sent at once, and not behind the answer.
    followed: bool,
    client: Ipv4Addr,
}

/// Each of these cases in every manner.
fn plays(cases: impl Iterator<Item = &'static Case>) -> Vec<Play> {
    let mut all = Vec::new();
    for case in cases {
        for cut in std::iter::once(None).chain(cuts(case.given).into_iter().map(Some)) {
            for followed in [false, true] {
                if followed && !case.can_be_followed() {
                    continue;
                }
                let number = u32::try_from(all.len()).unwrap();
                let client = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + number);
                all.push(Play { case, cut, followed, client });
            }
        }
    }
    all
}

/// A handful of places to cut in two: in the first line, around the end of the head, and within what follows.
fn cuts(given: &[u8]) -> Vec<usize> {
    let head = given.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap_or(given.len() / 2);
    let mut places =
        vec![1, given.len() / 3, head + 1, head + 3, head + 4, head + 7, given.len().saturating_sub(1)];
    places.retain(|place| (1..given.len()).contains(place));
    places.sort_unstable();
    places.dedup();
    places
}

/// Plays all, some at once.
fn perform(plays: &[Play], address: SocketAddr) -> Vec<Heard> {
    let next = AtomicUsize::new(0);
    let heard: Vec<_> = plays.iter().map(|_| Mutex::new(None)).collect();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(play) = plays.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let number = u32::from(play.client) - u32::from(plays[0].client);
                    *heard[number as usize].lock().unwrap() = Some(client::converse(address, play));
                }
            });
        }
    });
    heard.into_iter().map(|heard| heard.into_inner().unwrap().unwrap()).collect()
}

fn judge(play: &Play, heard: Heard, requests: Vec<Message>) {
    let Play { case, cut, followed, client } = play;
    let name = format!("{} (cut at {cut:?}, followed: {followed})", case.name);
    let Heard { received, end } = heard;
    let mut case = **case;
    // Its end may come behind the answer; then there is no need for a sign of life.
    let signs = case.ends && matches!(case.got, [sign, _] if sign.code == 100);
    if signs && !received.starts_with(b"HTTP/1.1 100 ") {
        case.got = &case.got[1..];
    }
    let seen = Seen { requests, received, end, client: client.to_string(), name };
    seen.judge(&case, case.can_be_followed());
}

#[test]
fn every_case_before_an_upstream_that_writes_down_all() {
    let plays = plays(cases::all());
    let upstream = Upstream::start(&plays);
    let run = Pointsman::run().option("-m", "multiport").workers(0);
    let master = run.option("--upstreams", upstream.address().to_string()).start();
    assert_eq!(master.get("/").status, 200);
    let heard = perform(&plays, master.address());
    master.finish();
    let mut captured = upstream.finish();
    for (play, heard) in plays.iter().zip(heard) {
        judge(play, heard, captured.remove(&play.client).unwrap());
    }
}

/// Those to which an upstream gives an ordinary answer.
fn is_ordinary(case: &Case) -> bool {
    // Node has a list of methods.
    case.answers.is_empty() && case.manner == Manner::Keeps && case.name != "methods have a case"
}

#[test]
fn every_case_before_node() {
    for node in Node::matrix() {
        let plays = plays(cases::all().filter(|case| is_ordinary(case)));
        // Ports are everybody's.
        let run = Pointsman::run().option("-m", "multiport").env("POINTSMAN_UPSTREAM", "unix");
        let mut master = run.workers(1).node(node, "seen.js").start();
        master.wait_ready(1);
        let heard = perform(&plays, master.address());
        let seen = master.get("/").json()["seen"].clone();
        for (play, heard) in plays.iter().zip(heard) {
            let requests = seen[play.client.to_string()].as_array().cloned().unwrap_or_default();
            judge(play, heard, requests.iter().map(message).collect());
        }
        master.finish();
    }
}

/// A request as Node has understood it.
fn message(request: &Value) -> Message {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let pairs = |name: &str| {
        let words: Vec<_> = request[name].as_array().unwrap().iter().map(text).collect();
        words.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone().into_bytes())).collect()
    };
    let line = &request["line"];
    Message {
        first: [text(&line[0]), text(&line[1]), text(&line[2])],
        fields: pairs("fields"),
        body: text(&request["body"]).into_bytes(),
        trailers: pairs("trailers"),
        framing: Framing::None,
    }
}
