//! What a link asks of the shard around it.

use std::num::NonZeroU16;

use super::control::Control;
use super::link::LinkConn;
use super::publication::Publication;
use super::row::{Role, Row};
use super::{Barrier, Shard};
use crate::clock::Millis;
use crate::codec::ack::AckKind;
use crate::codec::publish::{self, Parts};
use crate::codec::{Qos, Reason, Version};
use crate::link::{Conn, Delivery, Mark, Outlet, Refusal};
use crate::metrics::Closed;
use crate::router::SubscriptionEntry;
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
    fn row_of(&self, conn: Conn) -> Option<u32> {
        let row = self.shard.link_row(self.slot)?;
        row.connections.iter().find(|known| known.conn == conn).map(|LinkConn { slot, .. }| *slot)
    }
}

impl Outlet for LinkOutlet<'_> {
    fn publish(&mut self, conn: Conn, topic: &'static str, packet_id: Option<NonZeroU16>, payload: &[u8]) {
        let Some(slot) = self.row_of(conn) else { return };
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
        self.shard.append(slot, |out| {
            publish::encode(out, &parts);
        });
    }

    fn acknowledge(&mut self, conn: Conn, packet_id: NonZeroU16) {
        if let Some(slot) = self.row_of(conn) {
            self.shard.answer(slot, Version::V5, AckKind::Puback, packet_id.get(), Reason::Success);
        }
    }

    fn close(&mut self, conn: Conn, refusal: &Refusal) {
        let Some(slot) = self.row_of(conn) else { return };
        tracing::warn!(link = %self.shard.link_name(self.slot), "A connection of a link is closed: {refusal}.");
        let reason = Reason::from_code(refusal.why.reason_code()).unwrap_or(Reason::Unspecified);
        self.shard.disconnect(slot, Closed::LinkProtocol, reason, &refusal.to_string());
    }

    fn has_room(&self, conn: Conn) -> bool {
        let limit = self.shard.core.tuning.mqtt.max_output_bytes.0 as usize;
        let row = self.row_of(conn).and_then(|slot| self.shard.core.rows.get(slot as usize));
        row.is_some_and(|row| row.output.len() < limit)
    }

    fn deliver(&mut self, message: &Delivery<'_>) {
        let now = self.shard.core.now;
        let expires_at = message.layout.expiry(message.frame).map(|seconds| now + Millis(u64::from(seconds) * 1000));
        let mut publication = Publication::new(message.frame, message.layout, message.path, expires_at);
        publication.qos = message.qos;
        self.shard.route(None, &mut publication);
    }

    fn subscribe(&mut self, filter: &Filter) {
        let receiver = self.shard.link_receiver(self.slot);
        let entry = SubscriptionEntry { receiver, subscription_id: None, presence: None };
        self.shard.shared.index.subscribe(&Subscription::Plain(filter.clone()), entry);
    }

    fn unsubscribe(&mut self, filter: &Filter) {
        let receiver = self.shard.link_receiver(self.slot);
        self.shard.shared.index.unsubscribe(&Subscription::Plain(filter.clone()), receiver);
    }

    fn sync(&mut self, _token: u64) -> bool {
        // What the link did leaves with the end of this turn, which waits for the store's commit.
        true
    }

    fn barrier(&mut self, token: u64) -> bool {
        let own = self.shard.core.shard;
        let others = self.shard.shared.inboxes.len() - 1;
        if others == 0 {
            return true;
        }
        let barrier = Barrier { slot: self.slot, token };
        if let Some(row) = self.shard.link_row_mut(self.slot) {
            row.barriers.insert(token, others);
        }
        for (shard, inbox) in self.shard.shared.inboxes.iter().enumerate() {
            if shard != usize::from(own) {
                inbox.send(Control::Barrier { shard: own, barrier });
            }
        }
        false
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
    fn link_name(&self, slot: u32) -> &str {
        match self.core.rows.get(slot as usize) {
            Some(Row { role: Role::Link(row), .. }) => &row.name,
            Some(_) | None => "",
        }
    }
}
