//! A PUBLISH from a client, from its first check to its acknowledgement.

use super::Shard;
use super::publication::{Publication, expires_at};
use super::read::Next;
use super::route::Routed;
use super::row::{Role, Row};
use crate::auth;
use crate::codec::publish::{self, Layout, Parts};
use crate::codec::{Error, Qos, Reason, Version, frame};
use crate::metrics::Dropped;
use crate::router::Path;
use crate::session::Arrival;
use crate::store::Change;

// === impl Shard ===

impl Shard {
    /// Takes a PUBLISH of a client.
    #[inline]
    pub(super) fn publish_packet(&mut self, slot: u32, version: Version, packet: &[u8]) -> Next {
        let layout = match publish::layout(packet, version) {
            Ok(layout) => layout,
            Err(error) => return self.refuse_packet(slot, error),
        };
        if layout.alias() == 0 {
            return self.publish(slot, version, packet, layout);
        }
        // Everything behind this point speaks of whole topics.
        let mut spelled = std::mem::take(&mut self.spelled);
        spelled.clear();
        let next = match self.resolve_alias(slot, packet, layout, &mut spelled) {
            Ok(layout) => self.publish(slot, version, &spelled, layout),
            Err(error) => self.refuse_packet(slot, error),
        };
        self.spelled = spelled;
        next
    }

    fn publish(&mut self, slot: u32, version: Version, packet: &[u8], layout: Layout) -> Next {
        let qos = layout.qos();
        let packet_id = layout.packet_id(packet);
        let topic = layout.topic(packet);
        if self.congested || !self.takes_publishes() || self.hold_for_link(topic) {
            self.pause(slot);
            return Next::Pause;
        }
        self.core.counters.messages_received[qos as usize] += 1;
        // Before its id is taken: a PUBREC with an error leaves it free [MQTT-4.3.3-9].
        if topic[0] == b'$' && !self.may_publish(slot, topic) {
            self.core.counters.drop_message(Dropped::NotAuthorized);
            // 3.1.1 has no word for it: such a publish is acknowledged and goes nowhere [MQTT-3.3.5-2].
            let reason = if version == Version::V5 { Reason::NotAuthorized } else { Reason::Success };
            self.answer_publish(slot, version, qos, packet_id, reason, Some("the topic is closed to clients"));
            return Next::Continue;
        }
        if qos == Qos::ExactlyOnce {
            match self.receive_qos2(slot, packet_id) {
                Arrival::New => {}
                Arrival::Repeat => {
                    self.answer_publish(slot, version, qos, packet_id, Reason::Success, None);
                    return Next::Continue;
                }
                Arrival::OverReceiveMaximum => {
                    let what =
                        "more QoS 1 and 2 publishes are unacknowledged than the Receive Maximum allows [MQTT-3.3.4-9]";
                    return self.refuse_packet(slot, Error { reason: Reason::ReceiveMaximumExceeded, what });
                }
            }
        }
        let expires_at = expires_at(layout, packet, self.core.now);
        let mut publication = Publication::new(packet, layout, Path::EMPTY, expires_at);
        let reason = match self.route(Some(slot), &mut publication) {
            Routed::Delivered => Reason::Success,
            Routed::Nobody => {
                self.core.counters.drop_message(Dropped::NoSubscription);
                if version == Version::V5 { Reason::NoMatchingSubscribers } else { Reason::Success }
            }
            Routed::Invalid(error) => {
                if qos == Qos::ExactlyOnce {
                    self.forget_qos2(slot, packet_id);
                }
                return self.refuse_packet(slot, error);
            }
        };
        self.answer_publish(slot, version, qos, packet_id, reason, None);
        Next::Continue
    }

    /// Whether the client of a row may publish to a topic.
    pub(super) fn may_publish(&self, slot: u32, topic: &[u8]) -> bool {
        let client = self.core.rows.get(slot as usize).and_then(Row::client);
        // What is not UTF-8 is refused as such when it is routed.
        std::str::from_utf8(topic)
            .is_ok_and(|topic| client.is_some_and(|client| auth::may_publish(&client.identity, topic)))
    }

    fn receive_qos2(&mut self, slot: u32, packet_id: u16) -> Arrival {
        let core = &mut self.core;
        let Some(row) = core.rows.get_mut(slot as usize) else { return Arrival::Repeat };
        let maximum = match row.version {
            Version::V4 => u16::MAX,
            Version::V5 => core.tuning.mqtt.receive_maximum,
        };
        let arrival = row.flow.get_or_insert_default().inbound.receive(packet_id, maximum);
        if arrival == Arrival::New
            && let Role::Client(client) = &row.role
            && client.is_persistent()
        {
            core.store.write(Change::InboundTaken { client_id: &client.id, packet_id });
        }
        arrival
    }

    /// Frees the id of a QoS 2 publish that was not taken after all: a session must not hold it against the next one.
    fn forget_qos2(&mut self, slot: u32, packet_id: u16) {
        let Some(row) = self.core.rows.get_mut(slot as usize) else { return };
        let Some(flow) = &mut row.flow else { return };
        flow.inbound.release(packet_id);
        if let Role::Client(client) = &row.role
            && client.is_persistent()
        {
            self.core.store.write(Change::InboundReleased { client_id: &client.id, packet_id });
        }
    }

    /// Writes the packet anew with its topic spelled out and without the alias `[MQTT-3.3.2-7]`.
    fn resolve_alias(&mut self, slot: u32, packet: &[u8], layout: Layout, out: &mut Vec<u8>) -> Result<Layout, Error> {
        let invalid = |what| Error { reason: Reason::TopicAliasInvalid, what };
        let alias = usize::from(layout.alias());
        let maximum = usize::from(self.core.tuning.mqtt.topic_alias_maximum);
        let client = self.core.rows.get_mut(slot as usize).and_then(|row| row.client_mut());
        let Some(client) = client else { return Err(invalid("the connection takes no topic aliases")) };
        // The maximum told in CONNACK holds for the connection, even if the configuration has changed since.
        let aliases = client.aliases.get_or_insert_with(|| vec![None; maximum].into_boxed_slice());
        let Some(entry) = aliases.get_mut(alias - 1) else {
            return Err(invalid("the topic alias is above the Topic Alias Maximum [MQTT-3.3.2-9]"));
        };
        if layout.topic_len() > 0 {
            let topic = layout.topic(packet);
            if entry.as_deref() != Some(topic) {
                *entry = Some(topic.into());
            }
        }
        let Some(topic) = entry else {
            return Err(Error {
                reason: Reason::ProtocolError,
                what: "the topic alias was not set on this connection (section 3.3.4)",
            });
        };
        let mut properties = Vec::new();
        publish::strip_alias(layout.properties(packet), &mut properties);
        let parts = Parts {
            version: layout.version(),
            qos: layout.qos(),
            retain: layout.retain(),
            dup: layout.dup(),
            packet_id: layout.packet_id(packet),
            topic,
            properties: &properties,
            subscription_ids: &[],
            payload: layout.payload(packet),
        };
        if parts.total() > frame::LARGEST {
            return Err(Error {
                reason: Reason::PacketTooLarge,
                what: "the packet with its topic spelled out is longer than any packet may be",
            });
        }
        Ok(publish::encode(out, &parts))
    }
}
