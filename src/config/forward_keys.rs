//! The plain keys of how requests are forwarded, with the mode `multiport`: a table like [`super::keys`].
//!
//! Those of a lane's rules are called as in [`ForwardRules`](pointsman::ForwardRules), and have its defaults.

use std::time::Duration;

use pointsman::{ForwardProtocol, HashKey, LogFormat, UpstreamKind};

use super::{
    forward::{self, AccessLog, Cookie},
    key::{Ask, Form, Key, plain_keys, spelt},
    layer::{Given, Origin},
    supervision::{Size, size_in},
    value::{self, OrOff, number, or_off},
};

/// What completes `--upstream`.
const KINDS: [&str; 2] = ["port", "unix"];
/// What completes `--protocol`.
const PROTOCOLS: [&str; 2] = ["http", "tcp"];
/// What completes `--hash-key`.
const HASH_KEYS: [&str; 2] = ["address", "path"];
/// What completes `--access-log-format`.
const LOG_FORMATS: [&str; 2] = ["combined", "json"];

/// In no time nothing happens.
const SOME: Duration = Duration::from_millis(1);
/// More processes than forward what any machine's network carries.
const MAX_LANES: usize = 64;
/// Lower ones are the system's, and the last has no next.
const PORTS: std::ops::RangeInclusive<u16> = 1024..=65_534;
/// Of the memory that every client may take by its head alone.
const HEADS: std::ops::RangeInclusive<u64> = 1 << 10..=1 << 20;
/// Shorter first lines are needed, longer ones fit into no head.
const TARGETS: std::ops::RangeInclusive<u64> = 256..=1 << 20;

plain_keys! {
    FORWARD, ForwardLayer, ForwardKeys:

    /// How many processes accept connections and forward requests, 1 to 64
    lanes: usize = 1, Form::Number, number("a number of lanes", 1..=MAX_LANES);

    /// What each worker listens on: port, of 127.0.0.1, or unix, a socket; it finds either in PORT
    upstream: UpstreamKind = UpstreamKind::Port, Form::Word("KIND", &KINDS), forward::upstream_kind;

    /// The first of the workers' ports
    ///
    /// Each slot has two, which its workers use in turn: those of slot 0 are this one and the next, or others that far
    /// behind where another pointsman has these.
    upstream_port: u16 = 20_000, Form::Number, number("a port", PORTS);

    /// What is spoken: http, or tcp, which passes anything on, connection by connection
    protocol: ForwardProtocol = ForwardProtocol::Http, Form::Word("PROTOCOL", &PROTOCOLS), forward::protocol;

    /// Longest head of a request; longer ones are answered 431
    max_head: Size = Size(16 << 10), Form::Size, size_in(HEADS);

    /// Longest first line of a request; longer ones are answered 414
    max_target: Size = Size(8 << 10), Form::Size, size_in(TARGETS);

    /// Most fields in the head of a request; more are answered 431
    max_fields: usize = 100, Form::Number, number("a number of fields", 10..=1000);

    /// Longest body of a request, or off; longer ones are answered 413
    max_body: OrOff<Size> = OrOff(None), Form::Size, or_off(size_in(1..=1 << 60));

    /// How long the head of a request may take; also how long a new connection may be silent
    header_timeout: Duration = Duration::from_secs(30), Form::Time, value::at_least(SOME);

    /// How long the body of a request may pause
    body_timeout: Duration = Duration::from_secs(60), Form::Time, value::at_least(SOME);

    /// How long a client's connection is kept between two requests
    idle_timeout: Duration = Duration::from_secs(75), Form::Time, value::at_least(SOME);

    /// How long a client may take nothing of its answer
    send_timeout: Duration = Duration::from_secs(60), Form::Time, value::at_least(SOME);

    /// How long connecting to an upstream may take
    connect_timeout: Duration = Duration::from_secs(5), Form::Time, value::at_least(SOME);

    /// How long an upstream may take until its answer begins; then it is 504
    response_timeout: Duration = Duration::from_secs(60), Form::Time, value::at_least(SOME);

    /// How long an answer may pause
    stream_timeout: Duration = Duration::from_secs(300), Form::Time, value::at_least(SOME);

    /// How long a tunnel, such as a WebSocket, may be silent
    tunnel_timeout: Duration = Duration::from_secs(3600), Form::Time, value::at_least(SOME);

    /// How long a request may take in all, or off
    request_timeout: OrOff<Duration> = OrOff(None), Form::Time, or_off(value::at_least(SOME));

    /// How many requests an upstream may have at once, of all lanes, or off
    ///
    /// With more, requests wait in their lanes.
    max_in_flight: OrOff<u32> = OrOff(None), Form::NumberOr("N|off", "off"),
        or_off(number("a number of requests", 1..=1_000_000));

    /// How many requests may wait in each lane for an upstream with room; others are answered 503
    max_queue: usize = 1024, Form::Number, number("a number of requests", 0..=100_000);

    /// How long one may wait
    queue_timeout: Duration = Duration::from_secs(10), Form::Time, value::at_least(SOME);

    /// How many idle connections to each upstream a lane keeps
    upstream_keepalive: usize = 64, Form::Number, number("a number of connections", 0..=10_000);

    /// How long it keeps one, unless the upstream says less
    upstream_idle_timeout: Duration = Duration::from_secs(60), Form::Time, value::at_least(SOME);

    /// How often a request may be tried in all, if that cannot have it done twice
    tries: u32 = 3, Form::Number, number("a number of tries", 1..=10);

    /// How many of a hundred requests may be tried again, besides a few
    retry_budget: u32 = 20, Form::Number, number("a share of the requests", 0..=100);

    /// After how many failures in a row an upstream gets no requests for a while, or off
    eject_after: OrOff<u32> = OrOff(Some(5)), Form::NumberOr("N|off", "off"),
        or_off(number("a number of failures", 1..=1000));

    /// For how long at first; it doubles each time in a row
    eject_time: Duration = Duration::from_secs(1), Form::Time, value::at_least(SOME);

    /// How long that may become
    eject_time_max: Duration = Duration::from_secs(60), Form::Time, value::at_least(SOME);

    /// With the policy hash, what goes to the same upstream: address, path, header:NAME or cookie:NAME
    ///
    /// A request without that field or cookie goes by the address.
    hash_key: HashKey = HashKey::Address, Form::Word("WHAT", &HASH_KEYS), forward::hash_key;

    /// The cookie by which a client stays with its upstream, or off
    sticky: OrOff<Cookie> = OrOff(None), Form::Word("COOKIE|off", &["off"]), or_off(str::parse);

    /// Tell upstreams where a request comes from in Forwarded (RFC 7239), too
    forwarded: bool = false, Form::Off, value::switch;

    /// Where a line goes for each request: off, stdout, or a file
    access_log: AccessLog = AccessLog::Off, Form::Word("off|stdout|FILE", &forward::LOGS), str::parse;

    /// How that line looks: combined, or json
    access_log_format: LogFormat = LogFormat::Combined, Form::Word("FORMAT", &LOG_FORMATS), forward::log_format;
}

#[cfg(test)]
#[path = "forward_keys_tests.rs"]
pub(super) mod tests;
