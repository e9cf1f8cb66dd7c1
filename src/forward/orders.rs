//! What the master and its lanes say to each other, as messages on the channel.

use serde::{Deserialize, Serialize};

use super::rules::ForwardRules;

/// What a lane is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LaneOrder {
    /// First of all: what it is to do.
    Begin(Box<LaneSettings>),
    /// Where requests go from now on: all of them, each time that one changes.
    Upstreams(UpstreamList),
}

/// What a lane is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaneSettings {
    /// How.
    pub rules: ForwardRules,
    /// By which policy; a name of [`PolicyName`](crate::PolicyName).
    pub policy: String,
    /// What it listens on, as an [`Endpoint`](crate::Endpoint) is written.
    pub listen: Vec<String>,
    /// Its row in the table that it shares with the other lanes, which it was started with as its first descriptor. `None`: there
    /// is no table.
    pub row: Option<u32>,
}

/// All upstreams, as one lane is told of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamList {
    /// The later a list is, the greater.
    pub number: u64,
    /// Those.
    pub upstreams: Vec<Upstream>,
}

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Never given twice.
    pub id: u32,
    /// As an [`Endpoint`](crate::Endpoint) is written.
    pub endpoint: String,
    /// What it is called for people: the address, or the slot of a worker.
    pub name: String,
    /// Its share relative to the others', at least 1.
    pub weight: u32,
    /// It gets requests only if all that are no backups cannot.
    pub backup: bool,
    /// It gets no requests any more, but finishes what it has; answered by [`LaneWord::Idle`].
    pub draining: bool,
    /// Its column in the table that lanes share. `None`: each lane counts for itself.
    pub column: Option<u32>,
}

/// What a lane tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LaneWord {
    /// An upstream that drains has no request of this lane's any more, and gets none.
    Idle {
        /// Which.
        upstream: u32,
        /// The number of the last list that this lane has read: in a later one the upstream may serve again.
        list: u64,
    },
    /// What it has done so far, told once a second while it changes.
    Figures(Box<super::figures::Figures>),
}
