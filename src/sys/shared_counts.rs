//! A table of numbers that processes share, in memory that is mapped by each of them.
//!
//! Who makes it passes its descriptor on, sealed: nobody can make it shorter, so reading it never ends in SIGBUS. Each row is
//! written by one process, each column is added up by all. The first row says how many rows are in use, so that no more
//! are read than there are. Only what was touched takes memory: a page for each row.

#![allow(unsafe_code, reason = "mmap, and numbers in memory that is shared")]

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    ptr::{self, NonNull},
    slice,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
};

use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
};

/// Twice as many as there are lanes at most, and as many more that take their time to leave.
pub(crate) const ROWS: u32 = 256;

/// As many as there are places for workers and their successors, and as many others.
pub(crate) const COLUMNS: u32 = 4096;

/// The first row that is given to anybody.
pub(crate) const FIRST_ROW: u32 = 1;

const CELLS: usize = (ROWS * COLUMNS) as usize;
const BYTES: usize = CELLS * size_of::<AtomicU32>();

/// What must hold of a file before it is mapped.
const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_SEAL);

/// The table as one process has it mapped.
#[derive(Debug)]
pub(crate) struct SharedCounts {
    cells: NonNull<AtomicU32>,
}

// SAFETY: the mapping belongs to this value until it is dropped, and its cells are atomic.
unsafe impl Send for SharedCounts {}
// SAFETY: the same.
unsafe impl Sync for SharedCounts {}

impl SharedCounts {
    /// A new one, all zeros, and the descriptor by which others get at it.
    pub(crate) fn create() -> io::Result<(Self, OwnedFd)> {
        let file = File::from(memfd_create(
            c"pointsman-counts",
            MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING,
        )?);
        file.set_len(BYTES as u64)?;
        fcntl(&file, FcntlArg::F_ADD_SEALS(SEALS))?;
        Ok((Self::map(file.as_fd())?, file.into()))
    }

    /// The one that this process was started with as descriptor `number`, which is looked at before it is used.
    pub(crate) fn inherited(number: RawFd) -> io::Result<Self> {
        // SAFETY: it is borrowed for this call only; if it is not open or something else, the kernel says so below.
        Self::map(unsafe { BorrowedFd::borrow_raw(number) })
    }

