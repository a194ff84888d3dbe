//! CONNACK: the answer to a CONNECT, and what the server offers.

use super::{
    Error, Property, Qos, Reason, Version,
    frame::{self, Kind},
    properties::{Block, MISPLACED, Set, put_block},
    wire::Reader,
};

/// A CONNACK packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connack {
    /// Whether the server goes on with a session it had; never with a failure [MQTT-3.2.2-6].
    pub session_present: bool,
    /// The answer.
    pub reason: Reason,
    /// What else the server says; MQTT 5.0 only.
    pub properties: Properties,
}

/// The properties of a CONNACK; what is absent has the meaning of section 3.2.2.3.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// Seconds; absent: as the client asked.
    pub session_expiry: Option<u32>,
    /// Absent: 65,535.
    pub receive_maximum: Option<u16>,
    /// QoS 0 or 1; absent: QoS 2.
    pub maximum_qos: Option<Qos>,
    /// Absent: yes.
    pub retain_available: Option<bool>,
    /// Bytes; absent: no limit.
    pub maximum_packet_size: Option<u32>,
    /// The client identifier, where the client sent none.
    pub assigned_client_id: Option<String>,
    /// Absent: 0, no aliases.
    pub topic_alias_maximum: Option<u16>,
    /// For a person to read.
    pub reason_string: Option<String>,
    /// Names and values.
    pub user_properties: Vec<(String, String)>,
    /// Absent: yes.
    pub wildcard_subscription_available: Option<bool>,
    /// Absent: yes.
    pub subscription_id_available: Option<bool>,
    /// Absent: yes.
    pub shared_subscription_available: Option<bool>,
    /// Seconds, to be used instead of what the client asked.
    pub server_keep_alive: Option<u16>,
    /// What response topics are to be made of.
    pub response_information: Option<String>,
    /// Another server to use.
    pub server_reference: Option<String>,
    /// The method of the CONNECT.
    pub authentication_method: Option<String>,
    /// The last data of an enhanced authentication.
    pub authentication_data: Option<Vec<u8>>,
}

// === impl Connack ===

impl Connack {
    /// A refusal without properties.
    #[must_use]
    pub fn refusal(reason: Reason) -> Connack {
        Connack { session_present: false, reason, properties: Properties::default() }
    }
}

// === impl Properties ===

impl Properties {
    fn read(reader: &mut Reader<'_>) -> Result<Properties, Error> {
        let mut into = Properties::default();
        let mut block = Block::take(reader, Set::CONNACK)?;
        while let Some(property) = block.next()? {
            match property {
                Property::SessionExpiry(value) => into.session_expiry = Some(value),
                Property::ReceiveMaximum(value) => into.receive_maximum = Some(value),
                Property::MaximumQos(value) => into.maximum_qos = Some(value),
                Property::RetainAvailable(value) => into.retain_available = Some(value),
                Property::MaximumPacketSize(value) => into.maximum_packet_size = Some(value),
                Property::AssignedClientId(value) => into.assigned_client_id = Some(value.into()),
                Property::TopicAliasMaximum(value) => into.topic_alias_maximum = Some(value),
                Property::ReasonString(value) => into.reason_string = Some(value.into()),
                Property::UserProperty(name, value) => into.user_properties.push((name.into(), value.into())),
                Property::WildcardSubscriptionAvailable(value) => into.wildcard_subscription_available = Some(value),
                Property::SubscriptionIdAvailable(value) => into.subscription_id_available = Some(value),
                Property::SharedSubscriptionAvailable(value) => into.shared_subscription_available = Some(value),
                Property::ServerKeepAlive(value) => into.server_keep_alive = Some(value),
                Property::ResponseInformation(value) => into.response_information = Some(value.into()),
                Property::ServerReference(value) => into.server_reference = Some(value.into()),
                Property::AuthenticationMethod(value) => into.authentication_method = Some(value.into()),
                Property::AuthenticationData(value) => into.authentication_data = Some(value.into()),
                _other => return Err(MISPLACED),
            }
        }
        Ok(into)
    }

