//! A frame of our own as it is written: its fields, said once, become bytes in the form of the channel.
//!
//! Values enter one after the other; the bytes are appended to a buffer that may hold other frames already. On the way
//! of a connection nothing here allocates. This file must not know what the fields mean.

use serde::Serialize;
use serde_json::{Number, Value};

use super::{frame::PREFIX, serialization::Serialization, v8};

/// Appends one whole frame: what is around it, and the value that `content` writes.
pub(super) fn frame(serialization: Serialization, out: &mut Vec<u8>, content: impl FnOnce(&mut Writer<'_>)) {
    match serialization {
        Serialization::Json => {
            content(&mut Writer::Json(out));
            out.push(b'\n');
        }
        Serialization::Advanced => {
            let prefix = out.len();
            out.extend_from_slice(&[0; PREFIX]);
            let start = out.len();
            v8::write_header(out);
            content(&mut Writer::Advanced(v8::Writer { out, start }));
            // What is longer is longer than any channel takes.
            let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
            out[prefix..start].copy_from_slice(&length.to_be_bytes());
        }
    }
}

/// Where one value is expected.
#[derive(Debug)]
pub(super) enum Writer<'o> {
    Json(&'o mut Vec<u8>),
    Advanced(v8::Writer<'o>),
}

impl Writer<'_> {
    pub(super) fn object(&mut self, content: impl FnOnce(&mut Fields<'_, '_>)) {
        match self {
            Self::Json(out) => out.push(b'{'),
            Self::Advanced(writer) => writer.object_begins(),
        }
        let mut fields = Fields { writer: self, count: 0 };
        content(&mut fields);
        let count = fields.count;
        match self {
            Self::Json(out) => out.push(b'}'),
            Self::Advanced(writer) => writer.object_ends(count),
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        match self {
            Self::Json(out) => json(out, text),
            Self::Advanced(writer) => writer.text(text),
        }
    }

    pub(super) fn number(&mut self, number: impl Into<Number>) {
        let number = number.into();
        match self {
            Self::Json(out) => json(out, &number),
            Self::Advanced(writer) => writer.number(number.as_f64().unwrap_or_default()),
        }
    }

    pub(super) fn truth(&mut self, truth: bool) {
        match self {
            Self::Json(out) => json(out, &truth),
            Self::Advanced(writer) => writer.truth(truth),
        }
    }

    pub(super) fn numbers(&mut self, numbers: impl Iterator<Item = u64> + Clone) {
        match self {
            Self::Json(out) => {
                out.push(b'[');
                for (place, number) in numbers.enumerate() {
                    if place > 0 {
                        out.push(b',');
                    }
                    json(out, &number);
                }
                out.push(b']');
            }
            Self::Advanced(writer) => {
                let length = numbers.clone().count();
                writer.array_begins(length);
                #[expect(clippy::cast_precision_loss, reason = "JavaScript has no other numbers")]
                numbers.for_each(|number| writer.number(number as f64));
                writer.array_ends(length);
            }
        }
    }

    pub(super) fn value(&mut self, value: &Value) {
        match self {
            Self::Json(out) => json(out, value),
            Self::Advanced(writer) => writer.value(value),
        }
    }
}

/// The fields of an object that is being written. Their names are plain words.
#[derive(Debug)]
pub(super) struct Fields<'w, 'o> {
    writer: &'w mut Writer<'o>,
    count: u32,
}

impl<'o> Fields<'_, 'o> {
    /// Writes the name of a field; its value comes next.
    pub(super) fn name(&mut self, name: &str) -> &mut Writer<'o> {
        match self.writer {
            Writer::Json(out) => {
                out.extend_from_slice(if self.count > 0 { b",\"" } else { b"\"" });
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":");
            }
            Writer::Advanced(writer) => writer.text(name),
        }
        self.count += 1;
        self.writer
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.name(name).text(text);
    }

    pub(super) fn number(&mut self, name: &str, number: impl Into<Number>) {
        self.name(name).number(number);
    }

    pub(super) fn truth(&mut self, name: &str, truth: bool) {
        self.name(name).truth(truth);
    }

    /// The fields of a struct.
    pub(super) fn all(&mut self, content: &impl Serialize) {
        match self.writer {
            Writer::Json(out) => {
                let brace = out.len();
                json(out, content);
                // A comma stands where its brace was, unless it is the first.
                if self.count > 0 {
                    out[brace] = b',';
                } else {
                    out.remove(brace);
                }
                out.pop();
                self.count += 1;
            }
            Writer::Advanced(_) => {
                // Our own structs are objects, and small.
                if let Ok(Value::Object(fields)) = serde_json::to_value(content) {
                    fields.iter().for_each(|(name, value)| self.name(name).value(value));
                }
            }
        }
    }
}

/// Appends a JSON value. Writing our own types to memory cannot fail.
fn json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let before = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(before);
        out.extend_from_slice(b"null");
    }
}
