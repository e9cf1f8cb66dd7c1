//! How a cluster is steered and seen from outside: requests, answers, events and what is waited for, as values. Pure.
//!
//! CONTROL.md describes the protocol. Bytes of a line enter at `request`, and leave as lines at `answer` and `event`, and what
//! workers have written at `log`; `status` is what `status` tells. Nothing here knows of sockets, or does what is asked for.

mod answer;
mod log;
mod request;
mod status;
mod timestamp;

pub use answer::{Answer, Code, PROTOCOL, Refusal, answer, dropped, event, greeting};
pub use request::{MAX_LINE, Patience, Request, RequestId, SignalWord, Target, Verb};
pub use self::log::{LogStream, Origin, end, log};
pub use status::{ClusterState, CounterStatus, ExitRecord, ListenerStatus, Status, VacantStatus, WorkerStatus};
pub use timestamp::timestamp;
