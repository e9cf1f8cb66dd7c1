//! `NODE_SOCKET_*`: what is said of sockets that one side accepted with a server and sent to the other.
//!
//! `server.close()` and `server.getConnections()` in the sender ask the receiver. `key` names the server.

use std::borrow::Cow;

use serde::Deserialize;

use super::message::{MessageError, field, json};

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
struct Raw<'a> {
    #[serde(borrow, default)]
    key: Cow<'a, str>,
    #[serde(default)]
    count: u64,
}

impl<'a> Sockets<'a> {
    pub(super) fn decode(command: &str, frame: &'a [u8]) -> Result<Self, MessageError> {
        let Raw { key, count } = json("NODE_SOCKET", frame)?;
        Ok(match command {
            "NODE_SOCKET_NOTIFY_CLOSE" => Self::NotifyClose { key },
            "NODE_SOCKET_ALL_CLOSED" => Self::AllClosed { key },
            "NODE_SOCKET_GET_COUNT" => Self::GetCount { key },
            _ => Self::Count { key, count },
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let (command, key) = match self {
            Self::NotifyClose { key } => ("NOTIFY_CLOSE", key),
            Self::AllClosed { key } => ("ALL_CLOSED", key),
            Self::GetCount { key } => ("GET_COUNT", key),
            Self::Count { key, .. } => ("COUNT", key),
        };
        out.extend_from_slice(br#"{"cmd":"NODE_SOCKET_"#);
        out.extend_from_slice(command.as_bytes());
        out.push(b'"');
        field(out, "key", key);
        if let Self::Count { count, .. } = self {
            field(out, "count", count);
        }
        out.push(b'}');
    }
}
