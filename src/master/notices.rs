//! Programs that say by sd_notify that they are ready, as they do under systemd.
//!
//! The socket is there when the first worker is started: which program will use it nobody can know. Everybody may send to
//! it, but only a process of a worker's group is heard, by the kernel's word on who has sent. What is not understood is
//! nothing.

use std::{io, os::fd::OwnedFd};

use super::{Master, Source};
use crate::{
    protocol::sd_notify::{MAX_DATAGRAM, is_ready},
    sys::{
        datagram::{self, Received},
        guard::Guard,
        process::group_of,
        runtime_file::RuntimeFile,
        unix::{self, Access, SocketFile},
    },
};

/// The variable by which programs find it.
pub(super) const VARIABLE: &str = "NOTIFY_SOCKET";

const NAME: &str = "notify.sock";

/// Datagrams taken in one turn: more than the kernel queues, unless somebody sends as fast as they are read.
const DATAGRAMS: usize = 64;

/// Whether the socket is there.
#[derive(Debug, Default)]
pub(super) enum Notices {
    /// No worker was started yet.
    #[default]
    Unopened,
    Refused,
    Open {
        socket: OwnedFd,
        /// It was not seen empty.
        pending: bool,
        // Removed in this order.
        _file: SocketFile,
        place: RuntimeFile,
    },
}

impl Notices {
    /// Whether there may be something to hear.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self, Self::Open { pending: true, .. })
    }

    pub(super) fn set_pending(&mut self, is: bool) {
        if let Self::Open { pending, .. } = self {
            *pending = is;
        }
    }

    /// For another guard, which knows of nothing.
    pub(super) fn announce(&self, guard: &mut Guard) {
        if let Self::Open { place, .. } = self {
            guard.remove_at_end(place.path());
        }
    }
}

impl Master {
    /// Where programs find the socket, which is made if it is not there.
    pub(super) fn notices_path(&mut self) -> Option<String> {
        if matches!(self.notices, Notices::Unopened) {
            self.notices = self.open_notices().unwrap_or_else(|error| {
                log::info!("programs cannot say by {VARIABLE} that they are ready: {error}");
                Notices::Refused
            });
        }
        match &self.notices {
            Notices::Open { place, .. } => Some(place.path().to_owned()),
            Notices::Unopened | Notices::Refused => None,
        }
    }

    fn open_notices(&mut self) -> io::Result<Notices> {
        let reader = self.programs.latest().attributes.credentials.as_ref();
        let guard = &mut self.guard;
        // A worker may become somebody else by itself. Whoever sends is looked at.
        let access = Access { mode: Some(0o666), ..Access::default() };
        let (place, (socket, file)) = RuntimeFile::create_socket(
            NAME,
            reader,
            |path| guard.remove_at_end(path),
            |path| unix::bind_datagrams(path, &access),
        )?;
        self.watch(&socket, Source::Notices)?;
        Ok(Notices::Open { socket, pending: false, _file: file, place })
    }

    /// Hears what has come: so much in one turn. The kernel tells of it once, so that some is left must be remembered.
    pub(super) fn hear_notices(&mut self) {
        for _ in 0..DATAGRAMS {
            let Notices::Open { socket, pending: true, .. } = &self.notices else { return };
            let mut buffer = [0; MAX_DATAGRAM];
            match datagram::receive(socket, &mut buffer) {
                Ok(received) => self.hear_notice(received, &buffer[..received.bytes]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Nothing is left; nor would another error be gone at once.
                Err(_) => self.notices.set_pending(false),
            }
        }
    }

    fn hear_notice(&mut self, received: Received, text: &[u8]) {
        if received.is_cut || !is_ready(text) {
            return;
        }
        // A child of a worker may say it, such as systemd-notify.
        let group = received.pid.and_then(group_of);
        let worker = self.workers.iter().find(|(_, worker)| Some(worker.child.pid()) == group);
        if let Some((&id, _)) = worker {
            self.fleet.handle_ready(self.now, id);
            self.perform();
        }
    }
}
