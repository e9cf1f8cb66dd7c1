//! The built-in worker program: a small HTTP/1.1 server on the public face of the crate.
//!
//! It is what `pointsman run` serves when it is given no program, and an example of a worker on mio. `http`, `body`
//! and `answer` are bytes and values, `conversation` is one client's requests and answers as a pure machine,
//! `connection` puts it on a socket, and the loop here shares the time between them. Not a proxy, and not a server
//! for anything but looking at Pointsman.

mod answer;
mod body;
mod connection;
mod conversation;
mod door;
mod http;

use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    io::{self, ErrorKind},
    mem,
    net::{Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use mio::{Events, Poll, Token};
use pointsman::{Endpoint, ListenError, Worker, WorkerError, WorkerEvent};
use slab::Slab;

use self::{
    answer::Site,
    connection::{Connection, Next},
    door::{Door, OwnDoor},
};

/// The worker's channel; connections have their place in the slab.
const CHANNEL: Token = Token(usize::MAX);
/// Events of the poll in one turn.
const EVENTS: usize = 256;
/// Events of the channel in one turn: a flood of new connections must not starve the open ones.
const CHANNEL_EVENTS: usize = 32;
/// One read of a socket.
const READ_BYTES: usize = 64 << 10;
/// Without `PORT`; the default of `pointsman run`.
const DEFAULT_PORT: u16 = 8000;

const FAILED: u8 = 1;
const SYSTEM: u8 = 71;
const CONFIGURATION: u8 = 78;

/// Serves as a worker until its master lets it go.
pub(crate) fn run() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { why, code }) => {
            say(&why);
            ExitCode::from(code)
        }
    }
}

/// Why it ends, and the exit code for that.
#[derive(Debug)]
struct Failure {
    why: String,
    code: u8,
}

fn failure(code: u8) -> impl FnOnce(WorkerError) -> Failure {
    move |error| Failure { why: error.to_string(), code }
}

fn work() -> Result<(), Failure> {
    let no_loop = |error| Failure { why: format!("cannot set up the loop: {error}"), code: SYSTEM };
    if let Some(port) = door::own_port() {
        let door = OwnDoor::open(&port).map_err(|error| {
            let why = format!("cannot listen on PORT={}: {error}", port.display());
            Failure { why, code: SYSTEM }
        })?;
        return Demo::new(Door::Own(door)).map_err(no_loop)?.serve().map_err(failure(FAILED));
    }
    let mut worker = Worker::from_env().map_err(no_worker)?;
    let addresses = addresses(env::var_os("POINTSMAN_ADDRESSES"), env::var_os("PORT"))?;
    for (place, address) in addresses.into_iter().enumerate() {
        match worker.listen(address) {
            Ok(_) => {}
            Err(ListenError::Leaving { .. }) => return Ok(()),
            // The master has it open, and it was served with an earlier one: that was a wildcard.
            Err(ListenError::Refused { source, .. })
                if place > 0 && source.kind() == ErrorKind::AddrInUse => {}
            Err(error) => return Err(Failure { why: error.to_string(), code: SYSTEM }),
        }
    }
    Demo::new(Door::Master(worker)).map_err(no_loop)?.serve().map_err(failure(FAILED))
}

/// Of somebody who has started it by hand, the crate's advice would make a worker of a worker.
fn no_worker(error: WorkerError) -> Failure {
    match error {
        WorkerError::NotAWorker { missing } => Failure {
            why: format!(
                "{missing} is not set: this is the worker that `pointsman run` starts if it is given no program; \
                 use that"
            ),
            code: CONFIGURATION,
        },
        other => failure(CONFIGURATION)(other),
    }
}

/// Where to listen: on all that the master has been told, or else on a port.
fn addresses(told: Option<OsString>, given_port: Option<OsString>) -> Result<Vec<Endpoint>, Failure> {
    let Some(told) = told else {
        // A wildcard: whatever of this port the master has open will do.
        return Ok(vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, port(given_port)?)).into()]);
    };
    let bad = || Failure {
        why: format!("POINTSMAN_ADDRESSES={} are not addresses with commas between", told.display()),
        code: CONFIGURATION,
    };
    let text = told.to_str().ok_or_else(bad)?;
    text.split(',').map(|address| address.parse().map_err(|_| bad())).collect()
}

