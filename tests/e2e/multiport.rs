//! `-m multiport`: lanes accept, and forward requests to workers that listen on addresses of their own.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{
    Control, Master, Node, Place, Pointsman, Process, eventually, eventually_some, first_port,
};

fn multiport() -> Pointsman {
    Pointsman::multiport()
}

fn on(port: u16) -> Pointsman {
    Pointsman::run().option("-m", "multiport").env("POINTSMAN_UPSTREAM_PORT", port.to_string())
}

fn by_unix() -> Pointsman {
    Pointsman::run().option("-m", "multiport").env("POINTSMAN_UPSTREAM", "unix")
}

fn status(control: &mut Control) -> Value {
    control.done(&json!({ "verb": "status" }))
}

/// The processes of workers, or of lanes.
fn processes(control: &mut Control, kind: &str) -> Vec<Process> {
    let status = status(control);
    let pids = status[kind].as_array().into_iter().flatten().filter_map(|one| one["pid"].as_u64());
    pids.filter_map(|pid| Process::find(u32::try_from(pid).unwrap())).collect()
}

/// Waits until lanes and workers are as many, and all of them ready.
#[track_caller]
fn wait_complete(master: &mut Master, workers: usize, lanes: usize) -> Control {
    master.wait_ready(workers);
    let mut control = master.control();
    let ready = |status: &Value, kind: &str| {
        let all = status[kind].as_array().cloned().unwrap_or_default();
        (all.iter().filter(|one| one["state"] == "ready").count(), all.len())
    };
    eventually("all are ready", || {
        let status = status(&mut control);
        ready(&status, "workers") == (workers, workers) && ready(&status, "lanes") == (lanes, lanes)
    });
    control
}

/// Asks again and again, each time on a connection of its own, until it is told to stop.
#[derive(Debug)]
struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<(usize, Vec<String>)>>,
}

impl Clients {
    fn start(place: &Place, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let (place, stop) = (place.clone(), Arc::clone(&stop));
            thread::spawn(move || {
                let (mut served, mut failed) = (0, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    match place.connect().and_then(|mut client| client.get("/slow?ms=5")) {
                        Ok(answer) if answer.status == 200 => served += 1,
                        Ok(answer) => failed.push(format!("{}: {}", answer.status, answer.text())),
                        Err(error) => failed.push(error.to_string()),
                    }
                }
                (served, failed)
            })
        };
        let threads = (0..count).map(client).collect();
        Self { stop, threads }
    }

    /// How many requests were answered, and what became of the others.
    fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.threads.into_iter().map(|thread| thread.join().unwrap());
        ended.fold((0, Vec::new()), |(all, mut failed), (served, more)| {
            failed.extend(more);
            (all + served, failed)
        })
    }
}

#[test]
fn plain_node_programs_answer_in_turn_on_ports_of_their_own() {
    for node in Node::matrix() {
        let port = first_port();
        let mut master = on(port).workers(3).node(node, "plain.js").start();
        let mut control = wait_complete(&mut master, 3, 1);
        let place = master.place();
        let slots: Vec<_> =
            (0..9).map(|_| place.connect().unwrap().get("/").unwrap().json()["slot"].clone()).collect();
        for slot in 0..3 {
            let slot = slot.to_string();
            assert_eq!(slots.iter().filter(|&other| *other == slot.as_str()).count(), 3, "{node}: {slots:?}");
        }
        let env = place.connect().unwrap().get("/env").unwrap().json()["env"].clone();
        assert_eq!(env["NODE_UNIQUE_ID"], Value::Null, "it is no worker of a cluster");
        let own: u16 = env["PORT"].as_str().unwrap().parse().unwrap();
        assert!((port..port + 6).contains(&own), "{own}");
        let upstreams = status(&mut control)["upstreams"].clone();
        assert_eq!(upstreams[1]["name"], "slot:1");
        assert_eq!(upstreams[1]["address"], format!("127.0.0.1:{}", port + 2));
        drop(control);
        master.finish();
    }
}

