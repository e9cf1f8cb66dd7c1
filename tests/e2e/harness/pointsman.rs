//! The builder: what is started, how, and what its log may say.

use std::{
    env,
    ffi::OsString,
    fs::File,
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{self, Command, Output, Stdio},
    sync::atomic::{AtomicU16, AtomicU32, Ordering},
};

use nix::pty::openpty;
use tempfile::TempDir;

use super::{Form, Master, Node, Place};

/// Variables of whoever runs the tests that would change what a master or a worker does.
const NOT_INHERITED: [&str; 17] = [
    "PORT",
    "WEB_CONCURRENCY",
    "NODE_CLUSTER_SCHED_POLICY",
    "NODE_OPTIONS",
    "NODE_CHANNEL_FD",
    "NODE_CHANNEL_SERIALIZATION_MODE",
    "NODE_UNIQUE_ID",
    "RUST_LOG",
    "NO_COLOR",
    "CLICOLOR_FORCE",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "RUNTIME_DIRECTORY",
    "TMPDIR",
];

/// A `pointsman` command to be.
#[derive(Debug)]
pub(crate) struct Pointsman {
    binary: PathBuf,
    /// A command that executes the rest of its arguments.
    wrapper: Vec<OsString>,
    arguments: Vec<OsString>,
    program: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    listen: Option<OsString>,
    /// Where tests find it, if not where it is told to listen.
    place: Option<Place>,
    directory: Option<PathBuf>,
    user: Option<u32>,
    stderr: Option<Stdio>,
    /// What is written to it, if that is not a pipe.
    pub(super) terminal: Option<File>,
    pub(super) expected: Vec<String>,
    pub(super) allowed: Vec<String>,
}

/// A command that was started, for [`Master`].
#[derive(Debug)]
pub(super) struct Started {
    pub(super) child: process::Child,
    /// `NAME=VALUE` in the environment of every process that descends from this one.
    pub(super) marker: String,
    pub(super) directory: TempDir,
    pub(super) command: String,
}

impl Pointsman {
    /// `pointsman run`, on a port that the system chooses.
    pub(crate) fn run() -> Self {
        Self { listen: Some("127.0.0.1:0".into()), ..Self::verb("run") }
    }

    /// The same, forwarding requests to workers on ports that are this test's alone.
    pub(crate) fn multiport() -> Self {
        Self::run().option("-m", "multiport").env("POINTSMAN_UPSTREAM_PORT", first_port().to_string())
    }

    /// `pointsman VERB`.
    pub(crate) fn verb(verb: &str) -> Self {
        Self {
            binary: env!("CARGO_BIN_EXE_pointsman").into(),
            wrapper: Vec::new(),
            arguments: vec![verb.into()],
            program: Vec::new(),
            env: Vec::new(),
            listen: None,
            place: None,
            directory: None,
            user: None,
            stderr: None,
            terminal: None,
            expected: Vec::new(),
            allowed: Vec::new(),
        }
    }

    pub(crate) fn workers(self, count: usize) -> Self {
        self.option("-w", count.to_string())
    }

    /// Listens here, and not on a port that the system chooses.
    pub(crate) fn listen(mut self, address: impl Into<OsString>) -> Self {
        self.listen = Some(address.into());
        self
    }

    /// Says nothing of where to listen.
    pub(crate) fn listen_by_default(mut self) -> Self {
        self.listen = None;
        self
    }

    /// Is found here, whatever it is told of where to listen.
    pub(crate) fn reached(mut self, place: impl Into<Place>) -> Self {
        self.place = Some(place.into());
        self
    }

    pub(crate) fn option(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.arguments.extend([name.into(), value.into()]);
        self
    }

    pub(crate) fn flag(mut self, flag: &str) -> Self {
        self.arguments.push(flag.into());
        self
    }

    /// Runs a program of `apps/` on this Node.
    pub(crate) fn node(self, node: Node, app: &str) -> Self {
        self.form(node.form).program(node.path()).arg(app_path(app))
    }

    /// Has its workers speak in this form.
    pub(crate) fn form(self, form: Form) -> Self {
        match form {
            // The default.
            Form::Json => self,
            Form::Advanced => self.option("--serialization", form.word()),
        }
    }

    /// Runs a script of `apps/`.
    pub(crate) fn python(self, script: &str) -> Self {
        self.program(python()).arg(app_path(script))
    }

    pub(crate) fn program(mut self, program: impl Into<OsString>) -> Self {
        self.program = vec![program.into()];
        self
    }

