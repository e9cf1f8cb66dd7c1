//! conf/pointsman.service, by systemd's own reader where it is installed.

use std::{fs, path::Path, process::Command};

use crate::harness::Pointsman;

const BINARY: &str = "/usr/bin/pointsman";

/// The first that knows `notify-reload`, and the first whose reader knows all the rest.
const KNOWS_RELOAD: u32 = 253;
const KNOWS_THE_REST: u32 = 247;

fn unit() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/pointsman.service")).unwrap()
}

/// The values that a key has, in their order.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

/// Which systemd there is.
fn version() -> Option<u32> {
    let output = Command::new("systemd-analyze").arg("--version").output().ok()?;
    String::from_utf8_lossy(&output.stdout).split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn systemd_understands_every_line_of_the_unit() {
    let (known, unit) = match version() {
        Some(version) if version >= KNOWS_RELOAD => (version, unit()),
        Some(version) if version >= KNOWS_THE_REST => {
            eprintln!("systemd {version} knows no notify-reload: read with Type=notify instead");
            (version, unit().replace("Type=notify-reload", "Type=notify"))
        }
        other => {
            eprintln!("the unit is not read by systemd, which is missing or too old here: {other:?}");
            return;
        }
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pointsman.service");
    let verify = |unit: &str| {
        fs::write(&path, unit.replace(BINARY, env!("CARGO_BIN_EXE_pointsman"))).unwrap();
        // The manual page is not installed where it would be looked for.
        let output =
            Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    assert_eq!(verify(&unit), "", "systemd {known}");
    assert_ne!(
        verify(&unit.replace("[Install]", "NoSuchKey=1\n[Install]")),
        "",
        "it says what it does not know"
    );
}

#[test]
fn what_the_unit_starts_is_what_pointsman_understands() {
    let unit = unit();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/pointsman.toml");
    let words = |key| {
        let [line] = values(&unit, key)[..] else { panic!("{key} is there once") };
        line.split(' ').collect::<Vec<_>>()
    };
    let [checks, runs] = ["ExecStartPre", "ExecStart"].map(words);
    assert_eq!((checks[0], runs[0]), (BINARY, BINARY));
    assert_eq!((checks[1], runs[1], &checks[2..]), ("check", "run", &runs[2..]), "it checks what it runs");
    let ["-c", configured] = runs[2..] else { panic!("{runs:?}") };
    assert_eq!(configured, "/etc/pointsman/pointsman.toml");
    // `run -t` only checks.
    for run in [Pointsman::verb("check"), Pointsman::verb("run").flag("-t")] {
        let output = run.option("-c", &file).output();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_unit_leaves_v8_and_the_master_what_they_need() {
    let unit = unit();
    for (key, expected) in [
        ("Type", "notify-reload"),
        ("KillMode", "mixed"),
        ("Restart", "on-failure"),
        ("RestartPreventExitStatus", "78 77 2"),
        ("RuntimeDirectory", "pointsman"),
    ] {
        assert_eq!(values(&unit, key), [expected], "{key}");
    }
    // Its JIT, and /proc of workers of another user.
    for key in ["MemoryDenyWriteExecute", "ProtectProc", "ProcSubset"] {
        assert!(values(&unit, key).is_empty(), "{key}");
    }
    for family in ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"] {
        assert!(
            values(&unit, "RestrictAddressFamilies")[0].split(' ').any(|known| known == family),
            "{family}"
        );
    }
}
