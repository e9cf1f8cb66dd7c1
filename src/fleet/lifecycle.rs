//! The life of one worker process: states, events, and what is to be done about them.
//!
//! Events and the time enter, at most one [`Action`] leaves. Every state answers every event; one that comes late or
//! twice is named and ignored. This file does not know slots, siblings or connections.
//!
//! ```text
//!             ┌── start_timeout ──────────────────────────────────┐
//! Starting ───┴─ says that it is ready, or lives long enough ─▶ Ready
//!    │                                                            │
//!    ├─────────────────────────── stop ───────────────────────────┤
//!    │ (cannot hear, or is to be told by signal)                   ▼
//!    │                                                       Disconnecting ─ deadline ─▶ Terminating ─ deadline ─▶ Killing ─ deadline ─▶ given up
//!    └────────────────────────────────────────────────────────────────────────────────▶ ▲
//! Starting, Ready ── channel closed, or leaves by itself ──▶ Leaving ─ deadline ────────┘        exited, from any ──▶ Gone
//! ```
//!
//! Where workers accept by themselves, one that never speaks is in order, and so is its closed channel; it is told to stop
//! by signal, with the time that the others have to disconnect. Where lanes forward requests to workers, a ready one is
//! retired first (`Retiring`, between Ready and Disconnecting or Terminating): it is told to leave when no lane has a request
//! for it any more, or when its time is over.

use std::time::Duration;

use super::{Mode, ReadyOn, Rules, StopWith, WorkerState};
use crate::time::Time;

/// The life of one worker process.
#[derive(Debug, Clone)]
pub(super) struct Lifecycle {
    state: State,
    started: Time,
    /// When it became ready.
    ready: Option<Time>,
    /// It has said `online`, so it hears what it is told.
    speaks: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The process exists and is not ready.
    Starting {
        /// When to say that it is late with its next word.
        complain_at: Option<Time>,
        /// When it is ready by being alive.
        ready_at: Option<Time>,
        /// When it must be ready.
        deadline: Option<Time>,
    },
    /// It is of use.
    Ready,
    /// It gets no requests any more, and finishes what lanes have for it; `None`: that may take as long as it wants.
    Retiring { since: Time, deadline: Option<Time>, remind_at: Time },
    /// It was told to disconnect and finishes what it has; `None`: it may take as long as it wants.
    Disconnecting { since: Time, deadline: Option<Time>, remind_at: Time },
    /// It leaves by itself: its channel is closed, or it said that it is going to close it.
    Leaving { since: Time, deadline: Time },
    /// It was sent the signal to stop; `None`: it may take as long as it wants.
    Terminating { since: Time, deadline: Option<Time> },
    /// Its process group was sent SIGKILL.
    Killing { since: Time, deadline: Time },
    /// It has exited.
    Gone,
}

/// What happens to a worker process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happening {
    /// It said `online`.
    Online,
    /// It listens.
    Listening,
    /// It sent the message `ready`.
    SentReady,
    /// It has told by another way that it is ready.
    Notified,
    /// It takes connections on the address that is its own.
    Reachable,
    /// No lane has a request for it any more.
    Retired,
    /// It said that it leaves by itself.
    Leaves,
    /// It has closed its channel.
    ChannelClosed,
    /// Its channel was closed for what it sent.
    ChannelBroken,
    /// It is not wanted any more; may take until the deadline of the rules.
    StopGracefully,
    /// It is not wanted any more; may take as long as it wants.
    StopWithoutDeadline,
    /// It is to end at once.
    StopNow,
    /// It has exited.
    Exited,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// It is ready.
    Welcome,
    /// Have it get no requests any more, and say when it has none.
    Retire,
    /// Send it the message to leave.
    Disconnect,
    /// Send it the signal to stop; it was waited for this long before, if at all.
    Terminate { overdue: Option<Duration> },
    /// The same, since it was not ready in time.
    Reject { after: Duration },
    /// Send its process group SIGKILL.
    Kill { overdue: Option<Duration> },
    /// Wait no longer for its end.
    GiveUp { after: Duration },
    /// Say that it has not spoken.
    ComplainOfSilence { after: Duration },
    /// Say that it has not listened.
    ComplainOfIdleness { after: Duration },
    /// Say what it is waited for; it has this long, or for ever.
    Remind { left: Option<Duration> },
}

/// One that was told to leave is talked of after this time, and again after twice as long each.
const REMIND: Duration = Duration::from_secs(5);

