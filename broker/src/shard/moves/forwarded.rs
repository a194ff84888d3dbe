//! What a node forwards of a session that it gave to this one, where the client has unsubscribed meanwhile.

use std::sync::Arc;

use crate::message::Delivery;
use crate::metrics::Dropped;
use crate::router::{Member, Receiver, group_number};
use crate::shard::Shard;
use crate::topic::Subscription;

// === impl Shard ===

impl Shard {
    /// Takes a message that another node had for a session. After an UNSUBSCRIBE none is added for it `[MQTT-3.10.4-2]`,
    /// though that node may not know of it yet: what came by a shared subscription is another member's then.
    pub(in crate::shard) fn append_forwarded(&mut self, slot: u32, from: &Arc<str>, delivery: Delivery) {
        if self.still_wants(slot, &delivery) {
            return self.append_delivery(slot, delivery, true);
        }
        match self.heir(slot, from, &delivery) {
            Some(other) => self.give_to_member(&other, &delivery),
            None => self.core.counters.drop_message(Dropped::NoSubscription),
        }
    }

    /// Whether the session has a subscription by which a message may have come.
    fn still_wants(&self, slot: u32, delivery: &Delivery) -> bool {
        let Some(client) = self.core.rows.get(slot as usize).and_then(|row| row.client()) else { return false };
        let Some(topic) = topic(delivery) else { return false };
        client.subscriptions.keys().any(|subscription| match subscription {
            Subscription::Plain(filter) => delivery.group == 0 && filter.matches(topic),
            Subscription::Shared { group, filter } => delivery.group == group_number(group, filter),
        })
    }

    /// Another member of the group by which a message came, at the node that forwards it only if nobody else is left: what
    /// that node has of the session counts as a member that is off-line. Members take turns, so that a message is not given
    /// back and forth for ever where there is another one.
    fn heir(&mut self, slot: u32, from: &Arc<str>, delivery: &Delivery) -> Option<Member> {
        let there = self.peer_names.iter().find(|(name, _)| name == from).map(|(_, receiver)| *receiver);
        let entry = topic(delivery).and_then(|topic| self.cache.find(&self.shared.index, topic.as_bytes()).ok());
        let group = entry.and_then(|entry| self.cache.entry(entry).local_group(delivery.group));
        let group = group?;
        let own = self.core.shard;
        let is_self = |receiver: Receiver| receiver.shard == own && receiver.slot == slot;
        let is_there = |member: &Member| there.is_some_and(|there| there.same(member.receiver));
        let others = || group.members().iter().filter(|member| !is_self(member.receiver));
        let online = others().find(|member| member.is_online());
        let elsewhere = || others().find(|member| !is_there(member));
        online.or_else(elsewhere).or_else(|| others().find(|member| member.size() > 1)).cloned()
    }
}

fn topic(delivery: &Delivery) -> Option<&str> {
    let message = &delivery.message;
    std::str::from_utf8(message.layout().topic(message.frame())).ok()
}
