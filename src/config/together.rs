//! What does not go together: mistakes, and what does nothing beside something else.
//!
//! Values that are right by themselves come in; [`Problems`] and warnings go out.

use pointsman::{PolicyName, ReadyOn};

use super::{
    Config, ControlPlace,
    key::{Key, Shown},
    keys::Plain,
    layer::{Given, Origin},
    listen::Listen,
    map::Map,
    output::ErrorOutput,
    problem::{Problem, Problems},
    value::{BadValue, Mode, Overload},
};

/// Sockets that a program can be given at its start in the shared mode: few enough for its channel to hold them.
const MAX_INHERITED: usize = 64;

/// What only a master does that accepts.
const OF_CONNECTIONS: [&str; 5] =
    ["max_connections", "window", "handoff_timeout", "overload", "master_scheduling"];

/// What a mode does not go with.
pub(super) fn refuse_with_mode(
    mode: &Given<Mode>,
    policy: &Given<PolicyName>,
    listen: &Given<Vec<Listen>>,
    map: &Given<Vec<Map>>,
    plain: &Plain,
    problems: &mut Problems,
) {
    let theirs = match mode.value {
        Mode::Handoff => return,
        Mode::Shared => "in the shared mode the workers do",
        Mode::Multiport => "in the multiport mode the lanes do",
    };
    let mut refuse = |what, this: &str, origin: &Origin, value: String| {
        let bad =
            BadValue::new(what, format!("leave {this} out, or the mode ({}), for handoff", mode.origin));
        problems.push(Problem::new(origin.clone(), value, bad));
    };
    if mode.value == Mode::Shared && policy.value != PolicyName::RoundRobin {
        let what = format!("{} needs a master that accepts, and {theirs}", policy.value);
        refuse(what, "the policy", &policy.origin, policy.value.to_string());
    }
    for (key, value, origin) in plain.given().filter(|(key, ..)| OF_CONNECTIONS.contains(&key.name)) {
        let what = format!("{} is of connections that the master accepts, and {theirs}", key.name);
        refuse(what, "it", origin, value);
    }
    if let Some(first) = map.value.first() {
        let what = match mode.value {
            Mode::Multiport => {
                "in the multiport mode a program listens on a port of its own, which it finds in PORT"
            }
            _ => "in the shared mode a program sees the address of its socket, which cannot be another",
        };
        refuse(what.to_owned(), "the mapping", &map.origin, first.to_string());
    }
    if mode.value == Mode::Shared && listen.value.len() > MAX_INHERITED {
        let what = format!("a program is started with at most {MAX_INHERITED} sockets");
        let bad = BadValue::new(what, "listen on fewer addresses");
        problems.push(Problem::new(listen.origin.clone(), listen.value.len(), bad));
    }
}

/// Times of which one must not be beyond the other.
pub(super) fn refuse_times(plain: &Plain, problems: &mut Problems) {
    let Plain { restart_delay, restart_delay_max, ready_after, start_timeout, .. } = plain;
    if restart_delay.value > restart_delay_max.value {
        refuse_pair(
            ["restart_delay", "restart_delay_max"],
            "longer than",
            "raise restart_delay_max, or lower restart_delay",
            &plain.rows(),
            problems,
        );
    }
    if plain.ready_on.value == ReadyOn::Alive
        && start_timeout.value.0.is_some_and(|end| ready_after.value >= end)
    {
        // It would be ended before it is ready.
        refuse_pair(
            ["ready_after", "start_timeout"],
            "not shorter than",
            "raise start_timeout, or lower ready_after",
            &plain.rows(),
            problems,
        );
    }
}

/// Shows that one value is such and such beside the other, at the one that was given.
pub(super) fn refuse_pair(
    keys: [&str; 2],
    how: &str,
    instead: &str,
    rows: &[(&Key, String, &Origin)],
    problems: &mut Problems,
) {
    let found = keys.map(|key| rows.iter().find(|(row, ..)| row.name == key));
    let [Some((one, this, here)), Some((other, that, there))] = found else { return };
    let what = format!("{} = {this} ({here}) is {how} {} = {that} ({there})", one.name, other.name);
    let (value, origin) = if matches!(here, Origin::Default) { (that, there) } else { (this, here) };
    problems.push(Problem::new((*origin).clone(), value, BadValue::new(what, instead)));
}

