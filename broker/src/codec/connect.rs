//! CONNECT: who wants to connect, how, and with which will.

use super::{
    Error, Property, Qos, Reason, Version,
    frame::{self, Kind},
    properties::{Block, MISPLACED, Set, put_block},
    wire::{Reader, put_binary},
};
use crate::topic;

/// A CONNECT packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// The protocol version.
    pub version: Version,
    /// Empty where the server is to choose one; never empty on 3.1.1 without `clean_start`.
    pub client_id: String,
    /// Clean Start of MQTT 5.0, Clean Session of 3.1.1.
    pub clean_start: bool,
    /// Seconds; 0 turns it off.
    pub keep_alive: u16,
    /// What to publish when the connection ends without a proper goodbye.
    pub will: Option<Will>,
    /// The user name.
    pub username: Option<String>,
    /// The password; on 3.1.1 only with a user name.
    pub password: Option<Vec<u8>>,
    /// The properties; on 3.1.1 what their absence means.
    pub properties: Properties,
}

/// The will of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// A valid topic name, apart from the number of its levels.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// The QoS.
    pub qos: Qos,
    /// Whether it is to be retained.
    pub retain: bool,
    /// Will Delay Interval in seconds.
    pub delay: u32,
    /// The raw block of a PUBLISH: the will properties without the Will Delay Interval.
    pub properties: Vec<u8>,
}

/// The properties of a CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// Seconds; `u32::MAX` is for ever. On 3.1.1 that or, with a clean session, 0: the two that mean the same.
    pub session_expiry: u32,
    /// 1 or more.
    pub receive_maximum: u16,
    /// Bytes, 1 or more; nothing for no limit.
    pub maximum_packet_size: Option<u32>,
    /// 0 for no aliases.
    pub topic_alias_maximum: u16,
    /// Whether the client wants Response Information.
    pub request_response_information: bool,
    /// Whether reason strings and user properties may be sent in packets other than PUBLISH, CONNACK and DISCONNECT.
    pub request_problem_information: bool,
    /// Names and values.
    pub user_properties: Vec<(String, String)>,
    /// The method of an enhanced authentication.
    pub authentication_method: Option<String>,
    /// Its first data; only with a method.
    pub authentication_data: Option<Vec<u8>>,
}

/// A CONNECT that is refused by its form, and the language to say so in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// What is wrong.
    pub error: Error,
    /// The version of the CONNACK that tells it (with [`Error::reason`]); nothing where the connection is to be closed
    /// without an answer.
    pub answer: Option<Version>,
}

// === impl Properties ===

impl Default for Properties {
    fn default() -> Properties {
        Properties {
            session_expiry: 0,
            receive_maximum: u16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            user_properties: Vec::new(),
            authentication_method: None,
            authentication_data: None,
        }
    }
}

impl Properties {
    fn read(reader: &mut Reader<'_>) -> Result<Properties, Error> {
        let mut into = Properties::default();
        let mut block = Block::take(reader, Set::CONNECT)?;
        while let Some(property) = block.next()? {
            match property {
                Property::SessionExpiry(value) => into.session_expiry = value,
                Property::ReceiveMaximum(value) => into.receive_maximum = value,
                Property::MaximumPacketSize(value) => into.maximum_packet_size = Some(value),
                Property::TopicAliasMaximum(value) => into.topic_alias_maximum = value,
                Property::RequestResponseInformation(value) => into.request_response_information = value,
                Property::RequestProblemInformation(value) => into.request_problem_information = value,
                Property::UserProperty(name, value) => into.user_properties.push((name.into(), value.into())),
                Property::AuthenticationMethod(value) => into.authentication_method = Some(value.into()),
                Property::AuthenticationData(value) => into.authentication_data = Some(value.into()),
                _other => return Err(MISPLACED),
            }
        }
        if into.authentication_data.is_some() && into.authentication_method.is_none() {
            return Err(Error::protocol("there is Authentication Data without an Authentication Method"));
        }
        Ok(into)
    }

