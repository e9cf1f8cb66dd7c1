//! What a lane passes on, it passes on as it comes: bodies of any size, and none of them changed.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::{Command, Stdio},
    thread,
};

use crate::harness::{Client, Master, Node, Pointsman, Upstream, eventually};

const LARGE: usize = 64 << 20;

fn node() -> Master {
    let mut master = Pointsman::multiport().workers(1).node(Node::DEFAULT, "streams.js").start();
    master.wait_ready(1);
    master
}

/// Bytes in which each block is another.
fn block(number: u64) -> Vec<u8> {
    (0..8192u64)
        .flat_map(|word| (number << 20 | word).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect()
}

fn large() -> Vec<u8> {
    (0..LARGE / 65_536).flat_map(|number| block(number as u64)).collect()
}

fn hash(bytes: &[u8]) -> String {
    let mut command = Command::new("sha256sum");
    let mut sum = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    sum.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = sum.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

#[test]
fn events_pass_one_by_one_and_who_leaves_is_missed() {
    let master = node();
    let mut events = master.connect();
    events.send_get("/events").unwrap();
    let head = events.receive_head().unwrap();
    assert_eq!(head.headers["content-type"], "text/event-stream");
    let mut other = master.connect();
    for number in 0..200 {
        assert!(!events.has_answer());
        other.get("/next").unwrap();
        let event = format!("id: {number}\ndata: event {number}\n\n");
        let expected = format!("{:x}\r\n{event}\r\n", event.len());
        assert_eq!(events.receive_raw(expected.len()).unwrap(), expected.as_bytes());
    }
    drop(events);
    // It may have said all and read on: who has left is found out by the next event.
    eventually("the program learns that its reader has left", || {
        other.get("/next").unwrap();
        other.get("/closed").unwrap().text() == "1"
    });
    drop(other);
    master.finish();
}

#[test]
fn trailers_of_node_reach_the_client() {
    let master = node();
    let mut client = master.connect();
    client
        .send_raw(b"GET /trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n")
        .unwrap();
    let all = String::from_utf8(client.receive_all().unwrap()).unwrap();
    assert!(all.ends_with("\r\n0\r\nX-Sum: abc\r\n\r\n"), "{all}");
    assert!(all.contains("Trailer: X-Sum\r\n") && all.contains("first") && all.contains("second"), "{all}");
    master.finish();
}

#[test]
fn large_bodies_arrive_byte_for_byte_both_ways() {
    let master = node();
    let body = large();
    let expected = hash(&body);
    let mut client = master.connect();
    assert_eq!(client.post("/hash", &body).unwrap().text(), expected);
    let mut chunked = master.connect();
    chunked.send_raw(b"POST /hash HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    for part in body.chunks(100_001) {
        chunked.send_raw(format!("{:x}\r\n", part.len()).as_bytes()).unwrap();
        chunked.send_raw(part).unwrap();
        chunked.send_raw(b"\r\n").unwrap();
    }
    assert_eq!(chunked.ask("0\r\n\r\n").unwrap().text(), expected);
    drop((client, chunked));
    master.finish();
}

/// Both directions at once, and who reads takes its time.
#[test]
fn an_echo_of_a_large_body_is_the_same_for_a_reader_that_is_slow() {
    let master = node();
    let mut stream = TcpStream::connect(master.address()).unwrap();
    let mut sender = stream.try_clone().unwrap();
    let sends = thread::spawn(move || {
        write!(
            sender,
            "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {LARGE}\r\n\r\n"
        )
        .unwrap();
        (0..LARGE / 65_536).for_each(|number| sender.write_all(&block(number as u64)).unwrap());
    });
    let mut all = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    // A reader that takes a little and lets others run in between.
    for turn in 0usize.. {
        let most = if turn % 3 == 0 { 999 } else { buffer.len() };
        match stream.read(&mut buffer[..most]).unwrap() {
            0 => break,
            count => all.extend_from_slice(&buffer[..count]),
        }
        if turn % 50 == 0 {
            thread::park_timeout(std::time::Duration::from_millis(2));
        }
    }
    sends.join().unwrap();
    let text = all.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let body = unchunked(&all[text..]);
    assert!(body == large(), "{} bytes came back", body.len());
    master.finish();
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let at = rest.windows(2).position(|window| window == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..at]).unwrap(), 16).unwrap();
        body.extend_from_slice(&rest[at + 2..at + 2 + size]);
        rest = &rest[at + 4 + size..];
        if size == 0 {
            assert!(rest.is_empty());
            return body;
        }
    }
}

