//! The commands that steer a running master: each against a real one, with real Node workers.

use std::{
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStringExt, fs::PermissionsExt, process::ExitStatusExt},
    path::PathBuf,
    process::Output,
};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{
    Master, NOBODY, Node, Pointsman, Process, Public, eventually, eventually_some, is_root,
};

/// A master, its control socket, and the directory that says what becomes of its workers.
struct Steered {
    master: Master,
    directory: TempDir,
}

/// What a command came to.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Steered {
    /// So many workers of `steered.js`.
    fn start(workers: usize) -> Self {
        Self::start_with(workers, |run| run)
    }

    fn start_with(workers: usize, more: impl FnOnce(Pointsman) -> Pointsman) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let run = Pointsman::run().workers(workers).node(Node::DEFAULT, "steered.js");
        let run = run.env("STATE", directory.path()).option("--control", directory.path().join("c.sock"));
        let mut master = more(run).start();
        master.wait_ready(workers);
        Self { master, directory }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("c.sock")
    }

    /// A command to this master.
    fn command(&self, words: &str) -> Pointsman {
        let mut words = words.split_whitespace();
        let verb = Pointsman::verb(words.next().unwrap());
        words.fold(verb.option("--control", self.socket()), Pointsman::flag)
    }

    #[track_caller]
    fn say(&self, words: &str) -> Said {
        self.command(words).output().into()
    }

    /// What a command that succeeds prints.
    #[track_caller]
    fn done(&self, words: &str) -> String {
        let said = self.say(words);
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{words}: {said:?}");
        said.stdout
    }

    /// Why a command does not succeed.
    #[track_caller]
    fn refused(&self, words: &str, code: i32) -> String {
        let said = self.say(words);
        assert_eq!((said.code, said.stdout.as_str()), (Some(code), ""), "{words}: {said:?}");
        assert!(said.stderr.starts_with("error: "), "{words}: {said:?}");
        said.stderr
    }

    #[track_caller]
    fn status(&self) -> Value {
        serde_json::from_str(&self.done("status --json")).unwrap()
    }

    /// Its workers that are neither new nor on their way out.
    #[track_caller]
    fn ready(&self) -> Vec<Worker> {
        let status = self.status();
        let number = |worker: &Value, key: &str| u32::try_from(worker[key].as_u64().unwrap()).unwrap();
        let ready = status["workers"].as_array().unwrap().iter().filter(|worker| worker["state"] == "ready");
        let mut ready: Vec<_> = ready
            .map(|worker| Worker {
                slot: number(worker, "slot"),
                id: number(worker, "id"),
                pid: number(worker, "pid"),
                generation: number(worker, "generation"),
            })
            .collect();
        ready.sort_unstable();
        ready
    }

    /// Has the workers that start from now on be such and such.
    fn let_be(&self, what: &str) {
        fs::write(self.directory.path().join(what), "").unwrap();
    }

    fn let_be_no_longer(&self, what: &str) {
        fs::remove_file(self.directory.path().join(what)).unwrap();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Worker {
    slot: u32,
    id: u32,
    pid: u32,
    generation: u32,
}

fn is_alive(pid: u32) -> bool {
    Process::find(pid).is_some_and(Process::is_alive)
}

#[test]
fn the_number_of_workers_is_changed_and_waited_for() {
    let steered = Steered::start(1);
    assert_eq!(steered.done("scale 3 --wait"), "scaled: 3 workers are ready, 1 before");
    assert_eq!(steered.ready().len(), 3);
    assert_eq!(steered.done("scale -2 --wait"), "scaled: 1 worker is ready, 3 before");
    assert_eq!(steered.master.workers().len(), 1);
    let answer: Value = serde_json::from_str(&steered.done("scale +1 --timeout 30s --json")).unwrap();
    assert_eq!((answer["from"].as_u64(), answer["to"].as_u64()), (Some(1), Some(2)));
    assert_eq!(steered.ready().len(), 2);
    assert!(steered.refused("scale many", 2).contains("not a number of workers"));
    steered.done("scale 1 --wait");
    steered.master.finish();
}

#[test]
fn a_reload_is_waited_for_and_says_how_it_ended() {
    let steered =
        Steered::start_with(2, |run| run.expect_log("reload failed").allow_log("exited with code 3"));
    let before = steered.ready();
    let text = steered.done("reload --wait --batch 50%");
    assert!(text.starts_with("reloaded: generation 2 serves, after "), "{text}");
    let after = steered.ready();
    assert!(after.iter().all(|worker| worker.generation == 2) && after.len() == 2, "{after:?}");
    eventually("the old ones are gone", || before.iter().all(|worker| !is_alive(worker.pid)));

    steered.let_be("broken");
    let text = steered.refused("reload --wait", 1);
    assert!(text.contains('3'), "how its worker has ended: {text}");
    assert_eq!(steered.ready(), after, "the old ones serve on");
    steered.let_be_no_longer("broken");
    assert!(steered.done("reload").starts_with("reloading: 2 workers are replaced by generation"));
    eventually("it is reloaded", || steered.ready().iter().all(|worker| worker.generation > 2));
    steered.master.finish();
}

#[test]
fn what_has_failed_is_told_with_its_last_words() {
    let steered = Steered::start_with(2, |run| {
        let run = run.option("--output", "prefix").allow_log("exited with code 3").allow_log("no database");
        run.expect_log("reload failed")
    });
    let before = steered.ready();
    fs::write(steered.directory.path().join("broken"), "Error: no database\n    at x").unwrap();
    let words = ", slot 0:\n    Error: no database\n        at x";
    let text = steered.refused("reload --wait", 1);
    assert!(text.contains("\n  the last words of worker ") && text.ends_with(words), "{text}");
    let text = steered.refused("restart slot:0 --wait", 1);
    assert!(text.contains(&format!("; worker {}, the old one, goes on\n", before[0].id)), "{text}");
    assert!(text.ends_with(words), "{text}");
    let said = steered.say("fork --wait --json");
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{said:?}");
    let error: Value = serde_json::from_str(&said.stderr).unwrap();
    let error = &error["error"];
    assert_eq!((&error["code"], &error["slot"]), (&"failed".into(), &2.into()), "{said:?}");
    assert_eq!(error["last_words"][0], "Error: no database", "{said:?}");
    steered.let_be_no_longer("broken");
    steered.done("scale 2 --wait");
    assert_eq!(steered.ready(), before, "the old ones serve on");
    let text = steered.done("status");
    let why = text.lines().find_map(|line| line.strip_prefix("last reload  failed 0s ago: "));
    assert!(why.is_some_and(|why| why.contains("exited with code 3")), "{text}");
    steered.master.finish();
}

#[test]
fn who_has_said_nothing_can_be_looked_up() {
    let steered =
        Steered::start_with(1, |run| run.expect_log("reload failed").allow_log("exited with code 3"));
    steered.let_be("broken");
    let text = steered.refused("reload --timeout 30s", 1);
    let see = format!("\nsee: pointsman logs slot:0 --control {}", steered.socket().display());
    assert!(text.ends_with(&see), "{text}");
    steered.master.finish();
}

#[test]
fn errors_are_objects_for_programs_as_well() {
    let steered = Steered::start(1);
    for (words, code, name) in [
        ("restart 99 --json", 1, "no_such_worker"),
        ("abort --json", 75, "refused"),
        ("logs --json", 1, "failed"),
    ] {
        let said = steered.say(words);
        assert_eq!((said.code, said.stdout.as_str()), (Some(code), ""), "{words}: {said:?}");
        let error: Value = serde_json::from_str(&said.stderr).unwrap();
        assert_eq!(error["error"]["code"], name, "{words}: {said:?}");
        assert!(error["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{words}: {said:?}");
    }
    steered.master.finish();
}

#[test]
fn a_reload_warns_whoever_has_asked_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("p.toml");
    fs::write(&file, "policy = \"round-robin\"\n").unwrap();
    let steered =
        Steered::start_with(1, |run| run.option("-c", &file).expect_log("a reload does not change"));
    fs::write(&file, "policy = \"least-connections\"\n").unwrap();
    for words in ["reload --wait", "reload"] {
        let said = steered.say(words);
        assert_eq!(said.code, Some(0), "{words}: {said:?}");
        assert!(said.stderr.starts_with("warning: a reload does not change policy"), "{words}: {said:?}");
        eventually("it is over", || steered.status()["state"] == "running");
    }
    let answer: Value = serde_json::from_str(&steered.done("reload --wait --json")).unwrap();
    assert!(answer["warnings"][0].as_str().is_some_and(|text| text.contains("policy")), "{answer}");
    steered.master.finish();
}

#[test]
fn a_master_that_is_halted_is_there() {
    let steered = Steered::start(1);
    let pid = steered.master.pid();
    steered.master.signal(Signal::SIGSTOP);
    let late = steered.refused("scale 1 --timeout 100ms", 75);
    let mute = steered.refused("status", 69);
    steered.master.signal(Signal::SIGCONT);
    assert!(
        late.contains(&format!("not done after 100 ms, and the master (pid {pid}) says nothing")),
        "{late}"
    );
    assert!(
        mute.contains(&format!("the master (pid {pid}) is there and has said nothing for 10 s")),
        "{mute}"
    );
    assert!(!mute.contains("pointsman run") && !mute.contains("answers"), "{mute}");
    steered.master.finish();
}

#[test]
fn a_reload_with_a_wrong_configuration_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("p.toml");
    fs::write(&file, "window = 4\n").unwrap();
    let steered = Steered::start_with(1, |run| run.option("-c", &file).expect_log("reload refused"));
    let before = steered.ready();
    fs::write(&file, "windwo = 4\n").unwrap();
    let text = steered.refused("reload --wait", 78);
    assert!(text.contains("did you mean window?") && text.contains("p.toml"), "{text}");
    assert_eq!(steered.ready(), before);
    steered.master.finish();
}

