//! One connection of a link: its handshake, what is unacknowledged on it, and its pulse.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;

use super::Now;
use super::heartbeat::{Pulse, Urge};
use super::marks::Version;
use super::outlet::{Conn, Limits, Role};

/// How far the handshake got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// We dialled, and said Hello.
    AwaitWelcome,
    /// It was accepted.
    AwaitHello,
    /// We said Welcome.
    AwaitBegin,
    /// Batches flow.
    Up,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    /// Its name.
    pub conn: Conn,
    /// Who opened it.
    pub role: Role,
    /// What the other end takes.
    pub limits: Limits,
    /// How far the handshake got.
    pub phase: Phase,
    /// When it was opened.
    pub opened: Now,
    /// Counts connections, so that the newest is known.
    pub order: u64,
    /// The remote node at its other end, once it said so.
    pub node: Arc<str>,
    /// The life of that node.
    pub incarnation: u64,
    /// What that node had taken of our lanes of messages and interest when the handshake ended.
    pub taken: [u64; 2],
    /// The version and digest of our interest that it said it holds.
    pub held: (Version, u64),
    /// The lanes of that node come over this connection, as it last said.
    pub brings: bool,
    /// Heartbeats in a row that said it holds something else than it was told.
    pub mismatches: u8,
    /// Its heartbeats.
    pub pulse: Pulse,
    in_flight: VecDeque<InFlight>,
    last_packet_id: u16,
}

/// A batch on its way.
#[derive(Clone, Copy, Debug)]
pub struct InFlight {
    packet_id: NonZeroU16,
    /// Its lane.
    pub lane: u8,
    /// Its place there.
    pub sequence: u64,
    bytes: usize,
}

// === impl Connection ===

impl Connection {
    /// A connection after CONNACK.
    pub fn new(conn: Conn, role: Role, limits: Limits, order: u64, pulse: Pulse, now: Now) -> Self {
        let phase = match role {
            Role::Dialled | Role::DialledByWay => Phase::AwaitWelcome,
            Role::Accepted | Role::AcceptedByWay => Phase::AwaitHello,
        };
        Self {
            conn,
            role,
            limits,
            phase,
            opened: now,
            order,
            node: "".into(),
            incarnation: 0,
            taken: [0; 2],
            held: Default::default(),
            brings: false,
            mismatches: 0,
            pulse,
            in_flight: VecDeque::new(),
            last_packet_id: 0,
        }
    }

    /// A batch leaves: the packet id for it.
    pub fn send(&mut self, lane: u8, sequence: u64, bytes: usize) -> NonZeroU16 {
        let packet_id = self.free_packet_id();
        self.in_flight.push_back(InFlight { packet_id, lane, sequence, bytes });
        packet_id
    }

    /// The batch that this packet id was given to, which is not in flight any more.
    pub fn acknowledge(&mut self, packet_id: NonZeroU16) -> Option<InFlight> {
        let index = self.in_flight.iter().position(|batch| batch.packet_id == packet_id)?;
        self.in_flight.remove(index)
    }

    /// Which of two connections is used: the greater.
    pub fn rank(&self) -> (u8, u64) {
        (self.role.rank(), self.order)
    }

    /// Batches unacknowledged.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// What time asks for.
    pub fn urge(&mut self, now: Now) -> Urge {
        self.pulse.tick(self.in_flight.iter().map(|batch| batch.bytes).sum(), now)
    }

    /// The next packet id that is not in use `[MQTT-2.2.1-3]`. A window is far smaller than the number of ids.
    fn free_packet_id(&mut self) -> NonZeroU16 {
        loop {
            self.last_packet_id = self.last_packet_id.wrapping_add(1);
            if let Some(id) = NonZeroU16::new(self.last_packet_id)
                && !self.in_flight.iter().any(|batch| batch.packet_id == id)
            {
                return id;
            }
        }
    }
}
