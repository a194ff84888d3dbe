//! What a link asks of those around it: the shard implements it, and so does the simulation.

use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::{Qos, publish::Layout};
use crate::router::{Path, SharedSubscription};
use crate::topic::Filter;

use super::aside::Aside;
use super::chunk::awaits_member;
use super::marks::{Mark, Marks};
use super::origin::Place;
use super::refusal::Refusal;

/// A connection of a link, named by its owner; a name is never used again while the link lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conn(pub u64);

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We did: we are the MQTT client, and say Hello first.
    Dialled,
    /// The remote did: it is the MQTT client.
    Accepted,
    /// We did, by way of another node of this cluster and its connection: we say Hello first.
    DialledByWay,
    /// The remote did, by way of another node of its cluster.
    AcceptedByWay,
}

/// What CONNECT or CONNACK of the other end of a connection allows us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Its Receive Maximum, 1 to 65,535: our QoS 1 publishes unacknowledged on this connection.
    pub receive_maximum: u16,
    /// Its Maximum Packet Size in bytes, fixed header included; `u32::MAX` if it named none.
    pub maximum_packet_size: u32,
    /// The keep alive that both ends agreed on; `Duration::MAX` if none.
    pub keep_alive: Duration,
}

/// A PUBLISH below `$LINK/` that came on a connection of the link.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The whole topic.
    pub topic: &'a [u8],
    /// The packet id of a QoS 1 publish; the link acknowledges it through [`Outlet::acknowledge`].
    pub packet_id: Option<NonZeroU16>,
    /// The payload.
    pub payload: &'a [u8],
}

/// A message of this cluster that a filter of the link matched.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a> {
    /// A PUBLISH packet of either version, its topic spelled out.
    pub frame: &'a [u8],
    /// Where its parts are.
    pub layout: Layout,
    /// Its QoS: that of the packet, unless the link by which it came has lowered it.
    pub qos: Qos,
    /// The clusters that it passed; empty if it was published here.
    pub path: Path<'a>,
    /// The shard that routed it.
    pub shard: u8,
    /// What a peer must know besides the packet; nothing for a link between clusters.
    pub aside: Aside<'a>,
}

/// A message from the other side. From a cluster it is to be routed as one published here, from a peer to this node's own
/// clients alone. It was checked, but for its topic: that is a valid name only if the route for it says so, as with what
/// a client publishes.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// A PUBLISH packet of version 5; its packet id means nothing.
    pub frame: &'a [u8],
    /// Where its parts are.
    pub layout: Layout,
    /// The QoS it has here: that of the frame, lowered by the route's `maxQos`.
    pub qos: Qos,
    /// The clusters that it passed. From a cluster: the last is that one. From a peer: as it came there.
    pub path: Path<'a>,
    /// It comes from another node of this cluster.
    pub from_peer: bool,
    /// The node that sent it.
    pub node: &'a Arc<str>,
    /// The shard of that node that routed it.
    pub shard: u8,
    /// Its place in that node's lane; batch 0: of one that may lose.
    pub place: Place,
    /// By which versions that node's shards routed when they came to this place of the lane; of messages of QoS 0 they
    /// say nothing.
    pub marks: &'a Marks,
    /// What the peer told besides; from another cluster the origin alone, of messages that are not of QoS 0.
    pub aside: Aside<'a>,
}

// === impl Delivery ===

impl Delivery<'_> {
    /// Whether the node that sent it keeps it until members of shared subscriptions here have acknowledged it.
    pub fn is_for_members(&self) -> bool {
        awaits_member(&self.aside, self.layout.qos(), self.layout.retain())
    }
}

/// What became of a message that was given to [`super::Link::forward`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The spool has it.
    Yes,
    /// The spool has it and is full, and its policy is `Backpressure`: hold the publisher until [`Outlet::pressure`].
    YesHold,
    /// It does not go to this cluster: its path, its QoS or the link's filters say so. Nothing was lost.
    NotWanted,
    /// It was dropped, and counted under this name.
    Dropped(DropReason),
}

/// Why a message was dropped; `name` is the key in `LinkStatus::messages_dropped`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The spool is full and its policy is `DropNewest`, or `Backpressure` was overrun.
    SpoolFull,
    /// The spool was full and newer messages took its place (`DropOldest`).
    SpoolOverwritten,
    /// It waited longer than the spool's `maxAge`.
    SpoolAged,
    /// Its Message Expiry Interval passed.
    Expired,
    /// QoS 0 beyond `maxBytesQos0`.
    LossyFull,
    /// QoS 0 while no connection stands.
    NotConnected,
    /// Larger than the remote's Maximum Packet Size.
    TooLarge,
    /// It came from the remote, and no `receive` filter matches.
    NotAllowed,
    /// It came from the remote, and had passed this cluster already.
    Loop,
    /// It came from the remote, and had passed more clusters than `maxHops`.
    TooManyHops,
    /// It came from the remote, and cannot be read.
    Malformed,
}

