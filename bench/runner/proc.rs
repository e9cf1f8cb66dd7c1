//! What the kernel tells of a process under `/proc`. Everything may be gone between two reads; that is `None`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// In clock ticks since boot.
    started: u64,
}

impl Process {
    pub(crate) fn find(pid: i32) -> Option<Self> {
        stat(pid).map(|stat| Self { pid, started: stat.started })
    }

    /// A zombie is not alive.
    pub(crate) fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.started == self.started && stat.state != 'Z')
    }

    /// Whether `ancestor` is its parent, or its parent's parent, and so on.
    pub(crate) fn descends_from(&self, ancestor: i32) -> bool {
        let mut pid = self.pid;
        while pid > 1 {
            if pid == ancestor {
                return true;
            }
            pid = stat(pid).map_or(0, |stat| stat.parent);
        }
        false
    }
}

/// CPU time so far, by thread.
#[derive(Debug, Default)]
pub(crate) struct CpuTime {
    ns: BTreeMap<(i32, i32), u64>,
}

impl CpuTime {
    /// `schedstat` counts nanoseconds where `stat` counts ticks of 10 ms. Its line for a process is that of the first
    /// thread only, so the threads are added up here.
    pub(crate) fn read(pids: impl IntoIterator<Item = i32>) -> Self {
        let mut time = Self::default();
        for pid in pids {
            for tid in numbers_in(&format!("/proc/{pid}/task")) {
                let line =
                    fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).unwrap_or_default();
                if let Some(ns) = line.split(' ').next().and_then(|field| field.parse().ok()) {
                    time.ns.insert((pid, tid), ns);
                }
            }
        }
        time
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ns.is_empty()
    }

    /// Nanoseconds spent between the two readings. What a thread spent that ended in between is not in it.
    pub(crate) fn since(&self, before: &Self) -> u64 {
        self.ns.iter().map(|(thread, ns)| ns - before.ns.get(thread).copied().unwrap_or(0).min(*ns)).sum()
    }
}

/// `VmRSS` in bytes.
pub(crate) fn rss_bytes(pid: i32) -> Option<u64> {
    rss_in(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// The children of a process.
pub(crate) fn children(parent: i32) -> Vec<i32> {
    let mut pids = numbers_in("/proc");
    pids.retain(|pid| stat(*pid).is_some_and(|stat| stat.parent == parent));
    pids
}

/// Those that were started with this `NAME=VALUE` in their environment.
pub(crate) fn with_environment(entry: &str) -> Vec<Process> {
    let has = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|other| other == entry.as_bytes())
    };
    numbers_in("/proc").into_iter().filter(has).filter_map(Process::find).collect()
}

/// The first word of its command line, as the process itself may have set it.
pub(crate) fn argv0(pid: i32) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let word = line.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(word).into_owned())
}

/// Whether somebody listens on this port of 127.0.0.1 or of all IPv4 addresses. Asked before the first connect: in
/// vain to a port of the ephemeral range it may meet itself, and then holds the port against the front.
pub(crate) fn is_listening(port: u16) -> bool {
    let Ok(table) = fs::File::open("/proc/net/tcp") else { return false };
    listens_in(BufReader::new(table).lines().map_while(Result::ok), port)
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    parent: i32,
    started: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    stat_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// proc_pid_stat(5): the second field is a name in brackets that may hold anything, brackets and blanks included.
fn stat_in(line: &str) -> Option<Stat> {
    let mut fields = line.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    // Field 22; the parent was field 4.
    let started = fields.nth(17)?.parse().ok()?;
    Some(Stat { state, parent, started })
}

fn rss_in(status: &str) -> Option<u64> {
    let kib: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()?;
    Some(kib * 1024)
}

/// proc_net_tcp: local address and port in hexadecimal, the remote ones, the state, of which 0A is LISTEN. Listeners
/// come first, so that the tens of thousands in TIME_WAIT that a run leaves behind need not be read.
fn listens_in(lines: impl Iterator<Item = String>, port: u16) -> bool {
    let wanted = [format!("0100007F:{port:04X}"), format!("00000000:{port:04X}")];
    lines
        .skip(1)
        .map_while(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            (fields.get(3) == Some(&"0A")).then(|| fields[1].to_owned())
        })
        .any(|local| wanted.contains(&local))
}

fn numbers_in(directory: &str) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_confuse_stat() {
        let line = "77 (a) (b) S 42 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 11 0 987654 1000 50";
        assert_eq!(stat_in(line), Some(Stat { state: 'S', parent: 42, started: 987_654 }));
        assert_eq!(stat_in("77 (cut"), None);
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        assert_eq!(rss_in("Name:\tx\nVmHWM:\t   9 kB\nVmRSS:\t    1000 kB\n"), Some(1_024_000));
        assert_eq!(rss_in("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn only_a_listener_counts_as_listening() {
        let check = |local: &str, state: &str| {
            let head = "  sl  local_address rem_address   st tx_queue";
            let other = "   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:0";
            let line = format!("   1: {local} 00000000:0000 {state} 00000000:00000000 00:0");
            listens_in([head, other, &line].into_iter().map(str::to_owned), 8000)
        };
        assert!(check("0100007F:1F40", "0A"));
        assert!(check("00000000:1F40", "0A"));
        assert!(!check("0100007F:1F40", "06"), "TIME_WAIT");
        assert!(!check("0100007F:1F41", "0A"), "another port");
        assert!(!check("0200007F:1F40", "0A"), "another address");
    }

    #[test]
    fn time_is_summed_over_threads_old_and_new() {
        let before = CpuTime { ns: BTreeMap::from([((1, 1), 100), ((1, 2), 50), ((1, 3), 9)]) };
        let after = CpuTime { ns: BTreeMap::from([((1, 1), 170), ((1, 2), 50), ((1, 4), 5)]) };
        assert_eq!(after.since(&before), 75);
    }

    #[test]
    fn this_very_process_is_found() {
        let pid = nix::unistd::getpid().as_raw();
        let process = Process::find(pid).unwrap();
        assert!(process.is_alive() && process.descends_from(nix::unistd::getppid().as_raw()));
        assert!(!Process { pid, started: process.started + 1 }.is_alive());
        assert!(rss_bytes(pid).unwrap() > 100_000);
        assert!(!CpuTime::read([pid]).is_empty());
    }
}
