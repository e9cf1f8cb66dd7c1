//! Contests and samples for the tests of the other modules.

use std::process::Command;

use nix::sys::signal::Signal;

use super::{Contest, Figure, Sample, Site, Subject, Target, Workload};

const fn subject(name: &'static str, title: &'static str) -> Subject {
    Subject { name, title, helpers: &[], workers: 1, who: "/", stop: Signal::SIGTERM, start: never }
}

fn never(_: &Site) -> Command {
    unreachable!("no test starts this subject")
}

static OLD: Subject = subject("old", "Old");
static NEW: Subject = subject("new", "New");

const fn contest(name: &'static str) -> Contest {
    Contest {
        name,
        baseline: &OLD,
        candidate: &NEW,
        workload: Workload { threads: 1, connections: 1, headers: &[], path: "/" },
        figures: &[
            Figure {
                name: "requests/s",
                decimals: 0,
                of: |sample| Some(sample.per_second),
                target: Some(Target::RatioAtLeast(0.95)),
            },
            Figure {
                name: "RSS, MB",
                decimals: 1,
                of: |sample| Some(sample.front_rss_mb),
                target: Some(Target::AtMost(8.0)),
            },
            Figure { name: "helper, MB", decimals: 1, of: |sample| sample.helper_rss_mb, target: None },
        ],
    }
}

pub(crate) static CONTESTS: [Contest; 2] = [contest("busy"), contest("still")];

pub(crate) fn sample(per_second: f64, front_rss_mb: f64, helper_rss_mb: Option<f64>) -> Sample {
    Sample {
        requests: 1000,
        per_second,
        front_cpu_ns: 1_000_000,
        front_rss_mb,
        helper_rss_mb,
        failures: 0,
        remarks: Vec::new(),
    }
}
