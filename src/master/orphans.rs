//! Orphans, whose parents have ended before them: where this process is the first of its namespace, as in a container, they
//! become its children, and stay in the table of processes until it reaps them.
//!
//! Nobody wants to know how they ended. Workers and the guard are reaped elsewhere, by those who do, and are left alone
//! here. Elsewhere than in such a place nothing of this happens.

use std::io;

use nix::sys::signal::Signal;

use super::{Master, depends::Depends, signals::SIGNALS};
use crate::sys::{
    process::{adopts_orphans, exited_child, reap_stranger},
    signals::keep_children,
};

/// Reaped in one turn, so that others have their turn.
const REAPED: usize = 64;

/// Whether there may be any.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    /// A child has ended, and not all that have were seen to.
    pending: bool,
}

impl Orphans {
    /// Some may have ended before anybody was told of it.
    pub(super) fn begin(&mut self) {
        self.pending = adopts_orphans();
    }

    pub(super) fn handle_exit(&mut self) {
        self.pending = true;
    }

    pub(super) fn is_pending(&self) -> bool {
        self.pending
    }
}

/// The signals that are read in the loop instead of interrupting it, the end of a child among them if orphans come here.
/// Whatever this process was started with, that is told then.
pub(crate) fn signals() -> io::Result<Vec<Signal>> {
    let adopts = adopts_orphans();
    if adopts {
        keep_children()?;
    }
    Ok(SIGNALS.into_iter().chain(adopts.then_some(Signal::SIGCHLD)).collect())
}

impl Master {
    /// Reaps those who have ended. Called behind all that reaps our own: one that is seen here has ended since, hides
    /// those behind it, and is gone in the next turn, for which the others wait.
    pub(super) fn reap_orphans(&mut self) {
        for _ in 0..REAPED {
            if !self.orphans.pending {
                return;
            }
            match exited_child() {
                Ok(Some(pid)) if self.is_ours(pid) => return,
                Ok(Some(pid)) => {
                    if let Err(error) = reap_stranger(pid) {
                        log::debug!("cannot reap process {pid}: {error}");
                    }
                }
                Ok(None) => self.orphans.pending = false,
                Err(error) => {
                    log::error!("cannot see which processes have ended: {error}");
                    self.orphans.pending = false;
                }
            }
        }
    }

    fn is_ours(&self, pid: u32) -> bool {
        let workers = self.workers.values().map(|worker| worker.child.pid());
        let command = self.depends.as_ref().and_then(Depends::pid);
        workers.chain(command).chain([self.guard.child().pid()]).any(|ours| ours == pid)
    }
}
