//! What stands behind every front: a small HTTP server of one thread that costs as little as it can, so that the front is
//! what is measured. `GET /` is a short answer, `/pid` its process id, `/bytes/N` an answer of N bytes; of a POST the body is
//! read and thrown away.
//!
//! It trusts its requests, shares no code with the crate, and ends when anything goes wrong.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

const LISTENER: u64 = u64::MAX;
const BUFFER: usize = 256 << 10;
/// What a small answer says: as long as that of the workers of the other benches.
const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\nKeep-Alive: timeout=60\r\n\r\nhello world\n";

/// Serves for ever.
pub(crate) fn serve(listener: &TcpListener) -> io::Result<std::convert::Infallible> {
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = [EpollEvent::empty(); 256];
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(Errno::EINTR) => 0,
            other => other?,
        };
        for event in &events[..count] {
            if event.data() == LISTENER {
                accept(listener, &epoll, &mut connections)?;
                continue;
            }
            let place = usize::try_from(event.data()).map_err(io::Error::other)?;
            let Some(slot) = connections.get_mut(place) else { continue };
            // One that is gone is a client's affair.
            if slot.as_mut().is_some_and(|connection| connection.go_on(&mut buffer).unwrap_or(true)) {
                *slot = None;
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    epoll: &Epoll,
    connections: &mut Vec<Option<Connection>>,
) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let place = connections.iter().position(Option::is_none).unwrap_or(connections.len());
                let both =
                    EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
                epoll.add(&stream, EpollEvent::new(both, place as u64))?;
                let connection =
                    Connection { stream, head: Vec::new(), body: 0, owed: 0, end: &[], over: false };
                match connections.get_mut(place) {
                    Some(slot) => *slot = Some(connection),
                    None => connections.push(Some(connection)),
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

struct Connection {
    stream: TcpStream,
    /// Of the head that is not whole yet.
    head: Vec<u8>,
    /// Bytes of a request's body that are still to come, before it is answered.
    body: u64,
    /// Bytes of an answer's body that are still to go.
    owed: u64,
    /// How an answer to a POST begins and ends.
    end: &'static [u8],
    /// Nothing is answered any more.
    over: bool,
}

impl Connection {
    /// Reads and writes as far as that goes. Returns whether it is over.
    fn go_on(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        loop {
            if !self.pay(buffer)? {
                return Ok(false);
            }
            match self.stream.read(buffer) {
                Ok(0) => return Ok(true),
                Ok(count) => {
                    self.take(&buffer[..count])?;
                    if self.over {
                        return Ok(true);
                    }
                    if count < buffer.len() && self.owed == 0 {
                        return Ok(false);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends what is owed; false when there is no room for all of it.
    fn pay(&mut self, buffer: &[u8]) -> io::Result<bool> {
        while self.owed > 0 {
            let most = usize::try_from(self.owed).unwrap_or(usize::MAX).min(buffer.len());
            match self.stream.write(&buffer[..most]) {
                Ok(count) => self.owed -= count as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.body > 0 {
                let part = usize::try_from(self.body).unwrap_or(usize::MAX).min(bytes.len());
                bytes = &bytes[part..];
                self.body -= part as u64;
                if self.body == 0 {
                    self.stream.write_all(self.end)?;
                }
                continue;
            }
            let end = match self.head.is_empty() {
                true => find(bytes),
                false => None,
            };
            match end {
                Some(end) => {
                    self.answer(&bytes[..end])?;
                    bytes = &bytes[end..];
                }
                None => {
                    self.head.extend_from_slice(bytes);
                    let Some(end) = find(&self.head) else { return Ok(()) };
                    let all = std::mem::take(&mut self.head);
                    self.answer(&all[..end])?;
                    // What stands behind a head that came in pieces: at most what has just come.
                    return self.take(&all[end..]);
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self, head: &[u8]) -> io::Result<()> {
        let target = head.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
        if head.starts_with(b"POST") {
            self.body = number_behind(head, b"ontent-length: ")
                .or_else(|| number_behind(head, b"ontent-Length: "))
                .unwrap_or(0);
            self.end = HELLO;
            return if self.body == 0 { self.stream.write_all(HELLO) } else { Ok(()) };
        }
        if target == b"/pid" {
            let pid = std::process::id().to_string();
            // Whoever asks for it asks each connection once.
            self.over = true;
            let answer =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{pid}", pid.len());
            return self.stream.write_all(answer.as_bytes());
        }
        let Some(length) = number_behind(head, b"/bytes/") else { return self.stream.write_all(HELLO) };
        self.owed = length;
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        self.stream.write_all(answer.as_bytes())
    }
}

fn find(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn number_behind(head: &[u8], words: &[u8]) -> Option<u64> {
    let at = head.windows(words.len()).position(|some| some == words)? + words.len();
    let digits: Vec<u8> = head[at..].iter().copied().take_while(u8::is_ascii_digit).collect();
    String::from_utf8(digits).ok()?.parse().ok()
}
