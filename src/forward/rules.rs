//! The numbers and words that forwarding goes by, each with its reason.

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

/// How requests are forwarded. The same for all lanes of a cluster; a lane is told them when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardRules {
    /// What is spoken.
    pub protocol: ForwardProtocol,
    /// Longest head of a request, in bytes, the empty line included.
    pub max_head: usize,
    /// Longest first line of a request.
    pub max_target: usize,
    /// Most fields in a head.
    pub max_fields: usize,
    /// Longest body of a request; `None` for any.
    pub max_body: Option<u64>,
    /// From the first byte of a request until its head is whole; also from the connection until the first byte.
    pub header_timeout: Duration,
    /// Between two reads of a request's body.
    pub body_timeout: Duration,
    /// Between two requests on a connection.
    pub idle_timeout: Duration,
    /// For which a client may take nothing of its answer.
    pub send_timeout: Duration,
    /// Until a connection to an upstream is there.
    pub connect_timeout: Duration,
    /// From the end of a request until the first byte of its answer.
    pub response_timeout: Duration,
    /// Between two bytes of an answer, or for which an upstream may take nothing of a request.
    pub stream_timeout: Duration,
    /// For which a tunnel may be silent in both directions.
    pub tunnel_timeout: Duration,
    /// From the first byte of a request to the last of its answer; `None` for any.
    pub request_timeout: Option<Duration>,
    /// Requests that one upstream may have at once, of all lanes together; `None` for any.
    pub max_in_flight: Option<u32>,
    /// Requests that may wait for an upstream with room, in each lane.
    pub max_queue: usize,
    /// How long one may wait.
    pub queue_timeout: Duration,
    /// Idle connections that are kept to each upstream, by each lane.
    pub upstream_keepalive: usize,
    /// How long one is kept, unless the upstream says less.
    pub upstream_idle_timeout: Duration,
    /// How often a request may be tried in all.
    pub tries: u32,
    /// Retries may be so many of a hundred requests, and a few more.
    pub retry_budget: u32,
    /// An upstream that fails so often in a row gets no requests for a while; `None`: never.
    pub eject_after: Option<u32>,
    /// How long at first; doubled each time in a row.
    pub eject_time: Duration,
    /// No longer than this.
    pub eject_time_max: Duration,
    /// What of a request goes to the same upstream, with the policy `hash`.
    pub hash_key: HashKey,
    /// The cookie by which a client stays with its upstream.
    pub sticky: Option<String>,
    /// Whose word is taken for where a request comes from.
    pub trusted_proxies: Vec<Network>,
    /// Whether `Forwarded` (RFC 7239) is sent as well.
    pub forwarded: bool,
    /// What answers of our own say, by code or class of codes.
    pub error_pages: Vec<ErrorPage>,
    /// How the access log is written, if it is.
    pub access_log: Option<LogFormat>,
}

impl Default for ForwardRules {
    fn default() -> Self {
        Self {
            protocol: ForwardProtocol::Http,
            max_head: 16 << 10,
            max_target: 8 << 10,
            max_fields: 100,
            max_body: None,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(75),
            send_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
            stream_timeout: Duration::from_secs(300),
            tunnel_timeout: Duration::from_secs(3600),
            request_timeout: None,
            max_in_flight: None,
            max_queue: 1024,
            queue_timeout: Duration::from_secs(10),
            upstream_keepalive: 64,
            upstream_idle_timeout: Duration::from_secs(60),
            tries: 3,
            retry_budget: 20,
            eject_after: Some(5),
            eject_time: Duration::from_secs(1),
            eject_time_max: Duration::from_secs(60),
            hash_key: HashKey::Address,
            sticky: None,
            trusted_proxies: Vec::new(),
            forwarded: false,
            error_pages: Vec::new(),
            access_log: None,
        }
    }
}

/// What lanes and upstreams speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ForwardProtocol {
    /// HTTP/1.1, request by request.
    #[default]
    Http,
    /// Anything: bytes are passed on, connection by connection.
    Tcp,
}

/// What a request's hash is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum HashKey {
    /// The address of the client.
    Address,
    /// The path, without the query.
    Path,
    /// The value of this field; of a request without it, the address.
    Header(String),
    /// The value of this cookie; of a request without it, the address.
    Cookie(String),
}

/// Addresses that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// One of them.
    pub address: IpAddr,
    /// How many bits all have in common.
    pub prefix: u8,
}

impl Network {
    /// Whether an address is one of these. An IPv4 address that is written as IPv6 is what it stands for.
    pub fn contains(&self, address: IpAddr) -> bool {
        let differ = match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => u128::from(own.to_bits() ^ other.to_bits()) << 96,
            (IpAddr::V6(own), IpAddr::V6(other)) => own.to_bits() ^ other.to_bits(),
            _ => return false,
        };
        differ.checked_shr(128 - u32::from(self.prefix)).unwrap_or(0) == 0
    }
}

/// What an answer of our own says instead of its reason alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorPage {
    /// `502`, or `5` for all from 500 to 599.
    pub code: u16,
    /// Its media type.
    pub kind: String,
    /// Its content.
    pub body: String,
}

/// How a line of the access log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LogFormat {
    /// Combined Log Format, and behind it the times, the tries, the upstream and the reason of the end.
    #[default]
    Combined,
    /// An object of JSON.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let contains = |network: &str, prefix: u8, address: &str| {
            Network { address: network.parse().unwrap(), prefix }.contains(address.parse().unwrap())
        };
        assert!(contains("10.0.0.0", 8, "10.255.0.1"));
        assert!(!contains("10.0.0.0", 8, "11.0.0.1"));
        assert!(contains("10.0.0.0", 8, "::ffff:10.1.2.3"));
        assert!(contains("127.0.0.1", 32, "127.0.0.1"));
        assert!(!contains("127.0.0.1", 32, "127.0.0.2"));
        assert!(contains("0.0.0.0", 0, "1.2.3.4") && !contains("0.0.0.0", 0, "::1"));
        assert!(contains("fd00::", 8, "fdff::1") && !contains("fd00::", 8, "fe00::1"));
        assert!(contains("::", 0, "::1"));
    }
}
