//! What workers write: with real processes, and with this process's own standard streams led elsewhere.

use std::{
    env,
    fs::{self, File},
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::{
    pty::openpty,
    unistd::{dup2_stderr, dup2_stdout, geteuid},
};
use pointsman::{Account, Cluster, Error, Event, ExitStatus, Rotation, Settings, Sink, Stop, WorkerId};

use crate::{
    descriptors, now,
    outer::{Outer, children},
    pollable::settings,
};

const LONG: Duration = Duration::from_secs(3600);

/// Standard output and error as they were, to be put back.
struct Redirected([OwnedFd; 2]);

impl Redirected {
    fn to(stdout: impl AsFd, stderr: impl AsFd) -> Self {
        io::stdout().flush().unwrap();
        let saved = [
            io::stdout().as_fd().try_clone_to_owned().unwrap(),
            io::stderr().as_fd().try_clone_to_owned().unwrap(),
        ];
        dup2_stdout(stdout).unwrap();
        dup2_stderr(stderr).unwrap();
        Self(saved)
    }

    /// Standard output alone.
    fn stdout_to(stdout: impl AsFd) -> Self {
        Self::to(stdout, io::stderr())
    }
}

impl Drop for Redirected {
    fn drop(&mut self) {
        dup2_stdout(&self.0[0]).unwrap();
        dup2_stderr(&self.0[1]).unwrap();
    }
}

/// What comes out at the other end.
struct Seen {
    text: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Seen {
    /// Reads to the end; of what `is_noise` as much as one line is kept.
    fn read(mut from: impl Read + Send + 'static, noise: &'static str) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let seen = Arc::clone(&text);
        let reader = thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            // A terminal that nobody writes to any more is an error.
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                let new = String::from_utf8_lossy(&buffer[..count]);
                let mut text = seen.lock().unwrap();
                match noise {
                    "" => text.push_str(&new),
                    noise => *text = (text.clone() + &new).replace(noise, ""),
                }
            }
        });
        Self { text, reader }
    }

    fn has(&self, part: &str) -> bool {
        self.text.lock().unwrap().contains(part)
    }

    /// All of it, once nobody writes there any more.
    fn end(self) -> String {
        self.reader.join().unwrap();
        Arc::into_inner(self.text).unwrap().into_inner().unwrap()
    }
}

fn shell(script: &str) -> Settings {
    Settings::new("sh").args(["-c", script]).workers(1).restart_delay(LONG)
}

/// Workers of this program that do something besides.
fn besides(script: &str) -> Settings {
    let this = env::current_exe().unwrap();
    let script = format!("{script}\nexec \"$THIS\"");
    let settings = Settings::new("sh").args(["-c", &script]).env("THIS", this);
    settings.listen(crate::pollable::ANYWHERE.into()).workers(2)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

pub(crate) fn on_a_terminal_each_line_has_its_slot() {
    let pty = openpty(None, None).unwrap();
    let seen = Seen::read(File::from(pty.master), "");
    let redirected = Redirected::to(&pty.slave, &pty.slave);
    let script = "printf 'out\\n'; printf '\\033[1merr\\n' >&2; printf 'go on? '; exec sleep 1000";
    let mut outer = Outer::new(shell(script).workers(2).stdout(Sink::Prefix).stderr(Sink::Prefix));
    outer.until("prompts are shown", |_| seen.has("[0] go on? ") && seen.has("[1] go on? "));
    // Signals are not for it.
    let is_output = |task: &String| task.starts_with("Name:\toutput\n");
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let tasks: Vec<_> = tasks.map(|task| read(&task.unwrap().path().join("status"))).collect();
    drop((outer, redirected, pty.slave));
    let text = seen.end();
    for line in ["[0] out\r\n", "[0] \x1b[1merr\r\n", "[1] out\r\n", "[1] \x1b[1merr\r\n"] {
        assert!(text.contains(line), "{line:?} is not in {text:?}");
    }
    assert!(text.ends_with("go on? \r\n"), "{text:?}");
    let task = tasks.iter().find(|task| is_output(task)).unwrap();
    let blocked = task.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
    // All but KILL and STOP, which nobody can block, and those of the C library.
    assert_eq!(u64::from_str_radix(blocked, 16).unwrap() & 0x7fff_ffff, 0x7ffb_feff);
}

pub(crate) fn beside_one_that_writes_without_end_all_goes_on() {
    let (reader, writer) = io::pipe().unwrap();
    let seen = Seen::read(reader, "[0] y\n");
    let redirected = Redirected::stdout_to(&writer);
    drop(writer);
    let tick = "n=0; while :; do echo tick $n; n=$((n+1)); sleep 0.02; done";
    let script = format!("if [ $POINTSMAN_SLOT = 0 ]; then yes & else ({tick}) & fi");
    let mut outer = Outer::new(besides(&script).stdout(Sink::Prefix));
    outer.until_serving(2);
    for _ in 0..20 {
        outer.ask("pid").parse::<u32>().unwrap();
    }
    outer.until("the quiet one is heard", |_| seen.has("[1] tick 20\n"));
    drop((outer, redirected));
    let text = seen.end();
    let ticks = text.lines().filter_map(|line| line.strip_prefix("[1] tick ")?.parse::<u32>().ok());
    assert!(ticks.take(21).eq(0..=20), "{text}");
}

pub(crate) fn when_nobody_reads_its_output_it_serves_and_stops() {
    let (reader, writer) = io::pipe().unwrap();
    let redirected = Redirected::stdout_to(&writer);
    drop(writer);
    let settings = besides("yes &").stdout(Sink::Prefix).stop_timeout(Duration::from_secs(5));
    let mut outer = Outer::new(settings);
    outer.until_serving(2);
    for _ in 0..20 {
        outer.ask("pid").parse::<u32>().unwrap();
    }
    outer.cluster.stop(Stop::Graceful);
    outer.until("it has stopped", |outer| outer.cluster.is_stopped());
    let start = now();
    drop(outer);
    let took = start.elapsed();
    drop(redirected);
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(10), "{took:?}");
    drop(reader);
}

