//! Workers that break the protocol: it costs them their channel, and nobody else anything.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::harness::{Client, Form, Master, NOBODY, Pointsman, Process, eventually, is_root, python};

/// Workers that are told plainly to leave when they do not by themselves.
fn workers_on_the_wire() -> Pointsman {
    Pointsman::run().workers(3).option("--stop-timeout", "300ms").option("--kill-timeout", "2s")
}

/// One open connection to each of three workers, sorted by slot.
fn one_connection_each(master: &mut Master) -> Vec<(u32, Client)> {
    master.wait_ready(3);
    let mut all: Vec<(u32, Client)> = Vec::new();
    eventually("there is a connection to each worker", || {
        let mut client = master.connect();
        let slot = client.get("/").unwrap().number("slot");
        if all.iter().all(|&(known, _)| known != slot) {
            all.push((slot, client));
        }
        all.len() == 3
    });
    all.sort_by_key(|&(slot, _)| slot);
    all
}

/// Lets the worker in slot 1 misbehave, and sees that another takes its place while the others never notice.
fn check(misbehaviour: &str, stays: bool, why: &str) {
    let run = workers_on_the_wire().expect_log(why).allow_log("worker 2 ").python("wire.py");
    let mut master = if stays { run.arg("--stay").start() } else { run.start() };
    let mut clients = one_connection_each(&mut master);
    let before = clients[1].1.get(&format!("/do/{misbehaviour}")).unwrap();
    let culprit = Process::find(before.pid());

    for (slot, client) in clients.iter_mut().filter(|(slot, _)| *slot != 1) {
        let answer = client.get("/").unwrap();
        assert_eq!(answer.number("slot"), *slot, "the others keep their connections");
        assert_eq!(answer.number("worker"), *slot + 1, "{misbehaviour}");
    }
    eventually("the culprit is gone", || !culprit.is_some_and(Process::is_alive));
    let mut after = master.wait_ready(3);
    let successor = after.values().find(|answer| answer.number("slot") == 1).unwrap();
    assert_eq!(successor.number("worker"), 4, "a new worker in the old slot");
    after.retain(|_, answer| answer.number("slot") != 1);
    for (slot, client) in clients.iter_mut().filter(|(slot, _)| *slot != 1) {
        let pid = client.get("/").unwrap().pid();
        assert_eq!(after.remove(&pid).unwrap().number("slot"), *slot, "{misbehaviour}");
    }
    drop(clients);
    master.finish();
}

#[test]
fn json_where_the_advanced_form_was_agreed_costs_a_worker_its_channel() {
    let run = Pointsman::run().form(Form::Advanced).workers(1).python("wire.py");
    let run = run.expect_log("longer than 16777216 bytes").allow_log("worker ");
    let master = run.option("--restart-delay", "10ms").start();
    let complaints =
        || master.log().lines().iter().filter(|line| line.contains("cannot be understood")).count();
    eventually("one is started, and another", || complaints() >= 2);
    master.finish();
}

#[test]
fn garbage_costs_a_worker_its_channel() {
    check("garbage", false, "cannot be understood");
}

#[test]
fn garbage_costs_a_worker_its_place_even_if_it_stays() {
    check("garbage", true, "cannot be understood");
}

#[test]
fn an_empty_line_costs_a_worker_its_channel() {
    check("empty_line", false, "cannot be understood");
}

#[test]
fn invalid_utf8_costs_a_worker_its_channel() {
    check("invalid_utf8", false, "cannot be understood");
}

#[test]
fn a_line_without_end_costs_a_worker_its_channel() {
    check("overlong_line", false, "longer than 16777216 bytes");
}

#[test]
fn a_truncated_frame_costs_a_worker_its_channel() {
    check("truncated_frame", false, "ended within a frame, after 32 bytes");
}

#[test]
fn an_unexpected_ack_costs_a_worker_its_channel() {
    check("unexpected_ack", false, "NODE_HANDLE_ACK for nothing");
}

#[test]
fn an_unexpected_nack_costs_a_worker_its_channel() {
    check("unexpected_nack", false, "NODE_HANDLE_NACK for nothing");
}

#[test]
fn questions_without_end_cost_a_worker_its_channel() {
    check("questions_without_end", false, "does not read its channel");
}

