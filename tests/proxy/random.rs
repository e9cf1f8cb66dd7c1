//! Conversations that are made up: sound ones, spoilt ones, and what may happen between.
//!
//! `POINTSMAN_FUZZ=N` plays N of each.

use std::time::Duration;

use pointsman::forward::{
    record::Reason,
    rules::{ForwardRules, LogFormat},
    session::{Ending, Failure, Side},
};
use proptest::{
    collection::vec,
    prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest},
    sample::{Index, select},
};

use crate::{
    cases,
    strict::{self, Fault, Message},
    world::World,
};

fn config(cases: u32) -> ProptestConfig {
    let wanted = std::env::var("POINTSMAN_FUZZ").ok().and_then(|text| text.parse().ok());
    ProptestConfig { cases: wanted.unwrap_or(cases), failure_persistence: None, ..ProptestConfig::default() }
}

/// A sound request, or an answer, after its first line.
fn message(first: impl Strategy<Value = String>, close: bool) -> impl Strategy<Value = Vec<u8>> {
    let field = prop_oneof![
        4 => "[A-Za-z][A-Za-z0-9-]{0,8}: ?[ -~]{0,12}".prop_filter("known", |line| !is_known(line)),
        1 => select(vec!["Connection: keep-alive", "Connection: X-A, close-not", "X-A: 1", "TE: trailers",
            "Via: 1.1 x", "X-Forwarded-For: 1.1.1.1", "Keep-Alive: timeout=3", "Trailer: T", "Date: now"]).prop_map(String::from),
    ];
    (first, vec(field, 0..5), body(close)).prop_map(|(first, fields, (framing, body))| {
        let mut bytes = format!("{first}\r\n").into_bytes();
        fields.iter().for_each(|field| bytes.extend_from_slice(format!("{field}\r\n").as_bytes()));
        bytes.extend_from_slice(framing.as_bytes());
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&body);
        bytes
    })
}

fn is_known(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
    ["host", "connection", "te", "upgrade", "expect", "content-length", "date"].contains(&name.as_str())
}

/// A field that frames, and a body framed so.
fn body(close: bool) -> impl Strategy<Value = (String, Vec<u8>)> {
    let data = || vec(any::<u8>(), 0..40);
    let extension = select(vec!["", "", "", ";a", ";a=b", ";a=\"b\\\";\""]);
    let chunks = vec((vec(any::<u8>(), 1..20), extension), 0..4);
    let trailers = select(vec!["", "", "T: 1\r\n", "T: 1\r\nHost: evil\r\nContent-Length: 3\r\n"]);
    let nothing = if close { "Content-Length: 0\r\n" } else { "" };
    prop_oneof![
        Just((nothing.to_owned(), Vec::new())),
        data().prop_map(|data| (format!("Content-Length: {}\r\n", data.len()), data)),
        (chunks, trailers).prop_map(|(chunks, trailers)| {
            let mut bytes = Vec::new();
            for (data, extension) in chunks {
                bytes.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
                bytes.extend_from_slice(&data);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
            ("Transfer-Encoding: chunked\r\n".to_owned(), bytes)
        }),
    ]
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let method = select(vec!["GET", "HEAD", "POST", "PUT", "OPTIONS", "x-odd"]);
    let first = (method, "/[!-\"$-~]{0,8}")
        .prop_map(|(method, target)| format!("{method} {target} HTTP/1.1\r\nHost: a"));
    message(first, false)
}

/// To a request that is not `HEAD`; the session is told when it is.
fn answer() -> impl Strategy<Value = Vec<u8>> {
    let code = select(vec!["200 OK", "404 Not Found", "500 ", "299 x y"]);
    message(code.prop_map(|code| format!("HTTP/1.1 {code}")), true)
}

/// Something that makes a conversation unsound, at some place.
fn spoiler() -> impl Strategy<Value = (Index, usize, Vec<u8>)> {
    const TOKENS: [&str; 22] = [
        "",
        "\n",
        "\r",
        "\r\n",
        "\r\n\r\n",
        "\0",
        " ",
        ":",
        ",",
        ";",
        "0",
        "5",
        "f",
        "-",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "Host: b\r\n",
        "0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "\x7f",
    ];
    let token = prop_oneof![
        3 => select(TOKENS.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 1..3),
    ];
    (any::<Index>(), 0..4usize, token)
}

fn spoil(bytes: &mut Vec<u8>, spoilers: &[(Index, usize, Vec<u8>)]) {
    for (place, removed, token) in spoilers {
        let at = place.index(bytes.len() + 1);
        let end = (at + removed).min(bytes.len());
        bytes.splice(at..end, token.iter().copied());
    }
}

/// What became of a conversation.
#[derive(Debug, PartialEq)]
struct Outcome {
    requests: Vec<Message>,
    answers: Vec<Message>,
    reasons: Vec<(Reason, u16)>,
    /// Whether the client's connection has ended, and was cut. If there is more to come of the client, it has to be read.
    cut: Option<bool>,
}

fn rules() -> ForwardRules {
    ForwardRules { access_log: Some(LogFormat::Combined), ..ForwardRules::default() }
}

/// Plays a conversation whose pieces are of these lengths, again and again; none for all at once. The upstreams give the
/// answers in turn, and nothing that is not asked for.
fn play(given: &[u8], answers: &[Vec<u8>], pieces: &[usize]) -> Outcome {
    let mut world = World::new(rules());
    let mut said = 0;
    for piece in cut(given, pieces) {
        if world.client.ending.is_some() {
            break;
        }
        world.client_says(piece);
        world.turn();
        while let Some(current) = world.current {
            let whole = strict::requests(&world.upstreams[current].received).0.len();
            if whole <= world.upstreams[current].served {
                break;
            }
            world.upstreams[current].served += 1;
            let answer = answers.get(said).map_or(cases::OK, Vec::as_slice);
            said += 1;
            for piece in cut(answer, pieces) {
                if world.current == Some(current) && !world.upstreams[current].closed {
                    world.upstreams[current].pending.extend_from_slice(piece);
                    world.turn();
                }
            }
        }
    }
    judge(&world)
}

fn cut<'a>(mut bytes: &'a [u8], pieces: &[usize]) -> Vec<&'a [u8]> {
    let mut found = Vec::new();
    for &piece in pieces.iter().cycle() {
        if bytes.is_empty() {
            return found;
        }
        let (piece, rest) = bytes.split_at(piece.clamp(1, bytes.len()));
        found.push(piece);
        bytes = rest;
    }
    vec![bytes]
}

