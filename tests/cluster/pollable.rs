//! The form for programs with a loop of their own.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pointsman::{Cluster, Error, Event, ExitStatus, SendError, Settings, Stop, Trouble, WorkerId};
use serde_json::json;

use crate::{
    call::Call,
    now,
    outer::{Outer, children},
};

pub(crate) const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

const LONG: Duration = Duration::from_secs(3600);

/// This program as the worker.
pub(crate) fn settings() -> Settings {
    Settings::new("/proc/self/exe").listen(ANYWHERE.into())
}

pub(crate) fn an_outer_poll_drives_it() {
    const CALLS: u64 = 10;
    let mut outer = Outer::new(settings().workers(2));
    assert_ne!(outer.address().port(), 0);
    outer.until_serving(2);
    let workers: Vec<_> = outer.cluster.workers().collect();
    assert_eq!(workers.iter().map(|worker| (worker.id.0, worker.slot)).collect::<Vec<_>>(), [(1, 0), (2, 1)]);
    for worker in &workers {
        assert_eq!(outer.words(worker.id), ["fork", "online", "listening"]);
        let told = |event: &Event| matches!(event, Event::Fork { pid, slot, .. } if (*pid, *slot) == (worker.pid, worker.slot));
        assert!(outer.seen.iter().any(told), "{:?}", outer.seen);
    }
    let mut shares: BTreeMap<u32, u64> = BTreeMap::new();
    for _ in 0..CALLS {
        *shares.entry(outer.ask("pid").parse().unwrap()).or_default() += 1;
    }
    let share = |pid: u32| (pid, CALLS / 2);
    assert_eq!(shares, workers.iter().map(|worker| share(worker.pid)).collect(), "strict turns");
    outer.until("all is accounted for", |outer| outer.cluster.counters().handed == CALLS);
    let counters = outer.cluster.counters();
    assert_eq!((counters.accepted, counters.refused, counters.lost, counters.rejected), (CALLS, 0, 0, 0));
    assert!(outer.cluster.workers().all(|worker| worker.in_flight == 0));
}

pub(crate) fn an_idle_cluster_wakes_nobody() {
    let mut outer = Outer::new(settings().workers(2));
    outer.until_serving(2);
    assert!(!outer.ask("pid").is_empty());
    outer.until("all is accounted for", |outer| outer.cluster.counters().handed == 1);
    // What is said of the end of the connection may still come.
    let mut last = (outer.turns, 0);
    outer.until("it has no turn in twenty looks", |outer| {
        last = if last.0 == outer.turns { (last.0, last.1 + 1) } else { (outer.turns, 0) };
        last.1 == 20
    });
    assert_eq!(outer.cluster.timeout(), None);
}

/// The kernel gives out so many events at a time, and tells an outer poll once that there are any. (A child that is
/// reaped makes it tell once more; so these say a word and live on.)
pub(crate) fn however_much_happens_at_once_an_outer_poll_learns_all_of_it() {
    const WORKERS: usize = 260;
    let settings = Settings::new("sh").args(["-c", "echo 1 >&3; exec sleep 1000"]).workers(WORKERS);
    let mut outer = Outer::new(settings);
    let is_sleeping =
        |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n");
    let spoken = || children().iter().filter(|(pid, _)| is_sleeping(*pid)).count();
    let end = now() + Duration::from_secs(60);
    while spoken() < WORKERS {
        assert!(now() < end, "{} of {WORKERS} have spoken", spoken());
        thread::park_timeout(Duration::from_millis(20));
    }
    // Nothing more is going to happen, so from here on there is nothing to wait for.
    let told =
        |outer: &Outer| outer.seen.iter().filter(|event| matches!(event, Event::Message { .. })).count();
    while told(&outer) < WORKERS {
        let wait = outer.cluster.timeout();
        assert!(
            outer.turn_if_due(),
            "it told of {} of {WORKERS} words, and would sleep {wait:?}",
            told(&outer)
        );
    }
}

