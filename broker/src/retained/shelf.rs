//! The store of retained messages: one for all shards, behind a lock that is held for one page at a time.
//!
//! A subscriber must miss nothing and may see a message twice: who publishes sets the retained message *before* he looks
//! up who receives it, who subscribes is in the index *before* he asks what matches.

use super::walk::{Step, Walk};
use crate::clock::Millis;
use crate::message::Message;
use crate::topic::Filter;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What a message costs besides its packet and the text of its topic, in bytes: a safe estimate of the bookkeeping.
const OVERHEAD: usize = 256;

/// Topics looked at under one lock.
const STEPS_MAX: usize = 4096;

/// Messages in a page of [`Retained::matching`].
const PAGE: usize = 1024;

/// Expired messages removed under one lock.
const EXPIRED_MAX: usize = 256;

/// The last retained message of each topic.
#[derive(Debug)]
pub struct Retained(RwLock<Shelf>);

/// How much may be retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages, which is topics.
    pub messages: usize,
    /// Bytes: packets, topics, and some for each message.
    pub bytes: usize,
}

/// A retained message.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its topic.
    pub topic: Arc<str>,
    /// The PUBLISH, shared by all who get it.
    pub message: Arc<Message>,
    /// When it was retained.
    pub received_at: Millis,
}

/// What became of a message that is to be retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is the first of its topic.
    Stored,
    /// It took the place of another.
    Replaced,
    /// It had no payload and removed the one before `[MQTT-3.3.1-6]`.
    Removed,
    /// It had no payload and there was nothing to remove.
    Absent,
    /// [`Limits::messages`] other topics have one: it is not retained.
    TooManyMessages,
    /// It would exceed [`Limits::bytes`]: it is not retained, and the one before is gone, since it is out of date.
    TooManyBytes,
}

/// Some of the retained messages, in the order of their topics.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Those that match.
    pub messages: Vec<Kept>,
    /// Where to go on; `None`: there are no more. A page may be empty and not the last.
    pub next: Option<Arc<str>>,
}

/// How much is retained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages.
    pub messages: usize,
    /// Bytes, as [`Limits::bytes`] counts them.
    pub bytes: usize,
}

#[derive(Debug)]
struct Shelf {
    limits: Limits,
    bytes: usize,
    /// In the order of their topics' bytes, which is what [`Walk`] walks through.
    topics: BTreeMap<Arc<str>, Value>,
    /// Those that expire, the first one first.
    deadlines: BTreeSet<(Millis, Arc<str>)>,
}

#[derive(Debug)]
struct Value {
    message: Arc<Message>,
    received_at: Millis,
}

// === impl Retained ===

impl Retained {
    /// Nothing retained yet.
    pub fn new(limits: Limits) -> Self {
        Self(RwLock::new(Shelf { limits, bytes: 0, topics: BTreeMap::new(), deadlines: BTreeSet::new() }))
    }

    /// Changes the limits; what is there stays, even if it is more.
    pub fn set_limits(&self, limits: Limits) {
        self.write().limits = limits;
    }

    /// Retains a message as that of `topic`, its valid topic name; one without payload removes what is retained.
    pub fn set(&self, topic: &str, message: Arc<Message>, now: Millis) -> Outcome {
        if message.layout().payload(message.frame()).is_empty() {
            return if self.remove(topic) { Outcome::Removed } else { Outcome::Absent };
        }
        self.write().put(topic, message, now)
    }

    /// Removes the message of a topic; whether there was one.
    pub fn remove(&self, topic: &str) -> bool {
        self.write().take(topic).is_some()
    }

    /// The message of a topic, unless it has expired.
    pub fn get(&self, topic: &str, now: Millis) -> Option<Kept> {
        let shelf = self.read();
        let (topic, value) = shelf.topics.get_key_value(topic)?;
        value.kept(topic, now)
    }

    /// All messages whose topic the filter matches and that have not expired, in the order of their topics.
    ///
    /// The lock is given up between pages; a caller that must not hold so many at once asks for one
    /// [`page`](Self::page) after the other.
    pub fn matching(&self, filter: &Filter, now: Millis) -> Vec<Kept> {
        let mut page = self.page(filter, None, now, PAGE);
        let mut all = std::mem::take(&mut page.messages);
        while let Some(after) = page.next {
            page = self.page(filter, Some(&after), now, PAGE);
            all.append(&mut page.messages);
        }
        all
    }

    /// At most `max` messages whose topic the filter matches, from behind `after` on: the `next` of the page before.
    /// Topics that come and go meanwhile do no harm.
    pub fn page(&self, filter: &Filter, after: Option<&str>, now: Millis, max: usize) -> Page {
        if filter.is_exact() {
            let found = if after.is_none() { self.get(filter.as_str(), now) } else { None };
            return Page { messages: found.into_iter().collect(), next: None };
        }
        let walk = Walk::new(filter);
        self.read().page(after, now, max, |topic, seek| walk.step(topic, seek))
    }

