//! What workers write to their standard output and error: where it goes, and the master's hold on the thread that brings
//! it there.
//!
//! The loop makes pipes and gives the reading ends away; it never reads or writes what is in them. `thread` does, with
//! `outlets` as the places that it writes to, each an `outlet` with a `file` or a stream; `lines` and `tail` are what is
//! done with the bytes, and pure. `logs` shows the same bytes to clients of the control socket, who are given away to the
//! thread as well: `cut` makes lines of them, `history` keeps the last ones, both pure, and a `client` is told them.

mod client;
mod cut;
mod file;
mod history;
mod lines;
mod logs;
mod outlet;
mod outlets;
mod tail;
mod thread;

use std::{
    convert::Infallible,
    fs::File,
    io::{self, PipeReader},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, SendError, Sender},
    },
    thread::{Builder, JoinHandle},
    time::Duration,
};

use self::{
    outlets::Outlets,
    thread::{Copyist, Order},
};
use super::{Master, Source, lanes::is_lane};
use crate::{
    control::{RequestId, Target},
    fleet::{Event, ExitStatus, WorkerId},
    sys::{account::Credentials, clock, output, signals, wake::Wake},
};

/// Where the output of workers goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Sink {
    /// Where this process's own goes, untouched: workers inherit it.
    #[default]
    Inherit,
    /// The same, line by line and each with the worker's slot before it.
    Prefix,
    /// A file that is appended to. `{slot}` in its name stands for the worker's slot; without it, all share the file, and
    /// each line has the slot before it.
    ///
    /// It is made if need be, in a directory that is there. It may be a device, and no pipe and no symbolic link.
    File(PathBuf),
}

/// How large a file of [`Sink::File`] may become, and how many older ones are kept beside it, as `NAME.1`, `NAME.2` and so
/// on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// In bytes; `None` for any size.
    pub max_bytes: Option<u64>,
    /// Older files, 0 for none.
    pub keep: u32,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { max_bytes: Some(100 << 20), keep: 5 }
    }
}

/// Something of each stream, standard output first.
type Streams<T> = [T; 2];

/// Their places in it.
const OUT: usize = 0;
const ERR: usize = 1;

/// Who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    /// The worker of this slot.
    Slot(u32),
    /// The lane of this one: what it writes to its standard output is the access log.
    Lane(u32),
}

/// How long the end waits for places that take what is written slowly, or not at all.
const LAST: Duration = Duration::from_secs(1);

/// How much later the thread may say that it waits no longer.
const GRACE: Duration = Duration::from_millis(250);

/// The master's hold on its output thread; on nothing, where workers inherit both streams.
#[derive(Debug, Default)]
pub(crate) struct Output(Option<Captured>);

#[derive(Debug)]
struct Captured {
    streams: Streams<bool>,
    /// There is an access log to be written here.
    has_log: bool,
    /// Whom pipes belong to.
    orders: Sender<Order>,
    /// Wakes the thread.
    bell: Arc<Wake>,
    events: Receiver<Event>,
    /// Wakes the loop.
    news: Arc<Wake>,
    /// Closed when the thread has ended.
    done: Receiver<Infallible>,
    thread: Option<JoinHandle<()>>,
}

/// Why there can be no output thread.
#[derive(Debug)]
pub(crate) enum Uncaptured {
    /// A file cannot be opened.
    File(PathBuf, io::Error),
    /// The system refuses something else.
    System(io::Error),
}

impl From<io::Error> for Uncaptured {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// The pipes of one worker.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    pub(super) ours: Streams<Option<PipeReader>>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
}

/// A client of the control socket that is to be shown what workers write, with its connection: it is never given back.
#[derive(Debug)]
pub(super) struct Show {
    /// A Unix stream. What it sends from now on is not read.
    pub(super) client: OwnedFd,
    /// Of its request, which is answered here.
    pub(super) id: RequestId,
    /// Whose lines; `None` for everybody's.
    pub(super) target: Option<Target>,
    /// How many of those that are kept, at most.
    pub(super) lines: usize,
    /// Whether also those that come.
    pub(super) follow: bool,
    /// What was still to be written to it: answers to what it has asked before.
    pub(super) before: Vec<u8>,
}

impl Output {
    /// Opens the files of so many slots and starts the thread, if anything is to be captured from workers, or from lanes,
    /// whose access log goes where that says.
    pub(crate) fn start(
        [stdout, stderr]: [&Sink; 2],
        access_log: Option<&Sink>,
        rotation: Rotation,
        slots: usize,
    ) -> Result<Self, Uncaptured> {
        let streams = [stdout, stderr].map(|sink| *sink != Sink::Inherit);
        let access_log = access_log.filter(|sink| **sink != Sink::Inherit);
        if streams == [false, false] && access_log.is_none() {
            return Ok(Self::default());
        }
        let own = [output::share(io::stdout())?, output::share(io::stderr())?];
        let slots = u32::try_from(slots).unwrap_or(u32::MAX);
        let outlets = Outlets::open([stdout, stderr], access_log, own, rotation, slots)
            .map_err(|(path, error)| Uncaptured::File(path, error))?;
        Ok(Self(Some(Captured::start(streams, access_log.is_some(), outlets)?)))
    }

