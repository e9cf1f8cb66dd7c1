//! Samples in, text out.

use std::fmt::Write as _;

use super::stats::Spread;
use super::{Contest, Figure, Outcome, Sample, Subject, Target, Workload};

/// What a figure shows that a subject does not have.
const NOTHING: &str = "–";

/// One run in one line.
pub(crate) fn line<W: Workload>(
    contest: &Contest<W>,
    subject: &Subject,
    sample: &Sample<W::Measured>,
) -> String {
    let mut parts = Vec::new();
    for figure in contest.figures {
        if let Some(value) = (figure.of)(&sample.measured) {
            parts.push(format!("{} {value:.*}", figure.name, figure.decimals));
        }
    }
    parts.extend(sample.remarks.iter().cloned());
    format!("{}: {}", subject.title, parts.join("; "))
}

/// One table for all outcomes, then a line for each run in which something was not as it should be.
pub(crate) fn table<W: Workload>(outcomes: &[Outcome<'_, W>]) -> String {
    let mut rows = Vec::new();
    let mut heads = None;
    for outcome in outcomes {
        let (first, second) = (outcome.first.title, outcome.second.title);
        if heads.replace((first, second)) != Some((first, second)) {
            rows.push(["contest", "figure", first, second, "ratio", "target"].map(str::to_owned).to_vec());
        }
        rows.extend(outcome.contest.figures.iter().map(|figure| row(outcome, figure)));
        rows.push(failures(outcome));
    }
    let mut text = align(&rows);
    for outcome in outcomes {
        remarks(outcome, &mut text);
    }
    text
}

fn row<W: Workload>(outcome: &Outcome<'_, W>, figure: &Figure<W::Measured>) -> Vec<String> {
    let of = |sample: &Sample<W::Measured>| (figure.of)(&sample.measured);
    let values = |samples: &[Sample<W::Measured>]| samples.iter().filter_map(of).collect::<Vec<_>>();
    let (baseline, candidate) = (values(&outcome.baseline), values(&outcome.candidate));
    let (theirs, ours) = (Spread::of(&baseline), Spread::of(&candidate));
    let ratio = Spread::of_ratios(&baseline, &candidate);
    vec![
        outcome.contest.name.to_owned(),
        figure.name.to_owned(),
        spread(theirs, figure.decimals),
        spread(ours, figure.decimals),
        spread(ratio, 3),
        figure
            .target
            .filter(|_| outcome.is_as_listed())
            .map_or_else(String::new, |it| verdict(it, ours, ratio)),
    ]
}

/// Totals: a median would hide the one bad run.
fn failures<W: Workload>(outcome: &Outcome<'_, W>) -> Vec<String> {
    let total = |samples: &[Sample<W::Measured>]| {
        samples.iter().map(|sample| sample.failures).sum::<u64>().to_string()
    };
    let (first, second) = (total(&outcome.baseline), total(&outcome.candidate));
    [outcome.contest.name, "failed, in all", &first, &second, "", ""].map(str::to_owned).to_vec()
}

fn spread(spread: Option<Spread>, decimals: usize) -> String {
    spread.map_or_else(
        || NOTHING.to_owned(),
        |Spread { median, least, most }| {
            format!("{median:.decimals$} ({least:.decimals$}–{most:.decimals$})")
        },
    )
}

fn verdict(target: Target, ours: Option<Spread>, ratio: Option<Spread>) -> String {
    let (wish, value) = match target {
        Target::RatioAtMost(limit) => (format!("ratio ≤ {limit}"), ratio.map(|ratio| ratio.median <= limit)),
        Target::RatioAtLeast(limit) => (format!("ratio ≥ {limit}"), ratio.map(|ratio| ratio.median >= limit)),
        Target::AtMost(limit) => (format!("≤ {limit}"), ours.map(|ours| ours.median <= limit)),
    };
    match value {
        Some(true) => format!("{wish}: met"),
        Some(false) => format!("{wish}: missed"),
        None => wish,
    }
}

fn remarks<W: Workload>(outcome: &Outcome<'_, W>, text: &mut String) {
    for (subject, samples) in [(outcome.first, &outcome.baseline), (outcome.second, &outcome.candidate)] {
        for (round, sample) in (1..).zip(samples) {
            for remark in &sample.remarks {
                // Writing into a String cannot fail.
                let _ =
                    writeln!(text, "{}, round {round}, {}: {remark}", outcome.contest.name, subject.title);
            }
        }
    }
}

/// Columns two blanks apart. Widths are counted in characters, of which none here is wider than one cell.
fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &Vec<String>, column: usize| row.get(column).map_or(0, |text| text.chars().count());
    let widths: Vec<usize> =
        (0..columns).map(|column| rows.iter().map(|row| cell(row, column)).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let line: Vec<String> =
            row.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::samples::{CONTESTS, Nothing, sample};
    use super::*;

    fn outcome() -> Outcome<'static, Nothing> {
        let contest = &CONTESTS[0];
        let mut slow = sample(10_000.0, 9.0, Some(0.5));
        slow.failures = 3;
        slow.remarks = vec!["wrk saw 3 time-outs".to_owned()];
        Outcome {
            contest,
            first: contest.baseline,
            second: contest.candidate,
            baseline: vec![sample(10_000.0, 50.0, None), sample(20_000.0, 52.0, None)],
            candidate: vec![sample(15_000.0, 7.0, Some(0.5)), slow],
        }
    }

    #[test]
    fn a_table() {
        let text = table(&[outcome()]);
        let expected = "\
contest  figure          Old                   New                   ratio                target
busy     requests/s      15000 (10000–20000)   12500 (10000–15000)   1.000 (0.500–1.500)  ratio ≥ 0.95: met
busy     RSS, MB         51.0 (50.0–52.0)      8.0 (7.0–9.0)         0.157 (0.140–0.173)  ≤ 8: met
busy     helper, MB      –                     0.5 (0.5–0.5)         –
busy     failed, in all  0                     3
busy, round 2, New: wrk saw 3 time-outs
";
        let squeeze = |text: &str| text.split('\n').map(words).collect::<Vec<_>>();
        assert_eq!(squeeze(&text), squeeze(expected), "{text}");
    }

    fn words(line: &str) -> Vec<String> {
        line.split("  ").map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
    }

    #[test]
    fn other_subjects_have_no_targets() {
        let mut outcome = outcome();
        outcome.second = outcome.first;
        let text = table(&[outcome]);
        assert!(!text.contains("met") && !text.contains('≥'), "{text}");
    }

    #[test]
    fn columns_line_up_behind_characters_of_several_bytes() {
        let text = align(&[vec!["–".into(), "x".into()], vec!["ab".into(), "y".into()]]);
        assert_eq!(text, "–   x\nab  y\n");
    }

    #[test]
    fn a_missed_target_says_so() {
        let one = |median| Some(Spread { median, least: median, most: median });
        assert_eq!(verdict(Target::RatioAtMost(0.75), one(1.0), one(0.76)), "ratio ≤ 0.75: missed");
        assert_eq!(verdict(Target::RatioAtLeast(0.95), one(1.0), one(0.94)), "ratio ≥ 0.95: missed");
        assert_eq!(verdict(Target::AtMost(8.0), one(8.1), one(0.1)), "≤ 8: missed");
        assert_eq!(verdict(Target::AtMost(8.0), None, None), "≤ 8");
    }

    #[test]
    fn a_run_in_a_line() {
        let outcome = outcome();
        let text = line(outcome.contest, outcome.second, &outcome.candidate[1]);
        assert_eq!(text, "New: requests/s 10000; RSS, MB 9.0; helper, MB 0.5; wrk saw 3 time-outs");
    }
}
