//! What upstreams are told of a request besides what the client has said, and what clients are told of an answer.

use std::{fs, net::Ipv4Addr};

use crate::harness::{Client, Master, Pointsman, Request, Response, Upstream};

fn start(run: impl Fn(Pointsman) -> Pointsman) -> (Master, Upstream) {
    let upstream = Upstream::saying("ok");
    (run(Pointsman::before(&[&upstream])).start(), upstream)
}

/// What an upstream is asked when these fields come with a request.
#[track_caller]
fn told(master: &Master, upstream: &Upstream, fields: &str) -> Request {
    let mut client = master.connect();
    let answer =
        client.ask(&format!("GET /a?b=%20|c HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n")).unwrap();
    assert_eq!(answer.status, 200);
    upstream.requests().pop().unwrap()
}

#[test]
fn a_request_says_where_it_comes_from() {
    let (master, upstream) = start(|run| run);
    let request = told(&master, &upstream, "X-Other: kept\r\ntraceparent: 00-1-2-01\r\n");
    for (name, expected) in [
        ("Host", &["shop.example"][..]),
        ("X-Forwarded-For", &["127.0.0.1"]),
        ("X-Forwarded-Proto", &["http"]),
        ("X-Forwarded-Host", &["shop.example"]),
        ("Via", &["1.1 pointsman"]),
        ("X-Other", &["kept"]),
        ("traceparent", &["00-1-2-01"]),
        ("Forwarded", &[]),
        ("Connection", &[]),
    ] {
        assert_eq!(request.values(name), expected, "{name} of {}", request.head);
    }
    assert_eq!(request.line(), "GET /a?b=%20|c HTTP/1.1", "as it came");
    let ids: Vec<_> =
        (0..3).map(|_| told(&master, &upstream, "").value("X-Request-ID").unwrap().to_owned()).collect();
    assert!(ids.iter().all(|id| id.len() >= 16) && ids[0] != ids[1] && ids[1] != ids[2], "{ids:?}");
    assert_eq!(told(&master, &upstream, "X-Request-ID: mine\r\n").values("X-Request-ID"), ["mine"]);
    assert_eq!(
        told(&master, &upstream, "Via: 1.0 other\r\n").values("Via").join(", "),
        "1.0 other, 1.1 pointsman"
    );
    master.finish();
    let (master, upstream) = start(|run| run.flag("--forwarded"));
    let request = told(&master, &upstream, "");
    assert_eq!(request.values("Forwarded"), ["for=127.0.0.1;host=\"shop.example\";proto=http"]);
    master.finish();
}

const SPOOFED: &str = "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\nX-Forwarded-Proto: https\r\n\
                       X-Forwarded-Host: evil.example\r\nX-Forwarded-Port: 444\r\nForwarded: for=1.2.3.4;proto=https\r\n";

#[test]
fn strangers_are_not_believed() {
    let (master, upstream) = start(|run| run);
    let request = told(&master, &upstream, SPOOFED);
    assert_eq!(request.values("X-Forwarded-For"), ["127.0.0.1"]);
    assert_eq!(request.values("X-Forwarded-Proto"), ["http"]);
    assert_eq!(request.values("X-Forwarded-Host"), ["shop.example"]);
    for lie in ["1.2.3.4", "5.6.7.8", "https", "evil.example", "444"] {
        assert!(!request.head.contains(lie), "{lie} in {}", request.head);
    }
    // Nor can ours be left out.
    let request = told(&master, &upstream, "Connection: X-Forwarded-For, Via, Host, X-Request-ID\r\n");
    for (name, expected) in
        [("X-Forwarded-For", "127.0.0.1"), ("Via", "1.1 pointsman"), ("Host", "shop.example")]
    {
        assert_eq!(request.values(name), [expected], "{}", request.head);
    }
    assert!(request.value("X-Request-ID").is_some());
    master.finish();
}

#[test]
fn trusted_proxies_are_believed_and_others_are_not() {
    let (master, upstream) =
        start(|run| run.option("--trusted-proxies", "127.0.0.1").option("--access-log", "stdout"));
    let request = told(&master, &upstream, SPOOFED);
    assert_eq!(request.values("X-Forwarded-For"), ["1.2.3.4, 5.6.7.8, 127.0.0.1"]);
    assert_eq!(request.values("X-Forwarded-Proto"), ["https"]);
    assert_eq!(request.values("X-Forwarded-Host"), ["evil.example"]);
    crate::harness::eventually("the log names the client", || master.printed("5.6.7.8 - - ["));
    let mut other = Client::connect_from(Ipv4Addr::new(127, 0, 0, 2), master.address()).unwrap();
    let answer = other.ask(&format!("GET / HTTP/1.1\r\nHost: shop.example\r\n{SPOOFED}\r\n")).unwrap();
    assert_eq!(answer.status, 200);
    let request = upstream.requests().pop().unwrap();
    assert_eq!(request.values("X-Forwarded-For"), ["127.0.0.2"]);
    assert_eq!(request.values("X-Forwarded-Proto"), ["http"]);
    drop(other);
    master.finish();
}

