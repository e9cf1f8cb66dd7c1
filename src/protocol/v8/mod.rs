//! V8's ValueSerializer format, in which Node writes messages when a channel's serialization is `advanced`.
//!
//! A frame is a header (`FF` and a version) and one value. A value is a tag byte and what belongs to it; numbers that
//! count are varints, seven bits a byte, the lowest first. Objects are numbered in the order in which they begin, and
//! one that comes again is written as `^` and its number.
//!
//! `read` is the one reader of this grammar (`bytes` and `text` are what it reads with); a `Make` says what becomes of each value. `place` finds the fields
//! of a frame without keeping anything, `json` makes a JSON value, `write` writes one. Bytes from a peer enter; what
//! they cannot do is make this recurse without bound, take memory that they do not stand for, or panic. Here nobody
//! knows what a message means.
//!
//! Source: V8's `value-serializer.cc`, versions 13 to 15, and Node's `internal/child_process/serialization`, 16 to 24.

mod bytes;
mod date;
mod json;
mod place;
mod read;
#[cfg(test)]
mod tests;
mod text;
mod write;

use thiserror::Error;

#[cfg(test)]
pub(super) use self::tests::bytes_of;
use self::text::Text;
pub use self::{json::to_json, place::Place};
pub(super) use self::{
    place::Field,
    read::Leaf,
    write::{Writer, write_header},
};
use super::frame::MAX_VALUES;

/// The oldest version that is read, and the one that is written: Node 16 writes it, and all later ones read it.
const OLDEST: u8 = 13;
/// The newest version that is read: Node 18 to 24 write it.
const NEWEST: u8 = 15;

/// Objects within objects that are read. JSON is read as deep.
pub const DEPTH: usize = 128;

/// What the tags of values are in this format.
mod tag {
    pub(super) const PADDING: u8 = 0;
    pub(super) const UNDEFINED: u8 = b'_';
    pub(super) const HOLE: u8 = b'-';
    pub(super) const NULL: u8 = b'0';
    pub(super) const TRUE: u8 = b'T';
    pub(super) const FALSE: u8 = b'F';
    pub(super) const INT: u8 = b'I';
    pub(super) const UINT: u8 = b'U';
    pub(super) const DOUBLE: u8 = b'N';
    pub(super) const BIGINT: u8 = b'Z';
    pub(super) const ONE_BYTE: u8 = b'"';
    pub(super) const TWO_BYTE: u8 = b'c';
    pub(super) const UTF8: u8 = b'S';
    pub(super) const REFERENCE: u8 = b'^';
    pub(super) const OBJECT: u8 = b'o';
    pub(super) const OBJECT_END: u8 = b'{';
    pub(super) const ARRAY: u8 = b'A';
    pub(super) const ARRAY_END: u8 = b'$';
    pub(super) const SPARSE: u8 = b'a';
    pub(super) const SPARSE_END: u8 = b'@';
    pub(super) const DATE: u8 = b'D';
    pub(super) const TRUE_OBJECT: u8 = b'y';
    pub(super) const FALSE_OBJECT: u8 = b'x';
    pub(super) const NUMBER_OBJECT: u8 = b'n';
    pub(super) const BIGINT_OBJECT: u8 = b'z';
    pub(super) const STRING_OBJECT: u8 = b's';
    pub(super) const REGEXP: u8 = b'R';
    pub(super) const MAP: u8 = b';';
    pub(super) const MAP_END: u8 = b':';
    pub(super) const SET: u8 = b'\'';
    pub(super) const SET_END: u8 = b',';
    pub(super) const BUFFER: u8 = b'B';
    pub(super) const RESIZABLE_BUFFER: u8 = b'~';
    pub(super) const VIEW: u8 = b'V';
    pub(super) const ERROR: u8 = b'r';
    pub(super) const HOST: u8 = b'\\';
}

/// Why a value cannot be read, or cannot be said in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum V8Error {
    /// It is something else.
    #[error("it does not begin with the header of V8's format")]
    NoHeader,
    /// A version that has come since, or one from before Node 16.
    #[error(
        "it is in version {0} of V8's format, not in {OLDEST} to {NEWEST}; serialization = \"json\" works with every Node"
    )]
    Version(u8),
    /// The frame is over and the value is not.
    #[error("it ends within a value")]
    Truncated,
    /// What V8 does not write.
    #[error("{what} at byte {at}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// Where.
        at: usize,
    },
    /// A kind of value that is not known here; it may be known to V8.
    #[error("a kind of value that cannot be passed on (tag {tag:#04x}) at byte {at}")]
    Unsupported {
        /// The kind.
        tag: u8,
        /// Where.
        at: usize,
    },
    /// Objects within objects within objects.
    #[error("it is nested deeper than {DEPTH} levels")]
    TooDeep,
    /// What is written once and meant many times.
    #[error("it is too large when it is written out")]
    TooLarge,
    /// Holes that are not written, bytes of a Buffer and names of fields included.
    #[error("it holds more than {MAX_VALUES} values")]
    TooMany,
    /// JSON can only say trees.
    #[error("an object in it contains itself")]
    Cyclic,
    /// More than 128 bits.
    #[error("a BigInt in it is too large")]
    BigInt,
    /// A string that is no Unicode text.
    #[error("a string in it has half of a surrogate pair")]
    HalfPair,
    /// Nothing at all.
    #[error("it is undefined")]
    Undefined,
}

impl V8Error {
    /// Whether the sender has written what V8 never writes, and not merely what is not read here.
    pub fn is_fault(self) -> bool {
        match self {
            Self::NoHeader | Self::Version(_) | Self::Truncated | Self::Malformed { .. } => true,
            Self::Unsupported { .. }
            | Self::TooDeep
            | Self::TooLarge
            | Self::TooMany
            | Self::Cyclic
            | Self::BigInt
            | Self::HalfPair
            | Self::Undefined => false,
        }
    }
}
