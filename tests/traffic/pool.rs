//! The load: a number of threads, each with at most one request under way, that share a timetable.

use std::{
    collections::BTreeMap,
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    Plan,
    exchange::{Ending, Exchange, alone},
    now,
    report::Report,
};

/// New connections at a steady pace, until it is stopped or goes out of scope.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    plan: Plan,
    name: String,
    start: Instant,
    /// The number of the next request, by which it falls due.
    next: AtomicU64,
    under_way: AtomicUsize,
    /// The most that were under way at a time.
    peak: AtomicUsize,
    stops: AtomicBool,
    done: Mutex<Vec<Exchange>>,
}

impl Load {
    pub(crate) fn start(plan: Plan) -> Self {
        let shared = Arc::new(Shared {
            plan,
            name: name(),
            start: now(),
            next: AtomicU64::new(0),
            under_way: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            stops: AtomicBool::new(false),
            done: Mutex::new(Vec::new()),
        });
        let work = || {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.work())
        };
        let threads = (0..plan.in_flight).map(|_| work()).collect();
        Self { shared, threads }
    }

    /// Ends it when everything that is under way has an end.
    pub(crate) fn stop(mut self) -> Report {
        self.shared.stops.store(true, Ordering::Relaxed);
        let duration = self.elapsed();
        for thread in self.threads.drain(..) {
            // One that panicked has said so; the others' results are whole.
            let _ = thread.join();
        }
        let exchanges = std::mem::take(&mut *self.shared.done());
        Report::new(exchanges, duration, self.shared.peak.load(Ordering::Relaxed))
    }

    /// Since the start: the time that an [`Exchange`] tells.
    pub(crate) fn elapsed(&self) -> Duration {
        self.shared.start.elapsed()
    }

    /// How many requests have been answered so far.
    pub(crate) fn answered(&self) -> usize {
        self.shared.done().iter().filter(|exchange| exchange.pid().is_some()).count()
    }

    /// Which processes have answered requests that were sent at or after this time, and when they were sent the first
    /// of them: then it was ready. Its answer came later by what it is asked to take.
    pub(crate) fn first_by_pid(&self, since: Duration) -> BTreeMap<u32, Duration> {
        let mut first = BTreeMap::new();
        for exchange in self.shared.done().iter().filter(|exchange| exchange.begun >= since) {
            if let Some(pid) = exchange.pid() {
                let begun = first.entry(pid).or_insert(exchange.begun);
                *begun = exchange.begun.min(*begun);
            }
        }
        first
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stops.store(true, Ordering::Relaxed);
    }
}

impl Exchange {
    /// Who answered, if somebody did as he should.
    fn pid(&self) -> Option<u32> {
        if let Ending::Answered(pid) = self.ending { Some(pid) } else { None }
    }
}

impl Shared {
    fn work(&self) {
        while let Some(number) = self.wait_for_turn() {
            let under_way = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
            self.peak.fetch_max(under_way, Ordering::Relaxed);
            let exchange = alone(&self.plan, self.start, format!("{}.{number}", self.name));
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            self.done().push(exchange);
        }
    }

    /// Takes the next number, and waits until it falls due. `None` when the load stops.
    fn wait_for_turn(&self) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let due = Duration::from_secs(number) / self.plan.per_second;
        loop {
            if self.stops.load(Ordering::Relaxed) {
                return None;
            }
            let early = due.saturating_sub(self.start.elapsed());
            if early.is_zero() {
                return Some(number);
            }
            // Nobody unparks it.
            thread::park_timeout(early);
        }
    }

    fn done(&self) -> MutexGuard<'_, Vec<Exchange>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A word that begins the tokens of one load and no other's.
pub(super) fn name() -> String {
    static LOADS: AtomicU32 = AtomicU32::new(0);
    format!("{}.{}", process::id(), LOADS.fetch_add(1, Ordering::Relaxed))
}
