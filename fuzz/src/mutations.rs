//! Bytes that are a little like others: the same for the same seed, so that a failure can be repeated.

/// The longest input that comes of a mutation.
const MAX_BYTES: usize = 1 << 16;

/// An endless row of inputs.
pub struct Mutations<'a> {
    corpus: &'a [Vec<u8>],
    words: &'a [&'a str],
    state: u64,
}

impl<'a> Mutations<'a> {
    /// Mutations of what is in `corpus`, into which `words` are put now and then.
    pub fn new(corpus: &'a [Vec<u8>], words: &'a [&'a str], seed: u64) -> Self {
        Self { corpus, words, state: seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1 }
    }

    /// A number below `bound`, or 0 if that is 0 (xorshift64).
    fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as usize % bound.max(1)
    }

    fn part(&mut self, bytes: &[u8]) -> (usize, usize) {
        let start = self.below(bytes.len() + 1);
        let length = 1 << self.below(8);
        (start, (start + self.below(length + 1)).min(bytes.len()))
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        let (start, end) = self.part(bytes);
        match self.below(9) {
            0 if start < bytes.len() => bytes[start] ^= 1 << self.below(8),
            1 if start < bytes.len() => bytes[start] = self.below(256) as u8,
            2 => drop(bytes.drain(start..end)),
            3 => {
                let copy = bytes[start..end].to_vec();
                let at = self.below(bytes.len() + 1);
                drop(bytes.splice(at..at, copy));
            }
            4 => {
                const SPECIAL: &[u8] = b"\0\t\r\n \"\\{}[]:,.-_/%&=?#@*+~;'<>\x7f\xc3\xff09azAZ";
                let byte = SPECIAL[self.below(SPECIAL.len())];
                bytes.insert(start, byte);
            }
            5 if !self.words.is_empty() => {
                let word = self.words[self.below(self.words.len())];
                drop(bytes.splice(start..end, word.bytes()));
            }
            6 if !self.words.is_empty() => {
                let word = self.words[self.below(self.words.len())];
                drop(bytes.splice(start..start, word.bytes()));
            }
            7 => {
                let other = &self.corpus[self.below(self.corpus.len())];
                let (from, to) = self.part(other);
                let piece = other[from..to].to_vec();
                drop(bytes.splice(start..end, piece));
            }
            _ => {
                const NUMBERS: [&str; 8] = [
                    "0",
                    "-1",
                    "+1",
                    "65536",
                    "4294967296",
                    "18446744073709551615",
                    "18446744073709551616",
                    "1e999",
                ];
                drop(bytes.splice(start..end, NUMBERS[self.below(NUMBERS.len())].bytes()));
            }
        }
    }
}

impl Iterator for Mutations<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut bytes = self.corpus.get(self.below(self.corpus.len())).cloned().unwrap_or_default();
        for _ in 0..=self.below(6) {
            self.mutate(&mut bytes);
        }
        bytes.truncate(MAX_BYTES);
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs_and_another_gives_others() {
        let corpus = [b"Patient-open".to_vec(), b"{}".to_vec()];
        let some = |seed| Mutations::new(&corpus, &["x"], seed).take(50).collect::<Vec<_>>();
        assert_eq!(some(1), some(1));
        assert_ne!(some(1), some(2));
        assert!(some(1).iter().any(|bytes| !corpus.contains(bytes)));
    }
}
