//! What a client of the simulation does when its plan says so.

use super::client::{Around, Client, Question, Unacked, payload};
use super::plan::{self, Deed};
use crate::codec::ack::{self, Ack, AckKind};
use crate::codec::disconnect::{self, Disconnect};
use crate::codec::properties::Property;
use crate::codec::publish::{self, Parts};
use crate::codec::{Qos, Reason, Version, subscribe, unsubscribe};

/// Nothing that expires after so many seconds does so while a schedule lasts.
pub const LONG: u32 = 3_600;

// === impl Client ===

impl Client {
    pub(super) fn act(&mut self, deed: Deed, around: &mut Around<'_>) {
        let now = around.now;
        let Some(session) = self.session else { return };
        match deed {
            Deed::Connect(connecting) => {
                self.tear();
                self.connecting = *connecting;
                self.lost(around, "it connects anew");
                self.wanted_from = Some(now);
            }
            Deed::Disconnect => {
                self.said_goodbye = true;
                self.gone_at = now;
                around.oracle.sessions[session].ends_at = Some(self.ends_at());
                disconnect::encode(&mut self.output, self.version, &Disconnect::because(Reason::Success));
                self.wanted_from = Some(now);
            }
            Deed::Tear(pause) => {
                self.tear();
                self.lost(around, "it broke it");
                self.wanted_from = Some(now + pause);
            }
            Deed::Vanish(pause) => {
                if let Some(end) = &self.end {
                    end.vanish();
                }
                self.lost(around, "it vanished");
                self.wanted_from = Some(now + pause);
            }
            Deed::Subscribe(filter, options, with_id) => {
                let id = self.next_id();
                let options = if self.version == Version::V5 {
                    options
                } else {
                    subscribe::Options { qos: options.qos, ..subscribe::Options::default() }
                };
                let number = (with_id && self.version == Version::V5).then(|| u32::from(id));
                around.oracle.subscribing(session, filter, options, number, now);
                self.unanswered.insert(id, Question::Subscribe(filter, now));
                subscribe::encode(&mut self.output, self.version, id, number, &[(filter, options)]);
                around.trace.say(now, format_args!("client {} subscribes to {filter} {options:?}", self.number));
            }
            Deed::Unsubscribe(filter) => {
                let id = self.next_id();
                around.oracle.unsubscribing(session, filter, now);
                self.unanswered.insert(id, Question::Unsubscribe(filter));
                unsubscribe::encode(&mut self.output, self.version, id, &[filter]);
                around.trace.say(now, format_args!("client {} unsubscribes from {filter}", self.number));
            }
            Deed::Publish(count, message) => {
                self.publish(message, around);
                if count > 1 {
                    self.todo.push_front(Deed::Publish(count - 1, message));
                }
            }
            Deed::Mood(mood) => self.mood = mood,
        }
    }

    fn publish(&mut self, deed: plan::Message, around: &mut Around<'_>) {
        let Some(session) = self.session else { return };
        let node = around.oracle.sessions[session].node;
        let (qos, now) = (deed.qos, around.now);
        let number =
            around.oracle.publishing(self.number, node, deed.topic, qos, deed.retain, deed.empty, now, around.weather);
        if around.expiring && self.version == Version::V5 {
            around.oracle.messages[number].expires = expiry(number, deed.retain);
        }
        let id = if qos == Qos::AtMostOnce { 0 } else { self.next_id() };
        if id != 0 {
            self.unacked.push_back(Unacked { id, message: number, released: false, deed });
        }
        self.put_publish(deed, number, id, false, around);
        let flags = (deed.retain, deed.empty);
        let name = self.number;
        around
            .trace
            .say(now, format_args!("client {name} publishes {number} to {} {qos:?} {flags:?}, id {id}", deed.topic));
    }

    pub(super) fn put_publish(&mut self, deed: plan::Message, number: usize, id: u16, dup: bool, around: &Around<'_>) {
        let expires = around.oracle.messages[number].expires.filter(|_| self.version == Version::V5);
        let mut properties = Vec::new();
        expires.iter().for_each(|seconds| Property::MessageExpiry(*seconds).put(&mut properties));
        let payload = if deed.empty { Vec::new() } else { payload(number, deed.padding) };
        let parts = Parts {
            version: self.version,
            qos: deed.qos,
            retain: deed.retain,
            dup,
            packet_id: id,
            topic: deed.topic.as_bytes(),
            properties: &properties,
            subscription_ids: &[],
            payload: &payload,
        };
        publish::encode(&mut self.output, &parts);
    }

    pub(super) fn put_ack(&mut self, kind: AckKind, packet_id: u16) {
        let ack = Ack { kind, packet_id, reason: Reason::Success, reason_string: None };
        ack::encode(&mut self.output, self.version, &ack);
    }

    fn next_id(&mut self) -> u16 {
        loop {
            self.next_id = self.next_id.wrapping_add(1).max(1);
            let id = self.next_id;
            if !self.unacked.iter().any(|unacked| unacked.id == id) && !self.unanswered.contains_key(&id) {
                return id;
            }
        }
    }
}

/// After how many seconds a message expires, if it does: soon, which what is retained does not, or when all is over.
fn expiry(number: usize, retain: bool) -> Option<u32> {
    match number % 4 {
        0 => Some(LONG),
        1 if !retain => Some(2),
        _ => None,
    }
}