fn port(given: Option<OsString>) -> Result<u16, Failure> {
    let Some(text) = given else { return Ok(DEFAULT_PORT) };
    let port = text.to_str().and_then(|text| text.parse().ok());
    port.ok_or_else(|| Failure {
        why: format!("PORT={} is not a port, 0 to 65535", text.display()),
        code: CONFIGURATION,
    })
}

/// To standard error, which this program shares with its master: there is no log in it.
fn say(what: &str) {
    super::complain(&format!("pointsman demo-worker: {what}\n"));
}

/// The one look at the clocks in a turn.
#[expect(clippy::disallowed_methods, reason = "the loop is where time comes from")]
fn clocks() -> (Instant, SystemTime) {
    (Instant::now(), SystemTime::now())
}

#[derive(Debug)]
struct Demo {
    poll: Poll,
    door: Door,
    site: Site,
    connections: Slab<Open>,
    /// When which connection is to be looked at, each at most once.
    timers: BTreeSet<(Instant, usize)>,
    /// Connections that had their turn and could go on.
    again: Vec<usize>,
    /// The channel had its turn and could go on.
    channel_again: bool,
    scratch: Box<[u8]>,
}

/// A connection and where it stands among the timers: at its deadline or before it.
#[derive(Debug)]
struct Open {
    connection: Connection,
    timer: Instant,
}

/// Whether the loop goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Going {
    On,
    /// The master is gone without a word: there is nobody to serve for.
    Out,
}

impl Demo {
    fn new(mut door: Door) -> io::Result<Self> {
        let poll = Poll::new()?;
        door.register(poll.registry(), CHANNEL)?;
        Ok(Self {
            poll,
            site: Site::new(&door.who()),
            door,
            connections: Slab::new(),
            timers: BTreeSet::new(),
            again: Vec::new(),
            channel_again: true,
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
        })
    }

