//! The two forms in which Node writes messages to a channel; each channel has one of them for all of its life.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// How messages are written on a worker's channel: `serialization` of Node's `child_process.fork` and
/// `cluster.setupPrimary`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Serialization {
    /// A line of JSON for each message.
    #[default]
    Json,
    /// V8's own format, which Node programs can send `Map`, `Date`, `Buffer` and more in.
    Advanced,
}

impl Serialization {
    /// Both.
    pub const ALL: &[Self] = &[Self::Json, Self::Advanced];
}

impl fmt::Display for Serialization {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Json => "json",
            Self::Advanced => "advanced",
        })
    }
}

/// A word that names no serialization.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown serialization {word:?}; it is json or advanced")]
pub struct UnknownSerialization {
    /// The word.
    pub word: String,
}

impl FromStr for Serialization {
    type Err = UnknownSerialization;

    /// Reads what Node reads: the two words, in small letters.
    fn from_str(word: &str) -> Result<Self, UnknownSerialization> {
        let named = Self::ALL.iter().find(|known| known.to_string() == word);
        named.copied().ok_or_else(|| UnknownSerialization { word: word.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_read_as_they_are_written() {
        for &serialization in Serialization::ALL {
            assert_eq!(serialization.to_string().parse(), Ok(serialization));
        }
        for word in ["", "Json", "v8", "advanced "] {
            let error = word.parse::<Serialization>().unwrap_err().to_string();
            assert!(error.contains("json or advanced"), "{error}");
        }
    }
}
