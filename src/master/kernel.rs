//! The kernel as the one who tells the ends of connections, for workers that do not tell them themselves.
//!
//! Asked only when there is such a worker and the policy goes by open connections. Each connection that such a worker
//! accepts costs one system call more, and each end of one a share of a read.

use std::collections::{BTreeSet, HashSet};

use super::{Master, Source};
use crate::{
    fleet::WorkerId,
    sys::sock_diag::{self, Notifications, Read},
};

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
    },
}

impl Kernel {
    /// Whether there is more to read now.
    pub(super) fn has_more(&self) -> bool {
        matches!(self, Self::Notifies { more: true, .. })
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
            Ok(notifications) => Kernel::Notifies { notifications, more: false, ports: BTreeSet::new() },
            Err(error) => {
                log::warn!("cannot have the kernel tell the ends of connections: {error}");
                Kernel::Silent
            }
        }
    }

    /// Which sockets are of interest: those that were accepted here.
    pub(super) fn tell_kernel_ports(&mut self) {
        let Kernel::Notifies { notifications, ports, .. } = &mut self.kernel else { return };
        ports.extend(self.listeners.values().map(|listener| listener.address.port()));
        let ports: Vec<u16> = ports.iter().copied().collect();
        if let Err(error) = notifications.only_from(&ports) {
            log::debug!("the kernel reports the sockets of strangers as well: {error}");
        }
    }

    /// The kernel has told something.
    pub(super) fn read_kernel(&mut self) {
        let Kernel::Notifies { notifications, more, .. } = &mut self.kernel else { return };
        let read = notifications.read(|cookie| self.fleet.handle_destroyed(cookie));
        *more = matches!(read, Ok(Read::More));
        match read {
            Ok(Read::Drained | Read::More) => {}
            Ok(Read::Lost) => self.ask_who_is_left(),
            Err(error) => log::error!("cannot read what the kernel tells of connections: {error}"),
        }
    }

    pub(super) fn read_more_of_kernel(&mut self) {
        if self.kernel.has_more() {
            self.read_kernel();
        }
    }

    fn ask_who_is_left(&mut self) {
        let mut left = HashSet::new();
        match sock_diag::alive(|cookie| {
            left.insert(cookie);
        }) {
            Ok(()) => self.fleet.handle_resync(|cookie| left.contains(&cookie)),
            Err(error) => log::error!("cannot ask the kernel which connections are left: {error}"),
        }
    }
}
