//! How a master is -> lines for people, of at most eighty columns.
//!
//! Two looks come in, between which some time has passed: what was used of the processors in it is a share.

use std::collections::BTreeMap;

use clap::builder::styling::{AnsiColor, Style};
use pointsman::{
    ClusterState, ExitRecord, LaneStatus, ListenerStatus, ReloadRecord, Status, UpstreamStatus, VacantStatus,
    WorkerStatus,
};

use super::{
    super::trouble::signal_name,
    table::{Cell, Column, WIDTH, lines},
    text::{cut, cut_front, cut_middle, one_line},
    units::{count, share, size, span},
};

/// The whole: what it is, what it listens on, its workers.
pub(super) fn whole(before: &Status, now: &Status) -> String {
    let mut text = header(before, now);
    if !now.listeners.is_empty() {
        text.push('\n');
        text += &listeners(&now.listeners);
    }
    text.push('\n');
    text += &workers(before, now);
    if !now.lanes.is_empty() || !now.upstreams.is_empty() {
        text.push('\n');
        text += &lanes(before, now);
        text.push('\n');
        text += &upstreams(&now.upstreams);
    }
    text
}

/// The processes that forward requests.
fn lanes(before: &Status, now: &Status) -> String {
    if now.lanes.is_empty() {
        return "no lanes yet: there is nobody to forward to\n".into();
    }
    let columns = [
        Column::Right("LANE"),
        Column::Right("PID"),
        Column::Left("STATE"),
        Column::Right("RST"),
        Column::Left("LAST EXIT"),
        Column::Right("CPU"),
        Column::Right("RSS"),
    ];
    let row = |lane: &LaneStatus| {
        let earlier = before.lanes.iter().find(|other| other.pid == lane.pid);
        let cpu = earlier.and_then(|earlier| {
            let used = lane.cpu_ms?.saturating_sub(earlier.cpu_ms?);
            share(used, lane.uptime_ms?.saturating_sub(earlier.uptime_ms?))
        });
        let or_none = |text: Option<String>| Cell::from(text.unwrap_or_else(|| "-".into()));
        [
            lane.slot.to_string().into(),
            or_none(lane.pid.map(|pid| pid.to_string())),
            state(&lane.state, lane.uptime_ms),
            count(lane.restarts).into(),
            last_exit(lane.last_exit).into(),
            or_none(cpu),
            or_none(lane.rss.map(size)),
        ]
    };
    lines(columns, &now.lanes.iter().map(row).collect::<Vec<_>>())
}

/// Where requests are forwarded to.
fn upstreams(all: &[UpstreamStatus]) -> String {
    if all.is_empty() {
        return "no upstreams: nobody gets requests\n".into();
    }
    let columns = [
        Column::Left("REQUESTS GO TO"),
        Column::Left("ADDRESS"),
        Column::Right("WEIGHT"),
        Column::Right("NOW"),
        Column::Right("DONE"),
        Column::Right("FAILED"),
        Column::Left("STATE"),
    ];
    let row = |upstream: &UpstreamStatus| {
        let state = match (upstream.draining, upstream.backup) {
            (false, _) if upstream.ejected_lanes > 0 => Cell::coloured("ejected".into(), BAD),
            (true, _) => Cell::coloured("draining".into(), BUSY),
            (false, true) => "backup".into(),
            (false, false) => "serves".into(),
        };
        [
            cut_front(&one_line(&upstream.name), NAME).into(),
            cut_front(&one_line(&upstream.address), NAME).into(),
            upstream.weight.to_string().into(),
            count(upstream.in_flight).into(),
            count(upstream.requests).into(),
            count(upstream.failures).into(),
            state,
        ]
    };
    lines(columns, &all.iter().map(row).collect::<Vec<_>>())
}

/// Columns of a name or an address of an upstream at most.
const NAME: usize = 21;

