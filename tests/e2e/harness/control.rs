//! A client of the control socket that knows nothing but lines of JSON.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::{Value, json};

/// Longer than anything takes that is asked for here.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Control {
    reader: BufReader<UnixStream>,
    /// What the master has said first.
    pub(crate) greeting: Value,
    next: u64,
}

impl Control {
    #[track_caller]
    pub(crate) fn connect(path: &Path) -> Self {
        Self::try_connect(path).unwrap()
    }

    pub(crate) fn try_connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut control = Self { reader: BufReader::new(stream), greeting: Value::Null, next: 1 };
        control.greeting = control.try_line()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(control)
    }

    pub(crate) fn try_send(&mut self, text: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(text)
    }

    #[track_caller]
    pub(crate) fn send(&mut self, text: &str) {
        self.try_send(text.as_bytes()).unwrap();
    }

    /// Says that it sends nothing more.
    pub(crate) fn end(&mut self) {
        self.reader.get_mut().shutdown(Shutdown::Write).unwrap();
    }

    /// The next line; `None` at the end.
    pub(crate) fn try_line(&mut self) -> io::Result<Option<Value>> {
        let mut line = String::new();
        match self.reader.read_line(&mut line)? {
            0 => Ok(None),
            _ => Ok(Some(serde_json::from_str(&line)?)),
        }
    }

    #[track_caller]
    pub(crate) fn line(&mut self) -> Value {
        self.try_line().unwrap().expect("the master has closed the connection")
    }

    /// Sends a request, and returns its id.
    #[track_caller]
    pub(crate) fn request(&mut self, mut request: Value) -> u64 {
        let id = self.next;
        self.next += 1;
        request["id"] = json!(id);
        self.send(&format!("{request}\n"));
        id
    }

    /// Sends a request and returns its answer; what comes before it is passed over.
    #[track_caller]
    pub(crate) fn ask(&mut self, request: Value) -> Value {
        let id = self.request(request);
        loop {
            let line = self.line();
            if line["id"] == id && (line.get("ok").is_some() || line.get("error").is_some()) {
                return line;
            }
        }
    }

    /// The same of a request that is carried out.
    #[track_caller]
    pub(crate) fn done(&mut self, request: Value) -> Value {
        let answer = self.ask(request.clone());
        assert!(answer.get("error").is_none(), "{request}: {answer}");
        answer["ok"].clone()
    }

    /// The code of the error that answers a request.
    #[track_caller]
    pub(crate) fn refused(&mut self, request: Value) -> String {
        let answer = self.ask(request.clone());
        assert!(answer.get("ok").is_none(), "{request}: {answer}");
        assert!(!answer["error"]["message"].as_str().unwrap().is_empty());
        answer["error"]["code"].as_str().unwrap().to_owned()
    }

    /// The next event of this type.
    #[track_caller]
    pub(crate) fn event(&mut self, kind: &str) -> Value {
        loop {
            let line = self.line();
            if line["event"]["type"] == kind {
                return line["event"].clone();
            }
        }
    }
}
