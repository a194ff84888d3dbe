//! SUBSCRIBE and UNSUBSCRIBE: into the index, then the answer, then what is retained.

use super::Shard;
use super::peer::settled::Answer;
use super::read::Next;
use super::row::{Replay, Role, Row, SubscriptionState};
use crate::auth;
use crate::codec::subscribe::{self, Options, RetainHandling, Suback};
use crate::codec::unsubscribe::{self, Unsuback};
use crate::codec::{Error, Qos, Reason, Version};
use crate::router::{Kind, Presence, Receiver, ReceiverFlags, SubscriptionEntry};
use crate::store::Change;
use crate::topic::Subscription;

/// What a packet says of each filter, and the filter, or why this broker does not take it.
type Parsed<T> = Vec<(T, Result<Subscription, Error>)>;

// === impl Shard ===

impl Shard {
    /// Takes a SUBSCRIBE; nothing of it if one of its filters is malformed.
    pub(super) fn subscribe_packet(&mut self, slot: u32, version: Version, packet: &[u8]) -> Result<Next, Error> {
        let subscribe = subscribe::decode(packet, version)?;
        let wanted = self.parse(subscribe.filters(), |(text, _)| text)?;
        let mut reasons = Vec::new();
        let mut why = None;
        // Filters with what they want of the retained messages; sent after the SUBACK.
        let mut replays = Vec::new();
        for ((text, options), parsed) in wanted {
            match parsed.and_then(|parsed| self.subscribe(slot, text, parsed, options, subscribe.subscription_id)) {
                Ok((subscription, existed)) => {
                    reasons.push(granted(options.qos));
                    let send = match options.retain_handling {
                        RetainHandling::Send => true,
                        RetainHandling::SendIfNew => !existed,
                        RetainHandling::DoNotSend => false,
                    };
                    // A shared subscription gets no retained messages when it is made (section 4.8.2).
                    if send && !subscription.is_shared() {
                        replays.push((subscription, options.qos));
                    }
                }
                Err(error) => {
                    reasons.push(error.reason);
                    why = Some(error.what);
                }
            }
        }
        let reason_string = why.filter(|_| self.wants_reasons(slot));
        let suback = Suback { packet_id: subscribe.packet_id, reasons, reason_string };
        self.tell_links();
        self.answer_subscribe(slot, Answer { suback, replays, subscription_id: subscribe.subscription_id });
        Ok(Next::Continue)
    }

    /// Sends a SUBACK, and begins to send what is retained.
    pub(super) fn say_suback(&mut self, slot: u32, answer: Answer) {
        let Answer { mut suback, replays, subscription_id } = answer;
        let Some(version) = self.core.rows.get(slot as usize).map(|row| row.version) else { return };
        if !self.append(slot, |out| subscribe::encode_suback(out, version, &suback)) && suback.reason_string.is_some() {
            // The codes alone, if the sentence is more than the client takes [MQTT-3.9.2-1].
            suback.reason_string = None;
            self.append(slot, |out| subscribe::encode_suback(out, version, &suback));
        }
        for (subscription, qos) in replays {
            self.replay(slot, &subscription, qos, subscription_id);
        }
    }

