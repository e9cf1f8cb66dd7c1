//! Workers on the crate's `Worker`, which the demo is: by TCP and by Unix sockets, handed their connections or accepting
//! them by themselves, under Node's own primary and under ours.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{Client, Node, Pointsman, eventually, free_port};

const WORKERS: usize = 2;

/// The body that is answered for `path` through a Unix socket.
fn get(socket: &Path, path: &str) -> String {
    receive(ask(socket, path))
}

fn ask(socket: &Path, path: &str) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn receive(mut stream: UnixStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    body.to_owned()
}

/// Which worker says that it has answered.
fn answerer(body: &str) -> u32 {
    body.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{body}"))
}

/// Node's own primary over demo workers, and what it has said.
#[derive(Debug)]
struct NodePrimary {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl NodePrimary {
    fn start(node: Node, policy: &str, addresses: &str) -> Self {
        let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/apps/primary_by_policy.js");
        let mut command = Command::new(node.path());
        command.arg(app).args([policy, &WORKERS.to_string(), addresses]);
        command.arg(env!("CARGO_BIN_EXE_pointsman")).arg("demo-worker");
        for name in ["NODE_OPTIONS", "NODE_CHANNEL_FD", "NODE_UNIQUE_ID", "NODE_CLUSTER_SCHED_POLICY"] {
            command.env_remove(name);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next event, which must be one of these.
    fn hear(&mut self, event: &str) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert_eq!(said["event"], event, "{said}");
        said
    }
}

impl Drop for NodePrimary {
    fn drop(&mut self) {
        // It may have ended. Its workers end with their channels.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everywhere: both workers listen on both, all is answered, and what is in flight at the end is answered too.
fn under_nodes_own_primary(policy: &str, check: impl Fn(BTreeSet<u32>)) {
    for node in Node::matrix() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut primary = NodePrimary::start(node, policy, &format!("{address},unix:{}", path.display()));
        let mut heard = BTreeSet::new();
        for _ in 0..2 * WORKERS {
            let said = primary.hear("listening");
            heard.insert(format!("{} {} {}", said["worker"], said["address"], said["port"]));
        }
        let both =
            |worker| [format!("{worker} \"127.0.0.1\" {}", address.port()), format!("{worker} {path:?} -1")];
        assert_eq!(heard, (1..=WORKERS).flat_map(both).collect(), "{node}");
        let mut answered = BTreeSet::new();
        for _ in 0..10 {
            answered.insert(answerer(&get(&path, "/")));
            answered.insert(answerer(&Client::connect(address).unwrap().get("/").unwrap().text()));
        }
        check(answered);
        let in_flight = ask(&path, "/slow?ms=300");
        // A later one was taken, so that one was as well.
        get(&path, "/");
        drop(primary.child.stdin.take());
        assert!(receive(in_flight).contains("slow"));
        for _ in 0..WORKERS {
            let exit = primary.hear("exit");
            assert!(exit["code"] == 0 && exit["agreed"] == true, "{node}: {exit}");
        }
        assert!(primary.child.wait().unwrap().success());
    }
}

#[test]
fn nodes_own_primary_hands_connections_to_them() {
    under_nodes_own_primary("rr", |answered| assert_eq!(answered, BTreeSet::from([1, 2]), "in turns"));
}

#[test]
fn nodes_own_primary_shares_its_sockets_with_them() {
    under_nodes_own_primary("none", |answered| assert!(!answered.is_empty()));
}

/// Our master over demo workers, on both kinds of addresses.
fn under_our_master(mode: &str) {
    let directory = tempfile::tempdir().unwrap();
    let socket = |name: &str| -> PathBuf { directory.path().join(name) };
    let paths = [socket("a.sock"), socket("b.sock")];
    let mut run = Pointsman::run().workers(WORKERS).option("-m", mode);
    for path in &paths {
        run = run.option("-l", path);
    }
    let mut master = run.expect_log("was killed by SIGKILL").start();
    master.wait_ready(WORKERS);
    let victim = master.workers()[0];
    assert!(paths.iter().all(|path| answerer(&get(path, "/")) > 0));
    victim.signal(Signal::SIGKILL);
    eventually("it is gone", || !victim.is_alive());
    // Whoever is left, and its successor, serve every address.
    master.wait_ready(WORKERS);
    thread::scope(|scope| {
        for path in paths.iter().cycle().take(40) {
            scope.spawn(|| assert!(answerer(&get(path, "/")) > 0));
        }
    });
    let in_flight: Vec<_> = paths.iter().map(|path| ask(path, "/slow?ms=300")).collect();
    let mut client = master.connect();
    client.send_get("/slow?ms=300").unwrap();
    // The kernel's queue has an order: these were taken, so the earlier ones were as well.
    assert!(paths.iter().all(|path| answerer(&get(path, "/")) > 0));
    assert_eq!(master.get("/").status, 200);
    master.finish();
    assert!(in_flight.into_iter().all(|stream| receive(stream).contains("slow")));
    assert_eq!(client.receive().unwrap().status, 200);
    assert!(!paths.iter().any(|path| path.exists()), "the files are removed");
}

#[test]
fn our_master_hands_connections_of_every_address_to_them() {
    under_our_master("handoff");
}

#[test]
fn our_master_shares_every_address_with_them() {
    under_our_master("shared");
}

#[test]
fn a_unix_socket_alone_is_enough() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sock");
    let master = Pointsman::run().workers(1).listen(path.as_os_str()).start();
    eventually("it is there", || path.exists());
    assert_eq!(answerer(&get(&path, "/")), 1);
    master.finish();
}

#[test]
fn a_worker_that_accepts_and_has_no_descriptor_left_goes_on_when_it_has_one() {
    const DESCRIPTORS: usize = 40;
    let limit = format!("nofile={DESCRIPTORS}");
    let mut master = Pointsman::run().workers(1).option("-m", "shared").option("--limit", limit).start();
    master.wait_ready(1);
    let worker = master.workers()[0];
    let mut idle: Vec<_> = (0..2 * DESCRIPTORS).map(|_| master.connect()).collect();
    eventually("it has none left", || worker.descriptors().len() == DESCRIPTORS);
    // One that it has is served on, and those that wait have their turn as soon as one has gone.
    assert_eq!(idle[0].get("/").unwrap().status, 200);
    for mut client in idle {
        assert_eq!(client.get("/").unwrap().status, 200);
    }
    assert_eq!(master.get("/").status, 200);
    master.finish();
}
