//! Which worker gets the next connection: targets in, index out.
//!
//! A policy sees the workers that serve one address, with what it may decide by (identity, weight, load), and a key of
//! the connection where there is one. It does not know what a worker is, nor whether its choice was carried out.

mod least_connections;
mod round_robin;

use std::{fmt, str::FromStr};

use thiserror::Error;

/// One worker as a policy sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Who it is, the same as long as it lives. Targets come sorted by it.
    pub id: u32,
    /// Its share relative to the others', at least 1.
    pub weight: u32,
    /// Connections it has, in the unit that the caller counts.
    pub load: u32,
    /// Whether it can take one now. A policy must not pick one that cannot.
    pub free: bool,
}

/// What a policy may decide by besides the targets: the same key goes to the same target, for policies that use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Key(pub Option<u64>);

/// A policy with what it remembers; one for each listening address.
pub trait Balance: fmt::Debug + Send {
    /// The index of the target that gets the next connection, or `None` when none is free.
    fn pick(&mut self, targets: &[Target], key: Key) -> Option<usize>;
}

/// The name of a policy, as written on the command line and in configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PolicyName {
    /// Each free worker in turn, as Node's cluster does.
    #[default]
    RoundRobin,
    /// The free worker with the fewest connections, open and on their way; equals in turn.
    LeastConnections,
}

impl PolicyName {
    /// Every policy of this version.
    pub const ALL: &[Self] = &[Self::RoundRobin, Self::LeastConnections];

    /// Whether it goes by the number of open connections, so that their ends must be known.
    pub(crate) fn needs_load(self) -> bool {
        match self {
            Self::RoundRobin => false,
            Self::LeastConnections => true,
        }
    }

    /// The policy in its first state.
    pub(crate) fn start(self) -> Box<dyn Balance> {
        match self {
            Self::RoundRobin => Box::new(round_robin::RoundRobin::default()),
            Self::LeastConnections => Box::new(least_connections::LeastConnections::default()),
        }
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::RoundRobin => "round-robin",
            Self::LeastConnections => "least-connections",
        })
    }
}

/// A word that names no policy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown policy {word:?}; the policies are: round-robin (also written rr), least-connections")]
pub struct UnknownPolicy {
    /// The word.
    pub word: String,
}

impl FromStr for PolicyName {
    type Err = UnknownPolicy;

    /// Reads a policy's name, or Node's `rr`.
    fn from_str(word: &str) -> Result<Self, UnknownPolicy> {
        match word {
            "round-robin" | "rr" => Ok(Self::RoundRobin),
            "least-connections" => Ok(Self::LeastConnections),
            _ => Err(UnknownPolicy { word: word.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for &policy in PolicyName::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
            let error = "nosuch".parse::<PolicyName>().unwrap_err().to_string();
            assert!(error.contains(&policy.to_string()), "{error}");
        }
        assert_eq!("rr".parse(), Ok(PolicyName::RoundRobin));
    }

    fn targets() -> impl Strategy<Value = Vec<Target>> {
        let one = (1u32..5, 0u32..9, any::<bool>());
        proptest::collection::vec(one, 0..9).prop_map(|all| {
            let number = |(id, (weight, load, free)): (u32, _)| Target { id, weight, load, free };
            (0..).zip(all).map(number).collect()
        })
    }

    // What every policy must do.
    proptest! {
        #[test]
        fn a_pick_is_free_and_there_is_one_if_any_is_free(rounds in proptest::collection::vec((targets(), any::<Option<u64>>()), 1..20)) {
            for &name in PolicyName::ALL {
                let mut policy = name.start();
                for (targets, key) in &rounds {
                    match policy.pick(targets, Key(*key)) {
                        Some(index) => prop_assert!(targets[index].free, "{}", name),
                        None => prop_assert!(targets.iter().all(|target| !target.free), "{}", name),
                    }
                }
            }
        }

        #[test]
        fn equal_targets_get_equal_shares(count in 1u32..9, turns in 1usize..9) {
            for &name in PolicyName::ALL {
                let mut policy = name.start();
                let targets: Vec<_> = (0..count).map(|id| Target { id, weight: 1, load: 0, free: true }).collect();
                let mut picked = vec![0; targets.len()];
                for _ in 0..targets.len() * turns {
                    picked[policy.pick(&targets, Key(None)).unwrap()] += 1;
                }
                prop_assert!(picked.iter().all(|&picks| picks == turns), "{}: {:?}", name, picked);
            }
        }
    }
}