/// What holds for all conversations: both sides can read strictly what reached them, and each request has one answer.
fn judge(world: &World) -> Outcome {
    let requests = world.requests();
    let answered: Vec<_> = world.records.iter().filter(|record| record.status > 0).collect();
    let methods: Vec<_> = world
        .records
        .iter()
        .map(|record| {
            let line = record.asked.as_ref().map(|asked| String::from_utf8_lossy(&asked.line).into_owned());
            let is_head = line.is_some_and(|line| line.starts_with("HEAD "));
            if is_head { "HEAD".to_owned() } else { "GET".to_owned() }
        })
        .collect();
    let ended = matches!(world.client.ending, Some(Ending::Close | Ending::Linger));
    let (answers, fault) = strict::answers(&world.client.received, &methods, ended);
    let text = String::from_utf8_lossy(&world.client.received);
    let finals: Vec<_> = answers.iter().map(Message::code).filter(|code| *code >= 200).collect();
    match fault {
        None => {}
        // Cut short, or not all there yet.
        Some(Fault::Short) if world.client.ending == Some(Ending::Cut) || world.current.is_some() => {}
        Some(fault) => panic!("{fault:?} in what the client got: {text:?}"),
    }
    if !answers.iter().any(|answer| answer.code() == 101) {
        let recorded: Vec<_> = answered.iter().map(|record| record.status).take(finals.len()).collect();
        assert_eq!(finals, recorded, "{text:?}");
        assert!(answered.len() <= finals.len() + 1, "{text:?}");
    }
    let reasons = world.records.iter().map(|record| (record.reason, record.status)).collect();
    Outcome { requests, answers, reasons, cut: world.client.ending.map(|ending| ending == Ending::Cut) }
}