pub(crate) fn fork_adds_a_worker() {
    let mut outer = Outer::new(settings().workers(0));
    assert_eq!(outer.cluster.workers().count(), 0);
    for number in 1..=2 {
        assert_eq!(outer.cluster.fork(), Some(WorkerId(number)));
        outer.until_serving(number as usize);
    }
    let pids: BTreeSet<_> = (0..4).map(|_| outer.ask("pid").parse().unwrap()).collect();
    assert_eq!(pids, outer.cluster.workers().map(|worker| worker.pid).collect());
    outer.cluster.stop(Stop::Now);
    assert_eq!(outer.cluster.fork(), None, "not any more");
    outer.until("it has stopped", |outer| outer.cluster.is_stopped());
}

pub(crate) fn messages_go_there_and_back() {
    let mut outer = Outer::new(settings().workers(2));
    outer.until_serving(2);
    let values = [
        json!({"cmd": "reload", "deep": [1, [2, {"three": null}]]}),
        json!("text\n"),
        json!(17),
        json!(null),
    ];
    for value in &values {
        outer.cluster.send(WorkerId(2), value).unwrap();
    }
    let answers = |outer: &Outer| -> Vec<_> {
        let message = |event: &Event| match event {
            Event::Message { worker: WorkerId(2), message } => Some(message.clone()),
            _ => None,
        };
        outer.seen.iter().filter_map(message).collect()
    };
    outer.until("each is answered", |outer| answers(outer).len() == values.len());
    let expected: Vec<_> = values.iter().map(|value| json!({"worker": 2, "got": value})).collect();
    assert_eq!(answers(&outer), expected, "in order");
    assert_eq!(outer.words(WorkerId(1)), ["fork", "online", "listening"], "the other got none");
    assert_eq!(outer.cluster.send(WorkerId(9), &json!(1)), Err(SendError::NoSuchWorker(WorkerId(9))));
}

pub(crate) fn a_worker_that_dies_is_replaced() {
    let mut outer = Outer::new(settings().workers(1));
    outer.until_serving(1);
    let first = outer.cluster.workers().next().unwrap();
    kill(Pid::from_raw(first.pid.cast_signed()), Signal::SIGKILL).unwrap();
    outer.until("another listens", |outer| outer.words(WorkerId(2)).contains(&"listening"));
    let told = |event: &Event| {
        matches!(event, Event::Exit { worker: WorkerId(1), status: ExitStatus::Signal(9), restart: Some(delay),
            exited_after_disconnect: false, .. } if delay.is_zero())
    };
    assert!(outer.seen.iter().any(told), "{:?}", outer.seen);
    let second = outer.cluster.workers().next().unwrap();
    assert_eq!((second.id, second.slot), (WorkerId(2), first.slot));
    assert_eq!(outer.ask("pid"), second.pid.to_string());
}

pub(crate) fn workers_get_the_environment_of_the_settings() {
    let settings =
        settings().workers(1).env("FACE_WORD", "overwritten").env("FACE_WORD", "a b=c").env("HOME", "/none");
    let mut outer = Outer::new(settings);
    outer.until_serving(1);
    let port = outer.address().port().to_string();
    let path = env::var("PATH").unwrap_or_default();
    let expected = [
        ("FACE_WORD", "a b=c"),
        ("HOME", "/none"),
        ("PORT", &port),
        ("NODE_UNIQUE_ID", "1"),
        ("PATH", &path),
    ];
    for (name, value) in expected {
        assert_eq!(outer.ask(&format!("env {name}")), value, "{name}");
    }
    assert_eq!(env::var_os("FACE_WORD"), None, "this process's own is left alone");
}

