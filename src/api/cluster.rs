//! The cluster as a user of the crate holds it.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsRawFd, RawFd},
    path::Path,
    time::Duration,
};

use mio::{Interest, Registry, Token, unix::SourceFd};

use super::{Control, Error, Settings};
use crate::{
    control::Status,
    endpoint::Endpoint,
    fleet::{Counters, Event, Mode, ReloadRequest, Stop, WorkerId, WorkerInfo},
    lane,
    master::{Fork, Master, Output, SendError, signals},
    sys::{self, control_place, guard, launch},
};

/// Worker processes behind the addresses that they share.
///
/// In the simple form, [`Cluster::run`] does everything until it is told to stop. A program with a loop of its own
/// registers the cluster in it (it is a [`mio::event::Source`], and its descriptor is readable when there is something
/// to do), calls [`Cluster::turn`] with no wait when it is ready or [`Cluster::timeout`] is over, and takes what
/// happened from [`Cluster::poll_event`].
///
/// Its workers end with it: they are killed when it is dropped, when the process dies, and when the thread dies that
/// started them, which must therefore be the one that goes on using the cluster.
///
/// ```no_run
/// use pointsman::{Cluster, Event, Settings};
///
/// fn main() -> Result<(), pointsman::Error> {
///     pointsman::role();
///     let settings = Settings::new("node").arg("app.js").listen("127.0.0.1:8000".parse().unwrap());
///     Cluster::new(settings)?.run(|_, event| {
///         if let Event::Exit { worker, status, .. } = event {
///             eprintln!("worker {worker} ended: {status:?}");
///         }
///     })
/// }
/// ```
#[derive(Debug)]
pub struct Cluster {
    master: Master,
}

