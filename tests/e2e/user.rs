//! Workers of another user than the master. Only root can start those: whoever else runs these tests is shown the
//! refusal.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        net::UnixListener,
    },
    path::Path,
    process::Output,
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::addresses::{MODES, Server, answered_by, both, pids, tell};
use crate::harness::{Master, NOBODY, Node, Pointsman, Process, Public, eventually, is_root, python};

/// A master whose workers are to be nobody's, if that can be; else asks for the refusal to run them as root.
#[track_caller]
fn start(run: Pointsman) -> Option<Master> {
    start_as(run, &NOBODY.to_string())
}

#[track_caller]
fn start_as(run: Pointsman, user: &str) -> Option<Master> {
    if is_root() {
        return Some(run.option("--user", user).start());
    }
    let Output { status, stderr, .. } = Pointsman::run().option("--user", "0").output();
    let text = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(77), "{text}");
    assert!(text.contains("only root can start workers as another user"), "{text}");
    assert!(text.contains("user comes from --user"), "{text}");
    None
}

/// Looks at the workers from outside.
#[track_caller]
fn check_nobody(workers: &[Process]) {
    assert!(!workers.is_empty());
    for worker in workers {
        let four = [NOBODY; 4].map(|id| id.to_string()).join("\t");
        assert_eq!((worker.status("Uid"), worker.status("Gid")), (four.clone(), four));
        assert_eq!(worker.status("Groups"), NOBODY.to_string());
    }
}

#[test]
fn a_worker_of_another_user_has_nothing_of_root() {
    for node in Node::matrix() {
        let directory = Public::new();
        let run = directory.node(Pointsman::run().workers(2), node, "self.js");
        // Groups of the master that no worker may keep.
        let run = run
            .after("exec setpriv --groups 0,4,27 \"$@\"")
            .option("--umask", "077")
            .option("--cwd", directory.path());
        let Some(mut master) = start(run) else { return };
        let seen = master.wait_ready(2).into_values().next().unwrap().json();
        assert_eq!(master.process().status("Groups"), "0 4 27");
        assert_eq!(seen["uid"], json!([NOBODY, NOBODY]), "{node}");
        assert_eq!(seen["gid"], json!([NOBODY, NOBODY]));
        assert_eq!(seen["groups"], json!([NOBODY]));
        assert_eq!(seen["capabilities"], json!([NO_CAPABILITY, NO_CAPABILITY, NO_CAPABILITY]));
        assert_eq!(seen["umask"], 0o077);
        assert_eq!(seen["cwd"], directory.path().to_str().unwrap());
        check_nobody(&master.workers());
        for root in [master.process(), master.guard()] {
            assert_eq!(root.status("Uid"), "0\t0\t0\t0");
        }
        master.finish();
    }
}

const NO_CAPABILITY: &str = "0000000000000000";

#[test]
fn a_worker_finds_its_user_in_its_environment() {
    let directory = Public::new();
    let run = || {
        directory.node(
            Pointsman::run().workers(1).env("HOME", "/root").env("USER", "root"),
            Node::DEFAULT,
            "self.js",
        )
    };
    let Some(mut master) = start(run().option("-e", "SHELL=/mine")) else { return };
    let seen = master.wait_ready(1).into_values().next().unwrap().json();
    master.finish();
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let user = line.into_iter().find(|fields| fields[2] == NOBODY.to_string()).unwrap();
    let env = &seen["env"];
    assert_eq!((&env["USER"], &env["LOGNAME"]), (&Value::from(user[0]), &Value::from(user[0])));
    assert_eq!((&env["HOME"], &seen["home"]), (&Value::from(user[5]), &Value::from(user[5])));
    assert_eq!(env["SHELL"], "/mine", "what is asked for wins");

    // One whom the system does not know.
    let Some(mut master) = start_as(run().option("--group", "4000000001"), "4000000000") else { return };
    let seen = master.wait_ready(1).into_values().next().unwrap().json();
    assert_eq!((&seen["uid"][0], &seen["groups"]), (&json!(4_000_000_000_u32), &json!([4_000_000_001_u32])));
    assert_eq!((&seen["env"]["HOME"], &seen["env"]["USER"]), (&"/".into(), &"4000000000".into()));
    master.finish();
}

