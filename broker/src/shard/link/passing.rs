//! What came over a link and goes on to other nodes of this cluster: its batch is acknowledged when they have it, so that
//! nothing is lost with this node that another one was to get.

use std::sync::atomic::Ordering;

use crate::clock::Millis;
use crate::shard::Shard;
use crate::shard::batch::Note;
use crate::shard::control::Control;
use crate::shard::link::{LinkRow, Target};

/// What a link of this shard has given to other nodes.
#[derive(Default)]
pub struct Passing {
    /// Something was given since they were last asked.
    given: bool,
    /// What they are asked for, since when, and a bit for each shard whose peers have not answered.
    under_way: Option<(u64, Millis, u64)>,
    /// What they are asked for next.
    next: Option<u64>,
}

/// A link that waits for the peers of all shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    shard: u8,
    slot: u32,
    epoch: u16,
    token: u64,
}

/// What links wait for that peers of this shard are to take: row of the peer, place in its lane, who waits.
#[derive(Default)]
pub struct Receipts {
    awaited: Vec<(u32, u64, Receipt)>,
}

/// Longest time that a batch waits for other nodes: one that stands still must not hold up what all others get.
const WAIT_MAX: Millis = Millis(2_000);

// === impl Shard ===

impl Shard {
    /// Takes note whether what a link has just delivered went to other nodes too.
    pub(in crate::shard) fn note_passing(&mut self, slot: u32) {
        if std::mem::take(&mut self.core.passing)
            && let Some(row) = self.link_row_mut(slot)
            && matches!(row.target, Target::Cluster(_))
        {
            row.passing.given = true;
        }
    }

    /// Whether other nodes have all that a link has delivered so far; else it is told when they have.
    pub(in crate::shard) fn await_peers(&mut self, slot: u32, token: u64) -> bool {
        let Some(row) = self.link_row_mut(slot) else { return true };
        if row.passing.under_way.is_some() {
            row.passing.next = Some(token);
            return false;
        }
        if !std::mem::take(&mut row.passing.given) {
            return true;
        }
        let shards = self.shared.shards_with_links.load(Ordering::Acquire);
        let (now, own) = (self.core.now, self.core.shard);
        let Some(epoch) = self.core.rows.get(slot as usize).map(|row| row.epoch) else { return true };
        let receipt = Receipt { shard: own, slot, epoch, token };
        if let Some(row) = self.link_row_mut(slot) {
            row.passing.under_way = Some((token, now, shards));
        }
        for (to, batch) in self.core.outboxes.iter_mut().enumerate() {
            if to != usize::from(own) && shards & 1 << to != 0 {
                batch.note(Note::Receipt(receipt));
            }
        }
        // Its answer comes by the inbox as well, when the link is done with what it does.
        self.await_receipt(receipt);
        false
    }

    /// Somebody waits until the peers of this shard have taken all that they were given so far.
    pub(in crate::shard) fn await_receipt(&mut self, receipt: Receipt) {
        for slot in &self.links {
            let Some(LinkRow { link: Some(link), target: Target::Peer(peer), .. }) = self.link_row(*slot) else {
                continue;
            };
            let end = link.end_of_lane();
            if peer.is_connected() && link.taken_of_lane() < end {
                self.receipts.awaited.push((*slot, end, receipt));
            }
        }
        self.answer_receipt(receipt);
    }

    /// A peer may have taken more, or can't be reached any more.
    pub(in crate::shard) fn note_receipts(&mut self, slot: u32) {
        if self.receipts.awaited.is_empty() {
            return;
        }
        let row = self.link_row(slot);
        let Some(LinkRow { link: Some(link), target: Target::Peer(peer), .. }) = row else { return };
        let reached = if peer.is_connected() { link.taken_of_lane() } else { u64::MAX };
        self.settle_receipts(slot, reached);
    }

    /// A peer's row is going.
    pub(in crate::shard) fn drop_receipts(&mut self, slot: u32) {
        self.settle_receipts(slot, u64::MAX);
    }

    fn settle_receipts(&mut self, slot: u32, reached: u64) {
        let is_done = |(peer, end, _): &mut (u32, u64, Receipt)| *peer == slot && *end <= reached;
        let done: Vec<Receipt> = self.receipts.awaited.extract_if(.., is_done).map(|(_, _, receipt)| receipt).collect();
        done.into_iter().for_each(|receipt| self.answer_receipt(receipt));
    }

    /// Answers who waits, unless other peers of this shard are behind.
    fn answer_receipt(&self, receipt: Receipt) {
        if !self.receipts.awaited.iter().any(|(_, _, awaited)| *awaited == receipt) {
            self.shared.inboxes[usize::from(receipt.shard)].send(Control::Received(receipt, self.core.shard));
        }
    }

    /// The peers of a shard have taken what a link of this shard waits for.
    pub(in crate::shard) fn received(&mut self, receipt: Receipt, from: u8) {
        let Receipt { slot, epoch, token, .. } = receipt;
        if self.core.rows.get(slot as usize).is_none_or(|row| row.epoch != epoch) {
            return;
        }
        let Some(row) = self.link_row_mut(slot) else { return };
        let Some((awaited, _, missing)) = &mut row.passing.under_way else { return };
        if *awaited != token {
            return;
        }
        *missing &= !(1 << from);
        if *missing == 0 {
            self.passed_on(slot, token);
        }
    }

    /// Gives up waiting for nodes that stand still.
    pub(in crate::shard) fn tick_passing(&mut self, slot: u32) {
        let now = self.core.now;
        let Some((token, since, _)) = self.link_row(slot).and_then(|row| row.passing.under_way) else { return };
        if now.since(since) >= WAIT_MAX {
            self.passed_on(slot, token);
        }
    }

    fn passed_on(&mut self, slot: u32, token: u64) {
        let Some(row) = self.link_row_mut(slot) else { return };
        row.passing.under_way = None;
        let next = row.passing.next.take();
        self.with_link(slot, |link, out| link.passed_on(out, token));
        if let Some(next) = next
            && self.await_peers(slot, next)
        {
            self.with_link(slot, |link, out| link.passed_on(out, next));
        }
    }
}
