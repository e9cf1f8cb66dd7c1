//! What happens while a request is waited for -> a line at a terminal, written again and again, and gone in the end.
//!
//! Events come in; what they make of the workers is remembered as far as the line needs it. Only [`Line`] knows of the
//! terminal and of time.

use std::{
    collections::BTreeMap,
    env,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{super::report::count, table::WIDTH, text::cut};

/// How far a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Starting,
    Ready,
    Leaving,
}

#[derive(Debug, Clone, Copy)]
struct Worker {
    slot: u64,
    generation: u64,
    stage: Stage,
}

/// How far a request is.
#[derive(Debug)]
pub(super) struct Progress {
    verb: &'static str,
    workers: BTreeMap<u64, Worker>,
    /// Of a reload: the new generation, and how many are to be replaced by it.
    reload: Option<(u64, u64)>,
    /// It has failed, and what was replaced is replaced again.
    back: bool,
    wanted: Option<u64>,
}

impl Progress {
    pub(super) fn new(verb: &'static str) -> Self {
        Self { verb, workers: BTreeMap::new(), reload: None, back: false, wanted: None }
    }

    /// The workers that are there before it begins.
    pub(super) fn before(&mut self, status: &Value) {
        let number = |of: &Value, key: &str| of.get(key).and_then(Value::as_u64);
        self.wanted = number(status, "wanted");
        for worker in status.get("workers").and_then(Value::as_array).into_iter().flatten() {
            let stage = match worker.get("state").and_then(Value::as_str) {
                Some("ready") => Stage::Ready,
                Some("draining") => Stage::Leaving,
                _ => Stage::Starting,
            };
            if let (Some(id), Some(slot), Some(generation)) =
                (number(worker, "id"), number(worker, "slot"), number(worker, "generation"))
            {
                self.workers.insert(id, Worker { slot, generation, stage });
            }
        }
    }

    pub(super) fn handle(&mut self, event: &Value) {
        let number = |key: &str| event.get(key).and_then(Value::as_u64);
        let Some(kind) = event.get("type").and_then(Value::as_str) else { return };
        match kind {
            "reload" => {
                self.back = false;
                self.reload = number("generation").zip(number("workers"));
            }
            "reload_failed" => self.back = number("rolled_back").is_some_and(|workers| workers > 0),
            "scaled" => self.wanted = number("to"),
            _ => {}
        }
        let Some(id) = number("worker") else { return };
        let stage = match kind {
            "fork" => Stage::Starting,
            "ready" => Stage::Ready,
            "drain" => Stage::Leaving,
            "exit" => {
                self.workers.remove(&id);
                return;
            }
            _ => return,
        };
        match self.workers.get_mut(&id) {
            Some(worker) => worker.stage = stage,
            None => {
                if let Some((slot, generation)) = number("slot").zip(number("generation")) {
                    self.workers.insert(id, Worker { slot, generation, stage });
                }
            }
        }
    }

    /// Such as `reloading: 3 of 8 workers replaced, slot 3 starting, 4 s`.
    pub(super) fn line(&self, elapsed: Duration) -> String {
        let doing = match self.verb {
            "reload" if self.back => "reload failed, rolling back",
            "reload" => "reloading",
            "restart" => "restarting",
            "scale" => "scaling",
            "stop" => "stopping",
            "disconnect" => "disconnecting",
            "fork" => "starting",
            _ => "waiting",
        };
        let mut parts = Vec::new();
        let of_stage = |stage| self.workers.values().filter(move |worker| worker.stage == stage);
        match (self.verb, self.reload, self.wanted) {
            ("reload", Some((generation, workers)), _) if !self.back => {
                let replaced =
                    of_stage(Stage::Ready).filter(|worker| worker.generation == generation).count();
                parts.push(format!("{replaced} of {} replaced", plural(workers)));
            }
            ("scale", _, Some(wanted)) => {
                parts.push(format!("{} of {} ready", of_stage(Stage::Ready).count(), plural(wanted)));
            }
            ("stop", ..) => parts.push(format!("{} left", count(self.workers.len()))),
            _ => {}
        }
        let starting: Vec<_> = of_stage(Stage::Starting).map(|worker| worker.slot).collect();
        match starting[..] {
            [] => {}
            [slot] => parts.push(format!("slot {slot} starting")),
            _ => parts.push(format!("{} workers starting", starting.len())),
        }
        match of_stage(Stage::Leaving).count() {
            // Of a stop, all do.
            0 => {}
            _ if self.verb == "stop" => {}
            leaving => parts.push(format!("{} leaving", count(leaving))),
        }
        parts.push(format!("{} s", elapsed.as_secs()));
        let colon = if parts.len() > 1 { ": " } else { ", " };
        cut(&format!("{doing}{colon}{}", parts.join(", ")), WIDTH - 1)
    }
}

