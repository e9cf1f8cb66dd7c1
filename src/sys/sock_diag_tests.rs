//! Real sockets. Others of this machine come and go meanwhile, so each test filters by its own listener's port.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use proptest::prelude::*;

use super::{super::clock, *};

/// A listener, and notifications of what it accepted.
struct Place {
    listener: TcpListener,
    notifications: Notifications,
}

impl Place {
    fn new(host: std::net::IpAddr) -> Self {
        Self::with_buffer(host, BUFFER)
    }

    fn with_buffer(host: std::net::IpAddr, bytes: usize) -> Self {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let notifications = Notifications::deaf(bytes).unwrap();
        notifications.only_from(&[1, listener.local_addr().unwrap().port(), 2]).unwrap();
        notifications.join().unwrap();
        Self { listener, notifications }
    }

    /// The client's end, the accepted one, and the cookie of the latter.
    fn connect(&self) -> (TcpStream, TcpStream, Cookie) {
        let client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = self.listener.accept().unwrap();
        let cookie = cookie(&accepted).unwrap();
        (client, accepted, cookie)
    }

    /// The next `count` notifications, in order.
    fn next(&mut self, count: usize) -> Vec<Cookie> {
        let mut seen = Vec::new();
        let start = clock::now();
        while seen.len() < count {
            assert_ne!(self.notifications.read(|cookie| seen.push(cookie)).unwrap(), Read::Lost);
            let left = Duration::from_secs(10).saturating_sub(clock::now().since(start));
            assert!(!left.is_zero(), "{count} notifications are waited for, and these came: {seen:?}");
            wait(&self.notifications, if seen.len() < count { left } else { Duration::ZERO }).unwrap();
        }
        seen
    }

    /// Nothing has been reported, as one knows when the end of another connection is the next thing that is.
    fn nothing_else(&mut self) {
        let (client, accepted, cookie) = self.connect();
        drop((accepted, client));
        assert_eq!(self.next(1), [cookie]);
    }
}

fn alive_now() -> BTreeSet<Cookie> {
    let mut cookies = BTreeSet::new();
    let mut dump = Dump::start().unwrap();
    while !dump.step(&mut |cookie| assert!(cookies.insert(cookie))).unwrap() {}
    cookies
}

