//! The properties of MQTT 5.0 (section 2.2.2): which packet may carry which, their values, and blocks of them.

use super::{
    Error, Qos, Reason, frame,
    wire::{Reader, put_binary, put_varint},
};

/// One property. The order of the variants is that of their identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the specification, section 2.2.2.2")]
pub enum Property<'a> {
    /// Whether the payload is UTF-8.
    PayloadFormat(bool),
    /// Seconds.
    MessageExpiry(u32),
    ContentType(&'a str),
    /// A valid topic name, apart from the number of its levels.
    ResponseTopic(&'a str),
    CorrelationData(&'a [u8]),
    /// Not 0.
    SubscriptionId(u32),
    /// Seconds; `u32::MAX` is for ever.
    SessionExpiry(u32),
    AssignedClientId(&'a str),
    /// Seconds.
    ServerKeepAlive(u16),
    AuthenticationMethod(&'a str),
    AuthenticationData(&'a [u8]),
    RequestProblemInformation(bool),
    /// Seconds.
    WillDelay(u32),
    RequestResponseInformation(bool),
    ResponseInformation(&'a str),
    ServerReference(&'a str),
    ReasonString(&'a str),
    /// Not 0.
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    /// Not 0.
    TopicAlias(u16),
    /// QoS 0 or 1.
    MaximumQos(Qos),
    RetainAvailable(bool),
    UserProperty(&'a str, &'a str),
    /// Bytes, not 0.
    MaximumPacketSize(u32),
    WildcardSubscriptionAvailable(bool),
    SubscriptionIdAvailable(bool),
    SharedSubscriptionAvailable(bool),
}

/// A property that is not for its packet, or that the specification does not know (section 2.2.2.2).
pub(super) const MISPLACED: Error = Error::malformed("a property is unknown or not for this packet (section 2.2.2.2)");

/// A set of property identifiers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Set(u64);

/// A block of properties, read one by one and checked against the rules of its packet.
pub(super) struct Block<'a> {
    length: usize,
    reader: Reader<'a>,
    allowed: Set,
    seen: Set,
}

/// The properties of a block that was checked before.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    reader: Reader<'a>,
}

/// The identifiers as they stand on the wire.
mod id {
    pub const PAYLOAD_FORMAT: u8 = 0x01;
    pub const MESSAGE_EXPIRY: u8 = 0x02;
    pub const CONTENT_TYPE: u8 = 0x03;
    pub const RESPONSE_TOPIC: u8 = 0x08;
    pub const CORRELATION_DATA: u8 = 0x09;
    pub const SUBSCRIPTION_ID: u8 = 0x0B;
    pub const SESSION_EXPIRY: u8 = 0x11;
    pub const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub const AUTHENTICATION_METHOD: u8 = 0x15;
    pub const AUTHENTICATION_DATA: u8 = 0x16;
    pub const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub const WILL_DELAY: u8 = 0x18;
    pub const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub const RESPONSE_INFORMATION: u8 = 0x1A;
    pub const SERVER_REFERENCE: u8 = 0x1C;
    pub const REASON_STRING: u8 = 0x1F;
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub const TOPIC_ALIAS: u8 = 0x23;
    pub const MAXIMUM_QOS: u8 = 0x24;
    pub const RETAIN_AVAILABLE: u8 = 0x25;
    pub const USER_PROPERTY: u8 = 0x26;
    pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
    pub const SUBSCRIPTION_ID_AVAILABLE: u8 = 0x29;
    pub const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2A;
}

// === impl Set ===

impl Set {
    const EMPTY: Set = Set(0);
    /// What may stand more than once; the Subscription Identifier only in a PUBLISH.
    const REPEATABLE: Set = Set::of(&[id::USER_PROPERTY]);

    pub const CONNECT: Set = Set::of(&[
        id::SESSION_EXPIRY,
        id::AUTHENTICATION_METHOD,
        id::AUTHENTICATION_DATA,
        id::REQUEST_PROBLEM_INFORMATION,
        id::REQUEST_RESPONSE_INFORMATION,
        id::RECEIVE_MAXIMUM,
        id::TOPIC_ALIAS_MAXIMUM,
        id::USER_PROPERTY,
        id::MAXIMUM_PACKET_SIZE,
    ]);
    pub const WILL: Set = Set::of(&[
        id::PAYLOAD_FORMAT,
        id::MESSAGE_EXPIRY,
        id::CONTENT_TYPE,
        id::RESPONSE_TOPIC,
        id::CORRELATION_DATA,
        id::WILL_DELAY,
        id::USER_PROPERTY,
    ]);
    pub const CONNACK: Set = Set::of(&[
        id::SESSION_EXPIRY,
        id::ASSIGNED_CLIENT_ID,
        id::SERVER_KEEP_ALIVE,
        id::AUTHENTICATION_METHOD,
        id::AUTHENTICATION_DATA,
        id::RESPONSE_INFORMATION,
        id::SERVER_REFERENCE,
        id::REASON_STRING,
        id::RECEIVE_MAXIMUM,
        id::TOPIC_ALIAS_MAXIMUM,
        id::MAXIMUM_QOS,
        id::RETAIN_AVAILABLE,
        id::USER_PROPERTY,
        id::MAXIMUM_PACKET_SIZE,
        id::WILDCARD_SUBSCRIPTION_AVAILABLE,
        id::SUBSCRIPTION_ID_AVAILABLE,
        id::SHARED_SUBSCRIPTION_AVAILABLE,
    ]);
    pub const PUBLISH: Set = Set::of(&[
        id::PAYLOAD_FORMAT,
        id::MESSAGE_EXPIRY,
        id::CONTENT_TYPE,
        id::RESPONSE_TOPIC,
        id::CORRELATION_DATA,
        id::SUBSCRIPTION_ID,
        id::TOPIC_ALIAS,
        id::USER_PROPERTY,
    ]);
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK.
    pub const ACK: Set = Set::of(&[id::REASON_STRING, id::USER_PROPERTY]);
    pub const SUBSCRIBE: Set = Set::of(&[id::SUBSCRIPTION_ID, id::USER_PROPERTY]);
    pub const UNSUBSCRIBE: Set = Set::of(&[id::USER_PROPERTY]);
    pub const DISCONNECT: Set =
        Set::of(&[id::SESSION_EXPIRY, id::SERVER_REFERENCE, id::REASON_STRING, id::USER_PROPERTY]);
    pub const AUTH: Set =
        Set::of(&[id::AUTHENTICATION_METHOD, id::AUTHENTICATION_DATA, id::REASON_STRING, id::USER_PROPERTY]);

    const fn of(ids: &[u8]) -> Set {
        let mut bits = 0;
        let mut at = 0;
        while at < ids.len() {
            bits |= 1 << ids[at];
            at += 1;
        }
        Set(bits)
    }

    const fn has(self, id: u8) -> bool {
        id < 64 && self.0 & (1 << id) != 0
    }
}

// === impl Block ===

impl<'a> Block<'a> {
    /// Takes a block with its length from the reader. A property that is not `allowed` is a Malformed Packet
    /// (section 2.2.2.2), one that is repeated without being repeatable a Protocol Error.
    #[inline]
    pub fn take(reader: &mut Reader<'a>, allowed: Set) -> Result<Block<'a>, Error> {
        let length = reader.varint()? as usize;
        let Ok(content) = reader.take(length) else {
            return Err(Error::malformed("the properties do not end inside the packet"));
        };
        Ok(Block { length, reader: Reader::new(content), allowed, seen: Set::EMPTY })
    }

    /// The content of the block that was not read yet.
    #[inline]
    pub const fn rest(&self) -> &'a [u8] {
        self.reader.rest()
    }

    /// How many bytes of the block were read.
    #[inline]
    pub const fn at(&self) -> usize {
        self.length - self.reader.rest().len()
    }

    /// The next property.
    #[inline]
    pub fn next(&mut self) -> Result<Option<Property<'a>>, Error> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let id = self.reader.u8()?;
        if !self.allowed.has(id) {
            return Err(MISPLACED);
        }
        if self.seen.has(id) && !Set::REPEATABLE.has(id) {
            // Only what a server publishes may carry several; the caller knows who speaks.
            let several = id == id::SUBSCRIPTION_ID && self.allowed.has(id::TOPIC_ALIAS);
            if !several {
                return Err(Error::protocol("a property stands more than once"));
            }
        }
        self.seen.0 |= 1 << id;
        Property::read(id, &mut self.reader).map(Some)
    }
}

// === impl Property ===

impl<'a> Property<'a> {
    /// Reads the value that follows an identifier.
    fn read(id: u8, reader: &mut Reader<'a>) -> Result<Property<'a>, Error> {
        use Property as P;
        Ok(match id {
            id::PAYLOAD_FORMAT => P::PayloadFormat(flag(reader)?),
            id::MESSAGE_EXPIRY => P::MessageExpiry(reader.u32()?),
            id::CONTENT_TYPE => P::ContentType(reader.text()?),
            id::RESPONSE_TOPIC => P::ResponseTopic(response_topic(reader)?),
            id::CORRELATION_DATA => P::CorrelationData(reader.binary()?),
            id::SUBSCRIPTION_ID => match reader.varint()? {
                0 => return Err(Error::protocol("the Subscription Identifier must not be 0")),
                id => P::SubscriptionId(id),
            },
            id::SESSION_EXPIRY => P::SessionExpiry(reader.u32()?),
            id::ASSIGNED_CLIENT_ID => P::AssignedClientId(reader.text()?),
            id::SERVER_KEEP_ALIVE => P::ServerKeepAlive(reader.u16()?),
            id::AUTHENTICATION_METHOD => P::AuthenticationMethod(reader.text()?),
            id::AUTHENTICATION_DATA => P::AuthenticationData(reader.binary()?),
            id::REQUEST_PROBLEM_INFORMATION => P::RequestProblemInformation(flag(reader)?),
            id::WILL_DELAY => P::WillDelay(reader.u32()?),
            id::REQUEST_RESPONSE_INFORMATION => P::RequestResponseInformation(flag(reader)?),
            id::RESPONSE_INFORMATION => P::ResponseInformation(reader.text()?),
            id::SERVER_REFERENCE => P::ServerReference(reader.text()?),
            id::REASON_STRING => P::ReasonString(reader.text()?),
            id::RECEIVE_MAXIMUM => match reader.u16()? {
                0 => return Err(Error::protocol("the Receive Maximum must not be 0")),
                maximum => P::ReceiveMaximum(maximum),
            },
            id::TOPIC_ALIAS_MAXIMUM => P::TopicAliasMaximum(reader.u16()?),
            id::TOPIC_ALIAS => match reader.u16()? {
                0 => {
                    return Err(Error {
                        reason: Reason::TopicAliasInvalid,
                        what: "the Topic Alias must not be 0 [MQTT-3.3.2-8]",
                    });
                }
                alias => P::TopicAlias(alias),
            },
            id::MAXIMUM_QOS => match Qos::from_u8(reader.u8()?) {
                Some(qos @ (Qos::AtMostOnce | Qos::AtLeastOnce)) => P::MaximumQos(qos),
                Some(Qos::ExactlyOnce) | None => {
                    return Err(Error::protocol("the Maximum QoS must be 0 or 1"));
                }
            },
            id::RETAIN_AVAILABLE => P::RetainAvailable(flag(reader)?),
            id::USER_PROPERTY => P::UserProperty(reader.text()?, reader.text()?),
            id::MAXIMUM_PACKET_SIZE => match reader.u32()? {
                0 => return Err(Error::protocol("the Maximum Packet Size must not be 0")),
                size => P::MaximumPacketSize(size),
            },
            id::WILDCARD_SUBSCRIPTION_AVAILABLE => P::WildcardSubscriptionAvailable(flag(reader)?),
            id::SUBSCRIPTION_ID_AVAILABLE => P::SubscriptionIdAvailable(flag(reader)?),
            id::SHARED_SUBSCRIPTION_AVAILABLE => P::SharedSubscriptionAvailable(flag(reader)?),
            _ => return Err(MISPLACED),
        })
    }

    /// Appends identifier and value.
    pub fn put(&self, out: &mut Vec<u8>) {
        match *self {
            Property::PayloadFormat(value) => put_flag(out, id::PAYLOAD_FORMAT, value),
            Property::MessageExpiry(value) => put_u32(out, id::MESSAGE_EXPIRY, value),
            Property::ContentType(value) => put_bytes(out, id::CONTENT_TYPE, value.as_bytes()),
            Property::ResponseTopic(value) => put_bytes(out, id::RESPONSE_TOPIC, value.as_bytes()),
            Property::CorrelationData(value) => put_bytes(out, id::CORRELATION_DATA, value),
            Property::SubscriptionId(value) => {
                out.push(id::SUBSCRIPTION_ID);
                put_varint(out, value);
            }
            Property::SessionExpiry(value) => put_u32(out, id::SESSION_EXPIRY, value),
            Property::AssignedClientId(value) => put_bytes(out, id::ASSIGNED_CLIENT_ID, value.as_bytes()),
            Property::ServerKeepAlive(value) => put_u16(out, id::SERVER_KEEP_ALIVE, value),
            Property::AuthenticationMethod(value) => put_bytes(out, id::AUTHENTICATION_METHOD, value.as_bytes()),
            Property::AuthenticationData(value) => put_bytes(out, id::AUTHENTICATION_DATA, value),
            Property::RequestProblemInformation(value) => put_flag(out, id::REQUEST_PROBLEM_INFORMATION, value),
            Property::WillDelay(value) => put_u32(out, id::WILL_DELAY, value),
            Property::RequestResponseInformation(value) => put_flag(out, id::REQUEST_RESPONSE_INFORMATION, value),
            Property::ResponseInformation(value) => put_bytes(out, id::RESPONSE_INFORMATION, value.as_bytes()),
            Property::ServerReference(value) => put_bytes(out, id::SERVER_REFERENCE, value.as_bytes()),
            Property::ReasonString(value) => put_bytes(out, id::REASON_STRING, value.as_bytes()),
            Property::ReceiveMaximum(value) => put_u16(out, id::RECEIVE_MAXIMUM, value),
            Property::TopicAliasMaximum(value) => put_u16(out, id::TOPIC_ALIAS_MAXIMUM, value),
            Property::TopicAlias(value) => put_u16(out, id::TOPIC_ALIAS, value),
            Property::MaximumQos(value) => out.extend_from_slice(&[id::MAXIMUM_QOS, value as u8]),
            Property::RetainAvailable(value) => put_flag(out, id::RETAIN_AVAILABLE, value),
            Property::UserProperty(name, value) => {
                put_bytes(out, id::USER_PROPERTY, name.as_bytes());
                put_binary(out, value.as_bytes());
            }
            Property::MaximumPacketSize(value) => put_u32(out, id::MAXIMUM_PACKET_SIZE, value),
            Property::WildcardSubscriptionAvailable(value) => {
                put_flag(out, id::WILDCARD_SUBSCRIPTION_AVAILABLE, value);
            }
            Property::SubscriptionIdAvailable(value) => put_flag(out, id::SUBSCRIPTION_ID_AVAILABLE, value),
            Property::SharedSubscriptionAvailable(value) => put_flag(out, id::SHARED_SUBSCRIPTION_AVAILABLE, value),
        }
    }
}

// === impl Iter ===

impl Iter<'_> {
    /// The bytes of the block that were not read yet.
    pub(super) const fn left(&self) -> usize {
        self.reader.rest().len()
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        let id = self.reader.u8().ok()?;
        Property::read(id, &mut self.reader).ok()
    }
}

// === functions ===

/// The properties of a raw block (without its length) that a decoder has checked. It ends early at a fault.
#[must_use]
pub const fn iter(block: &[u8]) -> Iter<'_> {
    Iter { reader: Reader::new(block) }
}

/// Appends a block with its length.
pub(super) fn put_block<'a>(out: &mut Vec<u8>, properties: impl IntoIterator<Item = Property<'a>>) {
    frame::put_sized(out, |out| properties.into_iter().for_each(|property| property.put(out)));
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, Error> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        2..=u8::MAX => Err(Error::protocol("a property that is 0 or 1 has another value")),
    }
}

/// A Response Topic is a topic name, so it has no wildcards [MQTT-3.3.2-14].
fn response_topic<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Error> {
    let topic = reader.text()?;
    if topic.is_empty() || topic.contains(['+', '#']) {
        return Err(Error::protocol("the Response Topic must be a topic name without wildcards [MQTT-3.3.2-14]"));
    }
    Ok(topic)
}

fn put_flag(out: &mut Vec<u8>, id: u8, value: bool) {
    out.extend_from_slice(&[id, u8::from(value)]);
}

fn put_u16(out: &mut Vec<u8>, id: u8, value: u16) {
    out.push(id);
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_u32(out: &mut Vec<u8>, id: u8, value: u32) {
    out.push(id);
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_bytes(out: &mut Vec<u8>, id: u8, value: &[u8]) {
    out.push(id);
    put_binary(out, value);
}
