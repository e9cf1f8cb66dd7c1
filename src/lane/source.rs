//! What the kernel reports on, as tokens: a place in a slab and a serial number that is never given twice, so that a late
//! event hits nobody else.

use mio::Token;

/// A place in one of the lane's slabs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) key: usize,
    pub(super) serial: u32,
}

/// What a token stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// The channel to the master and the listening sockets.
    Worker,
    Client(Place),
    Upstream(Place),
}

/// Bits of a serial number: at a million connections a second it takes minutes to come round, and an event is never as late.
const SERIAL: u32 = 28;
/// Bits of a key: more connections than there can be descriptors.
const KEY: u32 = 34;

impl Source {
    pub(super) fn token(self) -> Token {
        let (kind, place) = match self {
            Self::Worker => (0, Place { key: 0, serial: 0 }),
            Self::Client(place) => (1, place),
            Self::Upstream(place) => (2, place),
        };
        Token((place.serial as usize) << (64 - SERIAL) | place.key << 2 | kind)
    }

    pub(super) fn of(token: Token) -> Self {
        let key = token.0 >> 2 & ((1 << KEY) - 1);
        let serial = u32::try_from(token.0 >> (64 - SERIAL)).unwrap_or(0);
        let place = Place { key, serial };
        match token.0 & 3 {
            0 => Self::Worker,
            1 => Self::Client(place),
            _ => Self::Upstream(place),
        }
    }
}

/// The next serial number.
pub(super) fn next(serial: &mut u32) -> u32 {
    *serial = (*serial + 1) & ((1 << SERIAL) - 1);
    *serial
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_are_written() {
        let mut serial = (1 << SERIAL) - 2;
        for key in [0, 5, 1 << 20, (1 << KEY) - 1] {
            let place = Place { key, serial: next(&mut serial) };
            for source in [Source::Worker, Source::Client(place), Source::Upstream(place)] {
                assert_eq!(Source::of(source.token()), source);
            }
        }
    }
}
