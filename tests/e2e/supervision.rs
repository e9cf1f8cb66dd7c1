//! How workers are kept: readiness, crash loops, replacement, their end and their output, as operators ask for it.

use std::{collections::BTreeSet, fs, path::Path};

use nix::sys::signal::Signal;

use crate::harness::{Master, Node, Pointsman, Process, eventually};

fn moods(mood: &str, node: Node) -> Pointsman {
    Pointsman::run().env("MOOD", mood).node(node, "moods.js")
}

fn count(master: &Master, text: &str) -> usize {
    master.log().lines().iter().filter(|line| line.contains(text)).count()
}

/// The processes of its workers, once there are so many.
fn pids(master: &Master, workers: usize) -> BTreeSet<u32> {
    eventually("there are as many workers", || master.workers().len() == workers);
    master.workers().into_iter().map(Process::pid).collect()
}

#[test]
fn a_worker_gets_no_connection_before_it_says_that_it_is_ready() {
    for node in Node::in_both_forms() {
        let place = tempfile::tempdir().unwrap();
        let gate = place.path().join("gate");
        let run = moods("late", node).workers(1).env("GATE", &gate).env("RUST_LOG", "debug");
        let mut master = run.option("--ready-on", "message").start();
        let mut client = master.connect();
        client.send_get("/").unwrap();
        master.wait_log("listens");
        for _ in 0..3 {
            master.wait_turn();
        }
        assert!(!client.has_answer(), "{node}: it waits in the kernel's queue");
        fs::write(&gate, "").unwrap();
        assert_eq!(client.receive().unwrap().json()["requests"], 1);
        drop(client);
        master.wait_ready(1);
        master.finish();
    }
}

#[test]
fn a_worker_that_listens_and_then_fails_never_has_traffic() {
    let place = tempfile::tempdir().unwrap();
    let gate = place.path().join("gate");
    let run = moods("dies", Node::DEFAULT).workers(1).env("GATE", &gate).env("RUST_LOG", "debug");
    let run = run.option("--ready-on", "message").option("--max-crashes", "1");
    let run = run.expect_log("is errored").expect_log("nothing is served");
    let mut master = run.allow_log("exited with code 7").start();
    let mut client = master.connect();
    client.send_get("/").unwrap();
    master.wait_log("listens");
    fs::write(&gate, "").unwrap();
    master.wait_log("slot 0 is errored");
    assert!(!client.has_answer());
    drop(client);
    master.signal(Signal::SIGTERM);
    assert_eq!(master.wait_exit().code(), Some(0));
    master.finish();
}

#[test]
fn a_crash_loop_is_given_up_and_may_end_all() {
    let run = |more: &[&str]| {
        let run = Pointsman::run().workers(2).option("--max-crashes", "3").option("--restart-delay", "10ms");
        let run = more.iter().fold(run, |run, flag| run.flag(flag));
        let run =
            run.expect_log("exited with code 3").expect_log("is errored").expect_log("nothing is served");
        run.node(Node::DEFAULT, "exits.js")
    };
    let mut master = run(&[]).start();
    for slot in 0..2 {
        master.wait_log(&format!("slot {slot} is errored: its workers ended 3 times"));
    }
    eventually("no worker is left", || master.workers().is_empty());
    assert_eq!(count(&master, "exited with code 3"), 6, "and no more");
    master.signal(Signal::SIGTERM);
    assert_eq!(master.wait_exit().code(), Some(0));
    master.finish();

    let run = run(&["--fail-when-errored"]);
    let mut master = run.expect_log("no worker stays alive").start();
    assert_eq!(master.wait_exit().code(), Some(1));
    master.finish();
}

