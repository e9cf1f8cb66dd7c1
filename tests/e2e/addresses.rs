//! Addresses that workers of a real Node listen on: families, ports of the system's choice, several servers, mappings,
//! TLS. Workers listen where the test tells them to, by a kept connection to each.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    process::Command,
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{Client, Master, Node, Place, Pointsman, eventually, free_port, has_ipv6};

pub(crate) const MODES: [&str; 2] = ["handoff", "shared"];

/// Two workers that listen where they are told to.
pub(crate) fn two(mode: &str, node: Node) -> Pointsman {
    Pointsman::run().option("-m", mode).workers(2).node(node, "addresses.js")
}

/// A kept connection to each of two workers, in the order of their slots.
#[track_caller]
pub(crate) fn both(master: &mut Master) -> [Client; 2] {
    master.wait_ready(2);
    let mut found = BTreeMap::new();
    eventually("there is a connection to each worker", || {
        let mut client = master.connect();
        let slot = client.get("/").unwrap().number("slot");
        found.entry(slot).or_insert(client);
        found.len() == 2
    });
    found.into_values().collect::<Vec<_>>().try_into().unwrap()
}

/// Has a worker do something, and returns what it says of that.
#[track_caller]
pub(crate) fn tell(worker: &mut Client, what: &str, how: &Value) -> Value {
    worker.post(what, how.to_string().as_bytes()).unwrap().json()
}

/// A server that every worker has, each by a number of its own.
#[derive(Debug)]
pub(crate) struct Server {
    ids: Vec<Value>,
    /// What each of them takes for its address.
    pub(crate) address: Value,
}

impl Server {
    /// Has each worker open it; all get the same.
    #[track_caller]
    pub(crate) fn open(workers: &mut [Client], what: &str, how: &Value) -> Self {
        let opened: Vec<_> = workers.iter_mut().map(|worker| tell(worker, what, how)).collect();
        let address = opened[0]["address"].clone();
        assert!(opened.iter().all(|one| !one["id"].is_null()), "{how}: {opened:?}");
        assert!(opened.iter().all(|one| one["address"] == address), "{how}: {opened:?}");
        Self { ids: opened.into_iter().map(|one| one["id"].clone()).collect(), address }
    }

    #[track_caller]
    pub(crate) fn listen(workers: &mut [Client], how: &Value) -> Self {
        Self::open(workers, "/listen", how)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address["port"].as_u64().unwrap().try_into().unwrap()
    }

    pub(crate) fn local_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port()).into()
    }

    pub(crate) fn local(&self) -> Place {
        self.local_address().into()
    }

    #[track_caller]
    pub(crate) fn tell(&self, workers: &mut [Client], what: &str) -> Vec<Value> {
        workers
            .iter_mut()
            .zip(&self.ids)
            .map(|(worker, id)| tell(worker, what, &json!({ "id": id })))
            .collect()
    }

    #[track_caller]
    pub(crate) fn close(self, workers: &mut [Client]) {
        self.tell(workers, "/close");
    }
}

pub(crate) fn close<const N: usize>(servers: [Server; N], workers: &mut [Client]) {
    servers.into_iter().for_each(|server| server.close(workers));
}

#[track_caller]
pub(crate) fn pids(workers: &mut [Client]) -> BTreeSet<u32> {
    workers.iter_mut().map(|worker| worker.get("/").unwrap().pid()).collect()
}

/// Waits until all of these, and nobody else, have answered on new connections.
#[track_caller]
pub(crate) fn answered_by(place: &Place, pids: &BTreeSet<u32>) {
    let mut seen = BTreeSet::new();
    eventually(&format!("{pids:?} answer at {place:?}"), || {
        seen.insert(place.connect().unwrap().get("/").unwrap().pid());
        assert!(seen.is_subset(pids), "{seen:?} answer at {place:?}, not {pids:?}");
        seen == *pids
    });
}

#[track_caller]
pub(crate) fn nobody_listens(place: &Place) {
    eventually(&format!("nobody listens at {place:?} any more"), || place.connect().is_err());
}

