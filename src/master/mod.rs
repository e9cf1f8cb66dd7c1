//! The master's loop: waits for the kernel, tells the fleet what happened, does what the fleet says.
//!
//! One thread; the clock is read once per turn. Nothing here waits for anybody: not for a worker, a full channel or
//! standard error. Decisions are the fleet's; this folder only turns descriptors into ids and outputs into calls.
//! Tokens are made of worker and listener ids, which are never given twice, so a late event hits nobody else.

mod accept;
mod admin;
mod channel;
mod claims;
mod commands;
mod control;
mod counts;
mod depends;
mod dial;
mod flow;
mod forward;
mod kernel;
mod lanes;
mod listen;
mod memory;
mod notices;
mod orphans;
mod others;
mod output;
mod perform;
mod preload;
mod probes;
mod programs;
mod readiness;
mod resolve;
mod signals;
mod sockets;
mod source;
mod spawn;
mod status;
mod stop;
mod stream;
mod supervisor;
mod upstreams;
mod workers;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    path::PathBuf,
    time::Duration,
};

use mio::{Events, Interest, Poll, unix::SourceFd};
use nix::sys::signal::Signal;

use self::{
    accept::Turns,
    admin::Admin,
    channel::Channel,
    depends::Depends,
    kernel::Kernel,
    lanes::Lanes,
    notices::Notices,
    orphans::Orphans,
    preload::{Preload, Progress},
    probes::Probes,
    programs::Programs,
    readiness::Readiness,
    resolve::Resolver,
    sockets::{Listener, PublicPort},
    source::Source,
    status::Usages,
    stop::Stopping,
    supervisor::Supervisor,
    upstreams::Address,
    workers::Until,
};
pub use self::{
    depends::Dependency,
    forward::{BadUpstream, Forward, UpstreamAddress, UpstreamKind, UpstreamPlace},
    listen::{Inherited, Listen, inherited},
    output::{Rotation, Sink},
    programs::{Fork, is_reserved_variable},
    workers::SendError,
};
pub(crate) use self::{
    orphans::signals,
    output::{Output, Uncaptured},
    programs::{Missing, Program, Work},
};
use crate::{
    balance::PolicyName,
    control::ReloadRecord,
    endpoint::Endpoint,
    fleet::{Counters, Event, Fleet, ListenerId, Mode, Rules, WorkerId, WorkerInfo},
    sys::{
        account::Credentials,
        clock,
        guard::Guard,
        limits,
        process::Child,
        scheduling::{Batch, Scheduling},
        signals::Signals,
    },
    time::Time,
};

