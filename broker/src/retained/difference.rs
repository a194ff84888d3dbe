//! What another node lacks of what is retained here, piece by piece in the order of the topics' hashes.

use super::digest::{self, CELLS};
use super::shelf::{Shelf, Slot, State, TOMBSTONE_AGE};
use crate::clock::{Millis, Stamp};
use crate::message::Message;
use std::sync::Arc;

/// Entries looked at for one answer.
const STEPS_MAX: usize = 4096;

/// Entries of a bucket beyond which its cells are not summed up.
const CELLS_FROM_MAX: usize = 65_536;

/// A tombstone that is forgotten within this time is not given to a node that has nothing of its topic: so the last nodes
/// that remember it do not remind each other for ever.
const TOMBSTONE_LEFT_MIN: Millis = Millis(60_000);

/// A topic with a stamp: what nodes tell each other to find where they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub hash: u64,
    pub stamp: Stamp,
}

/// What a node wants of the topics within some hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Both ends are included.
    pub from: u64,
    pub to: u64,
    /// It is full: messages of topics that it has nothing of are of no use to it.
    pub known_only: bool,
    /// It would not keep older tombstones.
    pub oldest_tombstone: Stamp,
    /// What came later than so long ago is on its way to it.
    pub age_min: Millis,
    /// All that it has there, in order.
    pub entries: Vec<Entry>,
}

/// A message or tombstone that the other node lacks, or has an older one of.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub entry: Entry,
    pub topic: Arc<str>,
    pub state: ItemState,
}

/// What there is of it.
#[derive(Clone, Debug)]
pub(super) enum ItemState {
    Message(Arc<Message>),
    /// A tombstone that is remembered for so long.
    Gone {
        left: Millis,
    },
}

/// Some of what the other node lacks.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub items: Vec<Item>,
    /// The hash to go on from; `None`: this is all.
    pub next: Option<u64>,
}

// === impl Shelf ===

impl Shelf {
    /// At most `max` entries within these hashes, in order, and the hash up to which they are all there are. Of more than
    /// `max` topics with one hash some are left out.
    pub fn entries(&self, from: u64, to: u64, max: usize) -> (Vec<Entry>, u64) {
        let mut found = self.by_hash.range((from, 0)..=(to, u32::MAX));
        let entry = |(hash, slot): &(u64, u32)| Entry { hash: *hash, stamp: self.slots[*slot as usize].stamp };
        let mut entries: Vec<Entry> = found.by_ref().take(max).map(entry).collect();
        let mut end = to;
        if let Some((next, _)) = found.next() {
            // A hash is listed with all its topics or not at all, unless these alone are too many.
            let whole = entries.partition_point(|entry| entry.hash < *next);
            if whole > 0 {
                entries.truncate(whole);
                end = next - 1;
            } else {
                end = *next;
            }
        }
        entries.sort_unstable();
        (entries, end)
    }

    /// The sums of a bucket's cells; `None` if it holds too much to add up.
    pub fn cells(&self, bucket: usize) -> Option<[u64; CELLS]> {
        let (from, to) = digest::hashes_of_buckets(bucket, bucket);
        let mut sums = [0_u64; CELLS];
        for (steps, (hash, slot)) in self.by_hash.range((from, 0)..=(to, u32::MAX)).enumerate() {
            if steps == CELLS_FROM_MAX {
                return None;
            }
            let sum = &mut sums[digest::cell_of(*hash)];
            *sum = sum.wrapping_add(digest::hash_of_entry(*hash, self.slots[*slot as usize].stamp));
        }
        Some(sums)
    }

