//! Programs that say by Einhorn's socket that they are ready.
//!
//! The socket is there when the first program that might use it is started. Everybody may connect to it, but only a
//! process of a worker's group is heard; who says nothing, or too much, is forgotten when too many others come.

use std::{
    collections::VecDeque,
    io, mem,
    os::fd::{AsFd, OwnedFd},
};

use super::{Master, Source};
use crate::{
    protocol::einhorn::{MAX_LINE, is_ack},
    sys::{
        bind::Options,
        channel,
        guard::Guard,
        net,
        process::group_of_peer,
        runtime_file::RuntimeFile,
        unix::{self, Access, SocketFile},
    },
};

const NAME: &str = "einhorn.sock";

/// Who may be connected at once; each worker says one line.
const MAX_PEERS: usize = 64;

/// Whether it is there.
#[derive(Debug, Default)]
#[expect(clippy::large_enum_variant, reason = "there is one in a master")]
pub(super) enum Readiness {
    /// Nobody needs it yet.
    #[default]
    Unopened,
    Refused,
    Open {
        listener: OwnedFd,
        /// The kernel's queue was not seen empty.
        pending: bool,
        /// The system has refused to give one out, which was told.
        failed: bool,
        // Removed in this order.
        _socket: SocketFile,
        place: RuntimeFile,
        peers: VecDeque<Peer>,
        next: u32,
    },
}

impl Readiness {
    /// Whether somebody may wait to be accepted.
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

/// Who has connected and not finished a line.
#[derive(Debug)]
pub(super) struct Peer {
    number: u32,
    stream: OwnedFd,
    heard: Vec<u8>,
}

/// Where a peer stands after it was read.
enum Heard {
    Line(Vec<u8>),
    NotYet,
    Nothing,
}

impl Peer {
    fn read(&mut self) -> Heard {
        let mut buffer = [0; MAX_LINE];
        loop {
            match channel::receive(self.stream.as_fd(), &mut buffer) {
                Ok(received) if received.bytes > 0 => {
                    let new = &buffer[..received.bytes];
                    if let Some(end) = memchr::memchr(b'\n', new) {
                        self.heard.extend_from_slice(&new[..end]);
                        return Heard::Line(mem::take(&mut self.heard));
                    }
                    self.heard.extend_from_slice(new);
                    if self.heard.len() > MAX_LINE {
                        return Heard::Nothing;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Heard::NotYet,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return Heard::Nothing,
            }
        }
    }
}

impl Master {
    /// Where programs find the socket, which is made if it is not there.
    pub(super) fn readiness_path(&mut self) -> Option<String> {
        if matches!(self.readiness, Readiness::Unopened) {
            self.readiness = self.open_readiness().unwrap_or_else(|error| {
                log::info!("programs cannot say by Einhorn's socket that they are ready: {error}");
                Readiness::Refused
            });
        }
        match &self.readiness {
            Readiness::Open { place, .. } => Some(place.path().to_owned()),
            Readiness::Unopened | Readiness::Refused => None,
        }
    }

    fn open_readiness(&mut self) -> io::Result<Readiness> {
        let reader = self.programs.latest().attributes.credentials.as_ref();
        let guard = &mut self.guard;
        // Whoever connects is looked at.
        let access = Access { mode: Some(0o666), ..Access::default() };
        let options = Options { backlog: 64, access, ..Options::default() };
        let (place, (listener, socket)) = RuntimeFile::create_socket(
            NAME,
            reader,
            |path| guard.remove_at_end(path),
            |path| unix::listen_unix(path, &options, None),
        )?;
        self.watch(&listener, Source::Readiness)?;
        let (pending, failed, peers) = (false, false, VecDeque::new());
        Ok(Readiness::Open { listener, pending, failed, _socket: socket, place, peers, next: 0 })
    }

    /// Takes those who have connected: so many in one turn, and after a rest when the system refuses to give one out. The
    /// kernel tells of them once, so that some are left must be remembered.
    pub(super) fn accept_peers(&mut self) {
        for _ in 0..MAX_PEERS {
            let Readiness::Open { listener, pending: true, failed, .. } = &mut self.readiness else { return };
            let accepted = net::accept(listener.as_fd());
            match accepted {
                Ok(stream) => self.add_peer(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readiness.set_pending(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if !mem::replace(failed, true) {
                        log::warn!("cannot hear who is ready: {error}; goes on when it can");
                    }
                    self.accept_again = Some(self.now + self.fleet.rules().accept_pause);
                    return;
                }
            }
        }
    }

    fn add_peer(&mut self, stream: OwnedFd) {
        let Readiness::Open { peers, next, failed, .. } = &mut self.readiness else { return };
        let number = *next;
        *next = next.wrapping_add(1);
        *failed = false;
        if peers.len() == MAX_PEERS {
            peers.pop_front();
        }
        peers.push_back(Peer { number, stream, heard: Vec::new() });
        if let Readiness::Open { peers, .. } = &self.readiness
            && let Some(peer) = peers.back()
            && let Err(error) = self.watch(&peer.stream, Source::Peer(number))
        {
            log::warn!("cannot hear who is ready: {error}");
        }
        // What it has said already is told by no event, should it have come before.
        self.hear(number);
    }

    /// A peer has said something, or is gone.
    pub(super) fn hear(&mut self, number: u32) {
        let Readiness::Open { peers, .. } = &mut self.readiness else { return };
        let Some(place) = peers.iter().position(|peer| peer.number == number) else { return };
        let heard = peers[place].read();
        if matches!(heard, Heard::NotYet) {
            return;
        }
        let Some(peer) = peers.remove(place) else { return };
        let Heard::Line(line) = heard else { return };
        let group = group_of_peer(&peer.stream);
        let worker = self.workers.iter().find(|(_, worker)| Some(worker.child.pid()) == group);
        if let (Some((&id, _)), true) = (worker, is_ack(&line)) {
            self.fleet.handle_ready(self.now, id);
            self.perform();
        }
    }
}