/// One cluster: its fleet and every descriptor of it.
#[derive(Debug)]
pub(crate) struct Master {
    poll: Poll,
    ready: Events,
    now: Time,
    fleet: Fleet<OwnedFd>,
    /// Where requests are forwarded to workers.
    lanes: Option<Box<Lanes>>,
    probes: Probes,
    /// There are names to be looked up.
    resolver: Option<Resolver>,
    programs: Programs,
    /// What starts workers and guards.
    launcher: PathBuf,
    workers: BTreeMap<WorkerId, Worker>,
    listeners: BTreeMap<ListenerId, Listener>,
    /// Sockets that this process was started with, for workers that ask for them.
    inherited: Vec<Inherited>,
    guard: Guard,
    guard_started: Time,
    /// When to start another guard, if there is none.
    guard_again: Option<Time>,
    /// Channels that nothing can be sent on any more, and why.
    broken: Vec<(WorkerId, &'static str)>,
    kernel: Kernel,
    readiness: Readiness,
    notices: Notices,
    /// The soft limit of descriptors that workers get back: this process has raised its own.
    descriptors: Option<u64>,
    /// If this thread is no longer scheduled as most are, which workers are.
    batch: Option<Batch>,
    /// What workers get as `PORT`.
    public_port: PublicPort,
    /// What they get as `POINTSMAN_ADDRESSES`.
    addresses: String,
    preload: Preload,
    output: Output,
    signals: Option<Signals>,
    /// There was a terminal when signals were first taken.
    terminal: bool,
    /// What is waited for before workers are started; `None` from then on.
    depends: Option<Depends>,
    orphans: Orphans,
    stopping: Stopping,
    /// What processes have used, as of a moment ago.
    usages: Usages,
    /// How the last reload ended, and when.
    last_reload: Option<(Time, ReloadRecord)>,
    /// By which it is steered from outside, if it is.
    control: Option<control::Server>,
    /// Where it tells how it is, if anywhere.
    admin: Option<Admin>,
    /// Which worker gets a connection.
    policy: PolicyName,
    started: Time,
    /// Who is told how this process is.
    supervisor: Option<Supervisor>,
    /// When to look again how much memory workers use.
    next_sample: Time,
    /// After the system refused to give out a connection.
    accept_again: Option<Time>,
    accept_failed: bool,
    turns: Turns,
    /// The last turn took as many events as it could; there may be more.
    full: bool,
    /// Events for the user.
    happened: VecDeque<Event>,
    /// What is read passes through here.
    buffer: Vec<u8>,
    /// What is written is put together here.
    frame: Vec<u8>,
}

/// A worker process, and the channel to it for as long as it is open.
#[derive(Debug)]
struct Worker {
    child: Child,
    /// Whom it runs as, if not as this process's own user.
    credentials: Option<Credentials>,
    channel: Option<Channel>,
    /// Its own, where requests are forwarded to it.
    address: Option<Address>,
    progress: Progress,
    /// It was told to leave, one way or another.
    dismissed: bool,
}

/// Events taken from the kernel in one go.
const EVENTS: usize = 256;

/// A read's buffer. Node reads as much at a time.
const BUFFER: usize = 64 << 10;

/// How long to wait for a process that was sent SIGKILL, when nothing else is left to be done.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

impl Master {
    /// A master with its guard and nothing else.
    pub(crate) fn new(
        launcher: PathBuf,
        scheduling: Scheduling,
        program: Program,
        rules: Rules,
        policy: PolicyName,
    ) -> io::Result<Self> {
        let guard = Guard::start(&launcher, std::iter::empty())?;
        let now = clock::now();
        // Only so that masters which were started together do not restart their workers together for ever.
        let rules = Rules { seed: now.0 ^ u64::from(std::process::id()).rotate_left(32), ..rules };
        let batch = if rules.mode == Mode::Handoff { become_batch(scheduling) } else { None };
        let master = Self {
            poll: Poll::new()?,
            ready: Events::with_capacity(EVENTS),
            now,
            fleet: Fleet::new(rules, policy),
            lanes: None,
            probes: Probes::default(),
            resolver: None,
            programs: Programs::new(program),
            launcher,
            workers: BTreeMap::new(),
            listeners: BTreeMap::new(),
            inherited: Vec::new(),
            guard,
            // Long ago: the first that ends is replaced at once.
            guard_started: Time::default(),
            guard_again: None,
            broken: Vec::new(),
            kernel: Kernel::default(),
            readiness: Readiness::default(),
            notices: Notices::default(),
            // Where it cannot be raised, it is as it was.
            descriptors: limits::raise_descriptors().ok(),
            batch,
            public_port: PublicPort::default(),
            addresses: String::new(),
            preload: Preload::default(),
            output: Output::default(),
            signals: None,
            terminal: false,
            depends: None,
            orphans: Orphans::default(),
            stopping: Stopping::default(),
            usages: Usages::default(),
            last_reload: None,
            control: None,
            admin: None,
            policy,
            started: now,
            supervisor: None,
            next_sample: Time::default(),
            accept_again: None,
            accept_failed: false,
            turns: Turns::default(),
            full: false,
            happened: VecDeque::new(),
            buffer: vec![0; BUFFER],
            frame: Vec::new(),
        };
        master.watch(master.guard.child(), Source::Guard)?;
        Ok(master)
    }

    /// One turn: waits until something happens, `timeout` or the fleet's own time has come, and handles it.
    pub(crate) fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let own = self.timeout();
        let timeout = own.map_or(timeout, |own| Some(timeout.map_or(own, |timeout| timeout.min(own))));
        match self.poll.poll(&mut self.ready, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.ready.clear(),
            other => other?,
        }
        self.now = clock::now();
        let ready = std::mem::replace(&mut self.ready, Events::with_capacity(0));
        for event in &ready {
            self.handle(Source::of(event.token()), event);
        }
        self.full = ready.iter().count() == EVENTS;
        self.ready = ready;
        self.give_up_broken();
        self.read_more_of_kernel();
        self.resync_kernel();
        self.start_guard();
        self.seek();
        self.probe();
        self.resolve();
        if self.fleet_deadline().is_some_and(|at| at <= self.now) {
            self.lanes.iter_mut().for_each(|lanes| lanes.fleet.handle_timeout(self.now));
            self.fleet.handle_timeout(self.now);
            self.perform();
        }
        self.sample_memory();
        self.hear_notices();
        self.reap_orphans();
        self.accept();
        self.go_on_stopping();
        self.tell_lanes();
        self.serve_control();
        self.tell_lanes();
        self.serve_admin();
        self.tell_supervisor();
        Ok(())
    }

