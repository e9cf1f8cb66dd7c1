//! What people want of a listening socket besides its address.
//!
//! The same words in a flag (`-l ':80 backlog=1024 ipv6only'`) and in a table of the file
//! (`{ address = ":80", backlog = 1024, ipv6only = true }`): names and texts come in, [`Options`] go out.

use std::{fmt, time::Duration};

use pointsman::{Endpoint, Listen, group_number, user_number};

use super::{
    problem::nearest,
    value::{self, BadValue},
};

/// The names, as nginx has them where it has the thing.
pub(super) const NAMES: [&str; 7] =
    ["backlog", "ipv6only", "keepalive", "defer_accept", "mode", "owner", "group"];

/// `None` leaves it to the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    backlog: Option<u32>,
    ipv6only: Option<bool>,
    keepalive: Option<Duration>,
    defer_accept: Option<Duration>,
    mode: Option<u32>,
    owner: Option<Named>,
    group: Option<Named>,
}

/// A user or a group, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    spelt: String,
    number: u32,
}

/// Longer queues than this no kernel has by default, and a number with a digit too many is a slip of the finger.
const MAX_BACKLOG: u32 = 1 << 20;

impl Options {
    /// Sets one of [`NAMES`]; a word alone switches something on.
    pub(super) fn set(&mut self, name: &str, text: Option<&str>) -> Result<(), BadValue> {
        let needed = || {
            text.ok_or_else(|| BadValue::new(format!("{name} has no value"), format!("write {name}=VALUE")))
        };
        match name {
            "backlog" => self.backlog = Some(backlog(needed()?)?),
            "ipv6only" => self.ipv6only = Some(on_or_off(text.unwrap_or("on"))?),
            "keepalive" => self.keepalive = Some(seconds(needed()?)?),
            "defer_accept" => self.defer_accept = Some(seconds(needed()?)?),
            "mode" => self.mode = Some(mode(needed()?)?),
            "owner" => self.owner = Some(owner(needed()?)?),
            "group" => self.group = Some(group(needed()?)?),
            unknown => return Err(unknown_name(unknown)),
        }
        Ok(())
    }

    /// What is wanted of a socket of that kind, or why that cannot be wanted.
    pub(super) fn apply(&self, endpoint: Endpoint) -> Result<Listen, BadValue> {
        let unix =
            [("mode", self.mode.is_some()), ("owner", self.owner.is_some()), ("group", self.group.is_some())];
        let tcp = [("keepalive", self.keepalive.is_some()), ("defer_accept", self.defer_accept.is_some())];
        let given = |options: &[(&'static str, bool)]| {
            options.iter().find(|(_, given)| *given).map(|(name, _)| *name)
        };
        let is_unix = matches!(endpoint, Endpoint::Unix(_));
        if let Some(name) = given(&unix).filter(|_| !is_unix) {
            return Err(BadValue::new(format!("{name} is for Unix sockets"), "leave it out"));
        }
        if let Some(name) = given(&tcp).filter(|_| endpoint.tcp().is_none()) {
            return Err(BadValue::new(format!("{name} is for TCP"), "leave it out"));
        }
        let v6 = endpoint.socket_addr().is_some_and(|address| address.is_ipv6());
        if self.ipv6only.is_some() && !v6 {
            let instead = "leave it out, or listen on [::]";
            return Err(BadValue::new("ipv6only is for IPv6 addresses", instead));
        }
        let mut listen = Listen::from(endpoint);
        if let Some(backlog) = self.backlog {
            listen = listen.backlog(backlog);
        }
        if let Some(only) = self.ipv6only {
            listen = listen.ipv6_only(only);
        }
        if let Some(idle) = self.keepalive {
            listen = listen.keepalive(idle);
        }
        if let Some(patience) = self.defer_accept {
            listen = listen.defer_accept(patience);
        }
        if let Some(mode) = self.mode {
            listen = listen.mode(mode);
        }
        if let Some(owner) = &self.owner {
            listen = listen.owner(owner.number);
        }
        if let Some(group) = &self.group {
            listen = listen.group(group.number);
        }
        Ok(listen)
    }

    pub(super) fn ipv6_only(&self) -> bool {
        self.ipv6only == Some(true)
    }
}

impl fmt::Display for Options {
    /// As they are written after an address, each with a blank before it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut write = |name: &str, text: Option<String>| match text {
            Some(text) => write!(out, " {name}={text}"),
            None => Ok(()),
        };
        write("backlog", self.backlog.map(|number| number.to_string()))?;
        write("ipv6only", self.ipv6only.map(|on| if on { "on" } else { "off" }.to_owned()))?;
        write("keepalive", self.keepalive.map(value::show))?;
        write("defer_accept", self.defer_accept.map(value::show))?;
        write("mode", self.mode.map(|mode| format!("{mode:o}")))?;
        write("owner", self.owner.as_ref().map(|owner| owner.spelt.clone()))?;
        write("group", self.group.as_ref().map(|group| group.spelt.clone()))
    }
}