#[test]
fn an_ipv6_wildcard_serves_ipv4_unless_it_is_to_leave_it() {
    if !has_ipv6() {
        return;
    }
    let hosts: [IpAddr; 2] = [Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
    for node in Node::matrix() {
        for mode in MODES {
            let mut master = two(mode, node).start();
            let mut workers = both(&mut master);
            for (host, only, reached) in
                [("::", false, [true, true]), ("::", true, [true, false]), ("::1", false, [true, false])]
            {
                let how = json!({"host": host, "port": 0, "ipv6Only": only});
                let server = Server::listen(&mut workers, &how);
                let port = server.port();
                assert_eq!(
                    server.address,
                    json!({"address": host, "family": "IPv6", "port": port}),
                    "{mode}"
                );
                let connects = |host| Place::from(SocketAddr::new(host, port)).connect().is_ok();
                assert_eq!(hosts.map(connects), reached, "{node} {mode} {how}");
                server.close(&mut workers);
            }
            drop(workers);
            master.finish();
        }
    }
}

#[test]
fn random_ports_are_shared_and_a_successor_finds_them_again() {
    for node in Node::matrix() {
        for mode in MODES {
            let run = two(mode, node).option("--restart-delay", "10ms").expect_log("was killed by SIGKILL");
            let mut master = run.start();
            let mut workers = both(&mut master);
            let how = json!({"port": 0, "host": "127.0.0.1"});
            let first = Server::listen(&mut workers, &how);
            let second = Server::listen(&mut workers, &how);
            assert_ne!(first.port(), second.port(), "{node} {mode}");
            let there = pids(&mut workers);
            answered_by(&first.local(), &there);
            answered_by(&second.local(), &there);

            let pid = workers[0].get("/").unwrap().pid();
            let victim = master.workers().into_iter().find(|worker| worker.pid() == pid).unwrap();
            victim.signal(Signal::SIGKILL);
            eventually("it is gone", || !victim.is_alive());
            let mut workers = both(&mut master);
            let left = BTreeSet::from([workers[1].get("/").unwrap().pid()]);
            answered_by(&first.local(), &left);
            for server in [&first, &second] {
                assert_eq!(
                    tell(&mut workers[0], "/listen", &how)["address"],
                    server.address,
                    "{node} {mode}"
                );
                answered_by(&server.local(), &pids(&mut workers));
            }
            let places = [first.local(), second.local()];
            // The successor has given them the same numbers.
            close([first, second], &mut workers);
            places.iter().for_each(nobody_listens);
            drop(workers);
            master.finish();
        }
    }
}

#[test]
fn a_port_is_taken_once_by_each_worker_and_again_after_it_was_closed() {
    for node in Node::matrix() {
        for mode in MODES {
            // As Node's own primary does, this binds another socket for the second.
            let mut master = two(mode, node).allow_log("could not listen on 127.0.0.1").start();
            let mut workers = both(&mut master);
            let how = json!({"port": free_port(), "host": "127.0.0.1"});
            let server = Server::listen(&mut workers, &how);
            for worker in &mut workers {
                let refused = tell(worker, "/listen", &how);
                assert_eq!(
                    refused,
                    json!({"pid": refused["pid"], "slot": refused["slot"],
                    "address": refused["address"], "code": "EADDRINUSE", "syscall": "bind"}),
                    "{node} {mode}"
                );
            }
            let place = server.local();
            let all = pids(&mut workers);
            let last = pids(&mut workers[1..]);
            server.tell(&mut workers[..1], "/close");
            eventually("only the other one serves it", || {
                (0..8).all(|_| {
                    place.connect().unwrap().get("/").is_ok_and(|answer| last.contains(&answer.pid()))
                })
            });
            let again = tell(&mut workers[0], "/listen", &how);
            assert_eq!(again["address"], server.address, "{node} {mode}");
            answered_by(&place, &all);
            tell(&mut workers[0], "/close", &json!({ "id": again["id"] }));
            server.tell(&mut workers[1..], "/close");
            drop(workers);
            nobody_listens(&place);
            // What one has closed is not there the other's.
            drop(workers_listen_anew(&mut master, &how));
            master.finish();
        }
    }
}

/// After the last has closed it, it is bound anew.
#[track_caller]
fn workers_listen_anew(master: &mut Master, how: &Value) -> [Client; 2] {
    let mut workers = both(master);
    Server::listen(&mut workers, how).close(&mut workers);
    workers
}

#[test]
fn a_mapping_serves_elsewhere_and_the_program_does_not_see_it() {
    let local = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    for node in Node::matrix() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.sock");
        let path = path.to_str().unwrap();
        let (from, to) = (free_port(), free_port());
        let everywhere = json!({"address": "::", "family": "IPv6", "port": from});
        let one = json!({"address": "127.0.0.1", "family": "IPv4", "port": from});
        let unix = Place::from(Path::new(path));
        let table = [
            (format!("{from}={to}"), json!({ "port": from }), everywhere.clone(), local(to).into()),
            (format!("{from}=unix:{path}"), json!({ "port": from }), everywhere, unix),
            (
                format!("127.0.0.1:{from}={to}"),
                json!({"port": from, "host": "127.0.0.1"}),
                one,
                local(to).into(),
            ),
            (format!("unix:{path}=127.0.0.1:{to}"), json!({ "path": path }), json!(path), local(to).into()),
        ];
        for (map, how, address, place) in table {
            let run = Pointsman::run().workers(2).listen_by_default().option("--map", &map);
            let mut master = run.node(node, "addresses.js").arg(how.to_string()).reached(place).start();
            let answers = master.wait_ready(2);
            assert!(answers.values().all(|answer| answer.json()["address"] == address), "{map}: {answers:?}");
            let asked = local(from);
            assert!(Client::connect(asked).is_err(), "{node} {map}: nobody listens where it asked to");
            master.finish();
        }
        assert!(!Path::new(path).exists());
    }
}