    fn map(file: BorrowedFd<'_>) -> io::Result<Self> {
        let seals = fcntl(file, FcntlArg::F_GET_SEALS)?;
        let length = File::from(file.try_clone_to_owned()?).metadata()?.len();
        if !SealFlag::from_bits_retain(seals).contains(SEALS) || length != BYTES as u64 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // SAFETY: a new mapping, where the kernel finds room; the file is as long, and stays so by its seals.
        let mapped = unsafe {
            libc::mmap(
                ptr::null_mut(),
                BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let cells = NonNull::new(mapped.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { cells })
    }

    fn cells(&self) -> &[AtomicU32] {
        // SAFETY: so many are mapped as long as this value lives, aligned to a page, and any bytes are a number. Whoever else
        // has them mapped writes them atomically as well.
        unsafe { slice::from_raw_parts(self.cells.as_ptr(), CELLS) }
    }

    fn cell(&self, row: u32, column: u32) -> Option<&AtomicU32> {
        let is_there = row < ROWS && column < COLUMNS;
        is_there.then(|| self.cells().get((row * COLUMNS + column) as usize))?
    }

    /// This row is somebody's from now on.
    pub(crate) fn use_row(&self, row: u32) {
        if let Some(used) = self.cell(0, 0) {
            used.fetch_max(row.saturating_add(1), SeqCst);
        }
    }

    /// What a row says of a column; nothing where there is none.
    pub(crate) fn get(&self, row: u32, column: u32) -> u32 {
        // In one order for all who look: of two that write theirs and read the other's, one at least sees both.
        self.cell(row, column).map_or(0, |cell| cell.load(SeqCst))
    }

    /// Has a row say this of a column.
    pub(crate) fn set(&self, row: u32, column: u32, value: u32) {
        if let Some(cell) = self.cell(row, column) {
            cell.store(value, SeqCst);
        }
    }

    /// What all rows but this one come to.
    pub(crate) fn sum_but(&self, row: u32, column: u32) -> u32 {
        let used = self.get(0, 0).min(ROWS);
        let others = (FIRST_ROW..used).filter(|&other| other != row);
        others.fold(0, |sum: u32, other| sum.saturating_add(self.get(other, column)))
    }

    /// What all rows come to.
    pub(crate) fn sum(&self, column: u32) -> u32 {
        self.sum_but(0, column)
    }

    /// Nothing is said in a row any more.
    pub(crate) fn clear_row(&self, row: u32) {
        (0..COLUMNS).filter(|&column| self.get(row, column) > 0).for_each(|column| self.set(row, column, 0));
    }
}

impl Drop for SharedCounts {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nobody borrows from it any more.
        unsafe { libc::munmap(self.cells.as_ptr().cast(), BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{
        sys::wait::{WaitStatus, waitpid},
        unistd::{ForkResult, fork},
    };

    #[test]
    fn what_one_mapping_says_all_others_see() {
        let (ours, file) = SharedCounts::create().unwrap();
        let theirs = SharedCounts::inherited(file.as_raw_fd()).unwrap();
        [&ours, &theirs].iter().zip(1..).for_each(|(table, row)| table.use_row(row));
        ours.set(1, 7, 3);
        theirs.set(2, 7, 4);
        theirs.set(2, 8, 1);
        for table in [&ours, &theirs] {
            assert_eq!((table.get(1, 7), table.sum(7), table.sum(8), table.sum(9)), (3, 7, 1, 0));
            assert_eq!((table.sum_but(1, 7), table.sum_but(2, 7), table.sum_but(9, 7)), (4, 3, 7));
        }
        drop(theirs);
        ours.clear_row(2);
        assert_eq!((ours.sum(7), ours.sum(8)), (3, 0));
        ours.set(2, 7, u32::MAX);
        assert_eq!(ours.sum(7), u32::MAX, "nonsense of one is not an overflow of another");
    }

    #[test]
    fn what_is_outside_does_nothing() {
        let (table, _file) = SharedCounts::create().unwrap();
        table.use_row(u32::MAX);
        for (row, column) in [(ROWS, 0), (1, COLUMNS), (u32::MAX, u32::MAX)] {
            table.set(row, column, 1);
            table.clear_row(row);
            assert_eq!((table.get(row, column), table.sum(column)), (0, 0));
        }
        table.set(ROWS - 1, COLUMNS - 1, 5);
        assert_eq!(table.sum(COLUMNS - 1), 5);
        assert_eq!(table.sum(0), 0, "the first row is nobody's");
    }

    #[test]
    fn another_process_counts_in_the_same_table() {
        let (table, _file) = SharedCounts::create().unwrap();
        table.use_row(1);
        // SAFETY: the child only writes a number and ends.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                table.set(1, 5, 9);
                // SAFETY: it ends at once, and nothing of this process's is run in it.
                unsafe { libc::_exit(0) }
            }
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
                assert_eq!(table.sum(5), 9, "it is gone, and what it has said stays until it is cleared");
            }
        }
    }

    #[test]
    fn nobody_can_make_it_shorter_and_nothing_else_is_taken_for_it() {
        let (_table, file) = SharedCounts::create().unwrap();
        let file = File::from(file);
        assert_eq!(file.set_len(1).unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(file.set_len(BYTES as u64 + 1).unwrap_err().raw_os_error(), Some(libc::EPERM));
        let null = File::open("/dev/null").unwrap();
        assert!(SharedCounts::inherited(null.as_raw_fd()).is_err());
        assert!(SharedCounts::inherited(RawFd::MAX).is_err());
        let open = File::from(memfd_create(c"open", MFdFlags::MFD_ALLOW_SEALING).unwrap());
        open.set_len(BYTES as u64).unwrap();
        assert!(SharedCounts::inherited(open.as_raw_fd()).is_err(), "it could be made shorter");
    }
}
