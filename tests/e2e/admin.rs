//! The admin address: health, metrics and status, for tools that ask by HTTP.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf, time::Duration};

use nix::sys::signal::Signal;

use crate::{
    harness::{Master, Node, Place, Pointsman, Process, Response, eventually, free_port, now},
    metrics::{Format, Metrics},
};

/// With an admin address of the system's choice.
fn run() -> Pointsman {
    Pointsman::run().option("--admin", "0")
}

/// Where it tells how it is, as its log says.
pub(crate) fn admin(master: &Master) -> Place {
    let line = master.wait_log("admin on ");
    let place = line.rsplit_once("admin on ").unwrap().1;
    match place.strip_prefix("unix:") {
        Some(path) => Place::Unix(path.into()),
        None => Place::Tcp(place.trim_start_matches("http://").parse().unwrap()),
    }
}

fn get(master: &Master, path: &str) -> Response {
    admin(master).connect().unwrap().get(path).unwrap()
}

/// What is answered to these bytes, and whether the connection is over then.
fn say(place: &Place, bytes: &[u8]) -> (Response, bool) {
    let mut client = place.connect().unwrap();
    client.send_raw(bytes).unwrap();
    let response = client.receive().unwrap();
    let closes = response.headers.get("connection").is_some_and(|value| value == "close");
    if closes {
        assert!(client.is_closed_by_server());
    }
    (response, closes)
}

