//! Heads, whole and in pieces.

use super::*;

const HOST: &str = "Host: a\r\n";

/// What of a head is no text.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    framing: Framing,
    keep_alive: bool,
    expects_continue: bool,
}

fn read(head: &str) -> Result<Read, Status> {
    let mut scanned = 0;
    let length = find_head(head.as_bytes(), &mut scanned)?.expect("a whole head");
    assert_eq!(length, head.len(), "{head}");
    let mut slots = FieldSlots::new();
    let Head { framing, keep_alive, expects_continue, .. } = Head::parse(head.as_bytes(), &mut slots)?;
    Ok(Read { framing, keep_alive, expects_continue })
}

/// A POST with these fields beside `Host`.
fn with(fields: &str) -> Result<Read, Status> {
    read(&format!("POST / HTTP/1.1\r\n{HOST}{fields}\r\n"))
}

#[test]
fn what_is_asked_for() {
    for (line, expected) in [
        ("GET /", Some(("/", ""))),
        ("HEAD /a?b=c?d", Some(("/a", "b=c?d"))),
        ("GET //", Some(("//", ""))),
        ("GET http://example.com", Some(("/", ""))),
        ("GET HTTP://example.com:80/a?n=7", Some(("/a", "n=7"))),
        ("GET http://example.com?x", Some(("/", ""))),
        ("GET https://example.com/", None),
        ("CONNECT example.com:80", None),
        ("OPTIONS *", None),
    ] {
        let text = format!("{line} HTTP/1.1\r\n{HOST}a: 1\r\nA:\t2 \r\n\r\n");
        let mut slots = FieldSlots::new();
        let head =
            Head::parse(text.as_bytes(), &mut slots).unwrap_or_else(|status| panic!("{line}: {status:?}"));
        assert_eq!(head.path_and_query(), expected, "{line}");
        assert_eq!(head.method, line.split(' ').next().unwrap());
        assert_eq!(head.values("A").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(head.values("host").count() + head.values("b").count(), 1);
    }
}

#[test]
fn framing_of_bodies() {
    let body = |fields: &str| with(fields).map(|read| read.framing);
    assert_eq!(body(""), Ok(Framing::Length(0)));
    assert_eq!(body("content-length: 007\r\n"), Ok(Framing::Length(7)));
    assert_eq!(body("Content-Length: 18446744073709551615\r\n"), Ok(Framing::Length(u64::MAX)));
    assert_eq!(body("Transfer-Encoding: Chunked\r\n"), Ok(Framing::Chunked));
    assert_eq!(body("Transfer-Encoding: gzip, chunked\r\n"), Err(Status::NotImplemented));
    for refused in [
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length:",
        "Content-Length: 5, 5",
        "Content-Length: 18446744073709551616",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding:",
        "Transfer-Encoding : chunked",
        "Content-Length : 5",
        " Content-Length: 5",
        "X: a\r\n b",
        "X: a\0",
        "X: a\rb",
        "Host: b",
    ] {
        assert_eq!(body(&format!("{refused}\r\n")), Err(Status::BadRequest), "{refused:?}");
    }
    let old = read("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(old, Err(Status::BadRequest), "HTTP/1.0 knows no codings");
}

#[test]
fn staying_and_leaving() {
    let keep = |version: &str, fields: &str| {
        read(&format!("GET / HTTP/{version}\r\n{HOST}{fields}\r\n")).unwrap().keep_alive
    };
    assert!(keep("1.1", ""));
    assert!(!keep("1.1", "Connection: Close\r\n"));
    assert!(!keep("1.1", "Connection: x\r\nconnection: y , close\r\n"));
    assert!(!keep("1.0", ""));
    assert!(keep("1.0", "Connection: Keep-Alive\r\n"));
    assert!(!keep("1.0", "Connection: close, keep-alive\r\n"));
    assert!(with("Expect: 100-continue\r\nContent-Length: 1\r\n").unwrap().expects_continue);
    assert!(!read("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").unwrap().expects_continue);
}

#[test]
fn heads_that_are_none() {
    assert_eq!(read("GET / HTTP/1.1\r\n\r\n"), Err(Status::BadRequest), "no Host");
    assert!(read("GET / HTTP/1.0\r\n\r\n").is_ok());
    assert_eq!(read("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), Err(Status::VersionNotSupported));
    assert_eq!(read("GET /\r\n\r\n"), Err(Status::BadRequest), "HTTP/0.9");
    assert_eq!(read("GET / x HTTP/1.1\r\nHost: a\r\n\r\n"), Err(Status::VersionNotSupported));
    assert_eq!(read("\0\r\n\r\n"), Err(Status::BadRequest));
    assert_eq!(read("GET / HTTP/1.1\nHost: a\r\n\r\n"), Err(Status::BadRequest), "a bare LF");
    assert_eq!(read("GET / HTTP/1.1\r\nHost: a\n\n"), Err(Status::BadRequest), "a bare LF");
    assert_eq!(
        read(&format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65))),
        Err(Status::FieldsTooLarge)
    );
}

#[test]
fn a_head_has_a_limit_and_is_searched_once() {
    let mut scanned = 0;
    assert_eq!(find_head(&[b'a'; MAX_HEAD - 1], &mut scanned), Ok(None));
    assert_eq!(scanned, MAX_HEAD - 1);
    assert_eq!(find_head(&[b'a'; MAX_HEAD], &mut scanned), Err(Status::UriTooLong));
    let long = [b"GET / HTTP/1.1\r\n".as_slice(), &[b'a'; MAX_HEAD]].concat();
    assert_eq!(find_head(&long, &mut 0), Err(Status::FieldsTooLarge));

    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut scanned = 0;
    for end in 0..head.len() {
        assert_eq!(find_head(&head[..end], &mut scanned), Ok(None));
        assert_eq!(scanned, end);
    }
    assert_eq!(find_head(&[head.as_slice(), b"\nnext"].concat(), &mut scanned), Ok(Some(head.len())));
    assert_eq!(scanned, 0);
}
