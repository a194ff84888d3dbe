//! The store of retained messages: one for all shards, behind a lock that is held for one page at a time.
//!
//! A subscriber must miss nothing and may see a message twice: who publishes sets the retained message *before* he looks
//! up who receives it, who subscribes is in the index *before* he asks what matches.

use super::shelf::Shelf;
use super::walk::{Step, Walk};
use crate::clock::Millis;
use crate::message::Message;
use crate::topic::Filter;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Messages in a page of [`Retained::matching`].
const PAGE: usize = 1024;

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
    /// It would exceed [`Limits::bytes`]: it is not retained, and the one before it is gone, being out of date.
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

// === impl Retained ===

impl Retained {
    /// Nothing retained yet.
    pub fn new(limits: Limits) -> Self {
        Self(RwLock::new(Shelf::new(limits)))
    }

    /// Changes the limits; what is there stays, even if it is more.
    pub fn set_limits(&self, limits: Limits) {
        self.write().set_limits(limits);
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
        self.write().remove(topic)
    }

    /// The message of a topic, unless it has expired.
    pub fn get(&self, topic: &str, now: Millis) -> Option<Kept> {
        self.read().get(topic, now)
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
        self.read().counts()
    }

    fn read(&self) -> RwLockReadGuard<'_, Shelf> {
        self.0.read().expect("nobody panics while he changes what is retained")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Shelf> {
        self.0.write().expect("nobody panics while he changes what is retained")
    }
}
