//! Under a supervisor that hears sd_notify, and over programs that speak it.

use std::{
    ffi::OsString,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::Path,
    process,
};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::harness::{Master, Node, Pointsman, Process, eventually};

/// Somebody who listens where a supervisor would.
struct Listener {
    socket: UnixDatagram,
    heard: Vec<String>,
    directory: TempDir,
}

impl Listener {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        Self::on(socket, directory)
    }

    fn on(socket: UnixDatagram, directory: TempDir) -> Self {
        socket.set_nonblocking(true).unwrap();
        Self { socket, heard: Vec::new(), directory }
    }

    fn name(&self) -> OsString {
        self.directory.path().join("notify").into()
    }

    /// Every datagram so far.
    fn heard(&mut self) -> &[String] {
        let mut buffer = [0; 8192];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            self.heard.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        &self.heard
    }

    /// How many datagrams have this line.
    fn count(&mut self, line: &str) -> usize {
        self.heard().iter().filter(|text| text.lines().any(|own| own == line)).count()
    }

    #[track_caller]
    fn wait(&mut self, line: &str) {
        eventually(&format!("the supervisor is told {line:?}"), || self.count(line) > 0);
    }
}

/// Two workers that listen when they are told to.
fn late(listener: &Listener) -> Pointsman {
    let run = Pointsman::run().workers(2).node(Node::DEFAULT, "late.js");
    run.env("NOTIFY_SOCKET", listener.name())
}

/// The workers, once they can be told.
#[track_caller]
fn told_to_listen(master: &Master) -> Vec<Process> {
    let bit = 1 << (Signal::SIGUSR2 as u64 - 1);
    let ready = || master.workers().into_iter().filter(|worker| worker.signals("SigCgt") & bit != 0);
    eventually("both workers take the signal", || ready().count() == 2);
    ready().collect()
}

#[test]
fn a_supervisor_is_told_when_all_workers_are_ready_and_when_they_leave() {
    let mut listener = Listener::new();
    let mut master = late(&listener).start();
    let workers = told_to_listen(&master);
    listener.wait("STATUS=0 of 2 workers ready");
    workers[0].signal(Signal::SIGUSR2);
    listener.wait("STATUS=1 of 2 workers ready");
    assert_eq!(listener.count("READY=1"), 0, "{:?}", listener.heard);
    workers[1].signal(Signal::SIGUSR2);
    listener.wait("READY=1");
    assert_eq!(listener.heard().last().unwrap(), "READY=1\nSTATUS=2 of 2 workers ready");
    let all = listener.heard().len();
    master.wait_ready(2);
    assert_eq!(listener.heard().len(), all, "requests are nobody's business: {:?}", listener.heard);
    master.signal(Signal::SIGTERM);
    assert_eq!(master.wait_exit().code(), Some(0));
    assert_eq!(listener.count("STOPPING=1"), 1);
    assert_eq!(listener.heard().last().unwrap(), "STATUS=stopped");
    let began = listener.heard().iter().position(|text| text.contains("STOPPING=1")).unwrap();
    assert!(began >= all && listener.count("READY=1") == 1, "{:?}", listener.heard);
    master.finish();
}

#[test]
fn the_status_follows_the_workers() {
    let mut listener = Listener::new();
    let run = Pointsman::run().workers(2).env("NOTIFY_SOCKET", listener.name());
    let run = run.option("--restart-delay", "10ms").expect_log("was killed by SIGKILL");
    let mut master = run.start();
    let victim = *master.wait_ready(2).keys().next().unwrap();
    listener.wait("READY=1");
    let before = listener.heard().len();
    Process::find(victim).unwrap().signal(Signal::SIGKILL);
    let back = |text: &String| text == "STATUS=2 of 2 workers ready";
    eventually("both are ready again", || listener.heard()[before..].iter().any(back));
    assert!(listener.heard()[before..].contains(&"STATUS=1 of 2 workers ready".to_owned()));
    assert_eq!(listener.count("READY=1"), 1, "it is ready once");
    master.wait_ready(2);
    master.finish();
}

