//! What supervision is for, done to a front under load: a reload of all its workers, and the death of single ones.
//!
//! What is seen is seen from without: who answers and who is alive. When a new worker is ready, the first request that
//! it answers tells, by the time at which that was sent; the answer itself comes later by what it is asked to take.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::runner::{Failure, Front, Process, Run, Sample, Spread, Workload};
use crate::traffic::{Load, Plan, Report};

/// For eight workers to be replaced, one after the other, on a busy machine.
const RELOAD_LIMIT: Duration = Duration::from_secs(60);
/// For one worker to have a successor, or for all to answer once.
const REPLACE_LIMIT: Duration = Duration::from_secs(30);
/// For a load to have gone on for some seconds, and for a command to end whose work is done.
const GRACE: Duration = Duration::from_secs(10);

/// What happens while the load goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Upheaval {
    Reload,
    /// So many workers are killed, each when the one before has its successor.
    Kills(u32),
}

/// What a run gave. Times in milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Toll {
    /// Requests without an answer, for each reload or kill.
    pub(crate) lost: f64,
    /// From the reload's begin until all old workers are gone and all new ones ready, or from a kill until there is a new
    /// worker that is ready: the median of a run.
    pub(crate) took_ms: f64,
    pub(crate) longest_ms: f64,
    /// The longest in which no request at all was answered.
    pub(crate) pause_ms: f64,
    /// Resident memory of the front process at the end, 10^6 bytes.
    pub(crate) front_rss_mb: f64,
}

impl Workload for Upheaval {
    type Measured = Toll;

    fn measure(&self, run: &Run<'_>, front: &Front) -> Result<Sample<Toll>, Failure> {
        let load = Load::start(Plan::to(front.address()));
        calm(run, &load, run.warm_up)?;
        let mut remarks = Vec::new();
        let times = match self {
            Self::Reload => vec![reload(run, front, &load, &mut remarks)?],
            Self::Kills(count) => (0..*count).map(|_| kill(run, front, &load)).collect::<Result<_, _>>()?,
        };
        calm(run, &load, run.seconds)?;
        let front_rss_mb = front.rss_mb()?;
        let report = load.stop();
        let measured = toll(&times, &report, front_rss_mb)
            .ok_or_else(|| Failure::because("nothing happened, so nothing was measured"))?;
        remarks.extend(remarks_on(&report));
        let failures = u64::try_from(report.failed.len()).unwrap_or(u64::MAX);
        Ok(Sample { measured, failures, remarks })
    }
}

/// Lets the load go on for so many seconds.
fn calm(run: &Run<'_>, load: &Load, seconds: u32) -> Result<(), Failure> {
    let time = Duration::from_secs(seconds.into());
    let end = load.elapsed() + time;
    run.watch.until(time + GRACE, "the load has gone on", || Ok((load.elapsed() >= end).then_some(())))
}

/// Has all workers replaced, and says how long that took.
fn reload(run: &Run<'_>, front: &Front, load: &Load, remarks: &mut Vec<String>) -> Result<Duration, Failure> {
    let old = front.workers();
    let begun = load.elapsed();
    let command = front.reload()?;
    let mut gone = None;
    let end = run.watch.until(RELOAD_LIMIT, "all its workers are replaced by others that answer", || {
        if gone.is_none() && !old.iter().any(Process::is_alive) {
            gone = Some(load.elapsed());
        }
        let Some(gone) = gone else { return Ok(None) };
        let ready = all_ready(&front.workers(), old.len(), &load.first_by_pid(begun));
        Ok(ready.map(|ready| ready.max(gone)))
    })?;
    if let Some(mut command) = command {
        let status = command.wait(run.watch, GRACE)?;
        if !status.success() {
            remarks.push(format!("the command to reload ended with {status}"));
        }
    }
    Ok(end.saturating_sub(begun))
}

/// Kills a worker, and says how long it took until another was ready.
fn kill(run: &Run<'_>, front: &Front, load: &Load) -> Result<Duration, Failure> {
    let since = load.elapsed();
    let workers = run.watch.until(REPLACE_LIMIT, "all its workers answer", || {
        let workers = front.workers();
        let ready = all_ready(&workers, front.count(), &load.first_by_pid(since));
        Ok(ready.map(|_| workers))
    })?;
    // As good as at random.
    let victim = workers[load.answered() % workers.len()];
    let begun = load.elapsed();
    signal::kill(Pid::from_raw(victim.pid), Signal::SIGKILL)
        .map_err(|errno| Failure::because(format!("cannot kill a worker: {errno}")))?;
    let ready = run.watch.until(REPLACE_LIMIT, "a killed worker has a successor that answers", || {
        Ok(newcomer(&workers, &load.first_by_pid(begun)))
    })?;
    Ok(ready.saturating_sub(begun))
}