#[test]
fn every_path_answers_and_nothing_else_does() {
    let mut master = run().workers(2).node(Node::DEFAULT, "plain.js").start();
    master.wait_ready(2);
    let mut client = admin(&master).connect().unwrap();
    for (path, kind) in [
        ("/livez", "text/plain; charset=utf-8"),
        ("/readyz", "text/plain; charset=utf-8"),
        ("/healthz", "text/plain; charset=utf-8"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/status", "application/json"),
    ] {
        let answer = client.get(path).unwrap();
        assert_eq!((answer.status, &*answer.headers["content-type"]), (200, kind), "{path}");
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert!(answer.headers["date"].ends_with(" GMT") && !answer.headers.contains_key("connection"));
    }
    assert_eq!(client.get("/livez?verbose").unwrap().text(), "[+]loop ok\nlivez check passed\n");
    let ready = "[+]running ok\n[+]depends ok\n[+]workers ok\nreadyz check passed\n";
    assert_eq!(client.get("/readyz?verbose").unwrap().text(), ready);
    let status = client.get("/status").unwrap().json();
    assert_eq!(
        (&status["state"], &status["ready"], &status["pid"]),
        (&"running".into(), &2.into(), &master.pid().into())
    );
    assert_eq!(client.get("/").unwrap().status, 404);
    drop(client);

    let place = admin(&master);
    let request = |line: &str| say(&place, format!("{line}\r\nHost: a\r\n\r\n").as_bytes());
    let (answer, closes) = request("POST /metrics HTTP/1.1");
    assert_eq!((answer.status, &*answer.headers["allow"], closes), (405, "GET, HEAD", false));
    assert!(request("GET /livez HTTP/1.0").1);
    let (answer, closes) = say(&place, b"GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!((&*answer.headers["connection"], closes), ("keep-alive", false));

    // Several at once, one of them without its body.
    let mut client = place.connect().unwrap();
    let all = "HEAD /status HTTP/1.1\r\nHost: a\r\n\r\nGET /readyz HTTP/1.1\r\nHost: a\r\n\r\n".repeat(40);
    client.send_raw(all.as_bytes()).unwrap();
    for _ in 0..40 {
        let head = client.receive_head().unwrap();
        assert!(head.status == 200 && head.headers["content-length"].parse::<usize>().unwrap() > 500);
        assert_eq!(client.receive().unwrap().text(), "ok\n");
    }
    drop(client);
    master.finish();
}

#[test]
fn it_is_ready_when_a_worker_is_and_not_when_it_stops() {
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    let run = run().workers(1).env("MOOD", "late").env("GATE", &gate).option("--ready-on", "message");
    let mut master = run.node(Node::DEFAULT, "moods.js").start();
    let answer = get(&master, "/readyz");
    assert_eq!(answer.status, 503);
    assert!(
        answer.text().contains("[-]workers failed: none of 1 is ready\nreadyz check failed\n"),
        "{}",
        answer.text()
    );
    assert_eq!((get(&master, "/livez").status, get(&master, "/healthz").status), (200, 503));
    fs::write(&gate, "").unwrap();
    eventually("it is ready", || get(&master, "/readyz").status == 200);
    master.wait_ready(1);

    master.signal(Signal::SIGWINCH);
    eventually("it is not", || get(&master, "/readyz").text().contains("[-]workers failed: none is wanted"));
    master.signal(Signal::SIGTTIN);
    eventually("it is again", || get(&master, "/readyz").status == 200);
    master.finish();
}

#[test]
fn it_is_not_ready_while_it_waits_nor_while_a_worker_takes_long_to_leave() {
    let port = free_port();
    let depends = format!("127.0.0.1:{port}");
    let mut master = run().workers(1).option("--depends", &depends).node(Node::DEFAULT, "plain.js").start();
    eventually("what it waits for is told", || {
        get(&master, "/readyz").text().contains(&format!("[-]depends failed: it waits for {depends}\n"))
    });
    let database = std::net::TcpListener::bind(&depends).unwrap();
    eventually("it is ready", || get(&master, "/readyz").status == 200);
    drop(database);

    let mut slow = master.connect();
    slow.send_get("/slow?ms=2000").unwrap();
    let handed = || Metrics::read(&admin(&master), Format::Text).sum("pointsman_connections_handed_total");
    eventually("the worker has it", || handed() > 0.0);
    master.signal(Signal::SIGTERM);
    eventually("it stops", || {
        let answer = get(&master, "/readyz");
        let text = "[-]running failed: it stops, and 1 workers are left\n";
        answer.status == 503 && answer.text().contains(text)
    });
    assert_eq!(get(&master, "/livez").status, 200);
    assert_eq!(get(&master, "/status").json()["state"], "stopping");
    assert_eq!(slow.receive().unwrap().status, 200);
    assert_eq!(master.wait_exit().code(), Some(0));
    master.finish();
}

#[test]
fn what_is_no_request_is_refused_and_ends_the_connection() {
    let mut master = run().workers(1).start();
    master.wait_ready(1);
    let place = admin(&master);
    let long = "a".repeat(20_000);
    for (bytes, status) in [
        ("GET /livez HTTP/1.1\r\n\r\n".into(), 400),
        ("GET /livez HTTP/1.1\nHost: a\n\n".into(), 400),
        ("GET /livez\r\n\r\n".into(), 400),
        ("GET /livez HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".into(), 400),
        (
            "GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
                .into(),
            400,
        ),
        ("GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".into(), 413),
        ("POST /livez HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), 413),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        (format!("GET /livez HTTP/1.1\r\nHost: a\r\nA: {long}\r\n\r\n"), 431),
        ("GET /livez HTTP/2.0\r\nHost: a\r\n\r\n".into(), 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 505),
    ] {
        let (answer, closes) = say(&place, bytes.as_bytes());
        assert_eq!((answer.status, closes), (status, true), "{bytes:.60}");
        assert!(answer.headers["date"].ends_with(" GMT"));
    }
    // Half a request and an end, an end alone, and nothing but empty lines.
    for bytes in ["GET /livez HT", "", &"\r\n".repeat(50_000)] {
        let mut client = place.connect().unwrap();
        client.send_raw(bytes.as_bytes()).unwrap();
        client.finish_sending();
        assert!(client.is_closed_by_server(), "{bytes:.20}");
    }
    master.finish();
}

#[test]
fn clients_that_stall_keep_nobody_out_and_are_let_go() {
    let mut master = run().workers(1).start();
    master.wait_ready(1);
    let place = admin(&master);
    let stalled: Vec<_> = (0..100)
        .map(|number| {
            let mut client = place.connect().unwrap();
            client.send_raw(if number % 2 == 0 { b"GET /livez HT" } else { b"" }).unwrap();
            client
        })
        .collect();
    eventually("no more than 64 are kept", || master.connections() == 64);
    for _ in 0..10 {
        assert_eq!(get(&master, "/livez").status, 200);
    }
    let before = now();
    let last = stalled.into_iter().next_back().unwrap();
    drop(master.connect());
    let mut last = last;
    assert!(last.is_closed_by_server());
    assert!(before.elapsed() < Duration::from_secs(20), "{:?}", before.elapsed());
    // Nobody is connected any more, so nothing is waited for.
    let cpu = master.process().cpu_time();
    assert!(cpu < Duration::from_secs(5), "{cpu:?}");
    master.finish();
}

#[test]
fn who_does_not_take_its_answers_gets_no_more_of_them() {
    let mut master = run().workers(1).start();
    master.wait_ready(1);
    let place = admin(&master);
    let mut greedy = place.connect().unwrap();
    let ask = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    greedy.send_some(ask.repeat(50).as_bytes());
    let memory = || master.process().status("VmRSS");
    let before = memory();
    for _ in 0..20 {
        assert_eq!(get(&master, "/livez").status, 200);
    }
    assert_eq!(greedy.receive().unwrap().status, 200);
    let kib = |text: &str| text.split(' ').next().unwrap().parse::<u64>().unwrap();
    assert!(kib(&memory()) < kib(&before) + 4096, "{before} became {}", memory());
    drop(greedy);
    master.finish();
}

#[test]
fn without_a_descriptor_for_them_clients_wait_and_the_master_rests() {
    let run = run().workers(1).after("ulimit -n 40").expect_log("(admin): Too many open files");
    let mut master = run.start();
    master.wait_ready(1);
    let place = admin(&master);
    let clients: Vec<_> = (0..40).map(|_| place.connect().unwrap()).collect();
    master.wait_log("(admin): Too many open files");
    let before = master.process().cpu_time();
    // Until the first of them are let go.
    let mut late = place.connect().unwrap();
    assert_eq!(late.get("/livez").unwrap().status, 200);
    let used = master.process().cpu_time().saturating_sub(before);
    assert!(used < Duration::from_secs(1), "{used:?}");
    drop((clients, late));
    master.finish();
}

#[test]
fn a_unix_socket_is_its_owners_alone_unless_said_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    for (options, mode) in [("", 0o600), (" mode=666", 0o666)] {
        let path = directory.path().join("admin.sock");
        let run = Pointsman::run().workers(1).option("--admin", format!("unix:{}{options}", path.display()));
        let mut master = run.after("umask 0").start();
        master.wait_ready(1);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, mode);
        assert_eq!(get(&master, "/readyz").text(), "ok\n");
        master.finish();
        assert!(!path.exists());
    }
}

#[test]
fn an_address_that_cannot_be_had_is_told_as_that_of_admin() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    for (admin, code, expected) in [
        (taken, 71, "the address is in use"),
        ("192.0.2.1:9090".to_owned(), 78, "this machine has no such address"),
        ("unix:/no/such/admin.sock".to_owned(), 78, "there is no such directory"),
        (file.display().to_string(), 78, "a file that is no socket"),
        (format!("{}/admin.sock", file.display()), 78, "there is no such directory"),
        ("localhost".to_owned(), 2, "the address has no port"),
    ] {
        let output = Pointsman::run().workers(1).option("--admin", &*admin).output();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{admin}: {log}");
        assert!(log.contains("admin") && log.contains(expected), "{admin}: {log}");
    }
    let run = Pointsman::run().workers(1).env("POINTSMAN_ADMIN", "unix:/no/such/admin.sock");
    let log = String::from_utf8(run.output().stderr).unwrap();
    assert!(log.contains("the address comes from POINTSMAN_ADMIN; --admin wins over it"), "{log}");
}

