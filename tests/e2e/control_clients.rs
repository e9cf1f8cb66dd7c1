//! Clients of the control socket that are too many, too slow, not understood or not permitted, and two masters of one name.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::{Command, Stdio},
};

use nix::{sys::signal::Signal, unistd::geteuid};
use serde_json::{Value, json};

use crate::{
    control::{start, start_with},
    harness::{Control, NOBODY, Node, Pointsman, eventually, is_root, python},
};

/// A request with a few bytes replaced, removed or doubled, and no line feed in it.
fn damaged(random: &mut u64) -> Vec<u8> {
    const SOUND: [&str; 4] = [
        r#"{"id":1,"verb":"status"}"#,
        r#"{"id":"two","verb":"abort"}"#,
        r#"{"id":3,"verb":"send","worker":99,"message":{"a":[1,2.5,null,"x"]}}"#,
        r#"{"id":4,"verb":"restart","slot":77,"wait":true,"timeout_ms":10}"#,
    ];
    let mut next = |below: usize| {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        usize::try_from(*random % u64::try_from(below).unwrap()).unwrap()
    };
    let mut line = SOUND[next(SOUND.len())].as_bytes().to_vec();
    for _ in 0..next(4) {
        let (place, byte) = (next(line.len()), u8::try_from(next(256)).unwrap());
        match next(3) {
            0 => line[place] = byte,
            1 => drop(line.remove(place)),
            _ => line.insert(place, line[place]),
        }
    }
    line.retain(|&byte| byte != b'\n');
    line
}

#[test]
fn each_line_has_one_answer_whatever_is_in_it() {
    // CONTROL_FUZZ=1000000 for a long run.
    let lines = std::env::var("CONTROL_FUZZ").map_or(3000, |count| count.parse().unwrap());
    let master = start(1, "moods.js");
    let seed = u64::from(std::process::id()) << 20 | 1;
    eprintln!("seed {seed}");
    let mut random = seed;
    let mut control = master.control();
    for number in 0..lines {
        let mut line = damaged(&mut random);
        line.push(b'\n');
        control.try_send(&line).unwrap();
        let answer = control.line();
        let is_one = answer.get("ok").is_some() != answer.get("error").is_some();
        assert!(is_one, "line {number}, {:?}: {answer}", String::from_utf8_lossy(&line));
    }
    assert_eq!(control.done(&json!({ "verb": "status" }))["wanted"], 1, "and nothing is the worse for it");
    drop(control);
    master.finish();
}

#[test]
fn a_line_that_is_too_long_ends_the_connection_and_nothing_else() {
    let master = start(1, "moods.js");
    let mut control = master.control();
    let long =
        format!("{{\"id\":1,\"verb\":\"send\",\"worker\":1,\"message\":\"{}\"}}\n", "x".repeat(256 << 10));
    // The rest of it may find nobody.
    let _ = control.try_send(long.as_bytes());
    let refused = control.line();
    assert_eq!(refused["error"]["code"], "bad_request", "{refused}");
    assert!(matches!(control.try_line(), Ok(None) | Err(_)), "the connection has ended");
    let mut control = master.control();
    let fits = "x".repeat((256 << 10) - 100);
    control.done(&json!({ "verb": "send", "worker": 1, "message": fits }));
    drop(control);
    master.finish();
}

