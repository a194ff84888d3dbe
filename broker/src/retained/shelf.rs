//! Retained messages in memory: found by topic in constant time, by filter or by hash in order.

use super::digest::{self, Sums};
use super::store::{Counts, Kept, Limits, Outcome, Page};
use super::walk::Step;
use crate::clock::{Millis, Stamp};
use crate::message::Message;
use hashbrown::HashTable;
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;
use std::sync::Arc;

/// What a message costs besides its packet and the text of its topic, in bytes: a safe estimate of the bookkeeping.
const OVERHEAD: usize = 256;

/// Topics looked at for one page.
const STEPS_MAX: usize = 4096;

/// Messages that expire, and tombstones that are forgotten, at one time.
const EXPIRED_MAX: usize = 256;

/// Bytes that tombstones may take, counted as messages are.
const TOMBSTONE_BYTES_MAX: usize = 64 << 20;

/// A longer topic leaves no tombstone, for it would not fit into what nodes tell each other, in bytes.
const TOMBSTONE_TOPIC_MAX: usize = 16 << 10;

/// How long it is remembered that a message was removed or has expired, by the local clock.
pub const TOMBSTONE_AGE: Millis = Millis(24 * 60 * 60 * 1000);

/// Messages with two ways to them, and tombstones: where one was. A new message of a topic that has one, which is what
/// most are, needs the first way alone.
#[derive(Debug)]
pub(super) struct Shelf {
    limits: Limits,
    counts: Counts,
    tombstone_bytes: usize,
    pub(super) slots: Slab<Slot>,
    hasher: RandomState,
    by_topic: HashTable<u32>,
    /// By the hash that is the same on all nodes: what other nodes ask for.
    pub(super) by_hash: BTreeSet<(u64, u32)>,
    /// Messages in the order of the topics' bytes, which is what a [`Walk`](super::walk::Walk) walks through.
    in_order: BTreeMap<Arc<str>, u32>,
    /// Messages that expire and all tombstones, the first to go first.
    deadlines: BTreeSet<(Millis, u32)>,
    /// Tombstones, the oldest first. Every node forgets the same ones when there are too many.
    tombstones: BTreeSet<(Stamp, u32)>,
    sums: Sums,
}

/// What is known of a topic.
#[derive(Debug)]
pub(super) struct Slot {
    pub topic: Arc<str>,
    pub stamp: Stamp,
    pub state: State,
}

/// Its message, or where one was.
#[derive(Clone, Debug)]
pub(super) enum State {
    Kept {
        message: Arc<Message>,
        received_at: Millis,
    },
    /// A tombstone: the message was removed, or has expired.
    Gone {
        until: Millis,
    },
}

// === impl Shelf ===

