use std::{fs, path::Path};

use pointsman::{Limit, Resource};

use super::{
    super::{Config, Environment, Layer, ProcessLayer, file, layer::Source, load},
    *,
};

fn loaded(flags: ProcessLayer, text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.toml");
    fs::write(&path, text).unwrap();
    let environment: Environment =
        variables.iter().map(|&(name, value)| (name.into(), value.into())).collect();
    let layer = Layer { process: flags, ..Layer::default() };
    load(layer, Some(&path), &environment).map_err(|problems| problems.render(false))
}

fn from_file(text: &str) -> Result<Config, String> {
    loaded(ProcessLayer::default(), text, &[])
}

fn flag<T>(value: T) -> Option<Given<T>> {
    Some(Given::new(value, Origin::Flag("--flag")))
}

#[test]
fn every_key_is_read_from_the_file() {
    let config = from_file(
        "cwd = \"/\"\nuser = \"root\"\ngroup = 0\numask = \"027\"\nnice = -5\ncpu_affinity = [\"0\", \"0-1\"]\n\
         env_file = \"/dev/null\"\nlimits = { nofile = 5, core = \"unlimited\", memlock = { soft = \"1MiB\" } }",
    )
    .unwrap();
    let given = &config.process.given;
    assert_eq!(given.cwd.as_ref().unwrap().value, Path::new("/"));
    assert_eq!(given.umask.as_ref().unwrap().value, 0o27);
    assert_eq!(given.nice.as_ref().unwrap().value, -5);
    assert_eq!(given.cpu_affinity.as_ref().unwrap().value.to_string(), "0 0-1");
    assert_eq!(config.process.account.as_ref().unwrap().groups(), [0]);
    let limits: Vec<_> = config.process.limits.iter().map(|(name, given)| (*name, given.value)).collect();
    let memlock = Limit { soft: Some(1 << 20), hard: None };
    let expected = [
        (Resource::Core, Limit::both(u64::MAX)),
        (Resource::Memlock, memlock),
        (Resource::Nofile, Limit::both(5)),
    ];
    assert_eq!(limits, expected);
    assert_eq!(from_file("user = 0").unwrap().process.account.unwrap().name(), "root");
    assert_eq!(
        from_file("cpu_affinity = \"auto\"").unwrap().process.given.cpu_affinity.unwrap().value,
        Affinity::Auto
    );
}

#[test]
fn a_later_source_wins_key_by_key() {
    let variables = [
        ("POINTSMAN_CWD", "/"),
        ("POINTSMAN_USER", "root"),
        ("POINTSMAN_GROUP", "0"),
        ("POINTSMAN_UMASK", "007"),
        ("POINTSMAN_NICE", "7"),
        ("POINTSMAN_CPU_AFFINITY", "auto"),
        ("POINTSMAN_ENV_FILE", "/dev/null"),
        ("POINTSMAN_LIMITS", "nofile=7 core=0:7B"),
    ];
    let text = "cwd = \"/no\"\nuser = \"no-such\"\ngroup = \"no-such\"\numask = \"022\"\nnice = 2\n\
                cpu_affinity = \"0\"\nenv_file = \"/no\"\nlimits = { nofile = 2, stack = 0 }";
    let flags = ProcessLayer {
        nice: flag(1),
        limits: vec![(Resource::Core, Given::new(Limit::both(1), Origin::Flag("--flag")))],
        ..ProcessLayer::default()
    };
    let process = loaded(flags, text, &variables).unwrap().process;
    for (key, origin) in [
        ("cwd", "POINTSMAN_CWD"),
        ("user", "POINTSMAN_USER"),
        ("nice", "--flag"),
        ("cpu_affinity", "POINTSMAN_CPU_AFFINITY"),
        ("limits.nofile", "POINTSMAN_LIMITS"),
        ("limits.core", "--flag"),
    ] {
        assert_eq!(process.origin(key).unwrap().to_string(), origin, "{key}");
    }
    assert!(process.origin("limits.stack").unwrap().to_string().ends_with("p.toml:8"));
    assert_eq!(process.given.umask.unwrap().value, 7);
    assert_eq!(process.given.group.unwrap().value, "0");
    assert_eq!(process.given.env_file.unwrap().value, Path::new("/dev/null"));
}

#[test]
fn a_user_does_not_take_over_the_group_of_another() {
    let text = "user = \"nobody\"\ngroup = 4000000000";
    assert_eq!(from_file(text).unwrap().process.account.unwrap().gid(), 4_000_000_000);
    let flags = ProcessLayer { user: flag("root".into()), ..ProcessLayer::default() };
    assert_eq!(loaded(flags, text, &[]).unwrap().process.account.unwrap().gid(), 0);
}

#[test]
fn a_path_in_the_file_is_relative_to_the_file_and_others_to_here() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("x.env"), "A=1").unwrap();
    let text = "cwd = \"..\"\nenv_file = \"x.env\"".to_owned();
    let source = Source { path: directory.path().join("p.toml"), text };
    let mut problems = Problems::default();
    let layer = file::parse(source, &mut problems);
    assert_eq!(layer.process.cwd.unwrap().value, directory.path().join(".."));
    assert_eq!(layer.process.env_file.unwrap().value, directory.path().join("x.env"));

    let source = Source { path: "conf/p.toml".into(), text: "cwd = \"x\"".into() };
    let here = std::env::current_dir().unwrap();
    assert_eq!(file::parse(source, &mut problems).process.cwd.unwrap().value, here.join("conf/x"));
    let config = loaded(ProcessLayer::default(), "", &[("POINTSMAN_CWD", "src")]).unwrap();
    assert_eq!(config.process.given.cwd.unwrap().value, here.join("src"));
    assert!(problems.0.is_empty());
}

