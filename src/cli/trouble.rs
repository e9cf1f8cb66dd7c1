//! What is wrong with a worker -> a sentence, and what to do about it.

use std::{io, net::SocketAddr, time::Duration};

use pointsman::{Address, Endpoint, ExitStatus, Trouble};

use super::clip::clip;

/// What is kept of a worker's own words: enough for a path.
const WORDS_BYTES: usize = 512;

/// What a worker does, to be read after its name; and what to do, which need not be said of each worker.
pub(super) struct Told {
    pub(super) what: String,
    pub(super) advice: Option<String>,
}

/// Tells of a worker that runs `program`.
pub(super) fn tell(trouble: &Trouble, program: &str) -> Told {
    let (what, advice) = match trouble {
        Trouble::SpawnFailed { .. } | Trouble::LaunchFailed { .. } => not_started(trouble, program),
        Trouble::Silent { .. } | Trouble::NotListening { .. } | Trouble::ClosedUnheard => {
            unfit(trouble, program)
        }
        Trouble::ListensElsewhere { address, told } => elsewhere(address, told),
        Trouble::ListenFailed { address, errno } => not_listening(address, *errno),
        Trouble::BrokeProtocol { why } => (
            format!("sent what cannot be understood, and its channel is closed: {}", clip(why, WORDS_BYTES)),
            Some("does it write to descriptor 3, or to NODE_CHANNEL_FD, by itself?".into()),
        ),
        Trouble::LostConnections { count } => (
            format!("was given {count} connections and was not heard to accept them; they are lost"),
            None,
        ),
        Trouble::Stuck { after } => (
            format!("has not answered for a connection for {}: it is killed and replaced", about(*after)),
            Some(
                "a worker must return to its event loop now and then; handoff_timeout is how long it may not, off for \
                 ever"
                    .into(),
            ),
        ),
        Trouble::NotReady { after } => (
            format!("was not ready {} after its start, and is ended", about(*after)),
            Some("start_timeout is how long it may take, off for ever; ready_on is what it is waited for".into()),
        ),
        Trouble::Unreachable { .. } | Trouble::NoPort { .. } => no_upstream(trouble, program),
        Trouble::Unresponsive { after } => (
            format!("has not answered for {}: it is killed and replaced", about(*after)),
            Some("a worker must return to its event loop now and then; ping_timeout is how long it may not".into()),
        ),
        Trouble::Unkillable { pid, after } => (
            format!("has not ended {} after SIGKILL and is not waited for any longer", about(*after)),
            Some(format!("`ps -o stat,wchan,user -p {pid}` shows what holds it, or whose it is")),
        ),
        Trouble::DroppedMessage { why } => {
            (format!("sent a message that cannot be passed on: {}", clip(why, WORDS_BYTES)), None)
        }
        Trouble::DroppedHandle => (
            "sent a socket or a server along with a message: it is closed".into(),
            Some("this version passes on messages, and no handles".into()),
        ),
        Trouble::Overdue { signal, after } => {
            (format!("has not left for {}; it gets {}", about(*after), signal_name(*signal)), None)
        }
        other => unknown(other),
    };
    Told { what, advice }
}

/// Requests cannot be forwarded to it.
fn no_upstream(trouble: &Trouble, program: &str) -> Sentences {
    match trouble {
        Trouble::Unreachable { after, endpoint } => {
            let place = match endpoint {
                Endpoint::Unix(_) => "at the path that PORT names (upstream = \"unix\")",
                _ => "on the port that PORT names, on 127.0.0.1",
            };
            (
                format!("took no connections on {endpoint} within {} and is ended", about(*after)),
                Some(format!(
                    "in this mode a program listens {place}: does {program}? start_timeout is how long it may take, off for \
                     ever; ready_on is what it is waited for"
                )),
            )
        }
        Trouble::NoPort { port } => (
            format!("has no port: {port}, and all others that it may have, are somebody else's"),
            Some(
                "`ss -ltnp` shows whose; upstream_port chooses others, and upstream = \"unix\" needs none"
                    .into(),
            ),
        ),
        other => unknown(other),
    }
}

type Sentences = (String, Option<String>);

fn not_started(trouble: &Trouble, program: &str) -> Sentences {
    match trouble {
        Trouble::SpawnFailed { errno, retry } => (
            match retry {
                Some(retry) => {
                    format!("cannot be started: {}; tried again in {}", reason(*errno), about(*retry))
                }
                None => format!("cannot be started: {}", reason(*errno)),
            },
            match *errno {
                EAGAIN => Some("too many processes: see `ulimit -u` and the cgroup's pids.max".into()),
                EMFILE | ENFILE => Some(TOO_MANY_FILES.into()),
                _ => None,
            },
        ),
        Trouble::LaunchFailed { step, errno } if step != EXEC => (
            format!("cannot run {program}: cannot {}: {}", clip(step, WORDS_BYTES), reason(*errno)),
            not_become(step, *errno).map(str::to_owned),
        ),
        Trouble::LaunchFailed { step, errno } => (
            format!("cannot run {program}: {step}: {}", reason(*errno)),
            match *errno {
                EAGAIN => {
                    Some("the workers' user has too many processes: see limits.nproc, `ulimit -u`".into())
                }
                ENOENT => Some("the program is gone, or the interpreter that its first line names".into()),
                EACCES => Some("it must be executable, on a file system not mounted noexec".into()),
                ENOEXEC => {
                    Some("it is no program; a script needs a first line such as #!/usr/bin/env node".into())
                }
                _ => None,
            },
        ),
        other => unknown(other),
    }
}

