//! The words of the verbs that talk to a master.
//!
//! Words enter, typed parameters leave. What becomes of them, `super` knows.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{
    Args, Subcommand,
    builder::{OsStringValueParser, TypedValueParser},
};
use pointsman::{Batch, ControlName};
use serde_json::Value;

use super::super::args::{OneOf, variable};
use crate::config::{self, BadValue, ControlPlace};

/// What is asked of a master.
#[derive(Debug, Subcommand)]
pub(in super::super) enum Verb {
    /// Show how the master and its workers are
    ///
    /// A worker's state is followed by how long it has been so (of a slot that waits: until its next worker is started).
    /// RST is how often its slot was filled again after a worker had ended by itself, LAST EXIT with what code or signal
    /// the last one did, and how long ago. CONN are its open connections, as far as BY tells: reports (the program), script
    /// (the one that Node loads), kernel, or none. HANDED are those that it was handed so far. CPU is of one processor,
    /// within a fifth of a second.
    Status(Plain),
    /// Show the workers alone
    #[command(visible_alias = "ls")]
    List(Plain),
    /// Follow what happens
    ///
    /// Times are in UTC. Ends with 0 when the master has stopped, and with 69 when it is gone otherwise.
    Events(Events),
    /// Show what workers have written, or follow it
    ///
    /// Only what comes to the master is known to it: with output = "inherit", which is the default without a terminal, it
    /// is nothing.
    Logs(Logs),
    /// Replace all workers, each when its successor is ready
    ///
    /// The configuration is read anew first. Without --wait, this ends when the reload is begun; with it, when the new
    /// workers serve (0), or have failed and the old ones serve on (1).
    Reload(Reload),
    /// Call a reload off: the workers before it serve on
    Abort(Plain),
    /// Replace one worker, when its successor is ready
    Restart(OfWorker),
    /// Want another number of workers
    Scale(Scale),
    /// Want one worker more, perhaps with a program of its own
    ///
    /// A program is started in the directory of the other workers unless --cwd names one. Its worker is followed by the
    /// same in its slot, also over a reload and when it ends before it was ready; `pointsman disconnect` ends that.
    #[command(override_usage = "pointsman fork [OPTIONS] [-- PROGRAM [ARGS]...]")]
    Fork(Fork),
    /// Have one worker leave, and want one fewer
    Disconnect(OfWorker),
    /// Send a worker a signal; if it ends by it, another follows
    ///
    /// As with kill(1), the signal may have a dash: kill -9 slot:1, kill -HUP 3, kill -s HUP 3.
    #[command(
        override_usage = "pointsman kill [OPTIONS] <ID> [SIGNAL]\n       pointsman kill [OPTIONS] -SIGNAL <ID>"
    )]
    Kill(Kill),
    /// Send a worker a message, as worker.send() does
    Send(Send),
    /// Forward no requests to one of those that get some, which finishes what it has
    ///
    /// In the mode multiport. Its worker stays, and so do those that follow it, until `pointsman undrain`.
    Drain(OfUpstream),
    /// Forward requests there again
    Undrain(OfUpstream),
    /// Stop the master and its workers
    Stop(Stop),
}

impl Verb {
    /// Which master is asked.
    pub(super) fn master(&self) -> &Master {
        match self {
            Self::Status(args) | Self::List(args) | Self::Abort(args) => &args.master,
            Self::Events(args) => &args.master,
            Self::Logs(args) => &args.master,
            Self::Reload(args) => &args.master,
            Self::Restart(args) | Self::Disconnect(args) => &args.master,
            Self::Scale(args) => &args.master,
            Self::Drain(args) | Self::Undrain(args) => &args.master,
            Self::Fork(args) => &args.master,
            Self::Kill(args) => &args.master,
            Self::Send(args) => &args.master,
            Self::Stop(args) => &args.master,
        }
    }
}

/// Which master.
#[derive(Debug, Args)]
pub(super) struct Master {
    /// Ask the master of this name [default: default]
    #[arg(long, value_name = "NAME", value_parser = config::control_name)]
    pub(super) name: Option<ControlName>,

    /// Ask the master that has this control socket
    #[arg(long, value_name = "PATH", conflicts_with = "name",
        value_parser = OsStringValueParser::new().try_map(socket))]
    pub(super) control: Option<PathBuf>,

    /// Print what the master answers, as JSON in one line
    #[arg(long)]
    pub(super) json: bool,
}

