//! ClusterLink: a link of a BrokerCluster with one remote cluster.

mod remote;
mod route;
mod status;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::LocalRef;

pub use remote::{Remote, RemoteKind, RemoteTls};
pub use route::{Direction, Prefix, RetainedMode, Route};
pub use status::{Backlog, ClusterLinkStatus, RouteState, RouteStatus};

/// A link of a BrokerCluster with one remote cluster.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "tombolo.dev",
    version = "v1alpha1",
    kind = "ClusterLink",
    plural = "clusterlinks",
    shortname = "clink",
    category = "mqtt",
    namespaced,
    doc = "A link of a BrokerCluster with one remote cluster. In, Out, receive and send are seen from the BrokerCluster of clusterRef.",
    status = "ClusterLinkStatus",
    derive = "PartialEq",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef.name"),
    printcolumn(name = "Remote", type_ = "string", json_path = ".spec.remote.clusterName"),
    printcolumn(name = "Connected", type_ = "string", json_path = r#".status.conditions[?(@.type=="Connected")].status"#),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    ),
    validation = Rule::new("size(self.metadata.name) <= 63")
        .message("metadata.name must be at most 63 characters; use a shorter name")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.topics) || has(self.routes) || self.direction == 'Out'")
        .message("say what the link carries: topics (what this side receives) or routes"),
    validation = Rule::new("self.direction != 'Out' || !has(self.topics)")
        .message("direction Out lets nothing in; remove topics, or set direction: Both"),
    validation = Rule::new(
        "self.direction == 'Both' || !has(self.routes) || self.routes.all(r, r.direction == self.direction)"
    )
    .message("every route must have the direction of the link; change the routes, or set spec.direction: Both"),
    validation = Rule::new("!has(self.maxHops) || self.maxHops == 1 || self.transit")
        .message("maxHops above 1 needs transit: true"),
    validation = Rule::new("!has(self.advanced) || !has(self.advanced.cleanStart) || self.remote.kind == 'MQTT'")
        .message("advanced.cleanStart is only used with remote.kind MQTT; remove it"),
    validation = Rule::new("self.remote.kind != 'Tombolo' || !has(self.remote.server) && !has(self.remote.servers) || has(self.remote.credentials)")
        .message("a link that dials needs remote.credentials.secretRef, a Secret with username and password")
        .field_path(".remote.credentials")
)]
pub struct ClusterLinkSpec {
    /// The BrokerCluster, in the same namespace, that this link belongs to. Immutable.
    #[x_kube(
        validation = Rule::new("self == oldSelf")
            .message("clusterRef is immutable; create a new ClusterLink")
            .reason(Reason::FieldValueForbidden)
    )]
    pub cluster_ref: LocalRef,

    /// False stops the traffic and keeps what waits for the remote. Default: true.
    #[serde(default = "crate::common::yes")]
    pub enabled: bool,

    /// The remote cluster, and how to reach it.
    pub remote: Remote,

    /// Topic filters of what this side receives: the short form of a route with direction In.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::common::filters")]
    pub topics: Vec<String>,

    /// What crosses the link, in detail. Without a route of direction Out or Both, whatever the remote asks for may
    /// leave; with one, only what such routes match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub routes: Vec<Route>,

    /// In: nothing ever leaves by this link. Out: nothing ever enters. Both: what topics and routes say. Default: Both.
    #[serde(default = "both")]
    pub direction: Direction,

    /// Who may come in as the remote cluster. The user of remote.credentials always may, unless it is an ordinary user
    /// of this cluster. Absent: any user of this cluster that stands for no other remote may, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept: Option<Accept>,

    /// Sessions of clients that connect at the other side.
    #[serde(default)]
    pub sessions: Sessions,

    /// Shared subscriptions with members at both sides. PerCluster: each cluster's members get a copy. Federated: one
    /// member gets it. Default: PerCluster.
    #[serde(default)]
    pub shared_subscriptions: SharedSubscriptions,

    /// True lets messages that came from another cluster leave by this link. Default: false.
    #[serde(default)]
    pub transit: bool,

    /// Links that a message may cross at most; above 1 only with transit. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 8))]
    pub max_hops: Option<u8>,

    /// Messages that wait for the remote.
    #[serde(default)]
    pub queue: Queue,

    /// Bounds of the traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,

    /// Parameters of the MQTT connection, for those who know why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advanced: Option<Advanced>,

    /// Drain waits, for five minutes at most, until what waits for the remote has left before the link goes; Delete drops it.
    /// Default: Drain.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

