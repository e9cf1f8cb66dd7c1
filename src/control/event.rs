//! Events -> JSON objects, as clients are told them.
//!
//! The event, the time of day and what is known of its worker enter; an object with `time`, `type` and the worker comes out.
//! The names and fields are those of CONTROL.md, and do not follow those of the crate when these change.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::timestamp::timestamp;
use crate::fleet::{
    Cause, Event, ExitStatus, LoadSource, Loss, ReloadFailure, Request, Trouble, UsedUp, WorkerId,
};

/// What is known of a worker besides its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its place.
    pub slot: u32,
    /// Its process id; 0 if it has none yet.
    pub pid: u32,
    /// The generation of its program.
    pub generation: u32,
}

/// An event as clients are told it, at so many milliseconds since 1970.
pub fn told(event: &Event, wall: u64, known: impl Fn(WorkerId) -> Option<Known>) -> Value {
    let mut object = Map::new();
    object.insert("time".into(), timestamp(wall).into());
    let (name, fields) = described(event);
    object.insert("type".into(), name.into());
    if let Event::OfLane { lane, event } = event {
        object.extend(told_of_lane(*lane, event, known));
    } else if let Some(worker) = worker_of(event) {
        object.insert("worker".into(), worker.0.into());
        if let Some(Known { slot, pid, generation }) = known(worker) {
            object.insert("slot".into(), slot.into());
            // Its process could not be created.
            if pid != 0 {
                object.insert("pid".into(), pid.into());
            }
            object.insert("generation".into(), generation.into());
        }
    }
    object.extend(entries(fields));
    Value::Object(object)
}

/// What happened to a lane: which, and as it would be told of a worker.
fn told_of_lane(
    lane: Option<u32>,
    event: &Event,
    known: impl Fn(WorkerId) -> Option<Known>,
) -> Map<String, Value> {
    let (name, fields) = described(event);
    let mut object = Map::new();
    object.insert("event".into(), name.into());
    object.insert("lane".into(), lane.into());
    if let Some(Known { pid: pid @ 1.., .. }) = worker_of(event).and_then(known) {
        object.insert("pid".into(), pid.into());
    }
    object.extend(entries(fields));
    object
}

fn entries(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(entries) => entries,
        _ => Map::new(),
    }
}

