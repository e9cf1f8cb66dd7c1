//! The tests of the bench runner, of the workloads and of the floor. A bench with `harness = false` cannot hold tests of its
//! own.

#![allow(dead_code, unused_imports, reason = "only the parts with tests are used here")]

mod floor;
mod runner;
#[path = "../tests/traffic/mod.rs"]
mod traffic;
mod upheaval;
mod wrk;
