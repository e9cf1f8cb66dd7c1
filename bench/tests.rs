//! The tests of the bench runner. A bench with `harness = false` cannot hold tests of its own.

#![allow(dead_code, reason = "only the parts with tests are used here")]

mod runner;
