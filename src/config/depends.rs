//! What must be there before the first worker is started, as people write it: `127.0.0.1:5432`, `unix:/run/db.sock`,
//! `exec: pg_isready -h db`.
//!
//! Text comes in, a [`Depend`] or a [`BadValue`] goes out. A name's address is asked for here, once.

use std::{
    fmt,
    net::{SocketAddr, ToSocketAddrs},
    str::FromStr,
};

use pointsman::{Dependency, Endpoint};

use super::{
    listen::{Listen, port_number},
    value::BadValue,
};

/// One of them, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Depend {
    pub(crate) on: Dependency,
    spelt: String,
}

const EXAMPLES: &str =
    "write 127.0.0.1:5432, unix:/run/db.sock, or exec: and a command, as in \"exec: pg_isready -h db\"";

impl FromStr for Depend {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let text = text.trim();
        let on = match text.strip_prefix("exec:") {
            Some(command) => self::command(command)?,
            None => Dependency::Address(endpoint(text)?),
        };
        Ok(Self { on, spelt: text.to_owned() })
    }
}

impl fmt::Display for Depend {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.spelt)
    }
}

/// Words with blanks between; this is no shell.
fn command(text: &str) -> Result<Dependency, BadValue> {
    if text.contains(['"', '\'', '\\', '\0']) {
        let instead = "put what needs them into a script, and name that";
        return Err(BadValue::new("quotes are not understood here", instead));
    }
    let words: Vec<_> = text.split_whitespace().map(Into::into).collect();
    if words.is_empty() { Err(BadValue::new("no command", EXAMPLES)) } else { Ok(Dependency::Command(words)) }
}

fn endpoint(text: &str) -> Result<Endpoint, BadValue> {
    let bad = |what: &str| BadValue::new(what, EXAMPLES);
    if text.contains("://") {
        return Err(bad("an address, not a URL, is waited for"));
    }
    if text.starts_with("unix:") || text.starts_with(['/', '.']) {
        let found = Listen::at(text)?.endpoints()?;
        return found.into_iter().next().ok_or_else(|| bad("not the path of a Unix socket"));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad("the address has no port"));
    }
    let port = port_number(port)?;
    if port == 0 {
        return Err(bad("port 0 is any port"));
    }
    if host.is_empty() || host == "*" {
        let instead = format!("name it, as in 127.0.0.1:{port}");
        return Err(BadValue::new("the address has no host", instead));
    }
    match text.parse::<SocketAddr>() {
        Ok(address) => Ok(address.into()),
        Err(_) => named(host, port).map(Endpoint::from),
    }
}

/// The address of a name, which has one.
fn named(host: &str, port: u16) -> Result<SocketAddr, BadValue> {
    let found = (host, port).to_socket_addrs().map_err(|error| {
        BadValue::new(format!("{host} has no address: {error}"), "write the address itself")
    })?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    match addresses.as_slice() {
        [] => Err(BadValue::new(format!("{host} has no address"), "write the address itself")),
        [address] => Ok(*address),
        [first, ..] => Err(BadValue::new(
            format!("{host} has several addresses"),
            format!("write the one that is meant, such as {first}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Layer,
            tests::{check_mistakes, load_text},
        },
        *,
    };
    use proptest::prelude::*;

    #[test]
    fn addresses_and_commands_are_read() {
        let on = |text: &str| text.parse::<Depend>().unwrap().on;
        let address = |text: &str| Dependency::Address(text.parse::<SocketAddr>().unwrap().into());
        assert_eq!(on("127.0.0.1:5432"), address("127.0.0.1:5432"));
        assert_eq!(on("[::1]:5432"), address("[::1]:5432"));
        let unix = Dependency::Address(Endpoint::Unix("/run/db.sock".into()));
        assert_eq!((on("unix:/run/db.sock"), on("/run/db.sock")), (unix.clone(), unix));
        let words = |words: &[&str]| Dependency::Command(words.iter().map(Into::into).collect());
        assert_eq!(on("exec: pg_isready  -h db"), words(&["pg_isready", "-h", "db"]));
        assert_eq!(on("exec:true"), words(&["true"]));
        assert_eq!("exec:true".parse::<Depend>().unwrap().to_string(), "exec:true");
        for (text, expected) in [
            ("", "the address has no port"),
            ("db", "the address has no port"),
            ("5432", "the address has no host; name it, as in 127.0.0.1:5432"),
            (":5432", "the address has no host"),
            ("127.0.0.1:0", "port 0 is any port"),
            ("127.0.0.1:70000", "not a port"),
            ("postgres://db:5432", "an address, not a URL, is waited for"),
            ("a host:5432", "has no address"),
            ("exec:", "no command; write 127.0.0.1:5432"),
            ("exec: sh -c 'x'", "quotes are not understood here; put what needs them into a script"),
            ("unix:", "not the path of a Unix socket"),
        ] {
            let error = text.parse::<Depend>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn each_source_may_name_several() {
        let depends = |text: &str, variables: &[(&str, &str)]| {
            let config = load_text(Layer::default(), text, variables).unwrap();
            let shown: Vec<_> = config.depends.value.iter().map(ToString::to_string).collect();
            (shown.join("|"), config.depends.origin.to_string(), format!("{:?}", config.settings()))
        };
        assert_eq!(depends("", &[]).1, "default");
        let variable = [("POINTSMAN_DEPENDS", "127.0.0.1:1, exec: a b")];
        for (text, variables, expected) in [
            ("depends = \"unix:/a\"", &[][..], ("unix:/a", "p.toml:1")),
            ("depends = [\"127.0.0.1:1\", \"exec: a b\"]", &[], ("127.0.0.1:1|exec: a b", "p.toml:1")),
            ("depends = \"unix:/a\"", &variable, ("127.0.0.1:1|exec: a b", "POINTSMAN_DEPENDS")),
        ] {
            let (shown, origin, settings) = depends(text, variables);
            assert_eq!((&*shown, &*origin), expected);
            for one in shown.split('|') {
                assert!(settings.contains(&format!("{:?}", one.parse::<Depend>().unwrap().on)), "{settings}");
            }
        }
        check_mistakes(&[
            ("depends = [\"unix:/a\", \"db\"]", &["the address has no port", "p.toml:1:23"]),
            ("depends = 5432", &["a string is expected"]),
            ("depends_on = \"x\"", &["did you mean depends?"]),
        ]);
    }

    proptest! {
        // Without a colon in between, for no name service is to be asked.
        #[test]
        fn no_text_panics(text in "[^:]*", near in "(unix:|exec:)?[./ a'\0]{0,5}") {
            for text in [text, near] {
                let _ = text.parse::<Depend>();
            }
        }
    }
}
