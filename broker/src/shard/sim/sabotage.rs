//! Rules that are broken on purpose, inside the shards, to see that the simulation notices.

use super::node::{Life, name};
use super::plan::Sabotage;
use super::world::World;
use crate::codec::Qos;
use crate::message::Account;
use crate::router::{Kind, Receiver, ReceiverFlags, SubscriptionEntry};
use crate::session::{Limits, Outbound};
use crate::shard::batch::Batch;
use crate::shard::{LinkKey, Shard};
use crate::topic::Subscription;

const NO_LIMITS: Limits = Limits { messages: usize::MAX, bytes: usize::MAX };

// === impl World ===

impl World {
    /// Breaks the rule of this schedule at a node that is about to have a turn, now and then.
    pub fn sabotage(&mut self, node: usize) {
        let Some(sabotage) = self.plan.sabotage else { return };
        let chance = self.random.chance(2);
        let Some(life) = &mut self.nodes[node].life else { return };
        let shared = &life.shared;
        match sabotage {
            Sabotage::DropBatch if chance => {
                for inbox in &shared.inboxes {
                    for from in 0..shared.inboxes.len() {
                        inbox.take_batch(from, &mut Batch::default());
                    }
                }
            }
            Sabotage::SettleAtOnce => (0..self.plan.nodes - 1).for_each(|place| shared.settled.leave_alone(place)),
            Sabotage::LeakSubscription if chance => {
                let Ok(subscription) = Subscription::parse("t/leak", 10) else { return };
                let flags = ReceiverFlags::new(Kind::Client, 1);
                let receiver = Receiver { slot: 9999, epoch: 1, shard: 0, flags };
                shared
                    .index
                    .subscribe(&subscription, SubscriptionEntry { receiver, subscription_id: None, presence: None });
            }
            Sabotage::DropBatch | Sabotage::LeakSubscription | Sabotage::LoseLeft => {}
            Sabotage::ForgetSeen => *shared.seen.lock().expect("one thread") = Default::default(),
            Sabotage::DoubleMessage
            | Sabotage::ForgetInFlight
            | Sabotage::SwapQueue
            | Sabotage::ForgetReceived
            | Sabotage::JoinEarly
            | Sabotage::HideRetained
            | Sabotage::LetGo => life.shards.iter_mut().for_each(|shard| spoil(shard, sabotage)),
        }
    }
}

impl Life {
    /// Loses what waits for a node.
    pub fn lose_left(&mut self, node: usize) {
        let key = LinkKey::Peer(name(node));
        for shard in &mut self.shards {
            for slot in shard.links.clone() {
                let now = shard.core.now.duration();
                let row = shard.link_row_mut(slot).filter(|row| row.key == key);
                if let Some(link) = row.and_then(|row| row.link.as_mut()) {
                    link.take_left(now, |_| {});
                }
            }
        }
    }
}

fn spoil(shard: &mut Shard, sabotage: Sabotage) {
    for slot in shard.links.clone() {
        let Some(row) = shard.link_row_mut(slot) else { continue };
        match sabotage {
            Sabotage::HideRetained => row.peer_mut().into_iter().for_each(|peer| peer.leveller = None),
            Sabotage::LetGo => {
                row.link.iter_mut().for_each(|link| link.settle(&Account { upto: u64::MAX, open: Vec::new() }))
            }
            _ => {}
        }
    }
    shard.has_heard |= sabotage == Sabotage::JoinEarly;
    for (_, row) in &mut shard.core.rows {
        let Some(flow) = row.flow.as_mut().filter(|_| row.connection.is_none()) else { continue };
        match sabotage {
            Sabotage::ForgetInFlight => flow.outbound = Outbound::default(),
            Sabotage::ForgetReceived => flow.inbound = Default::default(),
            Sabotage::SwapQueue | Sabotage::DoubleMessage => {
                let mut all = flow.queue.take_all();
                if sabotage == Sabotage::SwapQueue {
                    all.make_contiguous().reverse();
                } else if all.len() == 1 && all[0].qos > Qos::AtMostOnce {
                    all.push_back(all[0].clone());
                }
                all.into_iter().for_each(|delivery| drop(flow.queue.push(delivery, NO_LIMITS)));
            }
            Sabotage::DropBatch
            | Sabotage::SettleAtOnce
            | Sabotage::HideRetained
            | Sabotage::LeakSubscription
            | Sabotage::LoseLeft
            | Sabotage::ForgetSeen
            | Sabotage::JoinEarly
            | Sabotage::LetGo => {}
        }
    }
}
