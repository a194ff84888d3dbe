//! Makes what is retained at two nodes equal: after a cut that outlasted an outbox, and when a node joins with nothing.
//!
//! A retained message goes to every other node as a live message, in order and through short cuts. Levelling is for what
//! is lost on that way all the same. It works by control messages that may be lost, repeated, reordered and delayed. Each
//! node tells the others, now and then, the [`Digest`](super::Digest) of what it has. A node whose own is another begins a
//! *pass*: it asks that other one for what it lacks itself, and the other one does the same in turn.
//!
//! 1. The sums of all 256 buckets of topics.
//! 2. For a bucket that differs and holds much here, the sums of its 256 cells.
//! 3. For what differs in that, it tells topics' hashes and stamps that it has, page by page, and gets the messages and
//!    tombstones that it lacks or has older ones of. Messages that are too large for a page come in pieces.
//!
//! Who answers keeps nothing in mind, so a request may be repeated. Who asks has a few requests under way, each answered
//! by a bounded payload: that bounds memory at both ends, and what a live message may have to wait behind.
//!
//! What is brought is retained and not delivered: subscribers get live messages from the outboxes, in order, and would get
//! these twice, or behind newer ones. So a subscriber at a node whose outbox has lost a message does not see that message;
//! who subscribes later does.

mod answer;
mod pass;
mod wire;

#[cfg(test)]
mod tests;

pub use wire::PREFIX;

use super::store::{Outcome, Retained};
use crate::clock::{Millis, Stamp};
use crate::message::Message;
use pass::{Pass, Scene};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wire::Payload;

/// How often a node tells another what it has.
const DIGEST_EVERY: Millis = Millis(2_000);

/// The shortest pause between passes.
const PAUSE_MIN: Millis = Millis(10_000);

/// The longest pause between passes that bring nothing, since what differs is on its way or can't be taken; but for those
/// that cost much.
const PAUSE_MAX: Millis = Millis(300_000);

/// What passes that bring nothing may cost, in bytes for each millisecond until the next: if two nodes can't become equal,
/// as one has no room for what the other has, they do not spend more on trying.
const FRUITLESS_BYTES: u64 = 8;

/// The longest pause after all.
const FRUITLESS_PAUSE_MAX: Millis = Millis(3_600_000);

/// What came to the other node later than so long ago is on its way here by itself, and is not asked for; but in the
/// first pass of a connection it is, for the outbox may be younger.
const ON_ITS_WAY: Millis = Millis(10_000);

/// Digests in sequence that must differ before a pass begins: with one, some message is on its way all the time.
const DIFFERENT_MIN: u32 = 2;

/// What levelling does to the world. None of it may call back.
pub trait Outlet {
    /// Sends a control message of at most 60 KiB to the other node; false if that can't be. It may be lost in any case.
    fn send(&mut self, payload: &[u8]) -> bool;

    /// Retains what the other node had, by [`Retained::bring`], takes note of its stamp, makes it durable, and delivers
    /// it to nobody.
    fn apply(&mut self, brought: &Brought<'_>) -> Outcome;
}

/// Something that the other node had and this one lacked.
#[derive(Clone, Debug)]
pub struct Brought<'a> {
    /// A valid topic name.
    pub topic: &'a str,
    /// When it was published or removed.
    pub stamp: Stamp,
    /// What it is.
    pub what: What,
}

/// A message or a tombstone.
#[derive(Clone, Debug)]
pub enum What {
    /// The retained message of the topic.
    Message(Arc<Message>),
    /// It was removed, or has expired; this is remembered for so long.
    Gone {
        /// At most [`super::TOMBSTONE_AGE`].
        left: Millis,
    },
}

/// Levelling with one other node.
#[derive(Debug)]
pub struct Leveller {
    is_level: bool,
    /// Nothing was compared yet on this connection.
    is_fresh: bool,
    /// Digests in sequence that differed from ours.
    different: u32,
    /// When to tell what we have; `None`: now.
    tell_at: Option<Millis>,
    /// No pass begins before.
    due: Millis,
    pause: Millis,
    pass: Option<Pass>,
    ids: u64,
    counts: Counts,
}

/// What levelling with one other node has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passes that were begun.
    pub passes: u64,
    /// Passes that were given up for want of answers, or with the connection.
    pub failed: u64,
    /// Messages and tombstones that were brought and new.
    pub brought: u64,
    /// Messages for which the limits left no room: while they do, the nodes differ.
    pub refused: u64,
    /// Payloads and records that could not be read.
    pub malformed: u64,
}

// === impl Leveller ===

impl Default for Leveller {
    fn default() -> Self {
        Self::new()
    }
}

