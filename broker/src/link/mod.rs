//! The native link: joins this cluster with one remote cluster, or this node with another one of its cluster, over
//! ordinary MQTT 5 connections.
//!
//! Everything here is pure: no socket, no clock, no randomness. `docs/link-protocol.md` has the wire. Who drives a link,
//! the shard or the simulation, gives events to [`Link`] and implements [`Outlet`] for what it wants done.
//!
//! # How a shard drives a link
//!
//! One [`Link`] for each remote cluster, and one for each other node of this cluster (a *peer*), lives on the shard that the
//! remote's name hashes to. Connections are dialled or accepted elsewhere and moved to that shard once CONNECT and CONNACK
//! are done, as with any client.
//!
//! ```text
//! let mut link = Link::new(local, settings, filters);        // filters: what the local clients want now
//!
//! a connection stands (after CONNACK)    link.connected(&mut out, conn, Role::Dialled, limits, now)
//! PUBLISH below `$LINK/` on it           link.received(&mut out, conn, incoming, now)
//! PUBACK on it                           link.acknowledged(&mut out, conn, packet_id, reason, now)
//! it broke, or the client left           link.disconnected(&mut out, conn, now)
//! dialling failed, CONNACK refused       link.failed("AuthenticationFailed", "…", now)
//! a message matched a filter of the link link.forward(&forward, now) -> Taken
//! local clients' filters changed         link.interest_changed(&filter, change), or link.interest_replaced(filters)
//! their shared subscriptions changed     link.share_changed(&share), or link.shares_replaced(shares)     (a peer)
//! configuration changed                  link.configure(&mut out, settings, filters, now)
//! a mark came from a shard, in order     link.marked(shard, &mark)
//! a lane was added to the node           link.announce(&mut out)
//! an answer to Outlet::sync              link.synced(&mut out, token)
//! an answer to Outlet::passed_on         link.passed_on(&mut out, token)
//! there is a control message to send     link.control(&mut out, payload) -> bool                         (a peer)
//! another node wants a way               link.carrier() -> Option<(Conn, bytes)>; see [`way`]
//! twice a second or so                   link.tick(&mut out, now)
//! output that had no room was written    link.writable(conn)
//! once at the end of each turn           if link.is_dirty() { link.end_of_turn(&mut out, now) }
//! the link is removed, the node stops    link.shut(&mut out, now)
//! its node has left the cluster          link.take_left(now, each)                                       (a peer)
//! ```
//!
//! - **`end_of_turn` is where batches leave.** All that `forward` gathered in the turn goes out as one batch, if the window
//!   has room; else it waits for the next PUBACK and grows. Call it before the shard writes its sockets, and again after a
//!   blocked connection was flushed.
//! - **CONNECT** of a link bears the user property [`CONNECT_PROPERTY`] with the name of the *dialling* cluster, so that
//!   the accepting side finds the link, its shard, and the user's right to it before anything else is read. It is Clean
//!   Start 1, with no will, no subscriptions; the session ends with the connection. Its Maximum Packet Size, and that of
//!   the CONNACK, is at least [`PACKET_MIN`].
//! - If there is no link for that name, the accepting side may answer at CONNACK (0x87, reason string from
//!   [`Refusal`]'s `Display`), or let the connection in and answer its first publish with [`refuse`].
//! - **Marks.** [`Outlet::announce`] says that the node routes by a newer version of somebody's interest. Every shard of the
//!   node hears of it, and puts the mark into every lane of the node *through the queues that its messages take*, at one
//!   point in the order in which it routes: [`Link::marked`] is where a mark arrives. So a message of a shard stands before
//!   that shard's mark in all lanes or behind it in all. A shard may route by the new filters before its mark, never by the
//!   old ones behind it. Whoever adds a lane calls [`Link::announce`] of all links once the lane is in reach of all shards;
//!   whoever takes lanes up again after a restart puts the marks of all versions that were kept into all of them before
//!   anything is routed.
//! - **Dialling** is the shard's; [`backoff::Dialling`] says when and whom.
//! - `Link` never calls the outlet outside of a call to it, and the outlet must not call the link.
//!
//! # The map
//!
//! *Machinery*, which speaks of this side and the other and does not know what it joins: `batch record aside chunk spool
//! lane_out held lane_in lossy` (lanes), `interest_out listener interest_in shares`, `marks syncing origin`, `source` (what is kept of the other
//! side's nodes), `heartbeat connection greeting way`. *Policy*, which knows clusters and peers, filters and hops: `settings
//! policy serve handshake`. `state send receive left status` are [`Link`] itself, which puts the two together.

mod aside;
pub mod backoff;
mod batch;
mod chunk;
mod connection;
mod counters;
mod greeting;
mod handshake;
mod heartbeat;
mod held;
mod interest_in;
mod interest_out;
mod lane_in;
mod lane_out;
mod left;
mod listener;
mod lossy;
pub mod marks;
mod origin;
mod outlet;
mod policy;
mod receive;
mod record;
mod refusal;
mod send;
mod serve;
mod settings;
mod shares;
mod source;
mod spool;
mod state;
mod status;
mod syncing;
pub mod way;

#[cfg(test)]
pub(crate) mod sim;
#[cfg(test)]
mod tests;

pub use aside::Aside;
pub use batch::{PUBLISH_MAX, TOPIC_WAY};
pub use greeting::refuse;
pub use interest_in::FILTERS_MAX;
pub use marks::{Mark, Marks, Version};
pub use origin::{LANES_ALONG_MAX, LaneId, LaneRuns, Origin, Place, Seen};
pub use outlet::{Conn, Delivery, DropReason, Forward, Incoming, Limits, Now, Outlet, Role, Taken};
pub use refusal::{Refusal, Why};
pub use settings::{Local, Route, SHARDS_MAX, Scope, Settings, SettingsError};
pub use spool::{MemorySpool, Spool};
pub use state::Link;

/// Topics below this belong to links; nobody else publishes or subscribes there.
pub const TOPIC_PREFIX: &str = "$LINK/";

/// User property of a link's CONNECT: its value is the name of the dialling cluster.
pub const CONNECT_PROPERTY: &str = "tombolo-link";

/// User property of a node's CONNECT to another node of its cluster: its value is the name of the cluster. The client id is
/// the name of the node that dials.
pub const PEER_PROPERTY: &str = "tombolo-peer";

/// Smallest Maximum Packet Size that a connection of a link must allow, in bytes: a full batch with its PUBLISH header.
pub const PACKET_MIN: u32 = 66_560;
