//! The paired runner: starts two fronts in turn before the same workers, puts each under the same workload, prints ratios.
//!
//! In: contests, each a pair of subjects, a workload and the figures wanted. Out: one table. It knows nothing of any
//! particular front, worker or workload, except that a worker tells its process id over HTTP.

mod child;
mod front;
mod options;
mod proc;
mod report;
#[cfg(test)]
mod samples;
mod stats;
mod tools;
mod watch;
mod who;

use std::ffi::OsStr;
use std::fmt::Debug;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::sys::signal::Signal;

pub(crate) use child::Running;
pub(crate) use front::Front;
use options::{Options, Request};
pub(crate) use proc::Process;
pub(crate) use stats::Spread;
use tools::Tools;
pub(crate) use tools::first_words;
pub(crate) use watch::Watch;

/// A front process: what stands between the load and the workers.
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
    pub(crate) reload: Reload,
}

/// What makes a front replace all its workers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reload {
    /// Nothing that a bench knows of.
    Never,
    /// Sent to the front.
    Signal(Signal),
    /// Built on [`Site::command`], for the same site as the front.
    Command(fn(&Site) -> Command),
}

/// Where a front is started.
#[derive(Debug)]
pub(crate) struct Site {
    /// The Node binary.
    pub(crate) node: PathBuf,
    /// A port nobody listened on a moment ago.
    port: u16,
    /// A directory for this run alone.
    pub(crate) runtime_dir: PathBuf,
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

/// What is done to a front that runs.
pub(crate) trait Workload: Debug {
    /// What one run of it gives.
    type Measured: Debug;

    /// Warms the front up, does it, and reads off what it gave.
    fn measure(&self, run: &Run<'_>, front: &Front) -> Result<Sample<Self::Measured>, Failure>;
}

/// How long a workload is to go on, and who may interrupt it.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) watch: &'a Watch,
    pub(crate) warm_up: u32,
    pub(crate) seconds: u32,
}

/// A bench: what `main` is given.
#[derive(Debug)]
pub(crate) struct Bench<W: Workload + 'static> {
    /// What to type for it, without flags.
    pub(crate) usage: &'static str,
    pub(crate) contests: &'static [Contest<W>],
    /// The numbers that flags change.
    pub(crate) rounds: u32,
    pub(crate) seconds: u32,
    /// What happens in those seconds, for `--help`.
    pub(crate) seconds_of: &'static str,
    /// Finds what the workload or a subject needs besides Node, and says its version.
    pub(crate) needs: fn() -> Result<String, Failure>,
}

/// Two subjects under one workload.
#[derive(Debug)]
pub(crate) struct Contest<W: Workload + 'static> {
    /// The word for it on the command line and in the table.
    pub(crate) name: &'static str,
    /// The peer: the denominator of every ratio.
    pub(crate) baseline: &'static Subject,
    /// The one in question: the numerator.
    pub(crate) candidate: &'static Subject,
    pub(crate) workload: W,
    pub(crate) figures: &'static [Figure<W::Measured>],
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Figure<T> {
    /// With its unit.
    pub(crate) name: &'static str,
    pub(crate) decimals: usize,
    /// `None` where a subject has no such thing.
    pub(crate) of: fn(&T) -> Option<f64>,
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
pub(crate) struct Sample<T> {
    pub(crate) measured: T,
    /// Requests that were not answered as they should be.
    pub(crate) failures: u64,
    /// What was not as it should be, in words.
    pub(crate) remarks: Vec<String>,
}

/// The samples of one contest, round by round.
#[derive(Debug)]
pub(crate) struct Outcome<'a, W: Workload + 'static> {
    pub(crate) contest: &'a Contest<W>,
    /// Those that ran: the contest's own pair or that of `--pair`.
    pub(crate) first: &'a Subject,
    pub(crate) second: &'a Subject,
    pub(crate) baseline: Vec<Sample<W::Measured>>,
    pub(crate) candidate: Vec<Sample<W::Measured>>,
}

impl<W: Workload> Outcome<'_, W> {
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
    pub(crate) fn because(text: impl Into<String>) -> Self {
        Self::Measure(text.into())
    }
}

/// Runs what the command line asks for. 0: measured, whatever the figures; 1: could not; 2: usage; 130: interrupted.
pub(crate) fn main<W: Workload>(bench: &Bench<W>) -> ExitCode {
    let code = match run(bench) {
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

fn run<W: Workload>(bench: &Bench<W>) -> Result<(), Failure> {
    let options = match options::parse(std::env::args().skip(1), bench)? {
        Request::Help => {
            print!("{}", options::help(bench));
            return Ok(());
        }
        Request::Idle => {
            println!("Nothing is measured without --bench: use `scripts/bench` or `cargo bench`.");
            return Ok(());
        }
        Request::Measure(options) => options,
    };
    let watch = Watch::start()?;
    let tools = Tools::find(bench.needs)?;
    let machine = tools.machine();
    let mut outcomes = Vec::new();
    for contest in &options.contests {
        outcomes.push(play(&watch, &tools, &options, contest)?);
    }
    print!("\n{}", report::table(&outcomes));
    println!("\n{}\n{machine}", options.plan(bench));
    Ok(())
}

/// Baseline, candidate, candidate, baseline, baseline, …: what slows the machine for a while slows both of a pair, and
/// where it grows slower or faster all the time, each of the two has the better half of a round as often as the other.
fn play<'a, W: Workload>(
    watch: &Watch,
    tools: &Tools,
    options: &Options<'a, W>,
    contest: &'a Contest<W>,
) -> Result<Outcome<'a, W>, Failure> {
    let run = Run { watch, warm_up: options.warm_up, seconds: options.seconds };
    let (first, second) = options.pair.unwrap_or((contest.baseline, contest.candidate));
    let mut outcome = Outcome { contest, first, second, baseline: Vec::new(), candidate: Vec::new() };
    for round in 1..=options.rounds {
        let mut pair = [(first, &mut outcome.baseline), (second, &mut outcome.candidate)];
        if round % 2 == 0 {
            pair.reverse();
        }
        for (subject, samples) in pair {
            let sample = measure(&run, tools, contest, subject)?;
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

/// One run: a fresh front on a fresh port, put under the workload, stopped.
fn measure<W: Workload>(
    run: &Run<'_>,
    tools: &Tools,
    contest: &Contest<W>,
    subject: &Subject,
) -> Result<Sample<W::Measured>, Failure> {
    let front = Front::start(run.watch, &tools.node, subject)?;
    let measured = contest.workload.measure(run, &front);
    let mut sample = measured.map_err(|failure| front.explain(failure))?;
    sample.remarks.extend(front.stop());
    Ok(sample)
}
