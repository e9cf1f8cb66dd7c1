//! A master that has nothing to do sleeps, however many workers, clients and followers it has.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Pointsman, eventually, now};

const WORKERS: usize = 64;

/// Wake-ups in a second that nobody minds.
const MOST: u64 = 2;

/// For how long it is looked at.
const LOOK: Duration = Duration::from_secs(5);

#[test]
fn with_sixty_four_workers_it_wakes_up_at_most_twice_a_second() {
    let run = Pointsman::run().workers(WORKERS).option("--admin", "0").option("--output", "prefix");
    let mut master = run.start();
    master.wait_ready(WORKERS);
    let (mut events, mut logs) = (master.control(), master.control());
    eventually("the ends of all connections are told", || {
        let status = events.done(&json!({ "verb": "status" }));
        status["workers"].as_array().unwrap().iter().all(|worker| worker["connections"] == 0)
    });
    events.done(&json!({ "verb": "events" }));
    logs.done(&json!({ "verb": "logs", "follow": true }));
    let wakeups = || -> u64 {
        let of = |status: &String| {
            let count =
                status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
            count.trim().parse::<u64>().unwrap()
        };
        master.process().threads().iter().map(of).sum()
    };
    let (begin, before) = (now(), wakeups());
    eventually("it was looked at for long enough", || begin.elapsed() >= LOOK);
    let woken = wakeups() - before;
    assert!(woken <= MOST * LOOK.as_secs(), "woken {woken} times in {LOOK:?}");
    println!("woken {woken} times in {LOOK:?}");
    drop((events, logs));
    master.finish();
}