/// The worker that an event is of.
pub fn worker_of(event: &Event) -> Option<WorkerId> {
    match event {
        Event::Fork { worker, .. }
        | Event::Online { worker }
        | Event::Listening { worker, .. }
        | Event::Ready { worker, .. }
        | Event::Draining { worker, .. }
        | Event::Waiting { worker, .. }
        | Event::Recycling { worker, .. }
        | Event::Message { worker, .. }
        | Event::Disconnect { worker }
        | Event::Exit { worker, .. }
        | Event::LastWords { worker, .. }
        | Event::LoadSource { worker, .. }
        | Event::Trouble { worker, .. } => Some(*worker),
        _ => None,
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The name of an event, and what it says besides its worker.
fn described(event: &Event) -> (&'static str, Value) {
    match event {
        Event::Fork { .. } => ("fork", json!({})),
        Event::Online { .. } => ("online", json!({})),
        Event::Listening { address, elsewhere, .. } => {
            ("listening", json!({ "address": address.to_string(), "elsewhere": elsewhere }))
        }
        Event::Ready { after, .. } => ("ready", json!({ "after_ms": ms(*after) })),
        Event::Draining { cause, connections, timeout, .. } => {
            let cause = match cause {
                Cause::Replaced => "replaced",
                Cause::ScaledDown => "scaled_down",
                Cause::Withdrawn => "withdrawn",
                Cause::Drained => "drained",
                Cause::Disconnected => "disconnected",
                Cause::Restarted => "restarted",
            };
            ("drain", json!({ "cause": cause, "connections": connections, "timeout_ms": timeout.map(ms) }))
        }
        Event::Waiting { connections, left, .. } => {
            ("waiting", json!({ "connections": connections, "left_ms": left.map(ms) }))
        }
        Event::Message { message, .. } => ("message", json!({ "message": message })),
        Event::Disconnect { .. } => ("disconnect", json!({})),
        Event::Exit { status, exited_after_disconnect, lived, restart, .. } => {
            let mut fields = exit(*status);
            fields.extend(entries(json!({
                "exited_after_disconnect": exited_after_disconnect,
                "lived_ms": ms(*lived),
                "restart_in_ms": restart.map(ms),
            })));
            ("exit", Value::Object(fields))
        }
        Event::LastWords { lines, .. } => ("last_words", json!({ "lines": lines })),
        Event::LoadSource { source, .. } => ("load_source", json!({ "source": source_name(*source) })),
        Event::Trouble { trouble, .. } => ("trouble", troubled(trouble)),
        Event::Recycling { limit, .. } => {
            let fields = match limit {
                UsedUp::Memory { bytes } => json!({ "cause": "memory", "bytes": bytes }),
                UsedUp::Age { age } => json!({ "cause": "age", "age_ms": ms(*age) }),
                UsedUp::Connections { count } => json!({ "cause": "connections", "count": count }),
                UsedUp::Asked => json!({ "cause": "asked" }),
            };
            ("recycling", fields)
        }
        other => described_of_all(other),
    }
}

/// The same of events that are of no worker.
fn described_of_all(event: &Event) -> (&'static str, Value) {
    match event {
        Event::Errored { slot, crashes, within } => {
            ("errored", json!({ "slot": slot, "crashes": crashes, "within_ms": ms(*within) }))
        }
        Event::Failed { ends } => ("failed", json!({ "ends": ends })),
        Event::Scaled { from, to } => ("scaled", json!({ "from": from, "to": to })),
        Event::Reloading { generation, workers, supersedes } => {
            ("reload", json!({ "generation": generation, "workers": workers, "supersedes": supersedes }))
        }
        Event::Reloaded { generation, took } => {
            ("reloaded", json!({ "generation": generation, "took_ms": ms(*took) }))
        }
        Event::RolledBack { generation, took } => {
            ("rolled_back", json!({ "generation": generation, "took_ms": ms(*took) }))
        }
        Event::ReloadFailed { generation, slot, why, rolled_back } => {
            let mut fields =
                entries(json!({ "generation": generation, "slot": slot, "rolled_back": rolled_back }));
            fields.extend(reload_failure(*why));
            ("reload_failed", Value::Object(fields))
        }
        Event::ReloadRefused { why } => ("reload_refused", json!({ "why": why })),
        Event::Asked(Request::Reload(_)) => ("asked", json!({ "cause": "reload" })),
        Event::Asked(Request::Reopen) => ("asked", json!({ "cause": "reopen" })),
        Event::Stopping { workers, timeout } => {
            ("stopping", json!({ "workers": workers, "timeout_ms": timeout.map(ms) }))
        }
        Event::Stopped => ("stopped", json!({})),
        Event::OfLane { .. } => ("lane", json!({})),
        Event::WaitsFor { what } => ("waits_for", json!({ "what": what })),
        Event::Found { what } => ("found", json!({ "what": what })),
        other => described_of_places(other),
    }
}

/// The same of what is listened on and written to.
fn described_of_places(event: &Event) -> (&'static str, Value) {
    match event {
        Event::Unserved { endpoint } => ("unserved", json!({ "address": endpoint.to_string() })),
        Event::Unmapped { from } => ("unmapped", json!({ "address": from.to_string() })),
        Event::Overloaded { endpoint, after } => {
            ("overloaded", json!({ "address": endpoint.to_string(), "after_ms": ms(*after) }))
        }
        Event::Recovered { endpoint, rejected } => {
            ("recovered", json!({ "address": endpoint.to_string(), "rejected": rejected }))
        }
        Event::AcceptFailed { endpoint, errno, pause } => {
            let fields = json!({ "address": endpoint.to_string(), "errno": errno, "pause_ms": ms(*pause) });
            ("accept_failed", fields)
        }
        Event::LostConnections { count, cause } => {
            let cause = match cause {
                Loss::ServerClosed => "server_closed",
                Loss::Stopping => "stopping",
            };
            ("lost_connections", json!({ "count": count, "cause": cause }))
        }
        Event::OutputFailed { sink, errno } => ("output_failed", json!({ "sink": sink, "errno": errno })),
        Event::OutputKept { sink, errno } => ("output_kept", json!({ "sink": sink, "errno": errno })),
        Event::OutputResumed { sink, dropped } => {
            ("output_resumed", json!({ "sink": sink, "dropped": dropped }))
        }
        // Every other one is named above.
        _ => ("other", json!({})),
    }
}

/// `code` or `signal`.
pub(super) fn exit(status: ExitStatus) -> Map<String, Value> {
    entries(match status {
        ExitStatus::Code(code) => json!({ "code": code }),
        ExitStatus::Signal(signal) => json!({ "signal": signal }),
    })
}

fn reload_failure(why: ReloadFailure) -> Map<String, Value> {
    let cause = |cause: &str| entries(json!({ "cause": cause }));
    match why {
        ReloadFailure::Exited(status) => cause("exited").into_iter().chain(exit(status)).collect(),
        ReloadFailure::NotReady => cause("not_ready"),
        ReloadFailure::NotStarted(errno) => entries(json!({ "cause": "not_started", "errno": errno })),
        ReloadFailure::Aborted => cause("aborted"),
        ReloadFailure::Lanes => cause("lanes"),
    }
}

/// What `status` and events call it.
pub fn source_name(source: LoadSource) -> &'static str {
    match source {
        LoadSource::Reports => "reports",
        LoadSource::Script => "script",
        LoadSource::Kernel => "kernel",
        LoadSource::None => "none",
    }
}

fn troubled(trouble: &Trouble) -> Value {
    match trouble {
        Trouble::SpawnFailed { errno, retry } => {
            json!({ "cause": "spawn_failed", "errno": errno, "retry_in_ms": retry.map(ms) })
        }
        Trouble::LaunchFailed { step, errno } => {
            json!({ "cause": "launch_failed", "step": step, "errno": errno })
        }
        Trouble::Silent { after } => json!({ "cause": "silent", "after_ms": ms(*after) }),
        Trouble::NotListening { after } => json!({ "cause": "not_listening", "after_ms": ms(*after) }),
        Trouble::NotReady { after } => json!({ "cause": "not_ready", "after_ms": ms(*after) }),
        Trouble::Unreachable { after, endpoint } => {
            json!({ "cause": "unreachable", "after_ms": ms(*after), "address": endpoint.to_string() })
        }
        Trouble::NoPort { port } => json!({ "cause": "no_port", "port": port }),
        Trouble::ListensElsewhere { address, told } => {
            let told: Vec<_> = told.iter().map(ToString::to_string).collect();
            json!({ "cause": "listens_elsewhere", "address": address.to_string(), "told": told })
        }
        Trouble::ListenFailed { address, errno } => {
            json!({ "cause": "listen_failed", "address": address.to_string(), "errno": errno })
        }
        Trouble::BrokeProtocol { why } => json!({ "cause": "broke_protocol", "why": why }),
        Trouble::ClosedUnheard => json!({ "cause": "closed_unheard" }),
        Trouble::LostConnections { count } => json!({ "cause": "lost_connections", "count": count }),
        Trouble::Stuck { after } => json!({ "cause": "stuck", "after_ms": ms(*after) }),
        Trouble::Unresponsive { after } => json!({ "cause": "unresponsive", "after_ms": ms(*after) }),
        Trouble::Unkillable { after, .. } => json!({ "cause": "unkillable", "after_ms": ms(*after) }),
        Trouble::DroppedMessage { why } => json!({ "cause": "dropped_message", "why": why }),
        Trouble::DroppedHandle => json!({ "cause": "dropped_handle" }),
        Trouble::Overdue { signal, after } => {
            json!({ "cause": "overdue", "signal": signal, "after_ms": ms(*after) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_when_what_and_of_whom() {
        let worker = WorkerId(3);
        let known = |id| (id == worker).then_some(Known { slot: 1, pid: 99, generation: 2 });
        let text = |event: &Event| told(event, 0, known).to_string();
        let exit = Event::Exit {
            worker,
            status: ExitStatus::Signal(9),
            exited_after_disconnect: false,
            lived: Duration::from_secs(5),
            restart: Some(Duration::ZERO),
        };
        let expected = "{\"time\":\"1970-01-01T00:00:00.000Z\",\"type\":\"exit\",\"worker\":3,\"slot\":1,\"pid\":99,\
            \"generation\":2,\"signal\":9,\"exited_after_disconnect\":false,\"lived_ms\":5000,\"restart_in_ms\":0}";
        assert_eq!(text(&exit), expected);
        let gone = Event::LastWords { worker: WorkerId(4), lines: vec!["a".into()], shown: false };
        assert!(text(&gone).ends_with("\"type\":\"last_words\",\"worker\":4,\"lines\":[\"a\"]}"));
        let why = ReloadFailure::Exited(ExitStatus::Code(1));
        let failed = Event::ReloadFailed { generation: 2, slot: None, why, rolled_back: 1 };
        let expected = "\"type\":\"reload_failed\",\"generation\":2,\"slot\":null,\"rolled_back\":1,\"cause\":\"exited\",\"code\":1}";
        assert!(text(&failed).ends_with(expected), "{}", text(&failed));
    }

    #[test]
    fn no_kind_of_event_is_nameless() {
        let endpoint: crate::endpoint::Endpoint = "127.0.0.1:80".parse().unwrap();
        let sink = || "a".to_owned();
        for event in [
            Event::Unserved { endpoint: endpoint.clone() },
            Event::Unmapped { from: crate::fleet::Place::Port(3) },
            Event::Overloaded { endpoint: endpoint.clone(), after: Duration::ZERO },
            Event::Recovered { endpoint: endpoint.clone(), rejected: 1 },
            Event::AcceptFailed { endpoint, errno: 24, pause: Duration::ZERO },
            Event::LostConnections { count: 1, cause: Loss::Stopping },
            Event::OutputFailed { sink: sink(), errno: 28 },
            Event::OutputKept { sink: sink(), errno: 28 },
            Event::OutputResumed { sink: sink(), dropped: 1 },
            Event::Stopped,
        ] {
            assert_ne!(told(&event, 0, |_| None)["type"], "other", "{event:?}");
        }
    }
}
