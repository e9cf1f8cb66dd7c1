//! A directory that every user can read, with what a program of another user needs: the checkout may be root's alone.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{Node, Pointsman, pointsman::app_path};

#[derive(Debug)]
pub(crate) struct Public(TempDir);

impl Public {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        open(directory.path(), 0o755);
        Self(directory)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// A directory in it, for those whom these permissions admit.
    pub(crate) fn directory(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir(&path).unwrap();
        open(&path, mode);
        path
    }

    /// Runs a program of `apps/` on this Node, both of them where anybody can read them, and so is the place for the
    /// script that Node loads.
    pub(crate) fn node(&self, run: Pointsman, node: Node, app: &str) -> Pointsman {
        let run = run.program(self.with(&node.path())).arg(self.with(&app_path(app)));
        run.env("RUNTIME_DIRECTORY", self.path())
    }

    /// A file, or its like in this directory.
    fn with(&self, file: &Path) -> PathBuf {
        let reachable = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o001 != 0;
        if file.ancestors().skip(1).all(reachable) {
            return file.to_owned();
        }
        let like = self.path().join(file.file_name().unwrap());
        // Node is large, so not twice if that can be helped.
        if fs::hard_link(file, &like).is_err() {
            fs::copy(file, &like).unwrap();
        }
        like
    }
}

fn open(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
