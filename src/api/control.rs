//! Where a cluster is steered from, and who may.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use thiserror::Error;

use crate::sys::control_place;

/// The control socket of a cluster: see CONTROL.md.
///
/// ```
/// use pointsman::{Control, Settings};
///
/// let control = Control::named("web".parse()?).group(1000);
/// let settings = Settings::new("node").arg("app.js").control(control);
/// # Ok::<(), pointsman::BadControlName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    place: Place,
    group: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// The usual one, if it can be had.
    Usual,
    Named(ControlName),
    At(PathBuf),
}

impl Control {
    /// The usual one. If it cannot be had, because another master has it or no directory is fit, the cluster goes on
    /// without.
    pub fn usual() -> Self {
        Self { place: Place::Usual, group: None }
    }

    /// One that is told from others by its name. If it cannot be had, the cluster does not start.
    pub fn named(name: ControlName) -> Self {
        Self { place: Place::Named(name), group: None }
    }

    /// One at this path. If it cannot be had, the cluster does not start.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { place: Place::At(path.into()), group: None }
    }

    /// Lets the members of a group in, by its number: they may do all but run programs of their own.
    #[must_use]
    pub fn group(mut self, gid: u32) -> Self {
        self.group = Some(gid);
        self
    }

    /// Where sockets of this name may be: a client looks there, in this order. Left out are directories in which somebody
    /// else may have put one.
    pub fn places(name: &ControlName) -> Vec<PathBuf> {
        let places = control_place::places(&name.0).into_iter();
        places.filter(|path| control_place::is_trusted(path)).collect()
    }

    /// Whether the cluster is not to start without it.
    pub(crate) fn is_required(&self) -> bool {
        self.place != Place::Usual
    }

    pub(crate) fn gid(&self) -> Option<u32> {
        self.group
    }

    /// What the cluster is called, if it has a name.
    pub(crate) fn name(&self) -> Option<String> {
        match &self.place {
            Place::Usual => Some(ControlName::default().0),
            Place::Named(name) => Some(name.0.clone()),
            Place::At(_) => None,
        }
    }

    /// The path, in a directory that is there.
    pub(crate) fn path(&self) -> io::Result<PathBuf> {
        match &self.place {
            Place::Usual => control_place::make(&ControlName::default().0),
            Place::Named(name) => control_place::make(&name.0),
            Place::At(path) => std::path::absolute(path),
        }
    }

    /// As far as it is known before it is opened.
    pub(crate) fn shown(&self) -> PathBuf {
        match &self.place {
            Place::At(path) => path.clone(),
            Place::Usual | Place::Named(_) => {
                Path::new(&self.name().unwrap_or_default()).with_extension("sock")
            }
        }
    }
}

/// What a cluster is called: up to 64 letters, digits, dots, underscores and hyphens, with no dot in front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlName(String);

/// A name is a part of a path that must be short.
const MAX_NAME: usize = 64;

impl Default for ControlName {
    /// `default`.
    fn default() -> Self {
        Self("default".into())
    }
}

impl FromStr for ControlName {
    type Err = BadControlName;

    fn from_str(text: &str) -> Result<Self, BadControlName> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_one =
            (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with(['.', '-']);
        if is_one { Ok(Self(text.to_owned())) } else { Err(BadControlName(text.to_owned())) }
    }
}

impl fmt::Display for ControlName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// What is no name of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no name of a cluster: take up to {MAX_NAME} letters, digits, dots, underscores and hyphens, a letter or a digit \
     first"
)]
pub struct BadControlName(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parts_of_a_path_and_nothing_else() {
        for good in ["a", "web-1", "x.y_z", &"n".repeat(MAX_NAME)] {
            assert_eq!(good.parse::<ControlName>().unwrap().to_string(), good);
        }
        for bad in ["", ".", "..", ".a", "-a", "a/b", "a b", "é", "a\0", &"n".repeat(MAX_NAME + 1)] {
            assert!(bad.parse::<ControlName>().is_err(), "{bad:?}");
        }
    }
}
