//! A frame before it is understood, in either form: which command it is, and its fields by name.
//!
//! JSON is read by serde. V8's format is read field by field where that is on the way of a connection; what is rare is
//! made JSON first, so that both forms have one reader for it.

use std::borrow::Cow;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};
use thiserror::Error;

use super::{
    frame::MAX_VALUES,
    message::MessageError,
    v8::{self, Field, Leaf, Place, V8Error},
};

/// One value: a frame, or what a `NODE_HANDLE` carries.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    Json(&'a [u8]),
    V8(Place<'a>),
}

/// A message of the application, as it came.
#[derive(Debug, Clone)]
pub enum User<'a> {
    /// JSON text.
    Json(Cow<'a, RawValue>),
    /// A value in V8's format.
    V8(Place<'a>),
}

/// Why a message is none that can be passed on.
#[derive(Debug, Error)]
pub enum NoValue {
    /// A number beyond all bounds, or a nesting too deep.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// See the reason.
    #[error(transparent)]
    V8(#[from] V8Error),
    /// JSON of more than [`MAX_VALUES`].
    #[error("it holds more than {MAX_VALUES} values")]
    TooMany,
}

impl User<'_> {
    /// The message as a value, if there is one for it.
    pub fn to_value(&self) -> Result<Value, NoValue> {
        match self {
            // Each value takes a byte at least.
            Self::Json(text) if text.get().len() > MAX_VALUES && count_values(text.get()) > MAX_VALUES => {
                Err(NoValue::TooMany)
            }
            Self::Json(text) => Ok(serde_json::from_str(text.get())?),
            Self::V8(place) => Ok(v8::to_json(*place)?),
        }
    }
}

/// How many values and names of fields there are in JSON text, which is whole.
fn count_values(text: &str) -> usize {
    let (mut count, mut in_word) = (0, false);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                count += 1;
                while let Some(byte) = bytes.next().filter(|&byte| byte != b'"') {
                    if byte == b'\\' {
                        bytes.next();
                    }
                }
            }
            b'[' | b'{' => count += 1,
            b']' | b'}' | b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' => in_word = false,
            _ => count += usize::from(!std::mem::replace(&mut in_word, true)),
        }
    }
    count
}

#[derive(Deserialize)]
struct Probe<'a> {
    // Not an Option: serde borrows a Cow only when it is the field itself, and this is the path of every connection.
    #[serde(borrow, default)]
    cmd: Cow<'a, str>,
}

impl<'a> Source<'a> {
    /// `cmd`, if this is an object that has one, and one that is text.
    pub(super) fn command(self) -> Result<Option<Cow<'a, str>>, MessageError> {
        match self {
            Self::Json(frame) => {
                // Only an object can be internal; serde would take an array for a struct as well.
                let object = frame.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
                // No `cmd`, or one that is no string, or not JSON at all: whoever reads it as a message will tell.
                let probe = serde_json::from_slice::<Probe<'a>>(frame);
                Ok(probe.ok().filter(|_| object).map(|probe| probe.cmd))
            }
            Self::V8(place) => match command_of(place) {
                // It may hold what cannot be read here, so it is a message; it will be told of that one.
                Err(error) if !error.is_fault() => Ok(None),
                command => command.map_err(|source| MessageError::V8 { context: "a message", source }),
            },
        }
    }

    /// It as a message of the application.
    pub(super) fn user(self) -> Result<User<'a>, MessageError> {
        match self {
            Self::Json(frame) => json("a message", frame).map(|text| User::Json(Cow::Borrowed(text))),
            Self::V8(place) => match place.check() {
                Err(source) if source.is_fault() => Err(MessageError::V8 { context: "a message", source }),
                _ => Ok(User::V8(place)),
            },
        }
    }

    /// It as a struct; for what is rare.
    pub(super) fn read<T: DeserializeOwned>(self, context: &'static str) -> Result<T, MessageError> {
        match self {
            Self::Json(frame) => json(context, frame),
            Self::V8(place) => {
                let value = v8::to_json(place).map_err(|source| MessageError::V8 { context, source })?;
                T::deserialize(&value).map_err(|source| MessageError::Json { context, source })
            }
        }
    }
}

pub(super) fn json<'a, T: Deserialize<'a>>(
    context: &'static str,
    frame: &'a [u8],
) -> Result<T, MessageError> {
    serde_json::from_slice(frame).map_err(|source| MessageError::Json { context, source })
}