    /// How long the next turn may wait at most.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        let resting = self.accept_again.is_some();
        let acceptable = |(&id, listener): (&ListenerId, &Listener)| {
            listener.pending && !resting && self.fleet.admits(self.now, id)
        };
        // An outer loop that watches this one's descriptor is told once, however much there is.
        let control = self.control.as_ref().is_some_and(control::Server::is_pending);
        let peers = control
            || self.admin.as_ref().is_some_and(Admin::is_pending)
            || self.readiness.is_pending() && !resting
            || self.notices.is_pending()
            || self.orphans.is_pending()
            || self.lanes.as_ref().is_some_and(|lanes| lanes.upstreams.changed);
        if self.full || self.kernel.has_more() || peers || self.listeners.iter().any(acceptable) {
            return Some(Duration::ZERO);
        }
        let own = [self.accept_again, self.guard_again, self.kernel.deadline(), self.stopping.deadline()];
        let depends = self.depends.as_ref().and_then(Depends::deadline);
        let control = self.control.as_ref().and_then(control::Server::deadline);
        let admin = self.admin.as_ref().and_then(Admin::deadline);
        let clients = control.into_iter().chain(admin).min();
        let others =
            [self.fleet_deadline(), self.supervisor_deadline(), depends, self.next_sample(), clients];
        let forwarding = [self.probes.deadline(), self.resolver_deadline()];
        let at = own.into_iter().chain(others).chain(forwarding).flatten().min();
        at.map(|at| at - clock::now())
    }

    /// When a fleet has something to do.
    fn fleet_deadline(&self) -> Option<Time> {
        let lanes = self.lanes.as_ref().and_then(|lanes| lanes.fleet.poll_timeout());
        self.fleet.poll_timeout().into_iter().chain(lanes).min()
    }

    /// The next event for the user.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.happened.pop_front()
    }

    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.listeners.values().map(|listener| &listener.endpoint)
    }

    pub(crate) fn workers(&self) -> impl Iterator<Item = WorkerInfo> {
        self.fleet.workers(clock::now())
    }

    pub(crate) fn counters(&self) -> Counters {
        self.fleet.counters()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.fleet.has_failed() || self.lanes.as_ref().is_some_and(|lanes| lanes.fleet.has_failed())
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.fleet.is_stopped() && self.lanes.as_ref().is_none_or(|lanes| lanes.fleet.is_stopped())
    }

    fn is_stopping(&self) -> bool {
        self.fleet.is_stopping() || self.lanes.as_ref().is_some_and(|lanes| lanes.fleet.is_stopping())
    }

    fn watch(&self, file: impl AsFd, source: Source) -> io::Result<()> {
        let number = file.as_fd().as_raw_fd();
        self.poll.registry().register(&mut SourceFd(&number), source.token(), Interest::READABLE)
    }

    fn unwatch(&self, file: impl AsFd) {
        // It is about to be closed, which would have the same effect if nobody else held the file.
        let _ = self.poll.registry().deregister(&mut SourceFd(&file.as_fd().as_raw_fd()));
    }

    fn handle(&mut self, source: Source, event: &mio::event::Event) {
        match source {
            Source::Listener(id) => {
                if let Some(listener) = self.listeners.get_mut(&id) {
                    listener.pending = true;
                }
            }
            Source::Channel(id) => {
                if event.is_writable() {
                    self.flush(id);
                }
                if event.is_read_closed() {
                    self.read(id, Until::Ended);
                } else if event.is_readable() {
                    self.read(id, Until::Drained);
                }
            }
            Source::Child(id) => self.reap(id),
            Source::Guard => self.replace_guard(),
            Source::Signals => self.read_signals(),
            Source::Kernel => self.read_kernel(),
            Source::Readiness => self.readiness.set_pending(true),
            Source::Peer(number) => self.hear(number),
            Source::Output => self.read_output(),
            Source::Notices => self.notices.set_pending(true),
            Source::Depends => self.look(),
            Source::Probe(id) => self.probed(id),
            Source::Resolver => self.read_resolver(),
            Source::Control => self.control_waits(),
            Source::ControlClient(number) => self.control_client(number, event),
            Source::Admin => self.admin.iter_mut().for_each(Admin::handle_pending),
            Source::AdminClient(number) => {
                let is_readable = event.is_readable() || event.is_read_closed() || event.is_error();
                self.admin.iter_mut().for_each(|admin| admin.handle_client(number, is_readable));
            }
        }
    }
}

/// Has this thread no longer interrupt the workers that have a word for it, if that is wanted.
fn become_batch(wanted: Scheduling) -> Option<Batch> {
    match wanted {
        Scheduling::Normal => None,
        Scheduling::Batch => Batch::begin().unwrap_or_else(|error| {
            log::debug!("the master cannot be scheduled as a batch job: {error}");
            None
        }),
    }
}

impl Drop for Master {
    /// Ends every worker that is left and the guard, and leaves no zombie.
    fn drop(&mut self) {
        self.stop_seeking();
        for worker in self.workers.values() {
            let _ = worker.child.signal_group(Signal::SIGKILL);
        }
        for worker in self.workers.values() {
            worker.child.end(LAST_PATIENCE);
        }
        self.guard.dismiss();
        if let Some(mut server) = self.control.take() {
            server.end();
        }
    }
}

impl AsRawFd for Master {
    /// Readable when a turn has something to do.
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}
