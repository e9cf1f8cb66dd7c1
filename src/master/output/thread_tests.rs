//! The thread without its thread: one turn after the other.

use super::*;
use crate::master::{Rotation, Sink};
use std::{
    fs::File,
    io::Write,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::mpsc,
};

use nix::sys::socket::{setsockopt, sockopt::SndBuf};

use crate::control::RequestId;

/// One whose standard output is `stdout`, and its owner's ends.
fn copyist(stdout: OwnedFd) -> (Copyist, Sender<Order>, Receiver<Event>) {
    let (orders, ordered) = mpsc::channel();
    let (told, events) = mpsc::channel();
    let null = File::options().write(true).open("/dev/null").unwrap();
    let sinks = [&Sink::Prefix, &Sink::Inherit];
    let outlets = Outlets::open(sinks, None, [stdout.into(), null], Rotation::default(), 0).unwrap();
    let wake = || Arc::new(Wake::new().unwrap());
    (Copyist::new((ordered, wake()), (told, wake()), outlets), orders, events)
}

/// Workers that write a line and crash.
fn crash(copyist: &mut Copyist, orders: &Sender<Order>, ids: std::ops::Range<u32>) {
    for worker in ids.map(WorkerId) {
        let (reader, mut writer) = io::pipe().unwrap();
        crate::sys::channel::set_nonblocking(&reader, true).unwrap();
        orders.send(Order::Adopt { worker, writer: Writer::Slot(0), pipes: [Some(reader), None] }).unwrap();
        writeln!(writer, "{worker}").unwrap();
        drop(writer);
        copyist.bell.ring();
        assert!(copyist.turn());
        orders.send(Order::Ended { worker, wanted: true }).unwrap();
        copyist.bell.ring();
        assert!(copyist.turn());
    }
}

#[test]
fn of_a_thousand_crashes_nothing_is_left() {
    let (mut reader, writer) = io::pipe().unwrap();
    let (mut copyist, orders, events) = copyist(writer.into());
    crash(&mut copyist, &orders, 0..1000);
    // The last one's end is read in a turn of its own.
    for _ in 0..3 {
        copyist.bell.ring();
        assert!(copyist.turn());
    }
    assert_eq!((copyist.pipes.len(), copyist.workers.len(), copyist.outlets.all.len()), (0, 0, 1));
    drop((copyist, orders));
    let words: Vec<_> = events.iter().collect();
    assert!(words.iter().all(|event| matches!(event, Event::LastWords { shown: true, .. })), "{words:?}");
    assert_eq!(words.len(), 1000);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let expected: String = (0..1000).map(|worker| format!("[0] {worker}\n")).collect();
    assert_eq!(text, expected);
}

#[test]
fn crashes_before_a_place_without_room_hold_few_descriptors() {
    let (reader, mut writer) = io::pipe().unwrap();
    crate::sys::channel::set_nonblocking(&writer, true).unwrap();
    while writer.write(&[b'\n'; 4096]).is_ok() {}
    let (mut copyist, orders, events) = copyist(writer.into());
    crash(&mut copyist, &orders, 0..300);
    // A worker is forgotten when its last words are not waited for any more.
    while !copyist.workers.is_empty() {
        assert!(copyist.turn());
    }
    crash(&mut copyist, &orders, 300..301);
    assert!(copyist.pipes.len() <= LEFT_FULL + 2, "{}", copyist.pipes.len());
    let thread = thread::spawn(move || {
        let lines = io::BufRead::lines(io::BufReader::new(reader)).map(Result::unwrap);
        lines.filter(|line| !line.is_empty()).count() as u64
    });
    orders.send(Order::Finish { until: clock::now() + Duration::from_secs(30) }).unwrap();
    while copyist.turn() {}
    drop(copyist);
    let resumed = |event: Event| match event {
        Event::OutputResumed { dropped, .. } => Some(dropped),
        _ => None,
    };
    let dropped: u64 = events.iter().filter_map(resumed).sum();
    assert_eq!((thread.join().unwrap() + dropped, dropped > 200), (301, true), "{dropped}");
}

/// A client that is shown what workers write, and whose socket takes less at once than they may be set to.
fn show(copyist: &mut Copyist, orders: &Sender<Order>, follow: bool) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    setsockopt(&ours, SndBuf, &(64 << 10)).unwrap();
    let (id, target, lines, before) = (RequestId::NONE, None, usize::MAX, Vec::new());
    orders.send(Order::Show(Show { client: ours.into(), id, target, lines, follow, before })).unwrap();
    copyist.bell.ring();
    assert!(copyist.turn());
    theirs
}

/// A worker that has written this, and its end of the pipe.
fn written(copyist: &mut Copyist, orders: &Sender<Order>, slot: u32, text: &str) -> io::PipeWriter {
    let (reader, mut writer) = io::pipe().unwrap();
    crate::sys::channel::set_nonblocking(&reader, true).unwrap();
    orders
        .send(Order::Adopt {
            worker: WorkerId(slot),
            writer: Writer::Slot(slot),
            pipes: [Some(reader), None],
        })
        .unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    copyist.bell.ring();
    // One to hear of it and one to read.
    assert!(copyist.turn() && copyist.turn());
    writer
}

#[test]
fn only_a_client_that_takes_nothing_has_a_time() {
    let null = File::options().write(true).open("/dev/null").unwrap();
    let (mut copyist, orders, _events) = copyist(null.into());
    let text = format!("{}\n", "x".repeat(100)).repeat(256);
    let pipes: Vec<_> = (0..40).map(|slot| written(&mut copyist, &orders, slot, &text)).collect();
    let follower = show(&mut copyist, &orders, true);
    assert_eq!((copyist.timeout(), copyist.logs.clients()), (None, 1));
    let other = show(&mut copyist, &orders, false);
    assert!(copyist.timeout().is_some_and(|timeout| timeout > Duration::from_secs(5)));
    drop((follower, other));
    while copyist.logs.clients() > 0 {
        assert!(copyist.turn());
    }
    assert_eq!(copyist.timeout(), None);
    drop(pipes);
}

#[test]
fn the_end_waits_for_a_follower_that_reads() {
    const LINES: usize = 600;
    let null = File::options().write(true).open("/dev/null").unwrap();
    let (mut copyist, orders, _events) = copyist(null.into());
    let mut follower = show(&mut copyist, &orders, true);
    let pipe = written(&mut copyist, &orders, 0, &format!("{}\n", "x".repeat(100)).repeat(LINES));
    let pipe = (pipe, written(&mut copyist, &orders, 1, &format!("{}\n", "x".repeat(100)).repeat(LINES)));
    orders.send(Order::Finish { until: clock::now() + Duration::from_secs(30) }).unwrap();
    copyist.bell.ring();
    assert!(copyist.turn(), "a part of it waits");
    let thread = thread::spawn(move || {
        let mut text = String::new();
        follower.read_to_string(&mut text).map(|_| text)
    });
    while copyist.turn() {}
    let text = thread.join().unwrap().unwrap();
    assert_eq!(text.lines().count(), 1 + 2 * LINES + 1, "the answer, the lines, and that this is the end");
    drop(pipe);
}
