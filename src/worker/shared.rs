//! The listening sockets from which a worker accepts by itself, where its master shares them.
//!
//! They are non-blocking and watched edge-triggered by a caller's mio, so a socket that was not seen empty is
//! remembered. Each has its turn, and after some turns the channel has one. When the system has no room for another
//! connection, all wait for a while, or until a connection of this worker's ends.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use super::{error::WorkerError, event::Listener, source::Watch};
use crate::{
    endpoint::Endpoint,
    sys::{
        bind::{self, BACKLOG},
        channel, net,
        timer::Timer,
    },
};

/// How long no connection is accepted after the system had no room for one: as in the master.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections accepted before the channel has its turn.
const ACCEPTS: usize = 16;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Shared {
    sockets: Vec<Socket>,
    /// Whose turn it is.
    next: usize,
    /// Connections accepted since the channel had its turn.
    accepted: usize,
    state: State,
    /// Made with the first socket: when it is needed there may be no descriptor left for it.
    timer: Option<Timer>,
}

#[derive(Debug)]
struct Socket {
    listener: Listener,
    socket: OwnedFd,
    /// The kernel's queue was not seen empty.
    pending: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Accepting,
    /// So many connections are open that there may be no further one; it goes on when there are fewer.
    Full { open: usize },
    /// The system had no room just now, when so many were open: an end of one may be enough.
    Pausing { open: usize },
    /// The pause is over. Whether it still fails is not known; it has been told.
    Trying,
}

impl Shared {
    /// Adds one, and puts it under the caller's poll.
    pub(super) fn add(
        &mut self,
        listener: Listener,
        socket: OwnedFd,
        watch: Option<&Watch>,
    ) -> io::Result<()> {
        if self.timer.is_none() {
            let timer = Timer::new()?;
            watch.map_or(Ok(()), |watch| watch.add(timer.as_fd()))?;
            self.timer = Some(timer);
        }
        watch.map_or(Ok(()), |watch| watch.add(socket.as_fd()))?;
        self.sockets.push(Socket { listener, socket, pending: true });
        Ok(())
    }

    /// Closes those that are not to be kept.
    pub(super) fn retain(&mut self, watch: Option<&Watch>, keep: impl Fn(&Listener) -> bool) {
        self.sockets.retain(|socket| {
            let kept = keep(&socket.listener);
            // Others hold it open, so a poll would go on telling of it.
            if let (false, Some(watch)) = (kept, watch) {
                watch.remove(socket.socket.as_fd());
            }
            kept
        });
    }

    /// Whether it is the channel's turn.
    pub(super) fn has_had_its_turn(&self) -> bool {
        self.accepted >= ACCEPTS || self.sockets.is_empty()
    }

    /// The channel has had its turn.
    pub(super) fn begin_turn(&mut self) {
        self.accepted = 0;
    }

    /// Accepts one connection, if there is one and fewer than `limit` are `open`.
    pub(super) fn accept(
        &mut self,
        open: usize,
        limit: usize,
    ) -> Result<Option<(Listener, OwnedFd)>, WorkerError> {
        if self.sockets.is_empty() || !self.may_accept(open, limit)? {
            return Ok(None);
        }
        for _ in 0..self.sockets.len() {
            let place = self.next % self.sockets.len();
            self.next = place + 1;
            let Socket { listener, socket, pending } = &mut self.sockets[place];
            while *pending {
                match net::accept(socket.as_fd()) {
                    Ok(connection) => {
                        self.accepted += 1;
                        self.state = State::Accepting;
                        return Ok(Some((listener.clone(), connection)));
                    }
                    Err(error) if net::is_of_the_client(&error) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => *pending = false,
                    Err(error) => {
                        if self.state == State::Accepting {
                            let endpoint = listener.endpoint();
                            log::warn!("cannot accept connections from {endpoint}: {error}; trying again");
                        }
                        self.pause(open)?;
                        return Ok(None);
                    }
                }
            }
        }
        Ok(None)
    }

    /// A poll may have told of any of them.
    pub(super) fn look_again(&mut self) {
        self.sockets.iter_mut().for_each(|socket| socket.pending = true);
    }

    fn pause(&mut self, open: usize) -> Result<(), WorkerError> {
        self.state = State::Pausing { open };
        let set = self.timer.as_ref().map_or(Ok(()), |timer| timer.set(PAUSE));
        set.map_err(WorkerError::system("set a timer"))
    }

    fn may_accept(&mut self, open: usize, limit: usize) -> Result<bool, WorkerError> {
        if let State::Pausing { open: before } = self.state {
            let fired = self.timer.as_ref().map_or(Ok(true), Timer::has_fired);
            if !fired.map_err(WorkerError::system("read a timer"))? && open >= before {
                return Ok(false);
            }
            self.state = State::Trying;
        }
        match self.state {
            _ if open >= limit => self.state = State::Full { open },
            State::Full { .. } => self.state = State::Accepting,
            State::Accepting | State::Trying | State::Pausing { .. } => {}
        }
        Ok(open < limit)
    }

    /// If it did not accept: how few connections are to be open for it to try again.
    pub(super) fn resumes_at(&self) -> Option<usize> {
        match self.state {
            State::Pausing { open } | State::Full { open } if !self.sockets.is_empty() => open.checked_sub(1),
            _ => None,
        }
    }

    /// What is readable when it can accept again, or the pause is over.
    pub(super) fn waits_for(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let accepting = matches!(self.state, State::Accepting | State::Trying);
        let pausing = matches!(self.state, State::Pausing { .. });
        let sockets = self.sockets.iter().filter(move |_| accepting).map(|socket| socket.socket.as_fd());
        sockets.chain(self.timer.iter().filter(move |_| pausing).map(AsFd::as_fd))
    }

    /// Everything that a poll is to watch.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let sockets = self.sockets.iter().map(|socket| socket.socket.as_fd());
        sockets.chain(self.timer.iter().map(AsFd::as_fd))
    }
}

/// Makes a socket listen that a master has given for `asked`, if it does not yet, and says what it is bound to. Node's
/// own primary only binds it; one that listens keeps the queue that it has.
pub(super) fn prepare(socket: &OwnedFd, backlog: Option<u32>, asked: &Endpoint) -> io::Result<Endpoint> {
    let endpoint = bind::endpoint(socket)?;
    if !bind::is_listening(socket) {
        bind::start_listening(socket, backlog.unwrap_or(BACKLOG))?;
    }
    // Everybody who has it accepts without blocking.
    channel::set_nonblocking(socket, true)?;
    Ok(match (asked, endpoint) {
        // The kernel knows the path as it was bound, perhaps from elsewhere.
        (Endpoint::Unix(_), Endpoint::Unix(_)) => asked.clone(),
        (_, endpoint) => endpoint,
    })
}
