//! Processes as /proc shows them.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::eventually;

/// What [`Process::descriptors`] calls a connection by TCP or by a Unix socket that has a name.
pub(super) const CONNECTION: &str = "connection";

/// The state of a listening socket in /proc/net/tcp.
const LISTEN: &str = "0A";

/// The state of a connected socket in /proc/net/unix.
const CONNECTED: &str = "03";

/// A process that was there when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Process {
    pid: u32,
    /// In clock ticks since the machine started: tells it from a later process with the same pid.
    born: u64,
}

/// The fields of /proc/PID/stat that matter here.
struct Stat {
    state: String,
    parent: u32,
    ticks: u64,
    nice: i32,
    born: u64,
    policy: i32,
}

impl Process {
    /// This very process: whoever runs the tests.
    pub(crate) fn this() -> Self {
        Self::find(std::process::id()).unwrap()
    }

    pub(crate) fn find(pid: u32) -> Option<Self> {
        Some(Self { pid, born: stat(pid)?.born })
    }

    /// All processes that were started with `NAME=VALUE` in their environment, however they descend from whom.
    pub(crate) fn marked(marker: &str) -> Vec<Self> {
        let is_marked = |process: &Self| process.environ().iter().any(|entry| entry == marker);
        all().filter(is_marked).collect()
    }

    pub(crate) fn children_of(parent: u32) -> Vec<Self> {
        all().filter(|process| process.stat().is_some_and(|stat| stat.parent == parent)).collect()
    }

    pub(crate) fn pid(self) -> u32 {
        self.pid
    }

    /// It has not exited, and it is not a zombie.
    pub(crate) fn is_alive(self) -> bool {
        self.stat().is_some_and(|stat| stat.state != "Z" && stat.state != "X")
    }

    /// It has exited and nobody has reaped it.
    pub(crate) fn is_zombie(self) -> bool {
        self.stat().is_some_and(|stat| stat.state == "Z")
    }

    /// The name that `ps` shows.
    pub(crate) fn name(self) -> String {
        self.text("comm").trim_end().to_owned()
    }

    pub(crate) fn command_line(self) -> Vec<String> {
        self.text("cmdline").split_terminator('\0').map(str::to_owned).collect()
    }

    /// The environment that it was started with.
    pub(crate) fn environ(self) -> Vec<String> {
        self.text("environ").split_terminator('\0').map(str::to_owned).collect()
    }

