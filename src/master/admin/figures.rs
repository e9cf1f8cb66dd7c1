//! How the cluster is, as the admin address tells it: put together of what the master knows, and asked for by nobody else.

use std::{collections::BTreeMap, time::Duration};

use super::{
    super::{Master, depends::Depends},
    answer::{Answer, Check},
};
use crate::{
    control::{Process, Snapshot, write_metrics},
    fleet::{ReloadCounts, Restarts},
    http::Status,
    metrics::Format,
    sys::this_process::ThisProcess,
};

impl Master {
    /// What must hold for connections to be answered.
    pub(super) fn ready_checks(&self) -> Vec<Check> {
        let (mut ready, mut all) = (0, 0);
        for worker in self.fleet.workers(self.now) {
            all += 1;
            ready += usize::from(worker.serving);
        }
        let stops = self.is_stopping() || self.stopping.deadline().is_some();
        let waits = self.depends.as_ref().map(Depends::waits_for);
        let waits =
            waits.map(|what| format!("it waits for {}", what.as_deref().unwrap_or("what it depends on")));
        let none = match self.fleet.wanted() {
            0 => "none is wanted".to_owned(),
            wanted => format!("none of {wanted} is ready"),
        };
        let lanes = self.lanes.as_ref().map(|lanes| {
            let failure = (!lanes.have_started()).then(|| "not all lanes are ready".to_owned());
            Check { name: "lanes", failure }
        });
        let mut checks = vec![
            Check {
                name: "running",
                failure: stops.then(|| format!("it stops, and {all} workers are left")),
            },
            Check { name: "depends", failure: waits },
        ];
        match (lanes, &self.lanes) {
            // Requests may go to servers that are no workers.
            (Some(check), Some(lanes)) if !lanes.list().is_empty() => checks.push(check),
            _ => checks.push(Check { name: "workers", failure: (ready == 0).then_some(none) }),
        }
        checks
    }

    /// What became of reloads. Where there are lanes, one has not succeeded before they are replaced.
    fn reload_counts(&self) -> ReloadCounts {
        let mut counts = self.fleet.reloads();
        if let Some(lanes) = self.lanes.as_ref().map(|lanes| lanes.fleet.reloads()) {
            counts.succeeded = lanes.succeeded;
            counts.failed += lanes.failed;
            counts.aborted += lanes.aborted;
            counts.last_failed |= lanes.last_failed;
        }
        counts
    }

    pub(super) fn status_as_json(&mut self) -> Answer {
        match serde_json::to_string(&self.status()) {
            Ok(text) => Answer::ok("application/json", text + "\n"),
            Err(error) => {
                // It is made of numbers and text.
                log::error!("the status cannot be written: {error}");
                Answer::refusal(Status::ServiceUnavailable)
            }
        }
    }

    pub(super) fn metrics(&mut self, format: Format, started: Duration) -> String {
        let status = self.status();
        let mut slots = BTreeMap::new();
        let workers =
            self.fleet.workers(self.now).map(|info| (info.slot, (info.restarts, info.handed_in_slot)));
        let vacant =
            self.fleet.vacancies(self.now).map(|vacancy| (vacancy.slot, (vacancy.restarts, vacancy.handed)));
        slots.extend(workers.chain(vacant));
        let restarts = slots.iter().flat_map(|(&slot, (restarts, _))| {
            let Restarts { crashed, exited, replaced, .. } = *restarts;
            [("crashed", crashed), ("exited", exited), ("replaced", replaced)]
                .map(|(reason, count)| (slot, reason, count))
        });
        let ReloadCounts { succeeded, failed, aborted, refused, last_failed, .. } = self.reload_counts();
        let reloads =
            [("succeeded", succeeded), ("failed", failed), ("aborted", aborted), ("refused", refused)];
        let forwarded = self.lanes.as_ref().map(|lanes| lanes.figures());
        write_metrics(
            format,
            &Snapshot {
                status: &status,
                forwarded: forwarded.as_ref(),
                restarts: &restarts.collect::<Vec<_>>(),
                handed: &slots.iter().map(|(&slot, &(_, handed))| (slot, handed)).collect::<Vec<_>>(),
                reloads: &reloads,
                last_reload_successful: !last_failed,
                handoff: self.fleet.handoff_times(),
                process: ThisProcess::look().ok().map(|process| {
                    let ThisProcess { virtual_bytes, open_descriptors, max_descriptors } = process;
                    Process { virtual_bytes, open_descriptors, max_descriptors, started }
                }),
            },
        )
    }
}