#[test]
fn fields_of_the_wrong_type_cost_a_worker_its_channel() {
    check("wrong_types", false, "cannot be understood");
}

#[test]
fn what_is_new_or_not_for_the_master_costs_nothing() {
    let mut master = workers_on_the_wire().python("wire.py").start();
    let before = master.wait_ready(3);
    let mut client = master.connect();
    let pid = client.get("/do/harmless").unwrap().pid();
    for _ in 0..3 {
        assert_eq!(client.get("/").unwrap().pid(), pid);
    }
    let after = master.wait_ready(3);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    drop(client);
    master.finish();
}

#[test]
fn a_handle_from_a_worker_is_answered() {
    for (sent, answer) in
        [("handle_with_descriptor", "NODE_HANDLE_ACK"), ("handle_without_descriptor", "NODE_HANDLE_NACK")]
    {
        let mut master =
            workers_on_the_wire().allow_log("sent a socket or a server").python("wire.py").start();
        master.wait_ready(3);
        let mut client = master.connect();
        client.get(&format!("/do/{sent}")).unwrap();
        eventually("the worker has its answer", || {
            let answers = client.get("/").unwrap().json()["answers"].clone();
            answers.as_array().is_some_and(|answers| answers.iter().any(|given| given == answer))
        });
        drop(client);
        master.finish();
    }
}

/// The most memory that a master has had, in KiB.
fn peak_memory(master: &Master) -> u64 {
    let text = master.process().status("VmHWM");
    text.trim_end_matches(" kB").parse().unwrap()
}

/// In KiB. A master reads up to a mebibyte of a channel whose worker has ended, or that is closed, before it tells its
/// user of anything, and each eight bytes of that may be a message, which takes a hundred times as much as a value.
const MEMORY: u64 = 384 << 10;

/// In KiB. Of another channel it leaves the rest for the next turn when its user has enough to hear.
const LITTLE_MEMORY: u64 = 12 << 10;

/// Workers of which the one in slot 1 does as it is told, and is replaced.
#[track_caller]
fn check_replaced(master: &mut Master, mut clients: Vec<(u32, Client)>, misbehaviour: &str) {
    let before = clients[1].1.get(&format!("/do/{misbehaviour}")).unwrap();
    let culprit = Process::find(before.pid());
    for _ in 0..20 {
        assert_eq!(master.get("/").status, 200, "others serve");
    }
    eventually("the culprit is gone", || !culprit.is_some_and(Process::is_alive));
    let after = master.wait_ready(3);
    let successor = after.values().find(|answer| answer.number("slot") == 1).unwrap();
    assert_eq!(successor.number("worker"), 4, "a new worker in the old slot");
    for (slot, client) in clients.iter_mut().filter(|(slot, _)| *slot != 1) {
        assert_eq!(client.get("/").unwrap().number("worker"), *slot + 1, "the others keep their connections");
    }
}

#[test]
fn a_channel_that_somebody_else_writes_to_ends_with_its_worker() {
    let run = workers_on_the_wire().expect_log("exited with code 0").allow_log("worker 2 ");
    let mut master = run.python("wire.py").start();
    let clients = one_connection_each(&mut master);
    let memory = peak_memory(&master);
    check_replaced(&mut master, clients, "leave_writers");
    assert!(peak_memory(&master) < memory + MEMORY, "{memory} KiB became {}", peak_memory(&master));
    master.finish();
}

#[test]
fn a_channel_that_is_written_to_without_end_starves_nobody_and_holds_up_no_stop() {
    let mut master = workers_on_the_wire().allow_log("worker 2 ").python("wire.py").start();
    let mut clients = one_connection_each(&mut master);
    let memory = peak_memory(&master);
    clients[1].1.get("/do/start_writer").unwrap();
    let writer = |process: &Process| process.is_alive() && !master.workers().contains(process);
    eventually("it writes", || {
        master.tree().iter().any(|process| writer(process) && process.cpu_time() > Duration::from_millis(50))
    });
    for _ in 0..60 {
        assert_eq!(master.get("/").status, 200);
    }
    assert!(peak_memory(&master) < memory + LITTLE_MEMORY, "{memory} KiB became {}", peak_memory(&master));
    drop(clients);
    master.signal(Signal::SIGTERM);
    assert_eq!(master.wait_exit().code(), Some(0));
    master.finish();
}

