//! Workers that take no more than so many connections, and leave when the last has ended.

use std::time::Duration;

use pointsman::{Event, ExitStatus, Mode, Stop};

use crate::{call::Call, outer::Outer, pollable::settings};

const WORKERS: usize = 2;

/// Connections beyond what the workers take.
const MORE: usize = 6;

/// A cluster whose workers take one connection each, and have it: both are held.
fn full(mode: Mode) -> (Outer, Vec<Call>) {
    let settings =
        settings().workers(WORKERS).mode(mode).env("LIMIT", "1").stop_timeout(Duration::from_secs(600));
    let mut outer = Outer::new(settings);
    outer.until_serving(WORKERS);
    let held = (0..WORKERS).map(|_| Call::new(outer.address(), "hold")).collect();
    outer.until("each worker has one", |outer| taken(outer) == WORKERS);
    (outer, held)
}

/// How many connections the workers say they have, or had.
fn taken(outer: &Outer) -> usize {
    outer.seen.iter().filter(|event| matches!(event, Event::Message { .. })).count()
}

fn nothing_is_lost(mode: Mode, met: impl Fn(&Outer) -> bool) {
    let (mut outer, mut held) = full(mode);
    let mut more: Vec<_> = (0..MORE).map(|_| Call::new(outer.address(), "pid")).collect();
    outer.until("the workers have met one too many", |outer| met(outer));
    assert!(taken(&outer) == WORKERS && more.iter_mut().all(|call| call.answer().is_none()));
    held[0].say("one");
    assert_eq!(outer.answer(&mut held[0]), "one");
    for call in &mut more {
        assert!(outer.answer(call).parse::<u32>().is_ok(), "by the one that is free");
    }
    assert!(held[1].answer().is_none());
    held[1].say("two");
    assert_eq!(outer.answer(&mut held[1]), "two");
    outer.until("all are told of", |outer| taken(outer) == WORKERS + MORE);
    let counters = outer.cluster.counters();
    assert_eq!((counters.lost, counters.rejected), (0, 0));
    assert_eq!(counters.handed, if mode == Mode::Handoff { (WORKERS + MORE) as u64 } else { 0 });
}

pub(crate) fn beyond_their_limit_nothing_is_lost_when_the_master_hands_over() {
    nothing_is_lost(Mode::Handoff, |outer| outer.cluster.counters().refused >= WORKERS as u64);
}

pub(crate) fn beyond_their_limit_nothing_is_lost_when_the_workers_accept() {
    // Nobody tells; the workers would have taken one in the time of a few turns.
    nothing_is_lost(Mode::Shared, |_| true);
}

pub(crate) fn workers_leave_when_their_last_connection_has_ended() {
    for mode in [Mode::Handoff, Mode::Shared] {
        let (mut outer, mut held) = full(mode);
        outer.cluster.stop(Stop::Graceful);
        held[0].say("one");
        assert_eq!(outer.answer(&mut held[0]), "one");
        outer.until("that worker has left", |outer| outer.cluster.workers().count() == 1);
        assert!(held[1].answer().is_none());
        held[1].say("two");
        assert_eq!(outer.answer(&mut held[1]), "two");
        outer.until("it has stopped", |outer| outer.cluster.is_stopped());
        let left = |event: &&Event| {
            matches!(event, Event::Exit { status: ExitStatus::Code(0), exited_after_disconnect: true, .. })
        };
        assert_eq!(outer.seen.iter().filter(left).count(), WORKERS, "{:?}", outer.seen);
    }
}
