//! The kernel's word on TCP sockets that are over, by `NETLINK_SOCK_DIAG` (sock_diag(7)); needs no privilege.
//!
//! Every socket has a 64-bit [`Cookie`] that is never given twice. The kernel reports it when the socket is destroyed:
//! once its last descriptor is closed, in whatever process, and TCP has been answered. What enters is the kernel's
//! messages, what leaves is cookies, those of strangers too: the whole network namespace is reported.
//!
//! When more is destroyed than the receive buffer holds, notifications are lost. The kernel says so, and [`Dump`] asks
//! it for what is left. Not known here: what a connection is to anybody.

#![allow(unsafe_code, reason = "recvmmsg and two socket options, into and out of plain memory")]

use std::{
    array, io, mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    ptr,
};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt,
};

/// The kernel's number for a socket, of which there is never another.
pub(crate) type Cookie = u64;

/// How far [`Notifications::read`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// There are no more for now. The next one makes the socket readable again, also for an edge-triggered wait.
    Drained,
    /// There are more than one turn may take: read again, without waiting.
    More,
    /// There are no more for now, but some were lost on the way: only [`Dump`] tells now.
    Lost,
}

/// Notifications of destroyed TCP sockets. Readable when there is one, or when one was lost.
#[derive(Debug)]
pub(crate) struct Notifications {
    socket: OwnedFd,
    slots: Box<[[u8; SLOT]; BATCH as usize]>,
    /// The kernel has said that it lost some, and nobody was told yet.
    lost: bool,
}

/// `SKNLGRP_INET_TCP_DESTROY` (1) and `SKNLGRP_INET6_TCP_DESTROY` (3) of `<linux/sock_diag.h>`, as bits.
const GROUPS: u32 = 0b101;

/// Asked of the kernel for what was not read yet. It doubles this, gives the unprivileged no more than
/// `net.core.rmem_max`, and takes 1280 bytes for each notification: this is room for 6500.
const BUFFER: usize = 4 << 20;

/// Bytes kept of a notification: it is one message, and what follows its fixed part is of no interest.
const SLOT: usize = HEADER + SOCKET;

/// Notifications taken by one system call.
const BATCH: u32 = 64;

/// System calls of one [`Notifications::read`], so that others have their turn.
const BATCHES: usize = 32;

/// Ports that a filter can hold, by the width of its jumps.
const PORTS: usize = u8::MAX as usize;

impl Notifications {
    /// Has the kernel notify this process from now on. Close-on-exec and non-blocking.
    pub(crate) fn open() -> io::Result<Self> {
        let notifications = Self::deaf(BUFFER)?;
        notifications.join()?;
        Ok(notifications)
    }

