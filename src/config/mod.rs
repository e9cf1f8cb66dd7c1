//! Default, file, environment, flags -> what to run.
//!
//! Each source is read into a [`Layer`] of its own; the layers are laid over one another, the later winning, and what
//! comes out is checked as a whole and becomes [`pointsman::Settings`]. Every value keeps its [`Origin`]. Nothing here
//! prints or exits, and nothing is started.

mod admin;
mod attribute;
mod control;
mod depends;
mod entries;
mod env_file;
mod environment;
mod file;
mod forward;
mod forward_file;
mod forward_keys;
mod forward_lists;
mod forwarding;
mod key;
mod keys;
mod layer;
mod listen;
mod listen_options;
mod map;
mod output;
mod problem;
mod process;
mod reload;
mod settings;
mod supervision;
#[cfg(test)]
mod tests;
mod together;
mod value;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, IsTerminal},
    net::SocketAddr,
    path::Path,
    ptr,
};

use pointsman::PolicyName;

pub(crate) use pointsman::shell_words as words;

pub(crate) use attribute::{Affinity, account, named_limit, nice, path, show_limit, show_umask, umask};
pub(crate) use control::{ControlPlace, name as control_name};
pub(crate) use depends::Depend;
pub(crate) use environment::Environment;
pub(crate) use environment::names as variables;
pub(crate) use forward::{Forwarding, ForwardingLayer};
pub(crate) use forward_keys::ForwardLayer;
#[cfg(test)]
pub(crate) use forward_keys::{FORWARD, tests::SAMPLES as FORWARD_SAMPLES};
pub(crate) use forward_lists::{ListsLayer, Page, Server, Trusted};
pub(crate) use key::{Ask, Form, Key};
#[cfg(test)]
pub(crate) use keys::{PLAIN, tests::SAMPLES};
pub(crate) use keys::{Plain, PlainLayer};
pub(crate) use layer::{Given, Layer, Origin};
pub(crate) use listen::{Listen, Socket};
pub(crate) use map::Map;
pub(crate) use problem::{Problems, nearest, synonym};
pub(crate) use process::{Process, ProcessLayer};
pub(crate) use reload::Inputs;
pub(crate) use supervision::reload_batch;
pub(crate) use value::{BadValue, Mode, Overload, Workers, duration, policy, show as show_duration};

use environment::WEB_CONCURRENCY;
use layer::refuse_name;
use listen::covers;
use problem::Problem;

/// Where `run` listens when nothing says otherwise: Node's examples use this port, and only this machine is served.
const LISTEN: SocketAddr = SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 8000));

/// What to run, complete and checked, each value with its origin.
#[derive(Debug)]
pub(crate) struct Config {
    /// The program and its first arguments; `None` is the built-in demo worker.
    pub(crate) program: Option<Given<Vec<OsString>>>,
    /// Further arguments.
    pub(crate) args: Option<Given<Vec<OsString>>>,
    pub(crate) workers: Given<usize>,
    /// Empty: the workers' own wishes alone count.
    pub(crate) listen: Given<Vec<Socket>>,
    pub(crate) map: Given<Vec<Map>>,
    pub(crate) mode: Given<Mode>,
    pub(crate) policy: Given<PolicyName>,
    pub(crate) env: BTreeMap<OsString, Given<OsString>>,
    /// What each worker process is to be.
    pub(crate) process: Process,
    pub(crate) plain: Plain,
    /// What the first worker waits for.
    pub(crate) depends: Given<Vec<Depend>>,
    /// How requests are forwarded, if they are.
    pub(crate) forward: Forwarding,
    /// Whether somebody looks at standard error.
    terminal: bool,
    /// What is suspicious but no mistake.
    pub(crate) warnings: Vec<String>,
}

/// Reads everything that has a say.
pub(crate) fn load(flags: Layer, file: Option<&Path>, environment: &Environment) -> Result<Config, Problems> {
    let mut problems = Problems::default();
    let file = file.map(|path| file::read(path, &mut problems)).unwrap_or_default();
    let explicit = flags.over(environment.layer(&mut problems)).over(file);
    let defaults = environment.defaults(&explicit, &mut problems);
    let config = resolve(explicit.over(defaults), &mut problems);
    if problems.0.is_empty() {
        let own = together::warnings(&config).into_iter().chain(forwarding::warnings(&config));
        let warnings = environment.warnings().into_iter().chain(own).collect();
        Ok(Config { warnings, terminal: io::stderr().is_terminal(), ..config })
    } else {
        Err(problems)
    }
}