#[test]
fn programs_of_any_language_need_nothing_but_port() {
    let script = "import os, http.server as h\n\
        class H(h.BaseHTTPRequestHandler):\n\
        \x20protocol_version = 'HTTP/1.1'\n\
        \x20def do_GET(self):\n\
        \x20\x20body = b'pid %d' % os.getpid()\n\
        \x20\x20self.send_response(200)\n\
        \x20\x20self.send_header('Content-Length', str(len(body)))\n\
        \x20\x20self.end_headers()\n\
        \x20\x20self.wfile.write(body)\n\
        \x20def log_message(self, *_): pass\n\
        h.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), H).serve_forever()\n";
    let run = multiport().workers(2).program(crate::harness::python());
    let mut master = run.arg("-c").arg(script).start();
    let control = wait_complete(&mut master, 2, 1);
    drop(control);
    master.finish();
}

#[test]
fn a_worker_that_dies_is_replaced_and_the_others_serve_meanwhile() {
    let run = multiport().workers(2).node(Node::DEFAULT, "plain.js").expect_log("was killed by SIGKILL");
    let mut master = run.start();
    let mut control = wait_complete(&mut master, 2, 1);
    let before = processes(&mut control, "workers");
    before[0].signal(Signal::SIGKILL);
    eventually("another has its place", || {
        let after = processes(&mut control, "workers");
        after.len() == 2 && !after.contains(&before[0])
    });
    drop(control);
    let mut control = wait_complete(&mut master, 2, 1);
    assert!(processes(&mut control, "workers").contains(&before[1]));
    drop(control);
    master.finish();
}

#[test]
fn reloads_and_another_number_of_workers_lose_no_request() {
    let mut master = multiport().workers(2).node(Node::DEFAULT, "plain.js").start();
    let mut control = wait_complete(&mut master, 2, 1);
    let clients = Clients::start(&master.place(), 4);
    for _ in 0..3 {
        let before: Vec<_> =
            ["workers", "lanes"].iter().flat_map(|kind| processes(&mut control, kind)).collect();
        control.done(&json!({ "verb": "reload", "wait": true }));
        eventually("those before are gone", || before.iter().all(|process| !process.is_alive()));
    }
    for workers in [4, 1, 2] {
        control.done(&json!({ "verb": "scale", "to": workers, "wait": true }));
    }
    let (served, failed) = clients.stop();
    assert!(failed.is_empty() && served > 20, "{served} were served, and {failed:?}");
    drop(control);
    master.finish();
}

#[test]
fn a_reload_that_fails_touches_no_lane() {
    let directory = tempfile::tempdir().unwrap();
    let app = directory.path().join("app.js");
    let plain = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/apps/plain.js")).unwrap();
    std::fs::write(&app, plain).unwrap();
    let run = multiport().workers(2).program(Node::DEFAULT.path()).arg(&app);
    let run = run.expect_log("reload failed").allow_log("before it listened").allow_log("wrote last");
    let mut master = run.start();
    let mut control = wait_complete(&mut master, 2, 1);
    let before = ["workers", "lanes"].map(|kind| processes(&mut control, kind));
    std::fs::write(&app, "process.exit(3)").unwrap();
    assert_eq!(control.refused(&json!({ "verb": "reload", "wait": true })), "failed");
    assert_eq!(["workers", "lanes"].map(|kind| processes(&mut control, kind)), before);
    assert_eq!(status(&mut control)["last_reload"]["result"], "failed");
    drop(control);
    master.finish();
}

#[test]
fn a_stop_answers_what_is_in_flight_and_accepts_nothing_more() {
    let mut master = multiport().workers(2).node(Node::DEFAULT, "plain.js").start();
    let control = wait_complete(&mut master, 2, 1);
    drop(control);
    let place = master.place();
    let mut clients: Vec<_> = (0..4).map(|_| master.connect()).collect();
    clients.iter_mut().for_each(|client| client.send_get("/slow?ms=1500").unwrap());
    // One behind the others: they are on their way when it is answered.
    assert_eq!(place.connect().unwrap().get("/").unwrap().status, 200);
    master.signal(Signal::SIGTERM);
    eventually("nobody listens any more", || place.connect().is_err());
    for client in &mut clients {
        assert_eq!(client.receive().unwrap().status, 200);
    }
    drop(clients);
    assert_eq!(master.wait_exit().code(), Some(0));
    master.finish();
}

