//! What a node that is gone had been sent for members of shared subscriptions there, and what was still to be sent.

use super::batch::Head;
use super::chunk::awaits_member;
use super::outlet::{Forward, Now};
use super::record::{Record, Records};
use super::spool::Spool;
use super::state::Link;
use crate::codec::Qos;
use crate::message::Account;

// === impl Link ===

impl<S: Spool> Link<S> {
    /// Members of shared subscriptions at the other node have acknowledged this of the lane of messages.
    pub fn settle(&mut self, account: &Account) {
        self.messages.settle(account);
    }

    /// The other node is gone with all that it took: `each` gets what members there had not acknowledged, as far as it was
    /// held.
    pub fn take_held(&mut self, now: Now, mut each: impl FnMut(&Forward<'_>)) {
        let numbers = &mut self.scratch_shares;
        self.messages.take_held(now, |payload, open| {
            for_members(payload, numbers, |number, left| {
                let is_open = open.is_none_or(|open| open.contains(&number));
                if is_open && awaits_member(&left.aside, left.qos, left.layout.retain()) {
                    each(left);
                }
            });
        });
    }

    /// Empties the lane of messages of a link that has ended. `each` gets those of QoS 1 and 2 that the other node is not
    /// known to have taken and of which members of shared subscriptions there were to get one, behind what it took and
    /// they had not acknowledged.
    pub fn take_left(&mut self, now: Now, mut each: impl FnMut(&Forward<'_>)) {
        self.take_held(now, &mut each);
        let numbers = &mut self.scratch_shares;
        self.messages.take_all(now, |payload| for_members(payload, numbers, |_, left| each(left)));
    }
}

/// Gives those messages of a chunk, with their numbers in it, that are for members of shared subscriptions and count.
fn for_members(payload: &[u8], numbers: &mut Vec<u32>, mut each: impl FnMut(u32, &Forward<'_>)) {
    let Some((_, records)) = Head::read(payload) else { return };
    let (mut records, mut shard, mut number) = (Records::new(records), 0, 0);
    while let Some(Ok(record)) = records.next() {
        if let Record::Shard(routed_by) = record {
            shard = routed_by;
        } else if let Record::Message { path, aside, frame, layout } = record {
            let (aside, qos) = (aside.decode(numbers), layout.qos());
            if qos > Qos::AtMostOnce && !aside.shares.is_empty() && layout.expiry(frame) != Some(0) {
                each(number, &Forward { frame, layout, qos, path, shard, aside });
            }
            number += 1;
        }
    }
}