    /// Appends what differs from its default.
    fn put(&self, out: &mut Vec<u8>) {
        let defaults = Properties::default();
        let one = |differs: bool, property| differs.then_some(property);
        let single = [
            one(self.session_expiry != defaults.session_expiry, Property::SessionExpiry(self.session_expiry)),
            one(self.receive_maximum != defaults.receive_maximum, Property::ReceiveMaximum(self.receive_maximum)),
            self.maximum_packet_size.map(Property::MaximumPacketSize),
            one(self.topic_alias_maximum != 0, Property::TopicAliasMaximum(self.topic_alias_maximum)),
            one(self.request_response_information, Property::RequestResponseInformation(true)),
            one(!self.request_problem_information, Property::RequestProblemInformation(false)),
            self.authentication_method.as_deref().map(Property::AuthenticationMethod),
            self.authentication_data.as_deref().map(Property::AuthenticationData),
        ];
        let users = self.user_properties.iter().map(|(name, value)| Property::UserProperty(name, value));
        put_block(out, single.into_iter().flatten().chain(users));
    }
}

// === impl Will ===

impl Will {
    fn read(reader: &mut Reader<'_>, version: Version, flags: u8) -> Result<Will, Error> {
        let qos =
            Qos::from_u8(flags >> 3 & 0x03).ok_or(Error::malformed("the Will QoS must not be 3 [MQTT-3.1.2-12]"))?;
        let mut delay = 0;
        let mut properties = Vec::new();
        if version == Version::V5 {
            let mut block = Block::take(reader, Set::WILL)?;
            loop {
                let before = block.rest();
                match block.next()? {
                    None => break,
                    Some(Property::WillDelay(seconds)) => delay = seconds,
                    Some(_) => properties.extend_from_slice(&before[..before.len() - block.rest().len()]),
                }
            }
        }
        let topic = topic::check_name(reader.binary()?, u16::MAX).map_err(Error::topic_name)?.to_owned();
        let payload = reader.binary()?.to_vec();
        Ok(Will { topic, payload, qos, retain: flags & RETAIN != 0, delay, properties })
    }

    fn put(&self, out: &mut Vec<u8>, version: Version) {
        if version == Version::V5 {
            frame::put_sized(out, |out| {
                if self.delay != 0 {
                    Property::WillDelay(self.delay).put(out);
                }
                out.extend_from_slice(&self.properties);
            });
        }
        put_binary(out, self.topic.as_bytes());
        put_binary(out, &self.payload);
    }
}

// === impl Rejected ===

/// A fault found after the version was known. A server of 3.1.1 may only answer where a return code exists for it.
fn rejected(version: Version) -> impl Fn(Error) -> Rejected {
    move |error| {
        let answer = match version {
            Version::V4 => error.reason.return_code().map(|_| version),
            Version::V5 => Some(version),
        };
        Rejected { error, answer }
    }
}

impl std::fmt::Display for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Rejected {}

// === functions ===

const RESERVED: u8 = 0x01;
const CLEAN: u8 = 0x02;
const WILL: u8 = 0x04;
const RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USERNAME: u8 = 0x80;

/// Decodes a whole CONNECT.
///
/// # Errors
/// Every fault of form, with the answer it deserves. A protocol name other than `MQTT` gets none [MQTT-3.1.2-1]; a level
/// other than 4 and 5 gets 0x84, as return code 1 where the level is below 5 [MQTT-3.1.2-2]; an empty client identifier
/// with a session to keep on 3.1.1 gets return code 2 [MQTT-3.1.3-8].
pub fn decode(frame: &[u8]) -> Result<Connect, Rejected> {
    let silent = |error| Rejected { error, answer: None };
    // The version is inside, so the rules of 5.0 about the header are applied when it is known.
    let body = frame::body(frame, Kind::Connect, Version::V4).map_err(silent)?;
    let mut reader = Reader::new(body);
    if reader.binary().map_err(silent)? != b"MQTT" {
        return Err(silent(Error {
            reason: Reason::UnsupportedProtocolVersion,
            what: "the Protocol Name is not MQTT [MQTT-3.1.2-1]",
        }));
    }
    let version = version(reader.u8().map_err(silent)?)?;
    frame::body(frame, Kind::Connect, version).and_then(|_| content(&mut reader, version)).map_err(rejected(version))
}

