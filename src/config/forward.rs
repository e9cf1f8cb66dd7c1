//! How requests are forwarded, as people write it.
//!
//! Words come in, values or a [`BadValue`] go out, and back again; [`Forwarding`] is all of it together, and what it means.

use std::{fmt, path::Path, path::PathBuf, str::FromStr};

use pointsman::{Forward, ForwardProtocol, ForwardRules, HashKey, LogFormat, Sink, UpstreamKind};

use super::{
    attribute,
    forward_keys::{ForwardKeys, ForwardLayer},
    forward_lists::{Lists, ListsLayer},
    key::Shown,
    layer::{Given, Origin},
    problem::{Problem, Problems, nearest},
    value::{BadValue, no_such},
};

/// What one source says of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ForwardingLayer {
    pub(crate) keys: ForwardLayer,
    pub(crate) lists: ListsLayer,
}

/// All of it, checked.
#[derive(Debug)]
pub(crate) struct Forwarding {
    pub(crate) keys: ForwardKeys,
    pub(crate) lists: Lists,
}

impl ForwardingLayer {
    /// As [`super::Layer::over`].
    pub(super) fn over(self, below: Self) -> Self {
        Self { keys: self.keys.over(below.keys), lists: self.lists.over(below.lists) }
    }
}

impl Forwarding {
    pub(super) fn resolve(layer: ForwardingLayer, problems: &mut Problems) -> Self {
        let mut keys = ForwardKeys::resolve(layer.keys);
        settle(&mut keys.access_log, problems);
        Self { keys, lists: Lists::resolve(layer.lists, problems) }
    }

    /// Each key with its value and where that comes from, the lists last.
    pub(crate) fn rows(&self) -> Vec<(&'static str, String, &Origin)> {
        let keys = self.keys.rows().into_iter().map(|(key, value, origin)| (key.name, value, origin));
        keys.chain(self.lists.rows()).collect()
    }

    /// What is given and is not the default, with its key.
    pub(super) fn changed(&self) -> impl Iterator<Item = (&'static str, String, &Origin)> {
        let keys = self.keys.rows().into_iter().filter(|(key, value, _)| *value != (key.default)());
        let keys = keys.map(|(key, value, origin)| (key.name, value, origin));
        keys.chain(self.lists.rows().into_iter().filter(|(_, value, _)| !value.is_empty()))
    }

    pub(super) fn settings(&self) -> Forward {
        let keys = &self.keys;
        let access_log = match &keys.access_log.value {
            AccessLog::Off => None,
            AccessLog::Stdout => Some(Sink::Inherit),
            AccessLog::File(path) => Some(Sink::File(path.clone())),
        };
        Forward {
            rules: ForwardRules {
                trusted_proxies: self.lists.networks(),
                error_pages: self.lists.pages.clone(),
                access_log: access_log.as_ref().map(|_| keys.access_log_format.value),
                ..keys.rules()
            },
            lanes: keys.lanes.value,
            upstream: keys.upstream.value,
            upstream_port: keys.upstream_port.value,
            upstreams: self.lists.addresses(),
            access_log,
        }
    }
}

impl ForwardKeys {
    /// All but the lists and the log.
    fn rules(&self) -> ForwardRules {
        let in_memory = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        ForwardRules {
            protocol: self.protocol.value,
            max_head: in_memory(self.max_head.value.0),
            max_target: in_memory(self.max_target.value.0),
            max_fields: self.max_fields.value,
            max_body: self.max_body.value.0.map(|size| size.0),
            header_timeout: self.header_timeout.value,
            body_timeout: self.body_timeout.value,
            idle_timeout: self.idle_timeout.value,
            send_timeout: self.send_timeout.value,
            connect_timeout: self.connect_timeout.value,
            response_timeout: self.response_timeout.value,
            stream_timeout: self.stream_timeout.value,
            tunnel_timeout: self.tunnel_timeout.value,
            request_timeout: self.request_timeout.value.0,
            max_in_flight: self.max_in_flight.value.0,
            max_queue: self.max_queue.value,
            queue_timeout: self.queue_timeout.value,
            upstream_keepalive: self.upstream_keepalive.value,
            upstream_idle_timeout: self.upstream_idle_timeout.value,
            tries: self.tries.value,
            retry_budget: self.retry_budget.value,
            eject_after: self.eject_after.value.0,
            eject_time: self.eject_time.value,
            eject_time_max: self.eject_time_max.value,
            hash_key: self.hash_key.value.clone(),
            sticky: self.sticky.value.0.as_ref().map(|cookie| cookie.0.clone()),
            trusted_proxies: Vec::new(),
            forwarded: self.forwarded.value,
            error_pages: Vec::new(),
            access_log: None,
        }
    }
}

