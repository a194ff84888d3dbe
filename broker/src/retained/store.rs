//! The store of retained messages: one for all shards, behind a lock that is held for one page at a time.
//!
//! A subscriber must miss nothing and may see a message twice: who publishes sets the retained message *before* he looks
//! up who receives it, who subscribes is in the index *before* he asks what matches.
//!
//! All nodes of a cluster keep the same: each message has a stamp, and that with the later one wins, wherever and in
//! whatever order they come. A removal is a message without payload, with a stamp as any other; it leaves a tombstone, so
//! that an older message that comes behind it is known to be out of date. So does a message that expires. A tombstone is
//! forgotten after [`TOMBSTONE_AGE`], or when there are too many: a node that was away for longer brings back what was
//! removed meanwhile.

use super::digest::{BUCKETS, Digest};
use super::shelf::{Shelf, TOMBSTONE_AGE};
use super::walk::{Step, Walk};
use crate::clock::{Millis, Stamp};
use crate::message::Message;
use crate::topic::Filter;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Messages in a page of [`Retained::matching`].
const PAGE: usize = 1024;

/// Tombstones that a node of a cluster keeps at most, or as many as messages if that is less.
pub const TOMBSTONES_MAX: usize = 200_000;

/// The last retained message of each topic.
#[derive(Debug)]
pub struct Retained {
    shelf: RwLock<Shelf>,
    /// A pass of [`level`](super::level) is under way.
    pub(super) levelling: Arc<AtomicBool>,
}

/// How much may be retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages, which is topics.
    pub messages: usize,
    /// Bytes: packets, topics, and some for each message.
    pub bytes: usize,
    /// Tombstones; beyond it the oldest are forgotten. A node that is alone needs none.
    pub tombstones: usize,
}

/// A retained message.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its topic.
    pub topic: Arc<str>,
    /// The PUBLISH, shared by all who get it.
    pub message: Arc<Message>,
    /// When it was published, in the order of all nodes.
    pub stamp: Stamp,
    /// When it was retained here.
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
    /// This one, or a later message or removal of the topic, is here already: nothing changed.
    Stale,
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
        Self { shelf: RwLock::new(Shelf::new(limits)), levelling: Arc::default() }
    }

    /// Changes the limits; messages that are there stay, even if they are more.
    pub fn set_limits(&self, limits: Limits) {
        self.write().set_limits(limits);
    }

    /// Retains a message as that of `topic`, its valid topic name, unless a later one is here; one without payload removes
    /// what is retained.
    pub fn set(&self, topic: &str, message: Arc<Message>, stamp: Stamp, now: Millis) -> Outcome {
        if message.layout().payload(message.frame()).is_empty() {
            return self.remove(topic, stamp, now);
        }
        self.write().put(topic, message, stamp, now)
    }

    /// Removes the message of a topic, unless a later one is here: [`Outcome::Removed`], `Absent` or `Stale`.
    pub fn remove(&self, topic: &str, stamp: Stamp, now: Millis) -> Outcome {
        self.bury(topic, stamp, now + TOMBSTONE_AGE)
    }

    /// The same for a removal that happened some time ago: it is remembered until then.
    pub(super) fn bury(&self, topic: &str, stamp: Stamp, until: Millis) -> Outcome {
        self.write().bury(topic, stamp, until)
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

    /// Removes messages that have expired and tombstones that are old, a bounded number of them; how many. Call it again
    /// while it removes some.
    pub fn expire(&self, now: Millis) -> usize {
        self.write().expire(now)
    }

    /// How much is retained; what has expired and not been removed yet counts.
    pub fn counts(&self) -> Counts {
        self.read().counts()
    }

    /// All messages and tombstones as two numbers: equal on nodes that hold the same. A message has the same part in it
    /// before and after it expires, so nodes need not expire it at the same moment.
    pub fn digest(&self) -> Digest {
        self.read().sums().whole()
    }

    /// The same as a sum for each bucket of topics.
    pub fn buckets(&self) -> [u64; BUCKETS] {
        *self.read().sums().buckets()
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Shelf> {
        self.shelf.read().expect("nobody panics while he changes what is retained")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Shelf> {
        self.shelf.write().expect("nobody panics while he changes what is retained")
    }
}
