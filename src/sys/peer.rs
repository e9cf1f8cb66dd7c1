//! Who is at the other end of a Unix socket, by the kernel's word, as of when it connected.

#![allow(unsafe_code, reason = "SO_PEERGROUPS, which nix does not know")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use nix::{
    sys::socket::{getsockopt, sockopt::PeerCredentials},
    unistd::geteuid,
};

/// A process that has connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) uid: u32,
    /// Its own group and those that it is in besides.
    groups: Vec<u32>,
}

impl Peer {
    pub(crate) fn of(socket: impl AsFd) -> io::Result<Self> {
        let credentials = getsockopt(&socket.as_fd(), PeerCredentials)?;
        let mut groups = groups(&socket)?;
        groups.push(credentials.gid());
        Ok(Self { uid: credentials.uid(), groups })
    }

    /// It is root, or runs as this process does.
    pub(crate) fn is_owner(&self) -> bool {
        [0, geteuid().as_raw()].contains(&self.uid)
    }

    pub(crate) fn is_in(&self, group: u32) -> bool {
        self.groups.contains(&group)
    }
}

/// The process that has opened the other end of a Unix socket, or listens there; `None` if it is not known in this process's
/// namespace.
pub fn peer_pid(socket: impl AsFd) -> Option<u32> {
    let pid = getsockopt(&socket.as_fd(), PeerCredentials).ok()?.pid();
    u32::try_from(pid).ok().filter(|&pid| pid != 0)
}

/// `<asm-generic/socket.h>`, since Linux 4.13.
const SO_PEERGROUPS: libc::c_int = 59;

/// What a process is in by default at most, and many more than most are.
const USUAL: usize = 32;

fn groups(socket: &impl AsFd) -> io::Result<Vec<u32>> {
    let mut groups: Vec<u32> = vec![0; USUAL];
    loop {
        let mut len =
            libc::socklen_t::try_from(groups.len() * size_of::<u32>()).unwrap_or(libc::socklen_t::MAX);
        // SAFETY: the pointer and the length describe the memory of `groups`, which is plain data.
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        let count = len as usize / size_of::<u32>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // The kernel has said how much room it takes.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::channel;

    #[test]
    fn whoever_is_of_this_process_is_its_owner_and_in_its_groups() {
        let (one, _other) = channel::pair().unwrap();
        let peer = Peer::of(&one).unwrap();
        assert_eq!(peer_pid(&one), Some(std::process::id()));
        assert!(peer.is_owner() && peer.is_in(nix::unistd::getegid().as_raw()));
        for group in nix::unistd::getgroups().unwrap() {
            assert!(peer.is_in(group.as_raw()), "{group}");
        }
        assert!(!peer.is_in(4_000_000_000));
        let stranger = Peer { uid: 4_000_000_000, groups: Vec::new() };
        assert!(!stranger.is_owner());
    }
}
