//! What this very process has of the machine, beyond its [usage](super::usage).

use std::{fs, io, os::unix::fs::MetadataExt};

use nix::sys::resource::{Resource, getrlimit};

use super::memory::page_bytes;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ThisProcess {
    /// Addresses, in bytes.
    pub(crate) virtual_bytes: u64,
    pub(crate) open_descriptors: u64,
    /// How many descriptors it may have.
    pub(crate) max_descriptors: u64,
}

impl ThisProcess {
    pub(crate) fn look() -> io::Result<Self> {
        let statm = fs::read_to_string("/proc/self/statm")?;
        // proc_pid_statm(5): the first number.
        let pages: u64 = statm.split(' ').next().and_then(|pages| pages.parse().ok()).unwrap_or(0);
        let (max_descriptors, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        Ok(Self {
            virtual_bytes: pages * page_bytes(),
            open_descriptors: open_descriptors()?,
            max_descriptors,
        })
    }
}

/// Since Linux 6.2 the directory says how many; before, they must be counted, with the one that reads it.
fn open_descriptors() -> io::Result<u64> {
    match fs::metadata("/proc/self/fd")?.size() {
        0 => Ok((fs::read_dir("/proc/self/fd")?.count() as u64).saturating_sub(1)),
        count => Ok(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_opened_is_counted() {
        let before = ThisProcess::look().unwrap();
        // Other tests open and close meanwhile.
        let files: Vec<_> = (0..500).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let after = ThisProcess::look().unwrap();
        assert!(after.open_descriptors >= before.open_descriptors + 400, "{before:?} {after:?}");
        assert!(
            after.open_descriptors <= after.max_descriptors && after.virtual_bytes > 1 << 20,
            "{after:?}"
        );
        drop(files);
    }
}