pub(crate) fn output_that_nobody_can_read_is_told_of_and_ends_no_worker() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let redirected = Redirected::stdout_to(&writer);
    drop(writer);
    let mut outer = Outer::new(besides("yes &").stdout(Sink::Prefix));
    outer.until_serving(2);
    let told = |event: &&Event| matches!(event, Event::OutputFailed { sink, errno: 32 } if sink == "standard output");
    outer.until("it is told", |outer| outer.seen.iter().any(|event| told(&event)));
    let pids: Vec<_> = outer.cluster.workers().map(|worker| worker.pid).collect();
    for _ in 0..10 {
        assert!(pids.contains(&outer.ask("pid").parse().unwrap()));
    }
    assert_eq!(outer.seen.iter().filter(told).count(), 1);
    drop((outer, redirected));
}

pub(crate) fn files_hold_all_lines_and_older_ones_are_kept() {
    const LINES: u32 = 20_000;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let settings = shell(&format!("seq 1 {LINES}; echo done >&2; exec sleep 1000"))
        .workers(2)
        .stdout(Sink::File(path("out")))
        .stderr(Sink::File(path("err-{slot}")))
        .rotation(Rotation { max_bytes: Some(30_000), keep: 100 });
    let mut outer = Outer::new(settings);
    let done = |slot: u32| read(&path(&format!("err-{slot}"))) == "done\n";
    outer.until("all is written", |_| done(0) && done(1));
    drop(outer);
    let count = (1..).take_while(|number| path(&format!("out.{number}")).exists()).count();
    let names = (1..=count).rev().map(|number| format!("out.{number}")).chain(["out".to_owned()]);
    let text: String = names.map(|name| read(&path(&name))).collect();
    assert!(count > 5, "{count}");
    for slot in 0..2 {
        let prefix = format!("[{slot}] ");
        let numbers = text.lines().filter_map(|line| line.strip_prefix(&prefix)?.parse::<u32>().ok());
        assert!(numbers.eq(1..=LINES), "of slot {slot}");
    }
}

pub(crate) fn a_file_that_was_moved_away_begins_anew_when_asked() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let script = "n=0; while :; do echo $n; n=$((n+1)); sleep 0.01; done";
    let mut outer = Outer::new(shell(script).stdout(Sink::File(path("{slot}.log"))));
    let log = path("0.log");
    outer.until("there are lines", |_| read(&log).lines().count() > 3);
    fs::rename(&log, path("old")).unwrap();
    outer.cluster.reopen_output();
    outer.until("there are new lines", |_| read(&log).lines().count() > 3);
    drop(outer);
    let text = read(&path("old")) + &read(&log);
    let numbers: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.iter().copied().eq(0..u32::try_from(numbers.len()).unwrap()), "{numbers:?}");
}

