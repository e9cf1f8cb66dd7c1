//! What clients wait for, and what comes of it.
//!
//! A wait and what happens enter; answers leave, each once. Nothing here knows how a client is reached; to this file it is a
//! number.

use std::{collections::VecDeque, time::Duration};

use serde_json::{Value, json};

use super::{
    answer::{Answer, Code, Refusal},
    event::{exit, worker_of},
    request::RequestId,
};
use crate::{
    fleet::{Event, ExitStatus, ReloadFailure, Replacement, Trouble, WorkerId},
    time::Time,
};

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// This worker is ready.
    Ready { worker: WorkerId, slot: u32 },
    /// This worker has ended.
    Gone { worker: WorkerId, slot: Option<u32> },
    /// One that was started from this id on has this place, and is ready.
    Replaced { slot: u32, since: WorkerId },
    /// There are as many workers as are wanted.
    Settled { from: usize, to: usize },
    /// All are of this generation.
    Reloaded { generation: u32, workers: usize },
    /// The cluster has stopped.
    Stopped,
}

#[derive(Debug)]
struct Wait {
    client: u32,
    id: RequestId,
    until: Until,
    deadline: Option<(Time, Duration)>,
    /// What an answer says besides.
    warnings: Option<Value>,
}

/// An answer, and whose it is.
#[derive(Debug, PartialEq)]
pub struct Due {
    /// The client.
    pub client: u32,
    /// Its request.
    pub id: RequestId,
    /// The answer.
    pub answer: Answer,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Waits {
    all: Vec<Wait>,
    due: VecDeque<Due>,
    /// When the first of them has waited for long enough.
    earliest: Option<Time>,
}

impl Waits {
    /// A client waits from now on, at most for `timeout`.
    pub fn add(&mut self, now: Time, client: u32, id: RequestId, until: Until, timeout: Option<Duration>) {
        let deadline = timeout.map(|timeout| (now + timeout, timeout));
        self.all.push(Wait { client, id, until, deadline, warnings: None });
        self.find_earliest();
    }

    /// What the last one that was added is to be told besides.
    pub fn warn(&mut self, warnings: &[String]) {
        if let Some(wait) = self.all.last_mut() {
            wait.warnings = Some(json!(warnings));
        }
    }

    /// Something has happened. `slot_of` tells the place of a worker.
    pub fn handle_event(&mut self, event: &Event, slot_of: impl Fn(WorkerId) -> Option<u32>) {
        if !self.all.is_empty() {
            let slot = worker_of(event).and_then(&slot_of);
            self.answer(|until| outcome(until, event, slot));
        }
    }

    /// How the fleet is: how many workers are wanted, whether there are as many, each ready, and no others, and what has become
    /// of the replacement of a slot's worker.
    pub fn handle_state(
        &mut self,
        wanted: usize,
        settled: bool,
        replacement: impl Fn(u32, WorkerId) -> Replacement,
    ) {
        self.answer(|until| match until {
            Until::Settled { to, .. } if to != wanted => {
                let message = format!("{wanted} workers are wanted now, by somebody else");
                Some(refuse(Code::Failed, message))
            }
            Until::Settled { from, to } if settled => Some(Ok(json!({ "from": from, "to": to }))),
            Until::Replaced { slot, since } => match replacement(slot, since) {
                Replacement::Done(worker) => Some(Ok(named(worker, Some(slot)))),
                Replacement::Pending => None,
                Replacement::Unwanted => {
                    Some(refuse(Code::Failed, format!("nobody is wanted in slot {slot} any more")))
                }
                Replacement::Dropped => {
                    let message = format!("the worker in slot {slot} goes on: something else came between");
                    Some(refuse(Code::Failed, message))
                }
            },
            _ => None,
        });
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        let due = self.all.extract_if(.., |wait| wait.deadline.is_some_and(|(at, _)| at <= now));
        self.due.extend(due.map(|wait| {
            let after = wait.deadline.map_or(0, |(_, timeout)| timeout.as_millis());
            let message = format!("not done after {after} ms; it goes on");
            Due { client: wait.client, id: wait.id, answer: refuse(Code::TimedOut, message) }
        }));
        self.find_earliest();
    }

    /// A client is gone.
    pub fn forget(&mut self, client: u32) {
        self.all.retain(|wait| wait.client != client);
        self.due.retain(|due| due.client != client);
        self.find_earliest();
    }

