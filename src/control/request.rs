//! A line -> what a client asks for.
//!
//! Strict: what is not understood is refused by name, so that a mistake is not taken for something else. Knows nothing of
//! who asks, nor whether it can be done.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::answer::{Code, Refusal};
use crate::fleet::{Batch, WorkerId};

/// Longest line of a request, in bytes: an environment in a `reload` is seldom a tenth of it.
pub const MAX_LINE: usize = 256 << 10;

/// Its number on Linux.
const USR1: i32 = 10;

/// A client's word for a request, which its answers carry: a number or a string.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestId(Value);

/// Longest string that is an id, in bytes: every answer and event carries it.
const MAX_ID: usize = 128;

impl RequestId {
    /// What answers that are to no request carry.
    pub const NONE: Self = Self(Value::Null);

    fn of(value: Value) -> Option<Self> {
        let is_one = match &value {
            Value::Number(_) => true,
            Value::String(text) => text.len() <= MAX_ID,
            _ => false,
        };
        is_one.then_some(Self(value))
    }

    /// As JSON.
    pub fn as_json(&self) -> &Value {
        &self.0
    }
}

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Its name.
    pub id: RequestId,
    /// What is asked for.
    pub verb: Verb,
}

/// What is asked for. Each is described in CONTROL.md.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs, reason = "the fields have the names that CONTROL.md explains")]
pub enum Verb {
    /// How is the cluster?
    Status {},
    /// Replace all workers.
    Reload {
        #[serde(default, deserialize_with = "batch")]
        batch: Option<Batch>,
        env: Option<BTreeMap<String, String>>,
        #[serde(default)]
        wait: bool,
        timeout_ms: Option<u64>,
    },
    /// Call a reload off.
    Abort {},
    /// Replace one worker.
    Restart {
        worker: Option<u32>,
        slot: Option<u32>,
        #[serde(default)]
        wait: bool,
        timeout_ms: Option<u64>,
    },
    /// Want another number of workers.
    Scale {
        to: Option<u32>,
        by: Option<i32>,
        #[serde(default)]
        wait: bool,
        timeout_ms: Option<u64>,
    },
    /// Stop the cluster.
    Stop {
        #[serde(default)]
        fast: bool,
        #[serde(default)]
        wait: bool,
        timeout_ms: Option<u64>,
    },
    /// Have a worker leave, and want one fewer.
    Disconnect {
        worker: Option<u32>,
        slot: Option<u32>,
        #[serde(default)]
        wait: bool,
        timeout_ms: Option<u64>,
    },
    /// Send a worker a signal.
    Kill {
        worker: Option<u32>,
        slot: Option<u32>,
        signal: Option<SignalWord>,
        #[serde(default)]
        wait: bool,
        timeout_ms: Option<u64>,
    },
    /// Want one worker more.
    Fork {
        program: Option<Vec<String>>,
        cwd: Option<String>,
        #[serde(default)]
        env: BTreeMap<String, String>,
        #[serde(default)]
        wait: bool,
        timeout_ms: Option<u64>,
    },
    /// Send a worker a message.
    Send { worker: Option<u32>, slot: Option<u32>, message: Value },
    /// Forward no requests there.
    Drain { upstream: String },
    /// Forward requests there again.
    Undrain { upstream: String },
    /// Tell what happens from now on.
    Events {},
    /// Tell what workers write.
    Logs {
        worker: Option<u32>,
        slot: Option<u32>,
        lines: Option<usize>,
        #[serde(default)]
        follow: bool,
    },
}

/// A signal as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum SignalWord {
    /// By its number.
    Number(i32),
    /// By its name, with or without `SIG`.
    Name(String),
}

/// Which worker is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The one with this id.
    Worker(WorkerId),
    /// Whoever has this place.
    Slot(u32),
}

impl Target {
    /// The one that the parameters `worker` and `slot` name.
    pub fn of(worker: Option<u32>, slot: Option<u32>) -> Result<Self, Refusal> {
        match Self::any(worker, slot)? {
            Some(target) => Ok(target),
            None => Err(Refusal::new(Code::BadRequest, "which worker? give worker or slot")),
        }
    }

    /// The same, where all workers are meant if none is named.
    pub fn any(worker: Option<u32>, slot: Option<u32>) -> Result<Option<Self>, Refusal> {
        match (worker, slot) {
            (Some(id), None) => Ok(Some(Self::Worker(WorkerId(id)))),
            (None, Some(slot)) => Ok(Some(Self::Slot(slot))),
            (None, None) => Ok(None),
            (Some(_), Some(_)) => {
                Err(Refusal::new(Code::BadRequest, "worker and slot name the same thing; give one of them"))
            }
        }
    }
}

/// Whether a request waits for its end, and how long at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// It does.
    pub wait: bool,
    /// At most so long.
    pub timeout: Option<Duration>,
}

