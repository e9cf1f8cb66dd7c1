//! A name or a path -> a master that answers, or where it was looked for and why there is none.
//!
//! The places belong to the crate, which also opens the socket there; this is the client's half. Knows nothing of verbs.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    io::{self, ErrorKind},
    os::{
        fd::AsRawFd,
        unix::{
            ffi::OsStrExt,
            fs::{FileTypeExt, MetadataExt},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use pointsman::{Control, ControlName, user_name};

use super::{
    client::{Client, Stranger, mute},
    fault::Fault,
};
use crate::config::{ControlPlace, control_name};

/// Which master is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Which {
    Named(ControlName),
    At(PathBuf),
}

const NAME: &str = "POINTSMAN_NAME";
const CONTROL: &str = "POINTSMAN_CONTROL";

impl Which {
    /// The one that the flags name, or the environment, or the one of the default name.
    pub(super) fn of(
        name: Option<ControlName>,
        control: Option<PathBuf>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Fault> {
        if let Some(path) = control {
            return Ok(Self::At(path));
        }
        if let Some(name) = name {
            return Ok(Self::Named(name));
        }
        let read = |key: &str| match variable(key).filter(|value| !value.is_empty()) {
            None => Ok(None),
            Some(value) => match value.to_str() {
                Some(text) => Ok(Some(text.to_owned())),
                None => Err(Fault::Variable(format!("{key} is not UTF-8 text; write it anew"))),
            },
        };
        let wrong = |key: &str, text: &str, bad: &dyn std::fmt::Display| {
            Fault::Variable(format!("{key}={}: {bad}", super::text::one_line(text)))
        };
        if let Some(text) = read(CONTROL)? {
            match text.parse::<ControlPlace>().map_err(|bad| wrong(CONTROL, &text, &bad))? {
                ControlPlace::Path(path) => return Ok(Self::At(path)),
                ControlPlace::Auto => {}
                ControlPlace::Off => {
                    let bad = "a master without a control socket cannot be asked; name another by --name or --control";
                    return Err(wrong(CONTROL, &text, &bad));
                }
            }
        }
        match read(NAME)? {
            Some(text) => control_name(&text).map(Self::Named).map_err(|bad| wrong(NAME, &text, &bad)),
            None => Ok(Self::Named(ControlName::default())),
        }
    }

    /// Where its socket may be, the likeliest first.
    fn places(&self) -> Vec<PathBuf> {
        match self {
            Self::Named(name) => Control::places(name),
            Self::At(path) => vec![path.clone()],
        }
    }

    /// The master, or why there is none. Somebody may have said how long it may be silent.
    pub(super) fn reach(&self, timeout: Option<Duration>) -> Result<Client, Fault> {
        let mut misses = Vec::new();
        let mut silent = None;
        for path in self.places() {
            let why = match connect(&path) {
                Ok(stream) => match Client::meet(stream, timeout) {
                    Ok(client) => return Ok(client),
                    Err(Stranger::Told(fault)) => return Err(fault),
                    Err(Stranger::NoMaster(what)) => Why::NoMaster(what),
                    Err(Stranger::Mute(pid)) => {
                        silent = silent.or(Some(pid));
                        continue;
                    }
                },
                Err(why) => why,
            };
            misses.push((path, why));
        }
        if let Some(pid) = silent {
            return Err(mute(pid, timeout));
        }
        Err(self.unreachable(&misses, &self.others(&misses)))
    }

    fn unreachable(&self, misses: &[(PathBuf, Why)], others: &[String]) -> Fault {
        let mut told = match self {
            Self::Named(name) => format!("no pointsman named {name} answers"),
            Self::At(_) => "no pointsman answers".to_owned(),
        };
        if misses.is_empty() {
            told += "\n  the directories where its socket may be can be written to by others, and are not trusted";
        }
        for (path, why) in misses {
            told += &format!("\n  {}: {}", super::text::one_line(&path.to_string_lossy()), why.told());
        }
        let denied = misses.iter().find_map(|(_, why)| match why {
            Why::NotPermitted(owner) => Some(*owner),
            _ => None,
        });
        if let Some(owner) = denied {
            told += &match owner {
                None | Some(0) => "\nask as root".to_owned(),
                Some(owner) => format!("\nask as root or as user {}", user_name(owner)),
            };
        }
        if others.is_empty() && denied.is_none() {
            told += "\n`pointsman run` starts one; --name NAME or --control PATH asks one that was started with it";
        }
        if !others.is_empty() {
            let names: Vec<_> = others.iter().map(|name| format!("--name {name}")).collect();
            told += &format!("\nthere are others: {}", names.join(", "));
        }
        Fault::Unreachable { told, denied: denied.is_some() }
    }

    /// Names by which somebody would answer.
    fn others(&self, misses: &[(PathBuf, Why)]) -> Vec<String> {
        let tried = |path: &Path| misses.iter().any(|(tried, _)| tried == path);
        let usual = Control::places(&ControlName::default());
        let directories: BTreeSet<_> = usual.iter().filter_map(|path| path.parent()).collect();
        let entries = directories.into_iter().filter_map(|path| fs::read_dir(path).ok()).flatten().flatten();
        let sockets = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket()));
        let live = sockets.map(|entry| entry.path()).filter(|path| !tried(path)).filter_map(|path| {
            let name = control_name(path.file_name()?.to_str()?.strip_suffix(".sock")?).ok()?;
            // That it takes a connection says enough.
            connect(&path).ok().map(|_| name.to_string())
        });
        let mut names: Vec<_> = live.take(MOST_OTHERS).collect();
        names.sort();
        names.dedup();
        names
    }
}

