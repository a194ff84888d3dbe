//! DISCONNECT: the end of a connection, and in MQTT 5.0 why.

use super::{
    Error, Property, Reason, Version,
    frame::{self, Kind},
    properties::{Block, Set, put_block},
    wire::Reader,
};

/// A DISCONNECT packet. A server of MQTT 3.1.1 does not send one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// [`Reason::Success`], that is Normal disconnection, for MQTT 3.1.1.
    pub reason: Reason,
    /// Seconds; only from a client, whose server refuses a change from 0 to anything else.
    pub session_expiry: Option<u32>,
    /// For a person to read.
    pub reason_string: Option<&'a str>,
    /// Another server to use; only from a server.
    pub server_reference: Option<&'a str>,
}

// === impl Disconnect ===

impl Disconnect<'_> {
    /// A reason and nothing else.
    #[must_use]
    pub const fn because(reason: Reason) -> Disconnect<'static> {
        Disconnect { reason, session_expiry: None, reason_string: None, server_reference: None }
    }
}

// === functions ===

/// Decodes a whole DISCONNECT, of either side.
///
/// # Errors
/// 0x81 and 0x82 by the specification.
pub fn decode(frame: &[u8], version: Version) -> Result<Disconnect<'_>, Error> {
    let mut reader = Reader::new(frame::body(frame, Kind::Disconnect, version)?);
    let mut disconnect = Disconnect::because(Reason::Success);
    if version == Version::V5 && !reader.is_empty() {
        disconnect.reason = match Reason::from_code(reader.u8()?) {
            Some(reason) if allowed(reason) => reason,
            Some(_) | None => return Err(Error::protocol("the Reason Code is not one of a DISCONNECT")),
        };
        if !reader.is_empty() {
            let mut block = Block::take(&mut reader, Set::DISCONNECT)?;
            while let Some(property) = block.next()? {
                // A User Property is only checked: nobody asks for it.
                if let Property::SessionExpiry(seconds) = property {
                    disconnect.session_expiry = Some(seconds);
                } else if let Property::ReasonString(text) = property {
                    disconnect.reason_string = Some(text);
                } else if let Property::ServerReference(server) = property {
                    disconnect.server_reference = Some(server);
                }
            }
        }
    }
    reader.end()?;
    Ok(disconnect)
}

/// Appends a DISCONNECT, in its short form where that says the same; on 3.1.1 it has no content.
pub fn encode(out: &mut Vec<u8>, version: Version, disconnect: &Disconnect<'_>) {
    let properties = [
        disconnect.session_expiry.map(Property::SessionExpiry),
        disconnect.reason_string.map(Property::ReasonString),
        disconnect.server_reference.map(Property::ServerReference),
    ];
    let bare = properties.iter().all(Option::is_none);
    frame::put(out, Kind::Disconnect, |out| {
        if version == Version::V4 || (bare && disconnect.reason == Reason::Success) {
            return;
        }
        out.push(disconnect.reason.code());
        if !bare {
            put_block(out, properties.into_iter().flatten());
        }
    });
}

/// Whether a DISCONNECT may carry the reason (section 3.14.2.1).
fn allowed(reason: Reason) -> bool {
    use Reason as R;
    matches!(
        reason,
        R::Success
            | R::DisconnectWithWill
            | R::Unspecified
            | R::MalformedPacket
            | R::ProtocolError
            | R::ImplementationSpecific
            | R::NotAuthorized
            | R::ServerBusy
            | R::ServerShuttingDown
            | R::BadAuthenticationMethod
            | R::KeepAliveTimeout
            | R::SessionTakenOver
            | R::TopicFilterInvalid
            | R::TopicNameInvalid
            | R::ReceiveMaximumExceeded
            | R::TopicAliasInvalid
            | R::PacketTooLarge
            | R::MessageRateTooHigh
            | R::QuotaExceeded
            | R::AdministrativeAction
            | R::PayloadFormatInvalid
            | R::RetainNotSupported
            | R::QosNotSupported
            | R::UseAnotherServer
            | R::ServerMoved
            | R::SharedSubscriptionsNotSupported
            | R::ConnectionRateExceeded
            | R::MaximumConnectTime
            | R::SubscriptionIdsNotSupported
            | R::WildcardSubscriptionsNotSupported
    )
}
