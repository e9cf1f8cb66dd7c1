//! The script that Node workers load: that no program notices, and that nothing of it stays behind.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{Master, NOBODY, Node, Pointsman, eventually, is_root};

/// What a program sees, and its threads and children.
#[track_caller]
fn inside(run: Pointsman, node: Node) -> Value {
    let mut master = run.workers(1).node(node, "inside.js").start();
    master.wait_ready(1);
    let mut seen = master.get("/everywhere").json();
    seen["pid"].take();
    master.finish();
    seen
}

/// What a worker was started with.
#[track_caller]
fn options_of_a_worker(master: &mut Master) -> Option<String> {
    master.wait_ready(1);
    let environ = master.workers()[0].environ();
    environ.into_iter().find_map(|entry| entry.strip_prefix("NODE_OPTIONS=").map(str::to_owned))
}

#[test]
fn a_program_sees_the_same_with_and_without() {
    let odd = " --no-warnings  --stack-trace-limit=\"7\" ";
    for node in Node::ALL {
        let more = if node == Node::DEFAULT { &[Some(""), Some("--no-warnings")][..] } else { &[] };
        for &given in [None, Some(odd)].iter().chain(more) {
            let run = || given.iter().fold(Pointsman::run(), |run, given| run.env("NODE_OPTIONS", *given));
            let with = inside(run(), node);
            assert_eq!(with, inside(run().flag("--no-load-report"), node), "{node} {given:?}");
            assert_eq!(with["here"]["environment"]["NODE_OPTIONS"].as_str(), given, "{node}");
        }
    }
}

#[test]
fn options_from_the_configuration_are_kept_too() {
    let run = || Pointsman::run().option("-e", "NODE_OPTIONS=--no-warnings").env("NODE_OPTIONS", "--odd");
    let with = inside(run(), Node::DEFAULT);
    assert_eq!(with["here"]["environment"]["NODE_OPTIONS"], "--no-warnings");
    assert_eq!(with, inside(run().flag("--no-load-report"), Node::DEFAULT));
}

#[test]
fn options_that_a_wrapper_adds_are_kept() {
    for (wrapped, expected) in [
        ("\"$NODE_OPTIONS --no-warnings\"", "--no-warnings"),
        ("\"--no-warnings $NODE_OPTIONS\"", "--no-warnings "),
        ("--no-warnings", "--no-warnings"),
    ] {
        let app = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/apps/inside.js");
        let command = format!("NODE_OPTIONS={wrapped} exec {} {app}", Node::DEFAULT.path().display());
        let run = Pointsman::run().workers(1).program("sh").arg("-c").arg(command);
        let mut master = run.start();
        master.wait_ready(1);
        let seen = master.get("/everywhere").json();
        assert_eq!(seen["here"]["environment"]["NODE_OPTIONS"], expected);
        assert_eq!(seen["forked"]["environment"]["NODE_OPTIONS"], expected);
        master.finish();
    }
}