/// Whether a word is `NAME=VALUE` with one of [`NAMES`], or one of them that stands alone.
pub(super) fn is_option(word: &str) -> bool {
    match word.trim().split_once('=') {
        Some((name, _)) => NAMES.contains(&name),
        None => word.trim() == "ipv6only",
    }
}

/// The answer to a name that is none.
pub(super) fn unknown_name(name: &str) -> BadValue {
    let instead = match nearest(name, NAMES) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("an address may be followed by {}", NAMES.join(", ")),
    };
    BadValue::new(format!("unknown option {name:?}"), instead)
}

fn backlog(text: &str) -> Result<u32, BadValue> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && (1..=MAX_BACKLOG).contains(number));
    number.ok_or_else(|| BadValue::new("not a length of a queue", format!("give 1 to {MAX_BACKLOG}")))
}

fn on_or_off(text: &str) -> Result<bool, BadValue> {
    match text {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err(BadValue::new("neither on nor off", "write one of the two")),
    }
}

/// `MAX_TCP_KEEPIDLE` of Linux, about nine hours.
const LONGEST: Duration = Duration::from_secs(32_767);

/// The kernel counts whole seconds here.
fn seconds(text: &str) -> Result<Duration, BadValue> {
    let time = value::duration(text)?;
    if time.is_zero() || time.subsec_nanos() != 0 {
        return Err(BadValue::new(
            "not whole seconds",
            "the kernel knows nothing smaller here; give 1s or more",
        ));
    }
    if time > LONGEST {
        let instead = format!("give at most {}", value::show(LONGEST));
        return Err(BadValue::new("longer than the kernel waits", instead));
    }
    Ok(time)
}

fn mode(text: &str) -> Result<u32, BadValue> {
    let octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(text, 8).ok().filter(|&mode| octal && mode <= 0o777);
    mode.ok_or_else(|| BadValue::new("not permissions", "write three octal digits, such as 660"))
}

fn owner(text: &str) -> Result<Named, BadValue> {
    named(text, user_number(text), "no such user")
}

fn group(text: &str) -> Result<Named, BadValue> {
    named(text, group_number(text), "no such group")
}

fn named(text: &str, number: Option<u32>, missing: &str) -> Result<Named, BadValue> {
    match number {
        Some(number) => Ok(Named { spelt: text.to_owned(), number }),
        None => Err(BadValue::new(missing, "give a name that this machine knows, or a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Options, String> {
        let mut options = Options::default();
        for word in text.split_whitespace() {
            let (name, value) =
                word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            options.set(name, value).map_err(|bad| bad.to_string())?;
        }
        Ok(options)
    }

    #[test]
    fn options_are_written_as_they_are_read() {
        for text in
            ["backlog=1024", "ipv6only=off", "keepalive=1m defer_accept=3s", "mode=660 owner=root group=0"]
        {
            assert_eq!(read(text).unwrap().to_string(), format!(" {text}"));
        }
        assert_eq!(read("ipv6only").unwrap().to_string(), " ipv6only=on");
    }

    #[test]
    fn what_is_no_option_is_told_why() {
        for (text, expected) in [
            ("backlog", "write backlog=VALUE"),
            ("backlog=0", "give 1 to"),
            ("backlog=+1", "give 1 to"),
            ("backlock=1", "did you mean backlog?"),
            ("reuseport", "may be followed by backlog, ipv6only"),
            ("ipv6only=maybe", "neither on nor off"),
            ("keepalive=500ms", "not whole seconds"),
            ("keepalive=60", "write 60s, or 60ms"),
            ("keepalive=10h", "give at most 32767s"),
            ("defer_accept=0s", "not whole seconds"),
            ("mode=0o660", "three octal digits"),
            ("mode=888", "three octal digits"),
            ("owner=no-such-user", "no such user"),
            ("group=", "no such group"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn options_fit_what_they_are_for() {
        for (endpoint, text, refused) in [
            ("127.0.0.1:80", "backlog=1 keepalive=1s", None),
            ("127.0.0.1:80", "mode=600", Some("mode is for Unix sockets")),
            ("127.0.0.1:80", "ipv6only", Some("ipv6only is for IPv6")),
            ("[::]:80", "ipv6only", None),
            ("unix:/a", "mode=600 backlog=1 owner=0", None),
            ("unix:/a", "defer_accept=1s", Some("defer_accept is for TCP")),
        ] {
            let applied = read(text).unwrap().apply(endpoint.parse().unwrap());
            let error = applied.err().map(|bad| bad.what);
            assert_eq!(error.is_some(), refused.is_some(), "{endpoint} {text}: {error:?}");
            assert!(error.unwrap_or_default().contains(refused.unwrap_or_default()), "{endpoint} {text}");
        }
    }
}
