//! Which Node a test runs on.

use std::{env, fmt, path::PathBuf};

/// A Node version that scripts/setup installs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node(u32);

impl Node {
    /// The one that everything is tested on.
    pub(crate) const DEFAULT: Self = Self(20);

    /// One that knows `reusePort`.
    pub(crate) const WITH_REUSE_PORT: Self = Self(24);

    /// Those that a smoke test covers.
    pub(crate) const ALL: [Self; 4] = [Self(18), Self(20), Self(22), Self(24)];

    /// Those that a test is to run on: the default, or all when `POINTSMAN_TEST_MATRIX=all`.
    pub(crate) fn matrix() -> impl Iterator<Item = Self> {
        let all = env::var_os("POINTSMAN_TEST_MATRIX").is_some_and(|value| value == "all");
        Self::ALL.into_iter().filter(move |&node| all || node == Self::DEFAULT)
    }

    /// Its executable.
    pub(crate) fn path(self) -> PathBuf {
        let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/node_modules");
        let path = PathBuf::from(format!("{tools}/node{}/bin/node", self.0));
        assert!(path.exists(), "{} is missing; run scripts/setup", path.display());
        path
    }
}

impl fmt::Display for Node {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Node {}", self.0)
    }
}
