//! What other threads ask of a shard.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::oneshot;
use tombolo_broker_api as api;

use super::guard::ConnectionGuard;
use super::link::passing::Receipt;
use crate::auth::Identity;
use crate::codec::connect::Connect;
use crate::link::{Mark, Version};
use crate::peer::{Pending, Stats};
use crate::router::Receiver;
use crate::transport::{Detached, Transport};

/// A control message; all of them together are taken once a turn, in order.
pub enum Control {
    /// A connection whose CONNECT was accepted.
    Attach(Box<Attach>),
    /// A connection for one of this shard's links.
    AttachLink(Box<AttachLink>),
    /// Dialling for a link failed.
    DialFailed {
        /// The link.
        link: LinkKey,
        /// For status.
        error: api::LinkError,
    },
    /// This node routes by a newer version of somebody's interest: put the mark into all lanes behind everything that you
    /// have routed.
    Mark(Mark),
    /// A lane was added to this node: your links say again by what it routes.
    AnnounceMarks,
    /// A link has room again, or a node or a remote was heard: read publishers that waited for it.
    Pressure,
    /// Another node has come further with what is wanted here: SUBACKs may be due.
    Settled,
    /// The peers of this shard have taken what you have waited for.
    Received(Receipt, u8),
    /// Send this frame of a way to all other nodes whose rows you have.
    WayToPeers(Arc<[u8]>),
    /// Send this frame of a way to another node.
    WayToPeer {
        /// Its name.
        node: Arc<str>,
        /// The frame.
        payload: Box<[u8]>,
    },
    /// A frame of a way came from another node, for a link of yours.
    WayFromPeer {
        /// Its name.
        node: Arc<str>,
        /// The frame.
        payload: Box<[u8]>,
    },
    /// Another node can't be reached any more: ways by it have ended.
    PeerLost(Arc<str>),
    /// Filters of local clients have changed: links read the log.
    InterestChanged,
    /// New limits.
    Tuning(Arc<Tuning>),
    /// All links of the new configuration that live on this shard.
    Links(Vec<api::Link>),
    /// The other nodes of the new configuration.
    Peers {
        /// Those whose rows live on this shard.
        here: Vec<Peer>,
        /// All of them.
        others: Arc<[Arc<str>]>,
    },
    /// The row of another node was made: it is told what is retained.
    PeerMade(Arc<str>, Receiver),
    /// The row of another node is gone.
    PeerGone(Receiver),
    /// Send a control payload to another node, whose row lives on this shard.
    Say {
        /// The node.
        node: Arc<str>,
        /// The payload.
        payload: Box<[u8]>,
    },
    /// Another node sent a control payload that is for this shard.
    Said {
        /// The node.
        node: Arc<str>,
        /// The payload.
        payload: Box<[u8]>,
    },
    /// Make a version of what is wanted here for each node whose row lives on this shard, and say which.
    Stake(Stake),
    /// The answer of one shard to a stake.
    Staked {
        /// Which one.
        token: u64,
        /// The version that each of the nodes is told.
        versions: Vec<(Arc<str>, Version)>,
    },
    /// Close the connections of users that are gone or changed.
    DropUsers(Arc<Stays>),
    /// Answer with what you have.
    Report(oneshot::Sender<Report>),
    /// Take no more; tell clients and close.
    Stop,
}

/// Whether a user (`None`: an anonymous client) may stay connected. A link that we dialled has no user here.
pub type Stays = dyn Fn(Option<&str>) -> bool + Send + Sync;

/// A client's connection on its way to the shard of its session, and at it once its stream is a `Transport`.
pub struct Attach<S = Stream> {
    /// The byte stream.
    pub stream: S,
    /// Its CONNECT, accepted.
    pub connect: Connect,
    /// The client id was assigned by us and is told in CONNACK `[MQTT-3.2.2-16]`.
    pub assigned: bool,
    /// Bytes that came behind CONNECT.
    pub leftover: Vec<u8>,
    /// Who it proved to be.
    pub identity: Identity,
    /// Its place at the listener.
    pub guard: ConnectionGuard,
    /// The other end.
    pub peer: SocketAddr,
}

/// A link's connection, after CONNECT and CONNACK.
pub struct AttachLink {
    /// The link.
    pub link: LinkKey,
    /// The user that came in; `None` if we dialled, or it is another node.
    pub user: Option<Arc<str>>,
    /// The byte stream.
    pub stream: Stream,
    /// Bytes that came already.
    pub leftover: Vec<u8>,
    /// Its place at the listener, if it was accepted.
    pub guard: Option<ConnectionGuard>,
    /// We dialled it.
    pub dialled: bool,
    /// Receive Maximum of the other end: batches unacknowledged at one time.
    pub receive_maximum: u16,
    /// Largest packet that it takes, in bytes.
    pub maximum_packet_size: u32,
    /// Keep alive of the connection, seconds.
    pub keep_alive: u16,
}

/// Which link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LinkKey {
    /// That with another cluster, by the link's name.
    Cluster(Arc<str>),
    /// That with another node of this cluster, by the node's name.
    Peer(Arc<str>),
}

/// Another node of this cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its node name.
    pub node: Arc<str>,
    /// We dial it; else it dials us.
    pub dials: bool,
}

/// "Tell every node a version that contains what the index holds now, and answer with it."
#[derive(Clone, Copy, Debug)]
pub struct Stake {
    /// The shard that asks.
    pub shard: u8,
    /// What it knows the answer by.
    pub token: u64,
}

/// A byte stream, still on its runtime or between two.
pub enum Stream {
    /// It was made on the runtime of the shard that gets it.
    Here(Transport),
    /// It comes from another runtime.
    Moved(Detached),
}

/// Limits that a shard works by; all of them can change while it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    /// The configured limits.
    pub mqtt: api::Mqtt,
    /// How the nodes of the cluster work together.
    pub cluster: api::ClusterTuning,
}

/// What a shard has, for `Status`.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Its links.
    pub links: Vec<api::LinkStatus>,
    /// Other nodes whose rows it has.
    pub peers: Vec<api::PeerStatus>,
    /// Its sessions that move: what is under way, and what was.
    pub moves: (Pending, Stats),
}

// === impl LinkKey ===

impl LinkKey {
    /// The name, whichever kind it is.
    pub fn name(&self) -> &Arc<str> {
        match self {
            Self::Cluster(name) | Self::Peer(name) => name,
        }
    }
}

// === impl Stream ===

impl Stream {
    /// The stream on the runtime of the caller.
    ///
    /// # Errors
    /// Those of registering the socket.
    pub fn attach(self) -> std::io::Result<Transport> {
        match self {
            Self::Here(transport) => Ok(transport),
            Self::Moved(detached) => detached.attach(),
        }
    }
}