#[test]
fn a_reload_that_takes_too_long_goes_on_and_is_called_off() {
    let steered = Steered::start_with(1, |run| run.expect_log("reload failed"));
    let before = steered.ready();
    steered.refused("abort", 75);
    steered.let_be("slow");
    let text = steered.refused("reload --timeout 100ms", 75);
    let goes_on =
        "not done after 100ms; it goes on (`pointsman status` shows it, `pointsman abort` ends a reload)";
    assert_eq!(text, format!("error: {goes_on}"));
    assert_eq!(steered.status()["state"], "reloading");
    assert!(steered.done("abort").starts_with("called off"));
    let is_old = || steered.ready() == before && steered.master.workers().len() == 1;
    eventually("only the old one is left", is_old);

    let mut waits = steered.command("reload --wait").expect_log("error: ").start();
    eventually("it has begun", || steered.status()["state"] == "reloading");
    steered.done("abort");
    assert_eq!(waits.wait_exit().code(), Some(1));
    waits.finish();
    eventually("only the old one is left", is_old);
    steered.master.finish();
}

#[test]
fn one_worker_is_replaced() {
    let steered = Steered::start(2);
    let before = steered.ready();
    let text = steered.done(&format!("restart {} --wait", before[0].id));
    let after = steered.ready();
    assert_eq!(text, format!("restarted: worker {} (slot 0) serves", after[0].id));
    assert!(after[0].id > before[1].id && after[1] == before[1], "{after:?}");
    eventually("the old one is gone", || !is_alive(before[0].pid));
    let text = steered.done("restart slot:1");
    assert_eq!(
        text,
        format!("restarting: worker {} (slot 1) is replaced when its successor is ready", before[1].id)
    );
    eventually("it is replaced", || steered.ready().iter().all(|worker| worker.pid != before[1].pid));
    eventually("two are left", || steered.master.workers().len() == 2);
    for absent in [format!("restart {}", before[0].id), "restart 999".into(), "restart slot:7 --wait".into()]
    {
        assert!(steered.refused(&absent, 1).contains("no worker"));
    }
    assert!(steered.refused("restart all", 2).contains("pointsman reload"));
    steered.master.finish();
}

