//! A file of output: appended to by name, opened anew, and kept small by making it an older one.
//!
//! What is written here ends in the file called NAME. When it would become too large, NAME.1 becomes NAME.2 and so on, NAME
//! becomes NAME.1, and NAME begins anew. That is done between two writes of the one thread that writes here, so nothing is
//! lost by it but what is older than wanted. If it cannot be done, the file grows: lines come before limits.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use memchr::memrchr;

use super::Rotation;
use crate::sys::output;

/// See the module.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    rotation: Rotation,
    /// `None` if it could not be opened yet.
    file: Option<File>,
    size: u64,
    /// The size to make it an older one at; devices have none.
    limit: Option<u64>,
    /// Why it could not begin anew the last time.
    kept: Option<io::Error>,
}

impl LogFile {
    /// A file that is opened when something is written to it, or before by [`LogFile::open`].
    pub(super) fn new(path: PathBuf, rotation: Rotation) -> Self {
        Self { path, rotation, file: None, size: 0, limit: None, kept: None }
    }

    /// Opens what has the name now, and leaves the file that was open, if that is possible.
    pub(super) fn open(&mut self) -> io::Result<()> {
        let (file, data) = output::append(&self.path)?;
        self.size = data.len();
        self.limit = self.rotation.max_bytes.filter(|_| data.is_file()).map(|bytes| bytes.max(1));
        self.file = Some(file);
        Ok(())
    }

    /// Writes some of `bytes`, whole lines if possible, and says how much.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.file.is_none() {
            self.open()?;
        }
        let count = fitting(bytes, self.size, self.limit).unwrap_or_else(|| {
            if let Err(error) = self.rotate() {
                // Tried again when there is as much more.
                self.limit = self.rotation.max_bytes.map(|bytes| self.size.saturating_add(bytes));
                self.kept = Some(error);
            }
            fitting(bytes, self.size, self.limit).unwrap_or(bytes.len())
        });
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let written = file.write(&bytes[..count])?;
        self.size += written as u64;
        Ok(written)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A device may have no room for a while.
    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }

    /// Why the file that is open goes on in place of a new one, once.
    pub(super) fn take_kept(&mut self) -> Option<io::Error> {
        self.kept.take()
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.make_older()?;
        self.open()
    }

    fn make_older(&self) -> io::Result<()> {
        let keep = self.rotation.keep;
        // Left from when more were wanted.
        let mut beyond = keep.saturating_add(1);
        while fs::remove_file(self.older(beyond)).is_ok() {
            beyond = beyond.saturating_add(1);
        }
        if keep == 0 {
            return gone_is_fine(fs::remove_file(&self.path));
        }
        let mut last = 1;
        while last < keep && self.older(last).symlink_metadata().is_ok() {
            last += 1;
        }
        for number in (1..last).rev() {
            fs::rename(self.older(number), self.older(number + 1))?;
        }
        gone_is_fine(fs::rename(&self.path, self.older(1)))
    }

    fn older(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        name.into()
    }
}

