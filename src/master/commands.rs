//! What the user has the master do with its workers, besides stopping them.

use super::{Master, Program};
use crate::{
    fleet::{Rules, WorkerId},
    sys::clock,
};

impl Master {
    /// Adds a worker.
    pub(crate) fn fork(&mut self) -> Option<WorkerId> {
        self.now = clock::now();
        let worker = self.fleet.fork(self.now);
        self.perform();
        worker
    }

    /// Replaces the workers by those that run `program`, under other rules. Says whether that began: it does not while the
    /// cluster stops, nor before it has started what it waits to start.
    pub(crate) fn reload(&mut self, program: Program, rules: Rules) -> bool {
        self.now = clock::now();
        // Before anybody is started: the fleet's next generation is known.
        let Some(generation) = self.fleet.next_generation().filter(|_| self.depends.is_none()) else {
            return false;
        };
        self.preload.try_again();
        self.programs.add(generation, program);
        self.fleet.reload(self.now, rules);
        self.perform();
        true
    }

    /// Calls a reload off. Says whether there was one.
    pub(crate) fn abort_reload(&mut self) -> bool {
        self.now = clock::now();
        let was = self.fleet.abort_reload(self.now);
        self.perform();
        was
    }

    pub(crate) fn is_reloading(&self) -> bool {
        self.fleet.is_reloading()
    }

    /// Wants another number of workers; not before those that were wanted at first have been started.
    pub(crate) fn scale(&mut self, count: usize) {
        if self.depends.is_some() {
            return;
        }
        self.now = clock::now();
        self.fleet.scale(self.now, count);
        self.perform();
    }
}