/// When the last of `count` workers was ready; `None` while one has not answered, or they are fewer or more.
fn all_ready(workers: &[Process], count: usize, first: &BTreeMap<u32, Duration>) -> Option<Duration> {
    let ready = |worker: &Process| first.get(&u32::try_from(worker.pid).ok()?).copied();
    let times: Option<Vec<Duration>> = workers.iter().map(ready).collect();
    times.filter(|times| times.len() == count)?.into_iter().max()
}

/// When somebody was ready who is none of these.
fn newcomer(known: &[Process], first: &BTreeMap<u32, Duration>) -> Option<Duration> {
    let is_known = |pid: u32| known.iter().any(|worker| u32::try_from(worker.pid) == Ok(pid));
    first.iter().filter(|(pid, _)| !is_known(**pid)).map(|(_, &begun)| begun).min()
}

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn toll(times: &[Duration], report: &Report, front_rss_mb: f64) -> Option<Toll> {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let spread = Spread::of(&times.iter().copied().map(ms).collect::<Vec<_>>())?;
    Some(Toll {
        lost: report.lost().count() as f64 / times.len() as f64,
        took_ms: spread.median,
        longest_ms: spread.most,
        pause_ms: ms(report.longest_pause),
        front_rss_mb,
    })
}

/// What was lost, in short, and whether the load was what it should be.
fn remarks_on(report: &Report) -> Vec<String> {
    /// Less than this is another load, and loses less.
    const PER_SECOND: f64 = 300.0;
    let mut remarks = Vec::new();
    if report.per_second() < PER_SECOND {
        remarks.push(format!("the load came to {:.0} requests/s only", report.per_second()));
    }
    if let Some(first) = report.failed.first() {
        let (failed, sent) = (report.failed.len(), report.sent);
        remarks.push(format!("{failed} of {sent} requests failed, the first of them: {first}"));
    }
    if report.mistaken() + report.twice() > 0 {
        let (mistaken, twice) = (report.mistaken(), report.twice());
        remarks.push(format!("{mistaken} answered with another's token, {twice} more than once"));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::exchange::{Ending, Exchange, Loss};

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    /// This process and its parent: two that are alive.
    fn two() -> [Process; 2] {
        let pids = [nix::unistd::getpid(), nix::unistd::getppid()];
        pids.map(|pid| Process::find(pid.as_raw()).unwrap())
    }

    fn answers(of: &[(&Process, u64)]) -> BTreeMap<u32, Duration> {
        of.iter().map(|(worker, number)| (worker.pid.cast_unsigned(), ms(*number))).collect()
    }

    fn report(failed: usize, sent: usize) -> Report {
        let lost = Exchange {
            token: "x".into(),
            begun: ms(1),
            ended: ms(2),
            port: None,
            bytes_sent: 0,
            bytes_received: 0,
            ending: Ending::Lost(Loss::TimedOut),
        };
        Report {
            duration: Duration::from_secs(1),
            peak: 30,
            sent,
            answered: sent - failed,
            longest_pause: ms(90),
            slowest: ms(100),
            failed: vec![lost; failed],
        }
    }

    #[test]
    fn all_are_ready_with_the_last_of_them_and_when_none_is_missing() {
        let workers = two();
        let [a, b] = &workers;
        assert_eq!(all_ready(&workers, 2, &answers(&[(a, 5), (b, 7)])), Some(ms(7)));
        assert_eq!(all_ready(&workers, 2, &answers(&[(a, 5)])), None, "one has not answered");
        assert_eq!(all_ready(&workers[..1], 2, &answers(&[(a, 5), (b, 7)])), None, "one is not there");
        assert_eq!(all_ready(&workers, 1, &answers(&[(a, 5), (b, 7)])), None, "one too many");
        assert_eq!(all_ready(&[], 0, &answers(&[])), None);
    }

    #[test]
    fn a_newcomer_is_nobody_who_was_there() {
        let [a, b] = two();
        assert_eq!(newcomer(&[a, b], &answers(&[(&a, 5), (&b, 7)])), None);
        assert_eq!(newcomer(&[a], &answers(&[(&a, 5), (&b, 7)])), Some(ms(7)));
    }

    #[test]
    fn losses_are_for_each_kill_and_times_for_the_run() {
        let times = [ms(10), ms(40), ms(20)];
        let toll = toll(&times, &report(6, 400), 5.0).unwrap();
        assert_eq!((toll.lost, toll.took_ms, toll.longest_ms, toll.pause_ms), (2.0, 20.0, 40.0, 90.0));
        assert!(super::toll(&[], &report(6, 400), 5.0).is_none());
    }

    #[test]
    fn a_load_that_was_none_is_remarked_on() {
        assert!(remarks_on(&report(0, 330)).is_empty());
        assert_eq!(remarks_on(&report(0, 250)), ["the load came to 250 requests/s only"]);
        let remarks = remarks_on(&report(2, 330));
        assert!(remarks.len() == 1 && remarks[0].starts_with("2 of 330 requests failed"), "{remarks:?}");
    }
}