/// What a client on this Node hears of two workers in turn, with the session of one shown to the other.
#[track_caller]
fn resume(node: Node, port: u16, version: &str) -> Vec<Value> {
    let mut client = Command::new(node.path());
    client.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/apps/resume.js"));
    let output = client.args([&port.to_string(), version, "4"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn a_tls_session_of_one_worker_is_resumed_by_the_other() {
    let home = tempfile::tempdir().unwrap();
    let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=test -days 2 \
                 -keyout key.pem -out cert.pem";
    let made = Command::new("openssl").args(words.split_whitespace()).current_dir(home.path()).output();
    let made = made.unwrap_or_else(|error| panic!("openssl: {error}; run scripts/setup"));
    assert!(made.status.success() && fs::exists(home.path().join("cert.pem")).unwrap(), "{made:?}");
    for node in Node::in_both_forms() {
        let mut master = two("handoff", node).directory(home.path()).start();
        let mut workers = both(&mut master);
        let server = Server::listen(&mut workers, &json!({"port": 0, "tls": {}}));
        for version in ["TLSv1.2", "TLSv1.3"] {
            let talks = resume(node, server.port(), version);
            let reused: Vec<_> = talks.iter().map(|talk| talk["reused"] == true).collect();
            assert_eq!(reused, [false, true, true, true], "{node} {version}: {talks:?}");
            let workers: Vec<_> = talks.iter().map(|talk| &talk["pid"]).collect();
            assert!(workers.windows(2).all(|two| two[0] != two[1]), "each by the other: {talks:?}");
        }
        server.close(&mut workers);
        drop(workers);
        master.finish();
    }
}

#[test]
fn tcp_and_udp_and_unix_sockets_work_on_every_node_in_both_modes() {
    for node in Node::all_in_both_forms() {
        for mode in MODES {
            let home = tempfile::tempdir().unwrap();
            let mut master = two(mode, node).directory(home.path()).start();
            let mut workers = both(&mut master);
            let all = pids(&mut workers);
            let tcp = Server::listen(&mut workers, &json!({"port": 0}));
            answered_by(&tcp.local(), &all);
            let unix = Server::listen(&mut workers, &json!({"path": "a.sock", "writableAll": true}));
            let path = home.path().join("a.sock");
            answered_by(&Place::from(&*path), &all);
            let udp = Server::open(&mut workers, "/bind", &json!({"type": "udp4", "port": 0}));
            crate::udp::one_answer_each(udp.local_address(), 4);
            close([tcp, unix, udp], &mut workers);
            eventually("the file is removed", || !path.exists());
            drop(workers);
            master.finish();
        }
    }
}