/// The workers, and the slots that have none.
pub(super) fn workers(before: &Status, now: &Status) -> String {
    if now.workers.is_empty() && now.vacant.is_empty() {
        return "no workers\n".into();
    }
    let columns = [
        Column::Right("ID"),
        Column::Right("SLOT"),
        Column::Right("PID"),
        Column::Left("STATE"),
        Column::Right("GEN"),
        Column::Right("RST"),
        Column::Left("LAST EXIT"),
        Column::Right("CONN"),
        Column::Right("HANDED"),
        Column::Right("CPU"),
        Column::Right("RSS"),
        Column::Left("BY"),
    ];
    let marked = own_programs(now).next().is_some();
    let mark = |program: &Option<String>| match (marked, program) {
        (true, Some(_)) => "*",
        // What is not marked ends in the same column.
        (true, None) => " ",
        (false, _) => "",
    };
    let present = now.workers.iter().map(|worker| {
        let earlier = before.workers.iter().find(|other| other.id == worker.id);
        (worker.slot, row(worker, earlier, mark(&worker.program)))
    });
    let vacant = now.vacant.iter().map(|vacant| (vacant.slot, vacant_row(vacant, mark(&vacant.program))));
    let mut rows: Vec<_> = present.chain(vacant).collect();
    // The order within a slot is that of age.
    rows.sort_by_key(|(slot, _)| *slot);
    let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    lines(columns, &rows) + &footnotes(now)
}

/// Slots that have a program of their own, and it.
fn own_programs(now: &Status) -> impl Iterator<Item = (u32, &str)> {
    let present = now.workers.iter().map(|worker| (worker.slot, &worker.program));
    let all = present.chain(now.vacant.iter().map(|vacant| (vacant.slot, &vacant.program)));
    all.filter_map(|(slot, program)| Some((slot, program.as_deref()?)))
}

/// What those are that are marked.
fn footnotes(now: &Status) -> String {
    // The old worker and its successor are in one place.
    let programs: BTreeMap<_, _> = own_programs(now).collect();
    let line = |(slot, program): (u32, &str)| {
        let begin = format!("* slot {slot} runs a program of its own: ");
        let program = cut_middle(&one_line(program), WIDTH.saturating_sub(begin.len()));
        format!("{begin}{program}\n")
    };
    programs.into_iter().map(line).collect()
}

/// How the last reload ended, if that is not well.
fn last_reload(ReloadRecord { result, why, ago_ms, .. }: &ReloadRecord) -> Option<String> {
    let why = why.as_deref().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let colon = if why.is_empty() { "" } else { ": " };
    let text = format!("{result} {} ago{colon}{why}", span(*ago_ms));
    (result != "succeeded").then(|| one_line(&text).into_owned())
}

