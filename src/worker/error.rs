//! Why a worker cannot be one, or cannot listen.

use std::io;

use thiserror::Error;

use crate::{
    endpoint::Endpoint,
    protocol::{frame::FrameError, message::MessageError},
};

/// Why there is no worker, or no longer one.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// This process was not started as a worker.
    #[error("this process is no worker: {missing} is not set; start it with `pointsman run -- PROGRAM`")]
    NotAWorker {
        /// The variable that is missing from the environment.
        missing: &'static str,
    },
    /// A variable that the master sets has a value that it never gives.
    #[error("{name}={value} is not {wanted}")]
    BadVariable {
        /// Which variable.
        name: &'static str,
        /// What it says.
        value: String,
        /// What it should say.
        wanted: &'static str,
    },
    /// What `NODE_CHANNEL_FD` names is not a channel.
    #[error("NODE_CHANNEL_FD={number} is no channel to a master: {source}")]
    NoChannel {
        /// The descriptor that it names.
        number: i32,
        /// What the system says about it.
        source: io::Error,
    },
    /// There can be one [`Worker`](crate::Worker) in a process, once.
    #[error("this process has already taken its channel; keep the Worker that from_env returned first")]
    Taken,
    /// The master sent what cannot be understood. The channel is closed.
    #[error("the master broke the protocol: {why}")]
    BrokenProtocol {
        /// What was wrong.
        why: String,
    },
    /// The master does not read what it is sent.
    #[error("the master has not read the messages before this one; send less, or wait")]
    Full,
    /// The system refused.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// Why a worker does not listen.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The master cannot bind this.
    #[error("cannot listen on {endpoint}: {source}")]
    Refused {
        /// What was asked for.
        endpoint: Endpoint,
        /// The master's error, e.g. that the address is in use.
        source: io::Error,
    },
    /// The worker is leaving, or has left.
    #[error("cannot listen on {endpoint}: this worker is leaving its cluster")]
    Leaving {
        /// What was asked for.
        endpoint: Endpoint,
    },
    /// A worker is given connections, and UDP has none.
    #[error(
        "cannot listen on {endpoint}: a Worker takes connections, by TCP or Unix sockets; bind UDP by yourself"
    )]
    Datagrams {
        /// What was asked for.
        endpoint: Endpoint,
    },
    /// The channel failed.
    #[error(transparent)]
    Worker(#[from] WorkerError),
}

impl WorkerError {
    pub(super) fn protocol(why: impl Into<String>) -> Self {
        Self::BrokenProtocol { why: why.into() }
    }

    /// The system has refused that.
    pub(crate) fn system(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { doing, source }
    }
}

impl From<FrameError> for WorkerError {
    fn from(error: FrameError) -> Self {
        Self::protocol(error.to_string())
    }
}

impl From<MessageError> for WorkerError {
    fn from(error: MessageError) -> Self {
        Self::protocol(error.to_string())
    }
}