impl Master {
    /// The words that name it, as they were given.
    pub(super) fn words(&self) -> Vec<OsString> {
        match (&self.name, &self.control) {
            (_, Some(path)) => vec!["--control".into(), path.into()],
            (Some(name), None) => vec!["--name".into(), name.to_string().into()],
            (None, None) => Vec::new(),
        }
    }
}

/// Whether and how long to wait.
#[derive(Debug, Args)]
pub(super) struct Patience {
    /// Wait until it is done
    #[arg(long)]
    wait: bool,

    /// Wait at most so long, such as 30s; then this ends with 75, and what was begun goes on
    #[arg(long, value_name = "TIME", value_parser = config::duration)]
    pub(super) timeout: Option<Duration>,
}

impl Patience {
    /// Who says how long, waits.
    pub(super) fn waits(&self) -> bool {
        self.wait || self.timeout.is_some()
    }
}

#[derive(Debug, Args)]
pub(in super::super) struct Plain {
    #[command(flatten)]
    pub(super) master: Master,
}

#[derive(Debug, Args)]
pub(in super::super) struct Events {
    /// They are followed anyway; whoever is used to say so, may.
    #[arg(short, long, hide = true)]
    follow: bool,

    #[command(flatten)]
    pub(super) master: Master,
}

#[derive(Debug, Args)]
pub(in super::super) struct Logs {
    /// Go on with what they write from now on
    #[arg(short, long)]
    pub(super) follow: bool,

    /// How many lines of those before to show [default: 100]
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true, value_parser = number_of_lines)]
    pub(super) lines: Option<usize>,

    /// Of this worker alone: its id, or slot:N
    #[arg(value_name = "ID", value_parser = target)]
    pub(super) worker: Option<Target>,

    #[command(flatten)]
    pub(super) master: Master,
}

#[derive(Debug, Args)]
pub(in super::super) struct Reload {
    /// How many workers to replace at once, or which share of them [default: reload_batch]
    #[arg(long, value_name = "N|N%", value_parser = config::reload_batch)]
    pub(super) batch: Option<Batch>,

    /// Give the new workers the environment of this command in the place of the master's own
    ///
    /// For root and the user who runs the master.
    #[arg(long)]
    pub(super) env: bool,

    #[command(flatten)]
    pub(super) patience: Patience,
    #[command(flatten)]
    pub(super) master: Master,
}

#[derive(Debug, Args)]
pub(in super::super) struct OfWorker {
    /// Which: its id as `pointsman list` shows it, or slot:N
    #[arg(value_name = "ID", value_parser = target)]
    pub(super) worker: Target,

    #[command(flatten)]
    pub(super) patience: Patience,
    #[command(flatten)]
    pub(super) master: Master,
}

#[derive(Debug, Args)]
pub(in super::super) struct OfUpstream {
    /// Which: slot:N for a worker, or a server as it is in upstreams or as `pointsman status` shows it
    #[arg(value_name = "NAME", value_parser = upstream)]
    pub(super) upstream: String,

    #[command(flatten)]
    pub(super) master: Master,
}

#[derive(Debug, Args)]
pub(in super::super) struct Scale {
    /// How many workers: a number, or +N or -N for more or fewer
    #[arg(value_name = "N|+N|-N", allow_negative_numbers = true, value_parser = change)]
    pub(super) workers: Change,

    #[command(flatten)]
    pub(super) patience: Patience,
    #[command(flatten)]
    pub(super) master: Master,
}

#[derive(Debug, Args)]
pub(in super::super) struct Fork {
    /// Set a variable for this worker; can be given more than once
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = OsStringValueParser::new().try_map(text_variable))]
    pub(super) env: Vec<(String, String)>,

    /// The directory that it runs in
    #[arg(long, value_name = "DIR", value_parser = OsStringValueParser::new().try_map(directory))]
    pub(super) cwd: Option<String>,

    /// The program that it runs, and its arguments [default: that of the others]
    #[arg(trailing_var_arg = true, value_name = "PROGRAM ARGS")]
    pub(super) program: Vec<String>,

    #[command(flatten)]
    pub(super) patience: Patience,
    #[command(flatten)]
    pub(super) master: Master,
}

#[derive(Debug, Args)]
pub(in super::super) struct Kill {
    /// Which: its id as `pointsman list` shows it, or slot:N
    #[arg(value_name = "ID", value_parser = target)]
    pub(super) worker: Target,

