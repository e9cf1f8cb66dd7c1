//! Frames <-> messages, in both directions.
//!
//! A frame that is an object whose `cmd` starts with `NODE_` is internal; everything else is a message of the
//! application and is passed on as the JSON text it came as. One enum serves the master and the worker's half, so
//! each is tested against the other. Decoding borrows from the frame; encoding appends to a buffer.
//!
//! The fields are those of Node's `lib/internal/cluster` and `lib/internal/child_process`, the same in 16 to 24.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use super::listen::{ListenReply, Query};
pub use super::{
    own::Own,
    sockets::Sockets,
};

const HANDLE_ACK: &[u8] = br#"{"cmd":"NODE_HANDLE_ACK"}"#;
const HANDLE_NACK: &[u8] = br#"{"cmd":"NODE_HANDLE_NACK"}"#;
const PREFIX: &str = "NODE_";

/// One frame, understood.
#[derive(Debug, Clone)]
pub enum Message<'a> {
    /// `NODE_CLUSTER`: what Node's cluster module says to itself.
    Cluster(ClusterMessage<'a>),
    /// `NODE_HANDLE`: a message that comes with a descriptor.
    Handle(HandleMessage<'a>),
    /// The receiver of a `NODE_HANDLE` has its descriptor.
    HandleAck,
    /// The receiver of a `NODE_HANDLE` got no descriptor with it.
    HandleNack,
    /// `NODE_POINTSMAN`: what we say to ourselves; Node ignores it.
    Pointsman(Own<'a>),
    /// `NODE_SOCKET_*`: about sockets that were sent with a message.
    Sockets(Sockets<'a>),
    /// Another `NODE_*` command, to be ignored.
    Internal,
    /// A message of the application: any JSON value, as text.
    User(Cow<'a, RawValue>),
}

/// A `NODE_CLUSTER` frame.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterMessage<'a> {
    /// The sender's own counter.
    pub seq: u64,
    /// What it says.
    pub act: Act<'a>,
}

/// The acts of `NODE_CLUSTER`. W→M is sent by workers, M→W by the master.
#[derive(Debug, Clone, PartialEq)]
pub enum Act<'a> {
    /// W→M: the first frame of a worker.
    Online,
    /// W→M: the worker wants to listen; answered by [`Act::Reply`].
    QueryServer(Box<Query>),
    /// W→M: the worker's server listens.
    Listening(Box<Query>),
    /// W→M: the worker's server for `key` is closed.
    Close {
        /// The key given in the reply to its query.
        key: Cow<'a, str>,
    },
    /// W→M: the worker leaves by itself and waits for [`Act::Ack`].
    ExitedAfterDisconnect,
    /// M→W: close all servers, serve what is open, leave.
    Disconnect,
    /// M→W: a connection for `key`; travels inside a [`HandleMessage`].
    NewConn {
        /// The key given in the reply to the worker's query.
        key: Cow<'a, str>,
    },
    /// W→M: the answer to the `newconn` with `seq == ack`.
    Accepted {
        /// `seq` of the `newconn`.
        ack: u64,
        /// Whether the worker took the connection.
        accepted: bool,
    },
    /// M→W: the answer to the `queryServer` with `seq == ack`.
    Reply {
        /// `seq` of the query.
        ack: u64,
        /// The answer.
        reply: Box<ListenReply>,
    },
    /// M→W: the answer to [`Act::ExitedAfterDisconnect`].
    Ack {
        /// `seq` of the request.
        ack: u64,
    },
    /// An act of a version we do not know; harmless.
    Unknown,
}

/// A `NODE_HANDLE` frame: one descriptor travels with its first byte.
#[derive(Debug, Clone)]
pub struct HandleMessage<'a> {
    /// What the receiver makes of the descriptor.
    pub kind: HandleKind,
    /// The message that comes with it.
    pub message: Box<Message<'a>>,
}

/// `type` of a `NODE_HANDLE` frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HandleKind {
    /// A raw TCP or pipe handle: every connection that the master hands over.
    #[serde(rename = "net.Native")]
    NetNative,
    /// A `net.Server`.
    #[serde(rename = "net.Server")]
    NetServer,
    /// A `net.Socket`.
    #[serde(rename = "net.Socket")]
    NetSocket,
    /// A raw UDP handle.
    #[serde(rename = "dgram.Native")]
    DgramNative,
    /// A `dgram.Socket`.
    #[serde(rename = "dgram.Socket")]
    DgramSocket,
}

