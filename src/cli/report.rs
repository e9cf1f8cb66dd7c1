//! Events -> lines of the log.
//!
//! Remembers which workers there are and what has been explained already, so that sixty-four workers which make the
//! same mistake are not sixty-four explanations.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    time::Duration,
};

use log::Level::{self, Debug, Error, Info, Warn};
use pointsman::{Endpoint, Event, ExitStatus, LoadSource, Loss, Trouble, WorkerId};

use super::trouble::{self, Told, about, ended, tell};

/// A worker that ends sooner than this without having listened has most likely a mistake in it.
const AT_ONCE: Duration = Duration::from_secs(5);

const SIGTERM: i32 = 15;

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
    /// Where it should.
    Listens,
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
    workers: BTreeMap<WorkerId, Known>,
    /// All workers have listened at once.
    ready: bool,
    stopping: bool,
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
            workers: BTreeMap::new(),
            ready: false,
            stopping: false,
            said: HashSet::new(),
            refused: 0,
        }
    }

    /// Of one in the shared mode, or not.
    pub(super) fn shared(self, shared: bool) -> Self {
        Self { shared, ..self }
    }

    /// The line that an event is worth.
    pub(super) fn line<'e>(&mut self, event: &'e Event) -> Line<'e> {
        let (level, text) = match event {
            Event::Message { worker, message } => {
                return Line { level: Debug, text: Text::Sent(self.name(*worker), message) };
            }
            Event::Fork { worker, slot, pid } => {
                self.workers.insert(*worker, Known { pid: *pid, stage: Stage::Started });
                (Debug, format!("{} is started in slot {slot}", self.name(*worker)))
            }
            Event::Online { worker } => {
                self.reaches(*worker, Stage::Online);
                (Debug, format!("{} is online", self.name(*worker)))
            }
            Event::Listening { worker, elsewhere, .. } => self.listening(*worker, *elsewhere),
            Event::Ready { worker } => self.listening(*worker, false),
            Event::LoadSource { worker, source } => self.load_source(*worker, *source),
            Event::Disconnect { worker } => (Debug, format!("{} has disconnected", self.name(*worker))),
            Event::Exit { worker, status, exited_after_disconnect, lived, restart } => {
                self.exit(*worker, *status, *exited_after_disconnect, *lived, *restart)
            }
            Event::Trouble { worker, trouble } => self.trouble(*worker, trouble),
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
            other => return Line { level: Debug, text: Text::Event(other) },
        };
        Line { level, text: text.into() }
    }

    fn listening(&mut self, worker: WorkerId, elsewhere: bool) -> (Level, String) {
        let name = self.name(worker);
        // Elsewhere does not count: there is a line for that.
        self.reaches(worker, if elsewhere { Stage::Online } else { Stage::Listens });
        let listening = self.workers.values().filter(|known| known.stage == Stage::Listens).count();
        if !self.ready && listening == self.wanted {
            self.ready = true;
            let workers = if listening == 1 {
                "the worker listens".into()
            } else {
                format!("all {listening} workers listen")
            };
            return (Info, format!("ready: {workers}"));
        }
        // Of a successor it is worth knowing that it has come up.
        let level = if self.is_first(worker) { Debug } else { Info };
        (level, format!("{name} listens"))
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
        let unheard = self.shared && stage == Stage::Started;
        let listened = stage == Stage::Listens || unheard && lived >= AT_ONCE;
        let mut text = format!("{name} {} after {}", ended(status), about(lived));
        if self.stopping {
            // A program that is no worker by the protocol leaves by our SIGTERM.
            let ordinary = matches!(status, ExitStatus::Code(0) | ExitStatus::Signal(SIGTERM));
            return (if ordinary { Debug } else { Info }, text);
        }
        if exited_after_disconnect {
            text += ", having left by itself";
        } else if !listened && !unheard {
            text += ", before it listened";
        }
        if let Some(restart) = restart {
            text += &format!("; its successor starts in {}", about(restart));
        }
        // Whoever was killed by a signal need not have made a mistake with its sockets.
        let killed = self.shared && matches!(status, ExitStatus::Signal(_));
        let unable = !listened && !exited_after_disconnect && !killed && lived < AT_ONCE;
        if unable && stage != Stage::NotLaunched {
            let advice = match status {
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
mod tests {
    use super::*;
    use pointsman::Address;

    fn lines(report: &mut Report, events: &[Event]) -> Vec<String> {
        let mut line = |event| {
            let line = report.line(event);
            (line.level <= Info).then(|| format!("{}: {}", line.level, line.text))
        };
        events.iter().filter_map(&mut line).collect()
    }

    fn fork(id: u32) -> Event {
        Event::Fork { worker: WorkerId(id), slot: 0, pid: 100 + id }
    }

    fn listening(id: u32) -> Event {
        Event::Listening {
            worker: WorkerId(id),
            address: Address::Tcp { host: None, port: 8000 },
            elsewhere: false,
        }
    }

    fn exit(id: u32, status: ExitStatus, expected: bool, restart: bool) -> Event {
        Event::Exit {
            worker: WorkerId(id),
            status,
            exited_after_disconnect: expected,
            lived: Duration::from_millis(40),
            restart: restart.then_some(Duration::from_secs(1)),
        }
    }

    fn silent(id: u32) -> Event {
        Event::Trouble { worker: WorkerId(id), trouble: Trouble::Silent { after: Duration::from_secs(5) } }
    }

    #[test]
    fn a_good_life_is_a_few_lines() {
        let mut report = Report::new("node x".into(), 2, Vec::new());
        let online = |id| Event::Online { worker: WorkerId(id) };
        let events = [fork(1), fork(2), online(2), listening(2), listening(2), online(1), listening(1)];
        assert_eq!(lines(&mut report, &events), ["INFO: ready: all 2 workers listen"]);
        let crash = [exit(1, ExitStatus::Signal(11), false, true), fork(3), listening(3)];
        assert_eq!(
            lines(&mut report, &crash),
            [
                "WARN: worker 1 (pid 101) was killed by SIGSEGV after 40 ms; its successor starts in 1 s",
                "INFO: worker 3 (pid 103) listens",
            ]
        );
        let end = [
            Event::Stopping { workers: 2, timeout: Some(Duration::from_secs(30)) },
            exit(2, ExitStatus::Code(0), true, false),
            exit(3, ExitStatus::Signal(9), true, false),
            exit(4, ExitStatus::Signal(15), false, false),
            Event::Stopped,
        ];
        assert_eq!(
            lines(&mut report, &end),
            [
                "INFO: stopping: accepts nothing more; 2 workers have 30 s to finish what is in flight",
                "INFO: worker 3 (pid 103) was killed by SIGKILL after 40 ms",
                "INFO: stopped",
            ]
        );
    }

    #[test]
    fn a_crash_loop_is_explained_once() {
        let code = ExitStatus::Code(1);
        let told = vec!["127.0.0.1:8000".parse().unwrap()];
        let unheard = trouble::never_spoke("node x", &told);
        assert!(unheard.contains("never spoke") && unheard.contains("holds 127.0.0.1:8000"), "{unheard}");
        let of_itself = "its own output may say why; try it alone: node x";
        for (online, advice) in [(false, &*unheard), (true, of_itself)] {
            let mut report = Report::new("node x".into(), 1, told.clone());
            let life = |id| {
                let spoken = online.then_some(Event::Online { worker: WorkerId(id) });
                [Some(fork(id)), spoken, Some(exit(id, code, false, true))].into_iter().flatten()
            };
            let events: Vec<_> = (1..=3).flat_map(life).collect();
            let lines = lines(&mut report, &events);
            let first = "WARN: worker 1 (pid 101) exited with code 1 after 40 ms, before it listened; its successor \
                         starts in 1 s";
            assert_eq!(lines[0], format!("{first}\n{advice}"));
            assert!(lines[1..].iter().all(|line| line.ends_with("starts in 1 s")), "{lines:?}");
            assert_eq!(lines.len(), 3);
        }
    }

    #[test]
    fn another_reason_to_end_is_explained_too() {
        let mut report = Report::new("node x".into(), 1, Vec::new());
        let code = ExitStatus::Code(1);
        let online = Event::Online { worker: WorkerId(2) };
        let events = [fork(1), exit(1, code, false, true), fork(2), online, exit(2, code, false, true)];
        let lines = lines(&mut report, &events);
        assert!(lines[0].contains("never spoke") && lines[1].contains("its own output"), "{lines:?}");
    }

    #[test]
    fn a_program_that_cannot_be_executed_is_not_explained_twice() {
        let mut report = Report::new("node x".into(), 1, Vec::new());
        // There is no advice for this errno.
        let trouble = Trouble::LaunchFailed { step: "exec".into(), errno: 12 };
        let failed = Event::Trouble { worker: WorkerId(1), trouble };
        let lines = lines(&mut report, &[fork(1), failed, exit(1, ExitStatus::Code(1), false, true)]);
        assert!(lines.len() == 2 && lines[0].starts_with("ERROR: "), "{lines:?}");
        assert!(lines[1].ends_with("starts in 1 s"), "{lines:?}");
    }

    #[test]
    fn a_program_that_accepts_by_itself_is_told_where_its_sockets_are() {
        let told = vec!["127.0.0.1:8000".parse().unwrap()];
        let mut report = Report::new("python3 x.py".into(), 1, told).shared(true);
        let lines = lines(&mut report, &[fork(1), exit(1, ExitStatus::Code(1), false, true)]);
        assert!(lines[0].contains("code 1 after 40 ms; its successor"), "{lines:?}");
        assert!(lines[0].contains("127.0.0.1:8000 is descriptor 3"), "{lines:?}");
    }

    #[test]
    fn another_trouble_of_the_same_kind_is_said() {
        let mut report = Report::new("node x".into(), 4, Vec::new());
        let events = [80, 81, 80, 0, 0].map(|port| {
            let unix = Address::Unix("/x".to_owned());
            let (address, errno) =
                if port == 0 { (unix, 13) } else { (Address::Tcp { host: None, port }, 98) };
            let trouble = Trouble::ListenFailed { address, errno };
            Event::Trouble { worker: WorkerId(1), trouble }
        });
        let lines = lines(&mut report, &events);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].contains("*:80") && lines[0].contains("ss -ltnp"), "{lines:?}");
        assert!(lines[1].contains("*:81") && !lines[1].contains('\n'), "{lines:?}");
        assert!(lines[2].contains("unix:/x") && lines[2].contains("that directory"), "{lines:?}");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_nothing_is_lost_by_that() {
        let mut report = Report::new("node x".into(), 1, Vec::new());
        let broke = |why: usize| {
            let trouble = Trouble::BrokeProtocol { why: why.to_string() };
            Event::Trouble { worker: WorkerId(1), trouble }
        };
        let events: Vec<_> = (0..1000).map(broke).collect();
        assert_eq!(lines(&mut report, &events).len(), 1000);
        assert_eq!(report.said.len(), REMEMBERED);
    }

    #[test]
    fn who_tells_of_connections_is_for_those_who_ask_unless_it_is_nobody() {
        let mut report = Report::new("node x".into(), 2, Vec::new());
        let event = |source| Event::LoadSource { worker: WorkerId(1), source };
        for (source, text) in [
            (LoadSource::Reports, "itself"),
            (LoadSource::Script, "by the script"),
            (LoadSource::Kernel, "the kernel does"),
        ] {
            let event = event(source);
            let line = report.line(&event);
            assert_eq!(line.level, Debug);
            assert!(line.text.to_string().contains(text), "{}", line.text);
        }
        let nobody = || event(LoadSource::None);
        let [line] = &lines(&mut report, &[nobody(), nobody()])[..] else { panic!("once") };
        assert!(line.starts_with("WARN: worker 1 does not tell the ends of its connections"), "{line}");
    }

    #[test]
    fn in_the_shared_mode_nobody_needs_to_speak() {
        let end = |code, seconds| Event::Exit {
            worker: WorkerId(1),
            status: ExitStatus::Code(code),
            exited_after_disconnect: false,
            lived: Duration::from_secs(seconds),
            restart: None,
        };
        for (code, seconds, level, advice) in [
            (0, 60, Info, ""),
            (1, 60, Warn, ""),
            (0, 1, Warn, "\na worker is to listen and to stay"),
            (1, 1, Warn, "\nits own output may say why"),
        ] {
            let mut report = Report::new("puma".into(), 1, Vec::new()).shared(true);
            report.line(&fork(1));
            let event = end(code, seconds);
            let line = report.line(&event);
            let text = line.text.to_string();
            assert_eq!((line.level, text.contains('\n')), (level, !advice.is_empty()), "{text}");
            assert!(text.contains(advice) && !text.contains("before it listened"), "{text}");
        }
    }

    #[test]
    fn in_the_shared_mode_nobody_is_lectured_for_being_killed() {
        for shared in [true, false] {
            let mut report = Report::new("puma".into(), 1, Vec::new()).shared(shared);
            let lines = lines(&mut report, &[fork(1), exit(1, ExitStatus::Signal(9), false, true)]);
            assert!(lines[0].contains("was killed by SIGKILL"), "{lines:?}");
            assert_eq!(lines[0].contains('\n'), !shared, "{lines:?}");
        }
    }

    #[test]
    fn a_message_is_not_printed_to_be_thrown_away() {
        let mut report = Report::new("node x".into(), 1, Vec::new());
        report.line(&fork(1));
        let message = serde_json::json!({ "a": [1] });
        let event = Event::Message { worker: WorkerId(1), message: message.clone() };
        let line = report.line(&event);
        assert!(matches!(line.text, Text::Sent(_, sent) if *sent == message), "{line:?}");
        assert_eq!(line.text.to_string(), "worker 1 (pid 101) sent {\"a\":[1]}");
    }

    #[test]
    fn the_same_trouble_of_all_first_workers_is_said_once() {
        let mut report = Report::new("python3 x.py".into(), 3, Vec::new());
        let lines = lines(
            &mut report,
            &[fork(1), fork(2), fork(3), silent(1), silent(2), silent(3), fork(4), silent(4)],
        );
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("-m multiport") && lines[0].contains("not said again"), "{lines:?}");
        assert!(
            lines[1].starts_with("WARN: worker 4 (pid 104) has said nothing") && !lines[1].contains('\n')
        );
    }

    #[test]
    fn what_comes_ten_times_a_second_is_not_told_each_time() {
        let mut report = Report::new("node x".into(), 1, Vec::new());
        let endpoint: Endpoint = "127.0.0.1:1".parse().unwrap();
        let failed = || Event::AcceptFailed {
            endpoint: endpoint.clone(),
            errno: 24,
            pause: Duration::from_millis(100),
        };
        let lines = lines(&mut report, &(0..1000).map(|_| failed()).collect::<Vec<_>>());
        assert_eq!(lines.len(), 10);
        assert!(lines[0].contains("ulimit -n"), "{lines:?}");
    }

    #[test]
    fn stopping_says_who_may_still_work() {
        let seconds = Some(Duration::from_secs(30));
        for (workers, timeout, expected) in [
            (0, seconds, "stopping: accepts nothing more"),
            (1, seconds, "stopping: accepts nothing more; 1 worker has 30 s to finish what is in flight"),
            (2, None, "stopping: accepts nothing more; 2 workers may finish what is in flight"),
        ] {
            let event = Event::Stopping { workers, timeout };
            let line = Report::new("node x".into(), 1, Vec::new()).line(&event);
            assert_eq!(line.text.to_string(), expected);
        }
    }

    #[test]
    fn events_of_workers_that_are_gone_are_named_all_the_same() {
        let mut report = Report::new("node x".into(), 1, Vec::new());
        for event in [
            listening(9),
            exit(9, ExitStatus::Code(0), false, true),
            silent(9),
            Event::Disconnect { worker: WorkerId(9) },
        ] {
            let text = report.line(&event).text.to_string();
            assert!(text.contains("worker 9"), "{text}");
        }
    }
}
