//! What can be wrong with a worker, as values.

use std::time::Duration;

use super::Address;
use crate::endpoint::Endpoint;

/// What is wrong with a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// The process could not be created.
    SpawnFailed {
        /// A Linux errno.
        errno: i32,
        /// Until the next try, if there is one for this slot.
        retry: Option<Duration>,
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
    /// It was not ready in time; it is ended, and counts as crashed.
    NotReady {
        /// Since its start.
        after: Duration,
    },
    /// It has not taken connections in time on the address that is its own, where requests would be forwarded to it; it is
    /// ended, and counts as crashed.
    Unreachable {
        /// Since its start.
        after: Duration,
        /// Where it should listen.
        endpoint: Endpoint,
    },
    /// There is no port for it: all that its slot may have are somebody else's.
    NoPort {
        /// The first of them.
        port: u16,
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
    /// It was asked whether it lives and has said nothing; it is killed and will be replaced.
    Unresponsive {
        /// Since its last word.
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
