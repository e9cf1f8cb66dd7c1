//! Limits of this process, and those of its workers, which a trampoline sets for itself: see setrlimit(2).

use std::{fmt, fs, io, str::FromStr};

use nix::{
    errno::Errno,
    sys::resource::{Resource as Kernel, getrlimit, rlim_t, setrlimit},
};

/// Lets this process open as many descriptors as it may allow itself. Returns how many it could before, which is what
/// a program that it starts should have: one that uses select(2) must not get numbers of 1024 and more.
pub(crate) fn raise_descriptors() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Kernel::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Kernel::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(soft)
}

/// Lets this process open `soft` descriptors, or as many as it may if that is less.
pub(super) fn set_descriptors(soft: rlim_t) -> nix::Result<()> {
    let (_, hard) = getrlimit(Kernel::RLIMIT_NOFILE)?;
    setrlimit(Kernel::RLIMIT_NOFILE, soft.min(hard), hard)
}

/// What a process can be limited in, by the names of setrlimit(2), in small letters and without their beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Resource {
    /// Its address space, in bytes. Node reserves far more than it uses.
    As,
    /// The size of a core dump, in bytes.
    Core,
    /// Time on a processor, in seconds.
    Cpu,
    /// Its data, in bytes.
    Data,
    /// The size of a file that it writes, in bytes.
    Fsize,
    /// Memory that is locked, in bytes.
    Memlock,
    /// POSIX message queues of its user, in bytes.
    Msgqueue,
    /// Open descriptors.
    Nofile,
    /// Processes and threads of its user.
    Nproc,
    /// The real-time priority.
    Rtprio,
    /// Queued signals of its user.
    Sigpending,
    /// The stack of its first thread, in bytes.
    Stack,
}

/// What a [`Resource`] is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// Things.
    Count,
}

/// The limits of one resource. `None` leaves what this process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limit {
    /// What holds; the process may raise it up to `hard`.
    pub soft: Option<u64>,
    /// How far it may.
    pub hard: Option<u64>,
}

/// No limit.
pub const UNLIMITED: u64 = u64::MAX;

impl Resource {
    /// All of them, by name.
    pub const ALL: [Self; 12] = [
        Self::As,
        Self::Core,
        Self::Cpu,
        Self::Data,
        Self::Fsize,
        Self::Memlock,
        Self::Msgqueue,
        Self::Nofile,
        Self::Nproc,
        Self::Rtprio,
        Self::Sigpending,
        Self::Stack,
    ];

    /// Its name, such as `nofile`.
    pub fn name(self) -> &'static str {
        self.describe().0
    }

    /// What it is counted in.
    pub fn unit(self) -> Unit {
        self.describe().1
    }

    fn describe(self) -> (&'static str, Unit, Kernel) {
        match self {
            Self::As => ("as", Unit::Bytes, Kernel::RLIMIT_AS),
            Self::Core => ("core", Unit::Bytes, Kernel::RLIMIT_CORE),
            Self::Cpu => ("cpu", Unit::Seconds, Kernel::RLIMIT_CPU),
            Self::Data => ("data", Unit::Bytes, Kernel::RLIMIT_DATA),
            Self::Fsize => ("fsize", Unit::Bytes, Kernel::RLIMIT_FSIZE),
            Self::Memlock => ("memlock", Unit::Bytes, Kernel::RLIMIT_MEMLOCK),
            Self::Msgqueue => ("msgqueue", Unit::Bytes, Kernel::RLIMIT_MSGQUEUE),
            Self::Nofile => ("nofile", Unit::Count, Kernel::RLIMIT_NOFILE),
            Self::Nproc => ("nproc", Unit::Count, Kernel::RLIMIT_NPROC),
            Self::Rtprio => ("rtprio", Unit::Count, Kernel::RLIMIT_RTPRIO),
            Self::Sigpending => ("sigpending", Unit::Count, Kernel::RLIMIT_SIGPENDING),
            Self::Stack => ("stack", Unit::Bytes, Kernel::RLIMIT_STACK),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

/// No resource has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no such limit; the limits are: as, core, cpu, data, fsize, memlock, msgqueue, nofile, nproc, rtprio, sigpending, stack"
)]
pub struct UnknownResource;

impl FromStr for Resource {
    type Err = UnknownResource;

    fn from_str(text: &str) -> Result<Self, UnknownResource> {
        Self::ALL.into_iter().find(|resource| resource.name() == text).ok_or(UnknownResource)
    }
}

