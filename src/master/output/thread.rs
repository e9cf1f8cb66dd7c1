//! The thread that reads what workers write, and writes it where it should go.
//!
//! Orders of the loop enter, events leave; the loop never waits for this. Each round reads a bounded part of every pipe
//! that has something, beginning behind the one that was read last, and nothing for a place that has no room: who writes
//! without end waits for its own pipe, and nobody else does. A pipe is read to its end, whoever holds it, also when the
//! worker is gone. What was read is also shown to clients of the control socket, who are never waited for.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io::{self, PipeReader, Read},
    os::fd::AsFd,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, TryRecvError},
    },
    thread,
    time::Duration,
};

use super::{
    ERR, OUT, Show, Streams, Writer,
    cut::Cut,
    lines::{Lines, PipeId},
    logs::Logs,
    outlets::{Outlets, Way},
    tail::Tail,
};
use crate::{
    control::{LogStream, Origin},
    fleet::{Event, WorkerId},
    sys::{
        clock,
        wait::{self, For},
        wake::Wake,
    },
    time::Time,
};

/// What is read from a pipe at once: as much as it holds.
const BUDGET: usize = 64 << 10;

/// A beginning of a line that has no end by then is shown without it: a program asks for something.
const IDLE: Duration = Duration::from_millis(100);

/// How long the last words of a worker wait for the end of its pipes, which others may hold.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Pipes that ended workers have left full, for a place that has no room. They hold a descriptor each, and there may be
/// another with every crash.
const LEFT_FULL: usize = 64;

/// After the system refused to wait.
const PAUSE: Duration = Duration::from_millis(10);

/// What the loop has to say.
#[derive(Debug)]
pub(super) enum Order {
    /// A process was started, which writes into these.
    Adopt { worker: WorkerId, writer: Writer, pipes: Streams<Option<PipeReader>> },
    /// It has ended, and its last words are wanted or not.
    Ended { worker: WorkerId, wanted: bool },
    /// Files are to be opened anew.
    Reopen,
    /// A client is to be shown what workers write.
    Show(Show),
    /// Nothing more is going to be written; what is there has until then.
    Finish { until: Time },
}

/// The thread.
#[derive(Debug)]
pub(super) struct Copyist {
    orders: Receiver<Order>,
    bell: Arc<Wake>,
    events: Sender<Event>,
    news: Arc<Wake>,
    outlets: Outlets,
    pipes: BTreeMap<PipeId, Pipe>,
    next: PipeId,
    /// The pipe that was read last.
    last: PipeId,
    /// Those whose last words may be wanted.
    workers: BTreeMap<WorkerId, Known>,
    logs: Logs,
    buffer: Vec<u8>,
    told: Vec<Event>,
    finish: Option<Time>,
}

/// What one stream of a worker comes through.
#[derive(Debug)]
struct Pipe {
    worker: WorkerId,
    writer: Writer,
    stream: usize,
    reader: PipeReader,
    way: Way,
    lines: Lines,
    cut: Cut,
    /// When something last came.
    touched: Time,
}

impl Pipe {
    /// Whose lines clients are shown; what lanes write is none of workers.
    fn origin(&self) -> Option<Origin> {
        let stream = if self.stream == OUT { LogStream::Stdout } else { LogStream::Stderr };
        match self.writer {
            Writer::Slot(slot) => Some(Origin { worker: self.worker, slot, stream }),
            Writer::Lane(_) => None,
        }
    }

    /// Whether the last lines of this may say why the process ended.
    fn has_last_words(&self) -> bool {
        !matches!(self.writer, Writer::Lane(_)) || self.stream == ERR
    }
}

/// What a worker has written.
#[derive(Debug, Default)]
struct Known {
    /// How many of its pipes have not ended.
    open: usize,
    tails: Streams<Tail>,
    shown: Streams<bool>,
    ended: Option<Ended>,
}

#[derive(Debug, Clone, Copy)]
struct Ended {
    wanted: bool,
    /// When to wait no longer for the end of its pipes.
    until: Time,
}

impl Copyist {
    pub(super) fn new(
        (orders, bell): (Receiver<Order>, Arc<Wake>),
        (events, news): (Sender<Event>, Arc<Wake>),
        outlets: Outlets,
    ) -> Self {
        Self {
            orders,
            bell,
            events,
            news,
            outlets,
            pipes: BTreeMap::new(),
            next: PipeId::default(),
            last: PipeId::default(),
            workers: BTreeMap::new(),
            logs: Logs::default(),
            buffer: vec![0; BUDGET],
            told: Vec::new(),
            finish: None,
        }
    }

    /// Goes on until the loop wants no more. `alive` is dropped last.
    pub(super) fn run(mut self, alive: Sender<Infallible>) {
        while self.turn() {}
        drop(self);
        drop(alive);
    }