/// Reads what each worker listens on.
pub(super) fn upstream_kind(word: &str) -> Result<UpstreamKind, BadValue> {
    match word {
        "port" => Ok(UpstreamKind::Port),
        "unix" => Ok(UpstreamKind::Unix),
        _ if word.contains([':', '/']) => Err(BadValue::new(
            "an address is not what workers listen on",
            "servers besides them are for the key upstreams, or --upstreams",
        )),
        _ => Err(no_such("kind of upstream", word, ["port", "unix"], "kinds are: port, unix")),
    }
}

impl Shown for UpstreamKind {
    fn shown(&self) -> String {
        match self {
            Self::Unix => "unix".to_owned(),
            // The crate has no other.
            _ => "port".to_owned(),
        }
    }
}

/// Reads what is spoken.
pub(super) fn protocol(word: &str) -> Result<ForwardProtocol, BadValue> {
    match word {
        "http" => Ok(ForwardProtocol::Http),
        "tcp" => Ok(ForwardProtocol::Tcp),
        _ => Err(no_such("protocol", word, ["http", "tcp"], "protocols are: http, tcp")),
    }
}

impl Shown for ForwardProtocol {
    fn shown(&self) -> String {
        match self {
            Self::Tcp => "tcp".to_owned(),
            // The crate has no other.
            _ => "http".to_owned(),
        }
    }
}

/// Reads how a line of the access log looks.
pub(super) fn log_format(word: &str) -> Result<LogFormat, BadValue> {
    match word {
        "combined" => Ok(LogFormat::Combined),
        "json" => Ok(LogFormat::Json),
        _ => Err(no_such("format", word, ["combined", "json"], "formats are: combined, json")),
    }
}

impl Shown for LogFormat {
    fn shown(&self) -> String {
        match self {
            Self::Json => "json".to_owned(),
            // The crate has no other.
            _ => "combined".to_owned(),
        }
    }
}

/// Reads what the hash of a request is made of.
pub(super) fn hash_key(text: &str) -> Result<HashKey, BadValue> {
    let named = |name: &str, what| match is_token(name) {
        true => Ok(name.to_owned()),
        false => Err(BadValue::new(format!("not the name of a {what}"), "write it as in cookie:session")),
    };
    match text.split_once(':') {
        None if text == "address" => Ok(HashKey::Address),
        None if text == "path" => Ok(HashKey::Path),
        Some(("header", name)) => named(name, "field").map(HashKey::Header),
        Some(("cookie", name)) => named(name, "cookie").map(HashKey::Cookie),
        _ => {
            let all =
                "choices are: address, path, and header: or cookie: with its name, as in cookie:session";
            Err(no_such("key", text, ["address", "path"], all))
        }
    }
}

impl Shown for HashKey {
    fn shown(&self) -> String {
        match self {
            Self::Path => "path".to_owned(),
            Self::Header(name) => format!("header:{name}"),
            Self::Cookie(name) => format!("cookie:{name}"),
            // The crate has no other.
            _ => "address".to_owned(),
        }
    }
}

/// The name of a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cookie(String);

impl FromStr for Cookie {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match is_token(text) {
            true => Ok(Self(text.to_owned())),
            false => Err(BadValue::new("not the name of a cookie", "write one such as pointsman")),
        }
    }
}

impl Shown for Cookie {
    fn shown(&self) -> String {
        self.0.clone()
    }
}

/// A name of RFC 9110 §5.6.2, which those of fields and cookies are.
fn is_token(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part)
}

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AccessLog {
    Off,
    Stdout,
    File(PathBuf),
}

