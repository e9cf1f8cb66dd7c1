//! What other processes write: pipes to take it from, and files to put it into.

use std::{
    fs::{File, Metadata},
    io::{self, PipeReader},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, fchown},
    },
    path::Path,
};

use nix::fcntl::{FcntlArg, fcntl};

use super::{account::Credentials, channel::set_nonblocking};

/// A pipe whose reading end does not block. Both ends are close-on-exec. Its writer may be a process of `user`, who can
/// then open it by name as well (`/dev/stderr`), as with one of its own.
pub(crate) fn pipe(user: Option<&Credentials>) -> io::Result<(PipeReader, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    set_nonblocking(&reader, true)?;
    if let Some(user) = user {
        fchown(&writer, Some(user.uid), Some(user.gid))?;
    }
    Ok((reader, writer.into()))
}

/// Opens a file to append to, and makes it if need be, for this user and its group under the umask. It never waits: what
/// is there is a file or a device, and neither a pipe nor a link, by which somebody else could choose the file.
pub(crate) fn append(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = File::options().append(true).create(true).mode(0o640).custom_flags(flags).open(path)?;
    let data = file.metadata()?;
    if data.is_file() || data.file_type().is_char_device() {
        return Ok((file, data));
    }
    Err(io::Error::from_raw_os_error(libc::ENXIO))
}

/// Another descriptor of a standard stream, which std would buffer.
pub(crate) fn share(stream: impl AsFd) -> io::Result<File> {
    Ok(stream.as_fd().try_clone_to_owned()?.into())
}

/// Has a pipe hold so many bytes.
pub(crate) fn enlarge(pipe: &File, bytes: i32) -> io::Result<()> {
    fcntl(pipe, FcntlArg::F_SETPIPE_SZ(bytes))?;
    Ok(())
}

/// Whether two descriptors are of one file, terminal or pipe.
pub(crate) fn is_same(one: &File, other: &File) -> bool {
    let identity = |file: &File| file.metadata().map(|data| (data.dev(), data.ino()));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write, os::unix::fs::symlink, path::PathBuf};

    use nix::{sys::stat::Mode, unistd::mkfifo};

    #[test]
    fn files_and_devices_are_appended_to_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let [plain, link, fifo] = ["plain", "link", "fifo"].map(|name| directory.path().join(name));
        for text in ["a", "b"] {
            append(&plain).unwrap().0.write_all(text.as_bytes()).unwrap();
        }
        assert_eq!(fs::read(&plain).unwrap(), b"ab");
        assert_eq!(fs::metadata(&plain).unwrap().mode() & 0o137, 0, "nobody else reads it");
        append(Path::new("/dev/null")).unwrap();
        symlink(&plain, &link).unwrap();
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let errno = |path: &Path| append(path).unwrap_err().raw_os_error();
        assert_eq!(errno(&link), Some(libc::ELOOP));
        assert_eq!(errno(&fifo), Some(libc::ENXIO), "nobody reads it");
        let _reader = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&fifo).unwrap();
        assert_eq!(errno(&fifo), Some(libc::ENXIO), "somebody does");
        assert_eq!(errno(directory.path()), Some(libc::EISDIR));
        assert_eq!(errno(&PathBuf::from("/no/such/file")), Some(libc::ENOENT));
    }
}
