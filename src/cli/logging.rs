//! The log on standard error.
//!
//! Who logs never waits: lines go over a queue, bounded in lines and in bytes, to a thread of their own, which may block
//! on whoever reads standard error. When the queue is full lines are counted, and the number is written when there is
//! room again.

use std::{
    convert::Infallible,
    env,
    fmt::Write as _,
    fs, io,
    io::{IsTerminal, Write},
    os::unix::fs::MetadataExt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::Duration,
};

use env_logger::{Builder, Target, WriteStyle};
use log::{Level, LevelFilter};

use super::{
    clip::clip,
    log_filter::{self, Filter},
};

/// Lines that may wait for a reader: minutes of ordinary life.
const QUEUE: usize = 1024;

/// Bytes of lines that may wait for a reader: as many lines of an ordinary length.
const QUEUE_BYTES: usize = 256 << 10;

/// What is kept of a message: the longest of ours are shorter, and what a worker says may have any length.
const MESSAGE_BYTES: usize = 2 << 10;

/// How long the end waits for lines that nobody reads.
const FLUSH: Duration = Duration::from_secs(1);

/// How often a standard error is tried that is full and does not block. (Node makes it so for all who share it.)
const RETRY: Duration = Duration::from_millis(10);

/// The target of lines that are not messages: on a terminal they stand alone.
pub(super) const BANNER: &str = "pointsman::banner";

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// For people, at once.
    Terminal,
    /// For journald: `<priority>message`, a line feed ends it.
    Journal,
    /// For a file or a collector.
    Plain,
}

/// The log; at its end, what is still queued is written.
#[derive(Debug)]
pub(super) struct Logging {
    pub(super) style: Style,
    writer: Writer,
}

/// Starts logging. Signals must be blocked before, since the thread inherits the mask.
pub(super) fn start() -> io::Result<Logging> {
    let style = Style::of_stderr();
    let (pipe, writer) = queue(io::stderr())?;
    let filter = Filter::read(env::var_os(log_filter::VARIABLE).as_deref());
    let mut builder = Builder::new();
    builder.parse_filters(&filter.text);
    if filter.warning.is_some() {
        builder.filter_module(log_filter::TARGET, LevelFilter::Warn);
    }
    builder.target(Target::Pipe(Box::new(pipe)));
    builder.write_style(if super::colour() { WriteStyle::Always } else { WriteStyle::Never });
    builder.format(move |out, record| {
        if style == Style::Terminal && record.target() == BANNER {
            return writeln!(out, "{}", record.args());
        }
        let message = clip(record.args(), MESSAGE_BYTES);
        let line = match style {
            Style::Terminal => {
                let colour = out.default_level_style(record.level());
                let level = word(record.level())
                    .map(|word| format!("{colour}{word}{colour:#}: "))
                    .unwrap_or_default();
                format!("pointsman: {level}{}", clean(&message, "\n  "))
            }
            Style::Journal => format!("<{}>{}", priority(record.level()), clean(&message, "; ")),
            Style::Plain => {
                let level = word(record.level()).map(|word| format!("{word}: ")).unwrap_or_default();
                format!("{} pointsman: {level}{}", out.timestamp_millis(), clean(&message, "; "))
            }
        };
        writeln!(out, "{line}")
    });
    // Only a second logger in this process could fail here, and there is none.
    let _ = builder.try_init();
    if let Some(warning) = filter.warning {
        log::warn!(target: log_filter::TARGET, "{warning}");
    }
    Ok(Logging { style, writer })
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.writer.finish(FLUSH);
    }
}

impl Style {
    fn of_stderr() -> Self {
        if io::stderr().is_terminal() {
            Self::Terminal
        } else if is_journal() {
            Self::Journal
        } else {
            Self::Plain
        }
    }
}

/// Whether standard error is the very stream that systemd connected to the journal: `JOURNAL_STREAM` names it as
/// `device:inode`, and children inherit the variable along with other descriptors.
fn is_journal() -> bool {
    let stream = fs::metadata("/proc/self/fd/2").map(|file| format!("{}:{}", file.dev(), file.ino()));
    stream.is_ok_and(|stream| env::var("JOURNAL_STREAM").is_ok_and(|named| named == stream))
}

/// The numbers of syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// How a level is called. What is ordinary needs no word.
fn word(level: Level) -> Option<&'static str> {
    match level {
        Level::Error => Some("error"),
        Level::Warn => Some("warning"),
        Level::Info => None,
        Level::Debug => Some("debug"),
        Level::Trace => Some("trace"),
    }
}

/// Puts `between` in place of line feeds and makes other control characters visible: parts of a message may come from
/// a worker, and must not write lines or colours of their own.
fn clean(message: &str, between: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for letter in message.chars() {
        match letter {
            '\n' => text.push_str(between),
            letter if letter.is_control() => {
                // Writing to a string does not fail.
                let _ = write!(text, "{}", letter.escape_default());
            }
            letter => text.push(letter),
        }
    }
    text
}

/// The end of the queue that lines go into.
#[derive(Debug, Clone)]
struct Pipe(Arc<Mutex<Queue>>);

#[derive(Debug)]
struct Queue {
    /// `None` after the end.
    lines: Option<SyncSender<Vec<u8>>>,
    /// Bytes that are queued or being written.
    bytes: usize,
    /// Lines for which there was no room, since the last that was queued.
    dropped: u64,
}

/// The thread that writes.
#[derive(Debug)]
struct Writer {
    queue: Pipe,
    /// Closed when the thread has written everything.
    done: Receiver<Infallible>,
}

