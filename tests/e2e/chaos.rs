//! Everything that can go wrong behind a lane, at seeded moments and under a steady load: each request gets one answer, its own
//! or an error that says who was to blame, and when all is well again nothing is left of it.
//!
//! `CHAOS_SEED` is where the seeds begin, `CHAOS_RUNS` how many there are.

use std::{
    env,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::{
    harness::{Node, Pointsman, Process, eventually},
    traffic::{
        self, Load, Plan, Report,
        exchange::{Ending, Loss},
    },
};

const WORKERS: usize = 3;
const SERVERS: usize = 4;
const STEPS: usize = 40;

/// How a server that nobody should rely on is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    /// Dribbles.
    Slow,
    /// Takes requests and never answers.
    Silent,
    /// Reads a request and resets the connection.
    Resetting,
    /// Answers with what is no answer.
    Garbage,
    /// Ends in the middle of an answer.
    Truncating,
    /// Closes without reading.
    Closing,
    /// Says more than it was asked for.
    Talkative,
}

const MOODS: [Mood; 8] = [
    Mood::Well,
    Mood::Slow,
    Mood::Silent,
    Mood::Resetting,
    Mood::Garbage,
    Mood::Truncating,
    Mood::Closing,
    Mood::Talkative,
];

/// A server on a port of its own, on threads of this process.
struct Server {
    address: SocketAddr,
    mood: Arc<AtomicU8>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let mood = Arc::new(AtomicU8::new(0));
        let server = Self { address, mood: Arc::clone(&mood) };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mood = Arc::clone(&mood);
                thread::spawn(move || serve(stream, &mood));
            }
        });
        server
    }

    fn set(&self, mood: Mood) {
        let number = MOODS.iter().position(|known| *known == mood).unwrap();
        self.mood.store(u8::try_from(number).unwrap(), Ordering::Relaxed);
    }
}

/// Serves one connection. Where something fails, that is what this test is about.
fn serve(mut stream: TcpStream, mood: &AtomicU8) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let now = || MOODS[usize::from(mood.load(Ordering::Relaxed))];
    loop {
        if now() == Mood::Closing {
            return None;
        }
        let head = read_head(&mut stream)?;
        let token = head.split_once("token=")?.1.split(['&', ' ']).next()?.to_owned();
        let body = format!(r#"{{"token":"{token}","pid":{},"count":1}}"#, std::process::id());
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        match now() {
            Mood::Well => stream.write_all(answer.as_bytes()).ok()?,
            Mood::Slow => {
                for part in answer.as_bytes().chunks(40) {
                    stream.write_all(part).ok()?;
                    thread::park_timeout(Duration::from_millis(2));
                }
            }
            Mood::Silent => {
                // Until the other end has had enough.
                let _ = stream.read(&mut [0]);
                return None;
            }
            Mood::Resetting => {
                let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
                nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &linger).ok()?;
                return None;
            }
            Mood::Garbage => return stream.write_all(b"\x16\x03\x01 what?\r\n\r\n").ok(),
            Mood::Truncating => {
                stream.write_all(&answer.as_bytes()[..answer.len() - 5]).ok()?;
                return None;
            }
            Mood::Closing => return None,
            Mood::Talkative => {
                stream
                    .write_all(format!("{answer}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").as_bytes())
                    .ok()?;
            }
        }
    }
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer).ok()? {
            0 => return None,
            count => head.extend_from_slice(&buffer[..count]),
        }
    }
    String::from_utf8(head).ok()
}

/// splitmix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).unwrap()
    }
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn each_request_has_one_answer_whatever_goes_wrong_behind() {
    let first = number("CHAOS_SEED", 1);
    for seed in first..first + number("CHAOS_RUNS", 1) {
        run(seed);
    }
}

fn run(seed: u64) {
    let servers: Vec<_> = (0..SERVERS).map(|_| Server::start()).collect();
    let list: Vec<_> = servers.iter().map(|server| server.address.to_string()).collect();
    let node = Node::DEFAULT;
    let run = Pointsman::multiport().workers(WORKERS);
    let run = list.iter().fold(run, |run, address| run.option("--upstreams", address));
    let run = run.option("--response-timeout", "600ms").option("--connect-timeout", "300ms");
    let run = run.option("--upstream-idle-timeout", "2s").option("--restart-delay", "10ms");
    let run = run.option("--queue-timeout", "2s").allow_log("was killed by SIGKILL").allow_log("lost");
    let master = run.program(node.path()).arg(traffic::program()).start();
    let address = master.address();
    eventually("all workers are there", || master.workers().len() == WORKERS && master.lanes().len() == 1);
    let lane = master.lane(1);
    let load = Load::start(Plan { delay_ms: 20, per_second: 200, ..Plan::to(address) });
    eventually("it is warm", || load.answered() > 50);
    let mut chance = Chance(seed);
    let mut stopped: Vec<Process> = Vec::new();
    for _ in 0..STEPS {
        let workers = master.workers();
        match chance.below(6) {
            0 if !workers.is_empty() => workers[chance.below(workers.len())].signal(Signal::SIGKILL),
            1 if !workers.is_empty() && stopped.is_empty() => {
                let victim = workers[chance.below(workers.len())];
                victim.signal(Signal::SIGSTOP);
                stopped.push(victim);
            }
            2 => stopped.drain(..).for_each(|worker| worker.signal(Signal::SIGCONT)),
            _ => servers[chance.below(SERVERS)].set(MOODS[chance.below(MOODS.len())]),
        }
        let seen = load.answered();
        let more = 5 + chance.below(20);
        eventually("some requests are answered", || load.answered() >= seen + more);
    }
    // Then all is well again.
    servers.iter().for_each(|server| server.set(Mood::Well));
    stopped.drain(..).for_each(|worker| worker.signal(Signal::SIGCONT));
    eventually("all workers are there again", || master.workers().len() == WORKERS);
    let healed = load.elapsed();
    let seen = load.answered();
    eventually("all goes on", || load.answered() >= seen + 300);
    let report = load.stop();
    eprintln!("seed {seed}: {report}");
    check(seed, &report, healed);
    assert_eq!(master.lane(1), lane, "seed {seed}: the lane is another");
    eventually("the lane has nothing left of it", || lane.connections() == 0);
    master.finish();
}

/// What may become of a request while things go wrong.
#[track_caller]
fn check(seed: u64, report: &Report, healed: Duration) {
    assert_eq!((report.mistaken(), report.twice()), (0, 0), "seed {seed}: {report}");
    for failed in &report.failed {
        let documented = match failed.ending {
            Ending::Lost(Loss::Refused(status)) => matches!(status, 502..=504),
            // An answer that was cut behind the lane is cut before it.
            Ending::Lost(Loss::Closed | Loss::Reset(_)) => failed.bytes_received > 0,
            _ => false,
        };
        assert!(documented, "seed {seed}: {failed}\n{report}");
        // What was ejected comes back a moment later, and old connections may still fail once.
        let late = failed.begun > healed + Duration::from_secs(2);
        assert!(!late, "seed {seed}: {failed}, when all was well again\n{report}");
    }
    assert!(report.answered > report.sent / 2, "seed {seed}: {report}");
}
