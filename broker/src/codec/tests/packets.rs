//! Any valid packet, for the property tests: its parts and its bytes.

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::super::{
    Property, Qos, Reason, Version,
    ack::{self, Ack, AckKind},
    connack::{self, Connack},
    connect::{self, Connect, Will},
    disconnect::{self, Disconnect},
    ping,
    publish::{self, Parts},
    subscribe::{self, Options, RetainHandling, Suback},
    unsubscribe::{self, Unsuback},
};

/// A PUBLISH with its own parts, as [`Parts`] borrows them.
#[derive(Clone, Debug)]
pub struct Publish {
    pub version: Version,
    pub qos: Qos,
    pub retain: bool,
    pub dup: bool,
    pub packet_id: u16,
    pub topic: String,
    pub properties: Vec<u8>,
    pub subscription_ids: Vec<u32>,
    pub payload: Vec<u8>,
}

/// What a property test does with a property that other codecs know by another name.
#[derive(Clone, Debug)]
enum Owned {
    PayloadFormat(bool),
    MessageExpiry(u32),
    ContentType(String),
    ResponseTopic(String),
    CorrelationData(Vec<u8>),
    TopicAlias(u16),
    UserProperty(String, String),
}

// === impl Publish ===

impl Publish {
    pub fn parts(&self) -> Parts<'_> {
        Parts {
            version: self.version,
            qos: self.qos,
            retain: self.retain,
            dup: self.dup,
            packet_id: self.packet_id,
            topic: self.topic.as_bytes(),
            properties: &self.properties,
            subscription_ids: &self.subscription_ids,
            payload: &self.payload,
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        written(|out| {
            publish::encode(out, &self.parts());
        })
    }
}

// === impl Owned ===

impl Owned {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Owned::PayloadFormat(value) => Property::PayloadFormat(*value),
            Owned::MessageExpiry(value) => Property::MessageExpiry(*value),
            Owned::ContentType(value) => Property::ContentType(value),
            Owned::ResponseTopic(value) => Property::ResponseTopic(value),
            Owned::CorrelationData(value) => Property::CorrelationData(value),
            Owned::TopicAlias(value) => Property::TopicAlias(*value),
            Owned::UserProperty(name, value) => Property::UserProperty(name, value),
        }
        .put(out);
    }
}

// === the parts ===

/// What an encoder writes.
pub fn written(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

/// An MQTT string: no U+0000, and no surrogates, which no `char` is.
fn text() -> impl Strategy<Value = String> {
    vec(prop_oneof![8 => proptest::char::range('!', '~'), 1 => any::<char>()], 0..12)
        .prop_map(|chars| chars.into_iter().filter(|char| *char != '\0').collect())
}

pub fn name() -> impl Strategy<Value = String> {
    text().prop_map(|text| format!("t{}", text.replace(['+', '#'], "/")))
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..20)
}

fn users() -> impl Strategy<Value = Vec<(String, String)>> {
    vec((text(), text()), 0..3)
}

fn qos() -> impl Strategy<Value = Qos> {
    select(vec![Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce])
}

/// A block for a PUBLISH, or without alias for a will, in any order.
fn block(alias: bool) -> impl Strategy<Value = Vec<u8>> {
    let once = vec![
        any::<bool>().prop_map(Owned::PayloadFormat).boxed(),
        // One of the oracles refuses 0.
        (1..=u32::MAX).prop_map(Owned::MessageExpiry).boxed(),
        text().prop_map(Owned::ContentType).boxed(),
        name().prop_map(Owned::ResponseTopic).boxed(),
        data().prop_map(Owned::CorrelationData).boxed(),
    ];
    let once = if alias {
        once.into_iter().chain([(1..=u16::MAX).prop_map(Owned::TopicAlias).boxed()]).collect()
    } else {
        once
    };
    let count = once.len();
    (once, proptest::sample::subsequence((0..count).collect::<Vec<_>>(), 0..=count), users())
        .prop_map(|(all, chosen, users)| {
            let mut some = chosen.into_iter().map(|at| all[at].clone()).collect::<Vec<_>>();
            some.extend(users.into_iter().map(|(name, value)| Owned::UserProperty(name, value)));
            some
        })
        .prop_shuffle()
        .prop_map(|all| written(|out| all.iter().for_each(|property| property.put(out))))
}

