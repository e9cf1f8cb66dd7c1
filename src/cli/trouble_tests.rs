//! Each trouble, what it is and what to do.

use super::*;

#[track_caller]
fn check(trouble: &Trouble, parts: &[&str]) {
    let Told { what, advice } = tell(trouble, "`py x`");
    let text = format!("{what}\n{}", advice.unwrap_or_default());
    for part in parts {
        assert!(text.contains(part), "{trouble:?}: {text}\nlacks {part}");
    }
}

#[test]
fn every_trouble_says_what_and_what_to_do() {
    let second = Duration::from_secs(5);
    let address = |host: Option<&str>| Address::Tcp { host: host.map(Into::into), port: 3000 };
    let told = vec!["127.0.0.1:8000".parse().unwrap()];
    for (trouble, parts) in [
        (
            Trouble::SpawnFailed { errno: EMFILE, retry: Some(second) },
            &["Too many open files", "in 5 s", "ulimit -n"][..],
        ),
        (Trouble::SpawnFailed { errno: EAGAIN, retry: Some(second) }, &["ulimit -u"]),
        (
            Trouble::LaunchFailed { step: "exec".into(), errno: ENOENT },
            &["cannot run `py x`: exec", "interpreter"],
        ),
        (Trouble::LaunchFailed { step: "exec".into(), errno: EACCES }, &["noexec"]),
        (Trouble::LaunchFailed { step: "exec".into(), errno: EAGAIN }, &["limits.nproc"]),
        (
            Trouble::LaunchFailed { step: "enter cwd /x".into(), errno: EACCES },
            &["cannot run `py x`: cannot enter cwd /x: Permission denied", "execute permission"],
        ),
        (Trouble::LaunchFailed { step: "enter cwd /x".into(), errno: ENOENT }, &["cwd names it"]),
        (Trouble::LaunchFailed { step: "set limits.nofile".into(), errno: EPERM }, &["fs.nr_open"]),
        (Trouble::LaunchFailed { step: "set limits.core".into(), errno: EPERM }, &["CAP_SYS_RESOURCE"]),
        (Trouble::LaunchFailed { step: "set limits.core".into(), errno: EINVAL }, &["the soft limit"]),
        (Trouble::LaunchFailed { step: "set nice to -1".into(), errno: EACCES }, &["CAP_SYS_NICE"]),
        (
            Trouble::LaunchFailed { step: "set cpu_affinity to 9".into(), errno: EINVAL },
            &["set cpu_affinity to 9", "none of these cores"],
        ),
        (Trouble::LaunchFailed { step: "become user 7".into(), errno: EPERM }, &["CAP_SETUID"]),
        (Trouble::LaunchFailed { step: "set the groups of user".into(), errno: EINVAL }, &["user namespace"]),
        (Trouble::LaunchFailed { step: "exec".into(), errno: ENOEXEC }, &["#!"]),
        (
            Trouble::Silent { after: second },
            &["for 5 s", "-m shared", "-m multiport", "from PORT", "`py x` does not speak"],
        ),
        (Trouble::NotListening { after: second }, &["has not listened", "listen()", "wrapper"]),
        (
            Trouble::ListensElsewhere { address: address(None), told: told.clone() },
            &[
                "listens on *:3000 and not on 127.0.0.1:8000",
                "-l 127.0.0.1:3000",
                "process.env.PORT (8000)",
                "--map 3000=8000",
            ],
        ),
        (Trouble::ListensElsewhere { address: address(Some("::1")), told }, &["use -l [::1]:3000."]),
        (Trouble::BrokeProtocol { why: "no JSON".into() }, &["no JSON", "descriptor 3"]),
        (Trouble::ClosedUnheard, &["before it said a word", "sudo", "--user"]),
        (Trouble::LostConnections { count: 3 }, &["3 connections", "lost"]),
        (Trouble::DroppedHandle, &["socket", "closed"]),
        (Trouble::DroppedMessage { why: "deep".into() }, &["deep"]),
        (Trouble::Unkillable { pid: 7, after: second }, &["SIGKILL", "-p 7"]),
        (Trouble::Stuck { after: second }, &["for 5 s", "killed", "handoff_timeout"]),
        (Trouble::Overdue { signal: 9, after: second }, &["for 5 s", "SIGKILL"]),
    ] {
        check(&trouble, parts);
    }
}

