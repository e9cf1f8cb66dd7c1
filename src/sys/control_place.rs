//! Where the control socket of a name is: directories that nobody else can put a socket into.
//!
//! The master takes the first that it can use, and makes it if need be; a client looks at all of them in the same order.

use std::{
    env,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;

/// Below directories that are not our own.
const NAME: &str = "pointsman";
/// Of the system; root's.
const SYSTEM: &str = "/run/pointsman";
/// Writable by group or others.
const SHARED: u32 = 0o022;

/// A directory for sockets, and what it is to be if it is made.
#[derive(Debug)]
struct Candidate {
    path: PathBuf,
    /// Its permissions if it is ours to make; `None` if it must be there.
    mode: Option<u32>,
}

fn candidates() -> Vec<Candidate> {
    // systemd separates several with colons.
    let service = env::var_os("RUNTIME_DIRECTORY").and_then(|list| env::split_paths(&list).next());
    let session = env::var_os("XDG_RUNTIME_DIR").map(|path| PathBuf::from(path).join(NAME));
    let own = PathBuf::from(format!("/tmp/{NAME}-{}", geteuid()));
    let all = [
        service.map(|path| Candidate { path, mode: None }),
        session.map(|path| Candidate { path, mode: Some(0o700) }),
        // A group may be let in.
        Some(Candidate { path: SYSTEM.into(), mode: Some(0o755) }),
        Some(Candidate { path: own, mode: Some(0o700) }),
    ];
    all.into_iter().flatten().filter(|candidate| candidate.path.is_absolute()).collect()
}

fn file(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.sock"))
}

/// Where sockets of this name may be, the likeliest first.
pub(crate) fn places(name: &str) -> Vec<PathBuf> {
    candidates().iter().map(|candidate| file(&candidate.path, name)).collect()
}

/// Makes the directory of a socket of this name, and returns its path. The error is that of the last one that was tried.
pub(crate) fn make(name: &str) -> io::Result<PathBuf> {
    make_in(candidates(), name)
}

fn make_in(candidates: Vec<Candidate>, name: &str) -> io::Result<PathBuf> {
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for candidate in candidates {
        match fit(&candidate) {
            Ok(()) => return Ok(file(&candidate.path, name)),
            Err(error) => {
                let why = format!("{}: {error}", candidate.path.display());
                failed = io::Error::new(error.kind(), why);
            }
        }
    }
    Err(failed)
}

/// Whether this is a directory of ours that nobody else can change.
fn fit(candidate: &Candidate) -> io::Result<()> {
    if let Some(mode) = candidate.mode {
        match DirBuilder::new().mode(mode).create(&candidate.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    let data = fs::symlink_metadata(&candidate.path)?;
    let ours = data.uid() == geteuid().as_raw() && data.is_dir();
    if !ours || data.mode() & SHARED != 0 {
        let why = "it is not a directory of this user that nobody else can write to";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(())
}

/// Whether whoever listens in this directory can be trusted with what a client says: nobody but root, this user and those
/// whom root lets can have put it there. Of a directory that is not there, nobody can.
pub(crate) fn is_trusted(path: &Path) -> bool {
    let Some(directory) = path.parent() else { return true };
    let Ok(data) = fs::symlink_metadata(directory) else { return true };
    // That of the system is made by root, who has then given it to the user of a service.
    let given = directory == Path::new(SYSTEM) || [0, geteuid().as_raw()].contains(&data.uid());
    given && data.is_dir() && data.mode() & SHARED == 0
}

/// The first directory on the way to this path that members of a group cannot get into.
pub(crate) fn closed_to(path: &Path, gid: u32) -> Option<PathBuf> {
    /// What it takes to use a directory on the way.
    const SEARCH: (u32, u32) = (0o010, 0o001);
    let is_closed = |directory: &&Path| {
        fs::symlink_metadata(directory).is_ok_and(|data| {
            let bit = if data.gid() == gid { SEARCH.0 } else { SEARCH.1 };
            data.mode() & bit == 0
        })
    };
    path.ancestors().skip(1).find(is_closed).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    #[test]
    fn the_first_directory_that_is_ours_alone_is_taken() {
        let base = tempfile::tempdir().unwrap();
        let path = |name: &str| base.path().join(name);
        let [open, plain] = ["open", "plain"].map(path);
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        fs::write(&plain, "").unwrap();
        std::os::unix::fs::symlink(base.path(), path("link")).unwrap();
        let candidate = |path: PathBuf, mode| Candidate { path, mode };
        let unfit = || {
            let all = [
                (open.clone(), None),
                (plain.clone(), Some(0o700)),
                (path("link"), None),
                (path("no"), None),
            ];
            all.map(|(path, mode)| candidate(path, mode)).into_iter()
        };
        for one in unfit() {
            let text = format!("{one:?}");
            assert!(make_in(vec![one], "a").is_err(), "{text}");
        }
        let made = make_in(unfit().chain([candidate(path("new"), Some(0o700))]).collect(), "web").unwrap();
        assert_eq!(made, path("new/web.sock"));
        assert_eq!(fs::metadata(path("new")).unwrap().mode() & 0o777, 0o700);
        assert!(is_trusted(&made) && is_trusted(Path::new("/nowhere/a.sock")));
        assert!(!is_trusted(&open.join("a.sock")));
    }

    #[test]
    fn a_group_is_told_where_it_cannot_get_through() {
        let base = tempfile::tempdir().unwrap();
        let (open, closed) = (base.path().join("open"), base.path().join("open/closed"));
        fs::create_dir_all(&closed).unwrap();
        for (path, mode) in [(base.path(), 0o755), (&open, 0o711), (&closed, 0o700)] {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
        assert_eq!(closed_to(&open.join("a.sock"), 4_000_000_000), None);
        assert_eq!(closed_to(&closed.join("a.sock"), 4_000_000_000), Some(closed.clone()));
        let gid = fs::metadata(&closed).unwrap().gid();
        fs::set_permissions(&closed, Permissions::from_mode(0o710)).unwrap();
        assert_eq!(closed_to(&closed.join("a.sock"), gid), None);
    }

    #[test]
    fn a_name_is_looked_for_in_the_systems_directory_and_in_the_users_own() {
        let all = places("web");
        assert!(all.contains(&"/run/pointsman/web.sock".into()), "{all:?}");
        let own = format!("/tmp/pointsman-{}/web.sock", geteuid());
        assert_eq!(all.last(), Some(&own.into()));
    }
}
