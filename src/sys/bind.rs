//! Sockets that are bound and listen: TCP, Unix and UDP, with what users may want of them.

#![allow(unsafe_code, reason = "a socket option that nix does not know")]

use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    io,
    net::SocketAddr,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{FileTypeExt, MetadataExt, PermissionsExt, chown},
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    fcntl::{OFlag, open},
    sys::{
        socket::{
            AddressFamily, Backlog, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, bind,
            connect, getsockname, getsockopt, listen, setsockopt, socket, sockopt,
        },
        stat::Mode,
    },
};

use crate::endpoint::Endpoint;

/// What a listening socket is to be like, beyond its address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Length of the kernel's queue, which shortens it to `net.core.somaxconn`.
    pub(crate) backlog: u32,
    /// An IPv6 wildcard leaves IPv4 to others.
    pub(crate) ipv6_only: bool,
    /// Accepted connections are probed after being idle for so long, in whole seconds.
    pub(crate) keepalive: Option<Duration>,
    /// A connection is given out when its first bytes have come, or after so long, in whole seconds.
    pub(crate) defer_accept: Option<Duration>,
    /// Access to a Unix socket.
    pub(crate) access: Access,
}

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

/// Length of the kernel's queue of a listening socket: Node's and nginx's 511.
pub(crate) const BACKLOG: u32 = 511;

const FLAGS: SockFlag = SockFlag::SOCK_CLOEXEC.union(SockFlag::SOCK_NONBLOCK);

/// Binds and listens, as Node and nginx do: `SO_REUSEADDR`, close-on-exec, non-blocking.
pub(crate) fn listen_tcp(address: SocketAddr, options: &Options) -> io::Result<OwnedFd> {
    let listener = inet(address, SockType::Stream, options.ipv6_only)?;
    setsockopt(&listener, sockopt::ReuseAddr, &true)?;
    // Accepted connections have what their listener had.
    if let Some(idle) = options.keepalive {
        setsockopt(&listener, sockopt::KeepAlive, &true)?;
        setsockopt(&listener, sockopt::TcpKeepIdle, &whole_seconds(idle))?;
    }
    if let Some(patience) = options.defer_accept {
        defer_accept(listener.as_fd(), patience)?;
    }
    bind(listener.as_raw_fd(), &SockaddrStorage::from(address))?;
    start_listening(&listener, options.backlog)?;
    Ok(listener)
}

/// Binds a UDP socket, close-on-exec and non-blocking.
pub(crate) fn bind_udp(address: SocketAddr, ipv6_only: bool, reuse_address: bool) -> io::Result<OwnedFd> {
    let bound = inet(address, SockType::Datagram, ipv6_only)?;
    if reuse_address {
        setsockopt(&bound, sockopt::ReuseAddr, &true)?;
    }
    bind(bound.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(bound)
}

fn inet(address: SocketAddr, kind: SockType, ipv6_only: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let created = socket(family, kind, FLAGS, None)?;
    if address.is_ipv6() {
        setsockopt(&created, sockopt::Ipv6V6Only, &ipv6_only)?;
    }
    Ok(created)
}

/// Has the kernel queue connections.
pub(crate) fn start_listening(listener: &OwnedFd, backlog: u32) -> io::Result<()> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    Ok(listen(listener, Backlog::new(backlog).unwrap_or(Backlog::MAXCONN))?)
}

fn whole_seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs().max(1)).unwrap_or(u32::MAX)
}

fn defer_accept(listener: BorrowedFd<'_>, patience: Duration) -> io::Result<()> {
    let seconds = libc::c_int::try_from(whole_seconds(patience)).unwrap_or(libc::c_int::MAX);
    let length = libc::socklen_t::try_from(size_of_val(&seconds)).unwrap_or(0);
    // SAFETY: the pointer and the length describe `seconds`.
    let set = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            length,
        )
    };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The file of a Unix socket; removed when this is dropped, unless another has taken its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            // Nobody is left who could be told.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Tells a file from another that has taken its place, and maybe its number: nothing writes to a socket's file.