/// Waits until something is there, a signal comes, or the time is over.
fn wait(notifications: &Notifications, timeout: Duration) -> io::Result<()> {
    let timeout = PollTimeout::try_from(timeout).unwrap();
    match poll(&mut [PollFd::new(notifications.as_fd(), PollFlags::POLLIN)], timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

const V4: std::net::IpAddr = std::net::IpAddr::V4(Ipv4Addr::LOCALHOST);

#[test]
fn a_close_is_reported_once_with_its_own_cookie() {
    for host in [V4, Ipv6Addr::LOCALHOST.into()] {
        let mut place = Place::new(host);
        let (client, accepted, cookie) = place.connect();
        let (other_client, other, other_cookie) = place.connect();
        assert_ne!(cookie, other_cookie);
        assert!(alive_now().is_superset(&[cookie, other_cookie].into()));
        place.nothing_else();
        drop(accepted);
        // TCP goes on without the socket while the client's end is open.
        assert_eq!(place.next(1), [cookie]);
        let alive = alive_now();
        assert!(!alive.contains(&cookie) && alive.contains(&other_cookie));
        drop((client, other_client));
        place.nothing_else();
        drop(other);
        assert_eq!(place.next(1), [other_cookie]);
    }
}

#[test]
fn a_reset_connection_is_reported_when_it_is_closed_too() {
    let mut place = Place::new(V4);
    let (client, accepted, cookie) = place.connect();
    setsockopt(&client, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
    drop(client);
    let reset = &mut [PollFd::new(accepted.as_fd(), PollFlags::POLLHUP)];
    assert_eq!(poll(reset, 10_000_u16), Ok(1));
    place.nothing_else();
    assert!(!alive_now().contains(&cookie), "it is over for TCP, though not closed");
    drop(accepted);
    assert_eq!(place.next(1), [cookie]);
}

#[test]
fn an_ipv4_client_of_an_ipv6_listener_is_seen() {
    let mut place = Place::new(Ipv6Addr::UNSPECIFIED.into());
    let port = place.listener.local_addr().unwrap().port();
    let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let (accepted, _) = place.listener.accept().unwrap();
    let cookie = cookie(&accepted).unwrap();
    assert!(alive_now().contains(&cookie));
    drop(accepted);
    assert_eq!(place.next(1), [cookie]);
}

#[test]
fn a_connection_is_not_over_before_its_last_descriptor_is_closed() {
    let mut place = Place::new(V4);
    let (client, accepted, cookie) = place.connect();
    let second = accepted.try_clone().unwrap();
    let mut command = Command::new("sleep");
    // Not for long, should this test fail, and with nothing that a reader of its output waits for.
    command.arg("30").stdout(Stdio::null()).stderr(Stdio::null()).stdin(OwnedFd::from(accepted));
    let mut child = command.spawn().unwrap();
    drop(command);
    drop(client);
    place.nothing_else();
    drop(second);
    place.nothing_else();
    assert!(alive_now().contains(&cookie), "another process has it");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(place.next(1), [cookie]);
}

#[test]
fn a_loss_is_told_and_the_kernel_knows_the_rest() {
    const CLOSES: usize = 2000;
    let mut place = Place::with_buffer(V4, 64 << 10);
    let held: Vec<_> = (0..10).map(|_| place.connect()).collect();
    let mut silent = Vec::new();
    let mut closed = BTreeSet::new();
    for number in 0..CLOSES {
        let (client, accepted, cookie) = place.connect();
        closed.insert(cookie);
        drop(accepted);
        // Some leave TCP in TIME_WAIT, some in FIN_WAIT2, under the same cookie.
        silent.extend((number % 200 == 0).then_some(client));
    }
    // The kernel reports when it finds the time, so the overflow is waited for, with nothing read yet.
    let overflow = &mut [PollFd::new(place.notifications.as_fd(), PollFlags::empty())];
    assert_eq!(poll(overflow, 10_000_u16), Ok(1), "the buffer has not overflowed");
    let mut reported = BTreeSet::new();
    let mut read = || place.notifications.read(|cookie| assert!(reported.insert(cookie))).unwrap();
    assert!((0..100).any(|_| read() == Read::Lost), "nobody was told of the loss");
    assert!(!reported.is_empty(), "what is there comes first");
    assert!(reported.len() < CLOSES && reported.is_subset(&closed));
    let alive = alive_now();
    assert!(alive.is_disjoint(&closed));
    assert!(held.iter().all(|(_, _, cookie)| alive.contains(cookie)));
    // The rest of the 2000 may come late, and too many again; but then what is closed is reported as ever.
    let start = clock::now();
    let mut last = None;
    while last.is_none_or(|last| !reported.contains(&last)) {
        if last.is_none() {
            let (_client, _accepted, cookie) = place.connect();
            closed.insert(cookie);
            last = Some(cookie);
        }
        wait(&place.notifications, Duration::from_secs(1)).unwrap();
        if place.notifications.read(|cookie| assert!(reported.insert(cookie))).unwrap() == Read::Lost {
            last = None;
        }
        assert!(clock::now().since(start) < Duration::from_secs(10), "nothing comes after a loss");
    }
    assert!(reported.is_subset(&closed));
}

#[test]
fn many_at_once_are_all_reported_when_there_is_room() {
    let mut place = Place::new(V4);
    let connections: Vec<_> = (0..100).map(|_| place.connect()).collect();
    let cookies: BTreeSet<_> = connections.iter().map(|(_, _, cookie)| *cookie).collect();
    drop(connections);
    assert_eq!(place.next(100).into_iter().collect::<BTreeSet<_>>(), cookies);
}

#[test]
fn a_filter_can_be_replaced_and_lifted() {
    let mut place = Place::new(V4);
    assert_eq!(filter(&[]).len(), 3, "none is kept: load, discard, keep");
    let port = place.listener.local_addr().unwrap().port();
    let most: Vec<_> = (1..255).chain([port]).collect();
    place.notifications.only_from(&most).unwrap();
    place.nothing_else();
    place.notifications.only_from(&[0; 256]).unwrap();
    let (client, accepted, accepted_cookie) = place.connect();
    let wanted = BTreeSet::from([accepted_cookie, cookie(&client).unwrap()]);
    drop((accepted, client));
    let mut seen = BTreeSet::new();
    while !seen.is_superset(&wanted) {
        seen.extend(place.next(1));
    }
}

#[test]
fn only_tcp_sockets_have_notifications_and_they_work_here() {
    let notifications = Notifications::open().unwrap();
    let mut place = Place { notifications, ..Place::new(V4) };
    let provoked = provoke().unwrap();
    while !place.next(1).contains(&provoked) {}
    let file = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(cookie(file).unwrap_err().raw_os_error(), Some(libc::ENOTSOCK));
}

/// A message as the kernel writes it.
fn message(kind: u16, length: usize, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(length).unwrap().to_ne_bytes();
    [&length[..], &kind.to_ne_bytes(), &[0; 10], body].concat()
}

#[test]
fn messages_are_cut_by_their_length_and_read_by_their_kind() {
    let mut body = [0; SOCKET + 8];
    body[COOKIE..COOKIE + 8].copy_from_slice(&[1, 0, 0, 0, 2, 0, 0, 0]);
    body[INODE] = 7;
    let whole = message(BY_FAMILY, HEADER + body.len(), &body);
    let cookie = if cfg!(target_endian = "little") { 0x2_0000_0001 } else { 0x0200_0000_0100_0000 };
    let read = |bytes: &[u8]| next_message(&mut &*bytes).and_then(|message| message.socket());
    assert_eq!(read(&whole).unwrap().cookie, cookie);
    assert_ne!(read(&whole).unwrap().inode, 0);
    assert_eq!(read(&whole[..SLOT]).unwrap().cookie, cookie, "what follows is of no interest");
    assert_eq!(read(&whole[..SLOT - 1]), None);
    assert_eq!(read(&message(BY_FAMILY, SLOT - 1, &body)), None, "the length is what counts");
    assert_eq!(read(&message(DONE, HEADER + body.len(), &body)), None);
    let odd = message(DONE, HEADER + 5, &[0; 8]);
    let two = [&odd[..], &whole].concat();
    let mut rest = &two[..];
    assert_eq!(next_message(&mut rest).unwrap().body.len(), 5);
    assert_eq!(rest, whole, "at the next multiple of four");
    for length in [0, 15, u32::MAX as usize] {
        let bytes = message(BY_FAMILY, length, &[0; 4]);
        let mut rest = &bytes[..];
        assert_eq!(next_message(&mut rest).and_then(|message| message.socket()), None);
        assert!(next_message(&mut rest).is_none());
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_and_all_end(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut rest = &bytes[..];
        let mut left = rest.len();
        while let Some(message) = next_message(&mut rest) {
            message.socket();
            prop_assert!(rest.len() < left);
            left = rest.len();
        }
    }

    /// Lengths that are near the truth get further than those that are not.
    #[test]
    fn no_length_panics(lengths in proptest::collection::vec((0..200_u32, any::<bool>()), 0..8)) {
        let bytes: Vec<u8> = lengths
            .iter()
            .flat_map(|&(length, diag)| message(if diag { BY_FAMILY } else { DONE }, length as usize, &[9; 88]))
            .collect();
        let mut rest = &bytes[..];
        let mut count = 0;
        while let Some(message) = next_message(&mut rest) {
            message.socket();
            i32_at(message.body, 0);
            count += 1;
        }
        prop_assert!(count * HEADER <= bytes.len() + HEADER);
    }
}
