//! Signals as something to read, by signalfd.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::OpenOptionsExt,
    },
};

use nix::sys::{
    signal::{SigHandler, SigSet, SigmaskHow, Signal, signal},
    signalfd::{SfdFlags, SignalFd},
};

/// A signal and where it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) signal: Signal,
    /// The kernel sent it (`SI_KERNEL`), not a process: for HUP, the terminal is gone.
    pub(crate) from_kernel: bool,
}

/// Signals that no longer interrupt this thread but are read in the loop.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

/// Blocks `signals` in the calling thread, and in threads that it starts later.
pub(crate) fn block(signals: &[Signal]) -> io::Result<()> {
    Ok(heeded(signals).thread_block()?)
}

/// Does this with all signals blocked, and so has the threads that it starts take none.
pub(crate) fn shielded<T>(start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let started = start();
    before.thread_set_mask()?;
    started
}

/// Those that were not ignored when this process was started, as `nohup` and a shell's `&` have some ignored. (A blocked
/// signal is queued even then, so they must be left out.)
fn heeded(signals: &[Signal]) -> SigSet {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let is_ignored = |signal: Signal| ignored >> (signal as u32 - 1) & 1 == 1;
    signals.iter().copied().filter(|&signal| !is_ignored(signal)).collect()
}

/// Has the end of a child be told and its status be kept, whatever this process was started with.
#[allow(unsafe_code, reason = "a disposition without a handler")]
pub(crate) fn keep_children() -> io::Result<()> {
    // SAFETY: no handler is installed, only the default restored.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;
    Ok(())
}

/// Whether this process has no terminal, or it is gone.
pub(crate) fn terminal_is_gone() -> bool {
    File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open("/dev/tty").is_err()
}

/// `SI_KERNEL` of `<bits/siginfo.h>`.
const SI_KERNEL: i32 = 0x80;

impl Signals {
    /// Blocks `signals` as [`block`] does, and takes them.
    pub(crate) fn new(signals: &[Signal]) -> io::Result<Self> {
        block(signals)?;
        let set = heeded(signals);
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// The next one that has come.
    pub(crate) fn read(&self) -> io::Result<Option<Received>> {
        let Some(info) = self.0.read_signal()? else { return Ok(None) };
        let number = i32::try_from(info.ssi_signo).unwrap_or(0);
        Ok(Signal::try_from(number)
            .ok()
            .map(|signal| Received { signal, from_kernel: info.ssi_code == SI_KERNEL }))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
