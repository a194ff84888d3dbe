//! Hybrid logical time: the order in which things happened in a cluster, whatever its clocks say.

use std::sync::atomic::{AtomicU64, Ordering};

/// A moment in the order of all events of linked clusters and their nodes. Later in time is greater; of two at the same
/// time that of the greater node is. No two are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Microseconds since 1970 in the upper 52 bits, a counter in the lower 12.
    pub time: u64,
    /// Who made it: a hash of cluster and node.
    pub node: u64,
}

/// Makes stamps: each later than all that it made or saw before.
#[derive(Debug)]
pub struct StampClock {
    last: AtomicU64,
    /// The latest that the wall clock has said.
    wall: AtomicU64,
    node: u64,
}

/// Bits of the counter.
const COUNTER: u32 = 12;

/// Microseconds by which a stamp of somebody else may be ahead of the local clock: one that is further ahead would drag
/// all clocks with it, and is not followed.
pub const AHEAD_MAX: u64 = 60_000_000;

// === impl StampClock ===

impl StampClock {
    /// The clock of a node whose cluster id and node name hash to `node`.
    pub fn new(node: u64) -> Self {
        Self { last: AtomicU64::new(0), wall: AtomicU64::new(0), node }
    }

    /// The next stamp; `unix_micros` is what the wall clock says.
    pub fn now(&self, unix_micros: u64) -> Stamp {
        self.wall.fetch_max(unix_micros, Ordering::AcqRel);
        let wall = unix_micros << COUNTER;
        let last = self.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(wall.max(last + 1)));
        // The closure always gives a value, so both arms are the value before.
        let last = last.unwrap_or_else(|last| last);
        Stamp { time: wall.max(last + 1), node: self.node }
    }

    /// Takes note of a stamp of somebody else, so that all later ones of ours are greater. False if it is more than
    /// [`AHEAD_MAX`] ahead of the wall clock: then it is not followed. Where the clocks of all nodes were set back, those of
    /// others go on from where they stood, and so does this one: what counts is the latest that the wall clock has said.
    pub fn merge(&self, stamp: Stamp, unix_micros: u64) -> bool {
        let wall = self.wall.fetch_max(unix_micros, Ordering::AcqRel).max(unix_micros);
        if stamp.time >> COUNTER > wall.saturating_add(AHEAD_MAX) {
            return false;
        }
        self.last.fetch_max(stamp.time, Ordering::AcqRel);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_grow_while_the_clock_stands_or_goes_back() {
        let clock = StampClock::new(7);
        let stamps = [1000, 1000, 400, 1001].map(|micros| clock.now(micros));
        assert!(stamps.is_sorted_by(|a, b| a < b), "{stamps:?}");
        assert_eq!(stamps[3].time >> COUNTER, 1001);
    }

    #[test]
    fn a_stamp_is_later_than_all_that_were_seen() {
        let clock = StampClock::new(7);
        let theirs = Stamp { time: 5000 << COUNTER, node: 9 };
        assert!(clock.merge(theirs, 1000));
        assert!(clock.now(1000) > theirs);
    }

    #[test]
    fn stamps_are_followed_when_the_clocks_of_all_were_set_back() {
        let hour = 3_600_000_000;
        let [one, other] = [7, 9].map(StampClock::new);
        let before = [one.now(2 * hour), other.now(2 * hour)];
        let theirs = (0..5).map(|_| one.now(hour)).last().expect("there are five");
        assert!(theirs > before[1] && other.merge(theirs, hour) && other.now(hour) > theirs);
        assert!(!other.merge(Stamp { time: (3 * hour) << COUNTER, node: 7 }, hour), "nobody's clock stood there");
    }

    #[test]
    fn a_stamp_from_far_ahead_is_not_followed() {
        let clock = StampClock::new(7);
        assert!(!clock.merge(Stamp { time: (1001 + AHEAD_MAX) << COUNTER, node: 9 }, 1000));
        assert_eq!(clock.now(1000).time >> COUNTER, 1000);
    }
}
