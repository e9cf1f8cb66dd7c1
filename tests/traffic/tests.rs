//! The clients before servers that do wrong.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use super::{Kept, KeptReport, Load, Plan, Report, exchange::Exchange, now};

/// What a server does with the request of this token, the how manieth on its connection. False ends the connection.
type Serve = fn(&mut TcpStream, &str, usize) -> bool;

/// Past this no answer will come.
const LIMIT: Duration = Duration::from_secs(20);

/// Serves one connection after the other while `client` runs.
fn with_server<T>(serve: Serve, client: impl FnOnce(SocketAddr) -> T) -> T {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for stream in listener.incoming() {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                scope.spawn(move || hold(stream.unwrap(), serve));
            }
        });
        let result = client(address);
        is_over.store(true, Ordering::Relaxed);
        TcpStream::connect(address).unwrap();
        result
    })
}

/// Clients send each request in one piece and wait for its answer.
fn hold(mut stream: TcpStream, serve: Serve) {
    let mut buffer = [0; 1024];
    for count in 1.. {
        let length = stream.read(&mut buffer).unwrap_or(0);
        let text = String::from_utf8_lossy(&buffer[..length]);
        let Some((_, rest)) = text.split_once("token=") else { return };
        let token = rest.split('&').next().unwrap().to_owned();
        if !serve(&mut stream, &token, count) {
            return;
        }
    }
}

fn answer(stream: &mut TcpStream, token: &str) -> bool {
    let body = format!("{{\"token\":\"{token}\",\"pid\":7}}");
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).is_ok()
}

/// Says this and ends the connection.
fn last(stream: &mut TcpStream, text: &str) -> bool {
    // A client that has gone needs no answer.
    let _ = stream.write_all(text.as_bytes());
    false
}

/// Answers, and closes as asked.
fn answer_once(stream: &mut TcpStream, token: &str, _: usize) -> bool {
    answer(stream, token);
    false
}

fn plan(address: SocketAddr) -> Plan {
    Plan { per_second: 500, in_flight: 4, delay_ms: 0, ..Plan::to(address) }
}

#[track_caller]
fn wait(mut is_done: impl FnMut() -> bool) {
    let begin = now();
    while !is_done() {
        assert!(begin.elapsed() < LIMIT, "nothing came of it");
        thread::park_timeout(Duration::from_millis(2));
    }
}

fn load(serve: Serve) -> Report {
    load_with(LIMIT, serve)
}

fn load_with(patience: Duration, serve: Serve) -> Report {
    with_server(serve, |address| {
        let load = Load::start(Plan { patience, ..plan(address) });
        wait(|| load.elapsed() > Duration::from_millis(300));
        load.stop()
    })
}

fn keep(serve: Serve) -> KeptReport {
    with_server(serve, |address| {
        let kept = Kept::start(plan(address));
        let begin = now();
        wait(|| begin.elapsed() > Duration::from_millis(300));
        kept.stop()
    })
}

#[track_caller]
fn all_failed(report: &Report, how: &str) -> Exchange {
    assert!(report.sent > 0 && report.answered == 0 && report.failed.len() == report.sent, "{report}");
    assert!(report.failed.iter().all(|exchange| exchange.to_string().contains(how)), "{report}");
    report.failed[0].clone()
}

#[test]
fn a_load_that_loses_nothing_and_keeps_its_pace() {
    let report = load(answer_once);
    assert!(report.failed.is_empty() && report.answered == report.sent, "{report}");
    let due = report.duration.as_secs_f64() * 500.0;
    #[allow(clippy::cast_precision_loss, reason = "some hundreds")]
    let sent = report.sent as f64;
    assert!(sent >= due * 0.5 && sent <= due + 1.0, "{due} were due: {report}");
    assert!((1..=4).contains(&report.peak), "{report}");
    assert!(report.longest_pause > Duration::ZERO && report.slowest > Duration::ZERO);
}

#[test]
fn who_answers_is_known_while_it_runs() {
    with_server(answer_once, |address| {
        let load = Load::start(plan(address));
        wait(|| load.answered() >= 20);
        let first = load.first_by_pid(Duration::ZERO);
        assert_eq!(first.keys().copied().collect::<Vec<_>>(), [7]);
        let middle = load.elapsed();
        assert!(first[&7] < middle);
        wait(|| load.first_by_pid(middle).get(&7).is_some_and(|&begun| begun >= middle));
    });
}

#[test]
fn each_way_to_fail_is_told_from_the_others() {
    const REFUSE: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    all_failed(
        &load(|stream, token, _| {
            answer(stream, token);
            answer(stream, token);
            false
        }),
        "more than once",
    );
    all_failed(&load(|stream, _, _| answer_once(stream, "another", 1)), "answered with \"another\"");
    let closed = all_failed(&load(|_, _, _| false), "closed");
    assert!(closed.port.is_some() && closed.bytes_sent > 40 && closed.bytes_received == 0, "{closed}");
    let cut = all_failed(&load(|stream, _, _| last(stream, "HTTP/1.1 200")), "closed");
    assert_eq!(cut.bytes_received, 12);
    all_failed(&load(|stream, _, _| last(stream, REFUSE)), "refused with 503");
    all_failed(&load(|stream, _, _| last(stream, "hello\r\n\r\n")), "no answer of HTTP");
    all_failed(&load_with(Duration::from_millis(50), |_, _, _| true), "timed out");
}

#[test]
fn a_reset_and_a_refusal_to_connect_are_known() {
    let report = load(|stream, _, _| {
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        nix::sys::socket::setsockopt(stream, nix::sys::socket::sockopt::Linger, &linger).unwrap();
        false
    });
    all_failed(&report, "reset (connection reset)");
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let load = Load::start(plan(closed));
    wait(|| load.elapsed() > Duration::from_millis(100));
    let report = load.stop();
    assert_eq!(all_failed(&report, "no connection").port, None);
    assert!(report.to_string().contains(&format!("lost: {} not connected", report.sent)), "{report}");
}

#[test]
fn kept_connections_are_used_again() {
    let report = keep(|stream, token, _| answer(stream, token));
    assert_eq!((report.connections, report.closed_between), (4, 0), "{report}");
    assert!(report.answered > 8 && report.failed.is_empty() && report.crossed.is_empty(), "{report}");
}

#[test]
fn a_close_between_two_responses_is_no_loss() {
    let report = keep(|stream, token, count| answer(stream, token) && count < 3);
    assert!(report.closed_between > 1 && report.answered >= 2 * report.closed_between, "{report}");
    assert!(report.failed.is_empty() && report.crossed.is_empty(), "{report}");
}

#[test]
fn a_request_that_crosses_the_close_is_told_from_one_that_is_lost() {
    let crossed = keep(|stream, token, count| count < 3 && answer(stream, token));
    assert!(!crossed.crossed.is_empty() && crossed.failed.is_empty(), "{crossed}");
    for serve in [
        (|_, _, _| false) as Serve,
        |stream, token, count| {
            if count < 3 { answer(stream, token) } else { last(stream, "HTTP/1.1 200") }
        },
        |stream, token, count| if count < 3 { answer(stream, token) } else { answer(stream, "another") },
        |stream, token, _| answer(stream, token) && answer(stream, token),
    ] {
        let report = keep(serve);
        assert!(!report.failed.is_empty() && report.crossed.is_empty(), "{report}");
    }
}
