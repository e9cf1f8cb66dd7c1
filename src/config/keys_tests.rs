//! Plain keys, wherever they are given.

use std::fs;

use pointsman::{Control, Rotation, Settings, Sink};

use super::{
    super::{
        layer::Layer,
        load,
        tests::{check_mistakes, environment, flag, load_text},
    },
    *,
};

/// Of every plain key a value that is not its default, as it is shown.
pub(crate) const SAMPLES: [(&str, &str); PLAIN.len()] = [
    ("ready_on", "alive"),
    ("ready_after", "3s"),
    ("start_timeout", "20s"),
    ("max_starting", "2"),
    ("warm_up", "500ms"),
    ("restart_delay", "1s"),
    ("restart_delay_max", "2m"),
    ("max_crashes", "3"),
    ("crash_window", "4m"),
    ("fail_when_errored", "true"),
    ("stop_with", "message:shutdown"),
    ("stop_signal", "INT"),
    ("stop_timeout", "11s"),
    ("linger_timeout", "1h"),
    ("kill_timeout", "6s"),
    ("reload_batch", "25%"),
    ("max_memory", "500MiB"),
    ("max_age", "12h"),
    ("max_connections", "100000"),
    ("ping_timeout", "15s"),
    ("output", "/tmp/{slot}.log"),
    ("error_output", "prefix"),
    ("output_max_size", "1GiB"),
    ("output_keep", "2"),
    ("window", "4"),
    ("handoff_timeout", "off"),
    ("overload", "reject"),
    ("overload_timeout", "2s"),
    ("load_report", "false"),
    ("serialization", "advanced"),
    ("master_scheduling", "normal"),
    ("name", "api"),
    ("control", "/run/api.sock"),
    ("control_group", "65534"),
    ("admin", "127.0.0.1:9090"),
];

fn sampled() -> Settings {
    let second = Duration::from_secs;
    Settings::new("/proc/self/exe")
        .arg("demo-worker")
        .listen("127.0.0.1:8000".parse().unwrap())
        .ready_on(ReadyOn::Alive)
        .ready_after(second(3))
        .start_timeout(Some(second(20)))
        .max_starting(Some(2))
        .warm_up(Duration::from_millis(500))
        .restart_delay(second(1))
        .restart_delay_max(second(120))
        .max_crashes(Some(3), second(240))
        .fail_when_errored(true)
        .stop_with(StopWith::Message("shutdown".into()))
        .stop_signal(2)
        .stop_timeout(second(11))
        .linger_timeout(Some(second(3600)))
        .kill_timeout(second(6))
        .reload_batch(Batch::Percent(25))
        .max_memory(Some(500 << 20))
        .max_age(Some(second(12 * 3600)))
        .max_connections(Some(100_000))
        .ping_timeout(Some(second(15)))
        .stdout(Sink::File("/tmp/{slot}.log".into()))
        .stderr(Sink::Prefix)
        .rotation(Rotation { max_bytes: Some(1 << 30), keep: 2 })
        .window(4)
        .handoff_timeout(None)
        .overload(pointsman::Overload::Reject { after: second(2) })
        .load_report(false)
        .serialization(Serialization::Advanced)
        .admin("127.0.0.1:9090".parse().unwrap())
        .master_scheduling(pointsman::Scheduling::Normal)
        .control(Control::at("/run/api.sock").group(65534))
}

#[test]
fn every_plain_key_is_read_from_the_file_and_the_environment_and_does_something() {
    assert!(PLAIN.iter().map(|key| key.name).eq(SAMPLES.map(|(name, _)| name)));
    let entry = |(key, (name, value)): (&Key, (&str, &str))| {
        assert_ne!((key.default)(), value, "{name}");
        let bare =
            matches!(key.form, Form::On | Form::Off) || value.bytes().all(|byte| byte.is_ascii_digit());
        if bare { format!("{name} = {value}\n") } else { format!("{name} = {value:?}\n") }
    };
    let text: String = PLAIN.iter().zip(SAMPLES).map(entry).collect();
    let variables =
        PLAIN.iter().zip(SAMPLES).map(|(key, (_, value))| (key.variable, value)).collect::<Vec<_>>();
    for config in [load_text(Layer::default(), &text, &[]), load_text(Layer::default(), "", &variables)]
        .map(Result::unwrap)
    {
        for ((key, value, origin), (name, expected)) in config.plain.rows().into_iter().zip(SAMPLES) {
            assert_eq!((key.name, &*value), (name, expected));
            assert!(!matches!(origin, Origin::Default));
        }
        assert_eq!(format!("{:?}", config.settings()), format!("{:?}", sampled()));
    }
}

