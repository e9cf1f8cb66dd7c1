//! `cargo bench --bench proxy`: one lane of Pointsman in turn with one worker of nginx, one thread of HAProxy, and a floor
//! program, each before the same two upstreams.
//!
//! This file only lists who is measured (subjects), under what load (workloads) and which figures are printed (contests).
//! How it is done is in `runner/` and `proxy/`, how to read it in `README.md`.

#![cfg_attr(
    test,
    allow(dead_code, unused_imports, reason = "no harness: #[test] is cut out, not what it uses")
)]

#[path = "proxy/floor.rs"]
mod floor;
#[path = "proxy/load.rs"]
mod load;
#[path = "proxy/open.rs"]
mod open;
#[allow(dead_code, unused_imports, reason = "each bench uses its part of the runner")]
mod runner;
#[path = "proxy/stage.rs"]
mod stage;
#[path = "proxy/upstream.rs"]
mod upstream;
#[allow(dead_code, reason = "each bench uses its part of it")]
mod wrk;

use std::path::Path;
use std::process::{Command, ExitCode};

use load::{Load, Measured};
use nix::sys::signal::Signal;
use runner::{Bench, Contest, Figure, Reload, Site, Subject, Target};
use wrk::Wrk;

const NGINX: Subject = Subject {
    name: "nginx",
    title: "nginx",
    helpers: &[],
    workers: stage::UPSTREAMS,
    who: "/pid",
    stop: Signal::SIGTERM,
    start: |site| staged(site, "nginx"),
    reload: Reload::Never,
};

const HAPROXY: Subject =
    Subject { name: "haproxy", title: "HAProxy", start: |site| staged(site, "haproxy"), ..NGINX };

const FLOOR: Subject =
    Subject { name: "floor", title: "Floor", start: |site| staged(site, "floor"), ..NGINX };

const POINTSMAN: Subject = Subject {
    name: "pointsman",
    title: "Pointsman",
    helpers: &["pointsman-lane"],
    start: |site| staged(site, "pointsman"),
    ..NGINX
};

const GET: Wrk = Wrk { threads: 1, connections: 64, headers: &[], path: "/", script: None };
const DOWN_1: Load = Load::Wrk(Wrk { connections: 8, path: "/bytes/1048576", ..GET });
const DOWN_64: Load = Load::Wrk(Wrk { connections: 4, path: "/bytes/67108864", ..GET });
const UP_1: Load = Load::Wrk(Wrk { connections: 8, script: Some("proxy/up1.lua"), ..GET });
const UP_64: Load = Load::Wrk(Wrk { connections: 4, script: Some("proxy/up64.lua"), ..GET });

const PER_SECOND: Figure<Measured> = Figure {
    name: "requests/s",
    decimals: 0,
    of: |measured| measured.per_second,
    target: Some(Target::RatioAtLeast(1.25)),
};
const CPU: Figure<Measured> = Figure {
    name: "front CPU, µs/request",
    decimals: 1,
    of: |measured| measured.front_cpu_us,
    target: Some(Target::RatioAtMost(0.8)),
};
const RSS: Figure<Measured> =
    Figure { name: "lane RSS, MB", decimals: 1, of: |measured| measured.helper_rss_mb, target: None };
const P50: Figure<Measured> = Figure {
    name: "p50, µs",
    decimals: 0,
    of: |measured| measured.p50_us,
    target: Some(Target::RatioAtMost(1.0)),
};
const P99: Figure<Measured> = Figure { name: "p99, µs", of: |measured| measured.p99_us, ..P50 };

const GET_FIGURES: &[Figure<Measured>] = &[PER_SECOND, CPU, RSS];
const BODY_FIGURES: &[Figure<Measured>] = &[
    Figure { target: Some(Target::RatioAtLeast(1.0)), decimals: 1, ..PER_SECOND },
    Figure { target: Some(Target::RatioAtMost(1.0)), ..CPU },
];
const LATENCY_FIGURES: &[Figure<Measured>] = &[P50, P99];

const BENCH: Bench<Load> = Bench {
    usage: "scripts/bench --proxy, or cargo bench --bench proxy --",
    contests: &CONTESTS,
    rounds: 4,
    seconds: 5,
    seconds_of: "load",
    needs: load::versions,
};

const fn against(
    name: &'static str,
    baseline: &'static Subject,
    workload: Load,
    figures: &'static [Figure<Measured>],
) -> Contest<Load> {
    Contest { name, baseline, candidate: &POINTSMAN, workload, figures }
}

const CONTESTS: [Contest<Load>; 13] = [
    against("get-nginx", &NGINX, Load::Wrk(GET), GET_FIGURES),
    against("get-haproxy", &HAPROXY, Load::Wrk(GET), GET_FIGURES),
    against(
        "get-floor",
        &FLOOR,
        Load::Wrk(GET),
        &[Figure { target: None, ..PER_SECOND }, Figure { target: Some(Target::RatioAtMost(1.25)), ..CPU }],
    ),
    against("latency-nginx", &NGINX, Load::Open, LATENCY_FIGURES),
    against("latency-haproxy", &HAPROXY, Load::Open, LATENCY_FIGURES),
    against("down1-nginx", &NGINX, DOWN_1, BODY_FIGURES),
    against("down1-haproxy", &HAPROXY, DOWN_1, BODY_FIGURES),
    against("down64-nginx", &NGINX, DOWN_64, BODY_FIGURES),
    against("down64-haproxy", &HAPROXY, DOWN_64, BODY_FIGURES),
    against("up1-nginx", &NGINX, UP_1, BODY_FIGURES),
    against("up1-haproxy", &HAPROXY, UP_1, BODY_FIGURES),
    against("up64-nginx", &NGINX, UP_64, BODY_FIGURES),
    against("up64-haproxy", &HAPROXY, UP_64, BODY_FIGURES),
];

/// The bench's own executable, which starts the upstreams and then becomes the front.
fn staged(site: &Site, front: &str) -> Command {
    let mut command = site.command(Path::new("/proc/self/exe"));
    command.args([stage::STAGE, front, &site.address().port().to_string()]);
    command.arg(&site.runtime_dir).arg(env!("CARGO_BIN_EXE_pointsman"));
    command
}

fn main() -> ExitCode {
    match stage::run_if_asked(std::env::args_os().skip(1)) {
        Some(code) => code,
        None => runner::main(&BENCH),
    }
}
