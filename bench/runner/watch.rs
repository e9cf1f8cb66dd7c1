//! Waiting: on a condition, within a limit, and never past an interrupt.
//!
//! The only file of the bench that reads a clock or sleeps.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};

use super::Failure;

/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(5);

/// Notices INT, TERM and HUP, so that a run ends by the ordinary way and takes its processes along.
#[derive(Debug)]
pub(crate) struct Watch {
    interrupted: Arc<AtomicBool>,
}

impl Watch {
    /// Must be called before there is a second thread: the signals are blocked in all of them.
    pub(crate) fn start() -> Result<Self, Failure> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        signals.thread_block().map_err(|errno| Failure::because(format!("cannot block signals: {errno}")))?;
        let interrupted = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&interrupted);
        thread::spawn(move || {
            while signals.wait().is_ok() {
                flag.store(true, Ordering::Relaxed);
            }
        });
        Ok(Self { interrupted })
    }

    /// One that sees no signal.
    #[cfg(test)]
    pub(crate) fn idle() -> Self {
        Self { interrupted: Arc::default() }
    }

    /// Looks again and again until `look` has an answer; `what` completes "waited in vain until …".
    pub(crate) fn until<T>(
        &self,
        limit: Duration,
        what: &str,
        mut look: impl FnMut() -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        poll(limit, || {
            if self.interrupted.load(Ordering::Relaxed) {
                return Some(Err(Failure::Interrupted));
            }
            look().transpose()
        })
        .unwrap_or_else(|| Err(Failure::because(format!("waited {limit:?} in vain until {what}"))))
    }
}

/// The same without an eye on interrupts, for cleaning up. `None` when the limit passed.
#[allow(clippy::disallowed_methods, reason = "the one clock and the one pause of the bench")]
pub(crate) fn poll<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let begin = Instant::now();
    loop {
        if let Some(answer) = look() {
            return Some(answer);
        }
        if begin.elapsed() > limit {
            return None;
        }
        thread::sleep(PAUSE);
    }
}

/// Lets a child die with the runner, however that ends, and gives it the signal mask the runner was started with.
#[allow(unsafe_code, reason = "std has no other way to say what must happen in the child before exec")]
pub(crate) fn bind_to_runner(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    let runner = nix::unistd::getpid();
    let prepare = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        SigSet::empty().thread_set_mask()?;
        // The runner may have died before it was asked about.
        if nix::unistd::getppid() == runner { Ok(()) } else { Err(nix::Error::ESRCH.into()) }
    };
    // SAFETY: between fork and exec only async-signal-safe functions may run. `prepare` makes three system calls and
    // neither allocates nor locks.
    unsafe { command.pre_exec(prepare) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_never_comes_is_named() {
        let watch = Watch::idle();
        let answer: Result<(), _> = watch.until(Duration::from_millis(1), "the sea is dry", || Ok(None));
        assert!(answer.unwrap_err().to_string().ends_with("in vain until the sea is dry"));
    }

    #[test]
    fn an_interrupt_ends_a_wait() {
        let watch = Watch { interrupted: Arc::new(AtomicBool::new(true)) };
        let answer = watch.until(Duration::from_secs(60), "now", || Ok(Some(())));
        assert!(matches!(answer, Err(Failure::Interrupted)));
    }
}
