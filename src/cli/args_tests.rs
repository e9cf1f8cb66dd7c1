//! Flags, and what is refused of them.

use super::*;
use clap::CommandFactory;

fn parse(words: &str) -> Result<RunArgs, String> {
    let words = ["pointsman", "run"].into_iter().chain(words.split_whitespace());
    match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
        Command::Run(args) => Ok(args),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn a_program_needs_no_dashes_before_it_and_keeps_its_own() {
    for (words, program) in [
        ("-w 4 -- node app.js --port 1", &["node", "app.js", "--port", "1"][..]),
        ("-w 4 node app.js --port 1 -w 9", &["node", "app.js", "--port", "1", "-w", "9"]),
        ("-w 4 node -- x", &["node", "--", "x"]),
        ("-w 4 -- -odd", &["-odd"]),
        ("-w 4", &[]),
    ] {
        let args = parse(words).unwrap();
        assert_eq!(args.program, program, "{words}");
        assert_eq!(args.workers, Some(Workers::Count(4)), "{words}");
    }
    let error = parse("--worker 4 node").unwrap_err();
    assert!(error.contains("--worker") && error.contains("--workers"), "{error}");
}

#[test]
fn flags_become_a_layer() {
    let words = "-w auto -l :1 -l 2 -m handoff -p rr -c f -e A=1 -e B=x=y -e C= --stop-timeout 1s --kill-timeout 2s \
                 --restart-delay 3s --no-load-report --serialization advanced --master-scheduling normal -t x";
    let (layer, file) = parse(words).unwrap().into_layer();
    assert_eq!(file, Some("f".into()));
    assert_eq!(layer.listen.unwrap().value, [":1".parse().unwrap(), "2".parse().unwrap()]);
    let env: Vec<_> = layer.env.iter().map(|(name, given)| (name.to_str(), given.value.to_str())).collect();
    assert_eq!(env, [(Some("A"), Some("1")), (Some("B"), Some("x=y")), (Some("C"), Some(""))]);
    assert_eq!(layer.restart_delay.unwrap().value, Duration::from_secs(3));
    assert_eq!(layer.load_report.map(|given| given.value), Some(false));
    assert_eq!(layer.serialization.map(|given| given.value), Some(Serialization::Advanced));
    assert_eq!(layer.master_scheduling.map(|given| given.value), Some(Scheduling::Normal));
    let (layer, file) = parse("").unwrap().into_layer();
    assert!(layer.load_report.is_none());
    assert!(file.is_none() && layer.listen.is_none() && layer.program.is_none());
}

#[test]
fn what_is_completed_is_all_that_this_version_has() {
    let policies: Vec<_> = POLICIES.iter().map(|word| config::policy(word).unwrap()).collect();
    assert!(PolicyName::ALL.iter().all(|policy| policies.contains(policy)));
    assert!(Serialization::ALL.iter().map(ToString::to_string).eq(SERIALIZATIONS));
    assert!(Scheduling::ALL.iter().map(ToString::to_string).eq(SCHEDULINGS));
    for mode in [Mode::Handoff, Mode::Shared, Mode::Multiport] {
        assert_eq!(MODES.contains(&&*mode.to_string()), mode.refusal().is_none(), "{mode}");
    }
    for overload in [Overload::Wait, Overload::Reject] {
        assert!(CHOICES.contains(&&*overload.to_string()), "{overload}");
    }
    assert!(CHOICES.iter().all(|word| word.parse::<Overload>().is_ok()));
}

#[test]
fn a_bad_value_is_refused_with_what_to_write() {
    for (words, expected) in [
        ("-w 0", "'0' for '--workers <N|auto>': without a worker nothing is served; give 1 to 1024"),
        ("-l localhost", "the address has no port"),
        ("-l /run/", "not the path of a Unix socket"),
        ("--map 3000", "write FROM=TO, such as 3000=8000"),
        ("-m none", "the modes are: handoff, shared, multiport"),
        ("-m handof", "no such mode; did you mean handoff? The modes are: handoff, shared, multiport"),
        ("-p random", "the policies are: round-robin"),
        (
            "-p round-robbin",
            "'round-robbin' for '--policy <POLICY>': no such policy; did you mean round-robin?",
        ),
        ("--serialization v8", "no such serialization; the serializations are: json, advanced"),
        ("--master-scheduling fifo", "no such scheduling; the choices are: batch, normal"),
        ("-e A", "write NAME=VALUE"),
        ("-e =A", "write NAME=VALUE"),
        ("--stop-timeout 30", "write 30s, or 30ms"),
        ("--stop-timeout off", "SIGQUIT waits for ever"),
    ] {
        let error = parse(words).unwrap_err();
        assert!(error.contains(expected), "{words}: {error}");
    }
}