#[test]
fn an_answer_that_comes_before_the_body_is_passed_on_at_once() {
    let master = node();
    let mut client = master.connect();
    client.send_raw(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\nsome").unwrap();
    let answer = client.receive().unwrap();
    assert_eq!((answer.status, answer.text()), (403, "no".into()));
    // The rest may be sent on, and is not taken for another request.
    client.send_some(&large()[..1 << 20]);
    drop(client);
    assert_eq!(master.get("/").status, 200);
    master.finish();
}

#[test]
fn curl_and_node_wait_for_100_continue_and_get_it() {
    let master = node();
    let body = large()[..3 << 20].to_vec();
    let expected = hash(&body);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("body");
    std::fs::write(&file, &body).unwrap();
    let url = |path: &str| format!("http://{}{path}", master.address());
    let curl = |path: &str| {
        let data = format!("@{}", file.display());
        // It would send the body by itself after this time.
        let patience = ["--expect100-timeout", "60", "-sS", "-i", "-H", "Expect: 100-continue"];
        let output =
            Command::new("curl").args(patience).args(["--data-binary", &data, &url(path)]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let answer = curl("/hash");
    assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with(&expected), "{answer}");
    assert!(curl("/refuses").starts_with("HTTP/1.1 417"), "the program says so itself");
    let script = "const http = require('http'), fs = require('fs');\n\
        const [, url, file] = process.argv;\n\
        const asked = http.request(url, { method: 'POST', headers: { Expect: '100-continue' } }, (answer) => {\n\
          answer.pipe(process.stdout);\n\
        });\n\
        asked.flushHeaders();\n\
        asked.on('continue', () => { process.stdout.write('told '); asked.end(fs.readFileSync(file)); });";
    let output =
        Command::new(Node::DEFAULT.path()).args(["-e", script, &url("/hash")]).arg(&file).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("told {expected}"), "{output:?}");
    let mut old = master.connect();
    old.send_raw(b"POST /hash HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na").unwrap();
    assert_eq!(old.receive().unwrap().status, 200, "nobody who speaks 1.0 is told to continue");
    master.finish();
}

#[test]
fn hints_come_before_the_answer_they_are_of() {
    let master = node();
    let mut client = master.connect();
    client.send_get("/hints").unwrap();
    let hints = client.receive_head().unwrap();
    assert_eq!((hints.status, &*hints.headers["link"]), (103, "</a.css>; rel=preload"));
    assert_eq!(client.receive().unwrap().text(), "hinted");
    let mut old = master.connect();
    let all = old.send_raw(b"GET /hints HTTP/1.0\r\n\r\n").and_then(|()| old.receive_all()).unwrap();
    assert!(!String::from_utf8_lossy(&all).contains("103"));
    drop(client);
    master.finish();
}

#[test]
fn a_client_that_has_said_all_gets_its_answer() {
    let mut master = Pointsman::multiport().workers(1).node(Node::DEFAULT, "plain.js").start();
    master.wait_ready(1);
    for (path, count) in [("/slow?ms=300", 1), ("/", 5)] {
        let mut client = master.connect();
        (0..count).for_each(|_| client.send_get(path).unwrap());
        client.finish_sending();
        for _ in 0..count {
            assert_eq!(client.receive().unwrap().status, 200);
        }
        assert!(client.is_closed_by_server());
    }
    master.finish();
}

/// A request of each, all sent at once, and a body in between.
#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::start(|served| {
        loop {
            let request = served.request()?;
            let text = format!("{} {}", request.line(), request.body.len());
            served.answer(&text)?;
        }
    });
    let master = Pointsman::before(&[&upstream]).start();
    let mut client = master.connect();
    let count = 300;
    let mut all = Vec::new();
    for number in 0..count {
        match number % 3 {
            0 => write!(all, "GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap(),
            1 => write!(all, "POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /").unwrap(),
            _ => write!(
                all,
                "PUT /{number} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            )
            .unwrap(),
        }
    }
    client.send_raw(&all).unwrap();
    for number in 0..count {
        let expected = match number % 3 {
            0 => format!("GET /{number} HTTP/1.1 0"),
            1 => format!("POST /{number} HTTP/1.1 5"),
            _ => format!("PUT /{number} HTTP/1.1 3"),
        };
        assert_eq!(client.receive().unwrap().text(), expected);
    }
    let heads: Vec<_> = upstream.requests().iter().map(|request| request.line().to_owned()).collect();
    assert_eq!(heads.len(), count, "{heads:?}");
    drop(client);
    master.finish();
}

#[test]
fn clients_and_upstreams_of_http_1_0_are_understood() {
    let upstream = Upstream::start(|served| {
        served.request()?;
        served.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end")
    });
    let new = Upstream::start(|served| {
        loop {
            served.request()?;
            served.send(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n",
            )?;
        }
    });
    let master = Pointsman::before(&[&upstream]).start();
    let mut client = master.connect();
    for _ in 0..3 {
        assert_eq!(client.get("/").unwrap().text(), "until the end");
    }
    drop(client);
    let mut old = master.connect();
    let answer = old.ask("GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(answer.text(), "until the end", "{answer:?}");
    assert!(!answer.headers.contains_key("transfer-encoding"));
    assert_eq!(upstream.requests()[3].line(), "GET / HTTP/1.1", "we speak our own version");
    master.finish();
    let master = Pointsman::before(&[&new]).start();
    // As ab does it.
    let mut old = master.connect();
    let answer =
        old.ask("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nHost: a\r\nUser-Agent: ApacheBench/2.3\r\n\r\n");
    assert_eq!(answer.unwrap().text(), "abcdefg");
    assert_eq!(new.only().values("Host"), ["a"]);
    master.finish();
}

/// Those that close before all came, in the middle of what they say, or with a reset.
#[test]
fn an_answer_that_is_cut_is_cut_for_the_client_too() {
    let upstream = Upstream::start(|served| {
        let request = served.request()?;
        let path = request.line().split(' ').nth(1)?;
        match path {
            "/length" => served.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"),
            "/chunked" => served.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"),
            _ => served.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
        }
    });
    let master = Pointsman::before(&[&upstream]).start();
    for path in ["/length", "/chunked", "/between"] {
        let mut client = connect(master.address());
        client.send_get(path).unwrap();
        let error = client.receive().unwrap_err();
        assert!(matches!(
            error.kind(),
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset
        ));
    }
    assert_eq!(upstream.requests().len(), 3, "what has begun to be answered is not asked again");
    master.finish();
}

fn connect(address: SocketAddr) -> Client {
    Client::connect_from(Ipv4Addr::LOCALHOST, address).unwrap()
}