fn header(before: &Status, now: &Status) -> String {
    let name = now.name.as_deref().map_or_else(|| "(none)".into(), one_line);
    let state = state_name(now.state);
    let ready = format!("{} of {} workers ready", now.ready, now.wanted);
    let style = match now.state {
        ClusterState::Running if now.ready >= now.wanted => GOOD,
        ClusterState::Running | ClusterState::Reloading | ClusterState::Waiting => BUSY,
        _ => BAD,
    };
    let used = now.cpu_ms.saturating_sub(before.cpu_ms);
    let cpu = share(used, now.uptime_ms.saturating_sub(before.uptime_ms));
    let cpu = cpu.map_or_else(String::new, |cpu| format!(", cpu {cpu}"));
    let counters = &now.counters;
    let lost = |what: &str, number: u64| match number {
        0 => String::new(),
        number => format!(", {} {what}", count(number)),
    };
    let connections = format!(
        "{} accepted, {} handed over{}{}",
        count(counters.accepted),
        count(counters.handed),
        lost("lost", counters.lost),
        lost("turned away", counters.rejected)
    );
    let mode = match now.mode.as_str() {
        // There the kernel decides.
        "shared" => "shared".into(),
        mode => one_line(&format!("{mode}, {}", now.policy)).into_owned(),
    };
    let mut rows = vec![
        ("name", name.into_owned()),
        ("state", format!("{state}, {ready}, generation {}", now.generation)),
        ("program", cut_middle(&one_line(&now.program), WIDTH - KEYS)),
        ("mode", mode),
        (
            "master",
            format!(
                "pid {}, up {}, version {}{cpu}, memory {}",
                now.pid,
                span(now.uptime_ms),
                one_line(&now.version),
                size(now.rss)
            ),
        ),
        ("connections", connections),
    ];
    if now.mode == "multiport" {
        // Lanes accept, and hand over nothing.
        rows.retain(|(key, _)| *key != "connections");
    }
    if let Some(text) = now.last_reload.as_ref().and_then(last_reload) {
        rows.insert(2, ("last reload", text));
    }
    let line = |(key, value): (&str, String)| {
        let value = cut(&value, WIDTH - KEYS);
        // Of all these, only the state is coloured.
        match value.strip_prefix(state).filter(|_| key == "state") {
            Some(rest) => format!("{key:KEYS$}{style}{state}{style:#}{rest}\n"),
            None => format!("{key:KEYS$}{value}\n"),
        }
    };
    rows.into_iter().map(line).collect()
}

/// Columns of the keys of the header, and what is between them and the values.
const KEYS: usize = 13;

fn state_name(state: ClusterState) -> &'static str {
    match state {
        ClusterState::Waiting => "waiting",
        ClusterState::Running => "running",
        ClusterState::Reloading => "reloading",
        ClusterState::Stopping => "stopping",
        _ => "(another state)",
    }
}

/// Columns of an address at most: the other columns of its table leave so many.
const ADDRESS: usize = 44;

fn listeners(all: &[ListenerStatus]) -> String {
    let columns = [
        Column::Left("LISTENS ON"),
        Column::Right("BACKLOG"),
        Column::Right("WAITING"),
        Column::Right("ACCEPTED"),
        Column::Right("WORKERS"),
    ];
    let or_unknown = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let row = |listener: &ListenerStatus| {
        [
            cut_front(&one_line(&listener.address), ADDRESS).into(),
            or_unknown(listener.backlog).into(),
            or_unknown(listener.waiting).into(),
            count(listener.accepted).into(),
            listener.workers.to_string().into(),
        ]
    };
    lines(columns, &all.iter().map(row).collect::<Vec<_>>())
}

fn row(worker: &WorkerStatus, earlier: Option<&WorkerStatus>, mark: &str) -> [Cell; 12] {
    let cpu = earlier.and_then(|earlier| {
        let used = worker.cpu_ms?.saturating_sub(earlier.cpu_ms?);
        share(used, worker.uptime_ms.saturating_sub(earlier.uptime_ms))
    });
    let connections = u64::try_from(worker.connections).unwrap_or(u64::MAX);
    [
        format!("{}{mark}", worker.id).into(),
        worker.slot.to_string().into(),
        worker.pid.to_string().into(),
        state(&worker.state, Some(worker.since_ms)),
        worker.generation.to_string().into(),
        count(worker.restarts).into(),
        last_exit(worker.last_exit).into(),
        count(connections).into(),
        count(worker.handed).into(),
        cpu.unwrap_or_else(|| "-".into()).into(),
        worker.rss.map_or_else(|| "-".into(), size).into(),
        cut(&one_line(&worker.load_source), 7).into(),
    ]
}

fn vacant_row(vacant: &VacantStatus, mark: &str) -> [Cell; 12] {
    let nothing = || Cell::from("-");
    [
        format!("-{mark}").into(),
        vacant.slot.to_string().into(),
        nothing(),
        state(&vacant.state, vacant.start_in_ms),
        nothing(),
        count(vacant.restarts).into(),
        last_exit(vacant.last_exit).into(),
        nothing(),
        nothing(),
        nothing(),
        nothing(),
        nothing(),
    ]
}

