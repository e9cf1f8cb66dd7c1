//! One place that output goes to: a file, or a standard stream of ours, and what waits to be written to it.
//!
//! While something waits here nothing more is read for it, so the kernel's pipes are the only queue: see
//! [`Outlet::is_blocked`]. A place that refuses what is written is tried again after a while; lines in between are dropped
//! and counted.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd},
    thread,
    time::Duration,
};

use super::{
    file::LogFile,
    lines::{Page, PipeId},
};
use crate::{
    fleet::Event,
    sys::wait::{self, For},
    time::Time,
};

/// A place that refuses what is written is not tried more often than this.
const AGAIN: Duration = Duration::from_secs(1);

/// After a place has said that it has room, and had none.
const PAUSE: Duration = Duration::from_millis(10);

/// What a pipe that has any room has room for, and takes as one (`PIPE_BUF`): others write to ours as well.
const AT_ONCE: usize = 4 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Outlet {
    target: Target,
    page: Page,
    /// What is to be written, from `written` on.
    pending: Vec<u8>,
    written: usize,
    /// It refused what was written, and is tried again then.
    again: Option<Time>,
    /// Lines that were not written.
    dropped: u64,
    /// What was written last did not end with a line feed.
    torn: bool,
}

/// Where bytes go.
#[derive(Debug)]
pub(super) enum Target {
    /// A standard stream of this process, by the name.
    Stream(&'static str, File),
    /// A file of its own.
    File(LogFile),
}

impl Target {
    /// Writes some of `bytes`, as much as has room; 0 if none has.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Whether it waits for room is not ours to say: who started us has the same stream, and workers of Node make it
        // non-blocking for all.
        if let Some(file) = self.as_fd()
            && wait::look([(file, For::Room)], Some(Duration::ZERO))? != [true]
        {
            return Ok(0);
        }
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stream(_, stream) => {
                let some = &bytes[..bytes.len().min(AT_ONCE)];
                let lines = memchr::memrchr(b'\n', some).map_or(some, |end| &some[..=end]);
                stream.write(lines)
            }
        }
    }

    /// What tells when there is room; a file may not be open yet.
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::File(file) => file.as_fd(),
            Self::Stream(_, stream) => Some(stream.as_fd()),
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Stream(name, _) => (*name).to_owned(),
            Self::File(file) => file.path().display().to_string(),
        }
    }
}

