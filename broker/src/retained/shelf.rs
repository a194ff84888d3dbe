//! Retained messages in memory: found by topic in constant time, by filter in order.

use super::store::{Counts, Kept, Limits, Outcome, Page};
use super::walk::Step;
use crate::clock::Millis;
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

/// Expired messages removed at one time.
const EXPIRED_MAX: usize = 256;

/// Messages with two ways to them. A new message of a topic that has one, which is what most are, needs the first alone.
#[derive(Debug)]
pub(super) struct Shelf {
    limits: Limits,
    bytes: usize,
    kept: Slab<Kept>,
    hasher: RandomState,
    by_topic: HashTable<u32>,
    /// In the order of the topics' bytes, which is what a [`Walk`](super::walk::Walk) walks through.
    in_order: BTreeMap<Arc<str>, u32>,
    /// Those that expire, the first one first.
    deadlines: BTreeSet<(Millis, u32)>,
}

// === impl Shelf ===

impl Shelf {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            bytes: 0,
            kept: Slab::new(),
            hasher: RandomState::new(),
            by_topic: HashTable::new(),
            in_order: BTreeMap::new(),
            deadlines: BTreeSet::new(),
        }
    }

    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    pub fn counts(&self) -> Counts {
        Counts { messages: self.kept.len(), bytes: self.bytes }
    }

    pub fn get(&self, topic: &str, now: Millis) -> Option<Kept> {
        let kept = &self.kept[self.find(topic)? as usize];
        (!kept.message.is_expired(now)).then(|| kept.clone())
    }

    pub fn put(&mut self, topic: &str, message: Arc<Message>, now: Millis) -> Outcome {
        let cost = cost(topic, &message);
        match self.find(topic) {
            Some(slot) => self.replace(slot, message, cost, now),
            None => self.insert(topic, message, cost, now),
        }
    }

    pub fn remove(&mut self, topic: &str) -> bool {
        let slot = self.find(topic);
        slot.inspect(|slot| self.take(*slot)).is_some()
    }

    /// Removes what has expired, a bounded number; how many.
    pub fn expire(&mut self, now: Millis) -> usize {
        let expired = self.deadlines.iter().take(EXPIRED_MAX).take_while(|(deadline, _)| *deadline <= now);
        let slots: Vec<u32> = expired.map(|(_, slot)| *slot).collect();
        slots.iter().for_each(|slot| self.take(*slot));
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
                    Step::Match => {
                        let kept = &self.kept[*slot as usize];
                        messages.extend((!kept.message.is_expired(now)).then(|| kept.clone()));
                    }
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

    fn find(&self, topic: &str) -> Option<u32> {
        let is = |slot: &u32| *self.kept[*slot as usize].topic == *topic;
        self.by_topic.find(self.hasher.hash_one(topic), is).copied()
    }

    fn insert(&mut self, topic: &str, message: Arc<Message>, cost: usize, now: Millis) -> Outcome {
        let full = |shelf: &Self| shelf.kept.len() >= shelf.limits.messages;
        while (full(self) || self.bytes + cost > self.limits.bytes) && self.expire(now) > 0 {}
        if full(self) {
            return Outcome::TooManyMessages;
        }
        if self.bytes + cost > self.limits.bytes {
            return Outcome::TooManyBytes;
        }
        let topic: Arc<str> = topic.into();
        let deadline = message.expires_at();
        let slot = self.kept.insert(Kept { topic: Arc::clone(&topic), message, received_at: now }) as u32;
        let Self { kept, hasher, by_topic, .. } = self;
        let hash = |slot: &u32| hasher.hash_one(&*kept[*slot as usize].topic);
        by_topic.insert_unique(hash(&slot), slot, hash);
        self.in_order.insert(topic, slot);
        self.deadlines.extend(deadline.map(|deadline| (deadline, slot)));
        self.bytes += cost;
        Outcome::Stored
    }

    fn replace(&mut self, slot: u32, message: Arc<Message>, cost: usize, now: Millis) -> Outcome {
        let kept = &mut self.kept[slot as usize];
        let bytes = self.bytes - self::cost(&kept.topic, &kept.message) + cost;
        if bytes > self.limits.bytes {
            // The one before is out of date, so it goes in any case.
            let topic = Arc::clone(&kept.topic);
            self.take(slot);
            let outcome = self.insert(&topic, message, cost, now);
            return if outcome == Outcome::Stored { Outcome::Replaced } else { outcome };
        }
        if let Some(deadline) = kept.message.expires_at() {
            self.deadlines.remove(&(deadline, slot));
        }
        self.deadlines.extend(message.expires_at().map(|deadline| (deadline, slot)));
        self.bytes = bytes;
        kept.message = message;
        kept.received_at = now;
        Outcome::Replaced
    }

    fn take(&mut self, slot: u32) {
        let Kept { topic, message, received_at: _ } = self.kept.remove(slot as usize);
        self.bytes -= cost(&topic, &message);
        if let Ok(entry) = self.by_topic.find_entry(self.hasher.hash_one(&*topic), |other| *other == slot) {
            entry.remove();
        }
        self.in_order.remove(&*topic);
        if let Some(deadline) = message.expires_at() {
            self.deadlines.remove(&(deadline, slot));
        }
    }

    /// The topic before this one, behind which a page that has not looked at this one goes on.
    fn before(&self, topic: &str) -> Option<Arc<str>> {
        let mut before = self.in_order.range::<str, _>((Bound::Unbounded, Bound::Excluded(topic)));
        before.next_back().map(|(topic, _)| Arc::clone(topic))
    }
}

fn cost(topic: &str, message: &Message) -> usize {
    OVERHEAD + topic.len() + message.frame().len()
}
