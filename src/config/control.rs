//! What the control socket is to be, as people write it.
//!
//! Text comes in, a value or a [`BadValue`] goes out. Where a name leads to, the crate knows.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use pointsman::ControlName;

use super::{
    attribute,
    layer::{Given, Origin},
    problem::{Problem, Problems, nearest},
    value::BadValue,
};

/// Reads what a master is called.
pub(crate) fn name(text: &str) -> Result<ControlName, BadValue> {
    text.parse().map_err(|_| match text.contains('/') {
        true => BadValue::new("a name is no path", "the path of a socket is for control, or --control"),
        false => BadValue::new(
            "not the name of a master",
            "write 1 to 64 letters, digits, dots, underscores and hyphens, a letter or a digit first",
        ),
    })
}

/// Where the control socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ControlPlace {
    /// Where the name leads to.
    Auto,
    /// Nowhere.
    Off,
    Path(PathBuf),
}

/// The words that are not paths.
pub(super) const WORDS: [&str; 2] = ["auto", "off"];

impl FromStr for ControlPlace {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let examples = "write auto, off, or the path of a socket such as ./app.sock";
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            _ if text.contains('\0') => Err(BadValue::new("a zero byte is in no path", "leave it out")),
            _ if text.ends_with('/') || text.is_empty() => {
                Err(BadValue::new("not the path of a socket", examples))
            }
            // A file of such a name is more likely a word mistyped, or meant as a name.
            _ if !text.contains(['/', '.']) => {
                let instead = match nearest(text, WORDS) {
                    Some(near) => {
                        format!("did you mean {near}? Write a slash before the name of a file: ./app.sock")
                    }
                    None => format!("{examples}; a name is for the key name, or --name {text}"),
                };
                Err(BadValue::new("neither a choice nor a path", instead))
            }
            _ => Ok(Self::Path(text.into())),
        }
    }
}

impl fmt::Display for ControlPlace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => out.pad("auto"),
            Self::Off => out.pad("off"),
            Self::Path(path) => path.display().fmt(out),
        }
    }
}

/// Who may connect besides root and the master's own user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ControlGroup {
    /// As it was written.
    text: String,
    pub(crate) number: u32,
}

impl FromStr for ControlGroup {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let text = attribute::account(text)?;
        match pointsman::group_number(&text) {
            Some(number) => Ok(Self { text, number }),
            None => Err(BadValue::new("no such group on this machine", "give its name, or its number")),
        }
    }
}

impl fmt::Display for ControlGroup {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.text)
    }
}

/// Makes the path absolute: one in a configuration file is relative to its directory, others to here.
pub(super) fn settle(given: &mut Given<ControlPlace>, problems: &mut Problems) {
    let base = match &given.origin {
        Origin::File(source, _) => source.path.parent().unwrap_or(Path::new("")),
        _ => Path::new(""),
    };
    if let ControlPlace::Path(path) = &mut given.value {
        match attribute::path(path, base) {
            Ok(absolute) => *path = absolute,
            Err(bad) => problems.push(Problem::new(given.origin.clone(), path.display(), bad)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_none_is_told_what_to_be() {
        assert_eq!(name("api-2").unwrap().to_string(), "api-2");
        assert_eq!(name("default"), Ok(ControlName::default()));
        for (text, expected) in [
            ("", "not the name of a master; write 1 to 64 letters"),
            (".hidden", "a letter or a digit first"),
            ("a b", "not the name of a master"),
            ("../x", "a name is no path; the path of a socket is for control, or --control"),
            (&"n".repeat(65), "1 to 64 letters"),
        ] {
            let error = name(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn places_are_words_or_paths() {
        for (text, expected) in [
            ("auto", ControlPlace::Auto),
            ("off", ControlPlace::Off),
            ("/run/app.sock", ControlPlace::Path("/run/app.sock".into())),
            ("app.sock", ControlPlace::Path("app.sock".into())),
            ("./sock", ControlPlace::Path("./sock".into())),
        ] {
            assert_eq!(text.parse(), Ok(expected.clone()), "{text}");
            assert_eq!(expected.to_string(), text);
        }
        for (text, expected) in [
            ("", "not the path of a socket; write auto, off, or the path"),
            ("/run/", "not the path of a socket"),
            ("of", "did you mean off?"),
            ("billing", "a name is for the key name, or --name billing"),
            ("./a\0", "a zero byte"),
        ] {
            let error = text.parse::<ControlPlace>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn groups_are_those_of_this_machine() {
        for (text, number) in [("root", 0), ("0", 0), ("65534", 65534)] {
            let group: ControlGroup = text.parse().unwrap();
            assert_eq!((group.number, &*group.to_string()), (number, text));
        }
        for (text, expected) in
            [("no such group", "no such group on this machine"), ("a:b", "a user and a group in one")]
        {
            assert!(text.parse::<ControlGroup>().unwrap_err().to_string().contains(expected), "{text}");
        }
    }
}
