//! One client that is shown what workers write: what it has asked for, its socket, and what waits for it.
//!
//! Lines enter, and bytes leave as far as the socket has room. First come the lines that are kept, made ready in portions, so
//! that whoever takes them slowly holds no copy of them; then, for one that follows, those that come, which wait up to a
//! limit and are dropped and counted beyond it. Nothing is read from a client. It knows nothing of pipes and of other
//! clients.

use std::{
    io::{self, Read},
    net::Shutdown,
    ops::Range,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use super::{
    Show,
    history::{History, is_of},
};
use crate::{
    control::{self, Origin, Refusal, RequestId, Target},
    sys::{channel, wait::For},
    time::Time,
};

/// Bytes that wait for a client, as CONTROL.md says.
const WAITING: usize = 256 << 10;

/// Bytes of kept lines that are made ready at once: a socket has room for a little more.
const PORTION: usize = 64 << 10;

/// Bytes that one client is given in a turn, and others wait.
const ROUND: usize = 1 << 20;

/// Who follows nothing and takes nothing for so long has gone, whatever its socket says.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same for everybody when the master ends: who reads gets the last lines, and who has stopped long ago holds up nothing.
/// A socket says that it has room when three quarters of what it holds are read, which takes a slow terminal some time.
const LAST_MOMENT: Duration = Duration::from_millis(300);

/// See the module.
#[derive(Debug)]
pub(super) struct Client {
    socket: UnixStream,
    id: RequestId,
    target: Option<Target>,
    stage: Stage,
    /// What is being written, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// What comes after it.
    queue: Vec<u8>,
    /// Lines that are missing behind that.
    dropped: u64,
    /// The socket had no room.
    blocked: bool,
    /// When it last took something, or something began to wait for it.
    since: Time,
}

/// What a client is to be told besides what waits for it.
#[derive(Debug)]
enum Stage {
    /// So many lines that had these numbers, as far as they are still there.
    Kept { numbers: Range<u64>, left: usize, follow: bool },
    /// Lines when they come.
    New,
    /// Nothing.
    Last,
    /// It is gone or has everything.
    Over,
}

impl Client {
    /// One that is told its answer, and has a right to what it has asked for.
    pub(super) fn new(now: Time, show: Show, history: &History) -> io::Result<Self> {
        let (mut numbers, target) = (0..history.next(), show.target);
        let all = history.lines(target, numbers.clone());
        let left = show.lines.min(all.len());
        numbers.start = all.get(all.len() - left).map_or(numbers.end, |line| line.number);
        let answer = control::answer(&show.id, &Ok(serde_json::json!({})));
        let stage = Stage::Kept { numbers, left, follow: show.follow };
        Self::with(now, show, stage, &answer)
    }

    /// One that is told why it gets nothing.
    pub(super) fn refused(now: Time, show: Show, refusal: Refusal) -> io::Result<Self> {
        let answer = control::answer(&show.id, &Err(refusal));
        Self::with(now, show, Stage::Last, &answer)
    }

    fn with(now: Time, show: Show, stage: Stage, answer: &[u8]) -> io::Result<Self> {
        let Show { client, id, target, before: mut out, .. } = show;
        let socket = UnixStream::from(client);
        // Nobody here waits for it, whatever it was before.
        socket.set_nonblocking(true)?;
        out.extend_from_slice(answer);
        let (written, queue, dropped, blocked) = (0, Vec::new(), 0, false);
        Ok(Self { socket, id, target, stage, out, written, queue, dropped, blocked, since: now })
    }

    /// Takes a line that was read at `time`, if it is wanted.
    pub(super) fn put(&mut self, now: Time, history: &History, time: u64, origin: Origin, line: &[u8]) {
        if !self.follows() || !is_of(origin, self.target) {
            return;
        }
        if !self.is_pending() {
            self.since = now;
        }
        if self.waiting() > WAITING / 2 {
            self.flush(now, history);
        }
        let end = self.queue.len();
        // Behind what is missing nothing comes before that was said.
        if self.dropped == 0 {
            control::log(&self.id, time, origin, line, &mut self.queue);
        }
        if self.dropped > 0 || self.waiting() > WAITING {
            self.queue.truncate(end);
            self.dropped += 1;
        }
    }

    /// Writes what there is room for.
    pub(super) fn flush(&mut self, now: Time, history: &History) {
        let mut left = ROUND;
        while left > 0 && !self.blocked && !self.is_over() {
            if self.written == self.out.len() {
                self.refill(history);
                if self.out.is_empty() {
                    if matches!(self.stage, Stage::Last) {
                        self.stage = Stage::Over;
                    }
                    return;
                }
            }
            match channel::send(self.socket.as_fd(), &self.out[self.written..], None) {
                Ok(count) => {
                    self.written += count;
                    self.since = now;
                    left = left.saturating_sub(count.max(1));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.blocked = true,
                Err(_) => self.stage = Stage::Over,
            }
        }
    }

    /// What was waited for is so: there is room, or else it is gone.
    pub(super) fn wake(&mut self) {
        if self.is_pending() {
            self.blocked = false;
        } else {
            self.stage = Stage::Over;
        }
    }

    /// No line comes any more: said again until it is over, since kept ones may come first.
    pub(super) fn finish(&mut self) {
        if matches!(self.stage, Stage::New) {
            self.stage = Stage::Last;
        }
    }

    /// What tells when there is something to do, which is not that it has sent something.
    pub(super) fn wait(&self) -> (BorrowedFd<'_>, For) {
        (self.socket.as_fd(), if self.is_pending() { For::Room } else { For::End })
    }

    /// When it is given up, unless it takes something.
    pub(super) fn deadline(&self, finishing: bool) -> Option<Time> {
        match (finishing, self.follows()) {
            (true, _) => Some(self.since + LAST_MOMENT),
            (false, true) => None,
            (false, false) => Some(self.since + PATIENCE),
        }
    }

    pub(super) fn follows(&self) -> bool {
        matches!(self.stage, Stage::New | Stage::Kept { follow: true, .. })
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// Whether it could be given something if there were room.
    fn is_pending(&self) -> bool {
        self.waiting() > 0 || self.dropped > 0 || matches!(self.stage, Stage::Kept { .. } | Stage::Last)
    }

    /// Bytes that wait for it.
    pub(super) fn waiting(&self) -> usize {
        self.out.len() - self.written + self.queue.len()
    }

    /// Everything is written: makes the next part ready.
    fn refill(&mut self, history: &History) {
        self.out.clear();
        self.written = 0;
        self.recall(history);
        if !self.out.is_empty() {
            return;
        }
        std::mem::swap(&mut self.out, &mut self.queue);
        if self.dropped > 0 {
            self.out.extend(control::dropped(&self.id, self.dropped));
            self.dropped = 0;
        }
    }

    /// Makes the next portion of kept lines ready, if that is what comes.
    fn recall(&mut self, history: &History) {
        let Stage::Kept { numbers, left, follow } = &mut self.stage else { return };
        let lines = history.lines(self.target, numbers.clone());
        // Others have taken their place since it asked.
        let gone = left.saturating_sub(lines.len());
        if gone > 0 {
            self.out.extend(control::dropped(&self.id, gone as u64));
        }
        *left = lines.len();
        for line in lines {
            if self.out.len() >= PORTION {
                return;
            }
            control::log(&self.id, line.time, line.origin, &line.bytes(), &mut self.out);
            numbers.start = line.number + 1;
            *left -= 1;
        }
        if *follow {
            self.stage = Stage::New;
        } else {
            self.out.extend(control::end(&self.id));
            self.stage = Stage::Last;
        }
    }
}

impl Drop for Client {
    /// Ends the connection in a way that loses nothing of what was written: to close a socket that has something to read
    /// would look like an error to the other end.
    fn drop(&mut self) {
        // Either it is over already, or the other end can send nothing more.
        let _ = self.socket.shutdown(Shutdown::Both);
        let mut nothing = [0; 4 << 10];
        while let Ok(1..) = self.socket.read(&mut nothing) {}
    }
}
