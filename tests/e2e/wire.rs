//! Workers that break the protocol: it costs them their channel, and nobody else anything.

use crate::harness::{Client, Master, Pointsman, Process, eventually};

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