#[test]
fn node_of_another_user_loads_the_script_and_reports() {
    for node in Node::matrix() {
        let directory = Public::new();
        // Root's own, where nobody else gets: as a login of root has it.
        let private = directory.directory("private", 0o700);
        let run = Pointsman::run().workers(2).option("-p", "least-connections");
        let run = directory.node(run, node, "self.js").env("RUNTIME_DIRECTORY", private.join("x"));
        let run = run.env("XDG_RUNTIME_DIR", &private).env("TMPDIR", directory.path());
        let Some(mut master) = start(run.env("RUST_LOG", "debug")) else { return };
        let seen = master.wait_ready(2).into_values().next().unwrap().json();
        let worker = Process::find(seen["pid"].to_string().parse().unwrap()).unwrap();
        let given = worker.environ().into_iter().find(|entry| entry.starts_with("NODE_OPTIONS=")).unwrap();
        assert!(given.contains("load_report.cjs") && !given.contains("private"), "{given}");
        assert_eq!(seen["env"].get("NODE_OPTIONS"), None, "{node}: the script has put it back");

        // Those that stay are counted, and those that are gone are not.
        let mut staying = Vec::new();
        let slots: Vec<_> = (0..20)
            .map(|_| {
                let mut client = master.connect();
                let slot = client.get("/").unwrap().number("slot");
                staying.push((slot, client));
                slot
            })
            .collect();
        assert_eq!(slots.iter().filter(|&&slot| slot == 0).count(), 10);
        staying.retain(|(slot, _)| *slot == 0);
        let light = || (0..20).filter(|_| master.get("/").number("slot") == 1).count();
        eventually("the worker that has fewer gets the next", || light() >= 18);
        drop(staying);
        master.finish();
    }
}

#[test]
fn a_program_of_another_user_says_that_it_is_ready() {
    let directory = Public::new();
    let app = directory.path().join("notified.py");
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/apps/notified.py"), &app).unwrap();
    let run = Pointsman::run().option("-m", "shared").workers(1).program(python()).arg(app);
    let Some(mut master) = start(run.env("RUNTIME_DIRECTORY", directory.path())) else { return };
    master.wait_ready(1);
    check_nobody(&master.workers());
    for said in ["said nonsense", "said ready"] {
        assert!(!master.log().has("ready: "), "before {said:?}");
        master.workers()[0].signal(Signal::SIGUSR1);
        eventually("it has been said", || master.printed(said));
    }
    master.wait_log("ready: the worker listens");
    master.finish();
}

#[test]
fn the_demo_runs_as_another_user_wherever_it_lies() {
    let directory = Public::new();
    let private = directory.directory("private", 0o700);
    let binary = private.join("pointsman");
    fs::copy(env!("CARGO_BIN_EXE_pointsman"), &binary).unwrap();
    let Some(mut master) =
        start(Pointsman::run().workers(2).binary(&binary).allow_log("was killed by SIGTERM"))
    else {
        return;
    };
    master.wait_ready(2);
    check_nobody(&master.workers());
    let victim = master.workers()[0];
    victim.signal(Signal::SIGTERM);
    eventually("it is gone", || !victim.is_alive());
    master.wait_ready(2);
    check_nobody(&master.workers());
    master.finish();
}

#[test]
fn workers_without_rights_are_behind_a_port_of_root_s() {
    if !is_root() {
        start(Pointsman::run());
        return;
    }
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let port = (600..1024).rev().find(is_free).unwrap();
    let directory = Public::new();
    let run = Pointsman::run().workers(2).listen(format!("127.0.0.1:{port}"));
    let Some(mut master) = start(directory.node(run, Node::DEFAULT, "self.js")) else { return };
    let answers = master.wait_ready(2);
    assert_eq!(master.address().port(), port);
    for answer in answers.values() {
        let seen = answer.json();
        assert_eq!((&seen["uid"][0], &seen["env"]["PORT"]), (&json!(NOBODY), &port.to_string().into()));
    }
    check_nobody(&master.workers());
    master.finish();
}

