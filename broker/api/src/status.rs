//! What a broker node says about itself, as `/v1/status` serves it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The state of one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Version of the broker.
    pub version: String,
    /// Name of the cluster.
    pub cluster_name: String,
    /// Id of the cluster, made once and kept in its store.
    pub cluster_id: String,
    /// Name of this node.
    pub node_name: String,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// `Config::hash` of the configuration that runs.
    pub config_hash: String,
    /// Why the newest configuration was refused; the one before it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_error: Option<String>,
    /// Keys whose change waits for a restart, such as `tuning.shards`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart_required: Vec<String>,
    /// Files with certificates that are used, and when they end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateStatus>,
    /// Threads that serve clients.
    pub shards: u32,
    /// Listeners, in the order of the configuration.
    pub listeners: Vec<ListenerStatus>,
    /// Sessions, on-line and off-line.
    pub sessions: u64,
    /// Connected clients.
    pub connections: u64,
    /// Subscriptions of all sessions.
    pub subscriptions: u64,
    /// Retained messages.
    pub retained: u64,
    /// PUBLISH packets from clients since the start.
    pub messages_received: u64,
    /// PUBLISH packets to clients since the start.
    pub messages_sent: u64,
    /// Messages dropped since the start, by reason.
    pub messages_dropped: BTreeMap<String, u64>,
    /// Links, by name.
    pub links: Vec<LinkStatus>,
    /// The other nodes of the cluster, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<PeerStatus>,
    /// Sessions that move between nodes.
    #[serde(default)]
    pub session_moves: SessionMoves,
    /// How far the node is emptied, if it is being emptied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evacuation: Option<EvacuationStatus>,
}

/// A file with certificates that listeners, links or nodes use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// The file.
    pub file: String,
    /// Until when it is good, in Unix seconds: of a chain until its first certificate ends, of authorities until the last of
    /// them does.
    pub not_after: u64,
}

/// Sessions that move between the nodes of a cluster: the first four are what is under way, the others count since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionMoves {
    /// CONNECTs that wait until it is known where their session is.
    pub looked_up: u64,
    /// Sessions on their way here or away.
    pub moving: u64,
    /// Sessions that came and still get messages by way of nodes that had them, and the rests of those that went.
    pub unsettled: u64,
    /// Sessions that began while a node could not be asked, which may have another one of the same name.
    pub divergent: u64,
    /// Sessions taken from other nodes.
    pub taken: u64,
    /// Sessions given to other nodes.
    pub given: u64,
    /// Sessions that were on offer to another node, which did not take them.
    pub kept: u64,
    /// Messages forwarded to nodes that took their session.
    pub forwarded: u64,
    /// CONNECTs refused since a node that has the session, or had to be asked, could not be reached.
    pub unavailable: u64,
    /// CONNECTs refused since too much was moving, or the session moved a moment ago.
    pub busy: u64,
    /// CONNECTs that waited and were closed in favour of a later one.
    pub overtaken: u64,
    /// Sessions that began while a node that may have had one could not be asked.
    pub began_unasked: u64,
    /// Sessions that ended in favour of a later one of the same name at another node.
    pub discarded: u64,
    /// Messages that waited for a session that had moved, and ended with it or with its owner.
    pub messages_dropped: u64,
    /// Queues of sessions that came from a node which died before all of it was here.
    pub streams_lost: u64,
    /// Rests of sessions given up by age.
    pub abandoned: u64,
    /// Messages delivered out of order, since what an earlier node had did not come in time.
    pub holds_passed: u64,
    /// Sessions that ended and are not remembered for nodes that could not be asked, since too many are.
    pub tombs_refused: u64,
    /// Control messages of other nodes that could not be read.
    pub garbled: u64,
}

/// How far a node is emptied.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EvacuationStatus {
    /// Where it stands.
    pub phase: EvacuationPhase,
    /// When it began, in seconds since 1970.
    pub since_unix_seconds: u64,
    /// When it gives up, in seconds since 1970.
    pub deadline_unix_seconds: u64,
    /// Clients that are still connected.
    pub connections: u64,
    /// Sessions that are still here, those of connected clients too.
    pub sessions: u64,
    /// What is still to be forwarded to nodes that took sessions: sessions that have left but for their last messages.
    pub draining: u64,
    /// Messages that wait for other nodes and for linked clusters.
    pub waiting_messages: u64,
    /// Sessions that moved since it began.
    pub moved: u64,
}

