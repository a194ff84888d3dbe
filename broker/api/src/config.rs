//! The configuration of one broker node, as the file `broker.yaml` holds it.
//!
//! Relative paths are relative to the folder of that file. Every struct refuses unknown keys.

mod cluster;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Admin, Authentication, ByteSize, Seconds};

pub use cluster::*;

/// Everything a broker node needs to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// Hash of the whole configuration, made by who rendered it; `Status::config_hash` repeats it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
    /// Name of the cluster; links know it by this name.
    pub cluster_name: String,
    /// Name of this node, unique in the cluster: the pod's name on Kubernetes. Overridden by `--node`.
    pub node_name: String,
    /// Folder for what must outlive the process, such as the cluster's id; made when missing.
    pub data_dir: PathBuf,
    /// Where clients connect. At least one.
    pub listeners: Vec<Listener>,
    /// Where `/healthz`, `/readyz`, `/metrics` and `/v1/status` are served.
    pub admin: Admin,
    /// Who may connect.
    #[serde(default)]
    pub authentication: Authentication,
    /// What a user may tune; `spec.config` of a BrokerCluster.
    #[serde(default)]
    pub tuning: Tuning,
    /// The nodes of the cluster; absent: this node is the whole cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    /// Links with other clusters, one for each remote cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
}

/// What a user may tune: the content of `spec.config` in a BrokerCluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Tuning {
    /// Threads that serve clients; a change needs a restart.
    pub shards: Shards,
    /// Limits of the MQTT protocol.
    pub mqtt: Mqtt,
    /// How the nodes of a cluster work together.
    pub cluster: ClusterTuning,
}

/// Number of shards: `auto` (one for each core, one if the machine has a single core) or 1 to 64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "the number of shards must be `auto` or 1 to 64")]
pub enum Shards {
    /// As many as cores.
    #[default]
    #[serde(with = "auto")]
    Auto,
    /// This many, 1 to 64.
    Count(u8),
}

/// Limits of the MQTT protocol; each has a default that suits a fleet of devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Mqtt {
    /// Largest packet taken, fixed header included; at most 268,435,460 bytes `[MQTT-3.1.2-24]`.
    pub max_packet_size: ByteSize,
    /// Inbound QoS 1 and 2 publishes that a client may have unacknowledged; told in CONNACK.
    pub receive_maximum: u16,
    /// Outbound QoS 1 and 2 publishes unacknowledged by one client; its own Receive Maximum if that is less.
    pub max_inflight: u16,
    /// Topic aliases that a client may use; told in CONNACK.
    pub topic_alias_maximum: u16,
    /// Longest session expiry granted; a client that asks for more is told this.
    pub session_expiry_interval: Seconds,
    /// Messages waiting for one session, on-line or off-line; past it QoS 1 and 2 are refused or dropped by `queue_full`.
    pub max_queued_messages: u32,
    /// Bytes waiting for one session.
    pub max_queued_bytes: ByteSize,
    /// Bytes of output held for a connection that does not read, before QoS 0 is dropped for it.
    pub max_output_bytes: ByteSize,
    /// Subscriptions of one session.
    pub max_subscriptions: u32,
    /// Longest client id taken, in bytes.
    pub max_client_id_bytes: u16,
    /// Levels in a topic or filter.
    pub max_topic_levels: u16,
    /// Retained messages kept by the node.
    pub max_retained_messages: u32,
    /// Sessions kept by the node, on-line and off-line.
    pub max_sessions: u32,
    /// Time for TLS handshake and CONNECT together.
    pub connect_timeout: Seconds,
    /// Largest keep alive granted; a client that asks for more, or for none, is told this. 0: no limit.
    pub max_keep_alive: u16,
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            max_packet_size: ByteSize(1 << 20),
            receive_maximum: 1024,
            max_inflight: 1024,
            topic_alias_maximum: 32,
            session_expiry_interval: Seconds(7 * 86_400),
            max_queued_messages: 10_000,
            max_queued_bytes: ByteSize(64 << 20),
            max_output_bytes: ByteSize(1 << 20),
            max_subscriptions: 100_000,
            max_client_id_bytes: 1024,
            max_topic_levels: 128,
            max_retained_messages: 1_000_000,
            max_sessions: 1_000_000,
            connect_timeout: Seconds(10),
            max_keep_alive: 0,
        }
    }
}

/// A socket that clients connect to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Listener {
    /// Unique name; a label of metrics.
    pub name: String,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// Address and port; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Connections at one time; further ones are closed at once.
    #[serde(default = "max_connections")]
    pub max_connections: u32,
    /// Certificate and client authentication; with `MQTTS` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
}

fn max_connections() -> u32 {
    1_000_000
}

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// MQTT on TCP.
    #[serde(rename = "MQTT")]
    Mqtt,
    /// MQTT on TLS.
    #[serde(rename = "MQTTS")]
    Mqtts,
}

