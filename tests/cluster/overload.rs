//! More connections than the workers have room for, and workers that do not answer: what becomes of the connections,
//! and what is counted.

use std::{collections::BTreeSet, time::Duration};

use nix::sys::signal::Signal;
use pointsman::{Event, ExitStatus, Loss, Overload, Settings, Stop, Trouble, WorkerId};

use crate::{
    call::Call,
    outer::Outer,
    pollable::settings,
    process::{freeze, is_alive, signal, thaw},
};

const WORKERS: usize = 2;
const WINDOW: usize = 3;
/// What all windows hold.
const ROOM: usize = WORKERS * WINDOW;
/// That it does not hold.
const MORE: usize = 10;

/// Answers take as long as they take.
fn patient() -> Settings {
    settings().workers(WORKERS).window(WINDOW).handoff_timeout(None)
}

fn pids(outer: &Outer) -> Vec<u32> {
    outer.cluster.workers().map(|worker| worker.pid).collect()
}

fn calls(outer: &Outer, count: usize) -> Vec<Call> {
    (0..count).map(|_| Call::new(outer.address(), "pid")).collect()
}

/// A cluster whose workers are frozen and whose windows are full.
fn full(settings: Settings) -> (Outer, Vec<Call>) {
    let mut outer = Outer::new(settings);
    outer.until_serving(WORKERS);
    pids(&outer).into_iter().for_each(freeze);
    let calls = calls(&outer, ROOM);
    outer.until("the windows are full", |outer| outer.cluster.counters().accepted == ROOM as u64);
    (outer, calls)
}

pub(crate) fn connections_that_nobody_has_room_for_are_turned_away_and_counted() {
    let after = Duration::from_millis(50);
    let (mut outer, mut waiting) = full(patient().overload(Overload::Reject { after }));
    let mut refused = calls(&outer, MORE);
    for call in &mut refused {
        let answer = outer.answer(call);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
        for header in ["Connection: close", "Retry-After: 1", "Content-Type: text/plain"] {
            assert!(head.lines().any(|line| line == header), "{header} is not in {answer}");
        }
        assert_eq!(body, "Service Unavailable");
    }
    let counters = outer.cluster.counters();
    assert_eq!((counters.accepted, counters.rejected, counters.waits), (ROOM as u64, MORE as u64, 1));
    assert!(waiting.iter_mut().all(|call| call.answer().is_none()), "those in the windows still wait");

    pids(&outer).into_iter().for_each(thaw);
    for call in &mut waiting {
        outer.answer(call);
    }
    let recovered =
        |event: &Event| matches!(event, Event::Recovered { rejected, .. } if *rejected == MORE as u64);
    outer
        .until("there is room again, and nobody has to come first", |outer| outer.seen.iter().any(recovered));
    assert!(pids(&outer).contains(&outer.ask("pid").parse().unwrap()));
    outer.until("all is accounted for", |outer| outer.cluster.counters().handed == ROOM as u64 + 1);
    let counters = outer.cluster.counters();
    assert_eq!((counters.rejected, counters.refused, counters.lost), (MORE as u64, 0, 0));
    outer.until_nothing_is_open();
}

pub(crate) fn connections_that_nobody_has_room_for_wait_and_all_are_served() {
    let (mut outer, mut waiting) = full(patient().overload(Overload::Wait));
    waiting.extend(calls(&outer, MORE));
    outer.until("waiting begins", |outer| outer.cluster.counters().waits == 1);
    outer.drive();
    let counters = outer.cluster.counters();
    assert_eq!((counters.accepted, counters.handed), (ROOM as u64, 0), "the rest is the kernel's");
    assert!(outer.cluster.workers().all(|worker| worker.in_flight == WINDOW));
    assert_eq!(outer.cluster.timeout(), None, "nor does anybody look whether there is room");

    let pids = pids(&outer);
    pids.iter().copied().for_each(thaw);
    for call in &mut waiting {
        assert!(pids.contains(&outer.answer(call).parse().unwrap()));
    }
    let all = (ROOM + MORE) as u64;
    outer.until("all is accounted for", |outer| outer.cluster.counters().handed == all);
    let counters = outer.cluster.counters();
    assert_eq!((counters.accepted, counters.rejected, counters.refused, counters.lost), (all, 0, 0, 0));
    outer.until_nothing_is_open();
}

