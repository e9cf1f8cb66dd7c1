//! What a master tells of the requests that its lanes have forwarded, when it is known what they were.

use std::collections::BTreeMap;

use crate::{
    admin::admin,
    harness::{Client, Master, Node, Pointsman, Upstream, eventually, free_port},
    metrics::{Format, Metrics},
};

/// A series by its name and labels, and what it is to be.
type Sample<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

/// Reads them until they are as expected, since lanes tell once a second.
#[track_caller]
fn wait(master: &Master, format: Format, expected: &[Sample<'_>]) -> Metrics {
    let place = admin(master);
    let mut last = None;
    eventually("the figures are right", || {
        let metrics = Metrics::read(&place, format);
        let wrong: Vec<_> = expected
            .iter()
            .filter_map(|(name, labels, value)| {
                let found = metrics.of(name, labels);
                (found != Some(*value)).then(|| format!("{name} {labels:?} is {found:?}, not {value}"))
            })
            .collect();
        if !wrong.is_empty() && last.as_ref() != Some(&wrong) {
            eprintln!("{wrong:#?}");
        }
        let is_right = wrong.is_empty();
        last = Some(wrong);
        is_right
    });
    Metrics::read(&place, format)
}

#[test]
fn requests_are_counted_by_code_and_by_who_answered() {
    let run = Pointsman::multiport().workers(2).option("--admin", "0").option("--lanes", "2");
    let run = run.option("--trusted-proxies", "loopback");
    let master = run.node(Node::DEFAULT, "plain.js").start();
    master.wait_log("all 2 workers listen");
    let mut slots = BTreeMap::from([("0", 0.0), ("1", 0.0)]);
    let mut client = master.connect();
    for _ in 0..30 {
        let answer = client.get("/").unwrap();
        let slot = answer.json()["slot"].as_str().unwrap().to_owned();
        *slots.get_mut(&*slot).unwrap() += 1.0;
    }
    for _ in 0..7 {
        assert_eq!(master.connect().ask("GET / HTTP/1.1\r\n\r\n").unwrap().status, 400);
    }
    for format in Format::ALL {
        let metrics = wait(
            &master,
            format,
            &[
                ("pointsman_requests_total", &[("code", "200"), ("slot", "0")], slots["0"]),
                ("pointsman_requests_total", &[("code", "200"), ("slot", "1")], slots["1"]),
                ("pointsman_requests_total", &[("code", "400")], 7.0),
                ("pointsman_requests_ended_total", &[("reason", "done")], 30.0),
                ("pointsman_requests_ended_total", &[("reason", "bad-request")], 7.0),
                ("pointsman_request_duration_seconds_count", &[], 37.0),
                ("pointsman_request_duration_seconds_bucket", &[("le", "+Inf")], 37.0),
                ("pointsman_client_connections_accepted_total", &[], 8.0),
                ("pointsman_client_connections", &[], 1.0),
                ("pointsman_requests_in_flight", &[], 0.0),
                ("pointsman_lanes", &[("state", "ready")], 2.0),
            ],
        );
        let (opened, reused) = (
            metrics.sum("pointsman_upstream_connections_opened_total"),
            metrics.sum("pointsman_upstream_connections_reused_total"),
        );
        assert_eq!(opened + reused, 30.0, "each was sent once");
        let (sum, count) = (metrics.sum("pointsman_request_duration_seconds_sum"), 37.0);
        assert!(sum > 0.0 && sum / count < 1.0, "{sum}");
    }
    // What only grows is not forgotten with the lanes that have counted it.
    drop(client);
    let mut control = master.control();
    control.done(&serde_json::json!({ "verb": "reload", "wait": true }));
    let expected: [Sample<'_>; 3] = [
        ("pointsman_requests_total", &[("code", "200"), ("slot", "0")], slots["0"]),
        ("pointsman_requests_total", &[("code", "400")], 7.0),
        ("pointsman_client_connections", &[], 0.0),
    ];
    wait(&master, Format::Text, &expected);
    drop(control);
    master.finish();
}

#[test]
fn failures_retries_and_ejections_are_counted() {
    let closing = Upstream::start(|served| {
        served.request()?;
        served.reset()
    });
    let well = Upstream::saying("well");
    let nobody = format!("127.0.0.1:{}", free_port());
    let list = [closing.address().to_string(), well.address().to_string(), format!("{nobody} backup")];
    let run = Pointsman::before_addresses(&list).option("--eject-after", "4").option("--eject-time", "1m");
    let master = run.option("--admin", "0").start();
    let mut client = master.connect();
    for _ in 0..20 {
        assert_eq!(client.get("/").unwrap().text(), "well");
    }
    let (closing, well) = (closing.address().to_string(), well.address().to_string());
    wait(
        &master,
        Format::Text,
        &[
            ("pointsman_requests_total", &[("code", "200"), ("upstream", &well)], 20.0),
            ("pointsman_request_retries_total", &[], 4.0),
            ("pointsman_upstream_ejections_total", &[("upstream", &closing)], 1.0),
            ("pointsman_upstream_ejections_total", &[("upstream", &well)], 0.0),
            ("pointsman_upstream_ejected_lanes", &[("upstream", &closing)], 1.0),
            ("pointsman_upstream_ejected_lanes", &[("upstream", &well)], 0.0),
            ("pointsman_upstream_idle_connections", &[], 1.0),
            ("pointsman_requests_ended_total", &[("reason", "done")], 20.0),
        ],
    );
    drop(client);
    master.finish();
}

#[test]
fn what_is_going_on_is_told_too_and_bytes_are() {
    let upstream = Upstream::start(|served| {
        let request = served.request()?;
        if request.line().contains("/waits") {
            return served.wait_end();
        }
        served.answer(&"x".repeat(5000))
    });
    let name = upstream.address().to_string();
    let run = Pointsman::before(&[&upstream]).option("--admin", "0").option("--max-in-flight", "2");
    let master = run.start();
    assert_eq!(master.connect().post("/", &[b'x'; 3000]).unwrap().status, 200);
    let mut clients: Vec<Client> = (0..5).map(|_| master.connect()).collect();
    clients.iter_mut().for_each(|client| client.send_get("/waits").unwrap());
    wait(
        &master,
        Format::OpenMetrics,
        &[
            ("pointsman_requests_in_flight", &[], 5.0),
            ("pointsman_requests_queued", &[], 3.0),
            ("pointsman_upstream_in_flight", &[("upstream", &name)], 2.0),
            ("pointsman_client_connections", &[], 5.0),
            ("pointsman_request_body_bytes_total", &[], 3000.0),
            ("pointsman_response_body_bytes_total", &[], 5000.0),
        ],
    );
    drop(clients);
    wait(
        &master,
        Format::Text,
        &[
            ("pointsman_requests_in_flight", &[], 0.0),
            ("pointsman_requests_queued", &[], 0.0),
            ("pointsman_upstream_in_flight", &[("upstream", &name)], 0.0),
            ("pointsman_requests_ended_total", &[("reason", "client-gone")], 5.0),
        ],
    );
    master.finish();
}