    /// The signal: a name, with or without SIG, or a number [default: TERM]
    #[arg(value_name = "SIGNAL", value_parser = OneOf(signal, &SIGNALS), hide_possible_values = true)]
    signal: Option<String>,

    /// The same before its id, as kill(1) takes it
    #[arg(short = 's', long = "signal", value_name = "SIGNAL", conflicts_with = "signal", hide = true,
        value_parser = OneOf(signal, &SIGNALS), hide_possible_values = true)]
    dashed: Option<String>,

    #[command(flatten)]
    pub(super) patience: Patience,
    #[command(flatten)]
    pub(super) master: Master,
}

#[derive(Debug, Args)]
pub(in super::super) struct Send {
    /// Which: its id as `pointsman list` shows it, or slot:N
    #[arg(value_name = "ID", value_parser = target)]
    pub(super) worker: Target,

    /// The message, as JSON; - reads it from standard input
    #[arg(value_name = "JSON", allow_negative_numbers = true, value_parser = message)]
    pub(super) message: Message,

    #[command(flatten)]
    pub(super) master: Master,
}

#[derive(Debug, Args)]
pub(in super::super) struct Stop {
    /// Do not let workers finish what they are at
    #[arg(long)]
    pub(super) fast: bool,

    #[command(flatten)]
    pub(super) patience: Patience,
    #[command(flatten)]
    pub(super) master: Master,
}

impl Kill {
    /// Whichever way it was given.
    pub(super) fn signal(&self) -> Option<&str> {
        self.signal.as_deref().or(self.dashed.as_deref())
    }
}

/// What completes a signal: those that have names here. The master knows more, by number.
pub(in super::super) const SIGNALS: [&str; 30] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR",
];

/// The master knows which there are.
fn signal(text: &str) -> Result<String, BadValue> {
    match text {
        "" => Err(BadValue::new("no signal", "give a name such as HUP, or a number")),
        _ => Ok(text.to_owned()),
    }
}

fn number_of_lines(text: &str) -> Result<usize, BadValue> {
    let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| {
        BadValue::new("not a number of lines", "write -n 20, or -n 0 for none of those before")
    })
}

/// Which worker is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Worker(u32),
    Slot(u32),
}

/// The master knows which there are.
fn upstream(text: &str) -> Result<String, BadValue> {
    match text.is_empty() || text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Err(BadValue::new("no upstream", "give slot:N, or an address such as 10.0.0.5:3000")),
        false => Ok(text.to_owned()),
    }
}

fn target(text: &str) -> Result<Target, BadValue> {
    let bad = |what: &str| match text {
        "all" => BadValue::new("there is no worker of that name", "all are replaced by `pointsman reload`"),
        _ => BadValue::new(what, "give the number in the column ID of `pointsman list`, or slot:N"),
    };
    match text.strip_prefix("slot:") {
        Some(slot) => digits(slot).map(Target::Slot).ok_or_else(|| bad("not a slot")),
        None => digits(text).map(Target::Worker).ok_or_else(|| bad("not a worker")),
    }
}

fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// How many workers are to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    To(u32),
    By(i32),
}

fn change(text: &str) -> Result<Change, BadValue> {
    let by = |digits_of: &str| digits(digits_of).and_then(|count| i32::try_from(count).ok());
    let change = match text.split_at_checked(1) {
        Some(("+", more)) => by(more).map(Change::By),
        Some(("-", fewer)) => by(fewer).map(|count| Change::By(-count)),
        _ => digits(text).map(Change::To),
    };
    change.ok_or_else(|| BadValue::new("not a number of workers", "write 4, or +1 or -1 for more or fewer"))
}

/// What a worker is sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Message {
    /// It is to be read.
    Stdin,
    Json(Value),
}

fn message(text: &str) -> Result<Message, BadValue> {
    if text == "-" { Ok(Message::Stdin) } else { json(text).map(Message::Json) }
}

/// Reads JSON, or says how a string is written.
pub(super) fn json(text: &str) -> Result<Value, BadValue> {
    serde_json::from_str(text).map_err(|error| {
        let words = text.trim();
        let is_word = !words.is_empty()
            && !words.starts_with(['{', '[', '"'])
            && !words.contains(['\'', '\\', '"', '\n']);
        let instead = match is_word {
            true => {
                format!("a string has quotes of its own, which the shell must leave alone: '\"{words}\"'")
            }
            false => "write '{\"a\":1}', '[1,2]', '\"a string\"', 5, true or null".into(),
        };
        BadValue::new(format!("not JSON ({error})"), instead)
    })
}

