//! `max_in_flight`: requests wait for an upstream with room, in turn and not for ever.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use crate::harness::{Client, Master, Pointsman, Upstream, eventually, now};

const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Lets so many answers through.
#[derive(Debug, Clone, Default)]
struct Gate(Arc<(Mutex<usize>, Condvar)>);

impl Gate {
    fn open(&self, count: usize) {
        let (left, changed) = &*self.0;
        *left.lock().unwrap() += count;
        changed.notify_all();
    }

    fn pass(&self) {
        let (left, changed) = &*self.0;
        let mut left = changed.wait_while(left.lock().unwrap(), |left| *left == 0).unwrap();
        *left -= 1;
    }
}

/// Answers each request with its own path, when the gate lets it.
fn gated() -> (Upstream, Gate) {
    let gate = Gate::default();
    let own = gate.clone();
    let upstream = Upstream::start(move |served| {
        loop {
            let request = served.request()?;
            own.pass();
            served.answer(request.line())?;
        }
    });
    (upstream, gate)
}

/// The paths that have come so far.
fn asked(upstream: &Upstream) -> Vec<String> {
    let path = |line: &str| line.split(' ').nth(1).unwrap().to_owned();
    upstream.requests().iter().map(|request| path(request.line())).collect()
}

/// Waits until the lane has seen what was done before: it takes what comes in turn, and answers this by itself.
#[track_caller]
fn settle(master: &Master) {
    assert_eq!(master.connect().ask("GET / HTTP/1.1\r\n\r\n").unwrap().status, 400);
}

fn send(master: &Master, from: Ipv4Addr, path: &str) -> Client {
    let mut client = Client::connect_from(from, master.address()).unwrap();
    client.send_get(path).unwrap();
    client
}

fn one_at_a_time(upstream: &Upstream) -> Pointsman {
    Pointsman::before(&[upstream]).option("--max-in-flight", "1").option("--upstream-keepalive", "8")
}

#[test]
fn those_who_wait_are_served_in_turn() {
    let (upstream, gate) = gated();
    let master = one_at_a_time(&upstream).start();
    let mut clients = Vec::new();
    for number in 0..8 {
        clients.push(send(&master, FIRST, &format!("/{number}")));
        if number == 0 {
            eventually("the first is served", || asked(&upstream).len() == 1);
        }
        settle(&master);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(asked(&upstream).len(), number + 1, "one at a time");
        gate.open(1);
        assert_eq!(client.receive().unwrap().status, 200);
        if number < 7 {
            eventually("it is the next one's turn", || asked(&upstream).len() == number + 2);
        }
    }
    assert_eq!(asked(&upstream), ["/0", "/1", "/2", "/3", "/4", "/5", "/6", "/7"]);
    assert_eq!(upstream.accepted(), 1, "all on one connection");
    drop(clients);
    master.finish();
}

#[test]
fn who_asks_for_much_does_not_keep_others_waiting() {
    let (upstream, gate) = gated();
    let master = one_at_a_time(&upstream).start();
    let mut clients = vec![send(&master, FIRST, "/a0")];
    eventually("the first is served", || asked(&upstream).len() == 1);
    for number in 1..=6 {
        clients.push(send(&master, FIRST, &format!("/a{number}")));
        settle(&master);
    }
    for number in 1..=2 {
        clients.push(send(&master, SECOND, &format!("/b{number}")));
        settle(&master);
    }
    gate.open(9);
    clients.iter_mut().for_each(|client| assert_eq!(client.receive().unwrap().status, 200));
    assert_eq!(asked(&upstream), ["/a0", "/a1", "/b1", "/a2", "/b2", "/a3", "/a4", "/a5", "/a6"]);
    drop(clients);
    master.finish();
}

