//! What comes to a client of the simulation, and what it says to that.

use super::client::{Around, Client, Question, State, number_of};
use super::oracle::Receipt;
use super::plan::Mood;
use crate::codec::ack::{self, AckKind};
use crate::codec::frame::{self, Kind, Peek};
use crate::codec::{Error, Qos, Reason, Version, connack, disconnect, properties, publish, subscribe, unsubscribe};

// === impl Client ===

impl Client {
    /// Takes the whole packets of its input.
    pub(super) fn packets(&mut self, around: &mut Around<'_>) -> Result<(), String> {
        let input = std::mem::take(&mut self.input);
        let mut at = 0;
        while self.end.is_some() {
            let total = match frame::peek(&input[at..], usize::MAX) {
                Ok(Peek::Frame { total, .. }) if total <= input.len() - at => total,
                Ok(_) => break,
                Err(error) => return Err(format!("client {} got something else than MQTT: {error}", self.number)),
            };
            let packet = &input[at..at + total];
            at += total;
            let taken = self.packet(packet, around).map_err(|error| format!("client {}: {error}", self.number))?;
            taken.map_err(|what| format!("client {} in session {:?}: {what}", self.number, self.session))?;
        }
        if self.end.is_some() {
            self.input = input[at..].to_vec();
        }
        Ok(())
    }

    fn packet(&mut self, packet: &[u8], around: &mut Around<'_>) -> Result<Result<(), String>, Error> {
        let (version, now) = (self.version, around.now);
        match Kind::of(packet[0])? {
            Kind::Connack => {
                let connack = connack::decode(packet, version)?;
                around.trace.say(
                    now,
                    format_args!(
                        "client {} has {:?}, present {}",
                        self.number, connack.reason, connack.session_present
                    ),
                );
                if self.state != State::Opening {
                    return Ok(Err("a second CONNACK".into()));
                }
                if connack.reason != Reason::Success {
                    self.refused(around);
                    return Ok(Ok(()));
                }
                let node = self.node;
                return Ok(self.opened(node, connack.session_present, around));
            }
            Kind::Publish => return self.receive(packet, around),
            Kind::Puback | Kind::Pubrec | Kind::Pubrel | Kind::Pubcomp => {
                let ack = ack::decode(packet, version)?;
                around.trace.say(
                    now,
                    format_args!("client {} has {:?} {} {:?}", self.number, ack.kind, ack.packet_id, ack.reason),
                );
                return Ok(self.acknowledged(ack.kind, ack.packet_id, ack.reason, around));
            }
            Kind::Suback => {
                let suback = subscribe::decode_suback(packet, version)?;
                around.trace.say(now, format_args!("client {} has SUBACK {:?}", self.number, suback.reasons));
                let Some(Question::Subscribe(filter, asked_at)) = self.unanswered.remove(&suback.packet_id) else {
                    return Ok(Err("a SUBACK that answers nothing".into()));
                };
                if suback.reasons.iter().any(|reason| reason.is_error()) {
                    return Ok(Err(format!("SUBACK {:?} for {filter}", suback.reasons)));
                }
                if let Some(session) = self.session {
                    let timeout = around.subscribe_timeout;
                    around.oracle.subscribed(session, filter, asked_at, now, timeout, around.weather);
                }
            }
            Kind::Unsuback => {
                let unsuback = unsubscribe::decode_unsuback(packet, version)?;
                let Some(Question::Unsubscribe(filter)) = self.unanswered.remove(&unsuback.packet_id) else {
                    return Ok(Err("an UNSUBACK that answers nothing".into()));
                };
                around.trace.say(now, format_args!("client {} has UNSUBACK of {filter}", self.number));
                if let Some(session) = self.session {
                    around.oracle.unsubscribed(session, filter, now);
                }
            }
            Kind::Pingresp => self.pinged = false,
            Kind::Disconnect => {
                let left = disconnect::decode(packet, version)?;
                around.trace.say(now, format_args!("client {} is told {:?}", self.number, left.reason));
                // All that a client of ours can be told off for, while it keeps the rules.
                if !matches!(
                    left.reason,
                    Reason::KeepAliveTimeout
                        | Reason::SessionTakenOver
                        | Reason::ServerShuttingDown
                        | Reason::UseAnotherServer
                ) {
                    return Ok(Err(format!("DISCONNECT {:?} {:?}", left.reason, left.reason_string)));
                }
            }
            kind @ (Kind::Connect | Kind::Subscribe | Kind::Unsubscribe | Kind::Pingreq | Kind::Auth) => {
                return Ok(Err(format!("a server does not send {kind:?}")));
            }
        }
        Ok(Ok(()))
    }

