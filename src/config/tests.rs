mod shipped;

use std::{ffi::OsStr, path::PathBuf};

use pointsman::{Control, Settings};
use proptest::prelude::*;

use super::{layer::Source, layer::keys, *};

fn file(text: &str, problems: &mut Problems) -> Layer {
    file::parse(Source { path: PathBuf::from("p.toml"), text: text.to_owned() }, problems)
}

pub(super) fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|&(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

/// What `load` does, with the text of a file in place of its path.
pub(super) fn load_text(flags: Layer, text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let mut problems = Problems::default();
    let environment = environment(variables);
    let from_file = file(text, &mut problems);
    let explicit = flags.over(environment.layer(&mut problems)).over(from_file);
    let defaults = environment.defaults(&explicit, &mut problems);
    let config = resolve(explicit.over(defaults), &mut problems);
    if problems.0.is_empty() { Ok(config) } else { Err(problems.render(false)) }
}

pub(super) fn flag<T>(value: T) -> Option<Given<T>> {
    Some(Given::new(value, Origin::Flag("--flag")))
}

fn os(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// Where it listens.
fn shown(config: &Config) -> String {
    config.listen.value.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn nothing_given_is_the_defaults_of_the_crate_and_a_control_socket() {
    let config = load_text(Layer::default(), "", &[]).unwrap();
    assert_eq!(shown(&config), "127.0.0.1:8000");
    let plain = Settings::new("/proc/self/exe").arg("demo-worker").listen("127.0.0.1:8000".parse().unwrap());
    // A program on the crate says itself that it wants one.
    let plain = plain.control(Control::usual());
    assert_eq!(format!("{:?}", config.settings()), format!("{plain:?}"));
}

#[test]
fn a_later_source_wins() {
    let text =
        "workers = 2\nstop_timeout = \"2s\"\nlisten = [\"127.0.0.1:2\", \"127.0.0.1:3\"]\npolicy = \"rr\"";
    let workers = |flags, text, variables| {
        let config = load_text(flags, text, variables).unwrap();
        (config.workers.value, config.workers.origin.to_string())
    };
    let three = [("POINTSMAN_WORKERS", "3"), ("WEB_CONCURRENCY", "9")];
    let four = Layer { workers: flag(Workers::Count(4)), ..Layer::default() };
    assert_eq!(workers(four, text, &three), (4, "--flag".into()));
    assert_eq!(workers(Layer::default(), text, &three), (3, "POINTSMAN_WORKERS".into()));
    assert_eq!(workers(Layer::default(), text, &three[1..]), (2, "p.toml:1".into()));
    assert_eq!(workers(Layer::default(), "", &three[1..]), (9, "WEB_CONCURRENCY".into()));
    assert_eq!(workers(Layer::default(), "", &[]).1, "default");

    let config =
        load_text(Layer::default(), text, &[("POINTSMAN_LISTEN", "127.0.0.1:4, 127.0.0.1:5")]).unwrap();
    assert_eq!(shown(&config), "127.0.0.1:4 127.0.0.1:5");
    assert_eq!(config.plain.stop_timeout.origin.to_string(), "p.toml:2");
    assert_eq!(config.policy.origin.to_string(), "p.toml:4");
    assert_eq!(config.plain.kill_timeout.origin.to_string(), "default");
}

#[test]
fn a_number_of_workers_that_was_obeyed_is_not_obeyed_again() {
    let seen = |text, variables: &[_]| {
        let config = load_text(Layer::default(), text, variables).unwrap();
        config.env.get(OsStr::new("WEB_CONCURRENCY")).map(|given| given.value.to_str().unwrap().to_owned())
    };
    let nine = ("WEB_CONCURRENCY", "9");
    assert_eq!(seen("", &[nine]), Some("1".to_owned()));
    assert_eq!(seen("[env]\nWEB_CONCURRENCY = \"3\"", &[nine]), Some("3".to_owned()));
    assert_eq!(seen("workers = 2", &[nine]), None);
    assert_eq!(seen("", &[("POINTSMAN_WORKERS", "2"), nine]), None);
    assert_eq!(seen("", &[]), None);
}

#[test]
fn port_is_a_default_for_every_interface() {
    let listen = |text, variables: &[_]| {
        let config = load_text(Layer::default(), text, variables).unwrap();
        (shown(&config), config.listen.origin.to_string())
    };
    let (everywhere, origin) = listen("", &[("PORT", "3000")]);
    assert_eq!(origin, "PORT");
    assert!(["[::]:3000", "0.0.0.0:3000"].contains(&everywhere.as_str()), "{everywhere}");
    for port in ["3000", "nonsense"] {
        assert_eq!(listen("listen = \"127.0.0.1:2\"", &[("PORT", port)]).0, "127.0.0.1:2");
    }
    assert_eq!(listen("", &[("PORT", "")]).1, "default");
    let error = load_text(Layer::default(), "", &[("PORT", "nonsense")]).unwrap_err();
    assert!(error.contains("PORT=nonsense: \"nonsense\" is not a port"), "{error}");
}

#[test]
fn node_s_variable_chooses_policy_and_mode() {
    let load = |variables: &[_]| load_text(Layer::default(), "", variables);
    let rr = load(&[("NODE_CLUSTER_SCHED_POLICY", "rr")]).unwrap();
    assert_eq!((rr.policy.value, rr.mode.value), (PolicyName::RoundRobin, Mode::Handoff));
    assert_eq!(rr.policy.origin.to_string(), "NODE_CLUSTER_SCHED_POLICY");

    let ours = [("NODE_CLUSTER_SCHED_POLICY", "rr"), ("POINTSMAN_POLICY", "round-robin")];
    assert_eq!(load(&ours).unwrap().policy.origin.to_string(), "POINTSMAN_POLICY");

    assert_eq!(load(&[("NODE_CLUSTER_SCHED_POLICY", "none")]).unwrap().mode.value, Mode::Shared);
    let ours = [("NODE_CLUSTER_SCHED_POLICY", "none"), ("POINTSMAN_MODE", "handoff")];
    assert_eq!(load(&ours).unwrap().mode.value, Mode::Handoff);
    let both = load(&[("NODE_CLUSTER_SCHED_POLICY", "none"), ("POINTSMAN_POLICY", "least-connections")]);
    let error = both.unwrap_err();
    let expected = "POINTSMAN_POLICY=least-connections: least-connections needs a master that accepts";
    assert!(error.contains(expected) && error.contains("the mode (NODE_CLUSTER_SCHED_POLICY)"), "{error}");

    let unknown = load(&[("NODE_CLUSTER_SCHED_POLICY", "random")]).unwrap_err();
    assert!(unknown.contains("NODE_CLUSTER_SCHED_POLICY=random: no such policy"), "{unknown}");
    assert!(
        unknown.contains(
            "least-connections, power-of-two, hash; rr is Node's word for round-robin, and Node's none"
        ),
        "{unknown}"
    );
}

#[test]
fn what_is_refused_is_shown_as_it_was_written() {
    let load = |variables: &[_]| load_text(Layer::default(), "", variables).unwrap_err();
    let error = load(&[("POINTSMAN_LISTEN", "127.0.0.1:80, *:80")]);
    assert!(error.contains("POINTSMAN_LISTEN=127.0.0.1:80, *:80: 127.0.0.1:80 is part of *:80"), "{error}");
    let error = load(&[("POINTSMAN_ARGS", "-x   y")]);
    assert!(error.contains("POINTSMAN_ARGS=-x   y: arguments without a program"), "{error}");

    let listen = |addresses: &[&str]| {
        let listen = flag(addresses.iter().map(|address| address.parse().unwrap()).collect());
        load_text(Layer { listen, ..Layer::default() }, "", &[]).unwrap_err()
    };
    for (addresses, expected) in [
        (["[::1]:80", "[0::1]:80"], "error: --flag [0::1]:80: [::1]:80 and [0::1]:80 are both [::1]:80;"),
        (
            ["127.0.0.1:80", "127.0.0.1:80"],
            "error: --flag 127.0.0.1:80: 127.0.0.1:80 is given twice; leave one",
        ),
        (["*:80", "127.0.0.1:80"], "error: --flag 127.0.0.1:80: 127.0.0.1:80 is part of *:80"),
    ] {
        let error = listen(&addresses);
        assert!(error.contains(expected) && error.matches("error: ").count() == 1, "{error}");
    }
}

#[test]
fn a_policy_mistyped_is_recognised() {
    let error = policy("round-robbin").unwrap_err().to_string();
    let list = "The policies are: round-robin, least-connections, power-of-two, hash; rr is Node's word for round-robin";
    assert_eq!(error, format!("no such policy; did you mean round-robin? {list}"));
}

#[test]
fn a_program_does_not_take_over_the_arguments_of_another() {
    let text = "program = [\"node\", \"a.js\"]\nargs = [\"-x\"]\n[env]\nA = \"1\"\nB = \"1\"";
    let line = |flags, variables: &[_]| load_text(flags, text, variables).unwrap().command_line();
    assert_eq!(line(Layer::default(), &[]), "node a.js -x");
    assert_eq!(line(Layer::default(), &[("POINTSMAN_ARGS", "-y  -z")]), "node a.js -y -z");
    assert_eq!(line(Layer::default(), &[("POINTSMAN_PROGRAM", "deno b.js")]), "deno b.js");
    let flags = Layer { program: flag(os(&["sh", "-c", "it's"])), ..Layer::default() };
    assert_eq!(line(flags, &[]), r"sh -c 'it'\''s'");
    let error = load_text(Layer::default(), "args = [\"-x\"]", &[]).unwrap_err();
    assert!(error.contains("arguments without a program") && error.contains("p.toml:1"), "{error}");

    let env = vec![("B".into(), Given::new("2".into(), Origin::Flag("--env")))];
    let config = load_text(Layer { env, ..Layer::default() }, text, &[]).unwrap();
    let values: Vec<_> = config.env.iter().map(|(name, given)| (name.to_str().unwrap(), given)).collect();
    assert_eq!((values[0].0, values[0].1.value.to_str()), ("A", Some("1")));
    assert_eq!((values[1].0, values[1].1.value.to_str()), ("B", Some("2")));
}

/// Each text is one mistake, told with these parts.
#[track_caller]
pub(super) fn check_mistakes(texts: &[(&str, &[&str])]) {
    for (text, expected) in texts {
        let error = load_text(Layer::default(), text, &[]).unwrap_err();
        for part in *expected {
            assert!(error.contains(part), "{text}:\n{error}\nlacks {part}");
        }
        assert_eq!(error.matches("error: ").count(), 1, "{text}:\n{error}");
    }
}

#[test]
fn mistakes_are_told_with_their_place_and_all_at_once() {
    check_mistakes(&[
        (
            "worker = 4",
            &["error: unknown key \"worker\"", "p.toml:1:1", "| ^^^^^^", "did you mean workers?"][..],
        ),
        ("\n\nstoptimeout = \"1s\"", &["p.toml:3:1", "did you mean stop_timeout?"]),
        ("instances = 4", &["unknown key \"instances\"", "did you mean workers?"]),
        ("worker_processes = 4", &["did you mean workers?"]),
        ("script = \"a.js\"", &["did you mean program?"]),
        ("environment = {}", &["did you mean env?"]),
        ("timeout = \"1s\"", &["did you mean stop_timeout or handoff_timeout?"]),
        ("listen_options = {}", &["did you mean listen, with the options after the address?"]),
        ("policy = \"least_conn\"", &["did you mean least-connections? The policies"]),
        ("colour = 1", &["unknown key", "the keys are: workers, listen"]),
        ("workers = 1025", &["too many workers", "p.toml:1:11", "give 0 to 1024"]),
        ("workers = 4.5", &["a number or \"auto\" is expected", "not a value of type float"]),
        ("workers = \"four\"", &["not a number of workers"]),
        ("workers = [4]", &["not a value of type array"]),
        ("[env]\n\"A B\" = \"x\"", &["not the name of a variable", "p.toml:2:1"]),
        ("[env]\n1A = \"x\"", &["not the name of a variable"]),
        ("listen = [\":80\", \"nowhere\"]", &["the address has no port", "p.toml:1:18"]),
        ("listen = 8000", &["a string is expected"]),
        ("listen = [\"nowhere\"]", &["the address has no port"]),
        ("listen = { address = \":80\", backlog = 0 }", &["backlog: not a length of a queue", "p.toml:1:39"]),
        ("listen = { address = \":80\", mode = 660 }", &["a string is expected", "mode = \"660\""]),
        ("listen = { address = \":80\", mode = \"660\" }", &["mode is for Unix sockets"]),
        ("listen = { address = \":80\", backlock = 1 }", &["did you mean backlog?", "p.toml:1:29"]),
        ("listen = { backlog = 1 }", &["no address", "{ address = \":8000\""]),
        ("map = \"3000\"", &["not a mapping", "write FROM=TO"]),
        (
            "mode = \"shared\"\npolicy = \"least-connections\"",
            &["needs a master that accepts", "p.toml:2:10"],
        ),
        (
            "mode = \"shared\"\noverload = \"reject\"",
            &["overload is of connections that the master", "p.toml:2:12"],
        ),
        ("mode = \"shared\"\nwindow = 4", &["window is of connections", "p.toml:2:10"]),
        ("policy = \"hash\"", &["in the handoff mode a connection has no key", "p.toml:1:10"]),
        ("listen = []", &["no address to listen on"]),
        ("listen = [\"127.0.0.1:80\", \"0.0.0.0:80\"]", &["127.0.0.1:80 is part of 0.0.0.0:80"]),
        ("policy = \"random\"", &["no such policy", "round-robin"]),
        ("program = []", &["no program is named"]),
        ("program = \"\"", &["no program is named"]),
        ("program = \"a\\u0000\"", &["a zero byte"]),
        ("env = \"A=1\"", &["a table is expected", "write [env]"]),
        ("[env]\nA = 1", &["a string is expected", "p.toml:2:5"]),
        ("[env]\nPORT = \"1\"", &["get the public port as PORT", "choose it with -l", "p.toml:2:1"]),
        ("[env]\nNODE_UNIQUE_ID = \"1\"", &["get NODE_UNIQUE_ID from pointsman"]),
        ("workers = ", &["not TOML", "p.toml:1"]),
        ("a = 1\na = 2", &["not TOML", "duplicate key", "p.toml:2:1"]),
    ]);
    let text = "kill_timeout = 5\nworkers = -1\nmodes = \"x\"";
    let error = load_text(Layer::default(), text, &[("POINTSMAN_LISTEN", "x")]).unwrap_err();
    assert_eq!(error.matches("error: ").count(), 4, "{error}");
    let at = |part| error.find(part).unwrap();
    assert!(at(":1:16") < at(":2:11") && at(":2:11") < at(":3:1"), "{error}");
}

#[test]
fn mistakes_outside_a_file_name_the_variable_or_flag_and_the_value() {
    for (name, value, expected) in [
        (
            "POINTSMAN_WORKERS",
            "lots",
            "error: POINTSMAN_WORKERS=lots: not a number of workers; give 0 to 1024",
        ),
        ("POINTSMAN_STOP_TIMEOUT", "30", "POINTSMAN_STOP_TIMEOUT=30: a bare number does not say"),
        ("POINTSMAN_LANES", "2", "POINTSMAN_LANES=2: lanes is of requests that are forwarded"),
        ("POINTSMAN_PROGRAM", "sh -c 'x'", "quotes are not understood here"),
        ("POINTSMAN_LOAD_REPORT", "off", "POINTSMAN_LOAD_REPORT=off: neither true nor false; write one"),
        ("POINTSMAN_STOP_TIMEOUT", "off", "POINTSMAN_STOP_TIMEOUT=off: a stop by SIGTERM has an end"),
        ("WEB_CONCURRENCY", "0", "WEB_CONCURRENCY=0: without a worker nothing is served"),
    ] {
        let error = load_text(Layer::default(), "", &[(name, value)]).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let many = (1..=65).map(|port| format!("127.0.0.1:{port}").parse().unwrap()).collect();
    let flags = Layer { mode: flag(Mode::Shared), listen: flag(many), ..Layer::default() };
    let error = load_text(flags, "", &[]).unwrap_err();
    assert!(error.contains("at most 64 sockets; listen on fewer addresses"), "{error}");

    let error = load(Layer::default(), Some(Path::new("/no/such/file")), &environment(&[]))
        .unwrap_err()
        .render(false);
    assert!(error.contains("--config /no/such/file: the file cannot be read: No such file"), "{error}");
    let error =
        load(Layer::default(), Some(Path::new("/dev/zero")), &environment(&[])).unwrap_err().render(false);
    assert!(error.contains("larger than 1 MiB"), "{error}");
}

#[test]
fn variables_that_look_like_ours_are_warned_about() {
    let given = [
        ("POINTSMAN_WORKER", "4"),
        ("POINTSMAN_SLOT", "0"),
        ("POINTSMAN_PRELOAD", "--require x"),
        ("POINTSMAN_ADDRESSES", "127.0.0.1:1"),
        ("POINTSMAN_COLOUR", "red"),
        ("POINTSMAN_INSTANCES", "4"),
        ("POINTSMAN_LISTEN", "127.0.0.1:1"),
        ("POINTS", "0"),
    ];
    let warnings = load(Layer::default(), None, &environment(&given)).unwrap().warnings;
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(
        warnings[0].contains("POINTSMAN_COLOUR") && warnings[0].contains("WORKERS, LISTEN"),
        "{warnings:?}"
    );
    for warning in &warnings[1..] {
        assert!(warning.ends_with("did you mean POINTSMAN_WORKERS?"), "{warnings:?}");
    }
}

proptest! {
    #[test]
    fn no_file_panics(text in "\\PC*", keys in "((workers|listen|mode|args|program|env|stop_timeout|cwd|user|umask|nice|cpu_affinity|limits|limits.core|limits.nofile.soft) = ([0-9]{1,30}|\"[^\"]{0,9}\"|\\[\".\"\\])\r?\n){0,4}.{0,5}") {
        for text in [text, keys] {
            let mut problems = Problems::default();
            file(&text, &mut problems);
            problems.render(true);
            prop_assert_eq!(problems.render(false).is_empty(), problems.0.is_empty());
        }
    }

    #[test]
    fn no_variable_panics(name in proptest::sample::select(keys().collect::<Vec<_>>()), value in ".*") {
        let name = format!("POINTSMAN_{}", name.to_uppercase());
        let environment = environment(&[(&name, &value), ("PORT", &value), ("NODE_CLUSTER_SCHED_POLICY", &value)]);
        let mut problems = Problems::default();
        let layer = environment.layer(&mut problems);
        environment.defaults(&layer, &mut problems);
        environment.warnings();
        problems.render(false);
    }
}
