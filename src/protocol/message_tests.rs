//! Tables of frames as real workers send them, and round trips.

use proptest::prelude::*;
use serde_json::value::to_raw_value;

use super::super::listen::{AddressType, SockName};
use super::*;

fn text(message: &Message<'_>) -> String {
    let mut out = Vec::new();
    message.encode(&mut out);
    assert_eq!(out.pop(), Some(b'\n'));
    String::from_utf8(out).unwrap()
}

/// The frame decodes to what encodes to `expected`.
fn check(frame: &str, expected: &str) {
    let message = Message::decode(frame.as_bytes()).unwrap_or_else(|error| panic!("{frame}: {error}"));
    assert_eq!(text(&message), expected, "{frame}");
    let again = Message::decode(expected.as_bytes()).unwrap();
    assert_eq!(text(&again), expected, "the encoding of {frame} is stable");
}

fn refused(frame: &str, why: &str) {
    let error = Message::decode(frame.as_bytes()).expect_err(frame).to_string();
    assert!(error.contains(why), "{frame}: {error}");
}

fn cluster(frame: &str) -> ClusterMessage<'_> {
    match Message::decode(frame.as_bytes()).unwrap() {
        Message::Cluster(message) => message,
        other => panic!("{frame}: {other:?}"),
    }
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
    same(r#"{"cmd":"NODE_POINTSMAN","gone":[1,2,18446744073709551615]}"#);
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
        match Message::decode(frame.as_bytes()) {
            Ok(Message::User(text)) => assert_eq!(text.get(), frame),
            other => panic!("{frame}: {other:?}"),
        }
    }
    for frame in [r#"{"cmd":"NODE_X"}"#, r#"{"cmd":"NODE_DEBUG_ENABLED","seq":{}}"#] {
        assert!(matches!(Message::decode(frame.as_bytes()), Ok(Message::Internal)), "{frame}");
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
    refused(r#"{"cmd":"NODE_CLUSTER","seq":-1}"#, "NODE_CLUSTER");
    refused(r#"{"cmd":"NODE_CLUSTER","seq":1.5}"#, "NODE_CLUSTER");
    refused(r#"{"cmd":"NODE_CLUSTER","act":"close","seq":1}"#, "close without key");
    refused(r#"{"cmd":"NODE_CLUSTER","act":"queryServer","port":"x","seq":1}"#, "queryServer");
    refused(r#"{"cmd":"NODE_CLUSTER","act":"queryServer","addressType":7,"seq":1}"#, "addressType 7");
    refused(r#"{"cmd":"NODE_CLUSTER","act":"queryServer"}"#, "without seq");
    refused(r#"{"cmd":"NODE_HANDLE","type":"net.Other","msg":1}"#, "NODE_HANDLE");
    refused(r#"{"cmd":"NODE_POINTSMAN","launch":1}"#, "NODE_POINTSMAN");
    for wrong in ["[-1]", "[1.5]", "[1,null]", "[[1]]", "1", "{}", "[\"1\"]"] {
        refused(&format!(r#"{{"cmd":"NODE_POINTSMAN","gone":{wrong}}}"#), "numbers in gone");
    }
}

#[test]
fn reports_of_ends_list_their_numbers() {
    let seqs = |frame: &str| match Message::decode(frame.as_bytes()) {
        Ok(Message::Pointsman(Own::Gone { seqs })) => seqs.iter().collect::<Vec<_>>(),
        other => panic!("{frame}: {other:?}"),
    };
    assert_eq!(seqs(r#"{"cmd":"NODE_POINTSMAN","gone":[ 1 , 2,3 ]}"#), [1, 2, 3]);
    assert!(seqs(r#"{"cmd":"NODE_POINTSMAN","gone":[ ]}"#).is_empty());
    assert_eq!(seqs(&text(&Message::Pointsman(Own::Gone { seqs: [7, 0].into_iter().collect() }))), [7, 0]);
}

#[test]
fn a_handle_carries_any_message_but_another_handle() {
    let decode = |frame| match Message::decode(frame).unwrap() {
        Message::Handle(handle) => handle,
        other => panic!("{other:?}"),
    };
    let user = decode(br#"{"cmd":"NODE_HANDLE","type":"net.Socket","msg":{"a":1},"key":"6::::8140"}"#);
    assert_eq!((user.kind, matches!(*user.message, Message::User(_))), (HandleKind::NetSocket, true));
    let none = decode(br#"{"cmd":"NODE_HANDLE","type":"dgram.Socket"}"#);
    assert!(matches!(*none.message, Message::User(text) if text.get() == "null"));
    let deep = decode(
        br#"{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_HANDLE","type":"net.Native"}}"#,
    );
    assert!(matches!(*deep.message, Message::Internal));
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
    (any::<Option<i32>>(), ".+", any::<Option<(String, bool, u16)>>()).prop_map(
        |(errno, key, name)| {
            let family = |v6: bool| if v6 { "IPv6" } else { "IPv4" }.to_owned();
            let sockname = name.map(|(address, v6, port)| SockName { address, family: family(v6), port });
            Box::new(ListenReply { errno, key, data: None, sockname })
        },
    )
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

proptest! {
    #[test]
    fn every_cluster_message_round_trips(seq in any::<u64>(), act in any_act(), carried in any::<bool>()) {
        let message = ClusterMessage { seq, act };
        let plain = Message::Cluster(message.clone());
        let sent = match carried {
            true => Message::Handle(HandleMessage { kind: HandleKind::NetNative, message: Box::new(plain) }),
            false => plain,
        };
        let frame = text(&sent);
        let back = match Message::decode(frame.as_bytes()).unwrap() {
            Message::Handle(handle) if carried => *handle.message,
            other => other,
        };
        match back {
            Message::Cluster(back) => prop_assert_eq!(back, message),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn no_bytes_panic(frame in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = Message::decode(&frame);
    }

    #[test]
    fn no_damaged_frame_panics(at in 0usize..200, byte in any::<u8>(), act in any_act()) {
        let mut frame = text(&Message::Cluster(ClusterMessage { seq: 1, act })).into_bytes();
        let at = at % frame.len();
        frame[at] = byte;
        let _ = Message::decode(&frame);
    }
}
