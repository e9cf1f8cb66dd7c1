//! A master's bytes in every cut, and what the worker makes of them. Descriptors are numbers.

#[path = "session_shared_tests.rs"]
mod shared;

use std::mem;

use serde_json::json;

use super::*;
use crate::protocol::message::encode_user;

const ADDRESS: &str = "127.0.0.1:80";
const REPLY: &str = r#"{"cmd":"NODE_CLUSTER","errno":null,"key":"k","ack":1,"data":null,"sockname":{"family":"IPv4","address":"127.0.0.1","port":8080},"seq":0}"#;
const DISCONNECT: &str = r#"{"cmd":"NODE_CLUSTER","act":"disconnect","seq":9}"#;

/// One write of the master, a frame in JSON; at most one descriptor goes with it.
type Write = (String, Option<Attached<u32>>);

fn plain(frame: &str) -> Write {
    (frame.to_owned(), None)
}

fn with(descriptor: u32, frame: &str) -> Write {
    (frame.to_owned(), Some(Attached::Descriptor(descriptor)))
}

/// A frame as a master writes it.
fn wire(form: Serialization, frame: &str) -> Vec<u8> {
    match form {
        Serialization::Json => format!("{frame}\n").into_bytes(),
        Serialization::Advanced => {
            let mut out = Vec::new();
            encode_user(form, &serde_json::from_str(frame).unwrap(), &mut out);
            out
        }
    }
}

fn newconn(key: &str, seq: u64) -> String {
    format!(
        r#"{{"cmd":"NODE_HANDLE","type":"net.Native","msg":{{"cmd":"NODE_CLUSTER","act":"newconn","key":"{key}","seq":{seq}}}}}"#
    )
}

/// What the kernel makes of writes: a read ends where the reader's buffer does (`cut` says after which bytes), and
/// after a write whose descriptor it has brought; otherwise writes run together.
fn reads(
    writes: Vec<(Vec<u8>, Option<Attached<u32>>)>,
    cut: impl Fn(usize) -> bool,
) -> Vec<(Vec<u8>, Attached<u32>)> {
    let mut reads = Vec::new();
    let (mut read, mut brought, mut at) = (Vec::new(), Attached::Nothing, 0);
    for (frame, mut attached) in writes {
        for (index, &byte) in frame.iter().enumerate() {
            if let Some(attached) = attached.take() {
                brought = attached;
            }
            read.push(byte);
            at += 1;
            let whole = index + 1 == frame.len() && !matches!(brought, Attached::Nothing);
            if whole || cut(at) {
                reads.push((mem::take(&mut read), mem::replace(&mut brought, Attached::Nothing)));
            }
        }
    }
    reads.push((read, brought));
    reads
}

/// A session that has asked to listen and has said so.
fn asking() -> Session<u32> {
    asking_in(Serialization::Json)
}

fn asking_in(form: Serialization) -> Session<u32> {
    let mut session = Session::new(form);
    ask(&mut session, ADDRESS);
    assert_eq!(
        said(&mut session),
        [
            r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#,
            r#"{"cmd":"NODE_POINTSMAN","hello":1}"#,
            r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":"127.0.0.1","port":80,"addressType":4,"seq":1}"#,
        ]
    );
    session
}

/// A session that listens with the key `k`.
fn listening() -> (Session<u32>, Listener) {
    let mut session = asking();
    feed(&mut session, REPLY).unwrap();
    let Some(Answer::Listening(listener)) = session.poll_answer() else { panic!("not listening") };
    said(&mut session);
    (session, listener)
}

fn ask(session: &mut Session<u32>, endpoint: &str) {
    session.listen(Ask::of(&endpoint.parse().unwrap()).unwrap(), &ListenOptions::new());
}

fn feed(session: &mut Session<u32>, frame: &str) -> Result<(), WorkerError> {
    session.handle_input(format!("{frame}\n").as_bytes(), Attached::Nothing)
}

/// What it has said, in JSON.
fn said(session: &mut Session<u32>) -> Vec<String> {
    let form = session.talk.serialization;
    let (mut frames, mut text) = (Frames::new(form), Vec::new());
    while !session.output().is_empty() {
        frames.push(session.output());
        session.handle_sent(session.output().len());
    }
    while let Some(frame) = frames.next_frame().unwrap() {
        Message::decode(form, frame).unwrap().encode(Serialization::Json, &mut text);
    }
    assert_eq!(frames.finish(), Ok(()));
    String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
}

fn events(session: &mut Session<u32>) -> Vec<Event<u32>> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

