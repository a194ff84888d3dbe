//! PUBACK, PUBREC, PUBREL and PUBCOMP: a packet identifier, and in MQTT 5.0 a reason.

use super::{
    Error, Property, Reason, Version,
    frame::{self, Kind},
    properties::{Block, Set, put_block},
    wire::Reader,
};

/// Which of the four packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the specification")]
pub enum AckKind {
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
}

/// One of the four packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Which of the four it is.
    pub kind: AckKind,
    /// Not 0.
    pub packet_id: u16,
    /// [`Reason::Success`] for MQTT 3.1.1.
    pub reason: Reason,
    /// For a person to read; MQTT 5.0 only.
    pub reason_string: Option<&'a str>,
}

// === impl AckKind ===

impl AckKind {
    /// The kind in the fixed header.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            AckKind::Puback => Kind::Puback,
            AckKind::Pubrec => Kind::Pubrec,
            AckKind::Pubrel => Kind::Pubrel,
            AckKind::Pubcomp => Kind::Pubcomp,
        }
    }

    /// Whether the packet may carry the reason (sections 3.4.2.1 to 3.7.2.1).
    const fn allows(self, reason: Reason) -> bool {
        match self {
            AckKind::Puback | AckKind::Pubrec => matches!(
                reason,
                Reason::Success
                    | Reason::NoMatchingSubscribers
                    | Reason::Unspecified
                    | Reason::ImplementationSpecific
                    | Reason::NotAuthorized
                    | Reason::TopicNameInvalid
                    | Reason::PacketIdInUse
                    | Reason::QuotaExceeded
                    | Reason::PayloadFormatInvalid
            ),
            AckKind::Pubrel | AckKind::Pubcomp => matches!(reason, Reason::Success | Reason::PacketIdNotFound),
        }
    }
}

// === functions ===

/// Decodes a whole PUBACK, PUBREC, PUBREL or PUBCOMP.
///
/// # Errors
/// 0x81 and 0x82 by the specification; 0x82 for any other packet.
#[inline]
pub fn decode(frame: &[u8], version: Version) -> Result<Ack<'_>, Error> {
    let kind = match frame.first().map(|first| first >> 4) {
        Some(4) => AckKind::Puback,
        Some(5) => AckKind::Pubrec,
        Some(6) => AckKind::Pubrel,
        Some(7) => AckKind::Pubcomp,
        Some(_) | None => return Err(Error::protocol("the packet is of another type than expected here")),
    };
    let mut reader = Reader::new(frame::body(frame, kind.kind(), version)?);
    let mut ack = Ack { kind, packet_id: reader.packet_id()?, reason: Reason::Success, reason_string: None };
    if version == Version::V5 && !reader.is_empty() {
        ack.reason = match Reason::from_code(reader.u8()?) {
            Some(reason) if kind.allows(reason) => reason,
            Some(_) | None => return Err(Error::protocol("the Reason Code is not one of this packet")),
        };
        if !reader.is_empty() {
            let mut block = Block::take(&mut reader, Set::ACK)?;
            while let Some(property) = block.next()? {
                if let Property::ReasonString(text) = property {
                    ack.reason_string = Some(text);
                }
            }
        }
    }
    reader.end()?;
    Ok(ack)
}

/// Appends the packet, in its short form where that says the same. MQTT 3.1.1 has the short form only.
///
/// The caller leaves the reason string out where the client asked for no problem information [MQTT-3.1.2-29], or where it
/// would exceed the client's Maximum Packet Size [MQTT-3.4.2-2].
#[inline]
pub fn encode(out: &mut Vec<u8>, version: Version, ack: &Ack<'_>) {
    let [high, low] = ack.packet_id.to_be_bytes();
    if version == Version::V4 || (ack.reason == Reason::Success && ack.reason_string.is_none()) {
        let first = (ack.kind.kind() as u8) << 4 | if ack.kind == AckKind::Pubrel { 0b0010 } else { 0 };
        out.extend_from_slice(&[first, 2, high, low]);
        return;
    }
    frame::put(out, ack.kind.kind(), |out| {
        out.extend_from_slice(&[high, low, ack.reason.code()]);
        if ack.reason_string.is_some() {
            put_block(out, ack.reason_string.map(Property::ReasonString));
        }
    });
}