impl Lifecycle {
    pub(super) fn new(now: Time, rules: &Rules) -> Self {
        let alone = rules.mode != Mode::Handoff;
        let by_living = match rules.ready_on {
            ReadyOn::Alive => true,
            ReadyOn::Auto => rules.mode == Mode::Shared,
            ReadyOn::Listening | ReadyOn::Message | ReadyOn::Notify => false,
        };
        let state = State::Starting {
            complain_at: (!alone).then(|| now + rules.patience),
            ready_at: by_living.then(|| now + rules.ready_after),
            deadline: rules.start_timeout.map(|timeout| now + timeout),
        };
        Self { state, started: now, ready: None, speaks: false }
    }

    pub(super) fn handle(&mut self, now: Time, happening: Happening, rules: &Rules) -> Option<Action> {
        use Happening as H;
        let alone = match rules.mode {
            Mode::Handoff => false,
            Mode::Shared => !self.speaks,
            Mode::Multiport => true,
        };
        let soon = now + rules.kill_timeout;
        let (state, action) = match (self.state, happening) {
            (State::Gone, _) => return None,
            (_, H::Exited) => (State::Gone, None),
            (State::Killing { .. }, _) => return None,
            (_, H::StopNow) => {
                (State::Killing { since: now, deadline: soon }, Some(Action::Kill { overdue: None }))
            }

            (State::Starting { ready_at, deadline, .. }, H::Online) => {
                self.speaks = true;
                let complain_at = Some(now + rules.patience).filter(|_| rules.mode == Mode::Shared);
                (
                    State::Starting { complain_at: self.complains_at().or(complain_at), ready_at, deadline },
                    None,
                )
            }
            (_, H::Online) => {
                self.speaks = true;
                return None;
            }
            (
                State::Starting { ready_at, deadline, .. },
                H::Listening | H::SentReady | H::Notified | H::Reachable,
            ) => {
                if is_ready_by(happening, rules) {
                    return self.welcome(now);
                }
                (State::Starting { complain_at: None, ready_at, deadline }, None)
            }
            // Said twice, or said while it is on its way out.
            (_, H::Listening | H::SentReady | H::Notified | H::Reachable) => return None,

            (_, H::StopGracefully) => return self.dismiss(now, Some(rules.stop_timeout), rules),
            (_, H::StopWithoutDeadline) => return self.dismiss(now, None, rules),
            (State::Retiring { deadline, .. }, H::Retired) => {
                let time = deadline.map(|deadline| (deadline - now).max(rules.kill_timeout));
                return Some(self.leave(now, time, None, rules));
            }
            // Late: it has left otherwise.
            (_, H::Retired) => return None,

            (State::Starting { .. } | State::Ready, H::Leaves | H::ChannelClosed | H::ChannelBroken)
                if alone =>
            {
                return None;
            }
            (State::Starting { .. } | State::Ready, H::Leaves | H::ChannelClosed) => {
                (State::Leaving { since: now, deadline: now + rules.stop_timeout }, None)
            }
            // It is of no use any more, and connections on their way to it wait for its end.
            (State::Starting { .. } | State::Ready | State::Leaving { .. }, H::ChannelBroken) => {
                (State::Leaving { since: now, deadline: soon }, None)
            }
            // What it serves does not come through its channel.
            (State::Retiring { .. }, H::Leaves | H::ChannelClosed | H::ChannelBroken) => return None,
            // Its connections are served; what keeps it is a timer or a pool of its own, which the signal will end.
            (State::Disconnecting { since, deadline, remind_at }, H::ChannelClosed | H::ChannelBroken) => {
                let deadline = deadline.map_or(soon, |deadline| deadline.min(soon));
                (State::Disconnecting { since, deadline: Some(deadline), remind_at }, None)
            }
            (State::Disconnecting { .. } | State::Leaving { .. } | State::Terminating { .. }, H::Leaves)
            | (State::Leaving { .. } | State::Terminating { .. }, H::ChannelClosed)
            | (State::Terminating { .. }, H::ChannelBroken) => return None,
        };
        self.state = state;
        action
    }