#[test]
fn a_default_is_read_as_it_is_shown() {
    let variables: Vec<_> = PLAIN.iter().map(|key| (key.variable, (key.default)())).collect();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, &**value)).collect();
    let [given, default] =
        [&variables[..], &[]].map(|variables| load_text(Layer::default(), "", variables).unwrap());
    assert_eq!(format!("{:?}", given.settings()), format!("{:?}", default.settings()));
}

#[test]
fn a_file_of_output_is_relative_to_the_file_that_names_it_and_others_to_here() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.toml");
    fs::write(&path, "output = \"logs/a.log\"\nerror_output = \"../b.log\"").unwrap();
    let config = load(Layer::default(), Some(&path), &environment(&[])).unwrap();
    let at = |name: &str| directory.path().join(name);
    assert_eq!(config.plain.output.value, Output::File(at("logs/a.log")));
    assert_eq!(config.plain.error_output.value, ErrorOutput::Own(Output::File(at("../b.log"))));

    let both = [("POINTSMAN_OUTPUT", "./a"), ("POINTSMAN_ERROR_OUTPUT", "./b")];
    let config = load(Layer::default(), Some(&path), &environment(&both)).unwrap();
    let at = |name| std::env::current_dir().unwrap().join(name);
    assert_eq!(config.plain.output.value, Output::File(at("a")));
    assert_eq!(config.plain.error_output.value, ErrorOutput::Own(Output::File(at("b"))));
}

#[test]
fn the_control_socket_is_relative_to_who_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.toml");
    fs::write(&path, "control = \"run/a.sock\"").unwrap();
    let control = |variables: &[_]| {
        load(Layer::default(), Some(&path), &environment(variables)).unwrap().plain.control.value
    };
    assert_eq!(control(&[]), ControlPlace::Path(directory.path().join("run/a.sock")));
    let here = std::env::current_dir().unwrap().join("b.sock");
    assert_eq!(control(&[("POINTSMAN_CONTROL", "./b.sock")]), ControlPlace::Path(here));
    assert_eq!(control(&[("POINTSMAN_CONTROL", "off")]), ControlPlace::Off);
}

#[test]
fn a_name_that_was_chosen_must_be_had() {
    let control = |text| format!("{:?}", load_text(Layer::default(), text, &[]).unwrap().settings());
    for (text, expected) in [
        ("", Some(Control::usual())),
        ("name = \"default\"", Some(Control::usual())),
        ("name = \"api\"", Some(Control::named("api".parse().unwrap()))),
        ("control = \"/a.sock\"\ncontrol_group = 0", Some(Control::at("/a.sock").group(0))),
        ("control = \"off\"", None),
    ] {
        assert!(control(text).contains(&format!("control: {expected:?}")), "{text}");
    }
}

#[test]
fn standard_error_goes_where_standard_output_goes() {
    for (text, expected) in [
        ("output = \"/a.log\"", [Sink::File("/a.log".into()), Sink::File("/a.log".into())]),
        ("output = \"prefix\"\nerror_output = \"inherit\"", [Sink::Prefix, Sink::Inherit]),
        ("error_output = \"/b.log\"", [Sink::Inherit, Sink::File("/b.log".into())]),
        ("", [Sink::Inherit, Sink::Inherit]),
    ] {
        let settings = load_text(Layer::default(), text, &[]).unwrap().settings();
        let [stdout, stderr] = expected;
        let plain = load_text(Layer::default(), "", &[]).unwrap().settings().stdout(stdout).stderr(stderr);
        assert_eq!(format!("{settings:?}"), format!("{plain:?}"), "{text}");
    }
}

#[test]
fn the_serialization_can_be_chosen_everywhere() {
    use pointsman::Serialization::{Advanced, Json};
    let load = |flags, text, variables: &[_]| {
        let given = load_text(flags, text, variables).unwrap().plain.serialization;
        (given.value, given.origin.to_string())
    };
    let variable = |value| [("POINTSMAN_SERIALIZATION", value)];
    let file = "serialization = \"advanced\"";
    assert_eq!(load(Layer::default(), "", &[]), (Json, "default".into()));
    assert_eq!(load(Layer::default(), file, &[]), (Advanced, "p.toml:1".into()));
    let over = load(Layer::default(), file, &variable("json"));
    assert_eq!(over, (Json, "POINTSMAN_SERIALIZATION".into()));
    let plain = PlainLayer { serialization: flag(Advanced), ..PlainLayer::default() };
    let flags = Layer { plain, ..Layer::default() };
    assert_eq!(load(flags, "", &variable("json")), (Advanced, "--flag".into()));
    let error = load_text(Layer::default(), "", &variable("advance")).unwrap_err();
    assert!(error.contains("did you mean advanced? The serializations are: json, advanced"), "{error}");
}

