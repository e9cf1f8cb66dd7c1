//! What a cluster is to be, before it is started.

use std::{
    ffi::{OsStr, OsString},
    num::NonZeroUsize,
    path::PathBuf,
    time::Duration,
};

use super::{Control, Forward};
use crate::{
    balance::PolicyName,
    fleet::{Mapping, Mode, Overload, Place, Rules},
    master::{Dependency, Inherited, Listen, Program, Rotation, Sink, Work},
    protocol::serialization::Serialization,
    sys::{
        account::Account,
        attributes::Attributes,
        cpus::Cpus,
        launch,
        limits::{Limit, Resource},
        scheduling::Scheduling,
    },
};

/// What a [`Cluster`](crate::Cluster) runs and how. Made by [`Settings::new`], changed by its methods.
///
/// ```
/// use pointsman::{PolicyName, Settings};
///
/// let settings = Settings::new("node").arg("app.js").workers(4).listen("127.0.0.1:8000".parse().unwrap());
/// assert_eq!(settings.policy_name(), PolicyName::RoundRobin);
/// ```
#[derive(Debug, Clone)]
pub struct Settings {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) listen: Vec<Listen>,
    pub(crate) inherited: Vec<Inherited>,
    pub(crate) policy: PolicyName,
    pub(crate) rules: Rules,
    pub(crate) forward: Forward,
    pub(crate) launcher: PathBuf,
    pub(crate) load_report: bool,
    pub(crate) attributes: Attributes,
    pub(crate) affinity: Vec<Cpus>,
    pub(crate) user: Option<Account>,
    pub(crate) serialization: Serialization,
    pub(crate) depends: Vec<Dependency>,
    pub(crate) stdout: Sink,
    pub(crate) stderr: Sink,
    pub(crate) rotation: Rotation,
    pub(crate) master_scheduling: Scheduling,
    pub(crate) control: Option<Control>,
    pub(crate) admin: Option<Listen>,
    pub(crate) base_env: Option<Vec<(OsString, OsString)>>,
    absent: bool,
}

