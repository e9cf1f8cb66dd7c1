//! The life of one worker process: states, events, and what is to be done about them.
//!
//! Events and the time enter, at most one [`Action`] leaves. Every state answers every event; one that comes late or
//! twice is named and ignored. This file does not know slots, siblings or connections.
//!
//! ```text
//! Starting ──online──▶ Online ──listening──▶ Serving
//!    │                   │                      │
//!    │ stop              └────────── stop ──────┴──▶ Disconnecting ──deadline──▶ Terminating ──deadline──▶ Killing ──deadline──▶ given up
//!    └──(never spoke)──▶ Terminating                                               ▲
//!  any of the first three ──channel closed, or leaves by itself──▶ Leaving ────────┘       exited, from any ──▶ Gone
//! ```
//!
//! Where workers accept by themselves, `Independent` stands in the place of `Starting`: one that never speaks is in order,
//! and so is a closed channel; `stop` means `Terminating`, with the time that the others have to disconnect.

use std::time::Duration;

use super::{Mode, Rules};
use crate::time::Time;

/// The life of one worker process.
#[derive(Debug, Clone)]
pub(super) struct Lifecycle {
    state: State,
    started: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The process exists and has not spoken.
    Starting { complain_at: Option<Time> },
    /// The same of one that accepts by itself and need never speak.
    Independent,
    /// It has spoken.
    Online { complain_at: Option<Time> },
    /// It listens, or has done so.
    Serving,
    /// It was told to disconnect and finishes what it has; `None`: it may take as long as it wants.
    Disconnecting { since: Time, deadline: Option<Time> },
    /// It leaves by itself: its channel is closed, or it said that it is going to close it.
    Leaving { since: Time, deadline: Time },
    /// It was sent SIGTERM; `None`: it may take as long as it wants.
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
    /// Send it the message to disconnect.
    Disconnect,
    /// Send it SIGTERM; it was waited for this long before, if at all.
    Terminate { overdue: Option<Duration> },
    /// Send its process group SIGKILL.
    Kill { overdue: Option<Duration> },
    /// Wait no longer for its end.
    GiveUp { after: Duration },
    /// Say that it has not spoken.
    ComplainOfSilence { after: Duration },
    /// Say that it has not listened.
    ComplainOfIdleness { after: Duration },
}

impl Lifecycle {
    pub(super) fn new(now: Time, rules: &Rules) -> Self {
        let state = match rules.mode {
            Mode::Handoff => State::Starting { complain_at: Some(now + rules.patience) },
            Mode::Shared => State::Independent,
        };
        Self { state, started: now }
    }

    pub(super) fn handle(&mut self, now: Time, happening: Happening, rules: &Rules) -> Option<Action> {
        use Happening as H;
        let soon = now + rules.kill_timeout;
        let (state, action) = match (self.state, happening) {
            (State::Gone, _) => return None,
            (_, H::Exited) => (State::Gone, None),
            (State::Killing { .. }, _) => return None,
            (_, H::StopNow) => {
                (State::Killing { since: now, deadline: soon }, Some(Action::Kill { overdue: None }))
            }

            (State::Starting { complain_at }, H::Online) => (State::Online { complain_at }, None),
            (State::Independent, H::Online) => {
                (State::Online { complain_at: Some(now + rules.patience) }, None)
            }
            (State::Starting { .. } | State::Online { .. }, H::Listening) => (State::Serving, None),
            // Said twice, or said while it is on its way out.
            (_, H::Online) | (_, H::Listening) => return None,

            // It cannot hear the message to disconnect, so it is told in the way that every program understands.
            (State::Starting { .. }, H::StopGracefully | H::StopWithoutDeadline) => {
                let deadline = Some(soon);
                (State::Terminating { since: now, deadline }, Some(Action::Terminate { overdue: None }))
            }
            // It may have connections, unlike one that needs us to get any.
            (State::Independent, H::StopGracefully) => {
                let deadline = Some(soon + rules.stop_timeout);
                (State::Terminating { since: now, deadline }, Some(Action::Terminate { overdue: None }))
            }
            (State::Independent, H::StopWithoutDeadline) => {
                let deadline = None;
                (State::Terminating { since: now, deadline }, Some(Action::Terminate { overdue: None }))
            }
            (State::Terminating { since, deadline: None }, H::StopGracefully) => {
                let deadline = Some(soon + rules.stop_timeout);
                (State::Terminating { since, deadline }, None)
            }
            (State::Independent, H::Leaves | H::ChannelClosed | H::ChannelBroken) => return None,
            (State::Online { .. } | State::Serving, H::StopGracefully) => {
                (State::Disconnecting { since: now, deadline: Some(now + rules.stop_timeout) }, Some(Action::Disconnect))
            }
            (State::Online { .. } | State::Serving, H::StopWithoutDeadline) => {
                (State::Disconnecting { since: now, deadline: None }, Some(Action::Disconnect))
            }
            // A deadline where there was none.
            (State::Disconnecting { since, deadline: None }, H::StopGracefully) => {
                (State::Disconnecting { since, deadline: Some(now + rules.stop_timeout) }, None)
            }
            (
                State::Disconnecting { .. } | State::Leaving { .. } | State::Terminating { .. },
                H::StopGracefully | H::StopWithoutDeadline,
            ) => return None,

            (State::Starting { .. } | State::Online { .. } | State::Serving, H::Leaves | H::ChannelClosed) => {
                (State::Leaving { since: now, deadline: now + rules.stop_timeout }, None)
            }
            // It is of no use any more, and connections on their way to it wait for its end.
            (
                State::Starting { .. } | State::Online { .. } | State::Serving | State::Leaving { .. },
                H::ChannelBroken,
            ) => (State::Leaving { since: now, deadline: soon }, None),
            // Its connections are served; what keeps it is a timer or a pool of its own, which SIGTERM will end.
            (State::Disconnecting { since, deadline }, H::ChannelClosed | H::ChannelBroken) => {
                let deadline = deadline.map_or(soon, |deadline| deadline.min(soon));
                (State::Disconnecting { since, deadline: Some(deadline) }, None)
            }
            (State::Disconnecting { .. } | State::Leaving { .. } | State::Terminating { .. }, H::Leaves)
            | (State::Leaving { .. } | State::Terminating { .. }, H::ChannelClosed)
            | (State::Terminating { .. }, H::ChannelBroken) => return None,
        };
        self.state = state;
        action
    }

