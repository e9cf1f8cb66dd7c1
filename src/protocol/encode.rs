//! Messages -> frames, in either form.
//!
//! A message enters, and is appended to a buffer with what is around its frame. Nothing here can fail: what a frame
//! cannot say is no message. Must not know how a frame is read.

use std::borrow::Cow;

use serde_json::Value;

use super::{
    message::{Act, ClusterMessage, HandleKind, HandleMessage, Message},
    serialization::Serialization,
    writer::{self, Fields, Writer},
};

impl Message<'_> {
    /// Appends the whole frame to `out`: with its `\n`, or its length before it.
    pub fn encode(&self, serialization: Serialization, out: &mut Vec<u8>) {
        writer::frame(serialization, out, |writer| self.write(writer));
    }

    fn write(&self, writer: &mut Writer<'_>) {
        let bare = |writer: &mut Writer<'_>, command| writer.object(|fields| fields.text("cmd", command));
        match self {
            Self::Cluster(message) => message.write(writer),
            Self::Handle(HandleMessage { kind, message }) => {
                write_handle(writer, *kind, |writer| message.write(writer));
            }
            Self::HandleAck => bare(writer, "NODE_HANDLE_ACK"),
            Self::HandleNack => bare(writer, "NODE_HANDLE_NACK"),
            Self::Sockets(sockets) => sockets.write(writer),
            Self::Pointsman(own) => own.write(writer),
            Self::Internal => bare(writer, "NODE_INTERNAL"),
            // What no value can be made of was refused to whoever wanted to send it.
            Self::User(user) => writer.value(&user.to_value().unwrap_or_default()),
        }
    }
}

/// Appends the frame of a message of the application.
pub fn encode_user(serialization: Serialization, message: &Value, out: &mut Vec<u8>) {
    writer::frame(serialization, out, |writer| writer.value(message));
}

impl ClusterMessage<'_> {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.object(|fields| {
            fields.text("cmd", "NODE_CLUSTER");
            self.act.write(fields);
            fields.number("seq", self.seq);
        });
    }
}

impl Act<'_> {
    fn write(&self, fields: &mut Fields<'_, '_>) {
        match self {
            Self::Online => fields.text("act", "online"),
            Self::QueryServer(query) => {
                fields.text("act", "queryServer");
                fields.all(query.as_ref());
            }
            Self::Listening(query) => {
                fields.text("act", "listening");
                fields.all(query.as_ref());
            }
            Self::Close { key } => {
                fields.text("act", "close");
                fields.text("key", key);
            }
            Self::ExitedAfterDisconnect => fields.text("act", "exitedAfterDisconnect"),
            Self::Disconnect => fields.text("act", "disconnect"),
            Self::NewConn { key } => {
                fields.text("act", "newconn");
                fields.text("key", key);
            }
            Self::Accepted { ack, accepted } => {
                fields.number("ack", *ack);
                fields.truth("accepted", *accepted);
            }
            Self::Reply { ack, reply } => {
                fields.number("ack", *ack);
                fields.all(reply.as_ref());
            }
            Self::Ack { ack } => fields.number("ack", *ack),
            Self::Unknown => {}
        }
    }
}

/// Appends the frame that hands a connection over, without making a [`Message`] first: this is the path of every
/// connection, and a boxed message would be an allocation.
pub fn encode_newconn(serialization: Serialization, key: &str, seq: u64, out: &mut Vec<u8>) {
    let message = ClusterMessage { seq, act: Act::NewConn { key: Cow::Borrowed(key) } };
    writer::frame(serialization, out, |writer| {
        write_handle(writer, HandleKind::NetNative, |writer| message.write(writer));
    });
}

pub(super) fn write_handle(writer: &mut Writer<'_>, kind: HandleKind, message: impl FnOnce(&mut Writer<'_>)) {
    writer.object(|fields| {
        fields.text("cmd", "NODE_HANDLE");
        fields.text("type", kind.word());
        message(fields.name("msg"));
    });
}