#[test]
fn one_worker_leaves_and_is_not_followed() {
    let steered = Steered::start(2);
    let before = steered.ready();
    let text = steered.done("disconnect slot:1 --wait");
    assert_eq!(text, format!("worker {} (slot 1) has left: it exited with code 0", before[1].id));
    assert!(!is_alive(before[1].pid));
    let status = steered.status();
    assert_eq!((status["wanted"].as_u64(), status["ready"].as_u64()), (Some(1), Some(1)));
    assert_eq!(steered.ready(), &before[..1]);
    assert_eq!(steered.done("scale +1 --wait"), "scaled: 2 workers are ready, 1 before");
    steered.master.finish();
}

#[test]
fn a_signal_is_sent_and_the_worker_that_ends_by_it_is_followed() {
    let steered = Steered::start_with(1, |run| run.allow_log("was killed by SIGKILL"));
    let before = steered.ready()[0];
    let text = steered.done(&format!("kill {} KILL --wait", before.id));
    assert_eq!(text, format!("worker {} (slot 0) has ended: it was killed by SIGKILL", before.id));
    let after = eventually_some("another follows", || steered.ready().first().copied());
    assert_ne!(after.pid, before.pid);
    let status = steered.status();
    assert_eq!(
        (&status["workers"][0]["restarts"], &status["workers"][0]["last_exit"]["signal"]),
        (&1.into(), &9.into())
    );
    // Whoever takes no notice of it lives on.
    for words in ["kill slot:0 CONT", "kill -CONT slot:0", "kill slot:0 -CONT", "kill -s CONT slot:0"] {
        assert_eq!(steered.done(words), format!("worker {} (slot 0) is sent SIGCONT", after.id));
    }
    assert_eq!(steered.ready(), [after]);
    steered.refused("kill slot:0 NOSUCH", 2);
    steered.master.finish();
}