    /// What is due at `now`.
    pub(super) fn handle_timeout(&mut self, now: Time, rules: &Rules) -> Option<Action> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        let after = now - self.started;
        let (state, action) = match self.state {
            State::Starting { .. } => {
                (State::Starting { complain_at: None }, Action::ComplainOfSilence { after })
            }
            State::Online { .. } => (State::Online { complain_at: None }, Action::ComplainOfIdleness { after }),
            State::Disconnecting { since, .. } | State::Leaving { since, .. } => (
                State::Terminating { since: now, deadline: Some(now + rules.kill_timeout) },
                Action::Terminate { overdue: Some(now - since) },
            ),
            State::Terminating { since, .. } => (
                State::Killing { since: now, deadline: now + rules.kill_timeout },
                Action::Kill { overdue: Some(now - since) },
            ),
            State::Killing { since, .. } => (State::Gone, Action::GiveUp { after: now - since }),
            State::Independent | State::Serving | State::Gone => return None,
        };
        self.state = state;
        Some(action)
    }

    /// When [`Lifecycle::handle_timeout`] is to be called.
    pub(super) fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Starting { complain_at } | State::Online { complain_at } => complain_at,
            State::Disconnecting { deadline, .. } | State::Terminating { deadline, .. } => deadline,
            State::Leaving { deadline, .. } | State::Killing { deadline, .. } => Some(deadline),
            State::Independent | State::Serving | State::Gone => None,
        }
    }

    /// It is wanted and has not begun to leave.
    pub(super) fn is_staying(&self) -> bool {
        matches!(
            self.state,
            State::Starting { .. } | State::Independent | State::Online { .. } | State::Serving
        )
    }

    /// It has not said a word.
    pub(super) fn is_unheard(&self) -> bool {
        matches!(self.state, State::Starting { .. })
    }

    /// How long ago it was started.
    pub(super) fn age(&self, now: Time) -> Duration {
        now - self.started
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time(1_000_000_000);

    fn rules() -> Rules {
        let secs = Duration::from_secs;
        Rules { patience: secs(1), stop_timeout: secs(30), kill_timeout: secs(5), ..Rules::default() }
    }

    /// Lives through `steps` (seconds after the start, what happens; `None`: the timer) and returns the actions.
    fn live(steps: &[(u64, Option<Happening>)]) -> (Lifecycle, Vec<Action>) {
        let mut life = Lifecycle::new(START, &rules());
        let step = |&(at, happening): &(u64, Option<Happening>)| {
            let now = START + Duration::from_secs(at);
            match happening {
                Some(happening) => life.handle(now, happening, &rules()),
                None => life.handle_timeout(now, &rules()),
            }
        };
        let actions = steps.iter().filter_map(step).collect();
        (life, actions)
    }

    const DISCONNECT: Action = Action::Disconnect;
    const TERMINATE: Action = Action::Terminate { overdue: None };
    const KILL: Action = Action::Kill { overdue: None };

    fn overdue(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn a_graceful_end_is_told_ever_more_plainly() {
        use Happening::*;
        let up = [(0, Some(Online)), (0, Some(Listening)), (10, Some(StopGracefully))];
        let with = |more: &[(u64, Option<Happening>)]| live(&[&up[..], more].concat()).1;
        assert_eq!(with(&[(39, None)]), [DISCONNECT]);
        let (term, kill) = (Action::Terminate { overdue: overdue(30) }, Action::Kill { overdue: overdue(5) });
        assert_eq!(with(&[(40, None), (44, None)]), [DISCONNECT, term]);
        let give_up = Action::GiveUp { after: Duration::from_secs(5) };
        assert_eq!(with(&[(40, None), (45, None), (49, None)]), [DISCONNECT, term, kill]);
        assert_eq!(with(&[(40, None), (45, None), (50, None), (99, None)]), [DISCONNECT, term, kill, give_up]);
        assert_eq!(with(&[(11, Some(StopGracefully)), (40, None)]), [DISCONNECT, term], "a second word changes nothing");
        assert_eq!(with(&[(11, Some(StopNow)), (15, None)]), [DISCONNECT, KILL]);
        let closed = Action::Terminate { overdue: overdue(6) };
        assert_eq!(with(&[(11, Some(ChannelClosed)), (16, None)]), [DISCONNECT, closed], "nothing left to serve");
        assert_eq!(with(&[(11, Some(Exited)), (99, None), (99, Some(StopNow))]), [DISCONNECT]);
    }

    #[test]
    fn without_a_deadline_it_may_take_for_ever_until_one_is_set() {
        use Happening::*;
        let up = [(0, Some(Online)), (1, Some(StopWithoutDeadline)), (9999, None)];
        assert_eq!(live(&up).1, [DISCONNECT]);
        assert_eq!(live(&up).0.deadline(), None);
        let later = [&up[..], &[(10_000, Some(StopGracefully)), (10_030, None)]].concat();
        assert_eq!(live(&later).1, [DISCONNECT, Action::Terminate { overdue: overdue(10_029) }]);
    }

    #[test]
    fn one_that_never_spoke_gets_the_signal_at_once() {
        assert_eq!(live(&[(0, Some(Happening::StopGracefully))]).1, [TERMINATE]);
    }

    #[test]
    fn silence_and_idleness_are_reported_once() {
        use Happening::*;
        let silence = Action::ComplainOfSilence { after: Duration::from_secs(1) };
        let idleness = Action::ComplainOfIdleness { after: Duration::from_secs(2) };
        assert_eq!(live(&[(1, None), (2, None), (9, Some(Online)), (20, None)]).1, [silence]);
        assert_eq!(live(&[(0, Some(Online)), (2, None), (3, None)]).1, [idleness]);
        assert_eq!(live(&[(0, Some(Online)), (0, Some(Listening)), (9, None)]).1, []);
    }

    #[test]
    fn one_that_leaves_by_itself_is_waited_for() {
        use Happening::*;
        for left in [Leaves, ChannelClosed] {
            let (life, actions) = live(&[(0, Some(Online)), (1, Some(left)), (2, Some(ChannelClosed)), (31, None)]);
            assert_eq!(actions, [Action::Terminate { overdue: overdue(30) }]);
            assert!(!life.is_staying() && !life.is_unheard());
        }
    }

    #[test]
    fn every_state_answers_every_event_and_nothing_follows_the_end() {
        use Happening::*;
        let all = [Online, Listening, Leaves, ChannelClosed, ChannelBroken, StopGracefully, StopWithoutDeadline, StopNow, Exited];
        // Every path of four events, with the timer run out after each.
        let mut steps = Vec::new();
        for path in 0..all.len().pow(4) {
            steps.clear();
            for place in 0..4u32 {
                let event = all[path / all.len().pow(place) % all.len()];
                steps.extend([(u64::from(place) * 100, Some(event)), (u64::from(place) * 100 + 50, None)]);
            }
            let (life, actions) = live(&steps);
            let kills = actions.iter().filter(|action| matches!(action, Action::Kill { .. })).count();
            assert!(kills <= 1, "{steps:?}: {actions:?}");
            let exit = steps.iter().position(|step| step.1 == Some(Exited));
            if let Some(exit) = exit {
                assert_eq!(life.state, State::Gone);
                assert_eq!(life.deadline(), None);
                assert_eq!(live(&steps[..exit]).1, actions, "nothing follows the end");
            }
            let told_to_stop = steps.iter().any(|step| matches!(step.1, Some(StopGracefully | StopNow)));
            assert!(!told_to_stop || !life.is_staying(), "{steps:?}");
        }
    }
}
