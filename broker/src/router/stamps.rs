//! Counters that tell a shard whether a route that it keeps may have changed.
//!
//! A change bumps one of 4,097 counters: that of the whole filter if the filter has no wildcard, that of its first two
//! levels if these have none, that of its first level, else the one that all topics share. A topic's route stands for
//! as long as the sum of its four counters does, since counters only grow; the subscriptions of a fleet of devices so
//! void almost nothing. Two filters that share a counter by chance void a little more than they must.
//!
//! Counters are bumped while the index is locked for writing and read for a new route while it is locked for reading:
//! no change can lie between the sum and what was looked up.

use super::hash::{Levels, Seed};
use std::sync::atomic::{AtomicU64, Ordering};

const COUNTERS: usize = 4096;
const FOR_ALL: u16 = COUNTERS as u16;

/// The counters of one index.
#[derive(Debug)]
pub(super) struct Stamps(Box<[AtomicU64]>);

/// The counter that a change of one filter bumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position(u16);

/// The counters that a topic's route depends on, and their sum when it was looked up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stamp {
    at: [u16; 3],
    sum: u64,
}

// === impl Stamps ===

impl Stamps {
    pub fn new() -> Self {
        Self((0..=COUNTERS).map(|_| AtomicU64::new(0)).collect())
    }

    /// Voids the routes that a filter at this position may match.
    pub fn bump(&self, position: Position) {
        self.0[usize::from(position.0)].fetch_add(1, Ordering::AcqRel);
    }

    /// The stamp of a topic now.
    pub fn take(&self, levels: &Levels) -> Stamp {
        let first = position(levels.folds[1]);
        // A topic of one level has no second: filters that name two levels cannot match it.
        let second = if levels.count > 1 { position(levels.folds[2]) } else { first };
        let at = [position(levels.whole), second, first];
        Stamp { at, sum: self.sum(at) }
    }

    /// Whether nothing has changed that could change the route.
    #[inline]
    pub fn hold(&self, stamp: &Stamp) -> bool {
        self.sum(stamp.at) == stamp.sum
    }

    #[inline]
    fn sum(&self, at: [u16; 3]) -> u64 {
        let read = |i: u16| self.0[usize::from(i)].load(Ordering::Acquire);
        read(at[0]).wrapping_add(read(at[1])).wrapping_add(read(at[2])).wrapping_add(read(FOR_ALL))
    }
}

// === impl Position ===

impl Position {
    /// The counter of a filter: `whole` is its fold if it has no wildcard; else `lead` levels come before the first one.
    pub fn of(seed: &Seed, exact: bool, whole: u64, lead: &[u64]) -> Self {
        let fold = |levels: &[u64]| levels.iter().fold(seed.start(), |so_far, level| seed.fold(so_far, *level));
        match lead {
            _ if exact => Self(position(whole)),
            [] => Self(FOR_ALL),
            [one] => Self(position(fold(&[*one]))),
            [one, two, ..] => Self(position(fold(&[*one, *two]))),
        }
    }
}

fn position(hash: u64) -> u16 {
    (hash >> 52) as u16
}

#[cfg(test)]
mod tests {
    use super::super::shape::Pattern;
    use super::*;

    #[test]
    fn a_change_voids_what_it_may_match_and_leaves_the_rest() {
        let seed = Seed::new(5);
        let stamps = Stamps::new();
        let table = [
            // filter changed, topic, still valid
            ("a/b/c", "a/b/c", false),
            ("a/b/c", "a/b/d", true),
            ("a/b/+", "a/b/c", false),
            ("a/b/+", "a/x/c", true),
            ("a/b/#", "a/b", false),
            ("a/#", "a", false),
            ("a/+/c", "a/x/c", false),
            ("a/+/c", "b/x/c", true),
            ("+/b/c", "a/b/c", false),
            ("#", "z", false),
        ];
        for (filter, topic, valid) in table {
            let stamp = stamps.take(&Levels::of(&seed, topic));
            assert!(stamps.hold(&stamp));
            stamps.bump(Pattern::of(&seed, filter).position);
            assert_eq!(stamps.hold(&stamp), valid, "{filter} changed, {topic} cached");
        }
    }
}
