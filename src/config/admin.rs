//! Where the master tells how it is, as people write it.
//!
//! Text comes in, an [`Admin`] or a [`BadValue`] goes out. Places are written as for `listen`, but one without a host is this
//! machine alone, and a Unix socket is its owner's alone: what is told there is not for everybody.

use std::fmt;

use super::{
    listen::{Listen, Socket},
    value::BadValue,
};

/// An address for operators and their tools, or none.
#[derive(Debug, Clone)]
pub(crate) struct Admin(Option<Socket>);

/// Who may write to a Unix socket may connect to it.
const OWN_MODE: &str = "600";

const FORMS: &str =
    "write 9090 or 127.0.0.1:9090, 0.0.0.0:9090 for every interface, unix:/run/pointsman/admin.sock, or off";

impl Admin {
    pub(crate) const OFF: Self = Self(None);

    /// The socket, if there is to be one.
    pub(crate) fn listen(&self) -> Option<pointsman::Listen> {
        self.0.as_ref().map(|socket| socket.listen.clone())
    }
}

/// Reads a place and its options. May ask the name service.
pub(super) fn admin(text: &str) -> Result<Admin, BadValue> {
    if text == "off" {
        return Ok(Admin::OFF);
    }
    if text.is_empty() {
        return Err(BadValue::new("no address", FORMS));
    }
    let (place, options) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
    let read = |text: &str| text.parse::<Listen>().map_err(in_our_words);
    let mut listen = match place.strip_prefix("localhost:").or(place.strip_prefix(':')).unwrap_or(place) {
        port if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            read(&format!("127.0.0.1:{port}{options}"))?
        }
        _ => read(text)?,
    };
    let is_given = |name: &str| options.split_whitespace().any(|word| word.starts_with(name));
    if listen.is_unix() && !is_given("mode=") {
        listen.set("mode", Some(OWN_MODE))?;
    }
    let sockets = listen.resolve().map_err(in_our_words)?;
    Ok(Admin(sockets.into_iter().next()))
}

fn in_our_words(bad: BadValue) -> BadValue {
    match bad.instead.contains("for every interface") {
        true => BadValue::new(bad.what, FORMS),
        false => bad,
    }
}

impl fmt::Display for Admin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(socket) => socket.fmt(out),
            None => out.pad("off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_host_is_this_machine_alone() {
        for (text, expected) in [
            ("off", "off"),
            ("9090", "127.0.0.1:9090"),
            (":9090", "127.0.0.1:9090"),
            ("localhost:9090", "127.0.0.1:9090"),
            ("127.0.0.1:9090", "127.0.0.1:9090"),
            ("0", "127.0.0.1:0"),
            ("9090 backlog=16", "127.0.0.1:9090 backlog=16"),
            ("0.0.0.0:9090", "0.0.0.0:9090"),
            ("[::1]:9090", "[::1]:9090"),
            ("unix:/run/pointsman/admin.sock", "unix:/run/pointsman/admin.sock mode=600"),
            ("/run/admin.sock", "unix:/run/admin.sock mode=600"),
            ("unix:/run/a mode=660 group=root", "unix:/run/a mode=660 group=root"),
            ("unix:/run/a group=root", "unix:/run/a mode=600 group=root"),
        ] {
            let read = admin(text).unwrap_or_else(|bad| panic!("{text}: {bad}"));
            assert_eq!(read.to_string(), expected, "{text}");
            assert_eq!(admin(expected).unwrap().to_string(), expected, "{text}");
        }
        let everywhere = admin("*:9090").unwrap().to_string();
        assert!(["[::]:9090", "0.0.0.0:9090"].contains(&&*everywhere), "{everywhere}");
    }

    #[test]
    fn what_is_no_place_is_told_what_would_be() {
        for (text, expected) in [
            ("", "no address; write 9090 or 127.0.0.1:9090"),
            ("on", "write 9090 or 127.0.0.1:9090, 0.0.0.0:9090 for every interface"),
            (":", "is not a port"),
            ("65536", "\"65536\" is not a port"),
            ("http://localhost:9090", "an address, not a URL"),
            ("127.0.0.1", "the address has no port"),
            ("unix:", "not the path of a Unix socket"),
            ("9090 mode=600", "mode is for Unix sockets"),
            ("9090 back=1", "unknown option \"back\""),
        ] {
            let bad = admin(text).map(|read| read.to_string()).unwrap_err().to_string();
            assert!(bad.contains(expected), "{text}: {bad}");
        }
    }
}
