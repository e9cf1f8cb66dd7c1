//! Idle connections to upstreams, for the next request.
//!
//! A connection enters when an answer is over, and leaves for a request, or to be closed. The last one in is the first
//! out: it is the least likely to be closed by its upstream, and those that are not needed any more grow old and go.
//!
//! The danger is an upstream that closes an idle connection at the moment in which a request is sent on it. So one is not used
//! any more a while before the upstream may close it. When that is, is said by the upstream (`Keep-Alive: timeout=5`), or
//! learnt from those that it has closed.

use std::{collections::VecDeque, time::Duration};

use super::rules::ForwardRules;
use crate::time::Time;

/// A connection is not used in the last part of the time for which its upstream keeps it: one in so many parts, because
/// clocks, timers and packets are late.
const MARGIN_PART: u32 = 5;

/// At least this long; a request may wait for a busy upstream's attention, which closes first what has timed out.
const LEAST_MARGIN: Duration = Duration::from_millis(500);

/// A connection that is closed sooner than this was not idle for too long: the upstream ends, or counts requests.
const LEAST_LESSON: Duration = Duration::from_secs(1);

/// When nothing was learnt for so long, twice the time is tried: what was learnt may have been the end of a server that has
/// long been started again.
const FORGET_AFTER: Duration = Duration::from_secs(300);

/// All of them.
#[derive(Debug, Default)]
pub struct Pool {
    /// Sorted by upstream.
    shelves: Vec<Shelf>,
}

/// Those of one upstream.
#[derive(Debug)]
struct Shelf {
    upstream: u32,
    /// The oldest first.
    idle: VecDeque<Idle>,
    lesson: Option<Lesson>,
}

#[derive(Debug)]
struct Idle {
    token: usize,
    since: Time,
    until: Time,
}

/// An upstream was seen to close connections that were idle for so long.
#[derive(Debug, Clone, Copy)]
struct Lesson {
    timeout: Duration,
    at: Time,
}

impl Pool {
    /// Keeps a connection that has nothing to do any more. `hint` is for how long the upstream says that it keeps it. Returns
    /// one that must be closed instead: this one, if it is of no use, or the oldest, if there are too many.
    pub fn put(
        &mut self,
        now: Time,
        rules: &ForwardRules,
        upstream: u32,
        token: usize,
        hint: Option<Duration>,
    ) -> Option<usize> {
        let shelf = self.shelf(upstream);
        let theirs = shelf.learnt(now, rules).into_iter().chain(hint).min();
        let span = theirs.map_or(rules.upstream_idle_timeout, |theirs| {
            let margin = (theirs / MARGIN_PART).max(LEAST_MARGIN);
            theirs.saturating_sub(margin).min(rules.upstream_idle_timeout)
        });
        if span.is_zero() || rules.upstream_keepalive == 0 {
            return Some(token);
        }
        let excess = if shelf.idle.len() < rules.upstream_keepalive { None } else { shelf.idle.pop_front() };
        shelf.idle.push_back(Idle { token, since: now, until: now + span });
        excess.map(|idle| idle.token)
    }

    /// The youngest that may be used.
    pub fn take(&mut self, now: Time, upstream: u32) -> Option<usize> {
        let idle = &mut self.find(upstream)?.idle;
        let place = idle.iter().rposition(|idle| idle.until > now)?;
        idle.remove(place).map(|idle| idle.token)
    }

    /// The upstream has closed this one; whether it was here. How long it was idle is learnt.
    pub fn closed_by_peer(&mut self, now: Time, upstream: u32, token: usize) -> bool {
        let Some(idle) = self.pull(upstream, token) else { return false };
        let timeout = now - idle.since;
        if timeout >= LEAST_LESSON
            && let Some(shelf) = self.find(upstream)
        {
            let least = shelf.lesson.map_or(timeout, |lesson| lesson.timeout.min(timeout));
            shelf.lesson = Some(Lesson { timeout: least, at: now });
        }
        true
    }

    /// Those whose time is over, to be closed.
    pub fn expire(&mut self, now: Time) -> Vec<usize> {
        let mut over = Vec::new();
        for shelf in &mut self.shelves {
            shelf.idle.retain(|idle| {
                let stays = idle.until > now;
                if !stays {
                    over.push(idle.token);
                }
                stays
            });
        }
        over
    }

    /// An upstream is gone: its connections, to be closed.
    pub fn forget(&mut self, upstream: u32) -> Vec<usize> {
        let Ok(place) = self.place(upstream) else { return Vec::new() };
        self.shelves.remove(place).idle.into_iter().map(|idle| idle.token).collect()
    }

    /// When [`Pool::expire`] is due. One whose upstream keeps it for a shorter time than the one before it may be closed later;
    /// it is not used.
    pub fn deadline(&self) -> Option<Time> {
        self.shelves.iter().filter_map(|shelf| shelf.idle.front()).map(|idle| idle.until).min()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.shelves.iter().map(|shelf| shelf.idle.len()).sum()
    }

    /// There are none.
    #[cfg(any(test, feature = "internals"))]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn pull(&mut self, upstream: u32, token: usize) -> Option<Idle> {
        let idle = &mut self.find(upstream)?.idle;
        let place = idle.iter().rposition(|idle| idle.token == token)?;
        idle.remove(place)
    }

    fn place(&self, upstream: u32) -> Result<usize, usize> {
        self.shelves.binary_search_by_key(&upstream, |shelf| shelf.upstream)
    }

    fn find(&mut self, upstream: u32) -> Option<&mut Shelf> {
        let place = self.place(upstream).ok()?;
        self.shelves.get_mut(place)
    }

    /// The one of an upstream, which is made if need be.
    fn shelf(&mut self, upstream: u32) -> &mut Shelf {
        let place = self.place(upstream).unwrap_or_else(|place| {
            self.shelves.insert(place, Shelf { upstream, idle: VecDeque::new(), lesson: None });
            place
        });
        &mut self.shelves[place]
    }
}