#[test]
fn one_worker_more_may_run_a_program_of_its_own() {
    let steered = Steered::start_with(1, |run| run.env("COLOUR", "blue"));
    let directory = tempfile::tempdir().unwrap();
    let node = Node::DEFAULT.path();
    let app = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/apps/steered.js");
    let cwd = directory.path().to_str().unwrap();
    let text =
        steered.done(&format!("fork --wait -e COLOUR=red --cwd {cwd} -- {} {app} own", node.display()));
    assert!(text.starts_with("worker ") && text.ends_with(" (slot 1) is ready"), "{text}");
    let of = |pid: u32| {
        eventually_some("it answers", || {
            let answer = steered.master.get("/");
            (answer.pid() == pid).then(|| answer.json())
        })
    };
    let own = steered.ready()[1];
    let answer = of(own.pid);
    assert_eq!(
        (&answer["colour"], &answer["word"], &answer["cwd"]),
        (&"red".into(), &"own".into(), &cwd.into())
    );
    assert_eq!(of(steered.ready()[0].pid)["colour"], "blue");
    for words in ["status", "list"] {
        let text = steered.done(words);
        let row = format!("\n{}*     1  {}  ready", own.id, own.pid);
        assert!(text.contains(&row), "{row:?} is not in {text}");
        assert!(text.contains("\n* slot 1 runs a program of its own: "), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
    // A reload leaves it what it is.
    steered.done("reload --wait");
    let next = steered.ready()[1];
    assert_ne!(next.pid, own.pid);
    assert_eq!(of(next.pid)["word"], "own");
    assert!(steered.done("fork").ends_with(" (slot 2) is started"));
    eventually("it is ready", || steered.ready().len() == 3);
    steered.done("scale 1 --wait");
    steered.master.finish();
}

#[test]
fn messages_reach_the_program() {
    let steered = Steered::start_with(1, |run| run.option("--output", "prefix"));
    assert_eq!(steered.done("send slot:0 {\"a\":[1,null]}"), "sent");
    let printed = |text: &str| eventually("it is printed", || steered.master.printed(text));
    printed("[0] got {\"a\":[1,null]}");
    steered.done("send 1 -5");
    printed("[0] got -5");
    let file = steered.directory.path().join("message");
    fs::write(&file, "{\n \"from\": \"a file\" }\n").unwrap();
    let from_file = steered.command("send 1 -").after(&format!("exec < {}", file.display()));
    let said = Said::from(from_file.output());
    assert_eq!(said.code, Some(0), "{said:?}");
    printed("[0] got {\"from\":\"a file\"}");
    assert!(steered.refused("send 1 hello", 2).contains("'\"hello\"'"));
    assert!(steered.refused("send 1 -", 2).contains("standard input: not JSON"));
    assert!(steered.refused("send 9 1", 1).contains("no worker 9"));
    steered.master.finish();
}

#[test]
fn a_reload_can_bring_the_callers_environment() {
    let steered = Steered::start(1);
    let reload =
        steered.command("reload --wait --env").env("COLOUR", "green").env("STATE", steered.directory.path());
    let odd = OsString::from_vec(b"a\xff".to_vec());
    // Else the new worker would be taken for one of this command's.
    let said = Said::from(reload.env("ODD", odd).env("E2E_RUN_ID", "").output());
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.stderr.starts_with("warning: these variables are not UTF-8") && said.stderr.contains("ODD"),
        "{said:?}"
    );
    assert_eq!(steered.master.get("/").json()["colour"], "green");
    steered.master.finish();
}

#[test]
fn events_are_followed_until_the_master_stops() {
    let steered = Steered::start_with(1, |run| run.allow_log("was killed by SIGKILL"));
    let mut json = steered.command("events --json").start();
    let mut words = steered.command("events -f").start();
    // Until both follow, nothing that happens is for them.
    eventually("both follow", || {
        steered.done("kill slot:0 CONT");
        steered.done("send slot:0 1");
        steered.done("scale 2");
        steered.done("scale 1");
        json.printed("\"type\":\"scaled\"") && words.printed("scaled       from")
    });
    eventually("one is left", || steered.master.workers().len() == 1 && steered.ready().len() == 1);
    steered.done("kill slot:0 KILL --wait");
    eventually("in JSON", || json.printed("\"type\":\"exit\"") && json.printed("\"signal\":9"));
    eventually("in words", || words.printed("was killed by SIGKILL"));
    eventually("another follows", || steered.ready().len() == 1);
    steered.done("stop --wait");
    for follower in [&mut json, &mut words] {
        assert_eq!(follower.wait_exit().code(), Some(0));
        assert!(follower.printed("stopped") && follower.log().has("has stopped"));
    }
    json.finish();
    words.finish();
    let mut master = steered.master;
    assert_eq!(master.wait_exit().code(), Some(0));
    master.finish();
}

#[test]
fn who_follows_a_master_that_is_killed_is_told() {
    let steered = Steered::start_with(1, |run| run.option("--output", "prefix"));
    let [mut events, mut logs] =
        ["events", "logs -f"].map(|words| steered.command(words).expect_log("has gone before").start());
    eventually("both follow", || {
        steered.done("scale 2 --wait");
        steered.done("scale 1 --wait");
        events.printed("scaled") && logs.printed("listening")
    });
    steered.master.signal(Signal::SIGKILL);
    for follower in [&mut events, &mut logs] {
        assert_eq!(follower.wait_exit().code(), Some(69));
    }
    events.finish();
    logs.finish();
    let mut master = steered.master;
    master.wait_exit();
    master.finish();
}

#[test]
fn following_ends_by_the_signal_that_ends_it() {
    let steered = Steered::start(1);
    let mut events = steered.command("events").start();
    eventually("it follows", || {
        steered.done("scale 2 --wait");
        steered.done("scale 1 --wait");
        events.printed("scaled")
    });
    events.signal(Signal::SIGINT);
    assert_eq!(events.wait_exit().signal(), Some(2));
    events.finish();
    steered.master.finish();
}

#[test]
fn what_workers_write_is_shown_and_followed() {
    let steered = Steered::start_with(2, |run| run.option("--output", "prefix"));
    eventually("both have written", || {
        let text = steered.done("logs");
        text.contains("[0] listening") && text.contains("[1] listening")
    });
    let all = steered.done("logs slot:1");
    assert!(all.lines().all(|line| line.starts_with("[1] ")), "{all}");
    let mut follower = steered.command("logs -f -n 0 slot:1").start();
    eventually("it follows", || {
        steered.done("send slot:0 \"other\"");
        steered.done("send slot:1 \"mine\"");
        follower.printed("[1] got \"mine\"")
    });
    assert!(!follower.printed("other") && !follower.printed("listening"));
    let last = steered.done("logs -n 1 slot:1 --json");
    let last: Value = serde_json::from_str(&last).unwrap();
    assert_eq!(
        (&last["line"], &last["slot"], &last["stream"]),
        (&"got \"mine\"".into(), &1.into(), &"stdout".into())
    );
    assert!(steered.refused("logs 99", 1).contains("worker 99"));
    steered.done("stop --wait");
    assert_eq!(follower.wait_exit().code(), Some(0));
    follower.finish();
    let mut master = steered.master;
    master.wait_exit();
    master.finish();
}

#[test]
fn a_stop_is_waited_for_and_then_nobody_answers() {
    for (words, expected) in [
        ("stop --wait", "stopped"),
        ("stop --fast --wait", "stopped"),
        ("stop", "stopping: 1 worker is left"),
    ] {
        let mut steered = Steered::start(1);
        assert_eq!(steered.done(words), expected);
        assert_eq!(steered.master.wait_exit().code(), Some(0));
        let text = steered.refused("status", 69);
        assert!(text.contains("c.sock: there is no such file"), "{text}");
        steered.master.finish();
    }
}

#[test]
fn where_it_was_looked_for_is_told_and_who_else_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let session = |run: Pointsman| run.env("XDG_RUNTIME_DIR", directory.path());
    let text = Said::from(session(Pointsman::verb("status")).output());
    assert_eq!(text.code, Some(69), "{text:?}");
    let socket = |name: &str| directory.path().join("pointsman").join(name).display().to_string();
    let expected = format!("{}: there is no such file", socket("default.sock"));
    assert!(text.stderr.contains(&expected), "{text:?}");

    let mut master = session(Pointsman::run().workers(1).option("--name", "api")).start();
    master.wait_ready(1);
    let text = Said::from(session(Pointsman::verb("list").option("--name", "web")).output());
    assert!(text.stderr.contains("there are others: --name api"), "{text:?}");
    assert_eq!((text.code, text.stdout.as_str()), (Some(69), ""));
    for by in [
        Pointsman::verb("status").option("--name", "api"),
        Pointsman::verb("status").env("POINTSMAN_NAME", "api"),
    ] {
        let text = Said::from(session(by).output());
        assert!(text.code == Some(0) && text.stdout.starts_with("name         api\n"), "{text:?}");
    }
    // Its name is taken.
    let second = session(Pointsman::run().option("--name", "api")).output();
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && text.contains("api"), "{text}");
    master.signal(Signal::SIGKILL);
    master.wait_exit();
    let text = Said::from(session(Pointsman::verb("status").option("--name", "api")).output());
    assert!(text.stderr.contains("nobody listens there any more"), "{text:?}");
    master.finish();
}

