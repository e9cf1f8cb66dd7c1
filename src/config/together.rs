//! What does not go together: mistakes, and what does nothing beside something else.
//!
//! Values that are right by themselves come in; [`Problems`] and warnings go out.

use pointsman::PolicyName;

use super::{
    Config,
    key::Key,
    keys::Plain,
    layer::{Given, Origin},
    listen::Listen,
    map::Map,
    problem::{Problem, Problems},
    value::{BadValue, Mode, Overload},
};

/// Sockets that a program can be given at its start in the shared mode: few enough for its channel to hold them.
const MAX_INHERITED: usize = 64;

/// What only a master does that accepts.
const OF_CONNECTIONS: [&str; 3] = ["window", "handoff_timeout", "overload"];

/// What a mode does not go with.
pub(super) fn refuse_with_mode(
    mode: &Given<Mode>,
    policy: &Given<PolicyName>,
    listen: &Given<Vec<Listen>>,
    map: &Given<Vec<Map>>,
    plain: &Plain,
    problems: &mut Problems,
) {
    if let Some(bad) = mode.value.refusal() {
        problems.push(Problem::new(mode.origin.clone(), mode.value, bad));
    }
    if mode.value != Mode::Shared {
        return;
    }
    let mut refuse = |what, this: &str, origin: &Origin, value: String| {
        let bad =
            BadValue::new(what, format!("leave {this} out, or the mode ({}), for handoff", mode.origin));
        problems.push(Problem::new(origin.clone(), value, bad));
    };
    if policy.value != PolicyName::RoundRobin {
        let what =
            format!("{} needs a master that accepts, and in the shared mode the workers do", policy.value);
        refuse(what, "the policy", &policy.origin, policy.value.to_string());
    }
    for (key, value, origin) in plain.given().filter(|(key, ..)| OF_CONNECTIONS.contains(&key.name)) {
        let what = format!(
            "{} is of connections that the master accepts, and in the shared mode the workers do",
            key.name
        );
        refuse(what, "it", origin, value);
    }
    if let Some(first) = map.value.first() {
        let what = "in the shared mode a program sees the address of its socket, which cannot be another";
        refuse(what.to_owned(), "the mapping", &map.origin, first.to_string());
    }
    if listen.value.len() > MAX_INHERITED {
        let what = format!("a program is started with at most {MAX_INHERITED} sockets");
        let bad = BadValue::new(what, "listen on fewer addresses");
        problems.push(Problem::new(listen.origin.clone(), listen.value.len(), bad));
    }
}

/// A warning for each value that does nothing.
pub(super) fn idle(config: &Config) -> Vec<String> {
    let plain = &config.plain;
    let mut warnings = Vec::new();
    let mut warn = |key: &str, does_nothing: bool, why: &str| {
        let given = plain.given().find(|(given, ..)| given.name == key).filter(|_| does_nothing);
        warnings
            .extend(given.map(|(_, value, origin)| format!("{key} = {value} ({origin}) does nothing {why}")));
    };
    warn(
        "overload_timeout",
        plain.overload.value == Overload::Wait,
        "while overload is wait; write overload = \"reject\"",
    );
    warnings
}

impl Plain {
    /// What is not left at its default.
    fn given(&self) -> impl Iterator<Item = (&'static Key, String, &Origin)> {
        self.rows().into_iter().filter(|(_, _, origin)| !matches!(origin, Origin::Default))
    }
}
