//! How the kernel schedules the master and its workers, as /proc says.

use crate::harness::{Node, Pointsman};

const ORDINARY: i32 = 0;
const BATCH: i32 = 3;

/// The policies of the master and of a worker.
#[track_caller]
fn policies(run: Pointsman) -> (i32, i32) {
    let mut master = run.workers(1).node(Node::DEFAULT, "plain.js").start();
    master.wait_ready(1);
    let policies = (master.process().policy(), master.workers()[0].policy());
    master.finish();
    policies
}

#[test]
fn the_master_is_a_batch_job_and_its_workers_are_not() {
    assert_eq!(policies(Pointsman::run()), (BATCH, ORDINARY));
}

#[test]
fn the_master_stays_as_it_was_if_that_is_wanted() {
    assert_eq!(policies(Pointsman::run().option("--master-scheduling", "normal")), (ORDINARY, ORDINARY));
}

#[test]
fn a_policy_that_somebody_chose_stays() {
    // An idle job gets what others leave, which may be little for a while.
    let through = |option| {
        Pointsman::run().through(&["chrt", option, "0"]).allow_log("has said nothing on its channel")
    };
    assert_eq!(policies(through("--batch")), (BATCH, BATCH));
    let idle = 5;
    assert_eq!(policies(through("--idle")), (idle, idle));
}

#[test]
fn a_master_that_accepts_nothing_stays_as_it_was() {
    assert_eq!(policies(Pointsman::run().option("-m", "shared")), (ORDINARY, ORDINARY));
}
