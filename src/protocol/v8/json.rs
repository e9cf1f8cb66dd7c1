//! A value -> the JSON value that `JSON.stringify` would have made of it.
//!
//! | in JavaScript | in JSON |
//! |---|---|
//! | `undefined` | in an object: no such field; in an array, or a hole there: `null` |
//! | `NaN`, `Infinity` | `null` |
//! | a number | an integer if it is one, up to 2⁵³; else a floating-point number |
//! | `Date` | its `toISOString()`; `null` if it is invalid |
//! | `Buffer` | `{"type":"Buffer","data":[1,2]}` |
//! | `Uint8Array` and its like | `{"0":1,"1":2}` |
//! | `Map`, `Set`, `Error`, `RegExp`, `ArrayBuffer`, `DataView` | `{}` |
//! | `new Number(1)` and its like | `1` |
//! | an object that comes twice | twice |
//! | `BigInt`, up to 128 bits | its digits as a string: `JSON.stringify` refuses it, and programs that teach it to accept one mostly do that |
//!
//! What has no such form is an error: an object within itself, half of a surrogate pair, what is too deep or too large.

use serde_json::{Map, Number, Value};

use super::{
    Place, V8Error,
    bytes::BigInt,
    date,
    read::{Key, Kind, Leaf, Make, View},
};
use crate::protocol::frame::MAX_VALUES;

/// Makes JSON of a value.
pub fn to_json(place: Place<'_>) -> Result<Value, V8Error> {
    let mut tree = Tree { room: MAX_VALUES, hidden: 0 };
    place.reader().read(&mut tree)?.ok_or(V8Error::Undefined)
}

/// Integers beyond this are not told apart by JavaScript.
const INTEGERS: f64 = 9_007_199_254_740_992.0;

struct Tree {
    /// How many more values and names of fields it may hold.
    room: usize,
    /// Containers around this value whose insides JSON does not show.
    hidden: usize,
}

enum Open {
    Object(Map<String, Value>),
    Array(Vec<Value>),
    Hidden,
}

impl<'a> Make<'a> for Tree {
    /// `None` is undefined.
    type Made = Option<Value>;
    type Open = Open;

    fn leaf(&mut self, leaf: Leaf<'a>) -> Result<Self::Made, V8Error> {
        if self.hidden > 0 {
            return Ok(None);
        }
        self.take(1)?;
        Ok(Some(match leaf {
            Leaf::Undefined => return Ok(None),
            Leaf::Null => Value::Null,
            Leaf::Bool(truth) => Value::Bool(truth),
            Leaf::Number(number) => number_of(number),
            Leaf::BigInt(bigint) => Value::String(digits(bigint)?),
            Leaf::Text(text) => Value::String(text.to_str()?.into_owned()),
            Leaf::Date(milliseconds) => date::iso(milliseconds).map_or(Value::Null, Value::String),
            Leaf::View(view) => self.view(view)?,
            Leaf::Opaque => Value::Object(Map::new()),
        }))
    }

    fn open(&mut self, kind: Kind) -> Result<Open, V8Error> {
        if self.hidden == 0 {
            self.take(1)?;
        }
        if self.hidden > 0 || matches!(kind, Kind::Map | Kind::Set | Kind::Error) {
            self.hidden += 1;
            return Ok(Open::Hidden);
        }
        Ok(match kind {
            Kind::Sparse(length) => {
                self.take(length as usize)?;
                Open::Array(vec![Value::Null; length as usize])
            }
            Kind::Array(_) => Open::Array(Vec::new()),
            Kind::Object | Kind::Map | Kind::Set | Kind::Error => Open::Object(Map::new()),
        })
    }

    fn put(&mut self, open: &mut Open, key: Key<'a>, value: Option<Value>) -> Result<(), V8Error> {
        if matches!(open, Open::Object(_)) {
            self.take(1)?;
        }
        match (open, key) {
            (Open::Object(fields), Key::Name(name)) => {
                fields.extend(value.map(|value| Ok((name.to_str()?.into_owned(), value))).transpose()?);
            }
            (Open::Object(fields), Key::Index(index)) => {
                fields.extend(value.map(|value| (index.to_string(), value)));
            }
            (Open::Array(elements), Key::Next) => elements.push(value.unwrap_or(Value::Null)),
            (Open::Array(elements), Key::Index(index)) => {
                if let (Some(element), Some(value)) = (elements.get_mut(place(index)), value) {
                    *element = value;
                }
            }
            // JSON shows no named fields of arrays.
            (Open::Array(_), Key::Name(_)) | (Open::Object(_), Key::Next) | (Open::Hidden, _) => {}
        }
        Ok(())
    }

