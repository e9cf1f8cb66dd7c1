//! What an intermediary must do, case by case: what a client and an upstream say, and what must reach the other.
//!
//! Data only, so that whatever stands between the two can be judged by it. The numbers are of the sections of RFC 9110
//! ("9110") and RFC 9112 ("9112") that say so.

/// One case.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    /// What the client sends.
    pub given: &'static [u8],
    /// It half-closes its connection behind that.
    pub ends: bool,
    /// What the upstream says to one request after the other, and to all further ones [`OK`].
    pub answers: &'static [&'static [u8]],
    pub manner: Manner,
    /// What must reach an upstream; no more, and in this order.
    pub sent: &'static [Sent],
    /// What must reach the client, interim answers included.
    pub got: &'static [Got],
    /// What becomes of the client's connection.
    pub then: Then,
    /// The upstream's connection is not used again.
    pub fresh: bool,
}

/// When the upstream answers, and what it does afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// To a whole request, and its connection stays.
    Keeps,
    /// To a whole request, and its connection ends.
    Closes,
    /// As soon as the head of the request is there.
    Early,
}

/// A request that must reach the upstream.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    pub line: &'static str,
    pub body: &'static [u8],
    /// These fields, with all of their values in order; none to say that it must not be there.
    pub fields: &'static [(&'static str, &'static [&'static str])],
    /// The names of its trailers.
    pub trailers: &'static [&'static str],
}

/// An answer that must reach the client.
#[derive(Debug, Clone, Copy)]
pub struct Got {
    pub code: u16,
    pub body: &'static [u8],
    pub fields: &'static [(&'static str, &'static [&'static str])],
    /// It may be cut short: its body only begins so.
    pub short: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It takes another request.
    Stays,
    /// It ends once all is written.
    Ends,
    /// It is cut.
    Cut,
    /// The same; but if nothing of the answer has gone when it turns out to be none, a 502 takes its place.
    Spoilt,
    /// It is another protocol's.
    Tunnel,
}

/// What stands here for the client's address.
pub const CLIENT: &str = "127.0.0.1";
/// What stands here for the date of a message that had none.
pub const DATE: &str = "Thu, 01 Jan 1970 00:00:00 GMT";
/// What is sent behind a case.
pub const SECOND: &[u8] = b"GET /second HTTP/1.1\r\nHost: second\r\n\r\n";

/// What an upstream says that was told nothing else.
pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nok";

const CASE: Case = Case {
    name: "",
    given: b"",
    ends: false,
    answers: &[],
    manner: Manner::Keeps,
    sent: &[],
    got: &[],
    then: Then::Stays,
    fresh: false,
};
const GET: Sent = Sent { line: "GET / HTTP/1.1", body: b"", fields: &[], trailers: &[] };
const POST: Sent = Sent { line: "POST / HTTP/1.1", body: b"hello", fields: &[], trailers: &[] };
const GOT: Got = Got { code: 200, body: b"ok", fields: &[], short: false };
/// A request that is refused reaches nobody, and its connection ends.
const REFUSED: Case = Case { got: &[BAD], then: Then::Ends, ..CASE };
const BAD: Got =
    Got { code: 400, body: b"400 Bad Request\n", fields: &[("Connection", &["close"])], short: false };
/// Where an upstream's answer is none.
pub const BAD_GATEWAY: Got = Got { code: 502, body: b"502 Bad Gateway\n", fields: &[], short: false };
const UNUSABLE: Case = Case { given: PLAIN, sent: &[GET], got: &[BAD_GATEWAY], ..CASE };
const PLAIN: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const HEAD: Sent = Sent { line: "HEAD / HTTP/1.1", ..GET };

macro_rules! post {
    ($($field:literal),*; $body:literal) => {
        concat!("POST / HTTP/1.1\r\nHost: a\r\n", $($field, "\r\n",)* "\r\n", $body).as_bytes()
    };
}

macro_rules! get {
    ($($field:literal),*) => {
        concat!("GET / HTTP/1.1\r\nHost: a\r\n", $($field, "\r\n",)* "\r\n").as_bytes()
    };
}

impl Case {
    /// Another request makes sense behind it.
    pub fn can_be_followed(&self) -> bool {
        !self.ends && self.manner != Manner::Early && self.then != Then::Tunnel
    }
}

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Case> {
    [HOP_BY_HOP, TARGETS, REQUEST_HEADS, ANSWER_HEADS, REQUEST_FRAMING, ANSWER_FRAMING, CONVERSATION]
        .into_iter()
        .flatten()
}

