//! As the first process of a container, to which orphans come. Who may not make a PID namespace is shown all of it with a
//! subreaper, to which they come as well.

use std::process::Command;

use nix::sys::signal::Signal;

use crate::harness::{Master, Pointsman, Process, eventually, eventually_some};

/// How many orphans are left at once.
const ORPHANS: usize = 20;

const NAMESPACE: [&str; 4] = ["unshare", "--pid", "--fork", "--mount-proc"];

/// Where orphans come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Process 1 of a namespace.
    Namespace,
    Subreaper,
}

/// A master to which orphans come, as the test sees it from outside.
struct First {
    /// Or the process that waits for it.
    outer: Master,
    master: Process,
}

fn ways() -> Vec<Way> {
    let tried = Command::new(NAMESPACE[0]).args(&NAMESPACE[1..]).arg("true").output();
    match tried {
        Ok(output) if output.status.success() => vec![Way::Namespace, Way::Subreaper],
        other => {
            eprintln!(
                "no PID namespace can be made here, so this is shown with a subreaper alone: {other:?}"
            );
            vec![Way::Subreaper]
        }
    }
}

#[track_caller]
fn start(way: Way, run: Pointsman) -> First {
    let run = run.option("-m", "shared").option("--restart-delay", "10ms").python("orphans.py");
    let run = match way {
        Way::Namespace => run.through(&NAMESPACE),
        Way::Subreaper => run.through_python("subreaper.py", "-"),
    };
    let outer = run.start();
    let is_master = |process: &Process| process.command_line().iter().any(|word| word == "run");
    let master = match way {
        Way::Namespace => eventually_some("the master runs", || {
            Process::children_of(outer.pid()).into_iter().find(is_master)
        }),
        Way::Subreaper => outer.process(),
    };
    let first = First { outer, master };
    first.wait_answer();
    if way == Way::Namespace {
        assert!(master.status("NSpid").ends_with("\t1"), "{}", master.status("NSpid"));
    }
    first
}

impl First {
    fn children(&self, name: &str) -> Vec<Process> {
        Process::children_of(self.master.pid()).into_iter().filter(|child| child.name() == name).collect()
    }

    #[track_caller]
    fn wait_answer(&self) {
        let answer = || self.outer.try_connect().and_then(|mut client| client.get("/"));
        eventually("it answers", || answer().is_ok_and(|answer| answer.status == 200));
    }

    #[track_caller]
    fn leave_orphans(&self) -> Vec<Process> {
        for _ in 0..ORPHANS {
            assert_eq!(self.outer.get("/orphan").status, 200);
        }
        eventually("all have come to the master", || self.children("orphan").len() == ORPHANS);
        self.children("orphan")
    }

    #[track_caller]
    fn wait_no_zombie(&self) {
        let zombies =
            || Process::children_of(self.master.pid()).into_iter().filter(|child| child.is_zombie());
        eventually("no zombie is left", || zombies().count() == 0);
    }

    /// Stops it, and looks for what is left.
    #[track_caller]
    fn finish(mut self) {
        self.wait_no_zombie();
        self.master.signal(Signal::SIGTERM);
        assert_eq!(self.outer.wait_exit().code(), Some(0));
        self.outer.finish();
    }
}

#[test]
fn orphans_are_reaped_and_workers_are_replaced_as_elsewhere() {
    for way in ways() {
        let run =
            Pointsman::run().workers(1).expect_log("exited with code 3").expect_log("was killed by SIGKILL");
        let first = start(way, run);
        // One at a time, all at once, and together with a worker.
        for orphan in first.leave_orphans() {
            orphan.signal(Signal::SIGTERM);
            eventually("it is reaped", || !orphan.is_alive() && !orphan.is_zombie());
        }
        first.leave_orphans().iter().for_each(|orphan| orphan.signal(Signal::SIGTERM));
        first.wait_no_zombie();
        assert!(first.outer.connect().get("/exit").is_err());
        first.wait_answer();
        let orphans = first.leave_orphans();
        let [worker] = first.children("python3")[..] else { panic!("{:?}", first.children("python3")) };
        // Those that have ended are seen in the order in which they came, and the worker was there first.
        first.master.signal(Signal::SIGSTOP);
        orphans.iter().chain([&worker]).for_each(|process| process.signal(Signal::SIGKILL));
        eventually("all have ended", || orphans.iter().chain([&worker]).all(|process| process.is_zombie()));
        first.master.signal(Signal::SIGCONT);
        first.wait_no_zombie();
        first.wait_answer();
        first.finish();
    }
}

#[test]
fn a_guard_that_ends_there_is_replaced() {
    for way in ways() {
        let first = start(way, Pointsman::run().workers(1).env("RUST_LOG", "info"));
        for _ in 0..2 {
            let [guard] = first.children("pointsman-guard")[..] else { panic!("there is one guard") };
            guard.signal(Signal::SIGKILL);
            let replaced =
                || first.children("pointsman-guard").iter().any(|new| *new != guard && new.is_alive());
            eventually("it has a successor", replaced);
            first.wait_no_zombie();
        }
        let is_said = |line: &&String| line.contains("the guard process had ended");
        let said = || first.outer.log().lines().iter().filter(is_said).count();
        eventually("both ends were seen by whom they concern", || said() == 2);
        first.wait_answer();
        first.finish();
    }
}

#[test]
fn orphans_outlive_no_master_and_a_stop_is_in_order_with_some_left() {
    for way in ways() {
        let first = start(way, Pointsman::run().workers(2));
        let orphans = first.leave_orphans();
        first.master.signal(Signal::SIGTERM);
        let First { mut outer, .. } = first;
        assert_eq!(outer.wait_exit().code(), Some(0));
        if way == Way::Subreaper {
            // They are not in a group of the master's, and no namespace ends with it.
            orphans.iter().for_each(|orphan| orphan.signal(Signal::SIGKILL));
        }
        outer.finish();
    }
}

#[test]
fn a_master_to_which_no_orphans_come_does_not_hear_of_children() {
    let mut master = Pointsman::run().workers(1).start();
    master.wait_ready(1);
    let bit = 1 << (Signal::SIGCHLD as u64 - 1);
    assert_eq!(master.process().signals("SigBlk") & bit, 0);
    master.finish();
}
