//! Pointsman runs many worker processes behind one port: its master accepts every connection and hands the socket to a
//! worker, starts the workers, watches them, starts them again and stops them.
//!
//! [`Cluster`] is the master's side: give it [`Settings`], and it runs a program in as many processes as you want and
//! tells of every [`Event`]. [`Worker`] is the other side, for programs that are started by a cluster (this crate's, the
//! `pointsman` command's, or Node's own) and want to be handed connections. The two speak Node's child-process protocol,
//! so each also works with Node on the other end.
//!
//! A program that uses either begins its `main` with [`role`].
//!
//! Linux 5.4 or later.

/// The pure modules: closed, unless this package's own tests ask for them.
macro_rules! inner {
    ($($name:ident),*) => {$(
        #[cfg(feature = "internals")]
        #[doc(hidden)]
        #[allow(missing_docs, reason = "not a public interface")]
        pub mod $name;
        #[cfg(not(feature = "internals"))]
        #[allow(unreachable_pub, reason = "reachable with the feature `internals`")]
        mod $name;
    )*};
}

inner!(balance, chance, control, endpoint, fleet, forward, metrics, protocol, time);

/// Open to the command as well, whose demo worker reads the same requests.
#[cfg(any(feature = "cli", feature = "internals"))]
#[doc(hidden)]
#[allow(missing_docs, reason = "not a public interface")]
pub mod http;
#[cfg(not(any(feature = "cli", feature = "internals")))]
#[allow(unreachable_pub, dead_code, reason = "reachable with the feature `cli`")]
mod http;

mod api;
mod lane;
mod master;
mod sys;
mod worker;

pub use api::{
    Account, AccountError, BadControlName, BadCpus, BadUpstream, Cluster, Control, ControlName, Cpus, Error,
    Forward, Limit, Resource, Role, Scheduling, Settings, UNLIMITED, Unit, UnknownResource,
    UnknownScheduling, UpstreamAddress, UpstreamKind, UpstreamPlace, available_cores, block_signals, role,
};
pub use balance::{PolicyName, UnknownPolicy};
pub use control::{
    ClusterState, CounterStatus, ExitRecord, LaneStatus, ListenerStatus, ReloadRecord, Status,
    UpstreamStatus, VacantStatus, WorkerStatus, shell_words,
};
pub use endpoint::Endpoint;
pub use fleet::{
    Address, Batch, Cause, Counters, Event, ExitStatus, ListenerInfo, LoadSource, Loss, Mapping, Mode,
    Overload, Place, ReadyOn, ReloadCounts, ReloadFailure, ReloadRequest, Request, Restarts, Stop, StopWith,
    Trouble, Unable, UnknownReadyOn, UsedUp, Vacancy, WorkerId, WorkerInfo, WorkerState,
};
pub use forward::rules::{ErrorPage, ForwardProtocol, ForwardRules, HashKey, LogFormat, Network};
pub use master::{
    Dependency, Fork, Inherited, Listen, Rotation, SendError, Sink, inherited, is_reserved_variable,
};
pub use protocol::serialization::{Serialization, UnknownSerialization};
pub use sys::{
    names::{group_number, user_name, user_number},
    peer::peer_pid,
};
pub use worker::{
    Connection, ConnectionGuard, ListenError, ListenOptions, Listener, Stream, Worker, WorkerError,
    WorkerEvent,
};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct Readme;