#[test]
fn a_worker_that_stops_reading_is_replaced_and_costs_no_time() {
    let run = workers_on_the_wire().expect_log("worker 2 ").python("wire.py");
    let mut master = run.start();
    let clients = one_connection_each(&mut master);
    let before = master.process().cpu_time();
    check_replaced(&mut master, clients, "stop_reading");
    let spent = master.process().cpu_time() - before;
    // It takes more than a second until the successor is there.
    assert!(spent < Duration::from_millis(500), "{spent:?}");
    master.finish();
}

#[test]
fn a_worker_that_listens_on_thousands_of_ports_is_refused_most_and_takes_them_from_nobody() {
    const ASKED: u64 = 5000;
    // The default of most systems.
    let mut master = Pointsman::run().workers(3).after("ulimit -n 1024").python("wire.py").start();
    let mut clients = one_connection_each(&mut master);
    clients[1].1.get("/do/many_servers").unwrap();
    let mut servers = 0;
    eventually("each question is answered", || {
        assert_eq!(master.get("/").status, 200, "there are descriptors left for connections");
        let answer = clients[1].1.get("/").unwrap().json();
        servers = answer["servers"].as_u64().unwrap();
        let refused = answer["errors"].as_object().unwrap();
        assert!(refused.keys().all(|errno| errno == "-24"), "EMFILE: {refused:?}");
        refused.get("-24").map_or(0, |count| count.as_u64().unwrap()) + servers == ASKED + 1
    });
    assert!(servers > 1 && servers < 1000, "{servers} are enough for any program");
    for (slot, client) in &mut clients {
        let answer = client.get("/").unwrap();
        assert_eq!(answer.number("worker"), *slot + 1, "nobody was replaced");
    }
    // The log tells of nothing that a master with too few descriptors would complain of.
    clients[1].1.get("/do/close_servers").unwrap();
    drop(clients);
    master.finish();
}

/// A Python that is root whoever starts it, and a Pointsman that anybody may run, in one directory.
fn set_uid_root() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let copy = |from: &std::path::Path, name: &str, mode: u32| {
        let to = directory.path().join(name);
        fs::copy(from, &to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(mode)).unwrap();
    };
    copy(&python(), "python", 0o4755);
    copy(env!("CARGO_BIN_EXE_pointsman").as_ref(), "pointsman", 0o755);
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// Somebody's workers that may become root.
fn workers_that_may_become_root(directory: &TempDir) -> Pointsman {
    // The copy does not find its library by itself.
    let home = python().parent().unwrap().parent().unwrap().to_owned();
    let run = workers_on_the_wire()
        .user(NOBODY)
        .binary(&directory.path().join("pointsman"))
        .env("PYTHONHOME", home);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/apps/wire.py");
    run.program(directory.path().join("python")).arg(script)
}

#[test]
fn a_worker_that_dies_as_somebody_else_is_replaced() {
    if !is_root() {
        eprintln!("skipped: only root can make a set-uid program of root's");
        return;
    }
    let directory = set_uid_root();
    let mut master = workers_that_may_become_root(&directory).allow_log("worker 2").start();
    let mut clients = one_connection_each(&mut master);
    let pid = clients[1].1.get("/do/exit_as_root").unwrap().pid();
    eventually("it is reaped", || Process::find(pid).is_none());
    let after = master.wait_ready(3);
    assert!(after.values().any(|answer| answer.number("slot") == 1 && answer.number("worker") == 4));
    drop(clients);
    master.finish();
}

#[test]
fn a_worker_that_may_not_be_killed_holds_up_no_stop() {
    if !is_root() {
        eprintln!("skipped: only root can make a set-uid program of root's");
        return;
    }
    let directory = set_uid_root();
    let mut master = workers_that_may_become_root(&directory).expect_log("worker 2").start();
    let mut clients = one_connection_each(&mut master);
    let pid = clients[1].1.get("/do/stay_as_root").unwrap().pid();
    drop(clients);
    master.signal(Signal::SIGTERM);
    assert_eq!(master.wait_exit().code(), Some(0));
    let left = Process::find(pid).unwrap();
    assert!(left.is_alive(), "the test has shown nothing");
    left.signal(Signal::SIGKILL);
    master.finish();
}
