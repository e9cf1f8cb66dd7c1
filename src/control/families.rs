//! The families of a master's metrics: what each is called, what it means, and which numbers it has.
//!
//! A [`Snapshot`] enters, text leaves. A slot has the figures of all workers that are in it, of which there are two during a
//! replacement, and none of its series is left when it is not wanted any more. No label grows with traffic.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{Status, forwarded};
use crate::{
    forward::figures::Figures,
    metrics::{Exposition, Family, Format, Kind, Latency, Seconds},
};

/// A master at one moment.
#[derive(Debug)]
pub struct Snapshot<'a> {
    /// How its cluster is.
    pub status: &'a Status,
    /// How often slots were filled again, by the slot and by why.
    pub restarts: &'a [(u32, &'static str, u64)],
    /// How many connections workers have accepted, by their slot.
    pub handed: &'a [(u32, u64)],
    /// How many reloads there were, by how they went.
    pub reloads: &'a [(&'static str, u64)],
    /// The configuration is that which was read last.
    pub last_reload_successful: bool,
    /// How long connections took from being accepted by the master to being accepted by a worker.
    pub handoff: &'a Latency,
    /// What lanes have done, where there are some.
    pub forwarded: Option<&'a Figures>,
    /// What the master's own process has, if the kernel tells.
    pub process: Option<Process>,
}

/// What a process has, beyond what its status tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Addresses that it has, in bytes.
    pub virtual_bytes: u64,
    /// Descriptors.
    pub open_descriptors: u64,
    /// How many it may have.
    pub max_descriptors: u64,
    /// When it was started, since 1970.
    pub started: Duration,
}

/// Writes all families.
pub fn write(format: Format, snapshot: &Snapshot<'_>) -> String {
    let mut out = Exposition::new(format);
    out.family(Kind::Info, "pointsman_build", "The version of the program.")
        .sample(&[("version", &snapshot.status.version)], 1);
    write_workers(&mut out, snapshot);
    write_slots(&mut out, snapshot);
    write_connections(&mut out, snapshot);
    write_listeners(&mut out, snapshot.status);
    let mut reloads =
        out.family(Kind::Counter, "pointsman_reloads", "Reloads that are over, by how they went.");
    for (result, count) in snapshot.reloads {
        reloads.sample(&[("result", result)], count);
    }
    let help = "Whether the last reload succeeded; 1 if there was none.";
    out.family(Kind::Gauge, "pointsman_config_last_reload_successful", help)
        .sample(&[], u8::from(snapshot.last_reload_successful));
    if let Some(figures) = snapshot.forwarded {
        forwarded::write(&mut out, snapshot.status, figures);
    }
    write_process(&mut out, snapshot);
    out.finish()
}

fn write_workers(out: &mut Exposition, Snapshot { status, .. }: &Snapshot<'_>) {
    let help = "Workers by their state, and slots without one (waiting, errored).";
    let mut workers = out.family(Kind::Gauge, "pointsman_workers", help);
    let states = status.workers.iter().map(|worker| &*worker.state);
    let states = states.chain(status.vacant.iter().map(|vacant| &*vacant.state));
    for state in ["starting", "ready", "draining", "waiting", "errored"] {
        workers.sample(&[("state", &state)], states.clone().filter(|other| *other == state).count());
    }
    out.family(Kind::Gauge, "pointsman_workers_wanted", "Workers that are wanted.")
        .sample(&[], status.wanted);
}

/// What all workers in a slot use.
#[derive(Debug, Default)]
struct Slot {
    connections: usize,
    resident_bytes: Option<u64>,
    cpu: Option<Duration>,
}

