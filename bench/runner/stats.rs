//! Medians and spreads.

/// The middle of some values and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// `None` without values, or if one is not a number.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        if values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let half = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) };
        Some(Self { median, least, most })
    }

    /// Of candidate ÷ baseline, pair by pair: what both of a pair suffered alike falls out.
    pub(crate) fn of_ratios(baseline: &[f64], candidate: &[f64]) -> Option<Self> {
        let ratios: Vec<f64> = candidate.iter().zip(baseline).map(|(ours, theirs)| ours / theirs).collect();
        if baseline.len() == candidate.len() { Self::of(&ratios) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[1.0, f64::NAN]), None);
        assert_eq!(Spread::of(&[7.0]), Some(Spread { median: 7.0, least: 7.0, most: 7.0 }));
        assert_eq!(Spread::of(&[9.0, 1.0, 2.0]), Some(Spread { median: 2.0, least: 1.0, most: 9.0 }));
        assert_eq!(Spread::of(&[9.0, 1.0, 2.0, 4.0]), Some(Spread { median: 3.0, least: 1.0, most: 9.0 }));
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The second round was twice as slow for both: no ratio but 0.5.
        let spread = Spread::of_ratios(&[10.0, 20.0], &[5.0, 10.0]);
        assert_eq!(spread, Some(Spread { median: 0.5, least: 0.5, most: 0.5 }));
        assert_eq!(Spread::of_ratios(&[0.0], &[1.0]), None);
        assert_eq!(Spread::of_ratios(&[1.0, 2.0], &[1.0]), None);
    }
}
