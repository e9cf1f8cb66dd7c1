//! A client that never waits: the thread that it is on drives the cluster.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
};

/// A question on a connection of its own.
#[derive(Debug)]
pub(crate) struct Call {
    stream: TcpStream,
    text: Vec<u8>,
    ended: bool,
}

impl Call {
    pub(crate) fn new(address: SocketAddr, question: &str) -> Self {
        // The kernel connects, whether or not anybody accepts.
        let mut call = Self { stream: TcpStream::connect(address).unwrap(), text: Vec::new(), ended: false };
        call.stream.set_nonblocking(true).unwrap();
        call.say(question);
        call
    }

    /// Sends a line.
    pub(crate) fn say(&mut self, line: &str) {
        // So little always has room.
        self.stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Says that nothing more follows.
    pub(crate) fn ends(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// The answer, once it has come.
    pub(crate) fn answer(&mut self) -> Option<String> {
        let mut buffer = [0; 1024];
        while !self.ended {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.ended = true,
                // It was closed with something of ours unread.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => self.ended = true,
                Ok(length) => self.text.extend(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => panic!("{error}"),
            }
        }
        Some(String::from_utf8_lossy(&self.text).trim_end().to_owned())
    }
}
