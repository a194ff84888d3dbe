//! One pass through all in which another node differs: it is asked for what is lacking here, piece by piece.

use super::super::difference::{Entry, Wanted};
use super::super::digest;
use super::super::store::{Outcome, Retained};
use super::wire::{self, Answer, Ask, Piece, Record, Records};
use super::{Brought, Outlet, What};
use crate::clock::{Millis, Stamp};
use crate::codec::{Version, publish};
use crate::message::Message;
use crate::topic;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Requests that are not answered yet. With the size of a page it bounds what is on its way, and so how long a live
/// message may have to wait behind it.
pub(super) const WINDOW: usize = 4;

/// A bucket in which more entries are here is looked at cell by cell, before they are told one by one.
const CELLS_FROM: usize = 256;

/// Buckets that are asked about at one time, if there is little in them here.
const RUN_MAX: u8 = 32;

/// Large messages that were told of and not fetched yet, beyond which nothing else is asked for.
const LARGE_MAX: usize = 256;

/// A request that was not answered for so long is sent again, the next time after twice as long.
const ANSWER_TIMEOUT: Millis = Millis(2_000);

/// The longest of these.
const ANSWER_TIMEOUT_MAX: Millis = Millis(16_000);

/// How often a request is sent again, before the pass is given up.
const REPEATS_MAX: u32 = 6;

/// Levels of a topic; who published it was held to the limit of his node.
const LEVELS_MAX: u16 = u16::MAX;

/// A pass under way.
#[derive(Debug)]
pub(super) struct Pass {
    _turn: Turn,
    age_min: Millis,
    /// Buckets in which there may be something, not looked into yet, in order; `None` until the other node told its sums.
    buckets: Option<VecDeque<u8>>,
    /// Hashes whose topics are to be asked for, both ends included.
    ranges: VecDeque<(u64, u64)>,
    large: VecDeque<Task>,
    /// What is here of the large message that is being fetched.
    piece: Vec<u8>,
    waiting: Vec<Waiting>,
    /// Something was refused for want of room.
    is_full: bool,
    /// Bytes of requests and answers.
    pub bytes: u64,
    /// Messages and tombstones that were new here.
    pub brought: u64,
    /// Messages for which there was no room.
    pub refused: u64,
    /// Records that could not be read.
    pub malformed: u64,
}

/// The one pass that a node may make at a time, so that those with several others neither bring everything twice nor
/// take memory for each of them.
#[derive(Debug)]
struct Turn(Arc<AtomicBool>);

/// A request that is not answered yet.
#[derive(Debug)]
struct Waiting {
    id: u64,
    task: Task,
    since: Millis,
    repeats: u32,
}

#[derive(Clone, Debug)]
enum Task {
    Buckets,
    Cells(u8),
    Difference(u64, u64),
    Large { entry: Entry, total: u32 },
}

/// The surroundings of a pass while it acts.
pub(super) struct Scene<'a, O> {
    pub out: &'a mut O,
    pub retained: &'a Retained,
    /// The number of the last request.
    pub ids: &'a mut u64,
    pub now: Millis,
}

// === impl Pass ===

impl Pass {
    /// A pass for all that is older than this; none while another is under way.
    pub fn begin(retained: &Retained, age_min: Millis) -> Option<Self> {
        let turn = Turn::take(&retained.levelling)?;
        Some(Self {
            _turn: turn,
            age_min,
            buckets: None,
            ranges: VecDeque::new(),
            large: VecDeque::new(),
            piece: Vec::new(),
            waiting: Vec::new(),
            is_full: false,
            bytes: 0,
            brought: 0,
            refused: 0,
            malformed: 0,
        })
    }

    /// Asks for as much as may be on its way.
    pub fn ask(&mut self, scene: &mut Scene<'_, impl Outlet>) {
        while self.waiting.len() < WINDOW {
            let Some(task) = self.next(scene.retained) else { return };
            self.send(task, scene);
        }
    }

    /// Nothing is left to ask for.
    pub fn is_done(&self) -> bool {
        self.buckets.as_ref().is_some_and(VecDeque::is_empty)
            && self.ranges.is_empty()
            && self.large.is_empty()
            && self.waiting.is_empty()
    }

    /// Asks again for what was not answered in time. False: it was asked for often enough.
    pub fn repeat(&mut self, scene: &mut Scene<'_, impl Outlet>) -> bool {
        for at in 0..self.waiting.len() {
            let Waiting { id, task, since, repeats } = &self.waiting[at];
            let timeout = Millis(ANSWER_TIMEOUT.0 << repeats).min(ANSWER_TIMEOUT_MAX);
            if scene.now.since(*since) < timeout {
                continue;
            }
            if *repeats == REPEATS_MAX {
                return false;
            }
            let request = wire::ask(*id, &self.request(task, scene.retained));
            scene.out.send(&request);
            let waiting = &mut self.waiting[at];
            waiting.repeats += 1;
            waiting.since = scene.now;
        }
        true
    }

