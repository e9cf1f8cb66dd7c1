//! Events -> lines of the log.
//!
//! Remembers which workers there are and what has been explained already, so that sixty-four workers which make the
//! same mistake are not sixty-four explanations.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    time::Duration,
};

use log::Level::{self, Debug, Error, Info, Warn};
use pointsman::{Endpoint, Event, ExitStatus, LoadSource, Loss, Trouble, WorkerId};

use super::{
    lanes::Lanes,
    output, supervision,
    trouble::{self, Told, about, ended, tell},
};

/// A worker that ends sooner than this without having listened has most likely a mistake in it.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Sentences that are remembered as said. Those that no longer fit are said again, each time.
const REMEMBERED: usize = 256;

/// A line for the log. What follows a line feed is advice.
#[derive(Debug)]
pub(super) struct Line<'e> {
    pub(super) level: Level,
    pub(super) text: Text<'e>,
}

/// What a line says, printed only if somebody reads it.
#[derive(Debug)]
pub(super) enum Text<'e> {
    Told(String),
    /// A worker's message, which may be long.
    Sent(Name, &'e serde_json::Value),
    /// What there are no words for.
    Event(&'e Event),
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self::Told(text)
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told(text) => out.write_str(text),
            Self::Sent(name, message) => write!(out, "{name} sent {message}"),
            Self::Event(event) => write!(out, "{event:?}"),
        }
    }
}

/// What a worker is called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    worker: WorkerId,
    pid: Option<u32>,
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "worker {}", self.worker)?;
        self.pid.map_or(Ok(()), |pid| write!(out, " (pid {pid})"))
    }
}

#[derive(Debug)]
struct Known {
    pid: u32,
    stage: Stage,
}

/// How far a worker has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Started,
    /// Its program could not be executed, of which there is a line.
    NotLaunched,
    Online,
    /// Where it should not.
    Elsewhere,
    /// Where it should.
    Listens,
    Ready,
}

/// What is said of a cluster.
#[derive(Debug)]
pub(super) struct Report {
    program: String,
    /// How many workers are wanted.
    wanted: usize,
    /// Where the cluster listens.
    told: Vec<Endpoint>,
    /// Workers accept by themselves, and may do so without a word.
    shared: bool,
    /// Requests are forwarded to workers, which listen by themselves.
    forwarded: bool,
    lanes: Lanes,
    workers: BTreeMap<WorkerId, Known>,
    /// All workers were ready at once.
    ready: bool,
    stopping: bool,
    reloading: bool,
    told_to_leave: BTreeSet<WorkerId>,
    /// Sentences about workers, without their names, and advice.
    said: HashSet<String>,
    /// Failures to accept so far.
    refused: u64,
}

impl Report {
    /// Of a cluster of `wanted` workers that run `program`, as it is to be called.
    pub(super) fn new(program: String, wanted: usize, told: Vec<Endpoint>) -> Self {
        Self {
            program,
            wanted,
            told,
            shared: false,
            forwarded: false,
            lanes: Lanes::default(),
            workers: BTreeMap::new(),
            ready: false,
            stopping: false,
            reloading: false,
            told_to_leave: BTreeSet::new(),
            said: HashSet::new(),
            refused: 0,
        }
    }

    /// Of one in the shared mode, or not.
    pub(super) fn shared(self, shared: bool) -> Self {
        Self { shared, ..self }
    }

    /// Of one in the multiport mode, or not.
    pub(super) fn forwarded(self, forwarded: bool) -> Self {
        Self { forwarded, ..self }
    }