#[test]
fn a_thousand_stalled_clients_keep_nobody_out() {
    let master = start(1, "moods.js");
    let path = master.control_path();
    let mut stalled = Vec::new();
    for number in 0..1000 {
        let mut control = Control::connect(&path);
        if number % 3 == 0 {
            // Half a request. It may have been sent away already for one that came after.
            let _ = control.try_send(br#"{"id":1,"verb":"#);
        }
        stalled.push(control);
    }
    let mut control = Control::connect(&path);
    assert_eq!(control.done(&json!({ "verb": "status" }))["wanted"], 1);
    assert!(master.get("/").json()["pid"].is_number());
    let sent_away = stalled.iter_mut().take(900).filter_map(|control| control.try_line().ok()?).count();
    assert_eq!(sent_away, 0, "the oldest are closed without a word");
    drop((control, stalled));
    master.finish();
}

#[test]
fn clients_that_wait_for_something_are_not_sent_away() {
    let master = start_with(1, "moods.js", |run| run.env("MOOD", "echoes"));
    let path = master.control_path();
    let mut waiting = Vec::new();
    for _ in 0..64 {
        let mut control = Control::connect(&path);
        control.done(&json!({ "verb": "events" }));
        waiting.push(control);
    }
    let mut control = Control::connect(&path);
    assert_eq!(control.line()["error"]["code"], "busy");
    assert!(control.try_line().unwrap().is_none());
    waiting.pop();
    eventually("there is room again", || {
        let mut control = Control::connect(&path);
        control.try_send(b"{\"id\":1,\"verb\":\"status\"}\n").is_ok()
            && control.try_line().is_ok_and(|line| line.is_some_and(|line| line.get("ok").is_some()))
    });
    waiting[0].request(&json!({ "verb": "send", "slot": 0, "message": 7 }));
    for control in &mut waiting {
        assert_eq!(control.event("message")["message"], 7, "all are told");
    }
    drop((control, waiting));
    master.finish();
}

#[test]
fn who_does_not_read_is_told_how_much_he_has_missed_and_holds_up_nobody() {
    let master = start_with(1, "moods.js", |run| run.env("MOOD", "echoes"));
    let mut sleeper = master.control();
    sleeper.done(&json!({ "verb": "events" }));
    let mut control = master.control();
    // Messages of workers are events, and these come back as such.
    let message = "x".repeat(100 << 10);
    let send = json!({ "verb": "send", "worker": 1, "message": message });
    let mut listener = master.control();
    listener.done(&json!({ "verb": "events" }));
    let mut told = 0;
    for _ in 0..40 {
        control.done(&send);
        listener.event("message");
        told += 1;
    }
    let (mut heard, mut missed) = (0, 0);
    while heard + missed < told {
        let line = sleeper.line();
        heard += u64::from(line["event"]["type"] == "message");
        missed += line["dropped"].as_u64().unwrap_or(0);
    }
    assert!(heard >= 2 && missed > 0 && heard + missed == told, "{heard} + {missed} of {told}");
    control.done(&send);
    sleeper.event("message");
    drop((control, sleeper, listener));
    master.finish();
}

#[test]
fn a_second_master_of_the_same_name_is_refused_and_an_unnamed_one_goes_on_without() {
    let directory = tempfile::tempdir().unwrap();
    let named = |run: Pointsman| run.env("XDG_RUNTIME_DIR", directory.path()).option("--name", "web");
    let first = start_with(1, "moods.js", named);
    let path = directory.path().join("pointsman/web.sock");
    assert_eq!(Control::connect(&path).greeting["name"], "web");
    let second = named(Pointsman::run().node(Node::DEFAULT, "moods.js")).output();
    assert_eq!(second.status.code(), Some(71));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("web.sock") && said.contains("--name"), "{said}");
    first.finish();
    assert!(!path.exists(), "it goes with its master");

    let unnamed = |run: Pointsman| run.env("XDG_RUNTIME_DIR", directory.path());
    let first = start_with(1, "moods.js", unnamed);
    let second = start_with(1, "moods.js", |run| unnamed(run).expect_log("there is no control socket"));
    second.finish();
    first.finish();
}

#[test]
fn what_a_killed_master_leaves_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.sock");
    let at = |run: Pointsman| run.option("--control", &path);
    let mut first = start_with(1, "moods.js", at);
    first.signal(Signal::SIGKILL);
    assert_eq!(first.wait_exit().code(), None);
    assert!(path.exists());
    first.finish();
    let second = start_with(1, "moods.js", at);
    assert_eq!(Control::connect(&path).greeting["pid"], second.pid());
    second.finish();
}

