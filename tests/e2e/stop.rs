//! TERM and INT: what is in flight is served, nothing new is taken, and it ends.

use std::{io, net::SocketAddr, time::Duration};

use nix::sys::signal::Signal;

use crate::harness::{Client, Form, Master, Node, Pointsman, Process, eventually, now};

/// Longer than a stop that needs no deadline takes on a busy machine, and shorter than any default deadline.
const SOON: Duration = Duration::from_secs(15);

/// A signal that comes again within this time is the same one.
const ECHO: Duration = Duration::from_millis(100);

fn refuses(address: SocketAddr) -> bool {
    Client::connect(address).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// A request that its worker is busy with.
fn slow_request(master: &Master, path: &str) -> (Client, u32) {
    let mut client = master.connect();
    let pid = client.get("/").unwrap().pid();
    client.send_get(path).unwrap();
    // The worker reads in the order of arrival: once it has answered a later one, it has that one too.
    eventually("the same worker answers another connection", || master.get("/").pid() == pid);
    (client, pid)
}

fn check_in_flight(run: Pointsman, signal: Signal) {
    let mut master = run.workers(2).start();
    master.wait_ready(2);
    let (mut client, pid) = slow_request(&master, "/slow?ms=1000");
    master.signal(signal);
    eventually("new connections are refused", || refuses(master.address()));
    assert!(Process::find(pid).is_some_and(Process::is_alive), "the request is still served");
    assert_eq!(client.receive().unwrap().status, 200);
    assert_eq!(master.wait_exit().code(), Some(0));
    master.finish();
}

#[test]
fn a_request_in_flight_to_a_node_worker_is_answered() {
    for node in Node::in_both_forms() {
        check_in_flight(Pointsman::run().node(node, "plain.js"), Signal::SIGTERM);
    }
}

#[test]
fn a_request_in_flight_to_a_demo_worker_is_answered() {
    for (signal, form) in [(Signal::SIGTERM, Form::Advanced), (Signal::SIGINT, Form::Json)] {
        check_in_flight(Pointsman::run().form(form), signal);
    }
}

/// A client whose connection is in the kernel's queue does not know that it came late.
#[test]
fn what_the_kernel_had_queued_is_answered_before_the_end() {
    let mut master = Pointsman::run().workers(4).start();
    master.wait_ready(4);
    master.signal(Signal::SIGSTOP);
    let mut clients: Vec<_> = (0..200).map(|_| master.connect()).collect();
    clients.iter_mut().for_each(|client| client.send_get("/").unwrap());
    master.signal(Signal::SIGTERM);
    master.signal(Signal::SIGCONT);
    let answered = clients.iter_mut().filter_map(|client| client.receive().ok());
    assert_eq!(answered.filter(|answer| answer.status == 200).count(), clients.len());
    assert_eq!(master.wait_exit().code(), Some(0));
    master.finish();
}

/// `timeout`, npm and others send a signal to the process and once more to its group.
#[test]
fn a_signal_said_twice_at_once_counts_as_one() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let was_in_time = || {
            let mut master = Pointsman::run().workers(1).start();
            master.wait_ready(1);
            let (mut client, _) = slow_request(&master, "/slow?ms=1000");
            let start = now();
            for _ in 0..2 {
                master.signal(signal);
                // Two that are pending at the same time are one for the kernel already.
                eventually("the signal is taken", || !master.process().is_pending(signal));
            }
            let in_time = start.elapsed() < ECHO;
            let answer = client.receive();
            if in_time {
                assert_eq!(answer.unwrap().status, 200, "{signal}");
            }
            assert_eq!(master.wait_exit().code(), Some(0));
            master.finish();
            in_time
        };
        assert!(
            (0..20).any(|_| was_in_time()),
            "this machine is too busy to send two signals within {ECHO:?}"
        );
    }
}

#[test]
fn a_hang_up_that_was_ignored_at_the_start_does_nothing() {
    let mut master = Pointsman::run().workers(1).after("trap '' HUP").start();
    let pid = *master.wait_ready(1).keys().next().unwrap();
    let bit = 1 << (Signal::SIGHUP as u32 - 1);
    assert_eq!(master.process().signals("SigIgn") & bit, bit);
    // The kernel drops what is ignored when it is sent, but not what is blocked.
    assert_eq!(master.process().signals("SigBlk") & bit, 0, "it must not be taken up again");
    master.signal(Signal::SIGHUP);
    assert_eq!(*master.wait_ready(1).keys().next().unwrap(), pid);
    assert!(!master.log().has("SIGHUP"), "it is not even mentioned");
    master.finish();
}

