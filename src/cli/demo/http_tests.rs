//! What heads ask for; how they are read is tested in the library.

use super::*;

const HOST: &str = "Host: a\r\n";

fn read(head: &str) -> Result<Request, Status> {
    parse(head.as_bytes())
}

fn action(line: &str) -> Action {
    read(&format!("{line} HTTP/1.1\r\n{HOST}\r\n"))
        .unwrap_or_else(|status| panic!("{line}: {status:?}"))
        .action
}

#[test]
fn routes() {
    let refuse = Action::Refuse;
    let read = "GET, HEAD";
    assert_eq!(action("GET /"), Action::Home);
    assert_eq!(action("HEAD /?x"), Action::Home);
    assert_eq!(action("GET /slow"), Action::Slow(Duration::from_secs(1)));
    assert_eq!(action("GET /slow?a=b&ms=20"), Action::Slow(Duration::from_millis(20)));
    assert_eq!(action("GET /slow?ms=99999999"), Action::Slow(Duration::from_secs(60)), "capped");
    assert_eq!(action("GET /slow?ms=+1"), refuse(Status::BadRequest));
    assert_eq!(action("GET /slow?ms="), refuse(Status::BadRequest));
    assert_eq!(action("GET /slow?ms=99999999999999999999"), refuse(Status::BadRequest));
    assert_eq!(action("GET /bytes?n=0"), Action::Bytes(0));
    assert_eq!(action("GET /bytes?n=9999999999"), Action::Bytes(1 << 30), "capped");
    assert_eq!(action("POST /echo?x"), Action::Echo);
    assert_eq!(action("GET /nothing"), refuse(Status::NotFound));
    assert_eq!(action("GET //"), refuse(Status::NotFound));
    assert_eq!(action("get /"), refuse(Status::MethodNotAllowed { allow: read }), "methods have a case");
    assert_eq!(action("DELETE /slow?ms=x"), refuse(Status::MethodNotAllowed { allow: read }));
    assert_eq!(action("GET /echo"), refuse(Status::MethodNotAllowed { allow: "POST" }));
    assert_eq!(action("GET http://example.com"), Action::Home);
    assert_eq!(action("GET HTTP://example.com:80/bytes?n=7"), Action::Bytes(7));
    assert_eq!(action("GET http://example.com?x"), Action::Home);
    assert_eq!(action("CONNECT example.com:80"), refuse(Status::BadRequest));
    assert_eq!(action("OPTIONS *"), refuse(Status::BadRequest));
}

#[test]
fn a_body_has_a_limit() {
    let body = |length: &str| {
        let head = format!("POST /echo HTTP/1.1\r\n{HOST}Content-Length: {length}\r\n\r\n");
        read(&head).map(|request| request.body)
    };
    assert_eq!(body("16777216"), Ok(Framing::Length(MAX_BODY)));
    assert_eq!(body("16777217"), Err(Status::ContentTooLarge));
    assert_eq!(body("18446744073709551616"), Err(Status::BadRequest));
}

#[test]
fn how_it_is_to_be_answered() {
    let head = format!("HEAD / HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n");
    let manner = read(&head).unwrap().manner;
    assert!(manner.head_only && !manner.keep_alive);
    let head = format!("POST /echo HTTP/1.1\r\n{HOST}Expect: 100-continue\r\nContent-Length: 1\r\n\r\n");
    assert!(read(&head).unwrap().expects_continue);
}
