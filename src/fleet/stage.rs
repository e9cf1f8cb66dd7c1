//! A fleet on a stage: what is done to it, and what it says, as lines. For tests.

use std::time::Duration;

use super::*;
use crate::{
    balance::PolicyName, protocol::message::Message, protocol::serialization::Serialization, time::Time,
};

pub(super) const START: Time = Time(1_000_000_000);

/// A fleet and what it has said.
pub(super) struct Stage {
    pub(super) fleet: Fleet<u32>,
    pub(super) now: Time,
    /// Workers that were started, with their slots and generations, and what was said: in order.
    said: Vec<String>,
}

impl Stage {
    pub(super) fn new(rules: Rules) -> Self {
        let mut stage =
            Self { fleet: Fleet::new(rules, PolicyName::RoundRobin), now: START, said: Vec::new() };
        stage.fleet.start(stage.now);
        stage.collect();
        stage
    }

    /// One whose workers are ready.
    pub(super) fn ready(rules: Rules) -> Self {
        let workers = rules.workers;
        let mut stage = Self::new(rules);
        (1..=workers).for_each(|id| stage.is_ready(u32::try_from(id).unwrap()));
        stage.take();
        stage
    }

    pub(super) fn ready_workers(&self) -> usize {
        self.fleet.workers(self.now).filter(|worker| worker.serving).count()
    }

    pub(super) fn collect(&mut self) {
        while let Some(output) = self.fleet.poll_output() {
            match output {
                Output::Spawn { worker, slot, generation, .. } => {
                    self.said.push(format!("spawn {worker} in {slot} of {generation}"));
                    self.fleet.handle_spawned(worker, worker.0 + 100);
                }
                Output::Forget { generation } => self.said.push(format!("forget {generation}")),
                Output::Tell(worker, Told::Disconnect { .. }) => {
                    self.said.push(format!("disconnect {worker}"));
                }
                Output::Tell(worker, Told::Leave { text }) => {
                    self.said.push(format!("say {text} to {worker}"));
                }
                Output::Signal(worker, signal) => self.said.push(format!("signal {signal} to {worker}")),
                Output::Event(Event::Errored { slot, crashes, .. }) => {
                    self.said.push(format!("errored {slot} after {crashes}"));
                }
                Output::Event(Event::Failed { ends }) => self.said.push(format!("failed, ends: {ends}")),
                Output::Event(Event::Reloaded { generation, .. }) => {
                    self.said.push(format!("reloaded {generation}"));
                }
                Output::Event(Event::RolledBack { generation, .. }) => {
                    self.said.push(format!("rolled back to {generation}"));
                }
                Output::Event(Event::ReloadFailed { generation, slot, rolled_back, .. }) => {
                    self.said.push(format!("failed {generation} in {slot:?}, {rolled_back} go back"));
                }
                Output::Tell(worker, Told::Ping { .. }) => self.said.push(format!("ping {worker}")),
                Output::Event(Event::Trouble { worker, trouble: Trouble::Unresponsive { after } }) => {
                    self.said.push(format!("{worker} is silent for {} s", after.as_secs()));
                }
                Output::Event(Event::Recycling { worker, .. }) => self.said.push(format!("recycle {worker}")),
                Output::Event(Event::Waiting { worker, left, .. }) => {
                    self.said.push(format!("{worker} has {} s", left.unwrap_or_default().as_secs()));
                }
                _ => {}
            }
        }
    }

    pub(super) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }

    pub(super) fn does(&mut self, what: impl FnOnce(&mut Fleet<u32>, Time)) -> Vec<String> {
        what(&mut self.fleet, self.now);
        self.collect();
        self.take()
    }

    /// It speaks, and is ready.
    pub(super) fn is_ready(&mut self, id: u32) {
        self.speaks(id);
        self.fleet.happens(self.now, WorkerId(id), super::lifecycle::Happening::Listening);
        self.collect();
    }

    pub(super) fn speaks(&mut self, id: u32) {
        self.says(id, r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#);
    }

    pub(super) fn says(&mut self, id: u32, text: &str) {
        let message = Message::decode(Serialization::Json, text.as_bytes()).unwrap();
        self.fleet.handle_message(self.now, WorkerId(id), message);
        self.collect();
    }

    pub(super) fn exits(&mut self, id: u32, status: ExitStatus) -> Vec<String> {
        self.does(|fleet, now| fleet.handle_exited(now, WorkerId(id), status, true))
    }

    pub(super) fn later(&mut self, seconds: u64) -> Vec<String> {
        self.now = self.now + Duration::from_secs(seconds);
        self.does(|fleet, now| fleet.handle_timeout(now))
    }

    pub(super) fn reload(&mut self) -> Vec<String> {
        let rules = self.fleet.rules.clone();
        self.does(|fleet, now| {
            fleet.reload(now, rules);
        })
    }

    pub(super) fn becomes_ready(&mut self, id: u32) -> Vec<String> {
        self.is_ready(id);
        self.take()
    }
}

pub(super) fn rules(workers: usize) -> Rules {
    Rules { workers, ..Rules::default() }
}