#[test]
fn idle_connections_do_not_hold_up_the_end() {
    let node = Pointsman::run().node(Node::DEFAULT, "plain.js");
    let advanced = Pointsman::run().node(Node::DEFAULT.advanced(), "plain.js");
    for run in [Pointsman::run(), node, advanced] {
        let mut master = run.workers(2).start();
        master.wait_ready(2);
        let mut idle: Vec<_> = (0..4).map(|_| master.connect()).collect();
        idle.iter_mut().for_each(|client| assert_eq!(client.get("/").unwrap().status, 200));
        let start = now();
        master.signal(Signal::SIGTERM);
        assert_eq!(master.wait_exit().code(), Some(0));
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
        master.finish();
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let node = Pointsman::run().node(Node::DEFAULT, "plain.js");
    for (run, second) in [(Pointsman::run(), Signal::SIGTERM), (node, Signal::SIGINT)] {
        let mut master = run.workers(2).start();
        master.wait_ready(2);
        let (mut client, _) = slow_request(&master, "/slow?ms=600000");
        let start = now();
        master.signal(Signal::SIGTERM);
        eventually("new connections are refused", || refuses(master.address()));
        // One that comes right behind the first is the same word said twice.
        eventually("a second signal has ended the workers", || {
            let ended = master.workers().is_empty();
            if !ended {
                master.signal(second);
            }
            ended
        });
        assert_eq!(master.wait_exit().code(), Some(0));
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
        assert!(client.is_closed_by_server());
        master.finish();
    }
}

#[test]
fn quit_waits_longer_than_any_deadline() {
    let run = Pointsman::run().option("--stop-timeout", "100ms").option("--kill-timeout", "100ms");
    check_in_flight(run, Signal::SIGQUIT);
}

#[test]
fn a_hang_up_that_somebody_sends_does_not_stop_it() {
    let mut master = Pointsman::run().workers(1).start();
    master.wait_ready(1);
    master.signal(Signal::SIGHUP);
    master.wait_log("reloaded");
    master.wait_ready(1);
    master.finish();
}

#[test]
fn a_worker_that_does_not_leave_is_forced_to_after_the_deadlines() {
    let run = || Pointsman::run().option("--stop-timeout", "300ms").option("--kill-timeout", "300ms");
    for node in Node::in_both_forms() {
        let run = run().expect_log("SIGTERM").expect_log("SIGKILL").node(node, "stubborn.js");
        let mut master = run.workers(2).start();
        master.wait_ready(2);
        let start = now();
        master.signal(Signal::SIGTERM);
        assert_eq!(master.wait_exit().code(), Some(0));
        assert!(
            start.elapsed() >= Duration::from_millis(600) && start.elapsed() < SOON,
            "{:?}",
            start.elapsed()
        );
        assert!(master.log().has("SIGTERM is ignored"), "it was asked before it was forced");
        master.finish();
    }
    // A request that takes for ever holds up nobody for longer than that.
    let mut master = run().expect_log("SIGTERM").workers(2).start();
    master.wait_ready(2);
    let (mut client, _) = slow_request(&master, "/slow?ms=600000");
    let start = now();
    master.signal(Signal::SIGTERM);
    assert_eq!(master.wait_exit().code(), Some(0));
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert!(client.is_closed_by_server());
    master.finish();
}

#[test]
fn a_program_that_never_spoke_is_stopped_by_signal_without_delay() {
    let master = Pointsman::run().workers(2).allow_log("channel").python("idle.py").start();
    // One that is just being executed has no command line.
    let is_python =
        |worker: &Process| worker.command_line().first().is_some_and(|word| word.contains("python"));
    eventually("the workers run", || master.workers().iter().filter(|worker| is_python(worker)).count() == 2);
    let start = now();
    master.finish();
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

#[test]
fn it_stops_while_it_starts() {
    for processes in 1..=5 {
        let mut master = Pointsman::run().workers(3).node(Node::DEFAULT, "plain.js").start();
        master.address();
        eventually("it has started some workers", || master.tree().len() >= processes);
        let start = now();
        master.signal(Signal::SIGTERM);
        assert_eq!(master.wait_exit().code(), Some(0), "{processes} processes");
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
        master.finish();
    }
}

#[test]
fn it_stops_while_a_worker_waits_for_its_next_life() {
    let run = Pointsman::run().workers(1).allow_log("was killed by SIGKILL");
    let mut master = run.start();
    let pid = *master.wait_ready(1).keys().next().unwrap();
    Process::find(pid).unwrap().signal(Signal::SIGKILL);
    eventually("the worker is gone", || Process::find(pid).is_none());
    let start = now();
    master.signal(Signal::SIGTERM);
    assert_eq!(master.wait_exit().code(), Some(0));
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    master.finish();
}
