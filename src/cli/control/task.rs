//! A verb that does something -> the request for it, and the sentence that says what came of it.
//!
//! Pure but for the environment, which `reload --env` takes along as it is given. Knows nothing of connections.

use std::{ffi::OsString, time::Duration};

use pointsman::{Batch, ExitStatus};
use serde_json::{Map, Value, json};

use super::{
    super::{
        report::count,
        trouble::{about, ended},
    },
    args::{Change, Fork, Kill, OfUpstream, OfWorker, Patience, Reload, Scale, Stop, Target},
    text::shown,
};

/// Something that a master is to do.
#[derive(Debug, PartialEq)]
pub(super) struct Task {
    pub(super) verb: &'static str,
    pub(super) parameters: Map<String, Value>,
    pub(super) waits: bool,
    pub(super) timeout: Option<Duration>,
}

/// What a request is made of.
pub(super) type Parameters = Map<String, Value>;

impl Task {
    /// One that is done as soon as it is begun.
    pub(super) fn at_once(verb: &'static str, parameters: Parameters) -> Self {
        Self { verb, parameters, waits: false, timeout: None }
    }

    fn new(verb: &'static str, mut parameters: Parameters, patience: &Patience) -> Self {
        let waits = patience.waits();
        if waits {
            parameters.insert("wait".into(), true.into());
        }
        if let Some(timeout) = patience.timeout {
            parameters
                .insert("timeout_ms".into(), u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).into());
        }
        Self { verb, parameters, waits, timeout: patience.timeout }
    }

    /// The environment comes along if that is asked for; what of it is no UTF-8 is named.
    pub(super) fn reload(
        args: &Reload,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> (Self, Vec<OsString>) {
        let mut parameters = Map::new();
        if let Some(batch) = args.batch {
            let batch = match batch {
                Batch::Percent(percent) => json!(format!("{percent}%")),
                Batch::Count(count) => json!(count),
            };
            parameters.insert("batch".into(), batch);
        }
        let mut left_out = Vec::new();
        if args.env {
            let mut env = Map::new();
            for (name, value) in environment {
                match (name.to_str(), value.into_string()) {
                    (Some(name), Ok(value)) => drop(env.insert(name.to_owned(), value.into())),
                    _ => left_out.push(name),
                }
            }
            parameters.insert("env".into(), env.into());
        }
        (Self::new("reload", parameters, &args.patience), left_out)
    }

    /// `restart` or `disconnect`.
    pub(super) fn of_worker(verb: &'static str, args: &OfWorker) -> Self {
        Self::new(verb, args.worker.parameters(), &args.patience)
    }

    /// `drain` or `undrain`.
    pub(super) fn of_upstream(verb: &'static str, args: &OfUpstream) -> Self {
        let upstream = ("upstream".to_owned(), args.upstream.as_str().into());
        Self::at_once(verb, Map::from_iter([upstream]))
    }

    pub(super) fn scale(args: &Scale) -> Self {
        let (key, value) = match args.workers {
            Change::To(to) => ("to", json!(to)),
            Change::By(by) => ("by", json!(by)),
        };
        Self::new("scale", Map::from_iter([(key.to_owned(), value)]), &args.patience)
    }

    pub(super) fn fork(args: &Fork) -> Self {
        let mut parameters = Map::new();
        if !args.program.is_empty() {
            parameters.insert("program".into(), args.program.clone().into());
        }
        if let Some(cwd) = &args.cwd {
            parameters.insert("cwd".into(), cwd.as_str().into());
        }
        if !args.env.is_empty() {
            let env: Map<_, _> =
                args.env.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
            parameters.insert("env".into(), env.into());
        }
        Self::new("fork", parameters, &args.patience)
    }

    pub(super) fn kill(args: &Kill) -> Self {
        let mut parameters = args.worker.parameters();
        if let Some(signal) = args.signal() {
            let signal = signal.parse::<i32>().map_or_else(|_| signal.to_uppercase().into(), Value::from);
            parameters.insert("signal".into(), signal);
        }
        Self::new("kill", parameters, &args.patience)
    }

    pub(super) fn send(worker: Target, message: Value) -> Self {
        let mut parameters = worker.parameters();
        parameters.insert("message".into(), message);
        Self::at_once("send", parameters)
    }

    pub(super) fn stop(args: &Stop) -> Self {
        let fast = args.fast.then(|| ("fast".to_owned(), true.into()));
        Self::new("stop", fast.into_iter().collect(), &args.patience)
    }

    /// What came of it, for people.
    pub(super) fn told(&self, answer: &Parameters) -> String {
        let number = |key: &str| answer.get(key).and_then(Value::as_u64);
        let some = |key: &str| number(key).map_or_else(|| "?".to_owned(), |number| number.to_string());
        let workers = |key: &str| {
            number(key).and_then(|number| usize::try_from(number).ok()).map_or_else(String::new, count)
        };
        let worker = || match number("worker") {
            Some(worker) => format!("worker {worker} (slot {})", some("slot")),
            // Nobody was there.
            None => format!("slot {}", some("slot")),
        };
        let took = || {
            number("took_ms")
                .map_or_else(String::new, |ms| format!(", after {}", about(Duration::from_millis(ms))))
        };
        let are = |key: &str| if number(key) == Some(1) { "is" } else { "are" };
        match (self.verb, self.waits) {
            ("reload", true) => format!("reloaded: generation {} serves{}", some("generation"), took()),
            ("reload", false) => {
                let (workers, are) = (workers("workers"), are("workers"));
                format!("reloading: {workers} {are} replaced by generation {}", some("generation"))
            }
            ("abort", _) => "called off: the workers before the reload serve on".into(),
            ("restart", true) => format!("restarted: {} serves", worker()),
            ("restart", false) if number("worker").is_none() => {
                format!("restarting: {} gets a new worker", worker())
            }
            ("restart", false) => format!("restarting: {} is replaced when its successor is ready", worker()),
            ("scale", true) => {
                format!("scaled: {} {} ready, {} before", workers("to"), are("to"), some("from"))
            }
            ("scale", false) => {
                format!("scaling: {} {} wanted, {} before", workers("to"), are("to"), some("from"))
            }
            ("stop", true) => "stopped".into(),
            ("stop", false) => format!("stopping: {} {} left", workers("workers"), are("workers")),
            ("disconnect", true) => format!("{} has left{}", worker(), exit(answer)),
            ("disconnect", false) => format!("{} is told to leave", worker()),
            ("kill", true) => format!("{} has ended{}", worker(), exit(answer)),
            ("kill", false) => format!("{} is sent {}", worker(), self.signal()),
            ("drain" | "undrain", _) => {
                let name = answer.get("upstream").and_then(Value::as_str).map_or_else(|| "?".into(), shown);
                let already = if answer.get("changed") == Some(&false.into()) { " already" } else { "" };
                match self.verb {
                    "drain" => {
                        format!("{name} gets no requests{already}; `pointsman undrain {name}` ends that")
                    }
                    _ => format!("{name} gets requests{already}"),
                }
            }
            ("fork", true) => format!("{} is ready", worker()),
            ("fork", false) => format!("{} is started", worker()),
            _ => "sent".into(),
        }
    }

    fn signal(&self) -> String {
        match self.parameters.get("signal") {
            Some(Value::String(name)) => format!("SIG{}", name.trim_start_matches("SIG")),
            Some(number) => format!("signal {number}"),
            None => "SIGTERM".into(),
        }
    }
}

