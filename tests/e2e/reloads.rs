//! Reloads and changes of the number of workers under load: nothing is lost, and who should be replaced is.

use std::{fs, path::Path};

use nix::sys::signal::Signal;

use crate::{
    harness::{Master, Node, Pointsman, Process, eventually},
    traffic::{self, Kept, Load, Plan, Report},
    under_load::{begun, check_kept_whole, check_served_once, noting, wait_answers},
};

const WORKERS: usize = 4;

/// What the log says of a reload that replaced every worker.
const RELOADED: &str = "reloaded";
/// What it says of one that was given up.
const FAILED: &str = "reload failed";

/// How many lines of the log have this text.
fn count(master: &Master, text: &str) -> usize {
    master.log().lines().iter().filter(|line| line.contains(text)).count()
}

/// Reloads, and waits until the log has one more line with this text.
#[track_caller]
fn reload(master: &Master, end: &str) {
    let before = count(master, end);
    master.signal(Signal::SIGHUP);
    eventually(&format!("a line with {end:?}"), || count(master, end) > before);
}

/// Lets a worker take no longer than this to become ready.
fn impatient(run: Pointsman) -> Pointsman {
    run.option("--start-timeout", "3s")
}

/// Waits until all workers are others than before, which are gone.
#[track_caller]
fn wait_replaced(load: &Load, master: &Master, before: &[Process]) {
    eventually("those that were replaced are gone", || before.iter().all(|worker| !worker.is_alive()));
    wait_answers(load, master, WORKERS, before);
}

/// Ends the load, and asks for every answer.
#[track_caller]
fn check_nothing_lost(load: Load, notes: &Path) {
    let report = load.stop();
    eprintln!("{report}");
    check_served_once(&report, &begun(notes));
    check_whole(&report);
}

#[track_caller]
fn check_whole(report: &Report) {
    assert!(report.failed.is_empty() && report.answered == report.sent, "{report}");
}

#[test]
fn twenty_reloads_in_a_row_lose_nothing() {
    for node in Node::matrix() {
        let notes = tempfile::tempdir().unwrap();
        let mut master = noting(node, notes.path()).workers(WORKERS).start();
        master.wait_ready(WORKERS);
        let load = Load::start(Plan::to(master.address()));
        for _ in 0..20 {
            let before = master.workers();
            reload(&master, RELOADED);
            wait_replaced(&load, &master, &before);
        }
        check_nothing_lost(load, notes.path());
        master.finish();
    }
}

#[test]
fn more_workers_and_fewer_again_lose_nothing() {
    for node in Node::matrix() {
        let notes = tempfile::tempdir().unwrap();
        let mut master = noting(node, notes.path()).workers(2).start();
        let first = master.wait_ready(2);
        let load = Load::start(Plan::to(master.address()));
        for workers in 3..=8 {
            master.signal(Signal::SIGTTIN);
            wait_answers(&load, &master, workers, &[]);
        }
        for workers in (2..=7).rev() {
            master.signal(Signal::SIGTTOU);
            wait_answers(&load, &master, workers, &[]);
        }
        assert!(master.workers().iter().all(|worker| first.contains_key(&worker.pid())), "the oldest stay");
        check_nothing_lost(load, notes.path());
        master.finish();
    }
}

#[test]
fn a_version_that_never_becomes_ready_replaces_nobody() {
    for node in Node::matrix() {
        let notes = tempfile::tempdir().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("token.js");
        fs::copy(traffic::program(), &program).unwrap();
        let run = impatient(Pointsman::run().form(node.form)).program(node.path()).arg(&program);
        let run = run.env("NOTES", notes.path()).expect_log(FAILED).expect_log("was not ready");
        let mut master = run.workers(WORKERS).start();
        master.wait_ready(WORKERS);
        let load = Load::start(Plan::to(master.address()));
        let before = master.workers();
        let broken = directory.path().join("broken");
        fs::write(&broken, "").unwrap();
        reload(&master, FAILED);
        eventually("only the old ones are left", || master.workers() == before);
        wait_answers(&load, &master, WORKERS, &[]);
        assert_eq!(master.workers(), before);
        // As soon as the program is whole again, so is the reload.
        fs::remove_file(&broken).unwrap();
        reload(&master, RELOADED);
        wait_replaced(&load, &master, &before);
        check_nothing_lost(load, notes.path());
        master.finish();
    }
}

/// Three reloads while clients keep their connections.
fn check_kept(run: Pointsman, notes: &Path) {
    let mut master = run.workers(WORKERS).start();
    master.wait_ready(WORKERS);
    let plan = Plan::to(master.address());
    let kept = Kept::start(Plan { in_flight: 12, per_second: 100, ..plan });
    let load = Load::start(Plan { in_flight: 15, per_second: 150, ..plan });
    for _ in 0..3 {
        let before = master.workers();
        reload(&master, RELOADED);
        wait_replaced(&load, &master, &before);
    }
    let kept = kept.stop();
    eprintln!("{kept}");
    check_whole(&load.stop());
    assert!(kept.closed_between > 0, "no reload has met a kept connection: {kept}");
    check_kept_whole(&kept, &begun(notes));
    master.finish();
}

#[test]
fn kept_connections_to_a_program_that_leaves_are_closed_between_two_responses() {
    for node in Node::matrix() {
        let notes = tempfile::tempdir().unwrap();
        check_kept(noting(node, notes.path()).env("LEAVES", "1"), notes.path());
    }
}

/// It says `Connection: close` to nobody, and its clients ask again before it closes what is idle: it would not leave
/// before it is forced to.
#[test]
fn kept_connections_to_a_plain_program_are_closed_between_two_responses() {
    for node in Node::matrix() {
        let notes = tempfile::tempdir().unwrap();
        check_kept(noting(node, notes.path()).option("--stop-timeout", "5s"), notes.path());
    }
}
