//! A receiver: eight bytes that name a session, a peer or a link on any shard, with the options of its subscription.

/// What stands behind a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A session of a client, on-line or off-line.
    Client = 0,
    /// Another node of this cluster.
    Peer = 1,
    /// A link to another cluster.
    Link = 2,
}

/// One that receives: its row on its shard, and how it subscribed.
///
/// The epoch makes a receiver that outlived its session harmless: the shard gives each session a new one, and a receiver
/// whose epoch is not that of the row is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receiver {
    /// The row in the shard's table.
    pub slot: u32,
    /// The life of that row for which the subscription was made.
    pub epoch: u16,
    /// The shard that owns the row.
    pub shard: u8,
    /// Options of the subscription, and the kind of the receiver.
    pub flags: ReceiverFlags,
}

/// Options of a subscription and the kind of its receiver, in one byte.
///
/// Bits 0 and 1: QoS; 2: No Local; 3: Retain As Published; 4: has Subscription Identifiers; 5 and 6: [`Kind`];
/// 7: as a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReceiverFlags(u8);

const QOS: u8 = 0b0000_0011;
const NO_LOCAL: u8 = 0b0000_0100;
const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;
const HAS_IDS: u8 = 0b0001_0000;
const KIND_AT: u8 = 5;
const KIND: u8 = 0b11 << KIND_AT;
const AS_MEMBER: u8 = 0b1000_0000;

// === impl Receiver ===

impl Receiver {
    /// Whether both name the same life of the same row, whatever their options.
    pub fn same(self, other: Self) -> bool {
        self.key() == other.key()
    }

    /// The identity, without the options: shard, slot and epoch in one number, ordered by shard, then slot.
    pub fn key(self) -> u64 {
        u64::from(self.shard) << 48 | u64::from(self.slot) << 16 | u64::from(self.epoch)
    }

    /// One entry for two subscriptions of one receiver that both match a topic: see [`ReceiverFlags::merge`].
    pub(super) fn merge(self, other: Self) -> Self {
        Self { flags: self.flags.merge(other.flags), ..self }
    }
}

// === impl ReceiverFlags ===

impl ReceiverFlags {
    /// Flags of a subscription at `qos` (0 to 2; more counts as 2) with every option off.
    pub fn new(kind: Kind, qos: u8) -> Self {
        Self(qos.min(2) | (kind as u8) << KIND_AT)
    }

    /// The same with No Local set as told.
    #[must_use]
    pub fn with_no_local(self, on: bool) -> Self {
        self.with(NO_LOCAL, on)
    }

    /// The same with Retain As Published set as told.
    #[must_use]
    pub fn with_retain_as_published(self, on: bool) -> Self {
        self.with(RETAIN_AS_PUBLISHED, on)
    }

    /// The same, telling whether Subscription Identifiers belong to it. The index sets this itself.
    #[must_use]
    pub fn with_ids(self, on: bool) -> Self {
        self.with(HAS_IDS, on)
    }

    /// The same, telling whether the receiver gets a message as the member of a group that was chosen: a session in the
    /// place of others, a peer for members of groups behind it and for nobody else there. The index sets this itself.
    #[must_use]
    pub fn with_as_member(self, on: bool) -> Self {
        self.with(AS_MEMBER, on)
    }

    /// The highest QoS at which the receiver takes the message, 0 to 2.
    pub fn qos(self) -> u8 {
        self.0 & QOS
    }

    /// Whether the receiver wants none of its own messages `[MQTT-3.8.3-3]`.
    pub fn no_local(self) -> bool {
        self.0 & NO_LOCAL != 0
    }

    /// Whether the RETAIN flag is passed on as it was published `[MQTT-3.3.1-13]`.
    pub fn retain_as_published(self) -> bool {
        self.0 & RETAIN_AS_PUBLISHED != 0
    }

    /// Whether the route holds Subscription Identifiers for this receiver.
    pub fn has_ids(self) -> bool {
        self.0 & HAS_IDS != 0
    }

    /// Whether the receiver gets the message as the member of a group that was chosen, and nobody in its place.
    pub fn as_member(self) -> bool {
        self.0 & AS_MEMBER != 0
    }

    /// What stands behind the receiver.
    pub fn kind(self) -> Kind {
        match (self.0 & KIND) >> KIND_AT {
            0 => Kind::Client,
            1 => Kind::Peer,
            _ => Kind::Link,
        }
    }

    /// The options of the one copy that a receiver gets when two of its subscriptions match.
    ///
    /// The higher QoS counts `[MQTT-3.3.4-2]`. No Local holds only if both have it: a subscription without it asks for
    /// the message. Retain As Published holds if either has it: the copy made for that one must bear the flag.
    pub fn merge(self, other: Self) -> Self {
        let qos = self.qos().max(other.qos());
        let either = (self.0 | other.0) & (RETAIN_AS_PUBLISHED | HAS_IDS);
        let both = self.0 & other.0 & NO_LOCAL;
        Self(qos | either | both | self.0 & KIND)
    }

    fn with(self, bit: u8, on: bool) -> Self {
        if on { Self(self.0 | bit) } else { Self(self.0 & !bit) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_is_eight_bytes() {
        assert_eq!(size_of::<Receiver>(), 8);
    }

    #[test]
    fn flags_give_back_what_was_put_in() {
        for kind in [Kind::Client, Kind::Peer, Kind::Link] {
            for qos in 0..3 {
                for bits in 0..16 {
                    let on = |bit: u8| bits & bit != 0;
                    let flags = ReceiverFlags::new(kind, qos)
                        .with_no_local(on(1))
                        .with_retain_as_published(on(2))
                        .with_ids(on(4))
                        .with_as_member(on(8));
                    assert_eq!((flags.kind(), flags.qos()), (kind, qos));
                    assert_eq!((flags.no_local(), flags.retain_as_published(), flags.has_ids()), (on(1), on(2), on(4)));
                    assert_eq!(flags.as_member(), on(8));
                }
            }
        }
    }

    #[test]
    fn merged_options_are_those_of_the_more_demanding_subscription() {
        let plain = ReceiverFlags::new(Kind::Client, 1);
        let fussy =
            ReceiverFlags::new(Kind::Client, 0).with_no_local(true).with_retain_as_published(true).with_ids(true);
        for merged in [plain.merge(fussy), fussy.merge(plain)] {
            assert_eq!((merged.qos(), merged.no_local()), (1, false));
            assert!(merged.retain_as_published() && merged.has_ids());
        }
        assert!(fussy.merge(fussy).no_local());
    }

    #[test]
    fn identity_leaves_the_options_out() {
        let one = Receiver { slot: 7, epoch: 2, shard: 1, flags: ReceiverFlags::new(Kind::Client, 0) };
        assert!(one.same(Receiver { flags: ReceiverFlags::new(Kind::Client, 2), ..one }));
        assert!(!one.same(Receiver { epoch: 3, ..one }));
        assert!(!one.same(Receiver { slot: 8, ..one }));
        assert!(!one.same(Receiver { shard: 0, ..one }));
    }
}