#[test]
fn the_watchdog_is_fed_while_nothing_happens() {
    for pid in ["", "unset WATCHDOG_PID", "export WATCHDOG_PID=$$"] {
        let mut listener = Listener::new();
        let run = Pointsman::run().workers(1).env("NOTIFY_SOCKET", listener.name());
        let run = run.env("WATCHDOG_USEC", "20000").env("WATCHDOG_PID", "1");
        let run = if pid.is_empty() { run } else { run.after(pid) };
        let mut master = run.start();
        master.wait_ready(1);
        listener.wait("READY=1");
        if pid.is_empty() {
            master.signal(Signal::SIGTERM);
            master.wait_exit();
            assert_eq!(listener.count("WATCHDOG=1"), 0, "it is another process that is watched");
        } else {
            let before = listener.count("WATCHDOG=1");
            eventually("it is fed again and again", || listener.count("WATCHDOG=1") > before + 5);
        }
        master.finish();
    }
}

#[test]
fn a_supervisor_may_have_a_name_without_a_file() {
    let name = format!("pointsman-test-{}", process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let mut listener = Listener::on(socket, tempfile::tempdir().unwrap());
    let mut master = Pointsman::run().workers(1).env("NOTIFY_SOCKET", format!("@{name}")).start();
    master.wait_ready(1);
    listener.wait("READY=1");
    master.finish();
}

#[test]
fn nothing_waits_for_a_supervisor_that_does_not_read() {
    let mut listener = Listener::new();
    let other = UnixDatagram::unbound().unwrap();
    other.set_nonblocking(true).unwrap();
    other.connect(Path::new(&listener.name())).unwrap();
    while other.send(b"X=1").is_ok() {}
    let mut master = late(&listener).start();
    told_to_listen(&master).iter().for_each(|worker| worker.signal(Signal::SIGUSR2));
    master.wait_ready(2);
    listener.wait("READY=1");
    assert_eq!(listener.heard().last().unwrap(), "READY=1\nSTATUS=2 of 2 workers ready", "and nothing old");
    master.finish();
}

#[test]
fn nothing_stops_when_the_supervisor_is_gone() {
    let gone = "the supervisor of this process cannot be told how the service is";
    let mut listener = Listener::new();
    let run = Pointsman::run().workers(2).option("--restart-delay", "10ms").expect_log(gone);
    let run = run.env("NOTIFY_SOCKET", listener.name()).env("WATCHDOG_USEC", "20000");
    let mut master = run.allow_log("was killed by SIGKILL").start();
    let victim = *master.wait_ready(2).keys().next().unwrap();
    listener.wait("READY=1");
    drop(listener);
    Process::find(victim).unwrap().signal(Signal::SIGKILL);
    master.wait_log(gone);
    eventually("it is gone", || Process::find(victim).is_none());
    master.wait_ready(2);
    assert_eq!(master.log().lines().iter().filter(|line| line.contains(gone)).count(), 1, "it is said once");
    master.finish();

    for bad in ["/no/such/socket", "no path", "@"] {
        let run = Pointsman::run().workers(1).env("NOTIFY_SOCKET", bad);
        let mut master = run.expect_log("how the service is").start();
        master.wait_ready(1);
        master.finish();
    }
}

fn notified(way: &str) -> Master {
    Pointsman::run().option("-m", "shared").workers(1).python("notified.py").arg(way).start()
}

/// Has the worker say the next of what it has to say.
#[track_caller]
fn let_say(master: &Master, what: &str) {
    master.workers()[0].signal(Signal::SIGUSR1);
    eventually("it has been said", || master.printed(what));
}

#[test]
fn a_program_says_by_sd_notify_that_it_is_ready() {
    for way in ["itself", "child", "descriptor"] {
        let mut master = notified(way);
        master.wait_ready(1);
        let_say(&master, "said nonsense");
        // Anybody may speak, and nobody else is heard.
        let socket = master.runtime_file("notify.sock").unwrap();
        UnixDatagram::unbound().unwrap().send_to(b"READY=1", socket).unwrap();
        master.wait_turn();
        assert!(!master.log().has("ready: "), "{way}");
        let_say(&master, "said ready");
        master.wait_log("ready: the worker listens");
        master.finish();
    }
}

#[test]
fn what_a_process_of_another_group_says_is_nobodys() {
    let mut master = notified("stranger");
    master.wait_ready(1);
    let_say(&master, "said nonsense");
    let_say(&master, "said ready");
    let child = Process::children_of(master.workers()[0].pid());
    eventually("the other has spoken", || child.iter().all(|child| !child.is_alive()));
    master.wait_turn();
    assert!(!master.log().has("ready: "));
    master.finish();
}
