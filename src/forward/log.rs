//! A request as a line of the access log.
//!
//! A [`Record`] with what was asked for enters, and a line leaves. Times of day are in UTC; the end of a request is its time, so
//! that lines ascend. What a client or an upstream has sent cannot end a line, leave its quotes, or move a terminal.
//!
//! `combined` is Apache's Combined Log Format and six fields behind it:
//!
//! ```text
//! 203.0.113.9 - - [24/Nov/2026:17:48:40 +0000] "GET /a HTTP/1.1" 200 512 "-" "curl/8.5.0" 0.012 0.000 0.011 1 0 done
//! ```
//!
//! | field | |
//! |---|---|
//! | `203.0.113.9` | the client, as far as trusted proxies tell |
//! | `- -` | always so: its identity and its user, which are not asked for |
//! | `[24/Nov/2026:17:48:40 +0000]` | when the request was over |
//! | `"GET /a HTTP/1.1"` | its first line |
//! | `200` | the code of the answer; `000` if there was none |
//! | `512` | bytes of the answer's body that were passed on |
//! | `"-"` | `Referer` |
//! | `"curl/8.5.0"` | `User-Agent` |
//! | `0.012` | seconds from the first byte of the request to the end of its answer |
//! | `0.000` | seconds from its head until there was a connection that it was sent on, or `-` |
//! | `0.011` | seconds from then until the answer began, or `-` |
//! | `1` | how often it was sent, or tried to be |
//! | `0` | the upstream that answered or was asked last, or `-` |
//! | `done` | why it ended: a word of [`Reason`](super::record::Reason) |
//!
//! Control bytes, quotes, backslashes and bytes above 126 are written as `\x22`; in what has no quotes around it, so is a space.
//!
//! `json` has an object in each line with the same under names, and `host`, `received` and `id` (`X-Request-ID`) besides; what
//! there is none of is `null`. Bytes that are no UTF-8 become U+FFFD, and all beyond ASCII is escaped.

use std::{
    fmt::{self, Write},
    time::Duration,
};

use super::{
    record::{Asked, Record},
    rules::LogFormat,
};
use crate::{control::date, time::Time};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Writes lines.
#[derive(Debug)]
pub struct AccessLog {
    format: LogFormat,
    /// What the monotonic clock does not say: since the beginning of 1970, when it began.
    offset: Duration,
    stamp: Stamp,
}

/// A time of day, which is written anew only when the second changes.
#[derive(Debug, Default)]
struct Stamp {
    second: Option<u64>,
    text: String,
}

impl AccessLog {
    /// One of this format. `offset` is the time since the beginning of 1970 less that of the monotonic clock.
    pub fn new(format: LogFormat, offset: Duration) -> Self {
        Self { format, offset, stamp: Stamp::default() }
    }

    /// The system's time has been set: the offset is another.
    pub fn set_offset(&mut self, offset: Duration) {
        self.offset = offset;
    }

    /// Appends the line of a request. Of one that says nothing of what was asked for, there is none.
    pub fn line(&mut self, out: &mut Vec<u8>, record: &Record, upstream: Option<&str>) {
        let Some(asked) = &record.asked else { return };
        let wall = self.offset + (record.times.ended - Time(0));
        self.stamp.set(wall.as_secs(), self.format);
        let mut out = Ascii(out);
        // Memory can be written to.
        let _ = match self.format {
            LogFormat::Combined => combined(&mut out, &self.stamp.text, record, asked, upstream),
            LogFormat::Json => {
                json(&mut out, (&self.stamp.text, wall.subsec_millis()), record, asked, upstream)
            }
        };
        out.0.push(b'\n');
    }
}