    /// Parses the filters of a packet. One that this broker does not take is the answer to itself; one that is malformed
    /// makes the whole packet so, which ends the connection `[MQTT-4.13.1-1]` (3.1.1: `[MQTT-4.8.0-1]`): 0x8F is the answer
    /// to filters that are well formed (sections 3.9.3 and 3.11.3).
    fn parse<'a, T>(&self, filters: impl Iterator<Item = T>, text: impl Fn(&T) -> &'a str) -> Result<Parsed<T>, Error> {
        let max_levels = self.core.tuning.mqtt.max_topic_levels;
        let parsed = filters.map(|item| match Subscription::parse(text(&item), max_levels) {
            Err(error) if error.is_malformed() => Err(Error::topic_filter(error)),
            parsed => Ok((item, parsed.map_err(Error::topic_filter))),
        });
        parsed.collect()
    }

    /// Makes or changes one subscription; gives it back with whether it existed.
    fn subscribe(
        &mut self,
        slot: u32,
        text: &str,
        subscription: Subscription,
        options: Options,
        id: Option<u32>,
    ) -> Result<(Subscription, bool), Error> {
        let core = &mut self.core;
        let gone = Error { reason: Reason::Unspecified, what: "the session is gone" };
        let Some(row) = core.rows.get_mut(slot as usize) else { return Err(gone) };
        let epoch = row.epoch;
        let Role::Client(client) = &mut row.role else { return Err(gone) };
        if !auth::may_subscribe(&client.identity, subscription.filter().as_str()) {
            return Err(Error { reason: Reason::NotAuthorized, what: "the filter is closed to clients" });
        }
        if client.subscriptions.len() >= core.tuning.mqtt.max_subscriptions as usize
            && !client.subscriptions.contains_key(&subscription)
        {
            return Err(Error { reason: Reason::QuotaExceeded, what: "the session has `maxSubscriptions` already" });
        }
        let flags = ReceiverFlags::new(Kind::Client, options.qos as u8)
            .with_no_local(options.no_local)
            .with_retain_as_published(options.retain_as_published);
        let presence =
            subscription.is_shared().then(|| client.presence.get_or_insert_with(|| Presence::new(true)).clone());
        row.keeps |= presence.is_some();
        let existed = self.shared.index.subscribe(
            &subscription,
            SubscriptionEntry {
                receiver: Receiver { slot, epoch, shard: core.shard, flags },
                subscription_id: id,
                presence,
            },
        );
        let before = client.subscriptions.insert(subscription.clone(), SubscriptionState { flags, id });
        if before.is_none() {
            core.counters.subscriptions += 1;
        }
        if client.is_persistent() {
            core.store.write(Change::Subscribed {
                client_id: &client.id,
                filter: text,
                options: options.qos as u8
                    | u8::from(options.no_local) << 2
                    | u8::from(options.retain_as_published) << 3,
                subscription_id: id.unwrap_or(0),
            });
        }
        Ok((subscription, existed))
    }

    /// Begins to send the retained messages that match a new subscription.
    fn replay(&mut self, slot: u32, subscription: &Subscription, granted: Qos, id: Option<u32>) {
        let Some(client) = self.core.rows.get_mut(slot as usize).and_then(Row::client_mut) else { return };
        if !client.subscriptions.contains_key(subscription) {
            // It was given up while its SUBACK waited.
            return;
        }
        client.replays.push_back(Replay { filter: subscription.filter().clone(), after: None, granted, id });
        self.core.pump(slot);
    }

    /// Takes an UNSUBSCRIBE; nothing of it if one of its filters is malformed.
    pub(super) fn unsubscribe_packet(&mut self, slot: u32, version: Version, packet: &[u8]) -> Result<Next, Error> {
        let unsubscribe = unsubscribe::decode(packet, version)?;
        let mut reasons = Vec::new();
        for (text, parsed) in self.parse(unsubscribe.filters(), |text| *text)? {
            reasons.push(match parsed {
                Ok(subscription) => self.unsubscribe(slot, text, &subscription),
                Err(error) => error.reason,
            });
        }
        let reasons = if version == Version::V5 { reasons } else { Vec::new() };
        let unsuback = Unsuback { packet_id: unsubscribe.packet_id, reasons, reason_string: None };
        self.append(slot, |out| unsubscribe::encode_unsuback(out, version, &unsuback));
        self.tell_links();
        Ok(Next::Continue)
    }

    fn unsubscribe(&mut self, slot: u32, text: &str, subscription: &Subscription) -> Reason {
        let core = &mut self.core;
        let Some(row) = core.rows.get_mut(slot as usize) else { return Reason::Unspecified };
        let epoch = row.epoch;
        let Role::Client(client) = &mut row.role else { return Reason::Unspecified };
        let Some(state) = client.subscriptions.remove(subscription) else { return Reason::NoSubscriptionExisted };
        core.counters.subscriptions -= 1;
        // Nothing more is added to what is under way [MQTT-3.10.4-2].
        client.replays.retain(|replay| Subscription::Plain(replay.filter.clone()) != *subscription);
        let receiver = Receiver { slot, epoch, shard: core.shard, flags: state.flags };
        self.shared.index.unsubscribe(subscription, receiver);
        if client.is_persistent() {
            core.store.write(Change::Unsubscribed { client_id: &client.id, filter: text });
        }
        Reason::Success
    }
}

fn granted(qos: Qos) -> Reason {
    match qos {
        Qos::AtMostOnce => Reason::Success,
        Qos::AtLeastOnce => Reason::GrantedQos1,
        Qos::ExactlyOnce => Reason::GrantedQos2,
    }
}