/// Where the evacuation of a node stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EvacuationPhase {
    /// Clients and sessions are leaving.
    #[default]
    Evacuating,
    /// Nothing is left: no client, no session, nothing that waits. The node can be stopped and nobody loses anything.
    Empty,
    /// `timeout` is over and something is left; the node goes on trying.
    TimedOut,
}

/// The state of a listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// The address it is bound to.
    pub address: String,
    /// Connections now.
    pub connections: u64,
    /// Why it does not listen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The state of a link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkStatus {
    /// Its name.
    pub name: String,
    /// Name of the remote cluster.
    pub remote_cluster: String,
    /// Id of the remote cluster, once it said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_cluster_id: Option<String>,
    /// Where the link stands.
    pub state: LinkState,
    /// A heartbeat crossed and came back, and interest is in sync.
    pub ready: bool,
    /// Both sides hold the same interest, proven by digest.
    pub in_sync: bool,
    /// Connections that we dialled and that stand.
    pub dialled: u32,
    /// Connections that the remote dialled and that stand.
    pub accepted: u32,
    /// Connections by way of another node of this cluster that stand: 1 while this node has none of its own and another
    /// has.
    #[serde(default)]
    pub by_way: u32,
    /// Last heartbeat's way there and back, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_micros: Option<u64>,
    /// Filters that the remote was told we want.
    pub filters_wanted: u64,
    /// Filters that the remote wants.
    pub filters_served: u64,
    /// Messages that wait for the remote.
    pub spool: SpoolStatus,
    /// Messages handed to the remote and acknowledged by it (QoS 0: written).
    pub messages_sent: u64,
    /// Messages taken from the remote.
    pub messages_received: u64,
    /// Messages from the remote that were known already and dropped.
    pub messages_repeated: u64,
    /// Messages dropped, by reason.
    pub messages_dropped: BTreeMap<String, u64>,
    /// The last thing that went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LinkError>,
}

/// Where a link stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LinkState {
    /// `enabled: false`.
    Disabled,
    /// No connection; one is tried, or awaited.
    #[default]
    Disconnected,
    /// A connection stands, the handshake is under way.
    Handshaking,
    /// The handshake succeeded.
    Connected,
}

/// Another node of the cluster, as this one sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerStatus {
    /// Its node name.
    pub node: String,
    /// Where it stands.
    pub state: PeerState,
    /// A heartbeat crossed and came back, and both hold the same of each other.
    pub ready: bool,
    /// Last heartbeat's way there and back, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_micros: Option<u64>,
    /// Filters and shared subscriptions that it was told of.
    pub filters_told: u64,
    /// Filters and shared subscriptions that it told us of.
    pub filters_held: u64,
    /// Persistent sessions that it says it has.
    #[serde(default)]
    pub sessions_claimed: u64,
    /// Messages that wait for it.
    pub outbox: SpoolStatus,
    /// Bytes that it has and that members of shared subscriptions there have not acknowledged, kept for the case that it dies.
    #[serde(default)]
    pub held_bytes: u64,
    /// Messages of these that were let go, since they were too many: if it dies they are lost with it.
    #[serde(default)]
    pub messages_let_go: u64,
    /// Messages handed to it and acknowledged by it (QoS 0: written).
    pub messages_sent: u64,
    /// Messages taken from it.
    pub messages_received: u64,
    /// Messages for it or from it that were dropped, by reason.
    #[serde(default)]
    pub messages_dropped: BTreeMap<String, u64>,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LinkError>,
}

/// Where a peer stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerState {
    /// It was not reached yet, or lost a moment ago: it is waited for.
    #[default]
    Unreachable,
    /// It was silent for `suspendAfter`: nobody waits for it, what it owns is kept.
    Suspended,
    /// It is connected.
    Connected,
}

/// Messages that wait for the remote.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpoolStatus {
    /// How many.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Age of the oldest.
    pub oldest_seconds: u64,
}

/// Something that went wrong on a link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkError {
    /// A name of the documented set, such as `AuthenticationFailed`.
    pub reason: String,
    /// For people.
    pub message: String,
    /// When, in seconds since 1970.
    pub unix_seconds: u64,
}
