//! The words of the command line.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    sync::LazyLock,
};

use clap::{
    Args, Parser, Subcommand,
    builder::{OsStringValueParser, PossibleValue, TypedValueParser},
};
use clap_complete::Shell;
use pointsman::{Limit, PolicyName, Resource};

use super::{
    control,
    flags::{FORWARDING, ForwardFlags, PlainFlags},
    pages,
};
use crate::config::{
    self, Affinity, BadValue, Depend, ForwardingLayer, Given, Layer, Listen, ListsLayer, Map, Mode, Origin,
    Page, ProcessLayer, Server, Trusted, Workers,
};

/// "0.1.0 (commit 0123456789ab)", or the bare version when it was built outside a checkout.
pub(super) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let version = env!("CARGO_PKG_VERSION");
    match option_env!("BUILT_FROM_COMMIT") {
        Some(commit) => format!("{version} (commit {commit})"),
        None => version.to_owned(),
    }
});

/// Runs many worker processes behind one port.
///
/// Pointsman starts N copies of a program, owns the port they serve, and hands each connection to one of them. Node
/// programs run under it as they are, whether or not they mention `cluster`.
#[derive(Debug, Parser)]
#[command(name = "pointsman", version = VERSION.as_str(), after_help = pages::examples())]
#[command(arg_required_else_help = true, max_term_width = 100)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Start workers and serve, in the foreground
    ///
    /// Without a program, the built-in demo worker runs.
    #[command(after_help = pages::examples(), after_long_help = pages::reference())]
    #[command(override_usage = "pointsman run [OPTIONS] [--] [PROGRAM [ARGS]...]")]
    Run(RunArgs),
    /// Validate the configuration and print what would run
    ///
    /// Takes the options of `run` and starts nothing. Exits with 0, or with 78 and everything that is wrong.
    #[command(override_usage = "pointsman check [OPTIONS] [--] [PROGRAM [ARGS]...]")]
    Check(CheckArgs),
    #[command(flatten)]
    Control(control::Verb),
    /// Print a script that completes commands and options in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print a manual page: pointsman man run | man -l -
    Man {
        /// The command whose page to print; without it, the page of pointsman itself
        #[arg(value_parser = pages::PAGES)]
        command: Option<String>,
    },
    #[command(hide = true)]
    DemoWorker,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Say where each value comes from
    #[arg(long)]
    pub(super) origin: bool,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// How many workers: a number, or auto for one per core
    ///
    /// Default: WEB_CONCURRENCY, else auto, which knows of CPU affinity and cgroup quotas. 0 starts none: `pointsman scale`
    /// or `fork` does.
    #[arg(short, long, value_name = "N|auto")]
    workers: Option<Workers>,

    /// Where to listen; can be given more than once
    ///
    /// 127.0.0.1:8000, [::1]:8000 or localhost:8000; :8000 or 8000 is every interface; unix:/run/app.sock is a Unix
    /// socket. Options follow with blanks between: backlog=N, ipv6only, keepalive=TIME, defer_accept=TIME, and for Unix
    /// sockets mode=660, owner=USER, group=GROUP. Default: every interface at PORT if that variable is set, else
    /// 127.0.0.1:8000.
    #[arg(short, long, value_name = "ADDR")]
    listen: Vec<Listen>,

    /// Serve what the program listens to as FROM on TO; can be given more than once
    ///
    /// 3000=8000, 127.0.0.1:3000=:80, 3000=unix:/run/app.sock. Without -l, nothing else is listened on.
    #[arg(long, value_name = "FROM=TO")]
    map: Vec<Map>,

    /// How connections come to workers: handoff, shared or multiport
    ///
    /// handoff: the master accepts and hands over; for Node programs as they are and programs that use the pointsman
    /// crate. shared (Node's none): each worker accepts from the socket that it is given; for any program that takes an
    /// inherited socket. multiport: requests are forwarded to each worker's own port, which it finds in PORT; for any
    /// program, and with --upstreams for any server.
    #[arg(short, long, value_parser = OneOf(str::parse::<Mode>, &MODES), hide_possible_values = true)]
    mode: Option<Mode>,

    /// Which worker gets the next connection: round-robin, least-connections, power-of-two or hash
    ///
    /// round-robin (Node's rr): each in turn. least-connections: the one with the fewest open connections. power-of-two
    /// (p2c): of two, the one with fewer. hash (multiport): the same client to the same worker. Default:
    /// NODE_CLUSTER_SCHED_POLICY, else round-robin.
    #[arg(short, long, value_parser = OneOf(config::policy, &POLICIES), hide_possible_values = true)]
    policy: Option<PolicyName>,

    /// Read this TOML file
    ///
    /// A flag wins over the environment, which wins over the file.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Set a variable for the workers; can be given more than once
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = OsStringValueParser::new().try_map(variable))]
    env: Vec<(OsString, OsString)>,

    #[command(flatten)]
    process: ProcessArgs,

    /// Start no worker before this is there; can be given more than once
    ///
    /// 127.0.0.1:5432 or unix:/run/db.sock: somebody accepts connections there. "exec: pg_isready -h db": this command
    /// ends with 0.
    #[arg(long, value_name = "WHAT")]
    depends: Vec<Depend>,

    #[command(flatten)]
    plain: PlainFlags,

    #[command(flatten)]
    lists: ListsArgs,

    #[command(flatten)]
    forward: ForwardFlags,

    /// Only validate and print what would run, as `pointsman check` does
    #[arg(short, long)]
    pub(super) test: bool,

    /// The program that each worker runs, and its arguments
    ///
    /// Put -- before it if you like; everything after its name is its own.
    #[arg(trailing_var_arg = true, value_name = "PROGRAM ARGS")]
    pub(super) program: Vec<OsString>,
}

