//! What a lane has to say goes to standard error, where its master adds who said it. Nobody waits for that: a line that has no
//! room is lost.

use std::io::{self, Write};

use crate::sys::channel;

/// Has what this process says go to standard error, where its master adds who said it.
pub(super) fn install() {
    static STDERR: Stderr = Stderr;
    // Where another is installed, that is as good.
    if log::set_logger(&STDERR).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
    let _ = channel::set_nonblocking(io::stderr(), true);
}

struct Stderr;

impl log::Log for Stderr {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            // A line in one write; one that has no room is lost.
            let line = format!("{}: {}\n", record.level().as_str().to_lowercase(), record.args());
            let _ = io::stderr().write(line.as_bytes());
        }
    }

    fn flush(&self) {}
}
