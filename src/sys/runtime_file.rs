//! A small file for programs that this process starts, in a private directory, for as long as this process runs; or such a
//! directory, for sockets that those programs make themselves.
//!
//! Those programs may run it, and may be of other users: so it is readable by all, and nobody but us and root can
//! have put it there or can replace it. No directory on the way to it may be another user's, nor writable by others
//! unless it is sticky, nor closed to the user that the programs run as, and its own directory has a name that nobody
//! can know in advance.

use std::{
    env,
    fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;

use super::account::Credentials;

/// A service's own directory has this name below `/run`.
const SERVICE: &str = "/run/pointsman";
/// Of every system.
const SYSTEM: [&str; 2] = ["/dev/shm", "/tmp"];
/// Longer ones are nobody's runtime directory, and a line to the guard must be shorter than `PIPE_BUF`.
const PATH_BYTES: usize = 1024;
/// What fits into `sun_path` with the zero byte that some programs put behind it.
const SOCKET_BYTES: usize = 107;

const DIRECTORY_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;
/// Of a directory that nobody else gets into.
const OWN_MODE: u32 = 0o700;
/// Writable by group or others.
const SHARED: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// A file with a directory of its own, both removed when this is dropped.
#[derive(Debug)]
pub(crate) struct RuntimeFile {
    path: String,
    /// As it was written, to be recognised.
    identity: Identity,
}

/// What changes when a file is replaced or written to.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    owner: u32,
    mode: u32,
    length: u64,
    modified: (i64, i64),
}

impl RuntimeFile {
    /// Writes `content` to a new file of this name, in the first directory of the environment or the system that is
    /// fit. `reader` is whom it is for, if not for this process's own user. `announce` gets each path before it is tried:
    /// what is announced may be removed by [`remove`] at the end.
    pub(crate) fn create(
        name: &str,
        content: &str,
        reader: Option<&Credentials>,
        announce: impl FnMut(&str),
    ) -> io::Result<Self> {
        let made =
            Self::create_in(candidates(), PATH_BYTES, name, reader, announce, |path| write(path, content));
        made.map(|(file, ())| file)
    }

    /// The same for a socket, which `make` binds to the path: one that every program can connect to.
    pub(crate) fn create_socket<T>(
        name: &str,
        reader: Option<&Credentials>,
        announce: impl FnMut(&str),
        make: impl Fn(&Path) -> io::Result<T>,
    ) -> io::Result<(Self, T)> {
        Self::create_in(candidates(), SOCKET_BYTES, name, reader, announce, make)
    }

    fn create_in<T>(
        candidates: impl Iterator<Item = PathBuf>,
        longest: usize,
        name: &str,
        reader: Option<&Credentials>,
        mut announce: impl FnMut(&str),
        make: impl Fn(&Path) -> io::Result<T>,
    ) -> io::Result<(Self, T)> {
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "no directory to write to");
        for base in candidates {
            let attempt = private_directory_name().and_then(|private| {
                let directory = fit(&base, reader)?.join(private);
                let path = path_text(&directory.join(name), longest)?;
                announce(&path);
                let made = make_in(&directory, Path::new(&path), &make)?;
                let identity = Identity::of(&fs::symlink_metadata(&path)?);
                Ok((Self { path, identity }, made))
            });
            match attempt {
                Ok(file) => return Ok(file),
                Err(error) => failed = io::Error::new(error.kind(), format!("{}: {error}", base.display())),
            }
        }
        Err(failed)
    }

    /// Absolute, and without control characters.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Whether it is still there as it was written. Directories for temporary files are cleaned by the system.
    pub(crate) fn is_intact(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|now| Identity::of(&now) == self.identity)
    }
}

/// A private directory for sockets that programs of one user make, removed with all that is in it when this is dropped.
#[derive(Debug)]
pub(crate) struct RuntimeDirectory {
    path: PathBuf,
}

/// Longest name of a socket in it.
const NAME_BYTES: usize = 24;

impl RuntimeDirectory {
    /// In the first directory of the environment or the system that is fit. It belongs to `owner`, if that is not this
    /// process's own user, and is closed to others.
    pub(crate) fn create(owner: Option<&Credentials>) -> io::Result<Self> {
        Self::create_in(candidates(), owner)
    }

