//! Frames -> messages; `encode` is the way back.
//!
//! A frame that is an object whose `cmd` starts with `NODE_` is internal; everything else is a message of the
//! application and is passed on as it came. One enum serves the master and the worker's half, so each is tested
//! against the other. Decoding borrows from the frame. Which form the bytes have is the channel's, and said with each
//! frame.
//!
//! The fields are those of Node's `lib/internal/cluster` and `lib/internal/child_process`, the same in 16 to 24.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

pub use super::{
    encode::{encode_newconn, encode_user},
    own::Own,
    sockets::Sockets,
    source::User,
};
use super::{
    listen::{ListenReply, Query},
    serialization::Serialization,
    source::{Source, each_field, json, number, text, truth},
    v8::{Leaf, Place, V8Error},
};

/// The commonest frame of all, in both forms; after V8's header.
const HANDLE_ACK: &[u8] = br#"{"cmd":"NODE_HANDLE_ACK"}"#;
const HANDLE_ACK_V8: &[u8] = b"o\"\x03cmd\"\x0fNODE_HANDLE_ACK{\x01";
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
    /// A message of the application, as it came.
    User(User<'a>),
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandleKind {
    /// A raw TCP or pipe handle: every connection that the master hands over.
    NetNative,
    /// A `net.Server`.
    NetServer,
    /// A `net.Socket`.
    NetSocket,
    /// A raw UDP handle.
    DgramNative,
    /// A `dgram.Socket`.
    DgramSocket,
}

impl HandleKind {
    const ALL: [Self; 5] =
        [Self::NetNative, Self::NetServer, Self::NetSocket, Self::DgramNative, Self::DgramSocket];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::NetNative => "net.Native",
            Self::NetServer => "net.Server",
            Self::NetSocket => "net.Socket",
            Self::DgramNative => "dgram.Native",
            Self::DgramSocket => "dgram.Socket",
        }
    }
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
    /// The frame is not one value in V8's format.
    #[error("{context}: {source}")]
    V8 {
        /// What was being read.
        context: &'static str,
        /// What is wrong, and where.
        source: V8Error,
    },
    /// A field has a type that it must not have.
    #[error("{command}: {field} is not {wanted}")]
    Field {
        /// The command of the frame.
        command: &'static str,
        /// The field.
        field: String,
        /// What it should be.
        wanted: &'static str,
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

impl<'a> Message<'a> {
    /// Reads one frame, without what is around it.
    pub fn decode(serialization: Serialization, frame: &'a [u8]) -> Result<Self, MessageError> {
        match serialization {
            Serialization::Json if frame == HANDLE_ACK => Ok(Self::HandleAck),
            Serialization::Json => Self::read(Source::Json(frame), false),
            Serialization::Advanced => match Place::of_frame(frame) {
                Ok(place) if place.rest() == HANDLE_ACK_V8 => Ok(Self::HandleAck),
                Ok(place) => Self::read(Source::V8(place), false),
                Err(source) => Err(MessageError::V8 { context: "a message", source }),
            },
        }
    }

    /// Reads a frame, or what a `NODE_HANDLE` carries.
    fn read(source: Source<'a>, carried: bool) -> Result<Self, MessageError> {
        let command = source.command()?.unwrap_or_default();
        match &*command {
            "NODE_CLUSTER" => read_cluster(source).map(Self::Cluster),
            // A descriptor within a descriptor: Node delivers it as any internal message that it does not know.
            "NODE_HANDLE" if carried => Ok(Self::Internal),
            "NODE_HANDLE" => read_handle(source).map(Self::Handle),
            "NODE_HANDLE_ACK" => Ok(Self::HandleAck),
            "NODE_HANDLE_NACK" => Ok(Self::HandleNack),
            "NODE_SOCKET_NOTIFY_CLOSE"
            | "NODE_SOCKET_ALL_CLOSED"
            | "NODE_SOCKET_GET_COUNT"
            | "NODE_SOCKET_COUNT" => Sockets::read(&command, source).map(Self::Sockets),
            "NODE_POINTSMAN" => Own::read(source).map(Self::Pointsman),
            // Node asks for more than the bare prefix.
            other if other.starts_with(PREFIX) && other.len() > PREFIX.len() => Ok(Self::Internal),
            _ => source.user().map(Self::User),
        }
    }
}

pub(super) fn need<T>(
    command: &'static str,
    field: &'static str,
    content: Option<T>,
) -> Result<T, MessageError> {
    content.ok_or(MessageError::Missing { command, field })
}

#[derive(Default, Deserialize)]
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

impl<'a> RawCluster<'a> {
    const COMMAND: &'static str = "NODE_CLUSTER";

    fn read(source: Source<'a>) -> Result<Self, MessageError> {
        let place = match source {
            Source::Json(frame) => return json(Self::COMMAND, frame),
            Source::V8(place) => place,
        };
        let mut raw = Self::default();
        each_field(Self::COMMAND, place, |field| {
            if field.name.is("act") {
                raw.act = text(Self::COMMAND, field)?;
            } else if field.name.is("key") {
                raw.key = text(Self::COMMAND, field)?;
            } else if field.name.is("seq") {
                raw.seq = number(Self::COMMAND, field)?;
            } else if field.name.is("ack") {
                raw.ack = number(Self::COMMAND, field)?;
            } else if field.name.is("accepted") {
                raw.accepted = truth(Self::COMMAND, field)?;
            }
            Ok(())
        })?;
        Ok(raw)
    }
}

fn read_cluster(source: Source<'_>) -> Result<ClusterMessage<'_>, MessageError> {
    let raw = RawCluster::read(source)?;
    let seq = raw.seq.unwrap_or(0);
    let key = Some(raw.key).filter(|key| !key.is_empty());
    let act = match (raw.ack, &*raw.act) {
        (Some(ack), _) => match (raw.accepted, &key) {
            (Some(accepted), _) => Act::Accepted { ack, accepted },
            (None, Some(_)) => Act::Reply { ack, reply: source.read("a listen reply")? },
            (None, None) => Act::Ack { ack },
        },
        (None, "online") => Act::Online,
        (None, "queryServer") => {
            need(RawCluster::COMMAND, "seq", raw.seq)?;
            Act::QueryServer(source.read("queryServer")?)
        }
        (None, "listening") => Act::Listening(source.read("listening")?),
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
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    msg: Option<&'a RawValue>,
}

fn read_handle(source: Source<'_>) -> Result<HandleMessage<'_>, MessageError> {
    const COMMAND: &str = "NODE_HANDLE";
    let (mut kind, mut carried) = (None, None);
    match source {
        Source::Json(frame) => {
            let raw: RawHandle<'_> = json(COMMAND, frame)?;
            kind = Some(raw.kind);
            carried = raw.msg.map(|text| Source::Json(text.get().as_bytes()));
        }
        Source::V8(place) => {
            let read = each_field(COMMAND, place, |field| {
                if field.name.is("type") {
                    kind = Some(text(COMMAND, field)?);
                } else if field.name.is("msg") && field.leaf != Some(Leaf::Null) {
                    carried = Some(Source::V8(field.place));
                }
                Ok(())
            });
            match read {
                // What is carried is the application's, and may hold what is not read here. Node writes it last but for
                // what is not looked for.
                Err(MessageError::V8 { source, .. }) if !source.is_fault() && carried.is_some() => {}
                read => read?,
            }
        }
    }
    let kind = HandleKind::ALL.into_iter().find(|known| kind.as_deref() == Some(known.word()));
    let kind = need(COMMAND, "a type that is known", kind)?;
    let message = match carried {
        Some(source) => Message::read(source, true)?,
        None => Message::User(User::Json(Cow::Borrowed(RawValue::NULL))),
    };
    Ok(HandleMessage { kind, message: Box::new(message) })
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
