//! The fleet in a made-up world: a seed makes workers that die, freeze, refuse and lie, slow channels and jumping time.
//!
//! After every step each connection is in exactly one place; then the faults stop, and the world must come to rest
//! with every connection served, but those that a worker had received and touched, and not accepted, when it died. A failure prints
//! its seed: `SIMULATION_SEED=n cargo test --all-features --test simulation` lives it again.
//! `SIMULATION_SEEDS=n` lives more lives.

mod forwarded;
mod random;
mod world;

use forwarded::Forwarded;
use random::Random;
use world::World;

/// Lives for as many seeds as asked, or for one.
fn for_seeds(default: u64, mut live: impl FnMut(u64)) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("SIMULATION_SEED") {
        return live(seed);
    }
    for seed in 0..number("SIMULATION_SEEDS").unwrap_or(default) {
        live(seed);
    }
}

#[test]
fn no_connection_is_lost_or_served_twice() {
    let mut totals = world::Totals::default();
    for_seeds(3000, |seed| {
        let mut world = World::new(seed);
        let mut random = Random::new(seed);
        for _ in 0..400 {
            world.step(&mut random);
            world.check();
        }
        world.heal(&mut random);
        totals.add(world.finish());
    });
    // A world in which nothing goes wrong would prove nothing.
    if std::env::var_os("SIMULATION_SEED").is_none() {
        totals.assert_all_happened();
    }
    println!("{totals:?}");
}

#[test]
fn a_fleet_that_is_told_to_stop_stops() {
    for_seeds(1000, |seed| {
        let mut world = World::new(seed);
        let mut random = Random::new(seed ^ 0x5707);
        for _ in 0..random.below(200) {
            world.step(&mut random);
            world.check();
        }
        world.stop(&mut random);
    });
}

#[test]
fn no_worker_that_has_requests_is_told_to_leave_before_its_time() {
    let mut totals = forwarded::Totals::default();
    for_seeds(1000, |seed| {
        let mut world = Forwarded::new(seed);
        let mut random = Random::new(seed ^ 0xF0);
        for _ in 0..600 {
            world.step(&mut random);
        }
        world.heal(&mut random);
        totals.add(&world.totals);
        world.stop(&mut random);
    });
    if std::env::var_os("SIMULATION_SEED").is_none() {
        totals.assert_all_happened();
    }
    println!("{totals:?}");
}
