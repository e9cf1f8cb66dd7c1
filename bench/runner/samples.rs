//! Contests and samples for the tests of the other modules.

use std::process::Command;

use nix::sys::signal::Signal;

use super::{Bench, Contest, Failure, Figure, Front, Reload, Run, Sample, Site, Subject, Target, Workload};

/// A workload that no test puts a front under.
#[derive(Debug)]
pub(crate) struct Nothing;

#[derive(Debug, Clone)]
pub(crate) struct Measured {
    per_second: f64,
    front_rss_mb: f64,
    helper_rss_mb: Option<f64>,
}

impl Workload for Nothing {
    type Measured = Measured;

    fn measure(&self, _: &Run<'_>, _: &Front) -> Result<Sample<Measured>, Failure> {
        unreachable!("no test measures")
    }
}

const fn subject(name: &'static str, title: &'static str) -> Subject {
    Subject {
        name,
        title,
        helpers: &[],
        workers: 1,
        who: "/",
        stop: Signal::SIGTERM,
        start: never,
        reload: Reload::Never,
    }
}

fn never(_: &Site) -> Command {
    unreachable!("no test starts this subject")
}

static OLD: Subject = subject("old", "Old");
static NEW: Subject = subject("new", "New");

const fn contest(name: &'static str) -> Contest<Nothing> {
    Contest {
        name,
        baseline: &OLD,
        candidate: &NEW,
        workload: Nothing,
        figures: &[
            Figure {
                name: "requests/s",
                decimals: 0,
                of: |measured| Some(measured.per_second),
                target: Some(Target::RatioAtLeast(0.95)),
            },
            Figure {
                name: "RSS, MB",
                decimals: 1,
                of: |measured| Some(measured.front_rss_mb),
                target: Some(Target::AtMost(8.0)),
            },
            Figure { name: "helper, MB", decimals: 1, of: |measured| measured.helper_rss_mb, target: None },
        ],
    }
}

pub(crate) static CONTESTS: [Contest<Nothing>; 2] = [contest("busy"), contest("still")];

pub(crate) static BENCH: Bench<Nothing> = Bench {
    usage: "cargo bench --bench none",
    contests: &CONTESTS,
    rounds: 6,
    seconds: 5,
    seconds_of: "silence",
    needs: || Ok(String::new()),
};

pub(crate) fn sample(per_second: f64, front_rss_mb: f64, helper_rss_mb: Option<f64>) -> Sample<Measured> {
    let measured = Measured { per_second, front_rss_mb, helper_rss_mb };
    Sample { measured, failures: 0, remarks: Vec::new() }
}
