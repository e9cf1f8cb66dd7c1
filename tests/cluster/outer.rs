//! A program with a loop of its own, in which the cluster is one source of events.

use std::{fs, net::SocketAddr, time::Duration};

use mio::{Events, Interest, Poll, Token};
use pointsman::{Cluster, Event, LoadSource, Settings, WorkerId};

use crate::{call::Call, now};

const CLUSTER: Token = Token(7);

/// What is waited for takes milliseconds; past this it will not come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at what the poll does not tell of.
const PAUSE: Duration = Duration::from_millis(5);

/// See the module.
#[derive(Debug)]
pub(crate) struct Outer {
    poll: Poll,
    events: Events,
    pub(crate) cluster: Cluster,
    /// All that it has told.
    pub(crate) seen: Vec<Event>,
    /// How often it was given a turn.
    pub(crate) turns: usize,
}

impl Outer {
    pub(crate) fn new(settings: Settings) -> Self {
        let poll = Poll::new().unwrap();
        let mut cluster = Cluster::new(settings).unwrap();
        poll.registry().register(&mut cluster, CLUSTER, Interest::READABLE).unwrap();
        Self { poll, events: Events::with_capacity(8), cluster, seen: Vec::new(), turns: 0 }
    }

    /// Goes on until `done`. The cluster has a turn when it is ready or its time is over, and never else.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = now() + PATIENCE;
        while !done(self) {
            assert!(now() < end, "this did not happen within {PATIENCE:?}: {what}; {:?}", self.seen);
            let wait = self.cluster.timeout().map_or(PAUSE, |timeout| timeout.min(PAUSE));
            self.wait(wait);
        }
    }

    /// Gives the cluster a turn if it wants one now, and says whether it did.
    pub(crate) fn turn_if_due(&mut self) -> bool {
        let before = self.turns;
        self.wait(Duration::ZERO);
        self.turns > before
    }

    /// Gives it all the turns that it wants now.
    pub(crate) fn drive(&mut self) {
        while self.turn_if_due() {}
    }

    fn wait(&mut self, wait: Duration) {
        self.poll.poll(&mut self.events, Some(wait)).unwrap();
        let is_ready = self.events.iter().any(|event| event.token() == CLUSTER);
        if is_ready || self.cluster.timeout() == Some(Duration::ZERO) {
            self.cluster.turn(Some(Duration::ZERO)).unwrap();
            self.turns += 1;
        }
        while let Some(event) = self.cluster.poll_event() {
            self.seen.push(event);
        }
    }

    /// Until so many workers serve.
    #[track_caller]
    pub(crate) fn until_serving(&mut self, count: usize) {
        let serving = |outer: &Self| outer.cluster.workers().filter(|worker| worker.serving).count();
        self.until(&format!("{count} workers serve"), |outer| serving(outer) == count);
    }

    /// Until each worker is counted as having nothing, by somebody who knows.
    #[track_caller]
    pub(crate) fn until_nothing_is_open(&mut self) {
        let mut workers: Vec<_> = self.cluster.workers().collect();
        assert!(workers.iter().all(|worker| worker.load_source != LoadSource::None), "{workers:?}");
        self.until("all connections are over", |outer| {
            workers = outer.cluster.workers().collect();
            workers.iter().all(|worker| (worker.connections, worker.in_flight) == (0, 0))
        });
    }

    /// Asks, and goes on until there is an answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, question: &str) -> String {
        let mut call = Call::new(self.address(), question);
        self.answer(&mut call)
    }

    #[track_caller]
    pub(crate) fn answer(&mut self, call: &mut Call) -> String {
        let mut answer = None;
        self.until("an answer comes", |_| {
            answer = call.answer();
            answer.is_some()
        });
        answer.unwrap()
    }

    /// The only address it listens on.
    #[track_caller]
    pub(crate) fn address(&self) -> SocketAddr {
        let addresses = self.cluster.addresses();
        assert_eq!(addresses.len(), 1);
        addresses[0]
    }

    /// What it has told of one worker, in a word each.
    pub(crate) fn words(&self, id: WorkerId) -> Vec<&'static str> {
        let word = |event: &Event| match event {
            Event::Fork { worker, .. } if *worker == id => Some("fork"),
            Event::Online { worker } if *worker == id => Some("online"),
            Event::Listening { worker, .. } if *worker == id => Some("listening"),
            Event::Message { worker, .. } if *worker == id => Some("message"),
            Event::Disconnect { worker } if *worker == id => Some("disconnect"),
            Event::Exit { worker, .. } if *worker == id => Some("exit"),
            Event::Trouble { worker, .. } if *worker == id => Some("trouble"),
            _ => None,
        };
        self.seen.iter().filter_map(word).collect()
    }
}

/// The processes whose parent this one is, zombies too, and the letter of their state.
pub(crate) fn children() -> Vec<(u32, String)> {
    let processes =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_child = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ').map(str::to_owned);
        let state = fields.next()?;
        (fields.next()? == std::process::id().to_string()).then_some((pid, state))
    };
    processes.filter_map(is_child).collect()
}
