//! `cargo bench --bench supervision`: Pointsman in turn with PM2 before the same eight workers, under a load that knows of
//! each request what became of it, while workers are reloaded and killed.
//!
//! This file only lists who is measured and which figures are printed. What happens is in `upheaval.rs`, the load in
//! `tests/traffic`, how it is run in `runner/`, and how to read it in `README.md`.

#![cfg_attr(
    test,
    allow(dead_code, unused_imports, reason = "no harness: #[test] is cut out, not what it uses")
)]

#[allow(dead_code, unused_imports, reason = "each bench uses its part of the runner")]
mod runner;
#[allow(dead_code, unused_imports, reason = "the end-to-end tests use more of it")]
#[path = "../tests/traffic/mod.rs"]
mod traffic;
mod upheaval;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::sys::signal::Signal;
use runner::{Bench, Contest, Failure, Figure, Reload, Site, Subject, Target};
use upheaval::{Toll, Upheaval};

const WORKERS: usize = 8;
/// From the start of a worker until it listens, besides what Node takes.
const BOOT_MS: &str = "100";
/// In one run. PM2 gives a program up that dies sixteen times within a second of its start.
const KILLS: u32 = 5;

const POINTSMAN_BINARY: &str = env!("CARGO_BIN_EXE_pointsman");
/// Where `scripts/setup --bench` installs it.
const PM2_FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/pm2/node_modules/pm2");
/// What PM2 calls the program.
const NAME: &str = "token";

const PM2: Subject = Subject {
    name: "pm2",
    title: "PM2",
    helpers: &[],
    workers: WORKERS,
    who: "/",
    stop: Signal::SIGTERM,
    start: pm2,
    reload: Reload::Command(pm2_reload),
};

const POINTSMAN: Subject = Subject {
    name: "pointsman",
    title: "Pointsman",
    helpers: &["pointsman-guard"],
    start: pointsman,
    reload: Reload::Signal(Signal::SIGHUP),
    ..PM2
};

const PM2_PLAIN: Subject = Subject { name: "pm2-plain", start: pm2_plain, ..PM2 };
const POINTSMAN_PLAIN: Subject = Subject { name: "pointsman-plain", start: pointsman_plain, ..POINTSMAN };

const LOST: Figure<Toll> = Figure {
    name: "lost requests",
    decimals: 1,
    of: |toll| Some(toll.lost),
    target: Some(Target::AtMost(0.0)),
};
const RELOAD: Figure<Toll> =
    Figure { name: "reload, ms", decimals: 0, of: |toll| Some(toll.took_ms), target: None };
const PAUSE: Figure<Toll> = Figure {
    name: "longest without an answer, ms",
    decimals: 0,
    of: |toll| Some(toll.pause_ms),
    target: None,
};
const FRONT_RSS: Figure<Toll> =
    Figure { name: "front RSS, MB", decimals: 1, of: |toll| Some(toll.front_rss_mb), target: None };

const BENCH: Bench<Upheaval> = Bench {
    usage: "scripts/bench --supervision, or cargo bench --bench supervision --",
    contests: &CONTESTS,
    rounds: 6,
    seconds: 2,
    seconds_of: "load after the last reload or kill",
    needs: pm2_version,
};

const CONTESTS: [Contest<Upheaval>; 3] = [
    Contest {
        name: "reload",
        baseline: &PM2,
        candidate: &POINTSMAN,
        workload: Upheaval::Reload,
        figures: &[LOST, RELOAD, PAUSE, FRONT_RSS],
    },
    Contest {
        name: "reload-plain",
        baseline: &PM2_PLAIN,
        candidate: &POINTSMAN_PLAIN,
        workload: Upheaval::Reload,
        figures: &[LOST, RELOAD, PAUSE, FRONT_RSS],
    },
    Contest {
        name: "kill",
        baseline: &PM2_PLAIN,
        candidate: &POINTSMAN_PLAIN,
        workload: Upheaval::Kills(KILLS),
        figures: &[
            Figure { name: "lost requests/kill", target: None, ..LOST },
            Figure { name: "kill to ready, ms", ..RELOAD },
            Figure {
                name: "the longest of a run, ms",
                decimals: 0,
                of: |toll| Some(toll.longest_ms),
                target: None,
            },
            PAUSE,
            FRONT_RSS,
        ],
    },
];

/// PM2's command for containers: its daemon, in the foreground. What the program says goes to /dev/null, as by default.
fn pm2_plain(site: &Site) -> Command {
    let mut command = pm2_command(site, "pm2-runtime");
    command.arg("start").arg(traffic::program());
    command.args(["--name", NAME, "-i", &WORKERS.to_string()]);
    with_boot(command)
}

fn pm2(site: &Site) -> Command {
    that_leaves(pm2_plain(site))
}

fn pm2_reload(site: &Site) -> Command {
    let mut command = pm2_command(site, "pm2");
    command.args(["reload", NAME]);
    command
}

/// With a home of its own, so that it meets no other PM2 and leaves nothing behind, and without its look for news.
fn pm2_command(site: &Site, program: &str) -> Command {
    let mut command = site.command(&site.node);
    command.arg(Path::new(PM2_FOLDER).join("bin").join(program));
    command.env("HOME", &site.runtime_dir).env("PM2_HOME", site.runtime_dir.join("pm2"));
    command.env("PM2_DISABLE_VERSION_CHECK", "true");
    command
}

fn pointsman_plain(site: &Site) -> Command {
    let mut command = site.command(Path::new(POINTSMAN_BINARY));
    command.args(["run", "-w", &WORKERS.to_string(), "-l", &site.address().to_string(), "--"]);
    command.arg(&site.node).arg(traffic::program());
    with_boot(command)
}

fn pointsman(site: &Site) -> Command {
    that_leaves(pointsman_plain(site))
}

fn with_boot(mut command: Command) -> Command {
    command.env("BOOT_MS", BOOT_MS);
    command
}

/// With a program that does on SIGINT what PM2's guide asks of it.
fn that_leaves(mut command: Command) -> Command {
    command.env("LEAVES", "1");
    command
}

fn pm2_version() -> Result<String, Failure> {
    let file = PathBuf::from(PM2_FOLDER).join("package.json");
    let version = fs::read(&file).ok().and_then(|text| {
        let package: serde_json::Value = serde_json::from_slice(&text).ok()?;
        Some(format!("PM2 {}", package["version"].as_str()?))
    });
    version.ok_or_else(|| Failure::because(format!("no PM2 in {PM2_FOLDER}; run scripts/setup --bench")))
}

fn main() -> ExitCode {
    runner::main(&BENCH)
}
