//! A row of a shard's table: a client's session with or without its connection, a link, or a link's connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use hashbrown::HashMap;
use tombolo_broker_api::Mqtt;

use super::Hashing;
use super::guard::ConnectionGuard;
use super::link::LinkRow;
use super::output::{FLUSH_AT, Output};
use crate::auth::Identity;
use crate::clock::{Millis, Stamp};
use crate::codec::{Qos, Version};
use crate::link::Conn;
use crate::message::Message;
use crate::router::{Presence, ReceiverFlags};
use crate::session::Flow;
use crate::topic::{Filter, Subscription};
use crate::transport::Transport;

/// One row. What each delivery touches stands in its first 80 bytes, in this order: a fan-out to many sessions costs as
/// many cache misses as it touches lines.
#[repr(C)]
pub struct Row {
    /// What waits to be written.
    pub output: Output,
    /// What the row is.
    pub role: Role,
    /// The socket; `None` while the client is away.
    pub connection: Option<Box<Connection>>,
    /// QoS 1 and 2 state, from the first such message on.
    pub flow: Option<Box<Flow>>,
    /// Given anew to each row that uses a slot, so that a stale receiver finds nobody.
    pub epoch: u16,
    /// QoS 1 and 2 messages that may be in flight: the lower of the client's Receive Maximum and ours.
    pub window: u16,
    /// Largest packet that the other end takes, in bytes.
    pub maximum_packet_size: u32,
    /// Protocol version of the connection, or of the last one.
    pub version: Version,
    /// The session outlives its connection.
    pub persistent: bool,
    /// Messages are kept until they are acknowledged: the session outlives its connection, or has shared subscriptions
    /// whose other members inherit them.
    pub keeps: bool,
    /// The shard's dirty list holds this slot.
    pub dirty: bool,
    /// The socket took no more; the waker brings the slot back.
    pub blocked: bool,
    /// The socket failed while it was written.
    pub broken: bool,
    /// Messages are for `moves` to take: another node had the session, or has it.
    pub watched: bool,
    /// Whose the session is.
    pub custody: Custody,
    /// Publishes are not read until other shards, or a link, have room.
    pub paused: bool,
    /// Entry of the route cache that the last publish used.
    pub last_route: Option<u32>,
    /// When the last bytes came.
    pub heard: Millis,
    /// When the shard's timers will look at this row; [`Millis::NEVER`] if they won't.
    pub due: Millis,
}

/// Whose a client's session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Custody {
    /// This node's.
    Own,
    /// This node's, and about to end in favour of a new one: that is no news for other nodes.
    Replaced,
    /// It is on offer to another node: nothing of it changes until that is decided.
    Frozen,
    /// Another node's; its subscriptions are still here for what has been routed by them.
    Given,
}

/// What a row is.
pub enum Role {
    /// A client's session.
    Client(Box<Client>),
    /// A link with another cluster; its connections are rows of their own.
    Link(Box<LinkRow>),
    /// A connection of a link.
    LinkConnection(Box<LinkConnection>),
}

/// A socket with what has been read but not decoded.
pub struct Connection {
    /// The byte stream.
    pub transport: Transport,
    /// The incomplete end of the last read; empty and without memory most of the time.
    pub tail: Vec<u8>,
    /// Bytes of the packet that `tail` begins, when it is known to be longer than a read buffer.
    pub need: usize,
    /// Wakes this row.
    pub waker: Waker,
    /// Counts the connection at its listener while it lives.
    pub guard: Option<ConnectionGuard>,
}

/// The rarely touched part of a client's session.
pub struct Client {
    /// Client id.
    pub id: Box<str>,
    /// Who it proved to be.
    pub identity: Identity,
    /// Subscriptions as made, by filter and group.
    pub subscriptions: HashMap<Subscription, SubscriptionState, Hashing>,
    /// Will Message of the connection, until it is published or deleted.
    pub will: Option<Box<Will>>,
    /// Seconds that the session outlives its connection; `u32::MAX`: for ever `[MQTT-3.1.2-23]`.
    pub expiry: u32,
    /// Seconds; 0: none.
    pub keep_alive: u16,
    /// Receive Maximum of the client.
    pub receive_maximum: u16,
    /// Whether reason strings may be sent beyond CONNACK, PUBLISH and DISCONNECT `[MQTT-3.1.2-29]`.
    pub problem_information: bool,
    /// Topics by alias that the client set on this connection; index 0 is alias 1.
    pub aliases: Option<Box<[Alias]>>,
    /// Subscriptions whose retained messages are not all sent yet.
    pub replays: VecDeque<Replay>,
    /// Whether it is on-line, for those that choose among a shared group's members; made with the first such
    /// subscription.
    pub presence: Option<Presence>,
    /// When the will is due, once the connection is gone.
    pub will_at: Option<Millis>,
    /// When the session ends, once the connection is gone.
    pub ends_at: Option<Millis>,
    /// The stamp by which it began here or came here.
    pub epoch: Stamp,
    /// The stamp of its last CONNECT.
    pub connected: Stamp,
}

