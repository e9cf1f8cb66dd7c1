//! The worker's session put on its channel and its sockets: what is read, written, accepted and waited for when.

use std::{
    io,
    net::Shutdown,
    os::fd::{AsFd, OwnedFd},
};

use super::{
    Worker,
    error::WorkerError,
    session::{Attached, Session},
};
use crate::sys::{
    channel::{self, Received},
    wait::{For, wait},
};

/// Whether the program asks for connections: those that it has not asked for stay in the kernel's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accepts {
    Yes,
    No,
}

impl Worker {
    /// Drives the channel, and accepts where the worker does that by itself, until `done` has an answer. It must have
    /// one once the session is closed.
    pub(super) fn block_until<T>(
        &mut self,
        accepts: Accepts,
        mut done: impl FnMut(&mut Session<OwnedFd>) -> Option<T>,
    ) -> Result<T, WorkerError> {
        loop {
            if let Some(answer) = done(&mut self.session) {
                return Ok(answer);
            }
            self.flush()?;
            if !self.take(accepts)? {
                self.wait(accepts, None)?;
            }
        }
    }

    /// Waits until no connection is open.
    pub(super) fn block_until_empty(&mut self) -> Result<(), WorkerError> {
        while self.reports.open() > 0 {
            self.flush()?;
            if self.session.is_closed() || !self.take(Accepts::No)? {
                self.wait(Accepts::No, Some(0))?;
            }
        }
        self.flush()
    }

    /// Accepts once or reads once. False when neither can be done now.
    ///
    /// The channel is read on only when the master has read our answers: neither side can then grow without bound.
    pub(super) fn take(&mut self, accepts: Accepts) -> Result<bool, WorkerError> {
        if !self.shared.has_had_its_turn() && self.accept_one(accepts)? {
            return Ok(true);
        }
        self.shared.begin_turn();
        if self.session.output().is_empty() && self.read()? {
            return Ok(true);
        }
        self.accept_one(accepts)
    }

    fn accept_one(&mut self, accepts: Accepts) -> Result<bool, WorkerError> {
        if accepts == Accepts::No {
            return Ok(false);
        }
        let accepted = self.shared.accept(self.reports.open(), self.max_connections)?;
        let any = accepted.is_some();
        if let Some((listener, connection)) = accepted {
            self.session.handle_connection(listener, connection);
        }
        Ok(any)
    }

    /// Whether nothing is to be done before the program waits. If so, the end of a connection wakes it from then on, if
    /// it is to be reported or makes room for another, or leaves no more than `few`.
    pub(super) fn rest(&mut self, accepts: Accepts, few: Option<usize>) -> bool {
        let room = self.shared.resumes_at().filter(|_| accepts == Accepts::Yes);
        let rests = self.reports.rest(few.or(room));
        // What a poll tells next may be of any socket.
        self.shared.look_again();
        rests
    }

    fn wait(&mut self, accepts: Accepts, few: Option<usize>) -> Result<(), WorkerError> {
        if !self.rest(accepts, few) {
            return Ok(());
        }
        let what = if self.session.output().is_empty() { For::Input } else { For::Room };
        let channel = (!self.session.is_closed()).then(|| (self.channel.as_fd(), what));
        let sockets = (accepts == Accepts::Yes).then(|| self.shared.waits_for()).into_iter().flatten();
        let woken = wait(&*self.reports, channel.into_iter().chain(sockets.map(|file| (file, For::Input))));
        let cleared = woken.and_then(|woken| if woken { self.reports.clear() } else { Ok(()) });
        cleared.map_err(WorkerError::system("wait for the master"))
    }

    fn handle_end(&mut self) {
        self.session.handle_end();
        self.close_sockets();
    }

    /// Closes the sockets of listeners that are closed.
    pub(super) fn close_sockets(&mut self) {
        self.shared.retain(self.watch.as_ref(), |listener| self.session.listens(listener));
    }

    /// Reads once and answers at once. False when nothing is there.
    ///
    /// Callers read until then even if a read was short: behind a short read can stand the end of the channel, which
    /// an edge-triggered poll has then told of already.
    fn read(&mut self) -> Result<bool, WorkerError> {
        match channel::receive(self.channel.as_fd(), &mut self.buffer) {
            Ok(Received { bytes: 0, .. }) => self.handle_end(),
            Ok(Received { bytes, descriptor, descriptor_lost }) => {
                let attached = match descriptor {
                    Some(descriptor) => Attached::Descriptor(descriptor),
                    None if descriptor_lost => Attached::Lost,
                    None => Attached::Nothing,
                };
                self.session.set_room(self.max_connections.saturating_sub(self.reports.open()));
                let understood = self.session.handle_input(&self.buffer[..bytes], attached);
                let flushed = self.flush();
                if let Err(error) = understood {
                    self.session.close();
                    self.close_sockets();
                    self.shut_down();
                    return Err(error);
                }
                self.close_sockets();
                flushed?;
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => return Ok(false),
                io::ErrorKind::Interrupted => {}
                // The master is gone and has not read all that was sent to it.
                io::ErrorKind::ConnectionReset => self.handle_end(),
                _ => return Err(WorkerError::system("read from the master")(error)),
            },
        }
        Ok(true)
    }

    /// Writes what the channel takes, and asks the caller's poll to tell when it takes the rest.
    pub(super) fn flush(&mut self) -> Result<(), WorkerError> {
        self.session.report(self.reports.take());
        self.write()?;
        let pending = !self.session.output().is_empty();
        let asked = self.watch.as_mut().map_or(Ok(()), |watch| watch.for_room(&self.channel, pending));
        asked.map_err(WorkerError::system("watch the channel"))
    }

    fn write(&mut self) -> Result<(), WorkerError> {
        while !self.session.output().is_empty() {
            match channel::send(self.channel.as_fd(), self.session.output(), None) {
                Ok(count) => self.session.handle_sent(count),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(()),
                    io::ErrorKind::Interrupted => {}
                    // The master is gone; what it said before that is still to be read, and then the end.
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                        self.session.handle_sent(self.session.output().len());
                    }
                    _ => return Err(WorkerError::system("write to the master")(error)),
                },
            }
        }
        Ok(())
    }

    /// Ends the channel for the master too, while the descriptor stays in the caller's poll until this is dropped.
    pub(super) fn shut_down(&self) {
        // It fails only if the master was first.
        let _ = self.channel.shutdown(Shutdown::Both);
    }
}
