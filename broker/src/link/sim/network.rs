//! The network of the simulation: ordered byte streams that delay, break, and swallow.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::time::Duration;

use crate::link::Conn;

/// A connection, seen from both ends: 0 dialled, 1 accepted.
#[derive(Debug)]
pub struct Wire {
    /// Its ends.
    pub ends: [End; 2],
    /// Packets on the way to each end.
    queues: [VecDeque<Packet>; 2],
    /// When the last of them arrives.
    last: [Duration; 2],
    /// What is sent to this end vanishes.
    swallows: [bool; 2],
}

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// The node.
    pub node: usize,
    /// The node's life in which it was opened.
    pub life: u64,
    /// Index of the node's link.
    pub link: usize,
    /// The link believes that it stands.
    pub open: bool,
}

/// What travels.
#[derive(Clone, Debug)]
pub enum Packet {
    /// The connection stands.
    Connected,
    /// A PUBLISH.
    Publish {
        /// Its topic.
        topic: &'static str,
        /// Its packet id, with QoS 1.
        packet_id: Option<NonZeroU16>,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// A PUBACK.
    Puback(NonZeroU16),
    /// The other end closed, or the connection broke.
    Closed,
}

// === impl Wire ===

impl Wire {
    /// A connection between these ends.
    pub fn new(ends: [End; 2]) -> Self {
        Self { ends, queues: Default::default(), last: Default::default(), swallows: [false; 2] }
    }

    /// Puts a packet on the way to an end; says when it arrives, unless it vanishes. It never overtakes another one.
    pub fn send(&mut self, to: usize, packet: Packet, now: Duration, delay: Duration) -> Option<Duration> {
        if self.swallows[to] {
            return None;
        }
        self.last[to] = self.last[to].max(now + delay);
        self.queues[to].push_back(packet);
        Some(self.last[to])
    }

    /// The packet that arrives at an end.
    pub fn arrive(&mut self, to: usize) -> Option<Packet> {
        self.queues[to].pop_front()
    }

    /// The stream to an end breaks behind so many packets: those on the way behind them are lost.
    pub fn cut(&mut self, to: usize, keep: usize) {
        self.queues[to].truncate(keep);
    }

    /// From now on nothing arrives at this end, and nobody is told.
    pub fn swallow(&mut self, to: usize) {
        self.swallows[to] = true;
        self.queues[to].clear();
    }

    /// Packets on the way to an end.
    pub fn on_the_way(&self, to: usize) -> usize {
        self.queues[to].len()
    }

    /// True if it stands for the dialling end, or may yet.
    pub fn is_dialling_or_open(&self) -> bool {
        self.ends[0].open || self.queues[0].iter().any(|packet| matches!(packet, Packet::Connected))
    }

    /// True if either end believes that the connection stands.
    pub fn is_open(&self) -> bool {
        self.ends.iter().any(|end| end.open)
    }
}

/// The name of a connection at both ends: its index.
pub fn conn(wire: usize) -> Conn {
    Conn(wire as u64)
}
