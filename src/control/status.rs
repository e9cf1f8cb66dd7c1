//! How a cluster is, as a value: what `status` answers.
//!
//! Spans are in milliseconds, sizes in bytes. Nothing here knows where the numbers come from.

use serde::{Deserialize, Serialize};

/// How a cluster is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// Of the master's program.
    pub version: String,
    /// The master's process id.
    pub pid: u32,
    /// What it is called, if it has a control socket.
    pub name: Option<String>,
    /// When it was started, in UTC, as RFC 3339 writes it.
    pub started: String,
    /// How long ago.
    pub uptime_ms: u64,
    /// Who accepts: `handoff`, `shared` or `multiport`.
    pub mode: String,
    /// Which worker gets a connection.
    pub policy: String,
    /// What workers run, as it is written for people.
    pub program: String,
    /// What the cluster does.
    pub state: ClusterState,
    /// Of the workers that are wanted.
    pub generation: u32,
    /// How the last reload ended, if there was one.
    #[serde(default)]
    pub last_reload: Option<ReloadRecord>,
    /// How many workers are wanted.
    pub wanted: usize,
    /// How many are ready.
    pub ready: usize,
    /// What the master has used of the processors, its own code and the kernel's for it.
    pub cpu_ms: u64,
    /// The memory that it uses.
    pub rss: u64,
    /// What is listened on.
    pub listeners: Vec<ListenerStatus>,
    /// What has happened to connections.
    pub counters: CounterStatus,
    /// Workers whose processes exist, by slot and age.
    pub workers: Vec<WorkerStatus>,
    /// Slots that somebody is wanted in and nobody is.
    pub vacant: Vec<VacantStatus>,
    /// Processes that forward requests to workers, by slot and age; none in other modes than `multiport`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lanes: Vec<LaneStatus>,
    /// Where requests are forwarded to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<UpstreamStatus>,
}

/// What a cluster does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClusterState {
    /// It has not started workers yet: what they depend on is not there.
    Waiting,
    /// It serves.
    Running,
    /// It replaces its workers.
    Reloading,
    /// It is told to stop.
    Stopping,
}

/// How a reload ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReloadRecord {
    /// `succeeded`, `failed` (called off, or a new worker was not ready) or `refused` (not begun).
    pub result: String,
    /// The new generation, if it was begun.
    pub generation: Option<u32>,
    /// Why it did not succeed.
    pub why: Option<String>,
    /// How long ago.
    pub ago_ms: u64,
}

/// A socket that is listened on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ListenerStatus {
    /// Where.
    pub address: String,
    /// How many connections the kernel lets wait; `None` if it does not tell.
    pub backlog: Option<u32>,
    /// How many wait; `None` if it does not tell.
    pub waiting: Option<u32>,
    /// How many were taken from it for workers: none where workers accept by themselves.
    pub accepted: u64,
    /// Workers that listen on it.
    pub workers: usize,
}

/// What has happened to connections: see [`Counters`](crate::Counters).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the same as there")]
#[non_exhaustive]
pub struct CounterStatus {
    pub accepted: u64,
    pub handed: u64,
    pub refused: u64,
    pub replaced: u64,
    pub lost: u64,
    pub waits: u64,
    pub rejected: u64,
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// Its id.
    pub id: u32,
    /// Its place.
    pub slot: u32,
    /// Its process id.
    pub pid: u32,
    /// The generation of its program.
    pub generation: u32,
    /// What it runs, if that is a program of its own.
    #[serde(default)]
    pub program: Option<String>,
    /// `starting`, `ready` or `draining`.
    pub state: String,
    /// For how long it has been so.
    pub since_ms: u64,
    /// How long ago it was started.
    pub uptime_ms: u64,
    /// How often its slot was filled again after a worker had ended by itself.
    pub restarts: u64,
    /// How the last of those ended.
    pub last_exit: Option<ExitRecord>,
    /// Connections that it has open, as far as `load_source` tells.
    pub connections: usize,
    /// Connections on their way to it.
    pub in_flight: usize,
    /// Connections that it has accepted from the master.
    pub handed: u64,
    /// Who tells the ends of its connections: `reports`, `script`, `kernel` or `none`.
    pub load_source: String,
    /// What its process has used of the processors; `None` if it is gone.
    pub cpu_ms: Option<u64>,
    /// The memory that its process uses; `None` if it is gone.
    pub rss: Option<u64>,
}

/// A process that forwards requests to workers, or the place of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LaneStatus {
    /// Its place.
    pub slot: u32,
    /// Its process id; `None` if there is no process.
    pub pid: Option<u32>,
    /// `starting`, `ready` or `draining`; without a process `waiting` or `errored`.
    pub state: String,
    /// How long ago it was started; `None` if there is no process.
    pub uptime_ms: Option<u64>,
    /// How often its place was filled again after a lane had ended by itself.
    pub restarts: u64,
    /// How the last of those ended.
    pub last_exit: Option<ExitRecord>,
    /// What its process has used of the processors; `None` if it is gone.
    pub cpu_ms: Option<u64>,
    /// The memory that its process uses; `None` if it is gone.
    pub rss: Option<u64>,
}

/// Where requests are forwarded to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UpstreamStatus {
    /// `slot:N` of a worker, the address of another server.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// Its share relative to the others'.
    pub weight: u32,
    /// It gets requests only if all that are no backups cannot.
    pub backup: bool,
    /// It gets no requests, and finishes what it has.
    pub draining: bool,
    /// Requests that it has now.
    pub in_flight: u64,
    /// Requests that were sent to it and are over.
    pub requests: u64,
    /// Of those, the ones that it has not answered, or with a code from 500 on.
    pub failures: u64,
    /// How often it got no requests for a while because it had failed.
    pub ejections: u64,
    /// Lanes in which that is so now.
    pub ejected_lanes: u64,
}

/// A slot without a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VacantStatus {
    /// The place.
    pub slot: u32,
    /// What its workers run, if that is a program of their own.
    #[serde(default)]
    pub program: Option<String>,
    /// `waiting` or `errored`.
    pub state: String,
    /// How often it was filled again after a worker had ended by itself.
    pub restarts: u64,
    /// How the last of those ended.
    pub last_exit: Option<ExitRecord>,
    /// Until it is filled; `None` if it is not going to be.
    pub start_in_ms: Option<u64>,
}

/// How a worker ended: by itself with a code, or by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExitRecord {
    /// What it ended with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// What ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// How long ago.
    pub ago_ms: u64,
}