#[test]
fn a_worker_listens_on_no_path_that_is_closed_to_its_user() {
    for mode in MODES {
        let directory = Public::new();
        let own = directory.directory("own", 0o700);
        let closed = directory.directory("closed", 0o700);
        if is_root() {
            chown(&own, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let run = Pointsman::run().option("-m", mode).workers(2).allow_log("could not listen on unix:");
        let Some(mut master) = start(directory.node(run, Node::DEFAULT, "addresses.js")) else { return };
        let mut workers = both(&mut master);
        // One that is stale is not removed either.
        let stale = closed.join("stale.sock");
        drop(UnixListener::bind(&stale).unwrap());
        let [etc, private] = [Path::new("/etc/pointsman-test.sock").to_owned(), closed.join("a.sock")];
        for path in [&etc, &private, &stale] {
            let refused = tell(&mut workers[0], "/listen", &json!({ "path": path }));
            assert_eq!(refused["code"], "EACCES", "{mode} {}: {refused}", path.display());
        }
        assert!(!etc.exists() && !private.exists() && stale.exists());
        for path in [own.join("a.sock"), own.join("a".repeat(88))] {
            let server = Server::listen(&mut workers, &json!({ "path": path, "writableAll": true }));
            let data = fs::metadata(&path).unwrap();
            assert_eq!((data.uid(), data.gid(), data.mode() & 0o222), (NOBODY, NOBODY, 0o222), "{mode}");
            answered_by(&path.as_path().into(), &pids(&mut workers));
            server.close(&mut workers);
            eventually("its file is removed", || !path.exists());
        }
        assert_eq!(master.process().status("Uid"), "0\t0\t0\t0");
        drop(workers);
        master.finish();
    }
}

#[test]
fn a_worker_has_no_capability_of_a_master_that_is_not_root() {
    if !is_root() {
        start(Pointsman::run());
        return;
    }
    let directory = Public::new();
    let closed = directory.directory("closed", 0o700);
    let capabilities = "+setuid,+setgid,+kill,+dac_override";
    let run = Pointsman::run().workers(2).binary(&copy_of_the_binary(&directory)).directory(Path::new("/"));
    let words = ["setpriv", "--reuid", "1234", "--regid", "1234", "--clear-groups"];
    let words = [&words[..], &["--inh-caps", capabilities, "--ambient-caps", capabilities]].concat();
    let run = run.through(&words).allow_log("could not listen on unix:").option("--user", NOBODY.to_string());
    let mut master = directory.node(run, Node::DEFAULT, "addresses.js").start();
    let mut workers = both(&mut master);
    assert!(master.process().status("Uid").starts_with("1234\t"));
    let before = master.process().status("CapEff");
    assert_ne!(before, NO_CAPABILITY);
    check_nobody(&master.workers());
    for worker in master.workers() {
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(worker.status(set), NO_CAPABILITY, "{set}");
        }
    }
    // Nor does the master use its own for it.
    let refused = tell(&mut workers[0], "/listen", &json!({ "path": closed.join("a.sock") }));
    assert_eq!(refused["code"], "EACCES", "{refused}");
    assert_eq!(master.process().status("CapEff"), before);
    drop(workers);
    master.finish();
}

/// A program that does not mind SIGTERM, started by a shell or as a worker itself.
fn stubborn(directory: &Public, behind_a_shell: bool) -> Pointsman {
    let app = directory.path().join("idle.py");
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/apps/idle.py"), &app).unwrap();
    let run = Pointsman::run().workers(2).flag("--no-load-report").allow_log("channel");
    match behind_a_shell {
        true => {
            let line = format!("{} {} --ignore-term; true", python().display(), app.display());
            run.program("sh").arg("-c").arg(line)
        }
        // Nor the socket, which only a guard would remove.
        false => run.option("-e", "NOTIFY_SOCKET=").program(python()).arg(app).arg("--ignore-term"),
    }
}

/// Waits until both programs are as they are to be.
#[track_caller]
fn wait_for_stubborn(master: &Master) {
    let term = 1 << (Signal::SIGTERM as u64 - 1);
    eventually("both run, as nobody, and ignore SIGTERM", || {
        let mut found = master.tree();
        found.retain(|process| process.command_line().iter().any(|word| word.ends_with("idle.py")));
        found.retain(|process| process.command_line().first().is_some_and(|word| word.contains("python")));
        found.len() == 2
            && found.iter().all(|process| {
                process.is_alive()
                    && process.signals("SigIgn") & term != 0
                    && process.status("Uid").starts_with(&NOBODY.to_string())
            })
    });
}

#[test]
fn the_guard_ends_what_another_user_has_started() {
    let directory = Public::new();
    let Some(mut master) = start(stubborn(&directory, true)) else { return };
    wait_for_stubborn(&master);
    master.signal(Signal::SIGKILL);
    master.wait_exit();
    master.finish();
}

#[test]
fn a_worker_of_another_user_dies_with_its_master_even_without_a_guard() {
    let directory = Public::new();
    let Some(mut master) = start(stubborn(&directory, false)) else { return };
    wait_for_stubborn(&master);
    // A master that is stopped cannot start another guard.
    master.signal(Signal::SIGSTOP);
    let guard = master.guard();
    guard.signal(Signal::SIGKILL);
    eventually("the guard is gone", || !guard.is_alive());
    master.signal(Signal::SIGKILL);
    master.wait_exit();
    master.finish();
}

#[test]
fn a_stop_ends_what_another_user_has_started() {
    let directory = Public::new();
    let run = stubborn(&directory, true).option("--kill-timeout", "100ms").option("--stop-timeout", "0s");
    let Some(master) = start(run.allow_log("it gets SIGKILL")) else { return };
    wait_for_stubborn(&master);
    master.finish();
}

#[test]
fn a_directory_that_is_closed_to_the_user_is_named() {
    let directory = Public::new();
    let closed = directory.directory("closed", if is_root() { 0o700 } else { 0 });
    let run = Pointsman::run().workers(1).option("--cwd", &closed).program("sleep").arg("1000");
    let expected = format!("cannot enter cwd {}: Permission denied", closed.display());
    let run = run.expect_log(&expected).allow_log("exited with code 126").allow_log("channel");
    let uid = if is_root() { NOBODY } else { nix::unistd::geteuid().as_raw() };
    let run = if is_root() { run.option("--user", uid.to_string()) } else { run };
    let master = run.start();
    master.wait_log("needs execute permission");
    // Root itself could: so it was the user who tried. Once it may, it goes on.
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
    eventually("it runs there", || {
        let runs_there = |worker: &Process| worker.name() == "sleep" && worker.directory() == closed;
        master.workers().iter().any(runs_there)
    });
    assert!(master.workers()[0].status("Uid").starts_with(&uid.to_string()));
    master.finish();
}

#[test]
fn whoever_is_the_user_already_needs_no_rights() {
    let directory = Public::new();
    let uid = nix::unistd::geteuid().to_string();
    let run = Pointsman::run().workers(1).option("--user", uid);
    let run = run.option("--group", nix::unistd::getegid().to_string());
    let mut master = directory.node(run, Node::DEFAULT, "self.js").start();
    master.wait_ready(1);
    master.finish();
    let nobody = Pointsman::verb("check").binary(&copy_of_the_binary(&directory)).directory(Path::new("/"));
    if !is_root() {
        return;
    }
    let Output { status, .. } = nobody.user(NOBODY).option("--user", "65534").output();
    assert_eq!(status.code(), Some(0));
    let again =
        Pointsman::verb("check").binary(&directory.path().join("pointsman")).directory(Path::new("/"));
    let Output { status, stderr, .. } = again.user(NOBODY).option("--user", "0").output();
    let text = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(77), "{text}");
    assert!(text.contains("start pointsman as root"), "{text}");
}

fn copy_of_the_binary(directory: &Public) -> std::path::PathBuf {
    let binary = directory.path().join("pointsman");
    fs::copy(env!("CARGO_BIN_EXE_pointsman"), &binary).unwrap();
    binary
}
