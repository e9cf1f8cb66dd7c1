//! A lane: a process that accepts from the public sockets and forwards what comes to upstreams.
//!
//! One thread and one loop; the clock is read once per turn. What a request means, where it goes and what becomes of it is
//! decided by the pure machines in `forward`; here descriptors are read and written, and nothing is waited for: not for a
//! client, an upstream, the master or the access log. To its master a lane is a worker as any other, which listens in the
//! shared mode, and is told by messages what to do (`forward::orders`). It has no privileges, and no say in anything but its
//! own connections.

mod access_log;
mod client;
mod exchange;
mod line;
mod orders;
mod shared;
mod source;
mod speech;
mod timers;
mod upstream;
mod waiting;

use std::{collections::VecDeque, env, io, process::exit, time::Duration};

use mio::{Events, Interest, Poll, Registry, event::Source as _, unix::SourceFd};
use nix::sys::prctl;
use slab::Slab;

use self::{
    client::Client,
    source::{Place, Source},
    timers::{NEVER, Timers},
    upstream::Connection,
};
use crate::{
    balance::PolicyName,
    forward::{
        budget::Budget, figures::Figures, pool::Pool, queue::Queue, rules::ForwardRules, session::Flow,
        upstreams::Upstreams,
    },
    http::Date,
    sys::{clock, launch::LANE, limits},
    time::Time,
    worker::{ListenError, Worker, WorkerError},
};

/// Events taken from the kernel in one go.
const EVENTS: usize = 512;

/// A read's buffer: what passes through in one piece. Larger ones gain little, since they no longer fit a core's own cache.
const BUFFER: usize = 64 << 10;

/// Reads from one connection before others have their turn.
const READS: usize = 4;

/// Everything that a lane has.
#[derive(Debug)]
struct Lane {
    poll: Poll,
    worker: Worker,
    now: Time,
    rules: ForwardRules,
    date: Date,
    clients: Slab<Client>,
    upstream_connections: Slab<Connection>,
    /// Of the last connection.
    serial: u32,
    upstreams: Upstreams,
    /// The number of the list that they are by.
    list: u64,
    pool: Pool,
    queue: Queue,
    budget: Budget,
    timers: Timers,
    figures: Figures,
    /// They have changed since the master was told.
    news: orders::News,
    log: access_log::Log,
    /// Those that were not read to their end, and wait for their next turn.
    leftovers: VecDeque<Source>,
    /// Those that wait no longer since others do.
    turned_away: Vec<Place>,
    /// An upstream may have room for one that waits.
    room: bool,
    /// When to look whether the system has what it had none of.
    look_again: Option<Time>,
    /// It has been said that it has none.
    short: bool,
    /// The master may have said more, or more connections wait to be accepted.
    pending: bool,
    /// It was told to leave.
    leaving: bool,
    /// The master is gone, or has let this lane go.
    over: bool,
    /// What is read passes through here.
    buffer: Box<[u8]>,
    /// What sessions say; empty between two calls.
    flow: Flow,
    /// What request ids are made of.
    salt: u64,
}

/// The exit code of a lane that has failed (EX_SOFTWARE of sysexits.h).
const FAILED: i32 = 70;

/// Runs as a lane, and never returns, if this process was started as one.
pub(crate) fn run_if_asked() {
    if env::args_os().next().is_some_and(|name| name == LANE) {
        // For who looks at processes by their names. Nothing to be done if it cannot be set.
        let _ = prctl::set_name(c"pointsman-lane");
        let served = serve();
        exit(served.map_or_else(
            |error| {
                ::log::error!("{error}");
                FAILED
            },
            |()| 0,
        ));
    }
}

/// Runs until it may end.
fn serve() -> Result<(), WorkerError> {
    speech::install();
    let mut worker = Worker::from_env()?;
    let settings = orders::await_settings(&mut worker)?;
    let Some(settings) = settings else { return Ok(()) };
    let policy = settings.policy.parse::<PolicyName>().unwrap_or_default();
    for endpoint in settings.listen.iter().filter_map(|text| text.parse().ok()) {
        match worker.listen(endpoint) {
            Ok(_) => {}
            Err(ListenError::Leaving { .. }) => return Ok(()),
            Err(error) => ::log::error!("{error}"),
        }
    }
    let system = |what| WorkerError::system(what);
    let poll = Poll::new().map_err(system("make a poll"))?;
    poll.registry()
        .register(&mut worker, Source::Worker.token(), Interest::READABLE)
        .map_err(system("watch the channel"))?;
    // Most clients have an upstream only now and then; what is left is for those connections.
    let descriptors = limits::raise_descriptors().unwrap_or(1024);
    worker.set_max_connections(usize::try_from(descriptors - descriptors / 4).unwrap_or(usize::MAX));
    let now = clock::now();
    let seed = now.0 ^ u64::from(std::process::id()).rotate_left(32);
    let mut lane = Lane {
        poll,
        worker,
        now,
        log: access_log::Log::new(settings.rules.access_log, now),
        rules: settings.rules,
        date: Date::default(),
        clients: Slab::new(),
        upstream_connections: Slab::new(),
        serial: 0,
        upstreams: match settings.row.and_then(shared::Row::open) {
            Some(row) => Upstreams::shared(policy, seed, Box::new(row)),
            None => Upstreams::new(policy, seed),
        },
        list: 0,
        pool: Pool::default(),
        queue: Queue::default(),
        budget: Budget::default(),
        timers: Timers::default(),
        figures: Figures::default(),
        news: orders::News::default(),
        leftovers: VecDeque::new(),
        turned_away: Vec::new(),
        room: false,
        look_again: None,
        short: false,
        pending: true,
        leaving: false,
        over: false,
        buffer: vec![0; BUFFER].into_boxed_slice(),
        flow: Flow::default(),
        salt: seed,
    };
    lane.run()
}

