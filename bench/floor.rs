//! The floor: the least that a program must do to hand connections over to workers, and nothing else.
//!
//! It accepts, sends and closes, each connection to the next worker, and reads away what the workers say. It keeps no
//! connection until a worker has it, bounds nothing, queues nothing, starts nothing again, and does not look at answers:
//! whatever goes wrong ends it. What Pointsman costs above it is the price of custody. Usage: `--floor PORT WORKER`,
//! where WORKER is a `pointsman` binary; the workers are its demo.
//!
//! It shares no code with the crate, of which it is to be the measure.

#![allow(unsafe_code, reason = "sendmsg with a descriptor, without the allocation of a safe wrapper")]

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::{mem, ptr};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, accept4, bind, listen, setsockopt, socket,
    sockopt,
};

/// The first argument that asks for it.
pub(crate) const FLAG: &str = "--floor";
/// Workers it starts.
pub(crate) const WORKERS: usize = 2;

/// As Node and Pointsman ask for.
const BACKLOG: i32 = 511;
/// Connections accepted in one turn: as many as Pointsman.
const ACCEPTS: usize = 64;
/// The listener's number among the events; the workers have their places.
const LISTENER: u64 = WORKERS as u64;
/// Every `newconn` up to its sequence number, and after it.
const HEAD: &str = r#"{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_CLUSTER","act":"newconn","key":"floor","seq":"#;
const TAIL: &str = "}}\n";

/// Serves until it is killed, if the arguments (without the program's name) ask for it.
pub(crate) fn run_if_asked(mut args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    if args.next()? != OsStr::new(FLAG) {
        return None;
    }
    let port = args.next().and_then(|text| text.to_str()?.parse().ok());
    let (Some(port), Some(worker)) = (port, args.next()) else {
        eprintln!("floor: usage: {FLAG} PORT WORKER");
        return Some(ExitCode::from(2));
    };
    let Err(error) = serve(port, Path::new(&worker));
    eprintln!("floor: {error}");
    Some(ExitCode::FAILURE)
}

fn serve(port: u16, worker: &Path) -> io::Result<std::convert::Infallible> {
    let mut workers = Vec::with_capacity(WORKERS);
    for number in 0..WORKERS {
        workers.push(start(number, port, worker)?);
    }
    let listener = open(port)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    for (place, channel) in (0..).zip(&workers) {
        epoll.add(channel, EpollEvent::new(EpollFlags::EPOLLIN, place))?;
    }
    let mut handing = Handing::new();
    let mut events = [EpollEvent::empty(); WORKERS + 1];
    let mut heard = vec![0; 64 << 10];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(Errno::EINTR) => 0,
            other => other?,
        };
        for event in &events[..count] {
            match usize::try_from(event.data()).ok().and_then(|place| workers.get(place)) {
                Some(mut channel) => {
                    if channel.read(&mut heard)? == 0 {
                        return Err(io::Error::other("a worker has ended"));
                    }
                }
                None => handing.hand_all(&listener, &workers)?,
            }
        }
    }
}

/// Sends connections to the workers in turn.
struct Handing {
    frame: String,
    /// Of the next connection, which also tells whose turn it is.
    seq: usize,
    control: Control,
}

/// Bytes of one descriptor.
const ONE_DESCRIPTOR: u32 = 4;
/// A control message with one.
// SAFETY: CMSG_LEN is arithmetic on its argument.
const CONTROL_LEN: usize = unsafe { libc::CMSG_LEN(ONE_DESCRIPTOR) } as usize;

/// Room for one control message with one descriptor, aligned as `cmsghdr` must be.
#[repr(C)]
union Control {
    header: libc::cmsghdr,
    // SAFETY: CMSG_SPACE is arithmetic on its argument.
    _bytes: [u8; unsafe { libc::CMSG_SPACE(ONE_DESCRIPTOR) } as usize],
}

impl Handing {
    fn new() -> Self {
        let mut frame = String::with_capacity(HEAD.len() + TAIL.len() + 20);
        frame.push_str(HEAD);
        // SAFETY: every bit pattern, zeros included, is a value of this union of plain data.
        let mut control: Control = unsafe { mem::zeroed() };
        control.header.cmsg_level = libc::SOL_SOCKET;
        control.header.cmsg_type = libc::SCM_RIGHTS;
        control.header.cmsg_len = CONTROL_LEN;
        Self { frame, seq: 0, control }
    }

