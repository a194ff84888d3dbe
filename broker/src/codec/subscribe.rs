//! SUBSCRIBE and SUBACK: filters with their options, and what became of each.

use super::{
    Error, Property, Qos, Reason, Version,
    frame::{self, Kind},
    properties::{Block, Set, put_block},
    wire::{Reader, put_binary},
};
use crate::topic::Subscription;

/// A SUBSCRIBE packet.
#[derive(Clone, Copy, Debug)]
pub struct Subscribe<'a> {
    /// Not 0.
    pub packet_id: u16,
    /// Not 0; MQTT 5.0 only.
    pub subscription_id: Option<u32>,
    /// The filters with their options, checked.
    payload: &'a [u8],
}

/// How messages are to be delivered for a filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The highest QoS.
    pub qos: Qos,
    /// Not what the same client published; MQTT 5.0 only.
    pub no_local: bool,
    /// Keep the RETAIN flag as it was published; MQTT 5.0 only.
    pub retain_as_published: bool,
    /// Which retained messages to send; MQTT 5.0 only.
    pub retain_handling: RetainHandling,
}

/// Which retained messages a new subscription receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum RetainHandling {
    /// All that match.
    #[default]
    Send = 0,
    /// All that match, if the subscription did not exist.
    SendIfNew = 1,
    /// None.
    DoNotSend = 2,
}

/// The filters of a SUBSCRIBE, one or more. Their syntax is for [`Subscription::parse`] to check.
#[derive(Clone, Debug)]
pub struct Filters<'a> {
    reader: Reader<'a>,
}

/// A SUBACK packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suback<'a> {
    /// That of the SUBSCRIBE.
    pub packet_id: u16,
    /// One for each filter, in its order.
    pub reasons: Vec<Reason>,
    /// For a person to read; MQTT 5.0 only.
    pub reason_string: Option<&'a str>,
}

// === impl Subscribe ===

impl<'a> Subscribe<'a> {
    /// The filters with their options, in the order of the packet.
    #[must_use]
    pub const fn filters(&self) -> Filters<'a> {
        Filters { reader: Reader::new(self.payload) }
    }
}

impl<'a> Iterator for Filters<'a> {
    type Item = (&'a str, Options);

    fn next(&mut self) -> Option<(&'a str, Options)> {
        let filter = self.reader.text().ok()?;
        let options = Options::from_bits(self.reader.u8().ok()?).ok()?;
        Some((filter, options))
    }
}

// === impl Options ===

impl Options {
    /// Reads the Subscription Options of MQTT 5.0; the Requested QoS of 3.1.1 is the same with the other bits 0.
    fn from_bits(bits: u8) -> Result<Options, Error> {
        if bits & 0xC0 != 0 {
            return Err(Error::malformed("the reserved bits of the Subscription Options must be 0 [MQTT-3.8.3-5]"));
        }
        let Some(qos) = Qos::from_u8(bits & 0x03) else {
            return Err(Error::protocol("the QoS of a subscription must not be 3 (section 3.8.3.1)"));
        };
        let retain_handling = match bits >> 4 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            3..=u8::MAX => return Err(Error::protocol("the Retain Handling must not be 3 (section 3.8.3.1)")),
        };
        Ok(Options { qos, no_local: bits & 0x04 != 0, retain_as_published: bits & 0x08 != 0, retain_handling })
    }

    fn bits(self, version: Version) -> u8 {
        match version {
            Version::V4 => self.qos as u8,
            Version::V5 => {
                self.qos as u8
                    | u8::from(self.no_local) << 2
                    | u8::from(self.retain_as_published) << 3
                    | (self.retain_handling as u8) << 4
            }
        }
    }
}

// === functions ===