type Identity = (u64, u64, i64, i64);

fn identity(path: &Path) -> io::Result<Identity> {
    fs::symlink_metadata(path).map(|data| (data.dev(), data.ino(), data.mtime(), data.mtime_nsec()))
}

/// Binds and listens at an absolute path of any length, close-on-exec and non-blocking. A socket there that nobody
/// listens on any more is replaced; one that somebody does is `EADDRINUSE`, and any other file `EEXIST`.
pub(crate) fn listen_unix(path: &Path, options: &Options) -> io::Result<(OwnedFd, SocketFile)> {
    let name = Name::of(path)?;
    let listener = unix()?;
    match bind_unix(&listener, &name) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path, &name) => {
            fs::remove_file(path)?;
            bind_unix(&listener, &name)?;
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && !is_socket(path) => {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        bound => bound?,
    }
    let file = SocketFile::of(path)?;
    grant(path, &options.access)?;
    start_listening(&listener, options.backlog)?;
    Ok((listener, file))
}

fn unix() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, SockType::Stream, FLAGS, None)?)
}

fn bind_unix(listener: &OwnedFd, name: &Name) -> io::Result<()> {
    Ok(bind(listener.as_raw_fd(), &name.address)?)
}

/// A path as the kernel takes it: up to 107 bytes.
struct Name {
    address: UnixAddr,
    /// Through which a longer path is reached.
    _directory: Option<OwnedFd>,
}

