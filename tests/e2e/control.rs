//! The control socket as CONTROL.md describes it, spoken to line by line.

use std::{fs, process::Command};

use nix::sys::signal::Signal;
use serde_json::{Deserializer, Value, json};

use crate::harness::{Master, Node, Pointsman, Process, eventually, python};

pub(crate) fn start(workers: usize, app: &str) -> Master {
    start_with(workers, app, |run| run)
}

pub(crate) fn start_with(workers: usize, app: &str, more: impl FnOnce(Pointsman) -> Pointsman) -> Master {
    let mut master = more(Pointsman::run().workers(workers).node(Node::DEFAULT, app)).start();
    master.wait_ready(workers);
    master
}

/// The values in the JSON blocks of the document, block by block.
fn documented() -> Vec<Vec<Value>> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/CONTROL.md")).unwrap();
    let blocks = text.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.map(|block| Deserializer::from_str(&block).into_iter().map(Result::unwrap).collect()).collect()
}

/// Whether what was said has the fields of what is documented, of the same kinds. Null stands for anything.
fn is_alike(documented: &Value, said: &Value) -> bool {
    match (documented, said) {
        (Value::Null, _) | (_, Value::Null) => true,
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| is_alike(value, other)))
        }
        (Value::Array(one), Value::Array(other)) => match (one.first(), other.first()) {
            (Some(one), Some(other)) => is_alike(one, other),
            _ => true,
        },
        (Value::Number(_), Value::Number(_)) | (Value::String(_), Value::String(_)) => true,
        (one, other) => one == other,
    }
}

#[test]
fn the_examples_of_the_document_are_what_is_said() {
    let master = start_with(2, "moods.js", |run| {
        run.env("MOOD", "chatty").option("--output", "prefix").allow_log("was killed by SIGKILL")
    });
    let mut requests = 0;
    for block in documented() {
        let mut control = master.control();
        let mut said = vec![control.greeting.clone()];
        let mut values = block.into_iter().peekable();
        while let Some(value) = values.next() {
            if value.get("verb").is_none() {
                let line = said.pop().unwrap_or_else(|| control.line());
                assert!(is_alike(&value, &line), "documented: {value}\nsaid: {line}");
                continue;
            }
            requests += 1;
            said.clear();
            let verb = value["verb"].clone();
            control.send(&format!("{value}\n"));
            if verb == "logs" {
                // There is something to be shown.
                master.get("/");
            }
            if verb == "events" {
                assert!(is_alike(&values.next().unwrap(), &control.line()));
                let worker = master.get("/").json()["pid"].as_u64().unwrap();
                Process::find(u32::try_from(worker).unwrap()).unwrap().signal(Signal::SIGKILL);
                said = vec![json!({ "id": value["id"], "event": control.event("exit") })];
            }
        }
    }
    assert_eq!(requests, 5, "scale, kill, status, events, logs");
    master.control().done(&json!({ "verb": "scale", "to": 2, "wait": true }));
    master.finish();
}

