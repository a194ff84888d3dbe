//! A message being published: encoded once for each form that receivers need, patched for each receiver.

use std::sync::Arc;

use super::output::{Output, Pool, SHARE_FROM};
use crate::clock::{Millis, Stamp};
use crate::codec::publish::{self, Layout, Parts};
use crate::codec::{Qos, Version, frame};
use crate::link::Origin;
use crate::message::{Debt, Message};
use crate::router::{Path, Receiver};

/// A PUBLISH on its way to its receivers; topic aliases are resolved already.
pub struct Publication<'a> {
    /// The packet.
    pub frame: &'a [u8],
    /// Where its parts are.
    pub layout: Layout,
    /// Its QoS: that of the packet, unless a link lowered it.
    pub qos: Qos,
    /// The clusters that it passed; empty for what was published here.
    pub path: Path<'a>,
    /// When it expires.
    pub expires_at: Option<Millis>,
    /// The shard that routed it.
    pub shard: u8,
    /// Where it entered the cluster, and what peers are told beyond the packet.
    pub passage: Passage<'a>,
    kept: Option<Arc<Message>>,
    /// The same for members of shared subscriptions, if another node keeps it for them.
    kept_for_members: Option<Arc<Message>>,
    /// Which of the scratch encodings hold this publication.
    encoded: [bool; FORMS],
}

/// How a publication passes through the nodes of the cluster.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passage<'a> {
    /// It came from another node, which told all others.
    pub from_peer: bool,
    /// The other node that let it enter, and the shard there that routed it; none: this node did.
    pub lane: Option<(&'a Arc<str>, u8)>,
    /// Since when it is the retained message of its topic.
    pub stamp: Option<Stamp>,
    /// Numbers of our shared subscriptions of which one member gets it, as the node chose where it entered.
    pub shares: &'a [u32],
    /// Members of shared subscriptions get it, and nobody else.
    pub shares_only: bool,
    /// The node that sent it, if that does not know yet what this life of this node wants: what it chose for a member here
    /// was for one of an earlier life.
    pub back: Option<Receiver>,
    /// It came from another cluster, from here.
    pub origin: Option<&'a Origin>,
    /// It came by another node before: clients of this node have had it, but for those whose sessions move.
    pub repeat: bool,
    /// The node that sent it keeps it until the members that get it here have acknowledged it.
    pub debt: Option<&'a Debt>,
}

/// What one receiver makes of a publication.
pub struct Form<'a> {
    /// Protocol version of the receiver.
    pub version: Version,
    /// QoS of the delivery.
    pub qos: Qos,
    /// RETAIN flag of the delivery.
    pub retain: bool,
    /// DUP flag.
    pub dup: bool,
    /// Packet id; unused with QoS 0.
    pub packet_id: u16,
    /// Subscription identifiers.
    pub ids: &'a [u32],
    /// Largest packet that the receiver takes, in bytes.
    pub maximum_packet_size: u32,
    /// Message Expiry Interval to tell instead of the one in the packet.
    pub expiry_left: Option<u32>,
}

/// The receiver takes no packet of this size `[MQTT-3.1.2-25]`.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Encodings of the publication under way in forms other than its own; the buffers are used again and again.
#[derive(Default)]
pub struct Scratch {
    forms: [(Vec<u8>, Option<Layout>); FORMS],
}

/// Bytes by which another form may be longer: a packet id, and an empty property block.
const RECODED: usize = 3;

/// Version 4 and 5, each without and with packet id.
const FORMS: usize = 4;

// === impl Publication ===

impl<'a> Publication<'a> {
    /// A publication of a packet that stands in somebody's buffer.
    pub fn new(frame: &'a [u8], layout: Layout, path: Path<'a>, expires_at: Option<Millis>) -> Self {
        Self {
            frame,
            layout,
            qos: layout.qos(),
            path,
            expires_at,
            shard: 0,
            passage: Passage::default(),
            kept: None,
            kept_for_members: None,
            encoded: [false; FORMS],
        }
    }

    /// A publication of a kept message.
    pub fn of(message: &'a Arc<Message>) -> Self {
        let mut publication = Self::new(message.frame(), message.layout(), Path::EMPTY, message.expires_at());
        publication.kept = Some(Arc::clone(message));
        publication.passage.debt = message.debt();
        publication
    }

    /// The message, kept: made at most once for all that queue or share it.
    pub fn kept(&mut self) -> Arc<Message> {
        let (frame, layout, expires_at) = (self.frame, self.layout, self.expires_at);
        Arc::clone(self.kept.get_or_insert_with(|| Arc::new(Message::new(frame, layout, expires_at))))
    }

