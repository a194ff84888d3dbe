//! MQTT packets as bytes, built by the words of the specification and not by the broker's codec.

/// A string with its length.
pub fn text(value: &str) -> Vec<u8> {
    binary(value.as_bytes())
}

/// Binary data with its length.
pub fn binary(value: &[u8]) -> Vec<u8> {
    [&(value.len() as u16).to_be_bytes()[..], value].concat()
}

/// A Variable Byte Integer.
pub fn varint(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return out;
        }
        out.push(byte | 0x80);
    }
}

/// A packet of this first byte and body.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first][..], &varint(body.len()), body].concat()
}

/// Bytes written as hexadecimal digits; spaces and line ends between them are for the reader.
pub fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let pair = |p: &[u8]| u8::from_str_radix(&String::from_utf8_lossy(p), 16).expect("hexadecimal digits");
    digits.chunks(2).map(pair).collect()
}

/// The block of properties in MQTT 5, nothing in 3.1.1.
fn properties(level: u8, content: &[u8]) -> Vec<u8> {
    if level == 5 { [varint(content.len()), content.to_vec()].concat() } else { Vec::new() }
}

/// A will.
#[derive(Clone, Debug, Default)]
pub struct Will {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Its QoS.
    pub qos: u8,
    /// Its RETAIN flag.
    pub retain: bool,
    /// Its properties, MQTT 5 only.
    pub properties: Vec<u8>,
}

/// A CONNECT.
#[derive(Clone, Debug)]
pub struct Connect {
    /// 4 or 5.
    pub level: u8,
    /// The client id.
    pub id: String,
    /// Clean Session or Clean Start.
    pub clean: bool,
    /// Seconds.
    pub keep_alive: u16,
    /// Properties, MQTT 5 only.
    pub properties: Vec<u8>,
    /// The will.
    pub will: Option<Will>,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<Vec<u8>>,
}

impl Connect {
    /// A clean CONNECT with keep alive 60.
    pub fn new(level: u8, id: &str) -> Self {
        Self {
            level,
            id: id.to_owned(),
            clean: true,
            keep_alive: 60,
            properties: Vec::new(),
            will: None,
            user: None,
            password: None,
        }
    }

    /// The same with a session that outlives the connection: Clean Start 0 and, in MQTT 5, an expiry of 300 s.
    pub fn persistent(level: u8, id: &str) -> Self {
        let properties = if level == 5 { crate::property::session_expiry(300) } else { Vec::new() };
        Self { clean: false, properties, ..Self::new(level, id) }
    }

    /// With these properties besides.
    pub fn with(mut self, properties: impl AsRef<[u8]>) -> Self {
        self.properties.extend_from_slice(properties.as_ref());
        self
    }

    /// With a user name and a password.
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.user = Some(user.to_owned());
        self.password = Some(password.as_bytes().to_vec());
        self
    }

    /// With a will.
    pub fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    /// With a keep alive of so many seconds.
    pub fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    /// The packet.
    pub fn bytes(&self) -> Vec<u8> {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let will = self.will.as_ref().map_or(0, |w| 0x04 | w.qos << 3 | flag(w.retain, 0x20));
        let flags =
            flag(self.clean, 0x02) | will | flag(self.password.is_some(), 0x40) | flag(self.user.is_some(), 0x80);
        let mut body = [text("MQTT"), vec![self.level, flags], self.keep_alive.to_be_bytes().to_vec()].concat();
        body.extend(properties(self.level, &self.properties));
        body.extend(text(&self.id));
        if let Some(w) = &self.will {
            body.extend(properties(self.level, &w.properties));
            body.extend(text(&w.topic));
            body.extend(binary(&w.payload));
        }
        body.extend(self.user.iter().flat_map(|u| text(u)));
        body.extend(self.password.iter().flat_map(|p| binary(p)));
        packet(0x10, &body)
    }
}

/// A PUBLISH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// 4 or 5.
    pub level: u8,
    /// The topic.
    pub topic: String,
    /// QoS.
    pub qos: u8,
    /// Packet id, above QoS 0.
    pub id: u16,
    /// DUP flag.
    pub dup: bool,
    /// RETAIN flag.
    pub retain: bool,
    /// Properties, MQTT 5 only.
    pub properties: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Publish {
    /// A PUBLISH of QoS 0.
    pub fn new(level: u8, topic: &str, payload: impl AsRef<[u8]>) -> Self {
        Self {
            level,
            topic: topic.to_owned(),
            qos: 0,
            id: 0,
            dup: false,
            retain: false,
            properties: Vec::new(),
            payload: payload.as_ref().to_vec(),
        }
    }

    /// With this QoS and packet id.
    pub fn qos(mut self, qos: u8, id: u16) -> Self {
        (self.qos, self.id) = (qos, id);
        self
    }

    /// With the DUP flag.
    pub fn dup(mut self) -> Self {
        self.dup = true;
        self
    }

    /// With the RETAIN flag.
    pub fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    /// With these properties besides.
    pub fn with(mut self, properties: impl AsRef<[u8]>) -> Self {
        self.properties.extend_from_slice(properties.as_ref());
        self
    }

    /// The packet.
    pub fn bytes(&self) -> Vec<u8> {
        let mut body = text(&self.topic);
        if self.qos > 0 {
            body.extend(self.id.to_be_bytes());
        }
        body.extend(properties(self.level, &self.properties));
        body.extend(&self.payload);
        packet(0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain), &body)
    }
}

