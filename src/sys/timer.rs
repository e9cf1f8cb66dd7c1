//! Something that becomes readable after a while: a timerfd, for who waits for descriptors only.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        time::TimeSpec,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    },
    unistd,
};

/// Readable from the end of a time that was [set](Timer::set) until [`Timer::has_fired`] has said so.
#[derive(Debug)]
pub(crate) struct Timer(TimerFd);

impl Timer {
    /// One that is not set, close-on-exec.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        Ok(Self(TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?))
    }

    /// Lets it fire after this time, once.
    pub(crate) fn set(&self, after: Duration) -> io::Result<()> {
        let expiration = Expiration::OneShot(TimeSpec::from_duration(after));
        Ok(self.0.set(expiration, TimerSetTimeFlags::empty())?)
    }

    /// Whether it has fired since it was set or this was asked last.
    pub(crate) fn has_fired(&self) -> io::Result<bool> {
        // `TimerFd::wait` would wait again when it is told that there is nothing to read.
        match unistd::read(&self.0, &mut [0; 8]) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    #[test]
    fn it_fires_once() {
        let timer = Timer::new().unwrap();
        assert!(!timer.has_fired().unwrap());
        timer.set(Duration::from_millis(1)).unwrap();
        poll(&mut [PollFd::new(timer.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
        assert!(timer.has_fired().unwrap() && !timer.has_fired().unwrap());
    }
}
