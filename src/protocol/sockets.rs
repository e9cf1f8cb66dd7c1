//! `NODE_SOCKET_*`: what is said of sockets that one side accepted with a server and sent to the other.
//!
//! `server.close()` and `server.getConnections()` in the sender ask the receiver. `key` names the server.

use std::borrow::Cow;

use serde::Deserialize;

use super::{message::MessageError, source::Source, writer::Writer};

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sockets<'a> {
    /// Say so when none is open.
    NotifyClose {
        /// The server.
        key: Cow<'a, str>,
    },
    /// None is open.
    AllClosed {
        /// The server.
        key: Cow<'a, str>,
    },
    /// How many are open?
    GetCount {
        /// The server.
        key: Cow<'a, str>,
    },
    /// So many.
    Count {
        /// The server.
        key: Cow<'a, str>,
        /// How many.
        count: u64,
    },
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    key: String,
    #[serde(default)]
    count: u64,
}

impl Sockets<'_> {
    pub(super) fn read(command: &str, source: Source<'_>) -> Result<Self, MessageError> {
        let Raw { key, count } = source.read("NODE_SOCKET")?;
        let key = Cow::Owned(key);
        Ok(match command {
            "NODE_SOCKET_NOTIFY_CLOSE" => Self::NotifyClose { key },
            "NODE_SOCKET_ALL_CLOSED" => Self::AllClosed { key },
            "NODE_SOCKET_GET_COUNT" => Self::GetCount { key },
            _ => Self::Count { key, count },
        })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        let (command, key) = match self {
            Self::NotifyClose { key } => ("NODE_SOCKET_NOTIFY_CLOSE", key),
            Self::AllClosed { key } => ("NODE_SOCKET_ALL_CLOSED", key),
            Self::GetCount { key } => ("NODE_SOCKET_GET_COUNT", key),
            Self::Count { key, .. } => ("NODE_SOCKET_COUNT", key),
        };
        writer.object(|fields| {
            fields.text("cmd", command);
            fields.text("key", key);
            if let Self::Count { count, .. } = self {
                fields.number("count", *count);
            }
        });
    }
}
