//! What was seen of a conversation against what a case wants: the verdict, for whatever has stood between.

use super::{
    cases::{BAD_GATEWAY, CLIENT, Case, DATE, Got, Sent, Then},
    strict::{self, Fault, Message},
};

/// What was seen of one conversation.
#[derive(Debug)]
pub struct Seen {
    /// The requests that reached upstreams whole, in their order.
    pub requests: Vec<Message>,
    /// What reached the client.
    pub received: Vec<u8>,
    pub end: End,
    /// The client's address, as upstreams are told it.
    pub client: String,
    /// The case, and how it came.
    pub name: String,
}

/// What became of the client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Open,
    Ended,
    Cut,
}

impl Seen {
    /// Judges it; `followed` if another request came behind the case's. Tells whether that had to be answered.
    pub fn judge(&self, case: &Case, followed: bool) -> bool {
        let name = &self.name;
        if case.then == Then::Tunnel {
            self.judge_tunnel(case);
            return false;
        }
        let spoilt = case.then == Then::Spoilt && self.end == End::Open;
        let stays = case.then == Then::Stays || spoilt;
        let again = followed && stays;
        let requests = &self.requests;
        assert_eq!(
            requests.len(),
            case.sent.len() + usize::from(again),
            "requests of {name}: {requests:#?}, answered by {:?}",
            String::from_utf8_lossy(&self.received)
        );
        for (sent, request) in case.sent.iter().zip(requests) {
            self.judge_sent(sent, request);
        }
        if again {
            assert_eq!(requests.last().unwrap().first[1], "/second", "{name}");
        }
        self.judge_answers(if spoilt { &[BAD_GATEWAY] } else { case.got }, again);
        let expected = match case.then {
            _ if stays => End::Open,
            Then::Stays | Then::Tunnel | Then::Spoilt | Then::Cut => End::Cut,
            Then::Ends => End::Ended,
        };
        assert_eq!(self.end, expected, "{name}");
        again
    }

    fn judge_answers(&self, expected: &[Got], again: bool) {
        let name = &self.name;
        let methods: Vec<_> = self.requests.iter().map(|request| request.first[0].clone()).collect();
        let (answers, fault) = strict::answers(&self.received, &methods, self.end == End::Ended);
        let text = String::from_utf8_lossy(&self.received);
        let shorts = expected.iter().filter(|got| got.short).count();
        let count = expected.len() - shorts + usize::from(again);
        assert_eq!(answers.len(), count, "answers of {name}: {text:?}");
        for (got, answer) in expected.iter().zip(&answers) {
            self.judge_got(got, answer);
        }
        if shorts > 0 {
            assert_eq!(fault, Some(Fault::Short), "{name}: {text:?}");
            assert!(text.contains("ok") && !text.ends_with("\r\n0\r\n\r\n"), "{name}: {text:?}");
        } else {
            assert_eq!(fault, None, "{name}: {text:?}");
        }
    }

    fn judge_tunnel(&self, case: &Case) {
        self.judge_sent(&case.sent[0], &self.requests[0]);
        let (answers, _) = strict::answers(&self.received, &[], false);
        self.judge_got(&case.got[0], &answers[0]);
        assert!(self.received.ends_with(b"\r\n\r\nback"), "{}", self.name);
    }

    fn judge_sent(&self, sent: &Sent, request: &Message) {
        let name = &self.name;
        assert_eq!(request.first.join(" "), sent.line, "{name}");
        assert_eq!(request.body, sent.body, "{name}");
        let trailers: Vec<_> = request.trailers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(trailers, sent.trailers, "trailers of {name}");
        self.judge_fields(sent.fields, request);
        // Of every request, whatever the case is about.
        for field in ["Keep-Alive", "Proxy-Connection", "TE"] {
            assert!(!request.has(field), "{field} in {name}");
        }
        self.judge_fields(&[("X-Forwarded-For", &[CLIENT]), ("X-Forwarded-Proto", &["http"])], request);
        assert!(request.has("Via"), "{name}");
        assert_eq!(request.values("X-Request-ID").len(), 1, "{name}");
    }

    fn judge_got(&self, got: &Got, answer: &Message) {
        let (name, text) = (&self.name, String::from_utf8_lossy(&answer.body));
        assert_eq!((answer.code(), text.as_ref()), (got.code, str::from_utf8(got.body).unwrap()), "{name}");
        self.judge_fields(got.fields, answer);
        if got.code >= 200 {
            assert_eq!(answer.values("Date").len(), 1, "{name}");
        }
    }

    fn judge_fields(&self, fields: &[(&str, &[&str])], message: &Message) {
        for (field, expected) in fields {
            let values = message.values(field);
            let is_date = |value: &String| value.len() == DATE.len() && value.ends_with(" GMT");
            let equal = |(value, expected): (&String, &&str)| match *expected {
                CLIENT => *value == self.client,
                DATE => is_date(value),
                expected => value == expected,
            };
            let equal = values.len() == expected.len() && values.iter().zip(*expected).all(equal);
            assert!(equal, "{field} in {}: {values:?} and not {expected:?}", self.name);
        }
    }
}
