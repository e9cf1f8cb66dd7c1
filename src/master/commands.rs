//! What the user has the master do with its workers, besides stopping them.

use std::io;

use nix::sys::signal::Signal;

use super::{Fork, Master, Program, Work, lanes::Replacing};
use crate::{
    control::{Code, Refusal},
    fleet::{Event, Unable, WorkerId},
    sys::clock,
};

impl Master {
    /// Adds a worker, and returns it and its slot. What it runs otherwise than the others must have been
    /// [found](Program::find).
    pub(crate) fn fork(&mut self, fork: Fork) -> Result<(WorkerId, u32), Unable> {
        if self.program_of(&fork).absent {
            return Err(Unable::NoProgram);
        }
        self.now = clock::now();
        let own = !fork.is_plain();
        let forked = self.fleet.fork(self.now, own);
        if let (Ok((_, slot)), true) = (&forked, own) {
            self.programs.add_own(*slot, fork);
        }
        self.perform();
        forked
    }

    /// What a worker would run that is forked like this.
    pub(crate) fn program_of(&self, fork: &Fork) -> Program {
        fork.apply(self.programs.latest().clone())
    }

    /// Replaces one worker.
    pub(crate) fn restart(&mut self, worker: WorkerId) -> Result<(), Unable> {
        self.now = clock::now();
        let done = self.fleet.restart(self.now, worker);
        self.perform();
        done
    }

    /// Fills a slot again that waits for that, or was given up.
    pub(super) fn restart_slot(&mut self, slot: u32) -> Result<(), Unable> {
        self.now = clock::now();
        let done = self.fleet.restart_slot(self.now, slot);
        self.perform();
        done
    }

    /// Has a worker leave that nobody is to follow.
    pub(crate) fn disconnect(&mut self, worker: WorkerId) -> Result<(), Unable> {
        self.now = clock::now();
        let done = self.fleet.disconnect(self.now, worker);
        self.perform();
        done
    }

    /// Nobody is wanted in a slot any more that waits for its next start, or was given up.
    pub(super) fn disconnect_slot(&mut self, slot: u32) -> Result<(), Unable> {
        self.now = clock::now();
        let done = self.fleet.disconnect_slot(self.now, slot);
        self.perform();
        done
    }

    /// Sends a worker a signal, and nothing else: SIGKILL to its whole process group.
    pub(crate) fn kill(&mut self, worker: WorkerId, signal: Signal) -> io::Result<()> {
        let Some(worker) = self.workers.get(&worker) else { return Err(io::ErrorKind::NotFound.into()) };
        match signal {
            Signal::SIGKILL => worker.child.signal_group(signal),
            signal => worker.child.signal(signal),
        }
    }

    /// Replaces the workers by those that run another program, under other rules, and lanes after them. Says whether that began: it does not while the
    /// cluster stops, nor before it has started what it waits to start.
    ///
    /// `asked` is the number of the question that this answers, if it does, and what is to be said besides.
    pub(crate) fn reload(&mut self, asked: (Option<u32>, &[String]), work: Work) -> bool {
        let (ticket, warnings) = asked;
        self.now = clock::now();
        // Before anybody is started: the fleet's next generation is known.
        let may = self.depends.is_none() && !self.is_stopping();
        let Some(generation) = self.fleet.next_generation().filter(|_| may) else {
            let why = "there are no workers to replace yet, or no more";
            self.reload_is_refused(ticket, Refusal::new(Code::Refused, why));
            return false;
        };
        let workers = self.fleet.wanted();
        self.reload_begins(ticket, warnings, generation, workers);
        self.preload.try_again();
        self.programs.add(generation, work.program.clone());
        let rules = work.rules.clone();
        self.prepare_lanes(generation, work);
        self.fleet.reload(self.now, rules);
        self.perform();
        true
    }

    /// A reload that was asked for is not begun: something is wrong with the settings.
    pub(crate) fn refuse_reload(&mut self, ticket: Option<u32>, why: &str) {
        self.fleet.handle_reload_refused();
        self.note_reload("refused", None, Some(why.to_owned()));
        self.happens(Event::ReloadRefused { why: why.to_owned() });
        self.reload_is_refused(ticket, Refusal::new(Code::Invalid, why));
    }

    /// Calls a reload off. Says whether there was one.
    pub(crate) fn abort_reload(&mut self) -> bool {
        self.now = clock::now();
        let lanes = self.lanes.as_mut().filter(|lanes| matches!(lanes.replacing, Replacing::Lanes { .. }));
        let was = match lanes {
            Some(lanes) => lanes.fleet.abort_reload(self.now),
            None => self.fleet.abort_reload(self.now),
        };
        self.perform();
        was
    }

    pub(crate) fn is_reloading(&self) -> bool {
        let lanes = self.lanes.as_ref();
        self.fleet.is_reloading() || lanes.is_some_and(|lanes| lanes.fleet.is_reloading())
    }

    /// Wants another number of workers; not before those that were wanted at first have been started.
    pub(crate) fn scale(&mut self, count: usize) {
        if self.depends.is_some() {
            return;
        }
        if count > self.fleet.wanted() && self.programs.latest().absent {
            log::warn!("{}", Unable::NoProgram);
            return;
        }
        self.now = clock::now();
        self.fleet.scale(self.now, count);
        self.perform();
    }
}