#[test]
fn a_reload_reads_the_configuration_anew_and_refuses_a_bad_one() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("p.toml");
    let write = |text: &str| fs::write(&file, text).unwrap();
    write("workers = 2\nenv_file = \"app.env\"");
    let variables = place.path().join("app.env");
    fs::write(&variables, "VERSION=1").unwrap();
    let run = Pointsman::run().option("-c", &file).expect_log("reload refused, and nothing changes");
    let run = run.expect_log("a reload does not change policy").node(Node::DEFAULT, "moods.js");
    let mut master = run.start();
    let versions = |master: &mut Master, workers| -> BTreeSet<String> {
        let answers = master.wait_ready(workers);
        answers.values().map(|answer| answer.json()["version"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(versions(&mut master, 2), ["1".to_owned()].into());
    let before = pids(&master, 2);

    write("workers = \"many\"");
    master.signal(Signal::SIGHUP);
    let line = master.wait_log("reload refused");
    assert!(line.contains("p.toml:1") && line.contains("not a number of workers"), "{line}");
    write("workers = 2\nprogram = \"/no/such\"\ncwd = \"/no/such\"");
    master.signal(Signal::SIGHUP);
    eventually("it is refused too", || count(&master, "reload refused") == 2);
    assert_eq!(pids(&master, 2), before, "nothing has changed");

    write("workers = 3\npolicy = \"least-connections\"\nenv_file = \"app.env\"");
    fs::write(&variables, "VERSION=2").unwrap();
    master.signal(Signal::SIGHUP);
    master.wait_log("reloaded: generation 2");
    eventually("the old ones are gone", || before.iter().all(|&pid| Process::find(pid).is_none()));
    assert_eq!(versions(&mut master, 3), ["2".to_owned()].into());
    write("workers = 2\nenv_file = \"app.env\"");
    master.signal(Signal::SIGHUP);
    master.wait_log("reloaded: generation 3");
    pids(&master, 2);
    master.finish();
}

#[test]
fn workers_that_are_used_up_are_replaced_and_nothing_is_lost() {
    for (flag, value, mood, said) in [
        ("--max-connections", "20", "", "(max_connections)"),
        ("--max-age", "1s", "", "(max_age)"),
        ("--max-memory", "150MiB", "hungry", "(max_memory)"),
    ] {
        let run = moods(mood, Node::DEFAULT).workers(2).option(flag, value);
        let mut master = run.start();
        let before = pids(&master, 2);
        master.wait_ready(2);
        // Memory is looked at now and then.
        eventually("both are replaced", || {
            assert_eq!(master.get("/").status, 200);
            let gone = |&pid: &u32| Process::find(pid).is_none();
            before.iter().all(gone)
        });
        assert!(count(&master, said) >= 2, "{flag}");
        master.finish();
    }
}

#[test]
fn a_worker_whose_event_loop_stands_still_is_replaced() {
    for node in Node::in_both_forms() {
        let run = moods("dreams", node).workers(2).option("--ping-timeout", "500ms");
        let run = run.expect_log("has not answered for").expect_log("was killed by SIGKILL");
        let mut master = run.start();
        let before = master.wait_ready(2);
        let mut client = master.connect();
        client.send_get("/dream").unwrap();
        master.wait_log("it is killed and replaced");
        eventually("one is another", || {
            let after = pids(&master, 2);
            after.iter().filter(|pid| before.contains_key(pid)).count() == 1
        });
        master.wait_ready(2);
        assert!(client.is_closed_by_server());
        drop(client);
        master.finish();
    }
}

#[test]
fn a_worker_is_told_to_leave_in_the_words_that_were_chosen() {
    for (with, signal, expected) in [
        ("message:shutdown", "TERM", "leaves by shutdown"),
        ("signal", "INT", "leaves by SIGINT"),
        ("message:shutdown", "SIGINT", "leaves by shutdown"),
    ] {
        let run = moods("polite", Node::DEFAULT).workers(1).option("--stop-with", with);
        let mut master = run.option("--stop-signal", signal).start();
        master.wait_ready(1);
        master.signal(Signal::SIGTERM);
        assert_eq!(master.wait_exit().code(), Some(0));
        assert!(master.printed(expected), "{with}");
        master.finish();
    }
}

#[test]
fn workers_start_one_after_the_other() {
    let place = tempfile::tempdir().unwrap();
    let gate = place.path().join("gate");
    let run = moods("late", Node::DEFAULT).workers(3).env("GATE", &gate).option("--ready-on", "message");
    let mut master = run.option("--max-starting", "1").start();
    eventually("one is started", || master.workers().len() == 1);
    for _ in 0..5 {
        master.wait_turn();
        assert_eq!(master.workers().len(), 1);
    }
    fs::write(&gate, "").unwrap();
    master.wait_ready(3);
    master.finish();
}

#[test]
fn signals_scale_and_send_all_away() {
    let mut master = moods("", Node::DEFAULT).workers(1).start();
    let first = master.wait_ready(1);
    master.signal(Signal::SIGTTOU);
    master.wait_turn();
    assert_eq!(pids(&master, 1), first.keys().copied().collect(), "the last one stays");
    master.signal(Signal::SIGTTIN);
    master.wait_ready(2);
    master.signal(Signal::SIGWINCH);
    eventually("all are gone", || master.workers().is_empty());
    let mut client = master.connect();
    client.send_get("/").unwrap();
    master.wait_turn();
    assert!(!client.has_answer());
    master.signal(Signal::SIGTTIN);
    assert_eq!(client.receive().unwrap().number("slot"), 0);
    drop(client);
    master.wait_ready(1);
    master.finish();
}

#[test]
fn output_goes_to_files_that_are_opened_anew() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("{slot}.log");
    let run = moods("chatty", Node::DEFAULT).workers(2).option("--output", &path);
    let mut master = run.start();
    master.wait_ready(2);
    let file = |name: &str| fs::read_to_string(place.path().join(name)).unwrap_or_default();
    eventually("both have written", || {
        file("0.log").contains("request /") && file("1.log").contains("request /")
    });
    assert!(!master.printed("request /"));
    fs::rename(place.path().join("0.log"), place.path().join("0.old")).unwrap();
    master.signal(Signal::SIGUSR1);
    eventually("there is another", || Path::exists(&place.path().join("0.log")));
    let before = file("0.old");
    master.wait_ready(2);
    eventually("it is written to", || file("0.log").contains("request /"));
    assert_eq!(file("0.old"), before, "and the old one no more");
    master.finish();
}

#[test]
fn each_line_has_its_slot() {
    let run = || moods("chatty", Node::DEFAULT).workers(2);
    for run in [run().option("--output", "prefix"), run().on_a_terminal()] {
        let mut master = run.start();
        master.wait_ready(2);
        for slot in 0..2 {
            eventually("it has written", || master.printed(&format!("[{slot}] request /")));
        }
        master.finish();
    }
}

/// Where nobody looks, what workers write is passed on untouched.
#[test]
fn elsewhere_output_is_nobody_s_business() {
    let mut master = moods("chatty", Node::DEFAULT).workers(1).start();
    master.wait_ready(1);
    eventually("it has written", || master.printed("request /"));
    assert!(!master.printed("[0]"));
    master.finish();
}

#[test]
fn a_worker_with_connections_open_may_have_longer_to_leave() {
    let slow = |linger: &str| {
        let run = Pointsman::run().workers(1).option("--stop-timeout", "100ms");
        let run = run.option("--linger-timeout", linger).option("--kill-timeout", "20s");
        let run = run.allow_log("it gets SIGTERM").allow_log("linger_timeout");
        let mut master = run.node(Node::DEFAULT, "plain.js").start();
        master.wait_ready(1);
        let mut client = master.connect();
        client.send_get("/slow?ms=1000").unwrap();
        eventually("the worker has it", || master.workers()[0].connections() == 1);
        master.signal(Signal::SIGTERM);
        let answer = client.receive();
        assert_eq!(master.wait_exit().code(), Some(0));
        drop(client);
        master.finish();
        answer.is_ok_and(|answer| answer.status == 200)
    };
    assert!(!slow("off"), "the signal cuts it");
    assert!(slow("20s"));
}
