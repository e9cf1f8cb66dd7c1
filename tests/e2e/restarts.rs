//! A thousand workers that die: the master is afterwards what it was before.

use nix::sys::signal::Signal;

use crate::harness::{Master, Pointsman, Process, eventually_some};

/// What may grow with time.
#[derive(Debug)]
struct Size {
    descriptors: Vec<String>,
    processes: usize,
    /// Of the master and its guard, in KiB.
    memory: [u64; 2],
}

impl Size {
    /// When there is nothing of the last worker that died any more.
    fn of(master: &Master, before: Option<&Self>) -> Self {
        let memory = |process: Process| {
            let text = process.status("VmRSS");
            text.split(' ').next().unwrap().parse().unwrap()
        };
        let size = || Self {
            descriptors: master.process().descriptors(),
            processes: master.tree().len(),
            memory: [memory(master.process()), memory(master.guard())],
        };
        let Some(before) = before else { return size() };
        eventually_some("it has as many descriptors and processes as before", || {
            let now = size();
            (now.descriptors == before.descriptors && now.processes == before.processes).then_some(now)
        })
    }
}

/// Kills the one worker again and again. Each request waits for the next one, so no other wait is needed.
fn kill(master: &Master, count: usize) {
    for _ in 0..count {
        let worker = Process::find(master.get("/").pid()).unwrap();
        worker.signal(Signal::SIGKILL);
    }
}

#[test]
fn a_thousand_restarts_leave_nothing_behind() {
    /// For what an allocator keeps. A leak of a hundred bytes with each of 900 workers is more.
    const SLACK_KIB: u64 = 64;
    let run = Pointsman::run().workers(1).option("--restart-delay", "0s");
    let mut master = run.allow_log("was killed by SIGKILL").start();
    master.wait_ready(1);
    let fresh = Size::of(&master, None);
    kill(&master, 100);
    master.wait_ready(1);
    let early = Size::of(&master, Some(&fresh));
    kill(&master, 900);
    let last = master.wait_ready(1).values().map(|answer| answer.number("worker")).max();
    assert_eq!(last, Some(1001));
    let late = Size::of(&master, Some(&early));
    eprintln!("KiB of master and guard: {:?}, then {:?}, then {:?}", fresh.memory, early.memory, late.memory);
    for (early, late) in early.memory.iter().zip(late.memory) {
        assert!(late <= early + SLACK_KIB, "{early} KiB after 100 restarts, {late} KiB after 1000");
    }
    master.finish();
}
