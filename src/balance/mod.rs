//! Which worker gets the next connection: targets in, index out.
//!
//! A policy sees the workers that serve one address, with what it may decide by (identity, weight, load), and a key of
//! the connection where there is one. It does not know what a worker is, nor whether its choice was carried out.

mod hash;
mod least_connections;
mod power_of_two;
mod round_robin;

use std::{cmp::Ordering, fmt, str::FromStr};

use thiserror::Error;

/// One worker as a policy sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Who it is, the same as long as it lives. Targets come sorted by it.
    pub id: u32,
    /// A hash of what it is called, which whoever takes its place is called as well.
    pub name: u64,
    /// Its share relative to the others', at least 1.
    pub weight: u32,
    /// Connections it has, in the unit that the caller counts.
    pub load: u32,
    /// Whether it can take one now. A policy must not pick one that cannot.
    pub free: bool,
}

impl Target {
    /// Compares load over weight, without dividing.
    fn cmp_load(&self, other: &Self) -> Ordering {
        let scaled = |load: u32, weight: u32| u64::from(load) * u64::from(weight);
        scaled(self.load, other.weight).cmp(&scaled(other.load, self.weight))
    }
}

/// What a policy may decide by besides the targets: the same key goes to the same target, for policies that use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Key(pub Option<u64>);

/// A policy with what it remembers; one for each listening address, or lane.
pub trait Balance: fmt::Debug + Send {
    /// The index of the target that gets the next connection, or `None` when none is free.
    fn pick(&mut self, targets: &[Target], key: Key) -> Option<usize>;
}

/// The name of a policy, as written on the command line and in configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PolicyName {
    /// Each free worker in turn, as Node's cluster does; where they have weights, in proportion to them.
    #[default]
    RoundRobin,
    /// The free worker with the fewest connections, open and on their way; equals in turn.
    LeastConnections,
    /// Of two free workers, the one with fewer connections: the one whose turn it is, and another by chance. Near to
    /// [`LeastConnections`](Self::LeastConnections), and better where several choose who do not know of each other.
    PowerOfTwo,
    /// The same key goes to the same worker, as long as it is free; what has no key goes to each in turn. Requests have
    /// keys, and connections that are handed over have none.
    Hash,
}

impl PolicyName {
    /// Every policy of this version.
    pub const ALL: &[Self] = &[Self::RoundRobin, Self::LeastConnections, Self::PowerOfTwo, Self::Hash];

    /// Whether it goes by the number of open connections, so that their ends must be known.
    pub(crate) fn needs_load(self) -> bool {
        match self {
            Self::RoundRobin | Self::Hash => false,
            Self::LeastConnections | Self::PowerOfTwo => true,
        }
    }

    /// The policy in its first state; chance, if it has any, begins at the seed.
    pub(crate) fn start(self, seed: u64) -> Box<dyn Balance> {
        match self {
            Self::RoundRobin => Box::new(round_robin::RoundRobin::default()),
            Self::LeastConnections => Box::new(least_connections::LeastConnections::default()),
            Self::PowerOfTwo => Box::new(power_of_two::PowerOfTwo::new(seed)),
            Self::Hash => Box::new(hash::Hash::default()),
        }
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::RoundRobin => "round-robin",
            Self::LeastConnections => "least-connections",
            Self::PowerOfTwo => "power-of-two",
            Self::Hash => "hash",
        })
    }
}

/// A word that names no policy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "unknown policy {word:?}; the policies are: round-robin (also written rr), least-connections, power-of-two (p2c), hash"
)]
pub struct UnknownPolicy {
    /// The word.
    pub word: String,
}

impl FromStr for PolicyName {
    type Err = UnknownPolicy;

    /// Reads a policy's name, Node's `rr`, or the usual short form of another.
    fn from_str(word: &str) -> Result<Self, UnknownPolicy> {
        match word {
            "round-robin" | "rr" => Ok(Self::RoundRobin),
            "least-connections" => Ok(Self::LeastConnections),
            "power-of-two" | "p2c" => Ok(Self::PowerOfTwo),
            "hash" => Ok(Self::Hash),
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
        assert_eq!("p2c".parse(), Ok(PolicyName::PowerOfTwo));
    }

    fn targets() -> impl Strategy<Value = Vec<Target>> {
        let one = (1u32..5, 0u32..9, any::<bool>());
        proptest::collection::vec(one, 0..9).prop_map(|all| {
            let number =
                |(id, (weight, load, free)): (u32, _)| Target { id, name: id.into(), weight, load, free };
            (0..).zip(all).map(number).collect()
        })
    }

    // What every policy must do.
    proptest! {
        #[test]
        fn a_pick_is_free_and_there_is_one_if_any_is_free(rounds in proptest::collection::vec((targets(), any::<Option<u64>>()), 1..20)) {
            for &name in PolicyName::ALL {
                let mut policy = name.start(7);
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
                let mut policy = name.start(7);
                let targets: Vec<_> = (0..count).map(|id| Target { id, name: id.into(), weight: 1, load: 0, free: true }).collect();
                let mut picked = vec![0; targets.len()];
                for _ in 0..targets.len() * turns {
                    picked[policy.pick(&targets, Key(None)).unwrap()] += 1;
                }
                prop_assert!(picked.iter().all(|&picks| picks == turns), "{}: {:?}", name, picked);
            }
        }

        #[test]
        fn a_weight_is_a_share(weights in proptest::collection::vec(1u32..6, 1..6)) {
            for name in [PolicyName::RoundRobin, PolicyName::LeastConnections, PolicyName::Hash] {
                let mut policy = name.start(7);
                let mut picked = vec![0; weights.len()];
                for _ in 0..10 * weights.iter().sum::<u32>() {
                    let target = |(id, (&weight, &load)): (u32, _)| Target { id, name: id.into(), weight, load, free: true };
                    let targets: Vec<_> = (0..).zip(weights.iter().zip(&picked)).map(target).collect();
                    picked[policy.pick(&targets, Key(None)).unwrap()] += 1;
                }
                let shares: Vec<_> = weights.iter().map(|weight| 10 * weight).collect();
                prop_assert_eq!(picked, shares, "{}", name);
            }
        }
    }
}
