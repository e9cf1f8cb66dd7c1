//! How requests are forwarded, wherever it is said.

use pointsman::{Forward, ForwardRules, Mode, Settings, Sink};

use super::{
    super::{
        layer::Layer,
        tests::{check_mistakes, load_text},
    },
    *,
};

/// Of every key a value that is not its default, as it is shown.
pub(crate) const SAMPLES: [(&str, &str); FORWARD.len()] = [
    ("lanes", "2"),
    ("upstream", "unix"),
    ("upstream_port", "30000"),
    ("protocol", "tcp"),
    ("max_head", "32KiB"),
    ("max_target", "4KiB"),
    ("max_fields", "64"),
    ("max_body", "10MiB"),
    ("header_timeout", "1s"),
    ("body_timeout", "2s"),
    ("idle_timeout", "3s"),
    ("send_timeout", "4s"),
    ("connect_timeout", "500ms"),
    ("response_timeout", "6s"),
    ("stream_timeout", "7s"),
    ("tunnel_timeout", "8s"),
    ("request_timeout", "9s"),
    ("max_in_flight", "100"),
    ("max_queue", "0"),
    ("queue_timeout", "11s"),
    ("upstream_keepalive", "8"),
    ("upstream_idle_timeout", "13s"),
    ("tries", "1"),
    ("retry_budget", "10"),
    ("eject_after", "off"),
    ("eject_time", "14s"),
    ("eject_time_max", "15s"),
    ("hash_key", "header:X-User"),
    ("sticky", "off"),
    ("forwarded", "true"),
    ("access_log", "/tmp/access.log"),
    ("access_log_format", "json"),
];

fn sampled() -> Settings {
    let second = Duration::from_secs;
    let rules = ForwardRules {
        protocol: ForwardProtocol::Tcp,
        max_head: 32 << 10,
        max_target: 4 << 10,
        max_fields: 64,
        max_body: Some(10 << 20),
        header_timeout: second(1),
        body_timeout: second(2),
        idle_timeout: second(3),
        send_timeout: second(4),
        connect_timeout: Duration::from_millis(500),
        response_timeout: second(6),
        stream_timeout: second(7),
        tunnel_timeout: second(8),
        request_timeout: Some(second(9)),
        max_in_flight: Some(100),
        max_queue: 0,
        queue_timeout: second(11),
        upstream_keepalive: 8,
        upstream_idle_timeout: second(13),
        tries: 1,
        retry_budget: 10,
        eject_after: None,
        eject_time: second(14),
        eject_time_max: second(15),
        hash_key: HashKey::Header("X-User".into()),
        sticky: None,
        trusted_proxies: Vec::new(),
        forwarded: true,
        error_pages: Vec::new(),
        access_log: Some(LogFormat::Json),
    };
    let forward = Forward {
        rules,
        lanes: 2,
        upstream: UpstreamKind::Unix,
        upstream_port: 30_000,
        upstreams: Vec::new(),
        access_log: Some(Sink::File("/tmp/access.log".into())),
    };
    let plain = load_text(Layer::default(), "", &[]).unwrap().settings();
    plain.mode(Mode::Multiport).forward(forward)
}

#[test]
fn every_key_is_read_from_the_file_and_the_environment_and_does_something() {
    assert!(FORWARD.iter().map(|key| key.name).eq(SAMPLES.map(|(name, _)| name)));
    let entry = |(key, (name, value)): (&Key, (&str, &str))| {
        // A connection that is passed on has no cookie.
        assert!((key.default)() != value || name == "sticky", "{name}");
        let bare = matches!(key.form, Form::Off) || value.bytes().all(|byte| byte.is_ascii_digit());
        if bare { format!("{name} = {value}\n") } else { format!("{name} = {value:?}\n") }
    };
    let text: String = FORWARD.iter().zip(SAMPLES).map(entry).collect();
    let text = format!("mode = \"multiport\"\n{text}");
    let variables = FORWARD.iter().zip(SAMPLES).map(|(key, (_, value))| (key.variable, value));
    let variables: Vec<_> = variables.chain([("POINTSMAN_MODE", "multiport")]).collect();
    for config in [load_text(Layer::default(), &text, &[]), load_text(Layer::default(), "", &variables)]
        .map(Result::unwrap)
    {
        for ((key, value, origin), (name, expected)) in config.forward.keys.rows().into_iter().zip(SAMPLES) {
            assert_eq!((key.name, &*value), (name, expected));
            assert!(!matches!(origin, Origin::Default));
        }
        assert_eq!(format!("{:?}", config.settings()), format!("{:?}", sampled()));
    }
}

