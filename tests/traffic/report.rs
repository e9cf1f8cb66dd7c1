//! All exchanges of a load in numbers, and those that failed one by one.

use std::{fmt, time::Duration};

use super::exchange::{Ending, Exchange, Loss};

/// How a load went.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) duration: Duration,
    /// The most requests that were under way at a time.
    pub(crate) peak: usize,
    pub(crate) sent: usize,
    pub(crate) answered: usize,
    /// The longest time in which no answer came.
    pub(crate) longest_pause: Duration,
    /// The longest that one of the answered took.
    pub(crate) slowest: Duration,
    /// Everything that was not answered as it should be.
    pub(crate) failed: Vec<Exchange>,
}

impl Report {
    /// `duration` is how long requests were sent; the last answers may have come later.
    pub(super) fn new(exchanges: Vec<Exchange>, duration: Duration, peak: usize) -> Self {
        let sent = exchanges.len();
        let (answered, failed): (Vec<_>, Vec<_>) =
            exchanges.into_iter().partition(|exchange| matches!(exchange.ending, Ending::Answered(_)));
        let mut ends: Vec<_> = answered.iter().map(|exchange| exchange.ended).collect();
        ends.extend([Duration::ZERO, duration]);
        ends.sort_unstable();
        let pauses = ends.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
        Self {
            duration,
            peak,
            sent,
            answered: answered.len(),
            longest_pause: pauses.max().unwrap_or_default(),
            slowest: answered.iter().map(Exchange::took).max().unwrap_or_default(),
            failed,
        }
    }

    pub(crate) fn per_second(&self) -> f64 {
        let sent = u32::try_from(self.sent).unwrap_or(u32::MAX);
        f64::from(sent) / self.duration.as_secs_f64()
    }

    pub(crate) fn lost(&self) -> impl Iterator<Item = &Exchange> {
        self.failed.iter().filter(|exchange| matches!(exchange.ending, Ending::Lost(_)))
    }

    /// Answered with another's token.
    pub(crate) fn mistaken(&self) -> usize {
        self.count(|ending| matches!(ending, Ending::Mistaken(_)))
    }

    /// Answered more than once.
    pub(crate) fn twice(&self) -> usize {
        self.count(|ending| matches!(ending, Ending::Twice))
    }

    fn count(&self, is: fn(&Ending) -> bool) -> usize {
        self.failed.iter().filter(|exchange| is(&exchange.ending)).count()
    }
}

impl Exchange {
    fn took(&self) -> Duration {
        self.ended.saturating_sub(self.begun)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { duration, peak, sent, answered, longest_pause, slowest, failed } = self;
        writeln!(
            out,
            "{sent} sent in {:.1} s ({:.0}/s, at most {peak} at a time): {answered} answered, {} lost, \
             {} with another's token, {} more than once",
            duration.as_secs_f64(),
            self.per_second(),
            self.lost().count(),
            self.mistaken(),
            self.twice(),
        )?;
        writeln!(
            out,
            "lost: {} not connected, {} reset or closed, {} timed out, {} refused or not understood",
            self.count(|ending| matches!(ending, Ending::Lost(Loss::Connect(_)))),
            self.count(|ending| matches!(
                ending,
                Ending::Lost(Loss::Send(_) | Loss::Closed | Loss::Reset(_))
            )),
            self.count(|ending| matches!(ending, Ending::Lost(Loss::TimedOut))),
            self.count(|ending| matches!(ending, Ending::Lost(Loss::Refused(_) | Loss::Foreign))),
        )?;
        write!(
            out,
            "longest without an answer {} ms, slowest answer {} ms",
            longest_pause.as_millis(),
            slowest.as_millis()
        )?;
        failed.iter().try_for_each(|exchange| write!(out, "\n  {exchange}"))
    }
}
