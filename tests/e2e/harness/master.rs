//! A running master: what it can be asked, and the checks at its end.

use std::{
    collections::BTreeMap,
    fs, io, iter,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ExitStatus, Output},
    time::Duration,
};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::{
    Client, Control, Place, Pointsman, Process, Response, eventually, eventually_some,
    log::{Log, is_trouble},
    pointsman::Started,
    process::CONNECTION,
    wait::wait_for,
};

/// Longer than the time that a master gives its workers by default.
const LONGEST_STOP: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Master {
    child: Child,
    process: Process,
    marker: String,
    command: String,
    directory: TempDir,
    stdout: Log,
    stderr: Option<Log>,
    fixed_place: Option<Place>,
    expected: Vec<String>,
    allowed: Vec<String>,
    /// What the master had open when it was first ready and had no connection.
    descriptors: Option<Vec<String>>,
    exit: Option<ExitStatus>,
    is_finished: bool,
}

impl Master {
    pub(super) fn new(mut builder: Pointsman, started: Started) -> Self {
        let Started { mut child, marker, directory, command } = started;
        let terminal = builder.terminal.take().map(Log::collect);
        Self {
            process: Process::find(child.id()).unwrap(),
            stdout: Log::collect(child.stdout.take().unwrap()),
            stderr: child.stderr.take().map(Log::collect).or(terminal),
            child,
            marker,
            command,
            directory,
            fixed_place: builder.fixed_place(),
            expected: builder.expected,
            allowed: builder.allowed,
            descriptors: None,
            exit: None,
            is_finished: false,
        }
    }

