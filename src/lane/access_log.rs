//! The access log, which goes to standard output: where that leads, the master knows. Nobody waits for it: lines that have no
//! room are dropped and counted.

use std::{
    io::{self, Write},
    os::fd::AsFd,
    time::Duration,
};

use crate::{
    forward::{log::AccessLog, record::Record, rules::LogFormat, upstreams::Upstreams},
    sys::{channel, clock, wire},
    time::Time,
};

/// Lines are written together, when they are so many bytes or this long after the first.
const TOGETHER: usize = 32 << 10;
const SOON: Duration = Duration::from_millis(200);

/// What waits for somebody who does not read: more is dropped.
const MAX_WAITING: usize = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Log {
    lines: Option<AccessLog>,
    waiting: Vec<u8>,
    flush_at: Option<Time>,
    dropped: u64,
}

impl Log {
    pub(super) fn new(format: Option<LogFormat>, now: Time) -> Self {
        if format.is_some() {
            // Where it cannot be set, it is a file, which takes everything.
            let _ = channel::set_nonblocking(io::stdout(), true);
        }
        let lines = format.map(|format| AccessLog::new(format, offset(now)));
        Self { lines, waiting: Vec::new(), flush_at: None, dropped: 0 }
    }

    pub(super) fn write(&mut self, record: &Record, upstreams: &Upstreams) {
        let Some(lines) = &mut self.lines else { return };
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
        let due = self.flush_at.is_some_and(|at| at <= now) || self.waiting.len() >= TOGETHER;
        if !due {
            return;
        }
        // The system's time may have been set.
        self.lines.iter_mut().for_each(|lines| lines.set_offset(offset(now)));
        // Whole lines in any case: what is left is written first the next time.
        match wire::write(io::stdout().as_fd(), std::iter::once(self.waiting.as_slice())) {
            Ok(written) => drop(self.waiting.drain(..written)),
            Err(_) => self.waiting.clear(),
        }
        self.flush_at = (!self.waiting.is_empty()).then(|| now + SOON);
    }

    /// Writes all of it, since nothing comes after it: whoever reads it has a moment.
    pub(super) fn finish(&mut self) {
        if !self.waiting.is_empty() {
            let _ = channel::set_nonblocking(io::stdout(), false);
            let _ = io::stdout().write_all(&self.waiting);
            self.waiting.clear();
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
