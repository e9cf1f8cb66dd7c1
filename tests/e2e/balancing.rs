//! Who gets a request: policies, sticky cookies, backups and ejection, as clients and upstreams see them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;

use crate::harness::{Client, Master, Node, Pointsman, Upstream, eventually, free_port, now};

const NAMES: [&str; 3] = ["a", "b", "c"];

fn three() -> [Upstream; 3] {
    NAMES.map(Upstream::saying)
}

fn before(all: &[Upstream]) -> Pointsman {
    Pointsman::before(&all.iter().collect::<Vec<_>>())
}

/// Waits until those answer and nobody else is known, so that turns are as they will be.
fn asked(master: &Master, count: usize) -> Vec<String> {
    let mut client = master.connect();
    (0..count).map(|_| client.get("/").unwrap().text()).collect()
}

fn shares(answers: &[String]) -> BTreeMap<&str, usize> {
    let mut shares = BTreeMap::new();
    answers.iter().for_each(|answer| *shares.entry(&**answer).or_default() += 1);
    shares
}

#[test]
fn round_robin_goes_round_in_order() {
    let all = three();
    let master = before(&all).start();
    let answers = asked(&master, 30);
    let first = NAMES.iter().position(|name| *name == answers[0]).unwrap();
    let expected: Vec<_> = (0..30).map(|turn| NAMES[(first + turn) % 3]).collect();
    assert_eq!(answers, expected);
    master.finish();
}

#[test]
fn weights_are_shares() {
    let all = three();
    let weights = [2, 1, 3];
    let list: Vec<_> =
        all.iter().zip(weights).map(|(one, weight)| format!("{} weight={weight}", one.address())).collect();
    for policy in ["round-robin", "least-connections"] {
        let master = Pointsman::before_addresses(&list).option("-p", policy).start();
        let answers = asked(&master, 60);
        if policy == "round-robin" {
            assert_eq!(shares(&answers), BTreeMap::from([("a", 20), ("b", 10), ("c", 30)]));
            // In each round, and not one after the other.
            for round in answers.chunks(6) {
                assert_eq!(shares(round), BTreeMap::from([("a", 2), ("b", 1), ("c", 3)]));
            }
        }
        master.finish();
    }
}

/// One holds its requests; the others get what comes.
#[test]
fn least_connections_and_power_of_two_avoid_who_is_slow() {
    for policy in ["least-connections", "power-of-two"] {
        let gate = Arc::new(AtomicBool::new(false));
        let open = Arc::clone(&gate);
        let slow = Upstream::start(move |served| {
            loop {
                served.request()?;
                eventually("it may answer", || open.load(Ordering::SeqCst));
                served.answer("slow")?;
            }
        });
        let all = [slow.clone(), Upstream::saying("b"), Upstream::saying("c")];
        let master = before(&all).option("-p", policy).start();
        let mut held: Vec<Client> = Vec::new();
        eventually("the slow one has a request", || {
            let mut client = master.connect();
            client.send_get("/").unwrap();
            // One after the other: none of them is still with another when the rest is asked.
            eventually("it is asked", || client.has_answer() || !slow.requests().is_empty());
            held.push(client);
            !slow.requests().is_empty()
        });
        let answers = asked(&master, 100);
        // Chance never draws the same one twice, so the slow one loses each time.
        assert!(!answers.contains(&"slow".into()), "{policy}");
        gate.store(true, Ordering::SeqCst);
        drop(held);
        eventually("it has none any more", || asked(&master, 12).contains(&"slow".to_owned()));
        master.finish();
    }
}

fn who(client: &mut Client, request: &str) -> String {
    client.ask(request).unwrap().text()
}

