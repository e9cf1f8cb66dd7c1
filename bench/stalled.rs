//! A thousand clients of a control socket that connect and stall, each in one of three ways.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// More than a master lets in at once.
const CLIENTS: usize = 1000;

/// Between two looks whether the socket is there.
const PAUSE: Duration = Duration::from_millis(10);

/// Connects them to the socket as soon as it is there, and holds them until it is gone.
pub(crate) fn stall(socket: PathBuf) {
    thread::spawn(move || {
        let clients = loop {
            match connect(&socket) {
                Ok(clients) => break clients,
                // The front may have failed to start: then the directory goes.
                Err(_) if socket.ancestors().nth(2).is_some_and(Path::exists) => pause(),
                Err(_) => return,
            }
        };
        while socket.exists() {
            pause();
        }
        drop(clients);
    });
}

/// Nobody unparks this thread.
fn pause() {
    thread::park_timeout(PAUSE);
}

fn connect(socket: &Path) -> std::io::Result<Vec<UnixStream>> {
    let mut clients = Vec::with_capacity(CLIENTS);
    for number in 0..CLIENTS {
        let mut client = UnixStream::connect(socket)?;
        // It may be full of others that wait for something, and closed at once.
        let _ = client.write_all(match number % 3 {
            0 => b"".as_slice(),
            1 => b"{\"id\":1,\"verb\":\"sta",
            // Never read.
            _ => b"{\"id\":1,\"verb\":\"events\"}\n{\"id\":2,\"verb\":\"status\"}\n",
        });
        clients.push(client);
    }
    Ok(clients)
}
