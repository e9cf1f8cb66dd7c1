//! Keys, covering and closing, as Node's primary does it and where `-l` differs.

use super::{
    super::crowding::{Admission, Change},
    *,
};
use crate::{protocol::listen::AddressType, time::Time};

const A: WorkerId = WorkerId(1);
const B: WorkerId = WorkerId(2);

fn query(host: Option<&str>, port: i64, index: u32) -> Query {
    let v6 = host.is_some_and(|host| host.contains(':'));
    Query {
        index,
        address: host.map(str::to_owned),
        port: Some(port),
        address_type: if v6 { AddressType::Tcp6 } else { AddressType::Tcp4 },
        ..Query::default()
    }
}

fn listeners() -> Listeners {
    Listeners::new(PolicyName::RoundRobin, false, Vec::new())
}

fn with(open: &[&str]) -> Listeners {
    let mut listeners = listeners();
    for address in open {
        listeners.open(address.parse().unwrap(), false, true);
    }
    listeners
}

/// `Ok(None)`: to be bound; `Ok(Some(address))`: served from there; `Err`: the errno.
fn ask(listeners: &mut Listeners, worker: WorkerId, query: &Query) -> Result<Option<String>, i32> {
    match listeners.ask(worker, query) {
        Answer::Bind(_) => Ok(None),
        Answer::Reply(Reply { reply: ListenReply { errno: None, sockname, .. }, .. }) => {
            let name = sockname.unwrap();
            Ok(Some(format!("{} {}", name.address, name.port)))
        }
        Answer::Reply(Reply { reply, .. }) => Err(reply.errno.unwrap()),
    }
}

#[test]
fn an_open_address_serves_what_it_covers() {
    let table: &[(&str, Option<&str>, bool)] = &[
        ("127.0.0.1:8000", None, true),
        ("127.0.0.1:8000", Some("0.0.0.0"), true),
        ("127.0.0.1:8000", Some("::"), true),
        ("127.0.0.1:8000", Some("127.0.0.1"), true),
        ("127.0.0.1:8000", Some("127.0.0.2"), false),
        ("127.0.0.1:8000", Some("::1"), false),
        ("[::]:8000", None, true),
        ("[::]:8000", Some("127.0.0.1"), true),
        ("[::]:8000", Some("::1"), true),
        ("0.0.0.0:8000", Some("127.0.0.1"), true),
        ("0.0.0.0:8000", Some("::1"), false),
        ("[::1]:8000", Some("127.0.0.1"), false),
        ("127.0.0.1:8001", None, false),
    ];
    for &(open, host, served) in table {
        let answer = ask(&mut with(&[open]), A, &query(host, 8000, 0)).unwrap();
        assert_eq!(answer.is_some(), served, "{open} and {host:?}");
    }
}

#[test]
fn one_listen_is_served_from_every_address_on_its_port() {
    let mut listeners = with(&["127.0.0.1:8000", "[::1]:8000", "127.0.0.1:9000"]);
    ask(&mut listeners, A, &query(None, 8000, 0)).unwrap();
    let served: Vec<_> = (0..3).map(|id| listeners.members(ListenerId(id)).count()).collect();
    assert_eq!(served, [1, 1, 0]);
    assert!(listeners.serves_what_was_told(A) && !listeners.serves_what_was_told(B));
    assert!(with(&[]).serves_what_was_told(B));
}

#[test]
fn the_same_listen_in_two_workers_shares_a_socket() {
    let mut listeners = with(&[]);
    let Answer::Bind(wish) = listeners.ask(A, &query(None, 0, 0)) else { panic!("nothing is open") };
    assert_eq!(wish.want, Want::Tcp { host: None, port: 0, ipv6_only: false, backlog: None });
    let (listener, reply) = listeners.bound(A, &wish, "[::]:4711".parse().unwrap());
    let listener = listener.unwrap();
    assert_eq!(reply.reply.key, "null:0:4:undefined:0");
    assert_eq!(ask(&mut listeners, B, &query(None, 0, 0)), Ok(Some(":: 4711".to_owned())));
    assert_eq!(
        ask(&mut listeners, A, &query(None, 0, 1)),
        Ok(None),
        "a second listen(0) gets a port of its own"
    );
    assert_eq!(listeners.members(listener).collect::<Vec<_>>(), [A, B]);
    listeners.leave(A);
    listeners.leave(B);
    assert_eq!(
        ask(&mut listeners, B, &query(None, 0, 0)),
        Ok(Some(":: 4711".to_owned())),
        "a successor finds it"
    );
}