    fn create_in(candidates: impl Iterator<Item = PathBuf>, owner: Option<&Credentials>) -> io::Result<Self> {
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "no directory to write to");
        for base in candidates {
            let attempt = private_directory_name().and_then(|private| {
                let path = fit(&base, owner)?.join(private);
                path_text(&path, SOCKET_BYTES - NAME_BYTES - 1)?;
                DirBuilder::new().mode(OWN_MODE).create(&path)?;
                let made = Self { path };
                owner.map_or(Ok(()), |owner| chown(&made.path, Some(owner.uid), Some(owner.gid)))?;
                Ok(made)
            });
            match attempt {
                Ok(directory) => return Ok(directory),
                Err(error) => failed = io::Error::new(error.kind(), format!("{}: {error}", base.display())),
            }
        }
        Err(failed)
    }

    /// What a socket of this name has as its path.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether it is still there. Directories for temporary files are cleaned by the system.
    pub(crate) fn is_intact(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|data| data.is_dir())
    }
}

impl Drop for RuntimeDirectory {
    fn drop(&mut self) {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        entries.for_each(|entry| drop(fs::remove_file(entry.path())));
        let _ = fs::remove_dir(&self.path);
    }
}

impl Drop for RuntimeFile {
    fn drop(&mut self) {
        remove(Path::new(&self.path));
    }
}

impl Identity {
    fn of(data: &Metadata) -> Self {
        Self {
            device: data.dev(),
            inode: data.ino(),
            owner: data.uid(),
            mode: data.mode(),
            length: data.len(),
            modified: (data.mtime(), data.mtime_nsec()),
        }
    }
}

/// Removes such a file and its directory. That they are gone is no error.
pub(super) fn remove(path: &Path) {
    let _ = fs::remove_file(path);
    if let Some(directory) = path.parent() {
        let _ = fs::remove_dir(directory);
    }
}

/// Where it may go, the best first: what is cleared when the service or the user's session ends, then memory, then
/// what every system has.
fn candidates() -> impl Iterator<Item = PathBuf> {
    // systemd separates several with colons.
    let service = env::var_os("RUNTIME_DIRECTORY")
        .and_then(|list| env::split_paths(&list).next().map(PathBuf::into_os_string));
    let given = [service, env::var_os("XDG_RUNTIME_DIR")];
    let [memory, temporary] = SYSTEM.map(PathBuf::from);
    let given = given.into_iter().flatten().map(PathBuf::from).chain([SERVICE.into(), memory]);
    given.chain(env::var_os("TMPDIR").map(PathBuf::from)).chain([temporary]).filter(|path| path.is_absolute())
}

/// What it takes to use a directory on the way to a file.
const SEARCH: u32 = 1;

