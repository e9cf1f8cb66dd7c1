//! The paired runner: starts two fronts in turn before the same workers, loads each with wrk, prints ratios.
//!
//! In: contests, each a pair of subjects, a workload and the figures wanted. Out: one table. It knows nothing of any
//! particular front or worker, except that a worker tells its process id over HTTP.

mod front;
mod options;
mod proc;
mod report;
#[cfg(test)]
mod samples;
mod stats;
mod tools;
mod watch;
mod wrk;

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::sys::signal::Signal;

use front::Front;
use options::{Options, Request};
use tools::Tools;
use watch::Watch;

/// A front process: what stands between wrk and the workers.
#[derive(Debug)]
pub(crate) struct Subject {
    /// The word for it on the command line.
    pub(crate) name: &'static str,
    /// The head of its column.
    pub(crate) title: &'static str,
    /// `argv[0]` of child processes that belong to the front and are no workers: their CPU counts as the front's, their
    /// memory has a figure of its own.
    pub(crate) helpers: &'static [&'static str],
    /// How many workers must answer before the run begins.
    pub(crate) workers: usize,
    /// The path at which a worker tells its process id: nothing else, or somewhere behind the word `pid`.
    pub(crate) who: &'static str,
    /// What ends it, its workers included.
    pub(crate) stop: Signal,
    /// The command whose process is the front; built on [`Site::command`].
    pub(crate) start: fn(&Site) -> Command,
}

/// Where a front is started.
#[derive(Debug)]
pub(crate) struct Site {
    /// The Node binary.
    pub(crate) node: PathBuf,
    /// A port nobody listened on a moment ago.
    port: u16,
    /// A directory for this run alone.
    runtime_dir: PathBuf,
}

impl Site {
    /// The address that the front shall serve.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The absolute path of a file in `bench/`.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("bench").join(name)
    }

    /// A command with a small environment, so that no variable of the caller's changes what a front does.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear();
        for name in ["PATH", "HOME"] {
            command.env(name, std::env::var_os(name).as_deref().unwrap_or(OsStr::new("/")));
        }
        command.env("PORT", self.port.to_string()).env("XDG_RUNTIME_DIR", &self.runtime_dir);
        command
    }
}

/// What wrk does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload {
    pub(crate) threads: u32,
    pub(crate) connections: u32,
    pub(crate) headers: &'static [&'static str],
    pub(crate) path: &'static str,
}

/// Two subjects under one workload.
#[derive(Debug)]
pub(crate) struct Contest {
    /// The word for it on the command line and in the table.
    pub(crate) name: &'static str,
    /// The peer: the denominator of every ratio.
    pub(crate) baseline: &'static Subject,
    /// The one in question: the numerator.
    pub(crate) candidate: &'static Subject,
    pub(crate) workload: Workload,
    pub(crate) figures: &'static [Figure],
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    /// With its unit.
    pub(crate) name: &'static str,
    pub(crate) decimals: usize,
    /// `None` where a subject has no such thing.
    pub(crate) of: fn(&Sample) -> Option<f64>,
    pub(crate) target: Option<Target>,
}

/// What must be reached, printed beside the figure. Nothing fails by it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// The median ratio is at most this.
    RatioAtMost(f64),
    /// The median ratio is at least this.
    RatioAtLeast(f64),
    /// The candidate's own median is at most this.
    AtMost(f64),
}

/// What one run of one subject gave.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// Requests completed; under `Connection: close` as many connections.
    pub(crate) requests: u64,
    /// Requests completed per second.
    pub(crate) per_second: f64,
    /// CPU time of the front and its helpers, user and system.
    pub(crate) front_cpu_ns: u64,
    /// Resident memory of the front process at the end of the load, 10^6 bytes.
    pub(crate) front_rss_mb: f64,
    /// The same for its helpers together, if it has any.
    pub(crate) helper_rss_mb: Option<f64>,
    /// Socket errors and answers that were no success.
    pub(crate) failures: u64,
    /// What was not as it should be, in words.
    pub(crate) remarks: Vec<String>,
}

impl Sample {
    /// CPU time of the front per request, in microseconds.
    #[allow(clippy::cast_precision_loss, reason = "both counts are far below 2^52")]
    pub(crate) fn front_cpu_us(&self) -> f64 {
        self.front_cpu_ns as f64 / 1e3 / self.requests as f64
    }
}

