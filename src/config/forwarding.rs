//! What of how requests are forwarded does not go together, with the rest or with itself; as in [`super::together`].

use pointsman::{ForwardProtocol, HashKey, PolicyName, UpstreamKind};

use super::{
    Config, Workers,
    forward::{AccessLog, Forwarding},
    layer::Given,
    problem::{Problem, Problems},
    together::refuse_pair,
    value::{BadValue, Mode},
};

/// Mistakes.
pub(super) fn refuse(
    mode: &Given<Mode>,
    policy: &Given<PolicyName>,
    workers: Workers,
    forward: &Forwarding,
    problems: &mut Problems,
) {
    if mode.value == Mode::Multiport {
        refuse_pairs(workers, forward, problems);
        return refuse_protocol(policy, forward, problems);
    }
    for (key, value, origin) in forward.changed() {
        let what =
            format!("{key} is of requests that are forwarded, and in the {} mode none are", mode.value);
        let instead =
            format!("leave it out, or choose the mode multiport (it is {} by {})", mode.value, mode.origin);
        problems.push(Problem::new(origin.clone(), value, BadValue::new(what, instead)));
    }
    if policy.value == PolicyName::Hash && mode.value == Mode::Handoff {
        let what = "in the handoff mode a connection has no key that it could be hashed by";
        let bad =
            BadValue::new(what, "choose another policy, or the mode multiport, where requests have one");
        problems.push(Problem::new(policy.origin.clone(), policy.value, bad));
    }
}

/// Numbers of which one must not be beyond the other.
fn refuse_pairs(workers: Workers, forward: &Forwarding, problems: &mut Problems) {
    let (keys, rows) = (&forward.keys, forward.keys.rows());
    if keys.eject_time.value > keys.eject_time_max.value {
        let instead = "raise eject_time_max, or lower eject_time";
        refuse_pair(["eject_time", "eject_time_max"], "longer than", instead, &rows, problems);
    }
    if keys.max_target.value.0 > keys.max_head.value.0 {
        let instead = "raise max_head, or lower max_target";
        refuse_pair(["max_target", "max_head"], "more than", instead, &rows, problems);
    }
    let port = usize::from(keys.upstream_port.value);
    let last = port + 2 * workers.count();
    if keys.upstream.value == UpstreamKind::Port && last > 1 + usize::from(u16::MAX) {
        let what = format!(
            "{} workers take two ports each, and from {port} on there are not as many",
            workers.count()
        );
        let bad = BadValue::new(what, "choose a lower upstream_port, or write upstream = \"unix\"");
        problems.push(Problem::new(keys.upstream_port.origin.clone(), port, bad));
    }
}

/// What bytes that are passed on do not have.
fn refuse_protocol(policy: &Given<PolicyName>, forward: &Forwarding, problems: &mut Problems) {
    let keys = &forward.keys;
    if keys.protocol.value != ForwardProtocol::Tcp {
        return;
    }
    let rows = keys.rows();
    let mut refuse = |key: &str, what: &str| {
        if let Some((_, value, origin)) = rows.iter().find(|(row, ..)| row.name == key) {
            let bad = BadValue::new(what, format!("leave {key} out, or write protocol = \"http\""));
            problems.push(Problem::new((*origin).clone(), value, bad));
        }
    };
    if policy.value == PolicyName::Hash && keys.hash_key.value != HashKey::Address {
        refuse("hash_key", "of a connection that is passed on only the address is known");
    }
    if keys.sticky.value.0.is_some() {
        refuse("sticky", "a connection that is passed on has no cookie");
    }
}

