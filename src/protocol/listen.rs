//! What a worker asks when it wants to listen, and what it is told.
//!
//! Source: Node 16 to 24, `queryServer` of the cluster module.

use std::{fmt, net::SocketAddr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::value::RawValue;

/// `queryServer` and `listening`: the address of a server in a worker.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Query {
    /// Counts the worker's servers on the same address: 0, 1, 2, …
    #[serde(default)]
    pub index: u32,
    /// What the server wants shared between workers: the ticket keys of a tls server.
    #[serde(default)]
    pub data: Option<Box<RawValue>>,
    /// An address of the interface as text, a path, or `None` for every interface.
    #[serde(default)]
    pub address: Option<String>,
    /// -1 for Unix sockets, `None` with `fd`.
    #[serde(default)]
    pub port: Option<i64>,
    /// Which kind of socket.
    #[serde(default)]
    pub address_type: AddressType,
    /// A descriptor of the master, for `listen({fd})`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fd: Option<i64>,
    /// Bit 0: IPv6 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<u32>,
    /// Length of the kernel's queue; `None` for the default (absent, `false` or 0 on the wire).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "backlog")]
    pub backlog: Option<u32>,
    /// A Unix socket that anybody may read from.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "truth")]
    pub readable_all: bool,
    /// A Unix socket that anybody may write to.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "truth")]
    pub writable_all: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}

impl PartialEq for Query {
    fn eq(&self, other: &Self) -> bool {
        let text = |query: &Self| serde_json::to_string(query).ok();
        text(self) == text(other)
    }
}

/// `addressType` of a [`Query`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum AddressType {
    /// TCP over IPv4; with no address also the dual-stack wildcard.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// A Unix socket, or (port -1, no address) a server that Node cannot name.
    Unix,
    /// UDP over IPv4.
    Udp4,
    /// UDP over IPv6.
    Udp6,
    /// None given, as with `fd`.
    #[default]
    None,
}

impl fmt::Display for AddressType {
    /// As JavaScript writes it into a key.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Tcp4 => "4",
            Self::Tcp6 => "6",
            Self::Unix => "-1",
            Self::Udp4 => "udp4",
            Self::Udp6 => "udp6",
            Self::None => "null",
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum AddressTypeText<'a> {
    Number(i8),
    Name(&'a str),
    Null,
}

impl Serialize for AddressType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Tcp4 => AddressTypeText::Number(4),
            Self::Tcp6 => AddressTypeText::Number(6),
            Self::Unix => AddressTypeText::Number(-1),
            Self::Udp4 => AddressTypeText::Name("udp4"),
            Self::Udp6 => AddressTypeText::Name("udp6"),
            Self::None => AddressTypeText::Null,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AddressType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match AddressTypeText::deserialize(deserializer)? {
            AddressTypeText::Number(4) => Ok(Self::Tcp4),
            AddressTypeText::Number(6) => Ok(Self::Tcp6),
            AddressTypeText::Number(-1) => Ok(Self::Unix),
            AddressTypeText::Name("udp4") => Ok(Self::Udp4),
            AddressTypeText::Name("udp6") => Ok(Self::Udp6),
            AddressTypeText::Null => Ok(Self::None),
            AddressTypeText::Number(other) => Err(D::Error::custom(format!("addressType {other}"))),
            AddressTypeText::Name(other) => Err(D::Error::custom(format!("addressType {other:?}"))),
        }
    }
}

/// Node sends a number, `false`, or nothing.
fn backlog<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let given = Option::<serde_json::Value>::deserialize(deserializer)?;
    let length = match given {
        Some(serde_json::Value::Number(number)) => number.as_f64().unwrap_or(0.0),
        _ => 0.0,
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped into range just before"
    )]
    let length = length.clamp(0.0, f64::from(i32::MAX)) as u32;
    Ok((length > 0).then_some(length))
}

/// Node passes on what the program gave, whatever it is.
fn truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    use serde_json::Value;
    let given = Option::<Value>::deserialize(deserializer)?;
    Ok(match given {
        None | Some(Value::Null) => false,
        Some(Value::Bool(value)) => value,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(_) | Value::Object(_)) => true,
    })
}

/// The answer to `queryServer`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListenReply {
    /// `None`: the master listens. Negative: a Linux errno. (0: a shared handle comes with the reply.)
    #[serde(default)]
    pub errno: Option<i32>,
    /// Names the listening socket in later messages; opaque to the worker.
    pub key: String,
    /// `data` of the first worker that asked for this key.
    #[serde(default)]
    pub data: Option<Box<RawValue>>,
    /// What `server.address()` returns in the worker; TCP only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sockname: Option<SockName>,
}

impl PartialEq for ListenReply {
    fn eq(&self, other: &Self) -> bool {
        let data = |reply: &Self| reply.data.as_ref().map(|text| text.get().to_owned());
        (self.errno, &self.key, &self.sockname, data(self))
            == (other.errno, &other.key, &other.sockname, data(other))
    }
}

/// A bound address as Node's `getsockname` gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SockName {
    /// The address as text.
    pub address: String,
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// The port.
    pub port: u16,
}

impl From<SocketAddr> for SockName {
    fn from(address: SocketAddr) -> Self {
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        Self { address: address.ip().to_string(), family: family.to_owned(), port: address.port() }
    }
}
