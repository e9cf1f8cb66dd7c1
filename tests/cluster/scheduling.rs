//! How the thread that has a cluster is scheduled, and its workers.

use std::{fs, process, time::Duration};

use pointsman::Settings;

use crate::outer::Outer;

const ORDINARY: &str = "0";
const BATCH: &str = "3";

/// The policy of the first thread of a process, as in sched(7).
fn policy(pid: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name before the last parenthesis may contain anything; the third field comes after it.
    let mut fields = stat[stat.rfind(')').unwrap() + 2..].split(' ');
    fields.nth(41 - 3).unwrap().to_owned()
}

/// A cluster with one worker, which runs.
fn start() -> Outer {
    let settings = Settings::new("sleep").arg("1000").workers(1).stop_timeout(Duration::ZERO);
    let mut outer = Outer::new(settings);
    outer.until("it sleeps", |outer| {
        let pid = outer.cluster.workers().next().map_or(0, |worker| worker.pid);
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
    });
    outer
}

fn worker(outer: &Outer) -> u32 {
    outer.cluster.workers().next().unwrap().pid
}

pub(crate) fn it_is_a_batch_job_as_long_as_it_has_a_cluster() {
    assert_eq!(policy(process::id()), ORDINARY);
    let (first, second) = (start(), start());
    assert_eq!(policy(process::id()), BATCH);
    assert_eq!([&first, &second].map(worker).map(policy), [ORDINARY; 2], "workers are not");
    drop(first);
    assert_eq!(policy(process::id()), BATCH);
    drop(second);
    assert_eq!(policy(process::id()), ORDINARY);
}