#[test]
fn counters_are_what_has_happened() {
    let mut master = run().workers(2).node(Node::DEFAULT, "plain.js").start();
    master.wait_ready(2);
    let place = admin(&master);
    let before = Metrics::read(&place, Format::Text);
    let mut clients: Vec<_> = (0..20).map(|_| master.connect()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").unwrap().status, 200));
    for format in Format::ALL {
        let after = Metrics::read(&place, format);
        let grown = |name: &str| after.sum(name) - before.sum(name);
        assert_eq!(grown("pointsman_connections_accepted_total"), 20.0, "{format:?}");
        assert_eq!(grown("pointsman_connections_handed_total"), 20.0);
        assert_eq!(grown("pointsman_handoff_seconds_count"), 20.0);
        assert_eq!(
            after.sum("pointsman_handoff_seconds_count"),
            after.sum("pointsman_connections_handed_total")
        );
        assert_eq!(after.of("pointsman_workers", &[("state", "ready")]), Some(2.0));
        assert_eq!(after.sum("pointsman_workers_wanted"), 2.0);
        let listener = [("listener", &*master.address().to_string())];
        assert_eq!(after.of("pointsman_listener_backlog", &listener), Some(511.0));
        assert_eq!(after.of("pointsman_listener_waiting_connections", &listener), Some(0.0));
        assert!(after.sum("pointsman_worker_resident_memory_bytes") > 20e6);
        assert!(after.sum("pointsman_worker_cpu_seconds_total") > 0.01);
        assert!(after.sum("process_open_fds") > 5.0 && after.sum("process_max_fds") > 100.0);
        let uptime = get(&master, "/status").json()["uptime_ms"].as_f64().unwrap() / 1000.0;
        let started = after.sum("process_start_time_seconds");
        let wall = f64::from(
            u32::try_from(nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME).unwrap().tv_sec())
                .unwrap(),
        );
        assert!((wall - uptime - started).abs() < 5.0, "{started}");
        let build = after.of("pointsman_build_info", &[("version", env!("CARGO_PKG_VERSION"))]);
        assert_eq!(build, Some(1.0));
    }
    eventually("open connections are counted", || {
        Metrics::read(&place, Format::Text).sum("pointsman_worker_connections") == 20.0
    });
    drop(clients);
    eventually("and so are their ends", || {
        Metrics::read(&place, Format::Text).sum("pointsman_worker_connections") == 0.0
    });
    master.finish();
}

