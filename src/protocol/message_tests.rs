//! Tables of frames as real workers send them, and round trips.

use proptest::prelude::*;
use serde_json::{Value, value::to_raw_value};

use Serialization::{Advanced, Json};

use super::super::{
    encode::write_handle,
    frame::Frames,
    listen::{AddressType, SockName},
    v8::{self, to_json},
    writer,
};
use super::*;

/// A frame without what is around it.
fn bytes(form: Serialization, message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(form, &mut out);
    unframed(form, &out)
}

fn unframed(form: Serialization, stream: &[u8]) -> Vec<u8> {
    let mut frames = Frames::new(form);
    frames.push(stream);
    let frame = frames.next_frame().unwrap().unwrap().to_vec();
    assert_eq!(frames.finish(), Ok(()), "one frame and no more");
    frame
}

fn text(message: &Message<'_>) -> String {
    String::from_utf8(bytes(Json, message)).unwrap()
}

/// What JSON says, as V8 says it.
fn advanced(json: &str) -> Vec<u8> {
    let mut out = Vec::new();
    encode_user(Advanced, &serde_json::from_str(json).unwrap(), &mut out);
    unframed(Advanced, &out)
}

/// What a frame in V8's format says, in JSON, with the fields sorted.
fn said(frame: &[u8]) -> Value {
    to_json(Place::of_frame(frame).unwrap()).unwrap()
}

/// In both forms: the frame decodes to what encodes to `expected`.
fn check(frame: &str, expected: &str) {
    let message = decode(Json, frame.as_bytes());
    assert_eq!(text(&message), expected, "{frame}");
    let again = decode(Json, expected.as_bytes());
    assert_eq!(text(&again), expected, "the encoding of {frame} is stable");
    check_advanced(&advanced(frame), expected);
}

/// A frame in V8's format, and what encodes to it.
fn check_advanced(frame: &[u8], expected: &str) {
    let frame = bytes(Advanced, &decode(Advanced, frame));
    let said = said(&frame);
    assert_eq!(said, serde_json::from_str::<Value>(expected).unwrap());
    assert_eq!(bytes(Advanced, &decode(Advanced, &frame)), frame, "the encoding of {expected} is stable");
}

fn decode(form: Serialization, frame: &[u8]) -> Message<'_> {
    let shown = || String::from_utf8_lossy(frame).into_owned();
    Message::decode(form, frame).unwrap_or_else(|error| panic!("{}: {error}", shown()))
}

fn refused(frame: &str, why: &str) {
    let error = Message::decode(Json, frame.as_bytes()).expect_err(frame).to_string();
    assert!(error.contains(why), "{frame}: {error}");
}

/// In both forms.
fn refused_always(frame: &str, why: &str) {
    refused(frame, why);
    let error = Message::decode(Advanced, &advanced(frame)).expect_err(frame).to_string();
    assert!(error.contains(why), "{frame}: {error}");
}

/// What it is in both forms.
fn cluster(frame: &str) -> ClusterMessage<'_> {
    let Message::Cluster(message) = decode(Json, frame.as_bytes()) else { panic!("{frame}") };
    let same = advanced(frame);
    let Message::Cluster(same) = decode(Advanced, &same) else { panic!("{frame}") };
    assert_eq!(same, message, "{frame}");
    message
}

