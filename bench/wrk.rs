//! The load of the hand-over: runs wrk, and reads what it and the front's process say.

use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::runner::{Failure, Front, Run, Running, Sample, Watch, Workload, first_words};

/// wrk waits for its threads after the time is up, and for answers up to its time-out of 2 s.
const GRACE: Duration = Duration::from_secs(15);

/// What wrk does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wrk {
    pub(crate) threads: u32,
    pub(crate) connections: u32,
    pub(crate) headers: &'static [&'static str],
    pub(crate) path: &'static str,
    /// A script in `bench/` that says what requests are like.
    pub(crate) script: Option<&'static str>,
}

/// What a run of it gives.
#[derive(Debug, Clone)]
pub(crate) struct Throughput {
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
}

impl Throughput {
    /// CPU time of the front per request, in microseconds.
    #[allow(clippy::cast_precision_loss, reason = "both counts are far below 2^52")]
    pub(crate) fn front_cpu_us(&self) -> f64 {
        self.front_cpu_ns as f64 / 1e3 / self.requests as f64
    }
}

impl Workload for Wrk {
    type Measured = Throughput;

    fn measure(&self, run: &Run<'_>, front: &Front) -> Result<Sample<Throughput>, Failure> {
        load(run.watch, self, front.address(), run.warm_up)?;
        let before = front.cpu()?;
        let tally = load(run.watch, self, front.address(), run.seconds)?;
        let measured = Throughput {
            requests: tally.requests,
            per_second: tally.per_second,
            front_cpu_ns: front.cpu()?.since(&before),
            front_rss_mb: front.rss_mb()?,
            helper_rss_mb: front.helper_rss_mb(),
        };
        let mut remarks = tally.remarks();
        remarks.extend(front.remarks());
        Ok(Sample { measured, failures: tally.failures(), remarks })
    }
}

/// Says which wrk there is: the one on the path.
pub(crate) fn version() -> Result<String, Failure> {
    first_words(Path::new("wrk"), "-v", 2, "install it (Debian: apt-get install wrk)")
}

/// What wrk counted.
#[derive(Debug, Clone, Default, PartialEq)]
struct Tally {
    requests: u64,
    per_second: f64,
    /// connect, read, write, timeout.
    errors: [u64; 4],
    /// Answers of 400 and above.
    refusals: u64,
}

impl Tally {
    fn failures(&self) -> u64 {
        self.errors.iter().sum::<u64>() + self.refusals
    }

    fn remarks(&self) -> Vec<String> {
        let names = ["connect errors", "read errors", "write errors", "time-outs", "answers ≥ 400"];
        let counts = self.errors.into_iter().chain([self.refusals]);
        let seen: Vec<String> = counts
            .zip(names)
            .filter(|(count, _)| *count > 0)
            .map(|(count, name)| format!("{count} {name}"))
            .collect();
        if seen.is_empty() { Vec::new() } else { vec![format!("wrk saw {}", seen.join(", "))] }
    }
}

/// Loads `address` for whole seconds, of which wrk knows no parts.
fn load(watch: &Watch, work: &Wrk, address: SocketAddr, seconds: u32) -> Result<Tally, Failure> {
    let mut command = Command::new("wrk");
    command.args([format!("-t{}", work.threads), format!("-c{}", work.connections), format!("-d{seconds}s")]);
    for header in work.headers {
        command.args(["-H", header]);
    }
    if let Some(script) = work.script {
        command.arg("-s").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("bench").join(script));
        command.args(["--timeout", "30s"]);
    }
    command.arg(format!("http://{address}{}", work.path));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut wrk = Running::start(command)?;
    let status = wrk.wait(watch, Duration::from_secs(seconds.into()) + GRACE)?;
    let said = said(&mut wrk);
    let tally = parse(&said).filter(|tally| status.success() && tally.requests > 0);
    tally.ok_or_else(|| Failure::because(format!("wrk completed no request ({status}):\n{said}")))
}

/// Both streams are short enough for the pipes to hold them until the end.
fn said(wrk: &mut Running) -> String {
    let mut text = Vec::new();
    let child = &mut wrk.child;
    for stream in [child.stdout.as_mut().map(|s| s as &mut dyn Read), child.stderr.as_mut().map(|s| s as _)] {
        // What was read before an error still says something.
        let _ = stream.map(|stream| stream.read_to_end(&mut text));
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// wrk 4 and its forks; lines that may be absent count as zero.
fn parse(text: &str) -> Option<Tally> {
    let mut tally = Tally::default();
    let mut complete = false;
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("Socket errors:") {
            for (slot, part) in tally.errors.iter_mut().zip(rest.split(',')) {
                *slot = part.split_whitespace().last()?.parse().ok()?;
            }
        } else if let Some(rest) = line.strip_prefix("Non-2xx or 3xx responses:") {
            tally.refusals = rest.trim().parse().ok()?;
        } else if let Some(rest) = line.strip_prefix("Requests/sec:") {
            tally.per_second = rest.trim().parse().ok()?;
            complete = true;
        } else if let Some((count, _)) = line.split_once(" requests in ") {
            tally.requests = count.parse().ok()?;
        }
    }
    complete.then_some(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: &str = "Running 2s test @ http://127.0.0.1:18431/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     4.97ms    2.85ms  19.61ms   74.86%
    Req/Sec    12.55k     3.33k   16.42k    75.00%
  25047 requests in 2.01s, 2.29MB read
Requests/sec:  12472.25
Transfer/sec:      1.14MB
";

    #[test]
    fn a_clean_run() {
        let tally = parse(CLEAN).unwrap();
        assert_eq!((tally.requests, tally.per_second, tally.failures()), (25047, 12472.25, 0));
        assert!(tally.remarks().is_empty());
    }

    #[test]
    fn failures_are_counted_and_named() {
        let text = CLEAN.replace(
            "Requests/sec",
            "  Socket errors: connect 1, read 20, write 0, timeout 3\n  Non-2xx or 3xx responses: 400\nRequests/sec",
        );
        let tally = parse(&text).unwrap();
        assert_eq!(tally.failures(), 424);
        assert_eq!(
            tally.remarks(),
            ["wrk saw 1 connect errors, 20 read errors, 3 time-outs, 400 answers ≥ 400"]
        );
    }

    #[test]
    fn what_is_no_result_is_none() {
        assert_eq!(parse("unable to connect to 127.0.0.1:1 Connection refused\n"), None);
        assert_eq!(parse(&CLEAN.replace("25047", "many")), None);
        assert_eq!(parse(&CLEAN[..CLEAN.len() / 2]), None);
    }
}
