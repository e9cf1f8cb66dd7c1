//! What workers have written -> lines for a client.
//!
//! Bytes enter as they were written and leave as text, without a `Value` between: there may be very many of these. Nothing
//! here knows how they were cut into lines, or who gets them.

use serde::Serialize;
use serde_json::{Value, json};

use super::{answer::line, request::RequestId, timestamp::timestamp};
use crate::fleet::WorkerId;

/// Where a worker writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Its standard output.
    Stdout,
    /// Its standard error.
    Stderr,
}

/// Who has written something, and to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The worker.
    pub worker: WorkerId,
    /// Its place.
    pub slot: u32,
    /// The stream.
    pub stream: LogStream,
}

/// Puts the line behind `out` that tells of a line which was written at `time`, in milliseconds since 1970. What is not
/// UTF-8 in it is shown as U+FFFD.
pub fn log(id: &RequestId, time: u64, origin: Origin, text: &[u8], out: &mut Vec<u8>) {
    #[derive(Serialize)]
    struct Told<'a> {
        id: &'a Value,
        log: Log<'a>,
    }
    #[derive(Serialize)]
    struct Log<'a> {
        time: &'a str,
        worker: u32,
        slot: u32,
        stream: LogStream,
        line: &'a str,
    }
    let Origin { worker, slot, stream } = origin;
    let (time, text) = (timestamp(time), String::from_utf8_lossy(text));
    let log = Log { time: &time, worker: worker.0, slot, stream, line: &text };
    // Writing to memory does not fail, and no key is anything but a string.
    let _ = serde_json::to_writer(&mut *out, &Told { id: id.as_json(), log });
    out.push(b'\n');
}

/// The line that says that there are no more of these.
pub fn end(id: &RequestId) -> Vec<u8> {
    line(&json!({ "id": id.as_json(), "end": true }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::request::Request;

    #[test]
    fn lines_are_as_they_are_documented() {
        let id = Request::parse(br#"{"id":6,"verb":"logs"}"#).unwrap().id;
        let origin = |stream| Origin { worker: WorkerId(1), slot: 0, stream };
        for (stream, text, expected) in [
            (LogStream::Stdout, &b"listening on 8000"[..], r#""stream":"stdout","line":"listening on 8000""#),
            (LogStream::Stderr, b"", r#""stream":"stderr","line":"""#),
            (LogStream::Stdout, b"\"\\\x1b[1m\t", r#""stream":"stdout","line":"\"\\\u001b[1m\t""#),
            (
                LogStream::Stdout,
                b"\xc3\xa9\xc3(\0",
                "\"stream\":\"stdout\",\"line\":\"\u{e9}\u{fffd}(\\u0000\"",
            ),
        ] {
            let mut out = b"before\n".to_vec();
            log(&id, 1_795_542_520_123, origin(stream), text, &mut out);
            let head = r#"{"id":6,"log":{"time":"2026-11-24T17:48:40.123Z","worker":1,"slot":0"#;
            assert_eq!(String::from_utf8(out).unwrap(), format!("before\n{head},{expected}}}}}\n"));
        }
        assert_eq!(end(&id), b"{\"id\":6,\"end\":true}\n");
    }
}