fn write_slots(out: &mut Exposition, snapshot: &Snapshot<'_>) {
    let mut slots = BTreeMap::<u32, Slot>::new();
    for vacant in &snapshot.status.vacant {
        slots.entry(vacant.slot).or_default();
    }
    for worker in &snapshot.status.workers {
        let slot = slots.entry(worker.slot).or_default();
        slot.connections += worker.connections;
        add(&mut slot.resident_bytes, worker.rss);
        // Of one: to Prometheus, a sum that loses a part of it begins anew, and what is left of it is work done since.
        if worker.state == "ready" || slot.cpu.is_none() {
            slot.cpu = worker.cpu_ms.map(Duration::from_millis);
        }
    }
    let help = "How often a slot was filled again, by why its worker was gone.";
    let mut restarts = out.family(Kind::Counter, "pointsman_worker_restarts", help);
    for (slot, reason, count) in snapshot.restarts.iter().filter(|(slot, ..)| slots.contains_key(slot)) {
        restarts.sample(&[("slot", slot), ("reason", reason)], count);
    }
    let help = "Connections that workers have open, as far as somebody tells their ends.";
    of_slots(out.family(Kind::Gauge, "pointsman_worker_connections", help), &slots, |slot| {
        Some(slot.connections)
    });
    let help = "Memory that the processes of workers use.";
    let family = out.family(Kind::Gauge, "pointsman_worker_resident_memory_bytes", help);
    of_slots(family, &slots, |slot| slot.resident_bytes);
    let help = "Processor time of the worker that has a slot; it begins anew with each worker.";
    let family = out.family(Kind::Counter, "pointsman_worker_cpu_seconds", help);
    of_slots(family, &slots, |slot| slot.cpu.map(Seconds));
    let help = "Connections that workers have accepted from the master.";
    let mut handed = out.family(Kind::Counter, "pointsman_connections_handed", help);
    for (slot, count) in snapshot.handed.iter().filter(|(slot, _)| slots.contains_key(slot)) {
        handed.sample(&[("slot", slot)], count);
    }
}

fn add<T: Copy + std::ops::Add<Output = T>>(sum: &mut Option<T>, more: Option<T>) {
    *sum = match (*sum, more) {
        (Some(sum), Some(more)) => Some(sum + more),
        (sum, more) => sum.or(more),
    };
}

fn of_slots<T: fmt::Display>(
    mut family: Family<'_>,
    slots: &BTreeMap<u32, Slot>,
    value: impl Fn(&Slot) -> Option<T>,
) {
    for (slot, figures) in slots {
        if let Some(value) = value(figures) {
            family.sample(&[("slot", slot)], value);
        }
    }
}

fn write_connections(out: &mut Exposition, Snapshot { status, handoff, .. }: &Snapshot<'_>) {
    let help = "From the master's accept of a connection to the worker's word that it has accepted it.";
    out.family(Kind::Histogram, "pointsman_handoff_seconds", help).histogram(handoff);
    let counters = &status.counters;
    for (name, help, count) in [
        ("pointsman_handoffs_refused", "Hand-overs that a worker has refused.", counters.refused),
        (
            "pointsman_handoffs_replaced",
            "Connections that went on to another worker after a death.",
            counters.replaced,
        ),
        ("pointsman_connections_lost", "Connections that were closed though a client waited.", counters.lost),
        (
            "pointsman_connections_rejected",
            "Connections that were turned away in an overload.",
            counters.rejected,
        ),
    ] {
        out.family(Kind::Counter, name, help).sample(&[], count);
    }
}

fn write_listeners(out: &mut Exposition, status: &Status) {
    // A socket that was inherited twice is two of the same name.
    let mut listeners = BTreeMap::<&str, (u64, Option<u32>, Option<u32>)>::new();
    for listener in &status.listeners {
        let (accepted, waiting, backlog) = listeners.entry(&listener.address).or_default();
        *accepted += listener.accepted;
        *waiting = (*waiting).max(listener.waiting);
        *backlog = (*backlog).max(listener.backlog);
    }
    let help = "Connections that were taken from a listening socket for workers.";
    let mut accepted = out.family(Kind::Counter, "pointsman_connections_accepted", help);
    for (address, (count, ..)) in &listeners {
        accepted.sample(&[("listener", address)], count);
    }
    let help = "Connections that wait in the kernel to be accepted.";
    let mut waiting = out.family(Kind::Gauge, "pointsman_listener_waiting_connections", help);
    for (address, count) in
        listeners.iter().filter_map(|(address, (_, waiting, _))| Some((address, (*waiting)?)))
    {
        waiting.sample(&[("listener", address)], count);
    }
    let help = "How many the kernel lets wait.";
    let mut backlog = out.family(Kind::Gauge, "pointsman_listener_backlog", help);
    for (address, count) in
        listeners.iter().filter_map(|(address, (.., backlog))| Some((address, (*backlog)?)))
    {
        backlog.sample(&[("listener", address)], count);
    }
}

