//! Chunks that another node has taken and that members of shared subscriptions there have not acknowledged.

use std::collections::VecDeque;

use super::chunk::Chunk;
use crate::message::Account;

/// Bytes that are held for one node at most; beyond that the oldest chunk is let go, as if it were acknowledged.
const HELD_BYTES_MAX: usize = 4 << 20;

/// What is held, in the order of the lane.
#[derive(Clone, Debug, Default)]
pub struct HeldChunks {
    chunks: VecDeque<HeldChunk>,
    bytes: usize,
    /// Messages of chunks that were let go at the bound.
    let_go: u64,
}

/// A chunk that is held.
#[derive(Clone, Debug)]
pub struct HeldChunk {
    /// The chunk.
    pub chunk: Chunk,
    /// The messages of it, by their numbers, that were not acknowledged; none: nothing was said of it.
    pub open: Option<Vec<u32>>,
}

// === impl HeldChunks ===

impl HeldChunks {
    /// Takes a chunk behind all others.
    pub fn take(&mut self, chunk: Chunk) {
        self.bytes += chunk.len();
        self.chunks.push_back(HeldChunk { chunk, open: None });
        while self.bytes > HELD_BYTES_MAX
            && let Some(HeldChunk { chunk: oldest, open }) = self.chunks.pop_front()
        {
            self.bytes -= oldest.len();
            self.let_go += open.map_or(u64::from(oldest.messages()), |open| open.len() as u64);
        }
    }

    /// Bytes that are held.
    pub fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    /// Messages that were let go at the bound, though nobody had acknowledged them.
    pub fn let_go(&self) -> u64 {
        self.let_go
    }

    /// Gives up all that is held.
    pub fn take_all(&mut self) -> VecDeque<HeldChunk> {
        self.bytes = 0;
        std::mem::take(&mut self.chunks)
    }

    /// Lets go all that is settled.
    pub fn release(&mut self, account: &Account) {
        let bytes = &mut self.bytes;
        self.chunks.retain_mut(|HeldChunk { chunk, open }| {
            let place = chunk.sequence();
            if place > account.upto {
                return true;
            }
            let from = account.open.partition_point(|(batch, _)| *batch < place);
            let of_it = account.open[from..].iter().take_while(|(batch, _)| *batch == place);
            let numbers: Vec<u32> = of_it.map(|(_, number)| *number).collect();
            let is_settled = numbers.is_empty();
            if is_settled {
                *bytes -= chunk.len();
            }
            *open = Some(numbers);
            !is_settled
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::Now;
    use super::super::aside::Aside;
    use super::super::outlet::Forward;
    use super::*;

    fn chunk(place: u64, bytes: usize) -> Chunk {
        let mut chunk = Chunk::new(0, Vec::new());
        let message = crate::message::tests::message("t", &vec![0; bytes]);
        let (frame, layout) = (message.frame(), message.layout());
        let (path, aside) = (crate::router::Path::EMPTY, Aside::default());
        let forward = Forward { frame, layout, qos: layout.qos(), path, shard: 0, aside };
        chunk.push_message(&forward, layout.qos(), Now::ZERO);
        chunk.seal(place);
        chunk
    }

    fn places(held: &HeldChunks) -> Vec<u64> {
        held.chunks.iter().map(|held| held.chunk.sequence()).collect()
    }

    fn upto(upto: u64) -> Account {
        Account { upto, open: Vec::new() }
    }

    #[test]
    fn behind_what_is_not_settled_all_that_is_goes() {
        let mut held = HeldChunks::default();
        (1..=4).for_each(|place| held.take(chunk(place, 1)));
        held.release(&Account { upto: 3, open: vec![(1, 0), (3, 2), (3, 5)] });
        assert_eq!(places(&held), [1, 3, 4]);
        let open: Vec<Option<Vec<u32>>> = held.take_all().into_iter().map(|held| held.open).collect();
        assert_eq!(open, [Some(vec![0]), Some(vec![2, 5]), None]);
    }

    #[test]
    fn what_is_settled_is_let_go_and_the_oldest_when_it_is_too_much() {
        // With what stands around it, four of these have room and five do not.
        let fifth = HELD_BYTES_MAX / 5;
        let mut held = HeldChunks::default();
        (1..=4).for_each(|place| held.take(chunk(place, fifth)));
        held.release(&upto(1));
        assert_eq!(places(&held), [2, 3, 4]);
        held.take(chunk(5, fifth));
        assert_eq!((places(&held), held.let_go()), (vec![2, 3, 4, 5], 0));
        held.take(chunk(6, fifth));
        assert_eq!((places(&held), held.let_go()), (vec![3, 4, 5, 6], 1));
        held.release(&upto(6));
        assert_eq!((places(&held), held.bytes()), (Vec::new(), 0));
    }
}