    /// At most `max` messages of all topics, also those with `$`, from behind `after` on.
    pub fn all(&self, after: Option<&str>, now: Millis, max: usize) -> Page {
        self.read().page(after, now, max, |_, _| Step::Match)
    }

    /// Removes messages that have expired, a bounded number of them; how many. Call it again while it removes some.
    pub fn expire(&self, now: Millis) -> usize {
        self.write().expire(now)
    }

    /// How much is retained; what has expired and not been removed yet counts.
    pub fn counts(&self) -> Counts {
        let shelf = self.read();
        Counts { messages: shelf.topics.len(), bytes: shelf.bytes }
    }

    fn read(&self) -> RwLockReadGuard<'_, Shelf> {
        self.0.read().expect("nobody panics while he changes what is retained")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Shelf> {
        self.0.write().expect("nobody panics while he changes what is retained")
    }
}

// === impl Shelf ===

impl Shelf {
    fn put(&mut self, topic: &str, message: Arc<Message>, now: Millis) -> Outcome {
        let cost = cost(topic, &message);
        let message = match self.update(topic, message, cost, now) {
            Ok(outcome) => return outcome,
            Err(message) => message,
        };
        let before = self.take(topic);
        while self.refusal(cost).is_some() && self.expire(now) > 0 {}
        if let Some(refusal) = self.refusal(cost) {
            return refusal;
        }
        let (topic, outcome) = match before {
            Some(topic) => (topic, Outcome::Replaced),
            None => (Arc::from(topic), Outcome::Stored),
        };
        if let Some(deadline) = message.expires_at() {
            self.deadlines.insert((deadline, Arc::clone(&topic)));
        }
        self.bytes += cost;
        self.topics.insert(topic, Value { message, received_at: now });
        outcome
    }

    /// The common case: the topic has a message, there is room, and no deadline is involved. Else gives the message back.
    fn update(
        &mut self,
        topic: &str,
        message: Arc<Message>,
        cost: usize,
        now: Millis,
    ) -> Result<Outcome, Arc<Message>> {
        let Some(value) = self.topics.get_mut(topic) else { return Err(message) };
        let bytes = self.bytes - self::cost(topic, &value.message) + cost;
        if bytes > self.limits.bytes || value.message.expires_at().or(message.expires_at()).is_some() {
            return Err(message);
        }
        self.bytes = bytes;
        *value = Value { message, received_at: now };
        Ok(Outcome::Replaced)
    }

    /// Why one more message of this cost cannot be retained.
    fn refusal(&self, cost: usize) -> Option<Outcome> {
        if self.topics.len() >= self.limits.messages {
            Some(Outcome::TooManyMessages)
        } else if cost > self.limits.bytes.saturating_sub(self.bytes) {
            Some(Outcome::TooManyBytes)
        } else {
            None
        }
    }

    /// Removes the message of a topic and gives back the topic's text.
    fn take(&mut self, topic: &str) -> Option<Arc<str>> {
        let (topic, value) = self.topics.remove_entry(topic)?;
        self.bytes -= cost(&topic, &value.message);
        if let Some(deadline) = value.message.expires_at() {
            self.deadlines.remove(&(deadline, Arc::clone(&topic)));
        }
        Some(topic)
    }

    fn expire(&mut self, now: Millis) -> usize {
        let expired = self.deadlines.iter().take(EXPIRED_MAX).take_while(|(deadline, _)| *deadline <= now);
        let topics: Vec<Arc<str>> = expired.map(|(_, topic)| Arc::clone(topic)).collect();
        topics.iter().filter(|topic| self.take(topic).is_some()).count()
    }

    fn page(&self, after: Option<&str>, now: Millis, max: usize, step: impl Fn(&str, &mut String) -> Step) -> Page {
        let (mut messages, mut steps) = (Vec::new(), 0);
        let (mut from, mut seek) = (String::new(), String::new());
        let mut first = after.map_or(Bound::Unbounded, Bound::Excluded);
        loop {
            let mut leap = false;
            for (topic, value) in self.topics.range::<str, _>((first, Bound::Unbounded)) {
                if steps == STEPS_MAX || messages.len() == max.max(1) {
                    return Page { messages, next: self.before(topic) };
                }
                steps += 1;
                match step(topic, &mut seek) {
                    Step::Match => messages.extend(value.kept(topic, now)),
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

    /// The topic before this one, behind which a page that has not looked at this one goes on.
    fn before(&self, topic: &str) -> Option<Arc<str>> {
        self.topics
            .range::<str, _>((Bound::Unbounded, Bound::Excluded(topic)))
            .next_back()
            .map(|(topic, _)| Arc::clone(topic))
    }
}

// === impl Value ===

impl Value {
    fn kept(&self, topic: &Arc<str>, now: Millis) -> Option<Kept> {
        let alive = !self.message.is_expired(now);
        alive.then(|| Kept {
            topic: Arc::clone(topic),
            message: Arc::clone(&self.message),
            received_at: self.received_at,
        })
    }
}

fn cost(topic: &str, message: &Message) -> usize {
    OVERHEAD + topic.len() + message.frame().len()
}
