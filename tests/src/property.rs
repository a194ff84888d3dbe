//! MQTT 5 properties as bytes: one function for each, to be concatenated.

fn string(id: u8, text: &str) -> Vec<u8> {
    [&[id][..], &crate::packet::text(text)].concat()
}

fn two(id: u8, value: u16) -> Vec<u8> {
    [&[id][..], &value.to_be_bytes()].concat()
}

fn four(id: u8, value: u32) -> Vec<u8> {
    [&[id][..], &value.to_be_bytes()].concat()
}

/// Payload Format Indicator.
pub fn payload_format(value: u8) -> Vec<u8> {
    vec![0x01, value]
}

/// Message Expiry Interval, seconds.
pub fn message_expiry(seconds: u32) -> Vec<u8> {
    four(0x02, seconds)
}

/// Content Type.
pub fn content_type(text: &str) -> Vec<u8> {
    string(0x03, text)
}

/// Response Topic.
pub fn response_topic(text: &str) -> Vec<u8> {
    string(0x08, text)
}

/// Correlation Data.
pub fn correlation_data(data: &[u8]) -> Vec<u8> {
    [&[0x09][..], &crate::packet::binary(data)].concat()
}

/// Subscription Identifier.
pub fn subscription_id(id: u32) -> Vec<u8> {
    [&[0x0b][..], &crate::packet::varint(id as usize)].concat()
}

/// Session Expiry Interval, seconds.
pub fn session_expiry(seconds: u32) -> Vec<u8> {
    four(0x11, seconds)
}

/// Authentication Method.
pub fn authentication_method(text: &str) -> Vec<u8> {
    string(0x15, text)
}

/// Request Problem Information.
pub fn request_problem_information(value: u8) -> Vec<u8> {
    vec![0x17, value]
}

/// Will Delay Interval, seconds.
pub fn will_delay(seconds: u32) -> Vec<u8> {
    four(0x18, seconds)
}

/// Receive Maximum.
pub fn receive_maximum(value: u16) -> Vec<u8> {
    two(0x21, value)
}

/// Topic Alias Maximum.
pub fn topic_alias_maximum(value: u16) -> Vec<u8> {
    two(0x22, value)
}

/// Topic Alias.
pub fn topic_alias(value: u16) -> Vec<u8> {
    two(0x23, value)
}

/// User Property.
pub fn user(name: &str, value: &str) -> Vec<u8> {
    [&[0x26][..], &crate::packet::text(name), &crate::packet::text(value)].concat()
}

/// Maximum Packet Size, bytes.
pub fn maximum_packet_size(bytes: u32) -> Vec<u8> {
    four(0x27, bytes)
}

/// How the value of a property is written.
enum Kind {
    Byte,
    Two,
    Four,
    Varint,
    Text,
    Pair,
}

fn kind(id: u8) -> Kind {
    match id {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => Kind::Byte,
        0x13 | 0x21 | 0x22 | 0x23 => Kind::Two,
        0x02 | 0x11 | 0x18 | 0x27 => Kind::Four,
        0x0b => Kind::Varint,
        0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => Kind::Text,
        0x26 => Kind::Pair,
        _ => panic!("the broker sent a property {id:#x} that no specification names"),
    }
}

/// Properties as received, in order: identifier and value (of strings without their length).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(pub Vec<(u8, Vec<u8>)>);

impl Properties {
    /// Reads the content of a property block. Panics on one that is not well-formed.
    pub fn parse(mut block: &[u8]) -> Self {
        let mut all = Vec::new();
        while let Some((&id, rest)) = block.split_first() {
            let prefixed = |b: &[u8]| 2 + usize::from(u16::from_be_bytes([b[0], b[1]]));
            let (skip, length) = match kind(id) {
                Kind::Byte => (0, 1),
                Kind::Two => (0, 2),
                Kind::Four => (0, 4),
                Kind::Varint => (0, rest.iter().position(|b| b & 0x80 == 0).expect("a varint ends") + 1),
                Kind::Text => (2, prefixed(rest)),
                Kind::Pair => (0, prefixed(rest) + prefixed(&rest[prefixed(rest)..])),
            };
            all.push((id, rest[skip..length].to_vec()));
            block = &rest[length..];
        }
        Self(all)
    }

    /// The first value with this identifier.
    pub fn get(&self, id: u8) -> Option<&[u8]> {
        self.0.iter().find(|p| p.0 == id).map(|p| &p.1[..])
    }

    /// The first value with this identifier, as a number.
    pub fn number(&self, id: u8) -> Option<u32> {
        let big_endian = |value: &[u8]| value.iter().fold(0, |n, b| n << 8 | u32::from(*b));
        let little_sevens = |value: &[u8]| value.iter().rev().fold(0, |n, b| n << 7 | u32::from(b & 0x7f));
        self.get(id).map(|value| if id == 0x0b { little_sevens(value) } else { big_endian(value) })
    }

    /// The first value with this identifier, as text.
    pub fn text(&self, id: u8) -> Option<&str> {
        self.get(id).map(|value| std::str::from_utf8(value).expect("the broker sends valid UTF-8"))
    }
}
