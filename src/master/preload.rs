//! The script that makes a Node worker report the ends of its connections: put somewhere, and into the environment.
//!
//! `NODE_OPTIONS` has Node load it before everything else, ahead of what the user has there. The script takes that
//! back with the help of [`MARK`], which says what was inserted. A program that is not Node has two variables more.

use std::{
    env,
    ffi::{OsStr, OsString},
};

use crate::{
    fleet::ExitStatus,
    protocol::message::{Act, ClusterMessage, Message, Own},
    sys::{account::Credentials, guard::Guard, runtime_file::RuntimeFile},
};

const SCRIPT: &str = include_str!("../node/load_report.cjs");
const NAME: &str = "load_report.cjs";

const OPTIONS: &str = "NODE_OPTIONS";
/// What was inserted into [`OPTIONS`], for the script.
const MARK: &str = "POINTSMAN_PRELOAD";

/// Whether workers get the script, and where it is.
#[derive(Debug)]
pub(super) struct Preload {
    wanted: bool,
    /// Whom workers run as, if not as this process's own user.
    reader: Option<Credentials>,
    /// The last is the one for new workers. Threads of older workers load the one that their worker was given.
    files: Vec<RuntimeFile>,
}

/// How far a worker has come with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    NotGiven,
    Given,
    /// It speaks Node's protocol. If it is Node, the script is the next thing that it runs.
    Online,
    Reports,
}

impl Preload {
    pub(super) fn new(wanted: bool, reader: Option<Credentials>) -> Self {
        Self { wanted, reader, files: Vec::new() }
    }

    /// Adds to `variables`, those of a worker to be on top of this process's own, what makes Node load the script.
    pub(super) fn give(&mut self, variables: &mut Vec<(OsString, OsString)>, guard: &mut Guard) -> Progress {
        let own = variables.iter().rev().find(|(name, _)| name == OPTIONS);
        let given = own.map(|(_, value)| value.clone()).or_else(|| env::var_os(OPTIONS));
        let Some(path) = self.place(guard) else { return Progress::NotGiven };
        let Some((inserted, options)) = insert(path, given.as_deref()) else {
            log::debug!("NODE_OPTIONS is not UTF-8 text: Node workers do not report the ends of connections");
            return Progress::NotGiven;
        };
        variables.push((OPTIONS.into(), options.into()));
        variables.push((MARK.into(), inserted.into()));
        Progress::Given
    }

    /// For another guard, which knows of nothing.
    pub(super) fn announce(&self, guard: &mut Guard) {
        self.files.iter().for_each(|file| guard.remove_at_end(file.path()));
    }

    /// A worker has ended. If it was Node and did not get past the script, others are better off without: the user
    /// whom Node runs as, or a sandbox around it, may have no access to the file.
    pub(super) fn handle_exit(&mut self, progress: Progress, status: ExitStatus) {
        let failed = matches!(status, ExitStatus::Code(code) if code != 0);
        if progress == Progress::Online && failed && self.wanted {
            log::info!("a worker failed before it could load {NAME}: later ones are started without it");
            self.wanted = false;
        }
    }

    /// Where the script is.
    fn place(&mut self, guard: &mut Guard) -> Option<&str> {
        if self.wanted && !self.files.last().is_some_and(RuntimeFile::is_intact) {
            let announce = |path: &str| guard.remove_at_end(path);
            match RuntimeFile::create(NAME, SCRIPT, self.reader.as_ref(), announce) {
                Ok(file) => {
                    log::debug!("Node workers load {}", file.path());
                    self.files.push(file);
                }
                Err(error) => {
                    log::info!("Node workers will not report the ends of connections: {error}");
                    self.wanted = false;
                }
            }
        }
        self.files.last().filter(|_| self.wanted).map(RuntimeFile::path)
    }
}

impl Progress {
    /// Takes note of what a worker says.
    pub(super) fn handle_message(&mut self, message: &Message<'_>) {
        *self = match (*self, message) {
            (Self::Given, Message::Cluster(ClusterMessage { act: Act::Online, .. })) => Self::Online,
            (Self::Online, Message::Pointsman(Own::Hello { .. })) => Self::Reports,
            (progress, _) => progress,
        };
    }
}

/// The option that loads `path`, and the user's options after it. Before them, so that the script comes first and an
/// unbalanced quote of theirs is refused as it would have been.
fn insert(path: &str, given: Option<&OsStr>) -> Option<(String, String)> {
    let escaped = path.replace('\\', r"\\").replace('"', "\\\"");
    let inserted = format!("--require \"{escaped}\"");
    let options = match given {
        Some(given) => format!("{inserted} {}", given.to_str()?),
        None => inserted.clone(),
    };
    Some((inserted, options))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn the_option_goes_before_those_of_the_user() {
        let insert = |path, given: Option<&str>| insert(path, given.map(OsStr::new)).unwrap();
        let inserted = "--require \"/a b/x\"".to_owned();
        assert_eq!(insert("/a b/x", None), (inserted.clone(), inserted.clone()));
        assert_eq!(insert("/a b/x", Some("")), (inserted.clone(), format!("{inserted} ")));
        assert_eq!(insert("/a b/x", Some("--x \"")).1, format!("{inserted} --x \""));
        assert_eq!(insert(r#"/\"/x"#, None).0, r#"--require "/\\\"/x""#);
        assert!(super::insert("/x", Some(OsStr::from_bytes(b"\xff"))).is_none());
    }

    #[test]
    fn a_program_that_fails_before_the_script_is_left_alone() {
        for (progress, status, expected) in [
            (Progress::NotGiven, ExitStatus::Code(1), true),
            (Progress::Given, ExitStatus::Code(1), true),
            (Progress::Online, ExitStatus::Code(1), false),
            (Progress::Online, ExitStatus::Code(0), true),
            (Progress::Online, ExitStatus::Signal(9), true),
            (Progress::Reports, ExitStatus::Code(1), true),
        ] {
            let mut preload = Preload::new(true, None);
            preload.handle_exit(progress, status);
            assert_eq!(preload.wanted, expected, "{progress:?} {status:?}");
        }
    }
}