    /// A line of /proc/PID/status.
    pub(crate) fn status(self, field: &str) -> String {
        let text = self.text("status");
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("no {field} in {text:?}")).trim().to_owned()
    }

    /// /proc/PID/task/TID/status of every thread.
    pub(crate) fn threads(self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("task")) else { return Vec::new() };
        entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("status")).ok()).collect()
    }

    /// A mask of signals in /proc/PID/status. Without the real-time signals: the C library leaves two of them, which
    /// are its own, ignored in whatever it starts.
    pub(crate) fn signals(self, field: &str) -> u64 {
        u64::from_str_radix(&self.status(field), 16).unwrap() & 0x7fff_ffff
    }

    /// What its descriptors refer to, sorted: paths and kinds.
    pub(crate) fn descriptors(self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("fd")) else { return Vec::new() };
        let targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        let sockets = self.sockets();
        let mut kinds: Vec<_> = targets.map(|target| kind_of(&target, &sockets)).collect();
        kinds.sort_unstable();
        kinds
    }

    /// What the sockets are that are no connections, by their number: the kernel lists no connection that is closed
    /// at both ends and still held.
    fn sockets(self) -> HashMap<String, &'static str> {
        let mut sockets = HashMap::new();
        for (file, kind, column) in [
            ("unix", "socket", 6),
            ("netlink", "netlink socket", 9),
            ("udp", "datagram socket", 9),
            ("udp6", "datagram socket", 9),
        ] {
            let text = self.text(&format!("net/{file}"));
            let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            // One with a name that is connected was accepted from the socket of that name.
            let lines =
                lines.filter(|columns| file != "unix" || columns.len() < 8 || columns[5] != CONNECTED);
            sockets.extend(lines.filter_map(|columns| Some((columns.get(column)?.to_string(), kind))));
        }
        for file in ["net/tcp", "net/tcp6"] {
            for line in self.text(file).lines() {
                let columns: Vec<_> = line.split_whitespace().collect();
                if columns.len() > 9 && columns[3] == LISTEN {
                    sockets.insert(columns[9].to_owned(), "listening socket");
                }
            }
        }
        sockets
    }

    /// How many TCP connections it has open.
    pub(crate) fn connections(self) -> usize {
        self.descriptors().iter().filter(|kind| *kind == CONNECTION).count()
    }

    /// The time that it has spent on a processor, in the kernel too.
    pub(crate) fn cpu_time(self) -> Duration {
        // Of 10 ms, on every Linux that these tests have been on; a constant of its interface to programs.
        Duration::from_millis(self.stat().map_or(0, |stat| stat.ticks) * 10)
    }

    /// Whether a signal that was sent to it waits to be taken.
    pub(crate) fn is_pending(self, signal: Signal) -> bool {
        self.signals("ShdPnd") >> (signal as u32 - 1) & 1 == 1
    }

    pub(crate) fn signal(self, signal: Signal) {
        // A process that is gone by now got what a signal would have done.
        let _ = kill(Pid::from_raw(self.pid.cast_signed()), signal);
    }

    /// Stops it, and returns when it has stopped.
    #[track_caller]
    pub(crate) fn freeze(self) {
        self.signal(Signal::SIGSTOP);
        eventually("it stops", || self.stat().is_some_and(|stat| stat.state == "T"));
    }

    /// Soft and hard limit of its descriptors.
    pub(crate) fn descriptor_limits(self) -> (u64, u64) {
        let text = self.text("limits");
        let line = text.lines().find_map(|line| line.strip_prefix("Max open files"));
        let mut numbers = line.unwrap().split_whitespace().map_while(|word| word.parse().ok());
        (numbers.next().unwrap(), numbers.next().unwrap())
    }

    /// Its nice value.
    pub(crate) fn nice(self) -> i32 {
        self.stat().map_or(0, |stat| stat.nice)
    }

    /// The scheduling policy of its first thread, as in sched(7): 0 is the ordinary one, 3 that of batch jobs.
    pub(crate) fn policy(self) -> i32 {
        self.stat().map_or(-1, |stat| stat.policy)
    }

    /// The directory it is in.
    pub(crate) fn directory(self) -> PathBuf {
        fs::read_link(self.path("cwd")).unwrap()
    }

    /// A soft and a hard limit, as /proc/PID/limits names and writes them.
    pub(crate) fn limit(self, name: &str) -> (String, String) {
        let text = self.text("limits");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_else(|| panic!("no {name} in {text}"));
        let mut words = line.split_whitespace().map(str::to_owned);
        (words.next().unwrap(), words.next().unwrap())
    }

    fn stat(self) -> Option<Stat> {
        stat(self.pid).filter(|stat| stat.born == self.born)
    }

    fn text(self, file: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(file)).unwrap_or_default()).into_owned()
    }

    fn path(self, file: &str) -> PathBuf {
        format!("/proc/{}/{file}", self.pid).into()
    }
}

fn all() -> impl Iterator<Item = Process> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter_map(Process::find)
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before the last parenthesis may contain anything.
    let fields: Vec<_> = text.get(text.rfind(')')? + 2..)?.split_whitespace().collect();
    Some(Stat {
        state: fields[0].to_owned(),
        parent: fields[1].parse().ok()?,
        ticks: fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?,
        nice: fields[16].parse().ok()?,
        born: fields[19].parse().ok()?,
        policy: fields[38].parse().ok()?,
    })
}

fn kind_of(target: &Path, sockets: &HashMap<String, &'static str>) -> String {
    let text = target.to_string_lossy();
    match text.trim_end_matches(']').split_once(":[") {
        Some(("socket", number)) => (*sockets.get(number).unwrap_or(&CONNECTION)).to_owned(),
        // A pidfd, on kernels that number them.
        Some((kind, number)) if number.bytes().all(|digit| digit.is_ascii_digit()) => kind.to_owned(),
        _ => text.into_owned(),
    }
}
