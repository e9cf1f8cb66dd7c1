//! Options of `-l`, seen from outside.

use std::{fs, net::SocketAddr, process::Command};

use crate::{
    addresses::{MODES, Server, both, pids},
    harness::{Client, Master, Node, Pointsman, eventually, free_port, has_ipv6},
};

use serde_json::json;

/// A master of two workers behind `address`, with options.
fn start(mode: &str, address: SocketAddr, options: &str) -> Master {
    let run = Pointsman::run().option("-m", mode).workers(2).listen(format!("{address} {options}"));
    let mut master = run.node(Node::DEFAULT, "addresses.js").start();
    master.wait_ready(2);
    master
}

fn local() -> SocketAddr {
    ([127, 0, 0, 1], free_port()).into()
}

/// The length of the queue of whoever listens at this port, as the kernel tells it.
fn backlog(port: u16) -> u32 {
    let output = Command::new("ss").args(["-ltnH", &format!("sport = :{port}")]).output();
    let output = output.unwrap_or_else(|error| panic!("ss: {error}; run scripts/setup"));
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().nth(2).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{text:?}"))
}

#[test]
fn the_queue_is_as_long_as_is_said() {
    for mode in MODES {
        let address = local();
        let mut master = start(mode, address, "backlog=77");
        // In the shared mode, workers call listen() themselves, with a length of their own.
        let expected = if mode == "handoff" { 77 } else { 511 };
        assert_eq!(backlog(address.port()), expected, "{mode}");
        let mut workers = both(&mut master);
        let server = Server::listen(&mut workers, &json!({"port": 0, "backlog": 33}));
        assert_eq!(backlog(server.port()), 33, "{mode}");
        server.close(&mut workers);
        drop(workers);
        master.finish();
    }
}

/// The kind of timer that runs for a connection which was accepted at this port: 2 probes it while it is idle.
fn timer(port: u16) -> Option<u8> {
    let text = fs::read_to_string("/proc/net/tcp").unwrap();
    let established = |columns: &[&str]| columns[1].ends_with(&format!(":{port:04X}")) && columns[3] == "01";
    let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let columns = lines.find(|columns| columns.len() > 5 && established(columns))?;
    columns[5].split_once(':')?.0.parse().ok()
}

#[test]
fn accepted_connections_are_probed_if_that_is_said() {
    for mode in MODES {
        for (options, expected) in [("", 0), ("keepalive=77s", 2)] {
            let address = local();
            let master = start(mode, address, options);
            let mut client = master.connect();
            client.get("/").unwrap();
            eventually("the timer runs or not", || timer(address.port()) == Some(expected));
            drop(client);
            master.finish();
        }
    }
}

#[test]
fn a_silent_connection_can_be_left_in_the_kernel() {
    for (options, takes_a_turn) in [("", true), ("defer_accept=60s", false)] {
        let master = start("handoff", local(), options);
        let [first, second] = [master.get("/").pid(), master.get("/").pid()];
        assert_ne!(first, second);
        let mut silent = master.connect();
        let next = master.get("/").pid();
        assert_eq!(next, if takes_a_turn { second } else { first }, "{options:?}");
        assert_eq!(silent.get("/").unwrap().pid(), if takes_a_turn { first } else { second }, "{options:?}");
        drop(silent);
        master.finish();
    }
}

#[test]
fn an_ipv6_wildcard_leaves_ipv4_to_others_if_that_is_said() {
    if !has_ipv6() {
        return;
    }
    for (options, reached) in [("", true), ("ipv6only", false)] {
        let port = free_port();
        let mut master = start("handoff", format!("[::]:{port}").parse().unwrap(), options);
        assert_eq!(Client::connect(([127, 0, 0, 1], port).into()).is_ok(), reached, "{options:?}");
        let workers = master.wait_ready(2).into_keys().collect();
        assert_eq!(pids(&mut both(&mut master)), workers);
        master.finish();
    }
}
