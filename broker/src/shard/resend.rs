//! What a client did not acknowledge on an earlier connection is sent again before anything new.

use super::deliver::Core;
use super::publication::{Form, Publication, TooLarge};
use super::row::Row;
use crate::codec::Reason;
use crate::codec::ack::{self, Ack, AckKind};
use crate::metrics::Dropped;

// === impl Core ===

impl Core {
    /// Begins a connection of a session that was there: PUBREL packets at once, PUBLISH packets as the window allows.
    pub fn begin_resend(&mut self, slot: u32) {
        let Some(row) = self.rows.get_mut(slot as usize) else { return };
        let Row { output, flow: Some(flow), version, .. } = row else { return };
        for packet_id in flow.outbound.begin_resend() {
            let pubrel = Ack { kind: AckKind::Pubrel, packet_id, reason: Reason::Success, reason_string: None };
            ack::encode(output.buffer(&mut self.pool), *version, &pubrel);
        }
        self.mark_dirty(slot);
        self.resend(slot);
    }

    /// Sends again what the window has room for.
    pub fn resend(&mut self, slot: u32) {
        let Self { rows, pool, counters, scratch, now, .. } = self;
        let Some(row) = rows.get_mut(slot as usize) else { return };
        let Row { output, flow: Some(flow), connection: Some(_), version, window, maximum_packet_size, .. } = row
        else {
            return;
        };
        let mut sent = false;
        while let Some((packet_id, delivery)) = flow.outbound.next_resend(*window) {
            let form = Form {
                version: *version,
                qos: delivery.qos,
                retain: delivery.retain,
                dup: true,
                packet_id,
                ids: delivery.subscription_ids.as_deref().unwrap_or_default(),
                maximum_packet_size: *maximum_packet_size,
                expiry_left: delivery.message.expiry_left(*now),
            };
            match Publication::of(&delivery.message).append(&form, output, pool, scratch) {
                Ok(()) => {
                    counters.messages_sent[delivery.qos as usize] += 1;
                    counters.packets_sent += 1;
                    sent = true;
                }
                // A packet that this connection may not get counts as sent and acknowledged [MQTT-3.1.2-25].
                Err(TooLarge) => {
                    counters.drop_message(Dropped::PacketTooLarge);
                    flow.outbound.abandon(packet_id);
                }
            }
        }
        if sent {
            self.mark_dirty(slot);
        }
    }
}
