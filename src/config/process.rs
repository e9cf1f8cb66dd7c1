//! The keys of what a worker process is to be: its directory, user, priority, cores, limits and file of variables.
//!
//! A part of [`super::Layer`] of its own, merged and checked like the rest. The users and groups of the system are asked
//! here, once.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use pointsman::{Account, AccountError, Limit, Resource, Settings};

use super::{
    attribute::Affinity,
    layer::{Given, Origin},
    problem::{Problem, Problems},
    value::BadValue,
};

/// What one source says of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProcessLayer {
    /// Absolute.
    pub(crate) cwd: Option<Given<PathBuf>>,
    /// A name or a number.
    pub(crate) user: Option<Given<String>>,
    pub(crate) group: Option<Given<String>>,
    pub(crate) umask: Option<Given<u32>>,
    pub(crate) nice: Option<Given<i32>>,
    pub(crate) cpu_affinity: Option<Given<Affinity>>,
    /// Absolute.
    pub(crate) env_file: Option<Given<PathBuf>>,
    /// The later winning.
    pub(crate) limits: Vec<(Resource, Given<Limit>)>,
}

impl ProcessLayer {
    /// As [`super::Layer::over`]. Limits are merged one by one; a user does not take over the group of another.
    pub(super) fn over(self, below: Self) -> Self {
        let group = match self.user {
            Some(_) => self.group,
            None => self.group.or(below.group),
        };
        let mut limits = below.limits;
        limits.extend(self.limits);
        Self {
            cwd: self.cwd.or(below.cwd),
            user: self.user.or(below.user),
            group,
            umask: self.umask.or(below.umask),
            nice: self.nice.or(below.nice),
            cpu_affinity: self.cpu_affinity.or(below.cpu_affinity),
            env_file: self.env_file.or(below.env_file),
            limits,
        }
    }
}

/// All of them, checked. What is not given stays as it is in pointsman itself.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) given: ProcessLayer,
    pub(crate) limits: BTreeMap<Resource, Given<Limit>>,
    account: Option<Account>,
}

impl Process {
    pub(super) fn resolve(given: ProcessLayer, problems: &mut Problems) -> Self {
        if let Some(cwd) = &given.cwd {
            check_directory(cwd, problems);
        }
        let account = account(&given, problems);
        let limits = given.limits.iter().cloned().collect();
        Self { given, limits, account }
    }

    pub(super) fn apply(&self, settings: Settings) -> Settings {
        /// Sets what is given.
        fn with<T>(
            settings: Settings,
            given: Option<&Given<T>>,
            set: impl FnOnce(Settings, &T) -> Settings,
        ) -> Settings {
            match given {
                Some(given) => set(settings, &given.value),
                None => settings,
            }
        }
        let given = &self.given;
        let settings = with(settings, given.cwd.as_ref(), |all, path| all.cwd(path));
        let settings = with(settings, given.umask.as_ref(), |all, mask| all.umask(*mask));
        let settings = with(settings, given.nice.as_ref(), |all, nice| all.nice(*nice));
        let settings = with(settings, given.cpu_affinity.as_ref(), |all, cpus| all.cpu_affinity(cpus.sets()));
        let settings = self.limits.iter().fold(settings, |all, (&name, limit)| all.limit(name, limit.value));
        match &self.account {
            Some(account) => settings.user(account.clone()),
            None => settings,
        }
    }

    /// The directory that workers run in.
    pub(crate) fn directory(&self) -> &Path {
        self.given.cwd.as_ref().map_or(Path::new("."), |given| &given.value)
    }

    /// Where the value of a key comes from.
    pub(crate) fn origin(&self, key: &str) -> Option<&Origin> {
        if let Some(name) = key.strip_prefix("limits.") {
            return self
                .limits
                .iter()
                .find(|(resource, _)| resource.name() == name)
                .map(|(_, given)| &given.origin);
        }
        let given = &self.given;
        match key {
            "cwd" => given.cwd.as_ref().map(|given| &given.origin),
            "user" => given.user.as_ref().map(|given| &given.origin),
            "nice" => given.nice.as_ref().map(|given| &given.origin),
            "cpu_affinity" => given.cpu_affinity.as_ref().map(|given| &given.origin),
            _ => None,
        }
    }
}

fn check_directory(cwd: &Given<PathBuf>, problems: &mut Problems) {
    let path = &cwd.value;
    let error = match fs::metadata(path) {
        Ok(data) if data.is_dir() => return,
        Ok(_) => io::ErrorKind::NotADirectory.into(),
        Err(error) => error,
    };
    let what = format!("cwd {} cannot be entered: {error}", path.display());
    let bad = BadValue::new(what, "name a directory that is there");
    problems.push(Problem::new(cwd.origin.clone(), path.display(), bad));
}

fn account(given: &ProcessLayer, problems: &mut Problems) -> Option<Account> {
    let group = given.group.as_ref();
    let Some(user) = &given.user else {
        if let Some(group) = group {
            let bad = BadValue::new(
                "a group without a user",
                "name the user as well: a worker of this group that stays root is hardly meant",
            );
            problems.push(Problem::new(group.origin.clone(), &group.value, bad));
        }
        return None;
    };
    let error = match Account::find(&user.value, group.map(|group| &*group.value)) {
        Ok(account) => return Some(account),
        Err(error) => error,
    };
    let (at, instead) = match (&error, group) {
        (AccountError::NoSuchGroup(_), Some(group)) => (group, "`getent group` shows those that there are"),
        (AccountError::NoGroup(_), _) => (user, "write group = \"…\" beside user, or --group"),
        _ => (user, "`getent passwd` shows those that there are; useradd --system makes one"),
    };
    problems.push(Problem::new(at.origin.clone(), &at.value, BadValue::new(error.to_string(), instead)));
    None
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
