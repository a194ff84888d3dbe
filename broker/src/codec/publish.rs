//! PUBLISH, the hot path: positions of a packet's parts without copying it, and the packet from its parts.

use super::{
    Error, Property, Qos, Version, frame,
    frame::Kind,
    properties::{self, Block, Set},
    wire::{Reader, put_varint},
};

/// Where the parts of a PUBLISH lie, relative to the first byte of the packet. It fits any copy of that packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    total: u32,
    /// Start of the property block's content; of the payload, where there is no block.
    properties_at: u32,
    properties_len: u32,
    expiry_at: u32,
    topic_len: u16,
    alias: u16,
    topic_at: u8,
    /// The low four bits of the first byte, and [`V5_BIT`].
    flags: u8,
}

/// The bit of `Layout::flags` that tells an MQTT 5.0 packet.
const V5_BIT: u8 = 0x10;

/// The packet is too short for what its header says.
const ENDS: Error = Error::malformed("the PUBLISH ends before its payload");

/// The parts of a PUBLISH to encode.
///
/// Who fills it keeps the rules: a valid topic, DUP only with QoS 1 and 2, a packet identifier that is not 0 there, a
/// block that was checked, and [`total`](Parts::total) within the receiver's Maximum Packet Size.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The version to encode for.
    pub version: Version,
    /// The QoS.
    pub qos: Qos,
    /// The RETAIN flag.
    pub retain: bool,
    /// The DUP flag.
    pub dup: bool,
    /// Written with QoS 1 and 2 only.
    pub packet_id: u16,
    /// The topic name, at most 65,535 bytes.
    pub topic: &'a [u8],
    /// A raw property block without its length; not written for MQTT 3.1.1.
    pub properties: &'a [u8],
    /// Appended to the properties; not written for MQTT 3.1.1. Each 1 to 268,435,455.
    pub subscription_ids: &'a [u32],
    /// The payload.
    pub payload: &'a [u8],
}

// === impl Layout ===

impl Layout {
    /// Bytes of the whole packet.
    #[inline]
    #[must_use]
    pub const fn total(&self) -> usize {
        self.total as usize
    }

    /// Offset of the topic name's first byte.
    #[inline]
    #[must_use]
    pub const fn topic_at(&self) -> usize {
        self.topic_at as usize
    }

    /// Bytes of the topic name; 0 only where there is an alias.
    #[inline]
    #[must_use]
    pub const fn topic_len(&self) -> usize {
        self.topic_len as usize
    }

    /// Offset of the packet identifier's two bytes; with QoS 0 there are none, and it is the offset behind the topic.
    #[inline]
    #[must_use]
    pub const fn packet_id_at(&self) -> usize {
        self.topic_at as usize + self.topic_len as usize
    }

    /// Offset of the content of the property block, behind its length.
    #[inline]
    #[must_use]
    pub const fn properties_at(&self) -> usize {
        self.properties_at as usize
    }

    /// Bytes of the content of the property block; 0 for MQTT 3.1.1.
    #[inline]
    #[must_use]
    pub const fn properties_len(&self) -> usize {
        self.properties_len as usize
    }

    /// Offset of the payload, which reaches to the end of the packet.
    #[inline]
    #[must_use]
    pub const fn payload_at(&self) -> usize {
        self.properties_at as usize + self.properties_len as usize
    }

    /// Bytes of the payload.
    #[inline]
    #[must_use]
    pub const fn payload_len(&self) -> usize {
        self.total() - self.payload_at()
    }

    /// Offset of the four bytes of the Message Expiry Interval (seconds, big endian); nothing where there is none.
    #[inline]
    #[must_use]
    pub const fn expiry_at(&self) -> Option<usize> {
        if self.expiry_at == 0 { None } else { Some(self.expiry_at as usize) }
    }

    /// The Topic Alias; 0 where there is none.
    #[inline]
    #[must_use]
    pub const fn alias(&self) -> u16 {
        self.alias
    }

    /// The version of the packet.
    #[inline]
    #[must_use]
    pub const fn version(&self) -> Version {
        if self.flags & V5_BIT == 0 { Version::V4 } else { Version::V5 }
    }

    /// The QoS of the packet.
    #[inline]
    #[must_use]
    pub const fn qos(&self) -> Qos {
        match self.flags & 0x06 {
            0x00 => Qos::AtMostOnce,
            0x02 => Qos::AtLeastOnce,
            _ => Qos::ExactlyOnce,
        }
    }

    /// The RETAIN flag.
    #[inline]
    #[must_use]
    pub const fn retain(&self) -> bool {
        self.flags & 0x01 != 0
    }

    /// The DUP flag.
    #[inline]
    #[must_use]
    pub const fn dup(&self) -> bool {
        self.flags & 0x08 != 0
    }