    fn receive(&mut self, packet: &[u8], around: &mut Around<'_>) -> Result<Result<(), String>, Error> {
        let layout = publish::layout_from_server(packet, self.version)?;
        let (qos, id) = (layout.qos(), layout.packet_id(packet));
        let topic = String::from_utf8_lossy(layout.topic(packet)).into_owned();
        let payload = layout.payload(packet);
        let number = number_of(payload);
        let (dup, retain) = (packet[0] & 8 != 0, layout.retain());
        let now = around.now;
        around.trace.say(
            now,
            format_args!("client {} gets {number:?} of {topic} {qos:?} id {id} dup {dup} retain {retain}", self.number),
        );
        let Some(session) = self.session.filter(|_| self.state == State::Up) else {
            return Ok(Err("a PUBLISH before CONNACK".into()));
        };
        let is_held = qos == Qos::ExactlyOnce && self.held.contains_key(&id);
        let window = usize::from(self.connecting.receive_maximum);
        if qos != Qos::AtMostOnce {
            let fresh = self.under_way.insert(id);
            if !fresh && !dup {
                return Ok(Err(format!("packet id {id} is in use")));
            }
            if self.version == Version::V5 && self.under_way.len() > window {
                return Ok(Err(format!("{} are unacknowledged, Receive Maximum is {window}", self.under_way.len())));
            }
        }
        match number {
            Some(number) => {
                let repeat = is_held && self.held.get(&id) == Some(&number);
                let ids = subscription_ids(layout.properties(packet))?;
                let v5 = self.version == Version::V5;
                let expiry = layout.expiry(packet);
                let receipt = Receipt { message: number, topic: &topic, qos, retain, dup, repeat, ids, v5, expiry };
                if is_held && !repeat {
                    return Ok(Err(format!("packet id {id} comes with another message, {number}")));
                }
                if let Err(what) = around.oracle.received(session, &receipt, now, around.weather) {
                    return Ok(Err(format!("{receipt:?}: {what}")));
                }
                if qos == Qos::ExactlyOnce {
                    self.held.insert(id, number);
                }
            }
            None if payload.is_empty() => {
                if qos == Qos::ExactlyOnce {
                    self.held.insert(id, usize::MAX);
                }
            }
            None => return Ok(Err(format!("a payload of nobody on {topic}"))),
        }
        match qos {
            Qos::AtMostOnce => {}
            Qos::AtLeastOnce => self.answer(AckKind::Puback, id, around),
            Qos::ExactlyOnce => self.answer(AckKind::Pubrec, id, around),
        }
        Ok(Ok(()))
    }

    fn answer(&mut self, kind: AckKind, id: u16, around: &mut Around<'_>) {
        match self.mood {
            Mood::Prompt if self.acks.is_empty() => self.say_ack(kind, id, around),
            Mood::Prompt => {
                let at = self.acks.back().map_or(around.now, |(at, ..)| *at);
                self.acks.push_back((at, kind, id));
            }
            Mood::Late(delay) => {
                let last = self.acks.back().map_or(0, |(at, ..)| *at);
                self.acks.push_back(((around.now + delay).max(last), kind, id));
            }
            Mood::Never | Mood::Deaf => self.withheld = true,
        }
    }

    pub(super) fn say_ack(&mut self, kind: AckKind, id: u16, _: &mut Around<'_>) {
        if matches!(kind, AckKind::Puback | AckKind::Pubcomp) {
            self.under_way.remove(&id);
        }
        self.put_ack(kind, id);
    }

    fn acknowledged(&mut self, kind: AckKind, id: u16, reason: Reason, around: &mut Around<'_>) -> Result<(), String> {
        if kind == AckKind::Pubrel {
            self.held.remove(&id);
            self.answer(AckKind::Pubcomp, id, around);
            return Ok(());
        }
        let Some(at) = self.unacked.iter().position(|unacked| unacked.id == id) else {
            return Err(format!("{kind:?} {id} answers nothing"));
        };
        let unacked = &mut self.unacked[at];
        if reason.is_error() {
            // What went before may not be known any more: a release that came twice.
            if kind == AckKind::Pubcomp && reason == Reason::PacketIdNotFound {
                self.unacked.remove(at);
                return Ok(());
            }
            return Err(format!("{kind:?} {id} with {reason:?}"));
        }
        match kind {
            AckKind::Puback | AckKind::Pubrec => around.oracle.acked(unacked.message, around.now),
            AckKind::Pubcomp | AckKind::Pubrel => {}
        }
        if kind == AckKind::Pubrec {
            unacked.released = true;
            self.put_ack(AckKind::Pubrel, id);
        } else {
            self.unacked.remove(at);
        }
        Ok(())
    }

    fn refused(&mut self, around: &mut Around<'_>) {
        self.lost(around, "it was refused");
    }
}

fn subscription_ids(block: &[u8]) -> Result<Vec<u32>, Error> {
    let mut ids = Vec::new();
    for property in properties::iter(block) {
        if let properties::Property::SubscriptionId(id) = property {
            ids.push(id);
        }
    }
    Ok(ids)
}