impl Verb {
    /// Whether it waits.
    pub fn patience(&self) -> Patience {
        let (wait, timeout_ms) = match *self {
            Self::Reload { wait, timeout_ms, .. }
            | Self::Restart { wait, timeout_ms, .. }
            | Self::Scale { wait, timeout_ms, .. }
            | Self::Stop { wait, timeout_ms, .. }
            | Self::Disconnect { wait, timeout_ms, .. }
            | Self::Kill { wait, timeout_ms, .. }
            | Self::Fork { wait, timeout_ms, .. } => (wait, timeout_ms),
            Self::Status {}
            | Self::Abort {}
            | Self::Send { .. }
            | Self::Drain { .. }
            | Self::Undrain { .. }
            | Self::Events {}
            | Self::Logs { .. } => (false, None),
        };
        Patience { wait, timeout: timeout_ms.map(Duration::from_millis) }
    }

    /// Whether it runs a program that the client names, changes what a program's environment is, or opens a debugger to
    /// everybody on this machine, which is what Node does on SIGUSR1.
    pub fn is_for_owner(&self) -> bool {
        match self {
            Self::Kill { signal: Some(SignalWord::Number(number)), .. } => *number == USR1,
            Self::Kill { signal: Some(SignalWord::Name(name)), .. } => {
                name.trim_start_matches("SIG").eq_ignore_ascii_case("USR1")
            }
            Self::Fork { program, cwd, env, .. } => program.is_some() || cwd.is_some() || !env.is_empty(),
            Self::Reload { env, .. } => env.is_some(),
            _ => false,
        }
    }
}

impl Request {
    /// Reads a line, without its line feed. What is wrong with it comes with the id that it has, if it has one.
    pub fn parse(line: &[u8]) -> Result<Self, (RequestId, Refusal)> {
        let bad = |id: RequestId, message: String| (id, Refusal::new(Code::BadRequest, message));
        let mut object: Map<String, Value> = serde_json::from_slice(line)
            .map_err(|error| bad(RequestId::NONE, format!("not a JSON object: {error}")))?;
        let id = object.remove("id").and_then(RequestId::of).ok_or_else(|| {
            let wanted = format!("a request needs an id: a number, or a string of at most {MAX_ID} bytes");
            bad(RequestId::NONE, wanted)
        })?;
        if !object.get("verb").is_some_and(Value::is_string) {
            return Err(bad(id, "a request needs a verb, a string".into()));
        }
        match Verb::deserialize(Value::Object(object)) {
            Ok(verb) => Ok(Self { id, verb }),
            Err(error) => Err(bad(id, error.to_string())),
        }
    }
}