    fn serve(&mut self) -> Result<(), WorkerError> {
        let mut events = Events::with_capacity(EVENTS);
        let mut now = self.read_clocks();
        loop {
            if self.channel_again && self.take_connections(now)? == Going::Out {
                return Ok(());
            }
            if self.site.draining && self.connections.is_empty() && !self.channel_again {
                return Ok(());
            }
            let timeout = match self.again.is_empty() && !self.channel_again {
                true => self.timers.first().map(|&(at, _)| at.saturating_duration_since(now)),
                false => Some(Duration::ZERO),
            };
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
                Err(source) => return Err(WorkerError::System { doing: "poll", source }),
            }
            now = self.read_clocks();
            let again = mem::take(&mut self.again);
            for event in &events {
                if event.token() == CHANNEL {
                    self.channel_again = true;
                } else if let Some(open) = self.connections.get_mut(event.token().0) {
                    open.connection.handle_event(event);
                    self.drive(now, event.token().0);
                }
            }
            for key in again {
                self.drive(now, key);
            }
            self.fire_timers(now);
        }
    }

    fn read_clocks(&mut self) -> Instant {
        let (now, wall) = clocks();
        self.site.date.set(wall.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()));
        now
    }

    /// Takes what the master sends, up to a budget.
    fn take_connections(&mut self, now: Instant) -> Result<Going, WorkerError> {
        for _ in 0..CHANNEL_EVENTS {
            let worker = match &mut self.door {
                Door::Master(worker) => worker,
                Door::Own(door) => {
                    match door.accept() {
                        Ok(Some(stream)) => self.open(now, Connection::accepted(now, stream)),
                        Ok(None) => self.channel_again = false,
                        Err(source) => return Err(WorkerError::System { doing: "accept", source }),
                    }
                    if self.channel_again {
                        continue;
                    }
                    return Ok(Going::On);
                }
            };
            match worker.poll_event()? {
                Some(WorkerEvent::Connection(connection)) => {
                    self.open(now, Connection::new(now, connection));
                }
                Some(WorkerEvent::Disconnect) => self.drain(now),
                Some(WorkerEvent::Closed) if !self.site.draining => return Ok(Going::Out),
                // The demo knows no messages.
                Some(_) => {}
                None => {
                    self.channel_again = false;
                    return Ok(Going::On);
                }
            }
        }
        Ok(Going::On)
    }

    /// Gives a new connection its first turn. Many need no second one, and those never come under the poll.
    fn open(&mut self, now: Instant, mut connection: Connection) {
        if self.site.draining {
            connection.handle_drain(now);
        }
        let next = connection.drive(now, &self.site, &mut self.scratch);
        if next == Next::Drop {
            return;
        }
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        if let Err(error) = connection.register(self.poll.registry(), Token(key)) {
            say(&format!("a connection is dropped: {error}"));
            return;
        }
        let timer = connection.deadline();
        entry.insert(Open { connection, timer });
        self.timers.insert((timer, key));
        if next == Next::Again {
            self.again.push(key);
        }
    }

    fn drive(&mut self, now: Instant, key: usize) {
        let Some(open) = self.connections.get_mut(key) else { return };
        match open.connection.drive(now, &self.site, &mut self.scratch) {
            Next::Drop => {
                self.timers.remove(&(open.timer, key));
                self.connections.remove(key);
            }
            next => {
                // A deadline that has moved away is looked up when the timer fires: most move with every request.
                let deadline = open.connection.deadline();
                if deadline < open.timer {
                    self.timers.remove(&(open.timer, key));
                    self.timers.insert((deadline, key));
                    open.timer = deadline;
                }
                if next == Next::Again {
                    self.again.push(key);
                }
            }
        }
    }

    fn fire_timers(&mut self, now: Instant) {
        if self.timers.first().is_none_or(|&(at, _)| at > now) {
            return;
        }
        let later = self.timers.split_off(&(now, usize::MAX));
        for (_, key) in mem::replace(&mut self.timers, later) {
            if self.connections.get(key).is_some_and(|open| open.connection.deadline() <= now) {
                self.drive(now, key);
            }
            if let Some(open) = self.connections.get_mut(key) {
                open.timer = open.connection.deadline();
                self.timers.insert((open.timer, key));
            }
        }
    }

    /// The master wants this worker to go: idle connections are closed now, the others after their answer.
    fn drain(&mut self, now: Instant) {
        self.site.draining = true;
        let keys: Vec<usize> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            if let Some(open) = self.connections.get_mut(key) {
                open.connection.handle_drain(now);
            }
            self.drive(now, key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn started_by_hand_it_says_what_to_start() {
        let Failure { why, code } = no_worker(WorkerError::NotAWorker { missing: "NODE_CHANNEL_FD" });
        assert!(why.contains("NODE_CHANNEL_FD is not set") && why.contains("`pointsman run`"), "{why}");
        assert_eq!(code, CONFIGURATION);
        let Failure { why, code } = no_worker(WorkerError::Taken);
        assert!(why.contains("has already taken its channel") && code == CONFIGURATION, "{why}");
    }

    #[test]
    fn it_listens_where_the_master_was_told_to() {
        let check = |told: Option<&str>, expected: Result<&[&str], &str>| {
            let addresses = addresses(told.map(OsString::from), Some("80".into()));
            let addresses = addresses.map_err(|failure| failure.why);
            let expected =
                expected.map(|all| all.iter().map(|text| text.parse().unwrap()).collect::<Vec<Endpoint>>());
            assert_eq!(addresses, expected.map_err(str::to_owned));
        };
        check(None, Ok(&["[::]:80"]));
        check(Some("127.0.0.1:81,unix:/run/a b"), Ok(&["127.0.0.1:81", "/run/a b"]));
        check(Some("81"), Err("POINTSMAN_ADDRESSES=81 are not addresses with commas between"));
    }

    #[test]
    fn a_port_that_is_none_is_named() {
        for (given, expected) in
            [(None, Some(DEFAULT_PORT)), (Some("0"), Some(0)), (Some("65536"), None), (Some(""), None)]
        {
            let port = port(given.map(OsString::from));
            assert_eq!(port.as_ref().ok(), expected.as_ref(), "{given:?}");
            if let (Some(given), Err(Failure { why, code })) = (given, port) {
                assert_eq!((why, code), (format!("PORT={given} is not a port, 0 to 65535"), CONFIGURATION));
            }
        }
    }
}
