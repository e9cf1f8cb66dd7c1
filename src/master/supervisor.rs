//! The supervisor of this process, systemd or what speaks like it: told by `NOTIFY_SOCKET` what becomes of the cluster.
//!
//! What happens enters as the user's events and leaves as datagrams, at most a few in a turn, and none if nothing has
//! changed. Nobody here waits for the supervisor, nor minds if it is gone: what it has not taken is told again, as far as
//! it still holds, with the next change or after a pause.

use std::{collections::VecDeque, env, ffi::OsString, io, process, time::Duration};

use super::{Master, depends::Depends};
use crate::{
    fleet::{Event, Request},
    protocol::sd_notify::{Notice, datagram, watchdog_period},
    sys::datagram::Sender,
    time::Time,
};

const SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG: [&str; 2] = ["WATCHDOG_USEC", "WATCHDOG_PID"];

/// A supervisor that does not read is tried again after this.
const PAUSE: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Supervisor {
    socket: Sender,
    phase: Phase,
    /// What it is to be told of that, in this order: at most two, since an older reload is of no interest.
    untold: VecDeque<Phase>,
    /// The user was asked to reload, and has not begun yet.
    asked: bool,
    /// The last reload was refused, or has failed.
    reload_failed: bool,
    /// Workers that are wanted.
    wanted: usize,
    /// What is waited for before the first worker is started.
    waits_for: Option<String>,
    /// Something has happened that may be worth telling.
    changed: bool,
    /// The status as it is, and as it was told last.
    status: String,
    told: String,
    watchdog: Option<Watchdog>,
    /// It does not read; when to try again.
    again: Option<Time>,
    /// It could not be told, which is logged once.
    failed: bool,
}

/// Where the cluster stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Not all workers have been ready at once.
    Starting,
    Ready,
    Reloading {
        since: Time,
    },
    Stopping,
}

#[derive(Debug)]
struct Watchdog {
    period: Duration,
    due: Time,
}

/// The workers that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Count {
    ready: usize,
    all: usize,
    /// Slots that were given up.
    errored: usize,
    /// Lanes serve as well, or there are none, or nobody whom they could serve.
    lanes: bool,
}

impl Supervisor {
    /// The one that this process's environment names, if one is named. `wanted` is the number of workers that are to be
    /// ready before it is told that the service is.
    fn of_environment(now: Time, wanted: usize) -> Option<Self> {
        let socket = env::var_os(SOCKET).filter(|name| !name.is_empty())?;
        let [usec, pid] = WATCHDOG.map(|name| env::var_os(name).map(OsString::into_string));
        let text = |value: Option<Result<String, OsString>>| value.and_then(Result::ok);
        let period = watchdog_period(text(usec).as_deref(), text(pid).as_deref(), process::id());
        match Sender::to(&socket) {
            Ok(socket) => Some(Self::new(socket, wanted, period.map(|period| Watchdog { period, due: now }))),
            Err(error) => {
                log::warn!("{SOCKET}={}: {error}; nobody is told how the service is", socket.display());
                None
            }
        }
    }

    fn new(socket: Sender, wanted: usize, watchdog: Option<Watchdog>) -> Self {
        Self {
            socket,
            phase: Phase::Starting,
            untold: VecDeque::new(),
            asked: false,
            reload_failed: false,
            wanted,
            waits_for: None,
            // What happened before counts as well.
            changed: true,
            status: String::new(),
            told: String::new(),
            watchdog,
            again: None,
            failed: false,
        }
    }

    fn handle(&mut self, now: Time, event: &Event) {
        match event {
            Event::Scaled { to, .. } => self.wanted = *to,
            Event::WaitsFor { what } => self.waits_for = Some(what.clone()),
            Event::Found { .. } => self.waits_for = None,
            Event::Asked(Request::Reload(_)) => {
                self.asked = self.phase == Phase::Ready;
                self.reload(now);
            }
            // Told when it was asked for.
            Event::Reloading { .. } if self.asked => self.asked = false,
            Event::Reloading { .. } => self.reload(now),
            Event::Reloaded { .. } | Event::ReloadFailed { .. } => {
                self.reload_failed = matches!(event, Event::ReloadFailed { .. });
                self.end_reload();
            }
            Event::Stopping { .. } => self.enter(Phase::Stopping),
            Event::Fork { .. }
            | Event::Errored { .. }
            | Event::Ready { .. }
            | Event::Listening { .. }
            | Event::Draining { .. }
            | Event::Disconnect { .. }
            | Event::Exit { .. }
            | Event::OfLane { .. }
            | Event::Stopped => {}
            // No worker is more or less ready by it.
            _ => return,
        }
        self.changed = true;
    }

    /// Before it has started, a service cannot reload.
    fn reload(&mut self, now: Time) {
        if matches!(self.phase, Phase::Ready | Phase::Reloading { .. }) {
            self.enter(Phase::Reloading { since: now });
        }
    }

    fn end_reload(&mut self) {
        self.asked = false;
        if matches!(self.phase, Phase::Reloading { .. }) {
            self.enter(Phase::Ready);
        }
    }

    fn enter(&mut self, phase: Phase) {
        if self.phase == phase {
            return;
        }
        self.phase = phase;
        // That a reload is over says nothing to who has not heard of it.
        if phase != Phase::Ready {
            self.untold.clear();
        }
        self.untold.push_back(phase);
    }

    /// Whether there is something to be told now.
    fn is_due(&self, now: Time) -> bool {
        self.asked || self.deadline().is_some_and(|at| at <= now)
    }

    /// When there will be, if nothing happens.
    fn deadline(&self) -> Option<Time> {
        // What happened outside of a turn is told at once.
        let changed = self.changed.then(Time::default);
        let watchdog = self.watchdog.as_ref().map(|watchdog| watchdog.due);
        changed.into_iter().chain(self.again).chain(watchdog).min()
    }

