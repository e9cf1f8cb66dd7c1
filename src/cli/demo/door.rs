//! Where connections come from: the master, or a socket of the worker's own where requests are forwarded to it.

use std::{
    env,
    ffi::{OsStr, OsString},
    io::{self, ErrorKind},
    net::{Ipv4Addr, TcpListener},
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixListener,
    },
    process,
};

use mio::{Interest, Registry, Token, unix::SourceFd};
use pointsman::{Stream, Worker};

/// See the module.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
pub(super) enum Door {
    Master(Worker),
    Own(OwnDoor),
}

/// A socket of its own.
#[derive(Debug)]
pub(super) enum OwnDoor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// What is to be listened on by a worker that the master gives no connections.
pub(super) fn own_port() -> Option<OsString> {
    let is_given = env::var_os("NODE_CHANNEL_FD").is_some() && env::var_os("NODE_UNIQUE_ID").is_none();
    env::var_os("PORT").filter(|_| is_given)
}

impl OwnDoor {
    /// A number is a port of this machine's own address, all else a path.
    pub(super) fn open(port: &OsStr) -> io::Result<Self> {
        if let Some(port) = port.to_str().and_then(|text| text.parse::<u16>().ok()) {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
            listener.set_nonblocking(true)?;
            return Ok(Self::Tcp(listener));
        }
        let listener = UnixListener::bind(port)?;
        listener.set_nonblocking(true)?;
        Ok(Self::Unix(listener))
    }

    /// The next connection, if there is one now.
    pub(super) fn accept(&self) -> io::Result<Option<Stream>> {
        loop {
            let accepted = match self {
                Self::Tcp(listener) => listener.accept().map(|(stream, _)| Stream::Tcp(stream)),
                Self::Unix(listener) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
            };
            match accepted {
                Ok(stream) => {
                    stream.set_nonblocking(true)?;
                    return Ok(Some(stream));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                // The client has gone before it was its turn.
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn number(&self) -> RawFd {
        match self {
            Self::Tcp(listener) => listener.as_raw_fd(),
            Self::Unix(listener) => listener.as_raw_fd(),
        }
    }
}

impl Door {
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Master(worker) => registry.register(worker, token, Interest::READABLE),
            Self::Own(door) => registry.register(&mut SourceFd(&door.number()), token, Interest::READABLE),
        }
    }

    /// What the worker says of itself in its answers.
    pub(super) fn who(&self) -> String {
        let pid = process::id();
        match self {
            Self::Master(worker) => {
                let slot = worker.slot().map_or_else(String::new, |slot| format!("slot {slot}, "));
                format!("worker {} ({slot}pid {pid}) answered", worker.id())
            }
            Self::Own(_) => {
                let slot = env::var("POINTSMAN_SLOT").unwrap_or_default();
                format!("the worker in slot {slot} (pid {pid}) answered")
            }
        }
    }
}
