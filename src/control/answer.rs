//! What a client is told: values -> lines.

use serde::Serialize;
use serde_json::{Value, json};

use super::request::RequestId;

/// The version of the protocol.
pub(super) const PROTOCOL: u32 = 1;

/// Why a request is not done, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// It is not understood.
    BadRequest,
    /// This client may not.
    NotPermitted,
    /// There is no such worker.
    NoSuchWorker,
    /// It cannot be done now.
    Refused,
    /// The configuration is wrong.
    Invalid,
    /// It was begun and did not succeed.
    Failed,
    /// It was begun and is not done in time.
    TimedOut,
    /// There is too much of something.
    Busy,
}

/// Why a request is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// With these words.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What comes of a request: an object, or a refusal.
pub type Answer = Result<Value, Refusal>;

/// The line that every client gets first.
pub fn greeting(version: &str, pid: u32, name: Option<&str>) -> Vec<u8> {
    line(&json!({ "pointsman": version, "protocol": PROTOCOL, "pid": pid, "name": name }))
}

/// The line that answers a request.
pub fn answer(id: &RequestId, answer: &Answer) -> Vec<u8> {
    match answer {
        Ok(value) => line(&json!({ "id": id.as_json(), "ok": value })),
        Err(refusal) => line(&json!({ "id": id.as_json(), "error": refusal })),
    }
}

/// The line that tells of an event, which is JSON already: it is the same for all who are told.
pub fn event(id: &RequestId, event: &str) -> Vec<u8> {
    format!("{{\"id\":{},\"event\":{event}}}\n", id.as_json()).into_bytes()
}

/// The line that tells how many events were dropped.
pub fn dropped(id: &RequestId, count: u64) -> Vec<u8> {
    line(&json!({ "id": id.as_json(), "dropped": count }))
}

pub(super) fn line(value: &Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::request::Request;

    #[test]
    fn lines_are_as_they_are_documented() {
        let id = Request::parse(br#"{"id":"a\nb","verb":"status"}"#).unwrap().id;
        let text = |line: Vec<u8>| String::from_utf8(line).unwrap();
        assert_eq!(text(answer(&id, &Ok(json!({})))), "{\"id\":\"a\\nb\",\"ok\":{}}\n");
        let refusal = Refusal::new(Code::NoSuchWorker, "no");
        let expected = "{\"id\":null,\"error\":{\"code\":\"no_such_worker\",\"message\":\"no\"}}\n";
        assert_eq!(text(answer(&RequestId::NONE, &Err(refusal))), expected);
        assert_eq!(text(dropped(&id, 3)), "{\"id\":\"a\\nb\",\"dropped\":3}\n");
        assert!(text(greeting("1", 2, None)).contains("\"protocol\":1"));
    }
}
