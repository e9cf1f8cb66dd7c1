//! Unix sockets: of workers and of `-l`, their files, and connections on them.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{
        fs::{FileTypeExt, MetadataExt},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::{
    addresses::{MODES, Server, answered_by, both, nobody_listens, pids, tell, two},
    custody::{self, Frozen},
    harness::{Master, NOBODY, Node, Place, Pointsman, eventually, is_root},
};

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

/// A socket of `-l` at this path, with these options, that workers listen on.
fn told(path: &Path, options: &str, node: Node) -> Pointsman {
    let listen = format!("unix:{} {options}", path.display());
    let how = json!({ "path": path }).to_string();
    Pointsman::run().listen(listen.trim_end()).node(node, "addresses.js").arg(how)
}

#[test]
fn workers_share_paths_of_every_kind_and_the_last_removes_the_file() {
    for node in Node::matrix() {
        for mode in MODES {
            let home = tempfile::tempdir().unwrap();
            let deep: PathBuf = home.path().join("d".repeat(100)).join("e".repeat(100));
            fs::create_dir_all(&deep).unwrap();
            let mut master = two(mode, node).directory(home.path()).start();
            let mut workers = both(&mut master);
            let all = pids(&mut workers);
            let last = pids(&mut workers[1..]);
            for path in [home.path().join("a.sock"), "relative.sock".into(), deep.join("a.sock")] {
                let server = Server::listen(&mut workers, &json!({ "path": path }));
                assert_eq!(server.address, json!(path), "{node} {mode}");
                let file = home.path().join(&path);
                let place = Place::from(&*file);
                answered_by(&place, &all);
                server.tell(&mut workers[..1], "/close");
                eventually("only the other one serves it", || {
                    let answer = || place.connect().unwrap().get("/");
                    (0..8).all(|_| answer().is_ok_and(|answer| last.contains(&answer.pid())))
                });
                server.tell(&mut workers[1..], "/close");
                eventually("its file is removed", || !file.exists());
            }
            drop(workers);
            master.finish();
        }
    }
}

#[test]
fn a_worker_opens_its_socket_to_everybody() {
    for node in Node::matrix() {
        for mode in MODES {
            let home = tempfile::tempdir().unwrap();
            let mut master = two(mode, node).directory(home.path()).after("umask 077").start();
            let mut workers = both(&mut master);
            for (readable, writable, expected) in
                [(false, false, 0o700), (true, false, 0o744), (false, true, 0o722), (true, true, 0o766)]
            {
                let how = json!({"path": "a.sock", "readableAll": readable, "writableAll": writable});
                let server = Server::listen(&mut workers, &how);
                let file = home.path().join("a.sock");
                assert_eq!(mode_of(&file), expected, "{node} {mode} {how}");
                server.close(&mut workers);
                eventually("its file is removed", || !file.exists());
            }
            drop(workers);
            master.finish();
        }
    }
}

#[test]
fn a_socket_that_is_given_is_what_workers_listen_on_in_strict_turns() {
    for node in Node::matrix() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.sock");
        let mut master = told(&path, "", node).workers(2).start();
        let answers = master.wait_ready(2);
        assert!(answers.values().all(|answer| answer.json()["address"] == json!(path)), "{answers:?}");
        let dealt: Vec<_> = (0..20).map(|_| master.get("/").pid()).collect();
        assert!(dealt.windows(3).all(|three| three[0] == three[2] && three[0] != three[1]), "{dealt:?}");
        master.finish();
        assert!(!path.exists(), "SIGTERM leaves nothing");
    }
}

#[test]
fn a_program_that_listens_on_port_finds_the_path_there() {
    for node in Node::ALL {
        for mode in MODES {
            let home = tempfile::tempdir().unwrap();
            let listen = |name| format!("unix:{}", home.path().join(name).display());
            let run = Pointsman::run().listen(listen("a.sock")).option("-m", mode).workers(2);
            // What pointsman itself was given is not where it listens.
            let mut master = run.env("PORT", "3000").node(node, "port.js").start();
            for answer in master.wait_ready(2).values() {
                assert_eq!(answer.json()["port"], json!(home.path().join("a.sock")), "{node} {mode}");
            }
            master.finish();
        }
    }
}

#[test]
fn a_program_that_is_given_its_sockets_gets_no_path_for_a_port() {
    let home = tempfile::tempdir().unwrap();
    let run = Pointsman::run().listen(format!("unix:{}", home.path().join("a.sock").display()));
    let master = run.workers(1).option("-m", "shared").program("sleep").arg("1000").start();
    eventually("it sleeps", || master.workers().iter().any(|worker| worker.name() == "sleep"));
    let environ = master.workers()[0].environ();
    assert!(environ.iter().all(|entry| !entry.starts_with("PORT=")), "{environ:?}");
    assert!(environ.iter().any(|entry| entry == "LISTEN_FDS=1"), "{environ:?}");
    master.finish();
}

