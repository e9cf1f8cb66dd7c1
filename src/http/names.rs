//! The names of fields that mean something to whoever stands between a client and a server.

/// A field's name, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "their names")]
pub enum Name {
    Other,
    Connection,
    ContentLength,
    Cookie,
    Date,
    Expect,
    Forwarded,
    Host,
    KeepAlive,
    MaxForwards,
    ProxyConnection,
    Referer,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    UserAgent,
    Via,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
    /// Any other that begins with `X-Forwarded-`.
    XForwarded,
    XRequestId,
}

impl Name {
    /// By its length and first letter, so that most names cost a comparison or two.
    pub fn of(name: &str) -> Self {
        let bytes = name.as_bytes();
        let Some(first) = bytes.first() else { return Self::Other };
        let is = |text: &str| bytes.eq_ignore_ascii_case(text.as_bytes());
        let (candidate, text) = match (bytes.len(), first.to_ascii_lowercase()) {
            (2, b't') => (Self::Te, "te"),
            (3, b'v') => (Self::Via, "via"),
            (4, b'd') => (Self::Date, "date"),
            (4, b'h') => (Self::Host, "host"),
            (6, b'c') => (Self::Cookie, "cookie"),
            (6, b'e') => (Self::Expect, "expect"),
            (7, b'r') => (Self::Referer, "referer"),
            (7, b't') => (Self::Trailer, "trailer"),
            (7, b'u') => (Self::Upgrade, "upgrade"),
            (9, b'f') => (Self::Forwarded, "forwarded"),
            (10, b'c') => (Self::Connection, "connection"),
            (10, b'k') => (Self::KeepAlive, "keep-alive"),
            (10, b'u') => (Self::UserAgent, "user-agent"),
            (12, b'm') => (Self::MaxForwards, "max-forwards"),
            (12, b'x') => (Self::XRequestId, "x-request-id"),
            (14, b'c') => (Self::ContentLength, "content-length"),
            (16, b'p') => (Self::ProxyConnection, "proxy-connection"),
            (17, b't') => (Self::TransferEncoding, "transfer-encoding"),
            (13.., b'x') => return Self::forwarded(bytes),
            _ => return Self::Other,
        };
        if is(text) { candidate } else { Self::Other }
    }

    /// Programs that are given fields as variables (CGI and what came after it) cannot tell `_` from `-`: a name with the
    /// one could pretend to be ours with the other.
    fn forwarded(name: &[u8]) -> Self {
        const PREFIX: &[u8] = b"x-forwarded-";
        let alike = |own: &[u8], other: &[u8]| {
            let same = |(own, other): (&u8, &u8)| {
                own.eq_ignore_ascii_case(other) || (*own == b'_' && *other == b'-')
            };
            own.len() == other.len() && own.iter().zip(other).all(same)
        };
        match name.split_at_checked(PREFIX.len()) {
            Some((prefix, rest)) if alike(prefix, PREFIX) => match rest {
                _ if prefix.contains(&b'_') => Self::XForwarded,
                _ if rest.eq_ignore_ascii_case(b"for") => Self::XForwardedFor,
                _ if rest.eq_ignore_ascii_case(b"host") => Self::XForwardedHost,
                _ if rest.eq_ignore_ascii_case(b"proto") => Self::XForwardedProto,
                _ => Self::XForwarded,
            },
            _ => Self::Other,
        }
    }

    /// Whether `Connection` may name it. What frames, routes or describes the message is not only for the next hop, and
    /// taking it away changes what is said (RFC 9110 §7.6.1: a sender must not name such fields).
    pub fn may_be_named(self, name: &str) -> bool {
        let describes = name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("content-"));
        match self {
            Self::Host | Self::ContentLength | Self::TransferEncoding | Self::Via | Self::MaxForwards => {
                false
            }
            Self::Expect | Self::Date | Self::XRequestId => false,
            _ => !describes,
        }
    }

    /// Whether a trailer section may bring it: not what frames, routes, controls or authenticates (RFC 9110 §6.5.1).
    pub fn may_trail(self, name: &str) -> bool {
        const FORBIDDEN: [&str; 21] = [
            "accept-encoding",
            "age",
            "authorization",
            "cache-control",
            "expires",
            "if-match",
            "if-modified-since",
            "if-none-match",
            "if-range",
            "if-unmodified-since",
            "location",
            "origin",
            "pragma",
            "proxy-authenticate",
            "proxy-authorization",
            "range",
            "retry-after",
            "set-cookie",
            "vary",
            "warning",
            "www-authenticate",
        ];
        let describes = name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("content-"));
        self == Self::Other && !describes && !FORBIDDEN.iter().any(|other| name.eq_ignore_ascii_case(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_case() {
        for (name, expected) in [
            ("Host", Name::Host),
            ("hOST", Name::Host),
            ("Hosts", Name::Other),
            ("TE", Name::Te),
            ("Transfer-Encoding", Name::TransferEncoding),
            ("Transfer_Encoding", Name::Other),
            ("X-Forwarded-For", Name::XForwardedFor),
            ("x-forwarded-HOST", Name::XForwardedHost),
            ("X-Forwarded-Proto", Name::XForwardedProto),
            ("X-Forwarded-Port", Name::XForwarded),
            ("X_Forwarded_For", Name::XForwarded),
            ("X-Forwarded_For", Name::XForwarded),
            ("X-Forwardec-For", Name::Other),
            ("X-Request-Id", Name::XRequestId),
            ("x", Name::Other),
            ("", Name::Other),
        ] {
            // `X-Forwarded_For` is no name of ours, but may be taken for one: it counts among the others.
            let found = Name::of(name);
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn what_connection_and_trailers_cannot_touch() {
        let named = |name: &str| Name::of(name).may_be_named(name);
        assert!(named("X-Foo") && named("X-Forwarded-For") && named("Cookie") && named("content"));
        assert!(!named("host") && !named("Content-Length") && !named("Content-Type") && !named("Via"));
        let trails = |name: &str| Name::of(name).may_trail(name);
        assert!(trails("X-T") && trails("Digest") && trails("grpc-status"));
        assert!(!trails("Host") && !trails("authorization") && !trails("Content-Type") && !trails("TE"));
        assert!(!trails("X-Forwarded-For") && !trails("Transfer-Encoding") && !trails("Set-Cookie"));
    }
}