/// TLS of a listener; PEM files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ListenerTls {
    /// Certificate chain, the listener's own first.
    pub certificate_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// Authorities of client certificates; absent: none is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
    /// What happens to a client without a certificate.
    #[serde(default)]
    pub client_certificate: ClientCertificate,
}

/// What a listener with `client_ca_file` asks of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientCertificate {
    /// A client without a certificate is refused.
    #[default]
    Require,
    /// A client without a certificate is let through to authenticate otherwise.
    Request,
}

/// A link with one remote cluster, dialled from here or accepted here or both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Link {
    /// Name of the link, unique; a label of metrics.
    pub name: String,
    /// Name of the remote cluster, checked in the handshake; one link for each.
    pub remote_cluster: String,
    /// Id of the remote cluster; when set, any other is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_cluster_id: Option<String>,
    /// False: no traffic, nothing dialled, the remote refused with a named reason; the spool stays.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// How to reach the remote; absent: this side only accepts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dial: Option<Dial>,
    /// Who may come in as the remote cluster.
    #[serde(default)]
    pub accept: Accept,
    /// Filters of what this side receives.
    #[serde(default)]
    pub receive: Vec<Route>,
    /// Filters of what may leave; absent: whatever the remote wants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send: Option<Vec<Route>>,
    /// Clusters that a message may cross; 1: it is never sent on.
    #[serde(default = "one")]
    pub max_hops: u8,
    /// Messages waiting for the remote.
    #[serde(default)]
    pub spool: Spool,
}

fn yes() -> bool {
    true
}

fn one() -> u8 {
    1
}

/// Topics of one direction of a link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Route {
    /// Topic filters that pass.
    pub filters: Vec<String>,
    /// Topic filters that don't, though a filter matches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
    /// Highest QoS, 0 to 2; what has more is lowered.
    #[serde(default = "two")]
    pub max_qos: u8,
}

fn two() -> u8 {
    2
}

/// How a link is dialled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Dial {
    /// `mqtt://host:port` or `mqtts://host:port`, tried in turn.
    pub servers: Vec<String>,
    /// Begin of the client id; link and node name follow.
    pub client_id_prefix: String,
    /// File that holds the user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_file: Option<PathBuf>,
    /// File that holds the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// TLS for `mqtts://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<DialTls>,
    /// Keep alive of the connection.
    #[serde(default = "keep_alive")]
    pub keep_alive: Seconds,
    /// Batches unacknowledged at one time, at most the remote's Receive Maximum.
    #[serde(default = "max_inflight")]
    pub max_inflight: u16,
    /// Longest pause between two tries; they begin at a quarter second, double, and have jitter.
    #[serde(default = "retry_interval")]
    pub retry_interval: Seconds,
}

fn keep_alive() -> Seconds {
    Seconds(15)
}

fn max_inflight() -> u16 {
    32
}

fn retry_interval() -> Seconds {
    Seconds(10)
}

/// TLS of a dialled link; PEM files. The remote's certificate is always verified.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct DialTls {
    /// Authorities of the remote's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Our certificate, for mutual TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// Its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Name expected in the remote's certificate, if not the host of the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// Who may come in as the remote cluster of a link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Accept {
    /// Users that may, and that then can do nothing else here. Empty with `any_user` false: nobody comes in.
    pub users: Vec<String>,
    /// Passwords of users that are not in `users_file`: files by user name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub password_files: BTreeMap<String, PathBuf>,
    /// Any user that authenticated with a password may (the link's owner named none).
    pub any_user: bool,
}

/// Bounds of the messages that wait for the remote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Spool {
    /// Bytes of QoS 1 and 2 messages.
    pub max_bytes: ByteSize,
    /// Age of the oldest message.
    pub max_age: Seconds,
    /// What gives way at the bound.
    pub when_full: WhenFull,
    /// Bytes of QoS 0 messages; past it new ones are dropped.
    pub max_bytes_qos0: ByteSize,
    /// The link is being removed: it takes nothing more from clients, sends what waits, also after the remote was away, and ends
    /// then, after this time at the latest. Absent: it stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_for: Option<Seconds>,
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            max_bytes: ByteSize(256 << 20),
            max_age: Seconds(86_400),
            when_full: WhenFull::DropOldest,
            max_bytes_qos0: ByteSize(8 << 20),
            drain_for: None,
        }
    }
}

/// What gives way when a spool is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhenFull {
    /// The oldest messages go.
    #[default]
    DropOldest,
    /// The new message is not taken.
    DropNewest,
    /// Publishers of matching topics are not read until there is room.
    Backpressure,
}

/// `auto`, as a unit variant of an untagged enum.
mod auto {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("auto")
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "auto" => Ok(()),
            other => Err(de::Error::custom(format!("`{other}` is neither `auto` nor a number of shards"))),
        }
    }
}