/// Why a frame cannot be understood. It costs its sender the channel.
#[derive(Debug, Error)]
pub enum MessageError {
    /// The frame is not one JSON text, or a field has a type it must not have.
    #[error("{context}: {source}")]
    Json {
        /// What was being read.
        context: &'static str,
        /// What serde_json says, with the column.
        source: serde_json::Error,
    },
    /// A field that must be there is not.
    #[error("{command} without {field}")]
    Missing {
        /// The command of the frame.
        command: &'static str,
        /// The field.
        field: &'static str,
    },
}

#[derive(Deserialize)]
struct Probe<'a> {
    // Not an Option: serde borrows a Cow only when it is the field itself, and this is the path of every connection.
    #[serde(borrow, default)]
    cmd: Cow<'a, str>,
}

impl<'a> Message<'a> {
    /// Reads one frame.
    pub fn decode(frame: &'a [u8]) -> Result<Self, MessageError> {
        if frame == HANDLE_ACK {
            return Ok(Self::HandleAck);
        }
        // Only an object can be internal; serde would take an array for a struct as well.
        let object = frame.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        let command = match serde_json::from_slice::<Probe<'a>>(frame) {
            Ok(Probe { cmd }) if object => cmd,
            // No `cmd`, or one that is no string, or not JSON at all: the next step tells.
            _ => return Self::user(frame),
        };
        match &*command {
            "NODE_CLUSTER" => decode_cluster(frame).map(Self::Cluster),
            "NODE_HANDLE" => decode_handle(frame).map(Self::Handle),
            "NODE_HANDLE_ACK" => Ok(Self::HandleAck),
            "NODE_HANDLE_NACK" => Ok(Self::HandleNack),
            "NODE_SOCKET_NOTIFY_CLOSE" | "NODE_SOCKET_ALL_CLOSED" | "NODE_SOCKET_GET_COUNT" | "NODE_SOCKET_COUNT" => {
                Sockets::decode(&command, frame).map(Self::Sockets)
            }
            "NODE_POINTSMAN" => Own::decode(frame).map(Self::Pointsman),
            // Node asks for more than the bare prefix.
            other if other.starts_with(PREFIX) && other.len() > PREFIX.len() => Ok(Self::Internal),
            _ => Self::user(frame),
        }
    }

    fn user(frame: &'a [u8]) -> Result<Self, MessageError> {
        json::<&RawValue>("a message", frame).map(|text| Self::User(Cow::Borrowed(text)))
    }

    /// Appends the frame to `out`, its `\n` included.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.encode_text(out);
        out.push(b'\n');
    }

    fn encode_text(&self, out: &mut Vec<u8>) {
        match self {
            Self::Cluster(message) => message.encode(out),
            Self::Handle(HandleMessage { kind, message }) => {
                encode_handle(out, *kind, |out| message.encode_text(out));
            }
            Self::HandleAck => out.extend_from_slice(HANDLE_ACK),
            Self::HandleNack => out.extend_from_slice(HANDLE_NACK),
            Self::Sockets(sockets) => sockets.encode(out),
            Self::Pointsman(own) => own.encode(out),
            Self::Internal => out.extend_from_slice(br#"{"cmd":"NODE_INTERNAL"}"#),
            Self::User(text) => out.extend_from_slice(text.get().as_bytes()),
        }
    }
}

impl ClusterMessage<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"cmd":"NODE_CLUSTER""#);
        match &self.act {
            Act::Online => act(out, "online"),
            Act::QueryServer(query) => {
                act(out, "queryServer");
                fields(out, query.as_ref());
            }
            Act::Listening(query) => {
                act(out, "listening");
                fields(out, query.as_ref());
            }
            Act::Close { key } => {
                act(out, "close");
                field(out, "key", key);
            }
            Act::ExitedAfterDisconnect => act(out, "exitedAfterDisconnect"),
            Act::Disconnect => act(out, "disconnect"),
            Act::NewConn { key } => {
                act(out, "newconn");
                field(out, "key", key);
            }
            Act::Accepted { ack, accepted } => {
                field(out, "ack", ack);
                field(out, "accepted", accepted);
            }
            Act::Reply { ack, reply } => {
                field(out, "ack", ack);
                fields(out, reply.as_ref());
            }
            Act::Ack { ack } => field(out, "ack", ack),
            Act::Unknown => {}
        }
        field(out, "seq", &self.seq);
        out.push(b'}');
    }
}

