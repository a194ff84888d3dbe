//! UNSUBSCRIBE and UNSUBACK: filters to forget, and what became of each.

use super::{
    Error, Property, Reason, Version,
    frame::{self, Kind},
    properties::{Block, Set, put_block},
    subscribe::read_reason_string,
    wire::{Reader, put_binary},
};

/// An UNSUBSCRIBE packet.
#[derive(Clone, Copy, Debug)]
pub struct Unsubscribe<'a> {
    /// Not 0.
    pub packet_id: u16,
    /// The filters, checked.
    payload: &'a [u8],
}

/// The filters of an UNSUBSCRIBE, one or more. Their syntax was not checked.
#[derive(Clone, Debug)]
pub struct Filters<'a> {
    reader: Reader<'a>,
}

/// An UNSUBACK packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsuback<'a> {
    /// That of the UNSUBSCRIBE.
    pub packet_id: u16,
    /// One for each filter, in its order; none on 3.1.1.
    pub reasons: Vec<Reason>,
    /// For a person to read; MQTT 5.0 only.
    pub reason_string: Option<&'a str>,
}

// === impl Unsubscribe ===

impl<'a> Unsubscribe<'a> {
    /// The filters, in the order of the packet.
    #[must_use]
    pub const fn filters(&self) -> Filters<'a> {
        Filters { reader: Reader::new(self.payload) }
    }
}

impl<'a> Iterator for Filters<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.reader.text().ok()
    }
}

// === functions ===

/// Decodes a whole UNSUBSCRIBE.
///
/// # Errors
/// 0x81 and 0x82 by the specification.
pub fn decode(frame: &[u8], version: Version) -> Result<Unsubscribe<'_>, Error> {
    let mut reader = Reader::new(frame::body(frame, Kind::Unsubscribe, version)?);
    let packet_id = reader.packet_id()?;
    if version == Version::V5 {
        let mut block = Block::take(&mut reader, Set::UNSUBSCRIBE)?;
        while block.next()?.is_some() {}
    }
    let payload = reader.rest();
    if payload.is_empty() {
        return Err(Error::protocol("an UNSUBSCRIBE must contain at least one filter [MQTT-3.10.3-2]"));
    }
    while !reader.is_empty() {
        reader.text()?;
    }
    Ok(Unsubscribe { packet_id, payload })
}

/// Appends an UNSUBSCRIBE.
pub fn encode(out: &mut Vec<u8>, version: Version, packet_id: u16, filters: &[&str]) {
    frame::put(out, Kind::Unsubscribe, |out| {
        out.extend_from_slice(&packet_id.to_be_bytes());
        if version == Version::V5 {
            put_block(out, None);
        }
        for filter in filters {
            put_binary(out, filter.as_bytes());
        }
    });
}

/// Decodes a whole UNSUBACK.
///
/// # Errors
/// 0x81 and 0x82 by the specification.
pub fn decode_unsuback(frame: &[u8], version: Version) -> Result<Unsuback<'_>, Error> {
    let mut reader = Reader::new(frame::body(frame, Kind::Unsuback, version)?);
    let packet_id = reader.packet_id()?;
    match version {
        Version::V4 => {
            reader.end()?;
            Ok(Unsuback { packet_id, reasons: Vec::new(), reason_string: None })
        }
        Version::V5 => {
            let reason_string = read_reason_string(&mut reader)?;
            if reader.is_empty() {
                return Err(Error::protocol("an UNSUBACK must contain at least one code"));
            }
            let reasons = reader.rest().iter().map(|&code| {
                Reason::from_code(code)
                    .filter(|reason| allowed(*reason))
                    .ok_or(Error::protocol("a code is not one of an UNSUBACK [MQTT-3.11.3-2]"))
            });
            Ok(Unsuback { packet_id, reasons: reasons.collect::<Result<_, _>>()?, reason_string })
        }
    }
}

/// Appends an UNSUBACK; on 3.1.1 it has no content but the packet identifier.
pub fn encode_unsuback(out: &mut Vec<u8>, version: Version, unsuback: &Unsuback<'_>) {
    frame::put(out, Kind::Unsuback, |out| {
        out.extend_from_slice(&unsuback.packet_id.to_be_bytes());
        if version == Version::V5 {
            put_block(out, unsuback.reason_string.map(Property::ReasonString));
            out.extend(unsuback.reasons.iter().map(|reason| reason.code()));
        }
    });
}

/// Whether an UNSUBACK may carry the reason (section 3.11.3).
fn allowed(reason: Reason) -> bool {
    use Reason as R;
    matches!(
        reason,
        R::Success
            | R::NoSubscriptionExisted
            | R::Unspecified
            | R::ImplementationSpecific
            | R::NotAuthorized
            | R::TopicFilterInvalid
            | R::PacketIdInUse
    )
}
