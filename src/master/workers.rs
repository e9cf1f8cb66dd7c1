//! The worker processes: what comes through their channels, and their end.

use std::{
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use mio::{Interest, unix::SourceFd};
use nix::sys::signal::Signal;
use serde_json::Value;
use thiserror::Error;

use super::{
    Master, Source, Worker,
    channel::{Channel, Read},
    depends::Depends,
    lanes::is_lane,
};
use crate::{
    fleet::WorkerId,
    protocol::message::{HandleMessage, Message, encode_user},
    sys::guard::Guard,
};

/// Reads of one channel before the others have their turn. More than a channel can hold at once: what is left then is
/// still being written.
const READS: usize = 16;

/// Events that may wait for the user before a channel is left for the next turn. What is read at once may make more of
/// them, but not a hundred times as many.
const WAITING: usize = 1024;

/// A guard that ends at once is not started more often than this.
const GUARD_PAUSE: Duration = Duration::from_secs(1);

/// How far to read a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Until there is no more for now; the others have their turn in between.
    Drained,
    /// To its end, which the kernel has reported and will not report again, or as far as there is something.
    Ended,
}

/// Why a message was not sent to a worker.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is none, or it has ended.
    #[error("there is no worker {0}")]
    NoSuchWorker(WorkerId),
    /// Its channel is closed.
    #[error("worker {0} has disconnected")]
    Disconnected(WorkerId),
    /// It does not read what it is sent.
    #[error("worker {0} has not read the messages before this one; send less, or wait")]
    Full(WorkerId),
}

impl Master {
    /// Reads a worker's channel and tells the fleet. Says whether its end was seen.
    pub(super) fn read(&mut self, id: WorkerId, until: Until) -> bool {
        let mut reads = READS;
        while let Some(Worker { channel: Some(channel), progress, .. }) = self.workers.get_mut(&id) {
            let fleet = match &mut self.lanes {
                Some(lanes) if is_lane(id) => &mut lanes.fleet,
                _ => &mut self.fleet,
            };
            let read = channel.read(&mut self.buffer, until);
            let mut answers = 0;
            let serialization = channel.serialization();
            let broken = loop {
                match channel.next_frame() {
                    Ok(Some((frame, descriptors))) => match Message::decode(serialization, frame) {
                        Ok(Message::Handle(HandleMessage { message, .. })) => {
                            let came = descriptors.pop_front().flatten().is_some();
                            fleet.handle_handle(self.now, id, *message, came);
                        }
                        Ok(message) => {
                            answers +=
                                usize::from(matches!(message, Message::HandleAck | Message::HandleNack));
                            progress.handle_message(&message);
                            fleet.handle_message(self.now, id, message);
                        }
                        Err(error) => break Some(error.to_string()),
                    },
                    Ok(None) if read == Read::Ended => {
                        break channel.finish().err().map(|error| error.to_string());
                    }
                    Ok(None) => break None,
                    Err(error) => break Some(error.to_string()),
                }
            };
            if (0..answers).filter(|_| channel.acknowledged()).count() > 0 {
                fleet.handle_writable(self.now, id);
            }
            let broken =
                broken.or_else(|| channel.is_flooded().then(|| "descriptors without frames".to_owned()));
            if let Some(why) = broken {
                fleet.handle_garbage(self.now, id, why);
            } else if read == Read::Ended {
                self.close_channel(id);
                let now = self.now;
                self.fleet_of(id).handle_channel_closed(now, id);
            }
            self.perform();
            reads -= 1;
            match read {
                Read::Ended => return true,
                Read::Drained => return false,
                // The end of a worker must be read to its end: custody of its connections depends on it.
                Read::More if reads > 0 && (until == Until::Ended || self.happened.len() < WAITING) => {}
                Read::More => {
                    self.again(id);
                    return false;
                }
            }
        }
        true
    }

    /// Channels that nothing can be sent on any more: what their workers still say is read, and if that is not their
    /// end, it is made so.
    pub(super) fn give_up_broken(&mut self) {
        while let Some((id, why)) = self.broken.pop() {
            if !self.read(id, Until::Ended)
                && self.workers.get(&id).is_some_and(|worker| worker.channel.is_some())
            {
                let now = self.now;
                self.fleet_of(id).handle_garbage(now, id, why.to_owned());
                self.perform();
            }
        }
    }

    /// Sends a worker a message of the user's.
    pub(crate) fn send(&mut self, id: WorkerId, message: &Value) -> Result<(), SendError> {
        let worker = self.workers.get_mut(&id).ok_or(SendError::NoSuchWorker(id))?;
        let channel = worker.channel.as_mut().ok_or(SendError::Disconnected(id))?;
        self.frame.clear();
        encode_user(channel.serialization(), message, &mut self.frame);
        if !channel.has_space(self.frame.len()) {
            return Err(SendError::Full(id));
        }
        channel.tell(&self.frame);
        self.watch_room(id);
        Ok(())
    }

