//! Child processes: watched by pidfd, signalled as groups, reaped without a race.
//!
//! A child leads a process group of its own. Its pid cannot be given to another process until it is reaped, so the
//! group is always signalled before that.

#![allow(
    unsafe_code,
    reason = "pidfd_open and close_range have no safe wrappers, and waitid none that knows all signals"
)]

use std::{
    io, mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{Signal, kill, killpg},
        socket::{getsockopt, sockopt::PeerCredentials},
    },
    unistd::{Pid, getpgid},
};

use crate::fleet::ExitStatus;

/// Marks every descriptor from `first` on close-on-exec: what this process inherited is not its program's business.
/// Does nothing on Linux before 5.11.
pub(super) fn close_on_exec_from(first: libc::c_uint) {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC);
}

/// Closes every descriptor from `first` on, in a process that has opened none of them itself. Does nothing on Linux
/// before 5.9.
pub(super) fn close_from(first: libc::c_uint) {
    close_range(first, 0);
}

fn close_range(first: libc::c_uint, flags: libc::c_uint) {
    // SAFETY: close_range takes three integers. With a flag of zero it closes descriptors, which by the contract of
    // `close_from` nothing in this process owns.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) };
}

/// The process group of who is at the other end of a Unix socket.
pub(crate) fn group_of_peer(socket: impl AsFd) -> Option<u32> {
    let peer = getsockopt(&socket.as_fd(), PeerCredentials).ok()?;
    group_of(peer.pid().unsigned_abs())
}

/// The process group of this process, if there is one and it is not reaped.
pub(crate) fn group_of(pid: u32) -> Option<u32> {
    let pid = i32::try_from(pid).ok()?;
    u32::try_from(getpgid(Some(Pid::from_raw(pid))).ok()?.as_raw()).ok()
}

/// A child of this process that has not been reaped.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Child {
    /// Takes charge of a child that was just started with its own process group.
    pub(crate) fn watch(pid: u32) -> io::Result<Self> {
        let pid =
            Pid::from_raw(i32::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?);
        // SAFETY: pidfd_open takes two integers; what it returns is a new descriptor (close-on-exec) or -1.
        let number = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
        let number =
            i32::try_from(number).ok().filter(|&number| number >= 0).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: nobody else knows the new descriptor.
        Ok(Self { pid, pidfd: unsafe { OwnedFd::from_raw_fd(number) } })
    }

    /// The process id, also that of its group.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Signals the process alone, which may have other plans for its children. That it is already gone is no error.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        match kill(self.pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Signals the whole group. That it is already gone is no error.
    pub(crate) fn signal_group(&self, signal: Signal) -> io::Result<()> {
        match killpg(self.pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Kills it and its group, waits for its end for no longer than `timeout`, and reaps it.
    pub(crate) fn end(&self, timeout: Duration) {
        // There is nobody to be told that it may not be signalled, or does not end.
        let _ = self.signal_group(Signal::SIGKILL);
        let _ = self.wait_exit(timeout);
        let _ = self.reap();
    }

    /// Waits until it has exited, but no longer than `timeout`; says whether it has.
    pub(crate) fn wait_exit(&self, timeout: Duration) -> io::Result<bool> {
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(_) | Err(Errno::EINTR) => self.has_exited(),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether it has exited; it stays a zombie, and its pid its own, until [`Child::reap`].
    pub(crate) fn has_exited(&self) -> io::Result<bool> {
        Ok(self.wait(libc::WNOWAIT)?.is_some())
    }

    /// Reaps it if it has exited, and says how it ended. From then on its pid, and its group's, may be another's.
    pub(crate) fn reap(&self) -> io::Result<Option<ExitStatus>> {
        Ok(self.wait(0)?.map(|exited| exited.status))
    }

    fn wait(&self, flags: libc::c_int) -> io::Result<Option<Exited>> {
        waitid(libc::P_PIDFD, self.pidfd.as_raw_fd().unsigned_abs(), flags)
    }
}

/// Whether orphans become children of this process: it is the first of its PID namespace, or has asked for them.
pub(crate) fn adopts_orphans() -> bool {
    std::process::id() == 1 || prctl::get_child_subreaper().unwrap_or(false)
}

/// One of the children of this process that have exited, which is left as it is.
pub(crate) fn exited_child() -> io::Result<Option<u32>> {
    match waitid(libc::P_ALL, 0, libc::WNOWAIT) {
        Ok(exited) => Ok(exited.map(|exited| exited.pid)),
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reaps a child that has exited and that nobody has taken charge of.
pub(crate) fn reap_stranger(pid: u32) -> io::Result<()> {
    waitid(libc::P_PID, pid, 0).map(drop)
}

/// A child that has exited.
struct Exited {
    pid: u32,
    status: ExitStatus,
}

/// waitid(2) of what has exited, without waiting. Real-time signals are signals too, which nix does not know.
fn waitid(kind: libc::idtype_t, id: libc::id_t, flags: libc::c_int) -> io::Result<Option<Exited>> {
    // SAFETY: siginfo_t is plain data for which zeros mean "none".
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    // SAFETY: the pointer is valid for the call, which writes one siginfo_t to it.
    while unsafe { libc::waitid(kind, id, &raw mut info, flags | libc::WEXITED | libc::WNOHANG) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    // SAFETY: the kernel filled in what it tells of a child, or left all of it zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    let by_itself = info.si_code == libc::CLD_EXITED;
    let status = if by_itself { ExitStatus::Code(status) } else { ExitStatus::Signal(status) };
    Ok((pid != 0).then_some(Exited { pid: pid.unsigned_abs(), status }))
}

impl AsFd for Child {
    /// Readable once it has exited.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::process::CommandExt, process::Command};

    /// How a shell ends.
    #[expect(clippy::zombie_processes, reason = "who watches it reaps it")]
    fn end_of(script: &str) -> ExitStatus {
        let child = Command::new("sh").args(["-c", script]).process_group(0).spawn().unwrap();
        let child = Child::watch(child.id()).unwrap();
        assert!(child.wait_exit(Duration::from_secs(30)).unwrap());
        assert!(child.has_exited().unwrap(), "and it stays so");
        let status = child.reap().unwrap().unwrap();
        assert!(child.reap().is_err(), "there is none any more");
        status
    }

    #[test]
    fn a_child_is_reaped_with_the_way_of_its_end() {
        for (script, status) in [
            ("exit 0", ExitStatus::Code(0)),
            ("exit 255", ExitStatus::Code(255)),
            ("kill -KILL $$", ExitStatus::Signal(9)),
            ("kill -40 $$", ExitStatus::Signal(40)),
        ] {
            assert_eq!(end_of(script), status, "{script}");
        }
    }
}