impl Stamp {
    fn set(&mut self, second: u64, format: LogFormat) {
        if self.second == Some(second) {
            return;
        }
        self.second = Some(second);
        self.text.clear();
        let (year, month, day) = date(second / 86_400);
        let (hour, minute, second) = (second / 3_600 % 24, second / 60 % 60, second % 60);
        let _ = match format {
            LogFormat::Combined => {
                let name = usize::try_from(month).ok().and_then(|month| MONTHS.get(month.checked_sub(1)?));
                let name = name.unwrap_or(&"");
                write!(self.text, "{day:02}/{name}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000")
            }
            LogFormat::Json => {
                write!(self.text, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
            }
        };
    }
}

fn combined(
    out: &mut Ascii<'_>,
    stamp: &str,
    record: &Record,
    asked: &Asked,
    upstream: Option<&str>,
) -> fmt::Result {
    out.word(asked.client.as_bytes());
    write!(out, " - - [{stamp}] \"")?;
    out.quoted(&asked.line);
    write!(out, "\" {:03} {} \"", record.status, record.sent)?;
    out.quoted(&asked.referer);
    out.0.extend_from_slice(b"\" \"");
    out.quoted(&asked.agent);
    out.0.extend_from_slice(b"\" ");
    let times = &record.times;
    for span in [Some(times.whole()), times.connecting(), times.answering()] {
        match span {
            Some(span) => write!(out, "{} ", Seconds(span))?,
            None => out.0.extend_from_slice(b"- "),
        }
    }
    write!(out, "{} ", record.tries)?;
    out.word(upstream.unwrap_or_default().as_bytes());
    write!(out, " {}", record.reason.word())
}

fn json(
    out: &mut Ascii<'_>,
    (stamp, millis): (&str, u32),
    record: &Record,
    asked: &Asked,
    upstream: Option<&str>,
) -> fmt::Result {
    write!(out, "{{\"time\":\"{stamp}.{millis:03}Z\"")?;
    for (name, text) in [("client", asked.client.as_bytes()), ("host", &asked.host), ("request", &asked.line)]
    {
        out.member(name, text);
    }
    write!(out, ",\"status\":{},\"received\":{},\"sent\":{}", record.status, record.received, record.sent)?;
    for (name, text) in [("referer", &asked.referer), ("agent", &asked.agent), ("id", &asked.id)] {
        out.member(name, text);
    }
    let times = &record.times;
    for (name, span) in [
        ("request_time", Some(times.whole())),
        ("connect_time", times.connecting()),
        ("response_time", times.answering()),
    ] {
        match span {
            Some(span) => write!(out, ",\"{name}\":{}", Seconds(span))?,
            None => write!(out, ",\"{name}\":null")?,
        }
    }
    write!(out, ",\"tries\":{}", record.tries)?;
    out.member("upstream", upstream.unwrap_or_default().as_bytes());
    write!(out, ",\"reason\":\"{}\"}}", record.reason.word())
}

/// Seconds with three digits behind the point.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{:03}", self.0.as_secs(), self.0.subsec_millis())
    }
}

/// Where what strangers have sent becomes printable ASCII.
struct Ascii<'a>(&'a mut Vec<u8>);