    /// The topic name; its UTF-8 was not checked.
    #[inline]
    #[must_use]
    pub fn topic<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        &frame[self.topic_at()..self.packet_id_at()]
    }

    /// The packet identifier; 0 with QoS 0.
    #[inline]
    #[must_use]
    pub fn packet_id(&self, frame: &[u8]) -> u16 {
        if self.flags & 0x06 == 0 {
            return 0;
        }
        let at = self.packet_id_at();
        u16::from_be_bytes([frame[at], frame[at + 1]])
    }

    /// The raw property block, for [`properties::iter`](super::properties::iter) and [`Parts::properties`].
    #[inline]
    #[must_use]
    pub fn properties<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        &frame[self.properties_at()..self.payload_at()]
    }

    /// The payload.
    #[inline]
    #[must_use]
    pub fn payload<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        &frame[self.payload_at()..self.total()]
    }

    /// The Message Expiry Interval in seconds; nothing where there is none.
    #[inline]
    #[must_use]
    pub fn expiry(&self, frame: &[u8]) -> Option<u32> {
        let value = frame[self.expiry_at()?..].first_chunk()?;
        Some(u32::from_be_bytes(*value))
    }

    /// Writes another packet identifier into a copy of the packet; without effect with QoS 0.
    #[inline]
    pub fn set_packet_id(&self, frame: &mut [u8], packet_id: u16) {
        if self.flags & 0x06 != 0 {
            let at = self.packet_id_at();
            frame[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
    }

    /// Writes another Message Expiry Interval (seconds) into a copy of the packet; without effect where there is none.
    #[inline]
    pub fn set_expiry(&self, frame: &mut [u8], seconds: u32) {
        if let Some(at) = self.expiry_at() {
            frame[at..at + 4].copy_from_slice(&seconds.to_be_bytes());
        }
    }
}

// === impl Parts ===

impl Parts<'_> {
    /// Bytes of the content of the property block.
    fn properties_len(&self) -> usize {
        match self.version {
            Version::V4 => 0,
            Version::V5 => {
                let ids = self.subscription_ids.iter().map(|&id| 1 + frame::varint(id as usize).1).sum::<usize>();
                self.properties.len() + ids
            }
        }
    }

    /// The Remaining Length of the packet.
    fn remaining(&self, properties_len: usize) -> usize {
        let packet_id = if self.qos == Qos::AtMostOnce { 0 } else { 2 };
        let block = match self.version {
            Version::V4 => 0,
            Version::V5 => frame::varint(properties_len).1 + properties_len,
        };
        2 + self.topic.len() + packet_id + block + self.payload.len()
    }

    /// Bytes of the packet that [`encode`] would append.
    #[must_use]
    pub fn total(&self) -> usize {
        let remaining = self.remaining(self.properties_len());
        1 + frame::varint(remaining).1 + remaining
    }
}

// === functions ===

/// The first byte of a PUBLISH. DUP is for QoS 1 and 2 only [MQTT-3.3.1-2].
#[inline]
#[must_use]
pub const fn first_byte(qos: Qos, retain: bool, dup: bool) -> u8 {
    (Kind::Publish as u8) << 4 | (dup as u8) << 3 | (qos as u8) << 1 | retain as u8
}

/// Finds the parts of a PUBLISH that a client sent, and checks everything but whether the topic name is valid: that is
/// done by [`topic::check_name`](crate::topic::check_name) when the name is seen for the first time. It does not compare
/// the Topic Alias with the maximum that was agreed.
///
/// # Errors
/// 0x81 and 0x82 by the specification, 0x94 for Topic Alias 0.
#[inline]
pub fn layout(frame: &[u8], version: Version) -> Result<Layout, Error> {
    parse(frame, version, false)
}

/// The same for a PUBLISH that a server sent, which may carry Subscription Identifiers.
///
/// # Errors
/// 0x81 and 0x82 by the specification, 0x94 for Topic Alias 0.
pub fn layout_from_server(frame: &[u8], version: Version) -> Result<Layout, Error> {
    parse(frame, version, true)
}