#[test]
fn a_script_does_with_lines_what_the_commands_do() {
    let master = start_with(2, "moods.js", |run| run.allow_log("was killed by SIGKILL"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/apps/steer.py");
    let output = Command::new(python()).arg(script).arg(master.control_path()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{}{}", text(output.stdout), text(output.stderr));
    let mut master = master;
    assert_eq!(master.wait_exit().code(), Some(0), "the script has stopped it");
    master.finish();
}

#[test]
fn a_master_without_workers_is_steered_entirely_from_there() {
    let directory = tempfile::tempdir().unwrap();
    let master = start_with(0, "moods.js", |run| run.allow_log("was killed by SIGKILL"));
    let mut control = master.control();
    assert_eq!(control.done(&json!({ "verb": "status" }))["wanted"], 0);
    let app = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/apps/moods.js");
    let own = json!({
        "verb": "fork", "wait": true, "program": [Node::DEFAULT.path(), app], "cwd": directory.path(),
        "env": { "VERSION": "own", "MOOD": "polite" },
    });
    let forked = control.done(&own);
    assert_eq!(forked, json!({ "worker": 1, "slot": 0 }));
    let version = || master.get("/").json()["version"].clone();
    assert_eq!(version(), "own");
    let cwd = || fs::read_link(format!("/proc/{}/cwd", master.get("/").json()["pid"])).unwrap();
    assert_eq!(cwd(), directory.path().canonicalize().unwrap());
    // Whoever follows it is like it.
    let killed = control.done(&json!({ "verb": "kill", "slot": 0, "signal": 9, "wait": true }));
    assert_eq!(killed, json!({ "worker": 1, "slot": 0, "exit": { "signal": 9 } }));
    assert_eq!(version(), "own");
    control.done(&json!({ "verb": "reload", "wait": true }));
    assert_eq!((version(), cwd()), (json!("own"), directory.path().canonicalize().unwrap()));
    control.done(&json!({ "verb": "disconnect", "slot": 0, "wait": true }));
    control.done(&json!({ "verb": "fork", "wait": true }));
    assert_eq!(version(), Value::Null, "the slot is like the others again");
    control.done(&json!({ "verb": "stop", "wait": true }));
    let mut master = master;
    assert_eq!(master.wait_exit().code(), Some(0));
    drop(control);
    master.finish();
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let master = start(1, "moods.js");
    let mut control = master.control();
    for (request, code) in [
        (json!({ "verb": "dance" }), "bad_request"),
        (json!({ "verb": "scale" }), "bad_request"),
        (json!({ "verb": "scale", "to": 1, "by": 1 }), "bad_request"),
        (json!({ "verb": "restart", "worker": 1, "slot": 0 }), "bad_request"),
        (json!({ "verb": "kill", "worker": 1, "signal": "DANCE" }), "bad_request"),
        (json!({ "verb": "fork", "program": [] }), "bad_request"),
        (json!({ "verb": "fork", "cwd": "relative" }), "bad_request"),
        (json!({ "verb": "fork", "program": ["/no/such"] }), "failed"),
        (json!({ "verb": "fork", "cwd": "/no/such" }), "failed"),
        (json!({ "verb": "restart", "worker": 9 }), "no_such_worker"),
        (json!({ "verb": "restart", "slot": 9 }), "no_such_worker"),
        (json!({ "verb": "disconnect", "slot": 9 }), "no_such_worker"),
        (json!({ "verb": "send", "worker": 9, "message": 1 }), "no_such_worker"),
        (json!({ "verb": "abort" }), "refused"),
    ] {
        assert_eq!(control.refused(&request), code, "{request}");
    }
    control.done(&json!({ "verb": "events" }));
    assert_eq!(control.refused(&json!({ "verb": "events" })), "busy");
    assert_eq!(control.done(&json!({ "verb": "status" }))["wanted"], 1, "nothing has changed");
    drop(control);
    master.finish();
}

#[test]
fn requests_in_one_go_are_begun_in_their_order() {
    let master = start(1, "moods.js");
    let mut control = master.control();
    let lines = [r#"{"id":"a","verb":"scale","to":3}"#, r#"{"id":"b","verb":"scale","by":-1}"#, "no request"];
    control.send(&format!("{}\r\n{}\n{}\n", lines[0], lines[1], lines[2]));
    control.send(r#"{"id":"c","verb":"status"}"#);
    // The last line needs no end if nothing follows.
    control.end();
    assert_eq!(control.line(), json!({ "id": "a", "ok": { "from": 1, "to": 3 } }));
    assert_eq!(control.line(), json!({ "id": "b", "ok": { "from": 3, "to": 2 } }));
    let refused = control.line();
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&Value::Null, &json!("bad_request")));
    assert_eq!(control.line()["ok"]["wanted"], 2);
    assert!(control.try_line().unwrap().is_none(), "all is answered");
    master.control().done(&json!({ "verb": "scale", "to": 1, "wait": true }));
    drop(control);
    master.finish();
}

#[test]
fn who_has_sent_all_is_still_told_what_he_waits_for() {
    let master = start(1, "moods.js");
    let mut control = master.control();
    control.request(&json!({ "verb": "restart", "slot": 0, "wait": true }));
    control.end();
    assert_eq!(control.line()["ok"], json!({ "worker": 2, "slot": 0 }));
    assert!(control.try_line().unwrap().is_none());
    drop(control);
    master.finish();
}

#[test]
fn a_wait_that_lasts_too_long_is_given_up_and_what_was_asked_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    fs::write(&gate, "").unwrap();
    let master = start_with(1, "moods.js", |run| {
        run.env("MOOD", "late").env("GATE", &gate).option("--ready-on", "message")
    });
    fs::remove_file(&gate).unwrap();
    let mut control = master.control();
    assert_eq!(control.refused(&json!({ "verb": "fork", "wait": true, "timeout_ms": 1 })), "timed_out");
    let id = control.request(&json!({ "verb": "scale", "to": 3, "wait": true }));
    fs::write(gate, "").unwrap();
    assert_eq!(control.line(), json!({ "id": id, "ok": { "from": 2, "to": 3 } }));
    control.done(&json!({ "verb": "scale", "to": 1, "wait": true }));
    drop(control);
    master.finish();
}

#[test]
fn a_reload_tells_whoever_asked_how_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("p.toml");
    let write = |mood: &str| fs::write(&file, format!("[env]\nMOOD = \"{mood}\"\nGATE = \"/\"\n")).unwrap();
    write("late");
    let master = start_with(2, "moods.js", |run| {
        run.option("-c", &file)
            .option("--ready-on", "message")
            .allow_log("reload failed")
            .allow_log("exited with code 7")
            .expect_log("reload refused")
    });
    let mut control = master.control();
    let reload = || json!({ "verb": "reload", "wait": true, "batch": "100%" });
    let done = control.done(&reload());
    assert_eq!((&done["generation"], &done["workers"]), (&json!(2), &json!(2)));
    write("dies");
    let failed = control.ask(&reload());
    assert_eq!(failed["error"]["code"], "failed", "{failed}");
    assert!(failed["error"]["message"].as_str().unwrap().contains("exited with code 7"), "{failed}");
    fs::write(&file, "worksers = 2").unwrap();
    let wrong = control.ask(&reload());
    assert_eq!(wrong["error"]["code"], "invalid", "{wrong}");
    assert!(wrong["error"]["message"].as_str().unwrap().contains("worksers"), "{wrong}");
    write("late");
    // One takes the place of the other.
    let first = control.request(&json!({ "verb": "reload", "wait": true }));
    let second = control.request(&json!({ "verb": "reload", "wait": true }));
    let superseded = control.line();
    assert_eq!((&superseded["id"], &superseded["error"]["code"]), (&json!(first), &json!("failed")));
    let reloaded = control.line();
    assert_eq!((&reloaded["id"], reloaded.get("error")), (&json!(second), None), "{reloaded}");
    assert_eq!(control.done(&json!({ "verb": "status" }))["generation"], reloaded["ok"]["generation"]);
    drop(control);
    master.finish();
}

#[test]
fn what_is_asked_for_after_a_reload_waits_until_that_is_begun() {
    let master = start_with(2, "moods.js", |run| run.allow_log("reload failed"));
    let mut control = master.control();
    control.send("{\"id\":1,\"verb\":\"reload\",\"wait\":true}\n{\"id\":2,\"verb\":\"abort\"}\n");
    let mut said = [control.line(), control.line()];
    said.sort_by_key(|line| line["id"].as_u64());
    assert_eq!((&said[0]["error"]["code"], &said[1]["ok"]), (&json!("failed"), &json!({})), "{said:?}");
    let last = control.done(&json!({ "verb": "status" }))["last_reload"].clone();
    assert_eq!((&last["result"], &last["generation"]), (&json!("failed"), &json!(2)));
    drop(control);
    master.finish();
}

#[test]
fn a_reload_warns_of_what_it_does_not_change() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("p.toml");
    fs::write(&file, "window = 4\n").unwrap();
    let master = start_with(1, "moods.js", |run| {
        run.option("-c", &file).expect_log("a reload does not change policy").expect_log("reload refused")
    });
    let mut control = master.control();
    fs::write(&file, "window = 4\npolicy = \"least-connections\"\n").unwrap();
    for wait in [false, true] {
        let done = control.done(&json!({ "verb": "reload", "wait": wait }));
        assert!(done["warnings"][0].as_str().unwrap().contains("does not change policy"), "{done}");
    }
    fs::write(&file, "window = 0\n").unwrap();
    control.done(&json!({ "verb": "events" }));
    assert_eq!(control.refused(&json!({ "verb": "reload" })), "invalid");
    assert!(control.event("reload_refused")["why"].as_str().unwrap().contains("window"));
    let last = control.done(&json!({ "verb": "status" }))["last_reload"].clone();
    assert_eq!(last["result"], "refused", "{last}");
    drop(control);
    master.finish();
}