    /// Until the kernel's queue is empty, or for so long that the workers must be heard again.
    fn hand_all(&mut self, listener: &OwnedFd, workers: &[UnixStream]) -> io::Result<()> {
        for _ in 0..ACCEPTS {
            match accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK) {
                Ok(connection) => {
                    self.hand(workers[self.seq % workers.len()].as_raw_fd(), connection)?;
                    nix::unistd::close(connection)?;
                }
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR | Errno::ECONNABORTED) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn hand(&mut self, channel: RawFd, connection: RawFd) -> io::Result<()> {
        self.frame.truncate(HEAD.len());
        // Writing into a String cannot fail.
        let _ = write!(self.frame, "{}{TAIL}", self.seq);
        self.seq += 1;
        let mut slice =
            libc::iovec { iov_base: self.frame.as_ptr().cast_mut().cast(), iov_len: self.frame.len() };
        // SAFETY: msghdr is plain data for which zeros mean "none".
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_iov = &raw mut slice;
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut self.control).cast();
        header.msg_controllen = CONTROL_LEN;
        // SAFETY: the header points at `control`, which has room for one descriptor behind its cmsghdr; all of them live
        // through the call, and the kernel only reads them.
        let sent = unsafe {
            ptr::write_unaligned(libc::CMSG_DATA(&raw const self.control.header).cast(), connection);
            libc::sendmsg(channel, &raw const header, libc::MSG_NOSIGNAL)
        };
        match usize::try_from(sent) {
            Ok(sent) if sent == self.frame.len() => Ok(()),
            Ok(_) => Err(io::Error::other(
                "a channel is full: this load is too much for a program without a window",
            )),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }
}

/// Starts a worker and answers its question.
fn start(number: usize, port: u16, worker: &Path) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    // This process has one thread, and the next worker is started when this is closed again.
    fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty()))?;
    let mut command = Command::new(worker);
    command.arg("demo-worker");
    command.env("NODE_CHANNEL_FD", theirs.as_raw_fd().to_string());
    command.env("NODE_CHANNEL_SERIALIZATION_MODE", "json");
    command.env("NODE_UNIQUE_ID", (number + 1).to_string());
    command.env("POINTSMAN_SLOT", number.to_string()).env("PORT", port.to_string());
    // It ends with its channel, and nobody waits for it.
    drop(command.spawn()?);
    drop(theirs);
    let question = BufReader::new(&ours).lines().map_while(Result::ok).find_map(|line| seq_of_query(&line));
    let ack = question.ok_or_else(|| io::Error::other("a worker has not asked to listen"))?;
    let answer = format!(
        r#"{{"cmd":"NODE_CLUSTER","errno":null,"key":"floor","ack":{ack},"data":null,"sockname":{{"address":"127.0.0.1","family":"IPv4","port":{port}}},"seq":0}}"#
    );
    (&ours).write_all(format!("{answer}\n").as_bytes())?;
    ours.set_nonblocking(true)?;
    Ok(ours)
}

/// The sequence number of a `queryServer`.
fn seq_of_query(line: &str) -> Option<u64> {
    let seq = line.contains(r#""act":"queryServer""#).then(|| line.split_once(r#""seq":"#))??.1;
    seq.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn open(port: u16) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let listener = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    setsockopt(&listener, sockopt::ReuseAddr, &true)?;
    let [a, b, c, d] = Ipv4Addr::LOCALHOST.octets();
    bind(listener.as_raw_fd(), &SockaddrIn::new(a, b, c, d, port))?;
    listen(&listener, Backlog::new(BACKLOG)?)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::IoSliceMut;
    use std::net::{TcpListener, TcpStream};

    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

    #[test]
    fn a_question_is_found_and_numbered() {
        let query = r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"port":8000,"seq":12}"#;
        assert_eq!(seq_of_query(query), Some(12));
        assert_eq!(seq_of_query(r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#), None);
    }

    #[test]
    fn every_worker_has_its_turn_and_every_connection_its_frame() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let mut clients: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
        let (ours, theirs): (Vec<_>, Vec<_>) = (0..2).map(|_| UnixStream::pair().unwrap()).unzip();
        Handing::new().hand_all(&OwnedFd::from(listener), &ours).unwrap();

        for (seq, client) in clients.iter_mut().enumerate() {
            let mut buffer = [0; 256];
            let mut slices = [IoSliceMut::new(&mut buffer)];
            let mut space = nix::cmsg_space!(RawFd);
            let channel = theirs[seq % 2].as_raw_fd();
            let got = recvmsg::<()>(channel, &mut slices, Some(&mut space), MsgFlags::empty()).unwrap();
            let length = got.bytes;
            let Some(ControlMessageOwned::ScmRights(descriptors)) = got.cmsgs().unwrap().next() else {
                panic!("no descriptor came");
            };
            assert_eq!(descriptors.len(), 1);
            assert_eq!(String::from_utf8_lossy(&buffer[..length]), format!("{HEAD}{seq}{TAIL}"));
            nix::unistd::close(descriptors[0]).unwrap();
            assert_eq!(client.read(&mut [0]).unwrap(), 0, "nobody else holds it");
        }
    }
}