    /// Waits for something to do and does it; says whether to go on.
    fn turn(&mut self) -> bool {
        let ready = self.wait();
        let now = clock::now();
        self.logs.time = clock::wall();
        self.obey(now);
        for outlet in &mut self.outlets.all {
            outlet.flush(now, &mut self.told);
        }
        for &id in &ready {
            self.read(now, id);
        }
        self.show_beginnings(now);
        self.give_last_words(now);
        self.logs.flush(now);
        let over = self.finish.is_some_and(|until| now >= until || self.ends(now));
        self.tell();
        !over
    }

    /// Waits for something to do, and returns the pipes that have something, from the one behind the last one on.
    fn wait(&mut self) -> Vec<PipeId> {
        let open = |(_, pipe): &(&PipeId, &Pipe)| !self.outlets.all[pipe.way.outlet].is_blocked();
        let pipes = || self.pipes.iter().filter(open);
        let inputs = pipes().map(|(_, pipe)| (pipe.reader.as_fd(), For::Input));
        let rooms = self.outlets.all.iter().filter_map(|outlet| Some((outlet.blocked_on()?, For::Room)));
        let bell = std::iter::once((self.bell.as_fd(), For::Input));
        // They come first, since it is known how many they are.
        let clients = self.logs.waits();
        let Ok(ready) = wait::look(clients.chain(inputs).chain(bell).chain(rooms), self.timeout()) else {
            thread::park_timeout(PAUSE);
            return Vec::new();
        };
        let (clients, ready) = ready.split_at(self.logs.clients());
        let ready = pipes().zip(ready).filter(|(_, ready)| **ready).map(|((&id, _), _)| id);
        let (mut first, later): (Vec<_>, Vec<_>) = ready.partition(|id| *id > self.last);
        first.extend(later);
        self.logs.wake(clients);
        first
    }

    fn timeout(&self) -> Option<Duration> {
        let blocked = self.logs.is_finishing() || self.outlets.all.iter().any(|outlet| outlet.is_blocked());
        if self.finish.is_some() && !blocked {
            return Some(Duration::ZERO);
        }
        let idle = self.pipes.values().filter_map(|pipe| self.shown_at(pipe));
        let words = self.workers.values().filter_map(|known| known.ended).map(|ended| ended.until);
        let at = idle.chain(words).chain(self.finish).chain(self.logs.deadline()).min()?;
        Some(at - clock::now())
    }

