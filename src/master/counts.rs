//! The table in which lanes count the requests of each upstream: who has which row, and which column counts whom.
//!
//! Lanes come and go, and so do upstreams; the list of upstreams enters without columns and leaves with them. Invariants: a row
//! is given to a lane when it says nothing, and a column to an upstream when no lane has requests there.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use crate::{
    fleet::{Places, WorkerId},
    forward::{orders::Upstream, shared::FIRST_COLUMN},
    sys::shared_counts::{COLUMNS, FIRST_ROW, ROWS, SharedCounts},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Counts {
    table: Option<(SharedCounts, OwnedFd)>,
    rows: Places,
    columns: Places,
}

impl Counts {
    /// All free. Without a table each lane counts by itself, which is better than none.
    pub(super) fn new() -> Self {
        let table = SharedCounts::create().inspect_err(|error| {
            log::warn!("each lane goes by its own requests alone, since memory cannot be shared: {error}");
        });
        Self {
            table: table.ok(),
            rows: Places::new(FIRST_ROW, ROWS),
            columns: Places::new(FIRST_COLUMN, COLUMNS),
        }
    }

    /// What a lane is started with: the table, if there is one, of which it has a row from now on.
    pub(super) fn add_lane(&mut self, lane: WorkerId) -> io::Result<Option<BorrowedFd<'_>>> {
        let Some((table, file)) = &self.table else { return Ok(None) };
        // So many are leaving that it is better to wait for them than to count nobody's.
        let row = self.rows.take(lane.0).ok_or_else(|| io::Error::from_raw_os_error(libc::EAGAIN))?;
        table.use_row(row);
        Ok(Some(file.as_fd()))
    }

    /// The row of a lane.
    pub(super) fn row(&self, lane: WorkerId) -> Option<u32> {
        self.rows.of(lane.0)
    }

    /// A lane has no requests any more; one that was given up alive keeps its row, since it may write there.
    pub(super) fn clear_lane(&mut self, lane: WorkerId) {
        if let (Some((table, _)), Some(row)) = (&self.table, self.rows.of(lane.0)) {
            table.clear_row(row);
        }
    }

    /// A lane has ended.
    pub(super) fn remove_lane(&mut self, lane: WorkerId) {
        self.clear_lane(lane);
        self.rows.free(lane.0);
    }

    /// Gives each of a list a column, if there is one, and takes those back that nobody needs: of upstreams that are not in
    /// the list and that no lane is `owed` to.
    pub(super) fn give_columns(&mut self, list: &mut [Upstream], owed: impl Fn(u32) -> bool) {
        let Some((table, _)) = &self.table else { return };
        self.columns.retain(|id, column| {
            list.iter().any(|upstream| upstream.id == id) || owed(id) || table.sum(column) > 0
        });
        for upstream in list {
            upstream.column = self.columns.take(upstream.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    fn list(ids: &[u32]) -> Vec<Upstream> {
        let one = |&id: &u32| Upstream {
            id,
            endpoint: format!("127.0.0.1:{id}"),
            name: id.to_string(),
            weight: 1,
            backup: false,
            draining: false,
            column: None,
        };
        ids.iter().map(one).collect()
    }

    fn columns(counts: &mut Counts, ids: &[u32], owed: &[u32]) -> Vec<u32> {
        let mut list = list(ids);
        counts.give_columns(&mut list, |id| owed.contains(&id));
        list.iter().filter_map(|upstream| upstream.column).collect()
    }

    #[test]
    fn a_lane_that_has_ended_leaves_nothing_and_its_row_to_the_next() {
        let mut counts = Counts::new();
        let number = counts.add_lane(WorkerId(5)).unwrap().unwrap().as_raw_fd();
        let theirs = SharedCounts::inherited(number).unwrap();
        counts.add_lane(WorkerId(6)).unwrap();
        assert_eq!((counts.row(WorkerId(5)), counts.row(WorkerId(6))), (Some(1), Some(2)));
        theirs.set(1, 1, 3);
        theirs.set(2, 1, 4);
        counts.remove_lane(WorkerId(5));
        assert_eq!((theirs.sum(1), counts.row(WorkerId(5))), (4, None));
        counts.clear_lane(WorkerId(6));
        assert_eq!((theirs.sum(1), counts.row(WorkerId(6))), (0, Some(2)), "it may still be alive");
        counts.add_lane(WorkerId(7)).unwrap();
        assert_eq!(counts.row(WorkerId(7)), Some(1));
    }

    #[test]
    fn a_lane_without_a_row_is_not_started() {
        let mut counts = Counts::new();
        (FIRST_ROW..ROWS).for_each(|id| assert!(counts.add_lane(WorkerId(id)).unwrap().is_some()));
        assert_eq!(counts.add_lane(WorkerId(9999)).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_column_is_given_again_when_nobody_has_requests_there() {
        let mut counts = Counts::new();
        let number = counts.add_lane(WorkerId(1)).unwrap().unwrap().as_raw_fd();
        let lane = SharedCounts::inherited(number).unwrap();
        assert_eq!(columns(&mut counts, &[10, 11], &[]), [1, 2]);
        lane.set(1, 2, 1);
        assert_eq!(columns(&mut counts, &[10, 12], &[]), [1, 3], "a lane has one there");
        lane.set(1, 2, 0);
        assert_eq!(columns(&mut counts, &[10, 12, 13], &[11]), [1, 3, 4], "a lane may have one there");
        assert_eq!(columns(&mut counts, &[10, 12, 13, 14], &[]), [1, 3, 4, 2]);
    }
}