/// What to do when a process could not be made what it is to be, by the first words of the step that failed.
fn not_become(step: &str, errno: i32) -> Option<&'static str> {
    let begins = |words: &str| step.starts_with(words);
    match errno {
        EACCES if begins("enter cwd") => Some(
            "the workers' user, if one is set, needs execute permission on it and on each directory above",
        ),
        ENOENT | ENOTDIR if begins("enter cwd") => Some("the directory is gone; cwd names it"),
        EPERM if begins("set limits.nofile") => Some(
            "nobody can have more than fs.nr_open descriptors, and only a process with CAP_SYS_RESOURCE, which containers \
             often lack, can raise a hard limit: choose less",
        ),
        EPERM if begins("set limits.") => Some(
            "a hard limit can only be raised with CAP_SYS_RESOURCE, which containers often lack: choose less, or raise \
             the limit of pointsman itself",
        ),
        EINVAL if begins("set limits.") => Some("the soft limit must not be above the hard one"),
        EPERM | EACCES if begins("set nice") => {
            Some("a lower nice value takes CAP_SYS_NICE, or LimitNICE= in a unit")
        }
        EINVAL if begins("set cpu_affinity") => Some("none of these cores is left to pointsman"),
        EPERM if begins("set the groups of user") || begins("become") => {
            Some("that takes CAP_SETUID and CAP_SETGID, which this root lacks: give the container both")
        }
        EINVAL if begins("set the groups of user") || begins("become") => {
            Some("the number has no meaning in this user namespace")
        }
        _ => None,
    }
}

fn unfit(trouble: &Trouble, program: &str) -> Sentences {
    match trouble {
        Trouble::Silent { after } => (
            format!("has said nothing on its channel for {}, so it gets no connections", about(*after)),
            // Node sends its first word before the program runs, but only if there is a file to run.
            Some(match program.trim_start_matches('`').starts_with("node ") {
                true => {
                    "Node is a worker only with a script in a file: not with -e, -p or from standard input"
                        .into()
                }
                false => format!("{program} does not speak Node's cluster protocol. {MODES}"),
            }),
        ),
        Trouble::NotListening { after } => (
            format!("has been up for {} and has not listened, so it gets no connections", about(*after)),
            Some(format!(
                "does {program} call listen()? If it is a wrapper that starts another program, run that program itself"
            )),
        ),
        Trouble::ClosedUnheard => (
            "closed its channel before it said a word, so it gets no connections".into(),
            Some(format!(
                "sudo, su and other wrappers close the descriptors that they inherit: start {program} without one; \
                 --user, or user in the file, has it run as somebody else. {MODES}"
            )),
        ),
        other => unknown(other),
    }
}

fn not_listening(address: &Address, errno: i32) -> Sentences {
    let advice = match (errno, address) {
        (EADDRINUSE, Address::Unix(_)) => {
            "`ss -lxp` shows who has the socket; any other file there stays as it is"
        }
        (EADDRINUSE, Address::Udp { .. }) => "`ss -lunp` shows who has the address",
        (EADDRINUSE, _) => "`ss -ltnp` shows who has the address",
        (EACCES, Address::Unix(_)) => "pointsman must be allowed to write to that directory",
        (EACCES, _) => "ports below 1024 need a privilege: let it listen on another, or on PORT",
        (EBADF, Address::Inherited(_)) => {
            "only sockets that pointsman itself was started with can be listened on by number"
        }
        _ => "",
    };
    let address = address.to_string();
    let what = format!("could not listen on {}: {}", clip(&address, WORDS_BYTES), reason(errno));
    (what, Some(advice.to_owned()).filter(|advice| !advice.is_empty()))
}

fn elsewhere(address: &Address, told: &[Endpoint]) -> Sentences {
    let addresses = told.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let advice = match address {
        Address::Udp { .. } => {
            format!("a UDP port is opened as the program asks for it; only {addresses} is not served")
        }
        _ => served_as_well(address, told),
    };
    (format!("listens on {address} and not on {addresses}, where connections wait in vain"), Some(advice))
}

