//! Messages that wait for one session, bounded in number and bytes.

use std::collections::VecDeque;

use crate::clock::Millis;
use crate::codec::Qos;
use crate::message::Delivery;

/// Messages that wait for room in flight, or for the client to come back.
#[derive(Debug, Default)]
pub struct Queue {
    entries: VecDeque<Delivery>,
    bytes: usize,
    /// Retained messages at the front part of the queue, sent because of a SUBSCRIBE. They are bounded by the
    /// retained store, whose messages they share, and don't count against the limits.
    replayed: usize,
    replayed_bytes: usize,
    /// Messages of QoS 0: those that came while retained ones waited in front of them.
    qos0: usize,
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
        if self.is_full(cost, limits) {
            return Err(delivery);
        }
        self.admit(delivery);
        Ok(())
    }

    /// Appends a message that another node's queue of this session had room for; it is not bounded again.
    pub fn admit(&mut self, delivery: Delivery) {
        self.bytes += delivery.cost();
        self.qos0 += usize::from(delivery.qos == Qos::AtMostOnce);
        self.entries.push_back(delivery);
    }

    /// Takes the oldest messages out while they have expired; how many. What expired behind one that has not stays until
    /// its turn comes.
    pub fn drop_expired(&mut self, now: Millis) -> usize {
        let mut dropped = 0;
        while self.front().is_some_and(|next| next.message.is_expired(now)) {
            self.pop();
            dropped += 1;
        }
        dropped
    }

    /// Appends retained messages that a SUBSCRIBE asked for. What waits already stays in front, so that a live
    /// message is never followed by an older retained one of its topic.
    pub fn replay(&mut self, retained: impl IntoIterator<Item = Delivery>) {
        let before = self.entries.len();
        // While a replay is under way everything behind it waits its turn: the counter covers the whole prefix.
        self.entries.extend(retained);
        if self.entries.len() > before {
            self.bytes += self.entries.range(before..).map(Delivery::cost).sum::<usize>();
            self.qos0 += self.entries.range(before..).filter(|entry| entry.qos == Qos::AtMostOnce).count();
            self.replayed = self.entries.len();
            self.replayed_bytes = self.bytes;
        }
    }

    fn is_full(&self, cost: usize, limits: Limits) -> bool {
        let live = self.entries.len() - self.replayed;
        live >= limits.messages || self.bytes - self.replayed_bytes + cost > limits.bytes
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
        self.qos0 -= usize::from(delivery.qos == Qos::AtMostOnce);
        if self.replayed > 0 {
            self.replayed -= 1;
            self.replayed_bytes -= delivery.cost();
        }
        if self.entries.is_empty() && self.entries.capacity() > 256 {
            self.entries = VecDeque::new();
        }
        Some(delivery)
    }

    /// Takes all that waits, in order.
    pub fn take_all(&mut self) -> VecDeque<Delivery> {
        std::mem::take(self).entries
    }

    /// True while a message of QoS 0 must line up: behind retained messages of a SUBSCRIBE, or behind others of QoS 0 that
    /// did `[MQTT-4.6.0-6]`.
    pub fn holds_qos0(&self) -> bool {
        self.replayed > 0 || self.qos0 > 0
    }

    /// True while retained messages of a SUBSCRIBE wait.
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::message::{Message, tests::message};

    const LIMITS: Limits = Limits { messages: 2, bytes: 1000 };

    fn delivery(payload: &[u8], expires_at: Option<Millis>) -> Delivery {
        let plain = message("t", payload);
        let message = Arc::new(Message::new(plain.frame(), plain.layout(), expires_at));
        Delivery { message, subscription_ids: None, qos: Qos::AtLeastOnce, retain: false, group: 0 }
    }

    #[test]
    fn a_queue_is_bounded_in_messages_and_in_bytes() {
        let mut queue = Queue::default();
        assert!(queue.push(delivery(&[0; 900], None), LIMITS).is_ok());
        assert!(queue.push(delivery(&[0; 900], None), LIMITS).is_err(), "too many bytes");
        assert!(queue.push(delivery(b"x", None), LIMITS).is_ok());
        assert!(queue.push(delivery(b"x", None), LIMITS).is_err(), "too many messages");
        queue.pop();
        assert!(queue.push(delivery(b"x", None), LIMITS).is_ok());
    }

    #[test]
    fn retained_messages_of_a_subscription_take_no_room_from_live_ones() {
        let mut queue = Queue::default();
        queue.replay((0..10).map(|_| delivery(&[0; 900], None)));
        assert!(queue.is_replaying());
        assert!(queue.push(delivery(b"a", None), LIMITS).is_ok());
        assert!(queue.push(delivery(b"b", None), LIMITS).is_ok());
        assert!(queue.push(delivery(b"c", None), LIMITS).is_err());
        (0..10).for_each(|_| drop(queue.pop()));
        assert!(!queue.is_replaying() && queue.len() == 2);
        (0..2).for_each(|_| drop(queue.pop()));
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn qos_0_lines_up_behind_qos_0_that_had_to() {
        let mut queue = Queue::default();
        queue.replay([delivery(b"retained", None)]);
        assert!(queue.holds_qos0());
        assert!(queue.push(delivery(b"live", None), LIMITS).is_ok());
        assert!(queue.push(Delivery { qos: Qos::AtMostOnce, ..delivery(b"quick", None) }, LIMITS).is_ok());
        (0..2).for_each(|_| drop(queue.pop()));
        assert!(!queue.is_replaying() && queue.holds_qos0(), "what comes now would overtake it");
        queue.pop();
        assert!(!queue.holds_qos0());
    }

    #[test]
    fn expired_messages_make_room() {
        let mut queue = Queue::default();
        assert!(queue.push(delivery(b"a", Some(Millis(10))), LIMITS).is_ok());
        assert!(queue.push(delivery(b"b", None), LIMITS).is_ok());
        assert_eq!(queue.drop_expired(Millis(9)), 0);
        assert_eq!(queue.drop_expired(Millis(10)), 1);
        assert!(queue.push(delivery(b"c", None), LIMITS).is_ok());
    }
}
