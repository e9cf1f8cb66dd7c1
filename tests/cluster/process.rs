//! Processes that are stopped for a while, as by somebody who has to wait.

use std::fs;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Stops a process, and returns when it has stopped.
pub(crate) fn freeze(pid: u32) {
    signal(pid, Signal::SIGSTOP);
    // The kernel does it at once, or as soon as the process is back from a system call.
    while state(pid) != Some('T') {
        std::thread::yield_now();
    }
}

pub(crate) fn thaw(pid: u32) {
    signal(pid, Signal::SIGCONT);
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

/// It has not ended.
pub(crate) fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

/// The letter of its state in /proc/PID/stat.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.get(stat.rfind(')')? + 2..)?.chars().next()
}
