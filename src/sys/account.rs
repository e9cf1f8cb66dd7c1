//! Users and groups: a name or a number in, what a process needs to become them out.
//!
//! Asked once, in the master: the name service may read files or the network, which is nothing for a trampoline.

use std::{
    ffi::{CString, OsString},
    io,
    path::PathBuf,
};

use nix::{
    errno::Errno,
    unistd::{Gid, Uid, User, getegid, geteuid, getgrouplist, setgroups, setresgid, setresuid},
};
use thiserror::Error;

use super::{
    capabilities,
    names::{group_number, number},
};

/// The numbers that the kernel knows a process by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// All groups, that of `gid` among them.
    pub(crate) groups: Vec<u32>,
}

/// A user whom workers run as, with the groups that this gives them. Made by [`Account::find`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    name: String,
    credentials: Credentials,
    home: PathBuf,
    shell: PathBuf,
}

/// Why there is no such account.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AccountError {
    /// The system knows no such user.
    #[error("there is no user {0:?} on this system")]
    NoSuchUser(String),
    /// The system knows no such group.
    #[error("there is no group {0:?} on this system")]
    NoSuchGroup(String),
    /// A number that no user has, so that its group is not known.
    #[error("no user has the number {0}, so its group must be given too")]
    NoGroup(u32),
    /// The system's list of users or groups cannot be read.
    #[error("the users and groups of this system cannot be read: {0}")]
    System(#[from] io::Error),
}

/// What a user has whom the system does not know, as in a container.
const NO_HOME: &str = "/";
const NO_SHELL: &str = "/bin/sh";

impl Account {
    /// Looks up a user, by name or number, and its groups: `group` if that is given, by name or number, else the user's
    /// own, and those that the system's list of groups has the user in.
    ///
    /// A number that no user has is fine if `group` is given too. It is in no other group, its home is `/`.
    ///
    /// # Errors
    ///
    /// When there is no such user or group.
    pub fn find(user: &str, group: Option<&str>) -> Result<Self, AccountError> {
        let unknown = |group: &str| AccountError::NoSuchGroup(group.to_owned());
        let group = group.map(|group| group_number(group).ok_or_else(|| unknown(group))).transpose()?;
        let found = match number(user) {
            Some(number) => User::from_uid(Uid::from_raw(number)),
            None => User::from_name(user),
        };
        match (found.map_err(io::Error::from)?, number(user), group) {
            (Some(user), _, group) => Ok(Self::of(user, group)?),
            (None, None, _) => Err(AccountError::NoSuchUser(user.to_owned())),
            (None, Some(number), None) => Err(AccountError::NoGroup(number)),
            (None, Some(number), Some(group)) => Ok(Self {
                name: number.to_string(),
                credentials: Credentials { uid: number, gid: group, groups: vec![group] },
                home: NO_HOME.into(),
                shell: NO_SHELL.into(),
            }),
        }
    }

    fn of(user: User, group: Option<u32>) -> io::Result<Self> {
        let gid = group.unwrap_or(user.gid.as_raw());
        // A name from the system's own list has no zero byte in it.
        let name = CString::new(user.name.as_str())?;
        let mut groups: Vec<u32> =
            getgrouplist(&name, Gid::from_raw(gid))?.into_iter().map(Gid::as_raw).collect();
        groups.sort_unstable();
        groups.dedup();
        let credentials = Credentials { uid: user.uid.as_raw(), gid, groups };
        Ok(Self { name: user.name, credentials, home: user.dir, shell: user.shell })
    }

    /// The user's name, or its number if it has none.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The user's number.
    pub fn uid(&self) -> u32 {
        self.credentials.uid
    }

    /// The number of the group that its files get.
    pub fn gid(&self) -> u32 {
        self.credentials.gid
    }