/// Recorded from workers and primaries.
#[test]
fn advanced_frames_of_node() {
    for line in include_str!("v8/frames.txt").lines().filter(|line| !line.starts_with('#')) {
        let (hex, expected) = line.split_once('\t').unwrap();
        check_advanced(&v8::bytes_of(hex), expected);
    }
    // {cmd: 'NODE_CLUSTER', act: 'online', key: undefined, ack: undefined, accepted: undefined, seq: 0}
    let undefined = "ff0f 6f 2203636d64 220c4e4f44455f434c5553544552 2203616374 22066f6e6c696e65 22036b6579 5f \
                     220361636b 5f 22086163636570746564 5f 2203736571 4900 7b06";
    check_advanced(&v8::bytes_of(undefined), r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#);
}

#[test]
fn frames_of_node_20() {
    let same = |frame: &str| check(frame, frame);
    same(r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#);
    same(r#"{"cmd":"NODE_CLUSTER","act":"close","key":"null:8123:4:undefined:0","seq":4}"#);
    same(r#"{"cmd":"NODE_CLUSTER","act":"exitedAfterDisconnect","seq":5}"#);
    same(r#"{"cmd":"NODE_CLUSTER","act":"disconnect","seq":2}"#);
    same(r#"{"cmd":"NODE_CLUSTER","ack":5,"seq":2}"#);
    same(r#"{"cmd":"NODE_CLUSTER","ack":0,"accepted":false,"seq":3}"#);
    same(
        r#"{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_CLUSTER","act":"newconn","key":"k1","seq":1}}"#,
    );
    same(r#"{"cmd":"NODE_HANDLE_ACK"}"#);
    same(r#"{"cmd":"NODE_HANDLE_NACK"}"#);
    same(r#"{"cmd":"NODE_POINTSMAN","launch":{"step":"exec","errno":2}}"#);
    same(r#"{"cmd":"NODE_SOCKET_NOTIFY_CLOSE","key":"6::::8140"}"#);
    same(r#"{"cmd":"NODE_SOCKET_ALL_CLOSED","key":"6::::8140"}"#);
    same(r#"{"cmd":"NODE_SOCKET_GET_COUNT","key":"6::::8140"}"#);
    same(r#"{"cmd":"NODE_SOCKET_COUNT","key":"6::::8140","count":3}"#);
    same(r#"{"cmd":"NODE_POINTSMAN","hello":1}"#);
    same(r#"{"cmd":"NODE_POINTSMAN","hello":1,"script":true}"#);
    same(r#"{"cmd":"NODE_POINTSMAN","gone":[1,2,9007199254740991]}"#);
    same(r#"{"cmd":"NODE_POINTSMAN","interval":100}"#);
    same(r#"{"cmd":"NODE_POINTSMAN","ping":0}"#);
    same(r#"{"cmd":"NODE_POINTSMAN","pong":9007199254740991}"#);
    check(r#"{"cmd":"NODE_POINTSMAN","pong":null,"later":1}"#, r#"{"cmd":"NODE_POINTSMAN"}"#);
    check(r#"{"cmd":"NODE_POINTSMAN","hello":2}"#, r#"{"cmd":"NODE_POINTSMAN"}"#);
    same(r#"{"cmd":"NODE_CLUSTER","ack":1,"errno":-98,"key":"k1","data":null,"seq":0}"#);
    check(r#" { "cmd" : "NODE_HANDLE_ACK" } "#, r#"{"cmd":"NODE_HANDLE_ACK"}"#);
    check(r#"{"\u0063md":"NODE_HANDLE\u005fACK"}"#, r#"{"cmd":"NODE_HANDLE_ACK"}"#);
}

#[test]
fn queries_in_all_their_shapes() {
    let query = |fields: &str| match cluster(&format!(
        r#"{{"cmd":"NODE_CLUSTER","act":"queryServer",{fields},"seq":1}}"#
    ))
    .act
    {
        Act::QueryServer(query) => *query,
        other => panic!("{other:?}"),
    };
    let plain = query(r#""index":0,"data":null,"address":null,"port":8123,"addressType":4,"backlog":false"#);
    assert_eq!(
        (plain.port, plain.address_type, plain.backlog, plain.flags),
        (Some(8123), AddressType::Tcp4, None, None)
    );
    let full = query(
        r#""index":1,"data":{"ticketKeys":"00"},"address":"::1","port":0,"addressType":6,"backlog":100,"flags":1"#,
    );
    assert_eq!((full.index, full.backlog, full.flags), (1, Some(100), Some(1)));
    assert_eq!(full.data.unwrap().get(), r#"{"ticketKeys":"00"}"#);
    let unix =
        query(r#""index":0,"data":null,"address":"/tmp/s","port":-1,"addressType":-1,"readableAll":true"#);
    assert_eq!((unix.address_type, unix.port), (AddressType::Unix, Some(-1)));
    let udp = query(
        r#""index":0,"data":null,"address":"0.0.0.0","port":53,"addressType":"udp4","fd":-1,"flags":4"#,
    );
    assert_eq!((udp.address_type, udp.fd), (AddressType::Udp4, Some(-1)));
    let fd = query(r#""index":0,"data":null,"address":null,"port":null,"addressType":null,"fd":3"#);
    assert_eq!((fd.address_type, fd.fd, fd.port), (AddressType::None, Some(3), None));
    for (given, expected) in
        [("0", None), ("-1", None), ("1e300", Some(i32::MAX as u32)), ("null", None), ("1.5", Some(1))]
    {
        assert_eq!(query(&format!(r#""backlog":{given}"#)).backlog, expected, "backlog {given}");
    }
}

#[test]
fn everything_else_is_a_message_of_the_application() {
    for frame in [
        "1",
        "null",
        "\"NODE_CLUSTER\"",
        "[]",
        r#"["NODE_CLUSTER"]"#,
        "{}",
        r#"{"cmd":1}"#,
        r#"{"cmd":null}"#,
        r#"{"cmd":"NODE_"}"#,
        r#"{"cmd":"node_x"}"#,
        r#"{"cmd":"XNODE_CLUSTER","seq":"a"}"#,
        r#"{"a":1e400}"#,
    ] {
        match Message::decode(Json, frame.as_bytes()) {
            Ok(Message::User(User::Json(text))) => assert_eq!(text.get(), frame),
            other => panic!("{frame}: {other:?}"),
        }
        if let Ok(value) = serde_json::from_str::<Value>(frame) {
            match Message::decode(Advanced, &advanced(frame)) {
                Ok(Message::User(user)) => assert_eq!(user.to_value().unwrap(), value),
                other => panic!("{frame}: {other:?}"),
            }
        }
    }
    for frame in [r#"{"cmd":"NODE_X"}"#, r#"{"cmd":"NODE_DEBUG_ENABLED","seq":{}}"#] {
        assert!(matches!(Message::decode(Json, frame.as_bytes()), Ok(Message::Internal)), "{frame}");
        assert!(matches!(Message::decode(Advanced, &advanced(frame)), Ok(Message::Internal)), "{frame}");
    }
    assert_eq!(cluster(r#"{"cmd":"NODE_CLUSTER","act":"later","seq":1}"#).act, Act::Unknown);
    assert_eq!(cluster(r#"{"cmd":"NODE_CLUSTER"}"#).act, Act::Unknown);
}

#[test]
fn what_cannot_be_understood_is_refused_with_a_reason() {
    refused("", "a message");
    refused("{", "a message");
    refused("{}{}", "trailing");
    refused("GET / HTTP/1.1\r", "a message");
    refused_always(r#"{"cmd":"NODE_CLUSTER","seq":-1}"#, "NODE_CLUSTER");
    refused_always(r#"{"cmd":"NODE_CLUSTER","seq":1.5}"#, "NODE_CLUSTER");
    refused_always(r#"{"cmd":"NODE_CLUSTER","act":"close","seq":1}"#, "close without key");
    refused_always(r#"{"cmd":"NODE_CLUSTER","act":"queryServer","port":"x","seq":1}"#, "queryServer");
    refused_always(r#"{"cmd":"NODE_CLUSTER","act":"queryServer","addressType":7,"seq":1}"#, "addressType 7");
    refused_always(r#"{"cmd":"NODE_CLUSTER","act":"queryServer"}"#, "without seq");
    refused_always(r#"{"cmd":"NODE_HANDLE","type":"net.Other","msg":1}"#, "NODE_HANDLE");
    refused_always(r#"{"cmd":"NODE_POINTSMAN","launch":1}"#, "NODE_POINTSMAN");
    for field in ["interval", "ping", "pong"] {
        for wrong in ["-1", "1.5", "\"1\"", "true", "{}"] {
            refused_always(&format!(r#"{{"cmd":"NODE_POINTSMAN","{field}":{wrong}}}"#), "NODE_POINTSMAN");
        }
    }
    for wrong in ["[-1]", "[1.5]", "[1,null]", "[[1]]", "1", "{}", "[\"1\"]"] {
        refused_always(&format!(r#"{{"cmd":"NODE_POINTSMAN","gone":{wrong}}}"#), "numbers in gone");
    }
}

#[test]
fn reports_of_ends_list_their_numbers() {
    let listed = |form, frame: &[u8]| match Message::decode(form, frame) {
        Ok(Message::Pointsman(Own::Gone { seqs })) => seqs.iter().collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let seqs = |frame: &str| {
        let seqs = listed(Json, frame.as_bytes());
        assert_eq!(listed(Advanced, &advanced(frame)), seqs, "{frame}");
        seqs
    };
    assert_eq!(seqs(r#"{"cmd":"NODE_POINTSMAN","gone":[ 1 , 2,3 ]}"#), [1, 2, 3]);
    assert_eq!(seqs(r#"{"cmd":"NODE_POINTSMAN","gone":[4294967296]}"#), [1 << 32]);
    let largest = br#"{"cmd":"NODE_POINTSMAN","gone":[18446744073709551615]}"#;
    assert_eq!(listed(Json, largest), [u64::MAX], "which JavaScript cannot say");
    assert!(seqs(r#"{"cmd":"NODE_POINTSMAN","gone":[ ]}"#).is_empty());
    assert_eq!(seqs(&text(&Message::Pointsman(Own::Gone { seqs: [7, 0].into_iter().collect() }))), [7, 0]);
}

#[test]
fn a_handle_carries_any_message_but_another_handle() {
    let check = |text: &str, kind, carried: Option<Value>| {
        for (form, frame) in [(Json, text.as_bytes()), (Advanced, &advanced(text))] {
            let Message::Handle(handle) = decode(form, frame) else { panic!("{text}") };
            assert_eq!(handle.kind, kind, "{text}");
            match (*handle.message, &carried) {
                (Message::User(user), Some(carried)) => assert_eq!(user.to_value().unwrap(), *carried),
                (Message::Internal, None) => {}
                (other, _) => panic!("{text}: {other:?}"),
            }
        }
    };
    let user = r#"{"cmd":"NODE_HANDLE","type":"net.Socket","msg":{"a":1},"key":"6::::8140"}"#;
    check(user, HandleKind::NetSocket, Some(serde_json::json!({"a": 1})));
    check(r#"{"cmd":"NODE_HANDLE","type":"dgram.Socket"}"#, HandleKind::DgramSocket, Some(Value::Null));
    check(
        r#"{"cmd":"NODE_HANDLE","type":"dgram.Native","msg":null}"#,
        HandleKind::DgramNative,
        Some(Value::Null),
    );
    let deep = r#"{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_HANDLE","type":"net.Native"}}"#;
    check(deep, HandleKind::NetNative, None);
    let levels = 10_000;
    let abyss =
        [r#"{"cmd":"NODE_HANDLE","type":"net.Native","msg":"#.repeat(levels), "}".repeat(levels)].join("1");
    let Message::Handle(handle) = decode(Json, abyss.as_bytes()) else { panic!() };
    assert!(matches!(*handle.message, Message::Internal), "however deep");
}

/// Node writes the type before the message. JSON as deep is told to be none by whoever wants the value.
#[test]
fn a_handle_carries_a_message_that_no_value_can_be_made_of() {
    let levels = 200;
    let mut deep = Value::Null;
    (0..levels).for_each(|_| deep = Value::from(vec![deep.take()]));
    for &form in Serialization::ALL {
        let mut frame = Vec::new();
        writer::frame(form, &mut frame, |writer| {
            write_handle(writer, HandleKind::NetSocket, |writer| writer.value(&deep));
        });
        check_carried(form, &unframed(form, &frame), HandleKind::NetSocket);
    }
    // {cmd: 'NODE_HANDLE', type: 'net.Socket', msg: <shared memory>, key: ''}
    let unknown = "ff0f 6f 2203636d64 220b4e4f44455f48414e444c45 220474797065 220a6e65742e536f636b6574 \
                   22036d7367 7500 22036b6579 2200 7b04";
    check_carried(Advanced, &v8::bytes_of(unknown), HandleKind::NetSocket);
    let fault = "ff0f 6f 2203636d64 220b4e4f44455f48414e444c45 220474797065 220a6e65742e536f636b6574 \
                 22036d7367 6f 5f";
    let error = Message::decode(Advanced, &v8::bytes_of(fault)).unwrap_err().to_string();
    assert!(error.contains("no name of a field"), "{error}");
}

#[track_caller]
fn check_carried(form: Serialization, frame: &[u8], kind: HandleKind) {
    let Message::Handle(handle) = decode(form, frame) else { panic!("{form}") };
    assert_eq!(handle.kind, kind);
    let Message::User(user) = *handle.message else { panic!("{form}") };
    user.to_value().unwrap_err();
}

fn any_key() -> impl Strategy<Value = Cow<'static, str>> {
    ".+".prop_map(Cow::Owned)
}

fn any_query() -> impl Strategy<Value = Box<Query>> {
    let types = [
        AddressType::Tcp4,
        AddressType::Tcp6,
        AddressType::Unix,
        AddressType::Udp4,
        AddressType::Udp6,
        AddressType::None,
    ];
    let fields = (
        any::<u32>(),
        any::<Option<String>>(),
        any::<Option<i64>>(),
        0..types.len(),
        any::<Option<u32>>(),
        1..u32::from(u16::MAX),
    );
    fields.prop_map(move |(index, address, port, kind, flags, backlog)| {
        let data = flags.map(|flags| to_raw_value(&flags).unwrap());
        Box::new(Query {
            index,
            data,
            address,
            port,
            address_type: types[kind],
            fd: port,
            flags,
            backlog: Some(backlog),
            readable_all: backlog % 2 == 0,
            writable_all: backlog % 3 == 0,
        })
    })
}

fn any_reply() -> impl Strategy<Value = Box<ListenReply>> {
    (any::<Option<i32>>(), ".+", any::<Option<(String, bool, u16)>>()).prop_map(|(errno, key, name)| {
        let family = |v6: bool| if v6 { "IPv6" } else { "IPv4" }.to_owned();
        let sockname = name.map(|(address, v6, port)| SockName { address, family: family(v6), port });
        Box::new(ListenReply { errno, key, data: None, sockname })
    })
}

fn any_act() -> impl Strategy<Value = Act<'static>> {
    prop_oneof![
        Just(Act::Online),
        any_query().prop_map(Act::QueryServer),
        any_query().prop_map(Act::Listening),
        any_key().prop_map(|key| Act::Close { key }),
        Just(Act::ExitedAfterDisconnect),
        Just(Act::Disconnect),
        any_key().prop_map(|key| Act::NewConn { key }),
        any::<(u64, bool)>().prop_map(|(ack, accepted)| Act::Accepted { ack, accepted }),
        (any::<u64>(), any_reply()).prop_map(|(ack, reply)| Act::Reply { ack, reply }),
        any::<u64>().prop_map(|ack| Act::Ack { ack }),
        Just(Act::Unknown),
    ]
}

fn check_round_trip(form: Serialization, message: &ClusterMessage<'_>, carried: bool) {
    let plain = Message::Cluster(message.clone());
    let sent = match carried {
        true => Message::Handle(HandleMessage { kind: HandleKind::NetNative, message: Box::new(plain) }),
        false => plain,
    };
    let frame = bytes(form, &sent);
    let back = match decode(form, &frame) {
        Message::Handle(handle) if carried => *handle.message,
        other => other,
    };
    match back {
        Message::Cluster(back) => assert_eq!(back, *message),
        other => panic!("{other:?}"),
    }
}

/// JavaScript tells no greater numbers apart.
const GREATEST: u64 = (1 << 53) - 1;

/// The same, with numbers that JavaScript can say.
fn in_javascript(act: Act<'static>) -> Act<'static> {
    let whole = |number: i64| number.clamp(-(1 << 53), 1 << 53);
    let query = |query: Box<Query>| {
        Box::new(Query { port: query.port.map(whole), fd: query.fd.map(whole), ..*query })
    };
    match act {
        Act::QueryServer(asked) => Act::QueryServer(query(asked)),
        Act::Listening(asked) => Act::Listening(query(asked)),
        Act::Accepted { ack, accepted } => Act::Accepted { ack: ack & GREATEST, accepted },
        Act::Reply { ack, reply } => Act::Reply { ack: ack & GREATEST, reply },
        Act::Ack { ack } => Act::Ack { ack: ack & GREATEST },
        other => other,
    }
}

proptest! {
    #[test]
    fn every_cluster_message_round_trips(seq in any::<u64>(), act in any_act(), carried in any::<bool>()) {
        check_round_trip(Json, &ClusterMessage { seq, act: act.clone() }, carried);
        check_round_trip(Advanced, &ClusterMessage { seq: seq & GREATEST, act: in_javascript(act) }, carried);
    }

    #[test]
    fn no_bytes_panic(frame in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = Message::decode(Json, &frame);
        let _ = Message::decode(Advanced, &frame);
        let _ = Message::decode(Advanced, &[&[0xFF, 15][..], &frame].concat());
    }

    #[test]
    fn no_damaged_frame_panics(at in 0usize..200, byte in any::<u8>(), act in any_act()) {
        for &form in Serialization::ALL {
            let mut frame = bytes(form, &Message::Cluster(ClusterMessage { seq: 1, act: act.clone() }));
            let at = at % frame.len();
            frame[at] = byte;
            let _ = Message::decode(form, &frame);
        }
    }
}