/// How many workers a reload replaces at once: a number, or a share such as `"25%"`.
fn batch<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Batch>, D::Error> {
    let wrong = || serde::de::Error::custom("batch is a number from 1 on, or a share such as \"25%\"");
    let share = |text: &str| {
        let percent = text.strip_suffix('%')?.parse().ok().filter(|percent| (1..=100).contains(percent))?;
        Some(Batch::Percent(percent))
    };
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::Number(number) => {
            let count =
                number.as_u64().and_then(|count| usize::try_from(count).ok()).filter(|&count| count > 0);
            count.map(|count| Some(Batch::Count(count))).ok_or_else(wrong)
        }
        Value::String(text) => share(&text).map(Some).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verb(text: &str) -> Result<Verb, String> {
        let line = format!("{{\"id\":1,{}", &text[1..]);
        Request::parse(line.as_bytes()).map(|request| request.verb).map_err(|(_, refusal)| refusal.message)
    }

    #[test]
    fn requests_are_read_as_they_are_documented() {
        assert_eq!(verb(r#"{"verb":"status"}"#), Ok(Verb::Status {}));
        let scale = Verb::Scale { to: None, by: Some(-1), wait: true, timeout_ms: Some(5) };
        assert_eq!(verb(r#"{"verb":"scale","by":-1,"wait":true,"timeout_ms":5}"#), Ok(scale.clone()));
        assert_eq!(scale.patience(), Patience { wait: true, timeout: Some(Duration::from_millis(5)) });
        for (text, expected) in [("2", Batch::Count(2)), ("\"25%\"", Batch::Percent(25))] {
            let reload = verb(&format!(r#"{{"verb":"reload","batch":{text}}}"#)).unwrap();
            assert!(
                matches!(&reload, Verb::Reload { batch: Some(batch), .. } if *batch == expected),
                "{reload:?}"
            );
        }
        let drain = Verb::Drain { upstream: "slot:0".into() };
        assert_eq!(verb(r#"{"verb":"drain","upstream":"slot:0"}"#), Ok(drain));
        let kill = |signal| Verb::Kill { worker: Some(3), slot: None, signal, wait: false, timeout_ms: None };
        assert_eq!(verb(r#"{"verb":"kill","worker":3}"#), Ok(kill(None)));
        let name = Some(SignalWord::Name("HUP".into()));
        assert_eq!(verb(r#"{"verb":"kill","worker":3,"signal":"HUP"}"#), Ok(kill(name)));
        assert_eq!(verb(r#"{"verb":"kill","worker":3,"signal":9}"#), Ok(kill(Some(SignalWord::Number(9)))));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (text, expected) in [
            (r#"{"verb":"dance"}"#, "unknown variant `dance`"),
            (r#"{"verb":"status","vrebose":true}"#, "unknown field `vrebose`"),
            (r#"{"verb":"scale","to":-1}"#, "invalid value: integer `-1`"),
            (r#"{"verb":"send","worker":1}"#, "missing field `message`"),
            (r#"{"verb":"reload","batch":"0%"}"#, "batch is a number from 1 on"),
            (r#"{"verb":"reload","batch":0}"#, "batch is a number from 1 on"),
            (r#"{"verb":7}"#, "a request needs a verb"),
            (r#"{"ver":"status"}"#, "a request needs a verb"),
        ] {
            let message = verb(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn a_refusal_carries_the_id_if_there_is_one() {
        let id = |line: &str| Request::parse(line.as_bytes()).unwrap_err().0;
        assert_eq!(id(r#"{"id":"a","verb":"dance"}"#), RequestId(Value::from("a")));
        let long = format!(r#"{{"id":"{}","verb":"status"}}"#, "x".repeat(MAX_ID + 1));
        let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for line in
            ["", "x", "[]", "{}", r#"{"verb":"status"}"#, r#"{"id":[],"verb":"status"}"#, &long, &nested]
        {
            assert_eq!(id(line), RequestId::NONE, "{line}");
        }
        assert!(Request::parse(b"{\"id\":1,\"verb\":\"\xff\"}").is_err());
    }

    /// Requests to be damaged.
    const SOUND: [&str; 6] = [
        r#"{"id":1,"verb":"status"}"#,
        r#"{"id":"a","verb":"reload","batch":"25%","env":{"A":"b"},"wait":true,"timeout_ms":5}"#,
        r#"{"id":2,"verb":"kill","worker":3,"signal":"HUP"}"#,
        r#"{"id":3,"verb":"fork","program":["node","a.js"],"cwd":"/","env":{"A":"b"}}"#,
        r#"{"id":4,"verb":"send","slot":0,"message":{"a":[1,2.5,null,"x"]}}"#,
        r#"{"id":5,"verb":"logs","worker":1,"lines":10,"follow":true}"#,
    ];

    proptest! {
        #[test]
        fn no_bytes_panic(line in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Request::parse(&line);
        }

        #[test]
        fn damaged_requests_are_read_or_refused(
            which in 0..SOUND.len(),
            damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0..3u8), 1..6),
        ) {
            let mut line = SOUND[which].as_bytes().to_vec();
            for (place, byte, how) in damage {
                let place = place.index(line.len().max(1)).min(line.len());
                match how {
                    0 if place < line.len() => line[place] = byte,
                    1 if place < line.len() => drop(line.remove(place)),
                    _ => line.insert(place, byte),
                }
            }
            if let Err((_, refusal)) = Request::parse(&line) {
                prop_assert!(!refusal.message.is_empty());
            }
        }
    }

    #[test]
    fn what_runs_a_program_of_the_clients_is_for_the_owner() {
        let of = |text: &str| verb(text).unwrap().is_for_owner();
        assert!(!of(r#"{"verb":"fork"}"#) && !of(r#"{"verb":"reload","batch":1}"#));
        assert!(of(r#"{"verb":"fork","program":["x"]}"#) && of(r#"{"verb":"fork","cwd":"/"}"#));
        for signal in ["10", "\"USR1\"", "\"SIGUSR1\"", "\"sigusr1\""] {
            let kill = of(&format!(r#"{{"verb":"kill","worker":1,"signal":{signal}}}"#));
            assert_eq!(kill, signal != "\"sigusr1\"", "{signal}");
        }
        assert!(!of(r#"{"verb":"kill","worker":1}"#) && !of(r#"{"verb":"kill","worker":1,"signal":9}"#));
        assert!(of(r#"{"verb":"fork","env":{"LD_PRELOAD":"x"}}"#) && of(r#"{"verb":"reload","env":{}}"#));
    }

    #[test]
    fn a_worker_has_one_name() {
        assert_eq!(Target::of(Some(3), None), Ok(Target::Worker(WorkerId(3))));
        assert_eq!(Target::of(None, Some(0)), Ok(Target::Slot(0)));
        assert!(Target::of(None, None).is_err() && Target::of(Some(1), Some(1)).is_err());
        assert_eq!(Target::any(None, None), Ok(None));
    }
}