const GOOD: Style = AnsiColor::Green.on_default();
const BUSY: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();

fn state(name: &str, span_ms: Option<u64>) -> Cell {
    let style = match name {
        "ready" => GOOD,
        "errored" => BAD,
        _ => BUSY,
    };
    let since = span_ms.map_or_else(String::new, |span_ms| format!(" {}", span(span_ms)));
    Cell::coloured(format!("{}{since}", cut(&one_line(name), 8)), style)
}

/// `1 3m`, `KILL 2h`.
fn last_exit(exit: Option<ExitRecord>) -> String {
    let Some(ExitRecord { code, signal, ago_ms, .. }) = exit else { return "-".into() };
    let how = match (signal, code) {
        (Some(signal), _) => {
            signal_name(signal).trim_start_matches("SIG").trim_start_matches("signal ").to_owned()
        }
        (None, Some(code)) => code.to_string(),
        (None, None) => "?".into(),
    };
    format!("{how} {}", span(ago_ms))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The status of CONTROL.md.
    pub(super) fn sample() -> Value {
        json!({
            "version": "0.1.0", "pid": 4711, "name": "default", "started": "2026-11-24T17:48:40.123Z",
            "uptime_ms": 86_400_000, "mode": "handoff", "policy": "round-robin", "program": "node app.js",
            "state": "running", "generation": 1, "wanted": 2, "ready": 2, "cpu_ms": 1234, "rss": 5_767_168,
            "listeners": [
                { "address": "127.0.0.1:8000", "backlog": 511, "waiting": 0, "accepted": 1017, "workers": 2 }
            ],
            "counters": {
                "accepted": 1017, "handed": 1017, "refused": 0, "replaced": 0, "lost": 0, "waits": 0, "rejected": 0
            },
            "workers": [{
                "id": 1, "slot": 0, "pid": 4713, "generation": 1, "state": "ready", "since_ms": 86_399_800,
                "uptime_ms": 86_399_950, "restarts": 0, "last_exit": null, "connections": 12, "in_flight": 0,
                "handed": 509, "load_source": "script", "cpu_ms": 81_234, "rss": 52_428_800
            }],
            "vacant": [{
                "slot": 1, "state": "errored", "restarts": 10, "last_exit": { "code": 1, "ago_ms": 60_000 },
                "start_in_ms": null
            }]
        })
    }

    fn status(value: Value) -> Status {
        serde_json::from_value(value).unwrap()
    }

    /// The same a fifth of a second later.
    fn later(mut value: Value) -> Value {
        let mut add = |place: &str, more: u64| {
            let number = value.pointer_mut(place).unwrap();
            *number = (number.as_u64().unwrap() + more).into();
        };
        add("/uptime_ms", 200);
        add("/workers/0/uptime_ms", 200);
        add("/workers/0/cpu_ms", 50);
        value
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn a_status_is_seen_at_a_glance() {
        let text = whole(&status(sample()), &status(later(sample())));
        let expected = "\
name         default
state        running, 2 of 2 workers ready, generation 1
program      node app.js
mode         handoff, round-robin
master       pid 4711, up 24h, version 0.1.0, cpu 0%, memory 5.5M
connections  1017 accepted, 1017 handed over

LISTENS ON      BACKLOG  WAITING  ACCEPTED  WORKERS
127.0.0.1:8000      511        0      1017        2

ID  SLOT   PID  STATE      GEN  RST  LAST EXIT  CONN  HANDED  CPU  RSS  BY
 1     0  4713  ready 23h    1    0  -            12     509  25%  50M  script
 -     1     -  errored      -   10  1 1m          -       -    -    -  -
";
        assert_eq!(plain(&text), expected);
        assert!(text.contains(&format!("{GOOD}running{GOOD:#}, 2 of")), "{text}");
        assert!(text.contains(&format!("{BAD}errored{BAD:#}")), "{text}");
        let list = workers(&status(sample()), &status(sample()));
        assert!(plain(&list).starts_with("ID  SLOT") && list.contains(" - "), "{list}");
    }

    #[test]
    fn lanes_and_upstreams_have_tables_of_their_own() {
        let mut value = sample();
        value["mode"] = "multiport".into();
        let lane = |slot: u32, pid: Option<u32>, state: &str| {
            json!({
                "slot": slot, "pid": pid, "state": state, "uptime_ms": pid.map(|_| 5000), "restarts": 1,
                "last_exit": { "signal": 9, "ago_ms": 5000 }, "cpu_ms": pid.map(|_| 10), "rss": pid.map(|_| 6 << 20)
            })
        };
        value["lanes"] = json!([lane(0, Some(77), "ready"), lane(1, None, "waiting")]);
        let upstream = |name: &str, backup: bool, draining: bool| {
            json!({ "name": name, "address": "127.0.0.1:20000", "weight": 1, "backup": backup, "draining": draining,
                "in_flight": 3, "requests": 1017, "failures": 2, "ejections": 1, "ejected_lanes": 0 })
        };
        value["upstreams"] = json!([
            upstream("slot:0", false, false),
            upstream("slot:1", true, true),
            upstream("b", true, false)
        ]);
        let mut later = value.clone();
        later["lanes"][0]["uptime_ms"] = 5200.into();
        later["lanes"][0]["cpu_ms"] = 110.into();
        let text = plain(&whole(&status(value), &status(later)));
        let expected = "
LANE  PID  STATE     RST  LAST EXIT  CPU   RSS
   0   77  ready 5s    1  KILL 5s    50%  6.0M
   1    -  waiting     1  KILL 5s      -     -

REQUESTS GO TO  ADDRESS          WEIGHT  NOW  DONE  FAILED  STATE
slot:0          127.0.0.1:20000       1    3  1017       2  serves
slot:1          127.0.0.1:20000       1    3  1017       2  draining
b               127.0.0.1:20000       1    3  1017       2  backup
";
        assert!(text.ends_with(expected) && !text.contains("handed over"), "{text}");
    }

    #[test]
    fn the_longest_values_fit() {
        let mut value = later(sample());
        value["program"] = "x".repeat(500).into();
        value["name"] = "n".repeat(64).into();
        value["uptime_ms"] = (9999 * 86_400_000u64).into();
        value["wanted"] = 1024.into();
        value["rss"] = u64::MAX.into();
        value["listeners"][0]["address"] = format!("unix:/{}/app.sock", "d".repeat(90)).into();
        value["listeners"][0]["backlog"] = 1_048_576.into();
        value["listeners"][0]["accepted"] = u64::MAX.into();
        for (key, number) in [
            ("id", 99_999),
            ("slot", 1023),
            ("pid", 4_194_304),
            ("generation", 999),
            ("restarts", 999),
            ("handed", u64::MAX),
        ] {
            value["workers"][0][key] = number.into();
        }
        value["workers"][0]["program"] = "p".repeat(500).into();
        value["last_reload"] = json!({ "result": "refused", "why": "w\n ".repeat(500), "ago_ms": 999 });
        value["workers"][0]["connections"] = 9999.into();
        value["workers"][0]["state"] = "draining".into();
        value["workers"][0]["since_ms"] = (47 * 3_600_000).into();
        value["workers"][0]["last_exit"] = json!({ "signal": 5, "ago_ms": 59 * 60_000 });
        value["workers"][0]["load_source"] = "reports".into();
        value["workers"][0]["cpu_ms"] = (81_234 + 32 * 200).into();
        let mut before = sample();
        before["workers"][0]["id"] = 99_999.into();
        let text = plain(&whole(&status(before), &status(value)));
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        for part in [
            "draining 47h",
            "TRAP 59m",
            "4194304",
            "3200%",
            "reports",
            "/app.sock",
            "xx…xx",
            "99999* ",
            "pp…pp",
            "w w …",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn who_runs_something_else_is_marked() {
        let mut value = sample();
        value["workers"][0]["program"] = Value::Null;
        value["vacant"][0]["program"] = "sleep 1000".into();
        let text = plain(&workers(&status(value.clone()), &status(value.clone())));
        let expected = "\
ID  SLOT   PID  STATE      GEN  RST  LAST EXIT  CONN  HANDED  CPU  RSS  BY
1      0  4713  ready 23h    1    0  -            12     509    -  50M  script
-*     1     -  errored      -   10  1 1m          -       -    -    -  -
* slot 1 runs a program of its own: sleep 1000
";
        assert_eq!(text, expected);
        // It and its successor.
        let mut second = value["workers"][0].clone();
        (second["id"], second["program"]) = (2.into(), "x".into());
        value["workers"][0]["program"] = "x".into();
        value["workers"].as_array_mut().unwrap().push(second);
        let text = plain(&workers(&status(value.clone()), &status(value)));
        assert!(text.contains("\n1*     0") && text.contains("\n2*     0"), "{text}");
        assert!(text.ends_with(
            "\n* slot 0 runs a program of its own: x\n* slot 1 runs a program of its own: sleep 1000\n"
        ));
    }

    #[test]
    fn a_reload_that_came_to_nothing_is_told() {
        let mut value = sample();
        for (result, why, expected) in [
            (
                "failed",
                "slot 0:\n  it exited".into(),
                Some("last reload  failed 2m ago: slot 0: it exited\n"),
            ),
            ("refused", Value::Null, Some("last reload  refused 2m ago\n")),
            ("failed", "\u{1b}[2J".into(), Some("ago: \\u{1b}[2J\n")),
            ("succeeded", Value::Null, None),
        ] {
            value["last_reload"] =
                json!({ "result": result, "generation": 2, "why": why, "ago_ms": 125_000 });
            let text = plain(&whole(&status(value.clone()), &status(value.clone())));
            match expected {
                Some(line) => assert!(text.contains(line), "{text}"),
                None => assert!(!text.contains("last reload"), "{text}"),
            }
        }
    }

    #[test]
    fn nothing_that_a_master_says_steers_the_terminal() {
        let mut value = sample();
        for place in
            ["/program", "/name", "/policy", "/version", "/listeners/0/address", "/workers/0/load_source"]
        {
            *value.pointer_mut(place).unwrap() = "\x1b[2J\r\n".into();
        }
        value["workers"][0]["state"] = "\x1b[2J".into();
        let text = plain(&whole(&status(sample()), &status(value.clone())));
        let styled = whole(&status(sample()), &status(value));
        assert!(
            !styled.contains("[2J\r") && !text.contains('\x1b') && text.contains("\\u{1b}[2J\\r\\n"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 13, "{text}");
    }

    #[test]
    fn what_is_lost_is_told_and_what_is_unknown_is_a_dash() {
        let mut value = sample();
        value["counters"]["lost"] = 3.into();
        value["counters"]["rejected"] = 20_000.into();
        value["listeners"][0]["waiting"] = Value::Null;
        value["workers"] = json!([]);
        value["vacant"][0]["state"] = "waiting".into();
        value["vacant"][0]["start_in_ms"] = 3200.into();
        let text = plain(&whole(&status(value.clone()), &status(value.clone())));
        assert!(text.contains("handed over, 3 lost, 20k turned away\n"), "{text}");
        assert!(text.contains("511        -      1017") && text.contains("waiting 3s"), "{text}");
        value["vacant"] = json!([]);
        value["mode"] = "shared".into();
        let text = plain(&whole(&status(value.clone()), &status(value)));
        assert!(text.ends_with("\nno workers\n") && text.contains("mode         shared\n"), "{text}");
    }
}
