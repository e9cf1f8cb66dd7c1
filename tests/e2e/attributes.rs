//! What a worker process is to be, by what the worker itself sees: for whatever user may be asked of anybody.

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Output,
};

use serde_json::Value;

use crate::harness::{Master, Node, Pointsman, Process, Public, eventually};

/// What the first of `count` workers says of itself.
#[track_caller]
fn seen(master: &mut Master, count: usize) -> Value {
    master.wait_ready(count).into_values().next().unwrap().json()
}

/// A line of /proc/PID/limits.
fn limit<'a>(seen: &'a Value, name: &str) -> Vec<&'a str> {
    let text = seen["limits"].as_str().unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().take(2).collect()
}

#[test]
fn a_worker_is_as_the_file_says() {
    let directory = Public::new();
    let cwd = directory.directory("work", 0o755);
    fs::write(
        directory.path().join("x.env"),
        "export A='from the file'\nB=file # no\nC=file\nINHERITED=no\n",
    )
    .unwrap();
    let file = directory.path().join("p.toml");
    let text = "cwd = \"work\"\numask = \"0137\"\nnice = 19\ncpu_affinity = \"auto\"\nenv_file = \"x.env\"\n\
                [env]\nB = \"table\"\nC = \"table\"\n\
                [limits]\nnofile = { soft = 123, hard = 456 }\ncore = 0\nstack = { soft = \"4MiB\" }";
    fs::write(&file, text).unwrap();
    let run = Pointsman::run().workers(1).option("-c", &file).option("-e", "C=flag").env("INHERITED", "yes");
    let mut master = run.node(Node::DEFAULT, "self.js").start();
    let seen = seen(&mut master, 1);
    assert_eq!(seen["cwd"], cwd.to_str().unwrap());
    assert_eq!(seen["umask"], 0o137);
    assert_eq!(seen["nice"], 19);
    let env = &seen["env"];
    assert_eq!((&env["A"], &env["B"]), (&"from the file".into(), &"table".into()));
    assert_eq!((&env["C"], &env["INHERITED"]), (&"flag".into(), &"no".into()));
    // Node has raised its soft limit to the hard one.
    assert_eq!(limit(&seen, "Max open files"), ["456", "456"]);
    assert_eq!(limit(&seen, "Max core file size"), ["0", "0"]);
    assert_eq!(limit(&seen, "Max stack size")[0], "4194304");
    master.finish();
}

#[test]
fn a_worker_is_as_pointsman_itself_unless_something_is_said() {
    let directory = Public::new();
    let run = Pointsman::run().workers(1).directory(directory.path());
    let run = run.after("umask 024; ulimit -c 0");
    let mut master = run.node(Node::DEFAULT, "self.js").start();
    let seen = seen(&mut master, 1);
    let this = Process::this();
    assert_eq!(seen["cwd"], directory.path().to_str().unwrap());
    assert_eq!(seen["umask"], 0o024);
    assert_eq!(seen["nice"], this.nice());
    assert_eq!(seen["cpus"], this.status("Cpus_allowed_list"));
    assert_eq!(limit(&seen, "Max core file size"), ["0", "0"]);
    assert_eq!(seen["env"].get("USER").and_then(Value::as_str), env::var("USER").ok().as_deref());
    master.finish();
}

#[test]
fn soft_and_hard_limits_are_apart() {
    let hard = || Process::this().limit("Max open files").1;
    for (limits, expected) in [
        (None, ("512".to_owned(), hard())),
        (Some("nofile=100:200"), ("100".to_owned(), "200".to_owned())),
        (Some("nofile=300 core=0"), ("300".to_owned(), "300".to_owned())),
    ] {
        let run = Pointsman::run().workers(1).after("ulimit -Sn 512").allow_log("channel");
        let run = limits.iter().fold(run, |run, limits| run.env("POINTSMAN_LIMITS", *limits));
        let master = run.program("sleep").arg("1000").start();
        eventually("it sleeps", || master.workers().iter().any(|worker| worker.name() == "sleep"));
        assert_eq!(master.workers()[0].limit("Max open files"), expected);
        master.finish();
    }
}

