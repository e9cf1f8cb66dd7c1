//! This lane's row in the table of all lanes.

use crate::{
    forward::shared::Shared,
    sys::{launch, shared_counts::SharedCounts},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Row {
    table: SharedCounts,
    row: u32,
}

impl Row {
    /// The row of this number in the table that this process was started with. `None`: it goes on by itself.
    pub(super) fn open(row: u32) -> Option<Self> {
        match SharedCounts::inherited(launch::channel_number(0)) {
            Ok(table) => Some(Self { table, row }),
            Err(error) => {
                log::error!("what other lanes have cannot be seen: {error}");
                None
            }
        }
    }
}

impl Shared for Row {
    fn set(&self, column: u32, own: u32) {
        self.table.set(self.row, column, own);
    }

    fn others(&self, column: u32) -> u32 {
        self.table.sum_but(self.row, column)
    }
}
