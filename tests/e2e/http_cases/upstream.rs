//! An upstream that says what the case wants, and writes down what reaches it.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{
    Play,
    cases::{Case, Manner, OK, Then},
    strict::{self, Fault, Message},
};
use crate::harness::eventually;

/// See the module.
#[derive(Debug)]
pub(super) struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// By the client whose requests they are for.
    scripts: Mutex<HashMap<Ipv4Addr, Script>>,
    /// What must not have happened.
    faults: Mutex<Vec<String>>,
    open: AtomicUsize,
}

#[derive(Debug)]
struct Script {
    case: &'static Case,
    cut: Option<usize>,
    /// Answers that were given.
    said: usize,
    /// Requests that came whole.
    requests: Vec<Message>,
}

/// What is said to a request.
struct Words {
    case: &'static Case,
    pieces: [&'static [u8]; 2],
    /// The connection has to end behind it.
    last: bool,
}

impl Upstream {
    pub(super) fn start(plays: &[Play]) -> Self {
        let script = |play: &Play| Script { case: play.case, cut: play.cut, said: 0, requests: Vec::new() };
        let scripts = plays.iter().map(|play| (play.client, script(play))).collect();
        let open = AtomicUsize::new(0);
        let shared = Arc::new(Shared { scripts: Mutex::new(scripts), faults: Mutex::new(Vec::new()), open });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let all = Arc::clone(&shared);
        // It has no end; that of its connections is waited for.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                all.open.fetch_add(1, Ordering::SeqCst);
                let shared = Arc::clone(&all);
                thread::spawn(move || {
                    serve(&shared, stream);
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, shared }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has reached it, when nothing more can.
    pub(super) fn finish(self) -> HashMap<Ipv4Addr, Vec<Message>> {
        eventually("all its connections are over", || self.shared.open.load(Ordering::SeqCst) == 0);
        let faults = self.shared.faults.lock().unwrap();
        assert!(faults.is_empty(), "{faults:#?}");
        let mut scripts = self.shared.scripts.lock().unwrap();
        scripts.drain().map(|(client, script)| (client, script.requests)).collect()
    }
}

impl Shared {
    fn note(&self, what: &str, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        self.faults.lock().unwrap().push(format!("{what}: {text:?}"));
    }

    /// What is to be said now, if anything is.
    fn answer(&self, received: &[u8]) -> Option<Words> {
        let (requests, fault) = strict::requests(received);
        if requests.len() > 1 || (!requests.is_empty() && fault.is_some()) {
            self.note("something is behind a request that has no answer yet", received);
        }
        let request = requests.into_iter().next();
        let client = client_of(received)?;
        let mut scripts = self.scripts.lock().unwrap();
        let Some(script) = scripts.get_mut(&client) else {
            // Somebody who wants to know whether all is ready.
            return Some(Words { case: super::cases::all().next()?, pieces: [OK, b""], last: false });
        };
        let case = script.case;
        let early = case.manner == Manner::Early && script.said == 0;
        if request.is_none() && !early {
            return None;
        }
        let said = case.answers.get(script.said).copied();
        let is_first = script.said == 0;
        script.said += 1;
        script.requests.extend(request);
        let words = said.unwrap_or(OK);
        // What is behind an answer has to come with it: else it may be taken for the answer to what comes next.
        let cut = script.cut.filter(|_| !case.fresh).unwrap_or(words.len()).min(words.len());
        let last = early || (case.fresh && is_first) || (case.manner == Manner::Closes && said.is_some());
        Some(Words { case, pieces: words.split_at(cut).into(), last })
    }
}

fn serve(shared: &Shared, mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let (mut received, mut buffer) = (Vec::new(), [0; 16 << 10]);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        received.extend_from_slice(&buffer[..count]);
        let Some(words) = shared.answer(&received) else { continue };
        // Who does not like the first piece does not wait for the other.
        let _ = words.pieces.iter().try_for_each(|piece| stream.write_all(piece));
        if words.case.then == Then::Tunnel {
            through_tunnel(shared, stream, &received);
            return;
        }
        received.clear();
        if words.case.manner == Manner::Closes && words.last {
            return;
        }
        if words.last {
            let _ = stream.read_to_end(&mut received);
            if words.case.manner != Manner::Early && !received.is_empty() {
                shared.note("it is used again", &received);
            }
            return;
        }
    }
    // Of a request that turned out to be none, the beginning.
    if !matches!(strict::requests(&received).1, None | Some(Fault::Short)) {
        shared.note("it is no request", &received);
    }
}

/// `received` is the request for it, and what has come behind it.
fn through_tunnel(shared: &Shared, mut stream: TcpStream, received: &[u8]) {
    let end = received.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap_or(0) + 4;
    let mut all = received[end..].to_vec();
    let _ = stream.read_to_end(&mut all);
    if all != b"\0raw" {
        shared.note("it is not what goes through the tunnel", &all);
    }
}

/// Whose request it is, when the head is there.
fn client_of(received: &[u8]) -> Option<Ipv4Addr> {
    let end = received.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&received[..end]);
    head.lines().find_map(|line| line.strip_prefix("X-Forwarded-For: ")?.parse().ok())
}
