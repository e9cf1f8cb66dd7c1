//! Requests that wait for an upstream with room.
//!
//! A request enters by its token, and leaves for an upstream, because its time is over, or because it gives way. Those of one
//! client wait in a line, and the first of each line come in turn, so that a client with many requests is as far from an
//! upstream as one with a single request. When there are too many, the last of the longest line gives way to one of a
//! shorter line: a client that fills the queue fills its own line, and nobody else's. Clients that share an address
//! share a line; a `trusted_proxies` tells them apart behind a proxy.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
};

use super::rules::ForwardRules;
use crate::time::Time;

/// All that wait.
#[derive(Debug, Default)]
pub struct Queue {
    /// None is empty.
    lines: BTreeMap<Line, VecDeque<Waiting>>,
    /// Each line once, in the order in which they come.
    turns: VecDeque<Line>,
    len: usize,
    /// No request's time is over before.
    earliest: Option<Time>,
}

/// Who waits in a line: a client, or all that have no address.
type Line = Option<IpAddr>;

#[derive(Debug, Clone, Copy)]
struct Waiting {
    token: usize,
    until: Time,
}

/// What becomes of a request that wants to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push {
    /// It waits.
    Waits,
    /// It waits, and this one does not any more.
    InsteadOf(usize),
    /// It cannot.
    Full,
}

impl Queue {
    /// Has a request wait, until then at most. `client` is the address of who sent it, if that is known.
    pub fn push(&mut self, until: Time, rules: &ForwardRules, token: usize, client: Option<IpAddr>) -> Push {
        let line = client.map(household);
        let push = if self.len < rules.max_queue { Push::Waits } else { self.make_room(line) };
        if push == Push::Full {
            return push;
        }
        self.earliest = Some(self.earliest.map_or(until, |earliest| earliest.min(until)));
        let waiting = self.lines.entry(line).or_default();
        if waiting.is_empty() {
            self.turns.push_back(line);
        }
        waiting.push_back(Waiting { token, until });
        self.len += 1;
        push
    }

    /// The last of the longest line gives way, if that line is still no shorter than the newcomer's will be.
    fn make_room(&mut self, newcomer: Line) -> Push {
        let own = self.lines.get(&newcomer).map_or(0, VecDeque::len);
        let longest = self.lines.iter_mut().max_by_key(|(_, waiting)| waiting.len());
        let Some((&line, waiting)) = longest.filter(|(_, waiting)| waiting.len() > own + 1) else {
            return Push::Full;
        };
        let Some(last) = waiting.pop_back() else { return Push::Full };
        self.len -= 1;
        self.close_if_empty(line);
        Push::InsteadOf(last.token)
    }

    /// The next one.
    pub fn pop(&mut self) -> Option<usize> {
        let line = self.turns.pop_front()?;
        let waiting = self.lines.get_mut(&line)?;
        let first = waiting.pop_front();
        self.len -= usize::from(first.is_some());
        if waiting.is_empty() {
            self.lines.remove(&line);
        } else {
            self.turns.push_back(line);
        }
        first.map(|first| first.token)
    }

    /// One does not wait any more; whether it did.
    pub fn remove(&mut self, token: usize) -> bool {
        let place = |waiting: &VecDeque<Waiting>| waiting.iter().position(|other| other.token == token);
        let found = self.lines.iter_mut().find_map(|(&line, waiting)| Some((line, place(waiting)?, waiting)));
        let Some((line, place, waiting)) = found else { return false };
        waiting.remove(place);
        self.len -= 1;
        self.close_if_empty(line);
        true
    }