impl Cluster {
    /// Listens on the addresses and starts the workers, or waits first for what they [depend on](Settings::depends).
    ///
    /// # Errors
    ///
    /// When the program cannot be found, an address not be had, or the system refuses a process or a descriptor.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        guard::run_if_asked();
        launch::run_if_asked();
        lane::run_if_asked();
        settings.validate()?;
        let slots = settings.rules.workers;
        let program = settings.to_program();
        let Settings {
            listen,
            inherited,
            policy,
            rules,
            launcher,
            master_scheduling,
            depends,
            control,
            forward,
            ..
        } = settings;
        let forwards = rules.mode == Mode::Multiport;
        let master = Master::new(launcher, master_scheduling, program, rules, policy)
            .map_err(Error::system("start the guard process"))?;
        let mut cluster = Self { master };
        let access_log = forward.access_log.clone().filter(|_| forwards);
        if forwards {
            cluster.master.forward(forward);
        }
        match control.as_ref().map_or(Ok(()), |control| cluster.open_control(control)) {
            Err(error) if control.is_some_and(|control| control.is_required()) => return Err(error),
            Err(error) => log::warn!("there is no control socket: {error}"),
            Ok(()) => {}
        }
        let sinks = [&settings.stdout, &settings.stderr];
        let output =
            Output::start(sinks, access_log.as_ref(), settings.rotation, slots).map_err(Error::output)?;
        cluster.master.capture(output).map_err(Error::system("watch the output thread"))?;
        for listen in listen {
            cluster.master.listen(&listen).map_err(Error::listen(listen.endpoint()))?;
        }
        if let Some(listen) = &settings.admin {
            cluster.master.open_admin(listen).map_err(Error::admin(listen.endpoint()))?;
        }
        inherited.into_iter().for_each(|inherited| cluster.master.offer(inherited));
        cluster.master.start(depends);
        Ok(cluster)
    }

    fn open_control(&mut self, control: &Control) -> Result<(), Error> {
        let path = control.path().map_err(Error::control(control.shown()))?;
        if let Some(closed) = control.gid().and_then(|gid| control_place::closed_to(&path, gid)) {
            log::warn!(
                "the members of control_group cannot get into {}, and so not to the control socket; choose another place \
                 with --control PATH, such as in /run/pointsman",
                closed.display()
            );
        }
        let opened = self.master.open_control(&path, control.name(), control.gid());
        opened.map_err(Error::control(path))
    }

    /// Runs until the cluster has stopped, and tells `handler` of everything that happens.
    ///
    /// SIGTERM and SIGINT stop it gracefully, a second one at once; SIGQUIT lets requests in flight take as long as
    /// they want; SIGHUP from a terminal that is gone is a SIGTERM. SIGTTIN and SIGTTOU want one worker more or fewer;
    /// SIGWINCH, if a process has sent it, sends all workers away. SIGHUP and SIGUSR1 are told to `handler` as
    /// [`Event::Asked`], which may [`reload`](Cluster::reload). They are taken from the calling thread only: if the process
    /// has others, call [`block_signals`] before starting them.
    ///
    /// Where this process is the first of a container (process 1, or a subreaper), orphans become its children: they are
    /// reaped in silence, and so is every child that is not the cluster's. A program that starts and waits for others of
    /// its own there uses [`Cluster::turn`].
    ///
    /// # Errors
    ///
    /// When the system refuses to wait for events, or with [`Error::AllErrored`] if the settings say so.
    pub fn run(mut self, mut handler: impl FnMut(&mut Self, Event)) -> Result<(), Error> {
        self.master.take_signals().map_err(Error::system("take signals"))?;
        loop {
            while let Some(event) = self.poll_event() {
                handler(&mut self, event);
            }
            if self.is_stopped() {
                return if self.master.has_failed() { Err(Error::AllErrored) } else { Ok(()) };
            }
            self.turn(None)?;
        }
    }

    /// Waits until something happens, but at most `timeout` (`None`: as long as it takes), and handles it.
    ///
    /// # Errors
    ///
    /// When the system refuses to wait for events.
    pub fn turn(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        self.master.turn(timeout).map_err(Error::system("wait for events"))
    }

    /// How long until [`Cluster::turn`] must be called even if nothing happens; `None` for never.
    pub fn timeout(&self) -> Option<Duration> {
        self.master.timeout()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.master.poll_event()
    }

    /// Starts one worker more. `None` when the cluster stops.
    pub fn fork(&mut self) -> Option<WorkerId> {
        self.master.fork(Fork::new()).map(|(worker, _)| worker).ok()
    }

    /// Starts one worker more that is otherwise than the others, and returns it. Whoever follows it in its slot is like it,
    /// also after a reload, until nobody is wanted there.
    ///
    /// # Errors
    ///
    /// When its program or its directory is not there, or no worker can be added.
    pub fn fork_with(&mut self, fork: Fork) -> Result<WorkerId, Error> {
        let program = self.master.program_of(&fork);
        program.find().map_err(Error::missing(&program.program))?;
        let forked = self.master.fork(fork);
        Ok(forked.map_err(Error::Unable)?.0)
    }

    /// Replaces a worker by a fresh one, which is ready before it leaves.
    ///
    /// # Errors
    ///
    /// When it is not there or leaves already, or all are being replaced.
    pub fn restart(&mut self, worker: WorkerId) -> Result<(), Error> {
        self.master.restart(worker).map_err(Error::Unable)
    }

    /// Has a worker leave that nobody is to follow: one worker fewer is wanted.
    ///
    /// # Errors
    ///
    /// When it is not there or leaves already.
    pub fn disconnect(&mut self, worker: WorkerId) -> Result<(), Error> {
        self.master.disconnect(worker).map_err(Error::Unable)
    }

    /// Replaces the workers by those of `settings`, each before it leaves, and returns whether that began: it does not
    /// while the cluster stops, or waits for what it [depends](Settings::depends) on. [`Event::Reloaded`] or [`Event::ReloadFailed`] tell when it is over. If a new worker fails, the
    /// new ones are withdrawn and the old settings hold. A reload that is under way is given up for this one.
    ///
    /// Where the cluster listens, its mode, its policy and its mappings stay what they are.
    ///
    /// # Errors
    ///
    /// As [`Settings::validate`]; then nothing changes.
    pub fn reload(&mut self, settings: &Settings) -> Result<bool, Error> {
        settings.validate()?;
        Ok(self.master.reload((None, &[]), settings.to_work()))
    }

    /// The same, as an answer to [`Request::Reload`](crate::Request::Reload): whoever has asked is told what becomes of it.
    /// What the request says besides is for `settings` already; `warnings` are told to whoever has asked, and to nobody else.
    ///
    /// # Errors
    ///
    /// As [`Settings::validate`]; then nothing changes, and whoever has asked is told.
    pub fn reload_as_asked(
        &mut self,
        asked: &ReloadRequest,
        settings: &Settings,
        warnings: &[String],
    ) -> Result<bool, Error> {
        if let Err(error) = settings.validate() {
            self.refuse_reload(asked, &error.to_string());
            return Err(error);
        }
        let asked = (asked.ticket, warnings);
        Ok(self.master.reload(asked, settings.to_work()))
    }

    /// Says that a reload is not begun which was asked for, and why: something is wrong with the settings.
    pub fn refuse_reload(&mut self, asked: &ReloadRequest, why: &str) {
        self.master.refuse_reload(asked.ticket, why);
    }

    /// Calls off a reload: its workers are withdrawn, and [`Event::ReloadFailed`] tells of it. Returns whether one was under
    /// way.
    pub fn abort_reload(&mut self) -> bool {
        self.master.abort_reload()
    }

    /// Whether a reload is under way.
    pub fn is_reloading(&self) -> bool {
        self.master.is_reloading()
    }

    /// Wants another number of workers: of a surplus, those in the highest slots leave. 0 sends all away.
    pub fn scale(&mut self, workers: usize) {
        self.master.scale(workers);
    }

    /// Sends a worker a message, any JSON value: a Node worker gets it as its `message` event, the same in both
    /// [serializations](Settings::serialization). A worker that does not read has up to 4 MiB of them wait for it.
    ///
    /// # Errors
    ///
    /// When there is no such worker, it has disconnected, or too much waits for it already.
    pub fn send(&mut self, worker: WorkerId, message: &serde_json::Value) -> Result<(), SendError> {
        self.master.send(worker, message)
    }

    /// Opens the files anew that the output of workers goes to ([`Sink::File`](crate::Sink::File)), as when another program
    /// has moved them away. It is done by another thread, soon; until then what workers write goes where it went before, and
    /// nothing is lost. A file that cannot be opened is told of by [`Event::OutputKept`].
    pub fn reopen_output(&mut self) {
        self.master.reopen_output();
    }

    /// Stops accepting and has the workers leave; [`Event::Stopped`] tells when it is done. May be called again, more
    /// urgently.
    pub fn stop(&mut self, how: Stop) {
        self.master.stop(how);
    }

    /// Tells the supervisor of this process how the cluster is from now on, if the environment names one: systemd, or
    /// what speaks like it. In the words of sd_notify(3), `READY=1` when all workers are ready for the first time,
    /// `RELOADING=1` and `READY=1` at a reload, `STOPPING=1`, a `STATUS=` for people, and `WATCHDOG=1` as often as
    /// `WATCHDOG_USEC` asks for. Nothing stops if nobody listens.
    ///
    /// For programs that are a service by themselves: otherwise the supervisor is told of something else than it
    /// supervises.
    pub fn notify_supervisor(&mut self) {
        self.master.notify_supervisor();
    }

    /// Whether it has stopped and no worker is left.
    pub fn is_stopped(&self) -> bool {
        self.master.is_stopped()
    }

    /// The TCP addresses it listens on now, with the ports that the kernel chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.master.endpoints().filter_map(Endpoint::tcp).collect()
    }

    /// Everything it listens on now.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.master.endpoints().cloned().collect()
    }

    /// The socket that it is [steered](Settings::control) by, if it has one.
    pub fn control_path(&self) -> Option<&Path> {
        self.master.control_path()
    }

    /// Where it [tells](Settings::admin) how it is, with the port that the kernel chose.
    pub fn admin_endpoint(&self) -> Option<&Endpoint> {
        self.master.admin_endpoint()
    }

    /// What has happened so far, counted.
    pub fn counters(&self) -> Counters {
        self.master.counters()
    }

    /// How it is, as `pointsman status` tells.
    pub fn status(&mut self) -> Status {
        self.master.status()
    }

    /// The workers whose processes exist.
    pub fn workers(&self) -> impl Iterator<Item = WorkerInfo> {
        self.master.workers()
    }
}

impl AsRawFd for Cluster {
    /// Readable when [`Cluster::turn`] has something to do.
    fn as_raw_fd(&self) -> RawFd {
        self.master.as_raw_fd()
    }
}

impl mio::event::Source for Cluster {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.as_raw_fd()), token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        registry.reregister(&mut SourceFd(&self.as_raw_fd()), token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut SourceFd(&self.as_raw_fd()))
    }
}

/// Blocks the signals that [`Cluster::run`] takes, in this thread and in those that it starts from now on.
///
/// # Errors
///
/// When the system refuses.
pub fn block_signals() -> Result<(), Error> {
    signals().and_then(|signals| sys::signals::block(&signals)).map_err(Error::system("block signals"))
}
