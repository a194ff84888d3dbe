//! A device: it roams, keeps the client's half of QoS 2, and says what it got.

use std::collections::{BTreeMap, BTreeSet};

use crate::codec::Qos;

use super::table::Packet;

/// A device with a client id.
#[derive(Debug)]
pub struct Device {
    /// Client id.
    pub id: String,
    /// Its sessions outlive their connections.
    pub persistent: bool,
    /// The connection, if it has one.
    pub conn: Option<u64>,
    /// CONNACK came.
    pub up: bool,
    /// It connects again when it is cut off.
    pub wants: bool,
    /// The node that it was connected to last.
    pub node: usize,
    /// Filters that it wants, by number.
    pub filters: BTreeSet<usize>,
    /// QoS 2 packet ids received and not released.
    pub received: BTreeSet<u16>,
    /// Its own publishes that are not done: packet id, message, and whether PUBREC came.
    pub sending: BTreeMap<u16, (u32, bool)>,
    /// The next packet id.
    pub next_id: u16,
    /// Its own messages that are done.
    pub done: BTreeSet<u32>,
    /// The life of its session.
    pub life: u64,
    /// Sessions that it had before.
    pub left: BTreeSet<u64>,
    /// It came back to a session that it had left for a new one, since nodes could not reach each other: their states of it
    /// differ.
    pub confused: bool,
    /// What it received, with QoS 2 repeats dropped: life of its session, message.
    pub log: Vec<(u64, u32, Qos)>,
}

// === impl Device ===

impl Device {
    /// A device that is nowhere.
    pub fn new(id: String, persistent: bool, filters: BTreeSet<usize>) -> Self {
        Self {
            id,
            persistent,
            conn: None,
            up: false,
            wants: false,
            node: 0,
            filters,
            received: BTreeSet::new(),
            sending: BTreeMap::new(),
            next_id: 1,
            done: BTreeSet::new(),
            life: 0,
            left: BTreeSet::new(),
            confused: false,
            log: Vec::new(),
        }
    }

    /// Takes a packet; what it answers.
    pub fn receive(&mut self, packet: Packet) -> Vec<Packet> {
        match packet {
            Packet::Connack(_, life) => {
                self.up = true;
                // A client whose CONNACK with Session Present 0 was lost would take the new session for the old one; ours
                // knows better.
                if life == self.life {
                    let again = |(id, (message, released)): (&u16, &(u32, bool))| {
                        if *released { Packet::Pubrel(*id) } else { Packet::Publish(*id, *message, Qos::ExactlyOnce) }
                    };
                    // Subscriptions may have been lost with a connection.
                    self.filters
                        .iter()
                        .map(|filter| Packet::Subscribe(*filter))
                        .chain(self.sending.iter().map(again))
                        .collect()
                } else {
                    self.left.insert(self.life);
                    self.confused |= self.left.contains(&life);
                    self.life = life;
                    self.received.clear();
                    self.sending.clear();
                    self.filters.iter().map(|filter| Packet::Subscribe(*filter)).collect()
                }
            }
            Packet::Publish(id, message, Qos::ExactlyOnce) => {
                if self.received.insert(id) {
                    self.log.push((self.life, message, Qos::ExactlyOnce));
                }
                vec![Packet::Pubrec(id)]
            }
            Packet::Publish(id, message, qos) => {
                self.log.push((self.life, message, qos));
                vec![Packet::Puback(id)]
            }
            Packet::Pubrel(id) => {
                self.received.remove(&id);
                vec![Packet::Pubcomp(id)]
            }
            Packet::Pubrec(id) => match self.sending.get_mut(&id) {
                Some((_, released)) => {
                    *released = true;
                    vec![Packet::Pubrel(id)]
                }
                None => Vec::new(),
            },
            Packet::Pubcomp(id) => {
                self.done.extend(self.sending.remove(&id).map(|(message, _)| message));
                Vec::new()
            }
            Packet::Puback(_) | Packet::Subscribe(_) | Packet::Suback(_) => Vec::new(),
        }
    }

    /// Begins a publish of its own.
    pub fn publish(&mut self, message: u32) -> Option<Packet> {
        if !self.up || self.sending.len() >= 3 {
            return None;
        }
        while self.sending.contains_key(&self.next_id) {
            self.next_id = self.next_id % 5 + 1;
        }
        let id = self.next_id;
        self.next_id = id % 5 + 1;
        self.sending.insert(id, (message, false));
        Some(Packet::Publish(id, message, Qos::ExactlyOnce))
    }
}