#[test]
fn the_load_report_can_be_turned_off_everywhere() {
    let load = |flags, text, variables: &[_]| {
        let given = load_text(flags, text, variables).unwrap().plain.load_report;
        (given.value, given.origin.to_string())
    };
    let variable = |value| [("POINTSMAN_LOAD_REPORT", value)];
    assert_eq!(load(Layer::default(), "", &[]), (true, "default".into()));
    assert_eq!(load(Layer::default(), "load_report = false", &[]), (false, "p.toml:1".into()));
    let over = load(Layer::default(), "load_report = false", &variable("true"));
    assert_eq!(over, (true, "POINTSMAN_LOAD_REPORT".into()));
    let plain = PlainLayer { load_report: flag(false), ..PlainLayer::default() };
    let off = Layer { plain, ..Layer::default() };
    assert_eq!(load(off, "load_report = true", &variable("true")), (false, "--flag".into()));
}

#[test]
fn a_value_has_the_type_and_the_unit_of_its_key() {
    check_mistakes(&[
        ("stop_timeout = 30", &["bare number", "write 30s, or 30ms, in quotes", "p.toml:1:16"]),
        ("handoff_timeout = 30", &["bare number", "write 30s, or 30ms, or off, in quotes"]),
        ("window = \"8\"", &["a number is expected here, not a value of type string", "write window = 8"]),
        ("start_timeout = \"0s\"", &["shorter than 1ms", "give 1ms or more, or off"]),
        ("ping_timeout = \"50ms\"", &["shorter than 100ms", "give 100ms or more, or off", "p.toml:1:16"]),
        ("max_age = 5", &["bare number", "write 5s, or 5ms, or off, in quotes"]),
        ("max_memory = 500", &["bare number", "write 500MiB, or 500B, or off, in quotes", "p.toml:1:14"]),
        ("max_memory = true", &["a size is expected", "\"200MiB\""]),
        ("output_max_size = \"10MB\"", &["\"MB\" is no unit of size"]),
        ("max_crashes = 0", &["not a number of crashes", "give 1 to 1000000, or off"]),
        (
            "max_crashes = true",
            &["a number or \"off\" is expected", "write max_crashes = 5, or max_crashes = \"off\""],
        ),
        ("max_starting = 1025", &["not a number of workers", "give 1 to 1024, or off"]),
        ("max_connections = \"many\"", &["not a number of connections"]),
        ("reload_batch = 1.5", &["a number or \"25%\" is expected"]),
        ("reload_batch = \"125%\"", &["not a share", "p.toml:1:16"]),
        ("stop_signal = 9", &["SIGKILL leaves a worker no time", "p.toml:1:15"]),
        ("stop_with = \"shutdown\"", &["no such way to stop", "message:shutdown"]),
        ("fail_when_errored = 1", &["true or false is expected"]),
        ("output_keep = 1001", &["not a number of files", "give 0 to 1000"]),
        ("output = \"prefx\"", &["neither a choice nor a path", "did you mean prefix?", "p.toml:1:10"]),
        ("max_restarts = 5", &["unknown key", "did you mean max_crashes?"]),
        ("RestartSec = 5", &["did you mean restart_delay?"]),
        ("wait_ready = true", &["did you mean ready_on, with the word message?"]),
        ("window = 0x8", &["a number is expected here"]),
        ("stop_timeout = \"off\"", &["SIGQUIT waits for ever", "p.toml:1:16"]),
        ("kill_timeout = \"5 min\"", &["\" min\" is no unit of time", "500ms, 30s"]),
        ("restart_delay = true", &["a duration is expected", "boolean"]),
        ("load_report = \"no\"", &["true or false is expected here, not a value of type string"]),
        ("serialization = \"v8\"", &["no such serialization", "json, advanced", "p.toml:1:17"]),
        ("admin = true", &["a number or \"localhost:9090\" is expected"]),
        ("admin = \"on\"", &["the address has no port", "write 9090 or 127.0.0.1:9090", "p.toml:1:9"]),
        ("serialization = true", &["a string is expected"]),
        ("master_scheduling = \"fifo\"", &["no such scheduling", "batch, normal"]),
        ("name = \"a b\"", &["not the name of a master", "write 1 to 64 letters", "p.toml:1:8"]),
        ("control = \"api\"", &["neither a choice nor a path", "--name api", "p.toml:1:11"]),
        ("control_group = \"no such group\"", &["no such group on this machine", "or its number, or off"]),
        ("control_group = true", &["a number or \"ops\" is expected"]),
    ]);
}