    /// All its groups, in order.
    pub fn groups(&self) -> &[u32] {
        &self.credentials.groups
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// What a program of this user finds in its environment, as under systemd.
    pub(crate) fn variables(&self) -> [(OsString, OsString); 4] {
        [
            ("HOME", self.home.as_os_str()),
            ("USER", self.name.as_ref()),
            ("LOGNAME", self.name.as_ref()),
            ("SHELL", self.shell.as_os_str()),
        ]
        .map(|(name, value)| (name.into(), value.into()))
    }
}

impl Credentials {
    /// Whether this process is that already, so that nothing is to be changed.
    pub(crate) fn is_ours(&self) -> bool {
        self.uid == geteuid().as_raw() && self.gid == getegid().as_raw()
    }

    /// Makes this process that, for good, and without a capability unless it is root. Says what failed.
    pub(super) fn assume(&self) -> Result<(), (String, Errno)> {
        let failed = |step: String| |error| (step, error);
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
        setgroups(&groups).map_err(failed("set the groups of user".into()))?;
        setresgid(gid, gid, gid).map_err(failed(format!("become group {gid}")))?;
        setresuid(uid, uid, uid).map_err(failed(format!("become user {uid}")))?;
        if uid.is_root() {
            return Ok(());
        }
        // Those of root are gone by now; those of another user, as systemd gives them to one, are not.
        capabilities::give_up().map_err(|error| {
            (
                "give up its capabilities".into(),
                error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw),
            )
        })
    }

    /// Whether the permissions of this file or directory let it be read, or entered: of the three sets of bits, the
    /// first that fits counts.
    pub(super) fn may(&self, bits: u32, owner: u32, group: u32, mode: u32) -> bool {
        let shift = match () {
            () if self.uid == 0 => return true,
            () if self.uid == owner => 6,
            () if self.groups.contains(&group) => 3,
            () => 0,
        };
        mode >> shift & bits == bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_the_same_user() {
        let by_name = Account::find("root", None).unwrap();
        assert_eq!(by_name, Account::find("0", Some("0")).unwrap());
        assert_eq!(by_name, Account::find("0", Some("root")).unwrap());
        assert_eq!((by_name.uid(), by_name.gid(), by_name.name()), (0, 0, "root"));
        assert!(by_name.groups().contains(&0));
        let variables = by_name.variables();
        assert_eq!(variables[0], ("HOME".into(), "/root".into()));
        assert_eq!(variables[1].1, "root");
        assert_eq!(variables[2].0, "LOGNAME");
    }

    #[test]
    fn a_number_without_a_name_needs_a_group() {
        let alone = Account::find("4000000000", None).unwrap_err().to_string();
        assert_eq!(alone, "no user has the number 4000000000, so its group must be given too");
        let account = Account::find("4000000000", Some("4000000001")).unwrap();
        assert_eq!((account.uid(), account.groups()), (4_000_000_000, &[4_000_000_001][..]));
        assert_eq!(account.variables().map(|(_, value)| value), ["/", "4000000000", "4000000000", "/bin/sh"]);
    }

    #[test]
    fn who_does_not_exist_is_nobody() {
        for user in ["no-such-user", "", "a\0b", "-1", "+0", "4294967295", "4294967296"] {
            let error = Account::find(user, Some("0")).unwrap_err();
            assert!(matches!(error, AccountError::NoSuchUser(_)), "{user:?}: {error}");
        }
        for group in ["no-such-group", "", "4294967295", "99999999999999999999"] {
            let error = Account::find("root", Some(group)).unwrap_err();
            assert!(matches!(error, AccountError::NoSuchGroup(_)), "{group:?}: {error}");
        }
    }

    #[test]
    fn the_first_set_of_permissions_that_fits_counts() {
        let credentials = Credentials { uid: 7, gid: 8, groups: vec![8, 9] };
        for (owner, group, mode, expected) in [
            (7, 1, 0o400, true),
            (7, 8, 0o044, false),
            (1, 9, 0o040, true),
            (1, 8, 0o404, false),
            (1, 1, 0o004, true),
            (1, 1, 0o770, false),
        ] {
            assert_eq!(credentials.may(4, owner, group, mode), expected, "{owner} {group} {mode:o}");
        }
        assert!(Credentials { uid: 0, ..credentials }.may(4, 1, 1, 0));
    }
}
