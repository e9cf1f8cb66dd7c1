//! The other verbs, and where a setting comes from.

use std::{fs, process::Output};

use crate::harness::{Master, Pointsman, eventually};

#[track_caller]
fn stdout(run: Pointsman) -> String {
    let Output { status, stdout, stderr } = run.output();
    assert_eq!(status.code(), Some(0), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

#[test]
fn the_version_names_the_commit() {
    let text = stdout(Pointsman::verb("--version"));
    assert!(text.starts_with(concat!("pointsman ", env!("CARGO_PKG_VERSION"))), "{text}");
    assert!(text.contains('('), "{text}");
}

#[test]
fn completions_and_the_manual_come_from_the_same_words() {
    for shell in ["bash", "zsh", "fish"] {
        let text = stdout(Pointsman::verb("completions").flag(shell));
        assert!(text.contains("pointsman") && text.contains("completions"), "{shell}");
    }
    let text = stdout(Pointsman::verb("man"));
    assert!(text.contains(".TH") && text.contains("pointsman"), "{text}");
}

#[test]
fn check_prints_what_would_run_and_starts_nothing() {
    let text = stdout(Pointsman::verb("check").env("WEB_CONCURRENCY", "7").env("PORT", "4321"));
    for word in ["7", "4321", "round-robin"] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
}

#[test]
fn check_refuses_what_run_would_refuse() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pointsman.toml");
    let cases = [
        ("workres = 3\n", vec!["workres", "workers", "pointsman.toml", "1"]),
        ("workers = 2\nstop_timeout = 30\n", vec!["stop_timeout", "30s"]),
        ("workers = \n", vec!["pointsman.toml", "1"]),
        ("policy = \"nosuch\"\n", vec!["nosuch", "round-robin"]),
        ("program = [\"nosuchprogram\"]\n", vec!["nosuchprogram"]),
    ];
    for (text, words) in cases {
        fs::write(&file, text).unwrap();
        for verb in [Pointsman::verb("check"), Pointsman::run().flag("-t")] {
            let output = verb.option("-c", &file).output();
            let shown = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(78), "{text:?}: {shown}");
            for word in &words {
                assert!(shown.contains(word), "{word:?} is not in {shown}");
            }
        }
    }
}

/// How many workers it really starts.
fn workers_of(run: Pointsman, count: usize) {
    let mut master: Master = run.start();
    master.wait_ready(count);
    eventually("there are no more", || master.workers().len() == count);
    master.finish();
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pointsman.toml");
    fs::write(&file, "workers = 1\n").unwrap();
    let with_file = || Pointsman::run().option("-c", &file);
    workers_of(with_file().env("WEB_CONCURRENCY", "4"), 1);
    workers_of(with_file().env("POINTSMAN_WORKERS", "2"), 2);
    workers_of(with_file().env("POINTSMAN_WORKERS", "2").workers(3), 3);
    workers_of(Pointsman::run().env("WEB_CONCURRENCY", "4"), 4);
}

#[test]
fn what_is_no_verb_or_flag_is_a_usage_error() {
    for wrong in ["nosuchverb", "--nosuchflag"] {
        let output = Pointsman::verb(wrong).output();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8(output.stderr).unwrap().contains(wrong));
    }
}
