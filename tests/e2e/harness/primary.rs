//! The master's side of the wire by hand: one Node worker on a socketpair, and every frame seen.
//!
//! It hands over what comes to its listener and notes what the worker says. Nothing of Pointsman's master is in it,
//! so it shows what the preloaded script does and not what becomes of that.

use std::{
    collections::BTreeMap,
    fs,
    io::{IoSlice, IoSliceMut, Write},
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    path::Path,
    process::{Child, Command, ExitStatus},
};

use nix::{
    errno::Errno,
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Client, Form, Node, eventually, v8};

const SCRIPT: &str = include_str!("../../../src/node/load_report.cjs");
/// Has standard input, the channel, as descriptor 3, like any worker.
const PLACE_CHANNEL: &str = r#"exec "$@" 3<&0 0</dev/null"#;

#[derive(Debug)]
pub(crate) struct Primary {
    child: Child,
    form: Form,
    channel: UnixStream,
    listener: TcpListener,

    unread: Vec<u8>,
    seq: u64,
    /// What the worker said of each connection that was handed over.
    pub(crate) accepted: BTreeMap<u64, bool>,
    /// What the script reported, in order.
    pub(crate) gone: Vec<u64>,
    /// The reports that it took.
    pub(crate) reports: usize,
    /// Everything else, in order; `NODE_CLUSTER` frames by their act.
    pub(crate) said: Vec<String>,
    _directory: TempDir,
}

impl Primary {
    /// A worker that is loaded with the script and runs a program of `apps/`.
    pub(crate) fn start(node: Node, app: &str, args: &[&str]) -> Self {
        Self::spawn(node.form, node_command(node, app, args).env("NODE_UNIQUE_ID", "1"))
    }

    /// A plain child process with a channel, as `child_process.fork` makes them, and the script.
    pub(crate) fn start_child(node: Node, app: &str, args: &[&str]) -> Self {
        Self::spawn(node.form, &mut node_command(node, app, args))
    }

    /// The demo worker.
    pub(crate) fn start_demo(form: Form) -> Self {
        let mut command = in_shell();
        command.arg(env!("CARGO_BIN_EXE_pointsman")).arg("demo-worker").env("NODE_UNIQUE_ID", "1");
        Self::spawn(form, &mut command)
    }