/// The cores that this process may use.
fn cores() -> Vec<String> {
    let text = Process::this().status("Cpus_allowed_list");
    let number = |text: &str| text.parse::<usize>().unwrap();
    let range = |part: &str| match part.split_once('-') {
        Some((first, last)) => number(first)..=number(last),
        None => number(part)..=number(part),
    };
    text.split(',').flat_map(range).map(|core| core.to_string()).collect()
}

/// The cores of the worker in each slot.
#[track_caller]
fn cores_by_slot(run: Pointsman, workers: usize) -> Vec<String> {
    let mut master = run.workers(workers).node(Node::DEFAULT, "self.js").start();
    let mut seen: Vec<_> = master.wait_ready(workers).into_values().map(|answer| answer.json()).collect();
    seen.sort_by_key(|seen| seen["slot"].as_str().unwrap().parse::<usize>().unwrap());
    master.finish();
    seen.into_iter().map(|seen| seen["cpus"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn cores_are_taken_in_turn_by_the_slots() {
    let cores = cores();
    let workers = cores.len().min(3) + 1;
    let expected: Vec<_> = cores.iter().cycle().take(workers).cloned().collect();
    assert_eq!(cores_by_slot(Pointsman::run().option("--cpu-affinity", "auto"), workers), expected);
}

#[test]
fn sets_of_cores_are_taken_in_turn_by_the_slots() {
    let cores = cores();
    let (first, last) = (&cores[0], &cores[cores.len() - 1]);
    let both = if first == last { first.clone() } else { format!("{first},{last}") };
    let run = Pointsman::run().env("POINTSMAN_CPU_AFFINITY", format!("{last} {first},{last}"));
    let [one, two, three] = &cores_by_slot(run, 3)[..] else { panic!() };
    assert_eq!([one, three], [last, last]);
    assert_eq!(two.replace('-', ","), both);
}

#[test]
fn a_program_is_looked_up_where_it_runs() {
    let directory = Public::new();
    let bin = directory.directory("bin", 0o755);
    symlink("/bin/sleep", bin.join("nap")).unwrap();
    for (program, run) in [
        ("./nap", Pointsman::run().option("--cwd", &bin)),
        // By the PATH that it gets, and not by that of pointsman.
        ("nap", Pointsman::run().option("-e", format!("PATH={}", bin.display()))),
    ] {
        let master = run.workers(1).program(program).arg("1000").allow_log("channel").start();
        eventually("it runs", || {
            master.workers().iter().any(|worker| worker.command_line().first() == Some(&program.to_owned()))
        });
        master.finish();
    }
    let Output { status, stderr, .. } = Pointsman::run().option("--cwd", "/").program("./nap").output();
    let text = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(78), "{text}");
    assert!(text.contains("program not found: ./nap") && text.contains("in cwd, / (--cwd)"), "{text}");
}

#[test]
fn what_is_not_there_is_refused_at_the_start() {
    let missing = Path::new("/no/such/place");
    for (run, words) in [
        (Pointsman::run().option("--cwd", missing), ["--cwd", "cwd /no/such/place cannot be entered"]),
        (Pointsman::run().env("POINTSMAN_CWD", missing), ["POINTSMAN_CWD", "/no/such/place"]),
        (
            Pointsman::run().option("--env-file", missing),
            ["--env-file", "env_file /no/such/place cannot be read"],
        ),
        (Pointsman::run().option("--user", "no-such-user"), ["--user", "no user \"no-such-user\""]),
        (Pointsman::run().option("--group", "0"), ["--group", "a group without a user"]),
        (Pointsman::run().option("--cpu-affinity", "1023"), ["--cpu-affinity", "none of these cores"]),
        (Pointsman::run().option("--limit", "nofile=9:8").env("X", ""), ["--limit", "above the hard one"]),
    ] {
        let Output { status, stderr, .. } = run.output();
        let text = String::from_utf8(stderr).unwrap();
        assert!(matches!(status.code(), Some(78 | 2)), "{status}: {text}");
        for word in words {
            assert!(text.contains(word), "{word:?} is not in {text}");
        }
    }
}

#[test]
fn a_step_that_the_system_refuses_is_named() {
    let most: u64 = fs::read_to_string("/proc/sys/fs/nr_open").unwrap().trim().parse().unwrap();
    let run = Pointsman::run().workers(1).option("--limit", format!("nofile={}", most + 1));
    // Root in a container often may not either.
    let resource = u64::from_str_radix(&Process::this().status("CapEff"), 16).unwrap() >> 24 & 1;
    if resource == 0 {
        let Output { status, stderr, .. } = run.output();
        let text = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(77), "{text}");
        assert!(text.contains("limits.nofile: raising a hard limit takes CAP_SYS_RESOURCE"), "{text}");
        assert!(text.contains("limits.nofile comes from --limit"), "{text}");
        return;
    }
    let master =
        run.expect_log("cannot set limits.nofile: Operation not permitted").allow_log("exited with").start();
    master.wait_log("fs.nr_open");
    master.finish();
}

#[test]
fn the_file_for_node_runs() {
    let directory = Public::new();
    let copy = |name: &str, from: &str| fs::copy(from, directory.path().join(name)).unwrap();
    copy("node.toml", concat!(env!("CARGO_MANIFEST_DIR"), "/conf/node.toml"));
    copy("server.js", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/apps/self.js"));
    symlink(Node::DEFAULT.path(), directory.path().join("node")).unwrap();
    let path = format!("{}:{}", directory.path().display(), env::var("PATH").unwrap());
    let file = directory.path().join("node.toml");

    let check = Pointsman::verb("check").option("-c", &file).flag("--origin").env("PATH", &path).output();
    let text = String::from_utf8(check.stdout).unwrap();
    assert_eq!(check.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&check.stderr));
    for key in ["program", "cwd", "policy", "stop_timeout", "env.NODE_ENV"] {
        let line =
            text.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("no {key} in {text}"));
        assert!(line.contains("node.toml:"), "{line}");
    }
    let run = Pointsman::run().workers(2).option("-c", &file).env("PATH", &path);
    let mut master = run.start();
    let seen = seen(&mut master, 2);
    assert_eq!(seen["env"]["NODE_ENV"], "production");
    assert_eq!(seen["cwd"], directory.path().to_str().unwrap());
    master.finish();
}

