//! Chance from a seed (splitmix64): the same numbers for the same seed, so that a life can be lived again.

/// Numbers by chance.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The one that begins at this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, of which every value is as likely.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }
}

/// A number of which every bit depends on every bit of this one, and each comes of one only (splitmix64's last steps).
pub fn mix(number: u64) -> u64 {
    let mut mixed = number;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A hash of these bytes (FNV-1a, mixed): the same in every process and after every start, so that what is chosen by it stays.
/// Not for tables that strangers fill.
pub fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_and_come_again_from_the_same_seed() {
        let numbers = |seed| {
            let mut chance = Chance::new(seed);
            [chance.number(), chance.number(), chance.number()]
        };
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1), numbers(2));
        assert_ne!(numbers(0)[0], numbers(0)[1]);
    }

    #[test]
    fn a_hash_is_the_same_for_ever() {
        let expected = [0xf52a_15e9_a9b5_e89b, 0x02c0_bdbf_4814_20f8, 0x3e35_b21b_fb9b_6405];
        assert_eq!([hash(b""), hash(b"a"), hash(b"b")], expected);
    }
}
