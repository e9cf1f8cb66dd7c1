//! Connections to upstreams: kept and used again, given up in time, and what becomes of requests when one fails.

use std::{
    io::Write,
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crate::harness::{Client, Node, Pointsman, Response, Served, Upstream, eventually, free_port, now};

/// Answers the first request of each connection, and closes at the second without a word.
fn fickle(served: &mut Served) -> Option<()> {
    served.request()?;
    served.answer("fickle")?;
    served.request()?;
    None
}

fn post(client: &mut Client) -> Response {
    client.post("/", b"body").unwrap()
}

#[test]
fn connections_are_used_again_whichever_client_asks() {
    let upstream = Upstream::saying("ok");
    let master = Pointsman::before(&[&upstream]).start();
    for _ in 0..20 {
        let mut client = master.connect();
        assert_eq!(client.get("/").unwrap().text(), "ok");
        assert_eq!(post(&mut client).text(), "ok");
    }
    let requests = upstream.requests();
    assert_eq!((upstream.accepted(), requests.len()), (1, 40));
    for pair in requests.chunks(2) {
        assert_eq!((pair[0].line(), pair[1].line()), ("GET / HTTP/1.1", "POST / HTTP/1.1"));
        assert_eq!(pair[1].body, b"body", "sent once");
    }
    master.finish();
}

/// Of those that were needed at once, so many are kept.
#[test]
fn no_more_are_kept_idle_than_may_be() {
    let gate = Arc::new(AtomicBool::new(false));
    let open = Arc::clone(&gate);
    let upstream = Upstream::start(move |served| {
        loop {
            served.request()?;
            eventually("the gate opens", || open.load(Ordering::SeqCst));
            served.answer("ok")?;
        }
    });
    let master = Pointsman::before(&[&upstream]).option("--upstream-keepalive", "3").start();
    let mut clients: Vec<_> = (0..10).map(|_| master.connect()).collect();
    clients.iter_mut().for_each(|client| client.send_get("/").unwrap());
    eventually("all are asked", || upstream.requests().len() == 10);
    gate.store(true, Ordering::SeqCst);
    clients.iter_mut().for_each(|client| assert_eq!(client.receive().unwrap().text(), "ok"));
    eventually("three are left", || upstream.open() == 3);
    assert_eq!(upstream.accepted(), 10);
    drop(clients);
    master.finish();
}

#[test]
fn idle_ones_are_closed_when_their_time_is_over() {
    let upstream = Upstream::saying("ok");
    let master = Pointsman::before(&[&upstream]).option("--upstream-idle-timeout", "700ms").start();
    assert_eq!(master.get("/").text(), "ok");
    let begun = now();
    eventually("it is closed", || upstream.open() == 0);
    assert!(begun.elapsed() >= Duration::from_millis(600), "{:?}", begun.elapsed());
    master.finish();
}

/// Node closes a connection a second after its last answer, and says so: none is used then.
#[test]
fn what_node_closes_soon_is_not_used_for_what_cannot_be_sent_twice() {
    let script = "const http = require('http');\n\
        let count = 0;\n\
        const server = http.createServer((request, response) => {\n\
          request.resume();\n\
          request.on('end', () => response.end(request.method === 'POST' ? String(++count) : `pid ${process.pid} ${count}`));\n\
        });\n\
        server.keepAliveTimeout = 1000;\n\
        server.listen(Number(process.env.PORT));";
    let mut master =
        Pointsman::multiport().workers(1).program(Node::DEFAULT.path()).arg("-e").arg(script).start();
    master.wait_ready(1);
    let address = master.address();
    let threads = 40usize;
    let each = 12usize;
    let client = |number: usize| {
        thread::spawn(move || {
            let mut failed = Vec::new();
            let mut client = Client::connect(address).unwrap();
            for turn in 0..each {
                // Around the second, and around the half in which a connection is still used.
                let around = [500, 1000, 990, 1010][turn % 4];
                let pause = Duration::from_millis(around + (number as u64 * 7) % 40 - 20);
                thread::park_timeout(pause);
                match client.post("/", b"body") {
                    Ok(answer) if answer.status == 200 => {}
                    other => failed.push(format!("{other:?}")),
                }
            }
            failed
        })
    };
    let clients: Vec<_> = (0..threads).map(client).collect();
    let failed: Vec<_> = clients.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    let count = threads * each;
    assert!(master.get("/").text().ends_with(&format!(" {count}")), "each was done once");
    master.finish();
}

/// The same where nothing is said of it: what cannot be sent twice waits for nobody's mistake but the first.
#[test]
fn a_closed_connection_is_never_used_for_a_second_request() {
    let upstream = Upstream::start(|served| {
        served.request()?;
        served.answer("once")
    });
    let master = Pointsman::before(&[&upstream]).start();
    let mut client = master.connect();
    for number in 1..=200 {
        assert_eq!(post(&mut client).text(), "once", "request {number}");
        eventually("it is closed", || upstream.open() == 0);
    }
    let requests = upstream.requests();
    assert_eq!(requests.len(), 200);
    assert!(requests.iter().enumerate().all(|(place, request)| request.connection == place + 1));
    drop(client);
    master.finish();
}

#[test]
fn a_get_whose_kept_connection_dies_is_answered_by_another() {
    let upstream = Upstream::start(fickle);
    let master = Pointsman::before(&[&upstream]).start();
    let mut client = master.connect();
    for _ in 0..20 {
        assert_eq!(client.get("/").unwrap().text(), "fickle");
    }
    // The first of each connection was answered, and each second was asked again.
    assert_eq!(upstream.requests().len(), 39);
    drop(client);
    master.finish();
}

#[test]
fn a_post_that_was_sent_is_not_sent_again() {
    let (upstream, other) = (Upstream::start(fickle), Upstream::start(fickle));
    let master = Pointsman::before(&[&upstream, &other]).start();
    let mut client = master.connect();
    let answers: Vec<_> = (0..4).map(|_| post(&mut client).status).collect();
    assert_eq!(answers, [200, 200, 502, 502]);
    assert_eq!((upstream.requests().len(), other.requests().len()), (2, 2));
    drop(client);
    master.finish();
}

#[test]
fn a_post_to_who_refuses_goes_to_another() {
    let upstream = Upstream::saying("other");
    let nobody = format!("127.0.0.1:{}", free_port());
    let list = [nobody, upstream.address().to_string()];
    let run = Pointsman::before_addresses(&list).option("--eject-after", "off");
    let master = run.option("--retry-budget", "100").start();
    let mut client = master.connect();
    for _ in 0..20 {
        assert_eq!(post(&mut client).text(), "other");
    }
    assert_eq!(upstream.requests().len(), 20);
    drop(client);
    master.finish();
}

/// Each upstream fails in its own way; of the last the client is told.
#[test]
fn the_last_failure_is_what_the_client_is_told() {
    let closing = Upstream::start(|served| {
        served.request()?;
        None
    });
    let silent = Upstream::start(|served| {
        served.request()?;
        served.wait_end()
    });
    let run = Pointsman::before(&[&closing, &silent]).option("--response-timeout", "500ms");
    let master = run.option("--eject-after", "off").start();
    let statuses: Vec<_> = (0..4).map(|_| master.get("/").status).collect();
    assert!(statuses.iter().all(|status| matches!(status, 502 | 504)), "{statuses:?}");
    assert!(statuses.contains(&504), "{statuses:?}");
    let asked = closing.requests().len() + silent.requests().len();
    assert!(asked > 4, "each may be tried by another, and {asked} were asked");
    master.finish();
    let nobody: Vec<_> = (0..2).map(|_| format!("127.0.0.1:{}", free_port())).collect();
    let master = Pointsman::before_addresses(&nobody).start();
    let answer = master.get("/");
    assert_eq!((answer.status, answer.text()), (502, "502 Bad Gateway\n".into()));
    master.finish();
}

#[test]
fn no_more_is_tried_than_may_be() {
    let closing = || {
        Upstream::start(|served| {
            served.request()?;
            served.reset()
        })
    };
    let all: Vec<_> = (0..5).map(|_| closing()).collect();
    for tries in [1usize, 2, 4] {
        let before: usize = all.iter().map(|one| one.requests().len()).sum();
        let list: Vec<_> = all.iter().collect();
        let master = Pointsman::before(&list).option("--tries", tries.to_string()).start();
        assert_eq!(master.get("/").status, 502);
        let after: usize = all.iter().map(|one| one.requests().len()).sum();
        assert_eq!(after - before, tries);
        master.finish();
    }
}

/// What comes behind an answer was not asked for, and is nobody's answer.
#[test]
fn an_upstream_that_says_too_much_is_not_used_again() {
    let upstream = Upstream::start(|served| {
        loop {
            served.request()?;
            served.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")?;
        }
    });
    let master = Pointsman::before(&[&upstream]).start();
    let mut client = master.connect();
    for number in 1..=20 {
        assert_eq!(client.get("/").unwrap().text(), "ok");
        assert_eq!(upstream.accepted(), number);
    }
    drop(client);
    master.finish();
}

/// A client that leaves in the middle takes its upstream's connection with it, and nobody else's.
#[test]
fn who_leaves_in_the_middle_spoils_no_connection() {
    let upstream = Upstream::start(|served| {
        loop {
            let request = served.request()?;
            if request.line().contains("/half") {
                served.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")?;
                served.wait_end()?;
                return None;
            }
            served.answer("whole")?;
        }
    });
    let master = Pointsman::before(&[&upstream]).start();
    for turn in 0..10 {
        let mut stream = TcpStream::connect(master.address()).unwrap();
        write!(stream, "GET /half HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        eventually("it is asked", || upstream.requests().len() == 2 * turn + 1);
        drop(stream);
        assert_eq!(master.get("/").text(), "whole");
    }
    eventually("only the one that is kept is open", || upstream.open() == 1);
    master.finish();
}

/// Neither those that are idle nor the one that serves the last request: a server may wait for their end.
#[test]
fn who_is_drained_keeps_no_connection() {
    let gate = Arc::new(AtomicBool::new(false));
    let open = Arc::clone(&gate);
    let upstream = Upstream::start(move |served| {
        loop {
            let request = served.request()?;
            if request.line().contains("/slow") {
                eventually("the gate opens", || open.load(Ordering::SeqCst));
            }
            served.answer("ok")?;
        }
    });
    let master = Pointsman::before(&[&upstream, &Upstream::saying("other")]).option("-p", "hash").start();
    let place = master.place();
    let mut client = master.connect();
    client.get("/").unwrap();
    let mut control = master.control();
    eventually("it is asked", || {
        // By the address, so that it is always the same one: the other one is drained if need be.
        client.get("/").unwrap();
        !upstream.requests().is_empty() || {
            let name = upstream.address().to_string();
            let others = control.done(&serde_json::json!({ "verb": "status" }))["upstreams"].clone();
            let other = others.as_array().unwrap().iter().find(|one| one["name"] != *name).unwrap();
            control.done(&serde_json::json!({ "verb": "drain", "upstream": other["name"] }));
            false
        }
    });
    let mut slow = place.connect().unwrap();
    slow.send_get("/slow").unwrap();
    eventually("it is asked", || upstream.requests().iter().any(|request| request.line().contains("/slow")));
    let name = upstream.address().to_string();
    control.done(&serde_json::json!({ "verb": "drain", "upstream": name }));
    gate.store(true, Ordering::SeqCst);
    assert_eq!(slow.receive().unwrap().text(), "ok");
    eventually("it has none any more", || upstream.open() == 0);
    drop((control, client, slow));
    master.finish();
}
