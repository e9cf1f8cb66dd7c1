//! `pointsman check`: prints what would run.

use std::{path::PathBuf, process::ExitCode};

use super::{complain, failure, print};
use crate::config::{Config, Given, Mode, Origin, Process, show_limit, show_umask, words};

/// Prints the configuration, with the origin of each value if that is asked for.
pub(super) fn check(config: &Config, origin: bool) -> ExitCode {
    for warning in &config.warnings {
        complain(&format!("warning: {warning}\n"));
    }
    let printed = print(table(config, origin).as_bytes());
    if let Err(error) = config.settings().validate() {
        let advice = failure::advice(&error, config).map(|advice| format!("; {advice}")).unwrap_or_default();
        complain(&format!("error: {error}{advice}\n"));
        return ExitCode::from(failure::exit_code(&error));
    }
    printed
}

fn table(config: &Config, origin: bool) -> String {
    let mut rows = Vec::new();
    let mut row =
        |key: String, value: String, origin: &Origin| rows.push((key, one_line(&value), origin.to_string()));
    match &config.program {
        Some(program) => row("program".into(), words(&program.value), &program.origin),
        None => row("program".into(), config.command_line(), &Origin::Default),
    }
    if let Some(args) = &config.args {
        row("args".into(), words(&args.value), &args.origin);
    }
    for (key, value, origin) in process(&config.process) {
        row(key, value, origin);
    }
    row("workers".into(), config.workers.value.to_string(), &config.workers.origin);
    let mut listen = config.listen.value.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if listen.is_empty() {
        listen = "what the program listens on".to_owned();
    }
    row("listen".into(), listen, &config.listen.origin);
    if !config.map.value.is_empty() {
        let map = config.map.value.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        row("map".into(), map, &config.map.origin);
    }
    row("mode".into(), config.mode.value.to_string(), &config.mode.origin);
    let policy = match config.mode.value {
        Mode::Shared => "none: the kernel decides".to_owned(),
        _ => config.policy.value.to_string(),
    };
    row("policy".into(), policy, &config.policy.origin);
    for (key, value, origin) in config.plain.rows() {
        row(key.name.into(), value, origin);
    }
    if config.mode.value == Mode::Multiport {
        let rows = config.forward.rows().into_iter();
        rows.filter(|(_, value, _)| !value.is_empty())
            .for_each(|(key, value, origin)| row(key.into(), value, origin));
    }
    if !config.depends.value.is_empty() {
        let depends = config.depends.value.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        row("depends".into(), depends, &config.depends.origin);
    }
    for (name, Given { value, origin }) in &config.env {
        // The file is where secrets are, and what is printed here may be read by many.
        let value = if config.is_of_env_file(origin) { "(hidden)".to_owned() } else { words([value]) };
        row(format!("env.{}", name.display()), value, origin);
    }

    let width = |cell: fn(&(String, String, String)) -> &str| {
        rows.iter().map(|row| cell(row).chars().count()).max().unwrap_or_default()
    };
    let (keys, values) = (width(|row| &row.0), width(|row| &row.1));
    let line = |(key, value, from): &(String, String, String)| match origin {
        true => format!("{key:keys$}  {value:values$}  {from}\n"),
        false => format!("{key:keys$}  {value}\n"),
    };
    rows.iter().map(line).collect()
}

/// With control characters, such as line feeds, as Rust writes them.
fn one_line(text: &str) -> String {
    let escape = |letter: char| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    };
    text.chars().map(escape).collect()
}

