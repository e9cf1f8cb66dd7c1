//! Counts the system calls of a process: `strace -c` between two moments.

use std::{
    collections::BTreeMap,
    fmt, fs,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use super::{Process, eventually, eventually_some};

/// A strace that is attached to every thread of a process. Ends with the value, and lets the process go on.
#[derive(Debug)]
pub(crate) struct Strace {
    child: Child,
    directory: TempDir,
}

/// What strace counted, but for what only a build with debug assertions does: there the standard library asks by fcntl
/// before each close whether the descriptor is open.
#[derive(Debug)]
pub(crate) struct SystemCalls {
    calls: BTreeMap<String, u64>,
}

impl Strace {
    /// Returns when every thread is traced. Needs the right to trace, without which the test is not worth anything.
    #[track_caller]
    pub(crate) fn attach(process: Process) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-U", "calls,name", "-o"]).arg(directory.path().join("table"));
        command.args(["-p", &process.pid().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(directory.path().join("stderr")).unwrap());
        let child = command.spawn().unwrap_or_else(|error| panic!("strace: {error}; run scripts/setup"));
        let mut strace = Self { child, directory };
        eventually("strace is attached to every thread", || {
            if strace.child.try_wait().unwrap().is_some() {
                panic!(
                    "this test counts system calls by strace, which must be permitted to trace processes of its own \
                     user here (ptrace; see /proc/sys/kernel/yama/ptrace_scope and the container's rights): {}",
                    strace.text("stderr").trim_end()
                );
            }
            {
                let threads = process.threads();
                !threads.is_empty() && threads.iter().all(|status| is_traced(status))
            }
        });
        strace
    }

    /// Lets the process go and tells what it has called since.
    #[track_caller]
    pub(crate) fn detach(mut self) -> SystemCalls {
        // It is our child and not waited for, so the number is still its own.
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGINT).unwrap();
        eventually_some("strace detaches", || self.child.try_wait().unwrap());
        SystemCalls::read(&self.text("table"))
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.directory.path().join(file)).unwrap()
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        // Both fail only when it has ended and been waited for, which is what they are for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl SystemCalls {
    /// A line for each system call with its number and its name, between two rules; then the total.
    #[track_caller]
    fn read(table: &str) -> Self {
        let row = |line: &str| {
            let (calls, name) = line.trim().split_once(' ')?;
            Some((name.trim().to_owned(), calls.parse().ok()?))
        };
        let mut calls: BTreeMap<String, u64> = table.lines().filter_map(row).collect();
        let total = calls.remove("total");
        assert_eq!(total, Some(calls.values().sum()), "not strace's table:\n{table}");
        let closes = calls.get("close").copied().unwrap_or(0);
        if let Some(checks) = calls.get_mut("fcntl").filter(|_| cfg!(debug_assertions)) {
            *checks = checks.saturating_sub(closes);
        }
        Self { calls }
    }

    pub(crate) fn total(&self) -> u64 {
        self.calls.values().sum()
    }
}

impl fmt::Display for SystemCalls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls: Vec<_> = self.calls.iter().map(|(name, count)| format!("{name} {count}")).collect();
        calls.join(", ").fmt(out)
    }
}

fn is_traced(status: &str) -> bool {
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_some_and(|pid| pid.trim() != "0")
}