impl fmt::Write for Ascii<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl Ascii<'_> {
    /// Between quotes.
    fn quoted(&mut self, text: &[u8]) {
        self.escaped(text, |byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
    }

    /// Without quotes.
    fn word(&mut self, text: &[u8]) {
        self.escaped(text, |byte| matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b'\\'));
    }

    fn escaped(&mut self, text: &[u8], is_plain: impl Fn(u8) -> bool) {
        if text.is_empty() {
            self.0.push(b'-');
        }
        for &byte in text {
            if is_plain(byte) {
                self.0.push(byte);
            } else {
                let _ = write!(self, "\\x{byte:02X}");
            }
        }
    }

    /// A member of an object, behind another.
    fn member(&mut self, name: &str, text: &[u8]) {
        let _ = write!(self, ",\"{name}\":");
        if text.is_empty() {
            self.0.extend_from_slice(b"null");
            return;
        }
        self.0.push(b'"');
        for chunk in text.utf8_chunks() {
            chunk.valid().chars().for_each(|letter| self.letter(letter));
            if !chunk.invalid().is_empty() {
                self.letter(char::REPLACEMENT_CHARACTER);
            }
        }
        self.0.push(b'"');
    }

    /// Within a string of JSON.
    fn letter(&mut self, letter: char) {
        match letter {
            '"' => self.0.extend_from_slice(b"\\\""),
            '\\' => self.0.extend_from_slice(b"\\\\"),
            ' '..='~' => {
                let _ = self.write_char(letter);
            }
            _ => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    let _ = write!(self, "\\u{unit:04x}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::record::{Reason, Times};
    use proptest::prelude::*;

    /// 2026-11-24T17:48:40Z, when the monotonic clock began.
    const OFFSET: Duration = Duration::from_secs(1_795_542_520);

    fn record(asked: Asked) -> Record {
        let times = Times {
            began: Time(1_000_000_000),
            read: Some(Time(1_001_000_000)),
            connected: Some(Time(1_001_999_999)),
            answered: Some(Time(1_013_000_000)),
            ended: Time(1_013_500_000),
        };
        let (received, sent) = (7, 512);
        Record {
            status: 200,
            reason: Reason::Done,
            upstream: Some(3),
            tries: 1,
            received,
            sent,
            times,
            asked: Some(Box::new(asked)),
        }
    }

    fn asked() -> Asked {
        Asked {
            line: b"GET /a HTTP/1.1".into(),
            client: "203.0.113.9".into(),
            host: b"example.org".into(),
            referer: Vec::new(),
            agent: b"curl/8.5.0".into(),
            id: b"abc".into(),
        }
    }

    fn line(format: LogFormat, record: &Record, upstream: Option<&str>) -> String {
        let mut out = Vec::new();
        AccessLog::new(format, OFFSET).line(&mut out, record, upstream);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_combined_line() {
        let text = line(LogFormat::Combined, &record(asked()), Some("0"));
        assert_eq!(
            text,
            "203.0.113.9 - - [24/Nov/2026:17:48:41 +0000] \"GET /a HTTP/1.1\" 200 512 \"-\" \"curl/8.5.0\" 0.013 0.000 0.011 \
             1 0 done\n"
        );
        let cut = Record {
            status: 0,
            reason: Reason::ClientGone,
            tries: 0,
            times: Times::default(),
            ..record(asked())
        };
        let text = line(LogFormat::Combined, &cut, None);
        assert!(text.contains(" 000 512 ") && text.ends_with("\" 0.000 - - 0 - client-gone\n"), "{text}");
    }

    #[test]
    fn a_line_of_json() {
        let text = line(LogFormat::Json, &record(asked()), Some("0"));
        let expected = serde_json::json!({
            "time": "2026-11-24T17:48:41.013Z", "client": "203.0.113.9", "host": "example.org", "request": "GET /a HTTP/1.1",
            "status": 200, "received": 7, "sent": 512, "referer": null, "agent": "curl/8.5.0", "id": "abc",
            "request_time": 0.012, "connect_time": 0.0, "response_time": 0.011, "tries": 1, "upstream": "0", "reason": "done",
        });
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["request_time"].to_string(), "0.013");
        value["request_time"] = 0.012.into();
        assert_eq!(value, expected);
        let cut = Record { times: Times::default(), ..record(asked()) };
        let value: serde_json::Value = serde_json::from_str(&line(LogFormat::Json, &cut, None)).unwrap();
        assert!(value["connect_time"].is_null() && value["upstream"].is_null(), "{value}");
    }

    #[test]
    fn no_line_for_what_was_not_written_down() {
        let silent = Record { asked: None, ..record(asked()) };
        assert_eq!(line(LogFormat::Combined, &silent, None), "");
    }

    #[test]
    fn what_is_sent_cannot_leave_its_place() {
        let line_of = b"GET /\"\\\r\n\x1b[2J\x7f\xc3\xa4 HTTP/1.1".to_vec();
        let hostile = Asked { line: line_of, client: "a b\"".into(), ..asked() };
        let text = line(LogFormat::Combined, &record(hostile.clone()), Some("unix:/a b"));
        assert!(text.starts_with("a\\x20b\\x22 - - ["), "{text}");
        assert!(
            text.contains("] \"GET /\\x22\\x5C\\x0D\\x0A\\x1B[2J\\x7F\\xC3\\xA4 HTTP/1.1\" 200"),
            "{text}"
        );
        assert!(text.ends_with(" unix:/a\\x20b done\n"), "{text}");
        let text = line(LogFormat::Json, &record(hostile), Some("0"));
        assert!(
            text.contains(r#""request":"GET /\"\\\u000d\u000a\u001b[2J\u007f\u00e4 HTTP/1.1""#),
            "{text}"
        );
        let wide = Asked { agent: "\u{1f600}\u{2028}".into(), host: b"\xff".into(), ..asked() };
        let text = line(LogFormat::Json, &record(wide), Some("0"));
        assert!(
            text.contains(r#""agent":"\ud83d\ude00\u2028""#) && text.contains(r#""host":"\ufffd""#),
            "{text}"
        );
    }

    #[test]
    fn the_time_goes_on_from_line_to_line() {
        let mut log = AccessLog::new(LogFormat::Combined, OFFSET);
        let mut out = Vec::new();
        for ended in [0, 1, 1_000_000_000, 86_400_000_000_000] {
            let times = Times { ended: Time(ended), ..Times::default() };
            log.line(&mut out, &Record { times, ..record(asked()) }, None);
        }
        log.set_offset(Duration::ZERO);
        log.line(&mut out, &Record { times: Times::default(), ..record(asked()) }, None);
        let text = String::from_utf8(out).unwrap();
        let stamps: Vec<_> = text.lines().filter_map(|line| line.split(['[', ' ']).nth(4)).collect();
        assert_eq!(
            stamps,
            [
                "24/Nov/2026:17:48:40",
                "24/Nov/2026:17:48:40",
                "24/Nov/2026:17:48:41",
                "25/Nov/2026:17:48:40",
                "01/Jan/1970:00:00:00"
            ]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_make_one_line_of_printable_ascii(bytes in proptest::collection::vec(any::<u8>(), 0..60), text in ".*") {
            let field = || bytes.clone();
            let asked = Asked { line: field(), client: text.clone(), host: field(), referer: field(), agent: field(), id: field() };
            for format in [LogFormat::Combined, LogFormat::Json] {
                let made = line(format, &record(asked.clone()), Some(&text));
                let inner = made.strip_suffix('\n').unwrap();
                prop_assert!(inner.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{}", made);
                match format {
                    LogFormat::Combined => {
                        prop_assert_eq!(inner.matches('"').count(), 6);
                        let unquoted: Vec<_> = inner.split('"').step_by(2).collect();
                        prop_assert_eq!(unquoted[0].split(' ').count(), 6);
                        prop_assert_eq!(unquoted[3].split(' ').count(), 7);
                    }
                    LogFormat::Json => {
                        let value: serde_json::Value = serde_json::from_str(inner).unwrap();
                        let sent = String::from_utf8_lossy(&bytes);
                        prop_assert_eq!(value["agent"].as_str().unwrap_or_default(), &*sent);
                        prop_assert_eq!(value["client"].as_str().unwrap_or_default(), &*text);
                    }
                }
            }
        }
    }
}
