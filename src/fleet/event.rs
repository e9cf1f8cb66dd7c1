//! What happens to a fleet, as values: what users of the crate are told.

use std::{fmt, time::Duration};

use serde_json::Value;

use super::{LoadSource, Place, Want};
use crate::{
    endpoint::Endpoint,
    protocol::listen::{AddressType, Query},
};

/// A worker's id: 1 for the first, never given twice. Node programs see it as `cluster.worker.id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u32);

impl fmt::Display for WorkerId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// What a worker listens on, as it said itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// A TCP port.
    Tcp {
        /// An address of the interface, or `None` for all.
        host: Option<String>,
        /// The port.
        port: u16,
    },
    /// A UDP port.
    Udp {
        /// An address of the interface, or `None` for all.
        host: Option<String>,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(String),
    /// A socket that the master was started with, by its number.
    Inherited(i64),
}

impl Address {
    /// The port, if it has one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp { port, .. } | Self::Udp { port, .. } => Some(*port),
            Self::Unix(_) | Self::Inherited(_) => None,
        }
    }

    pub(super) fn said(query: &Query) -> Self {
        let host = query.address.clone();
        let port = query.port.and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
        match query.address_type {
            _ if let Some(descriptor) = query.fd.filter(|&fd| fd >= 0) => Self::Inherited(descriptor),
            AddressType::Unix => Self::Unix(host.unwrap_or_default()),
            AddressType::Udp4 | AddressType::Udp6 => Self::Udp { host, port },
            AddressType::Tcp4 | AddressType::Tcp6 | AddressType::None => Self::Tcp { host, port },
        }
    }

    pub(super) fn of(want: &Want) -> Self {
        match want {
            Want::Tcp { host, port, .. } => Self::Tcp { host: host.map(|host| host.to_string()), port: *port },
            Want::Udp { address, .. } => {
                Self::Udp { host: Some(address.ip().to_string()), port: address.port() }
            }
            Want::Unix { path, .. } => Self::Unix(path.display().to_string()),
            Want::Inherited { descriptor } => Self::Inherited((*descriptor).into()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, host, port) = match self {
            Self::Tcp { host, port } => ("", host, port),
            Self::Udp { host, port } => ("udp:", host, port),
            Self::Unix(path) => return write!(out, "unix:{path}"),
            Self::Inherited(descriptor) => return write!(out, "descriptor {descriptor}"),
        };
        match host {
            Some(host) if host.contains(':') => write!(out, "{kind}[{host}]:{port}"),
            Some(host) => write!(out, "{kind}{host}:{port}"),
            None => write!(out, "{kind}*:{port}"),
        }
    }
}