/// What a link does to the world. All of it is asked for inside a call of [`super::Link`], and none may call back into it.
pub trait Outlet {
    /// Writes a PUBLISH of version 5 on a connection: QoS 1 with this packet id, or QoS 0 without. The topic has no alias.
    fn publish(&mut self, conn: Conn, topic: &'static str, packet_id: Option<NonZeroU16>, payload: &[u8]);

    /// Writes a PUBACK with reason code 0.
    fn acknowledge(&mut self, conn: Conn, packet_id: NonZeroU16);

    /// Sends DISCONNECT with the refusal's reason code and sentence, and closes. The link has forgotten the connection:
    /// no `disconnected` need follow (one is harmless).
    fn close(&mut self, conn: Conn, refusal: &Refusal);

    /// True while the output held for a connection is below its limit: QoS 0 batches wait for it.
    fn has_room(&self, conn: Conn) -> bool;

    /// Routes a message of the remote to all receivers here, this link excepted; false if it came before by another node,
    /// so that clients here had it.
    fn deliver(&mut self, message: &Delivery<'_>) -> bool;

    /// Adds a filter of the remote to the topic index, the receiver being this link.
    fn subscribe(&mut self, filter: &Filter);

    /// Takes it out.
    fn unsubscribe(&mut self, filter: &Filter);

    /// Asks that all the link did so far be made durable: messages delivered, marks of lanes, interest, spool.
    /// True: it is (or the store is memory). False: [`super::Link::synced`] with this token follows.
    fn sync(&mut self, token: u64) -> bool;

    /// Asks to be told when the other nodes of this cluster have all that this link has delivered so far and that concerns
    /// them. True: they have. False: [`super::Link::passed_on`] with this token follows.
    fn passed_on(&mut self, token: u64) -> bool;

    /// This node routes by a newer version of the other side's interest: every shard of the node, this one too, puts the
    /// mark into every lane of the node, this link's too, through the queues that its messages take, all at one point in
    /// the order in which it routes. [`super::Link::marked`] is where it arrives. Never lost; the order of marks for one
    /// node is kept.
    fn announce(&mut self, mark: &Mark);

    /// The lane of messages of a peer has come to a mark of one of its shards: what that shard routed and is delivered from
    /// here on is routed by this version. Of a link with another cluster nothing is told.
    fn passed(&mut self, node: &Arc<str>, shard: u8, mark: &Mark);

    /// Puts the peer's members of a shared subscription into the topic index, or in place of what stands there for the
    /// same group and filter.
    fn share(&mut self, share: &SharedSubscription);

    /// Takes them out.
    fn unshare(&mut self, group: &str, filter: &Filter);

    /// A control message of the peer came. They may be lost, repeated and reordered.
    fn control(&mut self, node: &Arc<str>, payload: &[u8]);

    /// A frame of a way came on a connection of this node's own: see [`super::way`].
    fn way(&mut self, conn: Conn, payload: &[u8]);

    /// The spool became full (true) or has room again (false), with policy `Backpressure`: while it is full, do not read
    /// publishers whose messages matched this link.
    fn pressure(&mut self, full: bool);
}

/// Time since any fixed moment, the same for all calls to one link; it never goes back.
pub type Now = Duration;

// === impl Role ===

impl Role {
    /// Whether this side opened it, and says Hello first.
    pub fn is_ours(self) -> bool {
        match self {
            Self::Dialled | Self::DialledByWay => true,
            Self::Accepted | Self::AcceptedByWay => false,
        }
    }

    /// Whether it is a connection of this node and the one at its other end, and of no other.
    pub fn is_direct(self) -> bool {
        match self {
            Self::Dialled | Self::Accepted => true,
            Self::DialledByWay | Self::AcceptedByWay => false,
        }
    }

    /// The higher, the rather it is used.
    pub(super) fn rank(self) -> u8 {
        match self {
            Self::Dialled => 3,
            Self::Accepted => 2,
            Self::DialledByWay => 1,
            Self::AcceptedByWay => 0,
        }
    }
}

// === impl Conn ===

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conn {}", self.0)
    }
}

// === impl DropReason ===

impl DropReason {
    /// Every reason, in the order of its counter.
    pub const ALL: [Self; 11] = [
        Self::SpoolFull,
        Self::SpoolOverwritten,
        Self::SpoolAged,
        Self::Expired,
        Self::LossyFull,
        Self::NotConnected,
        Self::TooLarge,
        Self::NotAllowed,
        Self::Loop,
        Self::TooManyHops,
        Self::Malformed,
    ];

    /// The name in status and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SpoolFull => "SpoolFull",
            Self::SpoolOverwritten => "SpoolOverwritten",
            Self::SpoolAged => "SpoolAged",
            Self::Expired => "Expired",
            Self::LossyFull => "LossyFull",
            Self::NotConnected => "NotConnected",
            Self::TooLarge => "TooLarge",
            Self::NotAllowed => "NotAllowed",
            Self::Loop => "Loop",
            Self::TooManyHops => "TooManyHops",
            Self::Malformed => "Malformed",
        }
    }
}
