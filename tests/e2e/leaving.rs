//! Workers that leave by themselves, in each way that Node has.

use std::collections::BTreeSet;

use crate::harness::{Node, Pointsman, Process, eventually};

/// Asks one of two workers to leave, and sees that a successor comes and that the other never notices.
fn check(way: &str, log: &[&str]) {
    for node in Node::in_both_forms() {
        let run = Pointsman::run().workers(2).node(node, "worker.js");
        let mut master = log.iter().fold(run, |run, text| run.expect_log(text)).start();
        let before = master.wait_ready(2);
        let mut witness = master.connect();
        let other = witness.get("/").unwrap().pid();
        let mut client = master.connect();
        let leaving = client.get(way).unwrap();
        assert_ne!(leaving.pid(), other, "strict turns");
        drop(client);

        eventually("the worker is gone", || Process::find(leaving.pid()).is_none());
        assert_eq!(witness.get("/").unwrap().pid(), other);
        let after = master.wait_ready(2);
        let pids: BTreeSet<_> = after.keys().copied().collect();
        assert!(pids.contains(&other) && !pids.contains(&leaving.pid()), "{node} {way}");
        let slot = |pid| before[&pid].number("slot");
        let successor = after.values().find(|answer| answer.pid() != other).unwrap();
        assert_eq!(successor.number("slot"), slot(leaving.pid()), "{node} {way}");
        assert_eq!(successor.number("worker"), 3, "{node} {way}");
        drop(witness);
        master.finish();
    }
}

#[test]
fn by_disconnecting_through_the_cluster_module() {
    check("/disconnect", &[]);
}

#[test]
fn by_killing_itself_through_the_cluster_module() {
    check("/kill", &[]);
}

#[test]
fn by_disconnecting_the_process() {
    check("/process-disconnect", &["code 0"]);
}

#[test]
fn by_exiting() {
    check("/exit", &["code 3"]);
}

#[test]
fn by_an_exception_that_nobody_catches() {
    check("/crash", &["code 1"]);
}

#[test]
fn a_worker_that_disconnects_serves_what_it_has_open() {
    for node in Node::in_both_forms() {
        let mut master = Pointsman::run().workers(1).node(node, "worker.js").start();
        master.wait_ready(1);
        let mut slow = master.connect();
        let pid = slow.get("/").unwrap().pid();
        slow.send_get("/slow").unwrap();
        assert_eq!(master.get("/disconnect").pid(), pid);
        let answer = slow.receive().unwrap();
        assert_eq!((answer.status, answer.pid()), (200, pid), "{node}");
        drop(slow);
        eventually("the worker is gone", || Process::find(pid).is_none());
        master.wait_ready(1);
        master.finish();
    }
}