/// More are not shown.
const MOST_OTHERS: usize = 16;

/// Why a place has no master.
#[derive(Debug)]
enum Why {
    NoFile,
    /// A socket that its owner has left there.
    NobodyListens,
    /// What is there is something else.
    NoSocket,
    /// It belongs to this user, as far as can be seen.
    NotPermitted(Option<u32>),
    NoMaster(&'static str),
    Other(io::Error),
}

impl Why {
    fn told(&self) -> String {
        match self {
            Self::NoFile => "there is no such file".into(),
            Self::NobodyListens => "nobody listens there any more".into(),
            Self::NoSocket => {
                "that is no socket; give the path of the one that `pointsman run` has opened".into()
            }
            Self::NotPermitted(_) => {
                "not permitted; it is for root, the user who runs the master, and control_group".into()
            }
            Self::NoMaster(what) => (*what).into(),
            Self::Other(error) => error.to_string(),
        }
    }
}

/// The longest path that a socket's address holds.
const MAX_PATH: usize = 107;

fn connect(path: &Path) -> Result<UnixStream, Why> {
    let connected = if path.as_os_str().as_bytes().len() <= MAX_PATH {
        UnixStream::connect(path)
    } else {
        connect_far(path)
    };
    connected.map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Why::NoFile,
        ErrorKind::ConnectionRefused if !is_socket(path) => Why::NoSocket,
        ErrorKind::ConnectionRefused => Why::NobodyListens,
        ErrorKind::PermissionDenied => Why::NotPermitted(owner(path)),
        _ => Why::Other(error),
    })
}

/// Whether it is one, as far as can be seen.
fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// Whose a file is that may be in a directory which is closed to us: then that is of the same user.
fn owner(path: &Path) -> Option<u32> {
    path.ancestors().find_map(|path| fs::metadata(path).ok()).map(|metadata| metadata.uid())
}

