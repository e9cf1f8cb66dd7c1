//! Real Node workers that get large messages between their connections: nobody gets another's connection, and nothing
//! is lost (see `src/master/flow.rs`), not even when a worker is killed with all that in its channel.
//!
//! Frozen, a worker finds all of it in its channel when it wakes, and reads it 64 KiB at a time. Where the end of a
//! read falls is aimed at, or left to chance.

use std::{collections::BTreeMap, time::Duration};

use nix::sys::signal::Signal;
use pointsman::{Event, Settings, WorkerId};
use serde_json::{Value, json};

use crate::{
    call::Call,
    node::Node,
    outer::Outer,
    pollable::ANYWHERE,
    process::{freeze, signal, thaw},
    random::Random,
};

const WORKERS: usize = 2;
const WINDOW: usize = 8;
const CONNECTIONS: usize = 512;

/// What Node reads at a time.
const READ: usize = 64 << 10;

/// Less than any frame that a connection comes with.
const AIM: u64 = 100;

/// The shortest and the longest message, in bytes of its frame.
const SIZES: (usize, usize) = (1 << 10, 40 << 10);

/// A cluster on this Node, and what its workers were sent.
struct Fire {
    outer: Outer,
    random: Random,
    /// Messages to each worker that lives, and bytes of their filling.
    sent: BTreeMap<WorkerId, (u64, usize)>,
    tokens: usize,
}

pub(crate) fn connections_between_large_messages_reach_node_workers_unmixed() {
    for node in Node::in_both_forms() {
        let app = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/echo.js");
        let settings = Settings::new(node.path())
            .serialization(node.form.word().parse().unwrap())
            .arg(app)
            .listen(ANYWHERE.into())
            .window(WINDOW)
            .restart_delay(Duration::ZERO);
        let outer = Outer::new(settings.workers(WORKERS));
        let mut fire = Fire { outer, random: Random::new(4), sent: BTreeMap::new(), tokens: 0 };
        for round in 0..CONNECTIONS / (WINDOW * WORKERS) {
            fire.round(round, node);
        }
        assert!(fire.outer.cluster.counters().replaced > 0, "{node}: nobody was killed with anything");
        fire.check_messages(node);
        fire.outer.until_nothing_is_open();
    }
}

impl Fire {
    /// As many connections as all windows hold, each with a token of its own.
    fn round(&mut self, round: usize, node: Node) {
        let kind = round % 4;
        let is_frozen = kind < 3 || self.random.once_in(2);
        self.outer.until_serving(WORKERS);
        let pids: BTreeMap<_, _> =
            self.outer.cluster.workers().map(|worker| (worker.id, worker.pid)).collect();
        self.sent = pids.keys().map(|id| (*id, self.sent.get(id).copied().unwrap_or_default())).collect();
        if is_frozen {
            pids.values().copied().for_each(freeze);
        }
        let mut calls = Vec::new();
        for connection in 0..WINDOW * WORKERS {
            match kind {
                0 if connection == 0 => self.send_up_to_the_end_of_a_read(),
                // There is one before it in each channel.
                1 if connection == WORKERS => self.send_up_to_the_end_of_a_read(),
                0 | 1 => {}
                _ => self.send_any(),
            }
            let token = format!("{node}, {}", self.tokens);
            self.tokens += 1;
            let call = Call::new(self.outer.address(), &token);
            call.ends();
            calls.push((token, call));
            self.outer.drive();
        }
        let killed = (is_frozen && self.random.once_in(4)).then(|| {
            let place = self.random.index(pids.len());
            let (&id, &pid) = pids.iter().nth(place).unwrap();
            signal(pid, Signal::SIGKILL);
            id
        });
        if is_frozen {
            pids.into_values().for_each(thaw);
        }
        for (token, call) in &mut calls {
            assert_eq!(self.answer(call), *token, "round {round}");
        }
        // It may have had none of them, if there was no room between the messages to it.
        if let Some(id) = killed {
            self.outer.until("its end is seen", |outer| outer.words(id).contains(&"exit"));
        }
    }

    /// Waits for an answer, and not for one that cannot come.
    fn answer(&mut self, call: &mut Call) -> String {
        let mut answer = None;
        self.outer.until("an answer comes", |outer| {
            assert_eq!(troubles(outer), 0, "no worker refuses any, and none is lost");
            answer = call.answer();
            answer.is_some()
        });
        answer.unwrap()
    }

    /// So much to every worker that the next frame straddles the end of its read, if that begins here.
    fn send_up_to_the_end_of_a_read(&mut self) {
        let mut rest = READ - usize::try_from(1 + self.random.below(AIM)).unwrap();
        while rest > 0 {
            let size = if rest <= SIZES.1 { rest } else { self.any_size().min(rest - SIZES.0) };
            self.workers().into_iter().for_each(|worker| self.send(worker, size));
            rest -= size;
        }
    }

    fn send_any(&mut self) {
        for worker in self.workers() {
            let size = self.any_size();
            self.send(worker, size);
        }
    }

    fn workers(&self) -> Vec<WorkerId> {
        self.sent.keys().copied().collect()
    }

    fn any_size(&mut self) -> usize {
        SIZES.0 + self.random.index(SIZES.1 - SIZES.0 + 1)
    }

    /// Sends a message whose frame has `size` bytes.
    fn send(&mut self, worker: WorkerId, size: usize) {
        let (messages, bytes) = self.sent.get_mut(&worker).unwrap();
        let message = |fill: usize| json!({"number": *messages, "fill": "x".repeat(fill)});
        let fill = size - (message(0).to_string().len() + 1);
        self.outer.cluster.send(worker, &message(fill)).unwrap();
        *messages += 1;
        *bytes += fill;
    }

    /// Every worker that lives has all its messages, in order.
    fn check_messages(&mut self, node: Node) {
        self.outer.until_serving(WORKERS);
        for worker in self.outer.cluster.workers().map(|worker| worker.id).collect::<Vec<_>>() {
            let (messages, bytes) = self.sent.get(&worker).copied().unwrap_or_default();
            self.outer.cluster.send(worker, &json!({"tell": true})).unwrap();
            let said = |event: &Event| match event {
                Event::Message { worker: from, message } if *from == worker => Some(message.clone()),
                _ => None,
            };
            let mut told: Option<Value> = None;
            self.outer.until("the worker tells what it has seen", |outer| {
                told = outer.seen.iter().find_map(said);
                told.is_some()
            });
            let expected = json!({"messages": messages, "bytes": bytes, "disorder": 0});
            assert_eq!(told, Some(expected), "{node}, worker {worker}");
        }
    }
}

/// Connections that a worker did not take, as it had no descriptor for one, and those that are lost.
fn troubles(outer: &Outer) -> u64 {
    let counters = outer.cluster.counters();
    counters.refused + counters.lost
}
