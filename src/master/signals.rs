//! What signals mean to the master.

use std::io;

use nix::sys::signal::Signal;

use super::{Master, Source, orphans};
use crate::{
    fleet::{Event, ReloadRequest, Request, Stop},
    sys::{
        clock,
        signals::{self, Received, Signals},
    },
};

/// Read in the loop by [`Master::take_signals`].
pub(super) const SIGNALS: [Signal; 9] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGWINCH,
];

impl Master {
    /// Reads signals in the loop from now on. One that was ignored when this process was started is left alone.
    pub(crate) fn take_signals(&mut self) -> io::Result<()> {
        let signals = Signals::new(&orphans::signals()?)?;
        self.orphans.begin();
        self.watch(&signals, Source::Signals)?;
        self.signals = Some(signals);
        self.terminal = !signals::terminal_is_gone();
        Ok(())
    }

    /// Signals have come.
    pub(super) fn read_signals(&mut self) {
        while let Some(received) = self.signals.as_ref().and_then(|signals| signals.read().ok().flatten()) {
            self.handle_signal(received);
        }
    }

    fn handle_signal(&mut self, Received { signal, from_kernel }: Received) {
        // It may have come while this turn lasted, and systemd compares its clock with ours.
        self.now = clock::now();
        match signal {
            Signal::SIGTERM | Signal::SIGINT => self.asked_to_stop(Stop::Graceful),
            Signal::SIGCHLD => self.orphans.handle_exit(),
            Signal::SIGQUIT => self.asked_to_stop(Stop::NoDeadline),
            Signal::SIGHUP if from_kernel || self.terminal && signals::terminal_is_gone() => {
                self.asked_to_stop(Stop::Graceful);
            }
            Signal::SIGHUP => self.happens(Event::Asked(Request::Reload(ReloadRequest::default()))),
            Signal::SIGUSR1 => self.happens(Event::Asked(Request::Reopen)),
            Signal::SIGTTIN => self.scale(self.fleet.wanted() + 1),
            // The last one is sent away by WINCH.
            Signal::SIGTTOU if self.fleet.wanted() > 1 => self.scale(self.fleet.wanted() - 1),
            Signal::SIGTTOU => {
                log::info!("SIGTTOU is ignored: it leaves one worker; SIGWINCH sends away the last one, too");
            }
            // That of a terminal whose size has changed.
            Signal::SIGWINCH if from_kernel => {}
            Signal::SIGWINCH => {
                self.fleet.drain(self.now);
                self.perform();
            }
            other => log::info!("{other} is ignored: it means nothing to this version"),
        }
    }
}
