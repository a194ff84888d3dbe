//! The routes that one shard keeps, so that most messages need no look-up.
//!
//! Direct-mapped: a topic has one place, and whoever comes there overwrites what was, in its memory, so that a miss
//! seldom allocates. A route stands while its stamp does.

use super::hash::Seed;
use super::index::Index;
use super::route::Route;
use super::stamps::Stamp;
use crate::topic::{TopicError, check_name};

/// Places.
const ENTRIES: usize = 4096;

/// Bytes that all routes and topics may hold on the heap; when they hold more, entries are dropped one after the other.
/// A single route may be larger: it is kept until another comes.
const WEIGHT_MAX: usize = 16 << 20;

/// The routes that one shard keeps.
#[derive(Debug)]
pub struct Cache {
    entries: Box<[Entry]>,
    max_levels: u16,
    weight: usize,
    weight_max: usize,
    /// The entry that is dropped next when there is too much.
    hand: usize,
}

#[derive(Debug, Default)]
struct Entry {
    /// Empty: no route here.
    topic: String,
    stamp: Stamp,
    weight: usize,
    route: Route,
}

// === impl Cache ===

impl Cache {
    /// An empty cache for topics of at most `max_levels` levels.
    pub fn new(max_levels: u16) -> Self {
        Self::with_weight_max(max_levels, WEIGHT_MAX)
    }

    /// The entry of a topic: kept, or looked up now.
    ///
    /// The number stays that of this topic until another one needs the place; [`still`](Self::still) tells.
    ///
    /// # Errors
    /// If the bytes are no valid topic name. Only then is anything checked when the topic is not in the cache: equal
    /// bytes were valid.
    pub fn find(&mut self, index: &Index, topic: &[u8]) -> Result<usize, TopicError> {
        let at = place(index.seed(), topic);
        if self.still(index, at, topic) {
            return Ok(at);
        }
        let name = check_name(topic, self.max_levels)?;
        let entry = &mut self.entries[at];
        if entry.topic != name {
            entry.topic.clear();
            entry.topic.push_str(name);
        }
        entry.stamp = index.look_up(name, &mut entry.route);
        self.weigh(at);
        Ok(at)
    }

    /// The route of an entry that [`find`](Self::find) returned.
    pub fn entry(&self, entry: usize) -> &Route {
        &self.entries[entry].route
    }

    /// Whether an entry is that of `topic` and its route still stands. A connection that publishes to the topic of its
    /// last message needs no more than this.
    #[inline]
    pub fn still(&self, index: &Index, entry: usize, topic: &[u8]) -> bool {
        let entry = &self.entries[entry];
        entry.topic.as_bytes() == topic && !topic.is_empty() && index.holds(&entry.stamp)
    }

    pub(super) fn with_weight_max(max_levels: u16, weight_max: usize) -> Self {
        let entries = (0..ENTRIES).map(|_| Entry::default()).collect();
        Self { entries, max_levels, weight: 0, weight_max, hand: 0 }
    }

    /// Accounts for what an entry holds now, and drops others while all hold too much.
    fn weigh(&mut self, at: usize) {
        let entry = &mut self.entries[at];
        entry.route.shrink();
        let weight = entry.route.weight() + entry.topic.capacity();
        self.weight = self.weight - entry.weight + weight;
        entry.weight = weight;
        for _ in 0..ENTRIES {
            if self.weight <= self.weight_max {
                return;
            }
            if self.hand != at {
                self.weight -= self.entries[self.hand].weight;
                self.entries[self.hand] = Entry::default();
            }
            self.hand = (self.hand + 1) % ENTRIES;
        }
    }
}

fn place(seed: &Seed, topic: &[u8]) -> usize {
    seed.bytes(topic) as usize % ENTRIES
}
