//! The head of a session: all of it but its queue, as it goes to the node that takes over.

use crate::clock::Millis;
use crate::codec::{Version, publish};
use crate::message::Message;
use crate::session::{InFlight, Outbound, Stage};
use crate::topic::Subscription;

use super::delivery;
use super::wire::{Garbled, Reader, Writer};

/// A session without its queue. Deadlines are times left, since clocks differ.
#[derive(Debug)]
pub struct SessionHead {
    /// Protocol version of its last connection.
    pub version: Version,
    /// The user that it belongs to; empty: nobody.
    pub principal: Box<str>,
    /// Seconds that it outlives its connection; `u32::MAX`: for ever.
    pub expiry: u32,
    /// When it ends if its client stays away; `None`: never.
    pub ends_in: Option<Millis>,
    /// A Will Message that is still to be published.
    pub will: Option<WillHead>,
    /// What it subscribed to.
    pub subscriptions: Vec<SubscriptionHead>,
    /// The packet id that its next message gets.
    pub next_id: u16,
    /// What is in flight to the client, in order.
    pub in_flight: Vec<InFlight>,
    /// Packet ids of QoS 2 publishes of the client between PUBREC and PUBCOMP, in order.
    pub inbound: Vec<u16>,
}

/// A subscription of a session that moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionHead {
    /// Filter and group.
    pub subscription: Subscription,
    /// Granted QoS in bits 0 and 1, No Local in bit 2, Retain As Published in bit 3.
    pub options: u8,
    /// Subscription Identifier.
    pub id: Option<u32>,
}

/// The will of a session that moves.
#[derive(Debug)]
pub struct WillHead {
    /// The publication.
    pub message: Message,
    /// When it is due if the client stays away.
    pub due_in: Millis,
    /// Message Expiry Interval, seconds.
    pub expiry: Option<u32>,
}

/// Written where there is no deadline.
const NEVER: u64 = u64::MAX;

// === impl SessionHead ===

impl SessionHead {
    /// Bytes of what is in flight, by which the bound of moves is counted before anything is encoded.
    pub fn weight(&self) -> usize {
        let flying = self.in_flight.iter().map(|flying| match &flying.stage {
            Stage::Published(delivery) => delivery::len(delivery),
            Stage::Released => 0,
        });
        let subscribed = self.subscriptions.iter().map(|held| held.subscription.filter().as_str().len());
        flying.chain(subscribed).map(|len| len + 16).sum()
    }

    pub(super) fn write(&self, out: &mut Writer, now: Millis) {
        let Self { version, principal, expiry, ends_in, will, subscriptions, next_id, in_flight, inbound } = self;
        out.u8(*version as u8);
        out.text(principal);
        out.u32(*expiry);
        out.u64(ends_in.map_or(NEVER, |left| left.0));
        out.u8(u8::from(will.is_some()));
        if let Some(WillHead { message, due_in, expiry }) = will {
            out.u8(message.layout().version() as u8);
            out.block(message.frame());
            out.u64(due_in.0);
            out.u8(u8::from(expiry.is_some()));
            out.u32(expiry.unwrap_or_default());
        }
        out.count(subscriptions.len());
        for SubscriptionHead { subscription, options, id } in subscriptions {
            out.text(&subscription.to_string());
            out.u8(*options);
            out.u32(id.unwrap_or(0));
        }
        out.u16(*next_id);
        out.count(in_flight.len());
        for InFlight { packet_id, stage } in in_flight {
            out.u16(*packet_id);
            match stage {
                Stage::Published(delivery) => {
                    out.u8(1);
                    delivery::write(out, delivery, now);
                }
                Stage::Released => out.u8(2),
            }
        }
        out.count(inbound.len());
        inbound.iter().for_each(|id| out.u16(*id));
    }

    pub(super) fn read(reader: &mut Reader<'_>, now: Millis) -> Result<Self, Garbled> {
        let version = mqtt(reader)?;
        let principal = reader.text()?.into();
        let expiry = reader.u32()?;
        let ends_in = Some(reader.u64()?).filter(|left| *left != NEVER).map(Millis);
        let will = if reader.flag()? { Some(read_will(reader)?) } else { None };
        let subscriptions = reader.list(7, |reader| {
            let subscription = Subscription::parse(reader.text()?, u16::MAX).map_err(|_| Garbled)?;
            let (options, id) = (reader.u8()?, reader.u32()?);
            if options & 0x03 == 3 || options > 0x0F {
                return Err(Garbled);
            }
            Ok(SubscriptionHead { subscription, options, id: (id != 0).then_some(id) })
        })?;
        let next_id = reader.u16()?;
        let in_flight = reader.list(3, |reader| {
            let packet_id = reader.u16()?;
            let stage = match reader.u8()? {
                1 => Stage::Published(delivery::read(reader, now)?),
                2 => Stage::Released,
                0 | 3..=u8::MAX => return Err(Garbled),
            };
            Ok(InFlight { packet_id, stage })
        })?;
        // So that who installs it meets no surprise.
        Outbound::restore(next_id, in_flight.clone()).map_err(|_| Garbled)?;
        let inbound = reader.list(2, Reader::u16)?;
        Ok(Self { version, principal, expiry, ends_in, will, subscriptions, next_id, in_flight, inbound })
    }
}

fn mqtt(reader: &mut Reader<'_>) -> Result<Version, Garbled> {
    match reader.u8()? {
        4 => Ok(Version::V4),
        5 => Ok(Version::V5),
        0..=3 | 6..=u8::MAX => Err(Garbled),
    }
}

fn read_will(reader: &mut Reader<'_>) -> Result<WillHead, Garbled> {
    let version = mqtt(reader)?;
    let frame = reader.block()?;
    let layout = publish::layout(frame, version).map_err(|_| Garbled)?;
    // Its topic is checked when it is published, as everywhere.
    let message = Message::new(frame, layout, None);
    let due_in = Millis(reader.u64()?);
    let (expires, expiry) = (reader.flag()?, reader.u32()?);
    Ok(WillHead { message, due_in, expiry: expires.then_some(expiry) })
}
