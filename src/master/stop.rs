//! The end: signals that ask for it, and the last connections before it.

use std::{io, time::Duration};

use nix::sys::signal::Signal;

use super::{Master, Source, orphans, sockets::Listener};
use crate::{
    fleet::{ListenerId, Stop},
    sys::{
        clock,
        signals::{self, Signals},
    },
    time::Time,
};

/// Read in the loop by [`Master::take_signals`]. The last four only so that they do not end the master.
pub(crate) const SIGNALS: [Signal; 8] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
];

/// A signal that comes again within this time is the same word said twice: `timeout`, npm and others send one to the
/// process and one to its group.
const ECHO: Duration = Duration::from_millis(100);

/// How long a stop may go on taking the connections that the kernel had queued before it.
const LAST_CONNECTIONS: Duration = Duration::from_secs(1);

/// How far the end has come.
#[derive(Debug, Default)]
pub(super) struct Stopping {
    /// When a signal first asked for it.
    asked: Option<Time>,
    /// There was a terminal when signals were first taken.
    terminal: bool,
    /// Queued connections are still taken, and those that came back still placed, until then.
    last: Option<(Stop, Time)>,
}

impl Stopping {
    pub(super) fn deadline(&self) -> Option<Time> {
        self.last.map(|(_, until)| until)
    }
}

impl Master {
    /// Reads signals in the loop from now on: TERM, INT and QUIT stop, as does HUP from a terminal that is gone. One
    /// that was ignored when this process was started is left alone.
    pub(crate) fn take_signals(&mut self) -> io::Result<()> {
        let signals = Signals::new(&orphans::signals()?)?;
        self.orphans.begin();
        self.watch(&signals, Source::Signals)?;
        self.signals = Some(signals);
        self.stopping.terminal = !signals::terminal_is_gone();
        Ok(())
    }

    /// Stops, after taking what the kernel has queued and the workers have room for. May be said again, more urgently.
    pub(crate) fn stop(&mut self, how: Stop) {
        self.now = clock::now();
        self.stop_seeking();
        if how == Stop::Now || self.fleet.is_stopping() {
            self.stopping.last = None;
            self.fleet.stop(self.now, how);
            return self.perform();
        }
        self.listeners.values_mut().for_each(|listener| listener.pending = listener.accepts);
        self.stopping.last = Some((how, self.now + LAST_CONNECTIONS));
        self.accept();
        self.go_on_stopping();
    }

    /// Stops for good when the kernel's queues are empty and what came back is on its way again, or it has taken too
    /// long.
    pub(super) fn go_on_stopping(&mut self) {
        let Some((how, until)) = self.stopping.last else { return };
        // Those that nobody takes are not waited for.
        let queued = |(&id, listener): (&ListenerId, &Listener)| listener.pending && self.fleet.is_served(id);
        let waits = self.fleet.has_returned() || self.listeners.iter().any(queued);
        if self.now >= until || !waits {
            self.stopping.last = None;
            self.fleet.stop(self.now, how);
            self.perform();
        }
    }

    /// Signals have come.
    pub(super) fn read_signals(&mut self) {
        while let Some(received) = self.signals.as_ref().and_then(|signals| signals.read().ok().flatten()) {
            match received.signal {
                Signal::SIGCHLD => self.orphans.handle_exit(),
                Signal::SIGTERM | Signal::SIGINT => self.asked_to_stop(Stop::Graceful),
                Signal::SIGQUIT => self.asked_to_stop(Stop::NoDeadline),
                Signal::SIGHUP
                    if received.from_kernel || self.stopping.terminal && signals::terminal_is_gone() =>
                {
                    self.asked_to_stop(Stop::Graceful);
                }
                Signal::SIGHUP => {
                    log::info!("SIGHUP is ignored: this version cannot reload; stop and start it instead");
                }
                other => log::info!("{other} is ignored: it means nothing to this version"),
            }
        }
    }

    fn asked_to_stop(&mut self, how: Stop) {
        match self.stopping.asked {
            None => {
                self.stopping.asked = Some(self.now);
                self.stop(how);
            }
            Some(first) if self.now < first + ECHO => {}
            Some(_) => self.stop(Stop::Now),
        }
    }
}