/// By the names that Prometheus' own clients use.
fn write_process(out: &mut Exposition, Snapshot { status, process, .. }: &Snapshot<'_>) {
    let help = "Processor time that the master has used.";
    let cpu = Duration::from_millis(status.cpu_ms);
    out.family(Kind::Counter, "process_cpu_seconds", help).sample(&[], Seconds(cpu));
    let help = "Memory that the master uses.";
    out.family(Kind::Gauge, "process_resident_memory_bytes", help).sample(&[], status.rss);
    let Some(process) = process else { return };
    for (name, help, value) in [
        ("process_virtual_memory_bytes", "Addresses that the master has.", process.virtual_bytes),
        ("process_open_fds", "Descriptors that the master has open.", process.open_descriptors),
        ("process_max_fds", "How many it may have open.", process.max_descriptors),
    ] {
        out.family(Kind::Gauge, name, help).sample(&[], value);
    }
    let help = "When the master was started, since 1970.";
    out.family(Kind::Gauge, "process_start_time_seconds", help).sample(&[], Seconds(process.started));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::{figures::UpstreamFigures, record::Reason};

    fn status() -> Status {
        let worker = |id: u32, slot: u32, state: &str, rss: Option<u64>| {
            format!(
                r#"{{"id":{id},"slot":{slot},"pid":1,"generation":1,"state":"{state}","since_ms":1,"uptime_ms":1,"restarts":0,
                "last_exit":null,"connections":{id},"in_flight":0,"handed":0,"load_source":"none",
                "cpu_ms":{},"rss":{}}}"#,
                rss.map_or("null".to_owned(), |rss| rss.to_string()),
                rss.map_or("null".to_owned(), |rss| rss.to_string()),
            )
        };
        let workers = [
            worker(1, 0, "draining", Some(1000)),
            worker(3, 0, "ready", Some(500)),
            worker(2, 1, "ready", None),
            worker(4, 7, "starting", Some(1)),
        ]
        .join(",");
        let listener = |address: &str, waiting: &str| {
            format!(
                r#"{{"address":"{address}","backlog":{waiting},"waiting":{waiting},"accepted":5,"workers":1}}"#
            )
        };
        let listeners =
            [listener("127.0.0.1:80", "3"), listener("unix:/a", "null"), listener("127.0.0.1:80", "3")]
                .join(",");
        let text = format!(
            r#"{{"version":"1.2","pid":1,"name":null,"started":"","uptime_ms":1,"mode":"handoff","policy":"rr","program":"p",
            "state":"running","generation":1,"wanted":5,"ready":1,"cpu_ms":1,"rss":1,"listeners":[{listeners}],
            "counters":{{"accepted":15,"handed":9,"refused":1,"replaced":2,"lost":3,"waits":4,"rejected":5}},
            "workers":[{workers}],"vacant":[
            {{"slot":2,"state":"errored","restarts":9,"last_exit":null,"start_in_ms":null}},
            {{"slot":3,"state":"waiting","restarts":9,"last_exit":null,"start_in_ms":5}}]}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn written(format: Format) -> String {
        let mut handoff = Latency::default();
        handoff.observe(Duration::from_micros(80));
        let mut of_slot =
            UpstreamFigures { name: "slot:0".into(), in_flight: 2, ..UpstreamFigures::default() };
        of_slot.codes = BTreeMap::from([(200, 7), (0, 1)]);
        let gone = ["slot:9", "10.0.0.1:80"];
        let gone = gone.map(|name| UpstreamFigures { name: name.into(), ..of_slot.clone() });
        let mut forwarded = Figures::default();
        forwarded.upstreams = [of_slot].into_iter().chain(gone).collect();
        forwarded.own = BTreeMap::from([(503, 4)]);
        forwarded.reasons = BTreeMap::from([(Reason::NoUpstream, 4)]);
        forwarded.sent = 99;
        let snapshot = Snapshot {
            status: &status(),
            forwarded: Some(&forwarded),
            restarts: &[(0, "crash", 2), (0, "exit", 1), (9, "crash", 4)],
            handed: &[(0, 6), (1, 3), (9, 4)],
            reloads: &[("success", 1), ("failure", 0)],
            last_reload_successful: true,
            handoff: &handoff,
            process: Some(Process {
                virtual_bytes: 2,
                open_descriptors: 3,
                max_descriptors: 4,
                started: Duration::from_millis(1_700_000_000_500),
            }),
        };
        write(format, &snapshot)
    }

    #[test]
    fn every_series_has_its_value() {
        let text = written(Format::Text);
        for line in [
            "pointsman_build_info{version=\"1.2\"} 1",
            "pointsman_workers{state=\"starting\"} 1",
            "pointsman_workers{state=\"ready\"} 2",
            "pointsman_workers{state=\"draining\"} 1",
            "pointsman_workers{state=\"waiting\"} 1",
            "pointsman_workers{state=\"errored\"} 1",
            "pointsman_workers_wanted 5",
            "pointsman_worker_restarts_total{slot=\"0\",reason=\"crash\"} 2",
            "pointsman_worker_connections{slot=\"0\"} 4",
            "pointsman_worker_connections{slot=\"2\"} 0",
            "pointsman_worker_resident_memory_bytes{slot=\"0\"} 1500",
            "pointsman_worker_cpu_seconds_total{slot=\"0\"} 0.5",
            "pointsman_connections_handed_total{slot=\"1\"} 3",
            "pointsman_handoff_seconds_bucket{le=\"0.00005\"} 0",
            "pointsman_handoff_seconds_bucket{le=\"0.0001\"} 1",
            "pointsman_handoff_seconds_count 1",
            "pointsman_handoffs_refused_total 1",
            "pointsman_handoffs_replaced_total 2",
            "pointsman_connections_lost_total 3",
            "pointsman_connections_rejected_total 5",
            "pointsman_connections_accepted_total{listener=\"127.0.0.1:80\"} 10",
            "pointsman_connections_accepted_total{listener=\"unix:/a\"} 5",
            "pointsman_listener_waiting_connections{listener=\"127.0.0.1:80\"} 3",
            "pointsman_listener_backlog{listener=\"127.0.0.1:80\"} 3",
            "pointsman_reloads_total{result=\"success\"} 1",
            "pointsman_config_last_reload_successful 1",
            "process_cpu_seconds_total 0.001",
            "pointsman_requests_total{code=\"200\",slot=\"0\"} 7",
            "pointsman_requests_total{code=\"0\",slot=\"0\"} 1",
            "pointsman_requests_total{code=\"503\"} 4",
            "pointsman_requests_ended_total{reason=\"no-upstream\"} 4",
            "pointsman_request_duration_seconds_count 0",
            "pointsman_upstream_in_flight{slot=\"0\"} 2",
            "pointsman_response_body_bytes_total 99",
            "pointsman_lanes{state=\"ready\"} 0",
            "process_max_fds 4",
            "process_start_time_seconds 1700000000.5",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in\n{text}");
        }
        for absent in ["slot=\"9\"", "10.0.0.1", "memory_bytes{slot=\"1\"}", "connections{listener=\"unix"] {
            assert!(!text.contains(absent), "{absent} in\n{text}");
        }
    }

    #[test]
    fn no_series_is_there_twice_and_both_formats_have_the_same() {
        let series = |format| {
            let text = written(format);
            let samples: Vec<_> =
                text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
            let mut names: Vec<_> = samples.iter().map(|line| line.rsplit_once(' ').unwrap().0).collect();
            names.sort_unstable();
            let all = names.len();
            names.dedup();
            assert_eq!(names.len(), all, "{text}");
            samples
        };
        assert_eq!(series(Format::Text), series(Format::OpenMetrics));
    }
}