/// What the master says besides, as lines for people.
pub(super) fn warnings(answer: &Parameters) -> impl Iterator<Item = String> {
    let all = answer.get("warnings").and_then(Value::as_array).into_iter().flatten();
    all.filter_map(Value::as_str).map(|warning| shown(warning).into_owned())
}

/// How a worker has ended, if that is told.
fn exit(answer: &Parameters) -> String {
    let exit = answer.get("exit").unwrap_or(&Value::Null);
    status(exit).map_or_else(String::new, |status| format!(": it {}", ended(status)))
}

/// How a process has ended, by `code` or `signal`.
pub(super) fn status(told: &Value) -> Option<ExitStatus> {
    let number = |key: &str| i32::try_from(told.get(key)?.as_i64()?).ok();
    number("signal").map(ExitStatus::Signal).or_else(|| number("code").map(ExitStatus::Code))
}

impl Target {
    pub(super) fn parameters(self) -> Parameters {
        let (key, number) = match self {
            Self::Worker(id) => ("worker", id),
            Self::Slot(slot) => ("slot", slot),
        };
        Map::from_iter([(key.to_owned(), number.into())])
    }
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    use clap::Parser;

    use super::{super::args::Verb, *};

    #[derive(Debug, Parser)]
    struct Words {
        #[command(subcommand)]
        verb: Verb,
    }

