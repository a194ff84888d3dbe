//! What a member of a shared subscription, or a node with members, leaves behind goes to another member of the group.

use std::collections::HashMap;
use std::sync::Arc;

use tombolo_broker_api::SharedSubscriptions;

use crate::codec::Qos;
use crate::link::Link;
use crate::message::{Delivery, Message};
use crate::metrics::Dropped;
use crate::router::{Group, Member, Path, Receiver, ReceiverFlags};
use crate::shard::publication::Publication;
use crate::shard::row::{Role, Row};
use crate::shard::{Shard, route};

/// A message for members of shared subscriptions whose row was gone, or on its way out, when it came there.
pub struct Orphan {
    /// The row.
    pub receiver: Receiver,
    /// The message.
    pub message: Arc<Message>,
    /// Its QoS.
    pub qos: Qos,
    /// Numbers of the groups.
    pub shares: Box<[u32]>,
}

/// Who inherits from a session that ends.
struct Testament {
    me: Receiver,
    /// By topic the groups that it is in and that have others.
    groups: HashMap<Box<str>, Vec<Group>>,
}

// === impl Shard ===

impl Shard {
    /// A session is about to end: what came to it by shared subscriptions and is not acknowledged, or not even sent, goes
    /// to others of the group (section 4.8.2). A QoS 2 message that was sent stays its own `[MQTT-4.8.2-5]`.
    pub(in crate::shard) fn bequeath(&mut self, slot: u32) {
        let Some(row) = self.core.rows.get_mut(slot as usize) else { return };
        let Row { role: Role::Client(client), flow: Some(flow), epoch, .. } = row else { return };
        if client.presence.is_none() {
            return;
        }
        let me = Receiver { slot, epoch: *epoch, shard: self.core.shard, flags: ReceiverFlags::default() };
        let mut testament = Testament { me, groups: HashMap::new() };
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
        if delivery.qos == Qos::AtMostOnce || message.is_expired(now) || delivery.group == 0 {
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
        let groups = testament.groups.get(topic);
        let group = groups.and_then(|groups| groups.iter().find(|group| group.number() == delivery.group));
        let Some(group) = group else { return false };
        let other =
            if stops { group.members().iter().find(|member| is_other(member)) } else { group.choose_other(me, false) };
        let Some(other) = other.cloned() else { return false };
        self.give_to_member(&other, delivery);
        true
    }

    /// Gives a message that one member of a group does not take to another.
    pub(in crate::shard) fn give_to_member(&mut self, member: &Member, delivery: &Delivery) {
        let Delivery { message, .. } = delivery;
        let layout = message.layout();
        let mut frame = message.frame().to_vec();
        if let Some(left) = message.expiry_left(self.core.now) {
            layout.set_expiry(&mut frame, left);
        }
        let mut publication = Publication::new(&frame, layout, Path::EMPTY, message.expires_at());
        publication.passage.debt = message.debt();
        route::pass_on(&mut self.core, member, &publication);
    }

    /// The row of a node that has left the list is gone: what it was not known to have taken, of what a member there was
    /// chosen for, goes to another member. It may have taken some of it, which then comes twice.
    pub(in crate::shard) fn bequeath_lane(&mut self, link: &mut Link, node: Receiver) {
        link.take_left(self.core.now.duration(), |left| self.give_forward(node, left));
    }

    /// Gives to others what was routed to members that were gone when it came there.
    pub(in crate::shard) fn give_orphans(&mut self) {
        for Orphan { receiver, message, qos, shares } in std::mem::take(&mut self.core.orphans) {
            let mut publication = Publication::of(&message);
            publication.qos = qos;
            self.give_to_groups(receiver, &shares, &publication);
        }
    }

    /// What waited for a session that is over, and came by a shared subscription, goes to another member: not to the row that
    /// is left of it, if there is one.
    pub(in crate::shard) fn bequeath_left(&mut self, row: Option<u32>, delivery: &Delivery) {
        if delivery.qos == Qos::AtMostOnce || delivery.message.is_expired(self.core.now) {
            return;
        }
        let slot = row.unwrap_or(u32::MAX);
        let epoch = self.core.rows.get(slot as usize).map_or(0, |row| row.epoch);
        let but = Receiver { slot, epoch, shard: self.core.shard, flags: ReceiverFlags::default() };
        self.give_to_groups(but, &[delivery.group], &Publication::of(&delivery.message));
    }

    /// Gives a message to one member of each of these groups, but not to `but`.
    pub(in crate::shard) fn give_to_groups(&mut self, but: Receiver, shares: &[u32], publication: &Publication<'_>) {
        for number in shares {
            if !self.give_to_group(but, *number, publication) {
                self.core.counters.drop_message(Dropped::NoSubscription);
            }
        }
    }

    /// The same for one group; false if there is nobody.
    pub(in crate::shard) fn give_to_group(
        &mut self,
        but: Receiver,
        number: u32,
        publication: &Publication<'_>,
    ) -> bool {
        let topic = publication.layout.topic(publication.frame);
        let Ok(entry) = self.cache.find(&self.shared.index, topic) else { return false };
        let local_first = self.core.tuning.cluster.shared_subscriptions == SharedSubscriptions::LocalFirst;
        let group = self.cache.entry(entry).local_group(number);
        let member = group.and_then(|group| group.choose_other(but, local_first));
        member.map(|member| route::pass_on(&mut self.core, member, publication)).is_some()
    }
}