    /// Waits until `count` workers answer, and returns the answer of each by its pid. What the master has open the
    /// first time is what it may have open when it is told to stop, whatever became of its workers meanwhile.
    #[track_caller]
    pub(crate) fn wait_ready(&mut self, count: usize) -> BTreeMap<u32, Response> {
        let place = self.place();
        let mut answers = BTreeMap::new();
        eventually(&format!("{count} workers answer"), || {
            assert!(self.process.is_alive(), "the master has ended");
            if let Ok(answer) = place.connect().and_then(|mut client| client.get("/"))
                // Until one listens, nobody has room.
                && answer.status != 503
            {
                answers.insert(answer.pid(), answer);
            }
            answers.retain(|&pid, _| Process::find(pid).is_some_and(Process::is_alive));
            answers.len() == count
        });
        if self.descriptors.is_none() {
            let mut descriptors = self.process.descriptors();
            // The last connection may still be in its hand.
            descriptors.retain(|kind| kind != CONNECTION);
            self.descriptors = Some(descriptors);
        }
        answers
    }

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let exit = wait_for(LONGEST_STOP, || self.child.try_wait().unwrap());
        self.exit = exit;
        exit.unwrap_or_else(|| panic!("the master has not ended within {LONGEST_STOP:?}"))
    }

    /// Stops the master unless it has ended, and looks for all that a healthy run does not leave behind.
    #[track_caller]
    pub(crate) fn finish(mut self) {
        if self.exit.is_none() {
            self.check_descriptors();
            let master = self.pid();
            let has_zombie = || Process::children_of(master).into_iter().any(Process::is_zombie);
            eventually("the master reaps its children", || !has_zombie());
            self.signal(Signal::SIGTERM);
            let exit = self.wait_exit();
            assert_eq!(exit.code(), Some(0), "{exit}");
        }
        self.check_processes();
        self.check_files();
        self.check_log();
        self.is_finished = true;
    }

    /// Waits for the end of a command that ends by itself; its log is the caller's business.
    #[track_caller]
    pub(super) fn output(mut self) -> Output {
        let status = self.wait_exit();
        self.check_processes();
        let logs = || iter::once(&self.stdout).chain(&self.stderr);
        eventually("nobody holds its output", || logs().all(Log::has_ended));
        self.is_finished = true;
        let text = |log: &Log| log.lines().join("\n").into_bytes();
        Output {
            status,
            stdout: text(&self.stdout),
            stderr: self.stderr.as_ref().map(text).unwrap_or_default(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where it is told to listen, or says that it does.
    #[track_caller]
    pub(crate) fn place(&self) -> Place {
        self.fixed_place.clone().unwrap_or_else(|| self.said_address().into())
    }

    /// Where it listens by TCP.
    #[track_caller]
    pub(crate) fn address(&self) -> SocketAddr {
        match self.place() {
            Place::Tcp(address) => address,
            Place::Unix(path) => panic!("{} is no TCP address", path.display()),
        }
    }

    #[track_caller]
    fn said_address(&self) -> SocketAddr {
        let log = self.log();
        eventually_some("the master says where it listens", || {
            assert!(self.process.is_alive(), "the master has ended");
            log.lines().iter().find_map(|line| address_in(line))
        })
    }

    #[track_caller]
    pub(crate) fn connect(&self) -> Client {
        self.try_connect().unwrap()
    }

    #[track_caller]
    pub(crate) fn try_connect(&self) -> io::Result<Client> {
        self.place().connect()
    }

    /// Asks for this on a connection of its own.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Response {
        self.connect().get(path).unwrap()
    }

    /// What it writes to standard error.
    pub(crate) fn log(&self) -> &Log {
        self.stderr.as_ref().expect("this test has taken the log away")
    }

    /// Whether it, or a worker, has written a line with `text` to standard output.
    pub(crate) fn printed(&self, text: &str) -> bool {
        self.stdout.has(text)
    }

    /// Waits for a line with this text.
    #[track_caller]
    pub(crate) fn wait_log(&self, text: &str) -> String {
        let line = || self.log().lines().into_iter().find(|line| line.contains(text));
        eventually_some(&format!("a line of the log with {text:?}"), line)
    }

    /// The directories that it has made in its runtime directory.
    pub(crate) fn runtime_files(&self) -> Vec<PathBuf> {
        let entries = self.directory.path().read_dir().unwrap().map(|entry| entry.unwrap());
        let is_ours = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("pointsman-");
        entries.filter(is_ours).map(|entry| entry.path()).collect()
    }

    /// Its control socket, if it was not told another.
    pub(crate) fn control_path(&self) -> PathBuf {
        self.directory.path().join("pointsman/default.sock")
    }

    /// A client of it.
    #[track_caller]
    pub(crate) fn control(&self) -> Control {
        Control::connect(&self.control_path())
    }

    /// The file of this name in one of these directories.
    pub(crate) fn runtime_file(&self, name: &str) -> Option<PathBuf> {
        let files = self.runtime_files().into_iter().map(|directory| directory.join(name));
        files.into_iter().find(|file| file.exists())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits until its loop has taken a turn: a hang-up that somebody sends is logged and does nothing else.
    #[track_caller]
    pub(crate) fn wait_turn(&self) {
        let count = || self.log().lines().iter().filter(|line| line.contains("SIGUSR2 is ignored")).count();
        let before = count();
        self.signal(Signal::SIGUSR2);
        eventually("the master takes a turn", || count() > before);
    }

    /// How many connections it holds.
    pub(crate) fn connections(&self) -> usize {
        self.process.connections()
    }

    pub(crate) fn process(&self) -> Process {
        self.process
    }

    /// Its workers: all children that are neither its guard nor on their way to becoming something.
    pub(crate) fn workers(&self) -> Vec<Process> {
        let mut children = Process::children_of(self.pid());
        let is_ours = |process: &Process| {
            let name = process.command_line().into_iter().next().unwrap_or_default();
            name.starts_with("pointsman-") || process.name() == "pointsman-guard"
        };
        children.retain(|child| child.is_alive() && !is_ours(child));
        children
    }

    /// Its lanes.
    pub(crate) fn lanes(&self) -> Vec<Process> {
        let mut children = Process::children_of(self.pid());
        let is_lane =
            |process: &Process| process.command_line().first().is_some_and(|name| name == "pointsman-lane");
        children.retain(|child| child.is_alive() && is_lane(child));
        children
    }

    /// Waits until it has as many lanes, and returns the first.
    #[track_caller]
    pub(crate) fn lane(&self, count: usize) -> Process {
        eventually_some(&format!("it has {count} lanes"), || {
            let lanes = self.lanes();
            (lanes.len() == count).then(|| lanes[0])
        })
    }

    /// Waits for its guard.
    #[track_caller]
    pub(crate) fn guard(&self) -> Process {
        let is_guard = |process: &Process| process.is_alive() && process.name() == "pointsman-guard";
        eventually_some("the master has a guard", || {
            Process::children_of(self.pid()).into_iter().find(is_guard)
        })
    }

    /// Everything that descends from it and is alive, itself included.
    pub(crate) fn tree(&self) -> Vec<Process> {
        Process::marked(&self.marker).into_iter().filter(|process| process.is_alive()).collect()
    }

    #[track_caller]
    fn check_descriptors(&self) {
        let Some(before) = &self.descriptors else { return };
        let mut now = Vec::new();
        let is_back = wait_for(Duration::from_secs(10), || {
            now = self.process.descriptors();
            (now == *before).then_some(())
        });
        assert!(is_back.is_some(), "descriptors have leaked, or were lost: {before:#?} became {now:#?}");
    }

    #[track_caller]
    fn check_processes(&self) {
        let mut left = Vec::new();
        let gone = wait_for(Duration::from_secs(10), || {
            left = self.tree();
            left.is_empty().then_some(())
        });
        let names: Vec<_> = left.iter().map(|process| (process.pid(), process.command_line())).collect();
        assert!(gone.is_some(), "processes are left: {names:?}");
    }

    /// Nothing of what it had written to its runtime directory.
    #[track_caller]
    fn check_files(&self) {
        let left = self.runtime_files();
        assert!(left.is_empty(), "files are left: {left:?}");
    }

    #[track_caller]
    fn check_log(&self) {
        let Some(log) = &self.stderr else { return };
        eventually("nobody holds the master's standard error", || log.has_ended());
        let lines = log.lines();
        let is_known = |line: &&String| {
            !self.expected.iter().chain(&self.allowed).any(|text| line.contains(text.as_str()))
        };
        let bad: Vec<_> = lines.iter().filter(|line| is_trouble(line)).filter(is_known).collect();
        assert!(bad.is_empty(), "the log is not clean: {bad:#?}");
        for text in &self.expected {
            assert!(lines.iter().any(|line| line.contains(text.as_str())), "not in the log: {text:?}");
        }
    }
}

impl Drop for Master {
    /// After a failed test: ends what is left, and shows the log.
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        wait_for(Duration::from_secs(10), || {
            let left = self.tree();
            left.iter().for_each(|process| process.signal(Signal::SIGKILL));
            left.is_empty().then_some(())
        });
        // It was killed above, or has ended before; only its status is left to be collected.
        let _ = self.child.wait();
        let log = self.stderr.as_ref().map(Log::lines).unwrap_or_default();
        eprintln!("--- {}\n{}\n{}---", self.command, log.join("\n"), self.stdout.lines().join("\n"));
    }
}

/// The address after `http://` in a line.
fn address_in(line: &str) -> Option<SocketAddr> {
    let rest = line.split_once("http://")?.1;
    let end = rest.find(|c: char| !(c.is_ascii_hexdigit() || ".:[]".contains(c))).unwrap_or(rest.len());
    rest[..end].trim_end_matches(['.', ':']).parse().ok()
}
