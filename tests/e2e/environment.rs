//! What a worker is born with: environment, descriptors, signals.

use std::collections::{BTreeMap, BTreeSet};

use nix::sys::signal::Signal;

use crate::harness::{Master, Node, Pointsman, Process, eventually};

fn environ(process: Process) -> BTreeMap<String, String> {
    let pair = |entry: String| entry.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    process.environ().into_iter().filter_map(pair).collect()
}

/// Workers of a program that never speaks, once it runs.
fn sleeping_workers(count: usize) -> Master {
    let run = Pointsman::run().workers(count).allow_log("channel");
    let master = run.program("sleep").arg("1000").start();
    eventually("the workers sleep", || {
        master.workers().iter().filter(|worker| worker.name() == "sleep").count() == count
    });
    master
}

#[test]
fn a_worker_is_told_who_it_is() {
    let run = Pointsman::run().workers(3).option("-e", "GREETING=hello there").env("INHERITED", "yes");
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("a.sock");
    // The program does not listen there, which is told if this takes long.
    let run = run.option("-l", &socket).allow_log("no worker listens on");
    let mut master = run.node(Node::DEFAULT, "plain.js").start();
    master.wait_ready(3);
    let port = master.address().port().to_string();
    let addresses = format!("unix:{},{}", socket.display(), master.address());
    let mut identities = BTreeSet::new();
    for worker in master.workers() {
        let env = environ(worker);
        assert_eq!(env["NODE_CHANNEL_FD"], "3");
        assert_eq!(env["NODE_APP_INSTANCE"], env["POINTSMAN_SLOT"]);
        assert_eq!(env["PORT"], port);
        assert_eq!(env["POINTSMAN_ADDRESSES"], addresses);
        assert_eq!((&*env["GREETING"], &*env["INHERITED"]), ("hello there", "yes"));
        identities.insert((env["NODE_UNIQUE_ID"].clone(), env["POINTSMAN_SLOT"].clone()));
    }
    let expected = [("1", "0"), ("2", "1"), ("3", "2")].map(|(id, slot)| (id.to_owned(), slot.to_owned()));
    assert_eq!(identities, BTreeSet::from(expected));
    master.finish();
}

#[test]
fn what_the_master_was_told_by_its_own_supervisor_is_not_a_worker_s() {
    let told = [
        ("EINHORN_FD_0", "7"),
        ("EINHORN_MASTER_PID", "1"),
        ("NOTIFY_SOCKET", "/run/nobody"),
        ("WATCHDOG_USEC", "1000"),
        ("WATCHDOG_PID", "1"),
        ("LISTEN_PIDFDID", "1"),
    ];
    let run = || {
        let run =
            Pointsman::run().workers(1).node(Node::DEFAULT, "plain.js").expect_log("cannot be told how");
        told.iter().fold(run, |run, &(name, value)| run.env(name, value))
    };
    for own in [None, Some("/mine")] {
        let run = own.map_or_else(run, |own| run().option("-e", format!("NOTIFY_SOCKET={own}")));
        let mut master = run.start();
        master.wait_ready(1);
        let mut env = environ(master.workers()[0]);
        let ours = master.runtime_file("notify.sock").map(|path| path.to_str().unwrap().to_owned());
        assert_eq!(ours.is_some(), own.is_none());
        let expected = own.map(str::to_owned).or(ours);
        assert_eq!(
            env.remove("NOTIFY_SOCKET"),
            expected,
            "what is asked for is given, and else what is ours"
        );
        for (name, _) in told {
            assert_eq!(env.get(name), None, "{name}");
        }
        master.finish();
    }
}

#[test]
fn a_node_program_does_not_see_how_it_was_started() {
    for node in Node::matrix() {
        let mut master = Pointsman::run().workers(1).node(node, "plain.js").start();
        master.wait_ready(1);
        let env = master.get("/env").json()["env"].clone();
        for name in ["NODE_CHANNEL_FD", "NODE_UNIQUE_ID", "NODE_CHANNEL_SERIALIZATION_MODE"] {
            assert!(env.get(name).is_none(), "{node}: {name}");
        }
        assert_eq!(env["NODE_APP_INSTANCE"], "0", "{node}");
        master.finish();
    }
}

#[test]
fn no_signal_is_blocked_or_ignored_in_a_worker() {
    // Rust ignores SIGPIPE in every program, and takes that back in those that it starts.
    let pipe = 1 << (Signal::SIGPIPE as u64 - 1);
    let inherited = Process::this().signals("SigIgn") & !pipe;
    let master = sleeping_workers(1);
    for worker in master.workers() {
        assert_eq!(worker.signals("SigBlk"), 0);
        assert_eq!(worker.signals("SigIgn"), inherited);
    }
    master.finish();
}

#[test]
fn a_worker_inherits_its_channel_and_no_other_descriptor() {
    let master = sleeping_workers(2);
    for worker in master.workers() {
        assert_eq!(worker.descriptors(), ["/dev/null", "pipe", "pipe", "socket"]);
    }
    master.finish();
}

#[test]
fn a_worker_leads_a_process_group_of_its_own() {
    let master = sleeping_workers(2);
    for worker in master.workers() {
        assert_eq!(worker.status("NSpgid"), worker.pid().to_string());
    }
    master.finish();
}

#[test]
fn a_worker_has_the_descriptor_limit_that_its_master_was_started_with() {
    let (_, hard) = Process::this().descriptor_limits();
    let mut master = Pointsman::run().workers(1).after("ulimit -Sn 512").python("wire.py").start();
    master.wait_ready(1);
    assert!(hard > 512, "here the test shows nothing");
    assert_eq!(master.process().descriptor_limits(), (hard, hard), "the master takes all it can have");
    assert_eq!(master.workers()[0].descriptor_limits(), (512, hard));
    assert_eq!(master.get("/").json()["limit"], 512, "and the program sees it");
    master.finish();
}