impl Settings {
    /// A cluster of workers that run `program`, one per core, handed connections in turn.
    ///
    /// The program is looked up in `PATH` unless its name has a slash. `/proc/self/exe` is this very program.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            listen: Vec::new(),
            inherited: Vec::new(),
            policy: PolicyName::RoundRobin,
            rules: Rules { workers: available_cores(), ..Rules::default() },
            forward: Forward::default(),
            launcher: launch::SELF.into(),
            load_report: true,
            attributes: Attributes::default(),
            affinity: Vec::new(),
            user: None,
            serialization: Serialization::default(),
            depends: Vec::new(),
            stdout: Sink::default(),
            stderr: Sink::default(),
            rotation: Rotation::default(),
            master_scheduling: Scheduling::default(),
            control: None,
            admin: None,
            base_env: None,
            absent: false,
        }
    }

    /// Adds an argument for the program.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments for the program.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the workers' environment, on top of this process's own.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The workers' environment, in the place of this process's own: [`Settings::env`] comes on top of it.
    #[must_use]
    pub fn base_env(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.base_env = Some(variables.into_iter().collect());
        self
    }

    /// How many workers to keep running. 0 starts none.
    #[must_use]
    pub fn workers(mut self, count: usize) -> Self {
        self.rules.workers = count;
        self
    }

    /// Listens from the start and for as long as the cluster lives. A worker's own `listen` on an address that this one
    /// covers is served from it.
    ///
    /// A [`Listen`] is read from text, or made from a [`SocketAddr`](std::net::SocketAddr) or an
    /// [`Endpoint`](crate::Endpoint) with `into`.
    #[must_use]
    pub fn listen(mut self, listen: Listen) -> Self {
        self.listen.push(listen);
        self
    }

    /// Lets workers listen on a socket that this process was started with, by its number: `listen({ fd: 3 })` in Node.
    #[must_use]
    pub fn offer(mut self, inherited: Inherited) -> Self {
        self.inherited.push(inherited);
        self
    }

    /// Serves what the program listens to as `from` on `to`, whatever the program thinks. The first mapping that applies
    /// counts.
    #[must_use]
    pub fn map(mut self, from: Place, to: Place) -> Self {
        self.rules.map.push(Mapping { from, to });
        self
    }

    /// Who accepts connections. Default: the master, which hands them over.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.rules.mode = mode;
        self
    }

    /// How requests are forwarded ([`Mode::Multiport`]).
    #[must_use]
    pub fn forward(mut self, forward: Forward) -> Self {
        self.forward = forward;
        self
    }

    /// Which worker gets a connection.
    #[must_use]
    pub fn policy(mut self, policy: PolicyName) -> Self {
        self.policy = policy;
        self
    }

    /// What becomes of connections that no worker has room for. Default: they wait in the kernel's queue.
    #[must_use]
    pub fn overload(mut self, overload: Overload) -> Self {
        self.rules.overload = overload;
        self
    }

    /// How many connections may be on their way to a worker that has not accepted them yet. Default 8, at least 1.
    #[must_use]
    pub fn window(mut self, connections: usize) -> Self {
        self.rules.window = connections.max(1);
        self
    }

    /// How long a worker may owe answers for connections and give none before it is taken for stuck, killed and replaced.
    /// Default 30 s; `None` for ever.
    #[must_use]
    pub fn handoff_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.rules.handoff_timeout = timeout;
        self
    }

    /// Whether Node workers report the ends of their connections, so that it is known how many each has open. Default
    /// true.
    ///
    /// A small script, which Node loads because `NODE_OPTIONS` says so, does it, and puts `NODE_OPTIONS` back before
    /// the program runs. Workers that use [`Worker`](crate::Worker) report in any case.
    #[must_use]
    pub fn load_report(mut self, on: bool) -> Self {
        self.load_report = on;
        self
    }

    /// The directory that workers run in. Default: this process's own.
    ///
    /// A program with a slash in its name, and no slash in front, is looked up from there. A worker goes there after it
    /// has become its [user](Self::user).
    #[must_use]
    pub fn cwd(mut self, path: impl Into<PathBuf>) -> Self {
        self.attributes.cwd = Some(path.into());
        self
    }

    /// Runs workers as this user, and in its groups and no others. Only root may do that.
    ///
    /// They get the user's `HOME`, `USER`, `LOGNAME` and `SHELL`; [`Settings::env`] wins. Addresses are bound by this
    /// process, whoever the workers run as.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), pointsman::AccountError> {
    /// use pointsman::{Account, Settings};
    ///
    /// let settings = Settings::new("node").arg("app.js").user(Account::find("www-data", None)?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn user(mut self, account: Account) -> Self {
        self.user = Some(account);
        self
    }

    /// Which permissions the files that workers create do not get: see umask(2). Default: as of this process.
    #[must_use]
    pub fn umask(mut self, mask: u32) -> Self {
        self.attributes.umask = Some(mask & 0o777);
        self
    }

    /// The nice value of workers, from -20 (they come first) to 19. Default: as of this process. Lowering it
    /// takes a privilege.
    #[must_use]
    pub fn nice(mut self, nice: i32) -> Self {
        self.attributes.nice = Some(nice.clamp(-20, 19));
        self
    }

    /// Binds workers to cores: the one in slot 0 to the first of these sets, the next to the second, and from the
    /// beginning when there are no more. [`Cpus::one_each`] gives each a core of its own. Default: not bound.
    #[must_use]
    pub fn cpu_affinity(mut self, sets: impl IntoIterator<Item = Cpus>) -> Self {
        self.affinity = sets.into_iter().collect();
        self
    }

    /// Limits workers in a resource. Default: as of this process was when it started.
    #[must_use]
    pub fn limit(mut self, resource: Resource, limit: Limit) -> Self {
        self.attributes.limits.retain(|(other, _)| *other != resource);
        self.attributes.limits.push((resource, limit));
        self
    }

    /// How workers and their master write messages to each other. Default JSON.
    ///
    /// With [`Serialization::Advanced`], Node programs can send what JSON cannot say. Here such a message comes out as
    /// what `JSON.stringify` would have made of it; of a `BigInt`, which that refuses, as its digits in a string.
    #[must_use]
    pub fn serialization(mut self, serialization: Serialization) -> Self {
        self.serialization = serialization;
        self
    }

    /// How the master is scheduled where it accepts ([`Mode::Handoff`]). Default [`Scheduling::Batch`]: with all cores
    /// busy it then takes more connections, and fewer turns for them.
    ///
    /// It is the thread that calls [`Cluster::new`](crate::Cluster::new) which is scheduled so, until it drops the cluster;
    /// threads that it starts meanwhile are scheduled so as well. Where other programs keep all cores busy, a connection
    /// may wait for it a moment longer than with [`Scheduling::Normal`].
    #[must_use]
    pub fn master_scheduling(mut self, scheduling: Scheduling) -> Self {
        self.master_scheduling = scheduling;
        self
    }

    /// Has the cluster steered and seen from outside. Default: it is not.
    #[must_use]
    pub fn control(mut self, control: Control) -> Self {
        self.control = Some(control);
        self
    }

    /// Answers there by HTTP how the cluster is: `/livez`, `/readyz`, `/healthz`, `/metrics` for Prometheus and `/status`,
    /// as JSON. Default: nowhere. Whoever can connect is answered; a Unix socket is open to its owner alone unless
    /// [`Listen::mode`] says otherwise.
    #[must_use]
    pub fn admin(mut self, listen: Listen) -> Self {
        self.admin = Some(listen);
        self
    }

    /// Starts workers through another executable than this process's own: one whose `main` begins with
    /// [`role`](crate::role). For hosts whose `main` is not yours, such as a test harness.
    #[must_use]
    pub fn launcher(mut self, path: impl Into<PathBuf>) -> Self {
        self.launcher = path.into();
        self
    }

    /// What workers run by these settings.
    pub(crate) fn to_program(&self) -> Program {
        let variables = self.user.as_ref().map(Account::variables);
        Program {
            program: self.program.clone(),
            args: self.args.clone(),
            env: variables.into_iter().flatten().chain(self.env.iter().cloned()).collect(),
            load_report: self.load_report,
            attributes: Attributes { credentials: self.credentials().cloned(), ..self.attributes.clone() },
            affinity: self.affinity.clone(),
            serialization: self.serialization,
            base_env: self.base_env.clone(),
            absent: self.absent,
        }
    }

    /// What workers run and go by.
    pub(crate) fn to_work(&self) -> Work {
        Work { program: self.to_program(), rules: self.rules.clone(), forward: self.forward.clone() }
    }

    /// There is no program: requests go to the servers of [`Forward::upstreams`] alone, and no worker is started, whoever asks for
    /// one.
    #[must_use]
    pub fn no_program(mut self) -> Self {
        self.absent = true;
        self
    }

    /// The program to run.
    pub fn program(&self) -> &OsStr {
        &self.program
    }

    /// Its arguments.
    pub fn program_args(&self) -> &[OsString] {
        &self.args
    }

    /// What was given with [`Settings::listen`].
    pub fn listens(&self) -> &[Listen] {
        &self.listen
    }

    /// How many workers are kept running.
    pub fn worker_count(&self) -> usize {
        self.rules.workers
    }

    /// The policy.
    pub fn policy_name(&self) -> PolicyName {
        self.policy
    }
}

/// The cores that this process may use, by its affinity mask and its cgroup's quota; 1 if that cannot be known.
pub fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}
