//! By what a request is sent to an upstream rather than to another, and what it is called.

use std::net::IpAddr;

use super::{body::put_hex, flow::Asking, origin::Origin};
use crate::{
    forward::rules::{ForwardRules, HashKey},
    http::{Head, Name},
};

/// What is to be known for choosing an upstream.
pub(super) fn asking(head: &Head<'_, '_>, path: &str, origin: &Origin, rules: &ForwardRules) -> Asking {
    let sticky = rules.sticky.as_deref().and_then(|name| cookie(head, name)).and_then(read_token);
    let own = match &rules.hash_key {
        HashKey::Address => None,
        HashKey::Path => Some(path.split('?').next().unwrap_or_default().as_bytes()),
        HashKey::Header(name) => head.fields.values_of(name).next(),
        HashKey::Cookie(name) => cookie(head, name),
    };
    let idempotent = matches!(head.method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE");
    let key = own.map(hash).or_else(|| origin.client.map(of_address));
    Asking { key, sticky, idempotent, client: origin.client }
}

/// The key of an address.
pub(super) fn of_address(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => hash(&address.octets()),
        IpAddr::V6(address) => hash(&address.octets()),
    }
}

/// FNV-1a, and mixed: the same for all lanes and at all times, and no secret.
fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The value of a cookie (RFC 6265 §4.2.1).
fn cookie<'a>(head: &Head<'_, 'a>, name: &str) -> Option<&'a [u8]> {
    let pairs = head.fields.values(Name::Cookie).flat_map(|value| value.split(|&byte| byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
        let (key, value) = pair.split_at_checked(name.len())?;
        (key == name.as_bytes()).then(|| value.strip_prefix(b"="))?
    })
}

/// 16 hexadecimal digits.
fn read_token(text: &[u8]) -> Option<u64> {
    let text = str::from_utf8(text).ok().filter(|text| text.len() == 16)?;
    text.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u64::from_str_radix(text, 16).ok())?
}

/// Writes a name for a request, 32 digits, by splitmix64.
pub(super) fn put_id(out: &mut Vec<u8>, salt: &mut u64) {
    for _ in 0..2 {
        *salt = salt.wrapping_add(0x9e37_79b9_7f4a_7c15);
        put_hex(out, mix(*salt), 16);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::FieldSlots;

    fn ask(rules: &ForwardRules, fields: &str, client: Option<&str>) -> Asking {
        let text = format!("PUT /a?b HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut slots = FieldSlots::new();
        let head = Head::parse(text.as_bytes(), &mut slots).unwrap();
        let client = client.map(|text| text.parse().unwrap());
        let origin = Origin { peer: client, client, trusted: false };
        asking(&head, "/a?b", &origin, rules)
    }

    #[test]
    fn keys_are_of_what_the_rules_name() {
        let key = |hash_key: HashKey, fields: &str, client| {
            ask(&ForwardRules { hash_key, ..ForwardRules::default() }, fields, client).key
        };
        let address = key(HashKey::Address, "", Some("1.2.3.4"));
        assert!(address.is_some() && address != key(HashKey::Address, "", Some("1.2.3.5")));
        assert_eq!(key(HashKey::Address, "", None), None);
        assert_eq!(key(HashKey::Path, "", None), Some(hash(b"/a")));
        let header = || HashKey::Header("x-user".into());
        assert_eq!(key(header(), "X-User: 7\r\n", Some("1.2.3.4")), Some(hash(b"7")));
        assert_eq!(key(header(), "", Some("1.2.3.4")), address);
        let cookie = || HashKey::Cookie("id".into());
        assert_eq!(key(cookie(), "Cookie: xid=1; id=2;id=3\r\n", None), Some(hash(b"2")));
        assert_eq!(key(cookie(), "Cookie: idx=1\r\n", Some("1.2.3.4")), address);
    }

    #[test]
    fn the_sticky_cookie_is_a_token_or_nothing() {
        let rules = ForwardRules { sticky: Some("s".into()), ..ForwardRules::default() };
        let sticky = |fields: &str| ask(&rules, fields, None).sticky;
        assert_eq!(sticky("Cookie: a=b; s=00000000000000ff\r\n"), Some(255));
        assert_eq!(sticky("Cookie: s=ff\r\n"), None);
        assert_eq!(sticky("Cookie: s=+0000000000000ff\r\n"), None);
        assert_eq!(sticky(""), None);
    }

    #[test]
    fn names_differ() {
        let (mut out, mut salt) = (Vec::new(), 1);
        put_id(&mut out, &mut salt);
        put_id(&mut out, &mut salt);
        assert_eq!(out.len(), 64);
        assert_ne!(out[..32], out[32..]);
        assert!(out.iter().all(u8::is_ascii_hexdigit));
    }
}