/// Whether a conversation in pieces was the one that came whole. An answer that turns out to be none is replaced if nothing
/// of it has gone, else cut short; then there is nothing more.
fn is_same(cut: &Outcome, whole: &Outcome) -> bool {
    let is_short = matches!(cut.reasons.last(), Some((Reason::BadAnswer, status)) if *status != 502);
    match cut.reasons.len().checked_sub(1) {
        Some(before) if is_short => {
            cut.cut == Some(true)
                && whole.reasons.get(before) == Some(&(Reason::BadAnswer, 502))
                && whole.reasons.starts_with(&cut.reasons[..before])
                && whole.answers.starts_with(&cut.answers)
                && whole.requests.starts_with(&cut.requests)
        }
        _ => cut == whole,
    }
}

proptest! {
    #![proptest_config(config(300))]

    /// However a sound conversation arrives, it is the same, and all of it goes through.
    #[test]
    fn sound_conversations(
        given in vec(request(), 1..4),
        answers in vec(answer(), 3),
        pieces in vec(1..30usize, 1..6),
    ) {
        let all = given.concat();
        let whole = play(&all, &answers, &[]);
        assert_eq!(whole.requests.len(), given.len(), "{:?}", String::from_utf8_lossy(&all));
        let finals = whole.answers.iter().filter(|answer| answer.code() >= 200).count();
        assert_eq!(finals, given.len());
        assert!(whole.cut.is_none() && whole.reasons.iter().all(|(reason, _)| *reason == Reason::Done));
        let (sent, _) = strict::requests(&plain(&all));
        for (sent, request) in sent.iter().zip(&whole.requests) {
            assert_eq!((&sent.first, &sent.body), (&request.first, &request.body));
        }
        assert_eq!(play(&all, &answers, &pieces), whole);
        assert_eq!(play(&all, &answers, &[1]), whole);
    }

    /// Whatever becomes of a spoilt one is the same however it arrives, and can be read strictly on both sides.
    #[test]
    fn spoilt_conversations(
        given in vec(request(), 1..4),
        mut answers in vec(answer(), 3),
        in_given in vec(spoiler(), 0..4),
        in_answers in vec(spoiler(), 0..3),
        pieces in vec(1..30usize, 1..6),
    ) {
        let mut all = given.concat();
        spoil(&mut all, &in_given);
        for (index, spoiler) in in_answers.iter().enumerate() {
            spoil(&mut answers[index % 3], std::slice::from_ref(spoiler));
        }
        let whole = play(&all, &answers, &[]);
        for pieces in [pieces.as_slice(), &[1]] {
            let cut = play(&all, &answers, pieces);
            assert!(is_same(&cut, &whole), "{cut:#?}, but {whole:#?} of {:?}", String::from_utf8_lossy(&all));
        }
    }

    /// Bytes that mean nothing do no harm.
    #[test]
    fn noise(given in vec(any::<u8>(), 0..200), answers in vec(vec(any::<u8>(), 0..100), 3), pieces in vec(1..9usize, 1..4)) {
        let after = [cases::OK, &given].concat();
        play(&given, &answers, &pieces);
        play(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", &answers, &pieces);
        play(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", &[after], &pieces);
    }
}

/// Takes the extensions of chunks away, which the oracle does not allow.
fn plain(bytes: &[u8]) -> Vec<u8> {
    let mut text = bytes.to_vec();
    for extension in [b";a=\"b\\\";\"\r\n".as_slice(), b";a=b\r\n", b";a\r\n"] {
        while let Some(at) = text.windows(extension.len()).position(|window| window == extension) {
            text.splice(at..at + extension.len() - 2, []);
        }
    }
    text
}

/// Something that happens.
#[derive(Debug, Clone)]
enum Happening {
    Client(Vec<u8>),
    Upstream(Vec<u8>),
    ClientEnd,
    ClientGone,
    UpstreamEnd,
    Fail(Reason),
    Retry(Failure),
    Wait(u64),
    Timeout,
    Block(Side, bool),
    Drain,
    /// No upstream is there for a while; and then one is.
    Queue(bool),
}

fn happening() -> impl Strategy<Value = Happening> {
    let from_client = prop_oneof![
        4 => request(),
        1 => select(vec![
            "GET / HTTP/1.1\r\n", "Host: a\r\n", "\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", "hello",
            "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n", "0\r\n\r\n", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "x\n",
        ]).prop_map(|text| text.as_bytes().to_vec()),
    ];
    let from_upstream = prop_oneof![
        4 => answer(),
        1 => select(vec![
            "HTTP/1.1 ", "200 OK\r\n", "\r\n", "HTTP/1.1 103 Hints\r\n\r\n", "HTTP/1.1 204 No\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n", "x\n",
        ]).prop_map(|text| text.as_bytes().to_vec()),
    ];
    let reasons = || {
        select(vec![
            Reason::UpstreamClosed,
            Reason::ConnectFailed,
            Reason::QueueTimeout,
            Reason::NoUpstream,
            Reason::Stopped,
        ])
    };
    let sides = prop_oneof![Just(Side::Client), Just(Side::Upstream)];
    prop_oneof![
        8 => from_client.prop_map(Happening::Client),
        8 => from_upstream.prop_map(Happening::Upstream),
        1 => Just(Happening::ClientEnd),
        1 => Just(Happening::ClientGone),
        1 => Just(Happening::UpstreamEnd),
        1 => reasons().prop_map(Happening::Fail),
        1 => (reasons(), any::<bool>(), any::<bool>())
            .prop_map(|(reason, unwritten, reused)| Happening::Retry(Failure { reason, unwritten, reused })),
        2 => (0..100u64).prop_map(Happening::Wait),
        2 => Just(Happening::Timeout),
        2 => (sides, any::<bool>()).prop_map(|(side, blocked)| Happening::Block(side, blocked)),
        1 => Just(Happening::Drain),
        1 => any::<bool>().prop_map(Happening::Queue),
    ]
}

fn happen(world: &mut World, happening: Happening) {
    match happening {
        Happening::Client(bytes) if !world.client.ended => world.client_says(&bytes),
        Happening::Upstream(bytes) => {
            if let Some(upstream) = world.current.map(|current| &mut world.upstreams[current])
                && !upstream.ended
            {
                upstream.pending.extend_from_slice(&bytes);
            }
        }
        Happening::ClientEnd => world.client.ended = true,
        Happening::ClientGone if world.client.ending.is_none() => {
            world.call(&[], |session, turn, flow| session.handle_client_gone(turn, flow));
        }
        Happening::UpstreamEnd => {
            if let Some(current) = world.current {
                world.upstreams[current].ended = true;
            }
        }
        Happening::Fail(reason) if world.choosing || world.current.is_some() => {
            world.choosing = false;
            world.call(&[], |session, turn, flow| session.fail(turn, reason, flow));
        }
        Happening::Retry(failure) if world.session.may_retry(&world.rules, failure) => {
            world.choosing = false;
            world.call(&[], |session, turn, flow| session.retry(turn, flow));
        }
        Happening::Wait(seconds) => world.now = world.now + Duration::from_secs(seconds),
        Happening::Timeout => {
            world.call(&[], |session, turn, flow| session.handle_timeout(turn, flow));
            let late = world.session.deadline().is_some_and(|deadline| deadline <= world.now);
            assert!(!late, "what was due was not done");
        }
        Happening::Block(side, blocked) if side == Side::Client || world.current.is_some() => {
            world.block(side, blocked);
        }
        Happening::Drain => world.call(&[], |session, turn, flow| session.drain(turn, flow)),
        Happening::Queue(queues) => world.queues = queues,
        Happening::Client(_)
        | Happening::ClientGone
        | Happening::Fail(_)
        | Happening::Retry(_)
        | Happening::Block(..) => {}
    }
    world.turn();
}

proptest! {
    #![proptest_config(config(600))]

    /// Whatever happens, and in whatever order: bytes for a side are sound, connections end once, and in the end there is
    /// either a deadline or nothing to wait for.
    #[test]
    fn anything_may_happen(happenings in vec(happening(), 1..40)) {
        let mut world = World::new(rules());
        for happening in happenings {
            happen(&mut world, happening);
            if !world.session.is_tunnel() && world.tunnels == 0 {
                judge(&world);
            }
            let waits = world.choosing || world.client.ending.is_some();
            assert!(waits || world.session.deadline().is_some(), "nothing would end this");
        }
        // What is waited for comes to an end.
        world.queues = false;
        world.turn();
        for _ in 0..20 {
            if world.client.ending.is_some() {
                break;
            }
            world.now = world.now.max(world.session.deadline().expect("a deadline"));
            happen(&mut world, Happening::Timeout);
        }
        assert!(world.client.ending.is_some(), "it does not end: {:?}", world.session);
        assert!(world.current.is_none() && !world.choosing);
    }
}