#[test]
fn a_full_queue_answers_503_and_gives_way_to_others() {
    let (upstream, gate) = gated();
    let master = one_at_a_time(&upstream).option("--max-queue", "3").start();
    let mut served = send(&master, FIRST, "/served");
    eventually("the first is served", || asked(&upstream).len() == 1);
    let mut waiting = Vec::new();
    for number in 1..=3 {
        waiting.push(send(&master, FIRST, &format!("/a{number}")));
        settle(&master);
    }
    let mut refused = send(&master, FIRST, "/a4");
    let answer = refused.receive().unwrap();
    assert_eq!((answer.status, &*answer.headers["retry-after"]), (503, "1"));
    // The connection stays, and may ask again.
    assert_eq!(refused.get("/a5").unwrap().status, 503);
    let mut other = send(&master, SECOND, "/b1");
    assert_eq!(waiting[2].receive().unwrap().status, 503, "the last of the longest line gives way");
    gate.open(4);
    for client in [&mut served, &mut other].into_iter().chain(&mut waiting[..2]) {
        assert_eq!(client.receive().unwrap().status, 200);
    }
    assert_eq!(asked(&upstream), ["/served", "/a1", "/b1", "/a2"]);
    drop((served, waiting, other, refused));
    master.finish();
}

#[test]
fn nobody_waits_for_longer_than_allowed() {
    let (upstream, gate) = gated();
    let run = one_at_a_time(&upstream).option("--queue-timeout", "600ms").option("--access-log", "stdout");
    let master = run.start();
    let mut served = send(&master, FIRST, "/served");
    eventually("the first is served", || asked(&upstream).len() == 1);
    let begun = now();
    let mut client = send(&master, SECOND, "/late");
    let answer = client.receive().unwrap();
    assert_eq!((answer.status, &*answer.headers["retry-after"]), (503, "1"));
    assert!(begun.elapsed() >= Duration::from_millis(550), "{:?}", begun.elapsed());
    eventually("it is told why", || master.printed(" queue-timeout"));
    gate.open(2);
    assert_eq!(served.receive().unwrap().status, 200);
    assert_eq!(client.get("/again").unwrap().status, 200);
    drop((served, client));
    master.finish();
}

/// By a close, by a reset, and after having said all, which is no leaving.
#[test]
fn who_leaves_the_queue_is_not_served_and_frees_its_place() {
    let (upstream, gate) = gated();
    let master = one_at_a_time(&upstream).option("--max-queue", "3").start();
    let mut served = send(&master, FIRST, "/served");
    eventually("the first is served", || asked(&upstream).len() == 1);
    let closes = send(&master, FIRST, "/closes");
    let resets = send(&master, FIRST, "/resets");
    let mut ends = send(&master, FIRST, "/ends");
    settle(&master);
    resets.reset();
    settle(&master);
    ends.finish_sending();
    let mut next = send(&master, FIRST, "/next");
    settle(&master);
    drop(closes);
    gate.open(4);
    assert_eq!(served.receive().unwrap().status, 200);
    assert_eq!(ends.receive().unwrap().text(), "GET /ends HTTP/1.1");
    assert_eq!(next.receive().unwrap().status, 200);
    let all = asked(&upstream);
    assert!(!all.contains(&"/resets".to_owned()), "{all:?}");
    drop((served, ends, next));
    // Nothing of it is left: there is room for one at once.
    gate.open(1);
    assert_eq!(master.get("/last").status, 200);
    settle(&master);
    master.finish();
}

/// Who is served and leaves has its upstream's place freed for who waits.
#[test]
fn who_leaves_while_served_makes_room() {
    let (upstream, gate) = gated();
    let master = one_at_a_time(&upstream).start();
    for turn in 0..5 {
        let served = send(&master, FIRST, &format!("/leaves{turn}"));
        eventually("it is served", || asked(&upstream).len() == 2 * turn + 1);
        let mut next = send(&master, FIRST, &format!("/stays{turn}"));
        if turn % 2 == 0 {
            served.reset();
        } else {
            drop(served);
        }
        eventually("it is the next one's turn", || asked(&upstream).len() == 2 * turn + 2);
        // One for who has left, on a connection that is gone.
        gate.open(2);
        assert_eq!(next.receive().unwrap().status, 200);
    }
    master.finish();
}
