//! What workers run: one program for each generation that may still be started.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    fmt, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::Forward;
use crate::{
    control::shell_words,
    fleet::Rules,
    protocol::serialization::Serialization,
    sys::{
        attributes::{Attributes, check_directory},
        cpus::Cpus,
        launch,
    },
};

/// What the workers of a generation run, and how.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Whether Node is to report the ends of connections.
    pub(crate) load_report: bool,
    /// What each is to be.
    pub(crate) attributes: Attributes,
    /// Cores for the slots, which take these sets in turn; none if they may use all.
    pub(crate) affinity: Vec<Cpus>,
    /// How it speaks on its channel.
    pub(crate) serialization: Serialization,
    /// What `env` is on top of; `None` for this process's own environment.
    pub(crate) base_env: Option<Vec<(OsString, OsString)>>,
    /// There is none: requests go to others alone, and no worker is to be started.
    pub(crate) absent: bool,
}

/// What a generation of workers runs and goes by.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) program: Program,
    pub(crate) rules: Rules,
    /// How requests are forwarded, where they are.
    pub(crate) forward: Forward,
}

/// What one worker runs otherwise than the others: see [`Cluster::fork_with`](crate::Cluster::fork_with).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Fork {
    program: Option<(OsString, Vec<OsString>)>,
    cwd: Option<PathBuf>,
    env: Vec<(OsString, OsString)>,
}

impl fmt::Debug for Program {
    /// Of the environment, only how large it is: there are secrets in it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = out.debug_struct("Program");
        shown.field("program", &self.program).field("args", &self.args).field("variables", &self.env.len());
        shown.field("attributes", &self.attributes).finish_non_exhaustive()
    }
}

impl fmt::Debug for Fork {
    /// The same.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = out.debug_struct("Fork");
        shown.field("program", &self.program).field("cwd", &self.cwd);
        shown.field("variables", &self.env.len()).finish()
    }
}

impl Fork {
    /// As the others.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs another program, with these arguments.
    #[must_use]
    pub fn program(
        mut self,
        program: impl Into<OsString>,
        args: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        self.program = Some((program.into(), args.into_iter().map(Into::into).collect()));
        self
    }

    /// Runs in another directory.
    #[must_use]
    pub fn cwd(mut self, path: impl Into<PathBuf>) -> Self {
        self.cwd = Some(path.into());
        self
    }

    /// Sets a variable, on top of those that the others have.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    pub(super) fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// What becomes of `program` by this.
    pub(super) fn apply(&self, mut program: Program) -> Program {
        if let Some((own, args)) = &self.program {
            (program.program, program.args) = (own.clone(), args.clone());
            program.absent = false;
        }
        if let Some(path) = &self.cwd {
            program.attributes.cwd = Some(path.clone());
        }
        program.env.extend(self.env.iter().cloned());
        program
    }
}

/// Whether the master sets this variable of workers itself: where they are reached, and what the protocol and the sockets that
/// they are started with take.
pub fn is_reserved_variable(name: &str) -> bool {
    const RESERVED: [&str; 12] = [
        "PORT",
        "NODE_CHANNEL_FD",
        "NODE_CHANNEL_SERIALIZATION_MODE",
        "NODE_UNIQUE_ID",
        "NODE_APP_INSTANCE",
        "POINTSMAN_SLOT",
        "POINTSMAN_ADDRESSES",
        "POINTSMAN_PRELOAD",
        "POINTSMAN_LANE",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
    ];
    RESERVED.contains(&name) || name.starts_with("EINHORN_")
}

/// Why a program cannot be run, as far as that is known without running it.
#[derive(Debug)]
pub(crate) enum Missing {
    NotFound,
    NotExecutable(PathBuf),
    NoDirectory(PathBuf, io::Error),
}

/// What a program is called that asks for its sockets on its channel.
const ASKS: [&str; 2] = ["node", "nodejs"];

impl Program {
    /// What the worker of this slot is to be.
    pub(super) fn attributes(&self, slot: u32) -> Attributes {
        let place = (slot as usize).checked_rem(self.affinity.len());
        let cpus = place.and_then(|place| self.affinity.get(place)).cloned();
        Attributes { cpus, ..self.attributes.clone() }
    }

