//! What is left in a link with a node that has left the cluster for good: what was for members of shared subscriptions there.

use super::batch::Head;
use super::outlet::{Forward, Now};
use super::record::{Record, Records};
use super::spool::Spool;
use super::state::Link;
use crate::codec::Qos;

// === impl Link ===

impl<S: Spool> Link<S> {
    /// Empties the lane of messages of a link that has ended. `each` gets those of QoS 1 and 2 that the other node is not
    /// known to have taken and of which members of shared subscriptions there were to get one.
    pub fn take_left(&mut self, now: Now, mut each: impl FnMut(&Forward<'_>)) {
        let numbers = &mut self.scratch_shares;
        self.messages.take_all(now, |payload| {
            let Some((_, records)) = Head::read(payload) else { return };
            let (mut records, mut shard) = (Records::new(records), 0);
            while let Some(Ok(record)) = records.next() {
                if let Record::Shard(routed_by) = record {
                    shard = routed_by;
                } else if let Record::Message { path, aside, frame, layout } = record {
                    let (aside, qos) = (aside.decode(numbers), layout.qos());
                    if qos > Qos::AtMostOnce && !aside.shares.is_empty() && layout.expiry(frame) != Some(0) {
                        each(&Forward { frame, layout, qos, path, shard, aside });
                    }
                }
            }
        });
    }
}
