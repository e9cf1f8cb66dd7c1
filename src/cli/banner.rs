//! What is said when the addresses are bound: what runs, where, what to type next and how to stop it.

use std::net::SocketAddr;

use pointsman::Endpoint;

use super::report::count;
use crate::config::{Config, Map, Mode, show_duration};

/// What a cluster serves, in a line.
pub(super) fn summary(config: &Config, endpoints: &[Endpoint]) -> String {
    let program = config.quoted();
    let mut places = endpoints.iter().map(place).collect::<Vec<_>>().join(" and ");
    if endpoints.is_empty() {
        let mapped: Vec<_> = config.map.value.iter().map(Map::to_for_from).collect();
        places = if mapped.is_empty() { "whatever they listen on".to_owned() } else { mapped.join(" and ") };
    }
    let servers = config.forward.lists.upstreams.value.len();
    let besides = match servers {
        0 => String::new(),
        1 => " and one other upstream".to_owned(),
        servers => format!(" and {servers} other upstreams"),
    };
    let how = match config.mode.value {
        // There the kernel decides, by no policy of ours.
        Mode::Shared => Mode::Shared.to_string(),
        mode => format!("{mode}, {}", config.policy.value),
    };
    let who = match config.workers.value {
        0 if servers == 1 => "one upstream".to_owned(),
        0 if servers > 1 => format!("{servers} upstreams"),
        workers => format!("{} of {program}{besides}", count(workers)),
    };
    format!("{who} behind {places} ({how})")
}

/// Where the master tells how it is.
pub(super) fn admin(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Tcp(address) => url(*address),
        other => other.to_string(),
    }
}

/// By which it is steered and seen.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Doors<'a> {
    pub(super) has_control: bool,
    pub(super) admin: Option<&'a Endpoint>,
}

/// The lines for a person at a terminal.
pub(super) fn lines(config: &Config, endpoints: &[Endpoint], doors: Doors<'_>, pid: u32) -> String {
    let mut text = format!("pointsman {}: {}", env!("CARGO_PKG_VERSION"), summary(config, endpoints));
    match endpoints.first() {
        Some(Endpoint::Tcp(address)) => text += &format!("\n  try   curl {}/", url(*address)),
        Some(Endpoint::Unix(path)) => {
            text += &format!("\n  try   curl --unix-socket {} http://localhost/", path.display());
        }
        _ => {}
    }
    if config.program.is_none() {
        let command = std::env::args().next().unwrap_or_else(|| "pointsman".into());
        text += &format!("\n  next  {command} run -- node app.js   (your own program)");
    }
    if doors.has_control {
        let asked = config.plain.to_ask();
        let verb = if config.workers.value == 0 { "scale 1" } else { "status" };
        text += &format!(
            "\n  steer pointsman {verb}{asked}   (also reload, scale, logs -f; `pointsman --help` has all)"
        );
    }
    if let Some(endpoint) = doors.admin {
        text += &format!("\n  admin {} (/livez /readyz /metrics /status)", admin(endpoint));
    }
    let time = show_duration(config.plain.stop_timeout.value);
    text += &format!(
        "\n  stop  Ctrl-C (or kill {pid}): requests in flight get {time} to finish; a second Ctrl-C stops at once"
    );
    text
}

fn place(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Tcp(address) if address.ip().is_unspecified() => {
            format!("port {} of every interface", address.port())
        }
        Endpoint::Tcp(address) => url(*address),
        other => other.to_string(),
    }
}

/// Where a client on this machine finds it.
fn url(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("http://localhost:{}", address.port())
    } else {
        format!("http://{address}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Given, Layer, Origin, Workers, load};

    fn config(program: &[&str], workers: usize) -> Config {
        let given = |words: &[&str]| Given::new(words.iter().map(Into::into).collect(), Origin::Default);
        let layer = Layer {
            workers: Some(Given::new(Workers::Count(workers), Origin::Default)),
            program: (!program.is_empty()).then(|| given(program)),
            ..Layer::default()
        };
        load(layer, None, &Environment::default()).unwrap()
    }

    #[test]
    fn the_banner_says_what_where_next_and_how_to_stop() {
        let admin = "0.0.0.0:9090".parse().unwrap();
        let places = ["127.0.0.1:8000".parse().unwrap()];
        let doors = Doors { has_control: true, admin: Some(&admin) };
        let text = lines(&config(&["node", "app.js"], 4), &places, doors, 4711);
        let expected = concat!(
            "pointsman ",
            env!("CARGO_PKG_VERSION"),
            ": 4 workers of `node app.js` behind http://127.0.0.1:8000 (handoff, round-robin)\n",
            "  try   curl http://127.0.0.1:8000/\n",
            "  steer pointsman status   (also reload, scale, logs -f; `pointsman --help` has all)\n",
            "  admin http://localhost:9090 (/livez /readyz /metrics /status)\n",
            "  stop  Ctrl-C (or kill 4711): requests in flight get 30s to finish; a second Ctrl-C stops at once",
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_mapped_or_shared_is_said_so() {
        let config = |variables: &[(&str, &str)]| {
            let pairs = variables.iter().map(|&(name, value)| (name.into(), value.into()));
            load(Layer::default(), None, &pairs.chain([("POINTSMAN_WORKERS".into(), "2".into())]).collect())
                .unwrap()
        };
        let text = summary(&config(&[("POINTSMAN_MAP", "3000=8181,4000=unix:/a")]), &[]);
        assert_eq!(
            text,
            "2 workers of the built-in demo worker behind 8181 for 3000 and unix:/a for 4000 (handoff, round-robin)"
        );
        let text = summary(&config(&[("POINTSMAN_MODE", "shared")]), &["127.0.0.1:80".parse().unwrap()]);
        assert!(text.ends_with("behind http://127.0.0.1:80 (shared)"), "{text}");
        let at = ["127.0.0.1:80".parse().unwrap()];
        let multiport = [("POINTSMAN_MODE", "multiport"), ("POINTSMAN_UPSTREAMS", "a:1,b:1")];
        let text = summary(&config(&multiport), &at);
        let how = "behind http://127.0.0.1:80 (multiport, round-robin)";
        assert_eq!(text, format!("2 workers of the built-in demo worker and 2 other upstreams {how}"));
        let alone = multiport.into_iter().chain([("POINTSMAN_PROGRAM", "x")]);
        let pairs = alone
            .map(|(name, value)| (name.into(), value.into()))
            .chain([("POINTSMAN_WORKERS".into(), "0".into())]);
        assert_eq!(
            summary(&load(Layer::default(), None, &pairs.collect()).unwrap(), &at),
            format!("2 upstreams {how}")
        );
    }

    #[test]
    fn the_demo_says_what_to_type_next() {
        let addresses = ["[::]:80".parse().unwrap(), "[::1]:81".parse().unwrap()];
        let text = lines(&config(&[], 1), &addresses, Doors::default(), 1);
        for part in [
            "1 worker of the built-in demo worker behind port 80 of every interface and http://[::1]:81",
            "curl http://localhost:80/\n",
            "run -- node app.js",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
