//! Where shards put copies of their counters, and where the rest of the broker counts what is rare.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::lines::{Lines, Unlogged};
use super::{Closed, Dropped, Refused};
use crate::clock::Millis;

/// What a shard counts: plain numbers that it alone touches, published as a copy about once a second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connected clients, now.
    pub connections: u64,
    /// Sessions, on-line and off-line, now.
    pub sessions: u64,
    /// Subscriptions of all sessions, now.
    pub subscriptions: u64,
    /// Messages that wait in sessions, now.
    pub queued_messages: u64,
    /// Their bytes, now.
    pub queued_bytes: u64,
    /// Clients that got CONNACK 0, by protocol version: 3.1.1 and 5.0.
    pub connected: [u64; 2],
    /// Packets read from clients.
    pub packets_received: u64,
    /// Packets written to clients.
    pub packets_sent: u64,
    /// Bytes read from clients, below TLS's own.
    pub bytes_received: u64,
    /// Bytes written to clients, below TLS's own.
    pub bytes_sent: u64,
    /// PUBLISH packets from clients, by QoS.
    pub messages_received: [u64; 3],
    /// PUBLISH packets to clients, by QoS.
    pub messages_sent: [u64; 3],
    /// Turns in which the shard did something.
    pub turns: u64,
    /// Messages dropped, by [`Dropped`].
    pub dropped: [u64; Dropped::COUNT],
    /// Connections of clients that ended, by [`Closed`].
    pub closed: [u64; Closed::COUNT],
}

/// What is counted outside of shards, rarely enough for atomics.
#[derive(Debug)]
pub struct Events {
    refused: [AtomicU64; Refused::COUNT],
    /// Lines of the log about them.
    refusals: [Lines; Refused::COUNT],
    accepted: AtomicU64,
    accept_errors: AtomicU64,
    config_reloads: AtomicU64,
    config_refused: AtomicU64,
    password_hashes: AtomicU64,
}

/// The last copies of all shards' counters, and the events.
#[derive(Debug)]
pub struct Board {
    shards: Box<[Mutex<Counters>]>,
    /// What is counted outside of shards.
    pub events: Events,
}

// === impl Counters ===

impl Counters {
    /// Counts a message that did not reach a receiver.
    pub fn drop_message(&mut self, why: Dropped) {
        self.dropped[why as usize] += 1;
    }

    /// Counts a connection that ended.
    pub fn close(&mut self, why: Closed) {
        self.closed[why as usize] += 1;
    }

    /// Messages dropped, by label, without the reasons that never happened: what `Status` shows.
    pub fn dropped_by_label(&self) -> BTreeMap<String, u64> {
        let counted = Dropped::ALL.iter().map(|why| (why.label().to_owned(), self.dropped[*why as usize]));
        counted.filter(|(_, count)| *count > 0).collect()
    }
}

impl AddAssign<&Self> for Counters {
    fn add_assign(&mut self, other: &Self) {
        // Destructured whole, so that a new field can't be forgotten here.
        let Self {
            connections,
            sessions,
            subscriptions,
            queued_messages,
            queued_bytes,
            connected,
            packets_received,
            packets_sent,
            bytes_received,
            bytes_sent,
            messages_received,
            messages_sent,
            turns,
            dropped,
            closed,
        } = other;
        self.connections += connections;
        self.sessions += sessions;
        self.subscriptions += subscriptions;
        self.queued_messages += queued_messages;
        self.queued_bytes += queued_bytes;
        add_each(&mut self.connected, connected);
        self.packets_received += packets_received;
        self.packets_sent += packets_sent;
        self.bytes_received += bytes_received;
        self.bytes_sent += bytes_sent;
        add_each(&mut self.messages_received, messages_received);
        add_each(&mut self.messages_sent, messages_sent);
        self.turns += turns;
        add_each(&mut self.dropped, dropped);
        add_each(&mut self.closed, closed);
    }
}