/// In both forms, whole, cut in two at every byte, and byte by byte: always the same events and the same words.
fn check(writes: impl Fn() -> Vec<Write>, expected: &[Event<u32>], words: &[&str]) {
    for &form in Serialization::ALL {
        let wired = || writes().into_iter().map(|(frame, attached)| (wire(form, &frame), attached)).collect();
        check_cuts(form, wired, expected, words);
    }
}

fn check_cuts(
    form: Serialization,
    writes: impl Fn() -> Vec<(Vec<u8>, Option<Attached<u32>>)>,
    expected: &[Event<u32>],
    words: &[&str],
) {
    let length: usize = writes().iter().map(|(frame, _)| frame.len()).sum();
    let cuts: Vec<Box<dyn Fn(usize) -> bool>> = (0..=length)
        .map(|cut| Box::new(move |at| at == cut) as Box<dyn Fn(usize) -> bool>)
        .chain([Box::new(|_| true) as Box<dyn Fn(usize) -> bool>])
        .collect();
    for (number, cut) in cuts.iter().enumerate() {
        let mut session = asking_in(form);
        for (bytes, attached) in reads(writes(), cut) {
            let read = session.handle_input(&bytes, attached);
            read.unwrap_or_else(|error| panic!("{form}, cut {number}: {error}"));
        }
        assert_eq!(events(&mut session), expected, "{form}, cut {number}");
        assert_eq!(said(&mut session), words, "{form}, cut {number}");
    }
}

fn refused(session: &mut Session<u32>, frame: &str, why: &str) {
    let error = feed(session, frame).expect_err(frame).to_string();
    assert!(error.contains(why), "{frame}: {error}");
}

/// A socket of the application, with a message so many levels deep, as Node writes it.
fn deep_with_socket(form: Serialization, levels: usize) -> Vec<u8> {
    match form {
        Serialization::Json => {
            let deep = ["[".repeat(levels), "]".repeat(levels)].join("null");
            format!("{{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Socket\",\"msg\":{deep}}}\n").into_bytes()
        }
        Serialization::Advanced => {
            let head = b"\xFF\x0Fo\"\x03cmd\"\x0BNODE_HANDLE\"\x04type\"\x0Anet.Socket\"\x03msg";
            let deep = [&b"A\x01".repeat(levels)[..], b"0", &b"$\0\x01".repeat(levels)].concat();
            let frame = [&head[..], &deep, b"{\x03"].concat();
            [&u32::try_from(frame.len()).unwrap().to_be_bytes()[..], &frame].concat()
        }
    }
}

