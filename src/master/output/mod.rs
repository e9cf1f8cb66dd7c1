//! What workers write to their standard output and error: where it goes.

use std::path::PathBuf;

/// Where the output of workers goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Sink {
    /// Where this process's own goes, untouched: workers inherit it.
    #[default]
    Inherit,
    /// The same, line by line and each with the worker's slot before it.
    Prefix,
    /// A file that is appended to. `{slot}` in its name stands for the worker's slot; without it, all share the file, and
    /// each line has the slot before it.
    File(PathBuf),
}

/// How large a file of [`Sink::File`] may become, and how many older ones are kept beside it, as `NAME.1`, `NAME.2` and so
/// on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// In bytes; `None` for any size.
    pub max_bytes: Option<u64>,
    /// Older files, 0 for none.
    pub keep: u32,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { max_bytes: Some(100 << 20), keep: 5 }
    }
}
