//! The loads of the proxy bench, and what a run of them gives.

use std::path::Path;

use crate::open;
use crate::runner::{Failure, Front, Run, Sample, Workload, first_words};
use crate::wrk::{self, Wrk};

/// What is done to a front.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Load {
    /// As fast as it goes.
    Wrk(Wrk),
    /// At a steady rate: see `open.rs`.
    Open,
}

/// What a run gives; `None` for what its load does not tell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measured {
    pub(crate) per_second: Option<f64>,
    pub(crate) front_cpu_us: Option<f64>,
    pub(crate) helper_rss_mb: Option<f64>,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
}

impl Workload for Load {
    type Measured = Measured;

    fn measure(&self, run: &Run<'_>, front: &Front) -> Result<Sample<Measured>, Failure> {
        match self {
            Self::Wrk(wrk) => {
                let Sample { measured, failures, remarks } = wrk.measure(run, front)?;
                let measured = Measured {
                    per_second: Some(measured.per_second),
                    front_cpu_us: Some(measured.front_cpu_us()),
                    helper_rss_mb: measured.helper_rss_mb,
                    ..Measured::default()
                };
                Ok(Sample { measured, failures, remarks })
            }
            Self::Open => {
                open::load(front.address(), run.warm_up)?;
                let times = open::load(front.address(), run.seconds)?;
                let at = |share: f64| Some(open::quantile(&times, share));
                let measured = Measured { p50_us: at(0.5), p99_us: at(0.99), ..Measured::default() };
                Ok(Sample { measured, failures: 0, remarks: front.remarks() })
            }
        }
    }
}

/// Says which wrk, nginx and HAProxy there are.
pub(crate) fn versions() -> Result<String, Failure> {
    let nginx = first_words_of_stderr("nginx", "-v", "install it (Debian: apt-get install nginx-light)")?;
    let haproxy = first_words(Path::new("haproxy"), "-v", 3, "install it (Debian: apt-get install haproxy)")?;
    Ok(format!("{}, {nginx}, {haproxy}", wrk::version()?))
}

/// nginx tells its version there.
fn first_words_of_stderr(program: &str, flag: &str, advice: &str) -> Result<String, Failure> {
    let output = std::process::Command::new(program).arg(flag).output();
    let output =
        output.map_err(|error| Failure::because(format!("cannot run {program}: {error}; {advice}")))?;
    Ok(String::from_utf8_lossy(&output.stderr).split_whitespace().skip(2).collect::<Vec<_>>().join(" "))
}
