//! HTTP/1.1 as bytes and values (RFC 9110, RFC 9112): heads are read, bodies are framed, heads of answers are written. Pure.
//!
//! Bytes of a client enter at `head`, and leave as a `Head` or as the `Status` to refuse them with; those of a server at
//! `answer_head`. `framing` says where a message ends, `chunked` where its data are, `fields` and `names` what is for us
//! and what is to be passed on. `answer` writes, with the `date`. Strict: what somebody else could read differently is
//! refused. Nothing here knows of connections, of time, or of what is asked for.

pub mod answer;
pub mod answer_head;
pub mod chunked;
mod date;
pub mod fields;
pub mod framing;
pub mod head;
pub mod host;
mod names;
mod status;

use std::fmt::{self, Write};

pub use answer_head::{AnswerHead, BadAnswer};
pub use chunked::Chunked;
pub use date::Date;
pub use fields::{Field, FieldSlots, Fields, MAX_FIELDS};
pub use framing::{BodyLength, number};
pub use head::{Framing, Head, Limits, MAX_HEAD, Version, find_head, find_head_within};
pub use names::Name;
pub use status::Status;

/// Appends text to bytes.
pub(crate) fn put(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    struct Bytes<'a>(&'a mut Vec<u8>);
    impl Write for Bytes<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    // Writing to memory cannot fail.
    let _ = Bytes(out).write_fmt(text);
}
