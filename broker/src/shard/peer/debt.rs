//! What nodes keep for each other until members of shared subscriptions have acknowledged it: said, heard, and given to others.

use std::sync::Arc;

use crate::clock::Millis;
use crate::link::{Delivery, Forward, Place};
use crate::message::{Account, Debt, LISTED_MAX, Ledger};
use crate::router::Receiver;
use crate::shard::Shard;
use crate::shard::link::{LinkRow, Target};
use crate::shard::peer::PeerRow;
use crate::shard::publication::{Publication, expires_at};

/// First byte of the control message that says how far members here have acknowledged.
pub const PREFIX: u8 = 0x22;

/// Bytes of a message in it: batch and number.
const LISTED: usize = 12;

/// Shortest time between two of them.
const SAY_EVERY: Millis = Millis(50);

/// What this node and another one keep for each other.
#[derive(Debug, Default)]
pub struct Debts {
    /// What members here have of the other node and not acknowledged.
    ledger: Arc<Ledger>,
    /// How much they had when that was said last on this connection.
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
        let Place { batch, message: number } = message.place;
        let is_owed = batch > 0 && message.is_for_members();
        is_owed.then(|| self.ledger.owe(batch, number))
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

    /// How much members here have acknowledged, if that is still to be said.
    fn unsaid(&self) -> Option<u64> {
        Some(self.ledger.settled()).filter(|settled| *settled != self.said)
    }
}

// === impl Shard ===

impl Shard {
    /// A message came from a peer: if members here are to acknowledge it, that is owed to the peer.
    pub(in crate::shard) fn owe(&self, slot: u32, message: &Delivery<'_>) -> Option<Debt> {
        match &self.link_row(slot)?.target {
            Target::Peer(peer) => peer.debts.owe(message),
            Target::Cluster(_) => None,
        }
    }

    /// Says to a peer how far members here have acknowledged, if that is news and due.
    pub(in crate::shard) fn say_debts(&mut self, slot: u32) {
        let now = self.core.now;
        let Some(peer) = self.link_row_mut(slot).and_then(LinkRow::peer_mut) else { return };
        let is_connected = peer.is_connected();
        let debts = &mut peer.debts;
        if !is_connected || now < debts.say_at {
            return;
        }
        let Some(settled) = debts.unsaid() else { return };
        (debts.said, debts.say_at) = (settled, now + SAY_EVERY);
        let payload = encode(&debts.ledger.account());
        self.with_link(slot, |link, out| link.control(out, &payload));
    }

    /// A peer has said how far members there have acknowledged.
    pub(in crate::shard) fn hear_debts(&mut self, slot: u32, payload: &[u8]) {
        if let Some(account) = decode(payload) {
            self.with_link(slot, |link, _| link.settle(&account));
        }
    }

    /// A peer began anew: what members there had not acknowledged goes to other members.
    pub(in crate::shard) fn bequeath_held(&mut self, slot: u32) {
        let (now, receiver) = (self.core.now, self.link_receiver(slot));
        self.with_link(slot, |link, out| {
            link.take_held(now.duration(), |held| out.shard.give_forward(receiver, held));
        });
    }

    /// Gives what was for members at a node to one of each group elsewhere.
    pub(in crate::shard) fn give_forward(&mut self, node: Receiver, left: &Forward<'_>) {
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

/// The control message: how far it tells, then what is not acknowledged of that.
fn encode(account: &Account) -> Vec<u8> {
    let mut payload = Vec::with_capacity(1 + 8 + LISTED * account.open.len());
    payload.push(PREFIX);
    payload.extend_from_slice(&account.upto.to_be_bytes());
    for (batch, number) in &account.open {
        payload.extend_from_slice(&batch.to_be_bytes());
        payload.extend_from_slice(&number.to_be_bytes());
    }
    payload
}

fn decode(payload: &[u8]) -> Option<Account> {
    let (upto, listed) = payload.get(1..)?.split_first_chunk::<8>()?;
    let (listed, []) = listed.as_chunks::<LISTED>() else { return None };
    let number_of = |bytes: &[u8; LISTED]| {
        let (batch, number) = bytes.split_first_chunk::<8>()?;
        Some((u64::from_be_bytes(*batch), u32::from_be_bytes(*number.first_chunk::<4>()?)))
    };
    let open: Vec<(u64, u32)> = listed.iter().take(LISTED_MAX).filter_map(number_of).collect();
    (open.len() == listed.len()).then_some(Account { upto: u64::from_be_bytes(*upto), open })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_read_as_it_was_written_and_nothing_else_is() {
        for open in [vec![], vec![(3, 0), (3, 9), (u64::MAX, u32::MAX)], vec![(1, 1); LISTED_MAX]] {
            let account = Account { upto: 7, open };
            assert_eq!(decode(&encode(&account)), Some(account));
        }
        let long = encode(&Account { upto: 7, open: vec![(1, 1); LISTED_MAX + 1] });
        for garbled in [&[PREFIX][..], &[PREFIX, 0, 0], &[PREFIX; 10], &long] {
            assert_eq!(decode(garbled), None);
        }
    }
}
