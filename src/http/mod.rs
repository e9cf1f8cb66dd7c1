//! HTTP/1.1 as bytes and values (RFC 9110, RFC 9112): heads of requests are read, heads of answers are written. Pure.
//!
//! Bytes of a client enter at `head`, and leave as a `Head` or as the `Status` to refuse them with; `answer` writes, with
//! the `date`. Strict: what somebody else could read differently is refused. Nothing here knows of connections, of time, or
//! of what is asked for.

pub mod answer;
mod date;
pub mod head;
mod status;

use std::fmt::{self, Write};

pub use date::Date;
pub use head::{FieldSlots, Framing, Head, MAX_HEAD, Version, find_head};
pub use status::Status;

/// Appends text to bytes.
fn put(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
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