    /// The next answer.
    pub fn poll_answer(&mut self) -> Option<Due> {
        self.due.pop_front()
    }

    /// When [`Waits::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.earliest
    }

    fn find_earliest(&mut self) {
        self.earliest = self.all.iter().filter_map(|wait| wait.deadline).map(|(at, _)| at).min();
    }

    /// For how much a client waits.
    pub fn count(&self, client: u32) -> usize {
        self.all.iter().filter(|wait| wait.client == client).count()
    }

    /// Whether [`Waits::handle_state`] would be of use.
    pub fn looks_at_fleet(&self) -> bool {
        self.all.iter().any(|wait| matches!(wait.until, Until::Settled { .. } | Until::Replaced { .. }))
    }

    fn answer(&mut self, outcome: impl Fn(Until) -> Option<Answer>) {
        let mut place = 0;
        while let Some(wait) = self.all.get(place) {
            match outcome(wait.until) {
                Some(answer) => {
                    let Wait { client, id, warnings, .. } = self.all.remove(place);
                    let answer = answer.map(|mut value| {
                        if let (Some(object), Some(warnings)) = (value.as_object_mut(), warnings) {
                            object.insert("warnings".into(), warnings);
                        }
                        value
                    });
                    self.due.push_back(Due { client, id, answer });
                }
                None => place += 1,
            }
        }
        self.find_earliest();
    }
}

fn refuse(code: Code, message: impl Into<String>) -> Answer {
    Err(Refusal::new(code, message))
}

/// What an event, of a worker in `slot`, means to whom waits.
fn outcome(until: Until, event: &Event, slot: Option<u32>) -> Option<Answer> {
    let failed = |message: String| Some(refuse(Code::Failed, message));
    match (until, event) {
        (Until::Ready { worker, slot }, Event::Ready { worker: ready, .. }) if *ready == worker => {
            Some(Ok(named(worker, Some(slot))))
        }
        (Until::Ready { worker, .. }, _) if ends(event, worker).is_some() => {
            failed(format!("worker {worker} {}, before it was ready", ends(event, worker)?))
        }
        (Until::Gone { worker, slot }, Event::Exit { worker: gone, status, .. }) if *gone == worker => {
            let mut value = named(worker, slot);
            value["exit"] = Value::Object(exit(*status));
            Some(Ok(value))
        }
        (Until::Gone { worker, .. }, Event::Trouble { worker: of, trouble: Trouble::Unkillable { .. } })
            if *of == worker =>
        {
            failed(format!(
                "worker {worker} has not ended though it was killed, and is not waited for any longer"
            ))
        }
        (Until::Replaced { slot: place, since }, Event::Ready { worker, .. })
            if Some(place) == slot && *worker >= since =>
        {
            Some(Ok(named(*worker, slot)))
        }
        (Until::Replaced { slot: place, .. }, Event::Errored { slot, crashes, .. }) if *slot == place => {
            failed(given_up(*slot, *crashes))
        }
        (Until::Replaced { slot: place, since }, _)
            if Some(place) == slot && worker_of(event).is_some_and(|worker| worker >= since) =>
        {
            let successor = worker_of(event)?;
            let how = ends(event, successor)?;
            failed(format!("its successor, worker {successor}, {how}, before it was ready"))
        }
        (Until::Settled { .. }, Event::Errored { slot, crashes, .. }) => failed(given_up(*slot, *crashes)),
        (Until::Reloaded { generation, workers }, Event::Reloaded { generation: done, took })
            if *done == generation =>
        {
            Some(Ok(json!({ "generation": generation, "workers": workers, "took_ms": ms(*took) })))
        }
        (
            Until::Reloaded { generation, .. },
            Event::ReloadFailed { generation: gone, slot, why, rolled_back },
        ) if *gone == generation => failed(reload_failed(*slot, *why, *rolled_back)),
        (Until::Reloaded { generation, .. }, Event::Reloading { generation: other, .. })
            if *other != generation =>
        {
            failed("another reload has taken its place".into())
        }
        (Until::Stopped, Event::Stopped) => Some(Ok(json!({ "workers": 0 }))),
        (Until::Stopped | Until::Gone { .. }, _) => None,
        (_, Event::Stopping { .. }) => failed("the cluster stops".into()),
        _ => None,
    }
}

fn given_up(slot: u32, crashes: u32) -> String {
    format!("slot {slot} is given up: its workers ended {crashes} times and none was ready")
}

