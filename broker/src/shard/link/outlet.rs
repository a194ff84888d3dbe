//! What a link asks of the shard around it.

use std::num::NonZeroU16;
use std::sync::Arc;

use crate::clock;
use crate::codec::ack::AckKind;
use crate::codec::publish::{self, Parts};
use crate::codec::{Qos, Reason, Version};
use crate::link::way::What;
use crate::link::{Aside, Conn, Delivery, Mark, Outlet, Refusal};
use crate::metrics::Closed;
use crate::router::{Receiver, SharedSubscription, SubscriptionEntry};
use crate::shard::Shard;
use crate::shard::control::Control;
use crate::shard::link::{LinkConn, Target};
use crate::shard::moves::news::News;
use crate::shard::publication::{Passage, Publication, expires_at};
use crate::shard::row::{Role, Row};
use crate::topic::{Filter, Subscription};

/// The shard, as the link in `slot` sees it while it acts.
pub struct LinkOutlet<'a> {
    /// The shard.
    pub shard: &'a mut Shard,
    /// The link's row.
    pub slot: u32,
}

// === impl LinkOutlet ===

impl LinkOutlet<'_> {
    /// What another node wants, this cluster wants of others.
    fn peer_wants_other(&mut self) {
        if self.shard.link_row(self.slot).is_some_and(|row| matches!(row.target, Target::Peer(_))) {
            self.shard.tell_links();
        }
    }

    /// Whether who sent a message routed it by what an earlier life of this node wanted, or by nothing at all.
    fn is_behind(&self, message: &Delivery<'_>) -> bool {
        let local = &self.shard.shared.local;
        let marked = message.marks.get(message.shard, &local.cluster_id, &local.node);
        !marked.is_of(local.incarnation)
    }

    fn row_of(&self, conn: Conn) -> Option<u32> {
        let row = self.shard.link_row(self.slot)?;
        row.connections.iter().find(|known| known.conn == conn).map(|LinkConn { slot, .. }| *slot)
    }
}