/// What is suspicious and may still be meant.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let Plain { ready_on, ready_after, start_timeout, .. } = &config.plain;
    let silent_never_ready = config.mode.value == Mode::Shared
        && ready_on.value == ReadyOn::Auto
        && start_timeout.value.0.is_some_and(|end| ready_after.value >= end);
    let mut warnings = idle(config);
    if silent_never_ready {
        warnings.push(format!(
            "a program that says nothing is ready after ready_after, {} ({}), and is ended before that, by start_timeout, \
             {} ({})",
            ready_after.value.shown(),
            ready_after.origin,
            start_timeout.value.shown(),
            start_timeout.origin
        ));
    }
    warnings
}

/// A warning for each value that does nothing.
fn idle(config: &Config) -> Vec<String> {
    let plain = &config.plain;
    let shared = config.mode.value == Mode::Shared;
    let error_output = match &plain.error_output.value {
        ErrorOutput::AsOutput => &plain.output.value,
        ErrorOutput::Own(output) => output,
    };
    let no_file = !plain.output.value.is_file() && !error_output.is_file();
    let never_counted = plain.max_crashes.value.0.is_none();
    let lingers = plain.linger_timeout.value.0.is_none_or(|time| time > plain.stop_timeout.value);
    let by_age = match plain.ready_on.value {
        ReadyOn::Alive => true,
        // Being alive counts where workers need not speak.
        ReadyOn::Auto => shared,
        _ => false,
    };
    let ready_on = plain.ready_on.value;
    let control = &plain.control.value;
    [
        (
            "overload_timeout",
            plain.overload.value == Overload::Wait,
            "while overload is wait; write overload = \"reject\"".to_owned(),
        ),
        ("ready_after", !by_age, format!("while ready_on is {ready_on}; write ready_on = \"alive\"")),
        ("crash_window", never_counted, "while max_crashes is off".to_owned()),
        ("fail_when_errored", never_counted, "while max_crashes is off".to_owned()),
        ("linger_timeout", !lingers, "while stop_timeout is as long".to_owned()),
        ("output_max_size", no_file, "while no output goes to a file".to_owned()),
        ("output_keep", no_file, "while no output goes to a file".to_owned()),
        (
            "output_keep",
            !no_file && plain.output_max_size.value.0.is_none(),
            "while output_max_size is off".to_owned(),
        ),
        ("name", *control != ControlPlace::Auto, format!("while control is {control}")),
        ("control_group", *control == ControlPlace::Off, "while control is off".to_owned()),
    ]
    .into_iter()
    .filter(|(_, does_nothing, _)| *does_nothing)
    .filter_map(|(key, _, why)| {
        let (_, value, origin) = plain.given().find(|(given, ..)| given.name == key)?;
        Some(format!("{key} = {value} ({origin}) does nothing {why}"))
    })
    .collect()
}

impl Plain {
    /// What is not left at its default.
    fn given(&self) -> impl Iterator<Item = (&'static Key, String, &Origin)> {
        self.rows().into_iter().filter(|(_, _, origin)| !matches!(origin, Origin::Default))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Layer, load,
        tests::{check_mistakes, environment, load_text},
    };

