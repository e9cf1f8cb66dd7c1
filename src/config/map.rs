//! What a program listens to, and where that is served: `3000=8000`.

use std::{fmt, str::FromStr};

use pointsman::{Endpoint, Place};

use super::{
    listen::{Listen, port_number},
    value::BadValue,
};

/// One mapping, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Map {
    pub(crate) from: Place,
    pub(crate) to: Place,
    spelt: String,
}

impl FromStr for Map {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let form = "write FROM=TO, such as 3000=8000 or 3000=unix:/run/app.sock";
        let (from, to) = text.split_once('=').ok_or_else(|| BadValue::new("not a mapping", form))?;
        refuse_options(from, to)?;
        let (from, to) = (place(from)?, place(to)?);
        if from == to {
            return Err(BadValue::new("both sides are the same", form));
        }
        Ok(Self { from, to, spelt: text.to_owned() })
    }
}

impl fmt::Display for Map {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.spelt)
    }
}

/// A socket has its options where it is opened from the start.
fn refuse_options(from: &str, to: &str) -> Result<(), BadValue> {
    let Some((place, options)) = to.split_once(char::is_whitespace) else { return Ok(()) };
    if options.split_whitespace().any(|word| word.contains('=') || word == "ipv6only") {
        let instead = format!("options go with -l: -l \"{to}\" --map {from}={place}");
        return Err(BadValue::new("a mapping has no options", instead));
    }
    Ok(())
}

impl Map {
    /// What is served, and what the program takes it for: "8000 for 3000".
    pub(crate) fn to_for_from(&self) -> String {
        let (from, to) = self.spelt.split_once('=').unwrap_or((&self.spelt, ""));
        format!("{to} for {from}")
    }
}

fn place(text: &str) -> Result<Place, BadValue> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match port_number(text)? {
            0 => Err(BadValue::new("port 0 is any port", "name the one that is meant")),
            port => Ok(Place::Port(port)),
        };
    }
    let endpoints = Listen::at(text)?.endpoints()?;
    match <[Endpoint; 1]>::try_from(endpoints) {
        Ok([endpoint]) => Ok(Place::Endpoint(endpoint)),
        Err(_) => Err(BadValue::new(format!("{text} has several addresses"), "write the one that is meant")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_read() {
        let map: Map = "3000=unix:/run/a.sock".parse().unwrap();
        assert_eq!(map.from, Place::Port(3000));
        assert_eq!(map.to, Place::Endpoint(Endpoint::Unix("/run/a.sock".into())));
        assert_eq!(map.to_string(), "3000=unix:/run/a.sock");
        let blank: Map = "3000=unix:/run/a b.sock".parse().unwrap();
        assert_eq!(blank.to, Place::Endpoint(Endpoint::Unix("/run/a b.sock".into())));
        for (text, expected) in [
            ("3000", "not a mapping"),
            ("3000=", "not a port"),
            ("3000=0", "any port"),
            ("3000=3000", "the same"),
            ("=8000", "not a port"),
            ("3000=70000", "not a port"),
            ("3000=http://x", "not a URL"),
            (
                "3000=unix:/x.sock mode=660",
                "options go with -l: -l \"unix:/x.sock mode=660\" --map 3000=unix:/x.sock",
            ),
            ("3000=[::]:80 ipv6only", "-l \"[::]:80 ipv6only\" --map 3000=[::]:80"),
        ] {
            let error = text.parse::<Map>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