const HOP_BY_HOP: &[Case] = &[
    Case {
        name: "1 (9110 7.6.1): a field that Connection names",
        given: get!("Connection: close, X-Foo", "X-Foo: 1", "X-Bar: 2"),
        sent: &[Sent { fields: &[("X-Foo", &[]), ("Connection", &[]), ("X-Bar", &["2"])], ..GET }],
        got: &[Got { fields: &[("Connection", &["close"])], ..GOT }],
        then: Then::Ends,
        ..CASE
    },
    Case {
        name: "2 (9110 7.6.1): a field that Connection names in an answer",
        given: PLAIN,
        answers: &[b"HTTP/1.1 200 OK\r\nConnection: X-Bar\r\nX-Bar: 1\r\nX-Foo: 2\r\nContent-Length: 0\r\n\r\n"],
        sent: &[GET],
        got: &[Got { body: b"", fields: &[("X-Bar", &[]), ("Connection", &[]), ("X-Foo", &["2"])], ..GOT }],
        ..CASE
    },
    Case {
        name: "3 (9110 7.6.1): fields that are for one hop anyway",
        given: get!("Keep-Alive: timeout=9", "Proxy-Connection: keep-alive", "TE: trailers", "X: 1"),
        sent: &[Sent { fields: &[("Keep-Alive", &[]), ("Proxy-Connection", &[]), ("TE", &[]), ("X", &["1"])], ..GET }],
        got: &[GOT],
        ..CASE
    },
    Case {
        name: "4 (9110 7.6.1): Connection cannot take away our own fields",
        given: get!("Connection: X-Forwarded-For, Via, X-Request-ID", "X-Forwarded-For: 6.6.6.6", "Via: 1.1 x"),
        sent: &[Sent { fields: &[("X-Forwarded-For", &[CLIENT]), ("Via", &["1.1 x", "1.1 pointsman"])], ..GET }],
        got: &[GOT],
        ..CASE
    },
    Case {
        name: "4: nor Host or the framing",
        given: post!("Connection: Host, Content-Length, Transfer-Encoding, Content-Type", "Content-Length: 5", "Content-Type: x"; "hello"),
        sent: &[Sent { fields: &[("Host", &["a"]), ("Content-Length", &["5"]), ("Content-Type", &["x"])], ..POST }],
        got: &[GOT],
        ..CASE
    },
    Case {
        name: "5 (9110 7.6.3): Via, of HTTP/1.1",
        given: PLAIN,
        sent: &[Sent { fields: &[("Via", &["1.1 pointsman"])], ..GET }],
        got: &[GOT],
        ..CASE
    },
    Case {
        name: "6 (9110 7.6.2): OPTIONS that goes no further",
        given: b"OPTIONS /a HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n",
        got: &[Got { body: b"", ..GOT }],
        ..CASE
    },
    Case {
        name: "6 (9110 7.6.2): TRACE that goes no further, and tells no secrets",
        given: b"TRACE /a HTTP/1.1\r\nHost: a\r\nCookie: b\r\nMax-Forwards: 0\r\nX: 1\r\n\r\n",
        got: &[Got {
            body: b"TRACE /a HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nX: 1\r\n\r\n",
            fields: &[("Content-Type", &["message/http"])],
            ..GOT
        }],
        ..CASE
    },
    Case {
        name: "7 (9110 7.6.2): one forward less",
        given: b"OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 5\r\n\r\n",
        sent: &[Sent { line: "OPTIONS * HTTP/1.1", fields: &[("Max-Forwards", &["4"])], ..GET }],
        got: &[GOT],
        ..CASE
    },
    Case {
        name: "7 (9110 9.3.7): never invented",
        given: b"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n",
        sent: &[Sent { line: "OPTIONS / HTTP/1.1", fields: &[("Max-Forwards", &[])], ..GET }],
        got: &[GOT],
        ..CASE
    },
    Case {
        name: "8 (9112 2.3): an older client is asked for in our version",
        given: b"GET / HTTP/1.0\r\n\r\n",
        sent: &[Sent { fields: &[("Host", &[""]), ("Via", &["1.0 pointsman"])], ..GET }],
        got: &[Got { fields: &[("Connection", &["close"])], ..GOT }],
        then: Then::Ends,
        ..CASE
    },
    Case {
        name: "52 (9110 7.6): a loop",
        given: get!(
            "Via: 1.1 pointsman, 1.1 pointsman, 1.1 pointsman, 1.1 pointsman, 1.1 pointsman",
            "Via: 1.0 pointsman, 1.1 pointsman, 1.1 pointsman (x), 1.1 pointsman, 1.1 pointsman"
        ),
        got: &[Got { code: 508, body: b"508 Loop Detected\n", ..GOT }],
        then: Then::Ends,
        ..CASE
    },
    Case {
        name: "52: two of us in a row are none",
        given: get!("Via: 1.1 pointsman, 1.1 pointsman"),
        sent: &[Sent { fields: &[("Via", &["1.1 pointsman, 1.1 pointsman", "1.1 pointsman"])], ..GET }],
        got: &[GOT],
        ..CASE
    },
    Case {
        name: "53, 54, 55 (9110 5.1, 11.6, 13.2.1): what is not ours is not touched",
        given: get!("If-None-Match: \"x\"", "x_odd!: 1", "Authorization: Basic eDp5", "Range: bytes=0-1", "X-Empty:"),
        answers: &[b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"a, b\"\r\nAllow: GET\r\nx_odd: 1\r\nContent-Length: 0\r\n\r\n"],
        sent: &[Sent {
            fields: &[
                ("If-None-Match", &["\"x\""]),
                ("x_odd!", &["1"]),
                ("Authorization", &["Basic eDp5"]),
                ("Range", &["bytes=0-1"]),
                ("X-Empty", &[""]),
            ],
            ..GET
        }],
        got: &[Got {
            code: 401,
            body: b"",
            fields: &[("WWW-Authenticate", &["Basic realm=\"a, b\""]), ("Allow", &["GET"]), ("x_odd", &["1"])],
            ..GOT
        }],
        ..CASE
    },
    Case {
        name: "forged: what only a proxy may say",
        given: get!("X-Forwarded-For: 1.1.1.1", "X_Forwarded_For: 2.2.2.2", "X-Forwarded-Proto: https", "X-Forwarded-Port: 1", "Forwarded: for=1.1.1.1", "traceparent: 00-1-2-3"),
        sent: &[Sent {
            fields: &[
                ("X-Forwarded-For", &[CLIENT]),
                ("X_Forwarded_For", &[]),
                ("X-Forwarded-Proto", &["http"]),
                ("X-Forwarded-Host", &["a"]),
                ("X-Forwarded-Port", &[]),
                ("Forwarded", &[]),
                ("traceparent", &["00-1-2-3"]),
            ],
            ..GET
        }],
        got: &[GOT],
        ..CASE
    },
];

