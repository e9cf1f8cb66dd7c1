//! The kernel as the one who tells the ends of connections, for workers that do not tell them themselves.
//!
//! Asked only when there is such a worker and the policy goes by open connections. Each connection that such a worker
//! accepts costs one system call more, and each end of one a share of a read.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use super::{Master, Source};
use crate::{
    fleet::WorkerId,
    sys::sock_diag::{self, Notifications, Read},
    time::Time,
};

/// The kernel is asked for all connections of the machine no more often than this: it walks its whole table, which takes
/// milliseconds, and where notifications are lost once, they are lost again and again.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether it has been asked.
#[derive(Debug, Default)]
pub(super) enum Kernel {
    /// No worker needs it yet.
    #[default]
    Unasked,
    /// It does not notify here, as in some sandboxes.
    Silent,
    Notifies {
        notifications: Notifications,
        /// The last read left something.
        more: bool,
        /// Every port that was listened on: its connections may outlive the listener.
        ports: BTreeSet<u16>,
        resync: Resync,
    },
}

/// When to ask which connections are left, after word of some was lost.
#[derive(Debug, Default)]
pub(super) struct Resync {
    due: Option<Time>,
    rests_until: Time,
    /// The last time it could not be asked.
    failing: bool,
}

impl Resync {
    /// Something was lost.
    fn handle_loss(&mut self, now: Time) {
        self.due.get_or_insert(now.max(self.rests_until));
    }

    /// Says whether to ask now; what is lost from here on, this answer does not tell.
    fn take_due(&mut self, now: Time) -> bool {
        let is_due = self.due.take_if(|at| *at <= now).is_some();
        if is_due {
            self.rests_until = now + PAUSE;
        }
        is_due
    }
}

impl Kernel {
    /// Whether there is more to read now.
    pub(super) fn has_more(&self) -> bool {
        matches!(self, Self::Notifies { more: true, .. })
    }

    /// When [`Master::resync_kernel`] is to be called.
    pub(super) fn deadline(&self) -> Option<Time> {
        match self {
            Self::Notifies { resync, .. } => resync.due,
            Self::Unasked | Self::Silent => None,
        }
    }
}

impl Master {
    /// Has the kernel tell the ends of a worker's connections, if it does that here.
    pub(super) fn watch_kernel(&mut self, worker: WorkerId) {
        if matches!(self.kernel, Kernel::Unasked) {
            self.kernel = self.ask_kernel();
            self.tell_kernel_ports();
        }
        self.fleet.handle_kernel_tells(worker, matches!(self.kernel, Kernel::Notifies { .. }));
    }

    fn ask_kernel(&self) -> Kernel {
        if !sock_diag::probe() {
            return Kernel::Silent;
        }
        let opened = Notifications::open().and_then(|notifications| {
            self.watch(&notifications, Source::Kernel)?;
            Ok(notifications)
        });
        match opened {
            Ok(notifications) => {
                let (ports, resync) = (BTreeSet::new(), Resync::default());
                Kernel::Notifies { notifications, more: false, ports, resync }
            }
            Err(error) => {
                log::warn!("cannot have the kernel tell the ends of connections: {error}");
                Kernel::Silent
            }
        }
    }

    /// Which sockets are of interest: those that were accepted here.
    pub(super) fn tell_kernel_ports(&mut self) {
        let Kernel::Notifies { notifications, ports, .. } = &mut self.kernel else { return };
        ports.extend(self.listeners.values().filter_map(|listener| listener.endpoint.port()));
        let ports: Vec<u16> = ports.iter().copied().collect();
        if let Err(error) = notifications.only_from(&ports) {
            log::debug!("the kernel reports the sockets of strangers as well: {error}");
        }
    }

    /// The kernel has told something.
    pub(super) fn read_kernel(&mut self) {
        let Kernel::Notifies { notifications, more, resync, .. } = &mut self.kernel else { return };
        let read = notifications.read(|cookie| self.fleet.handle_destroyed(cookie));
        *more = matches!(read, Ok(Read::More));
        match read {
            Ok(Read::Drained | Read::More) => {}
            Ok(Read::Lost) => resync.handle_loss(self.now),
            Err(error) => log::error!("cannot read what the kernel tells of connections: {error}"),
        }
    }

    pub(super) fn read_more_of_kernel(&mut self) {
        if self.kernel.has_more() {
            self.read_kernel();
        }
    }

    /// Asks which connections are left, if it is time to; until that has succeeded.
    pub(super) fn resync_kernel(&mut self) {
        let Kernel::Notifies { resync, .. } = &mut self.kernel else { return };
        if !resync.take_due(self.now) {
            return;
        }
        let mut left = HashSet::new();
        let asked = sock_diag::alive(|cookie| {
            left.insert(cookie);
        });
        match &asked {
            Ok(()) => self.fleet.handle_resync(|cookie| left.contains(&cookie)),
            Err(error) => {
                resync.handle_loss(self.now);
                let level = if resync.failing { log::Level::Debug } else { log::Level::Error };
                log::log!(
                    level,
                    "cannot ask the kernel which connections are left: {error}; asks again in {PAUSE:?}"
                );
            }
        }
        resync.failing = asked.is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_asked_at_once_and_then_no_more_often_than_it_may() {
        let at = |ms: u64| Time::default() + Duration::from_secs(5) + Duration::from_millis(ms);
        let mut resync = Resync::default();
        assert!(!resync.take_due(at(0)), "nothing was lost");
        resync.handle_loss(at(0));
        assert_eq!(resync.due, Some(at(0)));
        assert!(resync.take_due(at(0)) && !resync.take_due(at(0)), "once");
        for ms in 1..1000 {
            resync.handle_loss(at(ms));
            assert!(!resync.take_due(at(ms)), "{ms}");
        }
        assert_eq!(resync.due, Some(at(1000)));
        assert!(resync.take_due(at(1000)));
        assert_eq!(resync.due, None);
        resync.handle_loss(at(9000));
        assert_eq!(resync.due, Some(at(9000)));
    }
}