    /// Takes an answer. One that nobody waits for comes late or twice, and is nothing.
    pub fn answered(&mut self, id: u64, answer: Answer<'_>, scene: &mut Scene<'_, impl Outlet>) {
        let Some(at) = self.waiting.iter().position(|waiting| waiting.id == id) else { return };
        match (self.waiting[at].task.clone(), answer) {
            (Task::Buckets, Answer::Buckets(sums)) => {
                self.waiting.swap_remove(at);
                let ours = scene.retained.buckets();
                let is_more = |bucket: &u8| has_more(sums[usize::from(*bucket)], ours[usize::from(*bucket)]);
                self.buckets = Some((0..=u8::MAX).filter(is_more).collect());
            }
            (Task::Cells(asked), Answer::Cells { bucket, sums }) if asked == bucket => {
                self.waiting.swap_remove(at);
                self.look_into(bucket, sums.as_deref(), scene.retained);
            }
            (Task::Difference(from, to), Answer::Difference { from: first, to: last, next, records })
                if first == from
                    && (from..=to).contains(&last)
                    && next.is_none_or(|next| (from..=last).contains(&next)) =>
            {
                self.waiting.swap_remove(at);
                let progress = self.take(records, scene);
                // Of topics with one hash a page may hold a part. If nothing in it is new, more of it won't come.
                let rest = match next {
                    Some(next) if next > from || progress => Some(next),
                    Some(next) => next.checked_add(1),
                    None => last.checked_add(1),
                };
                self.ranges.extend(rest.filter(|rest| *rest <= to).map(|rest| (rest, to)));
            }
            (Task::Large { entry, total }, Answer::Piece(piece)) if piece.entry == entry => {
                if piece.total == 0 || self.is_next_piece(total, &piece) {
                    self.waiting.swap_remove(at);
                    self.take_piece(entry, total, &piece, scene);
                }
            }
            (Task::Buckets | Task::Cells(_) | Task::Difference(..) | Task::Large { .. }, _) => {}
        }
        self.ask(scene);
    }

    /// What to ask for next.
    fn next(&mut self, retained: &Retained) -> Option<Task> {
        if self.buckets.is_none() {
            return self.waiting.is_empty().then_some(Task::Buckets);
        }
        let fetching = self.waiting.iter().any(|waiting| matches!(waiting.task, Task::Large { .. }));
        if !fetching && let Some(large) = self.large.pop_front() {
            return Some(large);
        }
        if self.large.len() >= LARGE_MAX {
            return None;
        }
        if let Some((from, to)) = self.ranges.pop_front() {
            return Some(Task::Difference(from, to));
        }
        let buckets = self.buckets.as_mut()?;
        let first = buckets.pop_front()?;
        let mut entries = count(retained, first);
        if entries > CELLS_FROM {
            return Some(Task::Cells(first));
        }
        let mut last = first;
        while let Some(bucket) = buckets.front().copied().filter(|next| *next == last + 1 && *next - first < RUN_MAX) {
            entries += count(retained, bucket);
            if entries > CELLS_FROM {
                break;
            }
            buckets.pop_front();
            last = bucket;
        }
        let (from, to) = digest::hashes_of_buckets(usize::from(first), usize::from(last));
        Some(Task::Difference(from, to))
    }

    /// Cells of a bucket that differ, those that follow each other as one.
    fn look_into(&mut self, bucket: u8, theirs: Option<&[u64]>, retained: &Retained) {
        let bucket = usize::from(bucket);
        let ours = retained.read().cells(bucket);
        let (Some(ours), Some(theirs)) = (ours, theirs) else {
            self.ranges.push_back(digest::hashes_of_buckets(bucket, bucket));
            return;
        };
        let mut first = None;
        for cell in 0..=digest::CELLS {
            let is_more = cell < digest::CELLS && has_more(theirs[cell], ours[cell]);
            match (is_more, first) {
                (true, None) => first = Some(cell),
                (false, Some(start)) => {
                    self.ranges.push_back(digest::hashes_of_cells(bucket, start, cell - 1));
                    first = None;
                }
                (true, Some(_)) | (false, None) => {}
            }
        }
    }

    fn send(&mut self, task: Task, scene: &mut Scene<'_, impl Outlet>) {
        *scene.ids += 1;
        let request = wire::ask(*scene.ids, &self.request(&task, scene.retained));
        self.bytes += request.len() as u64;
        // What can't be sent is as lost as what does not arrive.
        scene.out.send(&request);
        self.waiting.push(Waiting { id: *scene.ids, task, since: scene.now, repeats: 0 });
    }

