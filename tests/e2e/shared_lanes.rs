//! Several lanes, one limit: what they count together, what the end of one leaves, and masters that share a machine.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::harness::{Client, Master, Pointsman, eventually};

const LIMIT: usize = 2;
const SERVERS: usize = 2;

/// A server that counts the requests that it has at once, on threads of this process.
#[derive(Debug)]
struct Server {
    address: SocketAddr,
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

/// Requests of `/together` are answered when so many are there at once.
#[derive(Debug, Default)]
struct Together {
    waiting: Mutex<usize>,
    all: Condvar,
}

impl Together {
    const COUNT: usize = LIMIT * SERVERS;

    fn wait(&self) {
        let mut waiting = self.waiting.lock().unwrap();
        *waiting += 1;
        self.all.notify_all();
        drop(self.all.wait_while(waiting, |waiting| *waiting < Self::COUNT).unwrap());
    }
}

impl Server {
    fn start(together: &Arc<Together>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self { address, now: Arc::default(), most: Arc::default() };
        let (now, most, together) = (Arc::clone(&server.now), Arc::clone(&server.most), Arc::clone(together));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (now, most, together) = (Arc::clone(&now), Arc::clone(&most), Arc::clone(&together));
                thread::spawn(move || serve(stream, &now, &most, &together));
            }
        });
        server
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, now: &AtomicUsize, most: &AtomicUsize, together: &Together) {
    let mut head = Vec::new();
    let mut byte = [0];
    while matches!(stream.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        if head.starts_with(b"GET /together") {
            together.wait();
        } else if head.starts_with(b"GET /for-ever") {
            // Until the other side is gone.
            let _ = stream.read(&mut byte);
            now.fetch_sub(1, Ordering::SeqCst);
            return;
        } else {
            // What the program does takes its time.
            thread::park_timeout(Duration::from_millis(20));
        }
        // Before the answer: whoever has that sends the next one.
        now.fetch_sub(1, Ordering::SeqCst);
        head.clear();
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}

fn start(lanes: usize, servers: &[Server], options: impl FnOnce(Pointsman) -> Pointsman) -> Master {
    let run = Pointsman::run().option("-m", "multiport").workers(0);
    let run = run.env("POINTSMAN_LANES", lanes.to_string());
    let add = |run: Pointsman, server: &Server| run.option("--upstreams", server.address.to_string());
    let run = servers.iter().fold(run, add);
    let master = options(run.env("POINTSMAN_MAX_IN_FLIGHT", LIMIT.to_string())).start();
    master.lane(lanes);
    let address = master.address();
    eventually("it answers", || {
        Client::connect(address)
            .and_then(|mut client| client.get("/"))
            .is_ok_and(|answer| answer.status == 200)
    });
    master
}

/// As many clients, each of which asks so often, on a connection of its own each time. Returns how long the longest took.
fn ask(address: SocketAddr, clients: usize, requests: usize, path: &str) -> Duration {
    let longest = Mutex::new(Duration::ZERO);
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                for _ in 0..requests {
                    let begin = crate::harness::now();
                    let answer = Client::connect(address).and_then(|mut client| client.get(path)).unwrap();
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    let mut longest = longest.lock().unwrap();
                    *longest = begin.elapsed().max(*longest);
                }
            });
        }
    });
    longest.into_inner().unwrap()
}

#[test]
fn a_limit_holds_for_all_lanes_together_and_everybody_is_served() {
    let together = Arc::default();
    let servers: Vec<_> = (0..SERVERS).map(|_| Server::start(&together)).collect();
    let master = start(3, &servers, |run| run);
    let longest = ask(master.address(), 24, 20, "/");
    println!("the longest took {longest:?}");
    for server in &servers {
        assert_eq!(server.most(), LIMIT, "at most, and at times as many");
    }
    // 24 clients and four at a time, of 20 ms and a few: about 150 ms in strict turns.
    assert!(longest < Duration::from_secs(3), "a lane starves: {longest:?}");
    master.finish();
}

#[test]
fn a_lane_that_is_killed_leaves_its_room_to_the_others() {
    let together = Arc::default();
    let servers: Vec<_> = (0..SERVERS).map(|_| Server::start(&together)).collect();
    let master = start(3, &servers, |run| run.expect_log("was killed by SIGKILL"));
    let address = master.address();
    let held: Vec<_> = (0..LIMIT * SERVERS)
        .map(|_| {
            let mut client = Client::connect(address).unwrap();
            client.send_get("/for-ever").unwrap();
            client
        })
        .collect();
    let in_flight = || servers.iter().map(|server| server.now.load(Ordering::SeqCst)).sum::<usize>();
    eventually("there is no room left", || in_flight() == LIMIT * SERVERS);
    let mut waiting = Client::connect(address).unwrap();
    waiting.send_get("/").unwrap();
    let lanes = master.lanes();
    lanes.iter().for_each(|lane| lane.signal(Signal::SIGKILL));
    eventually("others have their places", || {
        let now = master.lanes();
        now.len() == lanes.len() && !now.iter().any(|lane| lanes.contains(lane))
    });
    drop((held, waiting));
    // Each is answered only when all are there.
    ask(address, Together::COUNT, 1, "/together");
    assert!(servers.iter().all(|server| server.most() == LIMIT));
    master.finish();
}

#[test]
fn one_lane_of_three_that_is_killed_leaves_nothing_counted() {
    let together = Arc::default();
    let servers: Vec<_> = (0..SERVERS).map(|_| Server::start(&together)).collect();
    let master = start(3, &servers, |run| run.expect_log("was killed by SIGKILL"));
    let address = master.address();
    let victim = master.lanes()[0];
    thread::scope(|scope| {
        // Who is with that lane gets no answer.
        for _ in 0..12 {
            scope.spawn(|| {
                for _ in 0..30 {
                    let _ = Client::connect(address).and_then(|mut client| client.get("/"));
                }
            });
        }
        eventually("there is something to lose", || servers.iter().all(|server| server.most() == LIMIT));
        victim.signal(Signal::SIGKILL);
    });
    eventually("another has its place", || master.lanes().len() == 3 && !master.lanes().contains(&victim));
    ask(address, Together::COUNT, 1, "/together");
    master.finish();
}

#[test]
fn masters_that_start_at_once_give_out_ports_of_their_own() {
    let run = || Pointsman::run().option("-m", "multiport").workers(3);
    let mut masters: Vec<_> = (0..4).map(|_| run().start()).collect();
    let mut ports = std::collections::BTreeSet::new();
    for master in &mut masters {
        master.wait_ready(3);
        let status = master.control().done(&serde_json::json!({ "verb": "status" }));
        let upstreams = status["upstreams"].as_array().unwrap();
        assert_eq!(upstreams.len(), 3);
        ports.extend(upstreams.iter().map(|one| one["address"].as_str().unwrap().to_owned()));
    }
    assert_eq!(ports.len(), 12, "{ports:?}");
    masters.into_iter().for_each(Master::finish);
}
