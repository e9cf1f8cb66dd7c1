//! The worker processes: what comes through their channels, and their end.

use std::os::fd::{AsFd, AsRawFd};

use mio::{Interest, unix::SourceFd};
use nix::sys::signal::Signal;

use super::{
    Master, Source, Worker,
    channel::{Channel, Read},
};
use crate::{
    fleet::WorkerId,
    protocol::message::{HandleMessage, Message},
    sys::guard::Guard,
};

/// Reads of one channel before the others have their turn.
const READS: usize = 16;

/// How far to read a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Until there is no more for now; the others have their turn in between.
    Drained,
    /// To its end, which the kernel has reported and will not report again, or as far as there is something.
    Ended,
}

impl Master {
    /// Reads a worker's channel and tells the fleet.
    pub(super) fn read(&mut self, id: WorkerId, until: Until) {
        let mut reads = READS;
        while let Some(Worker { channel: Some(channel), progress, .. }) = self.workers.get_mut(&id) {
            let read = channel.read(&mut self.buffer, until);
            let broken = loop {
                match channel.next_frame() {
                    Ok(Some((frame, descriptors))) => match Message::decode(frame) {
                        Ok(Message::Handle(HandleMessage { message, .. })) => {
                            let came = descriptors.pop_front().flatten().is_some();
                            self.fleet.handle_handle(self.now, id, *message, came);
                        }
                        Ok(message) => {
                            progress.handle_message(&message);
                            self.fleet.handle_message(self.now, id, message);
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
            if let Some(why) = broken {
                self.fleet.handle_garbage(self.now, id, why);
            } else if read == Read::Ended {
                self.close_channel(id);
                self.fleet.handle_channel_closed(self.now, id);
            }
            self.perform();
            reads = reads.saturating_sub(1);
            match read {
                Read::More if reads > 0 || until == Until::Ended => {}
                Read::More => return self.again(id),
                Read::Drained | Read::Ended => return,
            }
        }
    }

    /// Has the kernel report a channel once more, that was left with something to read.
    pub(super) fn again(&mut self, id: WorkerId) {
        self.rewatch(id, |_| true);
    }

    /// Watches for room in a channel while, and only while, something waits for it: otherwise every frame that the
    /// worker reads would wake the loop.
    pub(super) fn watch_room(&mut self, id: WorkerId) {
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
        if !channel.is_blocked() {
            self.watch_room(id);
            self.fleet.handle_writable(id);
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
            log::error!("cannot end the process group of worker {id}: {error}");
        }
        self.read(id, Until::Ended);
        let Some(worker) = self.workers.get(&id) else { return };
        match worker.child.reap() {
            Ok(Some(status)) => {
                self.close_channel(id);
                if let Some(worker) = self.workers.remove(&id) {
                    self.unwatch(&worker.child);
                    self.guard.forget(worker.child.pid());
                    self.preload.handle_exit(worker.progress, status);
                }
                self.fleet.handle_exited(self.now, id, status);
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

    /// The guard has ended: another takes its place.
    pub(super) fn replace_guard(&mut self) {
        if !matches!(self.guard.child().reap(), Ok(Some(_))) {
            return;
        }
        self.unwatch(self.guard.child());
        let groups = self.workers.values().map(|worker| worker.child.pid());
        match Guard::start(&self.program.launcher, groups) {
            Ok(guard) => {
                self.guard = guard;
                self.preload.announce(&mut self.guard);
                if let Err(error) = self.watch(self.guard.child(), Source::Guard) {
                    log::error!("cannot watch the guard: {error}");
                }
                log::info!("the guard process had ended and was started again");
            }
            Err(error) => log::error!("cannot start the guard process again: {error}"),
        }
    }
}
