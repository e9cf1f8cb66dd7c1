//! One front process with its workers: started, waited for, read, stopped.
//!
//! Whatever way a [`Front`] goes out of scope, its processes are gone afterwards.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::child::Running;
use super::proc::{self, CpuTime, Process};
use super::watch::{self, Watch};
use super::who::pid_of_a_worker;
use super::{Failure, Reload, Site, Subject};

/// A cold Node on a busy machine takes a second or two.
const START_LIMIT: Duration = Duration::from_secs(30);
/// No load is left when a front is stopped.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// The last lines a front said say why it failed.
const TAIL_LINES: usize = 12;

/// A running front.
#[derive(Debug)]
pub(crate) struct Front {
    /// Also its working state: output and whatever it puts into its runtime directory.
    directory: TempDir,
    site: Site,
    child: Child,
    process: Process,
    stop: Signal,
    reload: Reload,
    /// How many workers it should have.
    count: usize,
    helpers: Vec<Process>,
    /// Helpers that the subject should have and has not.
    missing: Vec<&'static str>,
    workers: Vec<Process>,
}

impl Front {
    /// Starts it on a fresh port; returns when every worker has answered.
    pub(crate) fn start(watch: &Watch, node: &Path, subject: &Subject) -> Result<Self, Failure> {
        let directory = tempfile::tempdir().map_err(|error| cannot("make a directory", &error))?;
        let site = Site {
            node: node.to_owned(),
            port: fresh_port().map_err(|error| cannot("find a free port", &error))?,
            runtime_dir: directory.path().to_owned(),
        };
        let mut front = Self::spawn(site, subject, directory)?;
        front.wait_for_workers(watch, subject).map_err(|failure| front.explain(failure))?;
        front.find_helpers(subject);
        Ok(front)
    }

    fn spawn(site: Site, subject: &Subject, directory: TempDir) -> Result<Self, Failure> {
        let output =
            File::create(output_of(&directory)).map_err(|error| cannot("keep its output", &error))?;
        let errors = output.try_clone().map_err(|error| cannot("keep its output", &error))?;
        let mut command = (subject.start)(&site);
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        watch::bind_to_runner(&mut command);
        let program = command.get_program().display().to_string();
        let mut child = command.spawn().map_err(|error| cannot(&format!("start {program}"), &error))?;
        let process = i32::try_from(child.id()).ok().and_then(Process::find);
        let Some(process) = process else {
            // Not waited for, so it is there even if it has ended; only a /proc that is not mounted leads here.
            let _ = child.kill();
            let _ = child.wait();
            return Err(Failure::because("cannot read /proc"));
        };
        let (helpers, missing, workers) = (vec![], vec![], vec![]);
        let &Subject { stop, reload, workers: count, .. } = subject;
        Ok(Self { directory, site, child, process, stop, reload, count, helpers, missing, workers })
    }

    fn wait_for_workers(&mut self, watch: &Watch, subject: &Subject) -> Result<(), Failure> {
        let address = self.address();
        let what = format!("all {} workers of {} answer", subject.workers, subject.title);
        watch.until(START_LIMIT, &what, || {
            if let Some(status) =
                self.child.try_wait().map_err(|error| cannot("wait for the front", &error))?
            {
                return Err(Failure::because(format!("{} ended at once: {status}", subject.title)));
            }
            if !proc::is_listening(address.port()) {
                return Ok(None);
            }
            let Some(worker) = pid_of_a_worker(address, subject.who).ok().and_then(Process::find) else {
                return Ok(None);
            };
            if !worker.descends_from(self.process.pid) {
                return Err(Failure::because(format!("{address} is served by somebody else")));
            }
            if !self.workers.contains(&worker) {
                self.workers.push(worker);
            }
            Ok((self.workers.len() >= subject.workers).then_some(()))
        })
    }

    fn find_helpers(&mut self, subject: &Subject) {
        let named: Vec<(Process, String)> =
            self.children().into_iter().filter_map(|child| Some((child, proc::argv0(child.pid)?))).collect();
        for name in subject.helpers {
            let found = self.helpers.len();
            self.helpers.extend(named.iter().filter(|(_, word)| word == name).map(|(child, _)| *child));
            if self.helpers.len() == found {
                self.missing.push(name);
            }
        }
    }

    fn children(&self) -> Vec<Process> {
        proc::children(self.process.pid).into_iter().filter_map(Process::find).collect()
    }

    /// Asks it to stop, makes sure, and tells what did not go of itself.
    pub(crate) fn stop(mut self) -> Vec<String> {
        self.halt(STOP_LIMIT)
    }

