//! The bytes of an answer.

use pointsman::http::{
    Date, Status,
    answer::{self, Manner},
};

const TEXT: &str = "text/plain; charset=utf-8";

/// What all answers of this worker have in common.
#[derive(Debug)]
pub(super) struct Site {
    home: Vec<u8>,
    pub(super) date: Date,
    /// The worker leaves: every answer is the last of its connection.
    pub(super) draining: bool,
}

impl Site {
    /// A site whose `/` begins with the line `who`.
    pub(super) fn new(who: &str) -> Self {
        let home = format!(
            "{who}\n\nGET  /slow?ms=500    answers after 500 ms\nGET  /bytes?n=1000   answers 1000 bytes\n\
             POST /echo           answers what was sent\n"
        );
        Self { home: home.into(), date: Date::default(), draining: false }
    }
}

/// Answers `/`.
pub(super) fn home(out: &mut Vec<u8>, site: &Site, manner: Manner) {
    text(out, site, manner, &site.home);
}

/// Answers with a text.
pub(super) fn text(out: &mut Vec<u8>, site: &Site, manner: Manner, body: &[u8]) {
    head(out, site, manner, TEXT, body.len() as u64);
    if !manner.head_only {
        out.extend_from_slice(body);
    }
}

/// Answers with what the client sent.
pub(super) fn echo(out: &mut Vec<u8>, site: &Site, manner: Manner, body: &[u8]) {
    head(out, site, manner, "application/octet-stream", body.len() as u64);
    out.extend_from_slice(body);
}

/// The head of an answer of `length` bytes.
pub(super) fn head(out: &mut Vec<u8>, site: &Site, manner: Manner, kind: &str, length: u64) {
    start(out, site, manner, Status::Ok);
    answer::end(out, kind, length);
}

/// Refuses a request.
pub(super) fn refusal(out: &mut Vec<u8>, site: &Site, manner: Manner, status: Status) {
    let line = status.line();
    start(out, site, manner, status);
    answer::end(out, TEXT, line.len() as u64 + 1);
    if !manner.head_only {
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
}

fn start(out: &mut Vec<u8>, site: &Site, manner: Manner, status: Status) {
    answer::start(out, status, manner, "pointsman-demo", site.date.as_bytes());
}

/// The body of `/bytes`, over and over: 1024 lines of 64 bytes.
pub(super) static PATTERN: [u8; 64 << 10] = pattern();

const fn pattern() -> [u8; 64 << 10] {
    const LINE: &[u8; 64] = b"0123456789 pointsman: each arriving train onto its own track ..\n";
    let mut bytes = [0; 64 << 10];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = LINE[at % LINE.len()];
        at += 1;
    }
    bytes
}
