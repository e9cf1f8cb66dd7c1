//! The environment -> layers.
//!
//! What is meant for us (`POINTSMAN_*`, Node's scheduling policy) makes one layer; what a platform sets for any program
//! (`WEB_CONCURRENCY`, `PORT`) only makes defaults. A variable that is empty counts as not set.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::Path,
    str::FromStr,
};

use pointsman::PolicyName;

use super::{
    attribute,
    forward::ForwardingLayer,
    forward_keys::{FORWARD, ForwardLayer},
    forward_lists::ListsLayer,
    key::{Ask, Key},
    keys::{PLAIN, PlainLayer},
    layer::{Given, Layer, Origin},
    listen::{Listen, port_number},
    problem::{Problem, Problems, nearest, synonym},
    process::ProcessLayer,
    value::{BadValue, Mode, concurrency, policy},
};

const WORKERS: &str = "POINTSMAN_WORKERS";
const LISTEN: &str = "POINTSMAN_LISTEN";
const MAP: &str = "POINTSMAN_MAP";
const MODE: &str = "POINTSMAN_MODE";
const POLICY: &str = "POINTSMAN_POLICY";
const PROGRAM: &str = "POINTSMAN_PROGRAM";
const ARGS: &str = "POINTSMAN_ARGS";
const CWD: &str = "POINTSMAN_CWD";
const USER: &str = "POINTSMAN_USER";
const GROUP: &str = "POINTSMAN_GROUP";
const UMASK: &str = "POINTSMAN_UMASK";
const NICE: &str = "POINTSMAN_NICE";
const CPU_AFFINITY: &str = "POINTSMAN_CPU_AFFINITY";
const ENV_FILE: &str = "POINTSMAN_ENV_FILE";
const LIMITS: &str = "POINTSMAN_LIMITS";
const DEPENDS: &str = "POINTSMAN_DEPENDS";
const UPSTREAMS: &str = "POINTSMAN_UPSTREAMS";
const TRUSTED_PROXIES: &str = "POINTSMAN_TRUSTED_PROXIES";
const ERROR_PAGES: &str = "POINTSMAN_ERROR_PAGES";
const NODE_POLICY: &str = "NODE_CLUSTER_SCHED_POLICY";

/// The number of workers, as platforms set it.
pub(super) const WEB_CONCURRENCY: &str = "WEB_CONCURRENCY";

/// What is read here for those keys of a file that are more than plain ones.
const SPECIAL: [&str; 19] = [
    WORKERS,
    LISTEN,
    MAP,
    MODE,
    POLICY,
    PROGRAM,
    ARGS,
    CWD,
    USER,
    GROUP,
    UMASK,
    NICE,
    CPU_AFFINITY,
    ENV_FILE,
    LIMITS,
    DEPENDS,
    UPSTREAMS,
    TRUSTED_PROXIES,
    ERROR_PAGES,
];

/// What is read here for the keys of a file.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    SPECIAL.into_iter().chain(PLAIN.iter().chain(&FORWARD).map(|key| key.variable))
}

/// What all of ours begin with.
const PREFIX: &str = "POINTSMAN_";

/// `POINTSMAN_SLOT` and so on are given to workers; they are there when a worker is itself a pointsman.
const GIVEN_TO_WORKERS: [&str; 3] = ["SLOT", "PRELOAD", "ADDRESSES"];

/// The variables of this process, or of a test.
#[derive(Debug, Default)]
pub(crate) struct Environment(BTreeMap<OsString, OsString>);

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        Self(variables.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }
}

impl Environment {
    /// What was set for us.
    pub(crate) fn layer(&self, problems: &mut Problems) -> Layer {
        let mut layer = self.node_policy(problems);
        layer.policy = self.read(POLICY, policy, problems).or(layer.policy);
        layer.mode = self.read(MODE, str::parse, problems).or(layer.mode);
        layer.workers = self.read(WORKERS, str::parse, problems);
        layer.listen = self.read(LISTEN, with_commas, problems);
        layer.map = self.read(MAP, with_commas, problems);
        layer.depends = self.read(DEPENDS, with_commas, problems);
        layer.program = self.read(PROGRAM, words, problems);
        layer.args = self.read(ARGS, words, problems);
        layer.process = self.process(problems);
        layer.plain = PlainLayer::read(&mut Variables { environment: self, problems });
        layer.forward = ForwardingLayer {
            keys: ForwardLayer::read(&mut Variables { environment: self, problems }),
            lists: ListsLayer {
                upstreams: self.read(UPSTREAMS, with_commas, problems),
                trusted_proxies: self.read(TRUSTED_PROXIES, with_commas, problems),
                error_pages: self.read(ERROR_PAGES, with_commas, problems),
            },
        };
        layer
    }