/// Decodes a whole SUBSCRIBE: all but whether each filter is valid, which has an answer of its own in the SUBACK.
///
/// # Errors
/// 0x81 and 0x82 by the specification.
pub fn decode(frame: &[u8], version: Version) -> Result<Subscribe<'_>, Error> {
    let mut reader = Reader::new(frame::body(frame, Kind::Subscribe, version)?);
    let packet_id = reader.packet_id()?;
    let mut subscription_id = None;
    if version == Version::V5 {
        let mut block = Block::take(&mut reader, Set::SUBSCRIBE)?;
        while let Some(property) = block.next()? {
            if let Property::SubscriptionId(id) = property {
                subscription_id = Some(id);
            }
        }
    }
    let payload = reader.rest();
    if payload.is_empty() {
        return Err(Error::protocol("a SUBSCRIBE must contain at least one filter [MQTT-3.8.3-2]"));
    }
    while !reader.is_empty() {
        let filter = reader.text()?;
        let bits = reader.u8()?;
        if version == Version::V4 && bits & 0xFC != 0 {
            return Err(Error::malformed("the reserved bits of the Requested QoS must be 0 (3.1.1: [MQTT-3.8.3-4])"));
        }
        let options = Options::from_bits(bits)?;
        if options.no_local && Subscription::names_share(filter) {
            return Err(Error::protocol("a shared subscription must not say No Local [MQTT-3.8.3-4]"));
        }
    }
    Ok(Subscribe { packet_id, subscription_id, payload })
}

/// Appends a SUBSCRIBE; on 3.1.1 with the QoS of the options alone.
pub fn encode(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: u16,
    subscription_id: Option<u32>,
    filters: &[(&str, Options)],
) {
    frame::put(out, Kind::Subscribe, |out| {
        out.extend_from_slice(&packet_id.to_be_bytes());
        if version == Version::V5 {
            put_block(out, subscription_id.map(Property::SubscriptionId));
        }
        for (filter, options) in filters {
            put_binary(out, filter.as_bytes());
            out.push(options.bits(version));
        }
    });
}

/// Decodes a whole SUBACK.
///
/// # Errors
/// 0x81 and 0x82 by the specification.
pub fn decode_suback(frame: &[u8], version: Version) -> Result<Suback<'_>, Error> {
    let mut reader = Reader::new(frame::body(frame, Kind::Suback, version)?);
    let packet_id = reader.packet_id()?;
    let mut reason_string = None;
    if version == Version::V5 {
        reason_string = read_reason_string(&mut reader)?;
    }
    if reader.is_empty() {
        return Err(Error::protocol("a SUBACK must contain at least one code"));
    }
    let reasons = reader.rest().iter().map(|&code| {
        Reason::from_code(code)
            .filter(|reason| allowed(*reason, version))
            .ok_or(Error::protocol("a code is not one of a SUBACK [MQTT-3.9.3-2]"))
    });
    Ok(Suback { packet_id, reasons: reasons.collect::<Result<_, _>>()?, reason_string })
}

/// Appends a SUBACK; on 3.1.1 every failure is 0x80, and there is no reason string.
pub fn encode_suback(out: &mut Vec<u8>, version: Version, suback: &Suback<'_>) {
    frame::put(out, Kind::Suback, |out| {
        out.extend_from_slice(&suback.packet_id.to_be_bytes());
        match version {
            Version::V4 => out.extend(suback.reasons.iter().map(|reason| reason.code().min(0x80))),
            Version::V5 => {
                put_block(out, suback.reason_string.map(Property::ReasonString));
                out.extend(suback.reasons.iter().map(|reason| reason.code()));
            }
        }
    });
}

/// The Reason String of a block that may hold that and User Properties.
pub(super) fn read_reason_string<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a str>, Error> {
    let mut text = None;
    let mut block = Block::take(reader, Set::ACK)?;
    while let Some(property) = block.next()? {
        if let Property::ReasonString(value) = property {
            text = Some(value);
        }
    }
    Ok(text)
}

/// Whether a SUBACK may carry the reason (section 3.9.3).
fn allowed(reason: Reason, version: Version) -> bool {
    use Reason as R;
    let of_both = matches!(reason, R::Success | R::GrantedQos1 | R::GrantedQos2 | R::Unspecified);
    let of_v5 = matches!(
        reason,
        R::ImplementationSpecific
            | R::NotAuthorized
            | R::TopicFilterInvalid
            | R::PacketIdInUse
            | R::QuotaExceeded
            | R::SharedSubscriptionsNotSupported
            | R::SubscriptionIdsNotSupported
            | R::WildcardSubscriptionsNotSupported
    );
    of_both || (of_v5 && version == Version::V5)
}