/// What there may be several of in how requests are forwarded.
#[derive(Debug, Args)]
struct ListsArgs {
    /// Forward requests to this server as well as to workers; can be given more than once
    ///
    /// 10.0.0.5:3000, app.example:80 or unix:/run/app.sock. Options follow with blanks between: weight=N, and backup for
    /// one that gets requests only if the others cannot. Without a program, no workers are started beside them.
    #[arg(long, value_name = "ADDR", hide_short_help = true, help_heading = FORWARDING)]
    upstreams: Vec<Server>,

    /// Believe what this proxy says of where a request comes from; can be given more than once
    ///
    /// An address, a network such as 10.0.0.0/8, loopback, or private.
    #[arg(long, value_name = "NET", hide_short_help = true, help_heading = FORWARDING)]
    trusted_proxies: Vec<Trusted>,

    /// Answer this error with that file; can be given more than once
    ///
    /// 502=sorry.html, or 5xx=sorry.html for all of them.
    #[arg(long, value_name = "CODE=FILE", hide_short_help = true, help_heading = FORWARDING)]
    error_pages: Vec<Page>,
}

/// What each worker process is to be.
#[derive(Debug, Args)]
struct ProcessArgs {
    /// Read variables for the workers from this file: NAME=VALUE lines
    ///
    /// Blank lines, comments after #, export before a name, and quotes around a value are understood. The variables of
    /// the configuration file's [env] and of --env win.
    #[arg(long, value_name = "FILE", value_parser = OsStringValueParser::new().try_map(path))]
    env_file: Option<PathBuf>,

    /// The directory that workers run in [default: where pointsman was started]
    #[arg(long, value_name = "DIR", value_parser = OsStringValueParser::new().try_map(path))]
    cwd: Option<PathBuf>,

    /// Run workers as this user, by name or number; only root can
    ///
    /// Pointsman itself stays root, and binds ports below 1024. Workers are in the user's groups and no others.
    #[arg(long, value_name = "USER", value_parser = config::account)]
    user: Option<String>,

    /// In this group [default: the user's own]
    #[arg(long, value_name = "GROUP", value_parser = config::account)]
    group: Option<String>,

    /// The umask of workers, in octal digits such as 027
    #[arg(long, value_name = "MASK", value_parser = config::umask)]
    umask: Option<u32>,