    /// What it says of the worker processes. Paths are relative to where this process was started.
    fn process(&self, problems: &mut Problems) -> ProcessLayer {
        let path = |text: &str| attribute::path(Path::new(text), Path::new(""));
        let limits = self.read(LIMITS, attribute::named_limits, problems);
        let spread = |Given { value: limits, origin }: Given<Vec<_>>| {
            limits.into_iter().map(move |(name, limit)| (name, Given::new(limit, origin.clone())))
        };
        ProcessLayer {
            cwd: self.read(CWD, path, problems),
            user: self.read(USER, attribute::account, problems),
            group: self.read(GROUP, attribute::account, problems),
            umask: self.read(UMASK, attribute::umask, problems),
            nice: self.read(NICE, attribute::nice, problems),
            cpu_affinity: self.read(CPU_AFFINITY, str::parse, problems),
            env_file: self.read(ENV_FILE, path, problems),
            limits: limits.into_iter().flat_map(spread).collect(),
        }
    }

    /// What a platform sets, for what `explicit` leaves open.
    pub(crate) fn defaults(&self, explicit: &Layer, problems: &mut Problems) -> Layer {
        let mut layer = Layer::default();
        if explicit.workers.is_none() {
            layer.workers = self.read(WEB_CONCURRENCY, concurrency, problems);
        }
        if explicit.listen.is_none() {
            let port = |text: &str| port_number(text).map(|port| vec![Listen::everywhere(port)]);
            layer.listen = self.read("PORT", port, problems);
        }
        layer
    }

    /// A sentence for each variable that looks like ours and is not.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let keys = || names().filter_map(|name| name.strip_prefix(PREFIX));
        let ours = self.0.keys().filter_map(|name| name.to_str()?.strip_prefix(PREFIX));
        let unknown =
            ours.filter(|key| !GIVEN_TO_WORKERS.contains(key) && !keys().any(|known| known == *key));
        let called = |key: &str| {
            let ours = synonym(&key.to_lowercase())?.to_uppercase();
            keys().find(|known| *known == ours)
        };
        let warn = |key: &str| match called(key).or_else(|| nearest(key, keys())) {
            Some(known) => format!("{PREFIX}{key} means nothing to pointsman; did you mean {PREFIX}{known}?"),
            None => {
                let keys = keys().collect::<Vec<_>>().join(", ");
                format!("{PREFIX}{key} means nothing to pointsman; after {PREFIX} it reads {keys}")
            }
        };
        unknown.map(warn).collect()
    }

    /// Node's own variable chooses between our modes as well as our policies.
    fn node_policy(&self, problems: &mut Problems) -> Layer {
        let choose = |word: &str| match word {
            "none" => Ok((Some(Mode::Shared), None)),
            "rr" => Ok((Some(Mode::Handoff), Some(PolicyName::RoundRobin))),
            other => match policy(other) {
                Ok(known) => Ok((None, Some(known))),
                Err(bad) => Err(BadValue { instead: format!("{}, and Node's none", bad.instead), ..bad }),
            },
        };
        let Some(Given { value: (mode, policy), origin }) = self.read(NODE_POLICY, choose, problems) else {
            return Layer::default();
        };
        Layer {
            mode: mode.map(|mode| Given::new(mode, origin.clone())),
            policy: policy.map(|policy| Given::new(policy, origin)),
            ..Layer::default()
        }
    }

    fn read<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, BadValue>,
        problems: &mut Problems,
    ) -> Option<Given<T>> {
        let text = self.0.get(OsStr::new(name))?;
        let value = match text.to_str() {
            Some(text) => parse(text),
            None => Err(BadValue::new("not UTF-8 text", "write it anew")),
        };
        let origin = Origin::Variable(name, text.to_string_lossy().into());
        match value {
            Ok(value) => Some(Given::new(value, origin)),
            Err(bad) => {
                problems.push(Problem::at(origin, bad));
                None
            }
        }
    }
}

/// The environment, asked for plain keys.
struct Variables<'a> {
    environment: &'a Environment,
    problems: &'a mut Problems,
}

impl Ask for Variables<'_> {
    fn ask<T>(&mut self, key: &'static Key, read: impl Fn(&str) -> Result<T, BadValue>) -> Option<Given<T>> {
        self.environment.read(key.variable, read, self.problems)
    }
}

/// Values with commas between.
fn with_commas<T: FromStr<Err = BadValue>>(text: &str) -> Result<Vec<T>, BadValue> {
    text.split(',').map(|value| value.trim().parse()).collect()
}

/// Words with blanks between; this is no shell.
fn words(text: &str) -> Result<Vec<OsString>, BadValue> {
    if text.contains(['"', '\'', '\\']) {
        return Err(BadValue::new(
            "quotes are not understood here",
            "give the program after -- or in the file",
        ));
    }
    let words: Vec<OsString> = text.split_whitespace().map(OsString::from).collect();
    if words.is_empty() { Err(BadValue::new("no word in it", "leave the variable out")) } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{super::layer::keys, *};

    #[test]
    fn there_is_a_variable_for_every_key_and_no_other() {
        // The variables of workers come with `-e`, or from the environment itself.
        let keys = keys().filter(|&key| key != "env");
        let expected: BTreeSet<_> = keys.map(|key| format!("{PREFIX}{}", key.to_uppercase())).collect();
        assert_eq!(expected, names().map(str::to_owned).collect());
    }
}
