//! Starting a program through a trampoline: our own executable, run again under another name.
//!
//! What must happen in the child between fork and exec happens in the trampoline, in ordinary code, not in the forked
//! copy of a process that may have threads. Its arguments are
//!
//! ```text
//! pointsman-launch PARENT DESCRIPTORS SCHEDULING SOCKETS [ATTRIBUTE]… -- PROGRAM [ARGUMENT]…
//! ```
//!
//! the pid of the parent, a limit of open descriptors or `-`, `ordinary` if it is to be scheduled as most are or `-`, how
//! many listening sockets it gets, what the process is to be ([`super::attributes`]), and what to execute. The parent hands it one end of the channel as standard input; every other
//! descriptor of the parent is close-on-exec. The first byte on the channel carries the pipe to the guard and says
//! go, the next ones bring the sockets; then the trampoline
//!
//! 1. writes its pid to the guard, so that its group ends with the master even if that is killed;
//! 2. asks to be killed when the thread that started it dies, and looks whether that is already so;
//! 3. puts the sockets from descriptor 3 on and the channel behind them ([`channel_number`]), gives the program `/dev/null` as standard input, and marks all
//!    other descriptors but standard output and error close-on-exec;
//! 4. unblocks all signals and lets SIGPIPE end a program again (Rust ignores it, and both are inherited);
//! 5. sets the limit of open descriptors, which the master has raised for itself, back to what the program would have
//!    had without it, and the scheduling as well;
//! 6. sets its limits, nice value, cores and umask, and becomes the user, in this order; the kernel forgets the second
//!    step with that, so it is done again;
//! 7. goes to the program's directory, as that user;
//! 8. executes the program. If that or a step before it fails it says so on the channel and exits with 127 (not found)
//!    or 126.

#![allow(unsafe_code, reason = "dup2 and signal dispositions in a process of one thread")]

use std::{
    borrow::Cow,
    env,
    ffi::{CString, OsStr, OsString},
    fs::File,
    io::{self, Write},
    iter,
    os::{
        fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd},
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    path::Path,
    process::{Command, Stdio, exit},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    sys::{
        prctl,
        signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask},
    },
    unistd::{Pid, dup2_raw, execvp, getppid},
};

use super::{
    attributes::Attributes,
    channel, limits,
    process::{Child, close_on_exec_from},
    scheduling,
};
use crate::protocol::{
    message::{Message, Own},
    serialization::Serialization,
};

/// The first descriptor that a program does not know by itself.
const FIRST: i32 = 3;

/// Which descriptor the channel has in a program that is started with so many sockets, which come before it: systemd
/// (`SD_LISTEN_FDS_START`) and Einhorn begin there.
pub(crate) fn channel_number(sockets: usize) -> i32 {
    i32::try_from(sockets).map_or(i32::MAX, |sockets| FIRST.saturating_add(sockets))
}

/// By which systemd may have given this process sockets, and asked it to say that it is ready and alive.
const OF_SYSTEMD: [&str; 7] = [
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
];

/// And how all names begin by which Einhorn does that.
const OF_EINHORN: &[u8] = b"EINHORN_";

fn is_of_a_supervisor(name: &OsStr) -> bool {
    OF_SYSTEMD.iter().any(|known| *known == name) || name.as_bytes().starts_with(OF_EINHORN)
}

/// The variable that tells the program the form of what is said on the channel.
pub(crate) const SERIALIZATION: &str = "NODE_CHANNEL_SERIALIZATION_MODE";

/// `argv[0]` of a trampoline.
pub(super) const NAME: &str = "pointsman-launch";

/// The master's own executable, also when the file has been replaced since.
pub(crate) const SELF: &str = "/proc/self/exe";

/// `argv[0]` of a lane: the first argument of [`SELF`].
pub(crate) const LANE: &str = "pointsman-lane";

/// What to start.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    /// Looked up in `PATH` unless it has a slash.
    pub(crate) program: &'a OsStr,
    pub(crate) args: &'a [OsString],
    /// Its environment, the later winning.
    pub(crate) env: Vec<(OsString, OsString)>,
    /// What is not there it has from this process.
    pub(crate) inherits_env: bool,
    /// But for these.
    pub(crate) without: &'a [&'a str],
    /// How many descriptors it may open (the soft limit); this process's own limit if `None`.
    pub(crate) descriptors: Option<u64>,
    /// Whether it is to be scheduled as most are, which this process is not.
    pub(crate) ordinary: bool,
    pub(crate) attributes: Attributes,
    /// What it finds from descriptor 3 on: listening sockets, or of a lane the table that it shares.
    pub(crate) sockets: Vec<BorrowedFd<'a>>,
    /// Its standard output; this process's own if `None`.
    pub(crate) stdout: Option<OwnedFd>,
    /// Its standard error; this process's own if `None`.
    pub(crate) stderr: Option<OwnedFd>,
}

