//! The sending end of a lane: an ordered stream that the other side takes once, whatever connections come and go.

use crate::codec::Qos;

use super::Now;
use super::batch::BATCH_MAX;
use super::chunk::{Chunk, message_len};
use super::held::{HeldChunk, HeldChunks};
use super::marks::{Mark, Marks};
use super::outlet::Forward;
use super::record;
use super::spool::Spool;
use crate::message::Account;

/// The sending end of one lane.
#[derive(Clone, Debug)]
pub struct LaneOut<S> {
    number: u8,
    /// The life of this lane: another one whenever its spool begins anew; 0 until it has a name.
    epoch: u64,
    /// Grows until it is full or can be sent.
    pub(super) open: Chunk,
    /// Marks that come before the next message.
    pub(super) marks: Marks,
    /// All marks that were ever put, for a receiver that forgot them.
    pub(super) marked: Marks,
    spool: S,
    /// Place of the last sealed chunk.
    sealed: u64,
    /// All up to here is durable and may be sent.
    durable: u64,
    /// All up to here was taken by the other side.
    acknowledged: u64,
    /// All up to here was sent on the connection in use.
    sent: u64,
    /// What the other side of the connection in use is known to have taken.
    floor: u64,
    /// A connection is in use.
    in_use: bool,
    /// Bytes of a chunk beyond which no second record is put in.
    chunk_max: usize,
    /// Buffers of chunks that are gone.
    spare: Vec<Vec<u8>>,
    /// What the other side has taken and members of shared subscriptions there have not acknowledged.
    held: HeldChunks,
}

/// A chunk to be sent.
pub struct Sending<'a> {
    /// Its place.
    pub sequence: u64,
    /// The payload.
    pub payload: &'a [u8],
}

/// A full spool holds at least so many chunks.
const DROPPABLE: u64 = 16;

/// Buffers kept for reuse, and the largest that is kept.
const SPARE_MAX: usize = 4;
const SPARE_BYTES_MAX: usize = 256 * 1024;

// === impl LaneOut ===

impl<S: Spool> LaneOut<S> {
    /// A lane with an empty spool, whose life has no name yet.
    pub fn new(number: u8, spool: S) -> Self {
        Self {
            number,
            epoch: 0,
            open: Chunk::new(number, Vec::new()),
            marks: Marks::default(),
            marked: Marks::default(),
            spool,
            sealed: 0,
            durable: 0,
            acknowledged: 0,
            sent: 0,
            floor: 0,
            in_use: false,
            chunk_max: BATCH_MAX,
            spare: Vec::new(),
            held: HeldChunks::default(),
        }
    }

    /// The spool may hold so many bytes: chunks are small enough that dropping one leaves most of them.
    pub fn set_bound(&mut self, bytes: u64) {
        self.chunk_max = usize::try_from(bytes / DROPPABLE).unwrap_or(usize::MAX).min(BATCH_MAX);
    }

    /// Appends a message.
    pub fn message(&mut self, message: &Forward<'_>, qos: Qos, now: Now) {
        self.put_marks(now);
        self.make_room(message_len(message));
        self.open.push_message(message, qos, now);
    }

    /// What follows from this shard is routed by this version at least. The mark travels before the next message, or
    /// alone. One that was put already is nothing new.
    pub fn mark(&mut self, shard: u8, mark: &Mark) {
        if self.marked.get(shard, &mark.cluster, &mark.node) != mark.version {
            self.marks.put(shard, mark);
            self.marked.put(shard, mark);
        }
    }

    /// Appends a record of at most this length that `write` writes.
    pub fn record(&mut self, len: usize, now: Now, write: impl FnOnce(&mut Vec<u8>)) {
        self.make_room(len);
        self.open.push_record(now, write);
    }

    /// Closes the open chunk, if anything is in it: it may then become durable, and be sent.
    pub fn seal(&mut self, now: Now) {
        self.put_marks(now);
        self.seal_open();
    }

    /// All that was sealed up to this place is durable.
    pub fn made_durable(&mut self, place: u64) {
        self.durable = self.durable.max(place);
    }

    /// The lane goes on over a connection whose other side has taken all up to here.
    pub fn begin(&mut self, taken: u64, released: impl FnMut(u32)) {
        let taken = taken.min(self.sealed);
        if taken < self.acknowledged {
            self.marks = self.marked.clone();
        }
        self.release(taken, released);
        self.floor = taken;
        self.sent = self.acknowledged;
        self.in_use = true;
    }

    /// The connection in use is gone.
    pub fn pause(&mut self) {
        self.in_use = false;
    }