impl Shelf {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            counts: Counts::default(),
            tombstone_bytes: 0,
            slots: Slab::new(),
            hasher: RandomState::new(),
            by_topic: HashTable::new(),
            by_hash: BTreeSet::new(),
            in_order: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            tombstones: BTreeSet::new(),
            sums: Sums::new(),
        }
    }

    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.forget_oldest();
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    pub fn sums(&self) -> &Sums {
        &self.sums
    }

    pub fn get(&self, topic: &str, now: Millis) -> Option<Kept> {
        self.slots[self.find(topic)? as usize].kept(now)
    }

    pub fn put(&mut self, topic: &str, message: Arc<Message>, stamp: Stamp, now: Millis) -> Outcome {
        let cost = cost(topic, &message);
        let Some(slot) = self.find(topic) else { return self.insert(topic, message, stamp, cost, now) };
        if stamp <= self.slots[slot as usize].stamp {
            return Outcome::Stale;
        }
        self.replace(slot, message, stamp, cost, now)
    }

    /// Removes a message, and remembers until then that it is gone, also where there was none: it may be on its way.
    pub fn bury(&mut self, topic: &str, stamp: Stamp, until: Millis) -> Outcome {
        match self.find(topic) {
            None => {
                self.lay(topic.into(), stamp, until);
                Outcome::Absent
            }
            Some(slot) if stamp <= self.slots[slot as usize].stamp => Outcome::Stale,
            Some(slot) => {
                let Slot { topic, stamp: _, state } = self.take(slot);
                self.lay(topic, stamp, until);
                match state {
                    State::Kept { .. } => Outcome::Removed,
                    State::Gone { .. } => Outcome::Absent,
                }
            }
        }
    }

    /// Removes what has expired and forgets what was gone for long, a bounded number; how many.
    pub fn expire(&mut self, now: Millis) -> usize {
        let expired = self.deadlines.iter().take(EXPIRED_MAX).take_while(|(deadline, _)| *deadline <= now);
        let slots: Vec<u32> = expired.map(|(_, slot)| *slot).collect();
        for slot in &slots {
            let Slot { topic, stamp, state } = self.take(*slot);
            if let State::Kept { .. } = state {
                // With the stamp that it had: so nodes need not expire it at the same moment to have equal sums.
                self.lay(topic, stamp, now + TOMBSTONE_AGE);
            }
        }
        slots.len()
    }

    /// At most `max` messages behind the topic `after`, as `step` tells.
    pub fn page(&self, after: Option<&str>, now: Millis, max: usize, step: impl Fn(&str, &mut String) -> Step) -> Page {
        let (mut messages, mut steps) = (Vec::new(), 0);
        let (mut from, mut seek) = (String::new(), String::new());
        let mut first = after.map_or(Bound::Unbounded, Bound::Excluded);
        loop {
            let mut leap = false;
            for (topic, slot) in self.in_order.range::<str, _>((first, Bound::Unbounded)) {
                if steps == STEPS_MAX || messages.len() == max.max(1) {
                    return Page { messages, next: self.before(topic) };
                }
                steps += 1;
                match step(topic, &mut seek) {
                    Step::Match => messages.extend(self.slots[*slot as usize].kept(now)),
                    Step::Next => {}
                    Step::Seek => {
                        leap = true;
                        break;
                    }
                    Step::Done => return Page { messages, next: None },
                }
            }
            if !leap {
                return Page { messages, next: None };
            }
            std::mem::swap(&mut from, &mut seek);
            first = Bound::Included(from.as_str());
        }
    }

    /// Whether messages of new topics are taken: not while a limit is reached, or all but.
    pub fn has_room(&self) -> bool {
        self.counts.messages < self.limits.messages && self.counts.bytes + self.limits.bytes / 64 < self.limits.bytes
    }

    /// No older tombstone would be kept.
    pub fn oldest_tombstone(&self) -> Stamp {
        let longest = OVERHEAD + TOMBSTONE_TOPIC_MAX;
        if self.tombstones.len() < self.limits.tombstones && self.tombstone_bytes + longest < TOMBSTONE_BYTES_MAX {
            return Stamp::default();
        }
        self.tombstones.first().map_or(Stamp { time: u64::MAX, node: u64::MAX }, |(stamp, _)| *stamp)
    }

    fn find(&self, topic: &str) -> Option<u32> {
        let is = |slot: &u32| *self.slots[*slot as usize].topic == *topic;
        self.by_topic.find(self.hasher.hash_one(topic), is).copied()
    }

    /// Lays a tombstone for a topic of which nothing is known.
    fn lay(&mut self, topic: Arc<str>, stamp: Stamp, until: Millis) {
        if self.limits.tombstones > 0 && topic.len() <= TOMBSTONE_TOPIC_MAX {
            self.enter(topic, stamp, State::Gone { until });
            self.forget_oldest();
        }
    }

    /// A message of a topic that has none, but perhaps a tombstone.
    fn insert(&mut self, topic: &str, message: Arc<Message>, stamp: Stamp, cost: usize, now: Millis) -> Outcome {
        let full = |shelf: &Self| shelf.counts.messages >= shelf.limits.messages;
        while (full(self) || self.counts.bytes + cost > self.limits.bytes) && self.expire(now) > 0 {}
        if full(self) {
            return Outcome::TooManyMessages;
        }
        if self.counts.bytes + cost > self.limits.bytes {
            return Outcome::TooManyBytes;
        }
        let topic = match self.find(topic) {
            Some(tombstone) => self.take(tombstone).topic,
            None => topic.into(),
        };
        self.enter(topic, stamp, State::Kept { message, received_at: now });
        Outcome::Stored
    }

    fn replace(&mut self, slot: u32, message: Arc<Message>, stamp: Stamp, cost: usize, now: Millis) -> Outcome {
        let Slot { topic, stamp: before, state } = &mut self.slots[slot as usize];
        let State::Kept { message: old, received_at } = state else {
            let topic = Arc::clone(topic);
            return self.insert(&topic, message, stamp, cost, now);
        };
        let bytes = self.counts.bytes - self::cost(topic, old) + cost;
        if bytes > self.limits.bytes {
            // The one before is out of date, so it goes in any case.
            let topic = self.take(slot).topic;
            let outcome = self.insert(&topic, message, stamp, cost, now);
            return if outcome == Outcome::Stored { Outcome::Replaced } else { outcome };
        }
        if let Some(deadline) = old.expires_at() {
            self.deadlines.remove(&(deadline, slot));
        }
        self.deadlines.extend(message.expires_at().map(|deadline| (deadline, slot)));
        self.counts.bytes = bytes;
        let hash = digest::hash_of(topic);
        self.sums.remove(hash, *before);
        self.sums.add(hash, stamp);
        (*before, *old, *received_at) = (stamp, message, now);
        Outcome::Replaced
    }

    /// Takes up what is known of a topic of which nothing is.
    fn enter(&mut self, topic: Arc<str>, stamp: Stamp, state: State) {
        let hash = digest::hash_of(&topic);
        let entry = self.slots.insert(Slot { topic: Arc::clone(&topic), stamp, state }) as u32;
        let Self { slots, hasher, by_topic, .. } = self;
        let keyed = |slot: &u32| hasher.hash_one(&*slots[*slot as usize].topic);
        by_topic.insert_unique(keyed(&entry), entry, keyed);
        self.by_hash.insert((hash, entry));
        self.sums.add(hash, stamp);
        match &self.slots[entry as usize].state {
            State::Kept { message, received_at: _ } => {
                self.deadlines.extend(message.expires_at().map(|deadline| (deadline, entry)));
                self.counts.messages += 1;
                self.counts.bytes += cost(&topic, message);
                self.in_order.insert(topic, entry);
            }
            State::Gone { until } => {
                self.deadlines.insert((*until, entry));
                self.tombstones.insert((stamp, entry));
                self.tombstone_bytes += OVERHEAD + topic.len();
            }
        }
    }

    /// Forgets all that is known of a topic.
    fn take(&mut self, entry: u32) -> Slot {
        let slot = self.slots.remove(entry as usize);
        let hash = digest::hash_of(&slot.topic);
        if let Ok(found) = self.by_topic.find_entry(self.hasher.hash_one(&*slot.topic), |other| *other == entry) {
            found.remove();
        }
        self.by_hash.remove(&(hash, entry));
        self.sums.remove(hash, slot.stamp);
        match &slot.state {
            State::Kept { message, received_at: _ } => {
                if let Some(deadline) = message.expires_at() {
                    self.deadlines.remove(&(deadline, entry));
                }
                self.counts.messages -= 1;
                self.counts.bytes -= cost(&slot.topic, message);
                self.in_order.remove(&*slot.topic);
            }
            State::Gone { until } => {
                self.deadlines.remove(&(*until, entry));
                self.tombstones.remove(&(slot.stamp, entry));
                self.tombstone_bytes -= OVERHEAD + slot.topic.len();
            }
        }
        slot
    }

    /// Forgets the oldest tombstones beyond the bounds.
    fn forget_oldest(&mut self) {
        while self.tombstones.len() > self.limits.tombstones || self.tombstone_bytes > TOMBSTONE_BYTES_MAX {
            let Some((_, entry)) = self.tombstones.first().copied() else { return };
            self.take(entry);
        }
    }

    /// The topic before this one, behind which a page that has not looked at this one goes on.
    fn before(&self, topic: &str) -> Option<Arc<str>> {
        let mut before = self.in_order.range::<str, _>((Bound::Unbounded, Bound::Excluded(topic)));
        before.next_back().map(|(topic, _)| Arc::clone(topic))
    }
}

// === impl Slot ===

impl Slot {
    /// The message, unless it has expired.
    fn kept(&self, now: Millis) -> Option<Kept> {
        match &self.state {
            State::Kept { message, received_at } if !message.is_expired(now) => Some(Kept {
                topic: Arc::clone(&self.topic),
                message: Arc::clone(message),
                stamp: self.stamp,
                received_at: *received_at,
            }),
            State::Kept { .. } | State::Gone { .. } => None,
        }
    }
}

fn cost(topic: &str, message: &Message) -> usize {
    OVERHEAD + topic.len() + message.frame().len()
}