#[test]
fn who_listens_elsewhere_is_told_what_fits() {
    let tcp = |host: Option<&str>, port| Address::Tcp { host: host.map(Into::into), port };
    for (address, told, parts, none) in [
        (
            tcp(None, 3000),
            "unix:/a.sock",
            &["PORT (/a.sock)", "-l :3000", "--map 3000=unix:/a.sock"][..],
            &[][..],
        ),
        (tcp(Some("::1"), 80), "127.0.0.1:80", &["-l [::1]:80", "leave the host out"], &["--map", "PORT"]),
        (Address::Unix("/b".into()), "unix:/a.sock", &["-l unix:/b", "PORT (/a.sock)"], &["--map"]),
        (
            Address::Udp { host: None, port: 53 },
            "127.0.0.1:8000",
            &["a UDP port is opened as the program asks for it; only 127.0.0.1:8000 is not served"],
            &["-l ", "PORT", "--map"],
        ),
    ] {
        let trouble = Trouble::ListensElsewhere { address, told: vec![told.parse().unwrap()] };
        check(&trouble, parts);
        let advice = tell(&trouble, "`py x`").advice.unwrap();
        assert!(none.iter().all(|part| !advice.contains(part)), "{advice}");
    }
}

#[test]
fn uvicorn_is_told_its_flag() {
    for (program, expected) in [
        ("`uvicorn app:app`", true),
        ("`/venv/bin/uvicorn app:app`", true),
        ("`python3 -m uvicorn app:app`", true),
        ("`uvicorn --fd 3 app:app`", false),
        ("`gunicorn app:uvicorn`", false),
    ] {
        let told = given_sockets(program, &["127.0.0.1:8000".parse().unwrap()]);
        assert_eq!(
            told.ends_with("127.0.0.1:8000 is descriptor 3. uvicorn needs --fd 3 for that"),
            expected,
            "{told}"
        );
    }
}

#[test]
fn a_worker_that_cannot_listen_is_told_why() {
    let tcp = || Address::Tcp { host: None, port: 80 };
    let unix = || Address::Unix("/run/a".to_owned());
    for (address, errno, parts) in [
        (tcp(), EACCES, &["*:80", "below 1024"][..]),
        (tcp(), EADDRINUSE, &["in use", "ss -ltnp"]),
        (unix(), EADDRINUSE, &["unix:/run/a", "ss -lxp"]),
        (unix(), EACCES, &["unix:/run/a", "write to that directory"]),
        (Address::Udp { host: None, port: 53 }, EADDRINUSE, &["udp:*:53", "ss -lunp"]),
        (Address::Inherited(7), EBADF, &["descriptor 7", "started with"]),
    ] {
        check(&Trouble::ListenFailed { address, errno }, parts);
    }
}

#[test]
fn a_worker_s_own_words_do_not_drown_the_advice() {
    let long = "x".repeat(1 << 20);
    for trouble in [
        Trouble::BrokeProtocol { why: long.clone() },
        Trouble::ListenFailed { address: Address::Unix(long), errno: EADDRINUSE },
    ] {
        let Told { what, advice } = tell(&trouble, "`py x`");
        assert!(what.len() < 700 && what.contains("cut: it was 1048") && advice.is_some(), "{what}");
    }
}

#[test]
fn node_without_a_file_is_told_what_it_lacks() {
    let silent = Trouble::Silent { after: Duration::from_secs(5) };
    assert!(tell(&silent, "`node -e 1`").advice.unwrap().contains("script in a file"));
}

#[test]
fn signals_have_names() {
    for (signal, name) in [(1, "SIGHUP"), (9, "SIGKILL"), (11, "SIGSEGV"), (15, "SIGTERM"), (31, "SIGSYS")] {
        assert_eq!(signal_name(signal), name);
    }
    for signal in [0, -1, 32, 64, i32::MIN, i32::MAX] {
        assert_eq!(signal_name(signal), format!("signal {signal}"));
    }
}

#[test]
fn times_are_short() {
    for (millis, expected) in [
        (0, "0 ms"),
        (40, "40 ms"),
        (999, "999 ms"),
        (1000, "1 s"),
        (1250, "1.2 s"),
        (12_900, "12 s"),
        (61_000, "1 min"),
        (7_300_000, "2 h"),
        (90_000_000_000, "1041 days"),
    ] {
        assert_eq!(about(Duration::from_millis(millis)), expected);
    }
}
