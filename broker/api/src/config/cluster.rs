//! The part of a node's configuration that is about the other nodes of its cluster.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::quantity::{ByteSize, Seconds};

/// The nodes of a cluster, and how they reach each other: over mutual TLS, with an authority of the cluster's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Cluster {
    /// Id of the cluster, the same for all its nodes: 1 to 255 bytes. Kept in the data folder; a node that has another
    /// one does not start.
    pub id: String,
    /// Address and port where the other nodes connect; port 0 is of no use here.
    pub bind: SocketAddr,
    /// Certificate of this node: its node name must be among the DNS names or be the common name.
    pub certificate_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// Authority of the certificates of all nodes, and of nothing else: whoever has one of its certificates is a node.
    pub ca_file: PathBuf,
    /// All nodes, this one among them; may change while the node runs.
    pub nodes: Vec<ClusterNode>,
    /// Nodes that are being emptied: they take no new clients, their clients and sessions go to the others. A name that is
    /// taken out again cancels it. All nodes are told the same, so that no session moves to one that is being emptied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evacuating: Vec<String>,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ClusterNode {
    /// Its `nodeName`.
    pub name: String,
    /// `host:port` of its `cluster.bind`, as others reach it.
    pub address: String,
}

/// How the nodes of a cluster work together: the content of `spec.config.cluster` in a BrokerCluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct ClusterTuning {
    /// Bytes of QoS 1 and 2 messages that wait for another node. While the node can be reached, publishers are held at
    /// the bound; once it is suspended, the oldest messages give way.
    pub max_outbox_bytes: ByteSize,
    /// Age of a message that waits for another node.
    pub max_outbox_age: Seconds,
    /// Silence after which a node is suspended: nobody waits for it, publishers are not held for it; what it wants and
    /// owns is kept until it comes back or leaves the list. 1 s to 1 h.
    pub suspend_after: Seconds,
    /// Who of a shared subscription gets a message.
    pub shared_subscriptions: SharedSubscriptions,
    /// Longest time that SUBACK waits until the other nodes that can be reached route by the new subscription; 0: it
    /// does not wait. At most 60 s.
    pub subscribe_timeout: Seconds,
    /// A client whose session is at a node that can't be reached.
    pub when_home_down: WhenHomeDown,
    /// How a node is emptied: one that is in `evacuating`, and one that is told to stop.
    pub evacuation: Evacuation,
}

/// How a node is emptied: the content of `spec.config.cluster.evacuation` in a BrokerCluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Evacuation {
    /// Clients told to go in each second, 1 to 100,000.
    pub disconnects_per_second: u32,
    /// Sessions without a client that move to other nodes in each second, 1 to 100,000.
    pub moves_per_second: u32,
    /// Time that a node has to become empty; after it the node says that it is late, and goes on trying. 1 s to 24 h. A node
    /// that was told to stop ends then, at the latest.
    pub timeout: Seconds,
    /// As `timeout`, for a node that was told to stop, where something else ends it after a while: what is over first counts.
    /// 1 s to 24 h. Absent: `timeout` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<Seconds>,
    /// Where MQTT 5.0 clients are told to go (`Server Reference`, `[MQTT-4.11.0-1]`): with it they get 0x9C Use another
    /// server, without it 0x8B Server shutting down. Empty: none, they reconnect by the name that they know.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server_reference: String,
}

impl Default for Evacuation {
    fn default() -> Self {
        Self {
            disconnects_per_second: 200,
            moves_per_second: 1_000,
            timeout: Seconds(300),
            stop_timeout: None,
            server_reference: String::new(),
        }
    }
}

impl Default for ClusterTuning {
    fn default() -> Self {
        Self {
            max_outbox_bytes: ByteSize(256 << 20),
            max_outbox_age: Seconds(86_400),
            suspend_after: Seconds(10),
            shared_subscriptions: SharedSubscriptions::default(),
            subscribe_timeout: Seconds(2),
            when_home_down: WhenHomeDown::default(),
            evacuation: Evacuation::default(),
        }
    }
}

/// Who of a shared subscription gets a message, among those that are on-line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SharedSubscriptions {
    /// All members take turns, whichever node they are connected to.
    #[default]
    RoundRobin,
    /// The members at the publisher's node take turns; others only while there is none.
    LocalFirst,
}

/// What a client meets whose session is at a node that can't be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhenHomeDown {
    /// CONNACK 0x88 Server unavailable until the node is back or has left the list: nothing of the session is lost.
    #[default]
    Wait,
    /// A fresh session at once; the old one is discarded when the node comes back.
    Fresh,
}