    /// Nothing comes before [`Notifications::join`].
    fn deaf(bytes: usize) -> io::Result<Self> {
        let socket = diag_socket()?;
        if setsockopt(&socket, sockopt::RcvBufForce, &bytes).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &bytes)?;
        }
        Ok(Self { socket, slots: Box::new([[0; SLOT]; BATCH as usize]), lost: false })
    }

    fn join(&self) -> io::Result<()> {
        Ok(bind(self.socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?)
    }

    /// Has the kernel leave out sockets whose local port is none of `ports`, before they take room in the buffer: those
    /// of strangers, and the client's end of a local connection. With more than 255 ports all sockets are reported.
    ///
    /// Connections that a firewall diverts to a transparent socket (`TPROXY`) keep the port that their client named,
    /// and would be left out.
    pub(crate) fn only_from(&self, ports: &[u16]) -> io::Result<()> {
        let mut code = filter(ports);
        let program = libc::sock_fprog {
            len: u16::try_from(code.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
            filter: code.as_mut_ptr(),
        };
        let number = self.socket.as_raw_fd();
        let (pointer, length) = ((&raw const program).cast(), length_of::<libc::sock_fprog>());
        // SAFETY: pointer and length describe `program`, which describes `code`; the kernel copies both.
        let result =
            unsafe { libc::setsockopt(number, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, pointer, length) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Reads what is there, or as much as one turn may take, and passes on the cookies of the sockets that are over.
    pub(crate) fn read(&mut self, mut each: impl FnMut(Cookie)) -> io::Result<Read> {
        for _ in 0..BATCHES {
            match self.receive(&mut each) {
                // Less than there was room for: the queue was empty. After a loss that must be seen for certain.
                Ok(count) if count < BATCH as usize && !self.lost => return Ok(Read::Drained),
                Ok(_) => {}
                Err(error) => match error.raw_os_error() {
                    // Until the queue is empty the kernel loses all that comes and does not say so again. So nobody is
                    // told before that: what [`Dump`] says would not be the last word.
                    Some(libc::ENOBUFS) => self.lost = true,
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN) => {
                        return Ok(if mem::take(&mut self.lost) { Read::Lost } else { Read::Drained });
                    }
                    _ => return Err(error),
                },
            }
        }
        Ok(Read::More)
    }

    /// One system call. Who sent a message is not looked at: the kernel lets nobody write to this socket but itself
    /// and those who own the network namespace.
    fn receive(&mut self, each: &mut impl FnMut(Cookie)) -> io::Result<usize> {
        let mut slices = array::from_fn::<_, { BATCH as usize }, _>(|index| {
            let slot = &mut self.slots[index];
            libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() }
        });
        // SAFETY: mmsghdr is plain data for which zeros mean "none".
        let mut headers: [libc::mmsghdr; BATCH as usize] = unsafe { mem::zeroed() };
        for (header, slice) in headers.iter_mut().zip(&mut slices) {
            header.msg_hdr.msg_iov = slice;
            header.msg_hdr.msg_iovlen = 1;
        }
        let number = self.socket.as_raw_fd();
        // SAFETY: there are BATCH headers, and each points at one slice, which describes one slot; all outlive the call.
        let count = unsafe {
            libc::recvmmsg(number, headers.as_mut_ptr(), BATCH, libc::MSG_DONTWAIT as _, ptr::null_mut())
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (header, slot) in headers.iter().zip(&*self.slots).take(count) {
            let length = slot.len().min(header.msg_len as usize);
            if let Some(socket) = next_message(&mut &slot[..length]).and_then(|message| message.socket()) {
                each(socket.cookie);
            }
        }
        Ok(count)
    }
}

impl AsFd for Notifications {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The cookie of a socket.
pub(crate) fn cookie(socket: impl AsFd) -> io::Result<Cookie> {
    let mut cookie: Cookie = 0;
    let mut length = length_of::<Cookie>();
    let number = socket.as_fd().as_raw_fd();
    let pointer = (&raw mut cookie).cast();
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `cookie`.
    let result =
        unsafe { libc::getsockopt(number, libc::SOL_SOCKET, libc::SO_COOKIE, pointer, &raw mut length) };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// Bytes of one answer: no dump writes more at a time.
const ANSWER: usize = 32 << 10;

/// `AF_INET` and `AF_INET6`.
const INET: u8 = 2;
const INET6: u8 = 10;

/// Asks for the cookies of all TCP connections that somebody has a descriptor of, whoever it is, in steps.
///
/// A connection that was reset is not among them, even if its descriptor is not closed yet. One that begins after the
/// first step may be, or not. The kernel walks its table of connections, once for IPv4 and once for IPv6, within the
/// steps: none waits for anybody, and each ends when its answer is full, or after 5 ms where a table of 262144 places is
/// empty.
#[derive(Debug)]
pub(crate) struct Dump {
    socket: OwnedFd,
    family: u8,
    buffer: Vec<u8>,
}

impl Dump {
    /// Asks.
    pub(crate) fn start() -> io::Result<Self> {
        Ok(Self { socket: ask(INET)?, family: INET, buffer: vec![0; ANSWER] })
    }

    /// Reads one answer, and says whether it was the last.
    pub(crate) fn step(&mut self, each: &mut impl FnMut(Cookie)) -> io::Result<bool> {
        match (self.read_answer(each), self.family) {
            (Ok(false), _) => Ok(false),
            (Ok(true), INET) => {
                self.socket = ask(INET6)?;
                self.family = INET6;
                Ok(false)
            }
            // This kernel has no IPv6.
            (Err(error), INET6) if error.raw_os_error() == Some(libc::ENOENT) => Ok(true),
            (other, _) => other,
        }
    }

    fn read_answer(&mut self, each: &mut impl FnMut(Cookie)) -> io::Result<bool> {
        // The whole length, also of what did not fit. It never blocks: the next step of the walk is done here.
        let length = recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_TRUNC)?;
        let mut answer = self.buffer.get(..length).ok_or(io::ErrorKind::InvalidData)?;
        while let Some(message) = next_message(&mut answer) {
            match message.kind {
                DONE | ERROR => {
                    // A negative error number, or 0 after a whole walk.
                    let errno = i32_at(message.body, 0).ok_or(io::ErrorKind::InvalidData)?;
                    return if errno == 0 {
                        Ok(true)
                    } else {
                        Err(io::Error::from_raw_os_error(errno.saturating_neg()))
                    };
                }
                _ => {
                    // TCP goes on without a descriptor, and without a socket (`TIME_WAIT`), under the same cookie.
                    let held = message.socket().filter(|socket| socket.inode != 0);
                    held.into_iter().for_each(|socket| each(socket.cookie));
                }
            }
        }
        Ok(false)
    }
}

fn ask(family: u8) -> io::Result<OwnedFd> {
    let socket = diag_socket()?;
    send(socket.as_raw_fd(), &request(family), MsgFlags::empty())?;
    Ok(socket)
}

/// Gives the kernel something to notify of, and returns its name: not every kernel notifies, nor every sandbox that acts
/// as one. What is unfiltered brings it, in less than a millisecond, or nothing does.
pub(crate) fn provoke() -> io::Result<Cookie> {
    // A socket that was never connected is reported like any other, and needs no port.
    let unused = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    cookie(&unused)
}

/// The length of an option.
#[expect(clippy::cast_possible_truncation, reason = "an option has a few bytes")]
const fn length_of<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

fn diag_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkSockDiag)?)
}