    /// Looks whether it and its directory are there.
    pub(crate) fn find(&self) -> Result<(), Missing> {
        let directory = self.attributes.cwd.as_deref();
        if let Some(path) = directory {
            check_directory(path).map_err(|source| Missing::NoDirectory(path.to_owned(), source))?;
        }
        let program = directory.unwrap_or(Path::new("")).join(&self.program);
        let candidates: Vec<PathBuf> = if self.program.as_encoded_bytes().contains(&b'/') {
            vec![program.clone()]
        } else {
            let path = self.variable("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
            env::split_paths(&path).map(|directory| directory.join(&self.program)).collect()
        };
        let is_file = |path: &&PathBuf| path.metadata().is_ok_and(|data| data.is_file() || **path == program);
        let executable = |path: &Path| {
            path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
        };
        let files: Vec<_> = candidates.iter().filter(is_file).collect();
        match files.first() {
            None => Err(Missing::NotFound),
            Some(_) if files.iter().any(|path| executable(path)) => Ok(()),
            Some(&first) => Err(Missing::NotExecutable(first.clone())),
        }
    }

    /// What it finds in its environment under this name, as far as that is not the master's to say.
    pub(super) fn variable(&self, name: &str) -> Option<OsString> {
        let base = self.base_env.iter().flatten();
        let own = base.chain(&self.env).rev().find(|(own, _)| own == name).map(|(_, value)| value.clone());
        own.or_else(|| if self.base_env.is_some() { None } else { env::var_os(name) })
    }

    /// As it is written for people.
    pub(super) fn shown(&self) -> String {
        if self.absent {
            return "none: requests go to the servers of upstreams".into();
        }
        if self.is_self() {
            return "the built-in demo worker".into();
        }
        shell_words(std::iter::once(&self.program).chain(&self.args))
    }

    /// Whether it is this very program, run again.
    pub(super) fn is_self(&self) -> bool {
        self.program == launch::SELF
    }

    /// Whether it knows to ask for listening sockets.
    pub(super) fn asks_for_sockets(&self) -> bool {
        let name = Path::new(&self.program).file_name().unwrap_or_default();
        self.is_self() || ASKS.iter().any(|known| OsStr::new(known) == name)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Programs {
    by_generation: BTreeMap<u32, Program>,
    /// The last one that was added, or is left.
    latest: Program,
    /// What workers of these slots are otherwise.
    own: BTreeMap<u32, Fork>,
}

impl Programs {
    /// With that of the first generation.
    pub(super) fn new(program: Program) -> Self {
        Self { by_generation: BTreeMap::from([(1, program.clone())]), latest: program, own: BTreeMap::new() }
    }

    /// With another.
    pub(super) fn add(&mut self, generation: u32, program: Program) {
        self.latest = program.clone();
        self.by_generation.insert(generation, program);
    }

    /// Nobody will be started of this generation.
    pub(super) fn forget(&mut self, generation: u32) {
        self.by_generation.remove(&generation);
        if let Some(program) = self.by_generation.values().next_back() {
            self.latest = program.clone();
        }
    }

    /// Workers of this slot are otherwise.
    pub(super) fn add_own(&mut self, slot: u32, fork: Fork) {
        self.own.insert(slot, fork);
    }

    /// No longer.
    pub(super) fn forget_own(&mut self, slot: u32) {
        self.own.remove(&slot);
    }

    /// What workers of this slot run, if that is a program of their own.
    pub(super) fn own(&self, slot: u32) -> Option<String> {
        let (program, args) = self.own.get(&slot)?.program.as_ref()?;
        Some(shell_words(std::iter::once(program).chain(args)))
    }

    /// What a worker of this generation runs (of one that is forgotten, what comes closest), in a slot that may have its
    /// `own`.
    pub(super) fn of(&self, generation: u32, slot: u32, own: bool) -> Program {
        let program = self.by_generation.get(&generation).unwrap_or(&self.latest).clone();
        match self.own.get(&slot).filter(|_| own) {
            Some(fork) => fork.apply(program),
            None => program,
        }
    }

    /// The one that whoever comes next most likely runs.
    pub(super) fn latest(&self) -> &Program {
        &self.latest
    }
}