#[test]
fn it_is_for_who_runs_the_master() {
    if !is_root() {
        eprintln!("skipped: only root can become somebody else");
        return;
    }
    let steered = Steered::start(1);
    let public = Public::new();
    fs::set_permissions(steered.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = public.path().join("pointsman");
    fs::copy(env!("CARGO_BIN_EXE_pointsman"), &binary).unwrap();
    let said =
        Said::from(steered.command("stop").binary(&binary).directory(public.path()).user(NOBODY).output());
    assert_eq!(said.code, Some(77), "{said:?}");
    assert!(said.stderr.contains("not permitted") && said.stderr.ends_with("\nask as root"), "{said:?}");
    assert_eq!(steered.ready().len(), 1);
    steered.master.finish();
}

#[test]
fn the_status_is_a_table_for_people_and_an_object_for_programs() {
    let steered = Steered::start(2);
    assert!(steered.refused("logs", 1).contains("output"), "none come to this master");
    assert!(steered.refused("logs -n x", 2).contains("not a number of lines; write -n 20"));
    let no_socket = Pointsman::verb("status").option("--control", steered.directory.path()).output();
    let said = Said::from(no_socket);
    assert!(said.code == Some(69) && said.stderr.contains(": that is no socket; "), "{said:?}");
    let text = steered.done("status");
    for part in [
        "state        running, 2 of 2 workers ready, generation 1\n",
        "\nprogram      /",
        "/steered.js\n",
        "\nLISTENS ON ",
        "\nID  SLOT ",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80) && !text.contains('\u{1b}'), "{text}");
    for worker in steered.ready() {
        assert!(text.contains(&format!(" {} ", worker.pid)), "{text}");
    }
    let coloured = |run: Pointsman| Said::from(run.output()).stdout.contains('\u{1b}');
    assert!(coloured(steered.command("list").env("CLICOLOR_FORCE", "1")));
    assert!(!coloured(steered.command("ls")) && !coloured(steered.command("ls").env("NO_COLOR", "1")));
    let list: Value = serde_json::from_str(&steered.done("list --json")).unwrap();
    assert_eq!(list["workers"].as_array().map(Vec::len), Some(2));
    assert!(list["vacant"].is_array() && list["pid"].is_null());
    assert_eq!(steered.status()["pid"].as_u64(), Some(steered.master.pid().into()));
    // Who has seen enough is no failure.
    let head =
        steered.command("status").through(&["sh", "-c", "\"$@\" | head -n 1; exit ${PIPESTATUS:-0}", "sh"]);
    let said = Said::from(head.output());
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    steered.master.finish();
}

#[test]
fn a_person_at_a_terminal_sees_how_it_goes() {
    let steered = Steered::start(2);
    let watch = |words: &str| {
        let run = steered.command(words).env("TERM", "xterm").through_python("terminal.py", "watch");
        let said = Said::from(run.output());
        assert_eq!(said.code, Some(0), "{said:?}");
        said.stdout
    };
    let shown = watch("reload --wait");
    for part in ["\r\u{1b}[Kreloading", "of 2 workers replaced", "slot 0 starting"] {
        assert!(shown.contains(part), "{part:?} is not in {shown:?}");
    }
    assert!(shown.contains("\r\u{1b}[Kreloaded: generation 2 serves, after "), "{shown:?}");
    let shown = watch("stop --wait");
    assert!(shown.contains("stopping: ") && shown.ends_with("\r\u{1b}[Kstopped"), "{shown:?}");
    let mut master = steered.master;
    master.wait_exit();
    master.finish();
}