pub fn publish(version: Version) -> impl Strategy<Value = Publish> {
    let ids = vec(1..=268_435_455_u32, 0..3);
    (qos(), any::<(bool, bool)>(), 1..=u16::MAX, name(), block(true), ids, vec(any::<u8>(), 0..300)).prop_map(
        move |(qos, (retain, dup), packet_id, topic, properties, subscription_ids, payload)| Publish {
            version,
            qos,
            retain,
            dup: dup && qos != Qos::AtMostOnce,
            packet_id: if qos == Qos::AtMostOnce { 0 } else { packet_id },
            topic,
            properties: if version == Version::V5 { properties } else { Vec::new() },
            subscription_ids: if version == Version::V5 { subscription_ids } else { Vec::new() },
            payload,
        },
    )
}

fn will(version: Version) -> impl Strategy<Value = Will> {
    (name(), data(), qos(), any::<bool>(), 1..=u32::MAX, block(false)).prop_map(
        move |(topic, payload, qos, retain, delay, properties)| Will {
            topic,
            payload,
            qos,
            retain,
            delay: if version == Version::V5 { delay } else { 0 },
            properties: if version == Version::V5 { properties } else { Vec::new() },
        },
    )
}

pub fn connect(version: Version) -> impl Strategy<Value = Connect> {
    let numbers = (1..=u16::MAX, option::of(1..=u32::MAX), any::<u16>(), any::<u32>());
    let auth = option::of((text(), option::of(data())));
    let properties = (numbers, any::<(bool, bool)>(), users(), auth).prop_map(
        |((receive, size, aliases, expiry), (response, problem), user_properties, auth)| connect::Properties {
            session_expiry: expiry,
            receive_maximum: receive,
            maximum_packet_size: size,
            topic_alias_maximum: aliases,
            request_response_information: response,
            request_problem_information: problem,
            user_properties,
            authentication_data: auth.as_ref().and_then(|(_, data)| data.clone()),
            authentication_method: auth.map(|(method, _)| method),
        },
    );
    let login = (option::of(text()), option::of(data()));
    (text(), any::<bool>(), any::<u16>(), option::of(will(version)), login, properties).prop_map(
        move |(client_id, clean_start, keep_alive, will, (username, password), properties)| {
            let v4 = version == Version::V4;
            let session_expiry = if clean_start { 0 } else { u32::MAX };
            Connect {
                version,
                // Allowed in 5.0 without a clean start too, but one of the oracles refuses it.
                client_id: if !clean_start { format!("c{client_id}") } else { client_id },
                clean_start,
                keep_alive,
                will,
                // Here too: an oracle refuses what 5.0 allows, a password without a user name.
                password: password.filter(|_| username.is_some()),
                username,
                properties: if v4 {
                    connect::Properties { session_expiry, ..connect::Properties::default() }
                } else {
                    properties
                },
            }
        },
    )
}

pub fn connack(version: Version) -> impl Strategy<Value = Connack> {
    let reasons = [0x00, 0x84, 0x85, 0x86, 0x87, 0x88].map(|code| Reason::from_code(code).expect("a reason"));
    let numbers = option::of((any::<u32>(), 1..=u16::MAX, 1..=u32::MAX, any::<u16>(), any::<u16>()));
    let flags = option::of(any::<(bool, bool, bool, bool, bool)>());
    let texts = option::of((text(), text(), text(), text(), text(), data()));
    (any::<bool>(), select(reasons.to_vec()), numbers, flags, texts, users()).prop_map(
        move |(present, reason, numbers, flags, texts, user_properties)| {
            let all = connack::Properties {
                session_expiry: numbers.map(|all| all.0),
                receive_maximum: numbers.map(|all| all.1),
                maximum_packet_size: numbers.map(|all| all.2),
                topic_alias_maximum: numbers.map(|all| all.3),
                server_keep_alive: numbers.map(|all| all.4),
                maximum_qos: flags.map(|all| if all.0 { Qos::AtLeastOnce } else { Qos::AtMostOnce }),
                retain_available: flags.map(|all| all.1),
                wildcard_subscription_available: flags.map(|all| all.2),
                subscription_id_available: flags.map(|all| all.3),
                shared_subscription_available: flags.map(|all| all.4),
                assigned_client_id: texts.as_ref().map(|all| all.0.clone()),
                reason_string: texts.as_ref().map(|all| all.1.clone()),
                response_information: texts.as_ref().map(|all| all.2.clone()),
                server_reference: texts.as_ref().map(|all| all.3.clone()),
                authentication_method: texts.as_ref().map(|all| all.4.clone()),
                authentication_data: texts.map(|all| all.5),
                user_properties,
            };
            let properties = if version == Version::V5 { all } else { connack::Properties::default() };
            Connack { session_present: present && reason == Reason::Success, reason, properties }
        },
    )
}

