//! The script that makes a Node worker report the ends of its connections: put somewhere, and into the environment.
//!
//! `NODE_OPTIONS` has Node load it before everything else, ahead of what the user has there. The script takes that
//! back with the help of [`MARK`], which says what was inserted. A program that is not Node has two variables more.

use std::ffi::{OsStr, OsString};

use super::Program;
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

/// Where the script is, and whether it is of use.
#[derive(Debug, Default)]
pub(super) struct Preload {
    /// Workers are better off without.
    failed: bool,
    /// The last is the one for new workers. Threads of older workers load the one that their worker was given.
    files: Vec<Script>,
}

#[derive(Debug)]
struct Script {
    file: RuntimeFile,
    /// Who can read it, if not this process's own user.
    reader: Option<Credentials>,
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
    /// Adds to `variables`, those of a worker to be that runs `program`, what makes Node load the script.
    pub(super) fn give(
        &mut self,
        program: &Program,
        variables: &mut Vec<(OsString, OsString)>,
        guard: &mut Guard,
    ) -> Progress {
        let given = program.variable(OPTIONS);
        let Some(path) = self.place(program.attributes.credentials.as_ref(), guard) else {
            return Progress::NotGiven;
        };
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
        self.files.iter().for_each(|script| guard.remove_at_end(script.file.path()));
    }

    /// A worker has ended. If it was Node and did not get past the script, others are better off without: the user
    /// whom Node runs as, or a sandbox around it, may have no access to the file.
    pub(super) fn handle_exit(&mut self, progress: Progress, status: ExitStatus) {
        let failed = matches!(status, ExitStatus::Code(code) if code != 0);
        if progress == Progress::Online && failed && !self.failed {
            log::info!("a worker failed before it could load {NAME}: later ones are started without it");
            self.failed = true;
        }
    }

    /// Other workers may fare better with it.
    pub(super) fn try_again(&mut self) {
        self.failed = false;
    }

    /// Where the script is.
    fn place(&mut self, reader: Option<&Credentials>, guard: &mut Guard) -> Option<&str> {
        let is_for = |script: &Script| script.reader.as_ref() == reader && script.file.is_intact();
        if !self.failed && !self.files.last().is_some_and(is_for) {
            let announce = |path: &str| guard.remove_at_end(path);
            match RuntimeFile::create(NAME, SCRIPT, reader, announce) {
                Ok(file) => {
                    log::debug!("Node workers load {}", file.path());
                    self.files.push(Script { file, reader: reader.cloned() });
                }
                Err(error) => {
                    log::info!("Node workers will not report the ends of connections: {error}");
                    self.failed = true;
                }
            }
        }
        self.files.last().filter(|_| !self.failed).map(|script| script.file.path())
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
            let mut preload = Preload::default();
            preload.handle_exit(progress, status);
            assert_eq!(!preload.failed, expected, "{progress:?} {status:?}");
        }
    }
}