    /// The next chunk that may be sent, stamped; it counts as sent.
    pub fn send(&mut self, now: Now) -> Option<Sending<'_>> {
        let chunk = self.spool.after(self.sent)?;
        let sequence = chunk.sequence();
        if sequence > self.durable {
            return None;
        }
        let previous = self.spool.before(sequence).unwrap_or(self.acknowledged.min(self.floor));
        self.sent = sequence;
        let payload = self.spool.after(sequence - 1)?.stamp(previous, now);
        Some(Sending { sequence, payload })
    }

    /// The length of what [`send`](Self::send) would give next.
    pub fn next_len(&mut self) -> Option<usize> {
        let durable = self.durable;
        self.spool.after(self.sent).filter(|chunk| chunk.sequence() <= durable).map(|chunk| chunk.len())
    }

    /// The other side took all up to this place.
    pub fn acknowledge(&mut self, place: u64, on_connection_in_use: bool, released: impl FnMut(u32)) {
        self.release(place, released);
        if on_connection_in_use {
            self.floor = self.floor.max(place.min(self.sealed));
        }
    }

    /// Drops the oldest messages that are not on their way: those of the first chunk that was not sent, or of the open
    /// one if there is no other. Says how many, or nothing if there are none. Marks stay.
    pub fn drop_oldest(&mut self, now: Now) -> Option<u32> {
        if let Some(messages) = self.spool.drop_messages(self.droppable_after()) {
            return Some(messages);
        }
        if self.open.messages() == 0 {
            return None;
        }
        self.seal(now);
        self.spool.drop_messages(self.droppable_after())
    }

    /// Members of shared subscriptions have acknowledged this.
    pub fn settle(&mut self, account: &Account) {
        self.held.release(account);
    }

    /// The other side is gone with all that it took: gives the payloads that were not settled, with the numbers of the messages that
    /// were not if that was said, and forgets them.
    pub fn take_held(&mut self, now: Now, mut each: impl FnMut(&[u8], Option<&[u32]>)) {
        for HeldChunk { mut chunk, open } in self.held.take_all() {
            each(chunk.stamp(0, now), open.as_deref());
        }
    }

    /// What is held until members have acknowledged it.
    pub fn held(&self) -> &HeldChunks {
        &self.held
    }

    /// Nothing is sent any more: gives the payloads of all chunks that were not acknowledged, and forgets them.
    pub fn take_all(&mut self, now: Now, mut each: impl FnMut(&[u8])) {
        self.seal(now);
        self.spool.release(u64::MAX, |mut chunk| each(chunk.stamp(0, now)));
    }

    /// When the oldest message came that is not on its way.
    pub fn oldest_droppable(&self) -> Option<Now> {
        let open = (self.open.messages() > 0).then(|| self.open.opened());
        self.spool.oldest(self.droppable_after()).or(open)
    }

    /// When the oldest message came that was not acknowledged.
    pub fn oldest(&self) -> Option<Now> {
        let open = (self.open.messages() > 0).then(|| self.open.opened());
        self.spool.oldest(0).or(open)
    }

    /// Bytes that wait, acknowledgements outstanding included.
    pub fn bytes(&self) -> u64 {
        let open = if self.open.is_empty() { 0 } else { self.open.len() as u64 };
        self.spool.bytes() + open
    }

    /// Messages that wait.
    pub fn messages(&self) -> u64 {
        self.spool.messages() + u64::from(self.open.messages())
    }

    /// True if all was sealed, and all that was sealed is acknowledged.
    pub fn is_settled(&self) -> bool {
        self.spool.is_empty() && !self.has_open()
    }

    /// True if something waits to be sealed.
    pub fn has_open(&self) -> bool {
        !self.open.is_empty() || !self.marks.is_empty()
    }

    /// Bytes of the open chunk.
    pub fn open_len(&self) -> usize {
        self.open.len()
    }

    /// True if the open chunk should be sealed at the end of each turn, whether it can be sent or not.
    pub fn seals_each_turn(&self) -> bool {
        self.spool.seals_each_turn()
    }

    /// True if all that was sealed was also sent: the open chunk is next.
    pub fn is_drained(&mut self) -> bool {
        self.spool.after(self.sent).is_none()
    }

    /// Place of the last sealed chunk.
    pub fn sealed(&self) -> u64 {
        self.sealed
    }

    /// Place up to which the other side has taken all.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// True if chunks were sealed that are not durable.
    pub fn is_behind(&self) -> bool {
        self.durable < self.sealed
    }

    /// Names the life of this lane, unless its spool outlived a start and it has one.
    pub fn set_epoch(&mut self, epoch: u64) {
        if self.epoch == 0 {
            self.epoch = epoch;
        }
    }

    /// The life of this lane.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    fn droppable_after(&self) -> u64 {
        if self.in_use { self.sent.max(self.acknowledged) } else { self.acknowledged }
    }

    fn put_marks(&mut self, now: Now) {
        if self.marks.is_empty() {
            return;
        }
        let marks = std::mem::take(&mut self.marks);
        for (shard, mark) in marks.iter() {
            self.make_room(record::mark_len(&mark));
            self.open.push_mark(shard, &mark, now);
        }
    }

    fn make_room(&mut self, len: usize) {
        if self.open.is_full_for(len, self.chunk_max) {
            self.seal_open();
        }
    }

    fn seal_open(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let buffer = self.spare.pop().unwrap_or_default();
        let mut chunk = std::mem::replace(&mut self.open, Chunk::new(self.number, buffer));
        self.sealed += 1;
        chunk.seal(self.sealed);
        self.spool.append(chunk);
    }

    fn release(&mut self, place: u64, mut released: impl FnMut(u32)) {
        // An acknowledgement of what was never sealed would be the other side's fault; it changes nothing.
        let place = place.min(self.sealed);
        self.acknowledged = self.acknowledged.max(place);
        self.sent = self.sent.max(place);
        let (spare, held) = (&mut self.spare, &mut self.held);
        self.spool.release(place, |chunk| {
            released(chunk.messages());
            if chunk.is_for_members() {
                held.take(chunk);
            } else if spare.len() < SPARE_MAX && chunk.len() <= SPARE_BYTES_MAX {
                spare.push(chunk.into_buffer());
            }
        });
    }
}
