//! An event of a master -> a line for people.
//!
//! What is not known here, a later version's, is shown with all that it has. Nothing of what comes in may steer a terminal.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    super::{
        report::count,
        trouble::{about, ended, reason, signal_name},
    },
    task,
    text::{cut, one_line},
    units::size,
};

/// Characters of a message, or of a line, that are shown.
const MOST: usize = 200;

/// Such as `17:48:40.123 exit         worker 1 (slot 0, pid 4713): was killed by SIGKILL after 5.1 s`.
pub(super) fn words(event: &Value) -> String {
    let empty = Map::new();
    let event = Event(event.as_object().unwrap_or(&empty));
    let kind = event.text("type").unwrap_or("?");
    let subject = event.subject();
    let details = event.details(kind);
    let between = if subject.is_empty() || details.is_empty() { "" } else { ": " };
    let line = format!("{} {:12} {subject}{between}{details}", event.time(), kind);
    one_line(line.trim_end()).into_owned()
}

/// Fields of every event, which are not shown as details.
const COMMON: [&str; 6] = ["type", "time", "worker", "slot", "pid", "generation"];

struct Event<'a>(&'a Map<String, Value>);

impl Event<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.0.get(key)?.as_u64()
    }

    fn is(&self, key: &str) -> bool {
        self.0.get(key).and_then(Value::as_bool).unwrap_or_default()
    }

    fn span(&self, key: &str) -> Option<String> {
        self.number(key).map(|millis| about(Duration::from_millis(millis)))
    }

    /// A value, whatever it is.
    fn any(&self, key: &str) -> String {
        match self.0.get(key) {
            Some(Value::String(text)) => cut(text, MOST),
            Some(value) => cut(&value.to_string(), MOST),
            None => "?".into(),
        }
    }

    fn workers(&self) -> String {
        self.number("workers")
            .and_then(|number| usize::try_from(number).ok())
            .map_or_else(|| "workers".into(), count)
    }

    fn errno(&self) -> String {
        let errno = self.0.get("errno").and_then(Value::as_i64).and_then(|errno| i32::try_from(errno).ok());
        errno.map_or_else(|| "?".into(), reason)
    }

    /// The time of day, in UTC.
    fn time(&self) -> &str {
        let time = self.text("time").unwrap_or_default();
        time.split_once('T').map_or(time, |(_, time)| time).trim_end_matches('Z')
    }

    /// Whom it is of.
    fn subject(&self) -> String {
        match (self.number("worker"), self.number("slot"), self.number("pid")) {
            (None, ..) if self.text("type") == Some("lane") => {
                match (self.number("lane"), self.number("pid")) {
                    (Some(lane), Some(pid)) => format!("lane {lane} (pid {pid})"),
                    (Some(lane), None) => format!("lane {lane}"),
                    (None, _) => String::new(),
                }
            }
            (Some(worker), Some(slot), Some(pid)) => format!("worker {worker} (slot {slot}, pid {pid})"),
            (Some(worker), Some(slot), None) => format!("worker {worker} (slot {slot})"),
            (Some(worker), None, _) => format!("worker {worker}"),
            (None, Some(slot), _) => format!("slot {slot}"),
            (None, None, _) => String::new(),
        }
    }

    fn details(&self, kind: &str) -> String {
        let generation = || self.any("generation");
        let span = |key: &str| self.span(key).unwrap_or_else(|| "?".into());
        match kind {
            "fork" => format!("generation {}", generation()),
            "online" | "disconnect" | "stopped" => String::new(),
            "listening" => {
                let elsewhere = if self.is("elsewhere") { ", where the cluster does not serve" } else { "" };
                format!("on {}{elsewhere}", self.any("address"))
            }
            "ready" => format!("after {}", span("after_ms")),
            "drain" => format!("{}{}{}", self.cause(), self.open(), self.deadline("timeout_ms")),
            "waiting" => format!("has not left yet{}{}", self.open(), self.deadline("left_ms")),
            "exit" => self.exit(),
            "message" => self.any("message"),
            "last_words" => self.lines(),
            "load_source" => format!("open connections are told by {}", self.any("source")),
            "recycling" => format!("{}{}", self.cause(), self.used_up()),
            "errored" => {
                format!("given up after {} crashes within {}", self.any("crashes"), span("within_ms"))
            }
            "failed" => {
                format!("every slot is errored{}", if self.is("ends") { ": the master ends" } else { "" })
            }
            "scaled" => format!("from {} to {}", self.any("from"), self.any("to")),
            "reload" => {
                let instead = if self.is("supersedes") { ", instead of the reload before it" } else { "" };
                format!("generation {} replaces {}{instead}", generation(), self.workers())
            }
            "reloaded" => format!("generation {} serves, after {}", generation(), span("took_ms")),
            "rolled_back" => format!("generation {} serves again, after {}", generation(), span("took_ms")),
            "reload_failed" => self.reload_failed(),
            "reload_refused" => self.any("why"),
            "asked" => self.any("cause"),
            "lane" => self.of_lane(),
            "stopping" => format!("{}{}", self.workers(), self.deadline("timeout_ms")),
            "waits_for" | "found" => self.any("what"),
            "unserved" | "unmapped" => self.any("address"),
            "overloaded" => format!("{}: no room for {}", self.any("address"), span("after_ms")),
            "recovered" => format!("{}: {} were turned away", self.any("address"), self.any("rejected")),
            "accept_failed" => {
                format!("{}: {}; goes on in {}", self.any("address"), self.errno(), span("pause_ms"))
            }
            "lost_connections" => format!("{}: {}", self.any("count"), self.any("cause")),
            "output_failed" | "output_kept" => format!("{}: {}", self.any("sink"), self.errno()),
            "output_resumed" => format!("{}: {} lines were dropped", self.any("sink"), self.any("dropped")),
            _ => self.rest(),
        }
    }

    /// What happened to a lane, which is told as of a worker.
    fn of_lane(&self) -> String {
        let Some(what) = self.text("event") else { return String::new() };
        let details = self.details(what);
        let between = if details.is_empty() { "" } else { ": " };
        format!("{what}{between}{details}")
    }

    /// Why something is done with a worker.
    fn cause(&self) -> String {
        match self.text("cause") {
            Some("replaced") => "its successor is ready".into(),
            Some("scaled_down") => "fewer workers are wanted".into(),
            Some("withdrawn") => "its generation is withdrawn".into(),
            Some("drained") => "all are sent away".into(),
            Some("restarted") => "another is started in its place".into(),
            Some("disconnected") => "it is told to leave".into(),
            _ => self.any("cause"),
        }
    }

    fn open(&self) -> String {
        match self.number("connections") {
            None | Some(0) => String::new(),
            Some(1) => ", 1 connection is open".into(),
            Some(more) => format!(", {more} connections are open"),
        }
    }

    fn deadline(&self, key: &str) -> String {
        self.span(key).map_or_else(String::new, |time| format!(", within {time}"))
    }

    fn exit(&self) -> String {
        let how = task::status(&Value::Object(self.0.clone())).map_or_else(|| "ended".into(), ended);
        let lived = self.span("lived_ms").map_or_else(String::new, |lived| format!(" after {lived}"));
        let left = if self.is("exited_after_disconnect") { ", having left" } else { "" };
        let next = match self.number("restart_in_ms") {
            None => String::new(),
            Some(0) => "; its successor starts at once".into(),
            Some(_) => format!("; its successor starts in {}", self.any_span("restart_in_ms")),
        };
        format!("{how}{lived}{left}{next}")
    }

    fn any_span(&self, key: &str) -> String {
        self.span(key).unwrap_or_else(|| "?".into())
    }

    fn lines(&self) -> String {
        let lines = self.0.get("lines").and_then(Value::as_array).into_iter().flatten();
        lines.filter_map(Value::as_str).map(|line| cut(line, MOST)).collect::<Vec<_>>().join(" | ")
    }

    fn used_up(&self) -> String {
        match (self.number("bytes"), self.span("age_ms"), self.number("count")) {
            (Some(bytes), ..) => format!(", {}", size(bytes)),
            (_, Some(age), _) => format!(", {age}"),
            (.., Some(count)) => format!(", {count}"),
            _ => String::new(),
        }
    }

    fn reload_failed(&self) -> String {
        let how = match self.text("cause") {
            Some("exited") => task::status(&Value::Object(self.0.clone()))
                .map_or_else(|| "a worker ended".into(), |status| format!("its worker {}", ended(status))),
            Some("not_ready") => "its worker was not ready in time".into(),
            Some("lanes") => {
                return format!(
                    "the workers are of generation {}, but a new lane failed; the lanes before it go on",
                    self.any("generation")
                );
            }
            Some("not_started") => format!("its worker could not be started: {}", self.errno()),
            Some("aborted") => "it was called off".into(),
            _ => self.any("cause"),
        };
        let back = match self.number("rolled_back") {
            None | Some(0) => String::new(),
            Some(more) => format!("; {more} to be replaced again by the generation before"),
        };
        format!("generation {} is withdrawn: {how}{back}", self.any("generation"))
    }

    /// The fields that are its own, as they are.
    fn rest(&self) -> String {
        let own = self.0.iter().filter(|(key, _)| !COMMON.contains(&key.as_str()));
        let shown = own.map(|(key, value)| match (key.as_str(), value) {
            ("cause", Value::String(cause)) => cause.clone(),
            ("errno", _) => self.errno(),
            ("signal", Value::Number(signal)) => signal
                .as_i64()
                .and_then(|signal| i32::try_from(signal).ok())
                .map_or_else(String::new, signal_name),
            (key, Value::Number(_)) if key.ends_with("_ms") => {
                format!("{} {}", key.trim_end_matches("_ms"), self.any_span(key))
            }
            (key, _) => format!("{key} {}", self.any(key)),
        });
        shown.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// An event of a worker.
    fn of_worker(kind: &str, more: &Value) -> String {
        let mut event = json!({
            "time": "2026-11-24T17:48:40.123Z", "type": kind, "worker": 1, "slot": 0, "pid": 4713, "generation": 1
        });
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        words(&event)
    }

    #[test]
    fn events_of_workers_are_lines() {
        for (kind, more, expected) in [
            ("fork", json!({}), "fork         worker 1 (slot 0, pid 4713): generation 1"),
            ("online", json!({}), "online       worker 1 (slot 0, pid 4713)"),
            (
                "listening",
                json!({ "address": "127.0.0.1:1", "elsewhere": true }),
                "listening    worker 1 (slot 0, pid 4713): on 127.0.0.1:1, where the cluster does not serve",
            ),
            ("ready", json!({ "after_ms": 120 }), "ready        worker 1 (slot 0, pid 4713): after 120 ms"),
            (
                "drain",
                json!({ "cause": "replaced", "connections": 2, "timeout_ms": 30_000 }),
                "drain        worker 1 (slot 0, pid 4713): its successor is ready, 2 connections are open, within 30 s",
            ),
            (
                "exit",
                json!({ "signal": 9, "exited_after_disconnect": false, "lived_ms": 5120, "restart_in_ms": 0 }),
                "exit         worker 1 (slot 0, pid 4713): was killed by SIGKILL after 5.1 s; its successor starts at once",
            ),
            (
                "exit",
                json!({ "code": 0, "exited_after_disconnect": true, "lived_ms": 5120, "restart_in_ms": null }),
                "exit         worker 1 (slot 0, pid 4713): exited with code 0 after 5.1 s, having left",
            ),
            (
                "message",
                json!({ "message": { "a": "\u{1b}[2J" } }),
                "message      worker 1 (slot 0, pid 4713): {\"a\":\"\\u001b[2J\"}",
            ),
            (
                "last_words",
                json!({ "lines": ["Error: x", "\u{1b}[1mat y"] }),
                "last_words   worker 1 (slot 0, pid 4713): Error: x | \\u{1b}[1mat y",
            ),
            (
                "trouble",
                json!({ "cause": "spawn_failed", "errno": 11, "retry_ms": 1000 }),
                "trouble      worker 1 (slot 0, pid 4713): spawn_failed, Resource temporarily unavailable (os error 11), retry 1 s",
            ),
            (
                "recycling",
                json!({ "cause": "memory", "bytes": 300 << 20 }),
                "recycling    worker 1 (slot 0, pid 4713): memory, 300M",
            ),
        ] {
            assert_eq!(of_worker(kind, &more), format!("17:48:40.123 {expected}"));
        }
    }

    #[test]
    fn events_of_the_whole_are_lines() {
        for (more, expected) in [
            (
                json!({ "type": "reload_failed", "generation": 2, "slot": 1, "rolled_back": 2, "cause": "exited", "code": 3 }),
                "reload_failed slot 1: generation 2 is withdrawn: its worker exited with code 3; 2 to be replaced again by the \
                 generation before",
            ),
            (json!({ "type": "scaled", "from": 2, "to": 4 }), "scaled       from 2 to 4"),
            (json!({ "type": "stopped" }), "stopped"),
            (
                json!({ "type": "lane", "lane": 1, "pid": 9, "event": "exit", "signal": 9, "lived_ms": 5120, "restart_in_ms": 0 }),
                "lane         lane 1 (pid 9): exit: was killed by SIGKILL after 5.1 s; its successor starts at once",
            ),
            (json!({ "type": "stopping", "workers": 1, "timeout_ms": null }), "stopping     1 worker"),
            (
                json!({ "type": "reload", "generation": 2, "workers": 4, "supersedes": false }),
                "reload       generation 2 replaces 4 workers",
            ),
            (
                json!({ "type": "accept_failed", "address": "127.0.0.1:8000", "errno": 24, "pause_ms": 100 }),
                "accept_failed 127.0.0.1:8000: Too many open files (os error 24); goes on in 100 ms",
            ),
            (
                json!({ "type": "of a later version", "x": [1], "y_ms": 5 }),
                "of a later version x [1], y 5 ms",
            ),
            (json!({ "type": "a\u{1b}[2Jb" }), "a\\u{1b}[2Jb"),
        ] {
            let mut event = json!({ "time": "2026-11-24T17:48:40.123Z" });
            event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let line = words(&event);
            assert_eq!(line.trim_end(), format!("17:48:40.123 {expected}"));
        }
        for odd in [json!(null), json!([]), json!({}), json!({ "type": 5, "time": 5 })] {
            assert!(!words(&odd).is_empty());
        }
    }

    #[test]
    fn every_type_that_is_documented_has_words_of_its_own() {
        let page = include_str!("../../../CONTROL.md");
        let table = page.split_once("| `type` | besides these |").unwrap().1.split_once("\n\n").unwrap().0;
        let first = |line: &str| line.split('|').nth(1).unwrap_or_default().to_owned();
        let kinds: Vec<_> = table.lines().map(first).collect();
        let kinds = kinds.iter().flat_map(|cell| cell.split(',')).map(|word| word.trim().trim_matches('`'));
        let mut seen = 0;
        for kind in kinds.filter(|kind| !kind.is_empty() && !kind.starts_with('-')) {
            seen += 1;
            let line = words(&json!({ "time": "T00:00:00.000Z", "type": kind, "unknown": 1 }));
            assert_eq!(line.contains("unknown"), kind == "trouble", "{line}");
        }
        assert!(seen > 25, "{seen}");
    }
}