/// Starts `what` and returns it with our end of its channel. `launcher` is an executable that calls
/// [`super::guard::run_if_asked`] and [`run_if_asked`] first.
pub(crate) fn start(
    launcher: &Path,
    what: Program<'_>,
    guard: BorrowedFd<'_>,
) -> io::Result<(Child, OwnedFd)> {
    let (ours, theirs) = channel::pair()?;
    let mut command = Command::new(launcher);
    let (parent, sockets) = (Pid::this(), what.sockets.len());
    let Program { descriptors, ordinary, attributes, .. } = what;
    let orders = Orders { parent, descriptors, ordinary, sockets, attributes };
    command.arg0(NAME).args(orders.to_args()).arg(what.program).args(what.args);
    if what.inherits_env {
        // Those that the master got were for itself.
        for name in env::vars_os().map(|(name, _)| name).filter(|name| is_of_a_supervisor(name)) {
            command.env_remove(name);
        }
        for name in what.without {
            command.env_remove(name);
        }
    } else {
        command.env_clear();
    }
    command.envs(what.env);
    command.stdin(Stdio::from(theirs)).process_group(0);
    if let Some(stdout) = what.stdout {
        command.stdout(stdout);
    }
    if let Some(stderr) = what.stderr {
        command.stderr(stderr);
    }
    let mut child = command.spawn()?;
    let ready = Child::watch(child.id()).and_then(|child| {
        channel::set_nonblocking(&ours, true)?;
        for descriptor in iter::once(guard).chain(what.sockets.iter().copied()) {
            channel::send(ours.as_fd(), b"L", Some(descriptor))?;
        }
        Ok(child)
    });
    match ready {
        Ok(child) => Ok((child, ours)),
        Err(error) => {
            // Without its go the trampoline ends at once, so this does not wait for anybody's program.
            drop(ours);
            child.wait()?;
            Err(error)
        }
    }
}

/// Runs the trampoline, and never returns, if this process was started as one.
pub(crate) fn run_if_asked() {
    let mut args = env::args_os();
    if args.next().is_none_or(|name| name != NAME) {
        return;
    }
    let orders = Orders::from_args(&mut args);
    let program: Vec<OsString> = args.collect();
    let (Some(orders), false) = (orders, program.is_empty()) else {
        exit(126);
    };
    let failure = launch(&orders, &program);
    let mut frame = Vec::new();
    let Failure { channel, step, error } = failure;
    let code = if step == EXEC && error == Errno::ENOENT { 127 } else { 126 };
    let message = Message::Pointsman(Own::LaunchFailed { step, errno: error as i32 });
    message.encode(serialization(), &mut frame);
    // SAFETY: the channel was given to this process at this number, and nothing has closed it.
    let channel = unsafe { BorrowedFd::borrow_raw(channel) };
    // Nobody is there to tell if this fails too.
    let _ = channel::send(channel, &frame, None);
    exit(code);
}

/// How the program would have spoken on the channel, as its environment says.
fn serialization() -> Serialization {
    let word = env::var(SERIALIZATION).unwrap_or_default();
    word.parse().unwrap_or_default()
}

/// What the parent tells the trampoline in its arguments, before the program.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Orders {
    parent: Pid,
    descriptors: Option<u64>,
    /// It is to be scheduled as most are.
    ordinary: bool,
    /// How many listening sockets come through the channel.
    sockets: usize,
    attributes: Attributes,
}

/// The last step, which fails for reasons of the program.
const EXEC: &str = "exec";

/// In the place of a number: leave the limit as it is. In that of the next word: the scheduling.
const UNCHANGED: &str = "-";

/// As most are scheduled.
const ORDINARY: &str = "ordinary";

impl Orders {
    fn from_args(args: &mut impl Iterator<Item = OsString>) -> Option<Self> {
        let parent = Pid::from_raw(args.next()?.to_str()?.parse().ok()?);
        let descriptors = args.next()?;
        let descriptors = match descriptors.to_str()? {
            UNCHANGED => None,
            number => Some(number.parse().ok()?),
        };
        let ordinary = match args.next()?.to_str()? {
            UNCHANGED => false,
            ORDINARY => true,
            _ => return None,
        };
        let sockets = args.next()?.to_str()?.parse().ok()?;
        Some(Self { parent, descriptors, ordinary, sockets, attributes: Attributes::from_args(args)? })
    }

    fn to_args(&self) -> Vec<OsString> {
        let descriptors = self.descriptors.map_or(UNCHANGED.into(), |number| number.to_string());
        let scheduling = if self.ordinary { ORDINARY } else { UNCHANGED };
        let numbers = [self.parent.to_string(), descriptors, scheduling.to_owned(), self.sockets.to_string()];
        let mut args: Vec<OsString> = numbers.into_iter().map(OsString::from).collect();
        args.extend(self.attributes.to_args());
        args
    }
}

struct Failure {
    /// Where the channel is by now.
    channel: i32,
    step: Cow<'static, str>,
    error: Errno,
}

