//! How many requests may be tried again.
//!
//! Each request and each retry is noted; whether there may be another is the answer. A part of the requests of the last seconds
//! may be, and a few more: when an upstream is slow or fails, retries do not become a second load on what is left, and
//! where there are hardly any requests, one can still be tried again.

use super::rules::ForwardRules;
use crate::time::Time;

/// The last so many seconds count: long enough to be even, short enough to forget a busy hour soon.
const SECONDS: usize = 10;

/// So many retries are allowed in each second, whatever there was.
const ALWAYS_PER_SECOND: u64 = 10;

const NANOS: u64 = 1_000_000_000;

/// What there was in the last seconds.
#[derive(Debug, Clone, Default)]
pub struct Budget {
    /// One for each second, in turn.
    seconds: [Second; SECONDS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Second {
    /// Which one, since the beginning of time.
    number: u64,
    requests: u64,
    retries: u64,
}

impl Budget {
    /// A request has come.
    pub fn note_request(&mut self, now: Time) {
        if let Some(second) = self.second(now) {
            second.requests += 1;
        }
    }

    /// Whether a request may be tried again. If so, it is.
    pub fn try_take(&mut self, now: Time, rules: &ForwardRules) -> bool {
        let number = now.0 / NANOS;
        let recent =
            self.seconds.iter().filter(|second| number.saturating_sub(second.number) < SECONDS as u64);
        let (requests, retries) = recent.fold((0u64, 0u64), |(requests, retries), second| {
            (requests + second.requests, retries + second.retries)
        });
        let most = requests * u64::from(rules.retry_budget) / 100 + ALWAYS_PER_SECOND * SECONDS as u64;
        let Some(second) = self.second(now).filter(|_| retries < most) else { return false };
        second.retries += 1;
        true
    }

    /// The one that it is, which is empty if it was another.
    fn second(&mut self, now: Time) -> Option<&mut Second> {
        let number = now.0 / NANOS;
        let place = usize::try_from(number % SECONDS as u64).ok()?;
        let second = self.seconds.get_mut(place)?;
        if second.number != number {
            *second = Second { number, ..Second::default() };
        }
        Some(second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Time {
        Time(second * NANOS + 5)
    }

    /// How many retries are allowed now.
    fn takes(budget: &mut Budget, now: Time, percent: u32) -> usize {
        let rules = ForwardRules { retry_budget: percent, ..ForwardRules::default() };
        (0..10_000).take_while(|_| budget.try_take(now, &rules)).count()
    }

    #[test]
    fn a_part_of_the_recent_requests_may_be_tried_again_and_a_few_more() {
        let mut budget = Budget::default();
        (0..1000).for_each(|_| budget.note_request(at(100)));
        (0..500).for_each(|_| budget.note_request(at(101)));
        assert_eq!(takes(&mut budget.clone(), at(101), 20), 100 + 300);
        assert_eq!(takes(&mut budget.clone(), at(101), 0), 100);
        assert_eq!(takes(&mut budget.clone(), at(109), 20), 100 + 300);
        assert_eq!(takes(&mut budget.clone(), at(110), 20), 100 + 100, "the first are forgotten");
        assert_eq!(takes(&mut budget, at(120), 20), 100);
    }

    #[test]
    fn what_was_taken_counts_as_long_as_what_it_was_taken_of() {
        let mut budget = Budget::default();
        assert_eq!(takes(&mut budget, at(50), 20), 100, "of no request at all");
        assert_eq!(takes(&mut budget, at(59), 20), 0);
        assert_eq!(takes(&mut budget, at(60), 20), 100);
    }
}