impl Outlet {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            page: Page::default(),
            pending: Vec::new(),
            written: 0,
            again: None,
            dropped: 0,
            torn: false,
        }
    }

    /// Takes a piece of what came from a pipe.
    pub(super) fn put(&mut self, now: Time, from: PipeId, prefix: &[u8], piece: &[u8]) {
        if self.again.is_some_and(|again| now < again) {
            self.dropped += u64::from(piece.ends_with(b"\n"));
            return;
        }
        if self.again.is_some() && self.torn && self.pending.is_empty() {
            self.pending.push(b'\n');
        }
        self.page.put(from, prefix, piece, &mut self.pending);
    }

    /// Nothing more comes from this pipe.
    pub(super) fn leave(&mut self, from: PipeId) {
        self.page.leave(from, &mut self.pending);
    }

    /// Lines were dropped by others, because this takes none.
    pub(super) fn lose(&mut self, lines: u64) {
        self.dropped += lines;
    }

    /// Writes what there is room for. What is worth telling goes to `told`.
    pub(super) fn flush(&mut self, now: Time, told: &mut Vec<Event>) {
        if !self.is_blocked() {
            return;
        }
        while self.is_blocked() {
            match self.target.write(&self.pending[self.written..]) {
                Ok(0) => return,
                Ok(count) => {
                    self.written += count;
                    self.torn = self.pending[self.written - 1] != b'\n';
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // A terminal that has room for half a line feed says that it has some.
                    thread::park_timeout(PAUSE);
                    return;
                }
                Err(error) => return self.fail(now, &error, told),
            }
            self.tell_kept(told);
        }
        self.forget();
        let dropped = std::mem::take(&mut self.dropped);
        if self.again.take().is_some() || dropped > 0 {
            told.push(Event::OutputResumed { sink: self.target.name(), dropped });
        }
    }

    /// Opens a file anew, with what waits written to the one before.
    pub(super) fn reopen(&mut self, now: Time, told: &mut Vec<Event>) {
        self.flush(now, told);
        let Target::File(file) = &mut self.target else { return };
        match file.open() {
            // A line that was begun ends in the other file.
            Ok(()) => (self.page, self.torn) = (Page::default(), false),
            Err(error) => {
                let (sink, errno) = (self.target.name(), errno(&error));
                told.push(Event::OutputKept { sink, errno });
            }
        }
    }

    /// Opens a file before anything is written to it.
    pub(super) fn open(&mut self) -> io::Result<()> {
        match &mut self.target {
            Target::File(file) => file.open(),
            Target::Stream(..) => Ok(()),
        }
    }

    /// Something waits for room.
    pub(super) fn is_blocked(&self) -> bool {
        self.written < self.pending.len()
    }

    /// What tells when there is room.
    pub(super) fn blocked_on(&self) -> Option<BorrowedFd<'_>> {
        self.target.as_fd().filter(|_| self.is_blocked())
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    fn fail(&mut self, now: Time, error: &io::Error, told: &mut Vec<Event>) {
        let left = &self.pending[self.written..];
        self.dropped += memchr::memchr_iter(b'\n', left).count() as u64;
        self.forget();
        self.page = Page::default();
        if self.again.replace(now + AGAIN).is_none() {
            told.push(Event::OutputFailed { sink: self.target.name(), errno: errno(error) });
        }
    }

    fn forget(&mut self) {
        self.pending.clear();
        self.written = 0;
    }

    fn tell_kept(&mut self, told: &mut Vec<Event>) {
        let Target::File(file) = &mut self.target else { return };
        if let Some(error) = file.take_kept() {
            told.push(Event::OutputKept { sink: self.target.name(), errno: errno(&error) });
        }
    }
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::Rotation;
    use std::{io::Read, io::pipe, os::fd::OwnedFd};

    const NOW: Time = Time(0);
    const FROM: PipeId = PipeId(1);

    fn put(outlet: &mut Outlet, now: Time, text: &str) -> Vec<Event> {
        let mut told = Vec::new();
        text.split_inclusive('\n').for_each(|piece| outlet.put(now, FROM, b"[0] ", piece.as_bytes()));
        outlet.flush(now, &mut told);
        told
    }

    fn stream(writer: impl Into<OwnedFd>) -> Outlet {
        Outlet::new(Target::Stream("standard output", File::from(writer.into())))
    }

    #[test]
    fn a_full_stream_blocks_and_nothing_is_lost() {
        for nonblocking in [false, true] {
            let (mut reader, writer) = pipe().unwrap();
            crate::sys::channel::set_nonblocking(&writer, nonblocking).unwrap();
            let mut outlet = stream(writer);
            let text: String = (0..20_000).map(|number| format!("{number}\n")).collect();
            assert!(put(&mut outlet, NOW, &text).is_empty());
            assert!(outlet.is_blocked() && outlet.blocked_on().is_some());
            let mut read = Vec::new();
            let mut buffer = [0; 1 << 10];
            while outlet.is_blocked() {
                let count = reader.read(&mut buffer).unwrap();
                read.extend_from_slice(&buffer[..count]);
                outlet.flush(NOW, &mut Vec::new());
            }
            drop(outlet);
            reader.read_to_end(&mut read).unwrap();
            let expected: String = text.lines().map(|line| format!("[0] {line}\n")).collect();
            assert_eq!(String::from_utf8(read).unwrap(), expected);
        }
    }

    #[test]
    fn a_stream_that_nobody_reads_any_more_is_told_of_once() {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let mut outlet = stream(writer);
        let told = put(&mut outlet, NOW, "1\n2\n");
        assert!(matches!(&told[..], [Event::OutputFailed { errno: libc::EPIPE, .. }]), "{told:?}");
        assert!(put(&mut outlet, NOW, "3\n").is_empty() && put(&mut outlet, NOW + AGAIN, "4\n").is_empty());
        assert!(!outlet.is_blocked(), "its writers do not wait");
        assert_eq!(outlet.dropped, 4);
    }

    #[test]
    fn a_full_disk_is_told_of_once_and_so_is_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        // Full from the beginning.
        let file = LogFile::new("/dev/full".into(), Rotation::default());
        let mut outlet = Outlet::new(Target::File(file));
        let told = put(&mut outlet, NOW, "1\n2\n");
        let full = |event: &Event| matches!(event, Event::OutputFailed { sink, errno: libc::ENOSPC } if sink == "/dev/full");
        assert!(told.len() == 1 && full(&told[0]), "{told:?}");
        assert!(put(&mut outlet, NOW, "3\n").is_empty());
        assert!(put(&mut outlet, NOW + AGAIN, "4\n").is_empty(), "still");
        outlet.target = Target::File(LogFile::new(path.clone(), Rotation::default()));
        outlet.torn = true;
        let again = NOW + AGAIN + AGAIN;
        assert!(put(&mut outlet, NOW + AGAIN, "5\n").is_empty(), "it is not tried at each line");
        let told = put(&mut outlet, again, "6\n7");
        assert!(matches!(&told[..], [Event::OutputResumed { dropped: 5, .. }]), "{told:?}");
        assert!(put(&mut outlet, again, "8\n").is_empty());
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text, "\n[0] 6\n[0] 78\n", "what was torn ends before");
    }
}
