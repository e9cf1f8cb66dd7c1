//! Node programs as they are.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{Client, Master, Node, Pointsman, eventually, free_port};

/// The answer of another worker than those in `pids`, on a connection of its own.
fn get_from_another(master: &Master, path: &str, pids: &mut BTreeSet<u32>) -> serde_json::Value {
    let mut answer = json!(null);
    eventually("another worker answers", || {
        // The first request finds out who is there, so that nobody is asked twice.
        let mut client = master.connect();
        let is_new = pids.insert(client.get("/").unwrap().pid());
        if is_new {
            answer = client.get(path).unwrap().json();
        }
        is_new
    });
    answer
}

#[test]
fn four_workers_of_a_plain_program_share_the_port_on_every_node() {
    for node in Node::all_in_both_forms() {
        let mut master = Pointsman::run().workers(4).node(node, "plain.js").start();
        let answers = master.wait_ready(4);
        let slots: BTreeSet<_> = answers.values().map(|answer| answer.number("slot")).collect();
        assert_eq!(slots, BTreeSet::from([0, 1, 2, 3]), "{node}");
        let workers: BTreeSet<_> = master.workers().iter().map(|worker| worker.pid()).collect();
        assert_eq!(workers, answers.keys().copied().collect(), "{node}");
        master.finish();
    }
}

#[test]
fn a_program_that_would_fork_its_own_workers_runs_its_worker_half_on_every_node() {
    for node in Node::all_and_advanced() {
        let mut master = Pointsman::run().workers(2).node(node, "cluster.js").start();
        let answers = master.wait_ready(2);
        let ids: BTreeSet<_> = answers.values().map(|answer| answer.number("worker")).collect();
        assert_eq!(ids, BTreeSet::from([1, 2]), "{node}");
        assert!(!master.printed("primary half"), "{node}");
        master.finish();
    }
}

#[test]
fn a_kept_alive_connection_stays_with_its_worker() {
    for node in Node::in_both_forms() {
        let mut master = Pointsman::run().workers(3).node(node, "plain.js").start();
        master.wait_ready(3);
        let mut clients: Vec<_> = (0..6).map(|_| master.connect()).collect();
        let pids: Vec<_> = clients.iter_mut().map(|client| client.get("/").unwrap().pid()).collect();
        for round in 0..20 {
            for (number, (client, &pid)) in clients.iter_mut().zip(&pids).enumerate() {
                let token = format!("{round}-{number}");
                let answer = client.get(&format!("/token?is={token}")).unwrap();
                assert_eq!(answer.json(), json!({"pid": pid, "token": token}));
            }
        }
        drop(clients);
        master.finish();
    }
}

#[test]
fn listening_on_a_port_that_is_already_open_attaches_to_it() {
    let hosts = [
        ("127.0.0.1", None),
        ("127.0.0.1", Some("127.0.0.1")),
        ("127.0.0.1", Some("0.0.0.0")),
        ("0.0.0.0", None),
        ("0.0.0.0", Some("127.0.0.1")),
        ("0.0.0.0", Some("0.0.0.0")),
    ];
    for node in Node::matrix() {
        for (ours, theirs) in hosts {
            let port = free_port();
            let run = Pointsman::run().workers(2).listen(format!("{ours}:{port}"));
            let run = run.node(node, "plain.js").arg(port.to_string());
            let mut master = theirs.into_iter().fold(run, Pointsman::arg).start();
            master.wait_ready(2);
            let address = master.get("/address").json()["address"].clone();
            assert_eq!(
                address,
                json!({"address": ours, "family": "IPv4", "port": port}),
                "{node} {theirs:?}"
            );
            master.finish();
        }
    }
}

#[test]
fn workers_share_a_port_that_the_system_chose_until_the_last_has_closed_it() {
    for node in Node::in_both_forms() {
        let mut master = Pointsman::run().workers(2).allow_log("--map").node(node, "worker.js").start();
        master.wait_ready(2);
        let mut pids = BTreeSet::new();
        let first = get_from_another(&master, "/other", &mut pids)["address"].clone();
        let second = get_from_another(&master, "/other", &mut pids)["address"].clone();
        assert_eq!(first, second, "{node}");
        assert_eq!(first["address"], "127.0.0.1", "{node}");
        let port = u16::try_from(first["port"].as_u64().unwrap()).unwrap();
        let other = ([127, 0, 0, 1], port).into();
        let answered: BTreeSet<_> =
            (0..2).map(|_| Client::connect(other).unwrap().get("/").unwrap().pid()).collect();
        assert_eq!(answered, pids, "{node}");

        pids.clear();
        get_from_another(&master, "/close-other", &mut pids);
        let [left] = *answered.difference(&pids).copied().collect::<Vec<_>>() else { panic!("{pids:?}") };
        eventually("only the other worker answers", || {
            (0..4).all(|_| Client::connect(other).unwrap().get("/").is_ok_and(|answer| answer.pid() == left))
        });
        get_from_another(&master, "/close-other", &mut pids);
        eventually("nobody listens there any more", || Client::connect(other).is_err());
        master.finish();
    }
}

#[test]
fn a_second_server_on_the_same_port_of_the_same_worker_hears_that_it_is_in_use() {
    for node in Node::in_both_forms() {
        let run = Pointsman::run().workers(2).allow_log("EADDRINUSE").allow_log("in use");
        let mut master = run.node(node, "worker.js").start();
        let answers = master.wait_ready(2);
        let mut pids = BTreeSet::new();
        for _ in 0..2 {
            let answer = get_from_another(&master, "/again", &mut pids);
            assert_eq!(
                (&answer["code"], &answer["syscall"]),
                (&json!("EADDRINUSE"), &json!("bind")),
                "{node}"
            );
        }
        assert_eq!(master.wait_ready(2).keys().collect::<Vec<_>>(), answers.keys().collect::<Vec<_>>());
        master.finish();
    }
}

#[test]
fn a_worker_can_close_its_server_and_listen_again() {
    for node in Node::in_both_forms() {
        let mut master = Pointsman::run().workers(2).node(node, "worker.js").start();
        let before = master.wait_ready(2);
        let pid = master.get("/relisten").pid();
        assert!(before.contains_key(&pid));
        eventually("it listens for the second time", || {
            let answer = master.get("/");
            answer.pid() == pid && answer.json()["listens"] == 2
        });
        master.wait_ready(2);
        master.finish();
    }
}

#[test]
fn a_message_of_the_application_disturbs_nobody() {
    for node in Node::in_both_forms() {
        let mut master = Pointsman::run().workers(2).node(node, "worker.js").start();
        master.wait_ready(2);
        let mut client = master.connect();
        assert_eq!(client.get("/send").unwrap().json()["sent"], true, "{node}");
        assert_eq!(client.get("/").unwrap().status, 200);
        drop(client);
        master.wait_ready(2);
        master.finish();
    }
}