impl Name {
    fn of(path: &Path) -> io::Result<Self> {
        if let Ok(address) = UnixAddr::new(path) {
            return Ok(Self { address, _directory: None });
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        };
        // Only a directory, and only a place in the tree: opening a pipe would wait for its other end.
        let directory = open(parent, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let through = format!("/proc/self/fd/{}", directory.as_raw_fd());
        let address = UnixAddr::new(&Path::new(&through).join(name))?;
        Ok(Self { address, _directory: Some(directory) })
    }
}

/// Whether a socket is there that nobody listens on.
fn is_stale(path: &Path, name: &Name) -> bool {
    let refused = || {
        let tried = unix().and_then(|socket| Ok(connect(socket.as_raw_fd(), &name.address)?));
        tried.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    is_socket(path) && refused()
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket())
}

fn grant(path: &Path, access: &Access) -> io::Result<()> {
    if access.owner.is_some() || access.group.is_some() {
        chown(path, access.owner, access.group)?;
    }
    let all = (u32::from(access.readable_all) * 0o444) | (u32::from(access.writable_all) * 0o222);
    if access.mode.is_some() || all != 0 {
        let mode = access.mode.map_or_else(|| fs::metadata(path).map(|data| data.mode()), Ok)?;
        fs::set_permissions(path, Permissions::from_mode(mode & 0o7777 | all))?;
    }
    Ok(())
}

/// What a socket is bound to.
pub(crate) fn endpoint(socket: impl AsFd) -> io::Result<Endpoint> {
    let kind = getsockopt(&socket.as_fd(), sockopt::SockType)?;
    let address: SockaddrStorage = getsockname(socket.as_fd().as_raw_fd())?;
    let v4 = address.as_sockaddr_in().map(|&address| SocketAddr::V4(address.into()));
    let inet = v4.or_else(|| address.as_sockaddr_in6().map(|&address| SocketAddr::V6(address.into())));
    match (kind, inet, address.family()) {
        (SockType::Stream, Some(address), _) => Ok(Endpoint::Tcp(address)),
        (SockType::Datagram, Some(address), _) => Ok(Endpoint::Udp(address)),
        (SockType::Stream, None, Some(AddressFamily::Unix)) => {
            let name = address.as_unix_addr().and_then(UnixAddr::path);
            Ok(Endpoint::Unix(name.map(Path::to_owned).unwrap_or_else(|| abstract_name(&address))))
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// A name without a file, written with an `@` as `ss` does.
fn abstract_name(address: &SockaddrStorage) -> PathBuf {
    let name = address.as_unix_addr().and_then(UnixAddr::as_abstract).unwrap_or_default();
    OsStr::from_bytes(&[b"@", name].concat()).into()
}

/// Whether it is a Unix socket. In doubt, no.
pub(crate) fn is_unix(socket: impl AsFd) -> bool {
    let mut domain: libc::c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of_val(&domain)).unwrap_or(0);
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `domain`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_DOMAIN,
            (&raw mut domain).cast(),
            &raw mut length,
        )
    };
    result == 0 && domain == libc::AF_UNIX
}

/// Whether connections can be accepted from a socket.
pub(crate) fn is_listening(socket: impl AsFd) -> bool {
    getsockopt(&socket.as_fd(), sockopt::AcceptConn).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::{fs::File, sync::mpsc, thread};

    fn options() -> Options {
        Options { backlog: 16, ..Options::default() }
    }

    #[test]
    fn a_unix_socket_comes_and_goes_with_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let (listener, file) = listen_unix(&path, &options()).unwrap();
        assert_eq!(endpoint(&listener).unwrap(), Endpoint::Unix(path.clone()));
        UnixStream::connect(&path).unwrap();
        let taken = listen_unix(&path, &options()).unwrap_err();
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
        let (listener, file) = listen_unix(&path, &options()).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop((listener, file));
        assert!(path.exists(), "it is another's by now");
        let plain = directory.path().join("plain");
        fs::write(&plain, "kept").unwrap();
        assert_eq!(listen_unix(&plain, &options()).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&plain).unwrap(), b"kept");
    }

    #[test]
    fn a_path_may_be_longer_than_an_address() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("d".repeat(100)).join("e".repeat(100));
        fs::create_dir_all(&deep).unwrap();
        let path = deep.join("a.sock");
        let (listener, file) = listen_unix(&path, &options()).unwrap();
        assert!(path.exists());
        assert_eq!(listen_unix(&path, &options()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        let (_listener, second) = listen_unix(&path, &options()).unwrap();
        drop(file);
        assert!(path.exists(), "a stale one was replaced");
        drop(second);
        assert!(!path.exists());
        let name = "n".repeat(200);
        assert!(listen_unix(&directory.path().join(name), &options()).is_err());
    }

    #[test]
    fn a_pipe_on_the_way_does_not_make_it_wait() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("p".repeat(120));
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (told, refused) = mpsc::channel();
        thread::spawn(move || told.send(listen_unix(&pipe.join("a.sock"), &options()).unwrap_err()));
        let refused = refused.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(refused.raw_os_error(), Some(libc::ENOTDIR));
    }

    #[test]
    fn access_is_as_asked() {
        let directory = tempfile::tempdir().unwrap();
        let mode = |name: &str, access: Access| {
            let path = directory.path().join(name);
            let _socket = listen_unix(&path, &Options { access, ..options() }).unwrap();
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
    fn options_reach_the_kernel() {
        let options = Options {
            keepalive: Some(Duration::from_secs(77)),
            defer_accept: Some(Duration::from_secs(3)),
            ipv6_only: true,
            ..options()
        };
        let listener = listen_tcp("127.0.0.1:0".parse().unwrap(), &options).unwrap();
        assert!(getsockopt(&listener, sockopt::KeepAlive).unwrap() && is_listening(&listener));
        assert_eq!(getsockopt(&listener, sockopt::TcpKeepIdle).unwrap(), 77);
        let udp = bind_udp("127.0.0.1:0".parse().unwrap(), false, true).unwrap();
        assert!(getsockopt(&udp, sockopt::ReuseAddr).unwrap() && !is_listening(&udp));
        assert!(matches!(endpoint(&udp).unwrap(), Endpoint::Udp(address) if address.port() != 0));
        assert!(endpoint(File::open("/dev/null").unwrap()).is_err());
    }
}
