//! Unix sockets that are bound to a path, and their files.
//!
//! Directories on the way may be a worker's, who can put anything anywhere at any time. So a directory is opened once,
//! without reading it, and what is in it is reached from there; a file is looked at and changed by one descriptor; and
//! nothing here waits for anybody.

#![allow(unsafe_code, reason = "flock without a wrapper that may panic")]

use std::{
    ffi::OsString,
    fs::{self, File, Metadata, Permissions},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{AtFlags, OFlag, open, openat},
    poll::{PollTimeout, poll},
    sys::{
        socket::{AddressFamily, SockType, UnixAddr, bind, connect, socket},
        stat::Mode,
    },
    unistd::{Gid, Uid, UnlinkatFlags, fchownat, unlinkat},
};

use super::{
    account::Credentials,
    bind::{FLAGS, Options, start_listening},
    borrowed::Borrowed,
    datagram,
};

/// Who may connect to a Unix socket; `None` leaves it to the umask and this process's user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) mode: Option<u32>,
    pub(crate) owner: Option<u32>,
    pub(crate) group: Option<u32>,
    /// For everybody, on top of the mode.
    pub(crate) readable_all: bool,
    pub(crate) writable_all: bool,
}

/// The file of a Unix socket; removed when this is dropped, unless another has taken its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: Identity,
    /// With whose rights it was made, if not with ours.
    user: Option<Credentials>,
}

impl SocketFile {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn remove(&self) -> io::Result<()> {
        let _rights = self.user.as_ref().map(Borrowed::of).transpose()?;
        let place = Place::of(&self.path)?;
        if identity(&place.look()?.metadata()?) == self.identity { place.clear() } else { Ok(()) }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Nobody is left who could be told.
        let _ = self.remove();
    }
}

/// Tells a file from another that has taken its place, and maybe its number: nothing writes to a socket's file.
type Identity = (u64, u64, i64, i64);

fn identity(data: &Metadata) -> Identity {
    (data.dev(), data.ino(), data.mtime(), data.mtime_nsec())
}

/// Binds and listens at an absolute path of any length, close-on-exec and non-blocking. A socket there that nobody
/// listens on any more is replaced, unless others keep the directory locked; else it is `EADDRINUSE`, and any other file
/// is `EEXIST`. What `user` may
/// not do there is refused, and the file is that user's.
pub(crate) fn listen_unix(
    path: &Path,
    options: &Options,
    user: Option<&Credentials>,
) -> io::Result<(OwnedFd, SocketFile)> {
    let _rights = user.map(Borrowed::of).transpose()?;
    let place = Place::of(path)?;
    let listener = unix()?;
    // Until it listens it looks like a stale one to others.
    let lock = place.lock();
    match place.bind(&listener) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && lock.is_some() && place.is_stale() => {
            place.clear()?;
            place.bind(&listener)?;
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && !place.is_socket() => {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        bound => bound?,
    }
    let inode = place.look()?;
    let identity = identity(&inode.metadata()?);
    let file = SocketFile { path: path.to_owned(), identity, user: user.cloned() };
    grant(&inode, &options.access)?;
    start_listening(&listener, options.backlog)?;
    Ok((listener, file))
}

/// Binds a socket for datagrams at an absolute path where nothing is yet: close-on-exec, non-blocking, and one that tells
/// who sends.
pub(crate) fn bind_datagrams(path: &Path, access: &Access) -> io::Result<(OwnedFd, SocketFile)> {
    let place = Place::of(path)?;
    let receiver = datagram::receiver()?;
    place.bind(&receiver)?;
    let inode = place.look()?;
    let file = SocketFile { path: path.to_owned(), identity: identity(&inode.metadata()?), user: None };
    grant(&inode, access)?;
    Ok((receiver, file))
}

fn unix() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, SockType::Stream, FLAGS, None)?)
}

/// Another master has the lock for two or three system calls.
const LOCK_TRIES: u32 = 4;
const LOCK_PAUSE_MS: u8 = 1;

/// A name in a directory, whatever is there.
struct Place {
    directory: OwnedFd,
    name: OsString,
    /// As the kernel takes it: up to 107 bytes, by way of the directory if the path is longer.
    address: UnixAddr,
}

