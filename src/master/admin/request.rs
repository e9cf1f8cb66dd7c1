//! Bytes of a client -> what is asked for. Pure.
//!
//! Heads are read by `http`, strictly; what they may ask for is decided here. Nothing here knows how anything is.

use crate::{
    http::{FieldSlots, Framing, Head, Status, answer::Manner, find_head},
    metrics::{Format, negotiate},
};

/// A request that was understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) wants: Wants,
    pub(super) manner: Manner,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    /// Whether the loop turns.
    Alive {
        verbose: bool,
    },
    /// Whether the cluster serves.
    Ready {
        verbose: bool,
    },
    Metrics(Format),
    /// The same as the control socket tells.
    Status,
    /// What cannot be had. The request was sound, so the connection goes on.
    Refusal(Status),
}

impl Wants {
    /// Whether the kernel is asked of every worker.
    pub(super) fn is_dear(self) -> bool {
        match self {
            Self::Metrics(_) | Self::Status => true,
            Self::Alive { .. } | Self::Ready { .. } | Self::Refusal(_) => false,
        }
    }
}

/// The length of the empty lines before a request, which are ignored (RFC 9112 §2.2).
pub(super) fn empty_lines(input: &[u8]) -> usize {
    input.chunks_exact(2).take_while(|pair| pair == b"\r\n").count() * 2
}

/// The request at the front of `input`, without empty lines before it, and where it ends; `None` if it is not whole.
/// `scanned` is what was looked at before. An error means that nothing behind it can be trusted.
pub(super) fn first(input: &[u8], scanned: &mut usize) -> Result<Option<(usize, Request)>, Status> {
    if input == b"\r" {
        return Ok(None);
    }
    let Some(length) = find_head(input, scanned)? else { return Ok(None) };
    Ok(Some((length, read(&input[..length])?)))
}

fn read(head: &[u8]) -> Result<Request, Status> {
    let mut slots = FieldSlots::new();
    let head = Head::parse(head, &mut slots)?;
    if head.framing != Framing::Length(0) {
        // Nothing here takes a body, and one that is not read would be taken for a request.
        return Err(Status::ContentTooLarge);
    }
    Ok(Request { wants: route(&head), manner: Manner::of(&head) })
}

