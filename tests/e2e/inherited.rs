//! Programs that know nothing of us and take the listening sockets that they are started with.

use std::{collections::BTreeSet, path::PathBuf};

use nix::sys::signal::Signal;

use crate::harness::{Master, Pointsman, Process, eventually};

fn shared() -> Pointsman {
    Pointsman::run().option("-m", "shared").workers(2)
}

/// A server that scripts/setup has installed from PyPI, with an application of `apps/`.
fn server(run: Pointsman, name: &str, words: &[&str]) -> Pointsman {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("target/tools/python/bin").join(name);
    assert!(path.exists(), "{} is missing; run scripts/setup", path.display());
    let run = run.program(path).env("PYTHONPATH", root.join("tests/e2e/apps"));
    words.iter().fold(run.env("PYTHONDONTWRITEBYTECODE", "1"), |run, word| run.arg(*word))
}

/// The processes that answer, when each worker's has.
fn answering(master: &Master, count: usize) -> BTreeSet<u32> {
    let mut pids = BTreeSet::new();
    eventually("all servers answer", || {
        let answer = crate::harness::Client::connect(master.address()).and_then(|mut client| client.get("/"));
        pids.extend(answer.ok().filter(|answer| answer.status == 200).map(|answer| answer.pid()));
        pids.len() == count
    });
    pids
}

#[test]
fn gunicorn_and_uvicorn_serve_from_the_socket_that_they_are_given() {
    let gunicorn = server(shared(), "gunicorn", &["--workers", "1", "served:wsgi"]);
    let uvicorn = server(shared(), "uvicorn", &["--fd", "3", "--log-level", "warning", "served:asgi"]);
    for run in [gunicorn, uvicorn] {
        // Their own words have no level that we would know.
        let master = run.allow_log("[INFO]").start();
        let before = answering(&master, 2);
        let first = Process::find(*before.first().unwrap()).unwrap();
        assert_eq!(master.workers().len(), 2);
        assert!(first.is_alive());
        master.finish();
    }
}

#[test]
fn a_server_that_dies_is_replaced_and_the_socket_stays() {
    let run = shared().option("--restart-delay", "10ms").expect_log("was killed by SIGKILL");
    let mut master = run.python("acks.py").start();
    let before: BTreeSet<_> = master.wait_ready(2).into_keys().collect();
    let first = Process::find(*before.first().unwrap()).unwrap();
    first.signal(Signal::SIGKILL);
    eventually("it is gone", || !first.is_alive());
    let after: BTreeSet<_> = master.wait_ready(2).into_keys().collect();
    assert_eq!(before.intersection(&after).count(), 1);
    master.finish();
}

#[test]
fn programs_learn_of_their_sockets_in_systemds_and_in_einhorns_way() {
    let second = crate::harness::free_port();
    let run = shared().option("-l", format!("127.0.0.1:{second}")).option("-l", "unix:other.sock mode=600");
    let mut master = run.python("acks.py").start();
    for (pid, answer) in master.wait_ready(2) {
        let told = answer.json();
        assert_eq!(told["listen_pid"], pid.to_string());
        assert_eq!((&told["listen_fds"], &told["channel"]), (&"3".into(), &"6".into()));
        let names = told["names"].as_str().unwrap().split(':').collect::<Vec<_>>();
        assert_eq!(names[..2], [&*format!("tcp-{second}"), "unix-other.sock"]);
        assert!(names[2].starts_with("tcp-"));
        assert_eq!(told["blocking"].to_string(), "[true,true,true]", "as systemd's are");
        assert_eq!(told["listening"].to_string(), "[1,1,1]");
    }
    master.finish();
}

#[test]
fn a_program_says_by_einhorns_socket_that_it_is_ready() {
    for form in ["json", "yaml"] {
        let mut master = shared().python("acks.py").arg(form).start();
        master.wait_log("ready: all 2 workers");
        assert!(master.runtime_file("einhorn.sock").is_some());
        master.wait_ready(2);
        master.finish();
    }
}

/// Neither at the start, where it never speaks, nor at the end, where it gets SIGTERM at once.
#[test]
fn a_program_that_is_silent_on_its_channel_is_in_order() {
    let mut master = shared().env("RUST_LOG", "info").python("acks.py").start();
    master.wait_ready(2);
    master.finish();
}

/// The kernel tells once that somebody waits, and the master could not take who waited then.
#[test]
fn who_is_ready_is_heard_though_the_master_had_no_descriptor_for_it() {
    const LIMIT: &str = "50";
    let run = Pointsman::run().option("-m", "shared").workers(1).after(&format!("ulimit -n {LIMIT}"));
    let run = run.expect_log("cannot hear who is ready: Too many open files");
    let mut master = run.python("acks.py").arg("last").arg(LIMIT).start();
    master.wait_log("cannot hear who is ready");
    master.workers()[0].signal(Signal::SIGUSR1);
    master.wait_log("ready: the worker listens");
    let said = master.log().lines().iter().filter(|line| line.contains("cannot hear who is ready")).count();
    assert_eq!(said, 1);
    master.wait_ready(1);
    master.finish();
}
