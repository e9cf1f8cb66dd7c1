//! The script on the wire: which ends of connections it reports, and that it reports each once.

use std::{
    net::TcpStream,
    process::{Command, Stdio},
};

use serde_json::json;

use crate::harness::{Client, Form, Node, Primary, eventually};

/// A worker of `kinds.js` that listens.
#[track_caller]
fn start(node: Node, kind: &str) -> Primary {
    let mut primary = Primary::start(node, "kinds.js", &[kind]);
    primary.wait_said("listening");
    let hello = json!({"cmd": "NODE_POINTSMAN", "hello": 1, "script": true}).to_string();
    assert_eq!(primary.said, ["online", &hello, "queryServer", "listening"], "{node}");
    primary
}

/// Opens connections, asks something on each, and returns when all have their answer.
#[track_caller]
fn open(primary: &mut Primary, count: usize, mut ask: impl FnMut(&mut Client)) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = primary.connect();
        ask(&mut client);
        clients.push(client);
    }
    clients
}

fn echo(client: &mut Client) {
    client.send_raw(b"x").unwrap();
    eventually("an echo", || client.has_answer());
}

#[test]
fn http_connections_are_reported_when_they_end() {
    for node in Node::all_and_advanced() {
        let mut primary = start(node, "http");
        let get = |client: &mut Client| assert_eq!(client.get("/").unwrap().text(), "answered");
        let mut kept = open(&mut primary, 5, get);
        let closed = open(&mut primary, 7, get);
        drop(closed);
        primary.wait("those that are closed are gone", |primary| primary.gone.len() == 7);
        assert!(primary.gone.iter().all(|&seq| seq > 5), "{node}: {:?}", primary.gone);
        kept.iter_mut().for_each(get);
        primary.wait("nothing", |_| true);
        assert_eq!(primary.gone.len(), 7, "{node}: those that are kept alive are not");
        drop(kept);
        primary.wait_all_gone(12);
        // One that the server closes.
        let mut client = primary.connect();
        client.send_raw(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        assert_eq!(client.receive().unwrap().text(), "answered");
        primary.wait_all_gone(13);
    }
}

/// Connections of a Node client, which are kept open first and then closed.
fn check_with_node_client(kind: &str) {
    for node in Node::all_and_advanced() {
        let mut primary = start(node, kind);
        let app = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/apps/client.js");
        let port = primary.address().port().to_string();
        let mut command = Command::new(node.path());
        command.args([app, kind, &port, "6"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut client = command.spawn().unwrap();
        primary.wait("all are open", |primary| primary.taken().len() == 6);
        assert!(primary.gone.is_empty(), "{node}, {kind}");
        drop(client.stdin.take());
        primary.wait_all_gone(6);
        assert!(client.wait().unwrap().success(), "{node}, {kind}");
    }
}

#[test]
fn https_connections_are_reported() {
    check_with_node_client("https");
}

#[test]
fn http2_connections_are_reported() {
    check_with_node_client("http2");
}

#[test]
fn http2_connections_over_tls_are_reported() {
    check_with_node_client("http2-tls");
}

#[test]
fn upgraded_connections_are_reported_when_they_end() {
    for node in Node::in_both_forms() {
        let mut primary = start(node, "upgrade");
        let clients = open(&mut primary, 4, |client| {
            let ask = b"GET / HTTP/1.1\r\nHost: test\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n";
            client.send_raw(ask).unwrap();
            assert_eq!(client.receive_head().unwrap().status, 101);
            echo(client);
        });
        assert!(primary.gone.is_empty(), "{node}");
        drop(clients);
        primary.wait_all_gone(4);
    }
}

#[test]
fn two_hundred_raw_connections_are_reported_in_few_frames() {
    for node in Node::in_both_forms() {
        let mut primary = start(node, "echo");
        let address = primary.address();
        let mut streams = Vec::new();
        while streams.len() < 200 {
            // No more at once than the kernel queues for a listener of Rust's.
            streams.extend((0..50).map(|_| TcpStream::connect(address).unwrap()));
            primary.wait("all are there", |primary| primary.taken().len() == streams.len());
        }
        assert!(primary.gone.is_empty(), "{node}");
        drop(streams);
        primary.wait_all_gone(200);
        assert!(primary.reports < 200, "{node}: {} reports", primary.reports);
    }
}

/// An hour: of what is told after it, no test sees anything.
const NEVER_MS: u64 = 3_600_000;

/// So many do not wait for the interval, as the script says.
const MOST: usize = 4096;

#[test]
fn what_ends_within_an_interval_is_reported_together() {
    const COUNT: usize = 40;
    for node in Node::all_and_advanced() {
        let mut primary = start(node, "echo");
        primary.say_interval(500);
        for _ in 0..COUNT {
            drop(open(&mut primary, 1, echo));
        }
        primary.wait_all_gone(COUNT);
        assert!(primary.reports < COUNT / 2, "{node}: {} reports", primary.reports);
        // The next interval has its report too.
        let before = primary.reports;
        drop(open(&mut primary, 1, echo));
        primary.wait_all_gone(COUNT + 1);
        assert_eq!(primary.reports, before + 1, "{node}");
    }
}

#[test]
fn no_more_than_so_many_wait_for_the_interval() {
    for node in Node::in_both_forms() {
        let mut primary = start(node, "echo");
        primary.say_interval(NEVER_MS);
        let address = primary.address();
        for opened in (64..=MOST).step_by(64) {
            let streams: Vec<_> = (0..64).map(|_| TcpStream::connect(address).unwrap()).collect();
            primary.wait("all are there", |primary| primary.taken().len() == opened);
            drop(streams);
        }
        primary.wait_all_gone(MOST);
        assert_eq!(primary.reports, 1, "{node}");
    }
}

#[test]
fn what_waits_for_the_interval_keeps_no_program_alive() {
    for node in Node::all_and_advanced() {
        let mut primary = start(node, "echo");
        primary.say_interval(NEVER_MS);
        drop(open(&mut primary, 3, echo));
        primary.disconnect();
        assert_eq!(primary.wait_exit().code(), Some(0), "{node}");
        assert!(primary.gone.is_empty(), "{node}");
    }
}

#[test]
fn a_ping_is_answered() {
    for node in Node::all_in_both_forms() {
        let mut primary = start(node, "echo");
        (0..3).for_each(|number| primary.ping(number));
        primary.say_interval(NEVER_MS);
        primary.ping(1_000_000);
        Primary::start_child(node, "idle.js", &[]).ping(0);
    }
    for form in Form::ALL {
        let mut primary = Primary::start_demo(form);
        primary.wait_said("listening");
        primary.say_interval(NEVER_MS);
        [0, 1_000_000].into_iter().for_each(|number| primary.ping(number));
    }
}

#[test]
fn connections_that_a_client_resets_are_reported() {
    for node in Node::in_both_forms() {
        let mut primary = start(node, "echo");
        let clients = open(&mut primary, 8, echo);
        clients.into_iter().for_each(Client::reset);
        primary.wait_all_gone(8);
    }
}

#[test]
fn connections_that_the_server_resets_are_reported_once() {
    for node in Node::in_both_forms() {
        let mut primary = start(node, "reset");
        let mut clients = open(&mut primary, 8, |client| client.send_raw(b"x").unwrap());
        primary.wait_all_gone(8);
        assert!(clients.iter_mut().all(Client::is_closed_by_server), "{node}");
    }
}

#[test]
fn connections_that_are_given_away_are_reported() {
    for node in Node::all_and_advanced() {
        let mut primary = start(node, "give");
        let _clients = open(&mut primary, 3, |_| {});
        primary.wait_all_gone(3);
        primary.wait("all were given away", |primary| {
            primary.said.iter().filter(|said| *said == "\"yours\"").count() == 3
        });
    }
}

#[test]
fn a_refused_connection_is_reported_after_the_refusal() {
    for node in Node::in_both_forms() {
        let mut primary = start(node, "one");
        let taken = open(&mut primary, 1, echo);
        let _refused = primary.connect();
        assert_eq!(primary.accepted.get(&2), Some(&false), "{node}");
        primary.wait("it is closed in the worker", |primary| primary.gone == [2]);
        drop(taken);
        primary.wait("the other is gone", |primary| primary.gone == [2, 1]);
    }
}

#[test]
fn a_program_that_replaces_process_send_sees_no_report() {
    for node in Node::in_both_forms() {
        let mut primary = start(node, "patched");
        drop(open(&mut primary, 3, echo));
        primary.wait_all_gone(3);
        primary.say_interval(10);
        drop(open(&mut primary, 3, echo));
        primary.wait_all_gone(6);
        primary.ping(1);
    }
}

#[test]
fn the_demo_reports_by_itself() {
    Form::ALL.into_iter().for_each(check_demo);
}

#[track_caller]
fn check_demo(form: Form) {
    let mut primary = Primary::start_demo(form);
    primary.wait_said("listening");
    let hello = json!({"cmd": "NODE_POINTSMAN", "hello": 1}).to_string();
    assert_eq!(primary.said, ["online", &hello, "queryServer", "listening"]);
    let mut kept = open(&mut primary, 5, |client| assert_eq!(client.get("/").unwrap().status, 200));
    drop(open(&mut primary, 7, |client| assert_eq!(client.get("/").unwrap().status, 200)));
    primary.wait("those that are closed are gone", |primary| primary.gone.len() == 7);
    assert!(primary.gone.iter().all(|&seq| seq > 5), "{:?}", primary.gone);
    kept.pop().unwrap().reset();
    primary.wait("one more is gone", |primary| primary.gone.len() == 8);
    primary.disconnect();
    assert_eq!(primary.wait_exit().code(), Some(0));
}

#[test]
fn a_worker_that_leaves_reports_to_the_end_and_ends() {
    for node in Node::in_both_forms() {
        let mut primary = start(node, "echo");
        let clients = open(&mut primary, 2, echo);
        primary.disconnect();
        primary.wait_said("close");
        assert!(primary.gone.is_empty(), "{node}");
        drop(clients);
        assert_eq!(primary.wait_exit().code(), Some(0), "{node}");
    }
}

#[test]
fn the_script_keeps_no_program_alive() {
    for node in Node::in_both_forms() {
        let mut primary = Primary::start_child(node, "kinds.js", &["closes"]);
        assert_eq!(primary.wait_exit().code(), Some(0), "{node}");
        assert_eq!(primary.said.len(), 1, "{node}: hello, and no cluster: {:?}", primary.said);
    }
}
