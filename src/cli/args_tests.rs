//! Flags, and what is refused of them.

use super::*;
use std::time::Duration;

use clap::CommandFactory;
use pointsman::{ReadyOn, Serialization};

use crate::config::{Environment, FORWARD, FORWARD_SAMPLES, Form, Key, Overload, PLAIN, SAMPLES, load};

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
                 --restart-delay 3s --no-load-report --serialization advanced \
                 --depends 127.0.0.1:1 --depends exec:true -t x";
    let (layer, file) = parse(words).unwrap().into_layer();
    assert_eq!(file, Some("f".into()));
    assert_eq!(layer.listen.unwrap().value, [":1".parse().unwrap(), "2".parse().unwrap()]);
    let env: Vec<_> = layer.env.iter().map(|(name, given)| (name.to_str(), given.value.to_str())).collect();
    assert_eq!(env, [(Some("A"), Some("1")), (Some("B"), Some("x=y")), (Some("C"), Some(""))]);
    assert_eq!(layer.plain.restart_delay.unwrap().value, Duration::from_secs(3));
    assert_eq!(layer.plain.load_report.map(|given| given.value), Some(false));
    assert_eq!(layer.plain.serialization.map(|given| given.value), Some(Serialization::Advanced));
    assert_eq!(layer.depends.map(|given| given.value.len()), Some(2));
    let (layer, file) = parse("").unwrap().into_layer();
    assert!(layer.plain.load_report.is_none());
    assert!(file.is_none() && layer.listen.is_none() && layer.program.is_none());
}

#[test]
fn every_plain_key_is_read_from_its_flag() {
    let word = |key: &Key, value: &str| match key.form {
        Form::On | Form::Off => key.flag.to_owned(),
        _ => format!("{} {value}", key.flag),
    };
    let words: Vec<_> = PLAIN.iter().zip(SAMPLES).map(|(key, (_, value))| word(key, value)).collect();
    let (layer, _) = parse(&words.join(" ")).unwrap().into_layer();
    let config = load(layer, None, &Environment::default()).unwrap();
    for ((key, value, origin), (name, expected)) in config.plain.rows().into_iter().zip(SAMPLES) {
        assert_eq!((key.name, &*value, &*origin.to_string()), (name, expected, key.flag));
    }
    let forward: Vec<_> =
        FORWARD.iter().zip(FORWARD_SAMPLES).map(|(key, (_, value))| word(key, value)).collect();
    let (layer, _) = parse(&format!("-m multiport {}", forward.join(" "))).unwrap().into_layer();
    let config = load(layer, None, &Environment::default()).unwrap();
    for ((key, value, origin), (name, expected)) in
        config.forward.keys.rows().into_iter().zip(FORWARD_SAMPLES)
    {
        assert_eq!((key.name, &*value, &*origin.to_string()), (name, expected, key.flag));
    }
    let config = load(parse("").unwrap().into_layer().0, None, &Environment::default()).unwrap();
    assert!(config.plain.rows().iter().all(|(_, _, origin)| matches!(origin, Origin::Default)));
}

#[test]
fn every_plain_key_has_a_flag_that_shows_its_default() {
    let command = Cli::command();
    let run = command.find_subcommand("run").unwrap();
    for key in PLAIN.iter().chain(&FORWARD) {
        let flag = run.get_arguments().find(|arg| arg.get_long() == key.flag.strip_prefix("--")).unwrap();
        let help = flag.get_help().unwrap().to_string();
        let default = format!(" [default: {}]", (key.default)());
        assert!(help.ends_with(&default) || matches!(key.form, Form::On | Form::Off), "{help}");
        assert!(!help.contains("  ") && !help.contains('\n'), "{help}");
        assert!(!key.flag.contains('_'), "{}", key.flag);
        let name = key.flag.trim_start_matches("--").trim_start_matches("no-").replace('-', "_");
        assert_eq!(name, key.name);
    }
    let long = |name: &str| {
        let flag = run.get_arguments().find(|arg| arg.get_id() == name).unwrap();
        flag.get_long_help().map(ToString::to_string)
    };
    let text = long("serialization").unwrap();
    assert!(text.contains("[default: json]\n\nAs in Node's cluster.setupPrimary: with"), "{text}");
    assert_eq!(long("window"), None);
}

