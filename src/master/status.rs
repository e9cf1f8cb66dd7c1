//! How the cluster is, put together from what the fleet knows and what the kernel tells.

use std::{collections::BTreeMap, time::Duration};

use super::Master;
use crate::{
    control::{
        ClusterState, CounterStatus, ExitRecord, LaneStatus, ListenerStatus, ReloadRecord, Status,
        UpstreamStatus, VacantStatus, WorkerStatus, reload_failed, source_name, timestamp,
    },
    fleet::{Counters, Event, ExitStatus, Mode, Restarts, Vacancy, WorkerInfo, WorkerState},
    sys::{clock, net, usage::Usage},
    time::Time,
};

/// What is asked of the kernel for each process is asked no more often than this, however often somebody asks for it:
/// connections wait meanwhile.
const FRESH: Duration = Duration::from_millis(100);

/// What processes have used, as of a moment ago.
#[derive(Debug, Default)]
pub(super) struct Usages {
    at: Time,
    by_pid: BTreeMap<u32, Usage>,
}

impl Usages {
    fn look(&mut self, now: Time, pids: impl Iterator<Item = u32>) {
        let is_fresh = !self.by_pid.is_empty() && now < self.at + FRESH;
        if !is_fresh {
            self.at = now;
            self.by_pid.clear();
        }
        // Those that were started meanwhile as well.
        for pid in pids {
            if !self.by_pid.contains_key(&pid)
                && let Ok(usage) = Usage::of(pid)
            {
                self.by_pid.insert(pid, usage);
            }
        }
    }

    fn of(&self, pid: u32) -> Option<Usage> {
        self.by_pid.get(&pid).copied()
    }
}

impl Master {
    /// How it is now. Asks the kernel a few things of each worker and each socket.
    pub(crate) fn status(&mut self) -> Status {
        let now = clock::now();
        let own_pid = std::process::id();
        let lanes = self.lanes.iter().flat_map(|lanes| lanes.fleet.workers(now));
        let pids = self.fleet.workers(now).chain(lanes).map(|info| info.pid).chain([own_pid]);
        self.usages.look(now, pids);
        let uptime = now - self.started;
        let usage = self.usages.of(own_pid);
        let own = |slot| self.programs.own(slot);
        let mut workers: Vec<_> = self
            .fleet
            .workers(now)
            .map(|info| worker(&info, self.usages.of(info.pid), own(info.slot)))
            .collect();
        workers.sort_by_key(|worker| (worker.slot, worker.id));
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            name: self.control.as_ref().and_then(|server| server.name()).map(str::to_owned),
            started: timestamp(clock::wall().saturating_sub(ms(uptime))),
            uptime_ms: ms(uptime),
            mode: match self.fleet.rules().mode {
                Mode::Handoff => "handoff".into(),
                Mode::Shared => "shared".into(),
                Mode::Multiport => "multiport".into(),
            },
            policy: self.policy.to_string(),
            program: self.programs.latest().shown(),
            state: self.state(),
            generation: self.fleet.generation(),
            last_reload: self.last_reload.as_ref().map(|(at, record)| {
                let mut record = record.clone();
                record.ago_ms = ms(now - *at);
                record
            }),
            wanted: self.fleet.wanted(),
            ready: workers.iter().filter(|worker| worker.state == "ready").count(),
            cpu_ms: usage.map_or(0, |usage| ms(usage.cpu)),
            rss: usage.map_or(0, |usage| usage.rss),
            listeners: self.listeners_status(),
            counters: counters(self.fleet.counters()),
            workers,
            lanes: self.lanes_status(now),
            upstreams: self.upstreams_status(),
            vacant: self.fleet.vacancies(now).map(|vacancy| vacant(&vacancy, own(vacancy.slot))).collect(),
        }
    }

    /// Remembers how a reload has ended.
    pub(super) fn note_event(&mut self, event: &Event) {
        match event {
            Event::Reloaded { generation, .. } => self.note_reload("succeeded", Some(*generation), None),
            Event::ReloadFailed { generation, slot, why, rolled_back } => {
                let why = reload_failed(*slot, *why, *rolled_back);
                self.note_reload("failed", Some(*generation), Some(why));
            }
            _ => {}
        }
    }

    pub(super) fn note_reload(&mut self, result: &str, generation: Option<u32>, why: Option<String>) {
        let record = ReloadRecord { result: result.to_owned(), generation, why, ago_ms: 0 };
        self.last_reload = Some((self.now, record));
    }

    fn state(&self) -> ClusterState {
        if self.is_stopping() || self.stopping.deadline().is_some() {
            ClusterState::Stopping
        } else if self.depends.is_some() {
            ClusterState::Waiting
        } else if self.is_reloading() {
            ClusterState::Reloading
        } else {
            ClusterState::Running
        }
    }

    fn lanes_status(&self, now: Time) -> Vec<LaneStatus> {
        let Some(lanes) = &self.lanes else { return Vec::new() };
        let present = lanes.fleet.workers(now).map(|info| lane(&info, self.usages.of(info.pid)));
        let vacant = lanes.fleet.vacancies(now).map(|vacancy| LaneStatus {
            slot: vacancy.slot,
            pid: None,
            state: vacant_state(&vacancy),
            uptime_ms: None,
            restarts: by_itself(vacancy.restarts),
            last_exit: record(vacancy.last_exit),
            cpu_ms: None,
            rss: None,
        });
        let mut all: Vec<_> = present.chain(vacant).collect();
        // Within a slot they are in the order of age already.
        all.sort_by_key(|lane| lane.slot);
        all
    }

    fn upstreams_status(&self) -> Vec<UpstreamStatus> {
        let list = self.lanes.iter().flat_map(|lanes| lanes.list());
        let figures = self.lanes.as_ref().map(|lanes| lanes.figures()).unwrap_or_default();
        let status = list.map(|upstream| {
            let known = figures.upstreams.iter().find(|known| known.name == upstream.name);
            let codes = || known.iter().flat_map(|known| &known.codes);
            let failed = codes().filter(|(code, _)| **code == 0 || **code >= 500);
            UpstreamStatus {
                name: upstream.name.clone(),
                address: upstream.endpoint.clone(),
                weight: upstream.weight,
                backup: upstream.backup,
                draining: upstream.draining,
                in_flight: known.map_or(0, |known| known.in_flight),
                requests: codes().map(|(_, count)| count).sum(),
                failures: failed.map(|(_, count)| count).sum(),
                ejections: known.map_or(0, |known| known.ejections),
                ejected_lanes: known.map_or(0, |known| known.ejected),
            }
        });
        status.collect()
    }

    fn listeners_status(&self) -> Vec<ListenerStatus> {
        let of_lanes = self.lanes.iter().flat_map(|lanes| lanes.fleet.listeners());
        let known = self.fleet.listeners().chain(of_lanes);
        let known = known.filter_map(|(id, info)| Some((self.listeners.get(&id)?, info)));
        let status = known.map(|(listener, info)| {
            let queue = net::queue(&listener.socket);
            ListenerStatus {
                address: listener.endpoint.to_string(),
                backlog: queue.map(|queue| queue.backlog),
                waiting: queue.map(|queue| queue.waiting),
                accepted: info.accepted,
                workers: info.workers,
            }
        });
        status.collect()
    }
}