    /// The line that an event is worth.
    pub(super) fn line<'e>(&mut self, event: &'e Event) -> Line<'e> {
        let (level, text) = match event {
            Event::Message { worker, message } => {
                return Line { level: Debug, text: Text::Sent(self.name(*worker), message) };
            }
            Event::Fork { worker, slot, pid, .. } => {
                self.workers.insert(*worker, Known { pid: *pid, stage: Stage::Started });
                (Debug, format!("{} is started in slot {slot}", self.name(*worker)))
            }
            Event::Online { worker } => {
                self.reaches(*worker, Stage::Online);
                (Debug, format!("{} is online", self.name(*worker)))
            }
            Event::Listening { worker, elsewhere, .. } => {
                // Elsewhere does not count: there is a line for that.
                self.reaches(*worker, if *elsewhere { Stage::Elsewhere } else { Stage::Listens });
                (Debug, format!("{} listens", self.name(*worker)))
            }
            Event::Ready { worker, .. } => self.is_ready(*worker),
            Event::LoadSource { worker, source } => self.load_source(*worker, *source),
            Event::Disconnect { worker } => (Debug, format!("{} has disconnected", self.name(*worker))),
            Event::Exit { worker, status, exited_after_disconnect, lived, restart } => {
                self.exit(*worker, *status, *exited_after_disconnect, *lived, *restart)
            }
            Event::Trouble { worker, trouble } => self.trouble(*worker, trouble),
            Event::LastWords { worker, lines, shown } => {
                // What went past us is there to be read.
                (if *shown { Debug } else { Warn }, output::last_words(self.name(*worker), lines))
            }
            Event::OutputFailed { .. } | Event::OutputResumed { .. } | Event::OutputKept { .. } => {
                output::line(event)
            }
            Event::AcceptFailed { endpoint, errno, pause } => {
                self.refused += 1;
                let reason = trouble::accept_failed(*errno);
                // It may fail ten times a second for as long as the cause lasts.
                let level = if self.refused.is_power_of_two() { Warn } else { Debug };
                (level, format!("cannot accept on {endpoint}: {reason}; goes on in {}", about(*pause)))
            }
            Event::Unserved { .. }
            | Event::Unmapped { .. }
            | Event::Overloaded { .. }
            | Event::Recovered { .. } => place(event),
            Event::Stopping { workers, timeout } => {
                self.stopping = true;
                let rest = match (workers, timeout) {
                    (0, _) => String::new(),
                    (_, Some(Duration::ZERO)) => ", and ends its workers at once".into(),
                    (_, None) => format!("; {} may finish what is in flight", count(*workers)),
                    (1, Some(timeout)) => {
                        format!("; 1 worker has {} to finish what is in flight", about(*timeout))
                    }
                    (_, Some(timeout)) => {
                        format!("; {workers} workers have {} to finish what is in flight", about(*timeout))
                    }
                };
                (Info, format!("stopping: accepts nothing more{rest}"))
            }
            Event::Stopped => (Info, "stopped".into()),
            Event::OfLane { lane, event } => self.lanes.line(*lane, event, self.stopping),
            Event::WaitsFor { what } => {
                (Info, format!("waits for {what} before it starts workers (depends)"))
            }
            Event::Found { what } => (Info, format!("{what} is there now")),
            other => match self.supervision(other) {
                Some(said) => said,
                None => return Line { level: Debug, text: Text::Event(other) },
            },
        };
        Line { level, text: text.into() }
    }

    fn is_ready(&mut self, worker: WorkerId) -> (Level, String) {
        let name = self.name(worker);
        let elsewhere = self.workers.get(&worker).is_some_and(|known| known.stage == Stage::Elsewhere);
        if elsewhere {
            return (Debug, format!("{name} is ready"));
        }
        self.reaches(worker, Stage::Ready);
        let ready = self.workers.values().filter(|known| known.stage == Stage::Ready).count();
        if !self.ready && ready == self.wanted {
            self.ready = true;
            let workers =
                if ready == 1 { "the worker listens".into() } else { format!("all {ready} workers listen") };
            return (Info, format!("ready: {workers}"));
        }
        // Of a successor it is worth knowing that it has come up; a reload is told as a whole.
        let level = if self.is_first(worker) || self.reloading { Debug } else { Info };
        (level, format!("{name} is ready"))
    }

    /// What happens on purpose.
    fn supervision(&mut self, event: &Event) -> Option<(Level, String)> {
        let name = match event {
            Event::Draining { worker, .. } => {
                self.told_to_leave.insert(*worker);
                self.name(*worker).to_string()
            }
            Event::Waiting { worker, .. } | Event::Recycling { worker, .. } => self.name(*worker).to_string(),
            _ => String::new(),
        };
        let line = supervision::line(event, &name, self.reloading);
        match event {
            Event::Scaled { to, .. } => self.wanted = *to,
            Event::Reloading { .. } => self.reloading = true,
            Event::ReloadFailed { rolled_back, .. } => self.reloading = *rolled_back > 0,
            Event::Reloaded { .. } | Event::RolledBack { .. } => self.reloading = false,
            _ => {}
        }
        line
    }

    fn load_source(&mut self, worker: WorkerId, source: LoadSource) -> (Level, String) {
        let name = self.name(worker);
        let ends = "the ends of its connections";
        match source {
            LoadSource::Reports => (Debug, format!("{name} tells {ends} itself")),
            LoadSource::Script => (Debug, format!("{name} tells {ends} by the script that Node has loaded")),
            LoadSource::Kernel => (Debug, format!("{name} does not tell {ends}; the kernel does")),
            LoadSource::None => {
                let rest = "does not tell the ends of its connections, and neither does the kernel here: only those on their \
                            way to it count";
                (if self.is_new(rest) { Warn } else { Debug }, format!("{name} {rest}"))
            }
            other => (Debug, format!("the ends of {name}'s connections are told by {other:?}")),
        }
    }

    fn exit(
        &mut self,
        worker: WorkerId,
        status: ExitStatus,
        exited_after_disconnect: bool,
        lived: Duration,
        restart: Option<Duration>,
    ) -> (Level, String) {
        let name = self.name(worker);
        let stage = self.workers.remove(&worker).map_or(Stage::Listens, |known| known.stage);
        let unheard = (self.shared || self.forwarded) && stage == Stage::Started;
        let listened = stage >= Stage::Listens || unheard && lived >= AT_ONCE;
        let mut text = format!("{name} {} after {}", ended(status), about(lived));
        if self.told_to_leave.remove(&worker) || self.stopping {
            // A program that is no worker by the protocol leaves by our SIGTERM.
            return (if supervision::is_ordinary(status) { Debug } else { Info }, text);
        }
        if exited_after_disconnect {
            text += ", having left by itself";
        } else if !listened && (!unheard || self.forwarded) {
            text += ", before it listened";
        }
        match restart {
            None => {}
            Some(Duration::ZERO) => text += "; its successor starts at once",
            Some(restart) => text += &format!("; its successor starts in {}", about(restart)),
        }
        // Whoever was killed by a signal need not have made a mistake with its sockets.
        let killed = self.shared && matches!(status, ExitStatus::Signal(_));
        let unable = !listened && !exited_after_disconnect && !killed && lived < AT_ONCE;
        if unable && stage != Stage::NotLaunched {
            let advice = match status {
                ExitStatus::Code(1..) if self.forwarded => {
                    format!("its own output may say why; try it alone: PORT=3000 {}", self.program)
                }
                ExitStatus::Code(1..) if unheard => trouble::given_sockets(&self.program, &self.told),
                _ if stage < Stage::Online && !unheard => trouble::never_spoke(&self.program, &self.told),
                ExitStatus::Code(0) => {
                    format!("a worker is to listen and to stay: does {} do that?", self.program)
                }
                _ => format!("its own output may say why; try it alone: {}", self.program),
            };
            if self.is_new(&advice) {
                text = format!("{text}\n{advice}");
            }
        }
        // One that has served and ends in order may have been told to by somebody else.
        let in_order = exited_after_disconnect || listened && status == ExitStatus::Code(0);
        (if in_order { Info } else { Warn }, text)
    }

    fn trouble(&mut self, worker: WorkerId, trouble: &Trouble) -> (Level, String) {
        let Told { what, advice } = tell(trouble, &self.program);
        let text = format!("{} {what}", self.name(worker));
        let mut level = Warn;
        if matches!(trouble, Trouble::NotReady { .. } | Trouble::Unreachable { .. }) {
            self.told_to_leave.insert(worker);
        }
        if matches!(trouble, Trouble::LaunchFailed { .. }) {
            level = Error;
            self.reaches(worker, Stage::NotLaunched);
        }
        let Some(advice) = advice else {
            return (level, text);
        };
        let unsaid = self.is_new(&what);
        if self.is_new(&advice) {
            let others = if self.wanted > 1 && self.is_first(worker) && !self.ready {
                " (if the other first workers do the same, it is not said again)"
            } else {
                ""
            };
            (level, format!("{text}\n{advice}{others}"))
        } else {
            // All the first workers do the same; of a successor it is worth knowing that nothing has changed.
            (if unsaid || !self.is_first(worker) { level } else { Debug }, text)
        }
    }

    fn reaches(&mut self, worker: WorkerId, stage: Stage) {
        if let Some(known) = self.workers.get_mut(&worker) {
            known.stage = known.stage.max(stage);
        }
    }

    /// Whether this has not been said before; it is now.
    fn is_new(&mut self, sentence: &str) -> bool {
        let new = !self.said.contains(sentence);
        if new && self.said.len() < REMEMBERED {
            self.said.insert(sentence.to_owned());
        }
        new
    }

    /// Whether it is one of those that the cluster began with.
    fn is_first(&self, worker: WorkerId) -> bool {
        usize::try_from(worker.0).is_ok_and(|id| id <= self.wanted)
    }

    fn name(&self, worker: WorkerId) -> Name {
        Name { worker, pid: self.workers.get(&worker).map(|known| known.pid) }
    }
}

