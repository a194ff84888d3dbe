//! What is retained, as sums of hashes: equal sums on two nodes mean that both hold the same.

use crate::clock::Stamp;
use crate::digest::{digest, mix};

/// Buckets that topics fall into, by the first eight bits of their hash.
pub const BUCKETS: usize = 256;

/// Cells of a bucket, by the next eight bits.
pub const CELLS: usize = 256;

/// Bits of a hash below those that choose the bucket.
const BUCKET_SHIFT: u32 = 56;

/// Bits of a hash below those that choose the cell.
const CELL_SHIFT: u32 = 48;

/// All that is retained, in two numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// The wrapping sum of the hashes of all (topic, stamp), of messages and of what is gone.
    pub sum: u64,
    /// How many these are.
    pub entries: u64,
}

/// The sums of all buckets, kept up to date with each change.
#[derive(Debug)]
pub(super) struct Sums {
    buckets: Box<[u64; BUCKETS]>,
    whole: Digest,
}

// === impl Sums ===

impl Sums {
    pub fn new() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), whole: Digest::default() }
    }

    pub fn add(&mut self, hash: u64, stamp: Stamp) {
        let entry = hash_of_entry(hash, stamp);
        let bucket = &mut self.buckets[bucket_of(hash)];
        *bucket = bucket.wrapping_add(entry);
        self.whole.sum = self.whole.sum.wrapping_add(entry);
        self.whole.entries += 1;
    }

    pub fn remove(&mut self, hash: u64, stamp: Stamp) {
        let entry = hash_of_entry(hash, stamp);
        let bucket = &mut self.buckets[bucket_of(hash)];
        *bucket = bucket.wrapping_sub(entry);
        self.whole.sum = self.whole.sum.wrapping_sub(entry);
        self.whole.entries -= 1;
    }

    pub fn whole(&self) -> Digest {
        self.whole
    }

    pub fn buckets(&self) -> &[u64; BUCKETS] {
        &self.buckets
    }
}

// === functions ===

/// A topic's place among all: the same on every node, so it is not keyed. Somebody who looks for them finds topics with
/// one hash; so nothing is ever taken for the same topic because its hash is.
pub fn hash_of(topic: &str) -> u64 {
    digest(topic)
}

/// A number for a topic's hash with a stamp.
pub fn hash_of_entry(hash: u64, stamp: Stamp) -> u64 {
    mix(hash ^ mix(stamp.time ^ mix(stamp.node)))
}

/// The cell within its bucket.
pub fn cell_of(hash: u64) -> usize {
    ((hash >> CELL_SHIFT) & 0xFF) as usize
}

/// The hashes of some buckets that follow each other, both ends included.
pub fn hashes_of_buckets(first: usize, last: usize) -> (u64, u64) {
    ((first as u64) << BUCKET_SHIFT, ((last as u64) << BUCKET_SHIFT) | ((1 << BUCKET_SHIFT) - 1))
}

/// The hashes of some cells of a bucket that follow each other, both ends included.
pub fn hashes_of_cells(bucket: usize, first: usize, last: usize) -> (u64, u64) {
    let start = (bucket as u64) << BUCKET_SHIFT;
    (start | (first as u64) << CELL_SHIFT, start | (last as u64) << CELL_SHIFT | ((1 << CELL_SHIFT) - 1))
}

fn bucket_of(hash: u64) -> usize {
    (hash >> BUCKET_SHIFT) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_entries_have_the_same_sums_in_any_order_and_none_has_none() {
        let stamp = |time| Stamp { time, node: 7 };
        let entries = [(hash_of("a"), stamp(1)), (hash_of("b"), stamp(1)), (hash_of("a/b"), stamp(9))];
        let (mut one, mut other) = (Sums::new(), Sums::new());
        entries.iter().for_each(|(hash, stamp)| one.add(*hash, *stamp));
        entries.iter().rev().for_each(|(hash, stamp)| other.add(*hash, *stamp));
        assert_eq!((one.whole(), one.buckets()), (other.whole(), other.buckets()));
        other.remove(entries[0].0, entries[0].1);
        other.add(entries[0].0, stamp(2));
        assert_ne!(one.whole(), other.whole());
        entries.iter().for_each(|(hash, stamp)| one.remove(*hash, *stamp));
        assert_eq!((one.whole(), one.buckets()), (Digest::default(), &[0; BUCKETS]));
    }

    #[test]
    fn the_hashes_of_buckets_and_cells_are_those_that_fall_into_them() {
        for hash in [0, 1, hash_of("x"), hash_of("y/z"), u64::MAX] {
            let bucket = bucket_of(hash);
            let (from, to) = hashes_of_buckets(bucket, bucket);
            assert!((from..=to).contains(&hash));
            let (from, to) = hashes_of_cells(bucket, cell_of(hash), cell_of(hash));
            assert!((from..=to).contains(&hash) && bucket_of(from) == bucket && bucket_of(to) == bucket);
        }
        assert_eq!(hashes_of_buckets(0, BUCKETS - 1), (0, u64::MAX));
        assert_eq!(hashes_of_cells(3, 0, CELLS - 1), hashes_of_buckets(3, 3));
    }

    #[test]
    fn a_hash_is_the_same_on_every_machine_and_in_every_version() {
        assert_eq!(hash_of("site/7/state"), digest("site/7/state"));
        assert_eq!(hash_of_entry(1, Stamp { time: 2, node: 3 }), hash_of_entry(1, Stamp { time: 2, node: 3 }));
        assert_ne!(hash_of_entry(1, Stamp { time: 2, node: 3 }), hash_of_entry(1, Stamp { time: 3, node: 2 }));
    }
}
