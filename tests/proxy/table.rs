//! Every case of the table: whole, in two pieces cut anywhere, byte by byte, and with another request behind it.

use pointsman::forward::{rules::ForwardRules, session::Ending};

use crate::{
    cases::{self, Case, Got, Manner, OK, Sent, Then},
    strict::{self, Fault, Message},
    world::World,
};

const SECOND: &str = "GET /second HTTP/1.1\r\nHost: second\r\n\r\n";

/// How bytes arrive.
#[derive(Debug, Clone, Copy)]
enum Pace {
    Whole,
    CutAt(usize),
    Bytes,
}

#[test]
fn every_case_however_it_comes() {
    for case in cases::all() {
        let step = case.given.len() / 1000 + 1;
        let mut paces = vec![Pace::Whole, Pace::Bytes];
        paces.extend((1..case.given.len()).step_by(step).map(Pace::CutAt));
        for pace in paces {
            check(case, pace, false);
            if can_be_followed(case) {
                check(case, pace, true);
            }
        }
    }
}

fn can_be_followed(case: &Case) -> bool {
    !case.ends && case.manner != Manner::Early && case.then != Then::Tunnel
}

/// What upstreams say, one request after the other.
struct Script<'a> {
    case: &'a Case,
    said: usize,
}

impl Script<'_> {
    /// Answers what is to be answered; tells whether there was something.
    fn go_on(&mut self, world: &mut World, pace: Pace) -> bool {
        let Some(current) = world.current else { return false };
        let upstream = &mut world.upstreams[current];
        let whole = strict::requests(&upstream.received).0.len();
        let has_head = upstream.received.windows(4).any(|bytes| bytes == b"\r\n\r\n");
        let early = self.case.manner == Manner::Early && has_head && upstream.served == 0;
        if whole <= upstream.served && !early {
            return false;
        }
        upstream.served += 1;
        let answer = self.case.answers.get(self.said).copied().unwrap_or(OK);
        let is_scripted = self.said < self.case.answers.len();
        self.said += 1;
        let pieces: Vec<&[u8]> = match pace {
            Pace::Whole => vec![answer],
            Pace::CutAt(at) => <[&[u8]; 2]>::from(answer.split_at(at.min(answer.len()))).to_vec(),
            Pace::Bytes => answer.chunks(1).collect(),
        };
        for piece in pieces {
            let upstream = &mut world.upstreams[current];
            if world.current != Some(current) {
                world.stray(current);
                break;
            }
            upstream.pending.extend_from_slice(piece);
            world.turn();
        }
        world.upstreams[current].ended = self.case.manner == Manner::Closes && is_scripted;
        world.turn();
        true
    }
}

fn play(case: &Case, pace: Pace, given: &[u8]) -> World {
    let mut world = World::new(ForwardRules::default());
    let mut script = Script { case, said: 0 };
    let pieces: Vec<&[u8]> = match pace {
        Pace::Whole => vec![given],
        Pace::CutAt(at) => <[&[u8]; 2]>::from(given.split_at(at.min(given.len()))).to_vec(),
        Pace::Bytes => given.chunks(1).collect(),
    };
    for (index, piece) in pieces.iter().enumerate() {
        if world.client.ending.is_some() {
            break;
        }
        world.client_says(piece);
        world.client.ended = case.ends && index + 1 == pieces.len();
        world.turn();
        while script.go_on(&mut world, pace) {}
    }
    world
}