/// Of two frozen workers one is killed: what was on the way to it comes back, and the other's window is full. It has
/// a second from the word to stop.
pub(crate) fn connections_that_came_back_before_a_stop_are_served_or_counted() {
    for thaws in [true, false] {
        // Whoever comes now is turned away: nothing waits in the kernel's queue.
        let overload = Overload::Reject { after: Duration::from_millis(50) };
        // Nobody takes the place of who is killed.
        let settings = patient().overload(overload).warm_up(Duration::from_secs(60));
        let (mut outer, mut waiting) = full(settings);
        assert!(outer.ask("pid").contains(" 503 "));
        let pids = pids(&outer);
        signal(pids[0], Signal::SIGKILL);
        outer.until("its end is seen", |outer| outer.words(WorkerId(1)).contains(&"exit"));
        assert_eq!(outer.cluster.counters().replaced, WINDOW as u64);
        outer.cluster.stop(Stop::Graceful);
        if !thaws {
            let told = |event: &Event| {
                matches!(event, Event::LostConnections { count: WINDOW, cause: Loss::Stopping })
            };
            outer.until("they are given up", |outer| outer.seen.iter().any(told));
        }
        thaw(pids[1]);
        outer.until("it has stopped", |outer| matches!(outer.seen.last(), Some(Event::Stopped)));
        let answers: Vec<_> = waiting.iter_mut().map(|call| outer.answer(call)).collect();
        let served = answers.iter().filter(|answer| **answer == pids[1].to_string()).count();
        let lost = if thaws { 0 } else { WINDOW };
        assert_eq!(served, ROOM - lost, "{answers:?}");
        assert_eq!(outer.cluster.counters().lost, lost as u64);
    }
}

/// Two clusters at once: the one's worker is stuck, the other's has nothing to do.
pub(crate) fn a_stuck_worker_is_replaced_and_one_that_owes_nothing_is_left_alone() {
    let impatient = || {
        let settings = settings().window(WINDOW).restart_delay(Duration::from_millis(10));
        settings.handoff_timeout(Some(Duration::from_millis(100)))
    };
    let mut idle = Outer::new(impatient().workers(1));
    idle.until_serving(1);
    let idler: u32 = idle.ask("pid").parse().unwrap();
    idle.until("its answer is in", |idle| idle.cluster.counters().handed == 1);
    freeze(idler);

    let mut outer = Outer::new(impatient().workers(WORKERS));
    outer.until_serving(WORKERS);
    let stuck = outer.cluster.workers().next().unwrap();
    freeze(stuck.pid);
    let mut waiting = calls(&outer, ROOM);
    outer.until("it is killed", |outer| outer.words(stuck.id).contains(&"exit"));
    let served: BTreeSet<u32> = waiting.iter_mut().map(|call| outer.answer(call).parse().unwrap()).collect();
    assert!(!served.contains(&stuck.pid));
    let successor = WorkerId(3);
    outer.until("another listens", |outer| outer.words(successor).contains(&"listening"));
    check_told(&outer.seen, stuck.id);
    let counters = outer.cluster.counters();
    assert_eq!((counters.replaced, counters.lost, counters.refused), (WINDOW as u64, 0, 0));
    outer.until_nothing_is_open();

    idle.drive();
    assert_eq!(idle.cluster.timeout(), None, "nothing is going to happen to it");
    assert_eq!(idle.words(WorkerId(1)), ["fork", "online", "listening"]);
    assert!(is_alive(idler));
    thaw(idler);
    assert_eq!(idle.ask("pid"), idler.to_string());
}

/// What was said of a worker that was stuck, in this order.
#[track_caller]
fn check_told(seen: &[Event], stuck: WorkerId) {
    let reported = |event: &Event| {
        matches!(event, Event::Trouble { worker, trouble: Trouble::Stuck { after } }
            if *worker == stuck && *after >= Duration::from_millis(100))
    };
    let ended = |event: &Event| {
        matches!(event, Event::Exit { worker, status: ExitStatus::Signal(9), restart: Some(_), .. }
            if *worker == stuck)
    };
    let at = |what: &dyn Fn(&Event) -> bool| seen.iter().position(what);
    assert!(at(&reported).is_some() && at(&reported) < at(&ended), "{seen:?}");
    let troubles = seen.iter().filter(|event| matches!(event, Event::Trouble { .. })).count();
    assert_eq!(troubles, 1, "{seen:?}");
}
