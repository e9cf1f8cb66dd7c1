//! Bytes in both directions that nobody looks at: after a change of protocol, or from the beginning.

use super::{
    flow::{Asking, Ending, Failure, Flow, Parting, Turn},
    key,
};
use crate::{
    forward::record::{Reason, Record},
    time::Time,
};

/// See the module.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) stage: Stage,
    pub(super) record: Record,
    /// When bytes last came, from either side.
    pub(super) moved: Time,
    /// Since when the upstream has taken nothing of what is to be written.
    pub(super) blocked: Option<Time>,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is no connection to an upstream yet.
    Choosing(Asking),
    /// Both sides may speak.
    Open,
    /// The client has said all, and the upstream was told.
    ClientEnded,
    /// The upstream has said all, and the client was told.
    UpstreamEnded,
}

/// How it ends.
pub(super) type End = Option<Ending>;

impl Tunnel {
    pub(super) fn choosing(turn: &Turn<'_>, record: Record) -> Self {
        let address = turn.peer.address.map(|address| address.ip().to_canonical());
        let asking =
            Asking { key: address.map(key::of_address), sticky: None, idempotent: false, client: address };
        Self { stage: Stage::Choosing(asking), record, moved: turn.now, blocked: None }
    }

    pub(super) fn open(now: Time, record: Record, blocked: Option<Time>) -> Self {
        Self { stage: Stage::Open, record, moved: now, blocked }
    }

    pub(super) fn begin(&mut self, now: Time, upstream: u32) {
        self.stage = Stage::Open;
        self.moved = now;
        self.blocked = None;
        self.record.tries += 1;
        self.record.upstream = Some(upstream);
        self.record.times.connected = Some(now);
    }

    /// Bytes of the client; tells how many were taken.
    pub(super) fn handle_client(&mut self, now: Time, input: &[u8], flow: &mut Flow) -> usize {
        match self.stage {
            Stage::Open | Stage::UpstreamEnded => {
                if !input.is_empty() {
                    self.moved = now;
                }
                flow.to_upstream.pass(0..input.len());
                self.record.received += u64::try_from(input.len()).unwrap_or(0);
                input.len()
            }
            Stage::Choosing(_) => 0,
            // Nothing comes behind the end.
            Stage::ClientEnded => input.len(),
        }
    }

    /// The client has said all, and all of it was taken.
    pub(super) fn handle_client_end(&mut self, flow: &mut Flow) -> End {
        match self.stage {
            Stage::Open => {
                self.stage = Stage::ClientEnded;
                flow.shut_upstream = true;
                None
            }
            Stage::UpstreamEnded => Some(self.close(flow)),
            Stage::Choosing(_) | Stage::ClientEnded => None,
        }
    }

    /// Bytes of the upstream, of which `input` has some from `start` on; all are taken.
    pub(super) fn handle_upstream(
        &mut self,
        now: Time,
        input: &[u8],
        start: usize,
        flow: &mut Flow,
    ) -> usize {
        match self.stage {
            Stage::Open | Stage::ClientEnded => {
                let length = u64::try_from(input.len() - start).unwrap_or(0);
                if length > 0 {
                    self.moved = now;
                    self.record.times.answered.get_or_insert(now);
                }
                flow.to_client.pass(start..input.len());
                self.record.sent += length;
                input.len()
            }
            Stage::Choosing(_) => 0,
            Stage::UpstreamEnded => input.len(),
        }
    }

    pub(super) fn handle_upstream_end(&mut self, flow: &mut Flow) -> End {
        match self.stage {
            Stage::Open => {
                self.stage = Stage::UpstreamEnded;
                flow.shut_client = true;
                None
            }
            Stage::ClientEnded => Some(self.close(flow)),
            Stage::Choosing(_) | Stage::UpstreamEnded => None,
        }
    }

    fn close(&mut self, flow: &mut Flow) -> Ending {
        self.give_back(flow);
        Ending::Close
    }

    pub(super) fn give_back(&self, flow: &mut Flow) {
        if !matches!(self.stage, Stage::Choosing(_)) {
            flow.upstream = Some(Parting::Close);
        }
    }

    /// It ends because of something else than its two sides' wish.
    pub(super) fn fail(&mut self, why: Reason, flow: &mut Flow) -> Ending {
        let connecting = matches!(why, Reason::ConnectFailed | Reason::ConnectTimeout);
        if connecting && matches!(self.stage, Stage::Choosing(_)) {
            self.record.tries += 1;
        }
        self.record.reason = why;
        self.give_back(flow);
        Ending::Cut
    }

    pub(super) fn tries(&self) -> u32 {
        self.record.tries + u32::from(matches!(self.stage, Stage::Choosing(_)))
    }

    /// Nobody knows what the bytes mean: only what was never sent may be sent again.
    pub(super) fn may_retry(&self, failure: Failure) -> bool {
        matches!(self.stage, Stage::Choosing(_))
            && matches!(failure.reason, Reason::ConnectFailed | Reason::ConnectTimeout)
    }

    pub(super) fn retry(&mut self, flow: &mut Flow) {
        if matches!(self.stage, Stage::Choosing(_)) {
            self.record.tries += 1;
            flow.choose = true;
        }
    }

    pub(super) fn wants_client(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::UpstreamEnded) && self.blocked.is_none()
    }

    pub(super) fn wants_upstream(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::ClientEnded)
    }
}
