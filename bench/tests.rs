//! The tests of the bench runner, of the workload and of the floor. A bench with `harness = false` cannot hold tests of its
//! own.

#![allow(dead_code, unused_imports, reason = "only the parts with tests are used here")]

mod floor;
mod runner;
mod wrk;