fn route(head: &Head<'_, '_>) -> Wants {
    let Some((path, query)) = head.path_and_query() else { return Wants::Refusal(Status::BadRequest) };
    let verbose = query.split('&').any(|pair| pair == "verbose" || pair.starts_with("verbose="));
    let wants = match path {
        "/livez" => Wants::Alive { verbose },
        "/readyz" | "/healthz" => Wants::Ready { verbose },
        "/metrics" => Wants::Metrics(negotiate(head.values("accept"))),
        "/status" => Wants::Status,
        _ => return Wants::Refusal(Status::NotFound),
    };
    match head.method {
        "GET" | "HEAD" => wants,
        _ => Wants::Refusal(Status::MethodNotAllowed { allow: "GET, HEAD" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{MAX_HEAD, Version};

    const REST: &str = " HTTP/1.1\r\nHost: a\r\n";

    fn wants(line: &str) -> Wants {
        let text = format!("{line}{REST}\r\n");
        let (length, request) = first(text.as_bytes(), &mut 0).unwrap().unwrap();
        assert_eq!(length, text.len());
        request.wants
    }

    #[test]
    fn every_path_has_its_answer() {
        let not_allowed = Wants::Refusal(Status::MethodNotAllowed { allow: "GET, HEAD" });
        for (line, expected) in [
            ("GET /livez", Wants::Alive { verbose: false }),
            ("HEAD /livez?verbose", Wants::Alive { verbose: true }),
            ("GET /readyz", Wants::Ready { verbose: false }),
            ("GET /readyz?a=b&verbose=1", Wants::Ready { verbose: true }),
            ("GET /readyz?verbosely", Wants::Ready { verbose: false }),
            ("GET /healthz?verbose", Wants::Ready { verbose: true }),
            ("GET /metrics?x", Wants::Metrics(Format::Text)),
            ("GET http://localhost:9090/status", Wants::Status),
            ("GET /", Wants::Refusal(Status::NotFound)),
            ("POST /", Wants::Refusal(Status::NotFound)),
            ("GET /livez/", Wants::Refusal(Status::NotFound)),
            ("GET //livez", Wants::Refusal(Status::NotFound)),
            ("POST /livez", not_allowed),
            ("get /metrics", not_allowed),
            ("OPTIONS /status", not_allowed),
            ("OPTIONS *", Wants::Refusal(Status::BadRequest)),
            ("CONNECT localhost:80", Wants::Refusal(Status::BadRequest)),
        ] {
            assert_eq!(wants(line), expected, "{line}");
        }
        let open = format!("GET /metrics{REST}Accept: application/openmetrics-text; version=1.0.0\r\n\r\n");
        let (_, request) = first(open.as_bytes(), &mut 0).unwrap().unwrap();
        assert_eq!(request.wants, Wants::Metrics(Format::OpenMetrics));
    }

    /// What all of the text is, read as it comes in two pieces.
    fn in_two(text: &[u8], cut: usize) -> Vec<Result<Request, Status>> {
        let (mut input, mut scanned, mut found) = (Vec::new(), 0, Vec::new());
        for piece in [&text[..cut], &text[cut..]] {
            input.extend_from_slice(piece);
            loop {
                input.drain(..empty_lines(&input));
                match first(&input, &mut scanned) {
                    Ok(Some((length, request))) => {
                        input.drain(..length);
                        found.push(Ok(request));
                    }
                    Ok(None) => break,
                    Err(status) => {
                        found.push(Err(status));
                        return found;
                    }
                }
            }
        }
        assert!(input.is_empty(), "{}", String::from_utf8_lossy(&input));
        found
    }

    #[test]
    fn requests_are_the_same_however_they_come() {
        let manner = |version, keep_alive, head_only| Manner { version, keep_alive, head_only };
        let one = Manner { version: Version::Http11, keep_alive: true, head_only: false };
        let request = |wants, manner| Ok(Request { wants, manner });
        for (text, expected) in [
            (format!("GET /livez{REST}\r\n"), vec![request(Wants::Alive { verbose: false }, one)]),
            (
                format!(
                    "\r\n\r\nHEAD /status{REST}\r\n\r\nGET /nothing HTTP/1.0\r\nConnection: keep-alive\r\n\r\n\r\n"
                ),
                vec![
                    request(Wants::Status, manner(Version::Http11, true, true)),
                    request(Wants::Refusal(Status::NotFound), manner(Version::Http10, true, false)),
                ],
            ),
            (
                format!("GET /readyz{REST}Connection: close\r\n\r\nGET /livez HTTP/1.0\r\n\r\n"),
                vec![
                    request(Wants::Ready { verbose: false }, manner(Version::Http11, false, false)),
                    request(Wants::Alive { verbose: false }, manner(Version::Http10, false, false)),
                ],
            ),
            (
                format!("GET /livez{REST}\r\nGET /livez HTTP/1.1\r\n\r\n"),
                vec![request(Wants::Alive { verbose: false }, one), Err(Status::BadRequest)],
            ),
            (format!("POST /livez{REST}Content-Length: 1\r\n\r\nx"), vec![Err(Status::ContentTooLarge)]),
            (
                format!("GET /livez{REST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
                vec![Err(Status::ContentTooLarge)],
            ),
            (
                format!("POST /livez{REST}Content-Length: 0\r\n\r\n"),
                vec![request(Wants::Refusal(Status::MethodNotAllowed { allow: "GET, HEAD" }), one)],
            ),
            ("GET /livez HTTP/2.0\r\nHost: a\r\n\r\n".into(), vec![Err(Status::VersionNotSupported)]),
            ("GET /livez HTTP/1.1\nHost: a\n\n".into(), vec![Err(Status::BadRequest)]),
            (format!("GET /livez{REST}Host: b\r\n\r\n"), vec![Err(Status::BadRequest)]),
            ("\u{16}\u{3}\u{1}\r\n\r\n".into(), vec![Err(Status::BadRequest)]),
        ] {
            for cut in 0..=text.len() {
                assert_eq!(in_two(text.as_bytes(), cut), expected, "{text:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_is_too_long_is_refused_as_what_it_is() {
        let long = "a".repeat(MAX_HEAD);
        assert_eq!(first(format!("GET /{long}").as_bytes(), &mut 0), Err(Status::UriTooLong));
        assert_eq!(
            first(format!("GET /livez{REST}A: {long}").as_bytes(), &mut 0),
            Err(Status::FieldsTooLarge)
        );
        let many = format!("GET /livez{REST}{}\r\n", "A: b\r\n".repeat(64));
        assert_eq!(first(many.as_bytes(), &mut 0), Err(Status::FieldsTooLarge));
    }
}
