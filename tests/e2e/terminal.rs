//! On a real terminal: Ctrl-C, and a terminal that goes away.

use std::time::Duration;

use crate::harness::{Node, Pointsman, now};

/// Runs until the end that a person at the terminal gives it, and returns what was shown.
fn show(action: &str, run: Pointsman) -> String {
    let output = run.through_python("terminal.py", action).output();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains("warning") && !text.contains("panicked"), "{text}");
    text
}

#[test]
fn ctrl_c_stops_it_gracefully() {
    for run in [Pointsman::run(), Pointsman::run().node(Node::DEFAULT, "plain.js")] {
        let text = show("ctrl-c", run.workers(2));
        for part in ["try   curl http://127.0.0.1:", "stop  Ctrl-C", "ready: ", "stopping", "stopped"] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
    }
}

#[test]
fn a_second_ctrl_c_stops_it_at_once() {
    let start = now();
    let run = Pointsman::run().workers(1).option("--stop-timeout", "10m").option("--kill-timeout", "10m");
    let text = show("ctrl-c-twice", run.node(Node::DEFAULT, "stubborn.js"));
    assert!(start.elapsed() < Duration::from_secs(30), "{text}");
}

#[test]
fn it_stops_when_its_terminal_goes_away() {
    for run in [Pointsman::run(), Pointsman::run().node(Node::DEFAULT, "plain.js")] {
        show("hang-up", run.workers(2));
    }
}
