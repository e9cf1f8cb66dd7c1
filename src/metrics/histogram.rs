//! Spans of time, counted by how long they were.
//!
//! A span enters by `observe`, which allocates nothing; the counts leave. The bounds are fixed when the program is
//! written, so that histograms of several masters can be added up.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// So many counts, each of spans up to its bound, and one of those beyond the last.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram<const BOUNDS: usize> {
    bounds: &'static [Duration; BOUNDS],
    counts: [u64; BOUNDS],
    beyond: u64,
    sum: Duration,
}

impl<const BOUNDS: usize> Histogram<BOUNDS> {
    /// One that has counted nothing. The bounds ascend.
    pub const fn new(bounds: &'static [Duration; BOUNDS]) -> Self {
        Self { bounds, counts: [0; BOUNDS], beyond: 0, sum: Duration::ZERO }
    }

    /// Counts a span.
    pub fn observe(&mut self, span: Duration) {
        let place = self.bounds.partition_point(|&bound| bound < span);
        *self.counts.get_mut(place).unwrap_or(&mut self.beyond) += 1;
        self.sum = self.sum.saturating_add(span);
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        let counts = self.counts.iter_mut().chain([&mut self.beyond]);
        for (count, more) in counts.zip(other.counts.iter().chain([&other.beyond])) {
            *count = count.saturating_add(*more);
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// Each bound, and how many spans were no longer than it.
    pub fn cumulative(&self) -> impl Iterator<Item = (Duration, u64)> {
        let counts = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        self.bounds.iter().copied().zip(counts)
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.beyond
    }

    /// How long all of them were together.
    pub fn sum(&self) -> Duration {
        self.sum
    }
}

/// From a hand-over between idle processes to one that waits for a worker which does something else.
static LATENCIES: [Duration; 17] = [
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_micros(1000),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_millis(1000),
    Duration::from_millis(2500),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// How long clients have waited for something.
pub type Latency = Histogram<17>;

impl Default for Latency {
    fn default() -> Self {
        Self::new(&LATENCIES)
    }
}

/// As it goes from process to process: the counts, those beyond the last bound behind them, and the sum.
#[derive(Serialize, Deserialize)]
struct Flat {
    counts: Vec<u64>,
    sum: Duration,
}

impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let counts = self.counts.iter().copied().chain([self.beyond]).collect();
        Flat { counts, sum: self.sum }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut flat = Flat::deserialize(deserializer)?;
        let beyond = flat.counts.pop().unwrap_or(0);
        let counts = flat.counts.try_into().map_err(|_| D::Error::custom("not as many counts as bounds"))?;
        Ok(Self { bounds: &LATENCIES, counts, beyond, sum: flat.sum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [Duration; 3] =
        [Duration::from_millis(1), Duration::from_millis(10), Duration::from_secs(1)];

    #[test]
    fn a_span_counts_up_to_the_first_bound_that_it_does_not_exceed() {
        for (nanos, expected) in [
            (0, [1, 1, 1]),
            (1_000_000, [1, 1, 1]),
            (1_000_001, [0, 1, 1]),
            (10_000_000, [0, 1, 1]),
            (999_999_999, [0, 0, 1]),
            (1_000_000_001, [0, 0, 0]),
            (u64::MAX, [0, 0, 0]),
        ] {
            let mut histogram = Histogram::new(&BOUNDS);
            histogram.observe(Duration::from_nanos(nanos));
            let counts: Vec<_> = histogram.cumulative().collect();
            assert_eq!(counts, BOUNDS.into_iter().zip(expected).collect::<Vec<_>>(), "{nanos}");
            assert_eq!((histogram.count(), histogram.sum()), (1, Duration::from_nanos(nanos)));
        }
    }

    #[test]
    fn bounds_ascend() {
        assert!(LATENCIES.is_sorted_by(|one, other| one < other));
    }

    #[test]
    fn one_is_added_to_another_and_comes_out_of_json_as_it_went_in() {
        let mut one = Latency::default();
        [3, 30, 30_000].iter().for_each(|&millis| one.observe(Duration::from_millis(millis)));
        let text = serde_json::to_string(&one).unwrap();
        let mut other: Latency = serde_json::from_str(&text).unwrap();
        assert_eq!(other, one);
        other.merge(&one);
        assert_eq!((other.count(), other.sum()), (6, Duration::from_millis(60_066)));
        assert_eq!(other.cumulative().last(), Some((Duration::from_secs(10), 4)));
        for bad in ["{}", r#"{"counts":[1],"sum":{"secs":0,"nanos":0}}"#] {
            assert!(serde_json::from_str::<Latency>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn counts_add_up_and_the_sum_does_not_overflow() {
        let mut histogram = Histogram::new(&BOUNDS);
        for millis in [0, 1, 2, 20, 2000] {
            histogram.observe(Duration::from_millis(millis));
        }
        assert_eq!(histogram.cumulative().map(|(_, count)| count).collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!((histogram.count(), histogram.sum()), (5, Duration::from_millis(2023)));
        histogram.observe(Duration::MAX);
        assert_eq!((histogram.count(), histogram.sum()), (6, Duration::MAX));
    }
}
