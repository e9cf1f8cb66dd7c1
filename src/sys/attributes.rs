//! What a worker process is to be, besides what it runs: its limits, priority, cores, umask, user and directory.
//!
//! The master writes it into the arguments of a trampoline, which reads it and makes it so: what needs a privilege
//! first, then the user, and the directory last, so that a directory which the user may not enter is refused as it would
//! be to the program. Nothing is looked up here.

#![allow(unsafe_code, reason = "setpriority has no safe wrapper")]

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
    str::FromStr,
};

use nix::{
    errno::Errno,
    sys::{
        resource::getrlimit,
        stat::{Mode, umask},
    },
    unistd::chdir,
};

use super::{
    account::Credentials,
    cpus::Cpus,
    limits::{Limit, Resource},
};

/// What differs from how this process is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Attributes {
    pub(crate) limits: Vec<(Resource, Limit)>,
    pub(crate) nice: Option<i32>,
    pub(crate) cpus: Option<Cpus>,
    pub(crate) umask: Option<u32>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) cwd: Option<PathBuf>,
}

/// A step that the system refused, and why.
pub(super) type Refusal = (String, Errno);

/// After the last of them.
const END: &str = "--";
/// In the place of a number: as it is.
const UNCHANGED: &str = "-";

impl Attributes {
    /// Words for a command line, and the mark of their end.
    pub(super) fn to_args(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        let number = |number: Option<u64>| number.map_or(UNCHANGED.to_owned(), |number| number.to_string());
        for (resource, Limit { soft, hard }) in &self.limits {
            words.push(format!("limit={resource}:{}:{}", number(*soft), number(*hard)).into());
        }
        words.extend(self.nice.map(|nice| format!("nice={nice}").into()));
        words.extend(self.cpus.as_ref().map(|cpus| format!("cpus={cpus}").into()));
        words.extend(self.umask.map(|umask| format!("umask={umask:o}").into()));
        words.extend(self.credentials.as_ref().map(|Credentials { uid, gid, groups }| {
            let groups: Vec<_> = groups.iter().map(ToString::to_string).collect();
            format!("user={uid}:{gid}:{}", groups.join(",")).into()
        }));
        words.extend(self.cwd.as_ref().map(|cwd| {
            let mut word = OsString::from("cwd=");
            word.push(cwd);
            word
        }));
        words.push(END.into());
        words
    }

    /// Reads such words up to their end.
    pub(super) fn from_args(args: &mut impl Iterator<Item = OsString>) -> Option<Self> {
        let mut attributes = Self::default();
        loop {
            let word = args.next()?.into_vec();
            if word == END.as_bytes() {
                return Some(attributes);
            }
            let equals = word.iter().position(|&byte| byte == b'=')?;
            let (name, value) = (&word[..equals], OsStr::from_bytes(&word[equals + 1..]));
            if name == b"cwd" {
                attributes.cwd = Some(value.into());
                continue;
            }
            let value = value.to_str()?;
            match name {
                b"limit" => attributes.limits.push(limit(value)?),
                b"nice" => attributes.nice = Some(value.parse().ok()?),
                b"cpus" => attributes.cpus = Some(value.parse().ok()?),
                b"umask" => attributes.umask = Some(u32::from_str_radix(value, 8).ok()?),
                b"user" => attributes.credentials = Some(credentials(value)?),
                _ => return None,
            }
        }
    }

    /// Makes this process so, all but its directory.
    pub(super) fn assume(&self) -> Result<(), Refusal> {
        for (resource, limit) in &self.limits {
            limit.set(*resource).map_err(|error| (format!("set limits.{resource}"), error))?;
        }
        if let Some(nice) = self.nice {
            set_nice(nice).map_err(|error| (format!("set nice to {nice}"), error))?;
        }
        if let Some(cpus) = &self.cpus {
            cpus.bind().map_err(|error| (format!("set cpu_affinity to {cpus}"), error))?;
        }
        if let Some(mask) = self.umask {
            umask(Mode::from_bits_truncate(mask));
        }
        self.credentials.as_ref().map_or(Ok(()), Credentials::assume)
    }

