//! Seeded hashing of topics and filters, level by level in one pass over the bytes.
//!
//! A word of eight bytes is read at a time, the next `/` found in it by arithmetic, and the part before it multiplied in.
//! A topic holds no U+0000, so padding with zeros makes no two levels alike. Who does not know the seed cannot choose
//! topics that collide.

use std::num::Wrapping;

/// Levels that are hashed one by one; filters with more go into the trie.
pub(super) const DEPTH: usize = 16;

const SLASHES: u64 = 0x2f2f_2f2f_2f2f_2f2f;
const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// The secret numbers of one broker's hashes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed {
    start: u64,
    word: u64,
    fold: u64,
}

/// Hashes of the levels of one topic.
pub(super) struct Levels {
    /// How many levels the topic has, also beyond [`DEPTH`].
    pub count: usize,
    /// The hash of each of the first [`DEPTH`] levels.
    pub hashes: [u64; DEPTH],
    /// `folds[i]`: the first `i` levels, folded.
    pub folds: [u64; DEPTH + 1],
    /// All levels, folded.
    pub whole: u64,
}

// === impl Seed ===

impl Seed {
    pub fn new(seed: u64) -> Self {
        Self { start: spread(seed, 1), word: spread(seed, 2) | 1, fold: spread(seed, 3) | 1 }
    }

    /// What a fold begins with.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Adds a level, or any number, to a fold.
    #[inline]
    pub fn fold(&self, so_far: u64, level: u64) -> u64 {
        multiply(so_far.rotate_left(23) ^ level, self.fold)
    }

    /// The hash of the level that begins at `at`, and where it ends: at the next `/` or behind the last byte.
    #[inline]
    pub fn level(&self, bytes: &[u8], mut at: usize) -> (u64, usize) {
        let mut hash = self.start;
        loop {
            let word = load(bytes, at);
            let left = bytes.len() - at;
            let zeros = word ^ SLASHES;
            let slash = (zeros.wrapping_sub(LOW_BITS) & !zeros & HIGH_BITS).trailing_zeros() as usize / 8;
            let end = slash.min(left);
            if end < 8 {
                let kept = word & ((1 << (8 * end)) - 1);
                return (multiply(hash ^ kept, self.word), at + end);
            }
            hash = multiply(hash ^ word, self.word);
            at += 8;
        }
    }

    /// The hash of any bytes.
    #[inline]
    pub fn bytes(&self, bytes: &[u8]) -> u64 {
        let mut hash = self.start ^ bytes.len() as u64;
        let mut at = 0;
        while at < bytes.len() {
            hash = multiply(hash ^ load(bytes, at), self.word);
            at += 8;
        }
        multiply(hash, self.fold)
    }
}

// === impl Levels ===

impl Levels {
    pub fn of(seed: &Seed, topic: &str) -> Self {
        let bytes = topic.as_bytes();
        let mut levels = Self { count: 0, hashes: [0; DEPTH], folds: [seed.start(); DEPTH + 1], whole: seed.start() };
        let mut at = 0;
        loop {
            let (hash, end) = seed.level(bytes, at);
            levels.whole = seed.fold(levels.whole, hash);
            if levels.count < DEPTH {
                levels.hashes[levels.count] = hash;
                levels.folds[levels.count + 1] = levels.whole;
            }
            levels.count += 1;
            if end == bytes.len() {
                return levels;
            }
            at = end + 1;
        }
    }
}

/// Eight bytes from `at` on, little end first, zeros behind the last.
#[inline]
fn load(bytes: &[u8], at: usize) -> u64 {
    if let Some((word, _)) = bytes[at..].split_first_chunk::<8>() {
        return u64::from_le_bytes(*word);
    }
    let missing = 8 - (bytes.len() - at);
    if missing == 8 {
        return 0;
    }
    if let Some((_, word)) = bytes.split_last_chunk::<8>() {
        return u64::from_le_bytes(*word) >> (8 * missing);
    }
    bytes[at..].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Both halves of the product, so that every bit of the factors can reach every bit of the result.
#[inline]
fn multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// The `n`th of the numbers that follow from a seed, so that seeds that are near give secrets that are not.
fn spread(seed: u64, n: u64) -> u64 {
    let mut x = Wrapping(seed) + Wrapping(n) * Wrapping(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)) * Wrapping(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)) * Wrapping(0x94d0_49bb_1331_11eb);
    (x ^ (x >> 31)).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #[test]
        fn levels_end_where_split_says(topic in "[a-c/é]{1,40}") {
            let seed = Seed::new(1);
            let levels = Levels::of(&seed, &topic);
            let slow: Vec<u64> = topic.split('/').map(|level| seed.level(level.as_bytes(), 0).0).collect();
            prop_assert_eq!(levels.count, slow.len());
            prop_assert_eq!(&levels.hashes[..slow.len().min(DEPTH)], &slow[..slow.len().min(DEPTH)]);
            let whole = slow.iter().fold(seed.start(), |so_far, level| seed.fold(so_far, *level));
            prop_assert_eq!(levels.whole, whole);
        }

        #[test]
        fn the_hash_of_a_level_depends_on_its_text_alone(before in "[a-z/]{0,12}", level in "[a-z]{0,20}", after in "[a-z/]{0,12}") {
            let seed = Seed::new(2);
            let topic = format!("{before}/{level}/{after}");
            let at = before.len() + 1;
            prop_assert_eq!(seed.level(topic.as_bytes(), at), (seed.level(level.as_bytes(), 0).0, at + level.len()));
        }
    }

    #[test]
    fn like_topics_have_unlike_hashes() {
        let seed = Seed::new(3);
        let (mut whole, mut bytes, mut low) = (HashSet::new(), HashSet::new(), [0; 256]);
        for i in 0..65_536 {
            let topic = format!("site/{}/line/{}/temperature", i / 256, i % 256);
            let hash = Levels::of(&seed, &topic).whole;
            assert!(whole.insert(hash) && bytes.insert(seed.bytes(topic.as_bytes())));
            low[hash as usize % 256] += 1;
        }
        assert!(low.iter().all(|n| (160..=360).contains(n)), "256 of each expected: {low:?}");
    }

    #[test]
    fn another_seed_gives_other_hashes() {
        let hash = |seed| Levels::of(&Seed::new(seed), "a/b").whole;
        assert_ne!(hash(1), hash(2));
    }

    #[test]
    fn empty_levels_count() {
        let seed = Seed::new(4);
        assert_eq!(Levels::of(&seed, "/").count, 2);
        assert_eq!(Levels::of(&seed, "a//b/").count, 4);
        assert_ne!(Levels::of(&seed, "a//b").whole, Levels::of(&seed, "a/b").whole);
        assert_ne!(Levels::of(&seed, "12345678").whole, Levels::of(&seed, "12345678/").whole);
    }
}