#[test]
fn what_is_for_one_hop_goes_no_further() {
    let upstream = Upstream::start(|served| {
        loop {
            served.request()?;
            served.send(
                b"HTTP/1.1 200 OK\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
                  Proxy-Connection: x\r\nX-End: 2\r\nX-End: 3\r\nContent-Length: 2\r\n\r\nok",
            )?;
        }
    });
    let master = Pointsman::before(&[&upstream]).start();
    let fields = "Connection: close, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\n\
                  TE: gzip\r\nUpgrade: h2c\r\nX-End: 1\r\nX-End: 2\r\nAuthorization: b\r\nx_odd: 3\r\n";
    let mut client = master.connect();
    client.send_raw(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes()).unwrap();
    let answer = String::from_utf8(client.receive_all().unwrap()).unwrap();
    let request = upstream.only();
    for name in ["X-Mine", "Keep-Alive", "Proxy-Connection", "TE", "Upgrade", "Connection"] {
        assert_eq!(request.values(name), [""; 0], "{name} in {}", request.head);
    }
    assert_eq!(request.values("X-End"), ["1", "2"]);
    assert_eq!((request.value("Authorization"), request.value("x_odd")), (Some("b"), Some("3")));
    for text in ["X-Hop", "timeout=5", "Proxy-Connection"] {
        assert!(!answer.contains(text), "{text} in {answer}");
    }
    let date = answer.lines().find_map(|line| line.strip_prefix("Date: ")).unwrap();
    assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");
    assert!(
        answer.contains("X-End: 2\r\nX-End: 3\r\n") && answer.contains("\r\nConnection: close\r\n"),
        "{answer}"
    );
    master.finish();
}

#[test]
fn a_date_that_is_there_stays() {
    let upstream = Upstream::start(|served| {
        loop {
            served.request()?;
            served.send(b"HTTP/1.1 204 No Content\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n")?;
        }
    });
    let master = Pointsman::before(&[&upstream]).start();
    let mut client = master.connect();
    client.send_get("/").unwrap();
    assert_eq!(client.receive_head().unwrap().headers["date"], "Thu, 01 Jan 1970 00:00:00 GMT");
    drop(client);
    master.finish();
}

fn page(master: &Master, method: &str, path: &str) -> Response {
    let mut client = master.connect();
    client.send_raw(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
    if method == "HEAD" { client.receive_head().unwrap() } else { client.receive().unwrap() }
}

#[test]
fn errors_of_ours_say_what_their_pages_say() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let pages = [
        ("502", write("502.html", "<h1>sorry</h1>")),
        ("5xx", write("5xx.json", "{\"sorry\":5}")),
        ("4xx", write("4xx.txt", "your fault")),
    ];
    let upstream = Upstream::start(|served| {
        let request = served.request()?;
        match request.line().split(' ').nth(1)? {
            "/own" => served.send(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nown"),
            "/silent" => served.wait_end(),
            _ => None,
        }
    });
    let run =
        Pointsman::before(&[&upstream]).option("--response-timeout", "300ms").option("--eject-after", "off");
    let run =
        pages.iter().fold(run, |run, (code, path)| run.option("--error-pages", format!("{code}={path}")));
    let master = run.option("--tries", "1").start();
    for (path, status, kind, body) in [
        ("/closed", 502, "text/html", "<h1>sorry</h1>"),
        ("/silent", 504, "application/json", "{\"sorry\":5}"),
    ] {
        let answer = page(&master, "GET", path);
        assert_eq!((answer.status, answer.text()), (status, body.into()));
        assert!(answer.headers["content-type"].starts_with(kind), "{answer:?}");
        assert_eq!(answer.headers["content-length"], body.len().to_string());
        assert!(answer.headers.contains_key("date"));
        let head = page(&master, "HEAD", path);
        assert_eq!((head.status, &head.headers["content-length"]), (status, &body.len().to_string()));
    }
    let mut client = master.connect();
    assert_eq!(client.ask("GET / HTTP/1.1\r\n\r\n").unwrap().text(), "your fault");
    assert_eq!(page(&master, "GET", "/own").text(), "own", "what the upstream says is its own");
    // The head of an error is all that comes, and the connection goes on.
    let mut client = master.connect();
    let both = "HEAD /closed HTTP/1.1\r\nHost: a\r\n\r\nGET /own HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send_raw(both.as_bytes()).unwrap();
    assert_eq!(client.receive_head().unwrap().status, 502);
    assert_eq!(client.receive().unwrap().text(), "own");
    drop(client);
    master.finish();
}
