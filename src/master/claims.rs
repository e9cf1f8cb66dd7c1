//! Blocks of ports that are this master's, as long as it lives: no other master gives them to its workers.

use std::{collections::BTreeMap, os::fd::OwnedFd};

use crate::{fleet, sys::claim};

/// By the first port of each; those that cannot be claimed on this machine have nothing to be held.
#[derive(Debug, Default)]
pub(super) struct Claims(BTreeMap<u16, Option<OwnedFd>>);

impl Claims {
    /// Claims the block that begins at this port. Says whether it is this master's.
    pub(super) fn add(&mut self, block: u16) -> bool {
        let mut new = Vec::new();
        for first in fleet::claims(block).filter(|first| !self.0.contains_key(first)) {
            match claim::claim(&format!("pointsman/ports/{first}")) {
                Ok(Some(held)) => new.push((first, Some(held))),
                Ok(None) => return false,
                Err(error) => {
                    // It goes without: then it is seen only whether a port is free.
                    log::debug!("the ports from {first} on cannot be claimed: {error}");
                    new.push((first, None));
                }
            }
        }
        self.0.extend(new);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_master_has_no_other_gets() {
        // Behind all that are given out by default, and not where a range begins that is aligned.
        let block = 60_010 + u16::try_from(std::process::id() % 100).unwrap() * 32;
        let (mut one, mut other) = (Claims::default(), Claims::default());
        assert!(one.add(block) && one.add(block) && one.add(block + 32), "what touches its own is its own");
        assert!(!other.add(block + 64), "a part of it is the first one's");
        assert!(other.add(block + 96));
        drop(one);
        assert!(other.add(block + 64) && other.add(block), "it is let go");
    }
}