/// A SUBSCRIBE of (filter, options).
pub fn subscribe(level: u8, id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    subscribe_with(level, id, &[], filters)
}

/// A SUBSCRIBE with properties.
pub fn subscribe_with(level: u8, id: u16, content: &[u8], filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = [id.to_be_bytes().to_vec(), properties(level, content)].concat();
    for (filter, options) in filters {
        body.extend(text(filter));
        body.push(*options);
    }
    packet(0x82, &body)
}

/// The SUBACK with these codes and no properties.
pub fn suback(level: u8, id: u16, codes: &[u8]) -> Vec<u8> {
    packet(0x90, &[&id.to_be_bytes()[..], &properties(level, &[]), codes].concat())
}

/// An UNSUBSCRIBE.
pub fn unsubscribe(level: u8, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = [id.to_be_bytes().to_vec(), properties(level, &[])].concat();
    filters.iter().for_each(|f| body.extend(text(f)));
    packet(0xa2, &body)
}

/// The UNSUBACK: codes in MQTT 5 only.
pub fn unsuback(level: u8, id: u16, codes: &[u8]) -> Vec<u8> {
    let codes = if level == 5 { [&[0][..], codes].concat() } else { Vec::new() };
    packet(0xb0, &[id.to_be_bytes().to_vec(), codes].concat())
}

/// A PUBACK of success.
pub fn puback(id: u16) -> Vec<u8> {
    packet(0x40, &id.to_be_bytes())
}

/// A PUBREC of success.
pub fn pubrec(id: u16) -> Vec<u8> {
    packet(0x50, &id.to_be_bytes())
}

/// A PUBREL of success.
pub fn pubrel(id: u16) -> Vec<u8> {
    packet(0x62, &id.to_be_bytes())
}

/// A PUBCOMP of success.
pub fn pubcomp(id: u16) -> Vec<u8> {
    packet(0x70, &id.to_be_bytes())
}

/// PINGREQ.
pub const PINGREQ: [u8; 2] = [0xc0, 0];
/// PINGRESP.
pub const PINGRESP: [u8; 2] = [0xd0, 0];
/// DISCONNECT without a reason, which is a normal one.
pub const DISCONNECT: [u8; 2] = [0xe0, 0];
/// DISCONNECT with Will Message, MQTT 5 only.
pub const DISCONNECT_WITH_WILL: [u8; 3] = [0xe0, 1, 4];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_those_of_the_specification() {
        assert_eq!(Connect::new(4, "a").bytes(), hex("10 0d 0004 4d515454 04 02 003c 0001 61"));
        let full = Connect::new(5, "a").with(crate::property::session_expiry(1)).login("u", "p").will(Will {
            topic: "t".into(),
            payload: b"w".to_vec(),
            qos: 2,
            retain: true,
            properties: crate::property::will_delay(7),
        });
        let bytes =
            hex("10 25 0004 4d515454 05 f6 003c 05 11 00000001 0001 61 05 18 00000007 0001 74 0001 77 0001 75 0001 70");
        assert_eq!(full.bytes(), bytes);
        assert_eq!(Publish::new(4, "t", "x").bytes(), hex("30 04 0001 74 78"));
        let publish = Publish::new(5, "t", "x").qos(2, 9).dup().retain().with(crate::property::topic_alias(3));
        assert_eq!(publish.bytes(), hex("3d 0a 0001 74 0009 03 23 0003 78"));
        assert_eq!(subscribe(4, 1, &[("a", 1)]), hex("82 06 0001 0001 61 01"));
        assert_eq!(subscribe(5, 1, &[("a", 1)]), hex("82 07 0001 00 0001 61 01"));
        assert_eq!(unsuback(4, 1, &[0]), hex("b0 02 0001"));
        assert_eq!(unsuback(5, 1, &[0]), hex("b0 04 0001 00 00"));
        assert_eq!(varint(321), [0xc1, 0x02]);
    }
}
