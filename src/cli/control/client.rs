//! A connection to a master: requests in, what it says out, line by line.
//!
//! CONTROL.md is what is spoken. Nothing here knows what is asked for, nor of the terminal. There is no clock: whoever waits
//! says for how long there may be silence.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use pointsman::peer_pid;
use serde_json::{Map, Value, json};

use super::fault::Fault;

/// The version of the protocol that is spoken here.
const PROTOCOL: u64 = 1;

/// How long a master may take for an answer that does not wait for anything. It answers between two turns of its loop.
pub(super) const PROMPT: Duration = Duration::from_secs(10);

/// How much later than its time a master may say that the time is over.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// The longest line of a request that a master takes.
const MAX_REQUEST: usize = 256 << 10;

/// More than a thousand workers need for their status, by far; a peer that goes on is no master.
const MAX_LINE: usize = 64 << 20;

/// A master that has greeted us.
#[derive(Debug)]
pub(super) struct Client {
    lines: Lines,
    /// Its process.
    pub(super) pid: u32,
    requests: u64,
    /// How long to wait for it at most, if somebody has said so.
    timeout: Option<Duration>,
}

/// Something that a master says.
#[derive(Debug, PartialEq)]
pub(super) enum Word {
    /// It is done.
    Done(Map<String, Value>),
    /// It is not.
    Refused {
        code: String,
        message: String,
    },
    Event(Value),
    Log(Value),
    /// So much was left out.
    Dropped(u64),
    /// There are no more of them.
    End,
    /// Of a later version.
    Unknown,
}

/// What comes of listening.
#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    /// This, of that request.
    Word(u64, Word),
    /// Nothing in all the time.
    Silence,
    /// The master is gone.
    Gone,
}

/// Why somebody who listens is no master that can be spoken with.
#[derive(Debug)]
pub(super) enum Stranger {
    /// Whoever it is, it says something else.
    NoMaster(&'static str),
    /// It is there, as this process if that is known, and says nothing.
    Mute(u32),
    /// A master that says why.
    Told(Fault),
}

impl Client {
    /// Waits for the greeting. Who says how long to wait, waits so long for every answer.
    pub(super) fn meet(stream: UnixStream, timeout: Option<Duration>) -> Result<Self, Stranger> {
        let mut lines = Lines { stream, buffer: Vec::new(), searched: 0 };
        let line = match lines.next(Some(limit(timeout))) {
            Ok(Line::Whole(line)) => line,
            Ok(Line::Silence) => return Err(Stranger::Mute(listener(&lines.stream))),
            Ok(Line::End) => return Err(Stranger::NoMaster("whoever listens there hangs up")),
            Err(_) => return Err(Stranger::NoMaster("whoever listens there is no pointsman")),
        };
        let greeting = serde_json::from_slice::<Map<String, Value>>(&line).unwrap_or_default();
        if let Some(error) = greeting.get("error") {
            return Err(Stranger::Told(refusal(error)));
        }
        let number = |key: &str| greeting.get(key).and_then(Value::as_u64);
        let (Some(version), Some(protocol)) =
            (greeting.get("pointsman").and_then(Value::as_str), number("protocol"))
        else {
            return Err(Stranger::NoMaster("whoever listens there is no pointsman"));
        };
        let pid = number("pid").and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default();
        if protocol != PROTOCOL {
            let version = version.to_owned();
            return Err(Stranger::Told(Fault::OtherProtocol { pid, version, protocol, known: PROTOCOL }));
        }
        Ok(Self { lines, pid, requests: 0, timeout })
    }