#[test]
fn a_lane_that_dies_is_replaced_and_costs_only_its_own_connections() {
    let run = multiport().workers(2).env("POINTSMAN_LANES", "2").node(Node::DEFAULT, "plain.js");
    let mut master = run.expect_log("was killed by SIGKILL").start();
    let mut control = wait_complete(&mut master, 2, 2);
    let workers = processes(&mut control, "workers");
    let lanes = processes(&mut control, "lanes");
    lanes[0].signal(Signal::SIGKILL);
    eventually("another has its place", || {
        let after = processes(&mut control, "lanes");
        after.len() == 2 && !after.contains(&lanes[0])
    });
    drop(control);
    let mut control = wait_complete(&mut master, 2, 2);
    assert!(processes(&mut control, "lanes").contains(&lanes[1]));
    assert_eq!(processes(&mut control, "workers"), workers);
    assert_eq!(status(&mut control)["lanes"][0]["restarts"], 1);
    drop(control);
    master.finish();
}

#[test]
fn a_port_that_is_somebody_elses_is_passed_over_and_said_once() {
    let port = first_port();
    let stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let run = on(port).workers(1).node(Node::DEFAULT, "plain.js");
    let mut master = run.expect_log("is somebody else's").start();
    let mut control = wait_complete(&mut master, 1, 1);
    assert_eq!(status(&mut control)["upstreams"][0]["address"], format!("127.0.0.1:{}", port + 1));
    drop((control, stranger));
    master.finish();
}

#[test]
fn a_program_that_listens_elsewhere_is_told_where_it_should() {
    let run = multiport().workers(1).option("--start-timeout", "1s").option("--max-crashes", "1");
    let run = run.allow_log("errored").allow_log("is served").program("sleep").arg("1000");
    let mut master = run.expect_log("took no connections on 127.0.0.1:").start();
    let line = master.wait_log("took no connections on");
    assert!(line.contains("within 1 s and is ended"), "{line}");
    master.wait_log("listens on the port that PORT names");
    master.wait_log("errored");
    master.signal(Signal::SIGTERM);
    assert_eq!(master.wait_exit().code(), Some(0));
    master.finish();
}

#[test]
fn workers_may_have_unix_sockets_that_are_gone_afterwards() {
    let run = by_unix().workers(2);
    let mut master = run.start();
    let mut control = wait_complete(&mut master, 2, 1);
    let addresses = |control: &mut Control| -> BTreeSet<String> {
        let upstreams = status(control)["upstreams"].clone();
        upstreams.as_array().unwrap().iter().map(|one| one["address"].as_str().unwrap().to_owned()).collect()
    };
    let before = addresses(&mut control);
    assert!(before.iter().all(|address| address.starts_with("unix:/")), "{before:?}");
    control.done(&json!({ "verb": "reload", "wait": true }));
    eventually("others have their places", || {
        let after = addresses(&mut control);
        after.len() == 2 && after.is_disjoint(&before)
    });
    let is_there = |address: &String| std::path::Path::new(address.trim_start_matches("unix:")).exists();
    eventually("the sockets before are gone", || !before.iter().any(is_there));
    let after = addresses(&mut control);
    assert!(after.iter().all(is_there));
    drop(control);
    master.finish();
    assert!(!after.iter().any(is_there));
}

