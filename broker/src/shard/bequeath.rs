//! What a member of a shared subscription leaves behind goes to another member of its group.

use std::collections::HashMap;
use std::sync::Arc;

use super::publication::Publication;
use super::row::{Role, Row};
use super::{Shard, route};
use crate::codec::Qos;
use crate::message::{Delivery, Message};
use crate::metrics::Dropped;
use crate::router::{Group, Member, Path, Receiver, ReceiverFlags};
use crate::topic::Filter;

/// The shared subscriptions of a session that ends.
struct Testament {
    me: Receiver,
    /// Their filters, and whether they keep the RETAIN flag as published.
    shares: Vec<(Filter, bool)>,
    /// The groups by topic that have others; a session in several of them had a copy for each.
    groups: HashMap<Box<str>, Vec<Group>>,
    /// The message given away last, and how many copies of it were.
    last: Option<(Arc<Message>, usize)>,
}

// === impl Testament ===

impl Testament {
    /// Which copy of a message this is, from 0, and whether it is surely one of the same message: a session that has
    /// moved holds equal ones without knowing.
    fn copy(&mut self, message: &Arc<Message>) -> (usize, bool) {
        let (copy, is_same) = match &self.last {
            Some((last, copy)) if last.frame() == message.frame() => (copy + 1, Arc::ptr_eq(last, message)),
            _ => (0, false),
        };
        self.last = Some((message.clone(), copy));
        (copy, is_same)
    }
}

// === impl Shard ===

impl Shard {
    /// A session is about to end: what came to it by shared subscriptions and is not acknowledged, or not even sent, goes
    /// to others of the group (section 4.8.2). A QoS 2 message that was sent stays its own `[MQTT-4.8.2-5]`.
    pub(super) fn bequeath(&mut self, slot: u32) {
        let Some(row) = self.core.rows.get_mut(slot as usize) else { return };
        let Row { role: Role::Client(client), flow: Some(flow), epoch, .. } = row else { return };
        if client.presence.is_none() {
            return;
        }
        let shares = client.subscriptions.iter().filter(|(subscription, _)| subscription.is_shared());
        let shares =
            shares.map(|(subscription, state)| (subscription.filter().clone(), state.flags.retain_as_published()));
        let me = Receiver { slot, epoch: *epoch, shard: self.core.shard, flags: ReceiverFlags::default() };
        let mut testament = Testament { me, shares: shares.collect(), groups: HashMap::new(), last: None };
        let (sent, queued) = (flow.outbound.take_unacknowledged(), flow.queue.take_all());
        for delivery in sent {
            self.pass_on(&mut testament, &delivery);
        }
        for delivery in queued {
            if !self.pass_on(&mut testament, &delivery) {
                self.core.counters.drop_message(Dropped::SessionEnded);
            }
        }
    }

    /// Gives a message to another member; false if there is none, or it did not come by a shared subscription.
    fn pass_on(&mut self, testament: &mut Testament, delivery: &Delivery) -> bool {
        let (message, now) = (&delivery.message, self.core.now);
        let layout = message.layout();
        let Ok(topic) = std::str::from_utf8(layout.topic(message.frame())) else { return false };
        // What was retained before came by a subscription of its own.
        let is_shared =
            |(filter, as_published): &(Filter, bool)| filter.matches(topic) && (*as_published || !delivery.retain);
        if delivery.qos == Qos::AtMostOnce || message.is_expired(now) || !testament.shares.iter().any(is_shared) {
            return false;
        }
        let me = testament.me;
        // When the node stops, the others here are told to go as well.
        let stops = self.stopping.is_some();
        let is_other = |member: &Member| if stops { member.is_peer() } else { !member.receiver.same(me) };
        if !testament.groups.contains_key(topic) {
            let Ok(entry) = self.cache.find(&self.shared.index, topic.as_bytes()) else { return false };
            let is_mine = |group: &Group| group.members().iter().any(|member| member.receiver.same(me));
            let groups = self.cache.entry(entry).groups.iter();
            let groups = groups.filter(|group| is_mine(group) && group.members().iter().any(is_other));
            testament.groups.insert(topic.into(), groups.cloned().collect());
        }
        let (copy, is_same) = testament.copy(message);
        let Some(groups) = testament.groups.get(topic).filter(|groups| !groups.is_empty()) else { return false };
        // One more than there are groups was for a group without others, or for none.
        if is_same && copy >= groups.len() {
            return false;
        }
        let group = &groups[copy % groups.len()];
        let other =
            if stops { group.members().iter().find(|member| is_other(member)) } else { group.choose_other(me, false) };
        let Some(other) = other.cloned() else { return false };
        let mut frame = message.frame().to_vec();
        if let Some(left) = message.expiry_left(now) {
            layout.set_expiry(&mut frame, left);
        }
        let publication = Publication::new(&frame, layout, Path::EMPTY, message.expires_at());
        route::pass_on(&mut self.core, &other, &publication);
        true
    }
}
