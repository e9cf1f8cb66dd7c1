//! Child processes: watched by pidfd, signalled as groups, reaped without a race.
//!
//! A child leads a process group of its own. Its pid cannot be given to another process until it is reaped, so the
//! group is always signalled before that.

#![allow(unsafe_code, reason = "pidfd_open and close_range have no safe wrappers")]

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{Signal, kill, killpg},
        socket::{getsockopt, sockopt::PeerCredentials},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
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
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        Ok(self.wait(flags)? != WaitStatus::StillAlive)
    }

    /// Reaps it if it has exited, and says how it ended. From then on its pid, and its group's, may be another's.
    pub(crate) fn reap(&self) -> io::Result<Option<ExitStatus>> {
        Ok(match self.wait(WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG)? {
            WaitStatus::Exited(_, code) => Some(ExitStatus::Code(code)),
            WaitStatus::Signaled(_, signal, _) => Some(ExitStatus::Signal(signal as i32)),
            _ => None,
        })
    }

    fn wait(&self, flags: WaitPidFlag) -> io::Result<WaitStatus> {
        loop {
            match waitid(Id::PIDFd(self.pidfd.as_fd()), flags) {
                Err(Errno::EINTR) => {}
                other => return Ok(other?),
            }
        }
    }
}

impl AsFd for Child {
    /// Readable once it has exited.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}