fn plural(workers: u64) -> String {
    usize::try_from(workers).map_or_else(|_| workers.to_string(), count)
}

/// How long a line may stand still: it shows seconds.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// The line at the terminal.
#[derive(Debug)]
pub(super) struct Line {
    progress: Progress,
    began: Instant,
    shown: String,
}

impl Line {
    /// One, if somebody looks at standard error and can see it change.
    pub(super) fn at_terminal(verb: &'static str) -> Option<Self> {
        let dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        if dumb || !io::stderr().is_terminal() {
            return None;
        }
        Some(Self { progress: Progress::new(verb), began: now(), shown: String::new() })
    }

    pub(super) fn before(&mut self, status: &Value) {
        self.progress.before(status);
        self.draw();
    }

    pub(super) fn handle(&mut self, event: &Value) {
        self.progress.handle(event);
        self.draw();
    }

    /// Writes it, if it says something else than before.
    pub(super) fn draw(&mut self) {
        let line = self.progress.line(self.began.elapsed());
        if line != self.shown {
            // Who cannot see it misses nothing that matters.
            let _ = write!(io::stderr(), "\r\x1b[K{line}");
            self.shown = line;
        }
    }
}

impl Drop for Line {
    /// What is said next stands where it stood.
    fn drop(&mut self) {
        if !self.shown.is_empty() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a person has waited so far; of what the master does, nothing is decided by it"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status() -> Value {
        let worker = |id: u64| json!({ "id": id, "slot": id - 1, "generation": 1, "state": "ready" });
        json!({ "wanted": 2, "workers": [worker(1), worker(2)] })
    }

    fn of(verb: &'static str, steps: &[(Value, &str)]) {
        let mut progress = Progress::new(verb);
        progress.before(&status());
        for (event, expected) in steps {
            progress.handle(event);
            assert_eq!(progress.line(Duration::from_millis(4200)), *expected, "{event}");
        }
    }

    fn fork(id: u64, slot: u64, generation: u64) -> Value {
        json!({ "type": "fork", "worker": id, "slot": slot, "generation": generation })
    }

    fn of_worker(kind: &str, id: u64) -> Value {
        json!({ "type": kind, "worker": id })
    }

    #[test]
    fn a_reload_counts_those_that_are_replaced() {
        let failed = json!({ "type": "reload_failed", "generation": 2, "rolled_back": 1 });
        of(
            "reload",
            &[
                (json!({}), "reloading, 4 s"),
                (
                    json!({ "type": "reload", "generation": 2, "workers": 2 }),
                    "reloading: 0 of 2 workers replaced, 4 s",
                ),
                (fork(3, 0, 2), "reloading: 0 of 2 workers replaced, slot 0 starting, 4 s"),
                (of_worker("ready", 3), "reloading: 1 of 2 workers replaced, 4 s"),
                (of_worker("drain", 1), "reloading: 1 of 2 workers replaced, 1 worker leaving, 4 s"),
                (of_worker("exit", 1), "reloading: 1 of 2 workers replaced, 4 s"),
                (failed, "reload failed, rolling back, 4 s"),
                (fork(4, 0, 1), "reload failed, rolling back: slot 0 starting, 4 s"),
            ],
        );
    }

    #[test]
    fn the_others_count_what_they_wait_for() {
        of(
            "scale",
            &[
                (json!({ "type": "scaled", "from": 2, "to": 4 }), "scaling: 2 of 4 workers ready, 4 s"),
                (fork(3, 2, 1), "scaling: 2 of 4 workers ready, slot 2 starting, 4 s"),
                (fork(4, 3, 1), "scaling: 2 of 4 workers ready, 2 workers starting, 4 s"),
            ],
        );
        of(
            "stop",
            &[
                (of_worker("drain", 1), "stopping: 2 workers left, 4 s"),
                (of_worker("exit", 1), "stopping: 1 worker left, 4 s"),
            ],
        );
        of("restart", &[(fork(3, 1, 1), "restarting: slot 1 starting, 4 s")]);
        of("kill", &[(of_worker("fork", 9), "waiting, 4 s")]);
    }

    #[test]
    fn a_line_is_no_wider_than_a_terminal() {
        let mut progress = Progress::new("reload");
        progress.handle(&json!({ "type": "reload", "generation": 2, "workers": u64::MAX }));
        progress.handle(&fork(1, u64::MAX, 2));
        assert!(progress.line(Duration::MAX).chars().count() < WIDTH);
    }
}