impl Lane {
    fn run(&mut self) -> Result<(), WorkerError> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            if self.over || self.leaving && self.clients.is_empty() {
                self.log.finish();
                self.tell_figures();
                return self.worker.flush_reports();
            }
            match self.poll.poll(&mut events, self.timeout()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
                other => other.map_err(WorkerError::system("wait for events"))?,
            }
            self.turn(&events)?;
        }
    }

    fn turn(&mut self, events: &Events) -> Result<(), WorkerError> {
        self.now = clock::now();
        self.date.set(clock::wall() / 1000);
        // Upstreams first: one that has closed a kept connection, or says on it what nobody has asked for, gets no request there.
        for event in events {
            if let Source::Upstream(place) = Source::of(event.token()) {
                self.handle_upstream_event(place, event);
            }
        }
        for event in events {
            match Source::of(event.token()) {
                Source::Worker => self.pending = true,
                Source::Client(place) => self.handle_client_event(place, event),
                Source::Upstream(_) => {}
            }
        }
        if self.pending {
            self.serve_master()?;
        }
        for _ in 0..self.leftovers.len() {
            match self.leftovers.pop_front() {
                Some(Source::Client(place)) if self.is_client(place) => {
                    self.clients[place.key].line.left_over = false;
                    self.read_client(place.key);
                }
                Some(Source::Upstream(place)) if self.is_upstream(place) => {
                    self.upstream_connections[place.key].line.left_over = false;
                    self.read_upstream(place.key);
                }
                _ => {}
            }
        }
        self.handle_timeouts();
        self.serve_queue();
        self.log.flush(self.now);
        self.tell_master();
        Ok(())
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.leftovers.is_empty() || !self.turned_away.is_empty() || self.pending {
            return Some(Duration::ZERO);
        }
        let own = [
            self.timers.deadline(),
            self.queue.deadline(),
            self.pool.deadline(),
            self.upstreams.deadline(),
            self.log.deadline(),
            self.news.deadline(),
            self.look_again,
        ];
        own.into_iter().flatten().min().map(|at| at - clock::now())
    }

    fn handle_timeouts(&mut self) {
        while let Some((at, source)) = self.timers.due(self.now) {
            match source {
                Source::Client(place) if self.is_client(place) => self.handle_client_timeout(place.key, at),
                Source::Upstream(place) if self.is_upstream(place) => {
                    self.handle_connect_timeout(place.key, at);
                }
                _ => {}
            }
        }
        if self.pool.deadline().is_some_and(|at| at <= self.now) {
            for token in self.pool.expire(self.now) {
                self.close_upstream(token);
            }
        }
        self.room |= self.look_again.take_if(|at| *at <= self.now).is_some();
        self.forget_old_timers();
        if self.upstreams.deadline().is_some_and(|at| at <= self.now) {
            self.room |= self.upstreams.come_back(self.now);
        }
    }

    /// Most deadlines never come, and those of connections that are gone would be kept until then.
    fn forget_old_timers(&mut self) {
        const FEW: usize = 4096;
        let live = self.clients.len() + self.upstream_connections.len();
        if self.timers.len() <= 2 * live + FEW {
            return;
        }
        let mut timers = std::mem::take(&mut self.timers);
        timers.retain(|source| match source {
            Source::Client(place) => self.is_client(place),
            Source::Upstream(place) => self.is_upstream(place),
            Source::Worker => false,
        });
        self.timers = timers;
    }

    fn is_client(&self, place: Place) -> bool {
        self.clients.get(place.key).is_some_and(|client| client.line.is_at(place))
    }

    fn is_upstream(&self, place: Place) -> bool {
        self.upstream_connections.get(place.key).is_some_and(|connection| connection.line.is_at(place))
    }
}

/// What a session is told with everything that happens; a macro, since parts of the lane are lent to it, and others not.
macro_rules! turn {
    ($lane:ident, $client:ident) => {
        crate::forward::session::Turn {
            now: $lane.now,
            rules: &$lane.rules,
            date: $lane.date.as_bytes(),
            peer: &$client.peer,
            salt: &mut $lane.salt,
        }
    };
}
use turn;

/// Both directions at once and for good: edge-triggered, an event that nobody waits for costs nothing.
fn watch(registry: &Registry, line: &line::Line, source: Source) -> io::Result<()> {
    use std::os::fd::{AsFd, AsRawFd};
    let interest = Interest::READABLE | Interest::WRITABLE;
    SourceFd(&line.as_fd().as_raw_fd()).register(registry, source.token(), interest)
}
