//! What a connected client may send, by packet type.

use super::Shard;
use super::read::Next;
use super::row::{Role, Row};
use crate::codec::ack::{self, Ack, AckKind};
use crate::codec::frame::Kind;
use crate::codec::{Error, Qos, Reason, Version, disconnect, ping};
use crate::metrics::Closed;
use crate::session::Acknowledged;
use crate::store::Change;

// === impl Shard ===

impl Shard {
    /// Takes one whole packet.
    #[inline]
    pub(super) fn packet(&mut self, slot: u32, packet: &[u8]) -> Next {
        let Some(row) = self.core.rows.get(slot as usize) else { return Next::Closed };
        match row.role {
            Role::Client(_) => {}
            Role::LinkConnection(_) => return self.link_packet(slot, packet),
            Role::Link(_) => return Next::Closed,
        }
        let version = row.version;
        let taken = match Kind::of(packet[0]) {
            Ok(Kind::Publish) => return self.publish_packet(slot, version, packet),
            Ok(Kind::Puback | Kind::Pubrec | Kind::Pubrel | Kind::Pubcomp) => {
                ack::decode(packet, version).and_then(|ack| self.acknowledge(slot, version, &ack))
            }
            Ok(Kind::Subscribe) => self.subscribe_packet(slot, version, packet),
            Ok(Kind::Unsubscribe) => self.unsubscribe_packet(slot, version, packet),
            Ok(Kind::Pingreq) => ping::check(packet, Kind::Pingreq, version).map(|()| {
                self.append(slot, |out| out.extend_from_slice(&ping::PINGRESP));
                Next::Continue
            }),
            Ok(Kind::Disconnect) => return self.disconnect_packet(slot, version, packet),
            Ok(Kind::Connect) => Err(Error {
                reason: Reason::ProtocolError,
                what: "a second CONNECT came on one connection [MQTT-3.1.0-2]",
            }),
            Ok(Kind::Auth) if version == Version::V5 => Err(Error {
                reason: Reason::ProtocolError,
                what: "AUTH came, but CONNECT named no authentication method [MQTT-4.12.0-6]",
            }),
            Ok(Kind::Auth) => {
                Err(Error { reason: Reason::MalformedPacket, what: "the packet type 15 is reserved in MQTT 3.1.1" })
            }
            Ok(Kind::Connack | Kind::Suback | Kind::Unsuback | Kind::Pingresp) => {
                Err(Error { reason: Reason::ProtocolError, what: "a packet came that only a server sends" })
            }
            Err(error) => Err(error),
        };
        taken.unwrap_or_else(|error| self.refuse_packet(slot, error))
    }

    fn acknowledge(&mut self, slot: u32, version: Version, ack: &Ack<'_>) -> Result<Next, Error> {
        let Some(row) = self.core.rows.get_mut(slot as usize) else { return Ok(Next::Closed) };
        let Role::Client(client) = &mut row.role else { return Ok(Next::Continue) };
        let flow = row.flow.get_or_insert_default();
        let packet_id = ack.packet_id;
        let persistent = client.is_persistent();
        let outcome = match ack.kind {
            AckKind::Puback => flow.outbound.puback(packet_id),
            AckKind::Pubrec => flow.outbound.pubrec(packet_id, !ack.reason.is_error()),
            AckKind::Pubcomp => flow.outbound.pubcomp(packet_id),
            AckKind::Pubrel => {
                let known = flow.inbound.release(packet_id);
                if known && persistent {
                    self.core.store.write(Change::InboundReleased { client_id: &client.id, packet_id });
                }
                let reason = if known { Reason::Success } else { Reason::PacketIdNotFound };
                self.answer(slot, version, AckKind::Pubcomp, packet_id, reason);
                return Ok(Next::Continue);
            }
        };
        match outcome {
            Acknowledged::Completed => {
                if persistent {
                    self.core.store.write(Change::Completed { client_id: &client.id, packet_id });
                }
                if !flow.queue.is_empty() || flow.outbound.is_resending() {
                    self.core.pump(slot);
                }
            }
            Acknowledged::Release => {
                if persistent {
                    self.core.store.write(Change::Received { client_id: &client.id, packet_id });
                }
                self.answer(slot, version, AckKind::Pubrel, packet_id, Reason::Success);
            }
            // PUBREC has an answer even then, or the client would wait for ever; the others need none.
            Acknowledged::Unknown if ack.kind == AckKind::Pubrec && !ack.reason.is_error() => {
                self.answer(slot, version, AckKind::Pubrel, packet_id, Reason::PacketIdNotFound);
            }
            Acknowledged::Unknown => {}
            // The message would be in flight for ever, and its place in the window lost.
            Acknowledged::Mismatched => {
                return Err(Error::protocol(
                    "an acknowledgement came that the QoS of its message has not [MQTT-4.3.2] [MQTT-4.3.3]",
                ));
            }
        }
        Ok(Next::Continue)
    }