fn command_of(place: Place<'_>) -> Result<Option<Cow<'_, str>>, V8Error> {
    let Some(fields) = place.fields()? else { return Ok(None) };
    for field in fields {
        let Field { name, leaf, .. } = field?;
        if name.is("cmd") {
            return match leaf {
                Some(Leaf::Text(text)) => text.to_str().map(Some),
                _ => Ok(None),
            };
        }
    }
    Ok(None)
}

/// Shows `take` each field of an object in V8's format. One that is not read here is the last.
pub(super) fn each_field<'a>(
    context: &'static str,
    place: Place<'a>,
    mut take: impl FnMut(Field<'a>) -> Result<(), MessageError>,
) -> Result<(), MessageError> {
    let failed = |source| MessageError::V8 { context, source };
    for field in place.fields().map_err(failed)?.into_iter().flatten() {
        take(field.map_err(failed)?)?;
    }
    Ok(())
}

/// A field that is to be text.
pub(super) fn text<'a>(command: &'static str, field: Field<'a>) -> Result<Cow<'a, str>, MessageError> {
    let text = match field.leaf {
        Some(Leaf::Text(text)) => text.to_str().ok(),
        _ => None,
    };
    text.ok_or_else(|| wrong(command, field, "a text"))
}

/// A field that is to be a number of something, or nothing.
pub(super) fn number(command: &'static str, field: Field<'_>) -> Result<Option<u64>, MessageError> {
    match field.leaf {
        Some(Leaf::Null) => Ok(None),
        leaf => {
            leaf.and_then(whole).map(Some).ok_or_else(|| wrong(command, field, "a whole number, 0 or more"))
        }
    }
}

/// A field that is to be true or false, or nothing.
pub(super) fn truth(command: &'static str, field: Field<'_>) -> Result<Option<bool>, MessageError> {
    match field.leaf {
        Some(Leaf::Null) => Ok(None),
        Some(Leaf::Bool(truth)) => Ok(Some(truth)),
        _ => Err(wrong(command, field, "true or false")),
    }
}

/// A whole number, none of which is confused with its neighbour.
pub(super) fn whole(leaf: Leaf<'_>) -> Option<u64> {
    const LARGEST: f64 = 9_007_199_254_740_991.0;
    match leaf {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is a whole number within the range just looked at"
        )]
        Leaf::Number(number) if number.fract() == 0.0 && (0.0..=LARGEST).contains(&number) => {
            Some(number as u64)
        }
        _ => None,
    }
}

fn wrong(command: &'static str, field: Field<'_>, wanted: &'static str) -> MessageError {
    let field = field.name.to_str().unwrap_or_default().into_owned();
    MessageError::Field { command, field, wanted }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::protocol::{
        frame::MAX_FRAME,
        message::{Message, encode_user},
        serialization::Serialization,
    };

    /// Whether the value comes back in every form; if not, it has too many others in it.
    #[track_caller]
    fn check(value: &Value, passes: bool) {
        for &form in Serialization::ALL {
            let mut out = Vec::new();
            encode_user(form, value, &mut out);
            let frame = match form {
                Serialization::Json => &out[..out.len() - 1],
                Serialization::Advanced => &out[crate::protocol::frame::PREFIX..],
            };
            assert!(frame.len() <= MAX_FRAME);
            let Ok(Message::User(user)) = Message::decode(form, frame) else { panic!("{form}") };
            match user.to_value() {
                Ok(back) => assert!(passes && back == *value, "{form}"),
                Err(error) => {
                    assert!(!passes, "{form}: {error}");
                    assert_eq!(error.to_string(), "it holds more than 524288 values", "{form}");
                }
            }
        }
    }

    #[test]
    fn a_message_of_too_many_values_makes_no_value() {
        for element in [json!(null), json!(1), json!(""), json!([]), json!({})] {
            check(&vec![element.clone(); MAX_VALUES - 1].into(), true);
            check(&vec![element; MAX_VALUES].into(), false);
        }
        // Three each: the object, the name and the value.
        let object = json!({"a": 1});
        check(&vec![object.clone(); (MAX_VALUES - 1) / 3].into(), true);
        check(&vec![object; MAX_VALUES / 3 + 1].into(), false);
        check(&json!(",".repeat(MAX_VALUES + 1)), true);
        check(&json!("\"[\\".repeat(MAX_VALUES)), true);
    }

    #[test]
    fn values_are_counted_as_they_stand_in_json() {
        for (text, count) in [
            ("1", 1),
            (" -1.5e3 ", 1),
            ("[]", 1),
            ("[ [ ] , { } ]", 3),
            (r#"{"a":null,"b":[true,"x\\",",\""]}"#, 8),
            ("[1,2,3]", 4),
            ("[1\t,\n2 ]", 3),
        ] {
            assert_eq!(count_values(text), count, "{text}");
        }
    }
}
