//! A chunk: the payload of one batch as it grows, waits, and is sent, once or again.

use std::time::Duration;

use crate::codec::{Qos, Version as Mqtt, publish};

use super::Now;
use super::aside::Aside;
use super::batch::{HEAD, Head};
use super::marks::Mark;
use super::origin::Origin;
use super::outlet::Forward;
use super::record;

/// The payload of a batch, ready to be sent but for what changes with each sending: previous batch, expiry left.
#[derive(Clone, Debug)]
pub struct Chunk {
    bytes: Vec<u8>,
    lane: u8,
    records: u16,
    messages: u32,
    sequence: u64,
    /// When the first record came.
    opened: Now,
    /// Where a Message Expiry Interval stands, and when it ends.
    expiries: Vec<(u32, Now)>,
    /// The shard that routed what was appended last.
    shard: u8,
    /// Where the message came from that was appended last of those from other clusters.
    origin: Option<Origin>,
    /// The newest marks in it with their shards, so that they outlive its messages.
    marks: Vec<(u8, Mark)>,
    /// Members of shared subscriptions are to acknowledge something in it.
    for_members: bool,
}

/// The packet id that every message of QoS 1 and 2 bears within a batch, where it means nothing.
const NO_PACKET_ID: u16 = 1;

/// Whether a message is kept until a member of a shared subscription at the other node has acknowledged it. What was sent with QoS 2
/// must go to nobody else `[MQTT-4.8.2-5]`; what is retained is kept anyhow.
pub fn awaits_member(aside: &Aside<'_>, qos: Qos, retain: bool) -> bool {
    !aside.shares.is_empty() && qos == Qos::AtLeastOnce && !retain
}

// === impl Chunk ===

impl Chunk {
    /// An empty chunk that grows into this buffer.
    pub fn new(lane: u8, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(HEAD, 0);
        Self {
            bytes: buffer,
            lane,
            records: 0,
            messages: 0,
            sequence: 0,
            opened: Duration::ZERO,
            expiries: Vec::new(),
            shard: 0,
            origin: None,
            marks: Vec::new(),
            for_members: false,
        }
    }

    /// Appends a message, copied as it is where that can be, else encoded for version 5 and this QoS.
    pub fn push_message(&mut self, message: &Forward<'_>, qos: Qos, now: Now) {
        let Forward { frame, layout, path, shard, ref aside, qos: _ } = *message;
        self.begin(now);
        self.turn_to(shard);
        if let Some(origin) = aside.origin {
            record::put_origin(&mut self.bytes, origin, self.origin.as_ref());
            self.records += 1;
            self.origin = Some(origin.clone());
        }
        self.for_members |= awaits_member(aside, qos, layout.retain());
        record::put_message(&mut self.bytes, path, aside);
        let at = self.bytes.len();
        let layout = if layout.version() == Mqtt::V5 && layout.qos() == qos && layout.alias() == 0 {
            self.bytes.extend_from_slice(&frame[..layout.total()]);
            let copy = &mut self.bytes[at..];
            copy[0] = publish::first_byte(qos, layout.retain(), false);
            layout.set_packet_id(copy, NO_PACKET_ID);
            layout
        } else {
            let mut properties = Vec::new();
            if layout.version() == Mqtt::V5 {
                publish::strip_alias(layout.properties(frame), &mut properties);
            }
            let parts = publish::Parts {
                version: Mqtt::V5,
                qos,
                retain: layout.retain(),
                dup: false,
                packet_id: NO_PACKET_ID,
                topic: layout.topic(frame),
                properties: &properties,
                subscription_ids: &[],
                payload: layout.payload(frame),
            };
            publish::encode(&mut self.bytes, &parts)
        };
        if let (Some(expiry_at), Some(seconds)) = (layout.expiry_at(), layout.expiry(&self.bytes[at..])) {
            let at = u32::try_from(at + expiry_at).expect("a chunk is far below 4 GiB");
            self.expiries.push((at, now + Duration::from_secs(u64::from(seconds))));
        }
        self.records += 1;
        self.messages += 1;
    }