/// What a client of this user and these groups is told: the answers to these requests, or why it cannot connect.
fn as_user(path: &Path, user: u32, group: u32, requests: &[Value]) -> Vec<String> {
    let lines: String = requests.iter().map(|request| format!("{request}\n")).collect();
    let script = "import os,socket,sys\n\
        os.setgroups([int(sys.argv[3])]); os.setgid(65534); os.setuid(int(sys.argv[2]))\n\
        s=socket.socket(socket.AF_UNIX)\n\
        try: s.connect(sys.argv[1])\n\
        except OSError as e: print(type(e).__name__); sys.exit()\n\
        try: s.sendall(sys.stdin.buffer.read()); s.shutdown(socket.SHUT_WR)\n\
        except OSError: pass\n\
        print(b''.join(iter(lambda: s.recv(65536), b'')).decode(), end='')";
    let mut command = Command::new(python());
    command.args(["-c", script]).arg(path).args([user.to_string(), group.to_string()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // Who cannot connect does not read them.
    let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), lines.as_bytes());
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn root_the_owner_and_the_group_may_steer_and_nobody_else() {
    if !is_root() {
        return eprintln!("only root can be somebody else");
    }
    const GROUP: u32 = 4242;
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = directory.path().join("c.sock");
    let mode = || fs::metadata(&path).map(|data| (data.mode() & 0o7777, data.uid(), data.gid())).unwrap();
    let status = json!({ "id": 1, "verb": "status" });

    let master = start_with(1, "moods.js", |run| run.option("--control", &path));
    assert_eq!(mode(), (0o600, geteuid().as_raw(), 0));
    assert_eq!(as_user(&path, NOBODY, GROUP, std::slice::from_ref(&status)), ["PermissionError"]);
    // Somebody has let others in who should not be.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let turned_away = as_user(&path, NOBODY, GROUP, std::slice::from_ref(&status));
    assert!(turned_away[1].contains("not_permitted"), "{turned_away:?}");
    master.finish();

    let master = start_with(1, "moods.js", |run| {
        run.option("--control", &path).option("--control-group", GROUP.to_string())
    });
    assert_eq!(mode(), (0o660, geteuid().as_raw(), GROUP));
    let said = as_user(
        &path,
        NOBODY,
        GROUP,
        &[
            status,
            json!({ "id": 2, "verb": "scale", "to": 1 }),
            json!({ "id": 3, "verb": "fork", "program": ["id"] }),
            json!({ "id": 4, "verb": "fork", "env": { "NODE_OPTIONS": "-r /tmp/x" } }),
            json!({ "id": 5, "verb": "reload", "env": {} }),
            json!({ "id": 6, "verb": "kill", "slot": 0, "signal": "USR1" }),
            json!({ "id": 7, "verb": "fork" }),
        ],
    );
    let has = |place: usize, text: &str| assert!(said[place].contains(text), "{said:?}");
    has(1, "\"ok\"");
    has(2, "\"ok\"");
    (3..=6).for_each(|place| has(place, "not_permitted"));
    has(7, "\"ok\"");
    assert_eq!(as_user(&path, NOBODY, GROUP + 1, &[]), ["PermissionError"]);
    Control::connect(&path).done(&json!({ "verb": "scale", "to": 1, "wait": true }));
    master.finish();
}

#[test]
fn nothing_of_an_environment_is_told() {
    const SECRET: &str = "s3cr3t-of-the-test";
    let master = start_with(1, "moods.js", |run| {
        run.env("RUST_LOG", "trace").env("TOKEN", SECRET).option("-e", format!("PASSWORD={SECRET}"))
    });
    let mut control = master.control();
    control.done(&json!({ "verb": "events" }));
    let env = json!({ "TOKEN": SECRET, "PATH": std::env::var("PATH").unwrap() });
    control.done(&json!({ "verb": "fork", "env": { "TOKEN": SECRET }, "wait": true }));
    let id = control.request(&json!({ "verb": "reload", "env": env, "wait": true }));
    loop {
        let line = control.line();
        assert!(!line.to_string().contains(SECRET), "{line}");
        if line["id"] == id {
            break;
        }
    }
    let status = control.done(&json!({ "verb": "status" }));
    assert!(!status.to_string().contains(SECRET), "{status}");
    let log = master.log().lines();
    assert!(log.iter().all(|line| !line.contains(SECRET)), "{log:#?}");
    control.done(&json!({ "verb": "scale", "to": 1, "wait": true }));
    drop(control);
    master.finish();
}