fn lane(info: &WorkerInfo, usage: Option<Usage>) -> LaneStatus {
    LaneStatus {
        slot: info.slot,
        pid: Some(info.pid),
        state: state_of(info),
        uptime_ms: Some(ms(info.uptime)),
        restarts: by_itself(info.restarts),
        last_exit: record(info.last_exit),
        cpu_ms: usage.map(|usage| ms(usage.cpu)),
        rss: usage.map(|usage| usage.rss),
    }
}

fn state_of(info: &WorkerInfo) -> String {
    match info.state {
        WorkerState::Starting => "starting".into(),
        WorkerState::Ready => "ready".into(),
        WorkerState::Draining => "draining".into(),
    }
}

fn vacant_state(vacancy: &Vacancy) -> String {
    if vacancy.start_in.is_some() { "waiting".into() } else { "errored".into() }
}

fn worker(info: &WorkerInfo, usage: Option<Usage>, program: Option<String>) -> WorkerStatus {
    WorkerStatus {
        id: info.id.0,
        slot: info.slot,
        pid: info.pid,
        generation: info.generation,
        program,
        state: state_of(info),
        since_ms: ms(info.state_for),
        uptime_ms: ms(info.uptime),
        restarts: by_itself(info.restarts),
        last_exit: record(info.last_exit),
        connections: info.connections,
        in_flight: info.in_flight,
        handed: info.handed,
        load_source: source_name(info.load_source).into(),
        cpu_ms: usage.map(|usage| ms(usage.cpu)),
        rss: usage.map(|usage| usage.rss),
    }
}

fn vacant(vacancy: &Vacancy, program: Option<String>) -> VacantStatus {
    VacantStatus {
        slot: vacancy.slot,
        program,
        state: vacant_state(vacancy),
        restarts: by_itself(vacancy.restarts),
        last_exit: record(vacancy.last_exit),
        start_in_ms: vacancy.start_in.map(ms),
    }
}

fn by_itself(restarts: Restarts) -> u64 {
    restarts.crashed + restarts.exited
}

fn record(last: Option<(ExitStatus, Duration)>) -> Option<ExitRecord> {
    last.map(|(status, ago)| {
        let (code, signal) = match status {
            ExitStatus::Code(code) => (Some(code), None),
            ExitStatus::Signal(signal) => (None, Some(signal)),
        };
        ExitRecord { code, signal, ago_ms: ms(ago) }
    })
}

fn counters(counters: Counters) -> CounterStatus {
    let Counters { accepted, handed, refused, replaced, lost, waits, rejected } = counters;
    CounterStatus { accepted, handed, refused, replaced, lost, waits, rejected }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_started_a_moment_ago_is_looked_at_and_others_not_again() {
        let (own, parent) = (std::process::id(), std::os::unix::process::parent_id());
        let mut usages = Usages::default();
        let now = Time(1_000_000_000);
        usages.look(now, [own].into_iter());
        let first = usages.of(own).unwrap();
        usages.look(now + FRESH / 2, [own, parent].into_iter());
        assert_eq!(usages.of(own), Some(first), "it is fresh");
        assert!(usages.of(parent).is_some());
        usages.look(now + FRESH, [own].into_iter());
        assert!(usages.of(own).unwrap().cpu > first.cpu && usages.of(parent).is_none());
    }
}
