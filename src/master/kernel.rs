//! The kernel as the one who tells the ends of connections, for workers that do not tell them themselves.
//!
//! Asked only when there is such a worker and the policy goes by open connections. Each connection that such a worker
//! accepts costs one system call more, and each end of one a share of a read.

use std::{
    collections::{BTreeSet, HashSet},
    io,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use mio::unix::SourceFd;

use super::{Master, Source};
use crate::{
    fleet::WorkerId,
    sys::sock_diag::{self, Cookie, Dump, Notifications, Read},
    time::Time,
};

/// The kernel is asked for all connections of the machine no more often than this: it walks its whole table, which takes
/// milliseconds in all, and where notifications are lost once, they are lost again and again.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the kernel may take to tell of a socket that is over, before it is taken to tell of none.
const PATIENCE: Duration = Duration::from_secs(1);

/// Answers read in one turn, so that others have their turn.
const STEPS: usize = 4;

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
        /// Until it is known whether the kernel notifies at all.
        probe: Option<Probe>,
    },
}

/// A socket is over, and the kernel should tell of it.
#[derive(Debug)]
pub(super) struct Probe {
    wanted: Cookie,
    until: Time,
    /// Workers that are to know the outcome.
    workers: Vec<WorkerId>,
}

/// When to ask which connections are left, after word of some was lost.
#[derive(Debug, Default)]
pub(super) struct Resync {
    due: Option<Time>,
    rests_until: Time,
    /// The last time it could not be asked.
    failing: bool,
    /// It is being asked.
    census: Option<Census>,
}

/// The connections that are left.
#[derive(Debug)]
struct Census {
    dump: Dump,
    left: HashSet<Cookie>,
}

impl Resync {
    /// Something was lost.
    fn handle_loss(&mut self, now: Time) {
        self.due.get_or_insert(now.max(self.rests_until));
    }

    /// Says whether to ask now; what is lost from here on, this answer does not tell.
    fn take_due(&mut self, now: Time) -> bool {
        let is_due = self.census.is_none() && self.due.take_if(|at| *at <= now).is_some();
        if is_due {
            self.rests_until = now + PAUSE;
        }
        is_due
    }
}

impl Resync {
    /// Asks, or goes on asking, and returns what is left when all is known.
    fn go_on(&mut self, now: Time) -> io::Result<Option<HashSet<Cookie>>> {
        let mut census = match self.census.take() {
            Some(census) => census,
            None if self.take_due(now) => Census { dump: Dump::start()?, left: HashSet::new() },
            None => return Ok(None),
        };
        for _ in 0..STEPS {
            let left = &mut census.left;
            let each = &mut |cookie| {
                left.insert(cookie);
            };
            if census.dump.step(each)? {
                return Ok(Some(census.left));
            }
        }
        self.census = Some(census);
        Ok(None)
    }
}

impl Kernel {
    /// Whether there is more to read now.
    pub(super) fn has_more(&self) -> bool {
        match self {
            Self::Notifies { more, resync, .. } => *more || resync.census.is_some(),
            Self::Unasked | Self::Silent => false,
        }
    }

    /// When [`Master::resync_kernel`] is to be called.
    pub(super) fn deadline(&self) -> Option<Time> {
        match self {
            Self::Notifies { probe: Some(probe), .. } => Some(probe.until),
            Self::Notifies { resync, .. } => resync.due,
            Self::Unasked | Self::Silent => None,
        }
    }

    /// A connection has this name from now on. The census may have passed its place already.
    pub(super) fn named(&mut self, cookie: Cookie) {
        if let Self::Notifies { resync: Resync { census: Some(census), .. }, .. } = self {
            census.left.insert(cookie);
        }
    }
}

impl Master {
    /// Has the kernel tell the ends of a worker's connections, if it does that here.
    pub(super) fn watch_kernel(&mut self, worker: WorkerId) {
        if matches!(self.kernel, Kernel::Unasked) {
            self.kernel = self.ask_kernel().unwrap_or_else(|error| {
                log::warn!("cannot have the kernel tell the ends of connections: {error}");
                Kernel::Silent
            });
            self.tell_kernel_ports();
        }
        match &mut self.kernel {
            Kernel::Notifies { probe: Some(probe), .. } => probe.workers.push(worker),
            Kernel::Notifies { probe: None, .. } => self.fleet.handle_kernel_tells(worker, true),
            Kernel::Unasked | Kernel::Silent => self.fleet.handle_kernel_tells(worker, false),
        }
    }

