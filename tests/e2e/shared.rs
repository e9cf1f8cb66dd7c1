//! `-m shared`, Node's `none`: each worker accepts from the socket that it was given.

use nix::sys::signal::Signal;

use crate::{
    addresses::{answered_by, both, pids},
    harness::{Node, Pointsman, eventually},
};

/// The two ways to ask for it.
fn shared() -> [Pointsman; 2] {
    let run = || Pointsman::run().workers(2);
    [run().option("-m", "shared"), run().env("NODE_CLUSTER_SCHED_POLICY", "none")]
}

#[test]
fn workers_accept_by_themselves_also_while_the_master_is_frozen() {
    for node in Node::matrix() {
        for run in shared() {
            let mut master = run.node(node, "addresses.js").start();
            let mut workers = both(&mut master);
            let all = pids(&mut workers);
            master.process().freeze();
            answered_by(&master.place(), &all);
            master.signal(Signal::SIGCONT);
            for worker in master.workers() {
                let has_socket = worker.descriptors().iter().any(|kind| kind == "listening socket");
                assert!(has_socket, "{node}: {:?}", worker.descriptors());
                let loaded = worker.environ().into_iter().find(|entry| entry.starts_with("NODE_OPTIONS="));
                assert_eq!(loaded, None, "{node}");
            }
            assert_eq!(master.runtime_file("load_report.cjs"), None, "there is no use for the script");
            drop(workers);
            master.finish();
        }
    }
}

#[test]
fn a_worker_that_dies_is_replaced_and_the_others_serve_meanwhile() {
    for node in Node::matrix() {
        let [run, _] = shared();
        let run = run.option("--restart-delay", "10ms").expect_log("was killed by SIGKILL");
        let mut master = run.node(node, "plain.js").start();
        let before = master.wait_ready(2);
        let victim = master.workers()[0];
        victim.signal(Signal::SIGKILL);
        eventually("it is gone", || !victim.is_alive());
        let after = master.wait_ready(2);
        assert!(!after.contains_key(&victim.pid()), "{after:?}");
        assert_eq!(after.keys().filter(|pid| before.contains_key(pid)).count(), 1);
        master.finish();
    }
}

#[test]
fn a_stop_waits_for_what_is_in_flight_and_accepts_nothing_more() {
    for node in Node::matrix() {
        let [run, _] = shared();
        let mut master = run.node(node, "plain.js").start();
        master.wait_ready(2);
        let mut clients: Vec<_> = (0..4).map(|_| master.connect()).collect();
        clients.iter_mut().for_each(|client| client.send_get("/slow?ms=700").unwrap());
        // One behind the others in the queue of each worker: they have been accepted when it is answered.
        let (place, workers) = (master.place(), master.workers());
        eventually("all are accepted", || {
            workers.iter().map(|worker| worker.connections()).sum::<usize>() >= clients.len()
        });
        master.signal(Signal::SIGTERM);
        eventually("nobody listens any more", || place.connect().is_err());
        for client in &mut clients {
            assert_eq!(client.receive().unwrap().status, 200, "{node}");
        }
        drop(clients);
        assert_eq!(master.wait_exit().code(), Some(0));
        master.finish();
    }
}

#[test]
fn programs_that_never_speak_are_started_and_stopped_without_a_word() {
    // The channel is at one of the first free numbers.
    for closes in ["", "exec 3>&- 4>&-; "] {
        let [run, _] = shared();
        let mut master = run.program("sh").arg("-c").arg(format!("{closes}exec sleep 1000")).start();
        eventually("both sleep", || {
            master.workers().iter().filter(|worker| worker.name() == "sleep").count() == 2
        });
        master.signal(Signal::SIGTERM);
        assert_eq!(master.wait_exit().code(), Some(0));
        assert!(!master.log().has("has not left"));
        master.finish();
    }
}

#[test]
fn what_needs_a_master_that_accepts_is_refused() {
    for (name, value, expected) in [
        ("-p", "least-connections", "least-connections needs a master that accepts"),
        ("--map", "3000=8000", "in the shared mode a program sees the address of its socket"),
    ] {
        for run in shared() {
            let output = run.option(name, value).node(Node::DEFAULT, "plain.js").output();
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(78), "{text}");
            assert!(text.contains(expected) && text.contains(value), "{text}");
        }
    }
}