impl Shelf {
    /// For how long the upstream keeps idle connections, as far as that was seen.
    fn learnt(&mut self, now: Time, rules: &ForwardRules) -> Option<Duration> {
        let lesson = self.lesson.as_mut()?;
        if now - lesson.at >= FORGET_AFTER {
            *lesson = Lesson { timeout: lesson.timeout.saturating_mul(2), at: now };
        }
        let timeout = lesson.timeout;
        if timeout / 2 > rules.upstream_idle_timeout {
            self.lesson = None;
        }
        Some(timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> ForwardRules {
        ForwardRules { upstream_keepalive: 3, ..ForwardRules::default() }
    }

    fn at(millis: u64) -> Time {
        Time(millis * 1_000_000)
    }

    /// Puts one there and tells for how long it is of use, in milliseconds.
    fn use_of(pool: &mut Pool, now: Time, hint: Option<u64>) -> u128 {
        if pool.put(now, &rules(), 1, 77, hint.map(Duration::from_secs)).is_some() {
            return 0;
        }
        let deadline = pool.deadline().unwrap();
        assert_eq!(pool.expire(Time(deadline.0 - 1)), [0; 0]);
        assert_eq!(pool.expire(deadline), [77]);
        (deadline - now).as_millis()
    }

    #[test]
    fn the_last_in_is_the_first_out_and_the_oldest_gives_way() {
        let mut pool = Pool::default();
        for (token, expected) in [(10, None), (11, None), (12, None), (13, Some(10)), (14, Some(11))] {
            assert_eq!(pool.put(at(0), &rules(), 1, token, None), expected);
        }
        assert_eq!(pool.put(at(0), &rules(), 2, 20, None), None, "each upstream has its own");
        assert_eq!(pool.len(), 4);
        let mut closed = |upstream, token| pool.closed_by_peer(at(0), upstream, token);
        assert!(closed(1, 13) && !closed(1, 13) && !closed(2, 14) && !closed(9, 14));
        let taken: Vec<_> = (0..3).map(|_| pool.take(at(0), 1)).collect();
        assert_eq!(taken, [Some(14), Some(12), None]);
        assert_eq!((pool.take(at(0), 2), pool.take(at(0), 3)), (Some(20), None));
        assert!(pool.is_empty());
    }

    #[test]
    fn none_is_kept_if_none_are_to_be() {
        let rules = ForwardRules { upstream_keepalive: 0, ..rules() };
        assert_eq!(Pool::default().put(at(0), &rules, 1, 5, None), Some(5));
    }

    #[test]
    fn one_is_not_used_near_the_end_of_its_time() {
        let mut pool = Pool::default();
        for (hint, expected) in
            [(None, 60_000), (Some(5), 4_000), (Some(1), 500), (Some(0), 0), (Some(90), 60_000)]
        {
            assert_eq!(use_of(&mut pool, at(7), hint), expected, "{hint:?}");
        }
        pool.put(at(0), &rules(), 1, 5, Some(Duration::from_secs(5)));
        pool.put(at(10), &rules(), 1, 6, Some(Duration::from_secs(2)));
        assert_eq!(pool.take(at(1510), 1), Some(5), "an older one may be good for longer");
        assert_eq!(pool.take(at(1510), 1), None);
        assert_eq!(pool.expire(at(1510)), [6]);
    }

    #[test]
    fn what_upstreams_close_is_learnt_and_forgotten_again() {
        let mut pool = Pool::default();
        let closed = |pool: &mut Pool, now: u64, idle: u64| {
            pool.put(at(now - idle), &rules(), 1, 5, None);
            pool.closed_by_peer(at(now), 1, 5)
        };
        assert!(closed(&mut pool, 10_000, 999));
        assert_eq!(use_of(&mut pool, at(10_000), None), 60_000, "too soon to be a time-out");
        assert!(closed(&mut pool, 20_000, 10_000));
        assert_eq!(use_of(&mut pool, at(20_000), None), 8_000);
        assert_eq!(use_of(&mut pool, at(20_000), Some(5)), 4_000, "what is less counts");
        assert!(closed(&mut pool, 30_000, 6_000) && closed(&mut pool, 40_000, 7_000));
        assert_eq!(use_of(&mut pool, at(40_000), None), 4_800);
        for (later, expected) in
            [(299, 4_800), (300, 9_600), (599, 9_600), (600, 19_200), (900, 38_400), (1200, 60_000)]
        {
            assert_eq!(use_of(&mut pool, at(40_000 + later * 1000), None), expected, "{later}");
        }
        assert!(!pool.closed_by_peer(at(0), 1, 99) && !pool.closed_by_peer(at(0), 9, 5));
    }

    #[test]
    fn all_of_one_upstream_go_with_it() {
        let mut pool = Pool::default();
        for (upstream, token) in [(1, 10), (2, 20), (1, 11)] {
            pool.put(at(0), &rules(), upstream, token, None);
        }
        assert_eq!((pool.forget(1), pool.forget(1)), (vec![10, 11], vec![]));
        assert_eq!(pool.take(at(0), 2), Some(20));
        assert_eq!(pool.deadline(), None);
    }
}