/// How what the program listens on and what the user was told become the same.
fn served_as_well(address: &Address, told: &[Endpoint]) -> String {
    let first = told.iter().find_map(Endpoint::tcp);
    let path = told.iter().find_map(|endpoint| match endpoint {
        Endpoint::Unix(path) => Some(path.display()),
        _ => None,
    });
    let flag = match (address, first) {
        // Where the user wanted to be found.
        (&Address::Tcp { host: None, port }, Some(first)) => SocketAddr::new(first.ip(), port).to_string(),
        (&Address::Tcp { host: None, port }, None) => format!(":{port}"),
        _ => address.to_string(),
    };
    if address.port().is_some() && address.port() == first.map(|first| first.port()) {
        return format!("let the program leave the host out, or use -l {flag}. {address} is served as well");
    }
    let port = match (first, &path) {
        (Some(first), _) => format!(" ({})", first.port()),
        (None, Some(path)) => format!(" ({path})"),
        (None, None) => String::new(),
    };
    let to = match (first, path) {
        (Some(first), _) => Some(first.port().to_string()),
        (None, path) => path.map(|path| format!("unix:{path}")),
    };
    let map = match (address.port(), to) {
        (Some(from), Some(to)) => format!("; --map {from}={to} serves one on the other"),
        _ => String::new(),
    };
    format!(
        "let the program listen on process.env.PORT{port}, or use -l {flag}. {address} is served as well{map}"
    )
}

fn unknown(trouble: &Trouble) -> Sentences {
    (format!("is in trouble: {trouble:?}"), None)
}

const MODES: &str = "The handoff mode is for Node programs and for programs that use the pointsman crate. Others need \
    -m shared (they take an inherited socket) or -m multiport (they listen on a port of their own, from PORT)";

/// What to make of a worker that ended soon, and was to accept by itself.
pub(super) fn given_sockets(program: &str, told: &[Endpoint]) -> String {
    let socket = |(place, endpoint): (usize, &Endpoint)| format!("{endpoint} is descriptor {}", place + 3);
    let sockets = told.iter().enumerate().map(socket).collect::<Vec<_>>().join(", ");
    let flag = if needs_fd(program) { ". uvicorn needs --fd 3 for that" } else { "" };
    format!(
        "its own output may say why; {program} is to accept from the sockets that it is started with (LISTEN_FDS, \
         EINHORN_FD_0), and not to bind its own: {sockets}{flag}"
    )
}

/// Whether it is uvicorn, by itself or after `python -m`, without the flag that names its socket.
fn needs_fd(program: &str) -> bool {
    let mut words = program.trim_matches('`').split(' ');
    let is_uvicorn = |word: &str| word.rsplit('/').next() == Some("uvicorn");
    words.clone().take(3).any(is_uvicorn) && !words.any(|word| word == "--fd" || word.starts_with("--fd="))
}

/// What to make of a worker that ended before it said a word.
pub(super) fn never_spoke(program: &str, told: &[Endpoint]) -> String {
    let held = told.first().map_or_else(String::new, |address| {
        format!(" pointsman itself holds {address}, so a program that listens there by itself cannot.")
    });
    format!(
        "it never spoke on its channel. If {program} works alone, it does not fit the mode:{held} {MODES}"
    )
}

const TOO_MANY_FILES: &str = "raise the limit on open files: `ulimit -n`, or LimitNOFILE= in a systemd unit";

/// The last step of a launch, which fails for reasons of the program.
const EXEC: &str = "exec";

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const ENOEXEC: i32 = 8;
const EAGAIN: i32 = 11;
const EACCES: i32 = 13;
const ENOTDIR: i32 = 20;
const EINVAL: i32 = 22;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const EBADF: i32 = 9;
const EADDRINUSE: i32 = 98;

/// What the system says of an errno, and what to do about it when accepting.
pub(super) fn accept_failed(errno: i32) -> String {
    match errno {
        EMFILE | ENFILE => format!("{}; {TOO_MANY_FILES}", reason(errno)),
        _ => reason(errno),
    }
}

pub(super) fn reason(errno: i32) -> String {
    io::Error::from_raw_os_error(errno).to_string()
}

/// How a process ended, to be read after its name.
pub(super) fn ended(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("exited with code {code}"),
        ExitStatus::Signal(signal) => format!("was killed by {}", signal_name(signal)),
    }
}

/// The signals of Linux from 1 on; the numbers of the first fifteen and of CHLD and CONT are the same everywhere but
/// on MIPS, SPARC and Alpha, for which there is no release.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// `SIGTERM`, or `signal 40`.
pub(super) fn signal_name(signal: i32) -> String {
    let index = usize::try_from(signal).ok().and_then(|signal| signal.checked_sub(1));
    match index.and_then(|index| SIGNALS.get(index)) {
        Some(name) => format!("SIG{name}"),
        None => format!("signal {signal}"),
    }
}

/// A time for people: two or three digits tell enough.
pub(super) fn about(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..60 if time.subsec_millis() >= 100 && seconds < 10 => {
            format!("{seconds}.{} s", time.subsec_millis() / 100)
        }
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
#[path = "trouble_tests.rs"]
mod tests;
