//! What Pointsman's own processes say to each other, in frames that Node ignores: `NODE_POINTSMAN`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    message::{MessageError, need},
    source::{Source, each_field, json, number, truth, whole},
    v8::Place,
    writer::Writer,
};

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
    /// M→W: nothing goes by the ends, so it is enough to report them together, every so often.
    Interval {
        /// How often, in milliseconds.
        interval_ms: u64,
    },
    /// M→W: to be answered at once by [`Own::Pong`].
    Ping {
        /// Which one it is.
        number: u64,
    },
    /// W→M: the answer.
    Pong {
        /// Which ping it answers.
        number: u64,
    },
    /// From a version that we do not know.
    Unknown,
}

impl<'a> Own<'a> {
    pub(super) fn read(source: Source<'a>) -> Result<Self, MessageError> {
        let raw = match source {
            Source::Json(frame) => RawOwn::from_json(json(COMMAND, frame)?)?,
            Source::V8(place) => RawOwn::from_v8(place)?,
        };
        Ok(match raw {
            RawOwn { launch: true, .. } => {
                let RawLaunch { launch: Launch { step, errno } } = source.read(COMMAND)?;
                Self::LaunchFailed { step: step.into(), errno }
            }
            RawOwn { gone: Some(seqs), .. } => Self::Gone { seqs },
            RawOwn { hello: Some(1), script, .. } => Self::Hello { script },
            RawOwn { interval: Some(interval_ms), .. } => Self::Interval { interval_ms },
            RawOwn { ping: Some(number), .. } => Self::Ping { number },
            RawOwn { pong: Some(number), .. } => Self::Pong { number },
            RawOwn { .. } => Self::Unknown,
        })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.object(|fields| {
            fields.text("cmd", COMMAND);
            match self {
                Self::LaunchFailed { step, errno } => fields.name("launch").object(|launch| {
                    launch.text("step", step);
                    launch.number("errno", *errno);
                }),
                Self::Hello { script } => {
                    fields.number("hello", 1);
                    if *script {
                        fields.truth("script", true);
                    }
                }
                Self::Gone { seqs } => fields.name("gone").numbers(seqs.iter()),
                Self::Interval { interval_ms } => fields.number("interval", *interval_ms),
                Self::Ping { number } => fields.number("ping", *number),
                Self::Pong { number } => fields.number("pong", *number),
                Self::Unknown => {}
            }
        });
    }
}

/// A list of sequence numbers, kept as it came: it is read once, and a vector would be an allocation for every
/// connection that ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seqs<'a>(List<'a>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum List<'a> {
    /// JSON text.
    Text(&'a str),
    /// An array in V8's format.
    Array(Place<'a>),
    Numbers(Vec<u64>),
}

impl<'a> Seqs<'a> {
    fn of_text(text: &'a str) -> Option<Self> {
        let numbers = || items(text).map(str::parse::<u64>);
        let whole = text.starts_with('[') && text.ends_with(']') && numbers().all(|number| number.is_ok());
        whole.then_some(Self(List::Text(text)))
    }

    fn of_array(place: Place<'a>) -> Option<Self> {
        let length = place.length().ok()??;
        let numbers = place.leaves().ok()??.map_while(whole).count();
        (numbers == length as usize).then_some(Self(List::Array(place)))
    }

    /// The numbers.
    pub fn iter(&self) -> impl Iterator<Item = u64> + Clone {
        let (text, array, numbers) = match &self.0 {
            List::Text(text) => (Some(*text), None, &[][..]),
            List::Array(place) => (None, Some(*place), &[][..]),
            List::Numbers(numbers) => (None, None, numbers.as_slice()),
        };
        let text = text.into_iter().flat_map(items).filter_map(|text| text.parse().ok());
        let array = array.and_then(|place| place.leaves().ok().flatten()).into_iter().flatten();
        text.chain(array.filter_map(whole)).chain(numbers.iter().copied())
    }
}

fn items(text: &str) -> impl Iterator<Item = &str> + Clone {
    let inside =
        text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or_default().trim_ascii();
    inside.split(',').map(str::trim_ascii).filter(move |_| !inside.is_empty())
}

impl FromIterator<u64> for Seqs<'static> {
    fn from_iter<T: IntoIterator<Item = u64>>(numbers: T) -> Self {
        Self(List::Numbers(numbers.into_iter().collect()))
    }
}

/// What there is, of which one thing at most is meant.
#[derive(Default)]
struct RawOwn<'a> {
    launch: bool,
    /// The version of the reports; this is the first.
    hello: Option<u64>,
    script: bool,
    gone: Option<Seqs<'a>>,
    interval: Option<u64>,
    ping: Option<u64>,
    pong: Option<u64>,
}

#[derive(Deserialize)]
struct JsonOwn<'a> {
    #[serde(borrow, default)]
    launch: Option<&'a RawValue>,
    #[serde(default)]
    hello: Option<u64>,
    #[serde(default)]
    script: bool,
    #[serde(borrow, default)]
    gone: Option<&'a RawValue>,
    #[serde(default)]
    interval: Option<u64>,
    #[serde(default)]
    ping: Option<u64>,
    #[serde(default)]
    pong: Option<u64>,
}

#[derive(Deserialize)]
struct RawLaunch {
    launch: Launch,
}

#[derive(Deserialize)]
struct Launch {
    step: String,
    errno: i32,
}

impl<'a> RawOwn<'a> {
    fn from_json(
        JsonOwn { launch, hello, script, gone, interval, ping, pong }: JsonOwn<'a>,
    ) -> Result<Self, MessageError> {
        let gone = gone.map(|text| numbers_in(Seqs::of_text(text.get()))).transpose()?;
        Ok(Self { launch: launch.is_some(), hello, script, gone, interval, ping, pong })
    }

    fn from_v8(place: Place<'a>) -> Result<Self, MessageError> {
        let mut raw = Self::default();
        each_field(COMMAND, place, |field| {
            if field.name.is("launch") {
                raw.launch = true;
            } else if field.name.is("hello") {
                raw.hello = number(COMMAND, field)?;
            } else if field.name.is("script") {
                raw.script = truth(COMMAND, field)?.unwrap_or_default();
            } else if field.name.is("gone") {
                raw.gone = Some(numbers_in(Seqs::of_array(field.place))?);
            } else if field.name.is("interval") {
                raw.interval = number(COMMAND, field)?;
            } else if field.name.is("ping") {
                raw.ping = number(COMMAND, field)?;
            } else if field.name.is("pong") {
                raw.pong = number(COMMAND, field)?;
            }
            Ok(())
        })?;
        Ok(raw)
    }
}

fn numbers_in(seqs: Option<Seqs<'_>>) -> Result<Seqs<'_>, MessageError> {
    need(COMMAND, "numbers in gone", seqs)
}