    fn close(&mut self, open: Open) -> Option<Value> {
        match open {
            Open::Object(fields) => Some(Value::Object(fields)),
            Open::Array(elements) => Some(Value::Array(elements)),
            Open::Hidden => {
                self.hidden -= 1;
                Some(Value::Object(Map::new()))
            }
        }
    }

    fn follows(&self) -> bool {
        self.hidden == 0
    }
}

impl Tree {
    /// Room for so many.
    fn take(&mut self, count: usize) -> Result<(), V8Error> {
        self.room = self.room.checked_sub(count).ok_or(V8Error::TooMany)?;
        Ok(())
    }

    /// By the number that Node gives each kind.
    fn view(&mut self, View { kind, bytes }: View<'_>) -> Result<Value, V8Error> {
        const BUFFER: u32 = 10;
        const DATA_VIEW: u32 = 9;
        let whole = |size: usize, number: fn(&[u8]) -> Value| (size, number);
        let (size, element) = match kind {
            BUFFER => {
                // And the two fields, with their names.
                self.take(4 + bytes.len())?;
                return Ok(serde_json::json!({"type": "Buffer", "data": bytes}));
            }
            DATA_VIEW => return Ok(Value::Object(Map::new())),
            0 => whole(1, |bytes| i8::from_le_bytes(exactly(bytes)).into()),
            1 | 2 => whole(1, |bytes| u8::from_le_bytes(exactly(bytes)).into()),
            3 => whole(2, |bytes| i16::from_le_bytes(exactly(bytes)).into()),
            4 => whole(2, |bytes| u16::from_le_bytes(exactly(bytes)).into()),
            5 => whole(4, |bytes| i32::from_le_bytes(exactly(bytes)).into()),
            6 => whole(4, |bytes| u32::from_le_bytes(exactly(bytes)).into()),
            7 => whole(4, |bytes| number_of(f32::from_le_bytes(exactly(bytes)).into())),
            8 => whole(8, |bytes| number_of(f64::from_le_bytes(exactly(bytes)))),
            11 => whole(8, |bytes| i64::from_le_bytes(exactly(bytes)).to_string().into()),
            12 => whole(8, |bytes| u64::from_le_bytes(exactly(bytes)).to_string().into()),
            // Float16Array, and what comes after it.
            _ => return Err(V8Error::Unsupported { tag: super::tag::HOST, at: 0 }),
        };
        self.take(bytes.len() / size * 2)?;
        let elements = bytes.chunks_exact(size).map(element).enumerate();
        Ok(elements.map(|(index, value)| (index.to_string(), value)).collect())
    }
}

/// Bytes of a chunk, which has as many.
fn exactly<const N: usize>(chunk: &[u8]) -> [u8; N] {
    chunk.try_into().unwrap_or([0; N])
}

fn number_of(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() <= INTEGERS {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it is an integer within the range just looked at"
        )]
        return Value::from(number as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// The index of an element; past all of them if it is none.
fn place(index: f64) -> usize {
    let whole = index.fract() == 0.0 && (0.0..f64::from(u32::MAX)).contains(&index);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is an integer within the range just looked at"
    )]
    return if whole { index as usize } else { usize::MAX };
}

fn digits(BigInt { negative, bytes }: BigInt<'_>) -> Result<String, V8Error> {
    let (low, high) = bytes.split_at(bytes.len().min(16));
    if high.iter().any(|&byte| byte != 0) {
        return Err(V8Error::BigInt);
    }
    let mut absolute = [0; 16];
    absolute[..low.len()].copy_from_slice(low);
    let sign = if negative { "-" } else { "" };
    Ok(format!("{sign}{}", u128::from_le_bytes(absolute)))
}
