//! What a supervisor is told, event by event.

use std::os::unix::net::UnixDatagram;

use tempfile::TempDir;

use super::*;
use crate::fleet::{ExitStatus, ReloadFailure, WorkerId};

const NOW: Time = Time(5_000_000);

/// One who listens, and one who tells it of two workers.
struct Both {
    supervisor: Supervisor,
    /// Slots that are given up.
    errored: usize,
    listener: UnixDatagram,
    _directory: TempDir,
}

impl Both {
    fn new(watchdog: Option<Watchdog>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let supervisor = Supervisor::new(Sender::to(path.as_os_str()).unwrap(), 2, watchdog);
        Self { supervisor, listener, errored: 0, _directory: directory }
    }

    /// Lets this happen, and then so many workers be ready, of as many.
    fn after(&mut self, events: &[Event], ready: usize) -> Vec<String> {
        self.at(NOW, events, ready)
    }

    fn at(&mut self, now: Time, events: &[Event], ready: usize) -> Vec<String> {
        events.iter().for_each(|event| self.supervisor.handle(now, event));
        if self.supervisor.is_due(now) {
            self.supervisor.tell(now, Count { ready, all: ready, errored: self.errored, lanes: true });
        }
        self.heard()
    }

    fn heard(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let next =
            || self.listener.recv(&mut buffer).ok().map(|n| String::from_utf8(buffer[..n].into()).unwrap());
        std::iter::from_fn(next).collect()
    }
}

fn ready(id: u32) -> Event {
    Event::Ready { worker: WorkerId(id), after: Duration::ZERO }
}

fn exit(id: u32) -> Event {
    let status = ExitStatus::Code(1);
    let lived = Duration::ZERO;
    Event::Exit { worker: WorkerId(id), status, exited_after_disconnect: false, lived, restart: None }
}

fn errored() -> Event {
    Event::Errored { slot: 1, crashes: 10, within: Duration::ZERO }
}

fn reloading() -> Event {
    Event::Reloading { generation: 2, workers: 2, supersedes: false }
}

#[test]
fn it_is_ready_once_all_workers_are() {
    let mut both = Both::new(None);
    assert_eq!(both.after(&[], 0), ["STATUS=0 of 2 workers ready"]);
    assert_eq!(both.after(&[ready(1)], 1), ["STATUS=1 of 2 workers ready"]);
    assert_eq!(both.after(&[ready(1)], 1), [""; 0], "nothing is new");
    assert_eq!(both.after(&[ready(2)], 2), ["READY=1\nSTATUS=2 of 2 workers ready"]);
    assert_eq!(both.after(&[exit(2)], 1), ["STATUS=1 of 2 workers ready"]);
    both.errored = 1;
    assert_eq!(both.after(&[errored()], 1), ["STATUS=1 of 2 workers ready, 1 given up"]);
    both.errored = 0;
    let fork = Event::Fork { worker: WorkerId(9), slot: 1, pid: 9, generation: 1 };
    assert_eq!(both.after(&[fork], 1), ["STATUS=1 of 2 workers ready"]);
    assert_eq!(both.after(&[Event::Scaled { from: 2, to: 1 }], 1), ["STATUS=1 of 1 worker ready"]);
    let stopping = Event::Stopping { workers: 1, timeout: None };
    assert_eq!(both.after(&[stopping], 1), ["STOPPING=1\nSTATUS=stopping: 1 worker left"]);
    assert_eq!(both.after(&[exit(1), Event::Stopped], 0), ["STATUS=stopped"]);
}

#[test]
fn a_slot_that_is_given_up_keeps_nobody_else_from_serving() {
    let mut both = Both::new(None);
    both.errored = 1;
    assert_eq!(both.after(&[errored()], 0), ["STATUS=0 of 2 workers ready, 1 given up"]);
    assert_eq!(both.after(&[ready(1)], 1), ["READY=1\nSTATUS=1 of 2 workers ready, 1 given up"]);
    let mut nobody = Both::new(None);
    nobody.errored = 2;
    assert_eq!(nobody.after(&[errored()], 0), ["STATUS=0 of 2 workers ready, 2 given up"]);
}