    /// Sends a request, and returns its number.
    pub(super) fn request(&mut self, verb: &str, parameters: Map<String, Value>) -> Result<u64, Fault> {
        self.requests += 1;
        let mut request =
            Map::from_iter([("id".to_owned(), json!(self.requests)), ("verb".to_owned(), json!(verb))]);
        request.extend(parameters);
        let mut line = Value::Object(request).to_string().into_bytes();
        line.push(b'\n');
        if line.len() > MAX_REQUEST {
            let length = line.len();
            return Err(Fault::Usage(format!(
                "a request of {length} bytes is too long: the master takes {MAX_REQUEST}"
            )));
        }
        // If it has hung up, it may have said why.
        match self.lines.stream.write_all(&line) {
            Ok(()) => Ok(self.requests),
            Err(error) if is_end(&error) => Ok(self.requests),
            Err(error) => Err(self.garbled(error.to_string())),
        }
    }

    /// Asks, and waits for the answer as long as one may take that waits for nothing.
    pub(super) fn ask(
        &mut self,
        verb: &str,
        parameters: Map<String, Value>,
    ) -> Result<Map<String, Value>, Fault> {
        let id = self.request(verb, parameters)?;
        loop {
            match self.hear(Some(limit(self.timeout)))? {
                Heard::Word(of, Word::Done(answer)) if of == id => return Ok(answer),
                Heard::Word(of, Word::Refused { code, message }) if of == id => {
                    return Err(Fault::Refused { code, message });
                }
                Heard::Word(..) => {}
                Heard::Silence => return Err(self.silent()),
                Heard::Gone => return Err(self.gone("answered")),
            }
        }
    }

    /// Waits for the next word. What is refused to no request is refused to the connection.
    pub(super) fn hear(&mut self, patience: Option<Duration>) -> Result<Heard, Fault> {
        let line = match self.lines.next(patience) {
            Ok(Line::Whole(line)) => line,
            Ok(Line::Silence) => return Ok(Heard::Silence),
            Ok(Line::End) => return Ok(Heard::Gone),
            Err(error) => return Err(self.garbled(error.to_string())),
        };
        let said: Map<String, Value> =
            serde_json::from_slice(&line).map_err(|error| self.garbled(error.to_string()))?;
        match said.get("id") {
            Some(Value::Number(id)) => Ok(Heard::Word(id.as_u64().unwrap_or_default(), word(said))),
            _ => match word(said) {
                Word::Refused { code, message } => Err(Fault::Refused { code, message }),
                other => Ok(Heard::Word(0, other)),
            },
        }
    }

    /// It has said nothing in all the time.
    pub(super) fn silent(&self) -> Fault {
        mute(self.pid, self.timeout)
    }

    /// It has gone before it did this.
    pub(super) fn gone(&self, what: &'static str) -> Fault {
        Fault::Gone { pid: self.pid, what }
    }