    /// An argument of the program.
    pub(crate) fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.program.push(arg.into());
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Runs in this directory, and not in one of its own.
    pub(crate) fn directory(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Runs this copy of the binary.
    pub(crate) fn binary(mut self, binary: &Path) -> Self {
        self.binary = binary.into();
        self
    }

    pub(crate) fn user(mut self, user: u32) -> Self {
        self.user = Some(user);
        self
    }

    /// Starts it through a shell that first executes these commands.
    pub(crate) fn after(mut self, commands: &str) -> Self {
        let script = format!("{commands}; exec \"$@\"");
        self.wrapper = ["sh", "-c", &script, "sh"].map(OsString::from).into();
        self
    }

    /// Starts it through a script of `apps/`, which gets `argument` and the command.
    pub(crate) fn through_python(mut self, script: &str, argument: &str) -> Self {
        self.wrapper = vec![python().into(), app_path(script).into(), argument.into()];
        self
    }

    /// Starts it through these words, in front of the command.
    pub(crate) fn through(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(OsString::from).collect();
        self
    }

    /// Lets it write its log here; the test cannot read it then.
    pub(crate) fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stderr = Some(stderr.into());
        self
    }

    /// Gives it a terminal to write its log to.
    pub(crate) fn on_a_terminal(mut self) -> Self {
        let pty = openpty(None, None).unwrap();
        self.terminal = Some(pty.master.into());
        self.stderr(pty.slave)
    }

    /// A warning or an error with this text must be logged.
    pub(crate) fn expect_log(mut self, text: &str) -> Self {
        self.expected.push(text.to_owned());
        self
    }

    /// Warnings or errors with this text may be logged.
    pub(crate) fn allow_log(mut self, text: &str) -> Self {
        self.allowed.push(text.to_owned());
        self
    }

    /// Starts a master, which the test is to [finish](Master::finish).
    pub(crate) fn start(mut self) -> Master {
        let stderr = self.stderr.take();
        let started = self.spawn(stderr.unwrap_or_else(Stdio::piped));
        Master::new(self, started)
    }

    /// Starts one that is to end by itself, and waits for that.
    pub(crate) fn output(self) -> Output {
        let started = self.spawn(Stdio::piped());
        Master::new(self, started).output()
    }

    /// Where it is found, if what it is told says all.
    pub(super) fn fixed_place(&self) -> Option<Place> {
        self.place.clone().or_else(|| Place::named(self.listen.as_ref()?.to_str()?))
    }

    fn spawn(&self, stderr: Stdio) -> Started {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let run = format!("{}-{}", process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
        let directory = tempfile::tempdir().unwrap();
        let words = self.words();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(self.directory.as_deref().unwrap_or(directory.path()));
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            if NOT_INHERITED.contains(&&*name) || name.starts_with("POINTSMAN_") {
                command.env_remove(&*name);
            }
        }
        command.env("XDG_RUNTIME_DIR", directory.path());
        command.env("E2E_RUN_ID", &run).envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        let text = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let child = command.spawn().unwrap_or_else(|error| panic!("{text}: {error}"));
        Started { child, marker: format!("E2E_RUN_ID={run}"), directory, command: text }
    }

    fn words(&self) -> Vec<OsString> {
        let mut words = self.wrapper.clone();
        words.push(self.binary.clone().into());
        words.extend(self.arguments.iter().cloned());
        if let Some(listen) = &self.listen {
            words.extend(["-l".into(), listen.clone()]);
        }
        if !self.program.is_empty() {
            words.push("--".into());
            words.extend(self.program.iter().cloned());
        }
        words
    }
}

/// The system's Python rather than a version manager's script of that name.
pub(crate) fn python() -> PathBuf {
    let system = PathBuf::from("/usr/bin/python3");
    if system.exists() { system } else { "python3".into() }
}

/// A port that nobody listens on. Below the range that the system gives out by itself, so that it stays free.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(process::id() % 900).unwrap_or(0) * 20;
    loop {
        let port = 12_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 18_000;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
}

/// The first of twenty ports for the workers of a test, which nobody else has: below those that the system gives out.
pub(crate) fn first_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Masters take ports by blocks of 32, which begin at multiples of it.
    let start = u16::try_from(process::id() % 60).unwrap();
    loop {
        let port = 30_016 + 32 * ((start + NEXT.fetch_add(1, Ordering::Relaxed)) % 80);
        if (0..32).all(|more| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port + more)).is_ok()) {
            return port;
        }
    }
}

pub(super) fn app_path(app: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/apps").join(app);
    assert!(path.exists(), "no {}", path.display());
    path
}
