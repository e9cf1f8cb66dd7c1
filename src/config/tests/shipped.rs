//! The files of conf/, which are shipped.

use std::time::Duration;

use super::*;

/// Enables every key that the shipped file shows: its comments have a blank after the `#`.
fn shipped_file() -> String {
    let text = include_str!("../../../conf/pointsman.toml");
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_shipped_file_shows_every_key_with_its_default() {
    let text = shipped_file();
    let table: toml::Table = toml::from_str(&text).unwrap();
    let shown: Vec<_> = table.keys().map(String::as_str).collect();
    let mut known: Vec<_> = keys().collect();
    known.sort_unstable();
    assert_eq!(shown, known);

    let shipped = load_text(Layer::default(), &text, &[]).unwrap();
    let mut default = load_text(Layer::default(), "", &[]).unwrap();
    // These have no default that could be shown.
    default.program = shipped.program.clone();
    default.args = shipped.args.clone();
    default.env = shipped.env.clone();
    // The default of these is what pointsman itself has, which no file can show.
    let process = shipped.process.given.clone();
    default.process = Process::resolve(process, &mut Problems::default());
    assert_eq!(format!("{:?}", shipped.settings()), format!("{:?}", default.settings()));
    assert_eq!(shipped.mode.value, default.mode.value);
    let plain =
        |config: &Config| config.plain.rows().into_iter().map(|(_, value, _)| value).collect::<Vec<_>>();
    assert_eq!(plain(&shipped), plain(&default));
    assert_eq!(shipped.forward.settings(), default.forward.settings());

    let as_it_is = include_str!("../../../conf/pointsman.toml");
    assert!(load_text(Layer::default(), as_it_is, &[]).unwrap().program.is_none());
}

/// All that a file shows besides what it says, but for these.
fn shown(text: &str, but: &[&str]) -> String {
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(rest)
            if rest.contains(" = ")
                && !rest.starts_with(' ')
                && !but.iter().any(|key| rest.starts_with(key)) =>
        {
            rest
        }
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_file_for_other_programs_is_sound() {
    let text = include_str!("../../../conf/multiport.toml");
    let config = load_text(Layer::default(), text, &[]).unwrap();
    assert_eq!((config.command_line(), config.mode.value), ("python3 app.py".into(), Mode::Multiport));
    assert!(config.plain.stop_timeout.value + config.plain.kill_timeout.value < Duration::from_secs(10));
    // What it shows besides is right as well.
    let all = shown(text, &["user", "error_pages"]);
    let forward = load_text(Layer::default(), &all, &[]).unwrap().forward.settings();
    assert_eq!((forward.rules.max_in_flight, forward.rules.sticky.as_deref()), (Some(1), Some("pointsman")));
    assert_eq!((forward.rules.trusted_proxies.len(), forward.upstreams.len()), (2, 1));
    assert!(forward.access_log.is_some() && text.contains("#error_pages = { 5xx = "));
}

#[test]
fn the_file_for_node_is_sound() {
    let config = load_text(Layer::default(), include_str!("../../../conf/node.toml"), &[]).unwrap();
    assert_eq!(config.command_line(), "node server.js");
    assert_eq!(config.env.len(), 1);
    assert!(
        config.plain.stop_timeout.value + config.plain.kill_timeout.value < Duration::from_secs(10),
        "as it promises"
    );
    // What it shows besides is right as well.
    assert!(include_str!("../../../conf/node.toml").ends_with("#[limits]\n#nofile = 65536\n"));
    let all = include_str!("../../../conf/node.toml").replace("\n#user = \"www-data\"", "\nuser = \"root\"");
    let all = ["max_memory", "fail_when_errored", "depends"]
        .iter()
        .fold(all, |all, key| all.replace(&format!("\n#{key} = "), &format!("\n{key} = ")));
    let all = all.replace("\n#env_file = \".env\"", "\nenv_file = \"/dev/null\"");
    let all = all.replace("#[limits]\n#nofile", "[limits]\nnofile");
    let config = load_text(Layer::default(), &all, &[]).unwrap();
    assert!(config.process.origin("user").is_some());
    assert!(config.plain.max_memory.value.0.is_some() && config.plain.fail_when_errored.value);
    assert_eq!(config.depends.value.len(), 1);
    assert!(config.process.given.env_file.is_some() && config.process.origin("limits.nofile").is_some());
}