fn named(worker: WorkerId, slot: Option<u32>) -> Value {
    json!({ "worker": worker.0, "slot": slot })
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// How a worker has come to nothing by this event, if it has.
fn ends(event: &Event, worker: WorkerId) -> Option<String> {
    if worker_of(event) != Some(worker) {
        return None;
    }
    match event {
        Event::Exit { status, .. } => Some(ended(*status)),
        Event::Trouble { trouble: Trouble::SpawnFailed { errno, .. }, .. } => {
            Some(format!("could not be started (errno {errno})"))
        }
        Event::Trouble { trouble: Trouble::NotReady { .. }, .. } => Some("was not ready in time".into()),
        Event::Trouble { trouble: Trouble::Unkillable { .. }, .. } => {
            Some("has not ended though it was killed".into())
        }
        _ => None,
    }
}

fn ended(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("exited with code {code}"),
        ExitStatus::Signal(signal) => format!("was ended by signal {signal}"),
    }
}

/// Why a reload has failed, and what follows, for people.
pub fn reload_failed(slot: Option<u32>, why: ReloadFailure, rolled_back: usize) -> String {
    let place = slot.map_or_else(|| "a worker".to_owned(), |slot| format!("the worker in slot {slot}"));
    let why = match why {
        ReloadFailure::Exited(status) => format!("{place} {}", ended(status)),
        ReloadFailure::NotReady => format!("{place} was not ready in time"),
        ReloadFailure::NotStarted(errno) => format!("{place} could not be started (errno {errno})"),
        ReloadFailure::Aborted => "it was called off".into(),
        ReloadFailure::Lanes => {
            return "the workers are replaced, but a new lane failed; the lanes before it go on".into();
        }
    };
    let rest = match rolled_back {
        0 => "the generation before it goes on".to_owned(),
        1 => "1 worker is replaced by the generation before again".to_owned(),
        more => format!("{more} workers are replaced by the generation before again"),
    };
    format!("{why}; {rest}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::request::Request;

    const START: Time = Time(1_000_000_000);
    const A: WorkerId = WorkerId(1);
    const B: WorkerId = WorkerId(2);

    fn id(number: u32) -> RequestId {
        Request::parse(format!("{{\"id\":{number},\"verb\":\"status\"}}").as_bytes()).unwrap().id
    }

    fn exits(worker: WorkerId) -> Event {
        let (status, lived) = (ExitStatus::Code(1), Duration::ZERO);
        Event::Exit { worker, status, exited_after_disconnect: false, lived, restart: None }
    }

    fn ready(worker: WorkerId) -> Event {
        Event::Ready { worker, after: Duration::ZERO }
    }

    /// An answer as text.
    type Text = Result<String, (Code, String)>;

    /// What is answered after which of these events, to somebody who waits for this; all workers are in slot 0.
    fn answered(until: Until, events: &[Event]) -> Option<(usize, Text)> {
        let mut waits = Waits::default();
        waits.add(START, 7, id(1), until, None);
        events.iter().enumerate().find_map(|(place, event)| {
            waits.handle_event(event, |_| Some(0));
            let due = waits.poll_answer()?;
            assert_eq!((due.client, &due.id, waits.poll_answer()), (7, &id(1), None));
            assert_eq!(waits.count(7), 0, "once");
            let answer = due.answer.map(|value| value.to_string());
            Some((place, answer.map_err(|refusal| (refusal.code, refusal.message))))
        })
    }

    #[test]
    fn each_ends_with_what_it_waits_for_and_with_what_makes_that_impossible() {
        let took = Duration::from_millis(3);
        let reloaded = |generation| Event::Reloaded { generation, took };
        let stopping = Event::Stopping { workers: 1, timeout: None };
        let failed = |generation| {
            let why = ReloadFailure::NotReady;
            Event::ReloadFailed { generation, slot: Some(0), why, rolled_back: 1 }
        };
        let superseded = Event::Reloading { generation: 3, workers: 1, supersedes: true };
        let errored = Event::Errored { slot: 4, crashes: 10, within: took };
        let ready_b = Until::Ready { worker: B, slot: 0 };
        let gone_a = Until::Gone { worker: A, slot: Some(0) };
        let replaced = Until::Replaced { slot: 0, since: B };
        let reload = Until::Reloaded { generation: 2, workers: 4 };
        let settled = Until::Settled { from: 1, to: 2 };
        for (until, events, place, expected) in [
            (ready_b, vec![ready(A), exits(A), ready(B)], 2, Ok("{\"worker\":2,\"slot\":0}")),
            (ready_b, vec![exits(B)], 0, Err("worker 2 exited with code 1, before it was ready")),
            (ready_b, vec![stopping.clone()], 0, Err("the cluster stops")),
            (
                gone_a,
                vec![exits(B), stopping.clone(), exits(A)],
                2,
                Ok("{\"worker\":1,\"slot\":0,\"exit\":{\"code\":1}}"),
            ),
            (replaced, vec![ready(A), exits(A), ready(B)], 2, Ok("{\"worker\":2,\"slot\":0}")),
            (
                replaced,
                vec![exits(B)],
                0,
                Err("its successor, worker 2, exited with code 1, before it was ready"),
            ),
            (reload, vec![reloaded(1), reloaded(2)], 1, Ok("{\"generation\":2,\"workers\":4,\"took_ms\":3}")),
            (
                reload,
                vec![failed(1), failed(2)],
                1,
                Err(
                    "the worker in slot 0 was not ready in time; 1 worker is replaced by the generation before again",
                ),
            ),
            (reload, vec![superseded], 0, Err("another reload has taken its place")),
            (
                settled,
                vec![errored],
                0,
                Err("slot 4 is given up: its workers ended 10 times and none was ready"),
            ),
            (Until::Stopped, vec![stopping, Event::Stopped], 1, Ok("{\"workers\":0}")),
        ] {
            let expected = expected.map(str::to_owned).map_err(|message| (Code::Failed, message.to_owned()));
            assert_eq!(answered(until, &events), Some((place, expected)), "{until:?} {events:?}");
        }
    }

    /// What is answered to somebody who waits for this, when the fleet is like that.
    fn seen(
        until: Until,
        wanted: usize,
        settled: bool,
        replacement: Replacement,
    ) -> Option<Result<Value, String>> {
        let mut waits = Waits::default();
        assert!(!waits.looks_at_fleet());
        waits.add(START, 1, id(1), until, None);
        waits.handle_event(&Event::Scaled { from: 1, to: 3 }, |_| None);
        assert!(waits.looks_at_fleet() && waits.poll_answer().is_none());
        waits.handle_state(wanted, settled, |slot, since| {
            assert_eq!((slot, since), (4, B));
            replacement
        });
        Some(waits.poll_answer()?.answer.map_err(|refusal| refusal.message))
    }

    #[test]
    fn what_no_event_says_is_seen_at_the_fleet() {
        let (settled, replaced) = (Until::Settled { from: 1, to: 3 }, Until::Replaced { slot: 4, since: B });
        let pending = Replacement::Pending;
        assert_eq!(seen(settled, 3, false, pending), None);
        assert_eq!(seen(settled, 3, true, pending), Some(Ok(json!({ "from": 1, "to": 3 }))));
        assert!(
            seen(settled, 2, true, pending).unwrap().unwrap_err().starts_with("2 workers are wanted now")
        );
        assert_eq!(seen(replaced, 3, true, pending), None);
        let done = json!({ "worker": 2, "slot": 4 });
        assert_eq!(seen(replaced, 3, false, Replacement::Done(B)), Some(Ok(done)));
        for (replacement, expected) in
            [(Replacement::Unwanted, "nobody is wanted in slot 4"), (Replacement::Dropped, "slot 4 goes on")]
        {
            assert!(seen(replaced, 3, true, replacement).unwrap().unwrap_err().contains(expected));
        }
    }

    #[test]
    fn time_and_the_client_may_be_over_first() {
        let mut waits = Waits::default();
        let second = Duration::from_secs(1);
        waits.add(START, 1, id(1), Until::Stopped, Some(second));
        waits.add(START, 2, id(2), Until::Stopped, Some(2 * second));
        waits.add(START, 3, id(3), Until::Stopped, None);
        assert_eq!(waits.poll_timeout(), Some(START + second));
        waits.handle_timeout(START + second);
        let due = waits.poll_answer().unwrap();
        assert_eq!((due.client, due.answer.unwrap_err().code), (1, Code::TimedOut));
        waits.forget(2);
        assert_eq!((waits.poll_timeout(), waits.poll_answer()), (None, None));
        waits.handle_event(&Event::Stopped, |_| None);
        assert_eq!(waits.poll_answer().unwrap().client, 3);
    }
}
