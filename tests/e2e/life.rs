//! A worker that dies has a successor.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;

use crate::harness::{Node, Pointsman, Process, eventually};

fn check_replacement(run: Pointsman) {
    let mut master = run.workers(3).allow_log("was killed by SIGKILL").start();
    let before = master.wait_ready(3);
    let (&victim, answer) = before.iter().next().unwrap();
    let slot = answer.number("slot");
    let mut clients: Vec<_> = (0..6).map(|_| master.connect()).collect();
    clients.retain_mut(|client| client.get("/").unwrap().pid() != victim);
    assert_eq!(clients.len(), 4);

    Process::find(victim).unwrap().signal(Signal::SIGKILL);
    eventually("the worker is gone", || Process::find(victim).is_none());
    let after = master.wait_ready(3);
    let (_, successor) = after.iter().find(|(pid, _)| !before.contains_key(pid)).unwrap();
    assert_eq!(successor.number("slot"), slot, "in the same slot");
    assert_eq!(successor.number("worker"), 4, "with an id that nobody had");
    let same: BTreeSet<_> = before.keys().filter(|&&pid| pid != victim).collect();
    assert!(same.iter().all(|pid| after.contains_key(pid)), "the others live on");
    for client in &mut clients {
        assert!(same.contains(&client.get("/").unwrap().pid()), "and keep their connections");
    }
    drop(clients);
    master.finish();
}

#[test]
fn a_killed_node_worker_is_replaced_in_its_slot() {
    for node in Node::matrix() {
        check_replacement(Pointsman::run().node(node, "worker.js"));
    }
}

#[test]
fn a_killed_demo_worker_is_replaced_in_its_slot() {
    check_replacement(Pointsman::run());
}

#[test]
fn while_all_workers_are_between_two_lives_connections_wait() {
    let mut master = Pointsman::run().workers(2).allow_log("was killed by SIGKILL").start();
    let before = master.wait_ready(2);
    for &pid in before.keys() {
        Process::find(pid).unwrap().signal(Signal::SIGKILL);
    }
    eventually("no worker is left", || before.keys().all(|&pid| Process::find(pid).is_none()));
    let answer = master.get("/");
    assert_eq!(answer.status, 200, "a client that came meanwhile is served by a successor");
    assert!(!before.contains_key(&answer.pid()));
    master.wait_ready(2);
    master.finish();
}

#[test]
fn a_worker_that_dies_leaves_nothing_in_the_master() {
    const DEATHS: usize = 20;
    let run =
        Pointsman::run().workers(2).option("--restart-delay", "10ms").allow_log("was killed by SIGKILL");
    let mut master = run.start();
    master.wait_ready(2);
    for _ in 0..DEATHS {
        let workers = master.workers();
        let victim = workers[0];
        victim.signal(Signal::SIGKILL);
        eventually("another takes its place", || {
            let now = master.workers();
            now.len() == 2 && !now.contains(&victim)
        });
    }
    let last = master.wait_ready(2).values().map(|answer| answer.number("worker")).max();
    assert!(last >= u32::try_from(2 + DEATHS).ok(), "so many have died: {last:?}");
    // What it has open must be what it had open before the first death.
    master.finish();
}
