//! Sockets that the master was started with: `listen({fd})`, and systemd's socket activation.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    addresses::{MODES, Server, answered_by, both, close, pids, tell, two},
    harness::{Master, Node, Place, Pointsman, free_port},
    udp::one_answer_each,
};

fn local() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}

/// Workers of a master that is started with these sockets.
fn with(run: Pointsman, told: &Value) -> Pointsman {
    run.through_python("activate.py", &told.to_string())
}

/// The numbers of all that it has open.
fn numbers(master: &Master) -> Vec<i32> {
    let entries = fs::read_dir(format!("/proc/{}/fd", master.pid())).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect()
}

#[test]
fn workers_listen_on_descriptors_that_the_master_was_started_with() {
    for node in Node::in_both_forms() {
        for mode in MODES {
            let home = tempfile::tempdir().unwrap();
            let path = home.path().join("a.sock");
            let (tcp, udp) = (local(), local());
            let sockets = json!([["tcp", tcp], ["unix", path], ["udp", udp]]);
            let run = two(mode, node).allow_log("could not listen on descriptor");
            let mut master = with(run, &json!({ "sockets": sockets })).start();
            let mut workers = both(&mut master);
            let all = pids(&mut workers);
            let server = Server::listen(&mut workers, &json!({"fd": 3}));
            assert_eq!(server.address["port"], tcp.port(), "{node} {mode}");
            answered_by(&tcp.into(), &all);
            let unix = Server::listen(&mut workers, &json!({"fd": 4}));
            answered_by(&path.as_path().into(), &all);
            let datagrams = Server::open(&mut workers, "/bind", &json!({"type": "udp4", "fd": 5}));
            assert_eq!(datagrams.port(), udp.port(), "{node} {mode}");
            one_answer_each(&udp.into(), 4);
            // What it opened itself is nobody's to take, and what it did not is not there.
            for number in
                numbers(&master).into_iter().filter(|number| !(3..=5).contains(number)).chain([4711])
            {
                let refused = tell(&mut workers[0], "/listen", &json!({ "fd": number }));
                assert_eq!(refused["code"], "EBADF", "{node} {mode} {number}: {refused}");
            }
            master.wait_log("could not listen on descriptor 4711: Bad file descriptor");
            master.wait_log("only sockets that pointsman itself was started with");
            close([server, unix, datagrams], &mut workers);
            // Closed by the workers, and the master's still.
            Server::listen(&mut workers, &json!({"fd": 3})).close(&mut workers);
            drop(workers);
            master.finish();
            assert!(path.exists(), "the file is whose it was before");
        }
    }
}

#[test]
fn sockets_of_systemd_take_the_place_of_the_default() {
    for node in Node::matrix() {
        for mode in MODES {
            let (first, second) = (local(), local());
            let told = json!({"sockets": [["tcp", first], ["tcp", second]], "pid": "own"});
            let run = two(mode, node).listen_by_default().reached(first);
            let mut master = with(run, &told).start();
            let mut workers = both(&mut master);
            let all = pids(&mut workers);
            let line = master.wait_log("2 workers of");
            assert!(line.contains(&format!("behind http://{first} and http://{second} (")), "{line}");
            // Of both workers, by the number of the port alone.
            let server = Server::listen(&mut workers, &json!({ "port": second.port() }));
            answered_by(&second.into(), &all);
            server.close(&mut workers);
            drop(workers);
            master.finish();
        }
    }
}

#[test]
fn a_socket_of_systemd_is_taken_for_an_address_that_is_named_too() {
    let (theirs, ours) = (local(), local());
    let told = json!({"sockets": [["tcp", theirs]], "pid": "own"});
    let run = two("handoff", Node::DEFAULT).listen(theirs.to_string()).option("-l", ours.to_string());
    let mut master = with(run.reached(theirs), &told).start();
    let mut workers = both(&mut master);
    let server = Server::listen(&mut workers, &json!({ "port": ours.port() }));
    answered_by(&ours.into(), &pids(&mut workers));
    server.close(&mut workers);
    drop(workers);
    master.finish();
}

#[test]
fn sockets_that_are_meant_for_another_process_are_not_listened_on() {
    let (theirs, ours) = (local(), local());
    for pid in [json!(1), json!("")] {
        let told = json!({"sockets": [["tcp", theirs]], "pid": pid});
        let mut master = with(two("handoff", Node::DEFAULT).listen(ours.to_string()), &told).start();
        let workers = both(&mut master);
        let line = master.wait_log("2 workers of");
        assert!(line.contains(&ours.to_string()) && !line.contains(&theirs.to_string()), "{line}");
        drop(workers);
        master.finish();
    }
}

#[test]
fn a_descriptor_that_is_no_socket_is_named() {
    let first = local();
    let told = json!({"sockets": [["tcp", first]], "pid": "own", "count": 2});
    let run = two("handoff", Node::DEFAULT).listen_by_default().reached(first);
    let run = run.expect_log("LISTEN_FDS=2, but descriptor 4 is no socket to listen on");
    let mut master = with(run, &told).start();
    master.wait_ready(2);
    master.finish();
}

/// With the real thing, where it is installed.
#[test]
fn systemd_starts_it_with_the_first_connection() {
    let command = "systemd-socket-activate";
    if Command::new(command).arg("--version").output().is_err() {
        return;
    }
    let (address, home) = (local(), tempfile::tempdir().unwrap());
    let path = home.path().join("a.sock");
    let (tcp, unix) = (address.to_string(), path.to_str().unwrap());
    // It hands on nothing of its environment but what it is told to.
    let words = [command, "-E", "E2E_RUN_ID", "-E", "XDG_RUNTIME_DIR", "-l", &tcp, "-l", unix];
    let run = two("handoff", Node::DEFAULT).listen_by_default().reached(address).through(&words);
    let mut master = run.start();
    let mut workers = both(&mut master);
    let server = Server::listen(&mut workers, &json!({ "path": path }));
    answered_by(&Place::from(&*path), &pids(&mut workers));
    server.close(&mut workers);
    drop(workers);
    master.finish();
}