fn add_each<const N: usize>(into: &mut [u64; N], from: &[u64; N]) {
    for (sum, part) in into.iter_mut().zip(from) {
        *sum += part;
    }
}

// === impl Events ===

impl Default for Events {
    fn default() -> Self {
        Self {
            refused: [const { AtomicU64::new(0) }; Refused::COUNT],
            refusals: Default::default(),
            accepted: AtomicU64::new(0),
            accept_errors: AtomicU64::new(0),
            config_reloads: AtomicU64::new(0),
            config_refused: AtomicU64::new(0),
            password_hashes: AtomicU64::new(0),
        }
    }
}

impl Events {
    /// Counts a connection that was refused, of which the log says nothing.
    pub fn refuse(&self, why: Refused) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that was refused. Whether it gets a line of the log, and then how many before it got none: whoever
    /// calls often enough must not fill the disk.
    #[must_use]
    pub fn refuse_aloud(&self, why: Refused, now: Millis) -> Option<Unlogged> {
        self.refuse(why);
        self.refusals[why as usize].tells(now)
    }

    /// Connections refused so far for this reason.
    pub fn refused(&self, why: Refused) -> u64 {
        self.refused[why as usize].load(Ordering::Relaxed)
    }

    /// Counts a connection that a listener took.
    pub fn accept(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that listeners took.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Counts an error of `accept`, such as too many open files.
    pub fn accept_error(&self) {
        self.accept_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Errors of `accept`.
    pub fn accept_errors(&self) -> u64 {
        self.accept_errors.load(Ordering::Relaxed)
    }

    /// Counts a configuration that was read again: taken, or refused.
    pub fn reload(&self, taken: bool) {
        let counter = if taken { &self.config_reloads } else { &self.config_refused };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Configurations taken after the first, and configurations refused.
    pub fn reloads(&self) -> (u64, u64) {
        (self.config_reloads.load(Ordering::Relaxed), self.config_refused.load(Ordering::Relaxed))
    }

    /// Counts a slow password hash that was computed.
    pub fn hash_password(&self) {
        self.password_hashes.fetch_add(1, Ordering::Relaxed);
    }

    /// Slow password hashes that were computed.
    pub fn password_hashes(&self) -> u64 {
        self.password_hashes.load(Ordering::Relaxed)
    }
}

// === impl Board ===

impl Board {
    /// A board for this many shards.
    pub fn new(shards: usize) -> Self {
        Self { shards: (0..shards).map(|_| Mutex::default()).collect(), events: Events::default() }
    }

    /// Puts up a copy of a shard's counters in place of its last one. A shard that is not on the board is a bug.
    pub fn publish(&self, shard: usize, counters: &Counters) {
        // A copy is whole or was not begun, so a poisoned lock holds nothing broken.
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner).clone_from(counters);
    }

    /// The sum over all shards, as last published.
    pub fn total(&self) -> Counters {
        let mut total = Counters::default();
        for shard in &self.shards {
            total += &*shard.lock().unwrap_or_else(PoisonError::into_inner);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_the_sum_of_the_last_copy_of_each_shard() {
        let board = Board::new(2);
        let mut first = Counters { connections: 3, messages_sent: [1, 2, 3], ..Counters::default() };
        first.drop_message(Dropped::QueueFull);
        board.publish(0, &Counters { connections: 100, ..Counters::default() });
        board.publish(0, &first);
        board.publish(1, &first);
        let total = board.total();
        assert_eq!((total.connections, total.messages_sent), (6, [2, 4, 6]));
        assert_eq!(total.dropped_by_label(), BTreeMap::from([("queue_full".to_owned(), 2)]));
    }

    #[test]
    fn events_count_by_reason() {
        let events = Events::default();
        events.refuse(Refused::BadPassword);
        assert_eq!(events.refuse_aloud(Refused::BadPassword, Millis(0)), Some(None));
        events.reload(false);
        assert_eq!((events.refused(Refused::BadPassword), events.refused(Refused::Malformed)), (2, 0));
        assert_eq!(events.reloads(), (0, 1));
    }
}
