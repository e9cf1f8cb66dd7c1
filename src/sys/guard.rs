//! The guard: a small process of ours that outlives the master by a moment and ends what the master could not.
//!
//! A killed master's direct children die by their parent-death signal, but not the children of those (`sh -c`, a
//! wrapper), nor a program with file capabilities, which loses that signal at exec. The guard holds the read end of a
//! pipe whose write ends are the master's (and, for a moment, each trampoline's). It is told `+PGID` when a group
//! starts and `-PGID` when it is over, and `@PATH` of a runtime file; when the pipe ends, it kills the groups and
//! removes the files that are left.

#![allow(unsafe_code, reason = "ignoring signals")]

use std::{
    collections::BTreeSet,
    env,
    fmt::Display,
    fs,
    io::{self, BufRead, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::{Command, Stdio, exit},
    time::Duration,
};

use nix::{
    fcntl::OFlag,
    sys::{
        prctl,
        signal::{SigHandler, Signal, killpg, signal},
    },
    unistd::{Pid, pipe2},
};

use super::{
    channel,
    process::{Child, close_from},
    runtime_file,
};

/// `argv[0]` and, being 15 bytes, also the name that `ps` shows.
const NAME: &str = "pointsman-guard";

/// The master's hold on its guard.
#[derive(Debug)]
pub(crate) struct Guard {
    /// `None` once it was dismissed.
    pipe: Option<fs::File>,
    child: Child,
}

/// How long to wait for a guard that was dismissed: it has nothing left to do but to end.
const PATIENCE: Duration = Duration::from_secs(1);

impl Guard {
    /// Starts one and tells it of the groups that already run.
    pub(crate) fn start(launcher: &Path, groups: impl Iterator<Item = u32>) -> io::Result<Self> {
        let (theirs, ours) = pipe2(OFlag::O_CLOEXEC)?;
        let mut command = Command::new(launcher);
        command.arg0(NAME).current_dir("/").process_group(0);
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        let child = Child::watch(command.spawn()?.id())?;
        channel::set_nonblocking(&ours, true)?;
        let mut guard = Self { pipe: Some(ours.into()), child };
        for group in groups {
            guard.tell('+', group);
        }
        Ok(guard)
    }

    /// The pipe that a new group announces itself on.
    pub(crate) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// The group is over and its number may soon be another's.
    pub(crate) fn forget(&mut self, group: u32) {
        self.tell('-', group);
    }

    /// This [runtime file](runtime_file::RuntimeFile) is to go when the master is gone.
    pub(crate) fn remove_at_end(&mut self, path: &str) {
        self.tell('@', path);
    }

    /// Its process, to be watched: should it end first, another is started.
    pub(crate) fn child(&self) -> &Child {
        &self.child
    }

    /// Has it end whatever is left, and itself, and waits for that.
    pub(crate) fn dismiss(&mut self) {
        self.pipe = None;
        if self.child.wait_exit(PATIENCE).is_ok_and(|exited| !exited) {
            // Stopped, or worse. There is nobody left to be guarded.
            let _ = self.child.signal_group(Signal::SIGKILL);
            let _ = self.child.wait_exit(PATIENCE);
        }
        let _ = self.child.reap();
    }

    fn tell(&mut self, sign: char, what: impl Display) {
        // A line is shorter than PIPE_BUF, so it goes whole or not at all. Not at all means that the guard is dead or
        // stopped: its successor is told the whole list.
        if let Some(pipe) = &mut self.pipe {
            let _ = pipe.write_all(format!("{sign}{what}\n").as_bytes());
        }
    }
}

/// Runs the guard, and never returns, if this process was started as one.
pub(crate) fn run_if_asked() {
    if env::args_os().next().is_none_or(|name| name != NAME) {
        return;
    }
    close_from(3);
    // What ends the master must not end the guard before it. Nothing to be done if the name cannot be set.
    let _ = prctl::set_name(c"pointsman-guard");
    for ignored in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGTSTP] {
        // SAFETY: no handler is installed, only the disposition set.
        let _ = unsafe { signal(ignored, SigHandler::SigIgn) };
    }
    let left = read_to_end(io::stdin().lock());
    for group in left.groups {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    for path in &left.files {
        runtime_file::remove(Path::new(path));
    }
    exit(0);
}

/// What was announced and not taken back.
#[derive(Debug, Default)]
struct Left {
    groups: BTreeSet<i32>,
    files: BTreeSet<String>,
}

fn read_to_end(told: impl BufRead) -> Left {
    let mut left = Left::default();
    for line in told.lines().map_while(Result::ok) {
        // 0 and 1 would be every process of ours, or init's.
        let number = line.get(1..).and_then(|text| text.parse().ok()).filter(|&group: &i32| group > 1);
        match (line.as_bytes().first(), number) {
            (Some(b'+'), Some(group)) => left.groups.insert(group),
            (Some(b'-'), Some(group)) => left.groups.remove(&group),
            (Some(b'@'), _) if line[1..].starts_with('/') => left.files.insert(line[1..].to_owned()),
            _ => false,
        };
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_are_over_are_left_alone() {
        let left = |told: &str| read_to_end(told.as_bytes()).groups.into_iter().collect::<Vec<_>>();
        assert!(left("").is_empty());
        assert_eq!(left("+10\n+11\n-10\n+12\n"), [11, 12]);
        assert_eq!(left("+1\n+0\n+-5\n+x\n\n+\n*7\n+13"), [13], "nothing that could hit a stranger");
    }
    #[test]
    fn files_are_removed_by_their_absolute_paths() {
        let left = read_to_end("@/run/a b/x\n@\n@x\n+10\n@/tmp/5\n".as_bytes());
        assert_eq!(left.files.into_iter().collect::<Vec<_>>(), ["/run/a b/x", "/tmp/5"]);
        assert_eq!(left.groups.into_iter().collect::<Vec<_>>(), [10]);
    }
}