    #[test]
    fn times_that_contradict_each_other_are_refused() {
        check_mistakes(&[
            (
                "restart_delay = \"1m\"",
                &[
                    "restart_delay = 1m (p.toml:1) is longer than restart_delay_max = 30s (default)",
                    "p.toml:1:17",
                ],
            ),
            (
                "restart_delay = \"2s\"\nrestart_delay_max = \"1s\"",
                &[
                    "is longer than restart_delay_max = 1s (p.toml:2)",
                    "raise restart_delay_max",
                    "p.toml:1:17",
                ],
            ),
            (
                "restart_delay_max = \"50ms\"",
                &["restart_delay = 100ms (default) is longer than restart_delay_max = 50ms", "p.toml:1:21"],
            ),
            (
                "ready_on = \"alive\"\nstart_timeout = \"2s\"",
                &["ready_after = 2s (default) is not shorter than start_timeout = 2s", "p.toml:2:17"],
            ),
        ]);
        check_mistakes(&[
            (
                "mode = \"shared\"\nmax_connections = 5",
                &["max_connections is of connections that the master", "p.toml:2:19"],
            ),
            (
                "mode = \"multiport\"\nwindow = 4",
                &["window is of connections that the master accepts, and in the multiport mode the lanes do"],
            ),
            (
                "mode = \"multiport\"\nmap = \"3000=4000\"",
                &["in the multiport mode a program listens on a port of its own", "p.toml:2:7"],
            ),
        ]);
        for text in [
            "restart_delay = \"30s\"",
            "start_timeout = \"1s\"",
            "ready_on = \"alive\"\nstart_timeout = \"off\"",
            "mode = \"shared\"\nlinger_timeout = \"1m\"\nping_timeout = \"5s\"",
        ] {
            load_text(Layer::default(), text, &[]).unwrap();
        }
    }

    /// What is said of these keys, given as variables.
    fn warnings(text: &str) -> Vec<String> {
        let variables: Vec<_> = text.split_whitespace().map(|word| word.split_once('=').unwrap()).collect();
        let names: Vec<_> =
            variables.iter().map(|(key, _)| format!("POINTSMAN_{}", key.to_uppercase())).collect();
        let pairs: Vec<_> =
            names.iter().zip(&variables).map(|(name, (_, value))| (&**name, *value)).collect();
        load(Layer::default(), None, &environment(&pairs)).unwrap().warnings
    }

    #[test]
    fn what_does_nothing_is_warned_about() {
        for (text, expected) in [
            (
                "overload_timeout=2s",
                "overload_timeout = 2s (POINTSMAN_OVERLOAD_TIMEOUT) does nothing while overload is wait",
            ),
            (
                "ready_after=3s",
                "ready_after = 3s (POINTSMAN_READY_AFTER) does nothing while ready_on is auto",
            ),
            (
                "ready_after=3s ready_on=message",
                "does nothing while ready_on is message; write ready_on = \"alive\"",
            ),
            (
                "max_crashes=off crash_window=1m",
                "crash_window = 1m (POINTSMAN_CRASH_WINDOW) does nothing while max_",
            ),
            ("max_crashes=off fail_when_errored=true", "fail_when_errored = true"),
            (
                "linger_timeout=30s",
                "linger_timeout = 30s (POINTSMAN_LINGER_TIMEOUT) does nothing while stop_timeout",
            ),
            (
                "output_keep=1",
                "output_keep = 1 (POINTSMAN_OUTPUT_KEEP) does nothing while no output goes to a file",
            ),
            ("output_max_size=off", "output_max_size = off"),
            (
                "mode=shared start_timeout=2s",
                "after ready_after, 2s (default), and is ended before that, by start_timeout, 2s (POINTSMAN_START",
            ),
            ("output=a.log output_max_size=off output_keep=1", "does nothing while output_max_size is off"),
            (
                "name=api control=/run/a.sock",
                "name = api (POINTSMAN_NAME) does nothing while control is /run/a.sock",
            ),
            (
                "control_group=0 control=off",
                "control_group = 0 (POINTSMAN_CONTROL_GROUP) does nothing while control is off",
            ),
        ] {
            let found = warnings(text);
            assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
        }
        for text in [
            "overload_timeout=2s overload=reject",
            "overload=wait",
            "ready_after=3s ready_on=alive",
            "ready_after=3s mode=shared",
            "mode=shared start_timeout=2s ready_on=listening",
            "start_timeout=2s",
            "max_crashes=off",
            "max_crashes=3 crash_window=1m fail_when_errored=true",
            "linger_timeout=31s",
            "linger_timeout=off",
            "output=a.log output_max_size=1MiB output_keep=1",
            "error_output=a.log output_keep=0",
            "name=api control=auto control_group=0",
            "control=/run/a.sock control_group=0",
        ] {
            assert_eq!(warnings(text), Vec::<String>::new(), "{text}");
        }
    }
}
