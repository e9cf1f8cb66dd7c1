//! What must be there before the first worker starts.

use std::{
    ffi::OsString,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixListener,
    time::Duration,
};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, socket};
use pointsman::{Dependency, Endpoint, Event, Stop};

use crate::{
    call::Call,
    now,
    outer::{Outer, children},
    pollable::settings,
    process::is_alive,
};

fn command(words: &[&str]) -> Dependency {
    Dependency::Command(words.iter().map(OsString::from).collect())
}

fn waits_for(outer: &Outer) -> Vec<&str> {
    outer
        .seen
        .iter()
        .filter_map(|event| if let Event::WaitsFor { what } = event { Some(&**what) } else { None })
        .collect()
}

fn found(outer: &Outer) -> Vec<&str> {
    outer
        .seen
        .iter()
        .filter_map(|event| if let Event::Found { what } = event { Some(&**what) } else { None })
        .collect()
}

fn has_started(outer: &Outer) -> bool {
    outer.seen.iter().any(|event| matches!(event, Event::Fork { .. }))
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

pub(crate) fn no_worker_starts_before_an_address_is_there_and_connections_wait() {
    let address = nobody();
    let mut outer = Outer::new(settings().workers(2).depends(Dependency::Address(address.into())));
    outer.until("it says what it waits for", |outer| waits_for(outer) == [address.to_string()]);
    let mut call = Call::new(outer.address(), "pid");
    // Longer than from one try to the next.
    let end = now() + Duration::from_millis(1200);
    outer.until("it has tried again", |_| now() > end);
    assert!(call.answer().is_none() && !has_started(&outer) && outer.cluster.workers().count() == 0);
    assert_eq!(waits_for(&outer).len(), 1, "which is told once");
    let _there = TcpListener::bind(address).unwrap();
    outer.until_serving(2);
    assert_eq!(found(&outer), [address.to_string()]);
    assert!(outer.answer(&mut call).parse::<u32>().is_ok());
}

pub(crate) fn what_is_there_at_once_is_not_told_of() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sock");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let _unix = UnixListener::bind(&path).unwrap();
    let settings = settings().workers(1).env("GREETING", "hello there");
    let settings = settings.depends(Dependency::Address(listener.local_addr().unwrap().into()));
    let settings = settings.depends(Dependency::Address(Endpoint::Unix(path)));
    // As a worker is started: with its variables, nothing to read, and a group of its own.
    let script = r#"test "$GREETING" = "hello there" && ! read line && test "$(ps -o pgid= -p $$)" -eq $$"#;
    let mut outer = Outer::new(settings.depends(command(&["sh", "-c", script])).depends(command(&[])));
    outer.until_serving(1);
    assert!(waits_for(&outer).is_empty() && found(&outer).is_empty(), "{:?}", outer.seen);
}

pub(crate) fn they_are_waited_for_one_after_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let [socket, file, trace] = ["a.sock", "file", "trace"].map(|name| directory.path().join(name));
    let unix = Endpoint::Unix(socket.clone());
    // Not through a shell, so this is one word.
    let script = format!("echo >> {}; test -e {}", trace.display(), file.display());
    let is_there = command(&["sh", "-c", &script]);
    let what = is_there.to_string();
    let settings = settings().workers(1).depends(Dependency::Address(unix.clone())).depends(is_there);
    let mut outer = Outer::new(settings);
    outer.until("it waits for the first", |outer| waits_for(outer) == [unix.to_string()]);
    assert!(!trace.exists(), "and has not asked for the second");
    let _listener = UnixListener::bind(&socket).unwrap();
    outer.until("it waits for the second", |outer| waits_for(outer).len() == 2);
    assert_eq!((waits_for(&outer)[1], found(&outer)), (&*what, vec![&*unix.to_string()]));
    let tries = || fs::read(&trace).map_or(0, |text| text.len());
    outer.until("it is asked for again", |_| tries() > 1);
    assert!(!has_started(&outer));
    fs::write(&file, "").unwrap();
    outer.until_serving(1);
    assert_eq!(found(&outer), [unix.to_string(), what]);
}

/// TCP by itself would try for two minutes.
pub(crate) fn a_host_that_does_not_answer_is_asked_again() {
    // The kernel answers nobody for whom there is no room in the queue.
    let full = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&full);
    bind(number, &SockaddrStorage::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))).unwrap();
    listen(&full, Backlog::new(0).unwrap()).unwrap();
    let full = TcpListener::from(full);
    let address = full.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        queued.push(stream);
    }
    let mut outer = Outer::new(settings().workers(1).depends(Dependency::Address(address.into())));
    assert!(
        outer.cluster.timeout().is_some_and(|timeout| timeout > Duration::from_secs(1)),
        "it is being asked"
    );
    outer.until("nobody has answered", |outer| waits_for(outer) == [address.to_string()]);
    assert!(!has_started(&outer));
    queued.iter().for_each(|_| drop(full.accept().unwrap()));
    outer.until_serving(1);
    assert_eq!(found(&outer), [address.to_string()]);
}

/// A cluster of which nothing runs but the guard and a command that does not end, and what that has started.
fn with_a_command_that_hangs() -> (Outer, u32) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
    let mut outer = Outer::new(settings().workers(1).depends(command(&["sh", "-c", &script])));
    let started = || fs::read_to_string(&file).ok()?.trim().parse().ok();
    outer.until("the command runs", |_| started().is_some());
    assert_eq!(children().len(), 2);
    (outer, started().unwrap())
}

pub(crate) fn a_stop_while_it_waits_is_at_once_and_leaves_no_process() {
    for how in [Stop::Graceful, Stop::NoDeadline, Stop::Now] {
        let (mut outer, started) = with_a_command_that_hangs();
        outer.cluster.stop(how);
        assert!(outer.cluster.is_stopped());
        assert_eq!(children().len(), 1, "the guard");
        outer.drive();
        outer.until("what the command has started is gone", |_| !is_alive(started));
        assert!(
            matches!(outer.seen[..], [Event::Stopping { workers: 0, .. }, Event::Stopped]),
            "{:?}",
            outer.seen
        );
    }
    drop(with_a_command_that_hangs());
    assert_eq!(children(), []);
    let mut outer = Outer::new(settings().depends(Dependency::Address(nobody().into())));
    outer.cluster.stop(Stop::Graceful);
    assert!(outer.cluster.is_stopped());
}

pub(crate) fn a_program_that_is_not_there_is_waited_for_like_any_other() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("program");
    let words = [program.to_str().unwrap()];
    let mut outer = Outer::new(settings().workers(1).depends(command(&words)));
    outer.until("it is waited for", |outer| waits_for(outer).len() == 1);
    fs::copy("/bin/true", &program).unwrap();
    outer.until_serving(1);
}
