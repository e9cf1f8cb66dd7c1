//! The master never blocks on its own standard error.

use std::{
    fs::File,
    io::{PipeReader, Write, pipe},
    os::fd::AsFd,
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::signal::Signal,
};

use crate::harness::{Master, Pointsman, Process, eventually, free_port};

/// A pipe that has no room left.
fn full_pipe() -> (PipeReader, File) {
    let (reader, writer) = pipe().unwrap();
    let mut writer = File::from(std::os::fd::OwnedFd::from(writer));
    fcntl(writer.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    while writer.write(&[b'.'; 4096]).is_ok() {}
    // The flag belongs to the pipe's end and not to this descriptor of it: a master must expect any.
    fcntl(writer.as_fd(), FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    (reader, writer)
}

/// Start, service, chatter, a worker's death, and the end: all of it is logged, and none of it waits for a reader.
fn check(mut master: Master) {
    let before = master.wait_ready(2);
    let mut client = master.connect();
    let chatterer = client.get("/do/chatter").unwrap().pid();
    // It has told everything by then, which is more than any queue of lines holds.
    assert_eq!(client.get("/").unwrap().pid(), chatterer);
    drop(client);
    let &victim = before.keys().next().unwrap();
    Process::find(victim).unwrap().signal(Signal::SIGKILL);
    eventually("the worker is gone", || Process::find(victim).is_none());
    master.wait_ready(2);
    master.finish();
}

fn run() -> Pointsman {
    let run = Pointsman::run().workers(2).env("RUST_LOG", "trace").python("wire.py");
    run.listen(format!("127.0.0.1:{}", free_port()))
}

#[test]
fn it_serves_when_nobody_reads_its_log() {
    let (reader, writer) = full_pipe();
    check(run().stderr(writer).start());
    drop(reader);
}

#[test]
fn it_serves_when_nobody_can_read_its_log() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    check(run().stderr(writer).start());
}

#[test]
fn it_serves_when_its_log_has_no_room() {
    check(run().stderr(File::options().write(true).open("/dev/full").unwrap()).start());
}

#[test]
fn it_serves_when_its_log_is_closed() {
    check(run().after("exec 2>&-").start());
}
