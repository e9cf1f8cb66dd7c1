//! A master that is killed leaves nobody behind, and a guard that is killed is replaced.

use nix::sys::signal::Signal;

use crate::harness::{Master, Node, Pointsman, Process, eventually, python};

/// SIGTERM's bit in `SigIgn`.
const TERM_BIT: u64 = 1 << (Signal::SIGTERM as u64 - 1);

fn ignores_term(process: &Process) -> bool {
    process.is_alive() && process.signals("SigIgn") & TERM_BIT != 0
}

/// Kills the master, and asks for an empty house.
#[track_caller]
fn kill(mut master: Master) {
    master.signal(Signal::SIGKILL);
    master.wait_exit();
    master.finish();
}

/// Waits until `count` processes of the master run `idle.py`, as workers or below them.
fn wait_for_python(master: &Master, count: usize) -> Vec<Process> {
    let mut found = Vec::new();
    eventually("the Python programs run", || {
        found = master.tree();
        found.retain(|process| {
            let words = process.command_line();
            words[0].contains("python") && words.iter().any(|word| word.ends_with("idle.py"))
        });
        found.len() == count
    });
    found
}

/// A shell that starts Python and waits for it, so that Python is no child of the master.
fn behind_a_shell() -> Pointsman {
    let run = Pointsman::run().workers(2).allow_log("channel").program("sh").arg("-c");
    let idle = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/apps/idle.py");
    run.arg(format!("{} {idle} --ignore-term; true", python().display()))
}

#[test]
fn node_workers_die_with_their_master() {
    for node in Node::matrix() {
        for app in ["plain.js", "stubborn.js"] {
            let mut master = Pointsman::run().workers(2).node(node, app).start();
            master.wait_ready(2);
            kill(master);
        }
    }
}

#[test]
fn demo_workers_die_with_their_master() {
    let mut master = Pointsman::run().workers(3).start();
    master.wait_ready(3);
    kill(master);
}

#[test]
fn workers_on_the_wire_that_outlive_their_channel_die_with_their_master() {
    let mut master = Pointsman::run().workers(2).python("wire.py").arg("--stay").start();
    master.wait_ready(2);
    kill(master);
}

#[test]
fn workers_that_ignore_term_die_with_their_master() {
    let master =
        Pointsman::run().workers(2).allow_log("channel").python("idle.py").arg("--ignore-term").start();
    let workers = wait_for_python(&master, 2);
    eventually("they ignore SIGTERM", || workers.iter().all(ignores_term));
    kill(master);
}

#[test]
fn grandchildren_die_with_the_master() {
    let master = behind_a_shell().start();
    let grandchildren = wait_for_python(&master, 2);
    let workers = master.workers();
    assert!(grandchildren.iter().all(|process| !workers.contains(process)));
    eventually("they ignore SIGTERM", || grandchildren.iter().all(ignores_term));
    kill(master);
}

#[test]
fn a_master_killed_while_it_starts_leaves_nobody() {
    for processes in 1..=10 {
        let run = Pointsman::run().workers(4).program("sh").arg("-c").arg("sleep 1000; true");
        let master = run.start();
        eventually("it has started some of them", || master.tree().len() >= processes);
        kill(master);
    }
}

#[test]
fn a_killed_guard_is_replaced_and_the_new_one_knows_everybody() {
    let master = behind_a_shell().start();
    wait_for_python(&master, 2);
    let guard = master.guard();
    guard.signal(Signal::SIGKILL);
    eventually("the guard is gone", || !guard.is_alive());
    assert_ne!(master.guard(), guard);
    wait_for_python(&master, 2);
    kill(master);
}

#[test]
fn a_master_that_lost_its_guard_serves_and_stops_as_before() {
    let mut master = Pointsman::run().workers(2).start();
    let before = master.wait_ready(2);
    let guard = master.guard();
    guard.signal(Signal::SIGKILL);
    eventually("the guard is gone", || !guard.is_alive());
    assert_ne!(master.guard(), guard);
    assert_eq!(master.get("/").status, 200);
    assert!(master.workers().iter().all(|worker| before.contains_key(&worker.pid())));
    master.finish();
}

#[test]
fn a_worker_that_starts_after_the_guard_was_replaced_is_guarded_too() {
    let master = behind_a_shell().allow_log("was killed by SIGKILL").start();
    wait_for_python(&master, 2);
    let guard = master.guard();
    guard.signal(Signal::SIGKILL);
    eventually("the guard is gone", || !guard.is_alive());
    assert_ne!(master.guard(), guard);
    let before = wait_for_python(&master, 2);
    let victim = master.workers()[0];
    victim.signal(Signal::SIGKILL);
    eventually("it has a successor, and what it had started is gone", || {
        let after = wait_for_python(&master, 2);
        before.iter().filter(|process| after.contains(process)).count() == 1
    });
    kill(master);
}

#[test]
fn workers_die_with_their_master_even_if_the_guard_died_before() {
    // Without the files that the guard would remove.
    let run = Pointsman::run().workers(2).flag("--no-load-report").option("-e", "NOTIFY_SOCKET=");
    let run = run.allow_log("channel");
    let master = run.python("idle.py").arg("--ignore-term").start();
    wait_for_python(&master, 2);
    // A master that is stopped cannot start another guard.
    master.signal(Signal::SIGSTOP);
    let guard = master.guard();
    guard.signal(Signal::SIGKILL);
    eventually("the guard is gone", || !guard.is_alive());
    kill(master);
}

#[test]
fn the_guard_survives_the_signals_that_stop_the_master() {
    let mut master = Pointsman::run().workers(1).start();
    master.wait_ready(1);
    let guard = master.guard();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        guard.signal(signal);
    }
    assert_eq!(master.wait_ready(1).len(), 1);
    assert_eq!(master.guard(), guard);
    master.finish();
}
