//! `cargo bench --bench handoff`: Pointsman in turn with Node's own cluster primary before the same two Node workers, and
//! with a floor program before two workers of the crate.
//!
//! This file only lists who is measured (subjects), under what load (workloads) and which figures are printed
//! (contests). How it is done is in `runner/`, how to read it in `README.md`.

#![cfg_attr(
    test,
    allow(dead_code, unused_imports, reason = "no harness: #[test] is cut out, not what it uses")
)]

mod floor;
#[allow(dead_code, unused_imports, reason = "each bench uses its part of the runner")]
mod runner;
mod stalled;
mod wrk;

use std::path::Path;
use std::process::{Command, ExitCode};

use nix::sys::signal::Signal;
use runner::{Bench, Contest, Figure, Reload, Site, Subject, Target};
use wrk::{Throughput, Wrk};

/// Workers behind every front.
const WORKERS: usize = floor::WORKERS;

const POINTSMAN_BINARY: &str = env!("CARGO_BIN_EXE_pointsman");

const NODE: Subject = Subject {
    name: "node",
    title: "Node",
    helpers: &[],
    workers: WORKERS,
    who: "/pid",
    stop: Signal::SIGTERM,
    start: node,
    reload: Reload::Never,
};

const POINTSMAN: Subject = Subject {
    name: "pointsman",
    title: "Pointsman",
    helpers: &["pointsman-guard"],
    workers: WORKERS,
    who: "/pid",
    stop: Signal::SIGTERM,
    start: pointsman,
    reload: Reload::Never,
};

const FLOOR: Subject = Subject {
    name: "floor",
    title: "Floor",
    helpers: &[],
    workers: WORKERS,
    who: "/",
    stop: Signal::SIGTERM,
    start: floor,
    reload: Reload::Never,
};

const POINTSMAN_CRATE: Subject =
    Subject { name: "pointsman-crate", who: "/", start: pointsman_crate, ..POINTSMAN };

const POINTSMAN_STALLED: Subject =
    Subject { name: "pointsman-stalled", title: "with clients", start: pointsman_stalled, ..POINTSMAN_CRATE };

const NODE_NONE: Subject = Subject { name: "node-none", title: "Node's none", start: node_none, ..NODE };

const POINTSMAN_SHARED: Subject = Subject { name: "pointsman-shared", start: pointsman_shared, ..POINTSMAN };

const CLOSE: Wrk =
    Wrk { threads: 1, connections: 64, headers: &["Connection: close"], path: "/", script: None };
const KEEP_ALIVE: Wrk = Wrk { threads: 1, connections: 64, headers: &[], path: "/", script: None };

const CONNECTIONS: Figure<Throughput> =
    Figure { name: "connections/s", decimals: 0, of: |s| Some(s.per_second), target: None };
const FRONT_RSS: Figure<Throughput> = Figure {
    name: "front RSS, MB",
    decimals: 1,
    of: |s| Some(s.front_rss_mb),
    target: Some(Target::AtMost(8.0)),
};
const HELPER_RSS: Figure<Throughput> =
    Figure { name: "helper RSS, MB", decimals: 1, of: |s| s.helper_rss_mb, target: None };

const FRONT_CPU: Figure<Throughput> =
    Figure { name: "front CPU, µs/connection", decimals: 1, of: |s| Some(s.front_cpu_us()), target: None };

const BENCH: Bench<Wrk> = Bench {
    usage: "scripts/bench, or cargo bench --bench handoff --",
    contests: &CONTESTS,
    rounds: 6,
    seconds: 5,
    seconds_of: "load",
    needs: wrk::version,
};

const CONTESTS: [Contest<Wrk>; 5] = [
    Contest {
        name: "close",
        baseline: &NODE,
        candidate: &POINTSMAN,
        workload: CLOSE,
        figures: &[
            Figure { target: Some(Target::RatioAtLeast(1.25)), ..CONNECTIONS },
            Figure { target: Some(Target::RatioAtMost(0.65)), ..FRONT_CPU },
            FRONT_RSS,
            HELPER_RSS,
        ],
    },
    Contest {
        name: "crate",
        baseline: &FLOOR,
        candidate: &POINTSMAN_CRATE,
        workload: CLOSE,
        figures: &[
            Figure { target: Some(Target::RatioAtLeast(0.95)), ..CONNECTIONS },
            FRONT_CPU,
            FRONT_RSS,
            HELPER_RSS,
        ],
    },
    Contest {
        name: "stalled",
        baseline: &POINTSMAN_CRATE,
        candidate: &POINTSMAN_STALLED,
        workload: CLOSE,
        figures: &[
            Figure { target: Some(Target::RatioAtLeast(0.95)), ..CONNECTIONS },
            FRONT_CPU,
            FRONT_RSS,
            HELPER_RSS,
        ],
    },
    Contest {
        name: "shared",
        baseline: &NODE_NONE,
        candidate: &POINTSMAN_SHARED,
        workload: CLOSE,
        figures: &[Figure { target: Some(Target::RatioAtLeast(0.95)), ..CONNECTIONS }, FRONT_RSS, HELPER_RSS],
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

fn node_none(site: &Site) -> Command {
    let mut command = node(site);
    command.arg("none");
    command
}

fn pointsman(site: &Site) -> Command {
    with_node(pointsman_crate(site), site)
}

fn pointsman_shared(site: &Site) -> Command {
    let mut command = pointsman_crate(site);
    command.args(["-m", "shared"]);
    with_node(command, site)
}

fn with_node(mut command: Command, site: &Site) -> Command {
    command.arg("--").arg(&site.node).arg(site.file("node/worker.js"));
    command
}

/// Without a program the workers are the built-in demo's: the same binary.
fn pointsman_crate(site: &Site) -> Command {
    let mut command = site.command(Path::new(POINTSMAN_BINARY));
    command.args(["run", "-w", &WORKERS.to_string(), "-l", &site.address().to_string()]);
    command
}

/// The same, with a thousand clients of its control socket that have connected and stall.
fn pointsman_stalled(site: &Site) -> Command {
    stalled::stall(site.runtime_dir.join("pointsman/default.sock"));
    pointsman_crate(site)
}

/// This program again, see [`floor`].
fn floor(site: &Site) -> Command {
    let mut command = site.command(Path::new("/proc/self/exe"));
    command.args([floor::FLAG, &site.address().port().to_string(), POINTSMAN_BINARY]);
    command
}

fn main() -> ExitCode {
    floor::run_if_asked(std::env::args_os().skip(1)).unwrap_or_else(|| runner::main(&BENCH))
}
