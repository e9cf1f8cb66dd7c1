//! What a process has used of the machine so far.

#![allow(unsafe_code, reason = "clock_getcpuclockid")]

use std::{fs, io, time::Duration};

use nix::time::{ClockId, clock_gettime};

use super::memory::page_bytes;

/// What one process has used and uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Of the processors: its own code, and the kernel's for it.
    pub(crate) cpu: Duration,
    /// Resident memory, in bytes.
    pub(crate) rss: u64,
}

impl Usage {
    /// Of a process that is there. Four system calls.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let cpu = Duration::from(clock_gettime(cpu_clock(pid)?)?);
        let statm = fs::read_to_string(format!("/proc/{pid}/statm"))?;
        // proc_pid_statm(5): the second number.
        let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        Ok(Self { cpu, rss: pages * page_bytes() })
    }
}

fn cpu_clock(pid: u32) -> io::Result<ClockId> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut clock = 0;
    // SAFETY: it takes an integer, and writes one to a pointer that is valid for the call.
    match unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) } {
        0 => Ok(ClockId::from_raw(clock)),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_has_worked_has_used_something() {
        let before = Usage::of(std::process::id()).unwrap();
        let mut sum = 0u64;
        while Usage::of(std::process::id()).unwrap().cpu <= before.cpu {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(before.rss > 100 << 10, "{before:?}");
        assert!(Usage::of(u32::MAX / 2).is_err());
    }
}
