//! What a process writes to a pipe, collected line by line on a thread.

use std::{
    io::{BufRead, BufReader, Read},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
};

#[derive(Debug)]
pub(crate) struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    reader: JoinHandle<()>,
}

impl Log {
    pub(crate) fn collect(pipe: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                sink.lock().unwrap().push(line.trim_end_matches('\r').to_owned());
            }
        });
        Self { lines, reader }
    }

    /// Every line so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Whether a line has `text` in it.
    pub(crate) fn has(&self, text: &str) -> bool {
        self.lines.lock().unwrap().iter().any(|line| line.contains(text))
    }

    /// Whether nobody holds the other end of the pipe any more.
    pub(super) fn has_ended(&self) -> bool {
        self.reader.is_finished()
    }
}

/// Whether a line reports something that a healthy run does not.
pub(super) fn is_trouble(line: &str) -> bool {
    let word = |wanted: &str| line.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == wanted);
    word("WARN")
        || word("ERROR")
        || word("panicked")
        || line.contains("warning: ")
        || line.contains("error: ")
}
