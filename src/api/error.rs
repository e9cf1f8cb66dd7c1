//! Why a cluster cannot be started or go on.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::PathBuf,
};

use thiserror::Error;

use crate::{
    endpoint::Endpoint,
    fleet::Unable,
    master::{Missing, Uncaptured},
    sys::{cpus::Cpus, limits::Resource},
};

/// Each says what it is about and what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// No such program.
    #[error("program not found: {}{}", program.display(), where_looked(program))]
    ProgramNotFound {
        /// As it was given.
        program: OsString,
    },
    /// The program cannot be executed.
    #[error("{} is not an executable file; make it one with chmod +x, or name the interpreter before it", program.display())]
    NotExecutable {
        /// The file.
        program: PathBuf,
    },
    /// The workers' directory is none.
    #[error("cwd {}: {source}; name a directory that is there", path.display())]
    NoDirectory {
        /// As it was given.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// None of these cores can be used.
    #[error(
        "cpu_affinity {cpus}: this machine, or its cgroup, has none of these cores for pointsman; `nproc` and \
         /proc/self/status (Cpus_allowed_list) show those it has"
    )]
    NoSuchCpus {
        /// The set.
        cpus: Cpus,
    },
    /// A soft limit alone that is higher than the hard limit that this process has.
    #[error(
        "limits.{resource}: the soft limit is above the hard limit that pointsman has; give a hard limit as well"
    )]
    LimitTooHigh {
        /// Of what.
        resource: Resource,
    },
    /// Workers are to run as somebody else, or with more than this process may give.
    #[error("{setting}: {why}")]
    NotPermitted {
        /// The setting and its value.
        setting: String,
        /// Why not, and what to do.
        why: &'static str,
    },
    /// Another socket has the address.
    #[error(
        "cannot listen on {endpoint}: the address is in use; `{}` shows by whom: stop that, or choose another address \
         with -l",
        who_listens(endpoint)
    )]
    AddressInUse {
        /// The address.
        endpoint: Endpoint,
    },
    /// At the path of a Unix socket is something else.
    #[error(
        "cannot listen on {endpoint}: at that path is a file that is no socket; choose another path, or remove it"
    )]
    NotASocket {
        /// The address.
        endpoint: Endpoint,
    },
    /// There is no directory for a Unix socket.
    #[error("cannot listen on {endpoint}: there is no such directory; make it, or choose another path")]
    NoSocketDirectory {
        /// The address.
        endpoint: Endpoint,
    },
    /// Ports below 1024 need a privilege, and Unix sockets a directory that may be written to.
    #[error("cannot listen on {endpoint}: not permitted; {}", what_is_permitted(endpoint))]
    AddressNotAllowed {
        /// The address.
        endpoint: Endpoint,
    },
    /// No interface of this machine has the address.
    #[error("cannot listen on {endpoint}: this machine has no such address; `ip addr` shows those it has")]
    AddressNotAvailable {
        /// The address.
        endpoint: Endpoint,
    },
    /// Another reason not to listen.
    #[error("cannot listen on {endpoint}: {source}")]
    Listen {
        /// The address.
        endpoint: Endpoint,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The address for operators and their tools cannot be had.
    #[error("cannot listen on {endpoint} for admin: {}", why_no_admin(endpoint, source))]
    Admin {
        /// The address.
        endpoint: Endpoint,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A file that the output of workers is to go to cannot be opened.
    #[error("cannot write the output of workers to {}: {source}; {}", path.display(), how_to_write(source))]
    OutputFile {
        /// The file, with the slot in its name.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// Every worker's place has been given up, and the settings say that the cluster fails then.
    #[error(
        "no worker stays alive: every slot is errored after too many crashes in a row; the lines above say why they ended"
    )]
    AllErrored,
    /// Another master has the control socket.
    #[error(
        "another master answers at {}; give this one a name of its own with --name, or steer that one: `pointsman status \
         --control {0}`",
        path.display()
    )]
    ControlInUse {
        /// The socket.
        path: PathBuf,
    },
    /// There can be no control socket.
    #[error("the control socket {} cannot be opened: {source}; choose another place with --control PATH", path.display())]
    Control {
        /// The socket, or its name if no directory is fit.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What was wanted of workers cannot be done now.
    #[error("{0}")]
    Unable(Unable),
    /// The system refused something that the cluster cannot do without.
    #[error("cannot {doing}: {source}")]
    System {
        /// What.
        doing: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
}

impl Error {
    pub(super) fn system(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { doing, source }
    }

    pub(super) fn control(path: PathBuf) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::AddrInUse => Self::ControlInUse { path },
            _ => Self::Control { path, source },
        }
    }

    pub(super) fn missing(program: &OsStr) -> impl FnOnce(Missing) -> Self {
        move |why| match why {
            Missing::NotFound => Self::ProgramNotFound { program: program.to_owned() },
            Missing::NotExecutable(program) => Self::NotExecutable { program },
            Missing::NoDirectory(path, source) => Self::NoDirectory { path, source },
        }
    }

    pub(super) fn output(why: Uncaptured) -> Self {
        match why {
            Uncaptured::File(path, source) => Self::OutputFile { path, source },
            Uncaptured::System(source) => {
                Self::system("start the thread that writes the output of workers")(source)
            }
        }
    }

    pub(super) fn admin(endpoint: &Endpoint) -> impl FnOnce(io::Error) -> Self {
        let endpoint = endpoint.clone();
        move |source| Self::Admin { endpoint, source }
    }

    pub(super) fn listen(endpoint: &Endpoint) -> impl FnOnce(io::Error) -> Self {
        let endpoint = endpoint.clone();
        move |source| match source.kind() {
            io::ErrorKind::AddrInUse => Self::AddressInUse { endpoint },
            io::ErrorKind::AlreadyExists => Self::NotASocket { endpoint },
            io::ErrorKind::NotFound => Self::NoSocketDirectory { endpoint },
            io::ErrorKind::PermissionDenied => Self::AddressNotAllowed { endpoint },
            io::ErrorKind::AddrNotAvailable => Self::AddressNotAvailable { endpoint },
            _ => Self::Listen { endpoint, source },
        }
    }
}

