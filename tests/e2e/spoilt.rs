//! Connections that are not what they were a moment ago: closed or spoilt while nobody uses them, or ended in one direction.
//!
//! The lane is stopped while that happens, so that it finds all of it at once and in the worst order.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::harness::{Client, Master, Pointsman};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A lane before one upstream, which the test itself is.
fn start(options: &[(&str, &str)]) -> (Master, TcpListener) {
    let upstream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = upstream.local_addr().unwrap().to_string();
    let run = Pointsman::run().option("-m", "multiport").workers(0).option("--upstreams", address);
    let master = options.iter().fold(run, |run, (name, value)| run.option(name, *value)).start();
    (master, upstream)
}

fn accept(upstream: &TcpListener) -> TcpStream {
    let (stream, _) = upstream.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Reads a head.
fn take(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Has the lane keep so many connections to the upstream.
fn keep(master: &Master, upstream: &TcpListener, count: usize) -> Vec<TcpStream> {
    let mut clients: Vec<_> = (0..count).map(|_| master.connect()).collect();
    clients.iter_mut().for_each(|client| client.send_get("/").unwrap());
    let mut kept: Vec<_> = (0..count).map(|_| accept(upstream)).collect();
    for stream in &mut kept {
        take(stream);
        stream.write_all(OK).unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.receive().unwrap().status, 200);
    }
    kept
}

/// What a client gets that asks while the lane is stopped and `happens` happens, and the upstream answers on a new connection.
fn ask_meanwhile(master: &Master, upstream: &TcpListener, happens: impl FnOnce()) -> String {
    let lane = master.lane(1);
    let mut client: Client = master.connect();
    // The lane has it.
    client.send_raw(b"GET /asked HTTP/1.1\r\n").unwrap();
    lane.freeze();
    client.send_raw(b"Host: a\r\n\r\n").unwrap();
    happens();
    lane.signal(Signal::SIGCONT);
    let mut fresh = accept(upstream);
    assert!(take(&mut fresh).starts_with("GET /asked "));
    fresh.write_all(OK).unwrap();
    client.receive().unwrap().text()
}

#[test]
fn a_request_that_meets_closed_connections_is_answered_on_a_new_one() {
    let (master, upstream) = start(&[]);
    let kept = keep(&master, &upstream, 20);
    assert_eq!(ask_meanwhile(&master, &upstream, || drop(kept)), "ok");
    master.finish();
}

#[test]
fn what_nobody_asked_for_is_nobodys_answer() {
    let (master, upstream) = start(&[]);
    let mut kept = keep(&master, &upstream, 1);
    let poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    assert_eq!(ask_meanwhile(&master, &upstream, || kept[0].write_all(poison).unwrap()), "ok");
    master.finish();
}

#[test]
fn a_client_says_all_to_an_upstream_that_has_said_all() {
    const LENGTH: usize = 8_000_000;
    let (master, upstream) = start(&[("--protocol", "tcp")]);
    let mut client = TcpStream::connect(master.address()).unwrap();
    let mut server = accept(&upstream);
    server.write_all(b"bye").unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    let mut said = Vec::new();
    client.read_to_end(&mut said).unwrap();
    assert_eq!(said, b"bye");
    let all = thread::spawn(move || {
        let mut all = Vec::new();
        server.read_to_end(&mut all).map(|_| all.len())
    });
    client.write_all(&vec![b'x'; LENGTH]).unwrap();
    drop(client);
    assert_eq!(all.join().unwrap().unwrap(), LENGTH);
    master.finish();
}

/// One that is gone altogether is noticed when something is said to it.
#[test]
fn nobody_goes_on_speaking_to_an_upstream_that_is_gone() {
    let (master, upstream) = start(&[("--protocol", "tcp")]);
    let mut client = TcpStream::connect(master.address()).unwrap();
    client.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    client.write_all(b"hello").unwrap();
    drop(accept(&upstream));
    let block = [0; 64 << 10];
    let sent = (0..10_000).take_while(|_| client.write_all(&block).is_ok()).count();
    assert!(sent < 10_000, "all of it was taken");
    master.finish();
}
