//! End to end: real masters, real workers, real clients.
//!
//! Every test starts a master of its own on port 0, waits for conditions and never for time, and ends with
//! [`Master::finish`](harness::Master::finish), which asks for a clean log, exit code 0 and nothing left behind.
//! Tests that run Node do so on Node 20, and with `POINTSMAN_TEST_MATRIX=all` on 18, 20, 22 and 24.

#![cfg(test)]

mod access_log;
mod activation;
mod addresses;
mod admin;
mod attributes;
mod balancing;
mod chaos;
mod cli;
mod control;
mod control_cli;
mod control_clients;
mod cost;
mod crate_worker;
mod custody;
mod demo;
mod environment;
mod first;
mod forwarding_figures;
mod forwarding_rules;
mod harness;
mod http_cases;
mod idle;
mod inherited;
mod killed;
mod lane_cost;
mod leaving;
mod life;
mod limits;
mod listen_options;
mod load;
mod load_report;
mod messages;
mod metrics;
mod multiport;
mod node_primary;
mod node_programs;
mod pressure;
mod queueing;
mod reloads;
mod reports;
mod request_heads;
mod restarts;
mod scheduling;
mod shared;
mod shared_lanes;
mod slow_clients;
mod spoilt;
mod stderr;
mod stop;
mod streaming;
mod supervision;
mod systemd;
mod tcp;
mod terminal;
#[path = "../traffic/mod.rs"]
mod traffic;
mod turns;
mod udp;
mod under_load;
mod unit;
mod unix;
mod upstream_connections;
mod user;
mod websocket;
mod wire;