/// The version of a protocol level. Bridges of some brokers set the highest bit.
fn version(level: u8) -> Result<Version, Rejected> {
    let answer = match level & 0x7F {
        _ if level == Version::V4 as u8 => return Ok(Version::V4),
        _ if level == Version::V5 as u8 => return Ok(Version::V5),
        0..=4 => Version::V4,
        5..=u8::MAX => Version::V5,
    };
    let what = "the protocol level is neither 4 (MQTT 3.1.1) nor 5 (MQTT 5.0) [MQTT-3.1.2-2]";
    Err(Rejected { error: Error { reason: Reason::UnsupportedProtocolVersion, what }, answer: Some(answer) })
}

/// What follows the protocol level.
fn content(reader: &mut Reader<'_>, version: Version) -> Result<Connect, Error> {
    let flags = reader.u8()?;
    if flags & RESERVED != 0 {
        return Err(Error::malformed("the reserved Connect Flag must be 0 [MQTT-3.1.2-3]"));
    }
    if flags & WILL == 0 && flags & (RETAIN | 0x18) != 0 {
        return Err(Error::malformed("Will QoS and Will Retain must be 0 without a Will Flag [MQTT-3.1.2-11, -13]"));
    }
    if version == Version::V4 && flags & (USERNAME | PASSWORD) == PASSWORD {
        return Err(Error::malformed("MQTT 3.1.1 has no password without a user name [MQTT-3.1.2-22]"));
    }
    let keep_alive = reader.u16()?;
    let clean_start = flags & CLEAN != 0;
    let properties = match version {
        Version::V4 => {
            let session_expiry = if clean_start { 0 } else { u32::MAX };
            Properties { session_expiry, ..Properties::default() }
        }
        Version::V5 => Properties::read(reader)?,
    };
    let client_id = reader.text()?.to_owned();
    let will = if flags & WILL == 0 { None } else { Some(Will::read(reader, version, flags)?) };
    let username = if flags & USERNAME == 0 { None } else { Some(reader.text()?.to_owned()) };
    let password = if flags & PASSWORD == 0 { None } else { Some(reader.binary()?.to_vec()) };
    reader.end()?;
    if version == Version::V4 && client_id.is_empty() && !clean_start {
        return Err(Error {
            reason: Reason::ClientIdNotValid,
            what: "an empty client identifier needs a clean session [MQTT-3.1.3-8]",
        });
    }
    Ok(Connect { version, client_id, clean_start, keep_alive, will, username, password, properties })
}

/// Appends a CONNECT. On 3.1.1 the properties are not written. Strings and payloads have at most 65,535 bytes.
pub fn encode(out: &mut Vec<u8>, connect: &Connect) {
    let mut flags = if connect.clean_start { CLEAN } else { 0 };
    if let Some(will) = &connect.will {
        flags |= WILL | (will.qos as u8) << 3 | if will.retain { RETAIN } else { 0 };
    }
    flags |= if connect.username.is_some() { USERNAME } else { 0 };
    flags |= if connect.password.is_some() { PASSWORD } else { 0 };
    frame::put(out, Kind::Connect, |out| {
        put_binary(out, b"MQTT");
        out.extend_from_slice(&[connect.version as u8, flags]);
        out.extend_from_slice(&connect.keep_alive.to_be_bytes());
        if connect.version == Version::V5 {
            connect.properties.put(out);
        }
        put_binary(out, connect.client_id.as_bytes());
        if let Some(will) = &connect.will {
            will.put(out, connect.version);
        }
        if let Some(username) = &connect.username {
            put_binary(out, username.as_bytes());
        }
        if let Some(password) = &connect.password {
            put_binary(out, password);
        }
    });
}