    /// Has the kernel report a channel once more, that was left with something to read.
    pub(super) fn again(&mut self, id: WorkerId) {
        self.rewatch(id, |_| true);
    }

    /// Watches for room in a channel while, and only while, something waits for it: otherwise every frame that the
    /// worker reads would wake the loop.
    pub(super) fn watch_room(&mut self, id: WorkerId) {
        let channel = self.workers.get_mut(&id).and_then(|worker| worker.channel.as_mut());
        self.broken.extend(channel.and_then(|channel| channel.take_broken()).map(|why| (id, why)));
        self.rewatch(id, |channel| channel.is_blocked() != channel.watched);
    }

    fn rewatch(&mut self, id: WorkerId, when: impl Fn(&Channel) -> bool) {
        let channel = self.workers.get_mut(&id).and_then(|worker| worker.channel.as_mut());
        let Some(channel) = channel.filter(|channel| when(channel)) else { return };
        channel.watched = channel.is_blocked();
        let room = channel.watched.then_some(Interest::WRITABLE);
        let interest = room.map_or(Interest::READABLE, |room| Interest::READABLE | room);
        let number = channel.as_fd().as_raw_fd();
        let registry = self.poll.registry();
        if let Err(error) = registry.reregister(&mut SourceFd(&number), Source::Channel(id).token(), interest)
        {
            log::error!("cannot watch the channel of worker {id}: {error}");
        }
    }

    pub(super) fn flush(&mut self, id: WorkerId) {
        let Some(channel) = self.workers.get_mut(&id).and_then(|worker| worker.channel.as_mut()) else {
            return;
        };
        channel.flush();
        let blocked = channel.is_blocked();
        self.watch_room(id);
        if !blocked {
            let now = self.now;
            self.fleet_of(id).handle_writable(now, id);
            if let Some(lanes) = self.lanes.as_mut().filter(|_| is_lane(id)) {
                lanes.handle_room(id);
            }
            self.perform();
        }
    }

    /// A worker process has ended.
    pub(super) fn reap(&mut self, id: WorkerId) {
        match self.workers.get(&id).map(|worker| worker.child.has_exited()) {
            Some(Ok(true)) => {}
            Some(Ok(false)) | None => return,
            Some(Err(error)) => return log::error!("cannot wait for worker {id}: {error}"),
        }
        // What it said before its end counts; what its children say after it does not.
        let Some(worker) = self.workers.get(&id) else { return };
        if let Err(error) = worker.child.signal_group(Signal::SIGKILL) {
            log::warn!("cannot end what worker {id} has left in its process group: {error}");
        }
        let all_heard = self.read(id, Until::Ended);
        let Some(worker) = self.workers.get(&id) else { return };
        match worker.child.reap() {
            Ok(Some(status)) => {
                self.close_channel(id);
                if let Some(worker) = self.workers.remove(&id) {
                    self.unwatch(&worker.child);
                    self.guard.forget(worker.child.pid());
                    self.preload.handle_exit(worker.progress, status);
                    self.end_output(id, status, worker.dismissed);
                }
                self.stop_probing(id);
                let now = self.now;
                self.fleet_of(id).handle_exited(now, id, status, all_heard);
                self.perform();
            }
            Ok(None) => {}
            Err(error) => log::error!("cannot wait for worker {id}: {error}"),
        }
    }

    pub(super) fn close_channel(&mut self, id: WorkerId) {
        if let Some(channel) = self.workers.get_mut(&id).and_then(|worker| worker.channel.take()) {
            self.unwatch(&channel);
        }
    }

    /// The guard has ended: another takes its place, at once the first time.
    pub(super) fn replace_guard(&mut self) {
        if matches!(self.guard.child().reap(), Ok(Some(_))) {
            self.unwatch(self.guard.child());
            self.guard_again = Some(self.guard_started + GUARD_PAUSE);
            self.start_guard();
        }
    }

    /// Starts the guard that is due, if one is.
    pub(super) fn start_guard(&mut self) {
        if self.guard_again.is_none_or(|at| self.now < at) {
            return;
        }
        self.guard_started = self.now;
        let groups = self.workers.values().map(|worker| worker.child.pid());
        let command = self.depends.as_ref().and_then(Depends::pid);
        let started = Guard::start(&self.launcher, groups.chain(command)).and_then(|guard| {
            self.watch(guard.child(), Source::Guard)?;
            Ok(guard)
        });
        self.guard_again = None;
        match started {
            Ok(guard) => {
                self.guard = guard;
                self.preload.announce(&mut self.guard);
                self.readiness.announce(&mut self.guard);
                self.notices.announce(&mut self.guard);
                self.announce_addresses();
                log::info!("the guard process had ended and was started again");
            }
            Err(error) => {
                self.guard_again = Some(self.now + GUARD_PAUSE);
                log::error!(
                    "cannot start the guard process again, which ends what a killed master leaves: {error}"
                );
            }
        }
    }
}
