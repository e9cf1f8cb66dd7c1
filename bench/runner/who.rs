//! Who serves an address: asked over HTTP, as any client would.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// For one answer from an idle worker.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Asks whichever worker the front chooses.
pub(super) fn pid_of_a_worker(address: SocketAddr, path: &str) -> io::Result<i32> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    // In one write: each `write!` part would be a packet of its own.
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    body.and_then(pid_in).ok_or_else(|| io::Error::other("no process id in the answer"))
}

/// The number after the word `pid`, or the one that is all there is.
fn pid_in(body: &str) -> Option<i32> {
    let mut words = body.split(|c: char| !c.is_ascii_alphanumeric());
    let named = words.by_ref().find(|word| *word == "pid").and_then(|_| words.find(|word| !word.is_empty()));
    named.unwrap_or(body.trim()).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_tells_its_pid_alone_or_by_name() {
        assert_eq!(pid_in("4711"), Some(4711));
        assert_eq!(pid_in("worker 2 (slot 1, pid 4711) answered\n\nGET /slow"), Some(4711));
        assert_eq!(pid_in(r#"{"token":null,"pid":4711,"count":1}"#), Some(4711));
        assert_eq!(pid_in("404 Not Found\n"), None);
    }
}