    fn ask_kernel(&self) -> io::Result<Kernel> {
        let notifications = Notifications::open()?;
        self.watch(&notifications, Source::Kernel)?;
        let wanted = sock_diag::provoke()?;
        let probe = Some(Probe { wanted, until: self.now + PATIENCE, workers: Vec::new() });
        let (ports, resync) = (BTreeSet::new(), Resync::default());
        Ok(Kernel::Notifies { notifications, more: false, ports, resync, probe })
    }

    /// Whether the kernel tells of what is over is known now.
    fn end_probe(&mut self, tells: bool) {
        let Kernel::Notifies { probe, notifications, .. } = &mut self.kernel else { return };
        let Some(Probe { workers, .. }) = probe.take() else { return };
        if tells {
            self.tell_kernel_ports();
        } else {
            let number = notifications.as_fd().as_raw_fd();
            let _ = self.poll.registry().deregister(&mut SourceFd(&number));
            self.kernel = Kernel::Silent;
        }
        for worker in workers {
            self.fleet.handle_kernel_tells(worker, tells);
        }
        self.perform();
    }

    /// Which sockets are of interest: those that were accepted here.
    pub(super) fn tell_kernel_ports(&mut self) {
        let Kernel::Notifies { notifications, ports, probe, .. } = &mut self.kernel else { return };
        ports.extend(self.listeners.values().filter_map(|listener| listener.endpoint.port()));
        // The probe has no port.
        if probe.is_some() {
            return;
        }
        let ports: Vec<u16> = ports.iter().copied().collect();
        if let Err(error) = notifications.only_from(&ports) {
            log::debug!("the kernel reports the sockets of strangers as well: {error}");
        }
    }

    /// The kernel has told something.
    pub(super) fn read_kernel(&mut self) {
        let Kernel::Notifies { notifications, more, resync, probe, .. } = &mut self.kernel else { return };
        let wanted = probe.as_ref().map(|probe| probe.wanted);
        let mut noticed = false;
        let read = notifications.read(|cookie| {
            noticed |= wanted == Some(cookie);
            self.fleet.handle_destroyed(cookie);
        });
        // What can be lost does come.
        noticed |= wanted.is_some() && matches!(read, Ok(Read::Lost));
        *more = matches!(read, Ok(Read::More));
        match read {
            Ok(Read::Drained | Read::More) => {}
            Ok(Read::Lost) => resync.handle_loss(self.now),
            Err(error) => log::error!("cannot read what the kernel tells of connections: {error}"),
        }
        if noticed {
            self.end_probe(true);
        }
    }

    pub(super) fn read_more_of_kernel(&mut self) {
        if matches!(self.kernel, Kernel::Notifies { more: true, .. }) {
            self.read_kernel();
        }
    }

    /// Asks which connections are left, if it is time to, until that has succeeded; and gives up on a kernel that does
    /// not tell.
    pub(super) fn resync_kernel(&mut self) {
        let Kernel::Notifies { resync, probe, .. } = &mut self.kernel else { return };
        if probe.as_ref().is_some_and(|probe| probe.until <= self.now) {
            return self.end_probe(false);
        }
        let asked = match resync.go_on(self.now) {
            Ok(None) => return,
            Ok(Some(left)) => {
                self.fleet.handle_resync(|cookie| left.contains(&cookie));
                Ok(())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &asked {
            resync.handle_loss(self.now);
            let level = if resync.failing { log::Level::Debug } else { log::Level::Error };
            log::log!(
                level,
                "cannot ask the kernel which connections are left: {error}; asks again in {PAUSE:?}"
            );
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

    #[test]
    fn what_is_named_while_the_kernel_is_asked_is_left() {
        let mut resync = Resync::default();
        let now = Time::default() + PAUSE;
        resync.handle_loss(now);
        let named = Cookie::MAX;
        resync.census = Some(Census { dump: Dump::start().unwrap(), left: HashSet::new() });
        let (notifications, ports) = (Notifications::open().unwrap(), BTreeSet::new());
        let mut kernel = Kernel::Notifies { notifications, more: false, ports, resync, probe: None };
        assert!(kernel.has_more(), "without waiting");
        kernel.named(named);
        let Kernel::Notifies { resync, .. } = &mut kernel else { panic!("it notifies") };
        assert!(!resync.take_due(now), "it is being asked");
        let left = loop {
            if let Some(left) = resync.go_on(now).unwrap() {
                break left;
            }
        };
        assert!(left.contains(&named));
        assert!(!kernel.has_more());
    }
}