    fn task(words: &str) -> Task {
        let words = ["pointsman"].into_iter().chain(words.split_whitespace());
        match Words::try_parse_from(words).unwrap().verb {
            Verb::Reload(args) => Task::reload(&args, [].into_iter()).0,
            Verb::Restart(args) => Task::of_worker("restart", &args),
            Verb::Disconnect(args) => Task::of_worker("disconnect", &args),
            Verb::Scale(args) => Task::scale(&args),
            Verb::Fork(args) => Task::fork(&args),
            Verb::Kill(args) => Task::kill(&args),
            Verb::Stop(args) => Task::stop(&args),
            Verb::Abort(_) => Task::at_once("abort", Map::new()),
            Verb::Drain(args) => Task::of_upstream("drain", &args),
            Verb::Undrain(args) => Task::of_upstream("undrain", &args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn words_become_requests() {
        for (words, verb, expected) in [
            ("reload", "reload", json!({})),
            ("reload --batch 2 --wait", "reload", json!({ "batch": 2, "wait": true })),
            (
                "reload --batch 25% --timeout 2m",
                "reload",
                json!({ "batch": "25%", "wait": true, "timeout_ms": 120_000 }),
            ),
            ("reload --env", "reload", json!({ "env": {} })),
            ("restart 3 --timeout 500ms", "restart", json!({ "worker": 3, "wait": true, "timeout_ms": 500 })),
            ("disconnect slot:0", "disconnect", json!({ "slot": 0 })),
            ("scale 4", "scale", json!({ "to": 4 })),
            ("scale +2", "scale", json!({ "by": 2 })),
            ("scale -1 --wait", "scale", json!({ "by": -1, "wait": true })),
            ("scale --wait -1", "scale", json!({ "by": -1, "wait": true })),
            ("scale -- -1", "scale", json!({ "by": -1 })),
            ("kill 3", "kill", json!({ "worker": 3 })),
            ("kill slot:3 hup", "kill", json!({ "slot": 3, "signal": "HUP" })),
            ("kill 3 9", "kill", json!({ "worker": 3, "signal": 9 })),
            ("kill -s KILL 3", "kill", json!({ "worker": 3, "signal": "KILL" })),
            ("kill 3 --signal=9", "kill", json!({ "worker": 3, "signal": 9 })),
            ("fork", "fork", json!({})),
            (
                "fork -e A=1 -e B= --cwd /srv -- node app.js -x",
                "fork",
                json!({ "program": ["node", "app.js", "-x"], "cwd": "/srv", "env": { "A": "1", "B": "" } }),
            ),
            ("drain slot:1", "drain", json!({ "upstream": "slot:1" })),
            ("undrain app.example:80", "undrain", json!({ "upstream": "app.example:80" })),
            ("stop", "stop", json!({})),
            ("stop --fast --wait", "stop", json!({ "fast": true, "wait": true })),
        ] {
            let task = task(words);
            assert_eq!((task.verb, Value::Object(task.parameters)), (verb, expected), "{words}");
        }
    }

    #[test]
    fn the_environment_goes_along_as_far_as_it_is_text() {
        let Verb::Reload(args) = Words::parse_from(["pointsman", "reload", "--env"]).verb else { panic!() };
        let odd = OsStr::from_bytes(b"a\xffb").to_owned();
        let environment = [("A".into(), "1".into()), ("B".into(), odd.clone()), (odd.clone(), "x".into())];
        let (task, left_out) = Task::reload(&args, environment.into_iter());
        assert_eq!(task.parameters.get("env"), Some(&json!({ "A": "1" })));
        assert_eq!(left_out, [OsString::from("B"), odd]);
    }

    #[test]
    fn warnings_are_lines() {
        let Value::Object(answer) = json!({ "warnings": ["a\u{1b}", 5, "b"] }) else { panic!() };
        assert_eq!(warnings(&answer).collect::<Vec<_>>(), ["a\\u{1b}", "b"]);
        assert_eq!(warnings(&Map::new()).count(), 0);
    }

    #[test]
    fn what_came_of_it_is_a_sentence() {
        for (words, answer, expected) in [
            (
                "reload --wait",
                json!({ "generation": 2, "workers": 4, "took_ms": 3217 }),
                "reloaded: generation 2 serves, after 3.2 s",
            ),
            (
                "reload",
                json!({ "generation": 2, "workers": 1 }),
                "reloading: 1 worker is replaced by generation 2",
            ),
            ("abort", json!({}), "called off: the workers before the reload serve on"),
            ("restart 3 --wait", json!({ "worker": 7, "slot": 2 }), "restarted: worker 7 (slot 2) serves"),
            ("scale 4 --wait", json!({ "from": 2, "to": 4 }), "scaled: 4 workers are ready, 2 before"),
            ("scale 1", json!({ "from": 2, "to": 1 }), "scaling: 1 worker is wanted, 2 before"),
            ("stop", json!({ "workers": 3 }), "stopping: 3 workers are left"),
            ("stop --wait", json!({ "workers": 0 }), "stopped"),
            (
                "disconnect 3 --wait",
                json!({ "worker": 3, "slot": 2, "exit": { "code": 0 } }),
                "worker 3 (slot 2) has left: it exited with code 0",
            ),
            (
                "kill 3 KILL --wait",
                json!({ "worker": 3, "slot": 2, "exit": { "signal": 9 } }),
                "worker 3 (slot 2) has ended: it was killed by SIGKILL",
            ),
            ("kill 3", json!({ "worker": 3, "slot": 2 }), "worker 3 (slot 2) is sent SIGTERM"),
            ("kill 3 sighup", json!({ "worker": 3, "slot": 2 }), "worker 3 (slot 2) is sent SIGHUP"),
            ("kill 3 1", json!({ "worker": 3, "slot": 2 }), "worker 3 (slot 2) is sent signal 1"),
            ("fork --wait", json!({ "worker": 5, "slot": 4 }), "worker 5 (slot 4) is ready"),
            ("fork", json!({}), "slot ? is started"),
            (
                "drain slot:1",
                json!({ "upstream": "slot:1", "changed": true }),
                "slot:1 gets no requests; `pointsman undrain slot:1` ends that",
            ),
            (
                "undrain slot:1",
                json!({ "upstream": "slot:1", "changed": false }),
                "slot:1 gets requests already",
            ),
            ("restart slot:2", json!({ "worker": null, "slot": 2 }), "restarting: slot 2 gets a new worker"),
        ] {
            let Value::Object(answer) = answer else { panic!() };
            assert_eq!(task(words).told(&answer), expected);
        }
    }
}