    /// Idempotent. Waits once for the front and once for the rest.
    fn halt(&mut self, limit: Duration) -> Vec<String> {
        let mut remarks = Vec::new();
        // Workers that never answered, and successors of those that did, are among the children.
        let mut rest = self.children();
        rest.extend(self.workers.drain(..).chain(self.helpers.drain(..)));
        // Whoever left the family still has its environment.
        rest.extend(proc::with_environment(&format!("XDG_RUNTIME_DIR={}", self.directory.path().display())));
        rest.retain(|process| *process != self.process);
        // An error here is that of a child which has been waited for: it has ended.
        let ended = |child: &mut Child| child.try_wait().map_or(Some(()), |status| status.map(drop));
        if ended(&mut self.child).is_none() {
            // It is our child and not waited for, so the number is still its own.
            let _ = signal::kill(Pid::from_raw(self.process.pid), self.stop);
            if watch::poll(limit, || ended(&mut self.child)).is_none() {
                remarks.push(format!("the front did not stop within {limit:?} of {}", self.stop));
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
        let gone = watch::poll(limit, || {
            rest.retain(Process::is_alive);
            rest.is_empty().then_some(())
        });
        if gone.is_none() {
            rest.sort_by_key(|process| process.pid);
            rest.dedup();
            remarks.push(format!("{} of its processes outlived the front", rest.len()));
            for process in rest.iter().filter(|process| process.is_alive()) {
                let _ = signal::kill(Pid::from_raw(process.pid), Signal::SIGKILL);
            }
        }
        remarks
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.site.address()
    }

    /// Has it replace its workers; returns the command that does, if it takes one. When it is done, workers tell.
    pub(crate) fn reload(&self) -> Result<Option<Running>, Failure> {
        match self.reload {
            Reload::Never => Err(Failure::because("nobody has said how this front reloads")),
            Reload::Signal(signal) => {
                // It is our child and not waited for, so the number is still its own.
                let sent = signal::kill(Pid::from_raw(self.process.pid), signal);
                sent.map_err(|errno| cannot("signal the front", &errno.into()))?;
                Ok(None)
            }
            Reload::Command(command) => {
                let mut command = command(&self.site);
                let output = File::options().append(true).open(output_of(&self.directory));
                let output = output.map_err(|error| cannot("keep its output", &error))?;
                let errors = output.try_clone().map_err(|error| cannot("keep its output", &error))?;
                command.stdin(Stdio::null()).stdout(output).stderr(errors);
                Running::start(command).map(Some)
            }
        }
    }

    /// How many workers it should have.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The children that are no helpers: workers, whether they answer or not.
    pub(crate) fn workers(&self) -> Vec<Process> {
        let mut children = self.children();
        children.retain(|child| child.is_alive() && !self.helpers.contains(child));
        children
    }

    /// CPU time so far of the front and its helpers.
    pub(crate) fn cpu(&self) -> Result<CpuTime, Failure> {
        if !self.process.is_alive() {
            return Err(Failure::because("the front ended under load"));
        }
        let time = CpuTime::read([&self.process].into_iter().chain(&self.helpers).map(|process| process.pid));
        if time.is_empty() {
            Err(Failure::because("this kernel has no /proc/PID/schedstat"))
        } else {
            Ok(time)
        }
    }

    /// In units of 10^6 bytes.
    pub(crate) fn rss_mb(&self) -> Result<f64, Failure> {
        proc::rss_bytes(self.process.pid)
            .map(megabytes)
            .ok_or_else(|| Failure::because("the front ended under load"))
    }

    /// The same of its helpers together; `None` if it has none.
    pub(crate) fn helper_rss_mb(&self) -> Option<f64> {
        let sizes: Vec<u64> = self.helpers.iter().filter_map(|helper| proc::rss_bytes(helper.pid)).collect();
        (!sizes.is_empty()).then(|| megabytes(sizes.iter().sum()))
    }

    /// Whether those that were there at the start still are.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let lost = |processes: &[Process]| processes.iter().filter(|process| !process.is_alive()).count();
        let counts = [(lost(&self.workers), "worker"), (lost(&self.helpers), "helper")];
        let dead = counts.into_iter().filter(|(count, _)| *count > 0);
        dead.map(|(count, what)| format!("{count} {what}(s) died under load"))
            .chain(self.missing.iter().map(|name| format!("no child named {name} was seen")))
            .collect()
    }

    /// Adds to a failure what the front last said.
    pub(crate) fn explain(&self, failure: Failure) -> Failure {
        let Failure::Measure(text) = failure else { return failure };
        let bytes = fs::read(output_of(&self.directory)).unwrap_or_default();
        let said = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = said.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        if tail.is_empty() {
            return Failure::Measure(format!("{text}; the front said nothing"));
        }
        Failure::Measure(format!("{text}; the front said:\n  {}", tail.join("\n  ")))
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.halt(STOP_LIMIT);
    }
}

fn output_of(directory: &TempDir) -> std::path::PathBuf {
    directory.path().join("output")
}

/// The number is free when this returns; the front takes it a moment later.
fn fresh_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[allow(clippy::cast_precision_loss, reason = "no process has 2^52 bytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn cannot(what: &str, error: &io::Error) -> Failure {
    Failure::because(format!("cannot {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::process::Command;

    fn shell(start: fn(&Site) -> Command) -> Subject {
        Subject {
            name: "sh",
            title: "Shell",
            helpers: &["idler"],
            workers: 1,
            who: "/",
            stop: Signal::SIGTERM,
            start,
            reload: Reload::Never,
        }
    }

    fn spawn(start: fn(&Site) -> Command) -> Front {
        let directory = tempfile::tempdir().unwrap();
        let site = Site { node: "node".into(), port: 1, runtime_dir: directory.path().to_owned() };
        Front::spawn(site, &shell(start), directory).unwrap()
    }

    #[test]
    fn a_front_that_ends_at_once_is_quoted() {
        let subject = shell(|site| {
            let mut command = site.command(Path::new("/bin/sh"));
            command.args(["-c", "echo no room at the inn >&2; exit 3"]);
            command
        });
        let failure = Front::start(&Watch::idle(), Path::new("node"), &subject).unwrap_err().to_string();
        assert!(failure.contains("Shell ended at once: exit status: 3"), "{failure}");
        assert!(failure.contains("no room at the inn"), "{failure}");
    }

    #[test]
    fn what_a_front_leaves_behind_is_killed_and_told() {
        let mut front = spawn(|site| {
            let mut command = site.command(Path::new("/bin/sh"));
            command.args(["-c", "sleep 600 & wait"]);
            command
        });
        let find = || proc::children(front.process.pid).first().copied().and_then(Process::find);
        let orphan = watch::poll(START_LIMIT, find).unwrap();
        let shell = front.process;
        assert!(shell.is_alive() && orphan.descends_from(shell.pid));
        // TERM ends the shell alone, so this waits out the limit and then kills what it left behind.
        assert_eq!(front.halt(Duration::from_millis(50)), ["1 of its processes outlived the front"]);
        assert!(
            watch::poll(STOP_LIMIT, || (!orphan.is_alive() && !shell.is_alive()).then_some(())).is_some()
        );
    }

    #[test]
    fn who_left_the_family_is_found_too() {
        let mut front = spawn(|site| {
            let mut command = site.command(Path::new("/bin/sh"));
            command.args(["-c", "(sleep 601 & echo $! >$XDG_RUNTIME_DIR/pid); exec sleep 600"]);
            command
        });
        let file = front.directory.path().join("pid");
        let find = || Process::find(fs::read_to_string(&file).ok()?.trim().parse().ok()?);
        let stray = watch::poll(START_LIMIT, find).unwrap();
        let has_left = || (!stray.descends_from(front.process.pid)).then_some(());
        watch::poll(START_LIMIT, has_left).unwrap();
        assert_eq!(front.halt(Duration::from_millis(50)), ["1 of its processes outlived the front"]);
        assert!(watch::poll(STOP_LIMIT, || (!stray.is_alive()).then_some(())).is_some());
    }

    #[test]
    fn a_front_ends_with_its_value() {
        let front = spawn(|site| {
            let mut command = site.command(Path::new("/bin/sleep"));
            command.arg("600");
            command
        });
        let process = front.process;
        assert!(process.is_alive());
        drop(front);
        assert!(!process.is_alive());
    }

    #[test]
    fn somebody_elses_server_is_not_taken_for_a_worker() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut front = spawn(|site| {
            let mut command = site.command(Path::new("/bin/sleep"));
            command.arg("600");
            command
        });
        front.site.port = listener.local_addr().unwrap().port();
        let stranger = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let _ = stream.read(&mut request).unwrap();
            write!(stream, "HTTP/1.1 200 OK\r\n\r\n{}", std::process::id()).unwrap();
        });
        let subject = shell(|site| site.command(Path::new("unused")));
        let failure = front.wait_for_workers(&Watch::idle(), &subject).unwrap_err().to_string();
        stranger.join().unwrap();
        assert!(failure.contains("somebody else"), "{failure}");
        assert!(front.stop().is_empty());
    }
}