    /// What a node lacks: items of about `room` bytes together, at least one if there is any, as `size` tells.
    pub fn difference(&self, wanted: &Wanted, room: usize, size: impl Fn(&Item) -> usize, now: Millis) -> Difference {
        let mut theirs = wanted.entries.as_slice();
        let (mut items, mut steps, mut bytes) = (Vec::new(), 0, 0);
        let mut from = wanted.from;
        while let Some(hash) = self.by_hash.range((from, 0)..=(wanted.to, u32::MAX)).next().map(|(hash, _)| *hash) {
            if steps >= STEPS_MAX {
                return Difference { items, next: Some(hash) };
            }
            theirs = &theirs[theirs.partition_point(|entry| entry.hash < hash)..];
            let (same, behind) = theirs.split_at(theirs.partition_point(|entry| entry.hash == hash));
            theirs = behind;
            let ours = self.by_hash.range((hash, 0)..=(hash, u32::MAX)).take(STEPS_MAX);
            let ours: Vec<&Slot> = ours.map(|(_, slot)| &self.slots[*slot as usize]).collect();
            steps += ours.len();
            for item in self.lacking(hash, &ours, same, wanted, now) {
                let more = size(&item);
                if bytes > 0 && bytes + more > room {
                    return Difference { items, next: Some(hash) };
                }
                bytes += more;
                items.push(item);
            }
            match hash.checked_add(1) {
                Some(next) if next <= wanted.to => from = next,
                Some(_) | None => break,
            }
        }
        Difference { items, next: None }
    }

    /// The message of an entry.
    pub fn message_of(&self, entry: Entry, now: Millis) -> Option<Arc<Message>> {
        let same = self.by_hash.range((entry.hash, 0)..=(entry.hash, u32::MAX)).take(STEPS_MAX);
        let slot = same.map(|(_, slot)| &self.slots[*slot as usize]).find(|slot| slot.stamp == entry.stamp)?;
        match &slot.state {
            State::Kept { message, received_at: _ } => (!message.is_expired(now)).then(|| Arc::clone(message)),
            State::Gone { until: _ } => None,
        }
    }

    /// What the other node lacks of the topics with one hash, which is one topic but for collisions.
    fn lacking(&self, hash: u64, ours: &[&Slot], theirs: &[Entry], wanted: &Wanted, now: Millis) -> Vec<Item> {
        let is_theirs = |slot: &Slot| theirs.binary_search(&Entry { hash, stamp: slot.stamp }).is_ok();
        let lacking: Vec<&Slot> = ours.iter().copied().filter(|slot| !is_theirs(slot)).collect();
        if lacking.is_empty() {
            return Vec::new();
        }
        let mut rivals = theirs.iter().filter(|entry| !ours.iter().any(|slot| slot.stamp == entry.stamp));
        let rival = rivals.next();
        // What differs is one and the same topic, unless there is more than one on either side; then all is sent.
        if let ([slot], Some(rival), None) = (lacking.as_slice(), rival, rivals.next())
            && rival.stamp > slot.stamp
        {
            return Vec::new();
        }
        let known = rival.is_some();
        lacking.into_iter().filter_map(|slot| item(hash, slot, known, wanted, now)).collect()
    }
}

/// What is sent of a slot; `known`: the other node has something else of its topic.
fn item(hash: u64, slot: &Slot, known: bool, wanted: &Wanted, now: Millis) -> Option<Item> {
    let (age, state) = match &slot.state {
        State::Kept { message, received_at } if !message.is_expired(now) => {
            if wanted.known_only && !known {
                return None;
            }
            (now.since(*received_at), ItemState::Message(Arc::clone(message)))
        }
        State::Kept { message, received_at: _ } => gone(message.expires_at()? + TOMBSTONE_AGE, now),
        State::Gone { until } => gone(*until, now),
    };
    if let ItemState::Gone { left } = &state
        && !known
        && (*left < TOMBSTONE_LEFT_MIN || slot.stamp < wanted.oldest_tombstone)
    {
        return None;
    }
    let entry = Entry { hash, stamp: slot.stamp };
    (age >= wanted.age_min).then(|| Item { entry, topic: Arc::clone(&slot.topic), state })
}

/// A tombstone: how old it is, and how long it is still remembered.
fn gone(until: Millis, now: Millis) -> (Millis, ItemState) {
    let left = until.since(now);
    (TOMBSTONE_AGE.since(left), ItemState::Gone { left })
}
