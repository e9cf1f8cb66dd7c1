//! Pointsman runs many worker processes behind one port.

/// The pure modules: closed, unless this package's own tests ask for them.
macro_rules! inner {
    ($($name:ident),*) => {$(
        #[cfg(feature = "internals")]
        #[doc(hidden)]
        #[allow(missing_docs, reason = "not a public interface")]
        pub mod $name;
        #[cfg(not(feature = "internals"))]
        mod $name;
    )*};
}

inner!(balance, fleet, protocol, time);

mod api;
mod master;
mod sys;
mod worker;

pub use api::{Cluster, Error, Role, Settings, available_cores, block_signals, role};
pub use balance::{PolicyName, UnknownPolicy};
pub use fleet::{Address, Event, ExitStatus, Stop, Trouble, WorkerId, WorkerInfo};
pub use worker::{Connection, ListenError, Listener, Worker, WorkerError, WorkerEvent};