impl Leveller {
    /// Levelling with a node of which nothing is known.
    pub const fn new() -> Self {
        Self {
            is_level: false,
            is_fresh: true,
            different: 0,
            tell_at: None,
            due: Millis(0),
            pause: PAUSE_MIN,
            pass: None,
            ids: 0,
            counts: Counts { passes: 0, failed: 0, brought: 0, refused: 0, malformed: 0 },
        }
    }

    /// A control message of the other node came.
    pub fn received(&mut self, out: &mut impl Outlet, payload: &[u8], retained: &Retained, now: Millis) {
        match Payload::decode(payload) {
            Ok(Payload::Digest(theirs)) => {
                if theirs == retained.digest() {
                    self.is_level = true;
                    self.is_fresh = false;
                    self.different = 0;
                    self.pause = PAUSE_MIN;
                } else {
                    self.different = self.different.saturating_add(1);
                    self.begin(out, retained, now);
                }
            }
            Ok(Payload::Ask(id, ask)) => {
                // If it does not leave, they ask again.
                out.send(&answer::answer(id, &ask, retained, now));
            }
            Ok(Payload::Answer(id, answer)) => {
                let Some(pass) = &mut self.pass else { return };
                pass.bytes += payload.len() as u64;
                pass.answered(id, answer, &mut Scene { out, retained, ids: &mut self.ids, now });
                if pass.is_done() {
                    self.end(true, now);
                }
            }
            Err(wire::Malformed) => self.counts.malformed += 1,
        }
    }

    /// What time brings; to be called about once in a second while the other node is connected. `is_behind`: messages
    /// for it wait in the outbox for longer than ten seconds, so it would be useless to compare now.
    pub fn tick(&mut self, out: &mut impl Outlet, retained: &Retained, is_behind: bool, now: Millis) {
        // While much is brought here, the others wait until it is all: then they need not ask for their own.
        let is_behind = is_behind || retained.levelling.load(Ordering::Acquire);
        if !is_behind && self.tell_at.is_none_or(|at| at <= now) {
            out.send(&wire::digest(retained.digest()));
            self.tell_at = Some(now + DIGEST_EVERY);
        }
        let Some(pass) = &mut self.pass else { return self.begin(out, retained, now) };
        if !pass.repeat(&mut Scene { out, retained, ids: &mut self.ids, now }) {
            self.end(false, now);
        }
    }

    /// The connection to the other node ended. What was brought stays; the next pass brings what is left.
    pub fn disconnected(&mut self, now: Millis) {
        if self.pass.is_some() {
            self.end(false, now);
        }
        self.is_fresh = true;
        self.different = 0;
        self.tell_at = None;
        self.due = now;
        self.pause = PAUSE_MIN;
    }

    /// This node had, once in its life, all that the other one had.
    pub fn is_level(&self) -> bool {
        self.is_level
    }

    /// What it has done.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn begin(&mut self, out: &mut impl Outlet, retained: &Retained, now: Millis) {
        let enough = if self.is_fresh { 1 } else { DIFFERENT_MIN };
        if self.pass.is_some() || self.different < enough || now < self.due {
            return;
        }
        let age_min = if self.is_fresh { Millis(0) } else { ON_ITS_WAY };
        // If a pass with another node is under way, this one begins with a later digest or tick.
        let Some(mut pass) = Pass::begin(retained, age_min) else { return };
        self.counts.passes += 1;
        pass.ask(&mut Scene { out, retained, ids: &mut self.ids, now });
        self.pass = Some(pass);
    }

    /// A pass ended: to its end, or given up.
    fn end(&mut self, is_done: bool, now: Millis) {
        let Some(pass) = self.pass.take() else { return };
        if is_done {
            self.is_level = true;
            self.is_fresh = false;
        } else {
            self.counts.failed += 1;
        }
        if is_done && pass.brought > 0 {
            self.pause = PAUSE_MIN;
            self.due = now + self.pause;
        } else {
            self.pause = Millis(self.pause.0 * 2).min(PAUSE_MAX);
            let worth = Millis(pass.bytes / FRUITLESS_BYTES).min(FRUITLESS_PAUSE_MAX);
            self.due = now + self.pause.max(worth);
        }
        self.different = 0;
        self.counts.brought += pass.brought;
        self.counts.refused += pass.refused;
        self.counts.malformed += pass.malformed;
    }
}

// === impl Retained ===

impl Retained {
    /// Retains what another node had, unless a later one is here.
    pub fn bring(&self, brought: &Brought<'_>, now: Millis) -> Outcome {
        match &brought.what {
            What::Message(message) => self.set(brought.topic, Arc::clone(message), brought.stamp, now),
            What::Gone { left } => {
                let until = now + (*left).min(super::TOMBSTONE_AGE);
                self.bury(brought.topic, brought.stamp, until)
            }
        }
    }
}
