//! Packets that the broker sent, taken apart.

use std::fmt;

use crate::packet::varint;
use crate::property::Properties;

/// A whole packet.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet(pub Vec<u8>);

/// A CONNACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connack {
    /// Session Present.
    pub session_present: bool,
    /// Reason code, or return code of 3.1.1.
    pub reason: u8,
    /// Properties, MQTT 5 only.
    pub properties: Properties,
}

/// A DISCONNECT, or an acknowledgement: what has a reason code and properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reasoned {
    /// Packet id; 0 in a DISCONNECT.
    pub id: u16,
    /// Reason code.
    pub reason: u8,
    /// Properties.
    pub properties: Properties,
}

/// A PUBLISH with its properties taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// First byte: DUP, QoS, RETAIN.
    pub flags: u8,
    /// Topic.
    pub topic: String,
    /// Packet id; 0 at QoS 0.
    pub id: u16,
    /// Properties, MQTT 5 only.
    pub properties: Properties,
    /// Payload.
    pub payload: Vec<u8>,
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x} "))?;
        let readable = |b: &u8| if b.is_ascii_graphic() { char::from(*b) } else { '.' };
        write!(f, "|{}|", self.0.iter().map(readable).collect::<String>())
    }
}

/// A property block at the front of `b`, which may be missing, and what follows it.
fn block(b: &[u8]) -> (Properties, &[u8]) {
    let Some(end) = b.iter().position(|c| c & 0x80 == 0) else { return Default::default() };
    let length = b[..=end].iter().rev().fold(0, |n, c| n << 7 | usize::from(c & 0x7f));
    let (content, rest) = b[end + 1..].split_at(length);
    (Properties::parse(content), rest)
}

impl Packet {
    /// The whole packet at the front of `b`, if it is whole.
    pub fn take(b: &mut Vec<u8>) -> Option<Self> {
        let end = 1 + b.get(1..)?.iter().position(|c| c & 0x80 == 0)?;
        let length = b[1..=end].iter().rev().fold(0, |n, c| n << 7 | usize::from(c & 0x7f));
        assert_eq!(varint(length), b[1..=end], "a Remaining Length takes as few bytes as it can [MQTT-1.5.5-1]");
        let whole = end + 1 + length;
        (b.len() >= whole).then(|| Self(b.drain(..whole).collect()))
    }

    /// The high half of the first byte: what packet it is.
    pub fn kind(&self) -> u8 {
        self.0[0] & 0xf0
    }

    fn body(&self) -> &[u8] {
        let end = self.0[1..].iter().position(|c| c & 0x80 == 0).expect("a whole packet has a length");
        &self.0[end + 2..]
    }

    /// As CONNACK.
    #[track_caller]
    pub fn connack(&self) -> Connack {
        assert_eq!(self.kind(), 0x20, "a CONNACK is due, not {self:?}");
        let b = self.body();
        Connack { session_present: b[0] == 1, reason: b[1], properties: block(&b[2..]).0 }
    }

    /// As DISCONNECT.
    #[track_caller]
    pub fn disconnect(&self) -> Reasoned {
        assert_eq!(self.kind(), 0xe0, "a DISCONNECT is due, not {self:?}");
        let b = self.body();
        let properties = block(b.get(1..).unwrap_or_default()).0;
        Reasoned { id: 0, reason: b.first().copied().unwrap_or(0), properties }
    }

    /// As the PUBACK, PUBREC, PUBREL or PUBCOMP with this first byte.
    #[track_caller]
    pub fn ack(&self, first: u8) -> Reasoned {
        assert_eq!(self.0[0], first, "a packet {first:#x} is due, not {self:?}");
        let b = self.body();
        let properties = block(b.get(3..).unwrap_or_default()).0;
        Reasoned { id: u16::from_be_bytes([b[0], b[1]]), reason: b.get(2).copied().unwrap_or(0), properties }
    }

    /// As a PUBLISH of MQTT `level`.
    #[track_caller]
    pub fn message(&self, level: u8) -> Message {
        assert_eq!(self.kind(), 0x30, "a PUBLISH is due, not {self:?}");
        let b = self.body();
        let (topic, mut rest) = b[2..].split_at(usize::from(u16::from_be_bytes([b[0], b[1]])));
        let mut id = 0;
        if self.0[0] & 6 != 0 {
            id = u16::from_be_bytes([rest[0], rest[1]]);
            rest = &rest[2..];
        }
        let (properties, payload) = if level == 5 { block(rest) } else { (Properties::default(), rest) };
        let topic = String::from_utf8(topic.to_vec()).expect("a topic is UTF-8");
        Message { flags: self.0[0] & 0x0f, topic, id, properties, payload: payload.to_vec() }
    }

    /// The codes of a SUBACK or of an UNSUBACK of MQTT 5.
    #[track_caller]
    pub fn codes(&self, level: u8) -> Vec<u8> {
        assert!(matches!(self.kind(), 0x90 | 0xb0), "a SUBACK or UNSUBACK is due, not {self:?}");
        let rest = &self.body()[2..];
        if level == 5 { block(rest).1.to_vec() } else { rest.to_vec() }
    }
}