/// Something that happened, told in the order in which it did.
///
/// The first six are Node's; their order is Node's too: `Fork`, `Online`, `Listening`, then `Disconnect` and `Exit`
/// in either order.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A worker process was started.
    Fork {
        /// Which worker.
        worker: WorkerId,
        /// Its place, 0 to the number of workers less one, taken over by its successor.
        slot: u32,
        /// Its process id.
        pid: u32,
    },
    /// A worker's half of the protocol is running.
    Online {
        /// Which worker.
        worker: WorkerId,
    },
    /// A worker listens and gets connections.
    Listening {
        /// Which worker.
        worker: WorkerId,
        /// On what.
        address: Address,
        /// It is none of those that the cluster was told to serve.
        elsewhere: bool,
    },
    /// A worker that accepts by itself has said that it is ready.
    Ready {
        /// Which worker.
        worker: WorkerId,
    },
    /// A worker sent a message of the application.
    Message {
        /// Which worker.
        worker: WorkerId,
        /// The message. What came in V8's format is as `JSON.stringify` would have said it; of a `BigInt` it is the
        /// digits in a string.
        message: Value,
    },
    /// A worker's channel has closed.
    Disconnect {
        /// Which worker.
        worker: WorkerId,
    },
    /// A worker process has ended.
    Exit {
        /// Which worker.
        worker: WorkerId,
        /// How.
        status: ExitStatus,
        /// It was told to leave, or left by the protocol, and did not die.
        exited_after_disconnect: bool,
        /// How long it lived.
        lived: Duration,
        /// When its successor will be started; `None` if there will be none.
        restart: Option<Duration>,
    },
    /// It is known who tells the ends of a worker's connections: told when a worker says that it does so itself, and
    /// otherwise only if the policy goes by open connections.
    LoadSource {
        /// Which worker.
        worker: WorkerId,
        /// Who.
        source: LoadSource,
    },
    /// A worker does not do what a worker should.
    Trouble {
        /// Which worker.
        worker: WorkerId,
        /// What is wrong.
        trouble: Trouble,
    },
    /// The system refuses to give out connections; accepting goes on by itself after `pause`.
    AcceptFailed {
        /// What is listened on.
        endpoint: Endpoint,
        /// A Linux errno.
        errno: i32,
        /// Until the next try.
        pause: Duration,
    },
    /// Workers listen, and none on this, which the user gave: connections wait there in vain.
    Unserved {
        /// What is listened on.
        endpoint: Endpoint,
    },
    /// Workers listen, and none on this, which the user has mapped to another place.
    Unmapped {
        /// What no program listens to.
        from: Place,
    },
    /// Connections are turned away from now on: no worker has had room for them for `after`.
    Overloaded {
        /// What is listened on.
        endpoint: Endpoint,
        /// How long.
        after: Duration,
    },
    /// Connections are no longer turned away.
    Recovered {
        /// What is listened on.
        endpoint: Endpoint,
        /// How many were.
        rejected: u64,
    },
    /// Connections that workers gave back are closed: nobody is going to take them any more.
    LostConnections {
        /// How many.
        count: usize,
        /// Why nobody is.
        cause: Loss,
    },
    /// The cluster stops: it accepts nothing more and its workers leave.
    Stopping {
        /// How many workers are still there.
        workers: usize,
        /// How long they may take; `None` for as long as they want.
        timeout: Option<Duration>,
    },
    /// The cluster has stopped; no worker is left.
    Stopped,
}

/// Why nobody is going to take a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// The socket that it came from is closed: no worker has a server for it any more.
    ServerClosed,
    /// The cluster stops.
    Stopping,
}

/// What is wrong with a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// The process could not be created; tried again after `retry`.
    SpawnFailed {
        /// A Linux errno.
        errno: i32,
        /// Until the next try.
        retry: Duration,
    },
    /// The program could not be executed.
    LaunchFailed {
        /// What was being done.
        step: String,
        /// A Linux errno.
        errno: i32,
    },
    /// It has not spoken on its channel for this long after its start.
    Silent {
        /// Since its start.
        after: Duration,
    },
    /// It is online, but has not listened for this long.
    NotListening {
        /// Since its start.
        after: Duration,
    },
    /// It listens on an address that is none of those the cluster was told to serve.
    ListensElsewhere {
        /// Where it listens; served from there.
        address: Address,
        /// Where the cluster was told to listen.
        told: Vec<Endpoint>,
    },
    /// It wanted to listen and could not.
    ListenFailed {
        /// On what.
        address: Address,
        /// A Linux errno.
        errno: i32,
    },
    /// It sent what cannot be understood. Its channel is closed.
    BrokeProtocol {
        /// What was wrong.
        why: String,
    },
    /// It closed its channel and had never spoken on it.
    ClosedUnheard,
    /// It ended with connections that it may have touched and was not heard to accept, or is not waited for any longer
    /// with connections on the way to it; they are lost.
    LostConnections {
        /// How many.
        count: usize,
    },
    /// It has not answered for any of the connections that it was sent; it is killed and will be replaced.
    Stuck {
        /// Since its last answer, or since the connection was sent.
        after: Duration,
    },
    /// It has not ended though it was killed, and is not waited for any longer.
    Unkillable {
        /// Its process id.
        pid: u32,
        /// Since it was killed.
        after: Duration,
    },
    /// It sent a message of the application that cannot be passed on; it is dropped.
    DroppedMessage {
        /// Why.
        why: String,
    },
    /// It sent a socket or a server, which this version cannot take; it is closed.
    DroppedHandle,
    /// It has not left in time and is told more plainly.
    Overdue {
        /// SIGTERM or SIGKILL.
        signal: i32,
        /// How long it was waited for.
        after: Duration,
    },
}