fn both() -> Direction {
    Direction::Both
}

/// Who may come in as the remote cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Accept {
    /// One of the users of the BrokerCluster, which then can do nothing but link.
    #[schemars(length(min = 1, max = 256))]
    pub user: String,
}

/// Sessions of clients that connect at the other side.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Sessions {
    /// Disabled: each side has its own. HandOver: a session moves when its client connects at the other side. Replicate:
    /// its state also travels ahead of time. Default: Disabled.
    pub mode: SessionsMode,
}

/// What becomes of the session of a client that connects at the other side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SessionsMode {
    /// It stays where it is.
    #[default]
    Disabled,
    /// It moves.
    HandOver,
    /// It is there already.
    Replicate,
}

/// Who gets a message for a shared subscription with members at both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SharedSubscriptions {
    /// One member in each cluster.
    #[default]
    PerCluster,
    /// One member in all.
    Federated,
}

/// Messages that wait for the remote.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Queue {
    /// Bytes of QoS 1 and 2 messages, such as 256Mi or 4Gi. Default: 256Mi.
    #[serde(default = "max_bytes")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(
        validation = Rule::new("self.matches('^[1-9][0-9]{0,11}(k|M|G|Ki|Mi|Gi|Ti)?$')")
            .message("maxBytes must be a whole number of bytes such as 268435456, 256Mi or 4Gi")
    )]
    pub max_bytes: String,
    /// Age of the oldest message, such as 90s, 6h or 1h30m. Default: 24h.
    #[serde(default = "max_age")]
    #[schemars(length(min = 1, max = 24))]
    #[x_kube(
        validation = Rule::new("self.matches('^([0-9]{1,5}[hms]){1,3}$')")
            .message("maxAge must be a duration such as 90s, 6h or 1h30m")
    )]
    pub max_age: String,
    /// What gives way at the bound: DropOldest, DropNewest or Backpressure (publishers wait). Default: DropOldest.
    #[serde(default)]
    pub when_full: WhenFull,
}

fn max_bytes() -> String {
    "256Mi".to_owned()
}

fn max_age() -> String {
    "24h".to_owned()
}

impl Default for Queue {
    fn default() -> Self {
        Self { max_bytes: max_bytes(), max_age: max_age(), when_full: WhenFull::DropOldest }
    }
}

/// What gives way when the queue of a link is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WhenFull {
    /// The oldest messages.
    #[default]
    DropOldest,
    /// The new message.
    DropNewest,
    /// Nothing: publishers of such messages wait.
    Backpressure,
}

/// Bounds of the traffic over a link, for each node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Limits {
    /// Messages for each second.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub messages_per_second: Option<i64>,
    /// Bytes for each second.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub bytes_per_second: Option<i64>,
}

/// Parameters of the MQTT connection of a link.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Advanced {
    /// Keep alive, in seconds. Default: 15.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub keep_alive_seconds: Option<u16>,
    /// Batches under way without an acknowledgement; the remote's Receive Maximum if that is less. Default: 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub max_inflight: Option<u16>,
    /// Longest pause between two tries to connect, such as 10s; tries begin at a quarter second. Default: 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 24))]
    #[x_kube(
        validation = Rule::new("self.matches('^([0-9]{1,5}[hms]){1,3}$')")
            .message("retryInterval must be a duration such as 10s or 1m")
    )]
    pub retry_interval: Option<String>,
    /// Connections of each node. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16))]
    pub connections_per_node: Option<u8>,
    /// Clean Start of the connection; only with remote.kind MQTT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clean_start: Option<bool>,
}

/// What becomes of waiting messages when a link is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They leave first, for a bounded time.
    #[default]
    Drain,
    /// They are dropped.
    Delete,
}