#[test]
fn restarts_are_counted_by_why_and_a_slot_that_is_gone_has_no_series() {
    let run = run().workers(2).expect_log("was killed by SIGKILL").option("--restart-delay", "10ms");
    let mut master = run.node(Node::DEFAULT, "plain.js").start();
    let first = master.wait_ready(2).into_iter().find(|(_, answer)| answer.json()["slot"] == "1").unwrap().0;
    let read = || Metrics::read(&admin(&master), Format::OpenMetrics);
    let restarts = |slot: &str, reason: &str| {
        read().of("pointsman_worker_restarts_total", &[("slot", slot), ("reason", reason)])
    };
    assert_eq!(restarts("1", "crashed"), Some(0.0));
    Process::find(first).unwrap().signal(Signal::SIGKILL);
    eventually("its end is counted", || restarts("1", "crashed") == Some(1.0));
    assert_eq!((restarts("0", "crashed"), restarts("1", "exited")), (Some(0.0), Some(0.0)));
    eventually("both are ready", || read().of("pointsman_workers", &[("state", "ready")]) == Some(2.0));

    master.signal(Signal::SIGHUP);
    eventually("the reload is counted", || {
        read().of("pointsman_reloads_total", &[("result", "succeeded")]) == Some(1.0)
    });
    assert_eq!((restarts("0", "replaced"), restarts("1", "replaced")), (Some(1.0), Some(1.0)));
    assert_eq!(read().sum("pointsman_config_last_reload_successful"), 1.0);

    let of_slot = |slot: &str| {
        read()
            .samples
            .iter()
            .filter(|sample| sample.labels.get("slot").is_some_and(|other| other == slot))
            .count()
    };
    assert!(of_slot("1") > 4);
    master.signal(Signal::SIGTTOU);
    eventually("its series are gone", || of_slot("1") == 0);
    assert!(of_slot("0") > 4);
    // With a worker fewer it has less open than it had.
    master.signal(Signal::SIGTERM);
    assert_eq!(master.wait_exit().code(), Some(0));
    master.finish();
}

#[test]
fn a_configuration_that_is_refused_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("p.toml");
    fs::write(&file, "workers = 1\nadmin = 0").unwrap();
    let run = Pointsman::run().option("-c", &file).expect_log("reload refused");
    let mut master = run.node(Node::DEFAULT, "plain.js").start();
    master.wait_ready(1);
    let successful =
        || Metrics::read(&admin(&master), Format::Text).sum("pointsman_config_last_reload_successful");
    assert_eq!(successful(), 1.0);
    fs::write(&file, "worker = 1").unwrap();
    master.signal(Signal::SIGHUP);
    eventually("the refusal is told", || successful() == 0.0);
    fs::write(&file, "workers = 1\nadmin = 0").unwrap();
    master.signal(Signal::SIGHUP);
    eventually("the next one is good", || successful() == 1.0);
    master.finish();
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("conf/grafana.json");
    let dashboard: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let mut queries = Vec::new();
    let mut left = vec![&dashboard];
    while let Some(value) = left.pop() {
        if let Some(query) = value.get("expr").and_then(|expr| expr.as_str()) {
            queries.push(query.to_owned());
        }
        left.extend(value.as_object().into_iter().flat_map(|object| object.values()));
        left.extend(value.as_array().into_iter().flatten());
    }
    assert!(queries.len() >= 15, "{queries:?}");
    let mut master = run().workers(1).node(Node::DEFAULT, "plain.js").start();
    master.wait_ready(1);
    let metrics = Metrics::read(&admin(&master), Format::Text);
    for query in queries {
        let words = query.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let names: Vec<_> =
            words.filter(|word| word.starts_with("pointsman_") || word.starts_with("process_")).collect();
        assert!(!names.is_empty(), "{query}");
        for name in names {
            assert!(metrics.samples.iter().any(|sample| sample.name == name), "{name} in {query}");
        }
    }
    master.finish();
}

#[test]
fn nothing_of_it_is_there_unless_it_is_asked_for() {
    let mut master = Pointsman::run().workers(1).start();
    master.wait_ready(1);
    assert!(!master.log().has("admin"));
    let listening = master.process().descriptors().iter().filter(|kind| *kind == "listening socket").count();
    assert_eq!(listening, 1);
    master.finish();
}
