//! What a connection costs the master while nothing is at fault: at most five system calls.

use std::{net::SocketAddr, thread};

use crate::harness::{Client, Node, Pointsman, Process, Strace, eventually};

/// accept4, sendmsg, recvmsg and close, and shares of what is done once for several: epoll_wait, the accept4 and the
/// recvmsg that find nothing.
const MOST: u64 = 5;

const CLIENTS: u64 = 64;
/// Of each client, one after the other.
const CONNECTIONS: u64 = 50;

/// Sixty-four clients at once; returns when all have been answered as often as they asked.
fn load(address: SocketAddr) {
    let ask = || {
        for _ in 0..CONNECTIONS {
            let mut client = Client::connect(address).unwrap();
            client.send_raw(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
            assert_eq!(client.receive().unwrap().status, 200);
        }
    };
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(ask);
        }
    });
}

#[track_caller]
fn check(pointsman: Pointsman, what: &str) {
    let mut master = pointsman.workers(2).start();
    master.wait_ready(2);
    let (address, process) = (master.address(), Process::find(master.pid()).unwrap());
    let idle = process.descriptors().len();
    let run = || {
        load(address);
        eventually("the master has let go of every connection", || process.descriptors().len() <= idle);
    };
    run();
    let strace = Strace::attach(process);
    run();
    let calls = strace.detach();
    let (total, connections) = (calls.total(), CLIENTS * CONNECTIONS);
    let text = format!("{total} system calls for {connections} connections to {what}: {calls}");
    assert!(total >= 3 * connections, "strace has missed most of it: {text}");
    assert!(total <= MOST * connections, "{text}");
    println!("{text}");
    master.finish();
}

const POLICIES: [&str; 2] = ["round-robin", "least-connections"];

#[test]
fn a_connection_to_a_demo_worker_costs_at_most_five_system_calls() {
    for policy in POLICIES {
        check(Pointsman::run().option("-p", policy), &format!("demo workers, {policy}"));
    }
}

#[test]
fn a_connection_to_a_node_worker_costs_at_most_five_system_calls() {
    for policy in POLICIES {
        let run = Pointsman::run().option("-p", policy).node(Node::DEFAULT, "plain.js");
        check(run, &format!("Node workers, {policy}"));
    }
}