/// Appends the frame that hands a connection over, without making a [`Message`] first: this is the path of every
/// connection, and a boxed message would be an allocation.
pub fn encode_newconn(key: &str, seq: u64, out: &mut Vec<u8>) {
    let message = ClusterMessage { seq, act: Act::NewConn { key: Cow::Borrowed(key) } };
    encode_handle(out, HandleKind::NetNative, |out| message.encode(out));
    out.push(b'\n');
}

fn encode_handle(out: &mut Vec<u8>, kind: HandleKind, message: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(br#"{"cmd":"NODE_HANDLE","type":"#);
    value(out, &kind);
    out.extend_from_slice(br#","msg":"#);
    message(out);
    out.push(b'}');
}

/// Appends a JSON value. Writing our own types to memory cannot fail.
pub(super) fn value<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let before = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(before);
        out.extend_from_slice(b"null");
    }
}

pub(super) fn field<T: Serialize + ?Sized>(out: &mut Vec<u8>, name: &str, content: &T) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    value(out, content);
}

fn act(out: &mut Vec<u8>, name: &str) {
    field(out, "act", name);
}

/// Appends the fields of a struct (at least one) to the object being written.
fn fields<T: Serialize>(out: &mut Vec<u8>, content: &T) {
    let brace = out.len();
    value(out, content);
    out[brace] = b',';
    out.pop();
}

pub(super) fn json<'a, T: Deserialize<'a>>(context: &'static str, frame: &'a [u8]) -> Result<T, MessageError> {
    serde_json::from_slice(frame).map_err(|source| MessageError::Json { context, source })
}

pub(super) fn need<T>(command: &'static str, field: &'static str, content: Option<T>) -> Result<T, MessageError> {
    content.ok_or(MessageError::Missing { command, field })
}

#[derive(Deserialize)]
struct RawCluster<'a> {
    #[serde(borrow, default)]
    act: Cow<'a, str>,
    #[serde(borrow, default)]
    key: Cow<'a, str>,
    #[serde(default)]
    seq: Option<u64>,
    #[serde(default)]
    ack: Option<u64>,
    #[serde(default)]
    accepted: Option<bool>,
}

fn decode_cluster(frame: &[u8]) -> Result<ClusterMessage<'_>, MessageError> {
    const COMMAND: &str = "NODE_CLUSTER";
    let raw: RawCluster<'_> = json(COMMAND, frame)?;
    let seq = raw.seq.unwrap_or(0);
    let key = Some(raw.key).filter(|key| !key.is_empty());
    let act = match (raw.ack, &*raw.act) {
        (Some(ack), _) => match (raw.accepted, &key) {
            (Some(accepted), _) => Act::Accepted { ack, accepted },
            (None, Some(_)) => Act::Reply { ack, reply: json("a listen reply", frame)? },
            (None, None) => Act::Ack { ack },
        },
        (None, "online") => Act::Online,
        (None, "queryServer") => {
            need(COMMAND, "seq", raw.seq)?;
            Act::QueryServer(json("queryServer", frame)?)
        }
        (None, "listening") => Act::Listening(json("listening", frame)?),
        (None, "close") => Act::Close { key: need("close", "key", key)? },
        (None, "exitedAfterDisconnect") => {
            need("exitedAfterDisconnect", "seq", raw.seq)?;
            Act::ExitedAfterDisconnect
        }
        (None, "disconnect") => Act::Disconnect,
        (None, "newconn") => Act::NewConn { key: need("newconn", "key", key)? },
        (None, _) => Act::Unknown,
    };
    Ok(ClusterMessage { seq, act })
}

#[derive(Deserialize)]
struct RawHandle<'a> {
    #[serde(rename = "type")]
    kind: HandleKind,
    #[serde(borrow, default)]
    msg: Option<&'a RawValue>,
}

fn decode_handle(frame: &[u8]) -> Result<HandleMessage<'_>, MessageError> {
    let raw: RawHandle<'_> = json("NODE_HANDLE", frame)?;
    let text = raw.msg.map_or("null", RawValue::get);
    let message = Box::new(match Message::decode(text.as_bytes())? {
        // A descriptor within a descriptor: Node delivers it as any internal message that it does not know.
        Message::Handle(_) => Message::Internal,
        message => message,
    });
    Ok(HandleMessage { kind: raw.kind, message })
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