fn launch(orders: &Orders, program: &[OsString]) -> Failure {
    let at = |channel, step: &'static str| move |error| Failure { channel, step: step.into(), error };
    let number = channel_number(orders.sockets);
    let refused = |(step, error): (String, Errno)| Failure { channel: number, step: step.into(), error };
    let result: Result<std::convert::Infallible, Failure> = (|| {
        wait_for_go(orders.parent).map_err(|error| at(0, "wait for the master")(errno(&error)))?;
        place_sockets(orders.sockets).map_err(|error| at(0, "place the sockets")(errno(&error)))?;
        // SAFETY: nothing in this process owns that descriptor: the guard's pipe is closed, and the sockets are below.
        let placed = unsafe { dup2_raw(io::stdin(), number) }.map_err(at(0, "place the channel"))?;
        let null = File::open("/dev/null").map_err(|error| at(number, "open /dev/null")(errno(&error)))?;
        // SAFETY: standard input is replaced by intent; the channel lives on above.
        let input = unsafe { dup2_raw(&null, 0) }.map_err(at(number, "place /dev/null"))?;
        // Both are the program's from now on.
        let _ = (placed.into_raw_fd(), input.into_raw_fd());
        close_on_exec_from(number.unsigned_abs() + 1);
        // SAFETY: no handler is installed, only the default restored.
        unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.map_err(at(number, "restore SIGPIPE"))?;
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
            .map_err(at(number, "unblock signals"))?;
        let args: Result<Vec<CString>, _> = program.iter().map(|arg| CString::new(arg.as_bytes())).collect();
        let args = args.map_err(|_| at(number, "read the arguments")(Errno::EINVAL))?;
        if let Some(descriptors) = orders.descriptors {
            limits::set_descriptors(descriptors).map_err(at(number, "set the limit of descriptors"))?;
        }
        if orders.ordinary {
            let failed = at(number, "restore the scheduling");
            scheduling::become_ordinary().map_err(|error| failed(errno(&error)))?;
        }
        orders.attributes.assume().map_err(refused)?;
        die_with(orders.parent).map_err(at(number, "ask for the parent's death"))?;
        orders.attributes.enter().map_err(refused)?;
        // A lane is this very program by another name.
        let is_lane = args[0].to_bytes() == SELF.as_bytes()
            && args.get(1).is_some_and(|name| name.to_bytes() == LANE.as_bytes());
        let named = if is_lane { &args[1..] } else { &args[..] };
        execvp(&args[0], named).map_err(at(number, EXEC))
    })();
    match result {
        Err(failure) => failure,
    }
}

/// Takes the listening sockets and puts them where the program looks for them, and says that they are meant for it.
fn place_sockets(count: usize) -> io::Result<()> {
    if count == 0 {
        return Ok(());
    }
    let above = channel_number(count) + 1;
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let received = channel::receive(io::stdin().as_fd(), &mut [0; 1])?;
        let socket = received.descriptor.ok_or(io::ErrorKind::InvalidData)?;
        // Out of the way of the others.
        sockets.push(fcntl(&socket, FcntlArg::F_DUPFD_CLOEXEC(above))?);
    }
    for (place, socket) in sockets.into_iter().enumerate() {
        // SAFETY: it was duplicated just now and is closed by the exec; nothing in this process owns the place.
        let placed = unsafe { dup2_raw(BorrowedFd::borrow_raw(socket), channel_number(place)) }?;
        let _ = placed.into_raw_fd();
    }
    // SAFETY: this process has one thread.
    unsafe { env::set_var("LISTEN_PID", std::process::id().to_string()) };
    Ok(())
}

/// Takes the go and registers with the guard; ends quietly when the master is gone.
fn wait_for_go(parent: Pid) -> io::Result<()> {
    let received = channel::receive(io::stdin().as_fd(), &mut [0; 1])?;
    let Some(guard) = received.descriptor else { exit(0) };
    // If the guard is gone the master starts another and tells it of us.
    let _ = File::from(guard).write_all(format!("+{}\n", std::process::id()).as_bytes());
    Ok(die_with(parent)?)
}

/// Has the kernel kill this process with the thread that started it; ends quietly when that is gone.
fn die_with(parent: Pid) -> nix::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != parent {
        exit(0);
    }
    Ok(())
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_they_were_written() {
        let read = |args: &[OsString]| Orders::from_args(&mut args.iter().cloned());
        for descriptors in [None, Some(0), Some(1024), Some(u64::MAX)] {
            for ordinary in [false, true] {
                let (parent, attributes) = (Pid::this(), Attributes::default());
                let orders = Orders { parent, descriptors, ordinary, sockets: 2, attributes };
                assert_eq!(read(&orders.to_args()), Some(orders));
            }
        }
        for args in [
            &[][..],
            &["1"],
            &["x", "-", "-", "0", "--"],
            &["1", "", "-", "0", "--"],
            &["1", "-1", "-", "0", "--"],
            &["1", "true", "-", "0", "--"],
            &["1", "-", "true", "0", "--"],
            &["1", "-", "-", "0", "true"],
            &["1", "-", "-", "-", "--"],
        ] {
            assert_eq!(read(&args.iter().map(OsString::from).collect::<Vec<_>>()), None, "{args:?}");
        }
    }
}