#[test]
fn one_worker_cannot_have_an_address_twice() {
    let mut listeners = with(&["127.0.0.1:8000"]);
    ask(&mut listeners, A, &query(None, 8000, 0)).unwrap();
    assert_eq!(ask(&mut listeners, A, &query(Some("127.0.0.1"), 8000, 0)), Err(-98));
    assert_eq!(ask(&mut listeners, A, &query(None, 8000, 0)), Err(-98));
    assert_eq!(ask(&mut listeners, A, &query(None, 8000, 1)), Ok(None), "the kernel refuses this one");
    assert!(ask(&mut listeners, B, &query(Some("127.0.0.1"), 8000, 0)).is_ok(), "another worker may");
}

#[test]
fn a_socket_goes_with_its_last_server_unless_it_was_given() {
    let mut listeners = with(&["127.0.0.1:8000"]);
    ask(&mut listeners, A, &query(None, 8000, 0)).unwrap();
    assert_eq!(listeners.close(A, "null:8000:4:undefined:0"), []);
    assert!(ask(&mut listeners, A, &query(None, 8000, 0)).unwrap().is_some(), "listen, close, listen again");

    let Answer::Bind(wish) = listeners.ask(A, &query(None, 9000, 0)) else { panic!("not open") };
    let listener = listeners.bound(A, &wish, "[::]:9000".parse().unwrap()).0.unwrap();
    let twice = listeners.bound(A, &wish, "[::]:9000".parse().unwrap());
    assert_eq!((twice.0, twice.1.reply.errno), (None, Some(-98)), "asked twice before the first was bound");
    ask(&mut listeners, B, &query(None, 9000, 0)).unwrap();
    ask(&mut listeners, B, &query(Some("::1"), 9000, 0)).unwrap_err();
    assert_eq!(listeners.close(A, "null:9000:4:undefined:0"), []);
    assert_eq!(listeners.close(A, "nosuch"), []);
    assert_eq!(listeners.close(B, "null:9000:4:undefined:0"), [listener]);
    assert_eq!(ask(&mut listeners, A, &query(None, 9000, 0)), Ok(None));
    assert_eq!(listeners.close_all().len(), 1);
}

#[test]
fn what_cannot_be_served_is_answered_with_its_errno() {
    let mut listeners = with(&[]);
    let mut check = |change: fn(&mut Query), errno| {
        let mut query = query(None, 8000, 0);
        change(&mut query);
        assert_eq!(ask(&mut listeners, A, &query), Err(errno), "{query:?}");
    };
    check(|query| query.port = Some(65536), -22);
    check(|query| query.port = None, -22);
    check(|query| query.address = Some("fe80::1%eth0".to_owned()), -22);
    check(|query| (query.port, query.address_type) = (Some(-1), AddressType::Unix), -22);
    check(|query| (query.fd, query.address_type) = (Some(3), AddressType::None), -9);
    let Answer::Bind(wish) = listeners.ask(A, &query(None, 80, 0)) else { panic!() };
    let Reply { reply, .. } = Listeners::not_bound(&wish, 13);
    assert_eq!((reply.errno, reply.key.as_str()), (Some(-13), "null:80:4:undefined:0"));
    assert_eq!(ask(&mut listeners, A, &query(None, 80, 0)), Ok(None), "and may be asked again");
}

#[test]
fn data_of_the_first_is_given_to_all() {
    let mut listeners = with(&["127.0.0.1:443"]);
    let mut tls = query(None, 443, 0);
    let data = |reply: Answer| match reply {
        Answer::Reply(Reply { reply, .. }) => reply.data.map(|text| text.get().to_owned()),
        other => panic!("{other:?}"),
    };
    assert_eq!(data(listeners.ask(WorkerId(9), &tls)), None);
    for (worker, keys) in [(A, "\"first\""), (B, "\"second\"")] {
        tls.data = Some(RawValue::from_string(keys.to_owned()).unwrap());
        assert_eq!(data(listeners.ask(worker, &tls)), Some("\"first\"".to_owned()));
    }
}

