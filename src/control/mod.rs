//! How a cluster is steered and seen from outside: requests, answers, events and what is waited for, as values. Pure.
//!
//! CONTROL.md describes the protocol. Bytes of a line enter at `request`, and leave as lines at `answer`; `event` is what is
//! told of what happens, `log` what workers have written, `status` how things are, `families` the same in figures, `waits` what clients wait for. Nothing
//! here knows of sockets, or does what is asked for.

mod answer;
mod event;
mod families;
mod forwarded;
mod log;
mod request;
mod status;
mod timestamp;
mod waits;
mod words;

pub use self::log::{LogStream, Origin, end, log};
pub use answer::{Answer, Code, Refusal, answer, dropped, event, greeting};
pub use event::{Known, source_name, told, worker_of};
pub use families::{Process, Snapshot, write as write_metrics};
pub use request::{MAX_LINE, Patience, Request, RequestId, SignalWord, Target, Verb};
pub use status::{
    ClusterState, CounterStatus, ExitRecord, LaneStatus, ListenerStatus, ReloadRecord, Status,
    UpstreamStatus, VacantStatus, WorkerStatus,
};
pub(crate) use timestamp::date;
pub use timestamp::timestamp;
pub use waits::{Due, Until, Waits, reload_failed};
pub use words::shell_words;
