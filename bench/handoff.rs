//! `cargo bench --bench handoff`: Node's own cluster primary and Pointsman in turn before the same two Node workers.
//!
//! This file only lists who is measured (subjects), under what load (workloads) and which figures are printed
//! (contests). How it is done is in `runner/`, how to read it in `README.md`.

#![cfg_attr(
    test,
    allow(dead_code, unused_imports, reason = "no harness: #[test] is cut out, not what it uses")
)]

mod runner;

use std::path::Path;
use std::process::{Command, ExitCode};

use nix::sys::signal::Signal;
use runner::{Contest, Figure, Site, Subject, Target, Workload};

/// Workers behind every front.
const WORKERS: usize = 2;

const NODE: Subject = Subject {
    name: "node",
    title: "Node",
    helpers: &[],
    workers: WORKERS,
    stop: Signal::SIGTERM,
    start: node,
};

const POINTSMAN: Subject = Subject {
    name: "pointsman",
    title: "Pointsman",
    helpers: &["pointsman-guard"],
    workers: WORKERS,
    stop: Signal::SIGTERM,
    start: pointsman,
};

const CLOSE: Workload = Workload { threads: 1, connections: 64, headers: &["Connection: close"], path: "/" };
const KEEP_ALIVE: Workload = Workload { threads: 1, connections: 64, headers: &[], path: "/" };

const FRONT_RSS: Figure = Figure {
    name: "front RSS, MB",
    decimals: 1,
    of: |s| Some(s.front_rss_mb),
    target: Some(Target::AtMost(8.0)),
};
const HELPER_RSS: Figure =
    Figure { name: "helper RSS, MB", decimals: 1, of: |s| s.helper_rss_mb, target: None };

const CONTESTS: [Contest; 2] = [
    Contest {
        name: "close",
        baseline: &NODE,
        candidate: &POINTSMAN,
        workload: CLOSE,
        figures: &[
            Figure { name: "connections/s", decimals: 0, of: |s| Some(s.per_second), target: None },
            Figure {
                name: "front CPU, µs/connection",
                decimals: 1,
                of: |s| Some(s.front_cpu_us()),
                target: Some(Target::RatioAtMost(0.75)),
            },
            FRONT_RSS,
            HELPER_RSS,
        ],
    },
    Contest {
        name: "keepalive",
        baseline: &NODE,
        candidate: &POINTSMAN,
        workload: KEEP_ALIVE,
        figures: &[
            Figure {
                name: "requests/s",
                decimals: 0,
                of: |s| Some(s.per_second),
                target: Some(Target::RatioAtLeast(0.95)),
            },
            FRONT_RSS,
            HELPER_RSS,
        ],
    },
];

fn node(site: &Site) -> Command {
    let mut command = site.command(&site.node);
    command.arg(site.file("node/primary.js")).arg(WORKERS.to_string());
    command
}

fn pointsman(site: &Site) -> Command {
    let mut command = site.command(Path::new(env!("CARGO_BIN_EXE_pointsman")));
    command.args(["run", "-w", &WORKERS.to_string(), "-l", &site.address().to_string(), "--"]);
    command.arg(&site.node).arg(site.file("node/worker.js"));
    command
}

fn main() -> ExitCode {
    runner::main(&CONTESTS)
}