    /// Appends one of the four acknowledgements.
    pub(super) fn answer(&mut self, slot: u32, version: Version, kind: AckKind, packet_id: u16, reason: Reason) {
        self.append_ack(slot, version, Ack { kind, packet_id, reason, reason_string: None });
    }

    /// The acknowledgement that a publish of this QoS asks for; `why` says what was wrong with it, to those who want to
    /// hear it `[MQTT-3.1.2-29]`.
    pub(super) fn answer_publish(
        &mut self,
        slot: u32,
        version: Version,
        qos: Qos,
        packet_id: u16,
        reason: Reason,
        why: Option<&str>,
    ) {
        let kind = match qos {
            Qos::AtMostOnce => return,
            Qos::AtLeastOnce => AckKind::Puback,
            Qos::ExactlyOnce => AckKind::Pubrec,
        };
        let reason_string = why.filter(|_| self.wants_reasons(slot));
        self.append_ack(slot, version, Ack { kind, packet_id, reason, reason_string });
    }

    /// Whether a client wants reason strings beyond those of CONNACK and DISCONNECT.
    pub(super) fn wants_reasons(&self, slot: u32) -> bool {
        let client = self.core.rows.get(slot as usize).and_then(Row::client);
        client.is_some_and(|client| client.problem_information)
    }

    fn append_ack(&mut self, slot: u32, version: Version, ack: Ack<'_>) {
        let whole = self.append(slot, |out| ack::encode(out, version, &ack));
        if !whole && ack.reason_string.is_some() {
            // The reason code alone, if the sentence is more than the client takes [MQTT-3.4.2-2].
            self.append(slot, |out| ack::encode(out, version, &Ack { reason_string: None, ..ack }));
        }
    }

    fn disconnect_packet(&mut self, slot: u32, version: Version, packet: &[u8]) -> Next {
        let disconnect = match disconnect::decode(packet, version) {
            Ok(disconnect) => disconnect,
            Err(error) => return self.refuse_packet(slot, error),
        };
        let Some(client) = self.core.rows.get_mut(slot as usize).and_then(|row| row.client_mut()) else {
            return Next::Closed;
        };
        if let Some(expiry) = disconnect.session_expiry {
            if client.expiry == 0 && expiry != 0 {
                let what = "DISCONNECT asks for a session expiry that CONNECT had set to 0 [MQTT-3.14.2-2]";
                return self.refuse_packet(slot, Error { reason: Reason::ProtocolError, what });
            }
            client.expiry = self.core.tuning.granted_expiry(expiry);
        }
        if disconnect.reason == Reason::Success {
            client.will = None;
        }
        self.close(slot, Closed::Disconnect);
        Next::Closed
    }

    /// Ends a client's connection because of what it sent; the client is told why if its version has words for it.
    pub(super) fn refuse_packet(&mut self, slot: u32, error: Error) -> Next {
        let why = match error.reason {
            Reason::PacketTooLarge => Closed::PacketTooLarge,
            Reason::MalformedPacket => Closed::Malformed,
            Reason::ReceiveMaximumExceeded => Closed::ReceiveMaximumExceeded,
            Reason::TopicAliasInvalid => Closed::TopicAliasInvalid,
            Reason::TopicNameInvalid | Reason::TopicFilterInvalid => Closed::TopicInvalid,
            Reason::NotAuthorized => Closed::NotAuthorized,
            _ => Closed::ProtocolError,
        };
        self.disconnect(slot, why, error.reason, error.what);
        Next::Closed
    }

    /// Appends a packet to a row's output, if it has a connection. False if the other end takes no packet of that size:
    /// then it is as if it had been sent `[MQTT-3.1.2-24]`.
    #[inline]
    pub(super) fn append(&mut self, slot: u32, encode: impl FnOnce(&mut Vec<u8>)) -> bool {
        let core = &mut self.core;
        if let Some(row) = core.rows.get_mut(slot as usize)
            && row.connection.is_some()
        {
            let buffer = row.output.buffer(&mut core.pool);
            let start = buffer.len();
            encode(buffer);
            if buffer.len() - start > row.maximum_packet_size as usize {
                buffer.truncate(start);
                return false;
            }
            super::deliver::mark_dirty(row, slot, &mut core.dirty);
            core.counters.packets_sent += 1;
        }
        true
    }
}
