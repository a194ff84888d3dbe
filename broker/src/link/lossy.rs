//! The lane of QoS 0 messages: in order, bounded in bytes, sent once.

use std::collections::VecDeque;

use super::Now;
use super::batch::{BATCH_MAX, LANE_LOSSY};
use super::chunk::{Chunk, message_len};
use super::outlet::Forward;
use crate::codec::Qos;

/// QoS 0 messages on their way out.
#[derive(Debug)]
pub struct Lossy {
    /// The life of this lane.
    epoch: u64,
    open: Chunk,
    waiting: VecDeque<Chunk>,
    bytes: usize,
    sealed: u64,
    spare: Option<Vec<u8>>,
}

// === impl Lossy ===

impl Lossy {
    /// An empty lane, whose life has no name yet.
    pub fn new() -> Self {
        let open = Chunk::new(LANE_LOSSY, Vec::new());
        Self { epoch: 0, open, waiting: VecDeque::new(), bytes: 0, sealed: 0, spare: None }
    }

    /// Appends a message.
    pub fn message(&mut self, message: &Forward<'_>, now: Now) {
        if self.open.is_full_for(message_len(message), BATCH_MAX) {
            self.seal();
        }
        self.open.push_message(message, Qos::AtMostOnce, now);
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes + if self.open.is_empty() { 0 } else { self.open.len() }
    }

    /// Gives the oldest batch to `send`, with its number of messages; false if there is none.
    pub fn send(&mut self, now: Now, send: impl FnOnce(&[u8], u32)) -> bool {
        if self.waiting.is_empty() {
            self.seal();
        }
        let Some(mut chunk) = self.waiting.pop_front() else { return false };
        self.bytes -= chunk.len();
        let messages = chunk.messages();
        send(chunk.stamp(0, now), messages);
        if chunk.len() <= 2 * BATCH_MAX {
            self.spare = Some(chunk.into_buffer());
        }
        true
    }

    /// Drops all that waits; says how many messages that were.
    pub fn clear(&mut self) -> u64 {
        self.seal();
        self.bytes = 0;
        self.waiting.drain(..).map(|chunk| u64::from(chunk.messages())).sum()
    }

    /// Names the life of this lane.
    pub fn set_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    /// The life of this lane.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    fn seal(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let buffer = self.spare.take().unwrap_or_default();
        let mut chunk = std::mem::replace(&mut self.open, Chunk::new(LANE_LOSSY, buffer));
        self.sealed += 1;
        chunk.seal(self.sealed);
        self.bytes += chunk.len();
        self.waiting.push_back(chunk);
    }
}