    fn tell(&mut self, now: Time, count: Count) {
        if std::mem::take(&mut self.changed) {
            if self.phase == Phase::Starting && self.waits_for.is_none() && self.has_started(count) {
                self.enter(Phase::Ready);
            }
            self.status = self.describe(count);
        } else if self.again.is_some_and(|at| now < at) && !self.watchdog_is_due(now) {
            return;
        }
        self.again = None;
        match self.send_all(now) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.again = Some(now + PAUSE),
            Err(error) if !std::mem::replace(&mut self.failed, true) => {
                log::warn!("the supervisor of this process cannot be told how the service is: {error}");
            }
            Err(_) => {}
        }
    }

    /// Whoever can be ready is. Slots that are given up do not keep the others from serving, if there are others.
    fn has_started(&self, count: Count) -> bool {
        let some = count.ready > 0 || self.wanted == 0;
        some && count.lanes && count.ready + count.errored >= self.wanted
    }

    /// Sends what has not been told. The first error ends it.
    fn send_all(&mut self, now: Time) -> io::Result<()> {
        let mut alive = self.watchdog_is_due(now);
        if let Some(watchdog) = self.watchdog.as_mut().filter(|_| alive) {
            // One that is not heard now is not made up for: the next comes in time.
            watchdog.due = now + watchdog.period;
        }
        while !self.untold.is_empty() || self.status != self.told || alive {
            let phase = self.untold.front().and_then(|phase| phase.notice());
            let status = (self.status != self.told).then_some(Notice::Status(&self.status));
            let all: Vec<_> = phase.into_iter().chain(status).chain(alive.then_some(Notice::Alive)).collect();
            self.socket.send(datagram(&all).as_bytes())?;
            self.failed = false;
            self.untold.pop_front();
            self.told.clone_from(&self.status);
            alive = false;
        }
        Ok(())
    }

    fn watchdog_is_due(&self, now: Time) -> bool {
        self.watchdog.as_ref().is_some_and(|watchdog| watchdog.due <= now)
    }

    /// The status, for people.
    fn describe(&self, count: Count) -> String {
        let what = match (self.phase, &self.waits_for) {
            (Phase::Stopping, _) if count.all == 0 => return "stopped".into(),
            (Phase::Stopping, _) => return format!("stopping: {} left", workers(count.all)),
            (_, Some(what)) => return format!("waits for {what} before it starts workers"),
            (Phase::Reloading { .. }, None) => "reloading: ",
            (Phase::Starting | Phase::Ready, None) => "",
        };
        // In a reload there may be an old and a new one for the same place.
        let ready = count.ready.min(self.wanted);
        let given_up = match count.errored {
            0 => String::new(),
            count => format!(", {count} given up"),
        };
        let failed = match (self.phase, self.reload_failed) {
            (Phase::Ready, true) => "; the last reload was refused or has failed: see the log",
            _ => "",
        };
        format!("{what}{ready} of {} ready{given_up}{failed}", workers(self.wanted))
    }
}

fn workers(count: usize) -> String {
    format!("{count} worker{}", if count == 1 { "" } else { "s" })
}

impl Phase {
    fn notice(&self) -> Option<Notice<'static>> {
        match self {
            Self::Starting => None,
            Self::Ready => Some(Notice::Ready),
            Self::Reloading { since: Time(nanos) } => Some(Notice::Reloading { since_us: nanos / 1000 }),
            Self::Stopping => Some(Notice::Stopping),
        }
    }
}

impl Master {
    /// Tells whoever supervises this process from now on, if its environment names somebody.
    pub(crate) fn notify_supervisor(&mut self) {
        self.supervisor = Supervisor::of_environment(self.now, self.fleet.rules().workers);
        if let Some(supervisor) = &mut self.supervisor {
            supervisor.waits_for = self.depends.as_ref().and_then(Depends::waits_for);
        }
    }

    /// Something has happened that the user is to know.
    pub(super) fn happens(&mut self, event: Event) {
        if let Some(supervisor) = &mut self.supervisor {
            supervisor.handle(self.now, &event);
        }
        self.note_event(&event);
        if let Some(control) = &mut self.control {
            control.handle_event(&event);
        }
        self.happened.push_back(event);
    }

    /// When [`Master::tell_supervisor`] is to be called.
    pub(super) fn supervisor_deadline(&self) -> Option<Time> {
        let supervisor = self.supervisor.as_ref()?;
        // The user has taken the question, and has answered it or never will.
        let answered = (supervisor.asked && self.happened.is_empty()).then(Time::default);
        answered.into_iter().chain(supervisor.deadline()).min()
    }

    /// Tells the supervisor what there is to be told.
    pub(super) fn tell_supervisor(&mut self) {
        let Some(supervisor) = self.supervisor.as_mut().filter(|supervisor| supervisor.is_due(self.now))
        else {
            return;
        };
        // The user has taken the question by now, and does not reload.
        let is_asked = |event: &Event| matches!(event, Event::Asked(Request::Reload(_)));
        if supervisor.asked && !self.happened.iter().any(is_asked) {
            supervisor.reload_failed = true;
            supervisor.end_reload();
            supervisor.changed = true;
        }
        let lanes = self.lanes.as_ref().is_none_or(|lanes| !lanes.has_begun() || lanes.have_started());
        let mut count = Count { ready: 0, all: 0, errored: self.fleet.errored(), lanes };
        for worker in self.fleet.workers(self.now) {
            count.all += 1;
            count.ready += usize::from(worker.serving);
        }
        supervisor.tell(self.now, count);
    }
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