/// Connects to a socket whose path is longer than its address may be, from its directory.
fn connect_far(path: &Path) -> io::Result<UnixStream> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(ErrorKind::NotFound.into());
    };
    let directory = File::open(parent)?;
    UnixStream::connect(Path::new(&format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::cli::control::client::tests::GREETING;

    fn which(flags: (Option<&str>, Option<&str>), variables: &[(&str, &str)]) -> Result<Which, String> {
        let variable = |key: &str| {
            variables.iter().find(|(name, _)| *name == key).map(|(_, value)| OsString::from(value))
        };
        let (name, control) = flags;
        Which::of(name.map(|name| name.parse().unwrap()), control.map(Into::into), variable).map_err(
            |fault| {
                assert_eq!(fault.exit_code(), 78);
                fault.to_string()
            },
        )
    }

    #[test]
    fn flags_win_over_the_environment() {
        let named = |name: &str| Ok(Which::Named(name.parse().unwrap()));
        let at = |path: &str| Ok(Which::At(path.into()));
        let both = [("POINTSMAN_NAME", "b"), ("POINTSMAN_CONTROL", "/c")];
        for (flags, variables, expected) in [
            ((None, None), &[][..], named("default")),
            ((None, None), &both[..1], named("b")),
            ((None, None), &both, at("/c")),
            ((Some("a"), None), &both, named("a")),
            ((None, Some("/d")), &both, at("/d")),
            ((None, None), &[("POINTSMAN_CONTROL", "auto"), ("POINTSMAN_NAME", "")], named("default")),
        ] {
            assert_eq!(which(flags, variables), expected);
        }
        for (variable, expected) in [
            (("POINTSMAN_NAME", "a/b"), "POINTSMAN_NAME=a/b: a name is no path"),
            (("POINTSMAN_CONTROL", "off"), "POINTSMAN_CONTROL=off: a master without a control socket"),
            (("POINTSMAN_CONTROL", "a"), "POINTSMAN_CONTROL=a: neither a choice nor a path"),
        ] {
            let error = which((None, None), &[variable]).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn every_place_that_was_tried_is_named_with_its_reason() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        drop(UnixListener::bind(at("stale.sock")).unwrap());
        fs::write(at("file"), "").unwrap();
        for (name, expected) in [
            ("none.sock", "none.sock: there is no such file\n"),
            ("file/x", "file/x: there is no such file\n"),
            ("stale.sock", "stale.sock: nobody listens there any more\n"),
            ("file", "file: that is no socket; give"),
            ("", ": that is no socket; give"),
        ] {
            let fault = Which::At(at(name)).reach(None).unwrap_err();
            let text = fault.to_string();
            assert!(text.starts_with("no pointsman answers\n  /") && text.contains(expected), "{text}");
            assert!(text.contains("--name") && fault.exit_code() == 69, "{text}");
        }
    }

    #[test]
    fn who_must_not_is_told_who_may() {
        let denied = |owner, others: &[String]| {
            let misses = [
                (PathBuf::from("/run/pointsman/api.sock"), Why::NotPermitted(owner)),
                (PathBuf::from("/tmp/pointsman-0/api.sock"), Why::NoFile),
            ];
            let fault = Which::Named("api".parse().unwrap()).unreachable(&misses, others);
            assert_eq!(fault.exit_code(), 77);
            fault.to_string()
        };
        let expected = "no pointsman named api answers\n  /run/pointsman/api.sock: not permitted; it is for root, the user \
                        who runs the master, and control_group\n  /tmp/pointsman-0/api.sock: there is no such \
                        file\nask as root";
        let others = ["a".into(), "b".into()];
        assert_eq!(denied(Some(0), &others), format!("{expected}\nthere are others: --name a, --name b"));
        assert_eq!(denied(None, &[]), expected);
        // As good as nobody has this number.
        assert_eq!(denied(Some(4_000_000), &[]), format!("{expected} or as user 4000000"));
        assert_eq!(user_name(0), "root");
        let directory = tempfile::tempdir().unwrap();
        let mine = fs::metadata(directory.path()).unwrap().uid();
        assert_eq!(owner(&directory.path().join("none/a.sock")), Some(mine));
    }

    #[test]
    fn who_is_there_and_says_nothing_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let fault = Which::At(path).reach(Some(Duration::from_millis(1))).unwrap_err();
        let text = fault.to_string();
        let pid = std::process::id();
        assert_eq!(fault.exit_code(), 75);
        assert!(text.contains(&format!("(pid {pid}) says nothing")) && !text.contains("run"), "{text}");
        let text = mute(pid, None).to_string();
        assert!(text.contains(&format!("(pid {pid}) is there and has said nothing for 10 s")), "{text}");
    }

    #[test]
    fn a_socket_is_reached_however_long_its_path_is() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("d".repeat(120));
        fs::create_dir(&deep).unwrap();
        let open = File::open(&deep).unwrap();
        let short = format!("/proc/self/fd/{}/a.sock", open.as_raw_fd());
        let listener = UnixListener::bind(short).unwrap();
        let master = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            io::Write::write_all(&mut stream, format!("{GREETING}\n").as_bytes()).unwrap();
        });
        assert_eq!(Which::At(deep.join("a.sock")).reach(None).unwrap().pid, 4711);
        master.join().unwrap();
    }
}