    fn obey(&mut self, now: Time) {
        // What cannot be read is rung again.
        let _ = self.bell.clear();
        loop {
            match self.orders.try_recv() {
                Ok(Order::Adopt { worker, writer, pipes }) => self.adopt(now, worker, writer, pipes),
                Ok(Order::Ended { worker, wanted }) => {
                    if let Some(known) = self.workers.get_mut(&worker) {
                        known.ended = Some(Ended { wanted, until: now + LAST_WORDS });
                    }
                }
                Ok(Order::Reopen) => {
                    for outlet in &mut self.outlets.all {
                        outlet.reopen(now, &mut self.told);
                    }
                }
                Ok(Order::Show(show)) => self.logs.show(now, show),
                Ok(Order::Finish { until }) => self.finish = Some(until),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.finish.get_or_insert(now);
                    return;
                }
            }
        }
    }

    fn adopt(&mut self, now: Time, worker: WorkerId, writer: Writer, pipes: Streams<Option<PipeReader>>) {
        self.give_up_full_ones(now);
        let known = self.workers.entry(worker).or_default();
        for (stream, reader) in pipes.into_iter().enumerate() {
            let Some(reader) = reader else { continue };
            let Some(way) = self.outlets.way(writer, stream) else { continue };
            known.open += 1;
            known.shown[stream] = way.shown;
            self.next.0 += 1;
            let (lines, cut) = (Lines::default(), Cut::default());
            let pipe = Pipe { worker, writer, stream, reader, way, lines, cut, touched: now };
            self.pipes.insert(self.next, pipe);
        }
    }

    /// Reads a part of what a pipe has, if there is room for it.
    fn read(&mut self, now: Time, id: PipeId) {
        let Some(pipe) = self.pipes.get_mut(&id) else { return };
        let outlet = &mut self.outlets.all[pipe.way.outlet];
        if outlet.is_blocked() {
            return;
        }
        self.last = id;
        let count = match pipe.reader.read(&mut self.buffer) {
            Ok(count) => count,
            Err(error) if is_passing(&error) => return,
            // There is no other reason; if there were one, it would not pass.
            Err(_) => 0,
        };
        if count == 0 {
            return self.end(now, id);
        }
        let bytes = &self.buffer[..count];
        pipe.touched = now;
        let prefix = &pipe.way.prefix;
        pipe.lines.take(bytes, |piece| outlet.put(now, id, prefix, piece));
        outlet.flush(now, &mut self.told);
        if let Some(origin) = pipe.origin() {
            self.logs.take(now, origin, &mut pipe.cut, bytes);
        }
        if let Some(known) = self.workers.get_mut(&pipe.worker).filter(|_| pipe.has_last_words()) {
            known.tails[pipe.stream].take(bytes);
        }
    }

    /// Nobody holds the other end of a pipe any more.
    fn end(&mut self, now: Time, id: PipeId) {
        let Some(mut pipe) = self.pipes.remove(&id) else { return };
        self.end_line(now, id, &mut pipe);
        if let Some(known) = self.workers.get_mut(&pipe.worker) {
            known.open -= 1;
        }
    }

    fn end_line(&mut self, now: Time, id: PipeId, pipe: &mut Pipe) {
        let outlet = &mut self.outlets.all[pipe.way.outlet];
        pipe.lines.flush(|piece| outlet.put(now, id, &pipe.way.prefix, piece));
        outlet.leave(id);
        outlet.flush(now, &mut self.told);
        if let Some(origin) = pipe.origin() {
            self.logs.end(now, origin, &mut pipe.cut);
        }
    }

    /// When a line that a pipe has begun is to be shown without its end.
    fn shown_at(&self, pipe: &Pipe) -> Option<Time> {
        let room = !self.outlets.all[pipe.way.outlet].is_blocked();
        (room && pipe.lines.has_held()).then(|| pipe.touched + IDLE)
    }

    fn show_beginnings(&mut self, now: Time) {
        let due = |pipe: &Pipe| self.shown_at(pipe).is_some_and(|at| at <= now);
        let due: Vec<_> = self.pipes.iter().filter(|(_, pipe)| due(pipe)).map(|(&id, _)| id).collect();
        for id in due {
            let Some(pipe) = self.pipes.get_mut(&id) else { continue };
            let outlet = &mut self.outlets.all[pipe.way.outlet];
            pipe.lines.flush(|piece| outlet.put(now, id, &pipe.way.prefix, piece));
            outlet.flush(now, &mut self.told);
        }
    }

    /// Tells the last words of workers that have ended and were heard to their end, or were waited for, and forgets them.
    fn give_last_words(&mut self, now: Time) {
        let told = &mut self.told;
        self.workers.retain(|&worker, known| {
            let Some(ended) = known.ended.filter(|ended| known.open == 0 || ended.until <= now) else {
                return true;
            };
            let stream = if known.tails[ERR].is_empty() { OUT } else { ERR };
            if ended.wanted && !known.tails[stream].is_empty() {
                let (lines, shown) = (known.tails[stream].lines(), known.shown[stream]);
                told.push(Event::LastWords { worker, lines, shown });
            }
            false
        });
    }

    /// Of pipes that ended workers have left full, for a place that has no room, gives up the oldest beyond a number.
    fn give_up_full_ones(&mut self, now: Time) {
        let is_left = |pipe: &Pipe| {
            !self.workers.contains_key(&pipe.worker) && self.outlets.all[pipe.way.outlet].is_blocked()
        };
        let left: Vec<_> = self.pipes.iter().filter(|(_, pipe)| is_left(pipe)).map(|(&id, _)| id).collect();
        for &id in &left[..left.len().saturating_sub(LEFT_FULL)] {
            let Some(pipe) = self.pipes.get_mut(&id) else { continue };
            // Somebody may still write into it.
            if !wait::look([(pipe.reader.as_fd(), For::End)], Some(Duration::ZERO)).is_ok_and(|end| end[0]) {
                continue;
            }
            while let Ok(count @ 1..) = pipe.reader.read(&mut self.buffer) {
                let lines = memchr::memchr_iter(b'\n', &self.buffer[..count]).count();
                self.outlets.all[pipe.way.outlet].lose(lines as u64);
                if let Some(origin) = pipe.origin() {
                    self.logs.take(now, origin, &mut pipe.cut, &self.buffer[..count]);
                }
            }
            self.end(now, id);
        }
    }

    /// Ends the lines that are begun, once everything is read and written, and says whether there is nothing left to do.
    fn ends(&mut self, now: Time) -> bool {
        let is_blocked = |outlets: &Outlets| outlets.all.iter().any(|outlet| outlet.is_blocked());
        let inputs = self.pipes.values().map(|pipe| (pipe.reader.as_fd(), For::Input));
        if is_blocked(&self.outlets)
            || !wait::look(inputs, Some(Duration::ZERO)).is_ok_and(|ready| !ready.contains(&true))
        {
            return false;
        }
        for (id, mut pipe) in std::mem::take(&mut self.pipes) {
            self.end_line(now, id, &mut pipe);
        }
        !is_blocked(&self.outlets) && self.logs.finish(now)
    }

    fn tell(&mut self) {
        let any = !self.told.is_empty();
        for event in self.told.drain(..) {
            // The loop may have gone.
            let _ = self.events.send(event);
        }
        if any {
            self.news.ring();
        }
    }
}

/// Whether reading again later may do.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
#[path = "thread_tests.rs"]
mod tests;
