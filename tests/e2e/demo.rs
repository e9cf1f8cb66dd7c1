//! The built-in demo: what a newcomer sees first.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, thread, time::Duration};

use crate::harness::{Client, Master, NOBODY, Pointsman, eventually, is_root, now};

#[test]
fn without_a_program_it_says_where_it_listens_what_to_type_and_how_to_stop() {
    let mut master = Pointsman::run().on_a_terminal().start();
    let address = master.address();
    master.wait_ready(thread::available_parallelism().unwrap().get());
    let log = master.log().lines().join("\n");
    for text in [format!("behind http://{address}"), format!("curl http://{address}/"), "Ctrl-C".to_owned()] {
        assert!(log.contains(&text), "{text:?} is not in {log}");
    }
    master.finish();
}

#[test]
fn it_listens_on_port_8000_of_this_machine_unless_told_otherwise() {
    // Nothing else may have the port: the test speaks of what is printed for a run that never starts.
    let output = Pointsman::run().listen_by_default().flag("-t").output();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("127.0.0.1:8000"), "{text}");
}

#[test]
fn it_tells_which_worker_answers() {
    let mut master = Pointsman::run().workers(3).start();
    let answers = master.wait_ready(3);
    let of = |name: &str| answers.values().map(|answer| answer.number(name)).collect::<BTreeSet<_>>();
    assert_eq!(of("worker"), BTreeSet::from([1, 2, 3]));
    assert_eq!(of("slot"), BTreeSet::from([0, 1, 2]));
    assert_eq!(of("pid"), master.workers().iter().map(|worker| worker.pid()).collect());
    master.finish();
}

#[test]
fn slow_answers_after_the_time_asked_for() {
    let mut master = Pointsman::run().workers(1).start();
    master.wait_ready(1);
    let start = now();
    assert_eq!(master.get("/slow?ms=300").status, 200);
    assert!(start.elapsed() >= Duration::from_millis(300));

    let start = now();
    let mut clients: Vec<_> = (0..8).map(|_| master.connect()).collect();
    clients.iter_mut().for_each(|client| client.send_get("/slow?ms=500").unwrap());
    assert!(clients.iter_mut().all(|client| client.receive().unwrap().status == 200));
    assert!(start.elapsed() < Duration::from_secs(3), "they wait side by side");
    drop(clients);
    master.finish();
}

#[test]
fn bytes_and_echo_carry_what_they_should() {
    let mut master = Pointsman::run().workers(2).start();
    master.wait_ready(2);
    let mut client = master.connect();
    for size in [0, 1, 1000, 1_000_000] {
        let answer = client.get(&format!("/bytes?n={size}")).unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, size));
        let body: Vec<u8> = (0..size).map(|place| (place % 251).to_le_bytes()[0]).collect();
        let answer = client.post("/echo", &body).unwrap();
        assert!(answer.status == 200 && answer.body == body, "an echo of {size} bytes");
    }
    assert_eq!(client.get("/nosuch").unwrap().status, 404);
    assert_eq!(client.get("/echo").unwrap().status, 405);
    drop(client);
    master.finish();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut master = Pointsman::run().workers(2).start();
    master.wait_ready(2);
    let mut client = master.connect();
    let pid = client.get("/").unwrap().pid();
    let mut requests = String::new();
    for number in 0..50 {
        let wait = if number == 0 { "GET /slow?ms=100 HTTP/1.1\r\nHost: test\r\n\r\n" } else { "" };
        let token = format!("token-{number}");
        let length = token.len();
        requests += wait;
        requests += &format!("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{token}");
        requests += "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
    }
    client.send_raw(requests.as_bytes()).unwrap();
    assert_eq!(client.receive().unwrap().status, 200);
    for number in 0..50 {
        assert_eq!(client.receive().unwrap().text(), format!("token-{number}"));
        assert_eq!(client.receive().unwrap().pid(), pid);
    }
    drop(client);
    master.finish();
}

#[test]
fn what_is_not_http_is_refused_and_the_connection_closed() {
    let mut master = Pointsman::run().workers(1).start();
    master.wait_ready(1);
    for (bytes, status) in [
        ("hello?\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nBad Header: x\r\n\r\n", 400),
        ("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    ] {
        let mut client = master.connect();
        client.send_raw(bytes.as_bytes()).unwrap();
        assert_eq!(client.receive().unwrap().status, status, "{bytes:?}");
        assert!(client.is_closed_by_server());
    }
    assert_eq!(master.get("/").status, 200);
    master.finish();
}

#[test]
fn many_clients_at_once_get_each_their_own_answer() {
    let mut master = Pointsman::run().workers(3).start();
    master.wait_ready(3);
    let address = master.address();
    let open =
        |master: &Master| -> usize { master.workers().iter().map(|worker| worker.descriptors().len()).sum() };
    let before = open(&master);
    let talk = |name: usize| {
        for connection in 0..25 {
            let mut client = Client::connect(address).unwrap();
            for request in 0..4 {
                let token = format!("{name}-{connection}-{request}");
                assert_eq!(client.post("/echo", token.as_bytes()).unwrap().text(), token);
            }
        }
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|name| scope.spawn(move || talk(name))).collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
    eventually("the workers have closed every connection", || open(&master) <= before);
    master.finish();
}

#[test]
fn an_ordinary_user_runs_it_from_a_directory_that_he_cannot_write() {
    if !is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let binary = directory.path().join("pointsman");
    fs::copy(env!("CARGO_BIN_EXE_pointsman"), &binary).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o555)).unwrap();
    // A write to any file ends it, wherever that file is.
    let run = Pointsman::run().binary(&binary).directory(directory.path()).user(NOBODY).after("ulimit -f 0");
    let mut master = run.env("HOME", "/nonexistent").workers(2).start();
    master.wait_ready(2);
    assert!(master.workers().iter().all(|worker| worker.status("Uid").starts_with(&NOBODY.to_string())));
    master.finish();
}