#[test]
fn a_directory_with_an_odd_name_is_quoted() {
    for node in Node::matrix() {
        let home = tempfile::tempdir().unwrap();
        let odd = home.path().join(r#"a "quoted" \ 'name' $(true) é"#);
        fs::create_dir(&odd).unwrap();
        // Several may be named, with colons between.
        let list = format!("{}:/nowhere", odd.display());
        let run = Pointsman::run().workers(1).env("RUNTIME_DIRECTORY", list).node(node, "inside.js");
        let mut master = run.start();
        let options = options_of_a_worker(&mut master).unwrap();
        assert!(options.contains(r#"a \"quoted\" \\ 'name'"#), "{options}");
        let there = odd.read_dir().unwrap().count();
        assert_eq!(there, 3, "the script, the socket of NOTIFY_SOCKET, and that of control");
        master.finish();
        assert_eq!(odd.read_dir().unwrap().count(), 0, "{node}");
    }
}

#[test]
fn the_file_is_for_all_to_read_and_goes_with_the_master() {
    let mut master = Pointsman::run().workers(2).node(Node::DEFAULT, "plain.js").start();
    master.wait_ready(2);
    let script = master.runtime_file("load_report.cjs").unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(script.parent().unwrap()), mode(&script)), (0o755, 0o644));
    master.finish();
}

#[test]
fn the_file_goes_when_the_master_is_killed() {
    let mut master = Pointsman::run().workers(2).node(Node::DEFAULT, "plain.js").start();
    master.wait_ready(2);
    let guard = master.guard();
    guard.signal(Signal::SIGKILL);
    eventually("the guard is gone", || !guard.is_alive());
    assert_ne!(master.guard(), guard, "and its successor knows of the file");
    master.wait_ready(2);
    assert_eq!(master.runtime_files().len(), 2, "the script, and the socket of NOTIFY_SOCKET");
    master.signal(Signal::SIGKILL);
    master.wait_exit();
    master.finish();
}

#[test]
fn a_file_that_was_cleaned_away_is_written_anew() {
    let run = Pointsman::run().workers(1).allow_log("was killed by SIGKILL").node(Node::DEFAULT, "plain.js");
    let mut master = run.option("--restart-delay", "10ms").start();
    let before = options_of_a_worker(&mut master).unwrap();
    let script = master.runtime_file("load_report.cjs").unwrap();
    fs::remove_dir_all(script.parent().unwrap()).unwrap();
    let worker = master.workers()[0];
    worker.signal(Signal::SIGKILL);
    eventually("it is gone", || !worker.is_alive());
    let after = options_of_a_worker(&mut master).unwrap();
    assert_ne!(before, after);
    master.finish();
}

#[test]
fn it_may_take_its_time_where_nothing_goes_by_what_it_tells() {
    for (policy, told) in [
        ("round-robin", json!([{"cmd": "NODE_POINTSMAN", "interval": 100}])),
        ("least-connections", json!([])),
    ] {
        for node in Node::in_both_forms() {
            let mut master = Pointsman::run().workers(1).option("-p", policy).node(node, "told.js").start();
            let told_first = master.wait_ready(1).into_values().next().unwrap().json();
            assert_eq!(told_first["told"], told, "{policy}, {node}");
            master.finish();
        }
    }
}

#[test]
fn it_can_be_turned_off() {
    let run = Pointsman::run().workers(1).env("POINTSMAN_LOAD_REPORT", "false");
    let mut master = run.node(Node::DEFAULT, "plain.js").start();
    assert_eq!(options_of_a_worker(&mut master), None);
    assert_eq!(master.runtime_file("load_report.cjs"), None);
    master.finish();
}

#[test]
fn the_demo_does_not_need_it() {
    let mut master = Pointsman::run().workers(1).start();
    assert_eq!(options_of_a_worker(&mut master), None);
    master.finish();
}

#[test]
fn a_node_that_may_not_read_the_file_serves_all_the_same() {
    // The permission model of Node 20 asks for every file; later ones do not for what is preloaded.
    let app = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/apps/plain.js");
    let run = Pointsman::run().workers(1).option("--restart-delay", "10ms").allow_log("exited with code 1");
    let run = run.program(Node::DEFAULT.path()).arg("--experimental-permission");
    let mut master = run.arg(format!("--allow-fs-read={app}")).arg(app).start();
    assert_eq!(options_of_a_worker(&mut master), None);
    master.wait_log("later ones are started without it");
    master.finish();
}

#[test]
fn somebody_without_rights_has_a_place_for_it_too() {
    if !is_root() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let binary = home.path().join("pointsman");
    fs::copy(env!("CARGO_BIN_EXE_pointsman"), &binary).unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let run = Pointsman::run().workers(1).user(NOBODY).directory(Path::new("/")).binary(&binary);
    let mut master = run.program("sleep").arg("1000").allow_log("channel").start();
    eventually("the worker sleeps", || master.workers().iter().any(|worker| worker.name() == "sleep"));
    let options = master.workers()[0].environ().into_iter().find(|entry| entry.starts_with("NODE_OPTIONS="));
    let options = options.unwrap();
    let path = Path::new(options.trim_start_matches("NODE_OPTIONS=--require ").trim_matches('"')).to_owned();
    assert!(path.exists() && !master.runtime_files().contains(&path), "{}", path.display());
    master.signal(Signal::SIGTERM);
    master.wait_exit();
    assert!(!path.exists(), "{}", path.display());
    master.finish();
}
