//! The worker's side: one line of a client, one line for an answer; messages are sent back.
//!
//! With `LIMIT` in its environment it serves so many at a time, each on a thread, and says of each that it has it.

use std::{
    env,
    error::Error,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr},
    os::fd::AsFd,
    process, thread,
};

use pointsman::{Stream, Worker, WorkerEvent};
use serde_json::json;

/// Serves until the master lets it go.
pub(crate) fn serve() -> Result<(), Box<dyn Error>> {
    let mut worker = Worker::from_env()?;
    let port: u16 = env::var("PORT")?.parse()?;
    worker.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    if let Ok(limit) = env::var("LIMIT") {
        return serve_at_once(worker, limit.parse()?);
    }
    while let Some(event) = worker.next_event()? {
        match event {
            WorkerEvent::Connection(connection) => answer(&connection.into_stream())?,
            WorkerEvent::Message(message) => {
                // Whatever is no `NODE_` command on the channel is a message.
                let text = json!({ "worker": worker.id().0, "got": message }).to_string() + "\n";
                nix::unistd::write(worker.as_fd(), text.as_bytes())?;
            }
            WorkerEvent::Disconnect | WorkerEvent::Closed => break,
            _ => {}
        }
    }
    Ok(())
}

fn serve_at_once(mut worker: Worker, limit: usize) -> Result<(), Box<dyn Error>> {
    worker.set_max_connections(limit);
    while let Some(connection) = worker.accept()? {
        assert!(worker.open_connections() <= limit, "{} are open", worker.open_connections());
        nix::unistd::write(worker.as_fd(), b"\"taken\"\n")?;
        thread::spawn(move || {
            let (stream, guard) = connection.into_parts();
            answer(&stream).unwrap();
            drop(stream);
            drop(guard);
        });
    }
    Ok(worker.drain()?)
}

/// Answers the first line of a client: `pid`, `env NAME`, or `hold`, which wants another line first.
fn answer(stream: &Stream) -> Result<(), Box<dyn Error>> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut next = || lines.next().transpose().map(Option::unwrap_or_default);
    let line = next()?;
    let answer = match line.split_once(' ') {
        Some(("env", name)) => env::var(name).unwrap_or_default(),
        None if line == "hold" => next()?,
        _ => process::id().to_string(),
    };
    let mut stream = stream;
    writeln!(stream, "{answer}")?;
    Ok(())
}