impl Outlet for LinkOutlet<'_> {
    fn publish(&mut self, conn: Conn, topic: &'static str, packet_id: Option<NonZeroU16>, payload: &[u8]) {
        match self.row_of(conn) {
            Some(slot) => self.shard.write_link_packet(slot, topic, packet_id, payload),
            None => self.shard.write_on_way(self.slot, conn, What::Publish { topic, packet_id, payload }),
        }
    }

    fn acknowledge(&mut self, conn: Conn, packet_id: NonZeroU16) {
        match self.row_of(conn) {
            Some(slot) => self.shard.answer(slot, Version::V5, AckKind::Puback, packet_id.get(), Reason::Success),
            None => self.shard.write_on_way(self.slot, conn, What::Puback(packet_id)),
        }
    }

    fn close(&mut self, conn: Conn, refusal: &Refusal) {
        let Some(slot) = self.row_of(conn) else {
            return self.shard.write_on_way(self.slot, conn, What::Close(&refusal.to_string()));
        };
        tracing::warn!(link = %self.shard.link_name(self.slot), "A connection of a link is closed: {refusal}.");
        let reason = Reason::from_code(refusal.why.reason_code()).unwrap_or(Reason::Unspecified);
        self.shard.disconnect(slot, Closed::LinkProtocol, reason, &refusal.to_string());
    }

    fn has_room(&self, conn: Conn) -> bool {
        // What may be lost is lost where a way leads through, if there is no room.
        self.row_of(conn).is_none_or(|slot| self.shard.has_output_room(slot))
    }

    fn deliver(&mut self, message: &Delivery<'_>) -> bool {
        let expires_at = expires_at(message.layout, message.frame, self.shard.core.now);
        let mut publication = Publication::new(message.frame, message.layout, message.path, expires_at);
        publication.qos = message.qos;
        let Aside { stamp, shares, shares_only, origin } = message.aside;
        let repeat = origin.is_some_and(|origin| !self.shard.shared.is_first(origin));
        let lane = message.from_peer.then_some((message.node, message.shard));
        let back = (!shares.is_empty() && self.is_behind(message)).then(|| {
            let sender = self.shard.link_receiver(self.slot);
            Receiver { flags: sender.flags.with_as_member(true), ..sender }
        });
        let debt = self.shard.owe(self.slot, message);
        publication.passage = Passage {
            from_peer: message.from_peer,
            lane,
            stamp,
            shares,
            shares_only,
            back,
            origin,
            repeat,
            debt: debt.as_ref(),
        };
        if let Some(stamp) = stamp {
            // What happens here from now on happens later.
            self.shard.shared.stamps.merge(stamp, clock::unix_micros());
        }
        self.shard.route(None, &mut publication);
        self.shard.note_passing(self.slot);
        !repeat
    }

    fn subscribe(&mut self, filter: &Filter) {
        let receiver = self.shard.link_receiver(self.slot);
        let entry = SubscriptionEntry { receiver, subscription_id: None, presence: None };
        self.shard.shared.index.subscribe(&Subscription::Plain(filter.clone()), entry);
        self.peer_wants_other();
    }

    fn unsubscribe(&mut self, filter: &Filter) {
        let receiver = self.shard.link_receiver(self.slot);
        self.shard.shared.index.unsubscribe(&Subscription::Plain(filter.clone()), receiver);
        self.peer_wants_other();
    }

    fn share(&mut self, share: &SharedSubscription) {
        let receiver = self.shard.link_receiver(self.slot);
        let Some(Target::Peer(peer)) = self.shard.link_row(self.slot).map(|row| &row.target) else { return };
        self.shard.shared.index.put_share(receiver, share, &peer.presence);
        self.peer_wants_other();
    }

    fn unshare(&mut self, group: &str, filter: &Filter) {
        let receiver = self.shard.link_receiver(self.slot);
        self.shard.shared.index.drop_share(receiver, group, filter);
        self.peer_wants_other();
    }

    fn control(&mut self, _node: &Arc<str>, payload: &[u8]) {
        self.shard.hear_peer(self.slot, payload);
    }

    fn passed(&mut self, node: &Arc<str>, shard: u8, mark: &Mark) {
        if mark.cluster == self.shard.shared.local.cluster_id {
            let (about, version) = (Arc::clone(&mark.node), mark.version);
            self.shard.spread(&News::Mark { origin: Arc::clone(node), shard, about, version });
        }
    }

    fn way(&mut self, conn: Conn, payload: &[u8]) {
        self.shard.hear_way(self.slot, conn, payload);
    }

    fn sync(&mut self, _token: u64) -> bool {
        // What the link did leaves with the end of this turn, which waits for the store's commit.
        true
    }

    fn passed_on(&mut self, token: u64) -> bool {
        self.shard.await_peers(self.slot, token)
    }

    fn announce(&mut self, mark: &Mark) {
        let own = usize::from(self.shard.core.shard);
        for (shard, inbox) in self.shard.shared.inboxes.iter().enumerate() {
            if shard != own {
                inbox.send(Control::Mark(mark.clone()));
            }
        }
        self.shard.marks.push(mark.clone());
    }

    fn pressure(&mut self, full: bool) {
        self.shard.set_pressure(self.slot, full);
    }
}

// === impl Shard ===

impl Shard {
    /// Writes a PUBLISH of a link on one of its connections, in the row `slot`.
    pub(in crate::shard) fn write_link_packet(
        &mut self,
        slot: u32,
        topic: &'static str,
        packet_id: Option<NonZeroU16>,
        payload: &[u8],
    ) {
        let parts = Parts {
            version: Version::V5,
            qos: if packet_id.is_some() { Qos::AtLeastOnce } else { Qos::AtMostOnce },
            retain: false,
            dup: false,
            packet_id: packet_id.map_or(0, NonZeroU16::get),
            topic: topic.as_bytes(),
            properties: &[],
            subscription_ids: &[],
            payload,
        };
        self.append(slot, |out| {
            publish::encode(out, &parts);
        });
    }

    /// Whether the output of a row is below its limit.
    pub(in crate::shard) fn has_output_room(&self, slot: u32) -> bool {
        let limit = self.core.tuning.mqtt.max_output_bytes.0 as usize;
        self.core.rows.get(slot as usize).is_some_and(|row| row.output.len() < limit)
    }

    /// Name of a link, for the log.
    pub(in crate::shard) fn link_name(&self, slot: u32) -> &str {
        match self.core.rows.get(slot as usize) {
            Some(Row { role: Role::Link(row), .. }) => row.key.name(),
            Some(_) | None => "",
        }
    }
}