impl Place {
    fn of(path: &Path) -> io::Result<Self> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        };
        // Only a directory, and only a place in the tree: opening a pipe would wait for its other end.
        let directory = open(parent, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let address =
            UnixAddr::new(path).or_else(|_| UnixAddr::new(&by_number(directory.as_raw_fd()).join(name)))?;
        Ok(Self { directory, name: name.to_owned(), address })
    }

    fn bind(&self, listener: &OwnedFd) -> io::Result<()> {
        Ok(bind(listener.as_raw_fd(), &self.address)?)
    }

    /// What is there, itself and not where it leads to, to be looked at and to be changed.
    fn look(&self) -> io::Result<File> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(openat(&self.directory, &*self.name, flags, Mode::empty())?.into())
    }

    fn clear(&self) -> io::Result<()> {
        Ok(unlinkat(&self.directory, &*self.name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Of those who replace sockets here at the same time one does. Anybody who can read the directory can keep the lock,
    /// so it is not waited for.
    fn lock(&self) -> Option<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = openat(&self.directory, ".", flags, Mode::empty()).ok()?;
        let locked = (0..LOCK_TRIES).any(|tried| {
            let pause = if tried == 0 { PollTimeout::ZERO } else { PollTimeout::from(LOCK_PAUSE_MS) };
            poll(&mut [], pause).is_ok() && try_lock(&directory)
        });
        locked.then_some(directory)
    }

    /// Whether a socket is there that nobody listens on.
    fn is_stale(&self) -> bool {
        let refused = || {
            let tried = unix().and_then(|socket| Ok(connect(socket.as_raw_fd(), &self.address)?));
            tried.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        };
        self.is_socket() && refused()
    }

    fn is_socket(&self) -> bool {
        self.look().and_then(|file| file.metadata()).is_ok_and(|data| data.file_type().is_socket())
    }
}

/// Whether nobody else has locked this directory, and we have it until it is closed.
fn try_lock(directory: &impl AsRawFd) -> bool {
    // SAFETY: flock takes two integers.
    unsafe { libc::flock(directory.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
}

fn by_number(descriptor: i32) -> PathBuf {
    format!("/proc/self/fd/{descriptor}").into()
}

/// Lets others at a socket that was bound just now. What has taken its place since is left alone: nobody can move a
/// link, another kind of file or a second name of somebody's socket under this.
fn grant(inode: &File, access: &Access) -> io::Result<()> {
    let all = (u32::from(access.readable_all) * 0o444) | (u32::from(access.writable_all) * 0o222);
    let changes_owner = access.owner.is_some() || access.group.is_some();
    let changes_mode = access.mode.is_some() || all != 0;
    if !changes_owner && !changes_mode {
        return Ok(());
    }
    let data = inode.metadata()?;
    if !data.file_type().is_socket() || data.nlink() != 1 {
        return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
    }
    if changes_owner {
        let (owner, group) = (access.owner.map(Uid::from_raw), access.group.map(Gid::from_raw));
        fchownat(inode, "", owner, group, AtFlags::AT_EMPTY_PATH)?;
    }
    if changes_mode {
        let mode = access.mode.unwrap_or(data.mode()) & 0o7777 | all;
        fs::set_permissions(by_number(inode.as_raw_fd()), Permissions::from_mode(mode))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        os::unix::{
            fs::symlink,
            net::{UnixListener, UnixStream},
        },
        sync::{Barrier, mpsc},
        thread,
        time::Duration,
    };

    use crate::{endpoint::Endpoint, sys::bind::endpoint};

    fn options() -> Options {
        Options { backlog: 16, ..Options::default() }
    }

    fn listen(path: &Path, options: &Options) -> io::Result<(OwnedFd, SocketFile)> {
        listen_unix(path, options, None)
    }

    #[test]
    fn a_unix_socket_comes_and_goes_with_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let (listener, file) = listen(&path, &options()).unwrap();
        assert_eq!(endpoint(&listener).unwrap(), Endpoint::Unix(path.clone()));
        UnixStream::connect(&path).unwrap();
        let taken = listen(&path, &options()).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse, "somebody listens");
        drop((listener, file));
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves it");
        let (listener, file) = listen(&path, &options()).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop((listener, file));
        assert!(path.exists(), "it is another's by now");
        let plain = directory.path().join("plain");
        fs::write(&plain, "kept").unwrap();
        assert_eq!(listen(&plain, &options()).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&plain).unwrap(), b"kept");
    }

    #[test]
    fn a_path_may_be_longer_than_an_address() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("d".repeat(100)).join("e".repeat(100));
        fs::create_dir_all(&deep).unwrap();
        let path = deep.join("a.sock");
        let (listener, file) = listen(&path, &options()).unwrap();
        assert!(path.exists());
        assert_eq!(listen(&path, &options()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        let (_listener, second) = listen(&path, &options()).unwrap();
        drop(file);
        assert!(path.exists(), "a stale one was replaced");
        drop(second);
        assert!(!path.exists());
        let name = "n".repeat(200);
        assert!(listen(&directory.path().join(name), &options()).is_err());
    }

    #[test]
    fn a_pipe_on_the_way_does_not_make_it_wait() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("p".repeat(120));
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (told, refused) = mpsc::channel();
        thread::spawn(move || told.send(listen(&pipe.join("a.sock"), &options()).unwrap_err()));
        let refused = refused.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(refused.raw_os_error(), Some(libc::ENOTDIR));
    }

    #[test]
    fn access_is_as_asked() {
        let directory = tempfile::tempdir().unwrap();
        let mode = |name: &str, access: Access| {
            let path = directory.path().join(name);
            let _socket = listen(&path, &Options { access, ..options() }).unwrap();
            fs::metadata(&path).unwrap().mode() & 0o777
        };
        assert_eq!(mode("a", Access { mode: Some(0o640), ..Access::default() }), 0o640);
        assert_eq!(mode("b", Access { mode: Some(0o600), writable_all: true, ..Access::default() }), 0o622);
        assert_eq!(
            mode("c", Access { readable_all: true, writable_all: true, ..Access::default() }) & 0o666,
            0o666
        );
    }

    #[test]
    fn of_two_that_replace_a_stale_socket_one_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        for _ in 0..200 {
            drop(UnixListener::bind(&path).unwrap());
            let both = Barrier::new(2);
            let replace = || {
                both.wait();
                listen(&path, &options())
            };
            let bound = thread::scope(|scope| {
                [scope.spawn(replace), scope.spawn(replace)].map(|thread| thread.join().unwrap())
            });
            let lost = bound.iter().filter_map(|bound| bound.as_ref().err());
            let lost: Vec<_> = lost.map(io::Error::kind).collect();
            assert_eq!(lost, [io::ErrorKind::AddrInUse]);
            UnixStream::connect(&path).unwrap();
        }
    }

    #[test]
    fn while_another_replaces_a_socket_only_a_new_one_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let [stale, new] = ["stale", "new"].map(|name| directory.path().join(name));
        drop(UnixListener::bind(&stale).unwrap());
        let other = File::open(directory.path()).unwrap();
        assert!(try_lock(&other));
        assert_eq!(listen(&stale, &options()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        listen(&new, &options()).unwrap();
        drop(other);
        listen(&stale, &options()).unwrap();
    }

    #[test]
    fn access_to_what_took_the_place_of_a_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let [plain, link, bound, second] =
            ["plain", "link", "bound", "second"].map(|name| directory.path().join(name));
        fs::write(&plain, "").unwrap();
        let _socket = UnixListener::bind(&bound).unwrap();
        fs::hard_link(&bound, &second).unwrap();
        for path in [&plain, &bound] {
            fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        }
        symlink(&plain, &link).unwrap();
        let access = Access { writable_all: true, ..Access::default() };
        for path in [&link, &plain, &second] {
            let inode = Place::of(path).unwrap().look().unwrap();
            assert!(grant(&inode, &access).is_err(), "{}", path.display());
        }
        for path in [&plain, &bound] {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o600);
        }
    }
}
