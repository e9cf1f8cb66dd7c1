//! What the master tells a lane, and is told.

use std::time::Duration;

use super::Lane;
use crate::{
    forward::{
        figures::Gauges,
        orders::{LaneOrder, LaneSettings, LaneWord, UpstreamList},
    },
    time::Time,
    worker::{Worker, WorkerError, WorkerEvent},
};

/// How often the master is told what has been done, while something is.
const NEWS: Duration = Duration::from_secs(1);

/// Connections that are accepted, and words that are heard, before others have their turn.
const EVENTS: usize = 64;

/// When the master is to be told.
#[derive(Debug, Default)]
pub(super) struct News {
    at: Option<Time>,
}

impl News {
    /// Something has changed.
    pub(super) fn set(&mut self, now: Time) {
        self.at.get_or_insert(now + NEWS);
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.at
    }
}

/// Waits for the first word. `None`: this lane is not needed any more.
pub(super) fn await_settings(worker: &mut Worker) -> Result<Option<LaneSettings>, WorkerError> {
    while let Some(event) = worker.next_event()? {
        match event {
            WorkerEvent::Message(message) => match serde_json::from_value(message) {
                Ok(LaneOrder::Begin(settings)) => return Ok(Some(*settings)),
                Ok(LaneOrder::Upstreams(_)) => {}
                Err(error) => log::error!("the master says what no lane understands: {error}"),
            },
            WorkerEvent::Disconnect | WorkerEvent::Closed => return Ok(None),
            WorkerEvent::Connection(_) => {}
        }
    }
    Ok(None)
}

impl Lane {
    /// Takes what the master says, and the connections that have come.
    pub(super) fn serve_master(&mut self) -> Result<(), WorkerError> {
        for _ in 0..EVENTS {
            let Some(event) = self.worker.poll_event()? else {
                self.pending = false;
                break;
            };
            match event {
                WorkerEvent::Connection(connection) => self.welcome(connection),
                WorkerEvent::Message(message) => match serde_json::from_value(message) {
                    Ok(LaneOrder::Upstreams(list)) => self.update(&list),
                    Ok(LaneOrder::Begin(_)) => {}
                    Err(error) => log::error!("the master says what no lane understands: {error}"),
                },
                WorkerEvent::Disconnect => self.leave(),
                // Without a master nobody says where upstreams are, and nobody would start another lane.
                WorkerEvent::Closed => {
                    self.over = !self.leaving;
                    self.leave();
                }
            }
        }
        Ok(())
    }

    fn update(&mut self, list: &UpstreamList) {
        let update = self.upstreams.update(self.now, &list.upstreams);
        self.list = list.number;
        self.figures.know(&list.upstreams);
        self.figures.forget(&update.gone);
        for id in update.gone {
            for key in self.pool.forget(id) {
                self.close_upstream(key);
            }
        }
        for id in update.idle {
            self.tell_idle(id);
        }
        self.room = true;
    }

    fn leave(&mut self) {
        if std::mem::replace(&mut self.leaving, true) {
            return;
        }
        let all: Vec<_> = self.clients.iter().map(|(key, client)| client.line.place(key)).collect();
        for place in all {
            if self.is_client(place) {
                self.drain_client(place.key);
            }
        }
    }

    /// An upstream that drains has nothing of this lane's any more.
    pub(super) fn tell_idle(&mut self, id: u32) {
        for key in self.pool.forget(id) {
            self.close_upstream(key);
        }
        self.say(&LaneWord::Idle { upstream: id, list: self.list });
    }

    /// Tells what has been done, from time to time.
    pub(super) fn tell_master(&mut self) {
        if self.news.deadline().is_some_and(|at| at <= self.now) {
            self.tell_figures();
        }
    }

    pub(super) fn tell_figures(&mut self) {
        self.news.at = None;
        self.figures.look(&self.upstreams);
        self.figures.dropped_lines = self.log.dropped();
        self.figures.now = Gauges {
            connections: self.clients.len() as u64,
            in_flight: u64::from(self.upstreams.in_flight()) + self.queue.len() as u64,
            queued: self.queue.len() as u64,
            idle: self.pool.len() as u64,
        };
        let word = LaneWord::Figures(Box::new(self.figures.clone()));
        self.say(&word);
    }

    fn say(&mut self, word: &LaneWord) {
        let said = serde_json::to_value(word).map_err(|error| error.to_string());
        let sent = said.and_then(|word| self.worker.send(&word).map_err(|error| error.to_string()));
        if let Err(error) = sent {
            log::error!("the master cannot be told: {error}");
        }
    }
}
