//! Where a request comes from, as far as that can be believed.

use std::net::IpAddr;

use super::flow::Turn;
use crate::{
    forward::rules::ForwardRules,
    http::{Fields, Name, fields::tokens, put},
};

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    /// Who is connected.
    pub(super) peer: Option<IpAddr>,
    /// Whose request it is.
    pub(super) client: Option<IpAddr>,
    /// The peer is one of those whose word is taken.
    pub(super) trusted: bool,
}

impl Origin {
    pub(super) fn of(turn: &Turn<'_>, fields: Fields<'_, '_>) -> Self {
        let peer = turn.peer.address.map(|address| address.ip().to_canonical());
        let trusted = is_trusted(turn.rules, peer);
        let client = if trusted { forwarded_for(turn.rules, fields).or(peer) } else { peer };
        Self { peer, client, trusted }
    }
}

/// Who names proxies trusts also those who come by a Unix socket: they are on this machine.
fn is_trusted(rules: &ForwardRules, address: Option<IpAddr>) -> bool {
    let networks = &rules.trusted_proxies;
    match address {
        Some(address) => networks.iter().any(|network| network.contains(address)),
        None => !networks.is_empty(),
    }
}

/// The last address of `X-Forwarded-For` that is no trusted proxy's: what stands before it, anybody may have written.
fn forwarded_for(rules: &ForwardRules, fields: Fields<'_, '_>) -> Option<IpAddr> {
    let mut found = None;
    for value in fields.values(Name::XForwardedFor) {
        for token in tokens(value) {
            let address = read_address(token);
            // Behind somebody who is not trusted only trusted ones count, until the next who is not.
            match address {
                Some(address) if is_trusted(rules, Some(address)) && found.is_some() => {}
                _ => found = Some(address),
            }
        }
    }
    found.flatten()
}

/// An address, with a port or without.
fn read_address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok();
    address
        .or_else(|| text.parse().ok().map(|address: std::net::SocketAddr| address.ip()))
        .map(|address: IpAddr| address.to_canonical())
}

/// Writes an address. IPv4 by hand: it is written for every request.
pub(super) fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    let IpAddr::V4(address) = address else {
        put(out, format_args!("{address}"));
        return;
    };
    for (index, byte) in address.octets().into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        if byte >= 100 {
            out.push(b'0' + byte / 100);
        }
        if byte >= 10 {
            out.push(b'0' + byte / 10 % 10);
        }
        out.push(b'0' + byte % 10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::rules::Network;

    #[test]
    fn the_last_who_is_not_trusted_is_the_client() {
        let networks = [("10.0.0.0", 8), ("192.168.0.0", 16)];
        let trusted_proxies =
            networks.map(|(address, prefix)| Network { address: address.parse().unwrap(), prefix }).to_vec();
        let rules = ForwardRules { trusted_proxies, ..ForwardRules::default() };
        for (values, expected) in [
            (vec!["1.1.1.1"], Some("1.1.1.1")),
            (vec!["1.1.1.1, 2.2.2.2"], Some("2.2.2.2")),
            (vec!["1.1.1.1, 2.2.2.2, 10.0.0.1"], Some("2.2.2.2")),
            (vec!["1.1.1.1", "2.2.2.2 ,10.0.0.1", "192.168.1.1"], Some("2.2.2.2")),
            (vec!["10.0.0.2, 10.0.0.1"], Some("10.0.0.2")),
            (vec!["1.1.1.1, unknown"], None),
            (vec!["[2001:db8::1]:80"], Some("2001:db8::1")),
            (vec!["2001:db8::1"], Some("2001:db8::1")),
            (vec!["[2001:db8::1]"], Some("2001:db8::1")),
            (vec!["1.1.1.1:80"], Some("1.1.1.1")),
            (vec!["::ffff:1.1.1.1"], Some("1.1.1.1")),
            (vec![], None),
        ] {
            let lines: String = values.iter().map(|value| format!("x-forwarded-for: {value}\r\n")).collect();
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
            let mut slots = crate::http::FieldSlots::new();
            let head = crate::http::Head::parse(text.as_bytes(), &mut slots).unwrap();
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(forwarded_for(&rules, head.fields), expected, "{values:?}");
        }
    }

    #[test]
    fn addresses_are_written_as_elsewhere() {
        for text in ["0.0.0.0", "1.20.103.255", "100.99.10.9", "2001:db8::1"] {
            let mut out = Vec::new();
            put_address(&mut out, text.parse().unwrap());
            assert_eq!(out, text.as_bytes());
        }
    }
}
