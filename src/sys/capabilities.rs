//! What this process may do beyond an ordinary one: root in a container often lacks some of it, see capabilities(7).

#![allow(unsafe_code, reason = "capget and capset are in no library that we have")]

use std::{fs, io};

use nix::unistd::geteuid;

/// By their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capability {
    Kill = 5,
    SetGid = 6,
    SetUid = 7,
    Nice = 23,
    Resource = 24,
}

impl Capability {
    /// Whether it is in force. Where that cannot be known, root has all.
    pub(crate) fn is_ours(self) -> bool {
        let text = fs::read_to_string("/proc/self/status").ok();
        let mask = text.as_deref().and_then(effective);
        mask.map_or_else(|| geteuid().is_root(), |mask| mask >> self as u32 & 1 == 1)
    }
}

/// Whether this process may become any user, and end what that user has started.
pub(crate) fn may_change_user() -> bool {
    [Capability::SetUid, Capability::SetGid, Capability::Kill].into_iter().all(Capability::is_ours)
}

/// Leaves this process of one thread without any, and what it executes as well. Ambient ones, which an exec keeps, are
/// only of those that are inheritable too, so they go with these.
pub(super) fn give_up() -> io::Result<()> {
    Sets::default().apply()
}

/// What a thread has of each capability: a bit each, low numbers first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sets([Set; 2]);

/// `struct __user_cap_data_struct` of `<linux/capability.h>`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Set {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `struct __user_cap_header_struct`.
#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

impl Header {
    /// The third version, of two [`Set`]s, and the calling thread.
    const OURS: Self = Self { version: 0x2008_0522, pid: 0 };
}

/// Those that are about files: what the kernel takes from a root that becomes another for the file system.
const ABOUT_FILES: [u32; 8] = [0, 1, 2, 3, 4, 9, 27, 32];

impl Sets {
    pub(super) fn of_this_thread() -> io::Result<Self> {
        let (mut header, mut sets) = (Header::OURS, Self::default());
        // SAFETY: the kernel writes at most the two sets that this version has, and the version.
        let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.0.as_mut_ptr()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(sets) }
    }

    /// The same with none in force that opens what is closed to the user.
    pub(super) fn without_files(mut self) -> Self {
        for number in ABOUT_FILES {
            self.0[number as usize / 32].effective &= !(1 << (number % 32));
        }
        self
    }

    /// Gives them to this thread. It can always have fewer.
    pub(super) fn apply(&self) -> io::Result<()> {
        let mut header = Header::OURS;
        // SAFETY: the kernel reads the two sets that this version has, and may write the version.
        let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, self.0.as_ptr()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_force_is_a_mask() {
        assert_eq!(effective("Name:\tx\nCapPrm:\tff\nCapEff:\t00000000000000e0\n"), Some(0xe0));
        assert_eq!(effective("Name:\tx\n"), None);
        assert_eq!(effective("CapEff:\t-\n"), None);
        let all = 0xe0_u64;
        assert!(
            [Capability::Kill, Capability::SetGid, Capability::SetUid]
                .iter()
                .all(|&one| all >> one as u32 & 1 == 1)
        );
    }
}