fn last_words(outer: &Outer, id: u32) -> Option<(&[String], bool)> {
    outer.seen.iter().find_map(|event| match event {
        Event::LastWords { worker: WorkerId(number), lines, shown } if *number == id => {
            Some((&lines[..], *shown))
        }
        _ => None,
    })
}

pub(crate) fn a_crash_comes_with_the_last_words() {
    let directory = tempfile::tempdir().unwrap();
    let file = || Sink::File(directory.path().join("log"));
    let null = File::options().write(true).open("/dev/null").unwrap();
    for (sink, shown) in [(file(), false), (Sink::Prefix, true)] {
        let redirected = Redirected::to(&null, &null);
        // What is still there afterwards holds the pipe, and is not waited for; in its own session it is not ended.
        let script = "echo out; setsid sleep 1 & for n in 1 2 3; do echo boom $n >&2; done; exit 3";
        let mut outer = Outer::new(shell(script).stdout(sink.clone()).stderr(sink));
        outer.until("there are last words", |outer| last_words(outer, 1).is_some());
        let exit = |event: &Event| {
            matches!(event, Event::Exit { worker: WorkerId(1), status: ExitStatus::Code(3), .. })
        };
        assert!(outer.seen.iter().any(exit), "{:?}", outer.seen);
        let words = last_words(&outer, 1).map(|(lines, shown)| (lines.join(","), shown));
        assert_eq!(words, Some(("boom 1,boom 2,boom 3".into(), shown)));
        drop((outer, redirected));
    }
}

pub(crate) fn who_leaves_as_told_has_no_last_words() {
    let directory = tempfile::tempdir().unwrap();
    let sink = || Sink::File(directory.path().join("log"));
    for (script, ends) in
        [("echo bye >&2", false), ("trap 'echo bye >&2; exit 5' TERM; while :; do sleep 0.01; done", true)]
    {
        let mut outer = Outer::new(shell(script).stdout(sink()).stderr(sink()));
        if ends {
            outer.until("it runs", |outer| outer.cluster.workers().count() == 1);
            outer.cluster.stop(Stop::Graceful);
        }
        outer.until("it has ended", |outer| outer.words(WorkerId(1)).contains(&"exit"));
        let before = now();
        outer.until("there would be last words", |_| before.elapsed() > Duration::from_millis(400));
        assert_eq!(last_words(&outer, 1), None, "{script}");
    }
}

pub(crate) fn a_file_that_cannot_be_opened_starts_nothing() {
    let settings = settings().workers(2).stderr(Sink::File("/no/such/{slot}.log".into()));
    let error = Cluster::new(settings).unwrap_err();
    assert!(
        matches!(&error, Error::OutputFile { path, .. } if path == Path::new("/no/such/0.log")),
        "{error}"
    );
    let text = error.to_string();
    assert!(text.contains("/no/such/0.log: No such file") && text.contains("make the directory"), "{text}");
    assert_eq!(children(), []);
}

pub(crate) fn of_many_crashes_no_descriptor_is_left() {
    const CRASHES: usize = 150;
    let directory = tempfile::tempdir().unwrap();
    let sink = || Sink::File(directory.path().join("log"));
    let soon = Duration::from_millis(1);
    let settings = shell("echo boom >&2; exit 1").stdout(sink()).stderr(sink());
    let settings = settings.restart_delay(soon).restart_delay_max(soon).max_crashes(None, LONG);
    let mut outer = Outer::new(settings);
    let crashes =
        |outer: &Outer| outer.seen.iter().filter(|event| matches!(event, Event::LastWords { .. })).count();
    outer.until("some have crashed", |outer| crashes(outer) >= 10);
    let before = descriptors();
    outer.until("many have crashed", |outer| crashes(outer) >= CRASHES);
    // One more or less may be on its way to its end.
    assert!(descriptors() < before + 10, "{before} became {}", descriptors());
    drop(outer);
    let lines = read(&directory.path().join("log")).lines().filter(|line| *line == "[0] boom").count();
    assert!(lines >= CRASHES, "{lines}");
}

pub(crate) fn a_worker_of_another_user_can_open_its_output_by_name() {
    if !geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let script = "echo one > /dev/stderr; exec sleep 1000";
    let settings =
        shell(script).user(Account::find("nobody", None).unwrap()).stderr(Sink::File(path.clone()));
    let mut outer = Outer::new(settings);
    outer.until("it has written", |_| read(&path) == "[0] one\n");
}