fn check(case: &Case, pace: Pace, followed: bool) {
    let given = [case.given, if followed { SECOND.as_bytes() } else { b"" }].concat();
    let world = play(case, pace, &given);
    let name = format!("{} ({pace:?}, followed: {followed})", case.name);
    let again = followed && case.then == Then::Stays;

    if case.then == Then::Tunnel {
        return check_tunnel(case, &world, &name);
    }
    let requests = world.requests();
    assert_eq!(requests.len(), case.sent.len() + usize::from(again), "requests of {name}: {requests:#?}");
    for (sent, request) in case.sent.iter().zip(&requests) {
        check_sent(sent, request, &name);
    }
    if case.fresh {
        assert_ne!(world.begun[0], world.begun[1], "{name}: it is used again");
    }
    if again {
        assert_eq!(requests.last().unwrap().first[1], "/second", "{name}");
    }

    let ended = matches!(world.client.ending, Some(Ending::Close | Ending::Linger));
    let methods: Vec<_> = requests.iter().map(|request| request.first[0].clone()).collect();
    let (answers, fault) = strict::answers(&world.client.received, &methods, ended);
    let text = String::from_utf8_lossy(&world.client.received);
    let shorts = case.got.iter().filter(|got| got.short).count();
    assert_eq!(answers.len(), case.got.len() - shorts + usize::from(again), "answers of {name}: {text:?}");
    for (got, answer) in case.got.iter().zip(&answers) {
        check_got(got, answer, &name);
    }
    if shorts > 0 {
        assert_eq!(fault, Some(Fault::Short), "{name}: {text:?}");
        assert!(text.contains("ok") && !text.ends_with("\r\n0\r\n\r\n"), "{name}: {text:?}");
    } else {
        assert_eq!(fault, None, "{name}: {text:?}");
    }
    check_end(case.then, &world, &name);
}

fn check_end(then: Then, world: &World, name: &str) {
    match (then, world.client.ending) {
        (Then::Stays | Then::Tunnel, None)
        | (Then::Ends, Some(Ending::Close | Ending::Linger))
        | (Then::Cut, Some(Ending::Cut)) => {}
        (_, ending) => panic!("{name}: {then:?}, but {ending:?}"),
    }
    if then == Then::Stays {
        assert!(world.session.is_idle(), "{name}");
        assert_eq!(world.current, None, "{name}: it keeps an upstream");
    }
}

fn check_tunnel(case: &Case, world: &World, name: &str) {
    let got = &world.upstreams[0].received;
    let end = got.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    check_sent(&case.sent[0], &strict::requests(&got[..end]).0[0], name);
    assert_eq!(&got[end..], b"\0raw", "{name}");
    let (answers, _) = strict::answers(&world.client.received, &[], false);
    check_got(&case.got[0], &answers[0], name);
    assert!(world.client.received.ends_with(b"\r\n\r\nback"), "{name}");
    check_end(case.then, world, name);
}

fn check_sent(sent: &Sent, request: &Message, name: &str) {
    assert_eq!(request.first.join(" "), sent.line, "{name}");
    assert_eq!(request.body, sent.body, "{name}");
    let trailers: Vec<_> = request.trailers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(trailers, sent.trailers, "trailers of {name}");
    check_fields(sent.fields, request, name);
    // Of every request, whatever the case is about.
    for field in ["Keep-Alive", "Proxy-Connection", "TE"] {
        assert!(!request.has(field), "{field} in {name}");
    }
    for (field, values) in [("X-Forwarded-For", vec!["127.0.0.1"]), ("X-Forwarded-Proto", vec!["http"])] {
        assert_eq!(request.values(field), values, "{field} in {name}");
    }
    assert!(request.has("Via"), "{name}");
    assert_eq!(request.values("X-Request-ID").len(), 1, "{name}");
}

fn check_got(got: &Got, answer: &Message, name: &str) {
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!((answer.code(), text.as_ref()), (got.code, str::from_utf8(got.body).unwrap()), "{name}");
    check_fields(got.fields, answer, name);
    if got.code >= 200 {
        assert_eq!(answer.values("Date").len(), 1, "{name}");
    }
}

fn check_fields(fields: &[(&str, &[&str])], message: &Message, name: &str) {
    for (field, values) in fields {
        assert_eq!(message.values(field), *values, "{field} in {name}");
    }
}