#[test]
fn a_master_that_is_killed_leaves_no_socket() {
    let run = by_unix().workers(1);
    let mut master = run.start();
    let mut control = wait_complete(&mut master, 1, 1);
    let address = status(&mut control)["upstreams"][0]["address"].as_str().unwrap().to_owned();
    let path = std::path::PathBuf::from(address.trim_start_matches("unix:"));
    let all: Vec<_> = ["workers", "lanes"].iter().flat_map(|kind| processes(&mut control, kind)).collect();
    master.signal(Signal::SIGKILL);
    master.wait_exit();
    eventually("everything is gone", || all.iter().all(|process| !process.is_alive()));
    eventually("and so are the socket and its directory", || !path.parent().unwrap().exists());
    drop(control);
    master.finish();
}

/// A server that answers every request with this text.
fn server(text: &'static str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).is_ok_and(|count| count > 0) {
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[test]
fn servers_that_are_no_workers_get_requests_by_name_and_without_any_worker() {
    let port = server("pid 1");
    let run = multiport().workers(0).env("POINTSMAN_UPSTREAMS", format!("localhost:{port}"));
    let master = run.expect_log("there is no program for workers").start();
    let place = master.place();
    let answer = eventually_some("it answers", || {
        let answer = place.connect().ok()?.get("/").ok()?;
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(answer.text(), "pid 1");
    let mut control = master.control();
    let upstreams = status(&mut control)["upstreams"].clone();
    let names = |one: &Value| one["address"].as_str().unwrap().ends_with(&format!(":{port}"));
    assert!(upstreams.as_array().unwrap().iter().all(names), "{upstreams}");
    // Nobody has named a program, and the demo is not meant.
    assert_eq!(control.refused(&json!({ "verb": "scale", "by": 1 })), "refused");
    assert_eq!(control.refused(&json!({ "verb": "fork" })), "refused");
    assert_eq!(control.refused(&json!({ "verb": "fork", "env": { "A": "b" } })), "refused");
    master.signal(Signal::SIGTTIN);
    master.wait_log("there is no program for workers");
    assert_eq!(status(&mut control)["workers"], json!([]));
    control.done(&json!({ "verb": "fork", "program": ["sleep", "1000"] }));
    eventually("a program of its own is started", || processes(&mut control, "workers").len() == 1);
    drop(control);
    master.finish();
}

#[test]
fn one_that_is_drained_gets_no_requests_until_it_is_undrained() {
    let mut master = multiport().workers(2).node(Node::DEFAULT, "plain.js").start();
    let mut control = wait_complete(&mut master, 2, 1);
    let place = master.place();
    let slots = || -> BTreeSet<String> {
        let slot = |_| place.connect().unwrap().get("/").unwrap().json()["slot"].as_str().unwrap().to_owned();
        (0..6).map(slot).collect()
    };
    let drained = control.done(&json!({ "verb": "drain", "upstream": "slot:0" }));
    assert_eq!(drained, json!({ "upstream": "slot:0", "changed": true }));
    eventually("the other answers all", || slots() == BTreeSet::from(["1".into()]));
    assert_eq!(status(&mut control)["upstreams"][0]["draining"], true);
    let workers = processes(&mut control, "workers");
    control.done(&json!({ "verb": "undrain", "upstream": "slot:0" }));
    eventually("both answer", || slots().len() == 2);
    assert_eq!(processes(&mut control, "workers"), workers, "they stay");
    assert_eq!(control.refused(&json!({ "verb": "drain", "upstream": "slot:7" })), "no_such_worker");
    assert_eq!(control.refused(&json!({ "verb": "drain", "upstream": "10.0.0.1:1" })), "no_such_worker");
    drop(control);
    master.finish();
}

#[test]
fn a_cluster_that_stops_while_nothing_is_ready_ends_at_once() {
    let run = multiport().workers(1).program("sleep").arg("1000");
    let mut master = run.start();
    // It says where it listens when it has started.
    master.place();
    let mut control = master.control();
    eventually("it is started", || processes(&mut control, "workers").len() == 1);
    assert_eq!(status(&mut control)["lanes"], Value::Null, "there is nobody to forward to");
    drop(control);
    master.signal(Signal::SIGTERM);
    eventually("it ends", || master.log().has("stopped"));
    assert_eq!(master.wait_exit().code(), Some(0));
    master.finish();
}