#[test]
fn nobody_can_have_the_master_open_sockets_without_end() {
    let mut listeners = with(&["127.0.0.1:8000"]);
    let open = |listeners: &mut Listeners, worker, index| match listeners.ask(worker, &query(None, 0, index))
    {
        Answer::Bind(wish) => listeners.bound(worker, &wish, "[::]:4711".parse().unwrap()).1.reply.errno,
        Answer::Reply(Reply { reply, .. }) => reply.errno,
    };
    for index in 0..300 {
        let expected = (index >= 256).then_some(-24);
        assert_eq!(open(&mut listeners, A, index), expected, "server {index}");
    }
    assert_eq!(open(&mut listeners, B, 300), None, "another worker may");
    assert!(listeners.forget_oldest().is_empty(), "while somebody uses them");
    listeners.leave(A);
    listeners.leave(B);
    let closed = listeners.forget_oldest();
    assert_eq!(closed.len(), 257 - 16);
    assert_eq!(closed[0], ListenerId(1), "the oldest, and not the one that was given");
    assert!(listeners.forget_oldest().is_empty());
    assert!(listeners.members(ListenerId(0)).next().is_none());
}

/// The socket that goes with an answer, and its errno.
fn shared(listeners: &mut Listeners, worker: WorkerId, query: &Query) -> (Option<ListenerId>, Option<i32>) {
    match listeners.ask(worker, query) {
        Answer::Reply(Reply { reply, socket }) => {
            assert_eq!(reply.sockname, None);
            (socket, reply.errno)
        }
        Answer::Bind(wish) => {
            let endpoint = match wish.want {
                Want::Udp { address, .. } => Endpoint::Udp(address),
                _ => "[::]:8000".parse().unwrap(),
            };
            let (_, Reply { reply, socket }) = listeners.bound(worker, &wish, endpoint);
            (socket, reply.errno)
        }
    }
}

#[test]
fn datagrams_and_the_shared_mode_share_the_socket_itself() {
    let udp = Query { address_type: AddressType::Udp4, fd: Some(-1), ..query(Some("0.0.0.0"), 53, 0) };
    let tcp = query(None, 8000, 0);
    let mut handing = listeners();
    assert_eq!(shared(&mut handing, A, &udp), (Some(ListenerId(0)), Some(0)));
    assert_eq!(shared(&mut handing, B, &udp), (Some(ListenerId(0)), Some(0)));
    assert_eq!(
        handing.admit(Time(0), ListenerId(0), true),
        (Admission::Leave, Change::Nothing),
        "the master takes nothing"
    );
    let mut sharing = Listeners::new(PolicyName::RoundRobin, true, Vec::new());
    assert_eq!(shared(&mut sharing, A, &tcp), (Some(ListenerId(0)), Some(0)));
    assert_eq!(shared(&mut sharing, B, &tcp), (Some(ListenerId(0)), Some(0)));
    assert_eq!(shared(&mut sharing, B, &tcp), (None, Some(-98)));
    assert!(!sharing.accepts(ListenerId(0)));
    assert_eq!(sharing.close(A, "null:8000:4:undefined:0"), []);
    assert_eq!(sharing.close(B, "null:8000:4:undefined:0"), [ListenerId(0)]);
}

#[test]
fn a_unix_socket_is_one_by_its_path() {
    let unix = |path: &str| Query { address_type: AddressType::Unix, ..query(Some(path), -1, 0) };
    let mut listeners = with(&["unix:/run/app.sock"]);
    let Answer::Reply(Reply { reply, .. }) = listeners.ask(A, &unix("/run//app.sock")) else { panic!() };
    assert_eq!((reply.errno, reply.sockname), (None, None), "Node knows the path");
    let Answer::Bind(wish) = listeners.ask(A, &unix("/run/other.sock")) else { panic!() };
    assert!(matches!(&wish.want, Want::Unix { path, .. } if path.ends_with("other.sock")));
    assert!(listeners.serves_what_was_told(A));
}

