//! Small random numbers, the same for the same seed.

/// A generator (xorshift64).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// One that begins with this seed.
    pub fn new(seed: u64) -> Chance {
        // Neighbouring seeds are to differ at once, and 0 would stay 0.
        Chance(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// One for a part of what is seeded: the same part has the same.
    pub fn part(&self, number: u64) -> Chance {
        Chance::new(self.0 ^ number.wrapping_add(1).wrapping_mul(0xD1B5_4A32_D192_ED03))
    }

    /// A number from 0 to `bound`, without that.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_gives_others() {
        let numbers = |mut chance: Chance| (0..20).map(|_| chance.below(1000)).collect::<Vec<_>>();
        assert_eq!(numbers(Chance::new(7)), numbers(Chance::new(7)));
        assert_ne!(numbers(Chance::new(7)), numbers(Chance::new(8)));
        assert_ne!(numbers(Chance::new(7).part(0)), numbers(Chance::new(7).part(1)));
    }
}