    /// The nice value of workers, -20 (served first) to 19
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = config::nice)]
    nice: Option<i32>,

    /// The cores of each worker: auto for one each, or sets to take in turn such as "0-1 2-3"
    #[arg(long, value_name = "auto|SETS")]
    cpu_affinity: Option<Affinity>,

    /// Limit workers, such as nofile=65536 or core=0:unlimited; can be given more than once
    ///
    /// The limits are as, core, cpu, data, fsize, memlock, msgqueue, nofile, nproc, rtprio, sigpending and stack; see
    /// setrlimit(2). One value is for both the soft and the hard limit. Sizes have a unit: 200MiB.
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = config::named_limit)]
    limit: Vec<(Resource, Limit)>,
}

/// What completes `--mode`.
const MODES: [&str; 3] = ["handoff", "shared", "multiport"];

/// What completes `--policy`.
const POLICIES: [&str; 6] = ["round-robin", "rr", "least-connections", "power-of-two", "p2c", "hash"];

/// A function that reads a value, and the words that a shell may complete. What to write instead of a bad word, the
/// function knows better than clap.
#[derive(Clone)]
pub(super) struct OneOf<F>(pub(super) F, pub(super) &'static [&'static str]);

impl<F: TypedValueParser> TypedValueParser for OneOf<F> {
    type Value = F::Value;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<F::Value, clap::Error> {
        self.0.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.1.iter().map(PossibleValue::new)))
    }
}

fn some<T>(value: T, name: &'static str) -> Option<Given<T>> {
    Some(Given::new(value, Origin::Flag(name)))
}

impl ProcessArgs {
    fn into_layer(self) -> ProcessLayer {
        let limit = |(name, limit)| (name, Given::new(limit, Origin::Flag("--limit")));
        ProcessLayer {
            cwd: self.cwd.and_then(|value| some(value, "--cwd")),
            user: self.user.and_then(|value| some(value, "--user")),
            group: self.group.and_then(|value| some(value, "--group")),
            umask: self.umask.and_then(|value| some(value, "--umask")),
            nice: self.nice.and_then(|value| some(value, "--nice")),
            cpu_affinity: self.cpu_affinity.and_then(|value| some(value, "--cpu-affinity")),
            env_file: self.env_file.and_then(|value| some(value, "--env-file")),
            limits: self.limit.into_iter().map(limit).collect(),
        }
    }
}

impl RunArgs {
    /// What the flags say, and the file that they name.
    pub(super) fn into_layer(self) -> (Layer, Option<PathBuf>) {
        let variable = |(name, value)| (name, Given::new(value, Origin::Flag("--env")));
        let layer = Layer {
            workers: self.workers.and_then(|value| some(value, "--workers")),
            listen: filled(self.listen, "--listen"),
            map: filled(self.map, "--map"),
            mode: self.mode.and_then(|value| some(value, "--mode")),
            policy: self.policy.and_then(|value| some(value, "--policy")),
            program: filled(self.program, "command line"),
            args: None,
            env: self.env.into_iter().map(variable).collect(),
            process: self.process.into_layer(),
            plain: self.plain.0,
            depends: filled(self.depends, "--depends"),
            forward: ForwardingLayer {
                keys: self.forward.0,
                lists: ListsLayer {
                    upstreams: filled(self.lists.upstreams, "--upstreams"),
                    trusted_proxies: filled(self.lists.trusted_proxies, "--trusted-proxies"),
                    error_pages: filled(self.lists.error_pages, "--error-pages"),
                },
            },
        };
        (layer, self.config)
    }
}

fn filled<T>(value: Vec<T>, name: &'static str) -> Option<Given<Vec<T>>> {
    if value.is_empty() { None } else { some(value, name) }
}

/// A path relative to where this process was started.
#[allow(clippy::needless_pass_by_value, reason = "clap hands it over")]
fn path(text: OsString) -> Result<PathBuf, BadValue> {
    config::path(Path::new(&text), Path::new(""))
}

/// Splits `NAME=VALUE` at the first equals sign.
pub(super) fn variable(text: OsString) -> Result<(OsString, OsString), BadValue> {
    let mut name = text.into_vec();
    let Some(equals) = name.iter().position(|&byte| byte == b'=').filter(|&at| at > 0) else {
        return Err(BadValue::new("not a variable", "write NAME=VALUE"));
    };
    let value = OsStr::from_bytes(&name[equals + 1..]).to_owned();
    name.truncate(equals);
    Ok((OsString::from_vec(name), value))
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