/// Fills in the defaults and looks at everything together. What it returns is only good if it found no problem.
fn resolve(layer: Layer, problems: &mut Problems) -> Config {
    let mode = layer.mode.clone().unwrap_or_else(|| Given::default(Mode::Handoff));
    let policy = layer.policy.clone().unwrap_or_else(|| Given::default(PolicyName::default()));
    if let (None, Some(args)) = (&layer.program, &layer.args) {
        let bad = BadValue::new("arguments without a program", "name the program, or leave them out");
        problems.push(Problem::new(args.origin.clone(), words(&args.value), bad));
    }
    let env_file = layer.process.env_file.as_ref();
    let mut env: BTreeMap<_, _> =
        env_file.map(|file| env_file::read(file, problems)).into_iter().flatten().collect();
    for (name, value) in layer.env {
        if let Some(bad) = refuse_name(&name) {
            let text = format!("{}={}", name.display(), value.value.display());
            problems.push(Problem::new(value.origin.clone(), text, bad));
        }
        env.insert(name, value);
    }
    let map = layer.map.unwrap_or_else(|| Given::default(Vec::new()));
    // A program that is mapped says itself where it wants to be found.
    let default = if map.value.is_empty() { vec![LISTEN.into()] } else { Vec::new() };
    let listen = layer.listen.unwrap_or_else(|| Given::default(default));
    let mut plain = Plain::resolve(layer.plain);
    output::settle(&mut plain.output.value, &plain.output.origin, problems);
    output::settle_error(&mut plain.error_output, problems);
    control::settle(&mut plain.control, problems);
    let forward = Forwarding::resolve(layer.forward, problems);
    together::refuse_with_mode(&mode, &policy, &listen, &map, &plain, problems);
    together::refuse_times(&plain, problems);
    let mut workers = layer.workers.unwrap_or_else(|| Given::default(Workers::Auto));
    let is_asked = !matches!(workers.origin, Origin::Default | Origin::Variable(WEB_CONCURRENCY, _));
    if layer.program.is_none() && !is_asked && !forward.lists.upstreams.value.is_empty() {
        // Who names servers and no program wants no demo beside them.
        workers = Given::new(Workers::Count(0), forward.lists.upstreams.origin.clone());
    }
    forwarding::refuse(&mode, &policy, workers.value, &forward, problems);
    if matches!(workers.origin, Origin::Variable(WEB_CONCURRENCY, _)) {
        // It has been obeyed. A program that obeys it as well, such as gunicorn, would start as many in each worker.
        env.entry(WEB_CONCURRENCY.into()).or_insert_with(|| Given::new("1".into(), workers.origin.clone()));
    }
    Config {
        program: layer.program,
        args: layer.args,
        workers: Given::new(workers.value.count(), workers.origin),
        listen: Given::new(sockets(&listen, problems), listen.origin),
        map,
        mode,
        policy,
        env,
        process: Process::resolve(layer.process, problems),
        plain,
        depends: layer.depends.unwrap_or_else(|| Given::default(Vec::new())),
        forward,
        terminal: false,
        warnings: Vec::new(),
    }
}

/// The sockets, none of them taken by another of them.
fn sockets(listen: &Given<Vec<Listen>>, problems: &mut Problems) -> Vec<Socket> {
    let mut problem = |value: &Listen, bad| problems.push(Problem::new(listen.origin.clone(), value, bad));
    let mut found: Vec<(Socket, &Listen)> = Vec::new();
    for wanted in &listen.value {
        match wanted.resolve() {
            Ok(sockets) => found.extend(sockets.into_iter().map(|socket| (socket, wanted))),
            Err(bad) => problem(wanted, bad),
        }
    }
    let mut told = None;
    for (index, (socket, wanted)) in found.iter().enumerate() {
        let others = found.iter().enumerate().filter(|&(other, _)| other != index);
        let taken = others.map(|(other, (wide, spelt))| (other, wide, *spelt)).find(|&(other, wide, _)| {
            // Of two that are equal, the second is the one too many.
            covers(wide, socket) && (!covers(socket, wide) || other < index)
        });
        if let Some((_, wide, spelt)) = taken {
            let what = if *wanted == spelt {
                format!("{wanted} is given twice")
            } else if wide.endpoint() == socket.endpoint() {
                format!("{spelt} and {wanted} are both {}", socket.endpoint())
            } else {
                format!("{wanted} is part of {spelt}")
            };
            // A name may have several addresses, all of them taken.
            if !told.replace(*wanted).is_some_and(|told| ptr::eq(told, *wanted)) {
                problem(wanted, BadValue::new(what, "leave one of them out"));
            }
        }
    }
    if listen.value.is_empty() && !matches!(listen.origin, Origin::Default) {
        let bad = BadValue::new("no address to listen on", "name one, or leave listen out");
        problems.push(Problem::new(listen.origin.clone(), "", bad));
    }
    found.into_iter().map(|(socket, _)| socket).collect()
}

impl Config {
    /// Whether what comes from there stands in the file that `env_file` names.
    pub(crate) fn is_of_env_file(&self, origin: &Origin) -> bool {
        let file = self.process.given.env_file.as_ref();
        matches!((origin, file), (Origin::File(source, _), Some(file)) if source.path == file.value)
    }

    /// The program and all its arguments; empty for the demo worker.
    pub(crate) fn command(&self) -> Vec<&OsString> {
        let given = [&self.program, &self.args];
        given.into_iter().flatten().flat_map(|given| &given.value).collect()
    }

    /// The command line of the program within a sentence.
    pub(crate) fn quoted(&self) -> String {
        if self.program.is_some() { format!("`{}`", self.command_line()) } else { self.command_line() }
    }

    /// The program and all its arguments, for people.
    pub(crate) fn command_line(&self) -> String {
        match &self.program {
            Some(_) => words(self.command()),
            None if self.serves_others_alone() => "none: requests go to the servers of upstreams".into(),
            None => "the built-in demo worker".into(),
        }
    }

    /// Requests go to servers that are no workers, and nobody has asked for the demo beside them.
    pub(crate) fn serves_others_alone(&self) -> bool {
        let others = self.mode.value == Mode::Multiport && !self.forward.lists.upstreams.value.is_empty();
        others && self.program.is_none() && self.workers.value == 0
    }
}

/// The hidden subcommand that is the demo worker.
pub(crate) const DEMO_WORKER: &str = "demo-worker";
