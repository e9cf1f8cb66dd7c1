//! What one source says, and which source wins.
//!
//! A [`Layer`] holds what a file, the environment or the command line gave, each value with its origin.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    ops::Range,
    path::PathBuf,
    rc::Rc,
};

use pointsman::PolicyName;

use super::{
    depends::Depend,
    forward::ForwardingLayer,
    forward_keys::FORWARD,
    keys::{PLAIN, PlainLayer},
    listen::Listen,
    map::Map,
    process::ProcessLayer,
    value::{BadValue, Mode, Workers},
};

/// A configuration file as it was read.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// Where a value comes from.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    Default,
    /// These bytes of a file.
    File(Rc<Source>, Range<usize>),
    /// An environment variable, and its text.
    Variable(&'static str, Rc<str>),
    /// A flag, or a positional argument by its name.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File(source, span) => {
                let before = source.text.as_bytes().get(..span.start).unwrap_or_default();
                let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
                write!(out, "{}:{line}", source.path.display())
            }
            Self::Variable(name, _) | Self::Flag(name) => out.write_str(name),
        }
    }
}

/// A value and where it comes from.
#[derive(Debug, Clone)]
pub(crate) struct Given<T> {
    pub(crate) value: T,
    pub(crate) origin: Origin,
}

impl<T> Given<T> {
    pub(crate) fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }

    pub(crate) fn default(value: T) -> Self {
        Self { value, origin: Origin::Default }
    }
}

/// The keys of a file that are more than [plain](PLAIN) ones. But for `env`, each is in capitals after `POINTSMAN_` a
/// variable.
const SPECIAL: [&str; 20] = [
    "workers",
    "listen",
    "map",
    "mode",
    "policy",
    "program",
    "args",
    "cwd",
    "user",
    "group",
    "umask",
    "nice",
    "cpu_affinity",
    "env_file",
    "limits",
    "env",
    "depends",
    "upstreams",
    "trusted_proxies",
    "error_pages",
];

/// The keys of a file.
pub(crate) fn keys() -> impl Iterator<Item = &'static str> {
    SPECIAL.into_iter().chain(PLAIN.iter().chain(&FORWARD).map(|key| key.name))
}

/// What one source says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layer {
    pub(crate) workers: Option<Given<Workers>>,
    pub(crate) listen: Option<Given<Vec<Listen>>>,
    pub(crate) map: Option<Given<Vec<Map>>>,
    pub(crate) mode: Option<Given<Mode>>,
    pub(crate) policy: Option<Given<PolicyName>>,
    /// The program and its first arguments; not empty.
    pub(crate) program: Option<Given<Vec<OsString>>>,
    /// Further arguments.
    pub(crate) args: Option<Given<Vec<OsString>>>,
    /// Variables for the workers, the later winning.
    pub(crate) env: Vec<(OsString, Given<OsString>)>,
    /// What each worker process is to be.
    pub(crate) process: ProcessLayer,
    pub(crate) plain: PlainLayer,
    pub(crate) depends: Option<Given<Vec<Depend>>>,
    /// How requests are forwarded.
    pub(crate) forward: ForwardingLayer,
}

impl Layer {
    /// This layer's values, and those of the layer `below` for what it leaves open. Variables of the workers are
    /// merged one by one; a program does not take over the arguments of another.
    pub(crate) fn over(self, below: Self) -> Self {
        let args = match self.program {
            Some(_) => self.args,
            None => self.args.or(below.args),
        };
        let mut env = below.env;
        env.extend(self.env);
        Self {
            workers: self.workers.or(below.workers),
            listen: self.listen.or(below.listen),
            map: self.map.or(below.map),
            mode: self.mode.or(below.mode),
            policy: self.policy.or(below.policy),
            program: self.program.or(below.program),
            args,
            env,
            process: self.process.over(below.process),
            plain: self.plain.over(below.plain),
            depends: self.depends.or(below.depends),
            forward: self.forward.over(below.forward),
        }
    }
}

/// Why a variable cannot be given to workers, if it cannot: its name is malformed, or the master sets it itself.
pub(crate) fn refuse_name(name: &OsStr) -> Option<BadValue> {
    let name = name.to_string_lossy();
    let refuse = |what: &str, instead: &str| Some(BadValue::new(what, instead));
    match name.as_ref() {
        "PORT" => refuse(
            "the workers get the public port as PORT from pointsman",
            "choose it with -l, or with listen in the file",
        ),
        _ if pointsman::is_reserved_variable(&name) => {
            refuse(&format!("the workers get {name} from pointsman"), "leave it out")
        }
        "" => refuse("a variable without a name", "write NAME=VALUE"),
        _ if !is_sound(&name) => refuse(
            "not the name of a variable",
            "a name has letters, digits and underscores, and does not begin with a digit",
        ),
        _ => None,
    }
}

/// Whether every program finds a variable of this name, also one that a shell starts.
fn is_sound(name: &str) -> bool {
    let sound = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    name.chars().all(sound) && !name.starts_with(|first: char| first.is_ascii_digit())
}