    fn put(&self, out: &mut Vec<u8>) {
        let single = [
            self.session_expiry.map(Property::SessionExpiry),
            self.receive_maximum.map(Property::ReceiveMaximum),
            self.maximum_qos.map(Property::MaximumQos),
            self.retain_available.map(Property::RetainAvailable),
            self.maximum_packet_size.map(Property::MaximumPacketSize),
            self.assigned_client_id.as_deref().map(Property::AssignedClientId),
            self.topic_alias_maximum.map(Property::TopicAliasMaximum),
            self.reason_string.as_deref().map(Property::ReasonString),
            self.wildcard_subscription_available.map(Property::WildcardSubscriptionAvailable),
            self.subscription_id_available.map(Property::SubscriptionIdAvailable),
            self.shared_subscription_available.map(Property::SharedSubscriptionAvailable),
            self.server_keep_alive.map(Property::ServerKeepAlive),
            self.response_information.as_deref().map(Property::ResponseInformation),
            self.server_reference.as_deref().map(Property::ServerReference),
            self.authentication_method.as_deref().map(Property::AuthenticationMethod),
            self.authentication_data.as_deref().map(Property::AuthenticationData),
        ];
        let users = self.user_properties.iter().map(|(name, value)| Property::UserProperty(name, value));
        put_block(out, single.into_iter().flatten().chain(users));
    }
}

// === functions ===

/// Decodes a whole CONNACK.
///
/// # Errors
/// 0x81 and 0x82 by the specification.
pub fn decode(frame: &[u8], version: Version) -> Result<Connack, Error> {
    let mut reader = Reader::new(frame::body(frame, Kind::Connack, version)?);
    let session_present = match reader.u8()? {
        0 => false,
        1 => true,
        2..=u8::MAX => return Err(Error::malformed("the reserved CONNACK flags must be 0 [MQTT-3.2.2-1]")),
    };
    let code = reader.u8()?;
    let (reason, properties) = match version {
        Version::V4 => (Reason::from_return_code(code), Properties::default()),
        Version::V5 => {
            let reason = Reason::from_code(code).filter(|reason| allowed(*reason));
            (reason, Properties::read(&mut reader)?)
        }
    };
    reader.end()?;
    let Some(reason) = reason else {
        return Err(Error::protocol("the code is not one of a CONNACK"));
    };
    if session_present && reason != Reason::Success {
        return Err(Error::protocol("a CONNACK with a failure must not say Session Present [MQTT-3.2.2-6]"));
    }
    Ok(Connack { session_present, reason, properties })
}

/// Appends a CONNACK. On 3.1.1 nothing is appended when no return code says the reason
/// ([`Reason::return_code`]): the connection is then closed without an answer.
pub fn encode(out: &mut Vec<u8>, version: Version, connack: &Connack) {
    let present = u8::from(connack.session_present && connack.reason == Reason::Success);
    match version {
        Version::V4 => {
            if let Some(code) = connack.reason.return_code() {
                frame::put(out, Kind::Connack, |out| out.extend_from_slice(&[present, code]));
            }
        }
        Version::V5 => frame::put(out, Kind::Connack, |out| {
            out.extend_from_slice(&[present, connack.reason.code()]);
            connack.properties.put(out);
        }),
    }
}

/// Whether a CONNACK may carry the reason (section 3.2.2.2).
fn allowed(reason: Reason) -> bool {
    use Reason as R;
    matches!(
        reason,
        R::Success
            | R::Unspecified
            | R::MalformedPacket
            | R::ProtocolError
            | R::ImplementationSpecific
            | R::UnsupportedProtocolVersion
            | R::ClientIdNotValid
            | R::BadUserNameOrPassword
            | R::NotAuthorized
            | R::ServerUnavailable
            | R::ServerBusy
            | R::Banned
            | R::BadAuthenticationMethod
            | R::TopicNameInvalid
            | R::PacketTooLarge
            | R::QuotaExceeded
            | R::PayloadFormatInvalid
            | R::RetainNotSupported
            | R::QosNotSupported
            | R::UseAnotherServer
            | R::ServerMoved
            | R::ConnectionRateExceeded
    )
}
