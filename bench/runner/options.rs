//! The flags: arguments in, a plan or a refusal out.

use std::fmt::Write as _;

use super::{Bench, Contest, Failure, Subject, Workload};

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Request<'a, W: Workload + 'static> {
    Measure(Options<'a, W>),
    Help,
    /// `cargo test --all-targets` runs benches too, without `--bench`.
    Idle,
}

/// How to measure.
#[derive(Debug)]
pub(crate) struct Options<'a, W: Workload + 'static> {
    pub(crate) contests: Vec<&'a Contest<W>>,
    /// Other subjects than the contests name.
    pub(crate) pair: Option<(&'a Subject, &'a Subject)>,
    pub(crate) rounds: u32,
    /// What they are depends on the bench.
    pub(crate) seconds: u32,
    /// Of load before that, so that V8 has compiled what is hot.
    pub(crate) warm_up: u32,
}

impl<W: Workload> Options<'_, W> {
    /// The plan in a sentence, to stand beside the figures.
    pub(crate) fn plan(&self, bench: &Bench<W>) -> String {
        let Self { rounds, seconds, warm_up, .. } = self;
        format!(
            "{rounds} rounds in the order A B B A; {seconds} s of {} a run after {warm_up} s of warm-up; \
             median (least–most); ratios are taken within a round.",
            bench.seconds_of
        )
    }
}

pub(crate) fn parse<W: Workload>(
    mut args: impl Iterator<Item = String>,
    bench: &Bench<W>,
) -> Result<Request<'_, W>, Failure> {
    let &Bench { contests, rounds, seconds, .. } = bench;
    let mut options =
        Options { contests: contests.iter().collect(), pair: None, rounds, seconds, warm_up: 1 };
    let mut bench = false;
    while let Some(flag) = args.next() {
        match flag.as_str() {
            "--bench" => bench = true,
            "--help" | "-h" => return Ok(Request::Help),
            "--quick" => (options.rounds, options.seconds) = (2, 1),
            "--rounds" => options.rounds = number(&flag, args.next())?,
            "--seconds" => options.seconds = number(&flag, args.next())?,
            "--warm-up" => options.warm_up = number(&flag, args.next())?,
            "--only" => options.contests = only(contests, &args.next().unwrap_or_default())?,
            "--pair" => options.pair = Some(pair(contests, &args.next().unwrap_or_default())?),
            _ => return Err(Failure::Usage(format!("unknown argument {flag}"))),
        }
    }
    Ok(if bench { Request::Measure(options) } else { Request::Idle })
}

pub(crate) fn help<W: Workload>(bench: &Bench<W>) -> String {
    let &Bench { usage, contests, rounds, seconds, seconds_of, .. } = bench;
    let mut text = format!(
        "usage: {usage} [FLAGS]\n\n\
         --rounds N      pairs of runs ({rounds}); an even number cancels a steady drift\n\
         --seconds N     {seconds_of} in each run, in seconds ({seconds})\n\
         --warm-up N     load before it, in seconds (1)\n\
         --quick         2 rounds of 1 s: shows that it works, and hardly more\n\
         --only NAME     one contest of those below\n\
         --pair A,B      other subjects: A is the baseline; the same twice shows the noise\n\n",
    );
    for contest in contests {
        let (baseline, candidate) = (contest.baseline, contest.candidate);
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{:<15} {} against {}", contest.name, candidate.title, baseline.title);
    }
    let _ = writeln!(text, "\nsubjects: {}", names(&subjects(contests)));
    text
}

/// Zero seconds or rounds would measure nothing; 3600 is above every sensible wish and keeps the limits small.
fn number(flag: &str, value: Option<String>) -> Result<u32, Failure> {
    let number = value.and_then(|text| text.parse().ok()).filter(|number| (1..=3600).contains(number));
    number.ok_or_else(|| Failure::Usage(format!("{flag} needs a whole number from 1 to 3600")))
}

fn only<'a, W: Workload>(contests: &'a [Contest<W>], name: &str) -> Result<Vec<&'a Contest<W>>, Failure> {
    let found: Vec<_> = contests.iter().filter(|contest| contest.name == name).collect();
    if found.is_empty() {
        let known: Vec<_> = contests.iter().map(|contest| contest.name).collect();
        return Err(Failure::Usage(format!("--only knows {}, not {name:?}", known.join(", "))));
    }
    Ok(found)
}

fn pair<'a, W: Workload>(
    contests: &'a [Contest<W>],
    text: &str,
) -> Result<(&'a Subject, &'a Subject), Failure> {
    let known = subjects(contests);
    let find = |name: &str| known.iter().copied().find(|subject| subject.name == name);
    let found = text.split_once(',').and_then(|(first, second)| Some((find(first)?, find(second)?)));
    found.ok_or_else(|| Failure::Usage(format!("--pair needs two of {}, as in A,B", names(&known))))
}

/// Each once, in the order of the contests.
fn subjects<W: Workload>(contests: &[Contest<W>]) -> Vec<&Subject> {
    let mut found: Vec<&Subject> = Vec::new();
    for subject in contests.iter().flat_map(|contest| [contest.baseline, contest.candidate]) {
        if found.iter().all(|other| other.name != subject.name) {
            found.push(subject);
        }
    }
    found
}

fn names(subjects: &[&Subject]) -> String {
    subjects.iter().map(|subject| subject.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::samples::{BENCH, Nothing};
    use super::*;

    fn ask(line: &str) -> Result<Request<'static, Nothing>, Failure> {
        parse(line.split_whitespace().map(str::to_owned), &BENCH)
    }

    fn options(line: &str) -> Options<'static, Nothing> {
        match ask(line).unwrap() {
            Request::Measure(options) => options,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn cargo_passes_bench() {
        assert!(matches!(ask("").unwrap(), Request::Idle));
        assert!(matches!(ask("--bench --help").unwrap(), Request::Help));
        let plain = options("--bench");
        assert_eq!((plain.rounds, plain.seconds, plain.warm_up, plain.contests.len()), (6, 5, 1, 2));
    }

    #[test]
    fn later_flags_win() {
        let quick = options("--quick --bench");
        assert_eq!((quick.rounds, quick.seconds), (2, 1));
        let longer = options("--quick --rounds 7 --seconds 2 --warm-up 3 --bench");
        assert_eq!((longer.rounds, longer.seconds, longer.warm_up), (7, 2, 3));
    }

    #[test]
    fn contests_and_subjects_by_name() {
        let one = options("--only still --pair new,new --bench");
        assert_eq!(one.contests.iter().map(|contest| contest.name).collect::<Vec<_>>(), ["still"]);
        let (first, second) = one.pair.unwrap();
        assert_eq!((first.name, second.name), ("new", "new"));
    }

    #[test]
    fn refusals_name_what_is_known() {
        for (line, part) in [
            ("--rounds", "--rounds needs a whole number"),
            ("--seconds 0", "from 1 to 3600"),
            ("--only nothing", "knows busy, still, not \"nothing\""),
            ("--pair old", "two of old, new"),
            ("--pair old,older", "two of old, new"),
            ("--fast", "unknown argument --fast"),
        ] {
            let refusal = ask(line).unwrap_err().to_string();
            assert!(refusal.contains(part), "{line}: {refusal}");
        }
    }
}