fn why_no_admin(endpoint: &Endpoint, source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => format!(
            "the address is in use; `{}` shows by whom: stop that, or choose another address with --admin",
            who_listens(endpoint)
        ),
        io::ErrorKind::AlreadyExists => {
            "at that path is a file that is no socket; choose another path, or remove it".to_owned()
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            "there is no such directory; make it, or choose another path".to_owned()
        }
        io::ErrorKind::PermissionDenied => format!("not permitted; {}", what_is_permitted(endpoint)),
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address; `ip addr` shows those it has".to_owned()
        }
        _ => source.to_string(),
    }
}

fn who_listens(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Tcp(address) => format!("ss -ltnp 'sport = :{}'", address.port()),
        Endpoint::Udp(address) => format!("ss -lunp 'sport = :{}'", address.port()),
        Endpoint::Unix(path) => format!("ss -lxp src {}", path.display()),
    }
}

fn what_is_permitted(endpoint: &Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Tcp(_) | Endpoint::Udp(_) => {
            "choose a port from 1024 on, or run with CAP_NET_BIND_SERVICE (as root, or by `AmbientCapabilities=` in a \
             systemd unit)"
        }
        Endpoint::Unix(_) => "choose a directory that this user may write to",
    }
}

fn how_to_write(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => "make the directory, or choose another path",
        Some(libc::EACCES | libc::EPERM) => "choose a file, and a directory, that this user may write to",
        Some(libc::ELOOP) => "it is a symbolic link, which is not followed; name the file itself",
        Some(libc::EISDIR | libc::ENXIO) => "name a file or a device",
        _ => "choose another path",
    }
}

fn where_looked(program: &OsString) -> &'static str {
    if program.as_encoded_bytes().contains(&b'/') {
        "; check the path, which is relative to the current directory unless it starts with /"
    } else {
        ", in no directory of PATH; install it, or give its path"
    }
}
