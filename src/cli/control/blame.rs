//! What happens while a request is waited for -> who is to blame if it fails, and what that worker has said last.
//!
//! Pure: events enter, in whatever order; how long to go on hearing for last words, whoever waits knows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

/// Of so many workers the last words are remembered: a slot that is never ready has many, of which the latest count.
const MOST: usize = 16;

/// Kinds of `trouble` by which a worker comes to nothing.
const FATAL: [&str; 4] = ["not_ready", "spawn_failed", "launch_failed", "unkillable"];

/// What was heard so far.
#[derive(Debug)]
pub(super) struct Blame {
    verb: &'static str,
    /// The place that the request is about, once that is known.
    slot: Option<u64>,
    /// Of a restart: the worker that is to be replaced, while it is there.
    old: Option<u64>,
    /// Places that there were before.
    before: BTreeSet<u64>,
    /// Of a reload: the new generation.
    generation: Option<u64>,
    /// The place that an event has called failed.
    failed: Option<u64>,
    /// Of each place, the worker that came to nothing in it last, and its generation.
    ends: BTreeMap<u64, (u64, Option<u64>)>,
    words: VecDeque<(u64, Vec<String>)>,
}

/// Who has failed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Culprit {
    pub(super) slot: Option<u64>,
    pub(super) worker: Option<u64>,
    /// Its last words, if they were heard.
    pub(super) lines: Vec<String>,
    /// The worker that was to be replaced, and is there as before.
    pub(super) goes_on: Option<u64>,
}

fn number(of: &Value, key: &str) -> Option<u64> {
    of.get(key).and_then(Value::as_u64)
}

impl Blame {
    /// Before a request with these parameters, when the status was this.
    pub(super) fn new(verb: &'static str, parameters: &Value, status: &Value) -> Self {
        let all = |key: &str| status.get(key).and_then(Value::as_array).into_iter().flatten();
        let before = all("workers").chain(all("vacant")).filter_map(|place| number(place, "slot")).collect();
        let (worker, slot) = (number(parameters, "worker"), number(parameters, "slot"));
        let is_meant = |other: &&Value| match worker {
            Some(_) => number(other, "id") == worker,
            None => {
                number(other, "slot") == slot && other.get("state").is_none_or(|state| state != "draining")
            }
        };
        let old = all("workers").find(is_meant).filter(|_| verb == "restart");
        let slot = slot.or_else(|| number(old?, "slot"));
        Self {
            verb,
            slot,
            old: old.and_then(|old| number(old, "id")),
            before,
            generation: None,
            failed: None,
            ends: BTreeMap::new(),
            words: VecDeque::new(),
        }
    }