    /// The message, kept for members of shared subscriptions. What others have kept is another one if a node waits for this:
    /// how long they need is nothing to it.
    pub fn kept_for_members(&mut self) -> Arc<Message> {
        let Some(debt) = self.passage.debt else { return self.kept() };
        let (frame, layout, expires_at) = (self.frame, self.layout, self.expires_at);
        let make = || Arc::new(Message::new(frame, layout, expires_at).with_debt(Some(debt.clone())));
        Arc::clone(self.kept_for_members.get_or_insert_with(make))
    }

    /// The packet in another form, made at most once.
    pub fn encoded<'s>(&mut self, version: Version, with_id: bool, scratch: &'s mut Scratch) -> (&'s [u8], Layout) {
        let form = usize::from(version == Version::V5) * 2 + usize::from(with_id);
        let (bytes, layout) = &mut scratch.forms[form];
        match layout {
            Some(layout) if self.encoded[form] => (bytes, *layout),
            Some(_) | None => {
                bytes.clear();
                let qos = if with_id { Qos::AtLeastOnce } else { Qos::AtMostOnce };
                let made = publish::encode(bytes, &self.parts(version, qos, false, &[]));
                *layout = Some(made);
                self.encoded[form] = true;
                (bytes, made)
            }
        }
    }

    /// Appends the packet in the form that one receiver needs.
    pub fn append(
        &mut self,
        form: &Form<'_>,
        output: &mut Output,
        pool: &mut Pool,
        scratch: &mut Scratch,
    ) -> Result<(), TooLarge> {
        let with_id = form.qos != Qos::AtMostOnce;
        if !form.ids.is_empty() && form.version == Version::V5 {
            return self.append_with_ids(form, output, pool);
        }
        let own = self.layout.version() == form.version && (self.layout.qos() != Qos::AtMostOnce) == with_id;
        if !own && self.frame.len() + RECODED > frame::LARGEST {
            return Err(TooLarge);
        }
        let (frame, layout) =
            if own { (self.frame, self.layout) } else { self.encoded(form.version, with_id, scratch) };
        if frame.len() > form.maximum_packet_size as usize {
            return Err(TooLarge);
        }
        let bytes = output.buffer(pool);
        let start = bytes.len();
        if frame.len() < SHARE_FROM {
            bytes.extend_from_slice(frame);
            patch(&mut bytes[start..], layout, form);
        } else {
            bytes.extend_from_slice(&frame[..layout.payload_at()]);
            patch(&mut bytes[start..], layout, form);
            output.share_payload(self.kept());
        }
        Ok(())
    }

    /// Subscription identifiers differ from receiver to receiver: each gets an encoding of its own.
    fn append_with_ids(&mut self, form: &Form<'_>, output: &mut Output, pool: &mut Pool) -> Result<(), TooLarge> {
        let parts = self.parts(form.version, form.qos, form.retain, form.ids);
        if parts.total() > frame::LARGEST.min(form.maximum_packet_size as usize) {
            return Err(TooLarge);
        }
        let bytes = output.buffer(pool);
        let start = bytes.len();
        let layout = publish::encode(bytes, &parts);
        patch(&mut bytes[start..], layout, form);
        Ok(())
    }

    fn parts<'p>(&'p self, version: Version, qos: Qos, retain: bool, subscription_ids: &'p [u32]) -> Parts<'p> {
        Parts {
            version,
            qos,
            retain,
            dup: false,
            // A valid id for now; `patch` writes the receiver's.
            packet_id: 1,
            topic: self.layout.topic(self.frame),
            properties: if version == Version::V5 { self.layout.properties(self.frame) } else { &[] },
            subscription_ids,
            payload: self.layout.payload(self.frame),
        }
    }
}

/// When a packet expires that came now `[MQTT-3.3.2-5]`.
#[inline]
pub fn expires_at(layout: Layout, frame: &[u8], now: Millis) -> Option<Millis> {
    layout.expiry(frame).map(|seconds| now + Millis(u64::from(seconds) * 1000))
}

/// Writes flags, packet id and expiry of one delivery over those of the encoding.
fn patch(packet: &mut [u8], layout: Layout, form: &Form<'_>) {
    packet[0] = 0x30 | u8::from(form.dup) << 3 | (form.qos as u8) << 1 | u8::from(form.retain);
    if form.qos != Qos::AtMostOnce {
        let at = layout.packet_id_at();
        packet[at..at + 2].copy_from_slice(&form.packet_id.to_be_bytes());
    }
    if let (Some(left), Some(at)) = (form.expiry_left, layout.expiry_at()) {
        packet[at..at + 4].copy_from_slice(&left.to_be_bytes());
    }
}