#[test]
fn what_there_may_be_several_of_is_read_from_flags() {
    let words = "-m multiport --upstreams 10.0.0.5:80 --upstreams b:80 --trusted-proxies private --trusted-proxies ::1";
    let config = load(parse(words).unwrap().into_layer().0, None, &Environment::default()).unwrap();
    let rows = config.forward.rows();
    for (key, expected) in [("upstreams", "10.0.0.5:80, b:80"), ("trusted_proxies", "private, ::1")] {
        let (_, value, origin) = rows.iter().find(|(name, ..)| *name == key).unwrap();
        assert_eq!((&**value, origin.to_string()), (expected, format!("--{}", key.replace('_', "-"))));
    }
}

#[test]
fn how_requests_are_forwarded_is_in_the_long_help_only() {
    let run = || Cli::command().find_subcommand_mut("run").unwrap().clone();
    assert!(!run().render_help().to_string().contains("--upstream"));
    let long = run().render_long_help().to_string();
    let heading = long.find("Forwarding of requests (-m multiport):").unwrap();
    assert!(["--lanes <", "--upstreams <", "--sticky <"].iter().all(|flag| long.find(flag) > Some(heading)));
    assert!(long.find("--window") < Some(heading) && long.find("--test") < Some(heading));
}

#[test]
fn what_is_completed_is_all_that_this_version_has() {
    let policies: Vec<_> = POLICIES.iter().map(|word| config::policy(word).unwrap()).collect();
    assert!(PolicyName::ALL.iter().all(|policy| policies.contains(policy)));
    let completed = |flag| PLAIN.iter().find(|key| key.flag == flag).map(|key| key.form);
    let serializations = Serialization::ALL.iter().map(ToString::to_string);
    assert!(
        matches!(completed("--serialization"), Some(Form::Word(_, words)) if serializations.eq(words.iter().copied()))
    );
    assert!(
        matches!(completed("--ready-on"), Some(Form::Word(_, words)) if ReadyOn::ALL.map(|way| way.to_string()) == words)
    );
    let overloads = [Overload::Wait, Overload::Reject].map(|known| known.to_string());
    assert!(matches!(completed("--overload"), Some(Form::Word(_, words)) if overloads.iter().eq(words)));
    assert_eq!(MODES, [Mode::Handoff, Mode::Shared, Mode::Multiport].map(|mode| mode.to_string()));
}

#[test]
fn a_bad_value_is_refused_with_what_to_write() {
    for (words, expected) in [
        ("-w 1025", "'1025' for '--workers <N|auto>': too many workers; give 0 to 1024"),
        ("-l localhost", "the address has no port"),
        ("-l /run/", "not the path of a Unix socket"),
        ("--map 3000", "write FROM=TO, such as 3000=8000"),
        ("-m none", "the modes are: handoff, shared, multiport"),
        ("-m handof", "no such mode; did you mean handoff? The modes are: handoff, shared, multiport"),
        ("-p random", "did you mean power-of-two? The policies are: round-robin"),
        (
            "-p round-robbin",
            "'round-robbin' for '--policy <POLICY>': no such policy; did you mean round-robin?",
        ),
        ("--serialization v8", "no such serialization; the serializations are: json, advanced"),
        ("-e A", "write NAME=VALUE"),
        ("-e =A", "write NAME=VALUE"),
        ("--stop-signal KILL", "comes by itself after kill_timeout"),
        ("--max-memory 500", "write 500MiB, or 500B, or off"),
        ("--depends 5432", "the address has no host"),
        ("--ready-on listen_", "no such way to be ready"),
        ("--stop-timeout 30", "write 30s, or 30ms"),
        ("--stop-timeout off", "SIGQUIT waits for ever"),
    ] {
        let error = parse(words).unwrap_err();
        assert!(error.contains(expected), "{words}: {error}");
    }
}