#[test]
fn the_file_of_variables_is_below_the_table_and_the_flags() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.env");
    fs::write(&file, "A=file\nB=file\nC=file\n").unwrap();
    let environment: Environment = [("POINTSMAN_ENV_FILE".into(), file.clone().into())].into_iter().collect();
    let path = directory.path().join("p.toml");
    fs::write(&path, "[env]\nB = \"table\"\nC = \"table\"").unwrap();
    let env = vec![("C".into(), Given::new("flag".into(), Origin::Flag("--env")))];
    let config = load(Layer { env, ..Layer::default() }, Some(&path), &environment).unwrap();
    let env: Vec<_> = config.env.iter().map(|(name, given)| (name.to_str().unwrap(), given)).collect();
    for ((name, given), (expected, value, origin)) in
        env.into_iter().zip([("A", "file", "x.env:1"), ("B", "table", "p.toml:2"), ("C", "flag", "--env")])
    {
        assert_eq!((name, given.value.to_str().unwrap()), (expected, value));
        assert!(given.origin.to_string().ends_with(origin), "{name}: {}", given.origin);
    }
    // A mistake in it is shown there.
    fs::write(&file, "A=1\nNODE_UNIQUE_ID=1").unwrap();
    let error = load(Layer::default(), None, &environment).unwrap_err().render(false);
    assert!(error.contains("x.env:2:1") && error.contains("get NODE_UNIQUE_ID from pointsman"), "{error}");
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, expected) in [
        ("cwd = \"/no/such\"", &["cwd /no/such cannot be entered: No such file", "p.toml:1:7", "^^^^^^"][..]),
        ("cwd = \"/dev/null\"", &["cannot be entered: not a directory"]),
        ("cwd = \"\"", &["no path is named"]),
        ("cwd = 1", &["a string is expected"]),
        ("env_file = \"/no/such\"", &["env_file /no/such cannot be read", "p.toml:1:12"]),
        ("env_file = \"/\"", &["env_file / cannot be read: Is a directory"]),
        ("user = \"no-such-user\"", &["there is no user \"no-such-user\"", "p.toml:1:8", "getent passwd"]),
        ("user = \"root:root\"", &["write user root and group root"]),
        ("user = true", &["a name or a number is expected"]),
        ("user = \"root\"\ngroup = \"no-such-group\"", &["no group \"no-such-group\"", "p.toml:2:9"]),
        ("user = 4000000000", &["so its group must be given too", "p.toml:1:8", "--group"]),
        ("user = -1", &["there is no user \"-1\""]),
        ("\ngroup = \"root\"", &["a group without a user", "p.toml:2:9", "name the user as well"]),
        ("umask = 27", &["a umask is octal", "write umask = \"027\", in quotes"]),
        ("umask = 0o27", &["a umask is octal", "write umask = \"027\", in quotes"]),
        ("umask = 027", &["not TOML: ", "leading zero", "is it octal? Write it in quotes"]),
        ("umask = \"999\"", &["not a umask", "such as 027"]),
        ("nice = 20", &["not a nice value", "-20 (served first)"]),
        ("nice = \"5\"", &["a number is expected"]),
        ("cpu_affinity = 1", &["a string is expected"]),
        ("cpu_affinity = []", &["no set of cores", "p.toml:1:16"]),
        ("cpu_affinity = [\"0\", \"x\"]", &["\"x\" is not the number of a core", "p.toml:1:22"]),
        ("cpu_affinity = \"0001 0010\"", &["nginx's bit masks"]),
        ("limits = 5", &["a table is expected", "write [limits]"]),
        ("[limits]\nnofiles = 5", &["no such limit", "did you mean nofile?", "p.toml:2:1"]),
        ("[limits]\nnofile = true", &["a limit is expected"]),
        ("[limits]\ncore = 5", &["a bare number", "write 5MiB, or 5B, or unlimited"]),
        ("[limits]\nnofile = { soft = 2, hard = 1 }", &["the soft limit is above the hard", "p.toml:2:10"]),
        ("[limits]\nnofile = { sotf = 2 }", &["unknown key \"sotf\"", "soft and hard", "p.toml:2:12"]),
        ("[limits]\nmemlock = { soft = \"x\" }", &["not a size", "p.toml:2:20"]),
    ] {
        let error = from_file(text).unwrap_err();
        for part in expected {
            assert!(error.contains(part), "{text}:\n{error}\nlacks {part}");
        }
        assert_eq!(error.matches("error: ").count(), 1, "{text}:\n{error}");
    }
    let all =
        "group = 1\numask = 2\nnice = 99\ncwd = \"/no\"\ncpu_affinity = \"x\"\n[limits]\ncore = 1\nx = 1";
    assert_eq!(from_file(all).unwrap_err().matches("error: ").count(), 7);
    for (name, value, expected) in [
        ("POINTSMAN_CWD", "/no", "error: POINTSMAN_CWD=/no: cwd /no cannot be entered"),
        ("POINTSMAN_USER", "no-such-user", "POINTSMAN_USER=no-such-user: there is no user"),
        ("POINTSMAN_UMASK", "8", "POINTSMAN_UMASK=8: not a umask"),
        ("POINTSMAN_LIMITS", "core=1", "POINTSMAN_LIMITS=core=1: a bare number"),
        ("POINTSMAN_CPU_AFFINITY", "1-0", "POINTSMAN_CPU_AFFINITY=1-0: 1-0 is a range from its end"),
    ] {
        let error = loaded(ProcessLayer::default(), "", &[(name, value)]).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}