/// Starts the thread that writes lines to `out`.
fn queue(out: impl Write + Send + 'static) -> io::Result<(Pipe, Writer)> {
    let (lines, queued) = mpsc::sync_channel(QUEUE);
    let (alive, done) = mpsc::channel();
    let pipe = Pipe(Arc::new(Mutex::new(Queue { lines: Some(lines), bytes: 0, dropped: 0 })));
    let queue = pipe.clone();
    thread::Builder::new().name("log".into()).spawn(move || {
        let _alive = alive;
        write_lines(out, &queued, &queue);
    })?;
    Ok((pipe.clone(), Writer { queue: pipe, done }))
}

fn write_lines(mut out: impl Write, queued: &Receiver<Vec<u8>>, queue: &Pipe) {
    for line in queued {
        write_whole(&mut out, &line);
        queue.lock().bytes -= line.len();
    }
    let dropped = queue.lock().dropped;
    if dropped > 0 {
        write_whole(&mut out, &note(dropped));
    }
}

/// Writes a line, however long that takes. If standard error is gone there is nobody to tell.
fn write_whole(out: &mut impl Write, mut line: &[u8]) {
    while !line.is_empty() {
        match out.write(line) {
            Ok(0) => return,
            Ok(written) => line = &line[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::park_timeout(RETRY),
            Err(_) => return,
        }
    }
}

fn note(dropped: u64) -> Vec<u8> {
    format!("pointsman: {dropped} log lines were dropped: nobody read standard error\n").into_bytes()
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Takes a line, unless there is no room.
    fn offer(&mut self, line: Vec<u8>) -> bool {
        let size = line.len();
        let Some(lines) = &self.lines else { return false };
        let taken = self.bytes + size <= QUEUE_BYTES && lines.try_send(line).is_ok();
        if taken {
            self.bytes += size;
        }
        taken
    }
}

impl Write for Pipe {
    /// Takes a whole line, since env_logger writes a record at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut queue = self.lock();
        let dropped = queue.dropped;
        if dropped > 0 && queue.offer(note(dropped)) {
            queue.dropped = 0;
        }
        if queue.lines.is_some() && (queue.dropped > 0 || !queue.offer(line.to_vec())) {
            queue.dropped += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Writer {
    /// Takes no more lines, and waits until those that are queued are written, but not longer than `limit`.
    fn finish(&self, limit: Duration) {
        self.queue.lock().lines = None;
        // The thread sends nothing; it closes its end.
        let _ = self.done.recv_timeout(limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A standard error that writes only when it is let, piecemeal, and says "try again" a few times before.
    struct Slow {
        let_go: Receiver<()>,
        written: mpsc::Sender<Vec<u8>>,
        refusals: u32,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // The other end is dropped to let everything through.
            let _ = self.let_go.recv();
            if self.refusals > 0 {
                self.refusals -= 1;
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let some = bytes.len().min(1000);
            self.written
                .send(bytes[..some].to_vec())
                .map(|()| some)
                .map_err(|_| io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_nobody_reads_are_counted_and_nobody_waits() {
        let (hold, let_go) = mpsc::channel();
        let (written, read) = mpsc::channel();
        let (mut pipe, writer) = queue(Slow { let_go, written, refusals: 3 }).unwrap();
        let lines = QUEUE + 100;
        for number in 0..lines {
            pipe.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        // Bounded although nothing has been read.
        writer.finish(Duration::from_millis(1));
        drop(hold);
        let text: Vec<u8> = read.iter().flatten().collect();
        let text = String::from_utf8(text).unwrap();
        // The writer may take a line before all are there, which makes room for a first note among them.
        let note = |line: &str| {
            line.strip_suffix(" log lines were dropped: nobody read standard error")?
                .rsplit(' ')
                .next()?
                .parse()
                .ok()
        };
        let notes: Vec<usize> = text.lines().filter_map(note).collect();
        let dropped: usize = notes.iter().sum();
        assert_eq!(dropped + text.lines().count() - notes.len(), lines, "{notes:?}");
        assert!((99..=102).contains(&dropped), "{dropped}");
    }

    #[test]
    fn few_long_lines_are_bounded_too() {
        let (hold, let_go) = mpsc::channel();
        let (written, read) = mpsc::channel();
        let (mut pipe, writer) = queue(Slow { let_go, written, refusals: 0 }).unwrap();
        let line = "x".repeat(QUEUE_BYTES / 4 - 1) + "\n";
        for _ in 0..10 {
            pipe.write_all(line.as_bytes()).unwrap();
        }
        let held = |pipe: &Pipe| pipe.lock().bytes;
        assert_eq!(held(&pipe), QUEUE_BYTES);
        drop(hold);
        writer.finish(Duration::from_secs(60));
        let text: Vec<u8> = read.iter().flatten().collect();
        assert_eq!(text, [line.repeat(4).as_bytes(), &note(6)].concat());
        assert_eq!(held(&pipe), 0);
    }

    #[test]
    fn everything_is_written_at_the_end() {
        let (written, read) = mpsc::channel();
        let (_, let_go) = mpsc::channel();
        let (mut pipe, writer) = queue(Slow { let_go, written, refusals: 3 }).unwrap();
        let long = "x".repeat(5000) + "\n";
        pipe.write_all(b"a\n").unwrap();
        pipe.write_all(long.as_bytes()).unwrap();
        writer.finish(Duration::from_secs(60));
        pipe.write_all(b"late\n").unwrap();
        let text: Vec<u8> = read.try_iter().flatten().collect();
        assert_eq!(text, [b"a\n", long.as_bytes()].concat());
    }

    #[test]
    fn a_message_is_one_entry_and_carries_no_control_characters() {
        assert_eq!(clean("a\nb\u{1b}[31m\r\tc\u{e9}", "; "), "a; b\\u{1b}[31m\\r\\tc\u{e9}");
    }
}