    /// Pipes for what a worker writes, who runs as `user` if that is somebody else.
    pub(super) fn pipes(&self, user: Option<&Credentials>) -> io::Result<Pipes> {
        let mut pipes = Pipes::default();
        let Some(Captured { streams, .. }) = &self.0 else { return Ok(pipes) };
        let Pipes { ours, stdout, stderr } = &mut pipes;
        for (stream, theirs) in
            [stdout, stderr].into_iter().enumerate().filter(|(stream, _)| streams[*stream])
        {
            let (reader, writer) = output::pipe(user)?;
            (ours[stream], *theirs) = (Some(reader), Some(writer));
        }
        Ok(pipes)
    }

    /// The same for a lane. Its standard output is taken if it `logs` and that comes by here; nobody wants it if it does not.
    pub(super) fn lane_pipes(&self, logs: bool, user: Option<&Credentials>) -> io::Result<Pipes> {
        let mut pipes = Pipes::default();
        if !logs {
            pipes.stdout = Some(File::options().write(true).open("/dev/null")?.into());
        }
        let Some(Captured { streams, has_log, .. }) = &self.0 else { return Ok(pipes) };
        if logs && *has_log {
            let (reader, writer) = output::pipe(user)?;
            (pipes.ours[OUT], pipes.stdout) = (Some(reader), Some(writer));
        }
        if streams[ERR] {
            let (reader, writer) = output::pipe(user)?;
            (pipes.ours[ERR], pipes.stderr) = (Some(reader), Some(writer));
        }
        Ok(pipes)
    }

    /// A process was started that writes into these pipes.
    pub(super) fn adopt(&self, worker: WorkerId, writer: Writer, pipes: Streams<Option<PipeReader>>) {
        self.order(Order::Adopt { worker, writer, pipes });
    }

    /// A worker has ended; `wanted` says whether its last words are.
    pub(super) fn ended(&self, worker: WorkerId, wanted: bool) {
        self.order(Order::Ended { worker, wanted });
    }

    /// Whether anything that workers write comes by here.
    pub(super) fn is_captured(&self) -> bool {
        self.0.as_ref().is_some_and(|captured| captured.streams != [false, false])
    }

    /// Shows a client what workers write, until it leaves or has everything. It comes back if nothing is captured.
    pub(super) fn show(&self, show: Show) -> Result<(), Show> {
        let Some(captured) = &self.0 else { return Err(show) };
        let sent = captured.orders.send(Order::Show(show));
        captured.bell.ring();
        match sent {
            Err(SendError(Order::Show(show))) => Err(show),
            _ => Ok(()),
        }
    }

    /// What the thread has to tell.
    pub(super) fn poll_event(&self) -> Option<Event> {
        self.0.as_ref()?.events.try_recv().ok()
    }

    fn order(&self, order: Order) {
        if let Some(captured) = &self.0 {
            // It ends only when it is told to.
            let _ = captured.orders.send(order);
            captured.bell.ring();
        }
    }
}

impl Captured {
    fn start(streams: Streams<bool>, has_log: bool, outlets: Outlets) -> io::Result<Self> {
        let (orders, ordered) = mpsc::channel();
        let (told, events) = mpsc::channel();
        let (alive, done) = mpsc::channel();
        let (bell, news) = (Arc::new(Wake::new()?), Arc::new(Wake::new()?));
        let copyist = Copyist::new((ordered, Arc::clone(&bell)), (told, Arc::clone(&news)), outlets);
        // Signals are the loop's.
        let thread =
            signals::shielded(|| Builder::new().name("output".into()).spawn(move || copyist.run(alive)))?;
        Ok(Self { streams, has_log, orders, bell, events, news, done, thread: Some(thread) })
    }
}

impl Drop for Captured {
    /// Has what is there written, and waits for that, but not for ever.
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Finish { until: clock::now() + LAST });
        self.bell.ring();
        // It sends nothing; it closes its end.
        if self.done.recv_timeout(LAST + GRACE) == Err(RecvTimeoutError::Disconnected) {
            // If it has panicked that was said.
            let _ = self.thread.take().map(JoinHandle::join);
        }
    }
}

impl Master {
    /// Has what workers write go this way, from the next one on.
    pub(crate) fn capture(&mut self, output: Output) -> io::Result<()> {
        if let Some(captured) = &output.0 {
            self.watch(&*captured.news, Source::Output)?;
        }
        self.output = output;
        Ok(())
    }

    /// Opens files of output anew.
    pub(crate) fn reopen_output(&self) {
        self.output.order(Order::Reopen);
    }

    /// The output thread has something to tell.
    pub(super) fn read_output(&mut self) {
        while let Some(event) = self.output.poll_event() {
            match &event {
                Event::LastWords { worker, .. } if is_lane(*worker) => self.tell_of_lane(event),
                _ => self.happens(event),
            }
        }
    }

    /// A worker has ended like this, and had been told to leave or not.
    pub(super) fn end_output(&self, worker: WorkerId, status: ExitStatus, dismissed: bool) {
        self.output.ended(worker, !dismissed && status != ExitStatus::Code(0));
    }
}

#[cfg(test)]
mod tests;