#[test]
fn the_same_key_goes_to_the_same_upstream() {
    let all = three();
    for (key, request) in [
        ("path", "GET /KEY?q=RANDOM HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("header:X-User", "GET /RANDOM HTTP/1.1\r\nHost: a\r\nx-user: KEY\r\n\r\n"),
        ("cookie:session", "GET /RANDOM HTTP/1.1\r\nHost: a\r\nCookie: b=RANDOM; session=KEY\r\n\r\n"),
    ] {
        let master = before(&all).option("-p", "hash").option("--hash-key", key).start();
        let mut client = master.connect();
        let mut map = BTreeMap::new();
        for turn in 0..5 {
            for user in 0..30 {
                let text =
                    request.replace("KEY", &format!("user{user}")).replace("RANDOM", &turn.to_string());
                let answer = who(&mut client, &text);
                assert_eq!(*map.entry(user).or_insert(answer.clone()), answer, "{key}: user {user}");
            }
        }
        let used: BTreeSet<_> = map.values().collect();
        assert_eq!(used.len(), 3, "{key}: {map:?}");
        drop(client);
        master.finish();
    }
}

#[test]
fn an_address_goes_to_the_same_upstream_as_long_as_that_is_there_and_after_a_reload() {
    let run = Pointsman::multiport().workers(3).option("-p", "hash");
    let master = run.node(Node::DEFAULT, "plain.js").start();
    master.wait_log("all 3 workers listen");
    let address = master.address();
    let slots = || -> Vec<String> {
        let ask = |last: u8| {
            let mut client = Client::connect_from(Ipv4Addr::new(127, 0, 1, last), address).unwrap();
            client.get("/").unwrap().json()["slot"].as_str().unwrap().to_owned()
        };
        (1..=20).map(ask).collect()
    };
    let before = slots();
    assert_eq!(slots(), before);
    assert!(before.iter().collect::<BTreeSet<_>>().len() > 1, "{before:?}");
    let mut control = master.control();
    control.done(&json!({ "verb": "reload", "wait": true }));
    assert_eq!(slots(), before, "a successor takes its predecessor's place");
    drop(control);
    master.finish();
}

/// What a browser would send back.
fn cookie(client: &mut Client, cookie: Option<&str>) -> (String, Option<String>) {
    let line = cookie.map(|cookie| format!("Cookie: x=1; {cookie}; y=2\r\n")).unwrap_or_default();
    let answer = client.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n")).unwrap();
    let set = answer.headers.get("set-cookie").map(|text| text.split(';').next().unwrap().to_owned());
    (answer.text(), set)
}

#[test]
fn a_cookie_is_set_once_and_its_client_stays() {
    let all = three();
    let master = before(&all).option("--sticky", "pm").start();
    let mut client = master.connect();
    let mut known = BTreeMap::new();
    for _ in 0..6 {
        let (name, set) = cookie(&mut client, None);
        let set = set.unwrap();
        assert!(set.starts_with("pm=") && !set.contains("127.0.0.1"), "{set}");
        for _ in 0..5 {
            assert_eq!(
                cookie(&mut client, Some(&set)),
                (name.clone(), None),
                "it stays, and is not told again"
            );
        }
        known.insert(name, set);
    }
    assert_eq!(known.len(), 3, "without a cookie it goes round");
    // The cookie is ours, and none of the upstream's business or not; it is told the rest in any case.
    let asked = all[0].requests();
    assert!(asked.iter().all(|request| request.values("Cookie").iter().all(|value| value.contains("x=1"))));
    let (name, set) = cookie(&mut client, Some("pm=0123456789abcdef"));
    assert!(NAMES.contains(&&*name) && set.is_some(), "one that nobody has given is another's: {set:?}");
    drop(client);
    master.finish();
}

#[test]
fn who_loses_its_upstream_gets_another_cookie() {
    let mut master =
        Pointsman::multiport().workers(2).option("--sticky", "pm").node(Node::DEFAULT, "plain.js").start();
    master.wait_ready(2);
    let mut client = master.connect();
    let (first, set) = cookie(&mut client, None);
    let set = set.unwrap();
    let mut control = master.control();
    control.done(&json!({ "verb": "drain", "upstream": "slot:0" }));
    control.done(&json!({ "verb": "drain", "upstream": "slot:1" }));
    let is_first = first.contains("\"slot\":\"0\"");
    control.done(&json!({ "verb": "undrain", "upstream": if is_first { "slot:1" } else { "slot:0" } }));
    let mut moved = None;
    eventually("it moves", || {
        let (other, set) = cookie(&mut client, Some(&set));
        moved = set;
        other != first
    });
    let moved = moved.unwrap();
    assert_ne!(moved, set);
    assert_eq!(cookie(&mut client, Some(&moved)).1, None);
    control.done(&json!({ "verb": "undrain", "upstream": "slot:0" }));
    control.done(&json!({ "verb": "undrain", "upstream": "slot:1" }));
    // The name of a slot is its successor's too.
    control.done(&json!({ "verb": "reload", "wait": true }));
    assert_eq!(cookie(&mut master.connect(), Some(&moved)).1, None);
    drop((control, client));
    master.finish();
}

#[test]
fn a_backup_gets_requests_only_when_nobody_else_can() {
    let port = free_port();
    let backup = Upstream::saying("backup");
    let list = [format!("127.0.0.1:{port}"), format!("{} backup", backup.address())];
    let run = Pointsman::before_addresses(&list).option("--eject-after", "2").option("--eject-time", "200ms");
    let master = run.start();
    // It is not there yet: a request that it refuses goes to the backup.
    assert_eq!(shares(&asked(&master, 10)), BTreeMap::from([("backup", 10)]));
    let _primary = Upstream::at(port, |served| {
        loop {
            served.request()?;
            served.answer("primary")?;
        }
    });
    eventually("it comes back", || asked(&master, 1) == ["primary"]);
    assert_eq!(shares(&asked(&master, 50)), BTreeMap::from([("primary", 50)]));
    master.finish();
}

/// Closes all connections while it is ill.
fn moody(name: &'static str, ill: &Arc<AtomicBool>) -> Upstream {
    let ill = Arc::clone(ill);
    Upstream::start(move |served| {
        loop {
            served.request()?;
            if ill.load(Ordering::SeqCst) {
                return served.reset();
            }
            served.answer(name)?;
        }
    })
}

#[test]
fn who_fails_is_left_alone_and_comes_back() {
    let ill = Arc::new(AtomicBool::new(true));
    let all = [moody("a", &ill), Upstream::saying("b")];
    let run = before(&all).option("--eject-after", "3").option("--eject-time", "2s");
    let master = run.option("--admin", "127.0.0.1:0").start();
    assert_eq!(shares(&asked(&master, 30)), BTreeMap::from([("b", 30)]), "each was answered by the other");
    let begun = now();
    assert_eq!(all[0].requests().len(), 3, "then it is not asked any more");
    ill.store(false, Ordering::SeqCst);
    eventually("it is asked again", || asked(&master, 2).contains(&"a".into()));
    assert!(begun.elapsed() >= Duration::from_millis(1500), "{:?}", begun.elapsed());
    assert_eq!(shares(&asked(&master, 20)), BTreeMap::from([("a", 10), ("b", 10)]));
    master.finish();
}

#[test]
fn if_all_fail_all_are_asked() {
    let ill = Arc::new(AtomicBool::new(true));
    let all = [moody("a", &ill), moody("b", &ill)];
    let run = before(&all).option("--eject-after", "1").option("--eject-time", "1m");
    let master = run.start();
    let mut client = master.connect();
    for _ in 0..5 {
        assert_eq!(client.get("/").unwrap().status, 502);
    }
    ill.store(false, Ordering::SeqCst);
    assert_eq!(asked(&master, 20).len(), 20);
    drop(client);
    master.finish();
}