    pub(super) fn garbled(&self, what: String) -> Fault {
        Fault::Garbled { pid: self.pid, what }
    }
}

/// How long a master may say nothing.
fn limit(timeout: Option<Duration>) -> Duration {
    timeout.map_or(PROMPT, |timeout| timeout + GRACE)
}

/// What it is that it has said nothing for so long.
pub(super) fn mute(pid: u32, timeout: Option<Duration>) -> Fault {
    match timeout {
        Some(after) => Fault::Overdue { pid, after },
        None => Fault::Mute { pid, after: PROMPT },
    }
}

/// The process that has opened the socket at the other end; 0 if that is not known here.
fn listener(stream: &UnixStream) -> u32 {
    peer_pid(stream).unwrap_or_default()
}

fn refusal(error: &Value) -> Fault {
    let (code, message) = code_and_message(error);
    Fault::Refused { code, message }
}

fn code_and_message(error: &Value) -> (String, String) {
    let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or("(it does not say)").to_owned();
    (text("code"), text("message"))
}

fn word(mut said: Map<String, Value>) -> Word {
    if let Some(Value::Object(answer)) = said.remove("ok") {
        return Word::Done(answer);
    }
    if let Some(error) = said.get("error") {
        let (code, message) = code_and_message(error);
        return Word::Refused { code, message };
    }
    if let Some(event) = said.remove("event") {
        return Word::Event(event);
    }
    if let Some(log) = said.remove("log") {
        return Word::Log(log);
    }
    match (said.get("dropped").and_then(Value::as_u64), said.contains_key("end")) {
        (Some(count), _) => Word::Dropped(count),
        (None, true) => Word::End,
        (None, false) => Word::Unknown,
    }
}

/// Lines of a stream.
#[derive(Debug)]
struct Lines {
    stream: UnixStream,
    /// What has come and was not given out.
    buffer: Vec<u8>,
    /// So much of it has no line feed.
    searched: usize,
}

enum Line {
    Whole(Vec<u8>),
    Silence,
    End,
}

impl Lines {
    fn next(&mut self, patience: Option<Duration>) -> io::Result<Line> {
        loop {
            if let Some(found) = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n') {
                let rest = self.buffer.split_off(self.searched + found + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                self.searched = 0;
                return Ok(Line::Whole(line));
            }
            self.searched = self.buffer.len();
            if self.searched > MAX_LINE {
                return Err(io::Error::other(format!("a line of more than {MAX_LINE} bytes")));
            }
            self.stream.set_read_timeout(patience)?;
            let mut bytes = [0; 16 << 10];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Ok(Line::End),
                Ok(count) => self.buffer.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Ok(Line::Silence);
                }
                Err(error) if is_end(&error) => return Ok(Line::End),
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

#[cfg(test)]
pub(super) mod tests {
    use std::{
        io::{BufRead, BufReader},
        thread::{self, JoinHandle},
    };

    use super::*;

    pub(in super::super) const GREETING: &str =
        r#"{"pointsman":"0.1.0","protocol":1,"pid":4711,"name":"default"}"#;

    /// A master that says these lines, and before each that begins with `<` waits for a request, which must contain the rest.
    pub(in super::super) fn scripted(script: &[&str]) -> (UnixStream, JoinHandle<()>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let script: Vec<_> = script.iter().map(|&line| line.to_owned()).collect();
        let play = move || {
            let mut requests = BufReader::new(theirs.try_clone().unwrap()).lines();
            let mut theirs = theirs;
            for line in script {
                match line.strip_prefix('<') {
                    Some(wanted) => {
                        let request = requests.next().unwrap().unwrap();
                        assert!(request.contains(wanted), "{wanted} is not in {request}");
                    }
                    None => writeln!(theirs, "{line}").unwrap(),
                }
            }
        };
        (ours, thread::spawn(play))
    }

    fn met(script: &[&str]) -> (Client, JoinHandle<()>) {
        let (stream, master) = scripted(script);
        (Client::meet(stream, None).unwrap(), master)
    }

    #[test]
    fn answers_belong_to_their_requests() {
        let (mut client, master) = met(&[
            GREETING,
            r#"<{"id":1,"verb":"scale","to":4}"#,
            r#"{"id":9,"ok":{"other":1}}"#,
            r#"{"id":1,"new":true}"#,
            r#"{"id":1,"event":{"type":"fork"}}"#,
            r#"{"id":1,"ok":{"from":2,"to":4}}"#,
            r#"<"id":2"#,
            r#"{"id":2,"error":{"code":"no_such_worker","message":"there is no worker 99"}}"#,
        ]);
        assert_eq!(client.pid, 4711);
        let to = Map::from_iter([("to".to_owned(), json!(4))]);
        assert_eq!(Value::Object(client.ask("scale", to).unwrap()), json!({ "from": 2, "to": 4 }));
        let fault = client.ask("kill", Map::new()).unwrap_err();
        assert_eq!((fault.to_string(), fault.exit_code()), ("there is no worker 99".into(), 1));
        master.join().unwrap();
        assert_eq!(client.hear(None).unwrap(), Heard::Gone);
        let fault = client.ask("status", Map::new()).unwrap_err();
        assert_eq!(fault.to_string(), "the master (pid 4711) has gone before it answered");
    }

    #[test]
    fn a_refusal_of_the_whole_connection_is_told() {
        let busy = r#"{"id":null,"error":{"code":"busy","message":"there are 64 clients"}}"#;
        let (mut client, master) = met(&[GREETING, busy]);
        master.join().unwrap();
        let fault = client.ask("status", Map::new()).unwrap_err();
        assert_eq!((fault.to_string(), fault.exit_code()), ("there are 64 clients".into(), 75));
        let (stream, _) = scripted(&[busy]);
        assert!(matches!(Client::meet(stream, None), Err(Stranger::Told(fault)) if fault.exit_code() == 75));
    }

    #[test]
    fn who_greets_otherwise_is_no_master_or_of_another_version() {
        for (greeting, expected) in [
            (r#"{"pointsman":"9.0.0","protocol":2,"pid":5}"#, "speaks version 2 of the control protocol"),
            (r#"{"pointsman":"9.0.0"}"#, "is no pointsman"),
            ("SSH-2.0", "is no pointsman"),
        ] {
            let (stream, _) = scripted(&[greeting]);
            let told = match Client::meet(stream, None).unwrap_err() {
                Stranger::NoMaster(what) => what.to_owned(),
                Stranger::Mute(pid) => panic!("{pid}"),
                Stranger::Told(fault) => {
                    assert_eq!(fault.exit_code(), 69);
                    fault.to_string()
                }
            };
            assert!(told.contains(expected), "{told}");
        }
        let (stream, master) = scripted(&[]);
        master.join().unwrap();
        assert!(matches!(
            Client::meet(stream, None),
            Err(Stranger::NoMaster("whoever listens there hangs up"))
        ));
    }

    #[test]
    fn words_are_told_apart_however_they_arrive() {
        let (mut client, _master) = met(&[
            GREETING,
            r#"{"id":3,"dropped":12}"#,
            r#"{"id":3,"log":{"line":"x"}}"#,
            r#"{"id":3,"end":true}"#,
            "no json",
        ]);
        let mut hear = || client.hear(None);
        assert_eq!(hear().unwrap(), Heard::Word(3, Word::Dropped(12)));
        assert_eq!(hear().unwrap(), Heard::Word(3, Word::Log(json!({ "line": "x" }))));
        assert_eq!(hear().unwrap(), Heard::Word(3, Word::End));
        assert!(hear().unwrap_err().to_string().contains("not in its protocol"));

        let (ours, mut theirs) = UnixStream::pair().unwrap();
        writeln!(theirs, "{GREETING}").unwrap();
        let mut client = Client::meet(ours, None).unwrap();
        theirs.write_all(b"{\"id\":1,\"dr").unwrap();
        assert_eq!(client.hear(Some(Duration::from_millis(1))).unwrap(), Heard::Silence);
        theirs.write_all(b"opped\":5}\n{").unwrap();
        assert_eq!(client.hear(None).unwrap(), Heard::Word(1, Word::Dropped(5)));
    }

    #[test]
    fn who_says_nothing_is_given_up_in_time() {
        let timeout = Some(Duration::from_millis(1));
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let stranger = Client::meet(ours, timeout).unwrap_err();
        assert!(matches!(stranger, Stranger::Mute(pid) if pid == std::process::id()), "{stranger:?}");
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        writeln!(theirs, "{GREETING}").unwrap();
        let fault = Client::meet(ours, timeout).unwrap().ask("status", Map::new()).unwrap_err();
        assert_eq!(fault.exit_code(), 75, "{fault}");
        assert!(fault.to_string().contains("4711"), "{fault}");
    }

    #[test]
    fn what_is_too_long_is_not_even_sent() {
        let (mut client, _master) = met(&[GREETING]);
        let long = Map::from_iter([("message".to_owned(), json!("x".repeat(MAX_REQUEST)))]);
        let fault = client.ask("send", long).unwrap_err();
        assert!(fault.exit_code() == 2 && fault.to_string().contains("too long"), "{fault}");
    }
}