#[test]
fn a_message_too_deep_that_comes_with_a_socket_ends_nothing() {
    for &form in Serialization::ALL {
        let mut session = asking_in(form);
        for levels in [2, 200] {
            let attached = Attached::Descriptor(10);
            session.handle_input(&deep_with_socket(form, levels), attached).unwrap();
            assert_eq!(said(&mut session), [r#"{"cmd":"NODE_HANDLE_ACK"}"#], "{form}, {levels} levels");
        }
        assert_eq!(events(&mut session), [Event::Message(json!([[null]]))], "{form}");
        assert!(session.is_serving());
    }
}

#[test]
fn a_life_in_every_cut() {
    let endpoint: Endpoint = "127.0.0.1:8080".parse().unwrap();
    let listener = Listener { id: 0, endpoint: endpoint.into() };
    let connection =
        |seq, descriptor| Event::Connection { listener: listener.clone(), seq: Some(seq), descriptor };
    check(
        || {
            vec![
                plain(REPLY),
                with(10, &newconn("k", 1)),
                plain(r#"{"hello":["é",1]}"#),
                with(11, &newconn("elsewhere", 2)),
                (newconn("k", 3), Some(Attached::Lost)),
                with(12, &newconn("k", 4)),
                with(13, &newconn("k", 5)),
                with(14, r#"{"cmd":"NODE_HANDLE","type":"net.Socket","msg":"a socket"}"#),
                plain(r#"{"cmd":"NODE_LATER","x":1}"#),
                plain(DISCONNECT),
                plain(DISCONNECT),
                with(15, &newconn("k", 6)),
                plain(&newconn("k", 7)),
            ]
        },
        &[
            connection(1, 10),
            Event::Message(json!({"hello": ["é", 1]})),
            connection(4, 12),
            connection(5, 13),
            Event::Message(json!("a socket")),
            Event::Disconnect,
        ],
        &[
            r#"{"cmd":"NODE_CLUSTER","act":"listening","index":0,"data":null,"address":"127.0.0.1","port":8080,"addressType":4,"seq":2}"#,
            r#"{"cmd":"NODE_HANDLE_ACK"}"#,
            r#"{"cmd":"NODE_CLUSTER","ack":1,"accepted":true,"seq":3}"#,
            r#"{"cmd":"NODE_HANDLE_ACK"}"#,
            r#"{"cmd":"NODE_CLUSTER","ack":2,"accepted":false,"seq":4}"#,
            r#"{"cmd":"NODE_HANDLE_NACK"}"#,
            r#"{"cmd":"NODE_HANDLE_ACK"}"#,
            r#"{"cmd":"NODE_CLUSTER","ack":4,"accepted":true,"seq":5}"#,
            r#"{"cmd":"NODE_HANDLE_ACK"}"#,
            r#"{"cmd":"NODE_CLUSTER","ack":5,"accepted":true,"seq":6}"#,
            r#"{"cmd":"NODE_HANDLE_ACK"}"#,
            r#"{"cmd":"NODE_CLUSTER","act":"close","key":"k","seq":7}"#,
            r#"{"cmd":"NODE_HANDLE_ACK"}"#,
            r#"{"cmd":"NODE_CLUSTER","ack":6,"accepted":false,"seq":8}"#,
            r#"{"cmd":"NODE_HANDLE_NACK"}"#,
        ],
    );
}

#[test]
fn answers_to_a_query() {
    let mut session = asking();
    feed(&mut session, r#"{"cmd":"NODE_CLUSTER","errno":-98,"key":"k","ack":7,"seq":0}"#).unwrap();
    assert_eq!(session.poll_answer(), None, "an answer to something else");
    feed(&mut session, r#"{"cmd":"NODE_CLUSTER","errno":-98,"key":"k","ack":1,"data":null,"seq":0}"#)
        .unwrap();
    assert_eq!(session.poll_answer(), Some(Answer::Refused(98)));
    feed(&mut session, REPLY).unwrap();
    assert_eq!(session.poll_answer(), None, "it has been answered");

    let mut session = asking();
    feed(&mut session, DISCONNECT).unwrap();
    assert_eq!(session.poll_answer(), Some(Answer::Leaving), "the master will not answer any more");
    ask(&mut session, ADDRESS);
    assert_eq!((session.poll_answer(), said(&mut session)), (Some(Answer::Leaving), vec![]));

    let mut session = asking();
    session.handle_end();
    assert_eq!(session.poll_answer(), Some(Answer::Leaving));
}

#[test]
fn a_closed_listener_gets_nothing_more() {
    let (mut session, listener) = listening();
    session.handle_input(format!("{}\n", newconn("k", 1)).as_bytes(), Attached::Descriptor(1)).unwrap();
    said(&mut session);
    session.close_listener(&listener);
    session.close_listener(&listener);
    session.handle_input(format!("{}\n", newconn("k", 2)).as_bytes(), Attached::Descriptor(2)).unwrap();
    assert_eq!(
        said(&mut session),
        [
            r#"{"cmd":"NODE_CLUSTER","act":"close","key":"k","seq":4}"#,
            r#"{"cmd":"NODE_HANDLE_ACK"}"#,
            r#"{"cmd":"NODE_CLUSTER","ack":2,"accepted":false,"seq":5}"#,
        ]
    );
    assert_eq!(
        events(&mut session),
        [Event::Connection { listener, seq: Some(1), descriptor: 1 }],
        "this one was taken"
    );
    assert!(session.is_serving());
}

#[test]
fn leaving_by_its_own_will() {
    let (mut session, _) = listening();
    session.leave();
    session.leave();
    assert_eq!(
        said(&mut session),
        [
            r#"{"cmd":"NODE_CLUSTER","act":"close","key":"k","seq":3}"#,
            r#"{"cmd":"NODE_CLUSTER","act":"exitedAfterDisconnect","seq":4}"#,
        ]
    );
    assert!(session.has_agreed_to_leave() && !session.is_serving());
    feed(&mut session, DISCONNECT).unwrap();
    feed(&mut session, r#"{"cmd":"NODE_CLUSTER","ack":3,"seq":1}"#).unwrap();
    assert!(!session.is_closed(), "both cross the request and answer something else");
    feed(&mut session, r#"{"cmd":"NODE_CLUSTER","ack":4,"seq":2}"#).unwrap();
    assert!(session.is_closed() && session.has_agreed_to_leave());
    session.handle_end();
    assert_eq!(events(&mut session), [], "the program knows");

    let (mut session, _) = listening();
    feed(&mut session, DISCONNECT).unwrap();
    session.leave();
    assert!(session.is_closed() && session.has_agreed_to_leave(), "it was agreed already");
}

#[test]
fn the_master_goes() {
    let (mut session, _) = listening();
    session.handle_input(&newconn("k", 1).as_bytes()[..20], Attached::Descriptor(1)).unwrap();
    session.handle_end();
    session.handle_end();
    assert_eq!(events(&mut session), [Event::Closed], "once, half a frame or not");
    assert!(session.is_closed() && !session.has_agreed_to_leave());

    let (mut session, _) = listening();
    feed(&mut session, DISCONNECT).unwrap();
    session.handle_end();
    assert_eq!(events(&mut session), [Event::Disconnect, Event::Closed]);
    assert!(session.has_agreed_to_leave());
}

#[test]
fn garbage_is_refused_with_a_reason() {
    let session = || listening().0;
    refused(&mut session(), "", "a message");
    refused(&mut session(), "garbage", "the master broke the protocol: a message");
    refused(&mut session(), r#"{"cmd":"NODE_HANDLE_ACK"}"#, "never sent");
    refused(&mut session(), r#"{"cmd":"NODE_CLUSTER","act":"newconn","key":"k","seq":1}"#, "outside");
    let mut twice = session();
    ask(&mut twice, ADDRESS);
    refused(&mut twice, &REPLY.replace("\"ack\":1", "\"ack\":3"), "two listeners with the key k");
    refused(&mut asking(), r#"{"cmd":"NODE_CLUSTER","errno":null,"key":"k","ack":1,"seq":0}"#, "no address");
    refused(&mut asking(), &REPLY.replace("127.0.0.1", "here"), "no address");
    let stray = session().handle_input(b"1\n", Attached::Descriptor(1)).unwrap_err();
    assert!(stray.to_string().contains("something else than a NODE_HANDLE"));
    let mut session = session();
    session.handle_input(b"{\"cmd\":", Attached::Descriptor(1)).unwrap();
    let stray = session.handle_input(b"\"NODE_", Attached::Descriptor(2)).unwrap_err();
    assert!(stray.to_string().contains("something else than a NODE_HANDLE"), "two for one frame");
}

#[test]
fn garbage_in_the_advanced_form_is_refused_too() {
    for (bytes, why) in [
        (&b"\0\0\0\0"[..], "does not begin with the header"),
        (b"\0\0\0\x02{}", "does not begin with the header"),
        (b"{\"cmd\":1}\n", "longer than 16777216 bytes"),
        (b"\0\0\0\x03\xFF\x0Fo", "ends within a value"),
        (b"\0\0\0\x05\xFF\x0FA\x020", "ends within a value"),
    ] {
        let mut session = asking_in(Serialization::Advanced);
        let error = session.handle_input(bytes, Attached::Nothing).unwrap_err().to_string();
        assert!(error.contains(why), "{bytes:?}: {error}");
    }
    // An object within itself: for Node a message, for JSON none.
    let mut session = asking_in(Serialization::Advanced);
    let cyclic = b"\0\0\0\x0a\xFF\x0Fo\"\x01a^\0{\x01";
    session.handle_input(cyclic, Attached::Nothing).unwrap();
    assert_eq!((events(&mut session), said(&mut session)), (vec![], vec![]));
    assert!(session.is_serving());
}

#[test]
fn what_only_workers_say_is_ignored() {
    let (mut session, _) = listening();
    for frame in [
        r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#,
        r#"{"cmd":"NODE_CLUSTER","act":"close","key":"k","seq":0}"#,
        r#"{"cmd":"NODE_CLUSTER","act":"exitedAfterDisconnect","seq":0}"#,
        r#"{"cmd":"NODE_CLUSTER","ack":0,"accepted":true,"seq":0}"#,
        r#"{"cmd":"NODE_CLUSTER","act":"later","seq":0}"#,
        r#"{"cmd":"NODE_POINTSMAN","later":1}"#,
        r#"{"cmd":"NODE_POINTSMAN","interval":100}"#,
        r#"{"cmd":"NODE_POINTSMAN","pong":1}"#,
        r#"{"too":1e999}"#,
    ] {
        feed(&mut session, frame).unwrap();
    }
    assert_eq!((events(&mut session), said(&mut session)), (vec![], vec![]));
    assert!(session.is_serving());
}

#[test]
fn a_ping_is_answered_in_every_cut() {
    let ping = || vec![plain(r#"{"cmd":"NODE_POINTSMAN","ping":7}"#)];
    check(ping, &[], &[r#"{"cmd":"NODE_POINTSMAN","pong":7}"#]);
}
