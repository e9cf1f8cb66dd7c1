//! A lane: a process of ours that accepts connections and forwards requests to workers.
//!
//! This is a stand-in that the tests of the master's side need, and passes on whole connections.

use std::{
    collections::BTreeMap,
    env, io,
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    process::exit,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use mio::{Events, Interest, Poll, Token};
use serde::Deserialize;

use crate::{
    endpoint::Endpoint,
    forward::orders::{LaneOrder, LaneWord, Upstream},
    worker::{Stream, Worker, WorkerEvent},
};

/// The variable by which a process knows that it is one.
pub(crate) const VARIABLE: &str = "POINTSMAN_LANE";

/// Runs as a lane, and never returns, if this process was started as one.
pub(crate) fn run_if_asked() {
    // A lane is a worker, too: what was only left in an environment does not count.
    if env::var_os(VARIABLE).is_some() && crate::worker::is_worker() {
        run()
    }
}

/// Forwards until it is told to leave.
pub(crate) fn run() -> ! {
    match forward() {
        Ok(()) => exit(0),
        Err(why) => {
            log::error!("{why}");
            exit(70)
        }
    }
}

#[derive(Default)]
struct State {
    list: Vec<Upstream>,
    open: BTreeMap<u32, usize>,
}

fn forward() -> Result<(), String> {
    let say = |error: &dyn std::fmt::Display| error.to_string();
    let mut worker = Worker::from_env().map_err(|error| say(&error))?;
    let mut poll = Poll::new().map_err(|error| say(&error))?;
    let mut events = Events::with_capacity(16);
    poll.registry().register(&mut worker, Token(0), Interest::READABLE).map_err(|error| say(&error))?;
    let state = Arc::new(Mutex::new(State::default()));
    let open = Arc::new(AtomicUsize::new(0));
    let turn = Arc::new(AtomicUsize::new(0));
    let mut draining = false;
    loop {
        let event = worker.poll_event().map_err(|error| say(&error))?;
        match event {
            Some(WorkerEvent::Message(message)) => match LaneOrder::deserialize(&message) {
                Ok(LaneOrder::Begin(settings)) => {
                    for text in &settings.listen {
                        let endpoint: Endpoint =
                            text.parse().map_err(|_| format!("{text} is no endpoint"))?;
                        worker.listen(endpoint).map_err(|error| say(&error))?;
                    }
                }
                Ok(LaneOrder::Upstreams(list)) => {
                    state.lock().unwrap_or_else(PoisonError::into_inner).list = list;
                }
                Err(error) => return Err(error.to_string()),
            },
            Some(WorkerEvent::Connection(connection)) => {
                let (stream, guard) = connection.into_parts();
                let _ = stream.set_nonblocking(false);
                let (state, turn, count) = (Arc::clone(&state), Arc::clone(&turn), Arc::clone(&open));
                count.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    serve(&stream, &state, turn.fetch_add(1, Ordering::SeqCst));
                    drop((stream, guard));
                    count.fetch_sub(1, Ordering::SeqCst);
                });
            }
            Some(WorkerEvent::Disconnect) => draining = true,
            Some(WorkerEvent::Closed) => return Ok(()),
            None => {
                let polled = poll.poll(&mut events, Some(Duration::from_millis(20)));
                match polled {
                    Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(say(&error)),
                    _ => {}
                }
            }
        }
        let idle: Vec<u32> = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let State { list, open } = &mut *state;
            let idle = list.iter().filter(|upstream| upstream.draining);
            let idle: Vec<_> = idle.map(|upstream| upstream.id).filter(|id| !open.contains_key(id)).collect();
            list.retain(|upstream| !idle.contains(&upstream.id));
            idle
        };
        for id in idle {
            let word = serde_json::to_value(LaneWord::Idle(id)).map_err(|error| say(&error))?;
            worker.send(&word).map_err(|error| say(&error))?;
        }
        if draining && open.load(Ordering::SeqCst) == 0 {
            return Ok(());
        }
    }
}

fn serve(client: &Stream, state: &Mutex<State>, turn: usize) {
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let chosen = {
        let mut state = lock();
        let State { list, open } = &mut *state;
        let able: Vec<_> = list.iter().filter(|upstream| !upstream.draining).collect();
        let chosen = (!able.is_empty()).then(|| able[turn % able.len()].clone());
        if let Some(chosen) = &chosen {
            *open.entry(chosen.id).or_default() += 1;
        }
        chosen
    };
    let Some(chosen) = chosen else {
        let _ = io::Write::write_all(
            &mut &*client,
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        );
        return;
    };
    let _ = pass(client, &chosen);
    let mut state = lock();
    if let Some(count) = state.open.get_mut(&chosen.id) {
        *count -= 1;
        if *count == 0 {
            state.open.remove(&chosen.id);
        }
    }
}

fn pass(client: &Stream, upstream: &Upstream) -> io::Result<()> {
    let bad = |_| io::Error::from(io::ErrorKind::InvalidInput);
    match upstream.endpoint.parse::<Endpoint>().map_err(bad)? {
        Endpoint::Tcp(address) => {
            let server = TcpStream::connect(address)?;
            let back = server.try_clone()?;
            copy_both(client, &server, back, |server| server.shutdown(Shutdown::Write))
        }
        Endpoint::Unix(path) => {
            let server = UnixStream::connect(path)?;
            let back = server.try_clone()?;
            copy_both(client, &server, back, |server| server.shutdown(Shutdown::Write))
        }
        Endpoint::Udp(_) => Ok(()),
    }
}

fn copy_both<S>(
    client: &Stream,
    server: &S,
    mut back: S,
    end: impl Fn(&S) -> io::Result<()> + Send,
) -> io::Result<()>
where
    for<'a> &'a S: io::Read + io::Write,
    S: io::Read + io::Write + Send + Sync,
{
    thread::scope(|scope| {
        scope.spawn(move || {
            let _ = io::copy(&mut &*client, &mut &*server);
            let _ = end(server);
        });
        let copied = io::copy(&mut back, &mut &*client);
        let _ = client.shutdown(Shutdown::Both);
        copied.map(drop)
    })
}
