//! Messages that help: what is wrong, where, and what to do.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::harness::{Client, Master, NOBODY, Node, Pointsman, eventually, free_port, is_root};

/// It cannot start: it says why and exits with `code`.
#[track_caller]
fn check_refusal(run: Pointsman, code: i32, words: &[&str]) {
    let output = run.output();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

/// It runs, and says this.
#[track_caller]
fn check_hint(run: Pointsman, hints: &[&str]) -> Master {
    let master = hints.iter().fold(run, |run, hint| run.expect_log(hint)).start();
    for hint in hints {
        master.wait_log(hint);
    }
    master
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    check_refusal(Pointsman::run().listen(&*address), 71, &[&address, "in use"]);
}

#[test]
fn a_port_that_is_not_allowed_is_named() {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if !is_root() || first.trim().parse::<u16>().unwrap() <= 80 {
        eprintln!("skipped: only root can become a user who may not have port 80");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let binary = copy_of_the_binary(directory.path());
    let run = Pointsman::run().listen("127.0.0.1:80").binary(&binary).user(NOBODY);
    check_refusal(run, 77, &["127.0.0.1:80"]);
}

/// Where a user without rights can execute it.
fn copy_of_the_binary(directory: &Path) -> PathBuf {
    let binary = directory.join("pointsman");
    fs::copy(env!("CARGO_BIN_EXE_pointsman"), &binary).unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    binary
}

#[test]
fn an_address_of_another_machine_is_named() {
    // 192.0.2.0/24 is for documentation and belongs to nobody.
    check_refusal(Pointsman::run().listen("192.0.2.1:8000"), 78, &["192.0.2.1:8000"]);
}

#[test]
fn a_program_that_is_not_there_is_named() {
    check_refusal(Pointsman::run().program("nosuchprogram"), 78, &["nosuchprogram"]);
    check_refusal(Pointsman::run().program("./no/such/program"), 78, &["./no/such/program"]);
}

#[test]
fn a_program_that_cannot_be_executed_is_named() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    check_refusal(Pointsman::run().program(file), 78, &[file, "execut"]);
}

#[test]
fn an_address_that_is_none_is_named() {
    check_refusal(Pointsman::run().listen("127.0.0.1:port"), 2, &["127.0.0.1:port"]);
}

#[test]
fn a_program_that_exits_at_once_is_started_again_and_again() {
    let run = Pointsman::run().workers(1).node(Node::DEFAULT, "exits.js");
    let master = check_hint(run, &["code 3"]);
    eventually("it is started for the third time", || {
        master.log().lines().iter().filter(|line| line.contains("no database")).count() >= 3
    });
    assert!(Client::connect(master.address()).is_ok(), "its address stays open");
    master.finish();
}

#[test]
fn a_wrapper_of_any_kind_is_told_from_a_worker() {
    let run = Pointsman::run().workers(1).option("--kill-timeout", "300ms").allow_log("it gets SIGTERM");
    let run = run.node(Node::DEFAULT, "wrapper.js").arg("idle.js");
    check_hint(run, &["has not listened", "wrapper"]).finish();
}

#[test]
fn npm_start_is_told_what_to_run_instead() {
    let directory = tempfile::tempdir().unwrap();
    let npm = directory.path().join("npm");
    fs::write(&npm, "#!/bin/sh\nexec sleep 1000\n").unwrap();
    fs::set_permissions(&npm, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(directory.path().join("package.json"), r#"{"scripts": {"start": "node server.js --x"}}"#)
        .unwrap();
    let run = Pointsman::run().workers(1).allow_log("channel").directory(directory.path());
    check_hint(run.program(npm).arg("start"), &["start", "-- node server.js --x"]).finish();
}

#[test]
fn a_program_that_never_speaks_is_told_from_a_worker() {
    let run = Pointsman::run().workers(1).python("idle.py");
    check_hint(run, &["-m multiport", "-m shared"]).finish();
}

#[test]
fn a_program_that_listens_elsewhere_is_served_there_and_told_how_to_map() {
    for node in [Node::DEFAULT, Node::DEFAULT.advanced()] {
        let port = free_port();
        let run = Pointsman::run().workers(2).node(node, "plain.js").arg(port.to_string());
        let master = check_hint(run, &["--map", &port.to_string()]);
        let elsewhere = ([127, 0, 0, 1], port).into();
        assert_eq!(Client::connect(elsewhere).unwrap().get("/").unwrap().status, 200);
        master.finish();
    }
}

#[test]
fn a_worker_that_cannot_have_its_port_is_reported() {
    for node in [Node::DEFAULT, Node::DEFAULT.advanced()] {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        let run = Pointsman::run().workers(1).node(node, "plain.js").arg(&port).arg("127.0.0.1");
        let run = run.allow_log("code 1");
        check_hint(run, &[&port]).finish();
    }
}

#[test]
fn an_address_and_a_mapping_that_no_program_wants_are_told() {
    let (vain, port) = (free_port(), free_port());
    let run = Pointsman::run().option("-l", format!("127.0.0.1:{vain}")).option("--map", "4000=8000");
    let run =
        run.expect_log(&format!("no worker listens on 127.0.0.1:{vain}, where connections wait in vain"));
    let run = run.expect_log("no worker listens on 4000, so its mapping does nothing");
    let mut master =
        run.listen(format!("127.0.0.1:{port}")).node(Node::DEFAULT, "plain.js").arg(port.to_string()).start();
    master.wait_ready(1);
    master.wait_log("its mapping does nothing");
    master.finish();
}
