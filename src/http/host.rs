//! Hosts as clients name them (RFC 9110 §7.2, RFC 3986 §3.2).

/// Whether it is `uri-host [ ":" port ]`, and there is a host. Who is at it (`user@`) does not belong there.
pub fn is_host(text: &[u8]) -> bool {
    let (host, port) = match text {
        [b'[', rest @ ..] => match memchr::memchr(b']', rest) {
            Some(end) if is_literal(&rest[..end]) => (&text[..end + 2], &rest[end + 1..]),
            _ => return false,
        },
        _ => text.split_at(memchr::memchr(b':', text).unwrap_or(text.len())),
    };
    let port_is_one = match port {
        [] => true,
        [colon, digits @ ..] => *colon == b':' && digits.iter().all(u8::is_ascii_digit),
    };
    let named = host.first() == Some(&b'[') || is_name(host);
    !host.is_empty() && named && port_is_one
}

/// `reg-name`, of which an IPv4 address is one.
fn is_name(mut text: &[u8]) -> bool {
    while let Some((&byte, rest)) = text.split_first() {
        text = match byte {
            b'%' => match rest {
                [a, b, rest @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => rest,
                _ => return false,
            },
            _ if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte) => rest,
            _ => return false,
        };
    }
    true
}

/// The inside of an `IP-literal`: of an IPv6 address, or of one that is still to be invented.
fn is_literal(text: &[u8]) -> bool {
    let future = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:".contains(byte);
    match text {
        [b'v' | b'V', rest @ ..] => rest.contains(&b'.') && rest.iter().all(future),
        _ => text.contains(&b':') && text.iter().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for host in ["a", "a.b:80", "a:", "1.2.3.4:5", "[::1]", "[::1]:80", "[v1.x]:2", "a_b", "x%2f", "a;b"]
        {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for none in [
            "", ":80", "a b", "user@a", "a/b", "a?b", "a#b", "a:80:80", "a:b", "[::1", "[::1]a", "[a@b:]",
            "[]", "[1]", "a%2", "a%zz", "\u{e4}", "a\\b", "http://a", "[::1]]",
        ] {
            assert!(!is_host(none.as_bytes()), "{none}");
        }
    }
}
