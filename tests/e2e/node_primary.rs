//! Node's own primary over workers that use the crate: the demo.

use std::{
    collections::BTreeMap,
    io::Write,
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::harness::{Client, Log, Node, eventually, eventually_some, free_port};

/// A primary, which ends with the value.
struct NodePrimary {
    child: Child,
    log: Log,
    port: u16,
}

impl NodePrimary {
    fn start(node: Node, workers: usize) -> Self {
        let port = free_port();
        let app = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/apps/primary.js");
        let mut command = Command::new(node.path());
        command.args([
            app,
            node.form.word(),
            &workers.to_string(),
            env!("CARGO_BIN_EXE_pointsman"),
            "demo-worker",
        ]);
        command.env("PORT", port.to_string()).env_remove("NODE_UNIQUE_ID").env_remove("NODE_OPTIONS");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let log = Log::collect(child.stdout.take().unwrap());
        Self { child, log, port }
    }

    /// What it has told of this.
    fn told(&self, event: &str) -> Vec<Value> {
        let told = self.log.lines().into_iter().map(|line| serde_json::from_str::<Value>(&line).unwrap());
        told.filter(|told| told["event"] == event).collect()
    }

    #[track_caller]
    fn wait_told(&self, event: &str, count: usize) -> Vec<Value> {
        eventually_some(&format!("{count} times: {event}"), || {
            Some(self.told(event)).filter(|told| told.len() == count)
        })
    }
}

impl Drop for NodePrimary {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_node_primary_hands_connections_to_demo_workers_and_has_them_leave() {
    for node in Node::in_both_forms() {
        let mut primary = NodePrimary::start(node, 2);
        for listening in primary.wait_told("listening", 2) {
            assert_eq!(listening["port"], primary.port, "{node}");
        }
        assert_eq!(primary.told("online").len(), 2, "{node}");
        let address = SocketAddr::from(([127, 0, 0, 1], primary.port));
        let mut shares = BTreeMap::new();
        let mut kept: Vec<_> = (0..60).map(|_| Client::connect(address).unwrap()).collect();
        for client in &mut kept {
            *shares.entry(client.get("/").unwrap().pid()).or_insert(0) += 1;
        }
        assert_eq!(shares.into_values().sum::<u32>(), 60, "{node}");
        drop(kept);
        primary.child.stdin.as_ref().unwrap().write_all(b"\n").unwrap();
        for exit in primary.wait_told("exit", 2) {
            assert_eq!((&exit["code"], &exit["agreed"]), (&0.into(), &true.into()), "{node}: {exit}");
        }
        primary.wait_told("over", 1);
        assert!(primary.told("message").is_empty(), "{node}: what it reports is no message");
        drop(primary.child.stdin.take());
        eventually("the primary ends", || {
            primary.child.try_wait().unwrap().is_some_and(|exit| exit.success())
        });
    }
}