#[test]
fn a_slot_where_nobody_is_can_be_given_up_or_filled() {
    let master = start_with(1, "moods.js", |run| {
        run.option("--max-crashes", "1")
            .allow_log("errored")
            .allow_log("exited")
            .allow_log("program of its own")
    });
    let mut control = master.control();
    let own = json!({ "verb": "fork", "program": ["false"], "wait": true });
    assert_eq!(control.refused(&own), "failed");
    let vacant = control.done(&json!({ "verb": "status" }))["vacant"].clone();
    assert_eq!((&vacant[0]["slot"], &vacant[0]["program"]), (&json!(1), &json!("false")), "{vacant}");
    assert_eq!(control.refused(&json!({ "verb": "scale", "to": 2, "wait": true })), "failed", "at once");
    assert_eq!(control.refused(&json!({ "verb": "restart", "slot": 1, "wait": true })), "failed");
    let gone = control.done(&json!({ "verb": "disconnect", "slot": 1, "wait": true }));
    assert_eq!(gone, json!({ "worker": null, "slot": 1 }));
    assert_eq!(control.done(&json!({ "verb": "status" }))["wanted"], 1);
    for (request, code) in [
        (json!({ "verb": "scale", "by": -9 }), "bad_request"),
        (json!({ "verb": "scale", "to": 1025 }), "bad_request"),
        (json!({ "verb": "fork", "env": { "PORT": "1" } }), "bad_request"),
        (json!({ "verb": "fork", "env": { "A=B": "1" } }), "bad_request"),
        (json!({ "verb": "logs" }), "failed"),
    ] {
        assert_eq!(control.refused(&request), code, "{request}");
    }
    drop(control);
    master.finish();
}

