//! Answers -> bytes, and the checks that make an answer of how the cluster is. Pure.

use std::fmt::Write;

use crate::http::{
    Status,
    answer::{self, Manner},
};

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: Status,
    /// Of the body, for `Content-Type`.
    pub(super) kind: &'static str,
    pub(super) body: String,
}

const TEXT: &str = "text/plain; charset=utf-8";

impl Answer {
    /// It went well.
    pub(super) fn ok(kind: &'static str, body: String) -> Self {
        Self { status: Status::Ok, kind, body }
    }

    /// There is nothing to be had.
    pub(super) fn refusal(status: Status) -> Self {
        Self { status, kind: TEXT, body: format!("{}\n", status.line()) }
    }

    /// Whether all of these hold. Which of them do not is always told, and which do if that is wanted: in the words of
    /// Kubernetes' own servers.
    pub(super) fn checks(name: &str, checks: &[Check], verbose: bool) -> Self {
        let passed = checks.iter().all(|check| check.failure.is_none());
        if passed && !verbose {
            return Self::ok(TEXT, "ok\n".to_owned());
        }
        let mut body = String::new();
        for Check { name, failure } in checks {
            // Writing to memory cannot fail.
            let _ = match failure {
                None => writeln!(body, "[+]{name} ok"),
                Some(why) => writeln!(body, "[-]{name} failed: {why}"),
            };
        }
        let _ = writeln!(body, "{name} check {}", if passed { "passed" } else { "failed" });
        let status = if passed { Status::Ok } else { Status::ServiceUnavailable };
        Self { status, kind: TEXT, body }
    }

    /// All its bytes.
    pub(super) fn to_bytes(&self, manner: Manner, date: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.body.len());
        answer::start(&mut out, self.status, manner, "pointsman", date);
        // Whoever stands between would answer how it was.
        answer::field(&mut out, "Cache-Control", "no-store");
        answer::end(&mut out, self.kind, self.body.len() as u64);
        if !manner.head_only {
            out.extend_from_slice(self.body.as_bytes());
        }
        out
    }
}

/// Something that must hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) name: &'static str,
    /// Why it does not.
    pub(super) failure: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Version;

    #[test]
    fn checks_are_told_if_that_is_wanted_or_one_fails() {
        let check = |name, failure: Option<&str>| Check { name, failure: failure.map(str::to_owned) };
        for (checks, verbose, status, body) in [
            (vec![check("a", None)], false, Status::Ok, "ok\n"),
            (
                vec![check("a", None), check("b", None)],
                true,
                Status::Ok,
                "[+]a ok\n[+]b ok\nreadyz check passed\n",
            ),
            (
                vec![check("a", None), check("b", Some("no b"))],
                false,
                Status::ServiceUnavailable,
                "[+]a ok\n[-]b failed: no b\nreadyz check failed\n",
            ),
        ] {
            let answer = Answer::checks("readyz", &checks, verbose);
            assert_eq!((answer.status, &*answer.body), (status, body));
        }
    }

    #[test]
    fn an_answer_has_its_length_and_is_not_kept() {
        let answer = Answer::ok("text/plain", "body".into());
        for (head_only, end) in [(false, "\r\n\r\nbody"), (true, "\r\n\r\n")] {
            let manner = Manner { version: Version::Http11, keep_alive: true, head_only };
            let text = String::from_utf8(answer.to_bytes(manner, b"now")).unwrap();
            let head = "HTTP/1.1 200 OK\r\nServer: pointsman\r\nDate: now\r\nCache-Control: no-store\r\n\
                        Content-Type: text/plain\r\nContent-Length: 4";
            assert_eq!(text, format!("{head}{end}"));
        }
        let refusal = Answer::refusal(Status::NotFound).to_bytes(Manner::LAST, b"now");
        assert!(String::from_utf8(refusal).unwrap().ends_with("Content-Length: 14\r\n\r\n404 Not Found\n"));
    }
}
