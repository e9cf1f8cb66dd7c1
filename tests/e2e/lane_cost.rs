//! What forwarding costs: system calls for a request, memory for a client that is idle, and a lane that does nothing.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
};

use crate::harness::{Client, Pointsman, Process, Strace, eventually};

/// Two reads and two writes, and a share of two epoll_wait.
const MOST_CALLS: u64 = 6;
const CLIENTS: u64 = 64;
/// Of each client, one after the other.
const REQUESTS: u64 = 50;

const IDLE_CLIENTS: usize = 5_000;
/// Of ours; the kernel's are its own.
const MOST_BYTES: u64 = 600;

/// 10^6 bytes.
const MOST_MB_AT_START: u64 = 6;

fn rss(process: Process) -> u64 {
    let text = process.status("VmRSS");
    let kib: u64 = text.split_whitespace().next().unwrap().parse().unwrap();
    kib * 1024
}

fn run() -> Pointsman {
    Pointsman::multiport().workers(2)
}

fn load(address: SocketAddr) {
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::connect(address).unwrap();
                for _ in 0..REQUESTS {
                    assert_eq!(client.get("/").unwrap().status, 200);
                }
            });
        }
    });
}

#[test]
fn a_kept_alive_request_costs_at_most_six_system_calls() {
    let mut master = run().start();
    master.wait_ready(2);
    let (address, lane) = (master.address(), master.lane(1));
    load(address);
    let strace = Strace::attach(lane);
    load(address);
    let calls = strace.detach();
    let requests = CLIENTS * REQUESTS;
    let text = format!("{} system calls for {requests} requests: {calls}", calls.total());
    assert!(calls.total() >= 4 * requests, "strace has missed most of it: {text}");
    assert!(calls.total() <= MOST_CALLS * requests, "{text}");
    println!("{text}");
    master.finish();
}

#[test]
fn idle_clients_cost_little_memory() {
    let mut master = run().start();
    master.wait_ready(2);
    let (address, lane) = (master.address(), master.lane(1));
    let at_start = rss(lane);
    // In a build that is not optimised the code alone is as large.
    if !cfg!(debug_assertions) {
        assert!(at_start <= MOST_MB_AT_START * 1_000_000, "{at_start} bytes at the start");
    }
    load(address);
    let before = rss(lane);
    let mut clients: Vec<_> = (0..IDLE_CLIENTS).map(|_| Client::connect(address).unwrap()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").unwrap().status, 200);
    }
    let each = rss(lane).saturating_sub(before) / IDLE_CLIENTS as u64;
    println!("{at_start} bytes at the start, {each} bytes for each idle client");
    assert!(each <= MOST_BYTES, "{each} bytes for each idle client");
    drop(clients);
    eventually("it has let go of them", || lane.descriptors().len() < IDLE_CLIENTS / 10);
    master.finish();
}

#[test]
fn an_idle_lane_sleeps() {
    let mut master =
        run().option("--upstream-idle-timeout", "1s").option("--connect-timeout", "500ms").start();
    master.wait_ready(2);
    let lane = master.lane(1);
    let switches = || -> u64 {
        let count = |status: &String| {
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
            line.trim().parse::<u64>().unwrap()
        };
        lane.threads().iter().map(count).sum()
    };
    eventually("it keeps no connection", || lane.connections() == 0);
    // That is told once more, a second later.
    let begin = crate::harness::now();
    eventually("it has told all", || begin.elapsed().as_secs() >= 2);
    let before = switches();
    let begin = crate::harness::now();
    eventually("it was looked at for long enough", || begin.elapsed().as_secs() >= 3);
    let woken = switches() - before;
    assert!(woken <= 1, "woken {woken} times in three seconds");
    master.finish();
}

/// A gigabyte for a client that does not read, and one from a client whose upstream does not: neither is kept.
#[test]
fn who_does_not_read_costs_no_memory() {
    const MOST: u64 = 4 << 20;
    let upstream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = upstream.local_addr().unwrap();
    thread::spawn(move || {
        for stream in upstream.incoming().map_while(Result::ok) {
            thread::spawn(move || serve_endlessly(stream));
        }
    });
    let run = Pointsman::multiport().workers(0);
    let master = run.option("--upstreams", address.to_string()).start();
    let mut ready = Client::connect(master.address()).unwrap();
    assert_eq!(ready.get("/").unwrap().status, 200);
    let lane = master.lane(1);
    let before = rss(lane);
    let mut down = Client::connect(master.address()).unwrap();
    down.send_get("/endless").unwrap();
    let mut up = Client::connect(master.address()).unwrap();
    up.send_raw(b"POST /deaf HTTP/1.1\r\nHost: a\r\nContent-Length: 1073741824\r\n\r\n").unwrap();
    let block = vec![b'x'; 1 << 20];
    (0..64).for_each(|_| up.send_some(&block));
    eventually("the way is full", || {
        let queue = down.has_answer();
        up.send_some(&block);
        queue
    });
    // Others are served meanwhile.
    for _ in 0..100 {
        assert_eq!(ready.get("/").unwrap().status, 200);
    }
    let more = rss(lane).saturating_sub(before);
    assert!(more <= MOST, "{more} bytes more");
    up.reset();
    drop(down);
    assert_eq!(ready.get("/").unwrap().status, 200);
    drop(ready);
    master.wait_turn();
    master.finish();
}

fn serve_endlessly(mut stream: TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    loop {
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return;
        }
        head.push(byte[0]);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        if head.starts_with(b"GET /endless") {
            let length = 1u64 << 30;
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            let block = [b'x'; 64 << 10];
            while stream.write_all(&block).is_ok() {}
            return;
        }
        if head.starts_with(b"POST /deaf") {
            // It has the connection open as long as the test runs.
            loop {
                thread::park();
            }
        }
        head.clear();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
}
