//! Chunks that another node has taken and that members of shared subscriptions there have not acknowledged.

use std::collections::VecDeque;

use super::chunk::Chunk;

/// Bytes that are held for one node at most; beyond that the oldest chunk is let go, as if it were acknowledged.
const HELD_BYTES_MAX: usize = 4 << 20;

/// What is held, in the order of the lane.
#[derive(Clone, Debug, Default)]
pub struct Held {
    pub(super) chunks: VecDeque<Chunk>,
    bytes: usize,
}

// === impl Held ===

impl Held {
    /// Takes a chunk behind all others.
    pub fn take(&mut self, chunk: Chunk) {
        self.bytes += chunk.len();
        self.chunks.push_back(chunk);
        while self.bytes > HELD_BYTES_MAX
            && let Some(oldest) = self.chunks.pop_front()
        {
            self.bytes -= oldest.len();
        }
    }

    /// Lets go all chunks up to and with this place.
    pub fn release(&mut self, place: u64) {
        while let Some(chunk) = self.chunks.pop_front_if(|chunk| chunk.sequence() <= place) {
            self.bytes -= chunk.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(place: u64, bytes: usize) -> Chunk {
        let mut chunk = Chunk::new(0, Vec::new());
        chunk.push_record(std::time::Duration::ZERO, |out| out.resize(out.len() + bytes, 0));
        chunk.seal(place);
        chunk
    }

    fn places(held: &Held) -> Vec<u64> {
        held.chunks.iter().map(Chunk::sequence).collect()
    }

    #[test]
    fn what_is_settled_is_let_go_and_the_oldest_when_it_is_too_much() {
        let mut held = Held::default();
        (1..=5).for_each(|place| held.take(chunk(place, 10)));
        held.release(3);
        assert_eq!(places(&held), [4, 5]);
        held.take(chunk(6, HELD_BYTES_MAX - 500));
        assert_eq!(places(&held), [4, 5, 6]);
        held.take(chunk(7, 420));
        assert_eq!(places(&held), [5, 6, 7]);
        held.release(7);
        assert_eq!((held.chunks.len(), held.bytes), (0, 0));
    }
}