#[test]
fn every_key_says_where_it_comes_from() {
    let directory = Public::new();
    fs::write(directory.path().join("x.env"), "\nA=1\n").unwrap();
    let file = directory.path().join("p.toml");
    fs::write(&file, "umask = \"022\"\n[limits]\ncore = 0\nnofile = 9").unwrap();
    let run = Pointsman::verb("check").flag("--origin").option("-c", &file).option("--cwd", "/");
    let run = run.option("--limit", "nofile=8").env("POINTSMAN_NICE", "19");
    let run = run.env("POINTSMAN_CPU_AFFINITY", "auto").option("--env-file", directory.path().join("x.env"));
    let text = String::from_utf8(run.output().stdout).unwrap();
    for (key, value, origin) in [
        ("cwd", "/", "--cwd"),
        ("umask", "022", "p.toml:1"),
        ("nice", "19", "POINTSMAN_NICE"),
        ("cpu_affinity", "auto", "POINTSMAN_CPU_AFFINITY"),
        ("env_file", "x.env", "--env-file"),
        ("limits.core", "0", "p.toml:3"),
        ("limits.nofile", "8", "--limit"),
        ("env.A", "(hidden)", "x.env:2"),
    ] {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(key));
        let words: Vec<_> = line.unwrap_or_else(|| panic!("no {key} in {text}")).split_whitespace().collect();
        assert!(words[1].ends_with(value) && words[2].ends_with(origin), "{words:?}");
    }
}

#[test]
fn a_file_of_variables_that_others_may_not_read_is_for_the_master_to_read() {
    let directory = Public::new();
    let file = directory.path().join("x.env");
    fs::write(&file, "SECRET=x").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let mut master =
        Pointsman::run().workers(1).option("--env-file", &file).node(Node::DEFAULT, "self.js").start();
    assert_eq!(seen(&mut master, 1)["env"]["SECRET"], "x");
    master.finish();
}