pub(crate) fn workers_are_started_through_the_launcher() {
    let directory = tempfile::tempdir().unwrap();
    let launcher = directory.path().join("launcher");
    let program = env::current_exe().unwrap();
    fs::copy(&program, &launcher).unwrap();
    let settings =
        Settings::new(&program).listen(ANYWHERE.into()).workers(1).restart_delay(LONG).launcher(&launcher);
    let mut outer = Outer::new(settings);
    outer.until_serving(1);
    assert!(!outer.ask("pid").is_empty());
    let executable = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let worker = outer.cluster.workers().next().unwrap().pid;
    let mut guards = children().into_iter().map(|(pid, _)| pid).filter(|&pid| pid != worker);
    assert_eq!(executable(guards.next().unwrap()), launcher, "the guard is one of its kind");
    assert_eq!(executable(worker), program);
    fs::remove_file(&launcher).unwrap();
    let second = outer.cluster.fork().unwrap();
    let failed = |event: &Event| {
        matches!(event, Event::Trouble { worker, trouble: Trouble::SpawnFailed { errno, .. } }
            if *worker == second && *errno == nix::libc::ENOENT)
    };
    outer.until("it is missed", |outer| outer.seen.iter().any(failed));
}

pub(crate) fn a_graceful_stop_lets_a_request_in_flight_finish() {
    let mut outer = Outer::new(settings().workers(2).stop_timeout(LONG));
    outer.until_serving(2);
    let address = outer.address();
    let mut held = Call::new(address, "hold");
    outer.until("a worker has it", |outer| outer.cluster.counters().handed == 1);
    outer.cluster.stop(Stop::Graceful);
    outer.until("the idle one has left", |outer| outer.cluster.workers().count() == 1);
    assert!(outer.cluster.addresses().is_empty());
    assert!(TcpStream::connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused));
    assert!(!outer.cluster.is_stopped() && held.answer().is_none());
    assert_eq!(outer.cluster.fork(), None);

    held.say("at last");
    assert_eq!(outer.answer(&mut held), "at last");
    outer.until("it has stopped", |outer| outer.cluster.is_stopped());
    let stopping = |event: &Event| matches!(event, Event::Stopping { workers: 2, timeout: Some(LONG) });
    assert_eq!(outer.seen.iter().filter(|event| stopping(event)).count(), 1, "{:?}", outer.seen);
    let left = |event: &&Event| {
        matches!(
            event,
            Event::Exit { status: ExitStatus::Code(0), exited_after_disconnect: true, restart: None, .. }
        )
    };
    assert_eq!(outer.seen.iter().filter(left).count(), 2, "{:?}", outer.seen);
    assert!(matches!(outer.seen.last(), Some(Event::Stopped)), "{:?}", outer.seen);
    assert_eq!(outer.cluster.workers().count(), 0);
}

pub(crate) fn a_dropped_cluster_takes_everything_with_it() {
    let mut outer = Outer::new(settings().workers(2));
    outer.until_serving(2);
    let address = outer.address();
    let mut held = Call::new(address, "hold");
    outer.until("a worker is busy", |outer| outer.cluster.counters().handed == 1);
    assert_eq!(children().len(), 3, "two workers and the guard");
    drop(outer);
    assert_eq!(children(), [], "not even a zombie");
    assert_eq!(held.answer().as_deref(), Some(""), "its worker was not asked");
    assert!(TcpStream::connect(address).is_err());
}

pub(crate) fn a_cluster_that_cannot_start_leaves_nothing() {
    let taken = TcpListener::bind(ANYWHERE).unwrap();
    let address = taken.local_addr().unwrap();
    let error = Cluster::new(settings().listen(address.into())).unwrap_err();
    assert!(matches!(&error, Error::AddressInUse { endpoint } if *endpoint == address.into()), "{error:?}");
    assert_eq!(children(), []);
    let error = Cluster::new(Settings::new("no-such-program-anywhere")).unwrap_err();
    assert!(matches!(error, Error::ProgramNotFound { .. }), "{error:?}");
    let error = Cluster::new(settings().launcher("/no/such/launcher")).unwrap_err();
    assert!(matches!(error, Error::System { .. }), "{error:?}");
    assert_eq!(children(), []);
}
