//! The families of metrics that are of forwarding: requests, lanes, and those that requests go to.
//!
//! What a worker has answered goes by its slot, what another server has by its address, and what lanes have answered by
//! themselves by neither. None of a slot or a server that is not there any more is left.

use std::collections::BTreeMap;

use super::Status;
use crate::{
    forward::figures::{Figures, UpstreamFigures},
    metrics::{Exposition, Kind},
};

/// How the samples of one upstream are labelled.
#[derive(Debug, Clone, Copy)]
struct Label<'a> {
    name: &'static str,
    value: &'a str,
}

/// Writes all of them.
pub(super) fn write(out: &mut Exposition, status: &Status, figures: &Figures) {
    let help = "Lanes by their state, and places without one (waiting, errored).";
    let mut lanes = out.family(Kind::Gauge, "pointsman_lanes", help);
    for state in ["starting", "ready", "draining", "waiting", "errored"] {
        lanes.sample(&[("state", &state)], status.lanes.iter().filter(|lane| lane.state == state).count());
    }
    let help = "How often the place of a lane was filled again after it had ended by itself.";
    let mut restarts = out.family(Kind::Counter, "pointsman_lane_restarts", help);
    // Of one, where there is another that leaves.
    let by_slot: BTreeMap<_, _> = status.lanes.iter().map(|lane| (lane.slot, lane.restarts)).collect();
    for (slot, count) in &by_slot {
        restarts.sample(&[("lane", slot)], count);
    }
    write_requests(out, status, figures);
    write_upstreams(out, status, figures);
    let now = &figures.now;
    for (name, help, count) in [
        ("pointsman_requests_in_flight", "Requests that are not over.", now.in_flight),
        ("pointsman_requests_queued", "Of those, the ones that wait for somebody with room.", now.queued),
        ("pointsman_client_connections", "Connections of clients that are open.", now.connections),
        ("pointsman_upstream_idle_connections", "Connections to upstreams that are kept.", now.idle),
    ] {
        out.family(Kind::Gauge, name, help).sample(&[], count);
    }
    for (name, help, count) in [
        ("pointsman_request_retries", "Times that a request was tried again.", figures.retries),
        ("pointsman_request_body_bytes", "Bytes of bodies that came from clients.", figures.received),
        ("pointsman_response_body_bytes", "Bytes of bodies that were passed on to them.", figures.sent),
        ("pointsman_client_connections_accepted", "Connections of clients.", figures.accepted),
        ("pointsman_upstream_connections_opened", "Connections to upstreams.", figures.opened),
        (
            "pointsman_upstream_connections_reused",
            "Requests on connections that were there already.",
            figures.reused,
        ),
        (
            "pointsman_access_log_lines_dropped",
            "Lines that could not be written to the access log.",
            figures.dropped_lines,
        ),
    ] {
        out.family(Kind::Counter, name, help).sample(&[], count);
    }
}

fn write_requests(out: &mut Exposition, status: &Status, figures: &Figures) {
    let help = "Requests that are over, by the code of the answer (0: there was none) and by who gave it.";
    let mut requests = out.family(Kind::Counter, "pointsman_requests", help);
    for (code, count) in &figures.own {
        requests.sample(&[("code", code)], count);
    }
    for (label, upstream) in known(status, figures) {
        for (code, count) in &upstream.codes {
            requests.sample(&[("code", code), (label.name, &label.value)], count);
        }
    }
    let help = "From the first byte of a request to the end of its answer.";
    out.family(Kind::Histogram, "pointsman_request_duration_seconds", help).histogram(&figures.durations);
    let help = "Requests that are over, by why they ended as they did.";
    let mut reasons = out.family(Kind::Counter, "pointsman_requests_ended", help);
    for (reason, count) in &figures.reasons {
        reasons.sample(&[("reason", &reason.word())], count);
    }
}

fn write_upstreams(out: &mut Exposition, status: &Status, figures: &Figures) {
    let known = known(status, figures);
    let help = "Requests that an upstream has now.";
    let mut in_flight = out.family(Kind::Gauge, "pointsman_upstream_in_flight", help);
    for (label, upstream) in &known {
        in_flight.sample(&[(label.name, &label.value)], upstream.in_flight);
    }
    let help = "Lanes in which an upstream gets no requests for a while, since it has failed.";
    let mut ejected = out.family(Kind::Gauge, "pointsman_upstream_ejected_lanes", help);
    for (label, upstream) in &known {
        ejected.sample(&[(label.name, &label.value)], upstream.ejected);
    }
    let help = "How often lanes have ceased to send requests to an upstream that has failed.";
    let mut ejections = out.family(Kind::Counter, "pointsman_upstream_ejections", help);
    for (label, upstream) in &known {
        ejections.sample(&[(label.name, &label.value)], upstream.ejections);
    }
}

/// The figures of those that are still there, each once.
fn known<'a>(status: &'a Status, figures: &'a Figures) -> Vec<(Label<'a>, &'a UpstreamFigures)> {
    let is_wanted = |slot: &str| {
        let slots = status.workers.iter().map(|worker| worker.slot);
        let slots = slots.chain(status.vacant.iter().map(|vacant| vacant.slot));
        slot.parse().is_ok_and(|slot: u32| slots.clone().any(|wanted| wanted == slot))
    };
    let is_there = |name: &str| status.upstreams.iter().any(|upstream| upstream.name == name);
    let labelled = figures.upstreams.iter().filter_map(|upstream| {
        let label = match upstream.name.strip_prefix("slot:") {
            Some(slot) => Label { name: "slot", value: Some(slot).filter(|slot| is_wanted(slot))? },
            None => Label { name: "upstream", value: Some(&*upstream.name).filter(|name| is_there(name))? },
        };
        Some((label, upstream))
    });
    labelled.collect()
}