    /// Goes to the directory.
    pub(super) fn enter(&self) -> Result<(), Refusal> {
        let Some(cwd) = &self.cwd else { return Ok(()) };
        chdir(cwd).map_err(|error| (format!("enter cwd {}", cwd.display()), error))
    }
}

fn limit(text: &str) -> Option<(Resource, Limit)> {
    fn number(text: &str) -> Option<Option<u64>> {
        if text == UNCHANGED { Some(None) } else { text.parse().ok().map(Some) }
    }
    let mut parts = text.split(':');
    let resource = Resource::from_str(parts.next()?).ok()?;
    let (soft, hard) = (number(parts.next()?)?, number(parts.next()?)?);
    parts.next().is_none().then_some((resource, Limit { soft, hard }))
}

fn credentials(text: &str) -> Option<Credentials> {
    let mut parts = text.splitn(3, ':');
    let mut number = || parts.next()?.parse().ok();
    let (uid, gid) = (number()?, number()?);
    let groups = parts.next()?.split(',').map(|group| group.parse().ok());
    Some(Credentials { uid, gid, groups: groups.collect::<Option<_>>()? })
}

/// Sets the nice value of this process.
fn set_nice(nice: i32) -> nix::Result<()> {
    // SAFETY: three integers; 0 is this process.
    Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) }).map(drop)
}

/// Whether any process like this one may start another with this nice value: it is no lower than its own, or than its
/// limit, which counts from 20 downwards.
pub(crate) fn may_set_nice(nice: i32) -> bool {
    Errno::clear();
    // SAFETY: two integers; 0 is this process. -1 is a nice value unless it comes with an error.
    let own = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let own = if Errno::last_raw() == 0 { own } else { 0 };
    let floor = getrlimit(nix::sys::resource::Resource::RLIMIT_NICE).map_or(0, |(soft, _)| soft);
    nice >= own || u64::try_from(20 - nice).is_ok_and(|wanted| wanted <= floor)
}

/// Whether this is a directory that this process can see.
pub(crate) fn check_directory(path: &std::path::Path) -> io::Result<()> {
    if path.metadata()?.is_dir() { Ok(()) } else { Err(Errno::ENOTDIR.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[OsString]) -> (Option<Attributes>, Vec<OsString>) {
        let mut args = args.iter().cloned();
        let attributes = Attributes::from_args(&mut args);
        (attributes, args.collect())
    }

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let all = Attributes {
            limits: vec![
                (Resource::Nofile, Limit { soft: Some(1), hard: Some(u64::MAX) }),
                (Resource::Core, Limit { soft: None, hard: Some(0) }),
            ],
            nice: Some(-20),
            cpus: Some("0-3,6".parse().unwrap()),
            umask: Some(0o027),
            credentials: Some(Credentials { uid: 1, gid: 2, groups: vec![2, 3] }),
            cwd: Some(OsStr::from_bytes(b"/a=b --/\xff").into()),
        };
        for attributes in [Attributes::default(), all] {
            let mut args = attributes.to_args();
            args.extend(["x".into(), "--".into()]);
            let (read, rest) = read(&args);
            assert_eq!(read, Some(attributes));
            assert_eq!(rest, ["x", "--"]);
        }
    }

    #[test]
    fn what_was_not_written_here_is_not_read() {
        for word in [
            "",
            "nice",
            "nice=",
            "nice=x",
            "cpus=",
            "umask=9",
            "limit=core:1",
            "limit=core:1:2:3",
            "limit=x:1:2",
            "user=1:2",
            "user=1:2:",
            "user=-1:2:3",
            "mode=1",
        ] {
            assert_eq!(read(&[word.into(), "--".into()]).0, None, "{word}");
        }
        assert_eq!(read(&["nice=1".into()]).0, None, "no end");
    }

    #[test]
    fn a_lower_priority_is_anybody_s_right() {
        assert!(may_set_nice(19));
    }
}
