//! A connection, and what has come on it. Retries what a signal interrupts, and waits no longer than it is told.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// More than any answer to a token.
const READ_BYTES: usize = 4096;

#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    /// Came and is not taken yet.
    pub(super) bytes: Vec<u8>,
    /// What of the requests on it the kernel has taken.
    pub(super) sent: usize,
}

/// What a connection does while nobody asks anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    Quiet,
    Closed,
    /// Bytes that nobody asked for.
    Speaks,
}

impl Wire {
    pub(super) fn connect(address: SocketAddr, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self { stream, bytes: Vec::new(), sent: 0 })
    }

    pub(super) fn port(&self) -> u16 {
        self.stream.local_addr().map_or(0, |address| address.port())
    }

    pub(super) fn send(&mut self, mut request: &[u8]) -> io::Result<()> {
        while !request.is_empty() {
            match self.stream.write(request) {
                Ok(length) => {
                    self.sent += length;
                    request = &request[length..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads once. Returns false at the end of the connection.
    pub(super) fn read(&mut self, patience: Duration) -> io::Result<bool> {
        self.stream.set_read_timeout(Some(patience))?;
        let mut buffer = [0; READ_BYTES];
        let length = loop {
            match self.stream.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.bytes.extend_from_slice(&buffer[..length]);
        Ok(length > 0)
    }

    /// Waits so long for something that should not happen.
    pub(super) fn rest(&mut self, pause: Duration) -> Rest {
        match self.read(pause) {
            Ok(true) => Rest::Speaks,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Rest::Quiet,
            Ok(false) | Err(_) => Rest::Closed,
        }
    }
}