/// Somebody else may have moved the file away.
fn gone_is_fine(done: io::Result<()>) -> io::Result<()> {
    done.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// How many of `bytes` go into a file of this size: as many whole lines as there is room for, or of a line that no file has
/// room for as much as fits. `None` if a new file must begin first.
fn fitting(bytes: &[u8], size: u64, limit: Option<u64>) -> Option<usize> {
    let Some(limit) = limit else { return Some(bytes.len()) };
    let room = usize::try_from(limit.saturating_sub(size)).unwrap_or(usize::MAX);
    let begun = match bytes.get(..room) {
        None => return Some(bytes.len()),
        Some(begun) if begun.len() == bytes.len() => return Some(bytes.len()),
        Some(begun) => begun,
    };
    match memrchr(b'\n', begun) {
        Some(end) => Some(end + 1),
        None if size == 0 => Some(room),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_go_into_a_file_while_there_is_room() {
        for (bytes, size, limit, expected) in [
            ("ab\ncd\n", 0, None, Some(6)),
            ("ab\ncd\n", 100, Some(106), Some(6)),
            ("ab\ncd\n", 100, Some(105), Some(3)),
            ("ab\ncd\n", 100, Some(103), Some(3)),
            ("ab\ncd\n", 100, Some(102), None),
            ("ab\ncd\n", 100, Some(50), None),
            ("abcd\n", 0, Some(3), Some(3)),
            ("abcd\n", 1, Some(3), None),
            ("a", 0, Some(1), Some(1)),
        ] {
            assert_eq!(fitting(bytes.as_bytes(), size, limit), expected, "{bytes:?} {size} {limit:?}");
        }
    }

    fn write_all(file: &mut LogFile, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let written = file.write(bytes).unwrap();
            bytes = &bytes[written..];
        }
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_else(|_| "-".into())
    }

    #[test]
    fn older_files_are_kept_and_no_more_than_wanted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        for (keep, expected) in [
            (3, ["5\n", "4\n", "3\n", "2\n", "-", "-"]),
            (1, ["5\n", "4\n", "-", "-", "-", "-"]),
            (0, ["5\n", "-", "-", "-", "-", "-"]),
            (u32::MAX, ["5\n", "4\n", "3\n", "2\n", "1\n", "-"]),
        ] {
            fs::write(&path, "").unwrap();
            let mut file = LogFile::new(path.clone(), Rotation { max_bytes: Some(3), keep });
            for number in 1..=5 {
                write_all(&mut file, format!("{number}\n").as_bytes());
            }
            let files = [0, 1, 2, 3, 4, 5].map(|number| match number {
                0 => read(&path),
                number => read(&file.older(number)),
            });
            assert_eq!(files, expected, "{keep}");
            if keep == 0 {
                continue;
            }
            // It does not follow the kept ones at once, so it is somebody's.
            fs::write(file.older(40), "mine").unwrap();
            write_all(&mut file, b"6\n");
            assert_eq!(read(&file.older(40)), "mine");
            for number in 1..50 {
                let _ = fs::remove_file(file.older(number));
            }
        }
    }

    #[test]
    fn a_file_that_is_there_counts_and_a_device_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(&path, "old\n").unwrap();
        let mut file = LogFile::new(path.clone(), Rotation { max_bytes: Some(6), keep: 1 });
        write_all(&mut file, b"new\n");
        assert_eq!((read(&file.older(1)), read(&path)), ("old\n".into(), "new\n".into()));
        let mut null = LogFile::new("/dev/null".into(), Rotation { max_bytes: Some(1), keep: 1 });
        assert_eq!(null.write(b"much\nmore\n").unwrap(), 10);
    }

    #[test]
    fn what_cannot_be_made_an_older_one_is_written_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut file = LogFile::new(path.clone(), Rotation { max_bytes: Some(4), keep: 1 });
        // No file can take the place of this.
        fs::create_dir(file.older(1)).unwrap();
        write_all(&mut file, b"1\n2\n3\n");
        assert_eq!(file.take_kept().unwrap().kind(), io::ErrorKind::IsADirectory);
        write_all(&mut file, b"4\n");
        assert_eq!(
            (read(&path).as_str(), file.take_kept().is_none()),
            ("1\n2\n3\n4\n", true),
            "not at each line"
        );
        fs::remove_dir(file.older(1)).unwrap();
        write_all(&mut file, b"5\n6\n");
        assert_eq!((read(&file.older(1)).as_str(), read(&path).as_str()), ("1\n2\n3\n4\n", "5\n6\n"));
    }

    #[test]
    fn a_file_that_was_moved_away_is_left_when_it_is_opened_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (path, moved) = (directory.path().join("log"), directory.path().join("moved"));
        let mut file = LogFile::new(path.clone(), Rotation::default());
        write_all(&mut file, b"1\n");
        fs::rename(&path, &moved).unwrap();
        write_all(&mut file, b"2\n");
        file.open().unwrap();
        write_all(&mut file, b"3\n");
        assert_eq!((read(&moved).as_str(), read(&path).as_str()), ("1\n2\n", "3\n"));
        fs::remove_dir_all(directory.path()).unwrap();
        file.open().unwrap_err();
        file.write(b"4\n").unwrap();
    }
}
