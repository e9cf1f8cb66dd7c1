//! The rights of a user to files, taken by this thread for a while and given back.
//!
//! What a worker asks for is done to the file system with the worker's rights, and all else stays as it is: the user
//! of this process, whom signals come from, and what other threads may do. See credentials(7).

#![allow(unsafe_code, reason = "the C library changes the groups of all threads, the kernel those of one")]

use std::{io, marker::PhantomData};

use nix::{
    errno::Errno,
    unistd::{Gid, Uid, getgroups, setfsgid, setfsuid},
};

use super::{account::Credentials, capabilities::Sets};

// Where the number without an end is that of a call for groups of 16 bits.
#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
use libc::SYS_setgroups as SETGROUPS;
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
use libc::SYS_setgroups32 as SETGROUPS;

/// While this lives, files are reached with the rights of a user. For the thread that made it.
#[derive(Debug)]
pub(crate) struct Borrowed {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
    sets: Sets,
    process: Process,
    _of_this_thread: PhantomData<*const ()>,
}

/// What the kernel takes from whoever changes its user, and does not give back.
#[derive(Debug, Clone, Copy)]
struct Process {
    dumpable: libc::c_int,
    death_signal: libc::c_int,
}

/// No user and no group: asked for, it says who it is and changes nothing.
const NOBODY: u32 = u32::MAX;

impl Borrowed {
    /// Takes the rights of this user, and no other ones.
    pub(crate) fn of(user: &Credentials) -> io::Result<Self> {
        let borrowed = Self {
            uid: setfsuid(Uid::from_raw(NOBODY)),
            gid: setfsgid(Gid::from_raw(NOBODY)),
            groups: getgroups()?,
            sets: Sets::of_this_thread()?,
            process: Process::now(),
            _of_this_thread: PhantomData,
        };
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        set_groups(&user.groups.iter().copied().map(Gid::from_raw).collect::<Vec<_>>())?;
        set_identity(uid, gid)?;
        if !uid.is_root() {
            // The kernel does so only for root.
            borrowed.sets.without_files().apply()?;
        }
        Ok(borrowed)
    }

    fn give_back(&self) -> io::Result<()> {
        set_identity(self.uid, self.gid)?;
        // Who never got others has no right to set them.
        if getgroups()? != self.groups {
            set_groups(&self.groups)?;
        }
        self.sets.apply()?;
        self.process.restore();
        Ok(())
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        // It is what this thread had, and it has kept the capabilities for it. With other rights it must not go on.
        if let Err(error) = self.give_back() {
            log::error!("cannot take back the rights of this process: {error}");
            std::process::abort();
        }
    }
}

fn set_identity(uid: Uid, gid: Gid) -> io::Result<()> {
    // These say nothing of failure.
    setfsgid(gid);
    setfsuid(uid);
    let now = (setfsuid(Uid::from_raw(NOBODY)), setfsgid(Gid::from_raw(NOBODY)));
    if now == (uid, gid) { Ok(()) } else { Err(Errno::EPERM.into()) }
}

fn set_groups(groups: &[Gid]) -> io::Result<()> {
    let numbers: Vec<libc::gid_t> = groups.iter().map(|group| group.as_raw()).collect();
    // SAFETY: the pointer and the length describe `numbers`.
    let result = unsafe { libc::syscall(SETGROUPS, numbers.len(), numbers.as_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

impl Process {
    fn now() -> Self {
        let mut death_signal = 0;
        // SAFETY: PR_GET_DUMPABLE takes nothing more, and PR_GET_PDEATHSIG writes an int to a valid pointer.
        let dumpable = unsafe {
            libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut death_signal);
            libc::prctl(libc::PR_GET_DUMPABLE)
        };
        Self { dumpable, death_signal }
    }

    fn restore(self) {
        // SAFETY: both take an integer. A process that may be dumped by root alone can be made so by the kernel only.
        unsafe {
            libc::prctl(libc::PR_SET_DUMPABLE, self.dumpable);
            libc::prctl(libc::PR_SET_PDEATHSIG, self.death_signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::account::Account;
    use std::fs;

    fn status() -> Vec<String> {
        let text = fs::read_to_string("/proc/thread-self/status").unwrap();
        let about = ["Uid:", "Gid:", "Groups:", "Cap"];
        text.lines()
            .filter(|line| about.iter().any(|about| line.starts_with(about)))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn rights_are_a_thread_s_own_and_come_back() {
        let nobody = Account::find("65534", Some("65534")).unwrap();
        let credentials = nobody.credentials();
        if !nix::unistd::geteuid().is_root() {
            assert_eq!(Borrowed::of(credentials).unwrap_err().raw_os_error(), Some(libc::EPERM));
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let (before, dumpable) = (status(), Process::now().dumpable);
        let borrowed = Borrowed::of(credentials).unwrap();
        let inside = status();
        assert!(inside[0].ends_with("\t65534") && inside[1].ends_with("\t65534"), "{inside:?}");
        assert_eq!(inside[2].trim(), "Groups:\t65534");
        let refused = fs::write(directory.path().join("x"), "").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        drop(borrowed);
        assert_eq!((status(), Process::now().dumpable), (before, dumpable));
        fs::write(directory.path().join("x"), "").unwrap();
    }
}
