//! Messages that wait for one session, bounded in number and bytes.

use std::collections::VecDeque;

use super::Delivery;

/// Messages that wait for room in flight, or for the client to come back.
#[derive(Debug, Default)]
pub struct Queue {
    entries: VecDeque<Delivery>,
    bytes: usize,
    /// Retained messages at the front part of the queue, sent because of a SUBSCRIBE. They are bounded by the
    /// retained store, whose messages they share, and don't count against the limits.
    replayed: usize,
    replayed_bytes: usize,
}

/// Bounds of a queue.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Messages.
    pub messages: usize,
    /// Bytes of their frames.
    pub bytes: usize,
}

// === impl Queue ===

impl Queue {
    /// Appends a message; gives it back when the queue is full, to be dropped and counted as `queue_full`.
    pub fn push(&mut self, delivery: Delivery, limits: Limits) -> Result<(), Delivery> {
        let cost = delivery.cost();
        if self.entries.len() - self.replayed >= limits.messages
            || self.bytes - self.replayed_bytes + cost > limits.bytes
        {
            return Err(delivery);
        }
        self.bytes += cost;
        self.entries.push_back(delivery);
        Ok(())
    }

    /// Appends retained messages that a SUBSCRIBE asked for. What waits already stays in front, so that a live
    /// message is never followed by an older retained one of its topic.
    pub fn replay(&mut self, retained: impl IntoIterator<Item = Delivery>) {
        let before = self.entries.len();
        // While a replay is under way everything behind it waits its turn: the counter covers the whole prefix.
        self.entries.extend(retained);
        if self.entries.len() > before {
            self.bytes += self.entries.range(before..).map(Delivery::cost).sum::<usize>();
            self.replayed = self.entries.len();
            self.replayed_bytes = self.bytes;
        }
    }

    /// The next message.
    pub fn front(&self) -> Option<&Delivery> {
        self.entries.front()
    }

    /// The message appended last.
    pub fn back(&self) -> Option<&Delivery> {
        self.entries.back()
    }

    /// Takes the next message.
    pub fn pop(&mut self) -> Option<Delivery> {
        let delivery = self.entries.pop_front()?;
        self.bytes -= delivery.cost();
        if self.replayed > 0 {
            self.replayed -= 1;
            self.replayed_bytes -= delivery.cost();
        }
        if self.entries.is_empty() && self.entries.capacity() > 256 {
            self.entries = VecDeque::new();
        }
        Some(delivery)
    }

    /// True while retained messages of a SUBSCRIBE wait: QoS 0 must then line up behind them.
    pub fn is_replaying(&self) -> bool {
        self.replayed > 0
    }

    /// Messages waiting.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes waiting.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