    fn spawn(form: Form, command: &mut Command) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("load_report.cjs");
        fs::write(&script, SCRIPT).unwrap();
        let option = format!("--require \"{}\"", script.display());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (channel, theirs) = UnixStream::pair().unwrap();
        command.env("NODE_CHANNEL_FD", "3").env("NODE_CHANNEL_SERIALIZATION_MODE", form.word());
        command.env("NODE_OPTIONS", &option).env("POINTSMAN_PRELOAD", &option);
        // Node compares what it asked for with the address that it is told.
        command.env("PORT", listener.local_addr().unwrap().port().to_string());
        let child = command.stdin(OwnedFd::from(theirs)).spawn().unwrap();
        Self {
            child,
            form,
            channel,
            listener,
            unread: Vec::new(),
            seq: 0,
            accepted: BTreeMap::new(),
            gone: Vec::new(),
            reports: 0,
            said: Vec::new(),
            _directory: directory,
        }
    }

    /// Waits for this, and does a master's work while it waits.
    #[track_caller]
    pub(crate) fn wait(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        eventually(what, || {
            self.turn();
            condition(self)
        });
    }

    /// Waits until the worker has said this.
    #[track_caller]
    pub(crate) fn wait_said(&mut self, what: &str) {
        self.wait(&format!("the worker says {what}"), |primary| primary.said.iter().any(|said| said == what));
    }

    /// Waits until every connection that was ever accepted is reported, each once.
    #[track_caller]
    pub(crate) fn wait_all_gone(&mut self, count: usize) {
        let mut taken: Vec<_> = Vec::new();
        self.wait(&format!("{count} connections have come and gone"), |primary| {
            taken = primary.taken();
            taken.len() == count && primary.gone.len() >= count
        });
        self.gone.sort_unstable();
        assert_eq!(self.gone, taken);
    }

    /// Connects, and waits until the worker has the connection.
    #[track_caller]
    pub(crate) fn connect(&mut self) -> Client {
        let client = Client::connect(self.address()).unwrap();
        let answered = self.accepted.len() + 1;
        self.wait("the worker answers to a connection", |primary| primary.accepted.len() >= answered);
        client
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// What the worker has accepted, in order.
    pub(crate) fn taken(&self) -> Vec<u64> {
        self.accepted.iter().filter(|&(_, &accepted)| accepted).map(|(&seq, _)| seq).collect()
    }

    /// Tells the worker something.
    pub(crate) fn say(&mut self, message: &Value) {
        let frame = self.frame(message);
        self.channel.write_all(&frame).unwrap();
    }

    /// Has the script report together what ends within so many milliseconds.
    pub(crate) fn say_interval(&mut self, interval_ms: u64) {
        self.say(&json!({"cmd": "NODE_POINTSMAN", "interval": interval_ms}));
    }

    /// Asks whether the worker is there, and waits for its answer.
    #[track_caller]
    pub(crate) fn ping(&mut self, number: u64) {
        self.say(&json!({"cmd": "NODE_POINTSMAN", "ping": number}));
        self.wait_said(&json!({"cmd": "NODE_POINTSMAN", "pong": number}).to_string());
    }

    /// Has the worker leave as a master would.
    pub(crate) fn disconnect(&mut self) {
        self.say(&json!({"cmd": "NODE_CLUSTER", "act": "disconnect", "seq": 0}));
    }

    /// Waits for the end of the worker.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let mut exit = None;
        eventually("the worker ends", || {
            self.turn();
            exit = self.child.try_wait().unwrap();
            exit.is_some()
        });
        self.turn();
        exit.unwrap()
    }

    /// Reads what there is, answers, and hands over what has come.
    fn turn(&mut self) {
        while self.read() {}
        while let Ok((connection, _)) = self.listener.accept() {
            self.seq += 1;
            let newconn = json!({"cmd": "NODE_CLUSTER", "act": "newconn", "key": "k", "seq": self.seq});
            let frame = json!({"cmd": "NODE_HANDLE", "type": "net.Native", "msg": newconn});
            connection.set_nonblocking(true).unwrap();
            self.send(&self.frame(&frame), connection.as_raw_fd());
        }
    }

    fn frame(&self, message: &Value) -> Vec<u8> {
        match self.form {
            Form::Json => format!("{message}\n").into_bytes(),
            Form::Advanced => v8::frame(message),
        }
    }

    fn send(&self, frame: &[u8], descriptor: RawFd) {
        let descriptors = [descriptor];
        let control = [ControlMessage::ScmRights(&descriptors)];
        let bytes = [IoSlice::new(frame)];
        let sent = sendmsg::<()>(self.channel.as_raw_fd(), &bytes, &control, MsgFlags::MSG_NOSIGNAL, None);
        assert_eq!(sent, Ok(frame.len()));
    }

    /// Returns false when there is nothing more for now.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 64 << 10];
        let mut control = nix::cmsg_space!([RawFd; 4]);
        let mut bytes = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let length = match recvmsg::<()>(self.channel.as_raw_fd(), &mut bytes, Some(&mut control), flags) {
            Ok(received) => {
                received.cmsgs().unwrap().for_each(close);
                received.bytes
            }
            Err(Errno::EAGAIN | Errno::ECONNRESET) => 0,
            Err(error) => panic!("{error}"),
        };
        self.unread.extend_from_slice(&buffer[..length]);
        while let Some(message) = self.next_message() {
            self.handle(&message);
        }
        length > 0
    }

    fn next_message(&mut self) -> Option<Value> {
        match self.form {
            Form::Json => {
                let end = self.unread.iter().position(|&byte| byte == b'\n')?;
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                Some(serde_json::from_slice(&line).unwrap())
            }
            Form::Advanced => {
                let length = u32::from_be_bytes(*self.unread.first_chunk()?) as usize;
                let frame = self.unread.get(4..4 + length).map(v8::read)?;
                self.unread.drain(..4 + length);
                Some(frame)
            }
        }
    }

    fn handle(&mut self, message: &Value) {
        let word = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
        match (&*word("cmd"), &*word("act")) {
            ("NODE_POINTSMAN", _) if message["gone"].is_array() => {
                self.reports += 1;
                self.gone.extend(message["gone"].as_array().unwrap().iter().map(|seq| seq.as_u64().unwrap()));
            }
            ("NODE_CLUSTER", "queryServer") => {
                let address = self.address();
                let name = json!({"family": "IPv4", "address": "127.0.0.1", "port": address.port()});
                let key = if message["index"] == 0 { "k" } else { "other" };
                self.say(&json!({"cmd": "NODE_CLUSTER", "ack": message["seq"], "key": key, "errno": null,
                    "data": message["data"], "sockname": name, "seq": 0}));
                self.said.push("queryServer".to_owned());
            }
            ("NODE_CLUSTER", "") => {
                if let Some(accepted) = message["accepted"].as_bool() {
                    self.accepted.insert(message["ack"].as_u64().unwrap(), accepted);
                }
            }
            ("NODE_CLUSTER", act) => self.said.push(act.to_owned()),
            ("NODE_HANDLE", _) => {
                self.say(&json!({"cmd": "NODE_HANDLE_ACK"}));
                self.said.push(message["msg"].to_string());
            }
            ("NODE_HANDLE_ACK", _) => {}
            _ => self.said.push(message.to_string()),
        }
    }
}

/// A command that is still to be named, with the channel in its place.
fn in_shell() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", PLACE_CHANNEL, "sh"]).env_remove("NODE_UNIQUE_ID");
    command
}

fn node_command(node: Node, app: &str, args: &[&str]) -> Command {
    let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/apps").join(app);
    let mut command = in_shell();
    command.arg(node.path()).arg(app).args(args);
    command
}

impl Drop for Primary {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Closes the descriptors that came.
fn close(message: ControlMessageOwned) {
    if let ControlMessageOwned::ScmRights(numbers) = message {
        numbers.into_iter().for_each(|number| nix::unistd::close(number).unwrap());
    }
}