const TARGETS: &[Case] = &[
    Case { name: "9 (9112 3.2): no Host", given: b"GET / HTTP/1.1\r\n\r\n", ..REFUSED },
    Case { name: "10 (9112 3.2): two Hosts", given: get!("Host: a"), ..REFUSED },
    Case { name: "11 (9112 3.2): a Host with a space", given: b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", ..REFUSED },
    Case { name: "11: a Host with a path", given: b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", ..REFUSED },
    Case { name: "11: no Host where there is an authority", given: b"GET http://a/ HTTP/1.1\r\nHost:\r\n\r\n", ..REFUSED },
    Case { name: "12 (9112 3.2): a Host with a user", given: b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", ..REFUSED },
    Case { name: "12: a target with a user", given: b"GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n", ..REFUSED },
    Case {
        name: "13 (9112 3.2.2): the target says who is meant",
        given: b"GET http://right:80/p?q HTTP/1.1\r\nHost: wrong\r\n\r\n",
        sent: &[Sent { line: "GET /p?q HTTP/1.1", fields: &[("Host", &["right:80"]), ("X-Forwarded-Host", &["right:80"])], ..GET }],
        got: &[GOT],
        ..CASE
    },
    Case {
        name: "13: an absolute target without a path",
        given: b"GET http://right?q HTTP/1.1\r\nHost: wrong\r\n\r\nOPTIONS http://right HTTP/1.1\r\nHost: wrong\r\n\r\n",
        sent: &[
            Sent { line: "GET /?q HTTP/1.1", fields: &[("Host", &["right"])], ..GET },
            Sent { line: "OPTIONS * HTTP/1.1", fields: &[("Host", &["right"])], ..GET },
        ],
        got: &[GOT, GOT],
        ..CASE
    },
    Case { name: "13: of another scheme", given: b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", ..REFUSED },
    Case { name: "a fragment", given: b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", ..REFUSED },
    Case { name: "a star that is not for OPTIONS", given: b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", ..REFUSED },
    Case {
        name: "42 (9110 7.7): a target is not touched",
        given: b"GET /a/./b//c%2f%41?x=%20|&y HTTP/1.1\r\nHost: a\r\n\r\n",
        sent: &[Sent { line: "GET /a/./b//c%2f%41?x=%20|&y HTTP/1.1", ..GET }],
        got: &[GOT],
        ..CASE
    },
    Case {
        name: "47 (9110 9.3.6): CONNECT",
        given: b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
        got: &[Got { code: 405, body: b"405 Method Not Allowed\n", fields: &[("Connection", &["close"])], short: false }],
        then: Then::Ends,
        ..CASE
    },
    Case {
        name: "methods have a case",
        given: b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
        sent: &[Sent { line: "get / HTTP/1.1", ..GET }],
        got: &[GOT],
        ..CASE
    },
];

const REQUEST_HEADS: &[Case] = &[
    Case { name: "14 (9112 5.1): space before a colon", given: get!("X-A : 1"), ..REFUSED },
    Case { name: "16 (9112 5.2): a folded line", given: get!("X-A: 1", " 2"), ..REFUSED },
    Case { name: "18 (9110 5.5): NUL", given: get!("X-A: 1\x002"), ..REFUSED },
    Case { name: "19 (9112 2.2): a bare CR", given: get!("X-A: 1\r2"), ..REFUSED },
    Case {
        name: "19: a bare CR in the first line",
        given: b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
        ..REFUSED
    },
    Case { name: "a bare LF", given: b"GET / HTTP/1.1\nHost: a\r\n\r\n", ..REFUSED },
    Case { name: "a bare LF behind a field", given: get!("X-A: 1\nX-B: 2"), ..REFUSED },
    Case {
        name: "high bytes in a name",
        given: b"GET / HTTP/1.1\r\nHost: a\r\nX-\xc3\xa4: 1\r\n\r\n",
        ..REFUSED
    },
    Case { name: "no name", given: get!(": 1"), ..REFUSED },
    Case {
        name: "45 (9112 2.2): space before the first field",
        given: b"GET / HTTP/1.1\r\n X: 1\r\nHost: a\r\n\r\n",
        ..REFUSED
    },
    Case { name: "no version", given: b"GET /\r\nHost: a\r\n\r\n", ..REFUSED },
    Case { name: "two spaces", given: b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", ..REFUSED },
    Case {
        name: "another version",
        given: b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        got: &[Got { code: 505, body: b"505 HTTP Version Not Supported\n", ..GOT }],
        then: Then::Ends,
        ..CASE
    },
    Case {
        name: "41 (9110 5.3): lines of the same name keep their order",
        given: get!("X-A: 1", "X-B: 2", "x-a: 3", "X-A:"),
        answers: &[
            b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX: 1\r\nset-cookie: b=2\r\nContent-Length: 0\r\n\r\n",
        ],
        sent: &[Sent { fields: &[("X-A", &["1", "3", ""]), ("X-B", &["2"])], ..GET }],
        got: &[Got { body: b"", fields: &[("Set-Cookie", &["a=1", "b=2"])], ..GOT }],
        ..CASE
    },
    Case {
        name: "9112 2.2: empty lines before a request",
        given: b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n",
        sent: &[GET],
        got: &[GOT],
        ..CASE
    },
];

const ANSWER_HEADS: &[Case] = &[
    Case {
        name: "15 (9112 5.1): space before a colon",
        answers: &[b"HTTP/1.1 200 OK\r\nX-A : 1\r\nContent-Length: 0\r\n\r\n"],
        ..UNUSABLE
    },
    Case {
        name: "17 (9112 5.2): a folded line",
        answers: &[b"HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\nContent-Length: 0\r\n\r\n"],
        ..UNUSABLE
    },
    Case {
        name: "20 (9110 5.5): NUL",
        answers: &[b"HTTP/1.1 200 OK\r\nX-A: 1\x002\r\nContent-Length: 0\r\n\r\n"],
        ..UNUSABLE
    },
    Case {
        name: "20: a bare CR",
        answers: &[b"HTTP/1.1 200 OK\r\nX-A: 1\r2\r\nContent-Length: 0\r\n\r\n"],
        ..UNUSABLE
    },
    Case { name: "a bare LF", answers: &[b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"], ..UNUSABLE },
    Case { name: "no answer", answers: &[b"+OK ready\r\n\r\n"], ..UNUSABLE },
    Case { name: "another version", answers: &[b"HTTP/2.0 200 OK\r\n\r\n"], ..UNUSABLE },
    Case {
        name: "46 (9110 6.6.1): without a Date",
        given: PLAIN,
        answers: &[b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
        sent: &[GET],
        got: &[Got { body: b"", fields: &[("Date", &[DATE])], ..GOT }],
        ..CASE
    },
    Case {
        name: "46: with one",
        given: PLAIN,
        answers: &[b"HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 0\r\n\r\n"],
        sent: &[GET],
        got: &[Got { body: b"", fields: &[("Date", &["then"])], ..GOT }],
        ..CASE
    },
    Case {
        name: "a line without a reason",
        given: PLAIN,
        answers: &[b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"],
        sent: &[GET],
        got: &[Got { body: b"", ..GOT }],
        ..CASE
    },
    Case {
        name: "an older upstream",
        given: PLAIN,
        answers: &[b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"],
        manner: Manner::Closes,
        sent: &[GET],
        got: &[GOT],
        ..CASE
    },
];

const REQUEST_FRAMING: &[Case] = &[
    Case {
        name: "a length",
        given: post!("Content-Length: 5"; "hello"),
        sent: &[Sent { fields: &[("Content-Length", &["5"]), ("Transfer-Encoding", &[])], ..POST }],
        got: &[GOT],
        ..CASE
    },
    Case {
        name: "26 (9110 8.6): zeros before a length",
        given: post!("Content-Length: 0005"; "hello"),
        sent: &[Sent { fields: &[("Content-Length", &["5"])], ..POST }],
        got: &[GOT],
        ..CASE
    },
    Case {
        name: "chunks",
        given: post!("Transfer-Encoding: Chunked"; "2\r\nhe\r\n003\r\nllo\r\n0\r\n\r\n"),
        sent: &[Sent { fields: &[("Transfer-Encoding", &["chunked"]), ("Content-Length", &[])], ..POST }],
        got: &[GOT],
        ..CASE
    },
    Case {
        name: "chunks with extensions",
        given: post!("Transfer-Encoding: chunked"; "2;a=\"\\\";\"\r\nhe\r\n3;b\r\nllo\r\n0;c=d\r\n\r\n"),
        sent: &[POST],
        got: &[GOT],
        ..CASE
    },
    Case {
        name: "21 (9112 6.1): a coding and a length",
        given: post!("Transfer-Encoding: chunked", "Content-Length: 5"; "0\r\n\r\n"),
        ..REFUSED
    },
    Case {
        name: "21: a length and a coding",
        given: post!("Content-Length: 5", "Transfer-Encoding: chunked"; "0\r\n\r\n"),
        ..REFUSED
    },
    Case {
        name: "22 (9112 6.3): not chunked at last",
        given: post!("Transfer-Encoding: chunked, gzip"; "0\r\n\r\n"),
        ..REFUSED
    },
    Case {
        name: "22: twice",
        given: post!("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"; "0\r\n\r\n"),
        ..REFUSED
    },
    Case { name: "22: something else", given: post!("Transfer-Encoding: xchunked"; "0\r\n\r\n"), ..REFUSED },
    Case { name: "22: identity", given: post!("Transfer-Encoding: identity"; ""), ..REFUSED },
    Case {
        name: "22: a coding that is not known here",
        given: post!("Transfer-Encoding: gzip, chunked"; "0\r\n\r\n"),
        got: &[Got {
            code: 501,
            body: b"501 Not Implemented\n",
            fields: &[("Connection", &["close"])],
            short: false,
        }],
        then: Then::Ends,
        ..CASE
    },
    Case {
        name: "23 (9112 6.1): a coding of HTTP/1.0",
        given: b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ..REFUSED
    },
    Case {
        name: "24 (9112 6.3): a list of lengths",
        given: post!("Content-Length: 5, 6"; "hello"),
        ..REFUSED
    },
    Case {
        name: "24: two lengths",
        given: post!("Content-Length: 5", "Content-Length: 6"; "hello"),
        ..REFUSED
    },
    Case { name: "25 (9110 8.6): the same twice", given: post!("Content-Length: 5, 5"; "hello"), ..REFUSED },
    Case { name: "26 (9110 8.6): +5", given: post!("Content-Length: +5"; "hello"), ..REFUSED },
    Case { name: "26: -1", given: post!("Content-Length: -1"; "hello"), ..REFUSED },
    Case { name: "26: 0x5", given: post!("Content-Length: 0x5"; "hello"), ..REFUSED },
    Case { name: "26: 5 5", given: post!("Content-Length: 5 5"; "hello"), ..REFUSED },
    Case { name: "26: nothing", given: post!("Content-Length:"; "hello"), ..REFUSED },
    Case { name: "26: 2^64", given: post!("Content-Length: 18446744073709551616"; "hello"), ..REFUSED },
    Case {
        name: "43 (9112 7.1.2): trailers stay where they are, and some do not",
        given: post!("Transfer-Encoding: chunked", "Trailer: X-T"; "5\r\nhello\r\n0\r\nHost: evil\r\nX-T: 1\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n"),
        sent: &[Sent {
            fields: &[("Host", &["a"]), ("X-T", &[]), ("X-Forwarded-For", &[CLIENT])],
            trailers: &["X-T"],
            ..POST
        }],
        got: &[GOT],
        ..CASE
    },
    BROKEN_CHUNKS(
        "44 (9112 7.1): a size of more than 64 bits",
        post!("Transfer-Encoding: chunked"; "10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ),
    BROKEN_CHUNKS("a bare LF behind a size", post!("Transfer-Encoding: chunked"; "5\nhello\r\n0\r\n\r\n")),
    BROKEN_CHUNKS("a bare LF in an extension", post!("Transfer-Encoding: chunked"; "5;\nhello\r\n0\r\n\r\n")),
    BROKEN_CHUNKS("space behind a size", post!("Transfer-Encoding: chunked"; "5 ;a\r\nhello\r\n0\r\n\r\n")),
    BROKEN_CHUNKS("a sign before a size", post!("Transfer-Encoding: chunked"; "+5\r\nhello\r\n0\r\n\r\n")),
    BROKEN_CHUNKS("0x before a size", post!("Transfer-Encoding: chunked"; "0x5\r\nhello\r\n0\r\n\r\n")),
    BROKEN_CHUNKS("junk behind a size", post!("Transfer-Encoding: chunked"; "5xa\r\nhello\r\n0\r\n\r\n")),
    BROKEN_CHUNKS("no size", post!("Transfer-Encoding: chunked"; "\r\nhello\r\n0\r\n\r\n")),
    BROKEN_CHUNKS("more data than the size", post!("Transfer-Encoding: chunked"; "4\r\nhello\r\n0\r\n\r\n")),
    BROKEN_CHUNKS("a bare LF behind data", post!("Transfer-Encoding: chunked"; "5\r\nhello\n0\r\n\r\n")),
    BROKEN_CHUNKS("a trailer that is no field", post!("Transfer-Encoding: chunked"; "0\r\nX : 1\r\n\r\n")),
    BROKEN_CHUNKS("a bare LF at the end", post!("Transfer-Encoding: chunked"; "0\r\n\n")),
];

/// The head of such a request has reached an upstream when it is refused; all of it never does.
#[allow(non_snake_case, reason = "it stands among constants")]
const fn BROKEN_CHUNKS(name: &'static str, given: &'static [u8]) -> Case {
    Case { name, given, ..REFUSED }
}

const ANSWER_FRAMING: &[Case] = &[
    Case { name: "27 (9112 6.3): two lengths", answers: &[b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"], ..UNUSABLE },
    Case { name: "27: a length and a coding", answers: &[b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"], ..UNUSABLE },
    Case { name: "27: no length", answers: &[b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok"], ..UNUSABLE },
    Case {
        name: "28 (9112 8): less than the length",
        given: PLAIN,
        answers: &[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok"],
        manner: Manner::Closes,
        sent: &[GET],
        got: &[Got { short: true, ..GOT }],
        then: Then::Cut,
        ..CASE
    },
    Case {
        name: "29 (9112 8): an end within chunks",
        given: PLAIN,
        answers: &[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n5\r\nhe"],
        manner: Manner::Closes,
        sent: &[GET],
        got: &[Got { body: b"okhe", short: true, ..GOT }],
        then: Then::Cut,
        ..CASE
    },
    Case {
        name: "29: chunks that are none",
        given: PLAIN,
        answers: &[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n5\nhello\r\n0\r\n\r\n"],
        sent: &[GET],
        got: &[Got { short: true, ..GOT }],
        then: Then::Spoilt,
        ..CASE
    },
    Case {
        name: "30 (9112 6.3): what follows an answer is none",
        given: b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        answers: &[b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"],
        sent: &[GET, Sent { line: "GET /2 HTTP/1.1", ..GET }],
        got: &[GOT, GOT],
        fresh: true,
        ..CASE
    },
    Case {
        name: "31 (9112 6.3): 204 with a body",
        given: b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        answers: &[b"HTTP/1.1 204 No\r\nContent-Length: 4\r\n\r\nevil"],
        sent: &[GET, Sent { line: "GET /2 HTTP/1.1", ..GET }],
        got: &[Got { code: 204, body: b"", fields: &[("Content-Length", &[])], short: false }, GOT],
        fresh: true,
        ..CASE
    },
    Case {
        name: "31: 304 with a body",
        given: b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        answers: &[b"HTTP/1.1 304 No\r\nContent-Length: 4\r\n\r\nevil"],
        sent: &[GET, Sent { line: "GET /2 HTTP/1.1", ..GET }],
        got: &[Got { code: 304, body: b"", fields: &[("Content-Length", &["4"])], short: false }, GOT],
        fresh: true,
        ..CASE
    },
    Case {
        name: "31: 103 with a body",
        given: PLAIN,
        answers: &[b"HTTP/1.1 103 Hints\r\nContent-Length: 4\r\n\r\nevil"],
        sent: &[GET],
        got: &[Got { code: 103, body: b"", fields: &[("Content-Length", &[])], short: false }, BAD_GATEWAY],
        ..CASE
    },
    Case {
        name: "32 (9110 9.3.2): HEAD with a body",
        given: b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        answers: &[b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"],
        sent: &[HEAD, Sent { line: "GET /2 HTTP/1.1", ..GET }],
        got: &[Got { body: b"", fields: &[("Content-Length", &["4"])], ..GOT }, GOT],
        fresh: true,
        ..CASE
    },
    Case {
        name: "32: HEAD of chunks",
        given: b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        answers: &[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
        sent: &[HEAD, Sent { line: "GET /2 HTTP/1.1", ..GET }],
        got: &[Got { body: b"", ..GOT }, GOT],
        ..CASE
    },
    Case {
        name: "33 (9110 15.2): interim answers",
        given: PLAIN,
        answers: &[b"HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"],
        sent: &[GET],
        got: &[
            Got { code: 103, body: b"", fields: &[("Link", &["</a>"])], short: false },
            Got { code: 102, body: b"", ..GOT },
            GOT,
        ],
        ..CASE
    },
    Case {
        name: "34 (9110 15.2): none to HTTP/1.0",
        given: b"GET / HTTP/1.0\r\n\r\n",
        answers: &[b"HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"],
        sent: &[GET],
        got: &[GOT],
        then: Then::Ends,
        ..CASE
    },
    Case {
        name: "35 (9112 6.1): chunks for HTTP/1.0",
        given: b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        answers: &[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2;a\r\nok\r\n0\r\nX-T: 1\r\n\r\n"],
        sent: &[GET],
        got: &[Got { fields: &[("Transfer-Encoding", &[]), ("Trailer", &[]), ("X-T", &[])], ..GOT }],
        then: Then::Ends,
        ..CASE
    },
    Case {
        name: "chunks and trailers",
        given: PLAIN,
        answers: &[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\no\r\n1\r\nk\r\n0\r\nX-T: 1\r\nContent-Length: 7\r\n\r\n"],
        sent: &[GET],
        got: &[Got { fields: &[("Transfer-Encoding", &["chunked"]), ("X-T", &[]), ("Content-Length", &[])], ..GOT }],
        ..CASE
    },
    Case {
        name: "an answer that ends with its connection",
        given: PLAIN,
        answers: &[b"HTTP/1.1 200 OK\r\n\r\nok"],
        manner: Manner::Closes,
        sent: &[GET],
        got: &[Got { fields: &[("Transfer-Encoding", &["chunked"])], ..GOT }],
        ..CASE
    },
    Case {
        name: "an answer that ends with its connection, for HTTP/1.0",
        given: b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        answers: &[b"HTTP/1.1 200 OK\r\n\r\nok"],
        manner: Manner::Closes,
        sent: &[GET],
        got: &[Got { fields: &[("Transfer-Encoding", &[]), ("Connection", &["close"])], ..GOT }],
        then: Then::Ends,
        ..CASE
    },
];

const CONVERSATION: &[Case] = &[
    Case {
        name: "36 (9110 10.1.1): an expectation is passed on",
        given: post!("Expect: 100-continue", "Content-Length: 5"; "hello"),
        answers: &[b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"],
        sent: &[Sent { fields: &[("Expect", &["100-continue"])], ..POST }],
        got: &[Got { code: 100, body: b"", ..GOT }, GOT],
        ..CASE
    },
    Case {
        name: "36: not of HTTP/1.0",
        given: b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        sent: &[Sent { fields: &[("Expect", &[])], ..POST }],
        got: &[GOT],
        then: Then::Ends,
        ..CASE
    },
    Case {
        name: "37 (9112 9.6): nothing behind a request that is the last",
        given: b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        sent: &[GET],
        got: &[Got { fields: &[("Connection", &["close"])], ..GOT }],
        then: Then::Ends,
        ..CASE
    },
    Case {
        name: "38 (9112 9.3.2): requests in a row",
        given: b"GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloHEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
        answers: &[
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1",
            b"HTTP/1.1 201 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n2\r\n0\r\n\r\n",
            b"HTTP/1.1 202 OK\r\nContent-Length: 9\r\n\r\n",
        ],
        sent: &[GET, POST, HEAD],
        got: &[Got { body: b"1", ..GOT }, Got { code: 201, body: b"2", ..GOT }, Got { code: 202, body: b"", ..GOT }],
        ..CASE
    },
    Case {
        name: "39 (9110 7.8): another protocol for HTTP/1.0",
        given: b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        sent: &[Sent { fields: &[("Upgrade", &[]), ("Connection", &[])], ..GET }],
        got: &[GOT],
        then: Then::Ends,
        ..CASE
    },
    Case {
        name: "40 (9110 7.8): no tunnel before it is allowed",
        given: b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
        sent: &[Sent { fields: &[("Upgrade", &["x"]), ("Connection", &["upgrade"])], ..GET }],
        got: &[GOT, BAD],
        then: Then::Ends,
        ..CASE
    },
    Case {
        name: "40: a tunnel",
        given: b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n\0raw",
        answers: &[b"HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nback"],
        sent: &[Sent { fields: &[("Upgrade", &["x"])], ..GET }],
        got: &[Got { code: 101, body: b"", fields: &[("Upgrade", &["x"]), ("Connection", &["upgrade"])], short: false }],
        then: Then::Tunnel,
        ..CASE
    },
    Case {
        name: "40: an upgrade that nobody asked for",
        answers: &[b"HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"],
        ..UNUSABLE
    },
    Case {
        name: "40: an upgrade with a body",
        given: post!("Connection: upgrade", "Upgrade: x", "Content-Length: 5"; "hello"),
        answers: &[b"HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"],
        sent: &[Sent { fields: &[("Upgrade", &[]), ("Connection", &[])], ..POST }],
        got: &[BAD_GATEWAY],
        ..CASE
    },
    Case {
        name: "40: HTTP/2 is no other protocol",
        given: get!("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
        sent: &[Sent { fields: &[("Upgrade", &[]), ("HTTP2-Settings", &[]), ("Connection", &[])], ..GET }],
        got: &[GOT],
        ..CASE
    },
    Case {
        name: "48 (9112 9.3): an answer before the end of the request",
        given: post!("Content-Length: 9"; "hello"),
        manner: Manner::Early,
        got: &[Got { fields: &[("Connection", &["close"])], ..GOT }],
        then: Then::Ends,
        ..CASE
    },
    Case {
        name: "56 (9112 3): a target that is too long",
        given: &LONG_TARGET,
        got: &[Got { code: 414, body: b"414 URI Too Long\n", ..GOT }],
        then: Then::Ends,
        ..CASE
    },
    Case {
        name: "56: a head that is too long",
        given: &LONG_HEAD,
        got: &[Got { code: 431, body: b"431 Request Header Fields Too Large\n", ..GOT }],
        then: Then::Ends,
        ..CASE
    },
    Case {
        name: "57 (9112 9.3): an older client that stays",
        given: b"GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n",
        sent: &[GET],
        got: &[Got { fields: &[("Connection", &["keep-alive"])], ..GOT }],
        ..CASE
    },
    Case {
        name: "a client that half-closes gets its answer and nothing else",
        given: PLAIN,
        ends: true,
        sent: &[GET],
        got: &[GOT],
        then: Then::Ends,
        ..CASE
    },
    Case {
        name: "a client that half-closes behind two requests gets two",
        given: b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        ends: true,
        sent: &[GET, Sent { line: "GET /2 HTTP/1.1", ..GET }],
        got: &[GOT, GOT],
        then: Then::Ends,
        ..CASE
    },
    Case {
        name: "a client that half-closes within a head",
        given: b"GET / HTTP/1.1\r\nHost: a\r\n",
        ends: true,
        then: Then::Ends,
        ..CASE
    },
    Case {
        name: "a client that half-closes within a body",
        given: post!("Content-Length: 9"; "hello"),
        ends: true,
        then: Then::Cut,
        ..CASE
    },
];

/// `GET /aaa…`, longer than the limit of the first line.
static LONG_TARGET: [u8; 9000] = filled(b"GET /");
/// Fields that do not end.
static LONG_HEAD: [u8; 17_000] = filled(b"GET / HTTP/1.1\r\nHost: a\r\nA: ");

const fn filled<const LENGTH: usize>(start: &[u8]) -> [u8; LENGTH] {
    let (mut all, mut at) = ([b'a'; LENGTH], 0);
    while at < start.len() {
        all[at] = start[at];
        at += 1;
    }
    all
}