    /// Those whose time is over.
    pub fn expire(&mut self, now: Time) -> Vec<usize> {
        let mut over = Vec::new();
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return over;
        }
        for waiting in self.lines.values_mut() {
            waiting.retain(|waiting| {
                let stays = waiting.until > now;
                if !stays {
                    over.push(waiting.token);
                }
                stays
            });
        }
        self.len -= over.len();
        self.lines.retain(|_, waiting| !waiting.is_empty());
        self.turns.retain(|line| self.lines.contains_key(line));
        self.earliest = self.lines.values().flatten().map(|waiting| waiting.until).min();
        over
    }

    fn close_if_empty(&mut self, line: Line) {
        if self.lines.get(&line).is_some_and(VecDeque::is_empty) {
            self.lines.remove(&line);
            self.turns.retain(|other| *other != line);
        }
    }

    /// When [`Queue::expire`] is due; it may be a little too early.
    pub fn deadline(&self) -> Option<Time> {
        self.earliest.filter(|_| self.len > 0)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// An address, or of IPv6 the network of 64 bits, which is the least that is given to one client and has addresses without
/// end.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules(max_queue: usize) -> ForwardRules {
        ForwardRules { max_queue, ..ForwardRules::default() }
    }

    fn client(number: u8) -> Option<IpAddr> {
        (number > 0).then(|| [10, 0, 0, number].into())
    }

    /// A queue of (token, client).
    fn queue(all: &[(usize, u8)]) -> Queue {
        let mut queue = Queue::default();
        for &(token, number) in all {
            assert_eq!(queue.push(Time(10), &rules(99), token, client(number)), Push::Waits);
        }
        queue
    }

    fn drain(queue: &mut Queue) -> Vec<usize> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn clients_take_turns_and_each_waits_in_order() {
        let mut queue = queue(&[(1, 1), (2, 1), (3, 1), (4, 2), (5, 0), (6, 2), (7, 0)]);
        assert_eq!(queue.len(), 7);
        assert_eq!(drain(&mut queue), [1, 4, 5, 2, 6, 7, 3]);
        assert!(queue.is_empty() && queue.deadline().is_none());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_a_mapped_address_what_it_stands_for() {
        let mut queue = Queue::default();
        for (token, address) in
            [(1, "fd00::1"), (2, "fd00::2"), (3, "fd00:0:0:1::"), (4, "::ffff:1.2.3.4"), (5, "1.2.3.4")]
        {
            queue.push(Time(10), &rules(99), token, Some(address.parse().unwrap()));
        }
        assert_eq!(drain(&mut queue), [1, 3, 4, 2, 5]);
    }

    #[test]
    fn the_longest_line_gives_way_and_else_a_full_queue_is_full() {
        let mut queue = queue(&[(1, 1), (2, 1), (3, 1)]);
        let mut push = |token, number| queue.push(Time(10), &rules(3), token, client(number));
        assert_eq!(push(4, 1), Push::Full);
        assert_eq!(push(5, 2), Push::InsteadOf(3));
        assert_eq!(push(6, 2), Push::Full, "it would be as long as the longest");
        assert_eq!(push(7, 3), Push::InsteadOf(2));
        assert_eq!(push(8, 4), Push::Full, "one each");
        assert_eq!(drain(&mut queue), [1, 5, 7]);
        assert_eq!(queue.push(Time(10), &rules(0), 1, None), Push::Full);
    }

    #[test]
    fn who_waits_for_too_long_or_leaves_is_gone() {
        let mut queue = queue(&[(1, 1), (2, 2)]);
        queue.push(Time(15), &rules(9), 3, client(1));
        queue.push(Time(17), &rules(9), 4, client(3));
        assert_eq!(queue.deadline(), Some(Time(10)));
        assert_eq!(queue.expire(Time(9)), [0; 0]);
        assert_eq!(queue.expire(Time(10)), [1, 2]);
        assert_eq!(queue.deadline(), Some(Time(15)));
        assert!(queue.remove(3) && !queue.remove(3) && !queue.remove(1));
        assert_eq!(queue.expire(Time(15)), [0; 0]);
        assert_eq!(queue.deadline(), Some(Time(17)), "looked up anew");
        assert_eq!(queue.len(), 1);
        assert_eq!(drain(&mut queue), [4]);
    }

    proptest! {
        /// Each that waits leaves once, by one way.
        #[test]
        fn nobody_is_lost_or_comes_twice(steps in proptest::collection::vec((0u8..5, 0u8..4), 0..200)) {
            let (mut queue, rules, mut waiting) = (Queue::default(), rules(6), Vec::new());
            for (now, (kind, number)) in (0..).zip(steps) {
                let token = usize::try_from(now).unwrap();
                let now = Time(now);
                match kind {
                    0 | 1 => match queue.push(Time(now.0 + 10), &rules, token, client(number)) {
                        Push::Waits => waiting.push(token),
                        Push::InsteadOf(other) => {
                            waiting.retain(|&known| known != other);
                            waiting.push(token);
                        }
                        Push::Full => prop_assert_eq!(waiting.len(), 6),
                    },
                    2 => match queue.pop() {
                        Some(token) => {
                            prop_assert!(waiting.contains(&token));
                            waiting.retain(|&known| known != token);
                        }
                        None => prop_assert!(waiting.is_empty()),
                    },
                    3 => {
                        let token = token.saturating_sub(number.into());
                        prop_assert_eq!(queue.remove(token), waiting.contains(&token));
                        waiting.retain(|&known| known != token);
                    }
                    _ => {
                        let due = queue.deadline().is_some_and(|at| at <= now);
                        let over = queue.expire(now);
                        prop_assert!(over.is_empty() || due);
                        waiting.retain(|known| !over.contains(known));
                        prop_assert!(queue.deadline().is_none_or(|at| at > now));
                    }
                }
                prop_assert_eq!(queue.len(), waiting.len());
            }
            let mut left = drain(&mut queue);
            left.sort_unstable();
            waiting.sort_unstable();
            prop_assert_eq!(left, waiting);
        }
    }
}