    fn request(&self, task: &Task, retained: &Retained) -> Ask {
        match task {
            Task::Buckets => Ask::Buckets,
            Task::Cells(bucket) => Ask::Cells { bucket: *bucket },
            Task::Difference(from, to) => {
                let shelf = retained.read();
                let (entries, to) = shelf.entries(*from, *to, wire::ENTRIES_MAX);
                Ask::Difference(Wanted {
                    from: *from,
                    to,
                    known_only: self.is_full || !shelf.has_room(),
                    oldest_tombstone: shelf.oldest_tombstone(),
                    age_min: self.age_min,
                    entries,
                })
            }
            Task::Large { entry, total: _ } => Ask::Piece { entry: *entry, offset: wire::len_of(&self.piece) },
        }
    }

    /// Takes a page; whether anything in it was new.
    fn take(&mut self, mut records: Records<'_>, scene: &mut Scene<'_, impl Outlet>) -> bool {
        let before = self.brought;
        while let Some(record) = records.next() {
            match record {
                Ok(Record::Message { stamp, left, version, frame }) => {
                    self.take_message(stamp, left, version, frame, scene);
                }
                Ok(Record::Gone { stamp, left, topic }) => {
                    if topic::check_name(topic.as_bytes(), LEVELS_MAX).is_ok() {
                        self.apply(&Brought { topic, stamp, what: What::Gone { left } }, scene);
                    } else {
                        self.malformed += 1;
                    }
                }
                Ok(Record::Large { entry, total }) if total as usize > scene.retained.read().limits().bytes => {
                    tracing::debug!(?entry, total, "A retained message is larger than all that may be retained here.");
                    self.refused += 1;
                }
                Ok(Record::Large { entry, total }) => self.large.push_back(Task::Large { entry, total }),
                Err(wire::Malformed) => {
                    self.malformed += 1;
                    break;
                }
            }
        }
        self.brought > before
    }

    fn is_next_piece(&self, total: u32, piece: &Piece<'_>) -> bool {
        let behind = self.piece.len() + piece.bytes.len();
        piece.total == total
            && piece.offset == wire::len_of(&self.piece)
            && !piece.bytes.is_empty()
            && behind <= total as usize
    }

    fn take_piece(&mut self, entry: Entry, total: u32, piece: &Piece<'_>, scene: &mut Scene<'_, impl Outlet>) {
        self.piece.extend_from_slice(piece.bytes);
        if piece.total > 0 && self.piece.len() < total as usize {
            self.send(Task::Large { entry, total }, scene);
            return;
        }
        let frame = std::mem::take(&mut self.piece);
        // It may be gone over there since it was told of.
        if piece.total > 0 {
            self.take_message(entry.stamp, piece.left, piece.version, &frame, scene);
        }
    }

    fn take_message(
        &mut self,
        stamp: Stamp,
        left: Millis,
        version: Version,
        frame: &[u8],
        scene: &mut Scene<'_, impl Outlet>,
    ) {
        let layout = publish::layout(frame, version).ok().filter(|layout| layout.alias() == 0);
        let parts = layout.and_then(|layout| Some((layout, topic::check_name(layout.topic(frame), LEVELS_MAX).ok()?)));
        let Some((layout, topic)) = parts.filter(|(layout, _)| layout.payload_len() > 0) else {
            self.malformed += 1;
            return;
        };
        let expires_at = (left != Millis::NEVER).then(|| scene.now + left);
        let message = Arc::new(Message::new(frame, layout, expires_at));
        self.apply(&Brought { topic, stamp, what: What::Message(message) }, scene);
    }

    fn apply(&mut self, brought: &Brought<'_>, scene: &mut Scene<'_, impl Outlet>) {
        match scene.out.apply(brought) {
            Outcome::Stored | Outcome::Replaced | Outcome::Removed | Outcome::Absent => self.brought += 1,
            Outcome::TooManyMessages | Outcome::TooManyBytes => {
                self.refused += 1;
                self.is_full = true;
            }
            Outcome::Stale => {}
        }
    }
}

// === impl Turn ===

impl Turn {
    fn take(taken: &Arc<AtomicBool>) -> Option<Self> {
        let free = taken.compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire).is_ok();
        free.then(|| Self(Arc::clone(taken)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Whether there may be something to get, by the sums of both. Where the other node has nothing there is not.
fn has_more(theirs: u64, ours: u64) -> bool {
    theirs != ours && theirs != 0
}

/// Entries of a bucket here, as far as it matters how many they are.
fn count(retained: &Retained, bucket: u8) -> usize {
    let (from, to) = digest::hashes_of_buckets(usize::from(bucket), usize::from(bucket));
    retained.read().by_hash.range((from, 0)..=(to, u32::MAX)).take(CELLS_FROM + 1).count()
}