/// Bytes of `struct nlmsghdr`: length (4), type (2), flags (2), sequence number (4), port (4).
const HEADER: usize = 16;

/// Bytes of `struct inet_diag_msg`.
const SOCKET: usize = 72;

/// Where `idiag_sport` is in a whole notification, in network order.
const PORT: u32 = 20;

/// Where two numbers are in `inet_diag_msg`: `idiag_cookie`, the low half first, and `idiag_inode`.
const COOKIE: usize = 44;
const INODE: usize = 68;

/// `NLMSG_ERROR` and `NLMSG_DONE` of `<linux/netlink.h>`, `SOCK_DIAG_BY_FAMILY` of `<linux/sock_diag.h>`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
const BY_FAMILY: u16 = 20;

/// States in which an accepted connection can be, as bits of `<net/tcp_states.h>`: all but `SYN_SENT`, `SYN_RECV`,
/// `TIME_WAIT` (of which there are many, and none has a descriptor), `CLOSE` (not in the table) and `LISTEN`.
const STATES: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;

/// Bytes of a request: the header and `struct inet_diag_req_v2`.
const REQUEST: u32 = 16 + 56;

/// Asks for all TCP connections of a family.
fn request(family: u8) -> [u8; REQUEST as usize] {
    /// `NLM_F_REQUEST` and `NLM_F_DUMP`.
    const FLAGS: u16 = 0x1 | 0x300;
    /// `IPPROTO_TCP`.
    const TCP: u8 = 6;
    let mut bytes = [0; REQUEST as usize];
    bytes[..4].copy_from_slice(&REQUEST.to_ne_bytes());
    bytes[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&FLAGS.to_ne_bytes());
    bytes[HEADER] = family;
    bytes[HEADER + 1] = TCP;
    bytes[HEADER + 4..HEADER + 8].copy_from_slice(&STATES.to_ne_bytes());
    bytes
}

/// A netlink message without its header.
struct Message<'a> {
    kind: u16,
    body: &'a [u8],
}

/// What is of interest in `struct inet_diag_msg`.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    cookie: Cookie,
    /// 0 when nobody has a descriptor of it.
    inode: u32,
}

/// Takes the first message off `bytes`; they begin at multiples of four. A message that is cut short is what there is
/// of it, and the last. `None` for what is none.
fn next_message<'a>(bytes: &mut &'a [u8]) -> Option<Message<'a>> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(HEADER..length.min(bytes.len()))?;
    let next = length.checked_next_multiple_of(4).and_then(|next| bytes.get(next..));
    *bytes = next.unwrap_or_default();
    Some(Message { kind, body })
}

impl Message<'_> {
    /// `None` if it is of another kind or too short.
    fn socket(&self) -> Option<Socket> {
        let fixed = self.body.get(..SOCKET).filter(|_| self.kind == BY_FAMILY)?;
        let (low, high) = (u32_at(fixed, COOKIE)?, u32_at(fixed, COOKIE + 4)?);
        Some(Socket { cookie: u64::from(high) << 32 | u64::from(low), inode: u32_at(fixed, INODE)? })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(u32_at(bytes, at)?.cast_signed())
}

/// Codes of the classic Berkeley packet filter: `BPF_LD | BPF_H | BPF_ABS`, `BPF_JMP | BPF_JEQ | BPF_K` and `BPF_RET`.
const LOAD: u16 = 0x28;
const IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// A packet filter that keeps a notification whose socket has one of `ports`.
fn filter(ports: &[u16]) -> Vec<libc::sock_filter> {
    let step = |code, jump, operand| libc::sock_filter { code, jt: jump, jf: 0, k: operand };
    let (discard, keep) = (step(RETURN, 0, 0), step(RETURN, 0, u32::MAX));
    if ports.len() > PORTS {
        return vec![keep];
    }
    // Each jumps over those after it, and over the discard.
    let compare = ports.iter().rev().zip(1..=u8::MAX).map(|(&port, jump)| step(IF_EQUAL, jump, port.into()));
    let mut code = vec![keep, discard];
    code.extend(compare);
    code.push(step(LOAD, 0, PORT));
    code.reverse();
    code
}

#[cfg(test)]
#[path = "sock_diag_tests.rs"]
mod tests;