    pub(super) fn handle(&mut self, event: &Value) {
        let Some(kind) = event.get("type").and_then(Value::as_str) else { return };
        let (slot, worker, generation) =
            (number(event, "slot"), number(event, "worker"), number(event, "generation"));
        let is = |key: &str, words: &[&str]| {
            event.get(key).and_then(Value::as_str).is_some_and(|word| words.contains(&word))
        };
        match kind {
            "fork" if self.verb == "fork" && self.slot.is_none() => {
                self.slot = slot.filter(|slot| !self.before.contains(slot));
            }
            "reload" => self.generation = generation,
            "reload_failed" if !is("cause", &["aborted"]) => self.failed = slot,
            "errored" => self.failed = slot,
            "exit" => {
                self.old = self.old.filter(|&old| Some(old) != worker);
                if event.get("exited_after_disconnect").is_none_or(|left| left != true) {
                    self.end(slot, worker, generation);
                }
            }
            "trouble" if is("cause", &FATAL) => self.end(slot, worker, generation),
            "last_words" => {
                let lines = event.get("lines").and_then(Value::as_array).into_iter().flatten();
                let lines: Vec<_> = lines.filter_map(Value::as_str).map(str::to_owned).collect();
                if let Some(worker) = worker.filter(|_| !lines.is_empty()) {
                    self.words.truncate(MOST - 1);
                    self.words.push_front((worker, lines));
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, slot: Option<u64>, worker: Option<u64>, generation: Option<u64>) {
        if let Some((slot, worker)) = slot.zip(worker)
            && self.old != Some(worker)
        {
            self.ends.insert(slot, (worker, generation));
        }
    }

    /// The place where it has failed.
    fn place(&self) -> Option<u64> {
        match self.verb {
            "restart" | "fork" => {
                self.slot.filter(|slot| self.ends.contains_key(slot) || self.failed == Some(*slot))
            }
            _ => self.failed,
        }
    }

    fn worker(&self) -> Option<u64> {
        let (worker, generation) = self.ends.get(&self.place()?)?;
        let other = self.verb == "reload" && self.generation.is_some() && *generation != self.generation;
        (!other).then_some(*worker)
    }

    fn words(&self) -> Option<&Vec<String>> {
        let worker = self.worker()?;
        self.words.iter().find(|(of, _)| *of == worker).map(|(_, lines)| lines)
    }

    /// Whether nothing more is to be heard that matters.
    pub(super) fn is_complete(&self) -> bool {
        self.words().is_some()
    }

    pub(super) fn culprit(&self) -> Culprit {
        let slot = self.place();
        Culprit {
            slot,
            worker: self.worker(),
            lines: self.words().cloned().unwrap_or_default(),
            goes_on: self.old.filter(|_| slot.is_some()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status() -> Value {
        let worker = |id: u64| json!({ "id": id, "slot": id - 1, "generation": 1, "state": "ready" });
        json!({ "wanted": 2, "workers": [worker(1), worker(2)], "vacant": [{ "slot": 2 }] })
    }

    fn exit(worker: u64, slot: u64, generation: u64, left: bool) -> Value {
        json!({
            "type": "exit", "worker": worker, "slot": slot, "generation": generation, "code": 3,
            "exited_after_disconnect": left
        })
    }

    fn last_words(worker: u64, line: &str) -> Value {
        json!({ "type": "last_words", "worker": worker, "lines": [line] })
    }

    #[track_caller]
    fn check(verb: &'static str, parameters: &Value, events: &[Value], expected: &Culprit) {
        let mut blame = Blame::new(verb, parameters, &status());
        events.iter().for_each(|event| blame.handle(event));
        assert_eq!(blame.is_complete(), !expected.lines.is_empty());
        assert_eq!(&blame.culprit(), expected);
    }

    fn culprit(slot: u64, worker: Option<u64>, words: &[&str], goes_on: Option<u64>) -> Culprit {
        let lines = words.iter().map(|&line| line.to_owned()).collect();
        Culprit { slot: Some(slot), worker, lines, goes_on }
    }

    #[test]
    fn of_a_reload_it_is_the_new_worker_in_the_place_that_failed() {
        let begun = json!({ "type": "reload", "generation": 2, "workers": 2 });
        let failed =
            json!({ "type": "reload_failed", "generation": 2, "slot": 1, "cause": "exited", "code": 3 });
        let (old, new) = (exit(2, 1, 1, false), exit(4, 1, 2, false));
        let words = |worker, line| last_words(worker, line);
        let expected = culprit(1, Some(4), &["new"], None);
        let all = [&begun, &old, &words(2, "old"), &new, &failed, &words(4, "new")].map(Clone::clone);
        check("reload", &json!({}), &all, &expected);
        // In whatever order.
        let all = [&begun, &failed, &words(4, "new"), &new].map(Clone::clone);
        check("reload", &json!({}), &all, &expected);
        check("reload", &json!({}), &[begun.clone(), failed], &culprit(1, None, &[], None));
        let aborted = json!({ "type": "reload_failed", "generation": 2, "slot": 1, "cause": "aborted" });
        check("reload", &json!({}), &[begun, aborted], &Culprit::default());
    }

    #[test]
    fn of_a_restart_it_is_the_successor_and_the_old_one_may_go_on() {
        let events = [exit(9, 0, 1, false), exit(3, 1, 1, false), last_words(9, "other"), last_words(3, "x")];
        for parameters in [json!({ "worker": 2 }), json!({ "slot": 1 })] {
            check("restart", &parameters, &events, &culprit(1, Some(3), &["x"], Some(2)));
        }
        let gone = [exit(2, 1, 1, false), exit(3, 1, 1, false)];
        check("restart", &json!({ "slot": 1 }), &gone, &culprit(1, Some(3), &[], None));
        let late = json!({ "type": "trouble", "cause": "not_ready", "worker": 3, "slot": 1 });
        check("restart", &json!({ "slot": 1 }), &[late], &culprit(1, Some(3), &[], Some(2)));
        check("restart", &json!({ "slot": 1 }), &[json!({ "type": "stopping" })], &Culprit::default());
    }

    #[test]
    fn of_more_workers_it_is_one_that_is_new_or_whose_place_is_given_up() {
        let fork = |worker, slot| json!({ "type": "fork", "worker": worker, "slot": slot });
        let events = [fork(5, 2), fork(6, 3), exit(5, 2, 1, false), exit(6, 3, 1, false), last_words(6, "x")];
        check("fork", &json!({}), &events, &culprit(3, Some(6), &["x"], None));
        let errored = json!({ "type": "errored", "slot": 3 });
        let events = [exit(5, 2, 1, false), exit(6, 3, 1, false), exit(7, 3, 1, false), errored];
        check("scale", &json!({ "to": 4 }), &events, &culprit(3, Some(7), &[], None));
        check("scale", &json!({ "to": 4 }), &events[..3], &Culprit::default());
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let mut blame = Blame::new("scale", &json!({}), &status());
        (0..1000).for_each(|worker| blame.handle(&last_words(worker, "x")));
        assert_eq!((blame.words.len(), blame.words[0].0), (MOST, 999));
        for odd in [json!(null), json!([]), json!({ "type": 5 }), json!({ "type": "exit" })] {
            blame.handle(&odd);
        }
    }
}