#[test]
fn a_socket_is_for_whom_its_options_say() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("a.sock");
    let (uid, gid) = if is_root() {
        (NOBODY, NOBODY)
    } else {
        (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw())
    };
    let mut master =
        told(&path, &format!("mode=640 owner={uid} group={gid}"), Node::DEFAULT).workers(2).start();
    master.wait_ready(2);
    let data = fs::metadata(&path).unwrap();
    assert_eq!((mode_of(&path), data.uid(), data.gid()), (0o640, uid, gid));
    master.finish();
}

/// Kills the master, which cannot remove its file.
#[track_caller]
fn kill(mut master: Master, path: &Path) {
    master.signal(Signal::SIGKILL);
    master.wait_exit();
    master.finish();
    assert!(fs::symlink_metadata(path).unwrap().file_type().is_socket());
    nobody_listens(&path.into());
}

#[test]
fn what_a_killed_master_leaves_its_successor_replaces() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("a.sock");
    for _ in 0..2 {
        let mut master = told(&path, "", Node::DEFAULT).workers(2).start();
        master.wait_ready(2);
        kill(master, &path);
    }
    // And one that a worker asks for.
    let mut master = two("shared", Node::DEFAULT).start();
    let mut workers = both(&mut master);
    let server = Server::listen(&mut workers, &json!({ "path": path }));
    answered_by(&path.as_path().into(), &pids(&mut workers));
    server.close(&mut workers);
    eventually("its file is removed", || !path.exists());
    drop(workers);
    master.finish();
}

#[test]
fn a_socket_of_somebody_else_and_any_other_file_stay_as_they_are() {
    let home = tempfile::tempdir().unwrap();
    let (taken, plain) = (home.path().join("a.sock"), home.path().join("plain"));
    let _somebody = UnixListener::bind(&taken).unwrap();
    fs::write(&plain, "kept").unwrap();
    for (path, code) in [(&taken, 71), (&plain, 78)] {
        let output = told(path, "", Node::DEFAULT).output();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(&format!("unix:{}", path.display())), "{text}");

        let run =
            two("handoff", Node::DEFAULT).expect_log(&format!("could not listen on unix:{}", path.display()));
        let mut master = run.start();
        let mut workers = both(&mut master);
        let refused = tell(&mut workers[0], "/listen", &json!({ "path": path }));
        assert_eq!((&refused["code"], &refused["syscall"]), (&json!("EADDRINUSE"), &json!("bind")));
        drop(workers);
        master.finish();
    }
    assert_eq!(fs::read(&plain).unwrap(), b"kept");
    assert!(Place::from(&*taken).connect().is_ok());
}

#[test]
fn connections_by_a_unix_socket_count_too() {
    for node in Node::matrix() {
        let home = tempfile::tempdir().unwrap();
        let run = told(&home.path().join("a.sock"), "", node).workers(2).option("-p", "least-connections");
        let mut master = run.start();
        let light = *master.wait_ready(2).keys().next().unwrap();
        let mut staying: Vec<_> = (0..20)
            .map(|_| {
                let mut client = master.connect();
                (client.get("/").unwrap().pid(), client)
            })
            .collect();
        assert_eq!(staying.iter().filter(|(pid, _)| *pid == light).count(), 10, "equal loads take turns");
        staying.retain(|(pid, _)| *pid != light);
        eventually("all go to the one that has fewer", || (0..20).all(|_| master.get("/").pid() == light));
        drop(staying);
        master.finish();
    }
}

#[test]
fn what_a_frozen_worker_was_given_by_a_unix_socket_is_served_by_others_when_it_dies() {
    for node in Node::in_both_forms() {
        let home = tempfile::tempdir().unwrap();
        let run = told(&home.path().join("a.sock"), "", node).expect_log("was killed by SIGKILL");
        let Frozen { mut master, worker, mut clients } = custody::freeze(run);
        worker.signal(Signal::SIGKILL);
        for client in &mut clients {
            let answer = client.receive().unwrap();
            assert!(answer.status == 200 && answer.pid() != worker.pid(), "{answer:?}");
        }
        drop(clients);
        let pids: BTreeSet<_> = master.wait_ready(3).into_keys().collect();
        assert!(!pids.contains(&worker.pid()));
        master.finish();
    }
}
