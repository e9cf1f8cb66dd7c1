//! What workers listen on, in their own words.

use std::fmt;

use super::Want;
use crate::protocol::listen::{AddressType, Query};

/// What a worker listens on, as it said itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// A TCP port.
    Tcp {
        /// An address of the interface, or `None` for all.
        host: Option<String>,
        /// The port.
        port: u16,
    },
    /// A UDP port.
    Udp {
        /// An address of the interface, or `None` for all.
        host: Option<String>,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(String),
    /// A socket that the master was started with, by its number.
    Inherited(i64),
}

impl Address {
    /// The port, if it has one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp { port, .. } | Self::Udp { port, .. } => Some(*port),
            Self::Unix(_) | Self::Inherited(_) => None,
        }
    }

    pub(super) fn said(query: &Query) -> Self {
        let host = query.address.clone();
        let port = query.port.and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
        match query.address_type {
            _ if let Some(descriptor) = query.fd.filter(|&fd| fd >= 0) => Self::Inherited(descriptor),
            AddressType::Unix => Self::Unix(host.unwrap_or_default()),
            AddressType::Udp4 | AddressType::Udp6 => Self::Udp { host, port },
            AddressType::Tcp4 | AddressType::Tcp6 | AddressType::None => Self::Tcp { host, port },
        }
    }

    pub(super) fn of(want: &Want) -> Self {
        match want {
            Want::Tcp { host, port, .. } => {
                Self::Tcp { host: host.map(|host| host.to_string()), port: *port }
            }
            Want::Udp { address, .. } => {
                Self::Udp { host: Some(address.ip().to_string()), port: address.port() }
            }
            Want::Unix { path, .. } => Self::Unix(path.display().to_string()),
            Want::Inherited { descriptor } => Self::Inherited((*descriptor).into()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, host, port) = match self {
            Self::Tcp { host, port } => ("", host, port),
            Self::Udp { host, port } => ("udp:", host, port),
            Self::Unix(path) => return write!(out, "unix:{path}"),
            Self::Inherited(descriptor) => return write!(out, "descriptor {descriptor}"),
        };
        match host {
            Some(host) if host.contains(':') => write!(out, "{kind}[{host}]:{port}"),
            Some(host) => write!(out, "{kind}{host}:{port}"),
            None => write!(out, "{kind}*:{port}"),
        }
    }
}
