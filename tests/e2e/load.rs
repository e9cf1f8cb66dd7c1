//! Least-connections: what a worker has open counts, whoever tells its end. `tests/cluster` sees the counts themselves.

use std::collections::BTreeMap;

use crate::harness::{Client, Form, Master, Node, Pointsman, eventually};

/// Opens connections that stay, each answered once, and groups them by the worker that has them.
fn stay(master: &Master, count: usize) -> BTreeMap<u32, Vec<Client>> {
    let mut by_slot: BTreeMap<u32, Vec<Client>> = BTreeMap::new();
    for _ in 0..count {
        let mut client = master.connect();
        let slot = client.get("/").unwrap().number("slot");
        by_slot.entry(slot).or_default().push(client);
    }
    by_slot
}

/// How many of 40 short connections in a row reach the worker in `slot`.
fn short_ones(master: &Master, slot: u32) -> usize {
    (0..40).filter(|_| master.connect().get("/").unwrap().number("slot") == slot).count()
}

/// Of workers whose connections `source` counts, as the log says of each of them.
fn check(run: Pointsman, source: &str) -> Master {
    let run = run.env("RUST_LOG", "debug");
    let mut master = run.option("-p", "least-connections").workers(2).start();
    master.wait_ready(2);
    let mut staying = stay(&master, 40);
    let shares: Vec<_> = staying.values().map(Vec::len).collect();
    assert_eq!(shares, [20, 20], "equal loads take turns");
    staying.remove(&1);
    eventually("38 of 40 reach the worker that has fewer", || short_ones(&master, 1) >= 38);
    assert!(staying.values_mut().flatten().all(|client| client.get("/").is_ok()), "nobody was cut off");
    drop(staying);
    eventually("without them both are equal again", || (15..=25).contains(&short_ones(&master, 1)));
    assert_eq!(sources(&master), [source; 2]);
    master
}

/// Who counts the connections of the workers, one word for each time that the log tells.
fn sources(master: &Master) -> Vec<&'static str> {
    let lines = master.log().lines();
    let lines = lines.iter().filter(|line| line.contains("the ends of its connections"));
    let word = |line: &String| ["itself", "script", "kernel"].into_iter().find(|word| line.contains(word));
    lines.map(|line| word(line).unwrap_or("nobody")).collect()
}

#[test]
fn node_workers_report_what_they_have_open() {
    for node in Node::in_both_forms() {
        check(Pointsman::run().node(node, "plain.js"), "script").finish();
    }
}

#[test]
fn workers_on_the_crate_report_what_they_have_open() {
    Form::ALL.into_iter().for_each(|form| check(Pointsman::run().form(form), "itself").finish());
}

#[test]
fn the_kernel_tells_for_node_workers_that_do_not() {
    for node in Node::matrix() {
        check(Pointsman::run().flag("--no-load-report").node(node, "plain.js"), "kernel").finish();
    }
}

#[test]
fn nobody_is_asked_to_count_where_no_policy_goes_by_it() {
    let run = Pointsman::run().flag("--no-load-report").env("RUST_LOG", "debug");
    let mut master = run.workers(2).node(Node::DEFAULT, "plain.js").start();
    master.wait_ready(2);
    assert_eq!(sources(&master), [""; 0]);
    master.finish();
}
