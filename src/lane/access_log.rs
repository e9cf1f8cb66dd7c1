//! The access log, which goes to standard output: where that leads, the master knows. Nobody waits for it: lines that have no
//! room are dropped and counted.

use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    os::fd::AsRawFd,
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};

use crate::{
    forward::{log::AccessLog, record::Record, rules::LogFormat, upstreams::Upstreams},
    sys::{channel, clock, output},
    time::Time,
};

/// Lines are written together, when they are so many bytes or this long after the first.
const TOGETHER: usize = 32 << 10;
const SOON: Duration = Duration::from_millis(200);

/// When there was no room, it is tried again this long after.
const AGAIN: Duration = Duration::from_millis(5);

/// What waits for somebody who does not read: more is dropped.
const MAX_WAITING: usize = 1 << 20;

/// Bytes that its pipe may hold: as many as an ordinary user may ask for.
const PIPE: i32 = 1 << 20;

/// How long whoever reads the log is waited for at the end.
const PATIENCE: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Log {
    to: Option<(AccessLog, File)>,
    waiting: Vec<u8>,
    flush_at: Option<Time>,
    /// There was no room when it was tried last.
    stuck: bool,
    dropped: u64,
}

impl Log {
    pub(super) fn new(format: Option<LogFormat>, now: Time) -> Self {
        let open = |format| {
            let file = output::share(io::stdout())?;
            channel::set_nonblocking(&file, true)?;
            // So that a moment in which nobody reads does not matter; where it cannot be, it is as it was.
            let _ = output::enlarge(&file, PIPE);
            Ok((AccessLog::new(format, offset(now)), file))
        };
        let to = format.and_then(|format| {
            let opened: io::Result<_> = open(format);
            opened.map_err(|error| log::error!("there is no access log: {error}")).ok()
        });
        Self { to, waiting: Vec::new(), flush_at: None, stuck: false, dropped: 0 }
    }

    pub(super) fn write(&mut self, record: &Record, upstreams: &Upstreams) {
        let Some((lines, _)) = &mut self.to else { return };
        if self.waiting.len() >= MAX_WAITING {
            self.dropped += 1;
            return;
        }
        let name = record.upstream.and_then(|id| upstreams.name(id));
        lines.line(&mut self.waiting, record, name);
        self.flush_at.get_or_insert(record.times.ended + SOON);
    }

    /// Writes what is to be written by now.
    pub(super) fn flush(&mut self, now: Time) {
        let due = self.flush_at.is_some_and(|at| at <= now) || self.waiting.len() >= TOGETHER && !self.stuck;
        if !due {
            return;
        }
        self.push();
        if let Some((lines, _)) = &mut self.to {
            // The system's time may have been set.
            lines.set_offset(offset(now));
        }
        self.flush_at = self.stuck.then(|| now + AGAIN);
    }

    /// Writes as much as there is room for. What is left of a line is written first the next time.
    fn push(&mut self) {
        let Some((_, file)) = &mut self.to else { return };
        let mut written = 0;
        // A pipe takes less than a page or all that it has room for.
        while written < self.waiting.len() {
            match file.write(&self.waiting[written..]) {
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // Whoever has read it is gone.
                Err(_) => written = self.waiting.len(),
            }
        }
        self.waiting.drain(..written);
        self.stuck = !self.waiting.is_empty();
    }

    /// Writes all of it, since nothing comes after it, unless nobody reads it.
    pub(super) fn finish(&mut self) {
        self.push();
        if let (Some((_, file)), true) = (&self.to, self.stuck) {
            let number = file.as_raw_fd();
            let watched = Poll::new().and_then(|poll| {
                poll.registry().register(&mut SourceFd(&number), Token(0), Interest::WRITABLE)?;
                Ok(poll)
            });
            // It is the end in any case.
            let Ok(mut poll) = watched else { return };
            let mut events = Events::with_capacity(1);
            while self.stuck && poll.poll(&mut events, Some(PATIENCE)).is_ok() && !events.is_empty() {
                self.push();
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.flush_at
    }

    /// Lines that nobody took in time.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// The system's time less that of the monotonic clock.
fn offset(now: Time) -> Duration {
    Duration::from_millis(clock::wall()).saturating_sub(now - Time(0))
}
