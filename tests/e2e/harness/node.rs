//! Which Node a test runs on, and in which form it speaks.

use std::{env, fmt, path::PathBuf};

/// How messages are written on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Advanced,
}

impl Form {
    pub(crate) const ALL: [Self; 2] = [Self::Json, Self::Advanced];

    /// As Node and Pointsman say it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Advanced => "advanced",
        }
    }
}

/// A Node version that scripts/setup installs, and the form in which it is to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    version: u32,
    pub(crate) form: Form,
}

impl Node {
    /// The one that everything is tested on.
    pub(crate) const DEFAULT: Self = Self::new(20);

    /// One that knows `reusePort`.
    pub(crate) const WITH_REUSE_PORT: Self = Self::new(24);

    /// Those that a smoke test covers.
    pub(crate) const ALL: [Self; 4] = [Self::new(18), Self::new(20), Self::new(22), Self::new(24)];

    const fn new(version: u32) -> Self {
        Self { version, form: Form::Json }
    }

    /// The same in the advanced form.
    pub(crate) fn advanced(self) -> Self {
        Self { form: Form::Advanced, ..self }
    }

    /// Those that a test is to run on: the default, or all when `POINTSMAN_TEST_MATRIX=all`.
    pub(crate) fn matrix() -> impl Iterator<Item = Self> {
        let all = env::var_os("POINTSMAN_TEST_MATRIX").is_some_and(|value| value == "all");
        Self::ALL.into_iter().filter(move |&node| all || node == Self::DEFAULT)
    }

    /// Those of the matrix, each in both forms.
    pub(crate) fn in_both_forms() -> impl Iterator<Item = Self> {
        Self::matrix().flat_map(|node| [node, node.advanced()])
    }

    /// All, each in both forms.
    pub(crate) fn all_in_both_forms() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().flat_map(|node| [node, node.advanced()])
    }

    /// All in JSON, and those of the matrix in the advanced form too.
    pub(crate) fn all_and_advanced() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().chain(Self::matrix().map(Self::advanced))
    }

    /// Its executable.
    pub(crate) fn path(self) -> PathBuf {
        let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/node_modules");
        let path = PathBuf::from(format!("{tools}/node{}/bin/node", self.version));
        assert!(path.exists(), "{} is missing; run scripts/setup", path.display());
        path
    }
}

impl fmt::Display for Node {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Node {} ({})", self.version, self.form.word())
    }
}