#[test]
fn the_defaults_are_those_of_the_crate_and_are_read_as_they_are_shown() {
    let variables: Vec<_> = FORWARD.iter().map(|key| (key.variable, (key.default)())).collect();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, &**value)).collect();
    let config = load_text(Layer::default(), "", &variables).unwrap();
    assert_eq!(config.forward.settings(), Forward::default());
    assert_eq!(config.forward.changed().count(), 0);
}

#[test]
fn a_client_stays_by_a_cookie() {
    let text = "mode = \"multiport\"\nsticky = \"pointsman\"";
    let config = load_text(Layer::default(), text, &[]).unwrap();
    assert_eq!(config.forward.settings().rules.sticky.as_deref(), Some("pointsman"));
}

#[test]
fn an_access_log_is_relative_to_who_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.toml");
    std::fs::write(&path, "mode = \"multiport\"\naccess_log = \"logs/access.log\"").unwrap();
    let load = |variables: &[_]| {
        let environment = super::super::tests::environment(variables);
        let config = super::super::load(Layer::default(), Some(&path), &environment).unwrap();
        config.forward.settings().access_log
    };
    assert_eq!(load(&[]), Some(Sink::File(directory.path().join("logs/access.log"))));
    let here = std::env::current_dir().unwrap().join("a.log");
    assert_eq!(load(&[("POINTSMAN_ACCESS_LOG", "./a.log")]), Some(Sink::File(here)));
    assert_eq!(load(&[("POINTSMAN_ACCESS_LOG", "stdout")]), Some(Sink::Inherit));
    assert_eq!(load(&[("POINTSMAN_ACCESS_LOG", "off")]), None);
}

#[test]
fn a_value_has_the_type_and_the_unit_of_its_key() {
    for (text, expected) in [
        ("lanes = 65", &["not a number of lanes", "give 1 to 64", "p.toml:2:9"][..]),
        ("lanes = 0", &["not a number of lanes"]),
        ("upstream = \"10.0.0.5:80\"", &["for the key upstreams", "p.toml:2:12"]),
        ("upstream_port = 80", &["not a port", "give 1024 to 65534"]),
        ("protocol = \"https\"", &["no such protocol", "did you mean http?"]),
        ("max_head = 16", &["bare number", "in quotes"]),
        ("max_head = \"512B\"", &["less than 1KiB", "give 1KiB to 1MiB"]),
        ("max_body = \"0B\"", &["less than 1B", "or off"]),
        ("header_timeout = 5", &["bare number", "write 5s, or 5ms, in quotes"]),
        ("connect_timeout = \"0s\"", &["shorter than 1ms"]),
        ("max_in_flight = \"many\"", &["not a number of requests", "or off"]),
        ("tries = 0", &["not a number of tries", "give 1 to 10"]),
        ("retry_budget = 101", &["not a share of the requests", "give 0 to 100"]),
        ("hash_key = \"header\"", &["no such key", "header: or cookie: with its name"]),
        ("sticky = \"a b\"", &["not the name of a cookie"]),
        ("forwarded = \"yes\"", &["true or false is expected"]),
        ("access_log = \"access\"", &["neither a choice nor a path"]),
        ("access_log_format = \"common\"", &["no such format"]),
        ("proxy_read_timeout = \"60s\"", &["did you mean response_timeout"]),
        ("keepalive_timeout = \"60s\"", &["did you mean idle_timeout?"]),
        ("client_max_body_size = \"1MiB\"", &["did you mean max_body?"]),
    ] {
        check_mistakes(&[(&format!("mode = \"multiport\"\n{text}"), expected)]);
    }
}
