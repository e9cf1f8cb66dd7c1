//! No allocation per connection: a connection's way through the fleet and the protocol, counted; and none per request for
//! what a lane decides.
//!
//! The pure path is driven as the loop in `master/` drives it, with the bytes that Node's workers answer. Memory that
//! is kept and used again may grow in the first connections; after those, nothing may be asked of the allocator.

#![cfg(test)]

mod counting;
mod lane;
mod path;

use counting::{Counting, allocations};
use lane::Lane;
use path::{Path, Teller};
use pointsman::{LogFormat, PolicyName, Serialization};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Until every buffer has the size that it keeps.
const WARM_UP: u64 = 500;
const CONNECTIONS: u64 = 10_000;

fn check(policy: PolicyName, teller: Teller, form: Serialization) {
    let mut path = Path::new(policy, teller, form);
    path.run(WARM_UP);
    let count = allocations(|| path.run(CONNECTIONS));
    assert_eq!(path.released(), WARM_UP + CONNECTIONS, "every connection has gone all the way");
    assert_eq!(
        count, 0,
        "{form}, {policy}, ends told by {teller:?}: allocations in {CONNECTIONS} connections"
    );
}

#[test]
fn round_robin_does_not_allocate() {
    for teller in Teller::ALL {
        Serialization::ALL.iter().for_each(|&form| check(PolicyName::RoundRobin, teller, form));
    }
}

#[test]
fn least_connections_does_not_allocate() {
    for teller in Teller::ALL {
        Serialization::ALL.iter().for_each(|&form| check(PolicyName::LeastConnections, teller, form));
    }
}

#[test]
fn power_of_two_does_not_allocate() {
    for teller in Teller::ALL {
        Serialization::ALL.iter().for_each(|&form| check(PolicyName::PowerOfTwo, teller, form));
    }
}

#[test]
fn what_a_lane_decides_does_not_allocate() {
    for &policy in PolicyName::ALL {
        for format in [LogFormat::Combined, LogFormat::Json] {
            let mut lane = Lane::new(policy, format);
            lane.run(WARM_UP);
            assert_eq!(allocations(|| lane.run(CONNECTIONS)), 0, "{policy}, {format:?}");
            assert_eq!(lane.noted(), WARM_UP + CONNECTIONS);
        }
    }
}