#[inline]
fn parse(frame: &[u8], version: Version, from_server: bool) -> Result<Layout, Error> {
    let (first, header) = frame::open(frame, Kind::Publish, version)?;
    let flags = first & 0x0F;
    match flags & 0x0E {
        0x00 | 0x02 | 0x04 | 0x0A | 0x0C => {}
        0x08 => return Err(Error::malformed("DUP must be 0 with QoS 0 [MQTT-3.3.1-2]")),
        _ => return Err(Error::malformed("a PUBLISH must not have QoS 3 [MQTT-3.3.1-4]")),
    }
    let Some(&[high, low]) = frame[header..].first_chunk() else { return Err(ENDS) };
    let topic_len = u16::from_be_bytes([high, low]);
    let topic_at = header + 2;
    let mut at = topic_at + usize::from(topic_len);
    if flags & 0x06 != 0 {
        let Some(&[high, low]) = frame.get(at..).and_then(|rest| rest.first_chunk()) else { return Err(ENDS) };
        if high | low == 0 {
            return Err(Error::protocol("the Packet Identifier must not be 0 [MQTT-2.2.1-3]"));
        }
        at += 2;
    } else if at > frame.len() {
        return Err(ENDS);
    }
    // What `open` accepts is at most 268,435,460 bytes long, so positions fit into 32 bits.
    let mut layout = Layout {
        total: frame.len() as u32,
        properties_at: at as u32,
        properties_len: 0,
        expiry_at: 0,
        topic_len,
        alias: 0,
        topic_at: topic_at as u8,
        flags,
    };
    if version == Version::V5 {
        layout.flags |= V5_BIT;
        match frame.get(at) {
            None => return Err(ENDS),
            Some(0) => layout.properties_at += 1,
            Some(1..) => scan(frame, from_server, &mut layout)?,
        }
    }
    if topic_len == 0 && layout.alias == 0 {
        return Err(Error::protocol("the topic name is empty and there is no Topic Alias [MQTT-4.7.3-1]"));
    }
    Ok(layout)
}

/// Reads the property block, which is not empty and begins at `layout.properties_at`.
fn scan(frame: &[u8], from_server: bool, layout: &mut Layout) -> Result<(), Error> {
    let mut reader = Reader::new(&frame[layout.properties_at()..]);
    let mut block = Block::take(&mut reader, Set::PUBLISH)?;
    let length = block.rest().len();
    let start = frame.len() - reader.rest().len() - length;
    while let Some(property) = block.next()? {
        // The others are only checked, and forwarded as they are [MQTT-3.3.2-17].
        if let Property::MessageExpiry(_) = property {
            layout.expiry_at = (start + block.at() - 4) as u32;
        } else if let Property::TopicAlias(alias) = property {
            layout.alias = alias;
        } else if let (Property::SubscriptionId(_), false) = (property, from_server) {
            return Err(Error::protocol("a client must not send a Subscription Identifier [MQTT-3.3.4-6]"));
        }
    }
    layout.properties_at = start as u32;
    layout.properties_len = length as u32;
    Ok(())
}

/// Appends a PUBLISH to `out`; the layout is relative to its first byte.
///
/// # Panics
/// When [`Parts::total`] exceeds [`frame::LARGEST`] or the topic 65,535 bytes: who encodes for a receiver has compared
/// with its Maximum Packet Size, which is never larger.
pub fn encode(out: &mut Vec<u8>, parts: &Parts<'_>) -> Layout {
    let properties_len = parts.properties_len();
    let remaining = parts.remaining(properties_len);
    assert!(remaining <= frame::VARINT_MAX, "a PUBLISH is longer than its Remaining Length can say");
    let topic_len = u16::try_from(parts.topic.len()).expect("a topic name was checked to have at most 65,535 bytes");
    let start = out.len();
    let (digits, count) = frame::varint(remaining);
    out.reserve(1 + count + remaining);
    let dup = parts.dup && parts.qos != Qos::AtMostOnce;
    let first = first_byte(parts.qos, parts.retain, dup);
    out.push(first);
    out.extend_from_slice(&digits[..count]);
    out.extend_from_slice(&topic_len.to_be_bytes());
    let topic_at = out.len() - start;
    out.extend_from_slice(parts.topic);
    if parts.qos != Qos::AtMostOnce {
        out.extend_from_slice(&parts.packet_id.to_be_bytes());
    }
    let mut layout = Layout {
        total: (1 + count + remaining) as u32,
        properties_at: 0,
        properties_len: properties_len as u32,
        expiry_at: 0,
        topic_len,
        alias: 0,
        topic_at: topic_at as u8,
        flags: first & 0x0F,
    };
    if parts.version == Version::V5 {
        layout.flags |= V5_BIT;
        put_varint(out, properties_len as u32);
        layout.properties_at = (out.len() - start) as u32;
        let mut block = properties::iter(parts.properties);
        while let Some(property) = block.next() {
            if let Property::MessageExpiry(_) = property {
                layout.expiry_at = layout.properties_at + (parts.properties.len() - block.left() - 4) as u32;
            } else if let Property::TopicAlias(alias) = property {
                layout.alias = alias;
            }
        }
        out.extend_from_slice(parts.properties);
        for &id in parts.subscription_ids {
            Property::SubscriptionId(id).put(out);
        }
    } else {
        layout.properties_at = (out.len() - start) as u32;
    }
    out.extend_from_slice(parts.payload);
    layout
}

/// Appends a property block without its Topic Alias, which has a meaning on its own connection only.
pub fn strip_alias(block: &[u8], out: &mut Vec<u8>) {
    let mut iter = properties::iter(block);
    let mut at = 0;
    while let Some(property) = iter.next() {
        let end = block.len() - iter.left();
        if !matches!(property, Property::TopicAlias(_)) {
            out.extend_from_slice(&block[at..end]);
        }
        at = end;
    }
}
