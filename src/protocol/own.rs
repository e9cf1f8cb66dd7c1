//! What Pointsman's own processes say to each other, in frames that Node ignores: `NODE_POINTSMAN`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::message::{MessageError, json, need, value};

const COMMAND: &str = "NODE_POINTSMAN";

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Own<'a> {
    /// The trampoline could not start the program.
    LaunchFailed {
        /// What it was doing, e.g. `exec`.
        step: Cow<'a, str>,
        /// The error of the system, a positive Linux errno.
        errno: i32,
    },
    /// W→M: the worker reports the ends of its connections with [`Own::Gone`]. Said before it listens.
    Hello {
        /// It is the script that does so, and not the program.
        script: bool,
    },
    /// W→M: the connections of these `newconn`s have ended in the worker.
    Gone {
        /// `seq` of each `newconn`.
        seqs: Seqs<'a>,
    },
    /// From a version that we do not know.
    Unknown,
}

impl<'a> Own<'a> {
    pub(super) fn decode(frame: &'a [u8]) -> Result<Self, MessageError> {
        let raw: RawOwn<'_> = json(COMMAND, frame)?;
        Ok(match raw {
            RawOwn { launch: Some(RawLaunch { step, errno }), .. } => Self::LaunchFailed { step, errno },
            RawOwn { gone: Some(seqs), .. } => {
                let seqs = Seqs::read(seqs.get());
                Self::Gone { seqs: need(COMMAND, "numbers in gone", seqs)? }
            }
            RawOwn { hello: Some(1), script, .. } => Self::Hello { script },
            RawOwn { .. } => Self::Unknown,
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::LaunchFailed { step, errno } => {
                out.extend_from_slice(br#"{"cmd":"NODE_POINTSMAN","launch":{"step":"#);
                value(out, step);
                out.extend_from_slice(br#","errno":"#);
                value(out, errno);
                out.extend_from_slice(b"}}");
            }
            Self::Hello { script: false } => {
                out.extend_from_slice(br#"{"cmd":"NODE_POINTSMAN","hello":1}"#);
            }
            Self::Hello { script: true } => {
                out.extend_from_slice(br#"{"cmd":"NODE_POINTSMAN","hello":1,"script":true}"#);
            }
            Self::Gone { seqs } => {
                out.extend_from_slice(br#"{"cmd":"NODE_POINTSMAN","gone":"#);
                out.extend_from_slice(seqs.0.as_bytes());
                out.push(b'}');
            }
            Self::Unknown => out.extend_from_slice(br#"{"cmd":"NODE_POINTSMAN"}"#),
        }
    }
}

/// A list of sequence numbers, kept as its JSON text: it is read once, and a vector would be an allocation for every
/// connection that ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seqs<'a>(Cow<'a, str>);

impl<'a> Seqs<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let whole = Self(Cow::Borrowed(text));
        let numbers = || whole.items().map(str::parse::<u64>);
        (text.starts_with('[') && text.ends_with(']') && numbers().all(|number| number.is_ok())).then_some(whole)
    }

    fn items(&self) -> impl Iterator<Item = &str> {
        let inside = self.0.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or_default().trim_ascii();
        inside.split(',').map(str::trim_ascii).filter(move |_| !inside.is_empty())
    }

    /// The numbers.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.items().filter_map(|text| text.parse().ok())
    }
}

impl FromIterator<u64> for Seqs<'static> {
    fn from_iter<T: IntoIterator<Item = u64>>(numbers: T) -> Self {
        let texts: Vec<_> = numbers.into_iter().map(|number| number.to_string()).collect();
        Self(Cow::Owned(format!("[{}]", texts.join(","))))
    }
}

#[derive(Deserialize)]
struct RawOwn<'a> {
    #[serde(borrow, default)]
    launch: Option<RawLaunch<'a>>,
    /// The version of the reports; this is the first.
    #[serde(default)]
    hello: Option<u32>,
    #[serde(default)]
    script: bool,
    #[serde(borrow, default)]
    gone: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawLaunch<'a> {
    #[serde(borrow)]
    step: Cow<'a, str>,
    errno: i32,
}

