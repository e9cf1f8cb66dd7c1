//! Workers that die under load: what is lost, and what must not be.
//!
//! The program writes the token of each request down before it serves it, so that what a dead worker had begun with is
//! known, and also whether two workers began with the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::{
    harness::{Master, Node, Pointsman, Process, eventually},
    traffic::{self, Kept, KeptReport, Load, Plan, Report},
};

/// Connections that may be on their way to one worker: it may have accepted so many and not yet begun with a request.
const WINDOW: usize = 8;

/// A master with `token.js`, which writes its notes to this directory.
pub(crate) fn noting(node: Node, notes: &Path) -> Pointsman {
    let run = Pointsman::run().form(node.form).program(node.path()).arg(traffic::program());
    run.env("NOTES", notes)
}

/// The tokens that each process has begun with.
pub(crate) fn begun(notes: &Path) -> BTreeMap<u32, BTreeSet<String>> {
    let files = notes.read_dir().unwrap().map(|entry| entry.unwrap());
    let pid = |file: &fs::DirEntry| file.file_name().to_str().unwrap().parse().unwrap();
    let tokens = |file: &fs::DirEntry| fs::read_to_string(file.path()).unwrap();
    files.map(|file| (pid(&file), tokens(&file).lines().map(str::to_owned).collect())).collect()
}

/// Nothing was answered wrongly, and no two workers began with the same request.
#[track_caller]
pub(crate) fn check_served_once(report: &Report, begun: &BTreeMap<u32, BTreeSet<String>>) {
    assert_eq!((report.mistaken(), report.twice()), (0, 0), "{report}");
    let mut seen = BTreeSet::new();
    for token in begun.values().flatten() {
        assert!(seen.insert(token), "{token} was begun with twice: {report}");
    }
    assert!(seen.len() >= report.answered, "the notes are not whole: {} of {report}", seen.len());
    // A machine that is busy may slow the load down, but not to nothing.
    assert!(report.per_second() > 100.0, "{report}");
}

/// No response was cut, and where a request met the close of an idle connection on its way, no worker had begun with it.
#[track_caller]
pub(crate) fn check_kept_whole(kept: &KeptReport, begun: &BTreeMap<u32, BTreeSet<String>>) {
    assert!(kept.failed.is_empty() && kept.answered > 0, "{kept}");
    for crossed in &kept.crossed {
        assert!(!begun.values().any(|tokens| tokens.contains(&crossed.token)), "{crossed} was lost: {kept}");
    }
}

/// Waits until every worker has answered something that was sent from now on, and all of them are others than `gone`.
#[track_caller]
pub(crate) fn wait_answers(load: &Load, master: &Master, count: usize, gone: &[Process]) {
    let since = load.elapsed();
    eventually(&format!("{count} workers answer under load"), || {
        let workers = master.workers();
        let answered = load.first_by_pid(since);
        workers.len() == count
            && workers.iter().all(|worker| answered.contains_key(&worker.pid()) && !gone.contains(worker))
    });
}

/// One kill, by the clock of the load.
struct Kill {
    victim: u32,
    begun: Duration,
    /// When it was gone.
    ended: Duration,
}

/// Each loss belongs to the last kill before it ended. Returns how many each kill cost.
#[track_caller]
fn check_losses(report: &Report, kills: &[Kill], begun: &BTreeMap<u32, BTreeSet<String>>) -> Vec<usize> {
    let mut losses = vec![0; kills.len()];
    let mut unseen = vec![0; kills.len()];
    for lost in report.lost() {
        let number = kills.iter().rposition(|kill| kill.begun <= lost.ended);
        let number = number.unwrap_or_else(|| panic!("lost before the first kill: {report}"));
        let text = lost.to_string();
        assert!(
            text.contains("reset") || text.contains("closed"),
            "a dead worker explains none of these: {report}"
        );
        losses[number] += 1;
        let Kill { victim, ended, .. } = kills[number];
        assert!(lost.begun <= ended, "{lost}, but was sent when no worker was dying: {report}");
        let its_own = begun.get(&victim);
        if !its_own.is_some_and(|tokens| tokens.contains(&lost.token)) {
            let other = begun.values().any(|tokens| tokens.contains(&lost.token));
            assert!(!other, "lost with a worker that was not killed: {report}");
            unseen[number] += 1;
        }
    }
    assert!(unseen.iter().all(|&count| count <= WINDOW), "lost and never begun with: {unseen:?}, {report}");
    losses
}

#[test]
fn a_killed_worker_takes_only_what_it_had_accepted() {
    const WORKERS: usize = 4;
    const KILLS: usize = 10;
    for node in Node::matrix() {
        let notes = tempfile::tempdir().unwrap();
        let run = noting(node, notes.path()).option("--restart-delay", "10ms");
        let run = run.allow_log("was killed by SIGKILL").allow_log("they are lost");
        let mut master = run.workers(WORKERS).start();
        master.wait_ready(WORKERS);
        let load = Load::start(Plan::to(master.address()));
        let mut kills = Vec::new();
        for _ in 0..KILLS {
            wait_answers(&load, &master, WORKERS, &[]);
            // As good as at random.
            let victim = master.workers()[load.answered() % WORKERS];
            let start = load.elapsed();
            victim.signal(Signal::SIGKILL);
            eventually("it is gone", || !victim.is_alive());
            kills.push(Kill { victim: victim.pid(), begun: start, ended: load.elapsed() });
            wait_answers(&load, &master, WORKERS, &[victim]);
        }
        let report = load.stop();
        let begun = begun(notes.path());
        let losses = check_losses(&report, &kills, &begun);
        eprintln!("{report}\nlost with each: {losses:?}");
        check_served_once(&report, &begun);
        assert!(losses.iter().all(|&count| count <= Plan::to(master.address()).in_flight), "{losses:?}");
        master.finish();
    }
}

#[test]
fn a_stop_closes_kept_connections_between_two_responses() {
    const CLIENTS: usize = 12;
    for node in Node::matrix() {
        let notes = tempfile::tempdir().unwrap();
        let mut master = noting(node, notes.path()).env("LEAVES", "1").workers(2).start();
        master.wait_ready(2);
        let kept = Kept::start(Plan { in_flight: CLIENTS, per_second: 100, ..Plan::to(master.address()) });
        eventually("all keep a connection", || {
            begun(notes.path()).values().map(BTreeSet::len).sum::<usize>() > 50
        });
        master.signal(Signal::SIGTERM);
        assert_eq!(master.wait_exit().code(), Some(0));
        let mut kept = kept.stop();
        eprintln!("{kept}");
        // Then nobody listens any more.
        kept.failed.retain(|exchange| exchange.port.is_some());
        assert_eq!(kept.closed_between + kept.crossed.len(), CLIENTS, "{kept}");
        check_kept_whole(&kept, &begun(notes.path()));
        master.finish();
    }
}