    /// It is not wanted any more, and may take this long, or as long as it wants.
    fn dismiss(&mut self, now: Time, time: Option<Duration>, rules: &Rules) -> Option<Action> {
        let deadline = time.map(|time| now + time);
        match &mut self.state {
            State::Ready if rules.mode == Mode::Multiport => {
                self.state = State::Retiring { since: now, deadline, remind_at: now + REMIND };
                Some(Action::Retire)
            }
            State::Starting { .. } | State::Ready => Some(self.leave(now, time, None, rules)),
            // A deadline where there was none.
            State::Disconnecting { deadline: old @ None, .. }
            | State::Retiring { deadline: old @ None, .. } => {
                *old = deadline;
                None
            }
            State::Terminating { deadline: old @ None, .. } => {
                *old = deadline.map(|deadline| deadline + rules.kill_timeout);
                None
            }
            State::Retiring { .. }
            | State::Disconnecting { .. }
            | State::Leaving { .. }
            | State::Terminating { .. }
            | State::Killing { .. }
            | State::Gone => None,
        }
    }

    /// What is due at `now`. `open`: it is known to have connections open.
    pub(super) fn handle_timeout(&mut self, now: Time, rules: &Rules, open: bool) -> Option<Action> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        let after = now - self.started;
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        let (state, action) = match self.state {
            State::Starting { ready_at, .. } if due(ready_at) => return self.welcome(now),
            State::Starting { deadline, .. } if due(deadline) => (
                State::Terminating { since: now, deadline: Some(now + rules.kill_timeout) },
                Action::Reject { after },
            ),
            State::Starting { ready_at, deadline, .. } => {
                let complaint = match self.speaks {
                    true => Action::ComplainOfIdleness { after },
                    false => Action::ComplainOfSilence { after },
                };
                (State::Starting { complain_at: None, ready_at, deadline }, complaint)
            }
            State::Disconnecting { since, deadline, .. } if due(deadline) => {
                return Some(self.stop_waiting(now, since, rules, open));
            }
            State::Retiring { since, deadline, .. } if due(deadline) => {
                return Some(self.stop_waiting(now, since, rules, true));
            }
            State::Retiring { since, deadline, .. } => {
                let remind_at = now + (now - since).max(REMIND);
                let left = deadline.map(|deadline| deadline - now);
                (State::Retiring { since, deadline, remind_at }, Action::Remind { left })
            }
            State::Disconnecting { since, deadline, .. } => {
                let remind_at = now + (now - since).max(REMIND);
                let left = deadline.map(|deadline| deadline - now);
                (State::Disconnecting { since, deadline, remind_at }, Action::Remind { left })
            }
            State::Leaving { since, .. } => (
                State::Terminating { since: now, deadline: Some(now + rules.kill_timeout) },
                Action::Terminate { overdue: Some(now - since) },
            ),
            State::Terminating { since, .. } => (
                State::Killing { since: now, deadline: now + rules.kill_timeout },
                Action::Kill { overdue: Some(now - since) },
            ),
            State::Killing { since, .. } => (State::Gone, Action::GiveUp { after: now - since }),
            State::Ready | State::Gone => return None,
        };
        self.state = state;
        Some(action)
    }

    fn welcome(&mut self, now: Time) -> Option<Action> {
        self.state = State::Ready;
        self.ready = Some(now);
        Some(Action::Welcome)
    }

    /// It is told to leave, in the way that it understands: one that has not spoken cannot hear a message. It may take
    /// this long, or for ever; it was waited for before, if so.
    fn leave(
        &mut self,
        now: Time,
        time: Option<Duration>,
        overdue: Option<Duration>,
        rules: &Rules,
    ) -> Action {
        let hears = match rules.stop_with {
            StopWith::Disconnect => self.speaks,
            // There no worker says that it hears, and some do.
            StopWith::Message(_) => self.speaks || rules.mode == Mode::Multiport,
            StopWith::Signal => false,
        };
        if hears {
            // One that was never ready has nothing to finish.
            let idle = self.ready.is_none() && rules.mode != Mode::Shared;
            let time = time.map(|time| if idle { time.min(rules.kill_timeout) } else { time });
            let deadline = time.map(|time| now + time);
            self.state = State::Disconnecting { since: now, deadline, remind_at: now + REMIND };
            return Action::Disconnect;
        }
        // It may have connections: it gets the same time, unless it needs us to get any and is not ready for them.
        let may_serve = self.ready.is_some() || rules.mode == Mode::Shared;
        let deadline = match may_serve {
            true => time.map(|time| now + time + rules.kill_timeout),
            false => Some(now + rules.kill_timeout),
        };
        self.state = State::Terminating { since: now, deadline };
        Action::Terminate { overdue }
    }

    /// Its time to finish what it has is over: with connections open it may have more.
    fn stop_waiting(&mut self, now: Time, since: Time, rules: &Rules, open: bool) -> Action {
        let end = rules.linger_timeout.map(|timeout| since + timeout).filter(|&end| open && end > now);
        if let Some(end) = end {
            let (deadline, remind_at) = (Some(end), now + (now - since).max(REMIND));
            self.state = match self.state {
                State::Retiring { .. } => State::Retiring { since, deadline, remind_at },
                _ => State::Disconnecting { since, deadline, remind_at },
            };
            return Action::Remind { left: Some(end - now) };
        }
        let after = now - since;
        if matches!(self.state, State::Retiring { .. }) {
            return self.leave(now, Some(Duration::ZERO), Some(after), rules);
        }
        self.state = State::Terminating { since: now, deadline: Some(now + rules.kill_timeout) };
        Action::Terminate { overdue: Some(after) }
    }

    fn complains_at(&self) -> Option<Time> {
        match self.state {
            State::Starting { complain_at, .. } => complain_at,
            _ => None,
        }
    }

    /// When [`Lifecycle::handle_timeout`] is to be called.
    pub(super) fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Starting { complain_at, ready_at, deadline } => {
                [complain_at, ready_at, deadline].into_iter().flatten().min()
            }
            State::Retiring { deadline, remind_at, .. }
            | State::Disconnecting { deadline, remind_at, .. } => {
                Some(deadline.map_or(remind_at, |deadline| deadline.min(remind_at)))
            }
            State::Terminating { deadline, .. } => deadline,
            State::Leaving { deadline, .. } | State::Killing { deadline, .. } => Some(deadline),
            State::Ready | State::Gone => None,
        }
    }

    /// It is wanted and has not begun to leave.
    pub(super) fn is_staying(&self) -> bool {
        matches!(self.state, State::Starting { .. } | State::Ready)
    }

    /// It is not ready yet, and may become so.
    pub(super) fn is_starting(&self) -> bool {
        matches!(self.state, State::Starting { .. })
    }

    /// It is of use.
    pub(super) fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// It gets no requests any more, and lanes may have some for it.
    pub(super) fn is_retiring(&self) -> bool {
        matches!(self.state, State::Retiring { .. })
    }

    /// When it became ready, whatever it is now.
    pub(super) fn ready_since(&self) -> Option<Time> {
        self.ready
    }

    /// As users see it.
    pub(super) fn shown(&self) -> WorkerState {
        match self.state {
            State::Starting { .. } => WorkerState::Starting,
            State::Ready => WorkerState::Ready,
            _ => WorkerState::Draining,
        }
    }

    /// Since when it is as it is shown.
    pub(super) fn since(&self) -> Time {
        match self.state {
            State::Ready => self.ready.unwrap_or(self.started),
            State::Retiring { since, .. }
            | State::Disconnecting { since, .. }
            | State::Leaving { since, .. }
            | State::Terminating { since, .. }
            | State::Killing { since, .. } => since,
            State::Starting { .. } | State::Gone => self.started,
        }
    }

    /// It has not said a word, and should have.
    pub(super) fn is_unheard(&self, rules: &Rules) -> bool {
        !self.speaks && self.is_starting() && rules.mode == Mode::Handoff
    }

    /// How long one that was told to leave may take; `None` for as long as it wants.
    pub(super) fn patience(&self, now: Time) -> Option<Duration> {
        match self.state {
            State::Retiring { deadline, .. }
            | State::Disconnecting { deadline, .. }
            | State::Terminating { deadline, .. } => deadline.map(|deadline| deadline - now),
            State::Leaving { deadline, .. } | State::Killing { deadline, .. } => Some(deadline - now),
            State::Starting { .. } | State::Ready | State::Gone => None,
        }
    }

    /// How long ago it was started.
    pub(super) fn age(&self, now: Time) -> Duration {
        now - self.started
    }
}

/// Whether a word makes a worker ready.
fn is_ready_by(word: Happening, rules: &Rules) -> bool {
    match rules.ready_on {
        ReadyOn::Auto if rules.mode == Mode::Shared => true,
        ReadyOn::Auto | ReadyOn::Listening if rules.mode == Mode::Multiport => word == Happening::Reachable,
        ReadyOn::Auto | ReadyOn::Listening => word == Happening::Listening,
        ReadyOn::Message => word == Happening::SentReady,
        ReadyOn::Notify => word == Happening::Notified,
        ReadyOn::Alive => false,
    }
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;