/// What does nothing.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    if config.mode.value != Mode::Multiport {
        return Vec::new();
    }
    let keys = &config.forward.keys;
    let never_ejected = keys.eject_after.value.0.is_none();
    let idle = [
        ("access_log_format", keys.access_log.value == AccessLog::Off, "while access_log is off"),
        ("hash_key", config.policy.value != PolicyName::Hash, "while policy is not hash"),
        ("eject_time", never_ejected, "while eject_after is off"),
        ("eject_time_max", never_ejected, "while eject_after is off"),
        ("upstream_port", keys.upstream.value == UpstreamKind::Unix, "while upstream is unix"),
        ("upstream_idle_timeout", keys.upstream_keepalive.value == 0, "while upstream_keepalive is 0"),
    ];
    let told = |(key, _, why)| {
        let (_, value, origin) = config.forward.changed().find(|(changed, ..)| *changed == key)?;
        Some(format!("{key} = {value} ({origin}) does nothing {why}"))
    };
    idle.into_iter().filter(|(_, does_nothing, _)| *does_nothing).filter_map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{
        Layer, load,
        tests::{check_mistakes, environment, load_text},
    };

    #[test]
    fn what_is_of_requests_is_refused_where_none_are_forwarded() {
        check_mistakes(&[
            (
                "lanes = 2",
                &["lanes is of requests that are forwarded, and in the handoff mode none are", "p.toml:1:9"],
            ),
            (
                "mode = \"shared\"\nsticky = \"a\"",
                &["in the shared mode none are", "(it is shared by p.toml:1)", "p.toml:2:10"],
            ),
            ("upstreams = \"a:1\"\nworkers = 1", &["upstreams is of requests"]),
            ("policy = \"hash\"", &["in the handoff mode a connection has no key", "p.toml:1:10"]),
            ("mode = \"shared\"\npolicy = \"hash\"", &["hash needs a master that accepts"]),
        ]);
        load_text(Layer::default(), "lanes = 1\nupstreams = []", &[]).unwrap();
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (text, expected) in [
            (
                "eject_time = \"2m\"",
                &["eject_time = 2m (p.toml:2) is longer than eject_time_max = 1m (default)"][..],
            ),
            (
                "max_head = \"4KiB\"",
                &["max_target = 8KiB (default) is more than max_head = 4KiB (p.toml:2)", "p.toml:2:12"],
            ),
            ("upstream_port = 65534\nworkers = 2", &["2 workers take two ports each", "p.toml:2:17"]),
            (
                "protocol = \"tcp\"\nsticky = \"a\"",
                &["a connection that is passed on has no cookie", "p.toml:3:10"],
            ),
            (
                "protocol = \"tcp\"\npolicy = \"hash\"\nhash_key = \"path\"",
                &["only the address is known", "p.toml:4:12"],
            ),
        ] {
            check_mistakes(&[(&format!("mode = \"multiport\"\n{text}"), expected)]);
        }
        for text in [
            "upstream_port = 65532\nworkers = 2",
            "upstream_port = 65534\nworkers = 9\nupstream = \"unix\"",
            "protocol = \"tcp\"\npolicy = \"hash\"",
            "policy = \"power-of-two\"",
        ] {
            load_text(Layer::default(), &format!("mode = \"multiport\"\n{text}"), &[]).unwrap();
        }
    }

    #[test]
    fn what_does_nothing_is_warned_about() {
        let warnings = |text: &str| {
            let words = format!("mode=multiport {text}");
            let pairs: Vec<_> = words.split_whitespace().filter_map(|word| word.split_once('=')).collect();
            let names: Vec<_> =
                pairs.iter().map(|(key, _)| format!("POINTSMAN_{}", key.to_uppercase())).collect();
            let pairs: Vec<_> =
                names.iter().zip(&pairs).map(|(name, (_, value))| (&**name, *value)).collect();
            load(Layer::default(), None, &environment(&pairs)).unwrap().warnings
        };
        for (text, expected) in [
            ("access_log_format=json", "does nothing while access_log is off"),
            ("hash_key=path", "hash_key = path (POINTSMAN_HASH_KEY) does nothing while policy is not hash"),
            ("eject_after=off eject_time=2s", "does nothing while eject_after is off"),
            ("upstream=unix upstream_port=3000", "does nothing while upstream is unix"),
            ("upstream_keepalive=0 upstream_idle_timeout=5s", "does nothing while upstream_keepalive is 0"),
        ] {
            let found = warnings(text);
            assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
        }
        for text in [
            "",
            "access_log=stdout access_log_format=json",
            "policy=hash hash_key=path",
            "upstream_port=3000",
        ] {
            assert_eq!(warnings(text), Vec::<String>::new(), "{text}");
        }
    }
}