/// What is said of connections that nobody is going to take.
fn lost(count: usize, cause: Loss) -> String {
    let came_back =
        if count == 1 { "1 connection that came" } else { &format!("{count} connections that came") };
    let why = match cause {
        Loss::ServerClosed => "no worker has a server for the address any more",
        Loss::Stopping => "no worker takes it while all of them leave",
        _ => "nobody takes it",
    };
    let are = if count == 1 { "is" } else { "are" };
    format!("{came_back} back from workers {are} closed, lost: {why}")
}

/// "1 worker", "4 workers".
pub(super) fn count(workers: usize) -> String {
    format!("{workers} worker{}", if workers == 1 { "" } else { "s" })
}

/// What is said of a place that is listened on.
fn place(event: &Event) -> (Level, String) {
    match event {
        Event::Unserved { endpoint } => {
            let what = format!("no worker listens on {endpoint}, where connections wait in vain");
            (Warn, format!("{what}; let the program listen there too, or leave it out"))
        }
        Event::Unmapped { from } => {
            (Warn, format!("no worker listens on {from}, so its mapping does nothing; is it another port?"))
        }
        Event::Overloaded { endpoint, after } => {
            let time = about(*after);
            (
                Warn,
                format!(
                    "no worker has had room for connections to {endpoint} for {time}: they are turned away"
                ),
            )
        }
        Event::Recovered { endpoint, rejected } => {
            let (what, were) = if *rejected == 1 { ("connection", "was") } else { ("connections", "were") };
            (
                Info,
                format!(
                    "there is room again for connections to {endpoint}: {rejected} {what} {were} turned away"
                ),
            )
        }
        Event::LostConnections { count, cause } => (Warn, lost(*count, *cause)),
        other => (Debug, format!("{other:?}")),
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