/// What is given of the worker processes.
fn process(config: &Process) -> Vec<(String, String, &Origin)> {
    fn row<'a, T>(
        key: &str,
        given: Option<&'a Given<T>>,
        show: impl Fn(&T) -> String,
    ) -> Option<(String, String, &'a Origin)> {
        given.map(|Given { value, origin }| (key.to_owned(), show(value), origin))
    }
    let path = |path: &PathBuf| words([&path.clone().into_os_string()]);
    let given = &config.given;
    let rows = [
        row("cwd", given.cwd.as_ref(), path),
        row("user", given.user.as_ref(), Clone::clone),
        row("group", given.group.as_ref(), Clone::clone),
        row("umask", given.umask.as_ref(), |mask| show_umask(*mask)),
        row("nice", given.nice.as_ref(), ToString::to_string),
        row("cpu_affinity", given.cpu_affinity.as_ref(), ToString::to_string),
        row("env_file", given.env_file.as_ref(), path),
    ];
    let limits = config.limits.iter();
    let limits =
        limits.map(|(name, given)| (format!("limits.{name}"), show_limit(*name, given.value), &given.origin));
    rows.into_iter().flatten().chain(limits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Layer, load};

    fn of(variables: &[(&str, &str)]) -> String {
        let environment = variables.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        table(&load(Layer::default(), None, &environment).unwrap(), false)
    }

    #[test]
    fn what_may_be_secret_is_hidden_and_a_value_is_a_line() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at(".env"), "TOKEN=secret\nOTHER=secret\n").unwrap();
        let file = "env_file = \".env\"\n[env]\nOTHER = \"open\\nwide\"\nTAB = \"a\\tb\"\n";
        std::fs::write(at("p.toml"), file).unwrap();
        let config = load(Layer::default(), Some(&at("p.toml")), &Environment::default()).unwrap();
        let text = table(&config, true);
        let rows: Vec<_> = text.lines().filter(|line| line.starts_with("env.")).collect();
        assert!(!text.contains("secret") && rows.len() == 3, "{text}");
        for (row, start) in rows.iter().zip([
            "env.OTHER          'open\\nwide'",
            "env.TAB            'a\\tb'",
            "env.TOKEN          (hidden)",
        ]) {
            assert!(row.starts_with(start), "{row}");
        }
        assert!(rows[2].ends_with(".env:1"), "{text}");
    }

    #[test]
    fn what_others_decide_is_said_so() {
        let text = of(&[("POINTSMAN_MAP", "3000=8181")]);
        assert!(
            text.contains("\nlisten             what the program listens on\nmap                3000=8181\n"),
            "{text}"
        );
        let text = of(&[("POINTSMAN_MODE", "shared")]);
        assert!(text.contains("\npolicy             none: the kernel decides\n"), "{text}");
        assert!(!text.contains("lanes"), "{text}");
    }

    #[test]
    fn how_requests_are_forwarded_is_said_where_they_are() {
        let text = of(&[("POINTSMAN_MODE", "multiport"), ("POINTSMAN_UPSTREAMS", "a:1 backup")]);
        for row in ["lanes 1", "max_head 16KiB", "hash_key address", "access_log off", "upstreams a:1 backup"]
        {
            let (key, value) = row.split_once(' ').unwrap();
            let width = "upstream_idle_timeout".len();
            assert!(text.contains(&format!("\n{key:width$}  {value}\n")), "{row}: {text}");
        }
        assert!(!text.contains("error_pages") && text.contains("\nworkers                0\n"), "{text}");
    }

    #[test]
    fn the_table_is_aligned_and_says_where_from() {
        let variables = [
            ("POINTSMAN_WORKERS", "3"),
            ("POINTSMAN_PROGRAM", "node app.js"),
            ("POINTSMAN_DEPENDS", "127.0.0.1:1"),
        ];
        let environment: Environment =
            variables.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        let env = vec![("A".into(), Given::new("x y".into(), Origin::Flag("--env")))];
        let config = load(Layer { env, ..Layer::default() }, None, &environment).unwrap();
        let expected = "\
program            node app.js     POINTSMAN_PROGRAM
workers            3               POINTSMAN_WORKERS
listen             127.0.0.1:8000  default
mode               handoff         default
policy             round-robin     default
ready_on           auto            default
ready_after        2s              default
start_timeout      1m              default
max_starting       off             default
warm_up            0s              default
restart_delay      100ms           default
restart_delay_max  30s             default
max_crashes        10              default
crash_window       5m              default
fail_when_errored  false           default
stop_with          disconnect      default
stop_signal        TERM            default
stop_timeout       30s             default
linger_timeout     off             default
kill_timeout       5s              default
reload_batch       1               default
max_memory         off             default
max_age            off             default
max_connections    off             default
ping_timeout       off             default
output             auto            default
error_output       as output       default
output_max_size    100MiB          default
output_keep        5               default
window             8               default
handoff_timeout    30s             default
overload           wait            default
overload_timeout   1s              default
load_report        true            default
serialization      json            default
master_scheduling  batch           default
name               default         default
control            auto            default
control_group      off             default
admin              off             default
depends            127.0.0.1:1     POINTSMAN_DEPENDS
env.A              'x y'           --env
";
        assert_eq!(table(&config, true), expected);
        assert!(table(&config, false).starts_with("program            node app.js\nworkers            3\n"));
    }
}
