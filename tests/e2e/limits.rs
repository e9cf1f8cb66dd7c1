//! Limits and time-outs: each with the answer that says which it was.

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use nix::sys::socket::{Backlog, listen};

use crate::harness::{Client, Master, Pointsman, Upstream, eventually, now};

fn echo() -> Upstream {
    Upstream::start(|served| {
        loop {
            let request = served.request()?;
            served.answer(&format!("{} {}", request.line(), request.body.len()))?;
        }
    })
}

/// What is answered to these bytes, after which the connection ends.
#[track_caller]
fn refused(master: &Master, bytes: &str) -> u16 {
    let mut client = master.connect();
    let answer = client.ask(bytes).unwrap();
    assert_eq!(answer.headers["connection"], "close", "{answer:?}");
    assert!(client.is_closed_by_server());
    answer.status
}

#[test]
fn what_is_too_large_is_refused_by_its_code() {
    let upstream = echo();
    let run = Pointsman::before(&[&upstream]).option("--max-head", "2KiB").option("--max-target", "512B");
    let master = run.option("--max-fields", "10").option("--max-body", "1KiB").start();
    let long = |length: usize| "x".repeat(length);
    for (request, expected) in [
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", long(600)), 414),
        (format!("GET /{}", long(3000)), 414),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", long(2100)), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", long(9000)), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(10)), 431),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n".to_owned(), 413),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\nExpect: 100-continue\r\n\r\n".to_owned(),
            413,
        ),
        (
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n200\r\n{}\r\n201\r\n{}\r\n0\r\n\r\n",
                long(512),
                long(513)
            ),
            413,
        ),
    ] {
        assert_eq!(refused(&master, &request), expected, "{request:.60}");
    }
    let mut client = master.connect();
    let most = format!("GET /{} HTTP/1.1\r\nHost: a\r\n{}\r\n", long(490), "A: b\r\n".repeat(9));
    assert_eq!(client.ask(&most).unwrap().status, 200);
    assert_eq!(client.post("/", &[b'x'; 1024]).unwrap().text(), "POST / HTTP/1.1 1024");
    let others = upstream.requests().len();
    assert_eq!(others, 2, "nothing of the others has come to the upstream: {:?}", upstream.requests());
    drop(client);
    master.finish();
}

#[test]
fn who_is_slow_to_ask_is_told_so_and_who_says_nothing_is_not() {
    let upstream = echo();
    let run =
        Pointsman::before(&[&upstream]).option("--header-timeout", "700ms").option("--body-timeout", "600ms");
    let master = run.option("--idle-timeout", "500ms").start();
    let begun = now();
    let mut silent = master.connect();
    let mut slow = master.connect();
    slow.send_raw(b"GET / HTTP/1.1\r\nHo").unwrap();
    let mut body = master.connect();
    body.send_raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc").unwrap();
    let mut idle = master.connect();
    assert_eq!(idle.get("/").unwrap().status, 200);
    assert!(idle.is_closed_by_server(), "one that is kept is closed without a word");
    for client in [&mut slow, &mut body] {
        let answer = client.receive().unwrap();
        assert_eq!((answer.status, &*answer.headers["connection"]), (408, "close"));
        assert!(client.is_closed_by_server());
    }
    assert!(silent.is_closed_by_server(), "and so is one that has never said anything");
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(650) && took < Duration::from_secs(6), "{took:?}");
    master.finish();
}

/// A byte now and then does not put off the end of a head, and does that of a body.
#[test]
fn a_head_has_its_time_as_a_whole_and_a_body_between_two_reads() {
    let upstream = echo();
    let run =
        Pointsman::before(&[&upstream]).option("--header-timeout", "800ms").option("--body-timeout", "800ms");
    let master = run.start();
    let mut drips = master.connect();
    drips.send_raw(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ").unwrap();
    let begun = now();
    let mut sent = 0;
    eventually("it is answered", || {
        if begun.elapsed() >= Duration::from_millis(50 * sent) {
            sent += 1;
            // Refused when it has been answered.
            let _ = drips.send_raw(b"x");
        }
        drips.has_answer()
    });
    let took = begun.elapsed();
    assert_eq!(drips.receive().unwrap().status, 408);
    assert!(took >= Duration::from_millis(700) && took < Duration::from_secs(4), "{took:?}");
    let mut patient = master.connect();
    patient.send_raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n").unwrap();
    let begun = now();
    for number in 0u32..30 {
        eventually("a moment has gone by", || begun.elapsed() >= Duration::from_millis(50) * number);
        patient.send_raw(b"x").unwrap();
    }
    assert_eq!(patient.receive().unwrap().status, 200);
    drop((drips, patient));
    master.finish();
}

/// A listener that accepts nothing, and whose queue is full.
fn blackhole() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    // Says once more how long its queue is.
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300));
    let held = std::iter::from_fn(|| connect().ok()).collect();
    (listener, held, address)
}