/// The topic of an alias, once it was set.
pub type Alias = Option<Box<[u8]>>;

/// How one subscription delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionState {
    /// Granted QoS and flags.
    pub flags: ReceiverFlags,
    /// Subscription Identifier.
    pub id: Option<u32>,
}

/// Retained messages that a subscription still has to get; fetched page by page as the queue empties, so that a million
/// of them fill no memory.
pub struct Replay {
    /// The filter.
    pub filter: Filter,
    /// Topic of the last message fetched.
    pub after: Option<Arc<str>>,
    /// Granted QoS.
    pub granted: Qos,
    /// Subscription Identifier.
    pub id: Option<u32>,
}

/// A Will Message: kept as the PUBLISH that it becomes.
pub struct Will {
    /// The publication, without expiry: that counts from its publishing.
    pub message: Message,
    /// Will Delay Interval, seconds.
    pub delay: u32,
    /// Message Expiry Interval, seconds.
    pub expiry: Option<u32>,
}

/// The connection of a link.
pub struct LinkConnection {
    /// Row of the link.
    pub link: u32,
    /// Epoch of that row.
    pub link_epoch: u16,
    /// Its name for the link.
    pub conn: Conn,
    /// Bytes that came.
    pub received: u64,
    /// The user that came in.
    pub user: Option<Arc<str>>,
    /// Seconds of silence after which PINGREQ is due (dialled) or the remote is given up (accepted); 0: none.
    pub keep_alive: u16,
    /// We dialled it.
    pub dialled: bool,
}

// === impl Role ===

impl Role {
    /// Bytes came. Those of links are counted.
    #[inline]
    pub fn received(&mut self, bytes: usize) {
        match self {
            Self::LinkConnection(connection) => connection.received += bytes as u64,
            Self::Client(_) | Self::Link(_) => {}
        }
    }
}

// === impl Row ===

impl Row {
    /// A row without connection.
    pub fn new(epoch: u16, version: Version, role: Role, now: Millis) -> Self {
        Self {
            output: Output::default(),
            epoch,
            dirty: false,
            blocked: false,
            broken: false,
            watched: false,
            custody: Custody::Own,
            paused: false,
            version,
            persistent: false,
            keeps: false,
            window: u16::MAX,
            maximum_packet_size: u32::MAX,
            last_route: None,
            heard: now,
            due: Millis::NEVER,
            connection: None,
            flow: None,
            role,
        }
    }

    /// Whether the other end sends but does not read: so many answers wait for it that nothing more is read from it until
    /// its socket takes some. What is delivered has bounds of its own, below this one.
    pub fn is_deaf(&self, mqtt: &Mqtt) -> bool {
        let bound = mqtt.max_output_bytes.0.max(FLUSH_AT as u64).saturating_add(mqtt.max_packet_size.0);
        self.blocked && self.output.len() as u64 > bound && matches!(self.role, Role::Client(_))
    }

    /// The client, if it is one.
    pub fn client(&self) -> Option<&Client> {
        self.role.client()
    }

    /// The client, if it is one.
    pub fn client_mut(&mut self) -> Option<&mut Client> {
        match &mut self.role {
            Role::Client(client) => Some(client),
            Role::Link(_) | Role::LinkConnection(_) => None,
        }
    }
}

// === impl Role ===

impl Role {
    /// The client, if it is one.
    pub fn client(&self) -> Option<&Client> {
        match self {
            Self::Client(client) => Some(client),
            Self::Link(_) | Self::LinkConnection(_) => None,
        }
    }
}

// === impl Client ===

impl Client {
    /// Whether the session outlives its connection.
    pub fn is_persistent(&self) -> bool {
        self.expiry > 0
    }
}