#[test]
fn it_is_not_ready_while_it_waits_for_something() {
    let mut both = Both::new(None);
    both.supervisor.wanted = 0;
    let [waits, found] = ["db", "db"].map(|what| what.to_owned());
    let waits = Event::WaitsFor { what: waits };
    assert_eq!(both.after(&[waits], 0), ["STATUS=waits for db before it starts workers"]);
    assert_eq!(both.after(&[Event::Found { what: found }], 0), ["READY=1\nSTATUS=0 of 0 workers ready"]);
}

#[test]
fn a_reload_begins_with_the_time_and_ends_with_ready() {
    let mut both = Both::new(None);
    assert_eq!(both.after(&[reloading()], 0), ["STATUS=0 of 2 workers ready"], "it has not started");
    assert_eq!(both.after(&[ready(1), ready(2)], 2).len(), 1);
    let begun = "RELOADING=1\nMONOTONIC_USEC=5000\nSTATUS=reloading: 2 of 2 workers ready";
    let ended = "READY=1\nSTATUS=2 of 2 workers ready";
    let failed =
        Event::ReloadFailed { generation: 2, slot: Some(0), why: ReloadFailure::NotReady, rolled_back: 0 };
    let bad = format!("{ended}; the last reload was refused or has failed: see the log");
    for (end, said) in [(failed, &*bad), (Event::Reloaded { generation: 2, took: Duration::ZERO }, ended)] {
        assert_eq!(both.after(&[reloading()], 3), [begun]);
        assert_eq!(both.after(std::slice::from_ref(&end), 2), [said]);
        // Both at once are two words still.
        assert_eq!(both.after(&[reloading(), end], 2), ["RELOADING=1\nMONOTONIC_USEC=5000", "READY=1"]);
    }
    assert_eq!(both.after(&[Event::Asked(Request::Reload(Default::default()))], 2), [begun]);
    assert_eq!(both.after(&[reloading()], 2), [""; 0], "as was told");
    assert!(!both.supervisor.asked);
}

#[test]
fn the_watchdog_is_fed_in_its_time_and_with_what_is_told_anyway() {
    let period = Duration::from_secs(1);
    let mut both = Both::new(Some(Watchdog { period, due: NOW }));
    assert_eq!(both.after(&[], 0), ["STATUS=0 of 2 workers ready\nWATCHDOG=1"]);
    assert_eq!(both.supervisor.deadline(), Some(NOW + period));
    assert_eq!(both.after(&[], 0), [""; 0]);
    assert_eq!(both.at(NOW + period, &[], 0), ["WATCHDOG=1"]);
    let late = NOW + period * 7;
    assert_eq!(both.at(late, &[], 0), ["WATCHDOG=1"], "one for all that were missed");
    assert_eq!(both.supervisor.deadline(), Some(late + period));
}

#[test]
fn what_is_not_taken_is_told_later_as_far_as_it_still_holds() {
    let mut both = Both::new(None);
    while both.supervisor.socket.send(b"x").is_ok() {}
    assert_eq!(both.supervisor.deadline(), Some(Time::default()));
    both.supervisor.tell(NOW, Count { ready: 2, all: 2, errored: 0, lanes: true });
    assert_eq!(both.supervisor.deadline(), Some(NOW + PAUSE));
    for _ in 0..10 {
        both.supervisor.handle(NOW, &reloading());
        both.supervisor.handle(NOW, &Event::Reloaded { generation: 2, took: Duration::ZERO });
        both.supervisor.tell(NOW, Count { ready: 2, all: 2, errored: 0, lanes: true });
    }
    assert_eq!(both.supervisor.untold.len(), 2);
    both.heard();
    assert_eq!(both.after(&[], 2), [""; 0], "not before its time");
    let later = both.at(NOW + PAUSE, &[], 2);
    assert_eq!(later, ["RELOADING=1\nMONOTONIC_USEC=5000\nSTATUS=2 of 2 workers ready", "READY=1"]);
    assert_eq!(both.supervisor.deadline(), None);
}