#[test]
fn an_upstream_that_cannot_be_reached_in_time_is_504() {
    let (listener, held, address) = blackhole();
    let run = Pointsman::before_addresses(&[address.to_string()]).option("--connect-timeout", "400ms");
    let master = run.option("--tries", "1").option("--access-log", "stdout").start();
    let begun = now();
    assert_eq!(master.get("/").status, 504);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(350) && took < Duration::from_secs(3), "{took:?}");
    eventually("it is told why", || master.printed(" connect-timeout"));
    // With another one, that answers.
    let other = Upstream::saying("other");
    master.finish();
    let list = [address.to_string(), other.address().to_string()];
    let master = Pointsman::before_addresses(&list).option("--connect-timeout", "400ms").start();
    for _ in 0..4 {
        let mut client = master.connect();
        assert_eq!(client.post("/", b"x").unwrap().text(), "other");
    }
    master.finish();
    drop((listener, held));
}

#[test]
fn upstreams_that_are_silent_too_long_are_504_or_cut() {
    let upstream = Upstream::start(|served| {
        let request = served.request()?;
        match request.line().split(' ').nth(1)? {
            "/begun" => served.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")?,
            "/drips" => loop {
                served.send(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                std::thread::park_timeout(Duration::from_millis(100));
            },
            _ => {}
        }
        served.wait_end()
    });
    let run = Pointsman::before(&[&upstream]).option("--response-timeout", "500ms").option("--tries", "1");
    let run = run.option("--stream-timeout", "700ms").option("--eject-after", "off");
    let master = run.option("--access-log", "stdout").start();
    let mut client = master.connect();
    let begun = now();
    let answer = client.get("/silent").unwrap();
    assert_eq!(answer.status, 504);
    assert!(begun.elapsed() >= Duration::from_millis(450), "{:?}", begun.elapsed());
    eventually("it is told why", || master.printed(" upstream-timeout"));
    // Its connection goes on.
    let begun = now();
    client.send_get("/begun").unwrap();
    assert_eq!(client.receive_head().unwrap().status, 200);
    let error = client.receive_all();
    assert!(error.as_ref().is_err() || error.as_ref().is_ok_and(|rest| rest == b"abc"), "{error:?}");
    assert!(begun.elapsed() >= Duration::from_millis(650), "{:?}", begun.elapsed());
    eventually("the upstream's connections are closed", || upstream.open() == 0);
    master.finish();
}

#[test]
fn a_request_may_take_so_long_in_all() {
    let upstream = Upstream::start(|served| {
        let request = served.request()?;
        if request.line().contains("/begun") {
            served.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            loop {
                served.send(b"1\r\nx\r\n")?;
                std::thread::park_timeout(Duration::from_millis(20));
            }
        }
        served.wait_end()
    });
    let run = Pointsman::before(&[&upstream]).option("--request-timeout", "600ms").option("--tries", "1");
    let master = run.start();
    let begun = now();
    assert_eq!(master.get("/silent").status, 504);
    let mut client = master.connect();
    client.send_get("/begun").unwrap();
    assert_eq!(client.receive_head().unwrap().status, 200);
    let rest = client.receive_all().unwrap_or_default();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "it is cut, and not ended");
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1100) && took < Duration::from_secs(8), "{took:?}");
    eventually("the upstream's connections are closed", || upstream.open() == 0);
    master.finish();
}

#[test]
fn a_silent_tunnel_is_closed() {
    let upstream = Upstream::start(|served| {
        served.request()?;
        served.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello")?;
        served.wait_end()
    });
    let master = Pointsman::before(&[&upstream]).option("--tunnel-timeout", "700ms").start();
    let mut client = master.connect();
    client.send_raw(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").unwrap();
    assert_eq!(client.receive_head().unwrap().status, 101);
    assert_eq!(client.receive_raw(5).unwrap(), b"hello");
    let begun = now();
    for _ in 0..8 {
        let pause = begun.elapsed() + Duration::from_millis(100);
        eventually("a moment has gone by", || begun.elapsed() >= pause);
        client.send_raw(b"x").unwrap();
    }
    let last = now();
    assert!(client.is_closed_by_server());
    assert!(last.elapsed() >= Duration::from_millis(600), "{:?}", last.elapsed());
    eventually("and so is the upstream's connection", || upstream.open() == 0);
    master.finish();
}

#[test]
fn a_client_that_takes_nothing_is_let_go() {
    let upstream = Upstream::start(|served| {
        served.request()?;
        served.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")?;
        let block = [b'x'; 64 << 10];
        while served.stream.write_all(&block).is_ok() {}
        None
    });
    let master = Pointsman::before(&[&upstream]).option("--send-timeout", "800ms").start();
    let mut client = Client::connect(master.address()).unwrap();
    client.send_get("/").unwrap();
    let begun = now();
    eventually("it is served", || upstream.open() == 1);
    eventually("it is let go", || upstream.open() == 0);
    assert!(begun.elapsed() >= Duration::from_millis(700), "{:?}", begun.elapsed());
    drop(client);
    master.finish();
}