/// The samples of one contest, round by round.
#[derive(Debug)]
pub(crate) struct Outcome<'a> {
    pub(crate) contest: &'a Contest,
    /// Those that ran: the contest's own pair or that of `--pair`.
    pub(crate) first: &'a Subject,
    pub(crate) second: &'a Subject,
    pub(crate) baseline: Vec<Sample>,
    pub(crate) candidate: Vec<Sample>,
}

impl Outcome<'_> {
    /// Targets are for the pair that the contest names.
    fn is_as_listed(&self) -> bool {
        (self.first.name, self.second.name) == (self.contest.baseline.name, self.contest.candidate.name)
    }
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A sentence for the reader.
    #[error("{0}")]
    Measure(String),
    /// The flags make no sense.
    #[error("{0}; --help lists the flags")]
    Usage(String),
    /// INT, TERM or HUP came.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    fn because(text: impl Into<String>) -> Self {
        Self::Measure(text.into())
    }
}

/// Runs what the command line asks for. 0: measured, whatever the figures; 1: could not; 2: usage; 130: interrupted.
pub(crate) fn main(contests: &[Contest]) -> ExitCode {
    let code = match run(contests) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(ref failure) => {
            eprintln!("bench: {failure}");
            match failure {
                Failure::Measure(_) => 1,
                Failure::Usage(_) => 2,
                Failure::Interrupted => 130,
            }
        }
    };
    ExitCode::from(code)
}

fn run(contests: &[Contest]) -> Result<(), Failure> {
    let options = match options::parse(std::env::args().skip(1), contests)? {
        Request::Help => {
            print!("{}", options::help(contests));
            return Ok(());
        }
        Request::Idle => {
            println!("Nothing is measured without --bench: use `scripts/bench` or `cargo bench`.");
            return Ok(());
        }
        Request::Measure(options) => options,
    };
    let watch = Watch::start()?;
    let tools = Tools::find()?;
    let machine = tools.machine();
    let mut outcomes = Vec::new();
    for contest in &options.contests {
        outcomes.push(play(&watch, &tools, &options, contest)?);
    }
    print!("\n{}", report::table(&outcomes));
    println!("\n{}\n{machine}", options.plan());
    Ok(())
}

/// Baseline, candidate, candidate, baseline, baseline, …: what slows the machine for a while slows both of a pair, and
/// where it grows slower or faster all the time, each of the two has the better half of a round as often as the other.
fn play<'a>(
    watch: &Watch,
    tools: &Tools,
    options: &Options<'a>,
    contest: &'a Contest,
) -> Result<Outcome<'a>, Failure> {
    let (first, second) = options.pair.unwrap_or((contest.baseline, contest.candidate));
    let mut outcome = Outcome { contest, first, second, baseline: Vec::new(), candidate: Vec::new() };
    for round in 1..=options.rounds {
        let mut pair = [(first, &mut outcome.baseline), (second, &mut outcome.candidate)];
        if round % 2 == 0 {
            pair.reverse();
        }
        for (subject, samples) in pair {
            let sample = measure(watch, tools, options, contest, subject)?;
            eprintln!(
                "{} {round}/{} {}",
                contest.name,
                options.rounds,
                report::line(contest, subject, &sample)
            );
            samples.push(sample);
        }
    }
    Ok(outcome)
}

/// One run: a fresh front on a fresh port, warmed up, loaded, read, stopped.
fn measure(
    watch: &Watch,
    tools: &Tools,
    options: &Options<'_>,
    contest: &Contest,
    subject: &Subject,
) -> Result<Sample, Failure> {
    let front = Front::start(watch, &tools.node, subject)?;
    let load = |seconds| wrk::run(watch, &contest.workload, front.address(), seconds);
    let measured = load(options.warm_up).and_then(|_| {
        let before = front.cpu()?;
        let tally = load(options.seconds)?;
        let cpu_ns = front.cpu()?.since(&before);
        Ok((tally, cpu_ns, front.rss_mb()?, front.helper_rss_mb()))
    });
    let (tally, front_cpu_ns, front_rss_mb, helper_rss_mb) =
        measured.map_err(|failure| front.explain(failure))?;
    let mut remarks = tally.remarks();
    remarks.extend(front.remarks());
    remarks.extend(front.stop());
    Ok(Sample {
        requests: tally.requests,
        per_second: tally.per_second,
        front_cpu_ns,
        front_rss_mb,
        helper_rss_mb,
        failures: tally.failures(),
        remarks,
    })
}
