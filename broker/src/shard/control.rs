//! What other threads ask of a shard.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::oneshot;
use tombolo_broker_api as api;

use super::batch::Barrier;
use super::guard::ConnectionGuard;
use crate::auth::Identity;
use crate::codec::connect::Connect;
use crate::link::Mark;
use crate::transport::{Detached, Transport};

/// A control message; all of them together are taken once a turn, in order.
pub enum Control {
    /// A connection whose CONNECT was accepted.
    Attach(Box<Attach>),
    /// A connection for one of this shard's links.
    AttachLink(Box<AttachLink>),
    /// Dialling for a link failed.
    DialFailed {
        /// Name of the link.
        link: Arc<str>,
        /// For status.
        error: api::LinkError,
    },
    /// Put this barrier behind everything that you have routed for shard `shard`.
    Barrier {
        /// The shard of the link that asks.
        shard: u8,
        /// The barrier.
        barrier: Barrier,
    },
    /// This node routes by a newer version of a remote cluster's interest: tell your links.
    Mark(Mark),
    /// A link has room again: read publishers that waited for it.
    Pressure,
    /// Filters of local clients have changed: links read the log.
    InterestChanged,
    /// New limits.
    Tuning(Arc<Tuning>),
    /// All links of the new configuration that live on this shard.
    Links(Vec<api::Link>),
    /// Close the connections of users that are gone or changed.
    DropUsers(Arc<Stays>),
    /// Answer with what you have.
    Report(oneshot::Sender<Report>),
    /// Take no more; tell clients and close.
    Stop,
}

/// Whether a user (`None`: an anonymous client) may stay connected. A link that we dialled has no user here.
pub type Stays = dyn Fn(Option<&str>) -> bool + Send + Sync;

/// A client's connection on its way to the shard of its session.
pub struct Attach {
    /// The byte stream.
    pub stream: Stream,
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
    /// Name of the link.
    pub link: Arc<str>,
    /// The user that came in; `None` if we dialled.
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
}

/// What a shard has, for `Status`.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Its links.
    pub links: Vec<api::LinkStatus>,
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
