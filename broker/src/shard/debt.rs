//! What nodes keep for each other until members of shared subscriptions have acknowledged it: said, heard, and given to others.

use std::sync::Arc;

use super::Shard;
use super::link::{LinkRow, Target};
use super::peer::PeerRow;
use super::publication::{Publication, expires_at};
use crate::clock::Millis;
use crate::link::{Delivery, Forward};
use crate::message::{Debt, Ledger};
use crate::router::Receiver;

/// First byte of the control message that says how far members here have acknowledged.
pub const PREFIX: u8 = 0x22;

/// Shortest time between two of them.
const SAY_EVERY: Millis = Millis(50);

/// What this node and another one keep for each other.
#[derive(Debug, Default)]
pub struct Debts {
    /// What members here have of the other node and not acknowledged.
    ledger: Arc<Ledger>,
    /// How far they had when that was said last on this connection.
    said: u64,
    /// When it may be said again.
    say_at: Millis,
    /// The life of the other node that took what is held here for it.
    held_by: Option<u64>,
}

// === impl Debts ===

impl Debts {
    /// A message came: if members here are to acknowledge it, that is owed.
    pub fn owe(&self, message: &Delivery<'_>) -> Option<Debt> {
        let is_owed = message.place > 0 && message.is_for_members();
        is_owed.then(|| self.ledger.owe(message.place))
    }

    /// A connection with this life of the other node stands; whether it is another one than that which took what is held.
    pub fn connected(&mut self, life: u64) -> bool {
        let before = self.held_by.replace(life);
        let is_new = before != Some(life);
        if is_new {
            self.ledger = Arc::default();
        }
        self.said = 0;
        is_new && before.is_some()
    }

    /// How far members here have acknowledged, if that is still to be said.
    fn unsaid(&self) -> Option<u64> {
        Some(self.ledger.settled()).filter(|settled| *settled != self.said)
    }
}

// === impl Shard ===

impl Shard {
    /// A message came from a peer: if members here are to acknowledge it, that is owed to the peer.
    pub(super) fn owe(&self, slot: u32, message: &Delivery<'_>) -> Option<Debt> {
        match &self.link_row(slot)?.target {
            Target::Peer(peer) => peer.debts.owe(message),
            Target::Cluster(_) => None,
        }
    }

    /// Says to a peer how far members here have acknowledged, if that is news and due.
    pub(super) fn say_debts(&mut self, slot: u32) {
        let now = self.core.now;
        let Some(peer) = self.link_row_mut(slot).and_then(LinkRow::peer_mut) else { return };
        let is_connected = peer.is_connected();
        let debts = &mut peer.debts;
        if !is_connected || now < debts.say_at {
            return;
        }
        let Some(settled) = debts.unsaid() else { return };
        (debts.said, debts.say_at) = (settled, now + SAY_EVERY);
        let mut payload = [0; 9];
        payload[0] = PREFIX;
        payload[1..].copy_from_slice(&settled.to_be_bytes());
        self.with_link(slot, |link, out| link.control(out, &payload));
    }

    /// A peer has said how far members there have acknowledged.
    pub(super) fn hear_debts(&mut self, slot: u32, payload: &[u8]) {
        let Some(settled) = payload.get(1..).and_then(|rest| rest.first_chunk::<8>()) else { return };
        let settled = u64::from_be_bytes(*settled);
        self.with_link(slot, |link, _| link.settle(settled));
    }

    /// A peer began anew: what members there had not acknowledged goes to other members.
    pub(super) fn bequeath_held(&mut self, slot: u32) {
        let (now, receiver) = (self.core.now, self.link_receiver(slot));
        self.with_link(slot, |link, out| {
            link.take_held(now.duration(), |held| out.shard.give_forward(receiver, held));
        });
    }

    /// Gives what was for members at a node to one of each group elsewhere.
    pub(super) fn give_forward(&mut self, node: Receiver, left: &Forward<'_>) {
        let expires_at = expires_at(left.layout, left.frame, self.core.now);
        let mut publication = Publication::new(left.frame, left.layout, left.path, expires_at);
        for share in left.aside.shares {
            if !self.give_to_group(node, *share, &publication) {
                self.core.keep_unclaimed(*share, &mut publication);
            }
        }
    }
}

// === impl PeerRow ===

impl PeerRow {
    /// Whether the peer must still hear what members here have acknowledged.
    pub fn owes_word(&self) -> bool {
        self.is_connected() && self.debts.unsaid().is_some()
    }
}
