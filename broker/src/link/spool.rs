//! The spool: sealed chunks of one lane in order, until the other side has taken them.

use std::collections::VecDeque;

use super::Now;
use super::chunk::Chunk;

/// Where sealed chunks wait. The lane gives them ascending places; places may be missing where chunks were dropped.
pub trait Spool {
    /// True if only what is sealed can be made durable, so that a lane seals at the end of each turn.
    fn seals_each_turn(&self) -> bool;

    /// Takes a chunk behind all others.
    fn append(&mut self, chunk: Chunk);

    /// The first chunk behind this place.
    fn after(&mut self, place: u64) -> Option<&mut Chunk>;

    /// The place of the last chunk before this one.
    fn before(&self, place: u64) -> Option<u64>;

    /// Forgets all chunks up to and with this place, and gives back what they were.
    fn release(&mut self, place: u64, each: impl FnMut(Chunk));

    /// Drops the messages of the oldest chunk behind this place that has any; its marks stay. Says how many messages
    /// that were, or nothing if there is no such chunk.
    fn drop_messages(&mut self, place: u64) -> Option<u32>;

    /// When the oldest chunk with messages behind this place was begun.
    fn oldest(&self, place: u64) -> Option<Now>;

    /// Bytes of all chunks.
    fn bytes(&self) -> u64;

    /// Messages in all chunks.
    fn messages(&self) -> u64;

    /// True if no chunk is here.
    fn is_empty(&self) -> bool;
}

/// A spool in memory: it is lost with the process, and durable as long as that lives.
#[derive(Clone, Debug, Default)]
pub struct MemorySpool {
    chunks: VecDeque<Chunk>,
    bytes: u64,
    messages: u64,
}

// === impl MemorySpool ===

impl MemorySpool {
    fn index_after(&self, place: u64) -> usize {
        self.chunks.partition_point(|chunk| chunk.sequence() <= place)
    }

    fn count_out(&mut self, chunk: &Chunk) {
        self.bytes -= chunk.len() as u64;
        self.messages -= u64::from(chunk.messages());
    }
}

impl Spool for MemorySpool {
    fn seals_each_turn(&self) -> bool {
        false
    }

    fn append(&mut self, chunk: Chunk) {
        assert!(self.chunks.back().is_none_or(|last| last.sequence() < chunk.sequence()), "places ascend");
        self.bytes += chunk.len() as u64;
        self.messages += u64::from(chunk.messages());
        self.chunks.push_back(chunk);
    }

    fn after(&mut self, place: u64) -> Option<&mut Chunk> {
        let index = self.index_after(place);
        self.chunks.get_mut(index)
    }

    fn before(&self, place: u64) -> Option<u64> {
        let index = self.chunks.partition_point(|chunk| chunk.sequence() < place);
        Some(self.chunks.get(index.checked_sub(1)?)?.sequence())
    }

    fn release(&mut self, place: u64, mut each: impl FnMut(Chunk)) {
        while let Some(chunk) = self.chunks.pop_front_if(|chunk| chunk.sequence() <= place) {
            self.count_out(&chunk);
            each(chunk);
        }
    }

    fn drop_messages(&mut self, place: u64) -> Option<u32> {
        let from = self.index_after(place);
        let index = from + self.chunks.range(from..).position(|chunk| chunk.messages() > 0)?;
        let chunk = self.chunks.remove(index).expect("the index was found in the same queue");
        self.count_out(&chunk);
        if let Some(mut rest) = chunk.without_messages() {
            // Of neighbours that hold marks alone one is enough, so that these stay few however long an outage is.
            if index > from && self.chunks[index - 1].messages() == 0 {
                let earlier = self.chunks.remove(index - 1).expect("the index before one that was found");
                self.count_out(&earlier);
                rest.inherit(&earlier);
                self.bytes += rest.len() as u64;
                self.chunks.insert(index - 1, rest);
            } else {
                self.bytes += rest.len() as u64;
                self.chunks.insert(index, rest);
            }
        }
        Some(chunk.messages())
    }

    fn oldest(&self, place: u64) -> Option<Now> {
        let from = self.index_after(place);
        self.chunks.range(from..).find(|chunk| chunk.messages() > 0).map(Chunk::opened)
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn messages(&self) -> u64 {
        self.messages
    }

    fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }
}