#[test]
fn a_mapped_server_is_found_where_it_is_mapped() {
    let map = vec![Mapping { from: Place::Port(3000), to: Place::Endpoint("unix:/run/a".parse().unwrap()) }];
    let mut listeners = Listeners::new(PolicyName::RoundRobin, false, map);
    listeners.open("unix:/run/a".parse().unwrap(), false, true);
    let served = ask(&mut listeners, A, &query(Some("127.0.0.1"), 3000, 0));
    assert_eq!(served, Ok(Some("127.0.0.1 3000".to_owned())), "it is told the address that it asked for");
    assert!(listeners.serves_what_was_told(A));
    assert_eq!(ask(&mut listeners, A, &query(None, 3001, 0)), Ok(None));
}

#[test]
fn what_the_master_was_started_with_is_known_by_number() {
    let given = |fd| Query { port: None, address_type: AddressType::None, fd: Some(fd), ..query(None, 0, 0) };
    let mut listeners = listeners();
    let open = listeners.open("127.0.0.1:80".parse().unwrap(), false, true);
    listeners.inherit(3, Some(open));
    listeners.inherit(4, None);
    assert_eq!(ask(&mut listeners, A, &given(3)), Ok(Some("127.0.0.1 80".to_owned())));
    assert_eq!(ask(&mut listeners, A, &given(5)), Err(-9));
    let Answer::Bind(wish) = listeners.ask(A, &given(4)) else { panic!() };
    let (listener, _) = listeners.bound(A, &wish, "127.0.0.1:81".parse().unwrap());
    listeners.close(A, "null:null:null:3:0");
    assert!(listeners.serves_what_was_told(A), "a socket that was given is as good as an address");
    assert_eq!(ask(&mut listeners, B, &given(4)), Ok(Some("127.0.0.1 81".to_owned())));
    assert_eq!(listeners.close(A, "null:null:null:4:0"), []);
    assert_eq!(listeners.close(B, "null:null:null:4:0"), [listener.unwrap()]);
    assert_eq!(ask(&mut listeners, B, &given(4)), Ok(None), "and again");
}

#[test]
fn one_that_failed_before_counts_and_finds_what_others_have_bound_since() {
    let mut listeners = with(&["127.0.0.1:80"]);
    let own = |index| query(Some("127.0.0.1"), 80, index);
    let there = || Ok(Some("127.0.0.1 80".to_owned()));
    assert_eq!(ask(&mut listeners, A, &own(1)), there(), "its first one could not be bound");
    assert_eq!(ask(&mut listeners, A, &own(2)), Ok(None), "a second one at the same time is one of its own");
    assert_eq!(ask(&mut listeners, B, &own(0)), there());
    assert_eq!(ask(&mut listeners, B, &own(1)), Err(-98), "the key is A's, and stands for what B serves");
}

#[test]
fn what_was_given_in_vain_is_told_once() {
    let map = |from| Mapping { from: Place::Port(from), to: Place::Port(8000) };
    let mut listeners = Listeners::new(PolicyName::RoundRobin, false, vec![map(3000), map(4000)]);
    for address in ["127.0.0.1:8000", "127.0.0.1:8001"] {
        listeners.open(address.parse().unwrap(), false, true);
    }
    let nothing = listeners.take_unused();
    assert_eq!(nothing.0, [], "while no other is of use, each worker is told of");
    ask(&mut listeners, A, &query(None, 3000, 0)).unwrap();
    assert!(!listeners.has_unused(), "it is not ready");
    listeners.serve(A);
    assert!(listeners.has_unused());
    let (endpoints, maps) = listeners.take_unused();
    assert!(!listeners.has_unused());
    assert_eq!((endpoints, maps), (vec!["127.0.0.1:8001".parse().unwrap()], vec![]));
    assert_eq!(nothing.1, [Place::Port(3000), Place::Port(4000)]);
    assert_eq!(listeners.take_unused(), (vec![], vec![]));
}
