//! Strict turns, and the words that choose a policy.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::{Client, Form, Master, Node, Pointsman};

/// The pids that answer `count` connections in a row; with `keep`, all stay open.
fn deal(master: &Master, count: usize, keep: bool) -> Vec<u32> {
    let address = master.address();
    let mut kept = Vec::new();
    let mut answer = || {
        let mut client = Client::connect(address).unwrap();
        let pid = client.get("/").unwrap().pid();
        kept.extend(keep.then_some(client));
        pid
    };
    (0..count).map(|_| answer()).collect()
}

fn assert_turns(pids: &[u32], workers: usize) {
    let mut shares = BTreeMap::new();
    for pid in pids {
        *shares.entry(pid).or_insert(0) += 1;
    }
    assert_eq!(shares.len(), workers, "{shares:?}");
    assert!(shares.values().all(|&share| share == pids.len() / workers), "{shares:?}");
    let first: BTreeSet<_> = pids[..workers].iter().collect();
    assert_eq!(first.len(), workers, "each has its turn before any has a second: {pids:?}");
    let repeats = pids.windows(workers + 1).all(|window| window.first() == window.last());
    assert!(repeats, "always in the same order: {pids:?}");
}

#[test]
fn sixty_connections_to_three_idle_node_workers_are_dealt_twenty_each() {
    for node in Node::in_both_forms() {
        let mut master = Pointsman::run().workers(3).node(node, "plain.js").start();
        master.wait_ready(3);
        assert_turns(&deal(&master, 60, false), 3);
        assert_turns(&deal(&master, 60, true), 3);
        master.finish();
    }
}

#[test]
fn sixty_connections_to_three_idle_demo_workers_are_dealt_twenty_each() {
    for form in Form::ALL {
        let mut master = Pointsman::run().form(form).workers(3).start();
        master.wait_ready(3);
        assert_turns(&deal(&master, 60, false), 3);
        assert_turns(&deal(&master, 60, true), 3);
        master.finish();
    }
}

#[test]
fn a_policy_is_chosen_by_flag_or_by_nodes_variable() {
    for word in ["rr", "round-robin"] {
        let by_flag = Pointsman::run().option("-p", word);
        let by_env = Pointsman::run().env("NODE_CLUSTER_SCHED_POLICY", word);
        for chosen in [by_flag, by_env] {
            let mut master = chosen.workers(2).start();
            master.wait_ready(2);
            assert_turns(&deal(&master, 10, false), 2);
            master.finish();
        }
    }
}

#[test]
fn an_unknown_policy_is_refused_with_the_list() {
    let by_flag = Pointsman::run().option("-p", "nosuch");
    let by_env = Pointsman::run().env("NODE_CLUSTER_SCHED_POLICY", "nosuch");
    for (chosen, code) in [(by_flag, 2), (by_env, 78)] {
        let output = chosen.output();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        for word in ["nosuch", "round-robin", "rr"] {
            assert!(text.contains(word), "{word} is not in {text}");
        }
    }
}