    /// Appends a mark of a shard.
    pub fn push_mark(&mut self, shard: u8, mark: &Mark, now: Now) {
        self.begin(now);
        self.turn_to(shard);
        record::put_mark(&mut self.bytes, mark);
        self.records += 1;
        self.marks.retain(|old| !is_replaced(old, shard, mark));
        self.marks.push((shard, mark.clone()));
    }

    /// Appends a record that `write` writes.
    pub fn push_record(&mut self, now: Now, write: impl FnOnce(&mut Vec<u8>)) {
        self.begin(now);
        write(&mut self.bytes);
        self.records += 1;
    }

    /// Gives it its place in the lane.
    pub fn seal(&mut self, sequence: u64) {
        self.sequence = sequence;
    }

    /// The payload to send now: places and expiries are written, what waited longer than its expiry gets 0.
    pub fn stamp(&mut self, previous: u64, now: Now) -> &[u8] {
        let head = Head { lane: self.lane, records: self.records, sequence: self.sequence, previous };
        head.write(&mut self.bytes);
        for (at, deadline) in &self.expiries {
            let left = deadline.saturating_sub(now);
            // Rounded up: what has a little time left must not look expired.
            let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
            let at = *at as usize;
            self.bytes[at..at + 4].copy_from_slice(&seconds.to_be_bytes());
        }
        &self.bytes
    }

    /// Whether members of shared subscriptions are to acknowledge something in it.
    pub fn is_for_members(&self) -> bool {
        self.for_members
    }

    /// What remains when its messages are dropped: its marks, at the same place. Nothing if there are none.
    pub fn without_messages(&self) -> Option<Self> {
        if self.marks.is_empty() {
            return None;
        }
        let mut rest = Self::new(self.lane, Vec::new());
        for (shard, mark) in &self.marks {
            rest.push_mark(*shard, mark, self.opened);
        }
        rest.seal(self.sequence);
        Some(rest)
    }

    /// Puts the marks of an earlier chunk in, where this one has none of the same shard for the same node. For chunks of
    /// marks alone.
    pub fn inherit(&mut self, earlier: &Self) {
        for (shard, mark) in &earlier.marks {
            if !self.marks.iter().any(|own| is_replaced(own, *shard, mark)) {
                self.push_mark(*shard, mark, earlier.opened);
            }
        }
    }

    /// True if a further record of this length belongs in the next chunk, when chunks have at most `max` bytes.
    pub fn is_full_for(&self, len: usize, max: usize) -> bool {
        // Two more records may stand before it: the shard and the origin.
        self.records > 0 && (self.bytes.len() + len > max || self.records >= u16::MAX - 2)
    }

    /// True if nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Bytes, head included.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Messages in it.
    pub fn messages(&self) -> u32 {
        self.messages
    }

    /// Its place in the lane; 0 before it was sealed.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When its first record came.
    pub fn opened(&self) -> Now {
        self.opened
    }

    /// The buffer, to be used again.
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }

    fn begin(&mut self, now: Now) {
        if self.records == 0 {
            self.opened = now;
        }
    }

    /// What follows was routed by this shard.
    fn turn_to(&mut self, shard: u8) {
        if self.shard != shard {
            record::put_shard(&mut self.bytes, shard);
            self.records += 1;
            self.shard = shard;
        }
    }
}

/// Bytes that a message takes in a chunk, at most.
pub fn message_len(message: &Forward<'_>) -> usize {
    // Re-encoding adds a property length and may add a packet id; the length of the path has two bytes.
    let origin = message.aside.origin.map_or(0, record::origin_len);
    let path = message.path.bytes().len();
    record::SHARD_LEN + origin + 1 + 2 + path + message.aside.encoded_len() + message.layout.total() + 4
}

fn is_replaced((shard, old): &(u8, Mark), by: u8, mark: &Mark) -> bool {
    *shard == by && old.cluster == mark.cluster && old.node == mark.node
}