/// The directory itself, without links, if nobody else can change what is in it under us, and `reader` can get there.
fn fit(base: &Path, reader: Option<&Credentials>) -> io::Result<PathBuf> {
    if base == Path::new(SERVICE) {
        // Root's to make, and there from then on.
        match DirBuilder::new().mode(DIRECTORY_MODE).create(base) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    let base = base.canonicalize()?;
    let ours = geteuid().as_raw();
    for directory in base.ancestors() {
        let data = fs::symlink_metadata(directory)?;
        let shared = data.mode() & SHARED != 0 && data.mode() & STICKY == 0;
        if shared || ![0, ours].contains(&data.uid()) {
            let why = format!("others can write to {}", directory.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        if reader.is_some_and(|reader| !reader.may(SEARCH, data.uid(), data.gid(), data.mode())) {
            let why = format!("the workers' user cannot get into {}", directory.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
    }
    Ok(base)
}

fn path_text(path: &Path, longest: usize) -> io::Result<String> {
    let text = path.to_str().filter(|text| text.len() <= longest && !text.contains(char::is_control));
    text.map(str::to_owned).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an odd path"))
}

fn private_directory_name() -> io::Result<String> {
    let mut random = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(format!("pointsman-{:032x}", u128::from_ne_bytes(random)))
}

/// Leaves nothing behind if it fails.
fn make_in<T>(directory: &Path, path: &Path, make: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
    DirBuilder::new().mode(DIRECTORY_MODE).create(directory)?;
    let made = make(path).and_then(|made| {
        // Whatever the umask is.
        fs::set_permissions(directory, Permissions::from_mode(DIRECTORY_MODE))?;
        Ok(made)
    });
    if made.is_err() {
        remove(path);
    }
    made
}

fn write(path: &Path, content: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(FILE_MODE).open(path)?;
    file.write_all(content.as_bytes())?;
    // Whatever the umask is.
    file.set_permissions(Permissions::from_mode(FILE_MODE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn create_in(bases: &[&Path]) -> io::Result<(RuntimeFile, Vec<String>)> {
        create_for(None, bases)
    }

    fn create_for(reader: Option<&Credentials>, bases: &[&Path]) -> io::Result<(RuntimeFile, Vec<String>)> {
        let mut announced = Vec::new();
        let bases = bases.iter().map(|path| path.to_path_buf());
        let announce = |path: &str| announced.push(path.to_owned());
        let make = |path: &Path| write(path, "content");
        let (file, ()) = RuntimeFile::create_in(bases, PATH_BYTES, "x.cjs", reader, announce, make)?;
        Ok((file, announced))
    }

    #[test]
    fn it_is_there_for_all_to_read_until_it_is_dropped() {
        let base = tempfile::tempdir().unwrap();
        let (file, announced) = create_in(&[base.path()]).unwrap();
        let path = Path::new(file.path()).to_owned();
        assert_eq!(announced, [file.path()]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "content");
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o7777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o644, 0o755));
        assert!(file.is_intact());
        drop(file);
        assert_eq!(base.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn a_directory_goes_with_what_is_in_it() {
        let base = tempfile::tempdir().unwrap();
        let make = || RuntimeDirectory::create_in([base.path().to_owned()].into_iter(), None).unwrap();
        let directory = make();
        let path = directory.join("0-0.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(path.parent().unwrap().metadata().unwrap().mode() & 0o777, 0o700);
        assert!(directory.is_intact());
        drop(directory);
        assert_eq!(base.path().read_dir().unwrap().count(), 0);
        let directory = make();
        fs::remove_dir(directory.join("x").parent().unwrap()).unwrap();
        assert!(!directory.is_intact());
    }

    #[test]
    fn it_knows_when_it_was_changed_or_removed() {
        let base = tempfile::tempdir().unwrap();
        let (file, _) = create_in(&[base.path()]).unwrap();
        fs::write(file.path(), "changed").unwrap();
        assert!(!file.is_intact());
        let (file, _) = create_in(&[base.path()]).unwrap();
        remove(Path::new(file.path()));
        assert!(!file.is_intact());
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_passed_over() {
        let base = tempfile::tempdir().unwrap();
        let [open, sticky, link] = ["open", "sticky", "link"].map(|name| base.path().join(name));
        for (path, mode) in [(&open, 0o777), (&sticky, 0o1777)] {
            fs::create_dir_all(path.join("below")).unwrap();
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
        symlink(&open, &link).unwrap();
        let missing = base.path().join("missing");
        for refused in [&open, &open.join("below"), &link, &missing] {
            assert!(create_in(&[refused]).is_err(), "{}", refused.display());
            let (file, _) = create_in(&[refused, &sticky]).unwrap();
            assert!(file.path().starts_with(sticky.to_str().unwrap()), "{}", file.path());
        }
        assert!(create_in(&[]).unwrap_err().to_string().contains("no directory"));
    }

    #[test]
    fn a_directory_that_is_closed_to_its_reader_is_passed_over() {
        let base = tempfile::tempdir().unwrap();
        let [closed, open] = ["closed", "open"].map(|name| base.path().join(name));
        for (path, mode) in [(base.path(), 0o755), (&closed, 0o700), (&open, 0o711)] {
            fs::create_dir_all(path).unwrap();
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
        let below = closed.join("below");
        fs::create_dir(&below).unwrap();
        let [ours, stranger] = [geteuid().as_raw(), 4_000_000_000];
        for (uid, expected) in [(ours, &closed), (stranger, &open)] {
            let reader = Credentials { uid, gid: stranger, groups: vec![stranger] };
            let (file, _) = create_for(Some(&reader), &[&closed, &open]).unwrap();
            assert!(file.path().starts_with(expected.to_str().unwrap()), "{uid}: {}", file.path());
            assert_eq!(create_for(Some(&reader), &[&below]).is_ok(), uid == ours);
        }
    }

    #[test]
    fn a_path_that_cannot_be_told_in_a_line_is_passed_over() {
        let base = tempfile::tempdir().unwrap();
        let odd = base.path().join("a\nb");
        fs::create_dir(&odd).unwrap();
        assert!(create_in(&[&odd]).is_err());
        assert_eq!(odd.read_dir().unwrap().count(), 0);
    }

    #[test]
    fn a_directory_too_deep_for_a_socket_is_passed_over() {
        let base = tempfile::tempdir().unwrap();
        let deep = base.path().join("d".repeat(60));
        fs::create_dir(&deep).unwrap();
        let bases = [deep.clone(), base.path().to_owned()];
        let make = |path: &Path| write(path, "");
        for (longest, expected) in [(PATH_BYTES, &*deep), (SOCKET_BYTES, base.path())] {
            let bases = bases.iter().cloned();
            let (file, ()) = RuntimeFile::create_in(bases, longest, "x.sock", None, |_| {}, make).unwrap();
            assert_eq!(Path::new(file.path()).parent().unwrap().parent(), Some(expected));
        }
        assert_eq!(deep.read_dir().unwrap().count(), 0);
    }
}