fn options(version: Version) -> impl Strategy<Value = Options> {
    let handling = select(vec![RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend]);
    (qos(), any::<(bool, bool)>(), handling).prop_map(move |(qos, (no_local, retain_as_published), retain_handling)| {
        match version {
            Version::V4 => Options { qos, ..Options::default() },
            Version::V5 => Options { qos, no_local, retain_as_published, retain_handling },
        }
    })
}

/// A packet identifier, a Subscription Identifier and filters.
pub type Subscribe = (u16, Option<u32>, Vec<(String, Options)>);

pub fn subscribe(version: Version) -> impl Strategy<Value = Subscribe> {
    let id = option::of(1..=268_435_455_u32).prop_map(move |id| id.filter(|_| version == Version::V5));
    (1..=u16::MAX, id, vec((name(), options(version)), 1..5))
}

// === the packets ===

pub fn subscribe_bytes(version: Version, (packet_id, id, filters): &Subscribe) -> Vec<u8> {
    let filters = filters.iter().map(|(filter, options)| (filter.as_str(), *options)).collect::<Vec<_>>();
    written(|out| subscribe::encode(out, version, *packet_id, *id, &filters))
}

fn ack(version: Version) -> impl Strategy<Value = Vec<u8>> {
    let kinds = select(vec![AckKind::Puback, AckKind::Pubrec, AckKind::Pubrel, AckKind::Pubcomp]);
    (kinds, 1..=u16::MAX, any::<bool>(), option::of(text())).prop_map(move |(kind, packet_id, fails, text)| {
        let error = match kind {
            AckKind::Puback | AckKind::Pubrec => Reason::PayloadFormatInvalid,
            AckKind::Pubrel | AckKind::Pubcomp => Reason::PacketIdNotFound,
        };
        let reason = if fails { error } else { Reason::Success };
        written(|out| ack::encode(out, version, &Ack { kind, packet_id, reason, reason_string: text.as_deref() }))
    })
}

fn suback(version: Version) -> impl Strategy<Value = Vec<u8>> {
    let codes = [0x00, 0x01, 0x02, 0x80, 0x8F].map(|code| Reason::from_code(code).expect("a reason")).to_vec();
    (1..=u16::MAX, vec(select(codes), 1..5), option::of(text())).prop_map(move |(packet_id, reasons, text)| {
        written(|out| {
            subscribe::encode_suback(out, version, &Suback { packet_id, reasons, reason_string: text.as_deref() });
        })
    })
}

fn unsuback(version: Version) -> impl Strategy<Value = Vec<u8>> {
    let codes = [0x00, 0x11, 0x87].map(|code| Reason::from_code(code).expect("a reason")).to_vec();
    (1..=u16::MAX, vec(select(codes), 1..5), option::of(text())).prop_map(move |(packet_id, reasons, text)| {
        written(|out| {
            unsubscribe::encode_unsuback(
                out,
                version,
                &Unsuback { packet_id, reasons, reason_string: text.as_deref() },
            );
        })
    })
}

fn unsubscribe(version: Version) -> impl Strategy<Value = Vec<u8>> {
    (1..=u16::MAX, vec(name(), 1..5)).prop_map(move |(packet_id, filters)| {
        let filters = filters.iter().map(String::as_str).collect::<Vec<_>>();
        written(|out| unsubscribe::encode(out, version, packet_id, &filters))
    })
}

fn disconnect(version: Version) -> impl Strategy<Value = Vec<u8>> {
    let reasons = select(vec![Reason::Success, Reason::DisconnectWithWill, Reason::SessionTakenOver]);
    (reasons, option::of(any::<u32>()), option::of(text()), option::of(text())).prop_map(
        move |(reason, session_expiry, why, server)| {
            let (reason_string, server_reference) = (why.as_deref(), server.as_deref());
            let disconnect = Disconnect { reason, session_expiry, reason_string, server_reference };
            written(|out| disconnect::encode(out, version, &disconnect))
        },
    )
}

/// The bytes of any packet that our encoders write.
pub fn any_packet(version: Version) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => publish(version).prop_map(|publish| publish.bytes()),
        2 => connect(version).prop_map(|connect| written(|out| connect::encode(out, &connect))),
        1 => connack(version).prop_map(move |connack| written(|out| connack::encode(out, version, &connack))),
        1 => ack(version),
        1 => subscribe(version).prop_map(move |subscribe| subscribe_bytes(version, &subscribe)),
        1 => suback(version),
        1 => unsubscribe(version),
        1 => unsuback(version),
        1 => disconnect(version),
        1 => select(vec![ping::PINGREQ.to_vec(), ping::PINGRESP.to_vec()]),
    ]
}

pub fn version() -> impl Strategy<Value = Version> {
    select(vec![Version::V4, Version::V5])
}