/// The path of a control socket, relative to here.
#[allow(clippy::needless_pass_by_value, reason = "clap hands it over")]
fn socket(text: OsString) -> Result<PathBuf, BadValue> {
    let whole = |path: &Path| config::path(path, Path::new(""));
    match text.to_str().map(str::parse) {
        None => whole(Path::new(&text)),
        Some(Ok(ControlPlace::Path(path))) => whole(&path),
        Some(Ok(ControlPlace::Auto | ControlPlace::Off)) => {
            Err(BadValue::new("no path", "give the path of the socket, or leave it out for the usual places"))
        }
        Some(Err(bad)) => Err(bad),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "clap hands it over")]
fn directory(text: OsString) -> Result<String, BadValue> {
    utf8(&config::path(Path::new(&text), Path::new(""))?.into_os_string())
}

fn text_variable(text: OsString) -> Result<(String, String), BadValue> {
    let (name, value) = variable(text)?;
    Ok((utf8(&name)?, utf8(&value)?))
}

/// What is sent is JSON, which is UTF-8.
fn utf8(text: &OsStr) -> Result<String, BadValue> {
    let text = text.to_str().map(str::to_owned);
    text.ok_or_else(|| BadValue::new("not UTF-8 text", "the master is spoken with in UTF-8"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn workers_are_named_by_id_or_slot() {
        assert_eq!(target("12"), Ok(Target::Worker(12)));
        assert_eq!(target("slot:0"), Ok(Target::Slot(0)));
        for (text, expected) in [
            ("all", "all are replaced by `pointsman reload`"),
            ("app", "not a worker; give the number"),
            ("", "not a worker"),
            ("+1", "not a worker"),
            ("slot:", "not a slot"),
            ("slot:x", "not a slot; give the number in the column ID of `pointsman list`, or slot:N"),
            ("4294967296", "not a worker"),
        ] {
            let error = target(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn signals_are_completed() {
        let script = crate::cli::pages::completions(clap_complete::Shell::Zsh);
        let script = String::from_utf8(script).unwrap();
        assert!(script.lines().any(|line| line.contains("signal --") && line.contains("WINCH")));
        assert!(signal("").is_err() && signal("of a later kernel").is_ok());
    }

    #[test]
    fn numbers_of_lines_are_numbers() {
        assert_eq!((number_of_lines("0"), number_of_lines("20")), (Ok(0), Ok(20)));
        for text in ["x", "", "-1", "+1", "99999999999999999999999"] {
            let error = number_of_lines(text).unwrap_err().to_string();
            assert!(error.contains("not a number of lines; write -n 20"), "{text}: {error}");
        }
    }

    #[test]
    fn numbers_of_workers_are_absolute_or_changes() {
        for (text, expected) in
            [("4", Change::To(4)), ("0", Change::To(0)), ("+2", Change::By(2)), ("-3", Change::By(-3))]
        {
            assert_eq!(change(text), Ok(expected));
        }
        for text in ["", "+", "-", "x", "--1", "+-1", "1.5", "ä", "+4294967295"] {
            assert!(change(text).unwrap_err().to_string().contains("write 4, or +1 or -1"), "{text}");
        }
    }

    #[test]
    fn messages_are_json() {
        assert_eq!(message("-"), Ok(Message::Stdin));
        assert_eq!(message("-5"), Ok(Message::Json(json!(-5))));
        assert_eq!(message("{\"a\": [1]}"), Ok(Message::Json(json!({ "a": [1] }))));
        for (text, expected) in [
            ("hello there", "which the shell must leave alone: '\"hello there\"'"),
            ("{a: 1}", "write '{\"a\":1}'"),
            ("it's", "write '{\"a\":1}'"),
            ("", "not JSON (EOF"),
            ("1 2", "not JSON (trailing"),
        ] {
            let error = message(text).unwrap_err().to_string();
            assert!(error.starts_with("not JSON (") && error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn sockets_are_paths() {
        assert_eq!(socket("/run/a.sock".into()), Ok("/run/a.sock".into()));
        assert_eq!(socket("a.sock".into()), Ok(std::env::current_dir().unwrap().join("a.sock")));
        for (text, expected) in
            [("off", "no path"), ("auto", "no path"), ("api", "--name api"), ("", "not the path")]
        {
            assert!(socket(text.into()).unwrap_err().to_string().contains(expected), "{text}");
        }
    }
}
