//! A blocking HTTP/1.1 client that shows what happens on the connection.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    time::Duration,
};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};
use serde_json::Value;

/// No answer takes this long.
const TIMEOUT: Duration = Duration::from_secs(30);

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    /// Read and not yet part of a response.
    rest: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_nodelay(true)?;
        Self::on(stream)
    }

    /// From this address of this machine.
    pub(crate) fn connect_from(from: Ipv4Addr, to: SocketAddr) -> io::Result<Self> {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(from, 0)))?;
        let SocketAddr::V4(to) = to else { return Err(io::ErrorKind::Unsupported.into()) };
        connect(socket.as_raw_fd(), &SockaddrIn::from(to))?;
        Self::on(socket.into())
    }

    /// By the path of a Unix socket.
    pub(crate) fn connect_unix(path: &Path) -> io::Result<Self> {
        // What is done with a stream here, every kind of stream socket can do.
        Self::on(OwnedFd::from(UnixStream::connect(path)?).into())
    }

    fn on(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, rest: Vec::new() })
    }

    /// Sends a GET and does not wait: several may be on their way.
    pub(crate) fn send_get(&mut self, path: &str) -> io::Result<()> {
        self.stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes())
    }

    /// Ends the connection with a reset instead of an orderly close.
    pub(crate) fn reset(self) {
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&self.stream, sockopt::Linger, &linger).unwrap();
    }

    /// Sends these bytes and nothing else.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends these bytes and reads a response.
    pub(crate) fn ask(&mut self, bytes: &str) -> io::Result<Response> {
        self.stream.write_all(bytes.as_bytes())?;
        self.receive()
    }

    /// Reads so many bytes.
    pub(crate) fn receive_raw(&mut self, length: usize) -> io::Result<Vec<u8>> {
        self.take(length)
    }

    /// Reads everything up to the end of the connection.
    pub(crate) fn receive_all(&mut self) -> io::Result<Vec<u8>> {
        while self.read_more()? {}
        Ok(std::mem::take(&mut self.rest))
    }

    /// Sends as many of these bytes as the kernel takes at once.
    pub(crate) fn send_some(&mut self, bytes: &[u8]) {
        self.stream.set_nonblocking(true).unwrap();
        let mut left = bytes;
        while let Ok(sent @ 1..) = self.stream.write(left) {
            left = &left[sent..];
        }
        self.stream.set_nonblocking(false).unwrap();
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish_sending(&self) {
        // A server that has closed already is told nothing new.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    pub(crate) fn get(&mut self, path: &str) -> io::Result<Response> {
        self.send_get(path)?;
        self.receive()
    }

    pub(crate) fn post(&mut self, path: &str, body: &[u8]) -> io::Result<Response> {
        let head = format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len());
        self.stream.write_all(head.as_bytes())?;
        self.stream.write_all(body)?;
        self.receive()
    }

    /// Reads the next response, past those that say to go on; one without a length is read to the end of the connection.
    pub(crate) fn receive(&mut self) -> io::Result<Response> {
        let mut response = self.receive_head()?;
        while response.status == 100 {
            response = self.receive_head()?;
        }
        response.body = if response.headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked")
        {
            self.take_chunks()?
        } else if let Some(length) = response.headers.get("content-length") {
            self.take(length.parse().map_err(|_| invalid("a length that is no number"))?)?
        } else {
            while self.read_more()? {}
            std::mem::take(&mut self.rest)
        };
        Ok(response)
    }

    /// Reads the head of the next response, and no body.
    pub(crate) fn receive_head(&mut self) -> io::Result<Response> {
        let head = self.take_until(b"\r\n\r\n")?;
        let head = String::from_utf8(head).map_err(|_| invalid("a head that is not UTF-8"))?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| invalid("a response without a status"))?;
        let header =
            |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Ok(Response { status, headers: lines.filter_map(header).collect(), body: Vec::new() })
    }

    /// Whether anything has come that is not read yet.
    pub(crate) fn has_answer(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        !self.rest.is_empty() || peeked.is_ok()
    }

    /// Waits for the server to close, and says whether nothing came before that.
    pub(crate) fn is_closed_by_server(&mut self) -> bool {
        match self.read_more() {
            Ok(more) => !more && self.rest.is_empty(),
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    fn take_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.take_until(b"\r\n")?;
            let text = String::from_utf8_lossy(&line);
            let size =
                usize::from_str_radix(text.trim_end(), 16).map_err(|_| invalid("a chunk without a size"))?;
            let mut chunk = self.take(size + 2)?;
            chunk.truncate(size);
            if chunk.is_empty() {
                return Ok(body);
            }
            body.append(&mut chunk);
        }
    }

    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.rest.len() < length {
            if !self.read_more()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let rest = self.rest.split_off(length);
        Ok(std::mem::replace(&mut self.rest, rest))
    }

    fn take_until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(place) = self.rest.windows(end.len()).position(|window| window == end) {
                return self.take(place + end.len());
            }
            if !self.read_more()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Returns false at the end of the connection.
    fn read_more(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 64 << 10];
        let length = loop {
            // A read with a time-out is not taken up again after the whole process was stopped.
            match self.stream.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.rest.extend_from_slice(&buffer[..length]);
        Ok(length > 0)
    }
}

impl Response {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// The number after the word `name` in the body: every worker of these tests says its `pid`, `slot` and `worker`,
    /// in JSON or in a sentence.
    pub(crate) fn number(&self, name: &str) -> u32 {
        let text = self.text();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric()).skip_while(|&word| word != name);
        let number = words.skip(1).find_map(|word| word.parse().ok());
        number.unwrap_or_else(|| panic!("no number after {name} in {text:?}"))
    }

    /// Who answered.
    pub(crate) fn pid(&self) -> u32 {
        self.number("pid")
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