#[test]
fn a_restart_is_told_of_its_own_successor_and_of_nobody_else() {
    let master = start(1, "moods.js");
    let mut control = master.control();
    // The first worker cannot leave as long as somebody is connected.
    let mut kept = master.connect();
    kept.get("/").unwrap();
    let restart = json!({ "verb": "restart", "slot": 0, "wait": true });
    assert_eq!(control.done(&restart)["worker"], 2);
    let id = control.request(&restart);
    drop(kept);
    let said = control.line();
    assert_eq!((&said["id"], &said["ok"]), (&json!(id), &json!({ "worker": 3, "slot": 0 })), "{said}");
    drop(control);
    master.finish();
}

#[test]
fn a_wait_that_others_have_made_vain_ends() {
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    fs::write(&gate, "").unwrap();
    let master = start_with(3, "moods.js", |run| {
        run.env("MOOD", "late").env("GATE", &gate).option("--ready-on", "message")
    });
    fs::remove_file(&gate).unwrap();
    let (mut control, mut other) = (master.control(), master.control());
    // The second of these waits for the first, which waits for the gate.
    control.request(&json!({ "verb": "restart", "slot": 0, "wait": true }));
    let second = control.request(&json!({ "verb": "restart", "slot": 2, "wait": true }));
    eventually("both are begun", || {
        other.done(&json!({ "verb": "status" }))["workers"].as_array().unwrap().len() == 4
    });
    other.done(&json!({ "verb": "scale", "to": 2 }));
    let vain = control.line();
    assert_eq!((&vain["id"], &vain["error"]["code"]), (&json!(second), &json!("failed")), "{vain}");
    let third = control.request(&json!({ "verb": "scale", "to": 4, "wait": true }));
    eventually("it is begun", || other.done(&json!({ "verb": "status" }))["wanted"] == 4);
    other.done(&json!({ "verb": "disconnect", "slot": 1 }));
    let vain = control.line();
    assert_eq!((&vain["id"], &vain["error"]["code"]), (&json!(third), &json!("failed")), "{vain}");
    assert_eq!(
        other.refused(&json!({ "verb": "send", "slot": 0, "message": { "cmd": "NODE_X" } })),
        "bad_request"
    );
    fs::write(&gate, "").unwrap();
    assert_eq!(control.line()["ok"]["slot"], 0, "the first is done after all");
    other.done(&json!({ "verb": "scale", "to": 3, "wait": true }));
    drop((control, other));
    master.finish();
}

#[test]
fn an_environment_that_is_sent_takes_the_place_of_the_masters_own() {
    let master = start_with(1, "moods.js", |run| run.env("VERSION", "one").env("GONE", "1"));
    let mut control = master.control();
    let version = || master.get("/").json()["version"].clone();
    let path = std::env::var("PATH").unwrap();
    let mut reload = |env: Value| control.done(&json!({ "verb": "reload", "wait": true, "env": env }));
    reload(json!({ "PATH": path, "VERSION": "two" }));
    assert_eq!(version(), "two");
    let environment = fs::read(format!("/proc/{}/environ", master.get("/").json()["pid"])).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("GONE="), "nothing is left of it");
    reload(Value::Null);
    assert_eq!(version(), "two", "it holds until another is sent");
    drop(control);
    master.finish();
}
