//! A server on threads of this process: it shows what reaches it, and answers as it is told.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::Pointsman;

#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    accepted: AtomicUsize,
    open: AtomicUsize,
    requests: Mutex<Vec<Request>>,
}

/// What has come.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    /// Its head, with the empty line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// On the how-manieth connection, from 1 on.
    pub(crate) connection: usize,
}

/// One connection to it.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) stream: TcpStream,
    rest: Vec<u8>,
    pub(crate) number: usize,
    /// Behind the stream, and so dropped after it: what is counted as closed is.
    open: Open,
}

/// Counts as a connection that is open.
#[derive(Debug)]
struct Open(Arc<Seen>);

impl Upstream {
    /// Has each connection served by this, on a thread of its own. What fails there ends the connection, and is seen by who
    /// is at its other end.
    pub(crate) fn start(serve: impl Fn(&mut Served) -> Option<()> + Send + Sync + 'static) -> Self {
        Self::at(0, serve)
    }

    /// The same on a port that is known before.
    pub(crate) fn at(port: u16, serve: impl Fn(&mut Served) -> Option<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let upstream = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let (serve, seen) = (Arc::new(serve), Arc::clone(&upstream.seen));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (serve, seen) = (Arc::clone(&serve), Arc::clone(&seen));
                let number = seen.accepted.fetch_add(1, Ordering::SeqCst) + 1;
                seen.open.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    let _ = stream.set_nodelay(true);
                    let mut served = Served { stream, rest: Vec::new(), number, open: Open(seen) };
                    serve(&mut served);
                });
            }
        });
        upstream
    }

    /// Answers every request with this text, and keeps the connection.
    pub(crate) fn saying(text: &'static str) -> Self {
        Self::start(move |served| {
            loop {
                served.request()?;
                served.answer(text)?;
            }
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there were.
    pub(crate) fn accepted(&self) -> usize {
        self.seen.accepted.load(Ordering::SeqCst)
    }

    /// How many there are.
    pub(crate) fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    /// What has come so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// The only request so far.
    #[track_caller]
    pub(crate) fn only(&self) -> Request {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests[0].clone()
    }
}

impl Pointsman {
    /// Forwards requests to these, and has no workers.
    pub(crate) fn before(upstreams: &[&Upstream]) -> Self {
        let addresses: Vec<_> = upstreams.iter().map(|upstream| upstream.address.to_string()).collect();
        Self::before_addresses(&addresses)
    }

    /// The same by address, with what may stand behind one.
    pub(crate) fn before_addresses(list: &[String]) -> Self {
        let run = Self::run().option("-m", "multiport").workers(0);
        list.iter().fold(run, |run, upstream| run.option("--upstreams", upstream))
    }
}

impl Served {
    /// The next head.
    pub(crate) fn head(&mut self) -> Option<Request> {
        let end = loop {
            if let Some(at) = self.rest.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.read_more()?;
        };
        let head = String::from_utf8_lossy(&self.take(end)?).into_owned();
        Some(Request { head, body: Vec::new(), connection: self.number })
    }

    /// The next request, which is remembered.
    pub(crate) fn request(&mut self) -> Option<Request> {
        let mut request = self.head()?;
        request.body = match (request.value("Content-Length"), request.value("Transfer-Encoding")) {
            (Some(length), _) => self.take(length.parse().ok()?)?,
            (None, Some(_)) => self.chunks()?,
            (None, None) => Vec::new(),
        };
        self.open.0.requests.lock().unwrap().push(request.clone());
        Some(request)
    }

    /// A body in chunks, without what is behind the last.
    fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Some(body);
            }
            body.extend(self.take(size)?);
            self.line()?;
        }
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.rest.windows(2).position(|window| window == b"\r\n") {
                let line = self.take(at + 2)?;
                return Some(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            self.read_more()?;
        }
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.rest.len() < length {
            self.read_more()?;
        }
        let rest = self.rest.split_off(length);
        Some(std::mem::replace(&mut self.rest, rest))
    }

    fn read_more(&mut self) -> Option<()> {
        let mut buffer = [0; 64 << 10];
        let count = self.stream.read(&mut buffer).ok().filter(|&count| count > 0)?;
        self.rest.extend_from_slice(&buffer[..count]);
        Some(())
    }

    /// Answers 200 with this text.
    pub(crate) fn answer(&mut self, text: &str) -> Option<()> {
        self.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).as_bytes())
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.write_all(bytes).ok()
    }

    /// Waits until the other end says nothing more.
    pub(crate) fn wait_end(&mut self) -> Option<()> {
        while self.read_more().is_some() {}
        Some(())
    }

    /// Ends with a reset.
    pub(crate) fn reset(&mut self) -> Option<()> {
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        nix::sys::socket::setsockopt(&self.stream, nix::sys::socket::sockopt::Linger, &linger).ok()?;
        None
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Request {
    /// Its first line.
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The values of a field, in order.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.values(name).first().copied()
    }
}
