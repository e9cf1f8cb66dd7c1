//! Whether and when the place of a worker that has ended is filled again.
//!
//! How a life was enters, a verdict leaves. The first crash is followed by a start at once, the next ones by pauses that
//! double up to a limit; crashes before anything was ever ready, too many within a window, end in the slot being errored.
//! Chance is an argument, so that slots which crash together do not start together for ever.

use std::{collections::VecDeque, time::Duration};

use super::Rules;
use crate::time::Time;

/// A worker that was ready for so long was no part of a crash loop.
const STEADY: Duration = Duration::from_secs(10);

/// One that leaves in order, but sooner than this, is started again with the pauses of one that crashes: a program that
/// does so every time would else fill the machine with its starts.
const SHORT: Duration = Duration::from_secs(1);

/// What became of the worker in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It could not be started, for reasons of the system.
    NotStarted,
    /// It ended without ever having been ready.
    Unready,
    /// It was ready for so long, and died.
    Died { ready: Duration },
    /// It was ready for so long, and left by itself.
    Left { ready: Duration },
}

/// What is to become of its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Filled again then.
    Again(Time),
    /// Given up, after so many crashes.
    Errored { crashes: u32 },
}

/// What a slot remembers of the workers that were in it.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    /// Crashes in a row, by which the next pause goes.
    streak: u32,
    /// When workers crashed within the window of the rules, since the last that was ready.
    crashes: VecDeque<Time>,
}

impl History {
    /// A worker in the slot is ready: it is no crash loop.
    pub(super) fn handle_ready(&mut self) {
        self.crashes.clear();
    }

    /// A worker in the slot has ended. `chance` is a number of which every value is as likely.
    pub(super) fn handle_end(&mut self, now: Time, end: End, rules: &Rules, chance: u64) -> Verdict {
        match end {
            End::Left { ready } if ready >= SHORT => {
                self.streak = 0;
                return Verdict::Again(now);
            }
            End::Left { ready } | End::Died { ready } if ready >= STEADY => self.streak = 0,
            End::Left { .. } | End::Died { .. } | End::NotStarted => {}
            End::Unready => self.crashes.push_back(now),
        }
        self.streak = self.streak.saturating_add(1);
        while self.crashes.front().is_some_and(|&at| at + rules.crash_window < now) {
            self.crashes.pop_front();
        }
        let crashes = u32::try_from(self.crashes.len()).unwrap_or(u32::MAX);
        if end == End::Unready && rules.max_crashes.is_some_and(|most| crashes >= most) {
            *self = Self::default();
            return Verdict::Errored { crashes };
        }
        // The system needs a moment, even the first time.
        let doublings =
            if end == End::NotStarted { Some(self.streak - 1) } else { self.streak.checked_sub(2) };
        Verdict::Again(now + doublings.map_or(Duration::ZERO, |doublings| pause(doublings, rules, chance)))
    }
}

/// The pause after so many doublings: between a half and the whole of it, by chance.
fn pause(doublings: u32, rules: &Rules, chance: u64) -> Duration {
    let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
    let longest = rules.restart_delay.saturating_mul(factor).min(rules.restart_delay_max);
    // A thousand steps are fine enough.
    let step = u32::try_from(chance % 1000).unwrap_or(0);
    longest / 2 + longest / 2 * step / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time(1_000_000_000);
    const MOST: u64 = 999;

    fn rules() -> Rules {
        let restart_delay = Duration::from_millis(100);
        Rules { restart_delay, max_crashes: Some(4), ..Rules::default() }
    }

    /// The pauses after these ends, each as long as it can be.
    fn pauses(ends: &[End], rules: &Rules) -> Vec<Option<u128>> {
        let mut history = History::default();
        let end = |&end: &End| match history.handle_end(START, end, rules, MOST) {
            Verdict::Again(at) => Some((at - START).as_millis()),
            Verdict::Errored { .. } => None,
        };
        ends.iter().map(end).collect()
    }

    #[test]
    fn the_first_crash_starts_at_once_and_further_ones_ever_later() {
        let died = End::Died { ready: Duration::ZERO };
        let expected: Vec<_> = [0, 99, 199, 399, 799, 1599].into_iter().map(Some).collect();
        assert_eq!(pauses(&[died; 6], &rules()), expected);
        assert_eq!(pauses(&[died; 40], &rules()).last(), Some(&Some(29_985)), "the limit");
    }

    #[test]
    fn chance_takes_up_to_half_of_a_pause() {
        let pause = |chance| pause(3, &rules(), chance).as_millis();
        assert_eq!((pause(0), pause(500), pause(999), pause(1000)), (400, 600, 799, 400));
    }

    #[test]
    fn too_many_that_were_never_ready_are_given_up() {
        let expected = [Some(0), Some(99), Some(199), None];
        assert_eq!(pauses(&[End::Unready; 4], &rules()), expected);
        let endless = Rules { max_crashes: None, ..rules() };
        assert!(pauses(&[End::Unready; 50], &endless).iter().all(Option::is_some));
        assert!(pauses(&[End::NotStarted; 50], &rules()).iter().all(Option::is_some), "the system's fault");
        assert_eq!(pauses(&[End::NotStarted; 2], &rules()), [Some(99), Some(199)]);
    }

    #[test]
    fn one_readiness_clears_it() {
        let mut history = History::default();
        for round in 0..20 {
            let verdict = history.handle_end(START, End::Unready, &rules(), 0);
            assert!(matches!(verdict, Verdict::Again(_)), "{round}");
            if round % 3 == 2 {
                history.handle_ready();
            }
        }
    }

    #[test]
    fn crashes_of_long_ago_do_not_count() {
        let mut history = History::default();
        for round in 0..20 {
            let now = START + rules().crash_window / 3 * round * 2;
            let verdict = history.handle_end(now, End::Unready, &rules(), 0);
            assert!(matches!(verdict, Verdict::Again(_)), "{round}");
        }
    }

    #[test]
    fn who_was_steady_or_left_in_order_is_followed_at_once() {
        let [died, left] = [Duration::from_secs(10), Duration::from_secs(1)]
            .map(|ready| [End::Died { ready }, End::Left { ready }]);
        let short = End::Died { ready: Duration::from_secs(1) };
        assert_eq!(pauses(&[short, short, died[0], short], &rules()), [Some(0), Some(99), Some(0), Some(99)]);
        assert_eq!(pauses(&[short, short, left[1], short], &rules()), [Some(0), Some(99), Some(0), Some(0)]);
        let hasty = End::Left { ready: Duration::from_millis(999) };
        assert_eq!(pauses(&[hasty; 3], &rules()), [Some(0), Some(99), Some(199)]);
    }
}
