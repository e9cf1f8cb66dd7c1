//! Limits of this process.

use std::io;

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// Lets this process open as many descriptors as it may allow itself. Returns how many it could before, which is what
/// a program that it starts should have: one that uses select(2) must not get numbers of 1024 and more.
pub(crate) fn raise_descriptors() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(soft)
}

/// Lets this process open `soft` descriptors, or as many as it may if that is less.
pub(super) fn set_descriptors(soft: rlim_t) -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, soft.min(hard), hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, because there is one limit for all threads; never so low that others would feel it.
    #[test]
    fn the_limit_is_raised_and_given_back() {
        let soft = || getrlimit(Resource::RLIMIT_NOFILE).unwrap().0;
        let (before, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        set_descriptors(hard - 1).unwrap();
        assert_eq!((raise_descriptors().unwrap(), soft()), (hard - 1, hard));
        assert_eq!((raise_descriptors().unwrap(), soft()), (hard, hard), "there is no more to be had");
        set_descriptors(rlim_t::MAX).unwrap();
        assert_eq!(soft(), hard, "nor to be given back");
        set_descriptors(before).unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (before, hard));
    }
}
