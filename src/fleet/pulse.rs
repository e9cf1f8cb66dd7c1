//! Whether workers are alive inside: one that can answer and has been silent for a while is asked, and if it says nothing
//! then, it is stuck. Its process may look healthy all the same.

use std::time::Duration;

use super::{
    Event, LoadSource, Output, Told, Trouble, WorkerId,
    lifecycle::Happening,
    machine::{Fleet, Worker},
};
use crate::time::Time;

/// When a worker was last heard.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pulse {
    heard: Time,
    /// And when it was asked since.
    asked: Option<Time>,
}

impl Pulse {
    /// It has said something.
    pub(super) fn beats(&mut self, now: Time) {
        *self = Self { heard: now, asked: None };
    }

    /// When it is to be asked, or to be taken for stuck. Half of its time is for the answer.
    fn deadline(self, timeout: Duration) -> Time {
        // By the clock of who asks: if this process stood still meanwhile, that is not the worker's fault.
        self.asked.unwrap_or(self.heard) + timeout / 2
    }
}

impl<C> Fleet<C> {
    /// When [`Fleet::feel_pulses`] has something to do.
    pub(super) fn pulse_deadline(&self) -> Option<Time> {
        let timeout = self.rules.ping_timeout?;
        let can_answer = self.workers.iter().filter(|(id, worker)| self.can_answer(**id, worker));
        can_answer.map(|(_, worker)| worker.pulse.deadline(timeout)).min()
    }

    /// Asks those that were silent for half of their time, and ends those that were for the whole of it.
    pub(super) fn feel_pulses(&mut self, now: Time) {
        let Some(timeout) = self.rules.ping_timeout else { return };
        let is_due = |(id, worker): &(&WorkerId, &Worker)| {
            worker.pulse.deadline(timeout) <= now && self.can_answer(**id, worker)
        };
        let due: Vec<_> = self.workers.iter().filter(is_due).map(|(&id, _)| id).collect();
        for id in due {
            let Some(worker) = self.workers.get_mut(&id) else { continue };
            if worker.pulse.asked.replace(now).is_some() {
                let after = now - worker.pulse.heard;
                self.event(Event::Trouble { worker: id, trouble: Trouble::Unresponsive { after } });
                self.happens(now, id, Happening::StopNow);
            } else {
                let number = worker.take_seq();
                self.outputs.push_back(Output::Tell(id, Told::Ping { number }));
            }
        }
    }

    /// The script in Node and the crate's workers answer, from the moment that they have said so.
    fn can_answer(&self, id: WorkerId, worker: &Worker) -> bool {
        let source = self.tally.source(id);
        worker.life.is_staying() && matches!(source, LoadSource::Reports | LoadSource::Script)
    }
}
