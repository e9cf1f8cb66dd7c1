//! Clients that keep their connections, as browsers and proxies do.
//!
//! A server may close a connection between two responses; the client makes another, and nothing is lost. It may do so just
//! when the next request is on its way: that one is `crossed`, and whether a worker had begun with it only the worker
//! knows. A close before the end of a response, or before the first one, is a loss.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    Plan,
    answer::{Parsed, parse},
    exchange::{Ending, Exchange, Loss, judge, request},
    now,
    pool::name,
    wire::{Rest, Wire},
};

/// As many clients as the plan has `in_flight`, which together send about `per_second`; until they are stopped.
#[derive(Debug)]
pub(crate) struct Kept {
    start: Instant,
    stops: Arc<AtomicBool>,
    clients: Vec<JoinHandle<KeptReport>>,
}

/// How they went.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeptReport {
    pub(crate) duration: Duration,
    pub(crate) connections: usize,
    pub(crate) answered: usize,
    /// Connections that were closed while no request was on them.
    pub(crate) closed_between: usize,
    /// Requests on a connection that had been used, and was closed without one byte of an answer.
    pub(crate) crossed: Vec<Exchange>,
    /// Everything else that was not answered as it should be.
    pub(crate) failed: Vec<Exchange>,
}

impl Kept {
    pub(crate) fn start(plan: Plan) -> Self {
        let start = now();
        let stops = Arc::new(AtomicBool::new(false));
        let name = name();
        let client = |number: usize| {
            let stops = Arc::clone(&stops);
            let name = format!("{name}.{number}");
            let client = Client { plan, start, name, stops, requests: 0, report: KeptReport::default() };
            thread::spawn(move || client.run())
        };
        let clients = (0..plan.in_flight).map(client).collect();
        Self { start, stops, clients }
    }

    /// Ends them when each has its last answer.
    pub(crate) fn stop(mut self) -> KeptReport {
        self.stops.store(true, Ordering::Relaxed);
        let mut report = KeptReport { duration: self.start.elapsed(), ..KeptReport::default() };
        // One that panicked has said so; the others' results are whole.
        for part in self.clients.drain(..).filter_map(|client| client.join().ok()) {
            report.connections += part.connections;
            report.answered += part.answered;
            report.closed_between += part.closed_between;
            report.crossed.extend(part.crossed);
            report.failed.extend(part.failed);
        }
        report
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Relaxed);
    }
}

struct Client {
    plan: Plan,
    start: Instant,
    name: String,
    stops: Arc<AtomicBool>,
    requests: u64,
    report: KeptReport,
}

impl Client {
    fn run(mut self) -> KeptReport {
        while !self.stops.load(Ordering::Relaxed) {
            let token = self.next_token();
            let begun = self.start.elapsed();
            match Wire::connect(self.plan.address, self.plan.patience) {
                Ok(wire) => {
                    self.report.connections += 1;
                    self.use_up(wire, token);
                }
                Err(error) => {
                    let ending = Ending::Lost(Loss::Connect(error.kind()));
                    let exchange = self.ended(token, begun, None, ending);
                    self.report.failed.push(exchange);
                    // Refused at once, it would ask thousands of times a second.
                    thread::park_timeout(self.pause());
                }
            }
        }
        self.report
    }

    /// Sends one request after the other, until the connection or the load ends.
    fn use_up(&mut self, mut wire: Wire, first: String) {
        let mut token = first;
        let mut is_first = true;
        loop {
            let begun = self.start.elapsed();
            (wire.sent, wire.bytes) = (0, Vec::new());
            let end = self.ask(&mut wire, &token);
            let ending = judge(&wire.bytes, &token, end);
            let is_lost = matches!(&ending, Ending::Lost(loss) if *loss != Loss::TimedOut);
            match ending {
                Ending::Answered(_) => self.report.answered += 1,
                ending => {
                    let is_crossed = is_lost && !is_first && wire.bytes.is_empty();
                    let exchange = self.ended(token, begun, Some(&wire), ending);
                    let list = if is_crossed { &mut self.report.crossed } else { &mut self.report.failed };
                    list.push(exchange);
                    return;
                }
            }
            if self.stops.load(Ordering::Relaxed) {
                return;
            }
            (token, is_first) = (self.next_token(), false);
            wire.bytes.clear();
            match wire.rest(self.pause()) {
                Rest::Quiet => {}
                Rest::Closed => {
                    self.report.closed_between += 1;
                    return;
                }
                Rest::Speaks => {
                    let exchange = self.ended(token, begun, Some(&wire), Ending::Twice);
                    self.report.failed.push(exchange);
                    return;
                }
            }
        }
    }

    /// Returns when a whole response is there; `Ok` too if the connection ended before.
    fn ask(&self, wire: &mut Wire, token: &str) -> io::Result<()> {
        wire.send(&request(&self.plan, token, false))?;
        while parse(&wire.bytes) == Parsed::Partial && wire.read(self.plan.patience)? {}
        Ok(())
    }

    fn next_token(&mut self) -> String {
        self.requests += 1;
        format!("{}.{}", self.name, self.requests)
    }

    /// Between an answer and the next request of a client.
    fn pause(&self) -> Duration {
        let clients = u32::try_from(self.plan.in_flight).unwrap_or(u32::MAX);
        let each = Duration::from_secs(1) * clients / self.plan.per_second;
        // Of at least so much that a close between two requests can be one.
        each.saturating_sub(Duration::from_millis(self.plan.delay_ms)).max(Duration::from_millis(5))
    }

    fn ended(&self, token: String, begun: Duration, wire: Option<&Wire>, ending: Ending) -> Exchange {
        Exchange {
            token,
            begun,
            ended: self.start.elapsed(),
            port: wire.map(Wire::port),
            bytes_sent: wire.map_or(0, |wire| wire.sent),
            bytes_received: wire.map_or(0, |wire| wire.bytes.len()),
            ending,
        }
    }
}

impl fmt::Display for KeptReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { duration, connections, answered, closed_between, crossed, failed } = self;
        write!(
            out,
            "{answered} answered in {:.1} s on {connections} kept connections; {closed_between} closed between two \
             responses, {} while a request was on its way, {} failed",
            duration.as_secs_f64(),
            crossed.len(),
            failed.len()
        )?;
        crossed.iter().chain(failed).try_for_each(|exchange| write!(out, "\n  {exchange}"))
    }
}
