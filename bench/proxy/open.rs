//! A load at a steady rate, whatever the front does: requests are due at fixed moments, and each is timed from the moment at
//! which it was due, so that one that had to wait behind a slow one counts its wait (no coordinated omission).

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::runner::Failure;

const CONNECTIONS: usize = 64;
const TIMER: u64 = u64::MAX;

/// Requests per second: about half of what nginx does with one worker on two cores of the year 2024. `PROXY_BENCH_RATE` says
/// another.
const RATE: u32 = 24_000;

/// How long the last answers are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n";

/// How long each request took from the moment it was due.
pub(crate) fn load(front: SocketAddr, seconds: u32) -> Result<Vec<Duration>, Failure> {
    let rate = std::env::var("PROXY_BENCH_RATE").ok().and_then(|text| text.parse().ok()).unwrap_or(RATE);
    run(front, seconds, rate).map_err(|error| Failure::because(format!("the steady load failed: {error}")))
}

/// In microseconds.
pub(crate) fn quantile(times: &[Duration], share: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a list that fits into memory"
    )]
    let place = ((sorted.len() as f64 - 1.0) * share) as usize;
    sorted.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

struct Connection {
    stream: TcpStream,
    /// When the request was due that it serves.
    due: Option<Instant>,
    head: Vec<u8>,
}

#[allow(clippy::disallowed_methods, reason = "what is measured here is time")]
fn run(front: SocketAddr, seconds: u32, rate: u32) -> io::Result<Vec<Duration>> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
    epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, TIMER))?;
    let mut connections = Vec::new();
    for place in 0..CONNECTIONS {
        let stream = TcpStream::connect(front)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, place as u64))?;
        connections.push(Connection { stream, due: None, head: Vec::new() });
    }
    let mut idle: VecDeque<usize> = (0..CONNECTIONS).collect();
    let all = u64::from(rate) * u64::from(seconds);
    let step = Duration::from_secs(1) / rate;
    let begin = Instant::now();
    let due = |number: u64| begin + step * u32::try_from(number).unwrap_or(u32::MAX);
    let (mut sent, mut times) = (0, Vec::new());
    let mut events = [EpollEvent::empty(); 128];
    while (times.len() as u64) < all {
        let now = Instant::now();
        if now > due(all) + PATIENCE {
            return Err(io::Error::other(format!("{} of {all} requests were answered", times.len())));
        }
        while sent < all && due(sent) <= now {
            let Some(place) = idle.pop_front() else { break };
            let connection = &mut connections[place];
            connection.due = Some(due(sent));
            connection.stream.write_all(REQUEST)?;
            sent += 1;
        }
        let wait = match sent < all && !idle.is_empty() {
            true => due(sent).saturating_duration_since(Instant::now()).max(Duration::from_nanos(1)),
            false => PATIENCE,
        };
        timer.set(Expiration::OneShot(TimeSpec::from(wait)), TimerSetTimeFlags::empty())?;
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(Errno::EINTR) => 0,
            other => other?,
        };
        let now = Instant::now();
        for event in &events[..count] {
            let place = usize::try_from(event.data()).unwrap_or(usize::MAX);
            let Some(connection) = connections.get_mut(place) else { continue };
            if connection.is_answered()?
                && let Some(due) = connection.due.take()
            {
                times.push(now - due);
                idle.push_back(place);
            }
        }
    }
    Ok(times)
}

impl Connection {
    /// Reads what there is. The body that ends an answer is known.
    fn is_answered(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.head.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        let whole = self.head.ends_with(b"hello world\n");
        if whole {
            if !self.head.starts_with(b"HTTP/1.1 200") {
                return Err(io::Error::other("an answer was no 200"));
            }
            self.head.clear();
        }
        Ok(whole)
    }
}
