//! The floor of a proxy: read, write, read, write for each request, and nothing else.
//!
//! Each client has an upstream connection of its own, to each upstream in turn; what comes on the one is written to the other.
//! Nothing is parsed, kept, timed or counted, and a write that does not take everything ends the program. What Pointsman costs
//! above it is the price of being an intermediary. It shares no code with the crate, of which it is to be the measure.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

const LISTENER: u64 = u64::MAX;
const BUFFER: usize = 64 << 10;

/// Serves for ever.
pub(crate) fn serve(
    listener: &TcpListener,
    upstreams: &[SocketAddr],
) -> io::Result<std::convert::Infallible> {
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    // The two ends of an exchange stand beside each other.
    let mut ends: Vec<Option<TcpStream>> = Vec::new();
    let mut turn = 0;
    let mut events = [EpollEvent::empty(); 512];
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(Errno::EINTR) => 0,
            other => other?,
        };
        for event in &events[..count] {
            if event.data() == LISTENER {
                while let Some(client) = accept(listener)? {
                    let upstream = TcpStream::connect(upstreams[turn % upstreams.len()])?;
                    upstream.set_nonblocking(true)?;
                    turn += 1;
                    let at = (0..ends.len()).step_by(2).find(|&at| ends[at].is_none()).unwrap_or(ends.len());
                    for (place, stream) in (at..).zip([client, upstream]) {
                        stream.set_nodelay(true)?;
                        let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
                        epoll.add(&stream, EpollEvent::new(edge, place as u64))?;
                        match ends.get_mut(place) {
                            Some(slot) => *slot = Some(stream),
                            None => ends.push(Some(stream)),
                        }
                    }
                }
                continue;
            }
            let here = usize::try_from(event.data()).map_err(io::Error::other)?;
            let there = here ^ 1;
            let (Some(from), Some(to)) = (&ends[here], &ends[there]) else { continue };
            match nix::unistd::read(from.as_fd(), &mut buffer) {
                Ok(0) | Err(Errno::ECONNRESET) => (ends[here], ends[there]) = (None, None),
                Ok(count) => {
                    if nix::unistd::write(to.as_fd(), &buffer[..count])? != count {
                        return Err(io::Error::other("a write was short: this load is too much for a floor"));
                    }
                }
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

fn accept(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    match listener.accept() {
        Ok((stream, _)) => {
            stream.set_nonblocking(true)?;
            Ok(Some(stream))
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}