impl Limit {
    /// The same limit, soft and hard.
    pub fn both(value: u64) -> Self {
        Self { soft: Some(value), hard: Some(value) }
    }

    /// Whether any process with the limits of this one may set it: no hard limit is raised.
    pub(crate) fn is_within_reach(self, resource: Resource) -> bool {
        // What cannot be known is left to the kernel.
        self.resolve(resource)
            .is_ok_and(|(_, hard)| current(resource).is_ok_and(|(_, before)| hard <= before))
    }

    /// Whether the soft limit is not above the hard one, if need be that of this process.
    pub(crate) fn is_in_order(self, resource: Resource) -> bool {
        self.resolve(resource) != Err(Errno::EINVAL)
    }

    pub(super) fn set(self, resource: Resource) -> nix::Result<()> {
        let (soft, hard) = self.resolve(resource)?;
        setrlimit(resource.describe().2, soft, hard)
    }

    /// Both limits, what is not given taken from this process; a soft limit that is not given follows the hard one down.
    /// Unlimited descriptors are as many as the kernel gives anybody.
    fn resolve(self, resource: Resource) -> nix::Result<(rlim_t, rlim_t)> {
        let (soft, hard) = current(resource)?;
        let most = if resource == Resource::Nofile { most_descriptors() } else { UNLIMITED };
        let possible = |limit| if limit == UNLIMITED { most } else { limit };
        let hard = self.hard.map_or(hard, possible);
        match self.soft.map(possible) {
            Some(soft) if soft > hard => Err(Errno::EINVAL),
            Some(soft) => Ok((soft, hard)),
            None => Ok((soft.min(hard), hard)),
        }
    }
}

/// What the kernel takes for the largest limit of descriptors; it refuses to have none.
fn most_descriptors() -> rlim_t {
    let text = fs::read_to_string("/proc/sys/fs/nr_open").ok();
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(1 << 20)
}

fn current(resource: Resource) -> nix::Result<(rlim_t, rlim_t)> {
    getrlimit(resource.describe().2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_known_by_their_names() {
        for resource in Resource::ALL {
            assert_eq!(resource.to_string().parse(), Ok(resource));
            assert!(UnknownResource.to_string().contains(resource.name()));
        }
        assert_eq!("NOFILE".parse::<Resource>(), Err(UnknownResource));
        assert!(Resource::ALL.is_sorted_by_key(|resource| resource.name()));
    }

    /// With a limit that no test touches.
    #[test]
    fn what_is_not_given_stays_as_it_is() {
        let resource = Resource::Core;
        let before = current(resource).unwrap();
        let resolve = |soft, hard| Limit { soft, hard }.resolve(resource);
        assert_eq!(resolve(None, None), Ok(before));
        assert_eq!(resolve(Some(0), None), Ok((0, before.1)));
        assert_eq!(resolve(None, Some(0)), Ok((0, 0)));
        assert_eq!(resolve(Some(2), Some(1)), Err(Errno::EINVAL));
        assert!(Limit::both(0).is_within_reach(resource));
        let (all, most) = (Limit::both(UNLIMITED), most_descriptors());
        assert_eq!(all.resolve(Resource::Nofile), Ok((most, most)));
        assert_eq!(all.resolve(resource), Ok((UNLIMITED, UNLIMITED)));
        Limit { soft: Some(before.0), hard: None }.set(resource).unwrap();
        assert_eq!(current(resource).unwrap(), before);
    }

    /// One test, because there is one limit for all threads; never so low that others would feel it.
    #[test]
    fn the_limit_is_raised_and_given_back() {
        let soft = || getrlimit(Kernel::RLIMIT_NOFILE).unwrap().0;
        let (before, hard) = getrlimit(Kernel::RLIMIT_NOFILE).unwrap();
        set_descriptors(hard - 1).unwrap();
        assert_eq!((raise_descriptors().unwrap(), soft()), (hard - 1, hard));
        assert_eq!((raise_descriptors().unwrap(), soft()), (hard, hard), "there is no more to be had");
        set_descriptors(rlim_t::MAX).unwrap();
        assert_eq!(soft(), hard, "nor to be given back");
        set_descriptors(before).unwrap();
        assert_eq!(getrlimit(Kernel::RLIMIT_NOFILE).unwrap(), (before, hard));
    }
}