/// The words that are not paths.
pub(super) const LOGS: [&str; 2] = ["off", "stdout"];

impl FromStr for AccessLog {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let examples = "write off, stdout, or the path of a file such as ./access.log";
        match text {
            "off" => Ok(Self::Off),
            "stdout" => Ok(Self::Stdout),
            _ if text.contains('\0') => Err(BadValue::new("a zero byte is in no path", "leave it out")),
            _ if text.ends_with('/') => Err(BadValue::new("not the path of a file", examples)),
            // A file of such a name is more likely a word mistyped.
            _ if !text.contains(['/', '.']) => {
                let near = nearest(text, LOGS).map(|near| {
                    format!("did you mean {near}? Write a slash before the name of a file: ./access.log")
                });
                Err(BadValue::new("neither a choice nor a path", near.unwrap_or_else(|| examples.to_owned())))
            }
            _ => Ok(Self::File(text.into())),
        }
    }
}

impl fmt::Display for AccessLog {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => out.pad("off"),
            Self::Stdout => out.pad("stdout"),
            Self::File(path) => path.display().fmt(out),
        }
    }
}

impl Shown for AccessLog {
    fn shown(&self) -> String {
        self.to_string()
    }
}

/// Makes the path of the log absolute.
fn settle(log: &mut Given<AccessLog>, problems: &mut Problems) {
    if let AccessLog::File(path) = &mut log.value {
        match attribute::path(path, base(&log.origin)) {
            Ok(absolute) => *path = absolute,
            Err(bad) => problems.push(Problem::new(log.origin.clone(), path.display(), bad)),
        }
    }
}

/// What paths are relative to: in a file to its directory, else to where pointsman was started.
pub(super) fn base(origin: &Origin) -> &Path {
    match origin {
        Origin::File(source, _) => source.path.parent().unwrap_or(Path::new("")),
        _ => Path::new(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_read_as_they_are_shown() {
        for text in ["address", "path", "header:X-User", "cookie:session"] {
            assert_eq!(hash_key(text).unwrap().shown(), text);
        }
        assert_eq!(["port", "unix"].map(|text| upstream_kind(text).unwrap().shown()), ["port", "unix"]);
        assert_eq!(["http", "tcp"].map(|text| protocol(text).unwrap().shown()), ["http", "tcp"]);
        assert_eq!(["combined", "json"].map(|text| log_format(text).unwrap().shown()), ["combined", "json"]);
        for text in ["off", "stdout", "/var/log/access.log", "./access"] {
            assert_eq!(text.parse::<AccessLog>().unwrap().shown(), text);
        }
        assert_eq!("session-id".parse::<Cookie>().unwrap().shown(), "session-id");
    }

    #[test]
    fn what_is_no_word_is_told_what_to_write() {
        let wrong = |text| hash_key(text).unwrap_err().to_string();
        for (error, expected) in [
            (
                wrong("adress"),
                "no such key; did you mean address? The choices are: address, path, and header:",
            ),
            (wrong("header:"), "not the name of a field"),
            (wrong("cookie:a b"), "not the name of a cookie; write it as in cookie:session"),
            (wrong("path:x"), "no such key"),
            (upstream_kind("10.0.0.5:80").unwrap_err().to_string(), "for the key upstreams"),
            (upstream_kind("ports").unwrap_err().to_string(), "did you mean port?"),
            (protocol("https").unwrap_err().to_string(), "no such protocol; did you mean http?"),
            (log_format("common").unwrap_err().to_string(), "the formats are: combined, json"),
            ("a;b".parse::<Cookie>().unwrap_err().to_string(), "not the name of a cookie"),
            ("stdou".parse::<AccessLog>().unwrap_err().to_string(), "did you mean stdout? Write a slash"),
            ("logs/".parse::<AccessLog>().unwrap_err().to_string(), "not the path of a file"),
        ] {
            assert!(error.contains(expected), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*", near in "(header|cookie|path)?:?[a-z./ ]{0,5}") {
            for text in [text, near] {
                let _ = (hash_key(&text), upstream_kind(&text), protocol(&text), log_format(&text));
                let _ = (text.parse::<AccessLog>(), text.parse::<Cookie>());
            }
        }
    }
}
